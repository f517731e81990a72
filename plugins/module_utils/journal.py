# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service was before a run began to change it, on disk: whoever comes after a run that died knows the way back.

The journal is written before the first change and removed after the last check. One that is found means that a run died in between; what it
holds is the last state that was known to be good, and stays the way back until a run gets to its end.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.managed_paths import Snapshot, discard_temporary, write_atomically

STATE_DIRECTORY = "/var/lib/private-llm/services"


@dataclass(frozen=True)
class Entry:
    """The way back: paths as they were, and whether the service ran and was started at boot."""

    snapshots: tuple[Snapshot, ...]
    running: bool
    enabled: bool
    #: whether what ran has felt anything of the change
    disturbed: bool = False

    def content_of(self, path: str) -> bytes | None:
        """What a file held; None when it was not there or is not part of the change."""
        return next((s.content for s in self.snapshots if s.path == path), None)


class Journal:
    """The journal of one unit."""

    def __init__(self, unit: str) -> None:
        self._directory = STATE_DIRECTORY
        self._unit = unit
        self._path = f"{self._directory}/{unit}.json"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Let one run at a time work on the unit; the kernel opens the lock of a run that dies."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        with open(f"{self._directory}/{self._unit}.lock", "w", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            discard_temporary(self._path)
            yield

    def read(self) -> Entry | None:
        """What a run that died left; None when none did."""
        try:
            with open(self._path, encoding="utf-8") as stream:
                found = json.load(stream)
        except FileNotFoundError:
            return None
        return Entry(tuple(_decoded(s) for s in found["snapshots"]), found["running"], found["enabled"], found["disturbed"])

    def begin(self, paths: Sequence[str], running: bool, enabled: bool) -> Entry:
        """Write down what the paths are now. What an earlier journal says of a path is older, known to be good, and kept."""
        entry = self.read() or Entry((), running, enabled)
        known = {snapshot.path for snapshot in entry.snapshots}
        added = tuple(Snapshot.take(path) for path in paths if path not in known)
        return self._write(replace(entry, snapshots=entry.snapshots + added))

    def disturb(self) -> None:
        """Write down that what runs is about to feel the change."""
        entry = self.read()
        if entry is not None and not entry.disturbed:
            self._write(replace(entry, disturbed=True))

    def _write(self, entry: Entry) -> Entry:
        parts = {"running": entry.running, "enabled": entry.enabled, "disturbed": entry.disturbed}
        text = json.dumps({"snapshots": [_encoded(s) for s in entry.snapshots], **parts})
        write_atomically(self._path, text.encode(), 0o600, os.geteuid(), os.getegid())
        return entry

    def end(self) -> None:
        """The change is complete, or taken back."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)


def _encoded(snapshot: Snapshot) -> dict[str, Any]:
    content = None if snapshot.content is None else base64.b64encode(snapshot.content).decode()
    return {**asdict(snapshot), "content": content}


def _decoded(given: dict[str, Any]) -> Snapshot:
    content = None if given["content"] is None else base64.b64decode(given["content"])
    return Snapshot(**{**given, "content": content})
