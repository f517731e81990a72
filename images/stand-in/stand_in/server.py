"""A small HTTP server for all stand-ins, and what they say when they refuse their configuration."""

from __future__ import annotations

import json
import signal
import sys
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any


class Refused(Exception):
    """What the real program would not take either."""


@dataclass
class Request:
    """What was asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Answer:
    """What is answered."""

    body: Any = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Answer]


def serve(port: int, handle: Handler) -> None:
    """Answer on all addresses of the container until it is stopped."""

    class Web(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            query = dict(urllib.parse.parse_qsl(url.query))
            told = handle(Request(self.command, url.path, query, self.headers, self.rfile.read(length)))
            text = told.body if isinstance(told.body, (str, bytes)) else json.dumps(told.body)
            content = text.encode() if isinstance(text, str) else text
            self.send_response(told.status)
            for name, value in {"Content-Type": "text/plain; version=0.0.4", **told.headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815 - the names that the base class calls

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class calls it so
            """Requests are no news."""

    server = ThreadingHTTPServer(("0.0.0.0", port), Web)  # noqa: S104 - inside a container
    server.daemon_threads = True

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    server.serve_forever()


def check_keys(what: str, found: Any, allowed: Any) -> None:
    """Refuse a key that is not known, and a value of another kind. ``allowed`` maps keys to kinds, tuples of kinds, or mappings again.

    ``{"*": X}`` allows any key; a list of one element describes each element.

    :raises Refused: with the place and the name.
    """
    if isinstance(allowed, dict):
        if not isinstance(found, dict):
            raise Refused(f"{what} must be a mapping")
        for key, value in found.items():
            if key not in allowed and "*" not in allowed:
                raise Refused(f"field {key} not found in {what}")
            check_keys(f"{what}.{key}", value, allowed.get(key, allowed.get("*")))
    elif isinstance(allowed, list):
        if not isinstance(found, list):
            raise Refused(f"{what} must be a list")
        for number, value in enumerate(found):
            check_keys(f"{what}[{number}]", value, allowed[0])
    elif not isinstance(found, allowed):
        raise Refused(f"{what} has the value {found!r}, which is of the wrong kind")


def refuse(problem: Exception) -> int:
    """Say why a configuration is not taken; the exit status."""
    sys.stderr.write(f"level=error msg={json.dumps(f'stand-in: {problem}')}\n")
    return 1


def log(level: str, message: str) -> None:
    """One line in the style of the real programs."""
    sys.stderr.write(f"level={level} msg={json.dumps(message)}\n")
    sys.stderr.flush()
