# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the description of a container service, found before anything is changed and all of it at once."""

from __future__ import annotations

import ipaddress
import posixpath
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.docker_cli import BadPublish, parse_publish
from ansible_collections.private_llm.platform.plugins.module_utils.listeners import overlaps

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MODE = re.compile(r"0?[0-7]{3,4}")
MEMORY = re.compile(r"[1-9][0-9]*[bkmg]?")
USER = re.compile(r"[0-9]+(:[0-9]+)?")
CDI_NAME = re.compile(r"[A-Za-z0-9.-]+/[A-Za-z0-9_.-]+=[A-Za-z0-9_.:-]+")
UNIT = re.compile(r"[A-Za-z0-9:_.@-]+\.(service|socket|target|mount|path)")
ULIMIT = re.compile(r"-?[0-9]+(:-?[0-9]+)?")
LONGEST_BRIDGE_NAME = 15
HIGHEST_PORT = 65535


def problems(given: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing that cannot work, or would work in a way that nobody asked for."""
    return [sentence for check in (_identity, _paths, _networking, _environment, _limits, _health) for sentence in check(given)]


def _identity(given: Mapping[str, Any]) -> Iterator[str]:
    if not NAME.fullmatch(given["name"]):
        yield f"name '{given['name']}' may hold small letters, digits and _.- only, and begins with a letter or digit"
    if given["image"]:
        yield from _image(given["image"])
    if given["user"] and not USER.fullmatch(given["user"]):
        yield f"user '{given['user']}' must be UID or UID:GID in numbers: names mean something else inside the image"
    for unit in given["after"]:
        if not UNIT.fullmatch(unit):
            yield f"after '{unit}' is no unit; write its kind too, for instance {unit}.service"


def _image(image: str) -> Iterator[str]:
    name, _at, digest = image.partition("@")
    tag = name.rsplit("/", 1)[-1].partition(":")[2]
    if re.search(r"\s", image) or not name:
        yield f"image '{image}' is no image name"
    elif digest and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        yield f"image '{image}' has a digest that is none: @sha256: and 64 digits"
    elif not digest and not tag:
        yield f"image '{image}' has no tag; without one it means whatever is newest"
    elif tag == "latest" and not digest:
        yield f"image '{image}' is another one every day; name a version"


def _path(path: str, what: str) -> Iterator[str]:
    if not path.startswith("/"):
        yield f"{what} '{path}' must be an absolute path"
    elif posixpath.normpath(path) != path or path == "/":
        yield f"{what} '{path}' must name one place below /, without .. and without a / at its end"
    if "," in path or "\n" in path:
        yield f"{what} '{path}' holds a comma or a line break, which a mount cannot"


def _mode(mode: str | None, what: str) -> Iterator[str]:
    if mode is not None and not MODE.fullmatch(mode):
        yield f"mode '{mode}' of {what} must be three or four octal digits"


def _paths(given: Mapping[str, Any]) -> Iterator[str]:
    for file in given["files"]:
        yield from _path(file["path"], "file")
        yield from _mode(file["mode"], file["path"])
        if file["secret_content"] is not None and MODE.fullmatch(file["mode"] or "0600") and int(file["mode"] or "0600", 8) & 0o077:
            yield f"the secret file {file['path']} with mode {file['mode']} could be read by others; give it an owner and 0600"
    for volume in given["volumes"]:
        yield from _path(volume["source"], "source of a volume")
        yield from _path(volume["target"], "target of a volume")
        yield from _mode(volume["mode"], volume["source"])
        if (volume["owner"] or volume["group"]) and not volume["mode"]:
            yield f"the volume {volume['source']} has an owner but no mode; give both, or neither to take it as it is"
    for place in given["tmpfs"]:
        yield from _path(place.partition(":")[0], "tmpfs")
    targets = [file["path"] for file in given["files"]] + [v["target"] for v in given["volumes"]] + [t.partition(":")[0] for t in given["tmpfs"]]
    yield from _twice(targets, "the container would see two things at")
    for device in given["devices"]:
        if not device.startswith("/dev/") and not CDI_NAME.fullmatch(device):
            yield f"device '{device}' is neither a path below /dev nor a CDI name such as nvidia.com/gpu=all"


def _twice(values: Sequence[Any], sentence: str) -> Iterator[str]:
    for value in sorted({v for v in values if values.count(v) > 1}):
        yield f"{sentence} {value}"


def _networking(given: Mapping[str, Any]) -> Iterator[str]:
    host_ports = []
    for text in given["publish"]:
        try:
            address, host_port, container_port = parse_publish(text)
        except BadPublish as error:
            yield str(error)
            continue
        host_ports.append(f"{address}:{host_port}")
        if not all(0 < port <= HIGHEST_PORT for port in (host_port, container_port)):
            yield f"publish '{text}' has a port outside 1 to {HIGHEST_PORT}"
        if _address(address) is None:
            yield f"publish '{text}' must begin with an IP address"
    yield from _twice(host_ports, "two ports of the container are published on")
    if given["publish"] and not given["networks"]:
        yield "a container without a network cannot publish ports; give it one in networks"
    yield from _twice([network["name"] for network in given["networks"]], "networks names twice")
    for network in given["networks"]:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", network["name"]):
            yield f"network '{network['name']}' may hold letters, digits and _.- only"
        if network["bridge"] and not re.fullmatch(rf"[A-Za-z0-9_.-]{{1,{LONGEST_BRIDGE_NAME}}}", network["bridge"]):
            yield f"bridge '{network['bridge']}' of network {network['name']} must have 1 to {LONGEST_BRIDGE_NAME} letters, digits or _.-"
        if network["subnet"] and not _is_subnet(network["subnet"]):
            yield f"subnet '{network['subnet']}' of network {network['name']} must be a network such as 10.89.64.0/24"
    for name, address in given["extra_hosts"].items():
        if address != "host-gateway" and _address(str(address)) is None:
            yield f"extra_hosts gives {name} the address '{address}', which is none"


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_subnet(text: str) -> bool:
    try:
        return ipaddress.ip_network(text).num_addresses > 1
    except ValueError:
        return False


def _environment(given: Mapping[str, Any]) -> Iterator[str]:
    for kind in ("environment", "secret_environment"):
        for name, value in given[kind].items():
            if not VARIABLE.fullmatch(name):
                yield f"{kind} has a variable '{name}', which is no name for one"
            if "\n" in str(value) or "\r" in str(value):
                yield f"environment variable {name} holds a line break; give it as a file instead"
    for name in sorted(set(given["environment"]) & set(given["secret_environment"])):
        yield f"environment variable {name} is in environment and in secret_environment; keep one"


def _limits(given: Mapping[str, Any]) -> Iterator[str]:
    if given["memory"] and not MEMORY.fullmatch(given["memory"]):
        yield f"memory '{given['memory']}' must be a number with b, k, m or g, for instance 512m"
    if given["cpus"] is not None and given["cpus"] <= 0:
        yield f"cpus {given['cpus']} must be more than 0"
    if given["pids"] < 1:
        yield f"pids {given['pids']} must be at least 1"
    if given["stop_timeout"] < 0:
        yield f"stop_timeout {given['stop_timeout']} must not be negative"
    for name, value in given["ulimits"].items():
        if not ULIMIT.fullmatch(str(value)):
            yield f"ulimit {name} '{value}' must be NUMBER or SOFT:HARD"
    for name in given["capabilities"]:
        if not re.fullmatch(r"[A-Z][A-Z_]+", name) or name == "ALL":
            yield f"capability '{name}' is none that can be given back one by one, such as NET_BIND_SERVICE"


def _health(given: Mapping[str, Any]) -> Iterator[str]:
    health = given["health"]
    if health is None:
        return
    if health["interval"] <= 0:
        yield f"health.interval {health['interval']} must be more than 0"
    if health["timeout"] < 0:
        yield f"health.timeout {health['timeout']} must not be negative"
    if health["http"]:
        url = urllib.parse.urlsplit(health["http"])
        if url.scheme not in ("http", "https") or not url.hostname:
            yield f"health.http '{health['http']}' is no http or https address"
            return
        yield from _is_published(given, health["http"], url.hostname, _port_of(url))
    if health["tcp"]:
        host, _colon, port = health["tcp"].rpartition(":")
        if not host or not port.isdigit():
            yield f"health.tcp '{health['tcp']}' must be HOST:PORT"
            return
        yield from _is_published(given, health["tcp"], host.strip("[]"), int(port))


def _port_of(url: urllib.parse.SplitResult) -> int:
    return url.port or {"http": 80, "https": 443}[url.scheme]


def _is_published(given: Mapping[str, Any], asked: str, host: str, port: int) -> Iterator[str]:
    # Only what this host's own addresses name can contradict publish; a name may be a reverse proxy's.
    address = _address(host)
    if address is None or not given["networks"]:
        return
    for text in given["publish"]:
        try:
            published, host_port, _container_port = parse_publish(text)
        except BadPublish:
            return
        if host_port == port and overlaps(published, host):
            return
    yield f"health asks {asked}, but publish does not put the container there"
