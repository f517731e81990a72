"""The virtual environment with the pinned Python tools."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from lab.context import Lab, digest_of
from lab.steps import Step

UV = "uv==0.13.9"


def requirement_files(repository: Path) -> list[Path]:
    return [repository / "requirements.txt", repository / "requirements-dev.txt", repository / "tools" / "lab" / "constraints.txt"]


def requirements_digest(lab: Lab) -> str:
    version = ".".join(str(number) for number in sys.version_info[:2])
    return digest_of(UV, version, *(path.read_bytes() for path in requirement_files(lab.repository)))


def environment_path(lab: Lab) -> Path:
    """Each set of requirements has a directory of its own: two checkouts never disturb one another."""
    return lab.home / f"venv-{requirements_digest(lab)[:12]}"


class PythonTools(Step):
    """Makes the environment with uv, which is fetched from the package index like everything else."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, "python tools", needs=("packages",))
        self.path = environment_path(lab)

    def fingerprint(self) -> str:
        return requirements_digest(self.lab)

    def is_present(self) -> bool:
        return (self.path / ".complete").exists() and (self.path / "bin" / "ansible-playbook").exists() and self._alias_is_right()

    def make(self) -> None:
        log = self.lab.log_of("python-tools")
        log.unlink(missing_ok=True)
        if not (self.path / ".complete").exists():
            shutil.rmtree(self.path, ignore_errors=True)
            self.lab.run(
                [sys.executable, "-m", "venv", self.path],
                log=log,
                failure="The virtual environment could not be made; install Python's venv module (Debian: apt-get install python3-venv)",
            )
            self._install(log)
            (self.path / ".complete").touch()
        self._link()

    def _install(self, log: Path) -> None:
        python = self.path / "bin" / "python"
        requirements, development, constraints = requirement_files(self.lab.repository)
        arguments: list[str | Path] = ["-r", requirements, "-r", development, "-c", constraints]
        failure = "The Python tools could not be installed from the package index; look at the network and pip's configuration"
        got_uv = self.lab.attempt([python, "-m", "pip", "install", "-q", UV], log=log)
        if got_uv.returncode == 0:
            fast = self.lab.attempt(
                [self.path / "bin" / "uv", "pip", "install", "--python", python, "--compile-bytecode", *arguments],
                log=log,
                environment=self._uv_environment(),
            )
            if fast.returncode == 0:
                return
        # pip is slower but knows every way in which a machine may be configured.
        self.lab.run([python, "-m", "pip", "install", "-q", *arguments], log=log, failure=failure)

    def _uv_environment(self) -> dict[str, str]:
        settings = {"UV_LINK_MODE": "copy", "UV_NO_PROGRESS": "1"}
        if index := self.lab.pip_index():
            settings["UV_DEFAULT_INDEX"] = index
        if bundle := self.lab.certificate_bundle():
            settings["SSL_CERT_FILE"] = bundle
        return settings

    def _alias_is_right(self) -> bool:
        alias = self.lab.home / "venv"
        return alias.is_symlink() and alias.resolve() == self.path.resolve()

    def _link(self) -> None:
        alias = self.lab.home / "venv"
        fresh = self.lab.home / "venv.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(self.path.name)
        fresh.replace(alias)
