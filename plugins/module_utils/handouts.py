# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a person is handed: a directory with each key and the ways to use it. Only what was made here is changed or removed."""

from __future__ import annotations

import datetime
import os
import stat
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.client_configs import (
    Access,
    File,
    files_of,
    models_of,
    problem_of,
    readme,
    root_of,
)
from ansible_collections.private_llm.platform.plugins.module_utils.people import NAME_PATTERN, moment

DIRECTORY_MODE = 0o700
# A second line of defence: should the directory ever get into version control, nothing in it is added.
IGNORE_FILE = ".gitignore"
# Lies in every directory made here and lists what was made; a directory without it is somebody else's.
MARKER = ".private-llm-handout"
MARKER_TITLE = "# Made by Ansible (private_llm.platform). These files are overwritten, and removed when the access ends:\n"
# Whose key it is: what another gateway's people were handed is not removed with those who left this one.
MARKER_GATEWAY = "# Gateway: "
README = "README.md"
UNFINISHED = ".handout-"
VERSION_CONTROL = (".git", ".hg", ".jj", ".svn")
# The key that lies in the person's own directory; every other one has a directory of its name.
DEFAULT_KEY = "default"


@dataclass
class Outcome:
    """What was done (or would be)."""

    actions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)


def _has_ended(expires: Any) -> bool:
    end = moment(expires)
    return end is not None and end <= datetime.datetime.now(datetime.timezone.utc)


def keys_of(person: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The keys to hand out by name; one that is about to end is not handed out any more."""
    keys: dict[str, Mapping[str, Any]] = {}
    for key in person.get("keys") or []:
        if key.get("retiring") or not key.get("value") or key.get("state") == "absent" or _has_ended(key.get("expires")):
            continue
        name = str(key.get("name") or (DEFAULT_KEY if not keys else key.get("alias") or ""))
        if not NAME_PATTERN.fullmatch(name):
            raise ValueError("%s: the key's name %r does not work as the name of a directory." % (person["name"], name))
        if name.casefold() in (other.casefold() for other in keys):
            raise ValueError("%s has two keys named %s." % (person["name"], name))
        keys[name] = key
    return keys


def files_for(person: Mapping[str, Any], public_url: str, model: str = "", context_tokens: int = 32768) -> dict[str, File]:
    """Path and content of each file of one person."""
    files: dict[str, File] = {}
    described = []
    for name, key in keys_of(person).items():
        access = Access(str(key["value"]), root_of(public_url), models_of(key.get("models") or [], model), context_tokens)
        problem = problem_of(access)
        if problem:
            raise ValueError("%s: %s." % (person["name"], problem))
        directory = "" if name == DEFAULT_KEY else name
        described.append((name, directory, access, key))
        files.update({os.path.join(directory, path): file for path, file in files_of(access).items()})
    files[README] = File(readme(str(person["name"]), str(person.get("full_name") or ""), described, person))
    directories = {parent for path in files for parent in _parents(path)}
    for path in files:
        if path in directories:
            raise ValueError("%s: a key cannot be named %s, for a file of the hand-out has that name." % (person["name"], path))
    return files


def hand_out(
    directory: str,
    people: Sequence[Mapping[str, Any]],
    public_url: str,
    model: str = "",
    context_tokens: int = 32768,
    check: bool = False,
    purge: bool = False,
) -> Outcome:
    """Bring the directory to what the people need; without purge, only directories of people named here are touched.

    people: name, state, keys (name, value, models, retiring), and what a README tells (full_name, limits).
    purge: whether what was made here for people who are not named any more goes too.
    Raises ValueError with a sentence for the operator before anything is written, and OSError where the disk refuses.
    """
    outcome = Outcome()
    if os.path.islink(directory) or (os.path.exists(directory) and not os.path.isdir(directory)):
        raise ValueError("The hand-out directory %s is no directory; remove it or choose another one." % directory)
    _refuse_version_control(directory)
    # Who has left, and who has no key that would last, has nothing to be handed.
    empty = {person["name"] for person in people if person["state"] == "absent" or not keys_of(person)}
    wanted = {
        person["name"]: None if person["name"] in empty else files_for(person, public_url, model, context_tokens) for person in people
    }
    for name, files in wanted.items():
        _refuse_strangers(os.path.join(directory, name), name, files or {})
    if any(files is not None for files in wanted.values()):
        _ensure_directory(directory, "", outcome, check)
        ignore_file = os.path.join(directory, IGNORE_FILE)
        if not os.path.lexists(ignore_file):
            _ensure_file(ignore_file, File("*\n"), "", outcome, check)
    gateway = root_of(public_url)
    for name, files in wanted.items():
        place = os.path.join(directory, name)
        if files is None:
            _take_back(place, name, outcome, check)
        else:
            _give(place, name, files, gateway, outcome, check)
    for name in _left_over(directory, wanted, gateway) if purge else []:
        _take_back(os.path.join(directory, name), name, outcome, check)
    return outcome


def _left_over(directory: str, wanted: Collection[str], gateway: str) -> list[str]:
    """Whose directory was made here, for a key of this gateway, and who is in no list any more."""
    if not os.path.isdir(directory):
        return []
    # A file system may take names for the same that differ in case alone.
    listed = {name.casefold() for name in wanted}
    strays = []
    for entry in os.scandir(directory):
        if entry.name.casefold() not in listed and entry.is_dir(follow_symlinks=False):
            marker = _marker_lines(entry.path)
            made_for = [line.removeprefix(MARKER_GATEWAY) for line in marker if line.startswith(MARKER_GATEWAY)]
            if marker and made_for in ([], [gateway]):
                strays.append(entry.name)
    return sorted(strays)


def _refuse_version_control(directory: str) -> None:
    place = os.path.realpath(directory)
    while True:
        for mark in VERSION_CONTROL:
            if os.path.exists(os.path.join(place, mark)):
                raise ValueError(
                    "The hand-out directory %s lies in the work tree of version control at %s, where keys do not belong; choose a directory outside of it."
                    % (directory, place)
                )
        parent = os.path.dirname(place)
        if parent == place:
            return
        place = parent


def _refuse_strangers(place: str, name: str, files: Mapping[str, File]) -> None:
    if os.path.islink(place):
        raise ValueError("%s is a symbolic link; the hand-out of %s is only written to a real directory." % (place, name))
    if os.path.exists(place) and not os.path.isdir(place):
        raise ValueError("%s is in the way of the hand-out of %s; look at it and remove it yourself." % (place, name))
    listed = set(_listed(place))
    for path in sorted(set(files) - listed):
        if os.path.lexists(os.path.join(place, path)):
            raise ValueError(
                "%s was not made as part of the hand-out of %s, so it is not overwritten; move it away, or choose another directory for hand-outs."
                % (os.path.join(place, path), name)
            )


def _give(place: str, who: str, files: Mapping[str, File], gateway: str, outcome: Outcome, check: bool) -> None:
    is_new = not os.path.isdir(place)
    made = Outcome() if is_new else outcome
    listed = _listed(place)
    _ensure_directory(place, who, made, check)
    _drop_unfinished(place, check)
    if not check and not set(files) <= set(listed):
        # What is about to be made is on the list first, so that a run that breaks off leaves nothing that nobody owns.
        _replace(os.path.join(place, MARKER), _manifest({*files, *listed}, gateway).encode("utf-8"), 0o600)
    for parent in sorted({parent for path in files for parent in _parents(path)}):
        _ensure_directory(os.path.join(place, parent), who, made, check)
    for path, file in sorted(files.items()):
        _ensure_file(os.path.join(place, path), file, who, made, check, path)
    for path in listed:
        if path not in files:
            _remove_file(place, path, who, made, check)
    if not check:
        _replace_if_other(os.path.join(place, MARKER), _manifest(files, gateway))
    if is_new:
        outcome.actions.append("%s: hand-out made" % who)
        outcome.after.update(made.after)


def _take_back(place: str, who: str, outcome: Outcome, check: bool) -> None:
    if not os.path.isdir(place):
        return
    if not os.path.isfile(os.path.join(place, MARKER)):
        raise ValueError("%s was not made as a hand-out of %s, so it is not removed; look at it and remove it yourself." % (place, who))
    listed = _listed(place)
    strangers = _strangers(place, listed)
    if strangers:
        outcome.warnings.append(
            "%s left, but %d file(s) in %s were not made here and stay, such as %s." % (who, len(strangers), place, sorted(strangers)[0])
        )
    if strangers and not listed:
        return
    _note(outcome, who, "hand-out removed", "directory", "", place)
    if check:
        return
    _drop_unfinished(place, check)
    for path in listed:
        _remove_file(place, path, who, Outcome(), check)
    if strangers:
        _replace(os.path.join(place, MARKER), _manifest((), "").encode("utf-8"), 0o600)
        return
    os.unlink(os.path.join(place, MARKER))
    _remove_empty(place)


def _manifest(paths: Iterable[str], gateway: str) -> str:
    made_for = "%s%s\n" % (MARKER_GATEWAY, gateway) if gateway else ""
    return MARKER_TITLE + made_for + "".join("%s\n" % path for path in sorted(paths))


def _marker_lines(place: str) -> list[str]:
    try:
        with open(os.path.join(place, MARKER), encoding="utf-8") as stream:
            return [line.rstrip("\n") for line in stream if line.strip()]
    except FileNotFoundError:
        return []


def _listed(place: str) -> list[str]:
    """What was made in a directory, as its own list says; a path that leads out of it is none of ours."""
    lines = [line for line in _marker_lines(place) if not line.startswith("#")]
    return [line for line in lines if not os.path.isabs(line) and ".." not in line.split("/")]


def _strangers(place: str, listed: Iterable[str]) -> list[str]:
    ours = {*listed, MARKER}
    found = []
    for directory, _names, files in os.walk(place):
        for file in files:
            path = os.path.relpath(os.path.join(directory, file), place)
            if path not in ours and not file.startswith(UNFINISHED):
                found.append(path)
    return found


def _parents(path: str) -> list[str]:
    parents = []
    parent = os.path.dirname(path)
    while parent:
        parents.append(parent)
        parent = os.path.dirname(parent)
    return parents


def _note(outcome: Outcome, who: str, action: str, before: str, after: str, path: str) -> None:
    outcome.actions.append("%s: %s" % (who, action) if who else action)
    # Never the content: a hand-out is a secret.
    if before:
        outcome.before[path] = before
    if after:
        outcome.after[path] = after


def _ensure_directory(path: str, who: str, outcome: Outcome, check: bool) -> None:
    if os.path.islink(path):
        raise ValueError("%s is a symbolic link; hand-outs are only written to real directories." % path)
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        what = "directory %s made" % os.path.basename(path) if who else "directory for hand-outs made"
        _note(outcome, who, what, "", "directory %04o" % DIRECTORY_MODE, path)
        if not check:
            os.makedirs(path, mode=DIRECTORY_MODE)
            os.chmod(path, DIRECTORY_MODE)
        return
    if mode != DIRECTORY_MODE:
        _note(outcome, who, "directory closed to others", "directory %04o" % mode, "directory %04o" % DIRECTORY_MODE, path)
        if not check:
            os.chmod(path, DIRECTORY_MODE)


def _ensure_file(path: str, wanted: File, who: str, outcome: Outcome, check: bool, name: str = "") -> None:
    name = name or os.path.basename(path)
    content = wanted.content.encode("utf-8")
    try:
        with open(path, "rb") as stream:
            found: bytes | None = stream.read()
        mode: int | None = stat.S_IMODE(os.lstat(path).st_mode)
    except FileNotFoundError:
        found = mode = None
    if found == content and mode == wanted.mode and not os.path.islink(path):
        return
    if found is None:
        _note(outcome, who, "%s written" % name, "", "file %04o" % wanted.mode, path)
    elif found != content:
        _note(outcome, who, "%s changed" % name, "file %04o, old content" % (mode or 0), "file %04o, new content" % wanted.mode, path)
    else:
        _note(outcome, who, "%s closed to others" % name, "file %04o" % (mode or 0), "file %04o" % wanted.mode, path)
    if not check:
        _replace(path, content, wanted.mode)


def _replace_if_other(path: str, content: str) -> None:
    with open(path, encoding="utf-8") as stream:
        if stream.read() == content:
            return
    _replace(path, content.encode("utf-8"), 0o600)


def _replace(path: str, content: bytes, mode: int) -> None:
    # mkstemp opens with 0600, so the content is never readable by others, not even for a moment.
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _drop_unfinished(place: str, check: bool) -> None:
    """Half-written files of a run that was killed have keys in them too."""
    if check:
        return
    for directory, _names, files in os.walk(place):
        for file in files:
            if file.startswith(UNFINISHED):
                os.unlink(os.path.join(directory, file))


def _remove_file(place: str, path: str, who: str, outcome: Outcome, check: bool) -> None:
    full = os.path.join(place, path)
    if any(os.path.islink(os.path.join(place, parent)) for parent in _parents(path)) or not os.path.lexists(full) or os.path.isdir(full):
        return
    _note(outcome, who, "%s removed" % path, "file", "", full)
    if check:
        return
    os.unlink(full)
    for parent in _parents(path):
        _remove_empty(os.path.join(place, parent))


def _remove_empty(directory: str) -> None:
    """Remove directories that nothing is left in, the innermost first."""
    for path, _names, _files in sorted(os.walk(directory, topdown=False), key=lambda entry: -len(entry[0])):
        if not os.listdir(path):
            os.rmdir(path)
