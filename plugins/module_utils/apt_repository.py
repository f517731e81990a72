# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A vendor's repository as apt sees it: a key with a known fingerprint, an entry that trusts this key alone, and an index signed with it."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable

from ansible_collections.private_llm.platform.plugins.module_utils import openpgp
from ansible_collections.private_llm.platform.plugins.module_utils.managed_paths import Snapshot, write_atomically
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import Runner

NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
# Of a key of version 4, or of version 6; fewer digits can be made to fit another key.
FINGERPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")
LAST_LINES = 4

Fetch = Callable[[str], bytes]


class RepositoryError(Exception):
    """The repository cannot be used; the text says why and what to do next."""


@dataclass(frozen=True)
class Repository:
    """A vendor's repository.

    key: where its key is fetched from, an URL or an absolute path on the host; fingerprints: those that keys in it may have, whole;
    suites and components: as apt takes them, a suite that ends with a slash has no components.
    """

    name: str
    uri: str
    key: str
    fingerprints: list[str]
    suites: list[str] = field(default_factory=lambda: ["/"])
    components: list[str] = field(default_factory=list)

    def text(self, key_path: str) -> str:
        """The entry for apt."""
        lines = ["Types: deb", f"URIs: {self.uri}", f"Suites: {' '.join(self.suites)}"]
        lines += [f"Components: {' '.join(self.components)}"] if self.components else []
        return "\n".join([*lines, f"Signed-By: {key_path}"]) + "\n"

    def problems(self) -> Iterator[str]:
        """One sentence for each thing that cannot work."""
        if not NAME.fullmatch(self.name):
            yield f"the name '{self.name}' may only hold small letters, digits, dots and hyphens"
        if any("\n" in text or " " in text for text in (self.uri, *self.suites, *self.components)):
            yield "an address, suite or component holds a blank or a line break"
        if not self.fingerprints:
            yield "no fingerprint is given, so that any key would be trusted"
        for text in self.fingerprints:
            if not FINGERPRINT.fullmatch(text.replace(" ", "").upper()):
                yield f"'{text}' is no whole fingerprint, which has 40 or 64 hexadecimal digits ('gpg --show-keys FILE' tells it)"


@dataclass
class Apt:
    """The host's apt, through its programs and the files in its directory."""

    run: Runner
    directory: str = "/etc/apt"

    def key_path(self, name: str) -> str:
        """File of a repository's key."""
        return f"{self.directory}/keyrings/{name}.asc"

    def entry_path(self, name: str) -> str:
        """File that names the repository to apt."""
        return f"{self.directory}/sources.list.d/{name}.sources"

    def _alone(self, name: str) -> list[str]:
        return [f"-oDir::Etc::SourceList={self.entry_path(name)}", "-oDir::Etc::SourceParts=-", "-oAPT::Get::List-Cleanup=0"]

    def has_index(self, name: str) -> bool:
        """Whether apt has an index of the repository with this entry."""
        status, output, _errors = self.run(["apt-get", "indextargets", *self._alone(name), "--format", "$(FILENAME)", "Created-By: Packages"])
        # Indexes may be kept compressed.
        return status == 0 and any(glob.glob(f"{glob.escape(path)}*") for path in output.split())

    def update(self, repository: Repository) -> None:
        """Take the index of this repository alone. Raises RepositoryError where it is not signed with its key, or cannot be had."""
        status, output, errors = self.run(["apt-get", "update", "--error-on=any", "-q", *self._alone(repository.name)])
        if status != 0:
            told = (output + errors).splitlines()
            lines = [line for line in told if line.startswith(("E:", "W:", "Err:"))] or told
            raise RepositoryError(
                f"apt cannot use {repository.uri}, so nothing of it was kept: {' '.join(lines[-LAST_LINES:]).strip()} "
                "Check the address, and that the repository is signed with the key whose fingerprint is given."
            )


def read(path: str) -> bytes | None:
    """A file's content, None where there is no such file."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def trusted_key(repository: Repository, on_disk: bytes | None, fetch: Fetch) -> bytes:
    """The repository's key: the one on disk as long as it is right, else the vendor's. Raises RepositoryError for a key of somebody else."""
    if on_disk is not None:
        try:
            if not openpgp.unexpected(on_disk, repository.fingerprints):
                return on_disk
        except openpgp.KeyFileError:
            pass
    content = fetch(repository.key)
    try:
        strangers = openpgp.unexpected(content, repository.fingerprints)
    except openpgp.KeyFileError as error:
        raise RepositoryError(f"What {repository.key} answered is not the repository's key: {error}. Nothing was changed.") from error
    if strangers:
        raise RepositoryError(
            f"The key of {repository.key} has the fingerprint {', '.join(strangers)}, expected is {', '.join(repository.fingerprints)}. "
            "Nothing was changed. If the vendor has announced a new key, give its fingerprint."
        )
    return content


def present(apt: Apt, repository: Repository, fetch: Fetch, check: bool) -> dict[str, Any]:
    """Let apt use the repository; hands back what a module answers. What does not work is taken back. Raises RepositoryError."""
    key_path, entry_path = apt.key_path(repository.name), apt.entry_path(repository.name)
    key_before, entry_before = read(key_path), read(entry_path)
    key, entry = trusted_key(repository, key_before, fetch), repository.text(key_path).encode()
    changed = (key_before, entry_before) != (key, entry)
    if not check and (changed or not apt.has_index(repository.name)):
        before = [Snapshot.take(path) for path in (key_path, entry_path)]
        try:
            for path, content in ((key_path, key), (entry_path, entry)):
                os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
                if read(path) != content:
                    write_atomically(path, content, 0o644, os.geteuid(), os.getegid())
            apt.update(repository)
        except BaseException:
            for snapshot in before:
                snapshot.put_back()
            raise
    return _answer(changed, entry_path, entry_before, entry)


def absent(apt: Apt, name: str, check: bool) -> dict[str, Any]:
    """Take the repository away, with its key."""
    paths = [apt.entry_path(name), apt.key_path(name)]
    before = read(paths[0])
    there = [path for path in paths if os.path.exists(path)]
    if not check:
        for path in there:
            os.unlink(path)
    return _answer(bool(there), paths[0], before, None)


def _answer(changed: bool, path: str, before: bytes | None, after: bytes | None) -> dict[str, Any]:
    shown = {"before": (before or b"").decode(errors="replace"), "after": (after or b"").decode()}
    return {"changed": changed, "path": path, "diff": {"before_header": path, "after_header": path, **shown}}
