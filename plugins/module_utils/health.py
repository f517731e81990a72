# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until a service answers: by HTTP, by a TCP connection or by a command's exit status."""

from __future__ import annotations

import http.client
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Callable

from ansible_collections.private_llm.platform.plugins.module_utils.systemd import Runner

HEALTH_OPTIONS: dict[str, Any] = {
    "type": "dict",
    "options": {
        "http": {"type": "str"},
        "tcp": {"type": "str"},
        "exec": {"type": "list", "elements": "str"},
        "status": {"type": "int", "default": 200},
        "interval": {"type": "float", "default": 1.0},
        "timeout": {"type": "int", "default": 60},
    },
    "mutually_exclusive": [["http", "tcp", "exec"]],
    "required_one_of": [["http", "tcp", "exec"]],
}

PROBE_SECONDS = 5
# The exit status of timeout(1) when it had to end the command.
TIMED_OUT = 124


@dataclass(frozen=True)
class Health:
    """How a service shows that it is well. ``interval`` and ``timeout`` are seconds."""

    http: str | None
    tcp: str | None
    command: Sequence[str]
    status: int
    interval: float
    timeout: int

    @classmethod
    def from_parameters(cls, given: Mapping[str, Any] | None, command_prefix: Sequence[str] = ()) -> Health | None:
        """The check of a module's ``health`` option; ``command_prefix`` runs a command inside a container."""
        if given is None:
            return None
        command = [*command_prefix, *given["exec"]] if given["exec"] else []
        return cls(given["http"], given["tcp"], command, given["status"], given["interval"], given["timeout"])

    def as_text(self) -> str:
        """The check as one line, for :meth:`from_text`."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Health | None:
        """The check that :meth:`as_text` wrote; None for an empty text."""
        return cls(**json.loads(text)) if text else None

    def probe(self, run: Runner) -> str | None:
        """Ask once. Returns None when the service is well, else what it answered instead."""
        if self.http:
            return _probe_http(self.http, self.status)
        if self.tcp:
            return _probe_tcp(self.tcp)
        status, output, error = run(["timeout", "--kill-after", "1", str(PROBE_SECONDS), *self.command])
        if status == TIMED_OUT:
            return f"the health check gave no answer within {PROBE_SECONDS} s"
        return None if status == 0 else f"exit status {status}: {(error or output).strip()[-200:]}"

    def wait(self, ask: Callable[[], str | None], given_up: Callable[[], str | None]) -> str | None:
        """Ask until the service is well (returns None) or until time is up (returns the last answer).

        ``ask`` returns None when all is well, else what was found instead, such as :meth:`probe` does; ``given_up`` may end
        the wait early by saying why it is pointless.
        """
        deadline = time.monotonic() + self.timeout
        while True:
            answer = ask()
            if answer is None:
                return None
            hopeless = given_up()
            if hopeless is not None:
                return f"{hopeless}; last answer: {answer}"
            if time.monotonic() >= deadline:
                return f"not healthy after {self.timeout} s; last answer: {answer}"
            time.sleep(self.interval)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any, **_keywords: Any) -> None:
        return None


# No proxy: a health check asks this host, whatever the environment says of proxies.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def _probe_http(url: str, wanted: int) -> str | None:
    try:
        with _OPENER.open(url, timeout=PROBE_SECONDS) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"{url}: {getattr(error, 'reason', None) or error or type(error).__name__}"
    return None if status == wanted else f"{url}: HTTP {status}"


def _probe_tcp(address: str) -> str | None:
    host, _separator, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS):
            return None
    except (OSError, ValueError) as error:
        return f"{address}: {error}"
