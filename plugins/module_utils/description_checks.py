# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with the description of any service, be it a container or a program of the host."""

from __future__ import annotations

import ipaddress
import posixpath
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MODE = re.compile(r"0[0-7]{3,4}|[0-7]{4}")
LINE_ENDS = ("\n", "\r", "\0")
UNIT = re.compile(r"[A-Za-z0-9:_.@-]+\.(service|socket|target|mount|path|timer)")
HIGHEST_PORT = 65535
# Directories that every host has and that many programs share: no service may own, chmod or purge one of them.
SHARED_DIRECTORIES = frozenset(
    "/bin /boot /dev /etc /home /lib /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr /var /usr/bin /usr/lib /usr/local "
    "/usr/local/bin /usr/local/lib /usr/sbin /usr/share /var/cache /var/lib /var/log /var/run /var/spool /var/tmp /etc/systemd "
    "/etc/systemd/system /etc/ssh /etc/private-llm /var/lib/private-llm /var/lib/docker /var/lib/containerd".split()
)


# What lies in one of these belongs to the system, to an engine or to this collection itself.
PROTECTED_TREES = tuple(
    "/bin /boot /dev /lib /proc /run/systemd /sbin /sys /usr/bin /usr/lib /usr/sbin /etc/private-llm /etc/systemd /var/lib/containerd "
    "/var/lib/docker /var/lib/dpkg /var/lib/private-llm/services".split()
)


def name(given: Mapping[str, Any]) -> Iterator[str]:
    """The service's own name, and what it is to be started with."""
    if not NAME.fullmatch(given["name"]):
        yield f"name '{given['name']}' may hold small letters, digits and _.- only, and begins with a letter or digit"
    for unit in given["depends_on"]:
        if not UNIT.fullmatch(unit):
            yield f"depends_on '{unit}' is no unit; write its kind too, for instance {unit}.service"
        elif unit == f"{given['name']}.service":
            yield f"depends_on names {unit} itself"
    if any(end in given["description"] for end in LINE_ENDS):
        yield "description holds a line break"
    if given["purge"] and given["state"] != "absent":
        yield "purge takes data away, which belongs to state absent only"


def path(text: str, what: str) -> Iterator[str]:
    """A path that has to name one place."""
    if not text.startswith("/"):
        yield f"{what} '{text}' must be an absolute path"
    elif posixpath.normpath(text) != text or text == "/":
        yield f"{what} '{text}' must name one place below /, without .. and without a / at its end"
    if "," in text or any(end in text for end in LINE_ENDS):
        yield f"{what} '{text}' holds a comma or a line break, which a mount cannot"


def mode(text: str | None, what: str) -> Iterator[str]:
    """An octal mode, or none."""
    if text is not None and not MODE.fullmatch(text):
        yield f"mode '{text}' of {what} must be four octal digits in quotes, such as '0640'"


def own_directory(text: str, what: str) -> Iterator[str]:
    """A directory whose owner and mode the service decides."""
    yield from path(text, what)
    if text in SHARED_DIRECTORIES or any(text == tree or text.startswith(f"{tree}/") for tree in PROTECTED_TREES):
        yield f"{what} '{text}' belongs to the whole host and not to one service; name a directory of its own"


def files(given: Mapping[str, Any]) -> Iterator[str]:
    """The paths and modes of files, each with its whole content."""
    for file in given["files"]:
        yield from path(file["path"], "file")
        yield from mode(file["mode"], file["path"])
        wide = MODE.fullmatch(file["mode"] or "0600") and int(file["mode"] or "0600", 8) & 0o077
        if file["secret_content"] is not None and wide:
            yield f"the secret file {file['path']} with mode {file['mode']} could be read by others; give it an owner and 0600"


def twice(values: Sequence[Any], sentence: str) -> Iterator[str]:
    """What stands in a list more than once."""
    for value in sorted({v for v in values if values.count(v) > 1}):
        yield f"{sentence} {value}"


def address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IP address, or None where the text is none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def environment(given: Mapping[str, Any]) -> Iterator[str]:
    """Names and values of variables."""
    for kind in ("environment", "secret_environment"):
        for variable, value in given[kind].items():
            if not VARIABLE.fullmatch(variable):
                yield f"{kind} has a variable '{variable}', which is no name for one"
            if value is None or isinstance(value, (dict, list)):
                yield f"environment variable {variable} has no text as its value; write '' for an empty one"
            if any(end in str(value) for end in LINE_ENDS):
                yield f"environment variable {variable} holds a line break; give it as a file instead"
    for variable in sorted(set(given["environment"]) & set(given["secret_environment"])):
        yield f"environment variable {variable} is in environment and in secret_environment; keep one"


def stop_timeout(given: Mapping[str, Any]) -> Iterator[str]:
    """The time to stop."""
    if given["stop_timeout"] < 0:
        yield f"stop_timeout {given['stop_timeout']} must not be negative"


def _url(text: str) -> urllib.parse.SplitResult | None:
    try:
        url = urllib.parse.urlsplit(text)
        _port = url.port  # raises for one that is none
    except ValueError:
        return None
    return url


def asked_address(health: Mapping[str, Any]) -> tuple[str, str, int] | None:
    """What a health check asks over the network: its text, host and port; None when it asks nothing there, or nonsense."""
    if health["http"]:
        url = _url(health["http"])
        if url is not None and url.scheme in ("http", "https") and url.hostname and not re.search(r"\s", health["http"]):
            return health["http"], url.hostname, url.port or {"http": 80, "https": 443}[url.scheme]
    if health["tcp"]:
        host, _colon, port = health["tcp"].rpartition(":")
        if host and port.isdigit() and 0 < int(port) <= HIGHEST_PORT:
            return health["tcp"], host.strip("[]"), int(port)
    return None


def health(given: Mapping[str, Any]) -> Iterator[str]:
    """The health check, by itself."""
    check = given["health"]
    if check is None:
        return
    if check["interval"] <= 0:
        yield f"health.interval {check['interval']} must be more than 0"
    if check["timeout"] < 0:
        yield f"health.timeout {check['timeout']} must not be negative"
    if check["http"] and asked_address(check) is None:
        yield f"health.http '{check['http']}' is no http or https address"
    if check["tcp"] and asked_address(check) is None:
        yield f"health.tcp '{check['tcp']}' must be HOST:PORT"
    if check["exec"] == []:
        yield "health.exec is empty; name a command"
