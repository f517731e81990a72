"""`make bench`: how long services take, as ratios from one run, written to docs/benchmarks/."""

from __future__ import annotations

import json
import os
import shlex
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab import testhosts
from lab.context import Lab, LabError
from lab.plan import all_steps, bring_up, tool_environment

HOST = "pl-bench"
SUITE = "trixie"
SERVICES = 5
ROUNDS = 5
PROBE_SECONDS = 0.01
LONGEST_DOWNTIME = 60.0
PORT = 5433
# What a PostgreSQL client says first, to which a server that takes connections answers with one letter.
SSL_REQUEST = bytes.fromhex("0000000804d2162f")


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def cells(self) -> list[str]:
        return [self.what, f"{self.median:.2f}", f"{min(self.seconds):.2f} to {max(self.seconds):.2f}", str(len(self.seconds))]


@dataclass
class Prober:
    """Asks a server again and again, and knows the longest time it got no answer."""

    address: str
    port: int
    _answers: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def _answered(self) -> bool:
        try:
            with socket.create_connection((self.address, self.port), timeout=0.5) as connection:
                connection.sendall(SSL_REQUEST)
                return connection.recv(1) in (b"N", b"S")
        except OSError:
            return False

    def _ask(self) -> None:
        while not self._stop.wait(PROBE_SECONDS):
            if self._answered():
                self._answers.append(time.monotonic())

    def wait(self) -> None:
        """Return once the server answers."""
        deadline = time.monotonic() + LONGEST_DOWNTIME
        while not self._answered():
            if time.monotonic() > deadline:
                raise LabError(f"No server answers at {self.address}:{self.port} within {LONGEST_DOWNTIME:.0f} s.")
            time.sleep(PROBE_SECONDS)

    def downtime_of(self, change: Callable[[], None]) -> float:
        """Seconds without an answer while something is done."""
        self.wait()
        self._answers, self._stop = [], threading.Event()
        asking = threading.Thread(target=self._ask)
        asking.start()
        try:
            time.sleep(0.5)
            change()
            self.wait()
            time.sleep(0.5)
        finally:
            self._stop.set()
            asking.join()
        return max(later - earlier for earlier, later in zip(self._answers, self._answers[1:], strict=False))


class EngineRoom:
    """container_service over SSH, next to the same container started and stopped by hand."""

    def __init__(self, lab: Lab, say: Callable[[str], None]) -> None:
        self.lab = lab
        self.say = say
        self.directory = lab.home / "bench"
        self.settings = {**lab.environment, **tool_environment(lab, SUITE)}

    # -- the host -------------------------------------------------------------------------------------------------------

    @contextmanager
    def host(self) -> Iterator[str]:
        testhosts.start(self.lab, HOST, SUITE)
        try:
            self._open_ssh()
            yield testhosts.address_of(self.lab, HOST)
        finally:
            testhosts.remove(self.lab, HOST)

    def _open_ssh(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        key = self.directory / "key"
        for path in (key, key.with_suffix(".pub")):
            path.unlink(missing_ok=True)
        self.lab.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], failure="No key for SSH could be made")
        public = key.with_suffix(".pub").read_text().strip()
        self.inside(f"install -d -m 700 /root/.ssh && echo {shlex.quote(public)} > /root/.ssh/authorized_keys")

    def inside(self, script: str) -> str:
        return self.lab.docker("exec", HOST, "sh", "-ec", script)

    def _inventory(self, address: str) -> Path:
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        values = {
            "ansible_host": address,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.directory / "key"),
            "ansible_ssh_common_args": options,
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        path = self.directory / "hosts.json"
        path.write_text(json.dumps({"all": {"hosts": {HOST: values}}}))
        return path

    # -- what is measured -----------------------------------------------------------------------------------------------

    def play(self, tasks: Sequence[dict[str, object]]) -> list[float]:
        """Run tasks over SSH with pipelining; the seconds that each took, as its controller sees them."""
        playbook = self.directory / "bench.json"
        playbook.write_text(json.dumps([{"name": "Bench", "hosts": HOST, "gather_facts": False, "tasks": list(tasks)}]))
        command = ["ansible-playbook", "-i", str(self.directory / "hosts.json"), "-i", str(self.lab.inventory), str(playbook)]
        seconds = self.directory / "seconds.jsonl"
        seconds.unlink(missing_ok=True)
        settings = self.settings | {
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_CALLBACK_PLUGINS": str(self.lab.repository / "tools" / "callbacks"),
            "ANSIBLE_CALLBACKS_ENABLED": "seconds",
            "PRIVATE_LLM_SECONDS": str(seconds),
        }
        done = subprocess.run(command, env=settings, cwd=self.lab.repository, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LabError(f"The playbook of the benchmark failed: {done.stdout[-2000:]}{done.stderr[-500:]}")
        return [float(json.loads(line)["seconds"]) for line in seconds.read_text().splitlines()]

    def service(self, number: int, word: str) -> dict[str, object]:
        return {
            "name": f"Run service {number}",
            "private_llm.platform.container_service": {
                "name": f"bench-{number}",
                "image": "{{ postgres_image }}",
                "entrypoint": "/bin/sh",
                # A program that ends when it is told to, so that nothing but the module is measured.
                "command": ["-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"],
                "files": [{"path": "/etc/bench.conf", "content": word}],
                "health": {"exec": ["true"]},
            },
        }

    def database(self, image: str, address: str) -> dict[str, object]:
        return {
            "name": "Run the database",
            "private_llm.platform.container_service": {
                "name": "bench-db",
                "image": image,
                "user": "999:999",
                "publish": [f"{address}:{PORT}:5432"],
                "networks": [{"name": "bench"}],
                "environment": {"POSTGRES_HOST_AUTH_METHOD": "trust"},
                "volumes": [{"source": "/var/lib/bench-db", "target": "/var/lib/postgresql/data", "mode": "0700"}],
                "tmpfs": ["/tmp", "/run/postgresql"],  # noqa: S108
                "memory": "512m",
                "stop_timeout": 60,
                "health": {"tcp": f"{address}:{PORT}"},
            },
        }

    def _images(self) -> tuple[str, str]:
        """Two images of the same program, as a release and the next are."""
        base = self.inside("docker inspect -f '{{.Config.Image}}' bench-1").strip()
        for number in (1, 2):
            self.inside(f"mkdir -p /run/empty && printf 'FROM {base}\\nLABEL release={number}\\n' | docker build -q -t bench:{number} -f - /run/empty")
        return "bench:1", "bench:2"

    def _by_hand(self, image: str) -> None:
        self.inside(
            "docker stop -t 60 bench-bare >/dev/null && docker rm bench-bare >/dev/null && "
            f"docker run --detach {self._bare_options(image)} >/dev/null"
        )

    def _bare_options(self, image: str) -> str:
        return (
            f"--name bench-bare --network bench --publish {self._address}:{PORT + 1}:5432 --user 999:999 --env POSTGRES_HOST_AUTH_METHOD=trust "
            "--memory 512m --read-only --tmpfs /tmp --tmpfs /run/postgresql --cap-drop ALL --log-driver journald "
            f"--mount type=bind,source=/var/lib/bench-bare,target=/var/lib/postgresql/data {image}"
        )

    def measure(self) -> list[Figure]:
        with self.host() as address:
            self._address = address
            self._inventory(address)
            numbers = range(1, SERVICES + 1)
            self.say(f"First run of {SERVICES} services ...")
            first = self.play([self.service(number, "first") for number in numbers])
            self.say("Runs that change nothing ...")
            noop = [seconds for _round in range(3) for seconds in self.play([self.service(number, "first") for number in numbers])]
            ping = [seconds for _round in range(3) for seconds in self.play([_ping(number) for number in numbers])]
            self.say("Another configuration ...")
            change = self.play([self.service(number, "second") for number in numbers])
            return [
                Figure("first run of a service (image already pulled by the first)", tuple(first[1:])),
                Figure("`ansible.builtin.ping`, for comparison", tuple(ping)),
                Figure("a run that changes nothing", tuple(noop)),
                Figure("another configuration file, with restart and health check", tuple(change)),
                *self._downtimes(address),
            ]

    def _downtimes(self, address: str) -> list[Figure]:
        images = self._images()
        self.play([self.database(images[0], address)])
        self.inside(f"install -d -o 999 -g 999 -m 700 /var/lib/bench-bare && docker run --detach {self._bare_options(images[0])}")
        ours, bare = Prober(address, PORT), Prober(address, PORT + 1)
        seconds: dict[str, list[float]] = {"ours": [], "bare": [], "start": []}
        for number in range(ROUNDS):
            image = images[(number + 1) % 2]
            self.say(f"Another image, {number + 1} of {ROUNDS} ...")
            self.inside("docker stop -t 60 bench-bare")
            began = time.monotonic()
            self.inside("docker start bench-bare")
            bare.wait()
            seconds["start"].append(time.monotonic() - began)
            seconds["bare"].append(bare.downtime_of(lambda image=image: self._by_hand(image)))  # type: ignore[misc]
            seconds["ours"].append(ours.downtime_of(lambda image=image: self._play_database(image, address)))  # type: ignore[misc]
        return [
            Figure("downtime of another image, `container_service`", tuple(seconds["ours"])),
            Figure("downtime of another image, `docker stop`, `rm` and `run` by hand", tuple(seconds["bare"])),
            Figure("the program's own start (`docker start` until it answers)", tuple(seconds["start"])),
        ]

    def _play_database(self, image: str, address: str) -> None:
        self.play([self.database(image, address)])

    # -- what is told ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        figures = self.measure()
        noop, ours, bare, start = (figures[number].median for number in (2, -3, -2, -1))
        lines = [
            "# What the engine room costs",
            "",
            "Written by `make bench`; each figure is in seconds and from one run, on one machine, so compare them with one another.",
            f"The host is a test host with Debian {SUITE}, reached by SSH with pipelining; the machine has {_cores()} cores.",
            "",
            *table(["What", "Median", "Range", "Runs"], [figure.cells() for figure in figures]),
            "",
            f"Downtime of another image: **{ours / bare:.2f}** times that of doing it by hand.",
            f"Promised are 1.1 times and the program's own start, {1.1 * bare + start:.2f} s; it was {ours:.2f} s.",
            f"A run that changes nothing: {noop / figures[1].median:.2f} times a ping; promised is one run of one module in 1 s on two free cores.",
            "",
        ]
        path = self.lab.repository / "docs" / "benchmarks" / "engine-room.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines))
        self.say("\n".join(lines[5:]))
        self.say(f"Written to {path.relative_to(self.lab.repository)}")


def _ping(number: int) -> dict[str, object]:
    return {"name": f"Ping {number}", "ansible.builtin.ping": {}}


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


class OfScenario:
    """Something measured with what a scenario brings up."""

    scenario: str
    program: str

    def __init__(self, lab: Lab, say: Callable[[str], None]) -> None:
        self.lab = lab
        self.say = say

    def run(self) -> None:
        settings = {**self.lab.environment, **tool_environment(self.lab, SUITE)}

        def step(*words: str) -> None:
            self.say(f"$ {' '.join(words)}")
            if subprocess.run(words, env=settings, cwd=self.lab.repository, check=False).returncode != 0:
                raise LabError(f"`{' '.join(words)}` failed.")

        try:
            step("molecule", "converge", "-s", self.scenario)
            step("python", self.program)
        finally:
            step("molecule", "destroy", "-s", self.scenario)


class Access(OfScenario):
    """People and keys at the real gateway."""

    scenario, program = "litellm_access", "tools/bench_access.py"


class Tracing(OfScenario):
    """Requests at a gateway that records and at one that does not."""

    scenario, program = "langfuse", "tools/bench_tracing.py"


BENCHMARKS: dict[str, type[EngineRoom] | type[OfScenario]] = {"engine-room": EngineRoom, "access": Access, "tracing": Tracing}


def bench(lab: Lab, names: Sequence[str], say: Callable[[str], None]) -> None:
    """Run the named benchmarks, or all."""
    if unknown := [name for name in names if name not in BENCHMARKS]:
        raise LabError(f"There is no benchmark called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}.")
    bring_up(lab, all_steps(lab, [SUITE]), say)
    for name in names or list(BENCHMARKS):
        say(f"\n=== {name}")
        BENCHMARKS[name](lab, say).run()
