"""Which steps the lab consists of, and the environment that everything in it runs with."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from lab.certificates import Certificates
from lab.collections import Collections
from lab.context import Lab
from lab.engine import Engine, answering_engine
from lab.fixtures import CudaLibraries, LlamaSource, TinyModel, has_cuda_compiler
from lab.grammar import Grammar, grammar_path, missing_javascript
from lab.images import SUITES, image_steps
from lab.inventory import Inventory, litellm_version
from lab.packages import Packages, missing_browser
from lab.prometheus_tools import PrometheusTools, programs_path
from lab.python_tools import PythonTools, environment_path
from lab.registry import Push, Registry
from lab.steps import Outcome, Runner, State, Step

POSTGRES_TAG = "17-trixie"
# The real programs of Debian, under the names of the official images.
OBSERVABILITY = {
    "prometheus": "prom/prometheus",
    "alertmanager": "prom/alertmanager",
    "node-exporter": "prometheus/node-exporter",
    "postgres-exporter": "prometheuscommunity/postgres-exporter",
}
# One image with small programs that only speak for these.
STAND_INS = {
    "loki": "grafana/loki",
    "alloy": "grafana/alloy",
    "promtail": "grafana/promtail",
    "grafana": "grafana/grafana",
    "dcgm-exporter": "nvidia/k8s/dcgm-exporter",
}
# Of the analytics: Valkey is real; of the others no registry that the lab reaches has the program.
ANALYTICS_IMAGES = {
    "valkey_image": ("valkey", "valkey/valkey", "8.1"),
    "clickhouse_image": ("clickhouse-stand-in", "clickhouse/clickhouse-server", "25.12-stand-in"),
    "object_store_image": ("object-store-stand-in", "chrislusf/seaweedfs", "4.23-stand-in"),
    "langfuse_web_image": ("langfuse-stand-in", "langfuse/langfuse", "4.16.0-stand-in"),
    "langfuse_worker_image": ("langfuse-worker-stand-in", "langfuse/langfuse-worker", "4.16.0-stand-in"),
}
# Scenarios whose tests look at a web page; nobody else waits for a browser of 440 MB.
USES_BROWSER = ("litellm",)
# Scenarios that compile for GPUs, on machines with NVIDIA's compiler.
USES_CUDA = ("llama_cpp",)


def tool_steps(lab: Lab) -> list[Step]:
    """What the quality gates need: no engine, no images."""
    return [
        Packages(lab),
        Packages(lab, "javascript", missing_javascript),
        PrometheusTools(lab),
        Grammar(lab),
        PythonTools(lab),
        Collections(lab),
    ]


def image_variable(name: str) -> str:
    """The role's variable that names the image of a program."""
    return f"{name.replace('-', '_')}_image"


def all_steps(lab: Lab, suites: Sequence[str]) -> list[Step]:
    """Everything, with the test hosts of the named Debian releases."""
    # Service images stand on the first release, whatever the hosts run.
    bases = [suite for suite in SUITES if suite in suites or suite == SUITES[0]]
    steps: list[Step] = [Packages(lab), Engine(lab)]
    if lab.official_images:
        steps += image_steps(lab, bases, services=())
        pushes: dict[str, Push] = {}
    else:
        built = [*OBSERVABILITY, "stand-in", *(image for image, _name, _tag in ANALYTICS_IMAGES.values())]
        steps += image_steps(lab, bases, services=("litellm", "registry", "postgres", *built))
        registry = Registry(lab)
        version = litellm_version((lab.repository / "images" / "litellm" / "requirements.txt").read_text())
        pushes = {
            "postgres_image": Push(lab, registry, "postgres", "library/postgres", POSTGRES_TAG),
            "litellm_image": Push(lab, registry, "litellm", "berriai/litellm", f"v{version}"),
            **{image_variable(image): Push(lab, registry, image, name, "debian-trixie") for image, name in OBSERVABILITY.items()},
            **{image_variable(program): Push(lab, registry, "stand-in", name, "stand-in") for program, name in STAND_INS.items()},
            **{variable: Push(lab, registry, *image) for variable, image in ANALYTICS_IMAGES.items()},
        }
        steps += [Certificates(lab), registry, *pushes.values()]
    steps += [PythonTools(lab), Collections(lab), LlamaSource(lab), TinyModel(lab), Inventory(lab, pushes)]
    return steps


def scenario_steps(lab: Lab, suites: Sequence[str], scenarios: Sequence[str]) -> list[Step]:
    """Everything that the named scenarios need; other words among the names do not matter."""
    browser = [Packages(lab, "browser", missing_browser)] if set(USES_BROWSER) & set(scenarios) else []
    cuda = [CudaLibraries(lab)] if set(USES_CUDA) & set(scenarios) and has_cuda_compiler(lab) else []
    return [*browser, *all_steps(lab, suites), *cuda]


def in_order(steps: Sequence[Step]) -> list[Step]:
    """The same steps, each after those it needs, so that their numbers on the screen rise."""
    ordered: list[Step] = []
    placed: set[str] = set()
    waiting = list(steps)
    while waiting:
        ready = [step for step in waiting if set(step.needs) <= placed]
        if not ready:
            raise ValueError(f"steps that need one another: {', '.join(step.name for step in waiting)}")
        ordered += ready
        placed |= {step.name for step in ready}
        waiting = [step for step in waiting if step.name not in placed]
    return ordered


@contextmanager
def alone(lab: Lab, say: Callable[[str], None]) -> Iterator[None]:
    """One run at a time prepares the lab; the others wait and then find it ready."""
    lab.prepare_directories()
    with (lab.home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another run is preparing the lab; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def bring_up(lab: Lab, steps: Sequence[Step], say: Callable[[str], None] = print) -> list[Outcome]:
    with alone(lab, say):
        # Two at a time: most builds wait for the network or for one core.
        return Runner(State(lab.home / "state" / "steps.json"), say=say).run(in_order(steps))


def default_suite(lab: Lab) -> str:
    return lab.environment.get("PRIVATE_LLM_DISTRO") or SUITES[0]


def tool_environment(lab: Lab, suite: str | None = None) -> dict[str, str]:
    """What Ansible, Molecule and testinfra need to know, on top of the caller's own environment."""
    repository = lab.repository
    settings = {
        "PATH": f"{environment_path(lab) / 'bin'}:{programs_path(lab)}:{repository / 'tools' / 'lab'}:{lab.environment.get('PATH', os.defpath)}",
        "ANSIBLE_CONFIG": str(repository / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": f"{repository / '.collections'}:{lab.home / 'collections'}",
        "MOLECULE_GLOB": "molecule/*/molecule.yml",
        "PRIVATE_LLM_LAB": str(lab.home),
        "PRIVATE_LLM_GRAMMAR": str(grammar_path(lab)),
        "PRIVATE_LLM_INVENTORY": str(lab.inventory),
        "PRIVATE_LLM_DISTRO": suite or default_suite(lab),
        # Ansible refuses every encoding but this one.
        "LC_ALL": "C.UTF-8",
    }
    engine = answering_engine(lab)
    if engine and "DOCKER_HOST" in engine:
        settings["DOCKER_HOST"] = engine["DOCKER_HOST"]
    return settings
