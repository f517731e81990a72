# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a running program to read its files again, by HTTP or by a command, and learning whether it took them."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.systemd import CommandFailed, Runner

RELOAD_OPTIONS: dict[str, Any] = {
    "type": "dict",
    "options": {"http": {"type": "str"}, "exec": {"type": "list", "elements": "str"}},
    "mutually_exclusive": [["http", "exec"]],
    "required_one_of": [["http", "exec"]],
}
RELOAD_SECONDS = 60
LONGEST_ANSWER = 1000
# No proxy: it is this host that is asked, whatever the environment says of proxies.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask_to_reload(how: Mapping[str, Any], inside: Sequence[str], run: Runner) -> None:
    """Ask once and wait for the answer.

    :param how: ``http``, a URL that takes an empty POST, or ``exec``, a command that is run inside the container.
    :param inside: the beginning of a command line that runs a command inside the container.
    :raises CommandFailed: when the program refuses, with its own words.
    """
    if how["http"]:
        _post(how["http"])
        return
    status, output, error = run(["timeout", "--kill-after", "1", str(RELOAD_SECONDS), *inside, *how["exec"]])
    if status != 0:
        raise CommandFailed(f"the program did not take its changed files (exit status {status}): {(error or output).strip()[-LONGEST_ANSWER:]}")


def _post(url: str) -> None:
    try:
        _OPENER.open(urllib.request.Request(url, data=b"", method="POST"), timeout=RELOAD_SECONDS).close()
    except urllib.error.HTTPError as error:
        said = error.read(LONGEST_ANSWER).decode("utf-8", "replace").strip()
        raise CommandFailed(f"the program did not take its changed files: {url}: HTTP {error.code}: {said}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise CommandFailed(f"the program could not be asked to read its files again: {url}: {getattr(error, 'reason', None) or error}") from error
