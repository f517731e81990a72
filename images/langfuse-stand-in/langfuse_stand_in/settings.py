"""The environment, held against the list of what Langfuse reads."""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.parse
from pathlib import Path

from langfuse_stand_in import log

KNOWN = json.loads((Path(__file__).parent / "variables.json").read_text())
# What containers have in any case, and what this image sets for itself.
NOT_LANGFUSE = {"PATH", "HOME", "HOSTNAME", "TERM", "PWD", "LC_CTYPE", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "SSL_CERT_FILE"}


def format_problem(kind: object, value: str) -> str | None:
    """What is wrong with a value; the value itself is not quoted."""
    if isinstance(kind, list):
        return None if value in kind else f"must be one of {', '.join(kind)}"
    if kind == "hex64":
        return None if re.fullmatch(r"[0-9a-fA-F]{64}", value) else "must be 64 hexadecimal digits"
    if kind == "number":
        return None if re.fullmatch(r"-?\d+(\.\d+)?", value) else "must be a number"
    if kind == "email":
        return None if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value) else "must be an e-mail address"
    if kind == "url":
        return None if is_url(value) else "must be a URL; a user name or password in it has to be percent-encoded"
    return None


def is_url(value: str) -> bool:
    """Whether a URL can be taken apart: a character that ends the host early makes a wrong port or no host."""
    try:
        parts = urllib.parse.urlsplit(value)
        return bool(parts.scheme and parts.hostname) and (parts.port is None or parts.port > 0) and not re.search(r"[\s#?]", parts.netloc)
    except ValueError:
        return False


def problems(program: str, environment: dict[str, str]) -> list[str]:
    """Each reason not to start."""
    found = [f"{name} is required and missing" for name in KNOWN["required"][program] if not environment.get(name)]
    for name, value in sorted(environment.items()):
        if name in KNOWN["variables"]:
            problem = format_problem(KNOWN["variables"][name], value) if value else None
            found += [f"{name} {problem}"] if problem else []
        elif name not in NOT_LANGFUSE:
            found.append(f"{name} is no variable of Langfuse {KNOWN['version']}")
    return found


def checked(program: str) -> dict[str, str]:
    """The environment, when all of it is right; otherwise the end."""
    environment = dict(os.environ)
    if found := problems(program, environment):
        for problem in found:
            log("environment is wrong", problem=problem)
        sys.exit(1)
    return environment
