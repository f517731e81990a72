# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a person is handed: a directory with the key and the ways to use it."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DIRECTORY_MODE = 0o700
# Everything under the directory is kept out of any version control that it may lie in.
IGNORE_FILE = ".gitignore"
# Lies in every directory made here; one without it is somebody else's and is never removed.
MARKER = ".private-llm-handout"

CURL_SCRIPT = """\
#!/bin/sh
# Ask the model a question and watch the answer come: ./curl.sh ["your question"]
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/environment"
model=${MODEL:-%(model)s}
question=${1:-Write a haiku about a private language model.}
if [ -z "$model" ]; then
  echo "Name a model, for example: MODEL=coder $0" >&2
  exit 2
fi
# The key is read from standard input, so that no list of processes shows it.
quoted=$(printf '%%s' "$question" | sed 's/\\\\/\\\\\\\\/g; s/"/\\\\"/g' | tr '\\n\\t' '  ')
printf 'header = "Authorization: Bearer %%s"\\n' "$OPENAI_API_KEY" |
  curl --config - --no-buffer --silent --show-error --fail-with-body \\
    --header 'Content-Type: application/json' \\
    --data "{\\"model\\": \\"$model\\", \\"stream\\": true, \\"messages\\": [{\\"role\\": \\"user\\", \\"content\\": \\"$quoted\\"}]}" \\
    "$OPENAI_BASE_URL/chat/completions"
"""


@dataclass(frozen=True)
class File:
    """A file to hand out."""

    content: str
    mode: int = 0o600


@dataclass
class Outcome:
    """What was done (or would be)."""

    actions: list[str] = field(default_factory=list)
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)


def base_url_of(public_url: str) -> str:
    """The address that OpenAI-compatible clients want: with /v1 at the end."""
    url = public_url.rstrip("/")
    return url if url.endswith("/v1") else url + "/v1"


def files_for(key: str, public_url: str, model: str = "") -> dict[str, File]:
    """Name and content of each file of one person."""
    environment = "export OPENAI_BASE_URL=%s\nexport OPENAI_API_KEY=%s\n" % (shlex.quote(base_url_of(public_url)), shlex.quote(key))
    return {
        MARKER: File("Made by Ansible (private_llm.platform); changes here are overwritten.\n"),
        "key": File(key + "\n"),
        "environment": File(environment),
        "curl.sh": File(CURL_SCRIPT % {"model": shlex.quote(model) if model else ""}, 0o700),
    }


def hand_out(directory: str, people: Sequence[Mapping[str, Any]], public_url: str, model: str = "", check: bool = False) -> Outcome:
    """Bring the directory to what the people need; only directories of people named here are touched."""
    outcome = Outcome()
    if os.path.islink(directory) or (os.path.exists(directory) and not os.path.isdir(directory)):
        raise ValueError("The hand-out directory %s is no directory; remove it or choose another one." % directory)
    if any(person["state"] != "absent" for person in people):
        _ensure_directory(directory, "", outcome, check)
        _ensure_file(os.path.join(directory, IGNORE_FILE), File("*\n"), "", outcome, check)
    for person in people:
        place = os.path.join(directory, person["name"])
        if os.path.islink(place):
            raise ValueError("%s is a symbolic link; the hand-out of %s is only written to a real directory." % (place, person["name"]))
        if person["state"] == "absent":
            _remove(place, person["name"], outcome, check)
            continue
        _ensure_directory(place, person["name"], outcome, check)
        for name, wanted in sorted(files_for(person["key"], public_url, model).items()):
            _ensure_file(os.path.join(place, name), wanted, person["name"], outcome, check)
    return outcome


def _note(outcome: Outcome, who: str, action: str, before: str, after: str, path: str) -> None:
    outcome.actions.append("%s: %s" % (who, action) if who else action)
    # Never the content: a hand-out is a secret.
    if before:
        outcome.before[path] = before
    if after:
        outcome.after[path] = after


def _ensure_directory(path: str, who: str, outcome: Outcome, check: bool) -> None:
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        _note(
            outcome, who, "hand-out directory made" if who else "directory for hand-outs made", "", "directory %04o" % DIRECTORY_MODE, path
        )
        if not check:
            os.makedirs(path, mode=DIRECTORY_MODE)
            os.chmod(path, DIRECTORY_MODE)
        return
    if mode != DIRECTORY_MODE:
        _note(outcome, who, "directory closed to others", "directory %04o" % mode, "directory %04o" % DIRECTORY_MODE, path)
        if not check:
            os.chmod(path, DIRECTORY_MODE)


def _ensure_file(path: str, wanted: File, who: str, outcome: Outcome, check: bool) -> None:
    name = os.path.basename(path)
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


def _replace(path: str, content: bytes, mode: int) -> None:
    # mkstemp opens with 0600, so the content is never readable by others, not even for a moment.
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".handout-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _remove(path: str, who: str, outcome: Outcome, check: bool) -> None:
    if not os.path.isdir(path):
        return
    if not os.path.isfile(os.path.join(path, MARKER)):
        raise ValueError("%s was not made as a hand-out of %s, so it is not removed; look at it and remove it yourself." % (path, who))
    _note(outcome, who, "hand-out removed", "directory", "", path)
    if not check:
        shutil.rmtree(path)
