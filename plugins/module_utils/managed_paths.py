# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files, directories and links that a service owns on its host: how they differ from what is wanted, and how they are put right."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from typing import Any, Callable

HIDDEN = "(content hidden)\n"
# Shells of accounts that nobody logs in to.
NO_LOGIN = ("nologin", "false", "sync")
# Reasons that a plan gives; the first leads to no restart, for it changes how a service is looked at and not what runs.
HEALTH_CHECK = "health check"
MISSING = "missing"
CONTENT = "content"


class UnknownOwner(Exception):
    """A user or group name that this host does not have (yet)."""


def resolve_id(name: str, lookup: Callable[[str], int]) -> int:
    """Turn a user or group, given by name or number, into its number.

    :raises UnknownOwner: when the host does not know the name.
    """
    if name.isdigit():
        return int(name)
    try:
        return lookup(name)
    except KeyError:
        raise UnknownOwner(f"'{name}' is neither a number nor known on this host") from None


def user_id(name: str) -> int:
    """The number of a user. :raises UnknownOwner: when the host does not know the name."""
    return resolve_id(name, lambda n: pwd.getpwnam(n).pw_uid)


def group_id(name: str) -> int:
    """The number of a group. :raises UnknownOwner: when the host does not know the name."""
    return resolve_id(name, lambda n: grp.getgrnam(n).gr_gid)


def login_account(number: int) -> str | None:
    """The account of this host that has a number and that somebody can log in to; None when there is none."""
    try:
        account = pwd.getpwuid(number)
    except KeyError:
        return None
    return None if os.path.basename(account.pw_shell) in NO_LOGIN else account.pw_name


@dataclass(frozen=True)
class Ownership:
    """Who owns a path (names or numbers) and its mode, an octal string such as ``0600``."""

    owner: str
    group: str
    mode: str

    def difference(self, path: str) -> str | None:
        """What differs on disk (``owner``, ``mode``), or None. The path must exist."""
        found = os.stat(path)
        if stat.S_IMODE(found.st_mode) != int(self.mode, 8):
            return "mode"
        try:
            right = (found.st_uid, found.st_gid) == (user_id(self.owner), group_id(self.group))
        except UnknownOwner:
            return "owner"
        return None if right else "owner"

    def apply(self, path: str) -> None:
        """Set owner and mode. :raises UnknownOwner: when the host does not know a name."""
        os.chown(path, user_id(self.owner), group_id(self.group))
        os.chmod(path, int(self.mode, 8))


def hand_over(path: str, before: tuple[int, int], after: tuple[int, int]) -> None:
    """Give what lies in a directory to another user and group, as far as it was one user's.

    Links are handed over themselves and not what they point at; other file systems that are mounted below are left alone.

    :param before: the user and the group that everything belonged to.
    :param after: those it shall belong to.
    """
    device = os.stat(path).st_dev
    # By open directories, so that nobody can put a link in the way.
    for _directory, directories, files, opened in os.fwalk(path):
        for name in (*directories, *files):
            with contextlib.suppress(FileNotFoundError):
                found = os.lstat(name, dir_fd=opened)
                if found.st_dev == device and found.st_uid == before[0]:
                    os.chown(name, after[0], after[1] if found.st_gid == before[1] else -1, dir_fd=opened, follow_symlinks=False)
        directories[:] = [name for name in directories if _device(name, opened) == device]


def _owners(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_uid, found.st_gid


def _device(name: str, directory: int) -> int:
    with contextlib.suppress(FileNotFoundError):
        return os.lstat(name, dir_fd=directory).st_dev
    return -1


@dataclass(frozen=True)
class Snapshot:
    """What a path was before it was changed, so that it can be put back: content None means it was not there."""

    path: str
    content: bytes | None
    uid: int = 0
    gid: int = 0
    mode: int = 0
    link: str | None = None
    #: a directory, of which only owner and mode are remembered; what it holds is its owner's, too
    directory: bool = False

    @classmethod
    def take(cls, path: str) -> Snapshot:
        """Read a file, symbolic link or directory as it is now."""
        if os.path.isdir(path) and not os.path.islink(path):
            found = os.stat(path)
            return cls(path, None, found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode), directory=True)
        if os.path.islink(path):
            return cls(path, None, link=os.readlink(path))
        if not os.path.exists(path):
            return cls(path, None)
        found = os.stat(path)
        with open(path, "rb") as stream:
            return cls(path, stream.read(), found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))

    @property
    def was_missing(self) -> bool:
        """Whether nothing was there."""
        return self.content is None and self.link is None and not self.directory

    @property
    def changed_hands(self) -> bool:
        """Whether it is a directory that has another owner now, root apart, so that what it holds has to go back with it."""
        return self.directory and os.path.isdir(self.path) and os.stat(self.path).st_uid not in (0, self.uid)

    def put_back(self) -> None:
        """Make the path what it was."""
        if self.directory:
            if self.changed_hands:
                hand_over(self.path, _owners(self.path), (self.uid, self.gid))
            os.chown(self.path, self.uid, self.gid)
            os.chmod(self.path, self.mode)
        elif self.link is not None:
            switch_link(self.path, self.link)
        elif self.content is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        else:
            write_atomically(self.path, self.content, self.mode, self.uid, self.gid)


def _temporary(path: str) -> str:
    # Always the same name for the same file, so that what a run that died left is found again.
    directory, name = os.path.split(path)
    return os.path.join(directory, f".private-llm-{name}")


def discard_temporary(path: str) -> None:
    """Remove the half of a file that a run which died left beside it."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(_temporary(path))


def write_atomically(path: str, content: bytes, mode: int, uid: int, gid: int) -> None:
    """Replace a file in one step; its content is never on disk with wider permissions than asked for."""
    discard_temporary(path)
    temporary = _temporary(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chown(temporary, uid, gid)
        os.chmod(temporary, mode)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _make_durable(os.path.dirname(path))


def switch_link(path: str, target: str) -> None:
    """Point a symbolic link somewhere else in one step."""
    discard_temporary(path)
    temporary = _temporary(path)
    os.symlink(target, temporary)
    try:
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    _make_durable(os.path.dirname(path))


def _make_durable(directory: str) -> None:
    # A name that was given survives a power cut only once its directory is on disk.
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def content_changed(before: bytes, after: bytes) -> str | None:
    """Why two contents of a file differ; None when they do not."""
    return None if before == after else CONTENT


def variables_changed(before: bytes, after: bytes) -> str | None:
    """Which variables two environment files differ in, by name only; None when they do not differ."""

    def parsed(text: bytes) -> dict[str, str]:
        return dict(line.split("=", 1) for line in text.decode("utf-8", "replace").split("\n") if "=" in line)

    old, new = parsed(before), parsed(after)
    told = [f"{name} changed" for name in sorted(set(old) & set(new)) if old[name] != new[name]]
    told += [f"{name} added" for name in sorted(set(new) - set(old))] + [f"{name} removed" for name in sorted(set(old) - set(new))]
    return ", ".join(told) or content_changed(before, after)


@dataclass(frozen=True)
class ManagedFile:
    """A file with its whole content."""

    path: str
    content: bytes
    ownership: Ownership
    secret: bool = False
    #: what a plan calls it: file, unit, environment, secret_environment
    kind: str = "file"
    #: the name under which people know it, when that is not its path
    name: str = ""
    #: where the version before it is, when that is not its path
    before: str = ""
    #: why two contents differ
    explain: Callable[[bytes, bytes], str | None] = content_changed
    #: whether what runs has to be started anew to see it
    restarts: bool = True

    def difference(self) -> str | None:
        """Why the file has to be written: ``missing``, ``content``, ``owner``, ``mode``; None when it is as wanted."""
        found = _read(self.path)
        if found is None:
            return MISSING
        return CONTENT if found != self.content else self.ownership.difference(self.path)

    def change(self) -> str | None:
        """How the file differs from the version before it, in the words of its kind; None when it does not."""
        path = self.before or self.path
        found = _read(path)
        if found is None:
            return MISSING
        return self.ownership.difference(path) if found == self.content else self.explain(found, self.content)

    @property
    def shown(self) -> str:
        """The name under which people know it."""
        return self.name or self.path

    def apply(self) -> None:
        """Write the file; its directory must exist."""
        ownership = self.ownership
        write_atomically(self.path, self.content, int(ownership.mode, 8), user_id(ownership.owner), group_id(ownership.group))

    def diff(self) -> dict[str, str]:
        """The entry for ``--diff``; of a secret only that it differs."""
        found = _read(self.before or self.path)
        # Also what only its owner may read: it was a secret when it was written.
        hidden = self.secret or (found is not None and not os.stat(self.before or self.path).st_mode & 0o077)
        before = "" if found is None else HIDDEN if hidden else found.decode("utf-8", "replace")
        after = "(new content hidden)\n" if self.secret else self.content.decode("utf-8", "replace")
        return {"before_header": self.shown, "after_header": self.shown, "before": before, "after": after}

    def identity(self) -> list[str]:
        """What defines the file, for the fingerprint of its service."""
        digest = hashlib.sha256(self.content).hexdigest()
        return [self.shown, digest, self.ownership.owner, self.ownership.group, self.ownership.mode]


def _read(path: str) -> bytes | None:
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as stream:
        return stream.read()


@dataclass(frozen=True)
class ManagedDirectory:
    """A directory; what it holds is not touched, apart from what goes with it to another owner."""

    path: str
    ownership: Ownership

    def difference(self) -> str | None:
        """``missing``, ``owner``, ``mode``, or None when the directory is as wanted."""
        if not os.path.isdir(self.path):
            return MISSING
        return self.ownership.difference(self.path)

    @property
    def changes_hands(self) -> bool:
        """Whether it is there and another user's, root apart, so that what it holds has to go with it."""
        if not os.path.isdir(self.path):
            return False
        try:
            return os.stat(self.path).st_uid not in (0, user_id(self.ownership.owner))
        except UnknownOwner:
            return False

    def apply(self) -> None:
        """Make the directory with its parents, then set owner and mode."""
        os.makedirs(self.path, mode=0o755, exist_ok=True)
        if self.changes_hands:
            # What it holds first: a run that dies in between is finished by the next, which goes by the directory's own owner.
            hand_over(self.path, _owners(self.path), (user_id(self.ownership.owner), group_id(self.ownership.group)))
        self.ownership.apply(self.path)


@dataclass(frozen=True)
class ManagedLink:
    """A symbolic link that is switched in one step."""

    path: str
    target: str

    def difference(self) -> str | None:
        """``missing``, ``target``, or None when the link is as wanted."""
        if not os.path.islink(self.path):
            return MISSING
        return None if os.readlink(self.path) == self.target else "target"

    def apply(self) -> None:
        """Switch the link; its directory must exist."""
        switch_link(self.path, self.target)


def remove_tree(path: str) -> None:
    """Remove a directory with all it holds, or a file; nothing when it is not there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def prune_directories(directory: str, keep: int, in_use: str, own_link: str = "") -> list[str]:
    """Directories that are beyond the number to keep: the newest stay, and what is in use stays whatever its age.

    What a link beside the directory points at is in use as well; hidden directories are somebody's work under way and do not count.

    :param own_link: the link that is about to point at what is in use; where it points now does not count.

    :param keep: how many stay, those in use included.
    """
    if not os.path.isdir(directory):
        return []
    links = [entry.path for entry in os.scandir(os.path.dirname(directory)) if entry.is_symlink() and entry.path != own_link]
    used = {in_use, *(os.path.join(os.path.dirname(link), os.readlink(link)) for link in links)}
    found = [entry.path for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")]
    others = sorted((path for path in found if path not in used), key=lambda path: (os.stat(path).st_mtime, path), reverse=True)
    return others[max(keep - len(used & set(found)), 0) :]


def file_from_parameters(path: str, given: dict[str, Any], owner: str, group: str, name: str = "", before: str = "") -> ManagedFile:
    """A :class:`ManagedFile` from a module's ``files`` entry; a secret one is 0600 unless a mode is given."""
    secret = given.get("secret_content") is not None
    content = given["secret_content"] if secret else given["content"]
    ownership = Ownership(given.get("owner") or owner, given.get("group") or group, given.get("mode") or ("0600" if secret else "0644"))
    return ManagedFile(path, content.encode(), ownership, secret, name=name, before=before)


FILE_OPTIONS: dict[str, dict[str, Any]] = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str"},
    "secret_content": {"type": "str", "no_log": True},
    "mode": {"type": "str"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
}


def split_owner(user: str | None) -> tuple[str, str]:
    """``uid[:gid]`` of a container or service as owner and group of its files; root without one."""
    owner, _separator, group = (user or "0").partition(":")
    return owner, group or ("0" if owner == "0" else owner)
