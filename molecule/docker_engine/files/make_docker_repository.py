#!/usr/bin/python3
"""Makes a signed repository with the names and versions of Docker's packages. They are stand-ins that bring the distribution's own engine.

Usage: make_docker_repository.py DIRECTORY DISTRIBUTION RELEASE
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from signed_repository import fingerprint, index, make_key, package

VERSIONS = ("5:29.1.3-1~stand-in", "5:30.0.0-1~stand-in")


def main(directory: str, distribution: str, release: str) -> None:
    home = f"{directory}.gnupg"
    for name in ("docker@example.com", "stranger@example.com"):
        key = make_key(home, name)
        root = Path(directory) / name.partition("@")[0] / distribution
        root.mkdir(parents=True)
        for version in VERSIONS:
            package(root, "docker-ce", version, "docker.io")
            package(root, "docker-ce-cli", version)
        package(root, "containerd.io", "2.1.5-1~stand-in")
        index(root, home, name, "Docker CE", suite=release)
        (root / "gpg").write_bytes(key)
    Path(f"{directory}.fingerprint").write_text(fingerprint(home, "docker@example.com"))


if __name__ == "__main__":
    os.umask(0o022)
    main(*sys.argv[1:])
