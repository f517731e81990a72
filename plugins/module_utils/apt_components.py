# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which components of Debian's repositories a host uses, and the entries that add others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FIELDS = ("REPO_URI", "RELEASE", "COMPONENT", "SIGNED_BY", "ORIGIN", "SOURCESENTRY")
TARGETS = ["apt-get", "indextargets", "--format", "\t".join(f"$({name})" for name in FIELDS), "Created-By: Packages"]
ORIGIN = "Debian"
ALWAYS = "main"


@dataclass(frozen=True)
class Target:
    """A component that apt uses, as apt itself tells it; entry is the file and line that names it."""

    uri: str
    release: str
    component: str
    signed_by: str
    origin: str
    entry: str


@dataclass(frozen=True)
class Entry:
    """Components to add for some releases of one repository."""

    uri: str
    releases: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str


def parse_targets(output: str) -> list[Target]:
    """Debian's own components out of what ``apt-get indextargets`` printed."""
    rows = [line.split("\t") for line in output.splitlines() if line.count("\t") == len(FIELDS) - 1]
    # A field that apt has nothing for is printed as the variable's name.
    targets = [Target(*("" if value.startswith("$(") else value for value in row)) for row in rows]
    return [target for target in targets if target.origin == ORIGIN]


def entries(known: Iterable[Target], wanted: Sequence[str], own_path: str) -> list[Entry]:
    """What to add so that every release that has ``main`` has the wanted components; own_path is the file that earlier runs wrote."""
    used: dict[tuple[str, str, str], set[str]] = {}
    for target in known:
        if not target.entry.startswith(f"{own_path}:"):
            used.setdefault((target.uri, target.signed_by, target.release), set()).add(target.component)
    grouped: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (uri, signed_by, release), components in used.items():
        missing = tuple(name for name in wanted if name not in components)
        if missing and ALWAYS in components:
            grouped.setdefault((uri, signed_by, missing), []).append(release)
    return [Entry(uri, tuple(sorted(releases)), missing, signed_by) for (uri, signed_by, missing), releases in sorted(grouped.items())]


def text(added: Iterable[Entry]) -> str:
    """The entries, as apt reads them."""
    return "\n".join(
        "\n".join(
            [
                "Types: deb",
                f"URIs: {entry.uri}",
                f"Suites: {' '.join(entry.releases)}",
                f"Components: {' '.join(entry.components)}",
                *([f"Signed-By: {entry.signed_by}"] if entry.signed_by else []),
                "",
            ]
        )
        for entry in added
    )
