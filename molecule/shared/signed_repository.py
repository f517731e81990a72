#!/usr/bin/python3
"""Makes packages and signed repositories of them on a test host: real for apt and dpkg, whatever the packages stand in for."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
from pathlib import Path


def package(target: Path, name: str, version: str, depends: str = "", files: dict[str, str | bytes] | None = None, script: str = "") -> None:
    """One package; a file below a bin directory can be run."""
    tree = target / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Test <test@example.com>\nDescription: stand-in\n"
    (tree / "DEBIAN/control").write_text(control + (f"Depends: {depends}\n" if depends else ""))
    if script:
        (tree / "DEBIAN/postinst").write_text(f"#!/bin/sh\nset -e\n{script}\n")
        (tree / "DEBIAN/postinst").chmod(0o755)
    for path, content in (files or {}).items():
        place = tree / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
        place.chmod(0o755 if "/bin/" in path else 0o644)
    file = f"{name}_{version.replace(':', '%3a')}_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", "-z1", tree, target / file], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)


def index(root: Path, home: str, key: str, label: str, origin: str = "stand-in", suite: str = "") -> None:
    """Index the packages of a directory and sign it with a key of a GnuPG home; with a suite as one of its own, which has the component `stable`."""
    entries = []
    for path in sorted(root.glob("*.deb")):
        control = subprocess.run(["dpkg-deb", "-f", path], check=True, capture_output=True, text=True).stdout.strip()
        content = path.read_bytes()
        entries.append(f"{control}\nFilename: ./{path.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n")
    packages = "\n".join(entries).encode()
    architecture = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()
    place, name = (root / "dists" / suite, f"stable/binary-{architecture}/Packages") if suite else (root, "Packages")
    sums = []
    for file, content in ((name, packages), (f"{name}.gz", gzip.compress(packages))):
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        (place / file).write_bytes(content)
        sums.append(f" {hashlib.sha256(content).hexdigest()} {len(content)} {file}\n")
    about = f"Suite: {suite}\nCodename: {suite}\nComponents: stable\nArchitectures: {architecture}\n" if suite else ""
    release = f"Origin: {origin}\nLabel: {label}\n{about}Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n{''.join(sums)}"
    gpg = ["gpg", "--homedir", home, "--batch", "--yes", "--local-user", key, "--clearsign", "--output", place / "InRelease"]
    subprocess.run(gpg, input=release.encode(), check=True, capture_output=True)


def make_key(home: str, name: str) -> bytes:
    """A new key, and its public half in armor."""
    Path(home).mkdir(mode=0o700, exist_ok=True)
    gpg = ["gpg", "--homedir", home, "--batch"]
    subprocess.run([*gpg, "--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", "never"], check=True, capture_output=True)
    return subprocess.run([*gpg, "--armor", "--export", name], check=True, capture_output=True).stdout


def fingerprint(home: str, name: str) -> str:
    """The whole fingerprint of a key."""
    listing = ["gpg", "--homedir", home, "--batch", "--with-colons", "--fingerprint", name]
    lines = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.splitlines()
    return next(line.split(":")[9] for line in lines if line.startswith("fpr"))
