#!/usr/bin/python
# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall
short_description: Filter a host's packets by one nftables table, without shutting yourself out
version_added: 0.2.0
description:
  - Writes one table of nftables, C(inet private_llm), and never touches another one. IPv4 and IPv6 have the same rules.
  - Its chains come before Docker's. What is dropped there is dropped for good, be the port published by Docker or not; what is accepted is still
    looked at by everybody else's rules.
  - New rules are loaded for O(confirm_timeout) seconds only. The module then closes its connection to the host, opens a new one and keeps them by it.
    Without that new connection, a timer of systemd's own brings the old rules back.
  - A run that is killed, or a host that loses power at any moment, has the old rules or the new ones. Those that are kept are loaded at boot, before
    the network.
  - A description that cannot work, or would shut out the SSH login that asks for it, is refused before anything is changed, with all its problems at once.
  - Needs the package C(nftables) on the host.
author:
  - Private LLM Platform team (@private-llm)
attributes:
  check_mode:
    description: Can run in C(check_mode) and predicts what a real run would do; nft's own check is part of it where nft is installed.
    support: full
  diff_mode:
    description: Shows the table's text.
    support: full
  action:
    description: Runs on the controller too, where the new connection is made.
    support: full
options:
  state:
    description:
      - V(present) has the table loaded now and at boot.
      - V(absent) takes it away. Everything that it kept out may then come in.
    type: str
    choices: [present, absent]
    default: present
  ssh_ports:
    description: Ports by which operators log in.
    type: list
    elements: str
    default: ["22"]
  ssh_networks:
    description: Networks from which operators log in.
    type: list
    elements: str
    default: ["0.0.0.0/0", "::/0"]
  inbound:
    description: Further ports of the host that answer, be it by a program of the host or by a published port of a container.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What it is, for C(nft list ruleset).
        type: str
        required: true
      ports:
        description: Each a number, FIRST-LAST or V(any).
        type: list
        elements: str
        required: true
      protocol:
        description: Its protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      networks:
        description: Who may reach it; V(0.0.0.0/0) and V(::/0) stand for everybody.
        type: list
        elements: str
        required: true
  container_bridges:
    description:
      - Devices of the containers' networks; V(*) at the end stands for any characters. What comes from one of them is forwarded nowhere and reaches
        nothing of the host, unless the next two lists say so.
      - Between two networks that one entry stands for, Docker's own isolation decides.
    type: list
    elements: str
    default: [docker0, "br-*", "pl-*"]
  container_to_host:
    description: What containers may reach of the host itself.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What it is.
        type: str
        required: true
      bridge:
        description: Entry of O(container_bridges) that the containers are behind.
        type: str
        required: true
      address:
        description: Address of the host.
        type: str
        required: true
      ports:
        description: Each a number, FIRST-LAST or V(any).
        type: list
        elements: str
        required: true
      protocol:
        description: Its protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
  container_egress:
    description: What containers may reach outside.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What it is.
        type: str
        required: true
      bridge:
        description: Entry of O(container_bridges) that the containers are behind.
        type: str
        required: true
      to:
        description: Networks that may be reached.
        type: list
        elements: str
        required: true
      ports:
        description: Each a number, FIRST-LAST or V(any).
        type: list
        elements: str
        required: true
      protocol:
        description: Its protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
  forward_others:
    description: Whether the host forwards what has nothing to do with containers, as a router or a host of virtual machines does.
    type: bool
    default: false
  host_egress:
    description: Whether programs of the host reach anything (V(open)), or only O(host_egress_allowed) and their own containers (V(limited)).
    type: str
    choices: [open, limited]
    default: open
  host_egress_allowed:
    description: With O(host_egress=limited), what the host may reach, such as mirrors, name servers and time servers.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What it is.
        type: str
        required: true
      to:
        description: Networks that may be reached. Names are not looked up, for their addresses change.
        type: list
        elements: str
        required: true
      ports:
        description: Each a number, FIRST-LAST or V(any).
        type: list
        elements: str
        required: true
      protocol:
        description: Its protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
  log_denied:
    description: Whether some of what is dropped (ten packets a minute for each chain) is told in the kernel's log.
    type: bool
    default: true
  confirm_timeout:
    description: Seconds until the old rules come back when no new connection confirms the new ones.
    type: int
    default: 60
  confirm_token:
    description: What the module gives itself by its second connection; not for use in playbooks.
    type: str
seealso:
  - module: private_llm.platform.container_service
"""

EXAMPLES = r"""
- name: Answer on the gateway's port for the office alone
  private_llm.platform.firewall:
    ssh_networks: [192.0.2.0/24, "2001:db8:1::/48"]
    inbound:
      - name: gateway
        ports: ["443"]
        networks: [192.0.2.0/24, "2001:db8:1::/48"]

- name: Take the rules away again
  private_llm.platform.firewall:
    state: absent
"""

RETURN = r"""
actions:
  description: What was done (or, in check mode, would be done), each as C(KIND) C(:) what, and why in brackets.
  returned: success
  type: list
  elements: str
  sample: ["rules: the table (content)"]
rules:
  description: The text of the table, as nft reads it.
  returned: success and O(state=present)
  type: str
  sample: table inet private_llm { ... }
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils import firewall_rules
from ansible_collections.private_llm.platform.plugins.module_utils.firewall_host import FirewallHost, TooLate, description_of, login_of
from ansible_collections.private_llm.platform.plugins.module_utils.service_module import runner
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import CommandFailed

SHORTEST_TIMEOUT = 10
PROTOCOL: dict[str, Any] = {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"}
TEXT: dict[str, Any] = {"type": "str", "required": True}
TEXTS: dict[str, Any] = {"type": "list", "elements": "str", "required": True}


def _entries(**options: Any) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "default": [], "options": {"name": TEXT, "ports": TEXTS, "protocol": PROTOCOL, **options}}


OPTIONS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "ssh_ports": {"type": "list", "elements": "str", "default": ["22"]},
    "ssh_networks": {"type": "list", "elements": "str", "default": ["0.0.0.0/0", "::/0"]},
    "inbound": _entries(networks=TEXTS),
    "container_bridges": {"type": "list", "elements": "str", "default": ["docker0", "br-*", "pl-*"]},
    "container_to_host": _entries(bridge=TEXT, address=TEXT),
    "container_egress": _entries(bridge=TEXT, to=TEXTS),
    "forward_others": {"type": "bool", "default": False},
    "host_egress": {"type": "str", "choices": ["open", "limited"], "default": "open"},
    "host_egress_allowed": _entries(to=TEXTS),
    "log_denied": {"type": "bool", "default": True},
    "confirm_timeout": {"type": "int", "default": 60},
    "confirm_token": {"type": "str", "no_log": False},
}


def _problems(module: AnsibleModule, description: dict[str, Any]) -> list[str]:
    found = firewall_rules.problems(description)
    if module.params["confirm_timeout"] < SHORTEST_TIMEOUT:
        found.append(f"confirm_timeout is less than {SHORTEST_TIMEOUT} s, in which no new connection could be made")
    login = login_of()
    if not found and login is not None:
        problem = firewall_rules.control_problem(description, *login)
        if problem:
            found.append(f"{problem}: these rules would shut you out")
    return found


def _present(module: AnsibleModule, host: FirewallHost) -> None:
    description = description_of(module.params)
    found = _problems(module, description)
    if not found:
        text = firewall_rules.render(description)
        refused = host.check(text)
        if refused:
            found.append(f"nft does not take the rules: {refused}")
    if found:
        module.fail_json(msg="The firewall cannot be as described, and nothing was changed: %s." % "; ".join(found))
    actions = host.reasons(text)
    result = {"changed": bool(actions), "actions": actions, "rules": text}
    if module._diff and actions:
        result["diff"] = {"before_header": "rules", "after_header": "rules", "before": host.confirmed(), "after": text}
    if actions and not module.check_mode:
        result["confirm_token"] = host.apply(text, module.params["confirm_timeout"])
    module.exit_json(**result)


def _absent(module: AnsibleModule, host: FirewallHost) -> None:
    is_there = host.is_there()
    result: dict[str, Any] = {"changed": is_there, "actions": ["remove: the table"] if is_there else []}
    if module._diff and is_there:
        result["diff"] = {"before_header": "rules", "after_header": "rules", "before": host.confirmed(), "after": ""}
    if is_there and not module.check_mode:
        host.remove()
    module.exit_json(**result)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    host = FirewallHost(runner(module))
    try:
        if module.params["confirm_token"]:
            host.confirm(module.params["confirm_token"])
            module.exit_json(changed=True)
        elif module.params["state"] == "absent":
            _absent(module, host)
        else:
            _present(module, host)
    except TooLate:
        module.fail_json(msg="The new rules were not confirmed in time, or another run replaced them; the rules from before are back.")
    except (CommandFailed, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
