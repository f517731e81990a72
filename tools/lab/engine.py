"""A Docker Engine: the one that answers, or one of the lab's own where none does."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from lab.context import Lab, LabError, digest_of, tail
from lab.steps import Step

# Paths of unix sockets end at 107 bytes, and the engine makes some well below its run directory.
LONGEST_RUN_DIRECTORY = 60


class OwnEngine:
    """The engine that the lab starts: its paths, its process, its end."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.directory = lab.home / "engine"
        self.data = self.directory / "data"
        self.log = self.directory / "dockerd.log"
        self.pid_file = self.directory / "dockerd.pid"
        short = Path("/run") / f"private-llm-lab-{digest_of(str(self.directory))[:8]}"
        deep = len(str(self.directory)) > LONGEST_RUN_DIRECTORY
        self.run_directory = short / "run" if deep else self.directory / "run"
        self.socket = short / "docker.sock" if deep else self.directory / "docker.sock"

    @property
    def address(self) -> str:
        return f"unix://{self.socket}"

    def process(self) -> int | None:
        """The engine's process id, if the process of that id really is this engine."""
        try:
            number = int(self.pid_file.read_text())
            command = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return number if str(self.data).encode() in command else None

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self._forget_dead_processes()
        program = self.lab.which("dockerd")
        if program is None:
            raise LabError("No Docker Engine answers and `dockerd` is missing; install it with `apt-get install docker.io`.")
        arguments = [program, "--data-root", self.data, "--exec-root", self.run_directory, "-H", self.address, "--pidfile", self.pid_file]
        environment = {**self.lab.environment, "PATH": self.lab.environment.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"}
        environment.pop("DOCKER_HOST", None)
        with self.log.open("a") as log:
            # Fully detached: whoever reads this run's output through a pipe must see it end.
            process = subprocess.Popen(
                [str(a) for a in arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                cwd="/",
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if engine_version(self.lab, self.address):
                return
            if process.poll() is not None:
                raise LabError(f"The Docker Engine stopped while starting: {tail(self.log, 1)}", self.log)
            time.sleep(0.2)
        raise LabError("The Docker Engine was started but does not answer after a minute.", self.log)

    def stop(self) -> bool:
        """Stop the engine by its own process id; false if it is not running."""
        number = self.process()
        if number is None:
            return False
        os.kill(number, signal.SIGTERM)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process() is None:
                return True
            time.sleep(0.2)
        raise LabError(f"The lab's Docker Engine (process {number}) does not end after a minute; end it by hand.", self.log)

    def _forget_dead_processes(self) -> None:
        # After a crash of the machine the old numbers may belong to other programs, and the engine would wait for those.
        if self.process() is None:
            self.pid_file.unlink(missing_ok=True)
        for inner in (
            self.run_directory / "containerd" / "containerd.pid",
            self.run_directory / "containerd" / "daemon" / "containerd.pid",
        ):
            try:
                command = Path(f"/proc/{int(inner.read_text())}/cmdline").read_bytes()
            except (OSError, ValueError):
                command = b""
            if b"containerd" not in command:
                inner.unlink(missing_ok=True)


def engine_version(lab: Lab, address: str | None) -> str | None:
    """The version of the engine that answers at an address, or at the default one."""
    if lab.which("docker") is None:
        return None
    settings = {"DOCKER_HOST": address} if address else {}
    outcome = lab.attempt(["docker", "version", "--format", "{{.Server.Version}}"], environment=settings, timeout=20)
    return outcome.stdout.strip() or None if outcome.returncode == 0 else None


def answering_engine(lab: Lab) -> dict[str, str] | None:
    """The environment by which an engine answers now; None if none does."""
    own = OwnEngine(lab)
    configured = lab.environment.get("DOCKER_HOST")
    if configured:
        return {"DOCKER_HOST": configured} if engine_version(lab, configured) else None
    if own.process() is not None and engine_version(lab, own.address):
        return {"DOCKER_HOST": own.address}
    return {} if engine_version(lab, None) else None


def builder_environment(lab: Lab) -> dict[str, str]:
    """Debian's engine comes without buildx: there the classic builder must be asked for by name."""
    if lab.attempt(["docker", "buildx", "version"]).returncode == 0:
        return {"BUILDX_BUILDER": "default"}
    return {"DOCKER_BUILDKIT": "0"}


class Engine(Step):
    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, "engine", needs=("packages",))
        self.found = ""

    def fingerprint(self) -> str:
        return digest_of("engine")

    def is_present(self) -> bool:
        settings = answering_engine(self.lab)
        if settings is None:
            return False
        self._use(settings)
        return True

    def describe(self) -> str:
        return f"already running ({self.found})"

    def make(self) -> None:
        settings = answering_engine(self.lab)
        if settings is None:
            settings = self._start()
        self._use(settings)

    def _start(self) -> dict[str, str]:
        own = OwnEngine(self.lab)
        configured = self.lab.environment.get("DOCKER_HOST")
        if configured and configured != own.address:
            raise LabError(
                f"No engine answers at DOCKER_HOST={configured}; start that engine, or unset DOCKER_HOST to have one started here."
            )
        if not self.lab.is_root:
            raise LabError(
                "No Docker Engine answers to you; start one (`sudo systemctl start docker`) and join the group docker, or run this as root."
            )
        own.start()
        return {"DOCKER_HOST": own.address}

    def _use(self, settings: dict[str, str]) -> None:
        address = settings.get("DOCKER_HOST", "")
        if address and not address.startswith("unix://"):
            raise LabError(
                f"The engine at DOCKER_HOST={address} is on another machine; the lab mounts directories of this one and needs a local engine."
            )
        self.found = f"at {address}" if address else "the machine's own"
        self.lab.use_engine({**settings, **builder_environment(self.lab)})
