#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ports_free
short_description: Make sure that nobody else listens where our services will
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Fails when a program other than the named systemd unit listens on a TCP port, on the same address or on all addresses, and names that program.
  - Looks at the kernel's tables, at systemd's socket units and, where Docker answers, at the ports that containers publish. Changes nothing.
attributes:
  check_mode:
    description: Never changes anything.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: full
options:
  ports:
    description: The ports that are needed.
    type: list
    elements: dict
    required: true
    suboptions:
      address:
        description: Address to listen on; V(0.0.0.0) and V(::) overlap with any other.
        type: str
        required: true
      port:
        description: TCP port.
        type: int
        required: true
      unit:
        description: >-
          The systemd unit that may listen there already, without C(.service). Its socket unit and a container of the same name may, too.
        type: str
        required: true
"""

EXAMPLES = r"""
- name: Find a port that is taken before anything is changed
  private_llm.platform.ports_free:
    ports:
      - {address: 0.0.0.0, port: 4000, unit: litellm}
      - {address: 127.0.0.1, port: 5433, unit: postgres-litellm}
"""

RETURN = r"""
ports:
  description: Who listens on each port.
  type: list
  elements: dict
  returned: always
  sample: [{"address": "127.0.0.1", "port": 5433, "unit": "postgres-litellm", "used_by": "postgres-litellm"}]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils import listeners


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
    port: dict[str, Any],
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


def main() -> None:
    port_spec = {
        "address": {"type": "str", "required": True},
        "port": {"type": "int", "required": True},
        "unit": {"type": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={"ports": {"type": "list", "elements": "dict", "required": True, "options": port_spec}},
        supports_check_mode=True,
    )
    wanted = module.params["ports"]
    numbers = {port["port"] for port in wanted}
    sockets = [found for found in listeners.listeners() if found.port in numbers]
    owners = listeners.owners_of([found.inode for found in sockets])
    socket_units = []
    if any(owner.pid == 1 for owner in owners.values()):
        _status, text, _error = module.run_command(["systemctl", "list-sockets", "--all", "--no-legend", "--no-pager", "--plain"])
        socket_units = listeners.parse_socket_units(text)
    containers = []
    docker = module.get_bin_path("docker")
    if docker:
        status, text, _error = module.run_command([docker, "ps", "--format", "{{.Names}}\t{{.Ports}}"])
        containers = listeners.parse_container_ports(text) if status == 0 else []

    problems = []
    ports = []
    for port in wanted:
        users, names = find_users(port, sockets, owners, socket_units, containers)
        ports.append({**port, "used_by": ", ".join(sorted(users))})
        if users and not is_own(port["unit"], users):
            problems.append(
                "Port %d on %s is needed by %s, but %s listens there; stop it or choose another port."
                % (port["port"], port["address"], port["unit"], " and ".join(names))
            )
    if problems:
        module.fail_json(msg=" ".join(problems), ports=ports)
    module.exit_json(changed=False, ports=ports)


if __name__ == "__main__":
    main()
