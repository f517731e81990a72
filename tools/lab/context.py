"""Where things lie, what this machine is configured to use, and how commands are run."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
OWNER_LABEL = "owner=private-llm-lab"
LAST_LINES = 40


class LabError(Exception):
    """One sentence that says what is wrong and what to do, and the log that holds the rest."""

    def __init__(self, sentence: str, log: Path | None = None) -> None:
        super().__init__(sentence)
        self.log = log


def default_home(environment: Mapping[str, str]) -> Path:
    """The lab's directory: shared by all checkouts of one user, so that a second checkout is warm."""
    if environment.get("PRIVATE_LLM_LAB"):
        return Path(environment["PRIVATE_LLM_LAB"]).expanduser().absolute()
    cache = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache).absolute() / "private-llm-platform"


def digest_of(*parts: str | bytes) -> str:
    """A hash of several values in which no two lists of values collide by concatenation."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()


def digest_of_tree(root: Path, ignored: Iterable[str] = ("__pycache__",)) -> str:
    """A hash of names, modes and contents below a directory; the times of files do not count."""
    skip = set(ignored)
    parts: list[str | bytes] = []
    for path in sorted(p for p in root.rglob("*") if p.is_file() or p.is_symlink()):
        relative = path.relative_to(root)
        if skip & set(relative.parts):
            continue
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        executable = "x" if os.access(path, os.X_OK) else "-"
        parts += [str(relative), executable, content]
    return digest_of(*parts)


def tail(log: Path, lines: int = LAST_LINES) -> str:
    """The end of a log file, for people who read the screen only."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


class Lab:
    """The lab of one user: paths, environment and a way to run commands in it."""

    def __init__(self, home: Path | None = None, repository: Path = REPOSITORY, environment: Mapping[str, str] | None = None) -> None:
        self.environment: dict[str, str] = dict(os.environ if environment is None else environment)
        # How this program was found is nothing that the programs it starts should inherit.
        if self.environment.get("PYTHONPATH") == "tools":
            del self.environment["PYTHONPATH"]
        self.home = home or default_home(self.environment)
        self.repository = repository
        self.logs = self.home / "logs"
        # Two checkouts share what the lab made, but each has its own list of images and settings.
        self.inventory = self.home / "inventories" / f"{repository.name}-{digest_of(str(repository))[:8]}"
        self.official_images = self.environment.get("IMAGES", "") == "official"
        self._docker_environment: dict[str, str] | None = None
        self._image_ids: dict[str, str] | None = None
        self._pip_index: str | None = None
        self._lock = threading.Lock()

    def prepare_directories(self) -> None:
        for directory in (self.home, self.logs, self.home / "state", self.home / "llama-artifacts"):
            directory.mkdir(parents=True, exist_ok=True)

    @property
    def is_root(self) -> bool:
        return os.geteuid() == 0

    def log_of(self, name: str) -> Path:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self.logs / (name.replace(" ", "-").replace("/", "-") + ".log")

    def which(self, program: str) -> str | None:
        # A plain user's PATH often lacks the directories of the system's own tools.
        return shutil.which(program, path=self.environment.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: str | None = None,
        directory: Path | None = None,
        failure: str = "",
        timeout: float | None = None,
    ) -> str:
        """Run a command to its end and return its output; stop with one clear sentence if it fails."""
        outcome = self.attempt(argv, log=log, environment=environment, stdin=stdin, directory=directory, timeout=timeout)
        if outcome.returncode != 0:
            sentence = failure or f"The command `{' '.join(str(a) for a in argv[:4])} ...` failed with exit code {outcome.returncode}"
            detail = tail(log, 1) if log else (outcome.stderr or outcome.stdout).strip().splitlines()[-1:]
            last = detail if isinstance(detail, str) else "".join(detail)
            raise LabError(f"{sentence}: {last}" if last else f"{sentence}.", log)
        return outcome.stdout

    def attempt(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: str | None = None,
        directory: Path | None = None,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end whatever comes of it; with a log, the output goes there and nowhere else."""
        words = [str(a) for a in argv]
        settings = {**self.environment, **(environment or {})}
        try:
            if log is None:
                return subprocess.run(
                    words,
                    input=stdin,
                    env=settings,
                    cwd=directory,
                    text=True,
                    capture_output=True,
                    timeout=timeout,
                    check=False,
                    stdin=subprocess.DEVNULL if stdin is None else None,
                )
            with log.open("a") as stream:
                stream.write(f"$ {' '.join(words)}\n")
                stream.flush()
                return subprocess.run(
                    words,
                    input=stdin,
                    env=settings,
                    cwd=directory,
                    text=True,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    timeout=timeout,
                    check=False,
                    stdin=subprocess.DEVNULL if stdin is None else None,
                )
        except FileNotFoundError as error:
            raise LabError(f"The program `{words[0]}` is missing: run `make demo` or `make test`, which install what they need.") from error
        except subprocess.TimeoutExpired as error:
            raise LabError(f"The command `{words[0]}` gave no answer within {timeout:.0f} seconds.", log) from error

    # -- the engine, as the other steps see it ---------------------------------------------------------------------

    def use_engine(self, settings: Mapping[str, str]) -> None:
        with self._lock:
            self._docker_environment = dict(settings)

    @property
    def docker_environment(self) -> dict[str, str]:
        if self._docker_environment is None:
            raise LabError("No Docker Engine has been looked for yet: run `make demo` or `make test` first.")
        return self._docker_environment

    def docker(self, *arguments: str | Path, log: Path | None = None, failure: str = "", stdin: str | None = None) -> str:
        try:
            return self.run(["docker", *arguments], log=log, environment=self.docker_environment, failure=failure, stdin=stdin)
        finally:
            self._forget_images(arguments)

    def docker_attempt(self, *arguments: str | Path, log: Path | None = None) -> subprocess.CompletedProcess[str]:
        try:
            return self.attempt(["docker", *arguments], log=log, environment=self.docker_environment)
        finally:
            self._forget_images(arguments)

    def image_ids(self) -> dict[str, str]:
        """All tagged images and their ids: one question to the engine for all steps."""
        with self._lock:
            known = self._image_ids
        if known is None:
            listed = self.docker("image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
            known = dict(line.split(" ", 1) for line in listed.splitlines())
            with self._lock:
                self._image_ids = known
        return known

    def _forget_images(self, arguments: Sequence[str | Path]) -> None:
        if arguments and (arguments[0] in ("build", "tag", "import", "pull", "load") or arguments[:2] == ("image", "rm")):
            with self._lock:
                self._image_ids = None

    # -- what this machine is configured to use --------------------------------------------------------------------

    def certificate_bundle(self) -> str | None:
        """The certificates that this machine trusts, which may hold those of a company's proxy."""
        for candidate in (self.environment.get("SSL_CERT_FILE"), "/etc/ssl/certs/ca-certificates.crt"):
            if candidate and Path(candidate).is_file():
                return candidate
        return None

    def pip_index(self) -> str | None:
        """The package index that pip is configured to use here; None means PyPI itself."""
        if self._pip_index is None:
            found = self.environment.get("PIP_INDEX_URL", "")
            if not found:
                outcome = self.attempt([sys.executable, "-m", "pip", "config", "get", "global.index-url"])
                found = outcome.stdout.strip() if outcome.returncode == 0 else ""
            self._pip_index = found
        return self._pip_index or None

    def npm_registry(self) -> str | None:
        """The registry that npm is configured to use here; None means npm's own."""
        for name in ("NPM_CONFIG_REGISTRY", "npm_config_registry"):
            if self.environment.get(name):
                return self.environment[name]
        for path in (Path.home() / ".npmrc", Path("/etc/npmrc"), Path("/usr/etc/npmrc")):
            if path.is_file():
                for line in path.read_text(errors="replace").splitlines():
                    key, found, value = line.partition("=")
                    if found and key.strip() == "registry":
                        return value.strip().strip('"')
        return None
