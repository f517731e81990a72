# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which unit, container or program uses a port of this host, and how to say so in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import docker_cli, listeners
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import Runner


def stem(unit: str) -> str:
    """A unit's name without its kind."""
    for suffix in (".service", ".socket", ".scope"):
        if unit.endswith(suffix):
            return unit[: -len(suffix)]
    return unit


def is_own(unit: str, users: set[str]) -> bool:
    """Whether all who use a port are the unit itself, its socket or its container."""
    return all(stem(user) == stem(unit) for user in users)


def find_users(
    port: Mapping[str, Any],
    sockets: list[listeners.Listener],
    owners: dict[str, listeners.Owner],
    socket_units: list[tuple[str, int, str]],
    containers: list[tuple[str, int, str]],
) -> tuple[set[str], list[str]]:
    """Units and containers that use a port, and how each is called in a sentence."""
    users: set[str] = set()
    names: list[str] = []

    def note(user: str, name: str) -> None:
        if user not in users:
            users.add(user)
            names.append(name)

    for address, number, container in containers:
        if number == port["port"] and listeners.overlaps(address, port["address"]):
            note(container, "the container %s" % container)
    held_by_container = bool(users)
    for found in sockets:
        if found.port != port["port"] or not listeners.overlaps(found.address, port["address"]):
            continue
        owner = owners.get(found.inode)
        if owner is None:
            note("unknown", "a program that this host does not show (perhaps in another container or namespace)")
        elif owner.pid == 1:
            units = [unit for address, number, unit in socket_units if number == found.port and listeners.overlaps(address, found.address)]
            for unit in units or ["init"]:
                note(unit, "systemd for %s" % unit)
        elif owner.process == "docker-proxy" and held_by_container:
            continue
        else:
            where = " of the unit %s" % owner.unit if owner.unit else ""
            note(owner.unit or owner.process, "%s (process %d%s)" % (owner.process, owner.pid, where))
    return users, names


def port_users(ports: Sequence[Mapping[str, Any]], run: Runner) -> Iterator[tuple[Mapping[str, Any], set[str], list[str]]]:
    """For each port (``address``, ``port``): units and containers that use it, and how each is called in a sentence."""
    numbers = {port["port"] for port in ports}
    sockets = [found for found in listeners.listeners() if found.port in numbers]
    owners = listeners.owners_of([found.inode for found in sockets])
    socket_units = []
    if any(owner.pid == 1 for owner in owners.values()):
        _status, text, _error = run(["systemctl", "list-sockets", "--all", "--no-legend", "--no-pager", "--plain"])
        socket_units = listeners.parse_socket_units(text)
    status, text, _error = run([docker_cli.DOCKER, "ps", "--format", "{{.Names}}\t{{.Ports}}"])
    containers = listeners.parse_container_ports(text) if status == 0 else []
    for port in ports:
        users, names = find_users(port, sockets, owners, socket_units, containers)
        yield port, users, names


def taken(port: Mapping[str, Any], names: Sequence[str]) -> str:
    """The sentence for a port (``address``, ``port``, ``unit``) that somebody else uses."""
    who = " and ".join(names)
    return f"Port {port['port']} on {port['address']} is needed by {port['unit']}, but {who} listens there; stop it or choose another port."
