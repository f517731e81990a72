"""Prometheus' own checkers, promtool and amtool: Debian's packages, unpacked beside the other tools instead of installed.

Installing them would start a Prometheus and an Alertmanager on this machine, and would need root.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from lab.context import Lab, LabError, digest_of
from lab.steps import Step

PACKAGES = ("prometheus", "prometheus-alertmanager")
PROGRAMS = ("promtool", "amtool")


def programs_path(lab: Lab) -> Path:
    """The directory that holds the two programs."""
    return lab.home / "prometheus-tools"


class PrometheusTools(Step):
    """Fetched once; programs that the machine has already are taken as they are."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, "prometheus tools", needs=("packages",))
        self.path = programs_path(lab)

    def fingerprint(self) -> str:
        return digest_of(*PACKAGES, *PROGRAMS)

    def is_present(self) -> bool:
        return all((self.path / program).exists() for program in PROGRAMS)

    def make(self) -> None:
        log = self.lab.log_of(self.name)
        log.unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)
        if all(self.lab.which(program) for program in PROGRAMS):
            for program in PROGRAMS:
                self._put(Path(str(self.lab.which(program))), as_link=True)
            return
        if self.lab.which("apt-get") is None or self.lab.which("dpkg-deb") is None:
            raise LabError(f"{' and '.join(PROGRAMS)} are missing and this machine has no apt; install Prometheus' tools by its own package manager.")
        with tempfile.TemporaryDirectory(prefix="prometheus-tools-", dir=self.lab.home) as place:
            self._download(Path(place), log)
            for package in sorted(Path(place).glob("*.deb")):
                self.lab.run(["dpkg-deb", "--extract", package, place], log=log, failure=f"{package.name} could not be unpacked")
            for program in PROGRAMS:
                self._put(Path(place) / "usr" / "bin" / program)

    def _download(self, place: Path, log: Path) -> None:
        command = ["apt-get", "download", "-q", *PACKAGES]
        if self.lab.attempt(command, log=log, directory=place).returncode == 0:
            return
        if self.lab.is_root:
            self.lab.run(["apt-get", "update", "-q"], log=log, failure="`apt-get update` failed")
        self.lab.run(command, log=log, directory=place, failure=f"`{' '.join(command)}` failed; run `apt-get update` as root, then this again")

    def _put(self, source: Path, as_link: bool = False) -> None:
        target, fresh = self.path / source.name, self.path / f"{source.name}.new"
        fresh.unlink(missing_ok=True)
        if as_link:
            fresh.symlink_to(source)
        else:
            shutil.copy2(source, fresh)
        fresh.replace(target)
