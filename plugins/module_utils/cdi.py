# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which CDI devices this host describes: the names under which containers ask for GPUs and the like."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterable, Iterator

# Where the specification puts descriptions; those in /var/run are made anew at boot.
DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
KIND = re.compile(r"""^kind:\s*["']?([^\s"']+)""")
# Units that describe a vendor's devices at boot; a container that asks for one has to be started after them.
DESCRIBED_BY = {"nvidia.com": "nvidia-cdi-refresh.service"}
DEVICE = re.compile(r"""^(\s*)(-?)\s*name:\s*["']?([^\s"']+)""")


def _of_yaml(text: str) -> Iterator[str]:
    # The host's Python need not know YAML; descriptions are written by programs, one key a line, in any order.
    kinds = [found[1] for found in map(KIND.match, text.splitlines()) if found]
    inside = False
    item: int | None = None
    for line in text.splitlines():
        if re.match(r"[^\s-]", line):
            inside, item = line.startswith("devices:"), None
            continue
        if not inside:
            continue
        if item is None and line.lstrip().startswith("-"):
            item = len(line) - len(line.lstrip())
        name = DEVICE.match(line)
        # A key of the device itself stands two further in than the dash of its entry, or behind that dash.
        if name and item is not None and len(name[1]) == (item if name[2] else item + 2):
            yield f"{kinds[0] if kinds else '?'}={name[3]}"


def _of_json(text: str) -> Iterator[str]:
    found = json.loads(text)
    for device in found.get("devices") or []:
        yield f"{found.get('kind')}={device.get('name')}"


def devices(directories: tuple[str, ...] = DIRECTORIES) -> set[str]:
    """Full names (``nvidia.com/gpu=all``) of the devices that the host describes; what cannot be read describes none."""
    known: set[str] = set()
    for path in sorted(path for directory in directories for path in glob.glob(f"{directory}/*")):
        try:
            with open(path, encoding="utf-8") as stream:
                text = stream.read()
            known.update(_of_json(text) if path.endswith(".json") else _of_yaml(text) if path.endswith((".yaml", ".yml")) else ())
        except (OSError, ValueError):
            continue
    return known


def describing_units(wanted: Iterable[str]) -> list[str]:
    """Units that describe the wanted devices (full names or paths of device nodes) at boot; one that a host does not have is no harm."""
    return sorted({DESCRIBED_BY[vendor] for vendor in (name.partition("/")[0] for name in wanted if "=" in name) if vendor in DESCRIBED_BY})
