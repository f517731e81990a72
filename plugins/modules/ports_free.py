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

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils.port_users import is_own, port_users, taken
from ansible_collections.private_llm.platform.plugins.module_utils.service_module import runner


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
    if os.geteuid() != 0:
        module.fail_json(msg="This needs root on the host: set ansible_user to root, or add 'ansible_become: true', in the inventory.")
    ports = []
    problems = []
    for port, users, names in port_users(module.params["ports"], runner(module)):
        ports.append({**port, "used_by": ", ".join(sorted(users))})
        if users and not is_own(port["unit"], users):
            problems.append(taken(port, names))
    if problems:
        module.fail_json(msg=" ".join(problems), ports=ports)
    module.exit_json(changed=False, ports=ports)


if __name__ == "__main__":
    main()
