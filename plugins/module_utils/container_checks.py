# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the description of a container service, found before anything is changed and all of it at once."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import description_checks as checks
from ansible_collections.private_llm.platform.plugins.module_utils.container_engine import BadPublish, parse_publish
from ansible_collections.private_llm.platform.plugins.module_utils.listeners import overlaps

MEMORY = re.compile(r"[1-9][0-9]*[bkmg]?")
USER = re.compile(r"[0-9]+(:[0-9]+)?")
CDI_NAME = re.compile(r"[A-Za-z0-9.-]+/[A-Za-z0-9_.-]+=[A-Za-z0-9_.:-]+")
ULIMIT = re.compile(r"-?[0-9]+(:-?[0-9]+)?")
LABEL = re.compile(r"[a-z0-9][a-z0-9._-]*")
OWN_LABELS = "private_llm."
LONGEST_BRIDGE_NAME = 15


def problems(given: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing that cannot work, or would work in a way that nobody asked for."""
    shared = (checks.name, checks.files, checks.environment, checks.stop_timeout, checks.health)
    own = (_image, _paths, _live_files, _networking, _limits, _labels, _jobs, _health_and_publish)
    return [sentence for check in (*shared, *own) for sentence in check(given)]


def _image(given: Mapping[str, Any]) -> Iterator[str]:
    if given["user"] and not USER.fullmatch(given["user"]):
        yield f"user '{given['user']}' must be UID or UID:GID in numbers: names mean something else inside the image"
    if given["secret_environment"] and not given["user"]:
        yield "secret_environment needs user: the program reads those variables from a file that only this user may read"
    image = given["image"]
    if not image:
        return
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


def _paths(given: Mapping[str, Any]) -> Iterator[str]:
    for volume in given["volumes"]:
        if volume["mode"]:
            yield from checks.own_directory(volume["source"], "source of a volume")
        elif volume["source"] != "/" or not volume["read_only"]:
            yield from checks.path(volume["source"], "source of a volume")
        yield from checks.path(volume["target"], "target of a volume")
        yield from checks.mode(volume["mode"], volume["source"])
        if (volume["owner"] or volume["group"]) and not volume["mode"]:
            yield f"the volume {volume['source']} has an owner but no mode; give both, or neither to take it as it is"
        if "docker.sock" in volume["source"] or volume["source"] in ("/run", "/var/run"):
            yield f"the volume {volume['source']} would make the container root of this host"
    for place in given["tmpfs"]:
        yield from checks.path(place.partition(":")[0], "tmpfs")
    targets = [file["path"] for file in given["files"]] + [v["target"] for v in given["volumes"]] + [t.partition(":")[0] for t in given["tmpfs"]]
    yield from checks.twice(targets, "the container would see two things at")
    for device in given["devices"]:
        if not device.startswith("/dev/") and not CDI_NAME.fullmatch(device):
            yield f"device '{device}' is neither a path below /dev nor a CDI name such as nvidia.com/gpu=all"


def _live_files(given: Mapping[str, Any]) -> Iterator[str]:
    yield from checks.files({"files": given["live_files"]})
    directories = {posixpath.dirname(file["path"]) for file in given["live_files"]}
    yield from checks.twice([file["path"] for file in given["live_files"]], "live_files names twice")
    for directory in sorted(directories & {"/"}):
        yield f"a live file cannot lie in {directory}: the whole directory is mounted"
    others = [file["path"] for file in given["files"]] + [volume["target"] for volume in given["volumes"]]
    for other in sorted(others):
        if any(other.startswith(f"{directory}/") for directory in directories):
            yield f"{other} lies in a directory of live files, which is mounted as a whole; make it a live file too, or move it"
    if given["reload"] and not given["live_files"]:
        yield "reload has nothing to read again; give the files in live_files"


def _networking(given: Mapping[str, Any]) -> Iterator[str]:
    host_ports = []
    for text in given["publish"]:
        try:
            address, host_port, container_port = parse_publish(text)
        except BadPublish as error:
            yield str(error)
            continue
        host_ports.append(f"{address}:{host_port}")
        if not all(0 < port <= checks.HIGHEST_PORT for port in (host_port, container_port)):
            yield f"publish '{text}' has a port outside 1 to {checks.HIGHEST_PORT}"
        if checks.address(address) is None:
            yield f"publish '{text}' must begin with an IP address"
    yield from checks.twice(host_ports, "two ports of the container are published on")
    addresses = [entry.rpartition(":") for entry in dict.fromkeys(host_ports)]
    for number, (address, _colon, port) in enumerate(addresses):
        if any(port == other[2] and overlaps(address, other[0]) for other in addresses[:number]):
            yield f"port {port} is published on {address} and on an address that includes it"
    if given["publish"] and not given["networks"]:
        yield "a container without a network cannot publish ports; give it one in networks"
    yield from checks.twice([network["name"] for network in given["networks"]], "networks names twice")
    for network in given["networks"]:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", network["name"]):
            yield f"network '{network['name']}' may hold letters, digits and _.- only"
        if network["bridge"] and not re.fullmatch(rf"[A-Za-z0-9_.-]{{1,{LONGEST_BRIDGE_NAME}}}", network["bridge"]):
            yield f"bridge '{network['bridge']}' of network {network['name']} must have 1 to {LONGEST_BRIDGE_NAME} letters, digits or _.-"
        if network["subnet"] and not _is_subnet(network["subnet"]):
            yield f"subnet '{network['subnet']}' of network {network['name']} must be a network such as 10.89.64.0/24"
    for name, address in given["extra_hosts"].items():
        if address != "host-gateway" and checks.address(str(address)) is None:
            yield f"extra_hosts gives {name} the address '{address}', which is none"


def _is_subnet(text: str) -> bool:
    try:
        return ipaddress.ip_network(text).num_addresses > 1
    except ValueError:
        return False


def _limits(given: Mapping[str, Any]) -> Iterator[str]:
    for name in ("memory", "shm_size"):
        if given[name] and not MEMORY.fullmatch(given[name]):
            yield f"{name} '{given[name]}' must be a number with b, k, m or g, for instance 512m"
    if given["cpus"] is not None and given["cpus"] <= 0:
        yield f"cpus {given['cpus']} must be more than 0"
    if given["pids"] < 1:
        yield f"pids {given['pids']} must be at least 1"
    for name, value in given["ulimits"].items():
        if not ULIMIT.fullmatch(str(value)):
            yield f"ulimit {name} '{value}' must be NUMBER or SOFT:HARD"
    for name in given["capabilities"]:
        if not re.fullmatch(r"[A-Z][A-Z_]+", name) or name == "ALL":
            yield f"capability '{name}' is none that can be given back one by one, such as NET_BIND_SERVICE"


def _labels(given: Mapping[str, Any]) -> Iterator[str]:
    for label, value in given["labels"].items():
        if not LABEL.fullmatch(label):
            yield f"label '{label}' may hold small letters, digits and ._- only"
        if label.startswith(OWN_LABELS):
            yield f"label '{label}' begins with {OWN_LABELS}, which is this collection's own"
        if "\n" in str(value):
            yield f"label {label} holds a line break"


def _jobs(given: Mapping[str, Any]) -> Iterator[str]:
    if given["before_upgrade"]:
        yield from checks.path(given["before_upgrade"][0], "the program of before_upgrade")
    yield from checks.twice([job["name"] for job in given["jobs"]], "two jobs are called")
    for job in given["jobs"]:
        if not checks.NAME.fullmatch(job["name"]):
            yield f"job '{job['name']}' may hold small letters, digits and _.- only, and begins with a letter or digit"
        if job["timeout"] < 1:
            yield f"timeout {job['timeout']} of the job {job['name']} must be at least 1"
        if not job["command"] and not job["entrypoint"]:
            yield f"the job {job['name']} has neither a command nor an entrypoint: it would start the service itself"
        for variable in job["environment"]:
            if not checks.VARIABLE.fullmatch(variable):
                yield f"environment of the job {job['name']} has a variable '{variable}', which is no name for one"


def _health_and_publish(given: Mapping[str, Any]) -> Iterator[str]:
    asked = None if given["health"] is None else checks.asked_address(given["health"])
    # Only what this host's own addresses name can contradict publish; a name may be a reverse proxy's.
    if asked is None or checks.address(asked[1]) is None or not given["networks"]:
        return
    text, host, port = asked
    for entry in given["publish"]:
        try:
            published, host_port, _container_port = parse_publish(entry)
        except BadPublish:
            return
        if host_port == port and overlaps(published, host):
            return
    yield f"health asks {text}, but publish does not put the container there"
