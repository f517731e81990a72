# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of NVIDIA's repositories belongs to a distribution, and the key that it is signed with.

Source: NVIDIA's driver installation guide, and its announcements of new keys (repository NVIDIA/cuda-repo-management), as of November 2026.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.private_llm.platform.plugins.module_utils.apt_repository import Repository

NAME = "private-llm-cuda"
URL = "https://developer.download.nvidia.com/compute/cuda/repos"
# NVIDIA has one directory for servers with ARM processors.
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "sbsa"}


@dataclass(frozen=True)
class Key:
    """A key's file in the repository, and its whole fingerprint."""

    file: str
    fingerprint: str


OLD_KEY = Key("3bf863cc.pub", "EB693B3035CD5710E231E123A4B469963BF863CC")
# The old key's own signature is of a kind that apt of Debian 13 refuses. NVIDIA published the new one's last digits, in its file's name; the whole
# fingerprint is what others read from that file and committed in public.
NEW_KEY = Key("8793F200.pub", "02182E60104FCDC26EAE1B8597A5D4CB8793F200")
DISTRIBUTIONS = {
    ("debian", "12"): ("debian12", OLD_KEY),
    ("debian", "13"): ("debian13", NEW_KEY),
    ("ubuntu", "22.04"): ("ubuntu2204", OLD_KEY),
    ("ubuntu", "24.04"): ("ubuntu2404", OLD_KEY),
}


class NoRepositoryError(Exception):
    """NVIDIA has no repository for this host that this collection knows."""


def parse_os_release(text: str) -> tuple[str, str]:
    """Distribution and version (``debian``, ``13``) out of /etc/os-release."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return values.get("ID", "").strip('"'), values.get("VERSION_ID", "").strip('"')


def this_distribution(path: str = "/etc/os-release") -> tuple[str, str]:
    """Distribution and version of the host itself."""
    with open(path, encoding="utf-8") as stream:
        return parse_os_release(stream.read())


def repository_for(distribution: str, version: str, architecture: str, url: str = URL, key: str = "", fingerprints: list[str] | None = None) -> Repository:
    """The repository of a distribution (``debian``, ``13``) for a machine (``x86_64``).

    url: where the directories of all distributions are; key and fingerprints: those of a mirror with a key of its own.
    Raises NoRepositoryError where there is none.
    """
    if (distribution, version) not in DISTRIBUTIONS:
        known = ", ".join(f"{name} {number}" for name, number in DISTRIBUTIONS)
        raise NoRepositoryError(f"NVIDIA's repository is known for {known}; this host runs {distribution} {version}.")
    if architecture not in ARCHITECTURES:
        raise NoRepositoryError(f"NVIDIA's repository is known for {', '.join(ARCHITECTURES)}; this host's processor is {architecture}.")
    directory, own_key = DISTRIBUTIONS[(distribution, version)]
    uri = f"{url.rstrip('/')}/{directory}/{ARCHITECTURES[architecture]}/"
    return Repository(NAME, uri, key or f"{uri}{own_key.file}", fingerprints or [own_key.fingerprint])
