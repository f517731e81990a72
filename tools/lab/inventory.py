"""The inventory that gives every test and the demo what the lab has: images, sources, models."""

from __future__ import annotations

import json
import re
from pathlib import Path

from lab.context import Lab, LabError, digest_of
from lab.fixtures import LLAMA_CPP_BUILD_COMMIT, LLAMA_CPP_BUILD_NUMBER, MODEL_FILE, SOURCE_FILE, LlamaSource, TinyModel, sha256_of
from lab.registry import Push
from lab.steps import Step

Value = str | int | dict[str, str] | list[str]

# Where tools/lab/testhost shows the lab's directories inside each test host.
FIXTURES_IN_HOST = "/srv/fixtures"
ARTIFACTS_IN_HOST = "/var/cache/llama.cpp-artifacts"

# Production's slots, context and cache types on a tiny model; what only costs the test machine time or memory is made small.
TEST_SETTINGS: dict[str, Value] = {
    # Test hosts have no GPU.
    "platform_gpu": "none",
    # A third less compile time than -O3; the tiny model needs no speed.
    "llama_cpp_cmake_options": {"CMAKE_CXX_FLAGS_RELEASE": "-O1 -DNDEBUG"},
    "llama_server_slots": 20,
    "llama_server_context_per_slot": 57344,
    # Threads that spin would take the processor from everything else.
    "llama_server_threads": 1,
    "llama_server_cache_ram": 64,
    # This version needs one such interval to stop.
    "llama_server_sse_ping_interval": 5,
    # No test machine has a GPU: a device that every machine has takes its place, so that giving a device is tried.
    "dcgm_exporter_devices": ["/dev/null"],
    # Nor may it raise limits.
    "prometheus_ulimits": {},
    "loki_ulimits": {},
    # So that tests wait less.
    "prometheus_scrape_interval": "5s",
    "prometheus_evaluation_interval": "5s",
    # A test host may not raise its own limits.
    **{f"{role}_open_files": 16384 for role in ("clickhouse", "object_store", "valkey")},
}


def litellm_version(requirements: str) -> str:
    """The version that images/litellm installs, which is also the tag of its image."""
    found = re.search(r"^litellm(?:\[[^\]]*\])?==([^\s;#]+)", requirements, flags=re.MULTILINE)
    if found is None:
        raise LabError("images/litellm/requirements.txt pins no version of litellm; write one as `litellm[proxy]==VERSION`.")
    return found.group(1)


def render(values: dict[str, Value]) -> str:
    lines = ["---", "# Written by the lab from what it has made; changes here are overwritten."]
    lines += [f"{name}: {json.dumps(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


class Inventory(Step):
    """The lab's variables, to be given to Ansible next to an inventory of hosts."""

    def __init__(self, lab: Lab, images: dict[str, Push]) -> None:
        source, model = LlamaSource(lab), TinyModel(lab)
        super().__init__(lab, "lab inventory", needs=(source.name, model.name, *(push.name for push in images.values())))
        self.images = images
        self.source = source.path
        self.model = model.path
        self.directory = lab.inventory

    def files(self) -> dict[Path, str]:
        values: dict[str, Value] = {"docker_engine_source": "distribution", **TEST_SETTINGS}
        values.update({variable: push.reference for variable, push in self.images.items()})
        values.update(
            {
                "llama_cpp_source_url": f"file://{FIXTURES_IN_HOST}/{SOURCE_FILE}",
                "llama_cpp_source_sha256": sha256_of(self.source),
                "llama_cpp_build_number": LLAMA_CPP_BUILD_NUMBER,
                "llama_cpp_build_commit": LLAMA_CPP_BUILD_COMMIT,
                "llama_cpp_artifact_directory": ARTIFACTS_IN_HOST,
                # Beside the finished builds, so that hosts which come and go share it.
                "llama_cpp_compiler_cache": f"{ARTIFACTS_IN_HOST}/compiled",
                "llama_model_url": f"file://{FIXTURES_IN_HOST}/{MODEL_FILE}",
                "llama_model_sha256": sha256_of(self.model),
            }
        )
        return {
            self.directory / "hosts.yml": "---\n# Hosts come from the inventory that is given next to this one.\nall: {}\n",
            self.directory / "group_vars" / "all" / "lab.yml": render(values),
        }

    def fingerprint(self) -> str:
        return digest_of(*(f"{path}\0{content}" for path, content in self.files().items()))

    def is_present(self) -> bool:
        return all(path.is_file() and path.read_text() == content for path, content in self.files().items())

    def make(self) -> None:
        for path, content in self.files().items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
