# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages of a host are held, and which would have to change sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

QUERY = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}\\t${Package}\\t${Version}\\n"]


@dataclass(frozen=True)
class Installed:
    """An installed package."""

    version: str
    held: bool


@dataclass(frozen=True)
class Difference:
    """Packages that have to change sides, and names that no installed package has."""

    moving: list[str]
    missing: list[str]


def parse(output: str) -> dict[str, Installed]:
    """Installed packages by name, out of what ``dpkg-query`` printed."""
    rows = [line.split("\t") for line in output.splitlines() if line.count("\t") == 2]
    # First the wish (h: hold), then what is (i: installed).
    return {name: Installed(version, state[0] == "h") for state, name, version in rows if state[1:2] == "i"}


def differing(installed: Mapping[str, Installed], wanted: Sequence[str], hold: bool, version: str = "*", not_version: str = "") -> Difference:
    """What to do so that all packages with a wanted name, or with a wanted pattern and a version that is meant, are held, or are not."""

    def is_meant(name: str, pattern: str) -> bool:
        found = installed[name].version
        return fnmatchcase(name, pattern) and fnmatchcase(found, version) and not (not_version and fnmatchcase(found, not_version))

    moving: set[str] = set()
    missing: set[str] = set()
    for pattern in wanted:
        if not set(pattern) & set("*?["):
            matching = [pattern] if pattern in installed else []
            missing |= set() if matching else {pattern}
        else:
            matching = [name for name in installed if is_meant(name, pattern)]
        moving |= {name for name in matching if installed[name].held != hold}
    return Difference(sorted(moving), sorted(missing))
