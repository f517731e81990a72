#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: units_stopped
short_description: Stop units until the next boot, and wait until they have ended
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Stops systemd units one after another, each with all the time that its own unit gives it to finish what it works on. They are started again at boot.
  - A unit that the host does not have, or that does not run, is left alone.
attributes:
  check_mode:
    description: Can run in C(check_mode) and predicts what a real run would do.
    support: full
  diff_mode:
    description: Shows which units run.
    support: full
options:
  names:
    description: The units, or patterns such as V(llama-server*.service), in the order in which they are stopped.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Let the model server finish its answers before the host is rebooted
  private_llm.platform.units_stopped:
    names: [llama-server.service]
"""

RETURN = r"""
stopped:
  description: Units that were stopped.
  type: list
  elements: str
  returned: success
  sample: [llama-server.service]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils.service_module import runner
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import CommandFailed, must

# A service that restarts itself is between two starts "activating".
LIST = ["systemctl", "list-units", "--plain", "--no-legend", "--full", "--state=active,activating,reloading"]


def running_units(output: str) -> list[str]:
    return [line.split()[0] for line in output.splitlines() if line.split()]


def main() -> None:
    module = AnsibleModule(argument_spec={"names": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True)
    run = runner(module)
    running: list[str] = []
    try:
        for name in module.params["names"]:
            running += [unit for unit in running_units(must(run, [*LIST, "--", name])) if unit not in running]
        if not module.check_mode:
            for name in running:
                must(run, ["systemctl", "stop", "--", name])
    except CommandFailed as error:
        module.fail_json(msg=f"{error}. Look with 'systemctl status' on the host.")
    module.exit_json(changed=bool(running), stopped=running, diff={"before": "".join(f"{name} runs\n" for name in running), "after": ""})


if __name__ == "__main__":
    main()
