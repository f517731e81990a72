# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the description of a native service, found before anything is changed and all of it at once."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from ansible_collections.private_llm.platform.plugins.module_utils import description_checks as checks

DIRECTIVE = re.compile(r"[A-Z][A-Za-z0-9]+")
STREAM = re.compile(r"\[?(?P<host>[0-9A-Fa-f.:]+?)\]?:(?P<port>[0-9]+)")
# What the module writes itself; given twice it would mean something else, or undo a promise.
OWN_DIRECTIVES = frozenset("ExecStart ExecStartPre ExecStop Environment EnvironmentFile Type User Group TimeoutStopSec".split())
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
RELEASES = "releases"
Check = Callable[[Mapping[str, Any]], Iterator[str]]


def problems(given: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing that cannot work, or would work in a way that nobody asked for."""
    shared: tuple[Check, ...] = (checks.name, checks.files, checks.environment, checks.stop_timeout, checks.health)
    own: tuple[Check, ...] = (_program, _places, _links, _directives, _sockets, _drain)
    if given["state"] == "absent":
        # Only what is taken away has to be right; a program that is not wanted any more need not be described.
        shared, own = (checks.name, checks.files), (_places, _links)
    return [sentence for check in (*shared, *own) for sentence in check(given)]


def _program(given: Mapping[str, Any]) -> Iterator[str]:
    if given["unit_source"] == "package":
        if given["exec_start"]:
            yield "exec_start belongs to the package's own unit when unit_source is package; leave it out"
        return
    if not given["exec_start"]:
        yield "exec_start is empty; give the program and its arguments"
    else:
        yield from checks.path(given["exec_start"][0], "the program of exec_start")
    if any(end in word for word in given["exec_start"] for end in checks.LINE_ENDS):
        yield "exec_start holds a line break"
    for kind in ("user", "group"):
        if given[kind] and not USER.fullmatch(given[kind]):
            yield f"{kind} '{given[kind]}' is no name of one"


def _places(given: Mapping[str, Any]) -> Iterator[str]:
    for directory in given["directories"]:
        yield from checks.own_directory(directory["path"], "directory")
        yield from checks.mode(directory["mode"], directory["path"])
    homes = [f"/etc/{given['name']}", f"/etc/private-llm/{given['name']}", *(directory["path"] for directory in given["directories"])]
    for file in given["files"]:
        if file["path"].startswith("/") and not file["path"].startswith(tuple(f"{home}/" for home in homes)):
            yield f"the file {file['path']} lies outside of the service's directories; put it into one of {', '.join(homes)}"
    yield from checks.twice([file["path"] for file in given["files"]], "two files are called")


def _links(given: Mapping[str, Any]) -> Iterator[str]:
    for link in given["links"]:
        yield from checks.path(link["path"], "link")
        yield from checks.path(link["target"], "target of a link")
        if link["path"] == link["target"] or link["path"].startswith(f"{link['target']}/"):
            yield f"the link {link['path']} would point at itself"
        if link["keep"] is not None and link["keep"] < 1:
            yield f"keep {link['keep']} of the link {link['path']} must be at least 1: what runs has to stay"
        if link["keep"] is not None and posixpath.basename(posixpath.dirname(link["target"])) != RELEASES:
            yield f"the link {link['path']} has keep, which removes directories beside {link['target']}; they have to be in one called {RELEASES}"
    yield from checks.twice([link["path"] for link in given["links"]], "two links are called")


def _directives(given: Mapping[str, Any]) -> Iterator[str]:
    for kind in ("unit_options", "service_options", "socket_options"):
        for name, value in given[kind].items():
            if not DIRECTIVE.fullmatch(name):
                yield f"{kind} has '{name}', which is no name of a directive"
            if any("\n" in str(entry) for entry in (value if isinstance(value, list) else [value])):
                yield f"{name} of {kind} holds a line break"
    for name in sorted(OWN_DIRECTIVES & set(given["service_options"])):
        yield f"service_options has {name}, which this module writes itself; use the option of that purpose"


def _sockets(given: Mapping[str, Any]) -> Iterator[str]:
    for stream in given["listen_streams"]:
        found = STREAM.fullmatch(stream)
        if stream.startswith("/"):
            yield from checks.path(stream, "listen_streams")
        elif not found or checks.address(found["host"]) is None:
            yield f"listen_streams '{stream}' must be ADDRESS:PORT, for instance 127.0.0.1:8080; a port alone would be open on every address"
        elif not 0 < int(found["port"]) <= checks.HIGHEST_PORT:
            yield f"listen_streams '{stream}' has a port outside 1 to {checks.HIGHEST_PORT}"
    yield from checks.twice(given["listen_streams"], "listen_streams names twice")
    if given["listen_streams"] and given["unit_source"] == "package":
        yield "listen_streams cannot be added to a package's own unit"
    if given["socket_options"] and not given["listen_streams"]:
        yield "socket_options without listen_streams have no effect"


def _drain(given: Mapping[str, Any]) -> Iterator[str]:
    if given["drain"] is None:
        return
    if given["drain"]["timeout"] < 1:
        yield f"drain.timeout {given['drain']['timeout']} must be at least 1"
    if given["unit_source"] == "package" or given["listen_streams"]:
        yield "drain is for programs that listen by themselves; it cannot be added to a package's unit or a socket"
