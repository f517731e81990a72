"""The grammar of LogQL: what tools/grammar names, installed by npm beside the other tools."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.context import Lab, digest_of
from lab.steps import Step

FILES = ("package.json", "package-lock.json", "check.mjs")


def missing_javascript(lab: Lab) -> list[str]:
    """Debian's packages of what runs the grammar and of what fetches it, where the machine has neither."""
    return [package for package, program in (("nodejs", "node"), ("npm", "npm")) if lab.which(program) is None]


def grammar_path(lab: Lab) -> Path:
    """Where the grammar lies; each version of it in a directory of its own, so that two checkouts never disturb one another."""
    return lab.home / f"grammar-{source_digest(lab)[:12]}"


def source_digest(lab: Lab) -> str:
    source = lab.repository / "tools" / "grammar"
    return digest_of(*(path.read_bytes() for name in FILES if (path := source / name).is_file()))


class Grammar(Step):
    """A copy of tools/grammar with its dependencies."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, "query grammar", needs=("javascript",))
        self.source = lab.repository / "tools" / "grammar"
        self.path = grammar_path(lab)

    def fingerprint(self) -> str:
        return source_digest(self.lab)

    def is_present(self) -> bool:
        return (self.path / "complete").exists()

    def make(self) -> None:
        log = self.lab.log_of(self.name)
        log.unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        for name in FILES:
            shutil.copy2(self.source / name, self.path / name)
        failure = "The grammar of LogQL could not be installed by npm; look at the network and npm's configuration"
        self.lab.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], log=log, directory=self.path, failure=failure)
        (self.path / "complete").touch()
