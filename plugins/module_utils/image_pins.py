# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images the platform runs, by digest: what is known of each, and what may be taken of what a registry says today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

try:
    import yaml
except ImportError:  # only the controller calls this, and Ansible itself needs it there
    yaml = None  # type: ignore[assignment]
from ansible_collections.private_llm.platform.plugins.module_utils.image_registry import Found, parse_time

PINNED, WAITING = "platform_image_digests", "platform_images_waiting"
HEADER = """---
# Written by playbooks/image_digests.yml; site.yml runs these images and no others. What waits is not run.
"""
# What was made before this was not: builds that are to come out the same each time state such times.
OLDEST_BELIEVED = datetime(2015, 1, 1, tzinfo=timezone.utc)
CLOCKS_DIFFER = timedelta(hours=1)


class PinsError(Exception):
    """The file cannot be used; the text is a sentence for the user without its full stop."""


@dataclass(frozen=True)
class Pin:
    """An image that a name stands for. Times are as the file has them; ``signature`` tells what its signature was checked with, '' for not at all."""

    digest: str
    first_seen: str
    created: str = ""
    signature: str = ""

    def as_dict(self) -> dict[str, str]:
        fields = {"digest": self.digest, "created": self.created, "first_seen": self.first_seen, "signature": self.signature}
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True)
class Rules:
    """What may be taken: days that an image has to be old, counted from when it was ``created`` or ``first_seen`` here, and images that are excepted."""

    minimum_age_days: int = 14
    age_from: str = "created"
    young: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Verdict:
    """What becomes of a name: the image that it stands for, one that waits, and why that one is not taken."""

    pin: Pin | None
    waiting: Pin | None = None
    problem: str = ""


def stamp(time: datetime) -> str:
    """A time as the file has it."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def born(pin: Pin, age_from: str, now: datetime) -> datetime:
    """From when on the image's age counts. A time of making that cannot be is not believed."""
    created = parse_time(pin.created)
    if age_from == "created" and created is not None and OLDEST_BELIEVED < created < now + CLOCKS_DIFFER:
        return created
    return parse_time(pin.first_seen) or now


def judge(image: str, found: Found, before: Pin | None, waited: Pin | None, rules: Rules, now: datetime) -> Verdict:
    """Decide whether a name may stand for what the registry has under it today.

    :param before: what it stood for until now.
    :param waited: what was seen under it and not taken.
    """
    if before is not None and before.digest == found.digest:
        return Verdict(before)
    known = waited if waited is not None and waited.digest == found.digest else None
    seen = known or Pin(found.digest, stamp(now), stamp(found.created) if found.created else "")
    if before is not None and image not in rules.changed:
        return Verdict(
            before,
            seen,
            f"{image} means another image now: it was {before.digest}, and the registry has {found.digest} (made {seen.created or 'nobody knows when'}). "
            "A tag that moves is a mistake or an attack; find out which. The old one stays. If it is right, name the image in platform_changed_images",
        )
    ready = born(seen, rules.age_from, now) + timedelta(days=rules.minimum_age_days)
    if ready > now and image not in rules.young:
        return Verdict(
            before,
            seen,
            f"{image} ({found.digest}) is too young: made {seen.created or 'nobody knows when'}, first seen here {seen.first_seen}, and "
            f"platform_image_minimum_age_days is {rules.minimum_age_days}, so it is old enough on {stamp(ready)}. If you need it now, name the image in "
            "platform_young_images",
        )
    return Verdict(seen)


def _pins(text: Mapping[str, Any], name: str) -> dict[str, Pin]:
    return {str(image): Pin(**{field: str(value) for field, value in entry.items()}) for image, entry in (text.get(name) or {}).items()}


def parse(text: str, path: str) -> tuple[dict[str, Pin], dict[str, Pin]]:
    """What is pinned and what waits, out of the file's text. :raises PinsError: when it is not such a file."""
    try:
        content = yaml.safe_load(text) or {}
        if not isinstance(content, Mapping) or set(content) - {PINNED, WAITING}:
            raise ValueError("it has other variables")
        return _pins(content, PINNED), _pins(content, WAITING)
    except (yaml.YAMLError, TypeError, AttributeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise PinsError(f"{path} was not written by this playbook ({reason}): move it away, or name another file in platform_image_digests_file") from error


def render(pinned: Mapping[str, Pin], waiting: Mapping[str, Pin]) -> str:
    """The file's text: sorted, so that a difference is a change."""
    content: dict[str, Any] = {PINNED: {image: pinned[image].as_dict() for image in sorted(pinned)}}
    if waiting:
        content[WAITING] = {image: waiting[image].as_dict() for image in sorted(waiting)}
    return HEADER + yaml.safe_dump(content, sort_keys=False, width=200)
