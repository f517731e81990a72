"""Debian packages: only what is missing, and one clear sentence where they cannot be installed from here."""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Callable

from lab.context import Lab, LabError, digest_of
from lab.engine import answering_engine
from lab.steps import Step


def missing_packages(lab: Lab) -> list[str]:
    """What has to be installed, asked of the machine and not of a list kept from last time."""
    missing = []
    if importlib.util.find_spec("ensurepip") is None:
        missing.append("python3-venv")
    if lab.which("openssl") is None:
        missing.append("openssl")
    if lab.which("docker") is None or (lab.which("dockerd") is None and answering_engine(lab) is None):
        missing.append("docker.io")
    # Only an engine that the lab starts itself needs these, and only root can start one or make a root file system.
    if lab.is_root:
        if lab.which("iptables") is None:
            missing.append("iptables")
        if lab.which("mmdebstrap") is None and lab.which("apt-get") is not None:
            missing.append("mmdebstrap")
    return missing


def missing_browser(lab: Lab) -> list[str]:
    """The browser and its remote control, for tests that look at web pages."""
    return [package for package, program in (("chromium", "chromium"), ("chromium-driver", "chromedriver")) if lab.which(program) is None]


class Packages(Step):
    """Debian packages that a function finds missing."""

    def __init__(self, lab: Lab, name: str = "packages", find: Callable[[Lab], list[str]] = missing_packages) -> None:
        super().__init__(lab, name)
        self._find = find

    def fingerprint(self) -> str:
        return digest_of(self.name)

    def is_present(self) -> bool:
        return not self._find(self.lab)

    def describe(self) -> str:
        return "nothing missing"

    def make(self) -> None:
        missing = self._find(self.lab)
        if not missing:
            return
        command = "apt-get install " + " ".join(missing)
        verb = "is" if len(missing) == 1 else "are"
        if self.lab.which("apt-get") is None:
            raise LabError(f"{', '.join(missing)} {verb} missing and this machine has no apt; install the same by its own package manager.")
        if not self.lab.is_root:
            raise LabError(f"{', '.join(missing)} {verb} missing; install with `sudo {command}`, then run this again.")
        log = self.lab.log_of(self.name)
        log.unlink(missing_ok=True)
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        failure = f"{', '.join(missing)} could not be installed by `{command}`"
        self.lab.run(["apt-get", "update", "-q"], log=log, environment=quiet, failure="`apt-get update` failed")
        if "docker.io" in missing and self._is_packaged("docker-cli"):
            missing.append("docker-cli")
        self.lab.run(
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing],
            log=log,
            environment=quiet,
            failure=failure,
        )
        if "python3-venv" in missing and importlib.util.find_spec("ensurepip") is None:
            importlib.invalidate_caches()
            if importlib.util.find_spec("ensurepip") is None:
                raise LabError(
                    f"This Python has no ensurepip although {shlex.quote('python3-venv')} is installed; run with PYTHON=/usr/bin/python3."
                )

    def _is_packaged(self, package: str) -> bool:
        return self.lab.attempt(["apt-cache", "show", package]).returncode == 0
