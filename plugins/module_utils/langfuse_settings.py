# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with the environment that Langfuse is to be given, each as one sentence that quotes no value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.private_llm.platform.plugins.module_utils.people import did_you_mean

_DATABASE = re.compile(r"postgres(?:ql)?://(?P<user>[^:/?#@\s]+):(?P<password>[^:/?#@\s]+)@[^:/?#@\s]+:[0-9]+/[^/?#@\s]+(?:\?\S*)?")
_ENCODED = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
# Passwords that Langfuse writes into a URL of its own without encoding them.
_INTO_A_URL = ("CLICKHOUSE_PASSWORD",)
# Below this a secret could be guessed.
_SHORTEST_SECRET = 16
_SECRETS = ("SALT", "NEXTAUTH_SECRET", "LANGFUSE_INIT_PROJECT_SECRET_KEY", "LANGFUSE_INIT_USER_PASSWORD")


def _url_problem(value: str) -> str | None:
    try:
        parts = urlsplit(value)
        good = bool(parts.scheme and parts.hostname) and (parts.port is None or parts.port > 0) and not re.search(r"\s", value)
    except ValueError:
        good = False
    return None if good else "must be a URL such as http://host:port"


def _format_problem(kind: Any, value: str) -> str | None:
    if isinstance(kind, list):
        return None if value in kind else "must be one of %s" % ", ".join(kind)
    if kind == "hex64":
        return None if re.fullmatch("[0-9a-fA-F]{64}", value) else "must be 64 hexadecimal digits"
    if kind == "number":
        return None if re.fullmatch(r"-?[0-9]+(?:\.[0-9]+)?", value) else "must be a number"
    if kind == "email":
        return None if _EMAIL.fullmatch(value) else "must be an e-mail address"
    return _url_problem(value) if kind == "url" else None


def _database_problem(value: str) -> str | None:
    found = _DATABASE.fullmatch(value)
    if found and _ENCODED.fullmatch(found["user"] + found["password"]):
        return None
    return "must be postgresql://USER:PASSWORD@HOST:PORT/NAME, with special characters of user and password percent-encoded (@ is %40)"


def _special_problem(name: str, value: str) -> str | None:
    if name in ("DATABASE_URL", "DIRECT_URL"):
        return _database_problem(value)
    if name == "NEXTAUTH_URL" and not value.startswith(("http://", "https://")):
        return "must begin with http:// or https://"
    if name in _INTO_A_URL and not re.fullmatch("[A-Za-z0-9._~-]+", value):
        return "may only have letters, digits and . _ ~ - because it becomes part of a URL"
    if name in _SECRETS and len(value) < _SHORTEST_SECRET:
        return "needs at least %d characters" % _SHORTEST_SECRET
    return None


def problems_of(environment: Mapping[str, Any], known: Mapping[str, Any], program: str) -> list[str]:
    """Everything that is wrong with an environment; empty when all is well.

    known is what files/variables.json of the role says; program is web or worker.
    """
    variables = known["variables"]
    found = ["%s is missing." % name for name in known["required"][program] if not environment.get(name)]
    for name in sorted(environment):
        value = environment[name]
        if name not in variables:
            found.append("%s is no variable of Langfuse %s%s" % (name, known["version"], did_you_mean(name, variables)))
        elif not isinstance(value, str):
            found.append("%s must be text in quotes." % name)
        elif value:
            problem = _special_problem(name, value) or _format_problem(variables[name], value)
            if problem:
                found.append("%s %s." % (name, problem))
    return found
