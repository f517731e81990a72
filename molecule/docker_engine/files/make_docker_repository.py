#!/usr/bin/python3
"""Makes a signed repository with the names and versions of Docker's packages. They are stand-ins: inside is the distribution's own engine.

Usage: make_docker_repository.py DIRECTORY DISTRIBUTION RELEASE
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from signed_repository import fingerprint, index, make_key, package

VERSIONS = ("5:29.1.3-1~stand-in", "5:30.0.0-1~stand-in")


def repacked(target: Path, of_distribution: str, name: str, version: str) -> None:
    """A package of the distribution under another name; the two cannot be installed side by side."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["apt-get", "download", "-q", of_distribution], cwd=scratch, check=True, stdout=subprocess.DEVNULL)
        tree = Path(scratch) / "tree"
        subprocess.run(["dpkg-deb", "--raw-extract", next(Path(scratch).glob("*.deb")), tree], check=True)
        control = tree / "DEBIAN/control"
        kept = []
        for field in control.read_text().replace("\n ", "\0").splitlines():
            key, _colon, value = field.partition(":")
            if key in ("Architecture", "Depends", "Maintainer", "Description"):
                # What the engine needs of its other half, the vendor's half is.
                needs = [need for need in value.split(",") if "docker-cli" not in need] if key == "Depends" else [value]
                kept.append(f"{key}:{','.join(needs)}".replace("\0", "\n "))
        others = f"Conflicts: {of_distribution}\nReplaces: {of_distribution}\n"
        control.write_text(f"Package: {name}\nVersion: {version}\n{others}" + "\n".join(kept) + "\n")
        file = target / f"{name}_{version.replace(':', '%3a')}.deb"
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", "-z1", tree, file], check=True, stdout=subprocess.DEVNULL)


def main(directory: str, distribution: str, release: str) -> None:
    home = f"{directory}.gnupg"
    vendors, strangers = (Path(directory) / name / distribution for name in ("docker", "stranger"))
    vendors.mkdir(parents=True)
    has_own_client = subprocess.run(["apt-cache", "show", "docker-cli"], check=False, capture_output=True).returncode == 0
    for version in VERSIONS:
        repacked(vendors, "docker.io", "docker-ce", version)
        if has_own_client:
            repacked(vendors, "docker-cli", "docker-ce-cli", version)
        else:
            package(vendors, "docker-ce-cli", version)
    package(vendors, "containerd.io", "2.1.5-1~stand-in")
    shutil.copytree(vendors, strangers)
    for root, name in ((vendors, "docker@example.com"), (strangers, "stranger@example.com")):
        (root / "gpg").write_bytes(make_key(home, name))
        index(root, home, name, "Docker CE", suite=release)
    Path(f"{directory}.fingerprint").write_text(fingerprint(home, "docker@example.com"))


if __name__ == "__main__":
    os.umask(0o022)
    main(*sys.argv[1:])
