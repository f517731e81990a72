# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a unit of ours says of itself, in a section that systemd skips: which definition it is, and what a later run has to know of it."""

from __future__ import annotations

import glob
from dataclasses import dataclass

from ansible_collections.private_llm.platform.plugins.module_utils.managed_paths import CONTENT, HEALTH_CHECK
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import HEADER, Section

SECTION = "X-PrivateLLM"


@dataclass(frozen=True)
class UnitRecord:
    """A unit's own description. ``health`` is its health check as text; ``exact_image`` the image by digest or id."""

    fingerprint: str = ""
    image: str = ""
    exact_image: str = ""
    health: str = ""
    publish: tuple[str, ...] = ()
    #: files and links of a native service, so that one that is wanted no longer is known
    paths: tuple[str, ...] = ()
    #: what the image starts by itself, where that has to be known
    image_start: str = ""

    def section(self) -> Section:
        """The section's directives; what is empty is left out."""
        found: Section = {"Fingerprint": self.fingerprint, "Image": self.image, "ExactImage": self.exact_image, "Health": self.health}
        found["ImageStart"] = self.image_start
        return {**{name: value for name, value in found.items() if value}, "Publish": list(self.publish), "Path": list(self.paths)}


def _split(text: str) -> tuple[str, str]:
    before, _marker, after = text.partition(f"\n[{SECTION}]\n")
    return before, after


def parse(text: str) -> UnitRecord:
    """Read the record of a unit; an empty one when the unit has none."""
    lines = [line.split("=", 1) for line in _split(text)[1].splitlines() if "=" in line]
    found = dict(lines)
    return UnitRecord(
        fingerprint=found.get("Fingerprint", ""),
        image=found.get("Image", ""),
        exact_image=found.get("ExactImage", ""),
        health=found.get("Health", ""),
        publish=tuple(value for name, value in lines if name == "Publish"),
        paths=tuple(value for name, value in lines if name == "Path"),
        image_start=found.get("ImageStart", ""),
    )


def read(path: str) -> UnitRecord:
    """The record of a unit file; an empty one when the file is not there."""
    try:
        with open(path, encoding="utf-8") as stream:
            return parse(stream.read())
    except (FileNotFoundError, NotADirectoryError):
        return UnitRecord()


def _what_it_does(text: str) -> str:
    """The unit without what names its definition: that follows from the rest."""
    record = parse(text)
    rest = _split(text)[0]
    for value in (record.fingerprint, record.exact_image):
        rest = rest.replace(value, "") if value else rest
    return rest.rstrip()


def explain(before: bytes, after: bytes) -> str | None:
    """Why two versions of a unit differ, apart from image and files, which speak for themselves."""
    old, new = before.decode("utf-8", "replace"), after.decode("utf-8", "replace")
    if _what_it_does(old) != _what_it_does(new):
        return CONTENT
    return HEALTH_CHECK if parse(old).health != parse(new).health else None


def published_by_others(directory: str, own: str, enabled: set[str]) -> dict[str, str]:
    """What the other enabled services of ours publish: ``ADDRESS:HOST_PORT:CONTAINER_PORT`` and the unit that does."""
    found = {}
    for path in sorted(glob.glob(f"{directory}/*.service")):
        name = path.rpartition("/")[2]
        if name == own or name not in enabled:
            continue
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
        if text.startswith(HEADER):
            found.update(dict.fromkeys(parse(text).publish, name))
    return found
