"""The collections of requirements.yml, taken out of the `ansible` package of the Python package index."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

from lab.context import Lab, LabError, digest_of
from lab.python_tools import environment_path
from lab.steps import Step

# Galaxy is not asked: the package index is needed anyway, and this one archive holds every collection that the tests use.
BUNDLE = "ansible==12.3.0"


def wanted_collections(requirements: str) -> dict[str, str]:
    """Names and versions out of requirements.yml; the standard library has no YAML, and the file's shape is ours."""
    found = re.findall(r"^\s*-\s+name:\s*(\S+)\s*\n\s*version:\s*[\"']?([^\"'\s]+)", requirements, flags=re.MULTILINE)
    return dict(found)


def version_at(root: Path, name: str) -> str | None:
    manifest = root / "ansible_collections" / Path(*name.split(".")) / "MANIFEST.json"
    try:
        return str(json.loads(manifest.read_text())["collection_info"]["version"])
    except (OSError, ValueError, KeyError):
        return None


def unpack(bundle: Path, names: list[str], target: Path) -> None:
    """Take some collections out of the bundle."""
    prefixes = tuple(f"ansible_collections/{name.replace('.', '/')}/" for name in names)
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(target, [member for member in archive.namelist() if member.startswith(prefixes)])


class Collections(Step):
    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, "collections", needs=("python tools",))
        self.path = lab.home / "collections"
        self.wanted = wanted_collections((lab.repository / "requirements.yml").read_text())

    def fingerprint(self) -> str:
        return digest_of(BUNDLE, json.dumps(self.wanted, sort_keys=True))

    def is_present(self) -> bool:
        return all(version_at(self.path, name) == version for name, version in self.wanted.items())

    def make(self) -> None:
        log = self.lab.log_of("collections")
        log.unlink(missing_ok=True)
        python = environment_path(self.lab) / "bin" / "python"
        fresh = self.path.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        self.lab.run(
            [python, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", fresh, BUNDLE],
            log=log,
            failure="The collections could not be fetched from the package index; look at the network and pip's configuration",
        )
        bundle = next(fresh.glob("ansible-*.whl"))
        unpack(bundle, list(self.wanted), fresh)
        bundle.unlink()
        for name, version in self.wanted.items():
            found = version_at(fresh, name)
            if found != version:
                raise LabError(
                    f"requirements.yml wants {name} {version} but {BUNDLE} carries {found or 'no such collection'}; pin that version."
                )
        # Nothing would be compiled later where PYTHONDONTWRITEBYTECODE is set, and each run would pay for it.
        self.lab.run([python, "-m", "compileall", "-q", fresh], log=log, environment={"PYTHONDONTWRITEBYTECODE": ""})
        shutil.rmtree(self.path, ignore_errors=True)
        fresh.rename(self.path)
