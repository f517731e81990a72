# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service modules share: running commands, and telling what was done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils.health import HEALTH_OPTIONS
from ansible_collections.private_llm.platform.plugins.module_utils.managed_paths import FILE_OPTIONS
from ansible_collections.private_llm.platform.plugins.module_utils.service_transaction import (
    Backend,
    ServiceFailed,
    Transaction,
    carry_out,
)
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import CommandFailed, Runner

NO_SUCH_PROGRAM = 127

# What both modules take; plugins/doc_fragments/service.py describes it.
SERVICE_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
    "purge": {"type": "bool", "default": False},
    "description": {"type": "str", "default": ""},
    "environment": {"type": "dict", "default": {}},
    "secret_environment": {"type": "dict", "default": {}, "no_log": True},
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": FILE_OPTIONS,
        "mutually_exclusive": [["content", "secret_content"]],
        "required_one_of": [["content", "secret_content"]],
    },
    "depends_on": {"type": "list", "elements": "str", "default": []},
    "stop_timeout": {"type": "int", "default": 30},
    "health": HEALTH_OPTIONS,
}


class ServiceModule(AnsibleModule):
    """An Ansible module that keeps its parameters out of the host's log."""

    def _log_invocation(self) -> None:
        # As text, a secret with a line break or a quote looks different and would not be recognised as one.
        self.log(f"Invoked with name={self.params['name']} state={self.params['state']}")


def runner(module: AnsibleModule) -> Runner:
    """A function that runs a command on this host; a program that is not installed gives exit status 127."""

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        try:
            status, output, error = module.run_command(list(command), handle_exceptions=False)
        except OSError as problem:
            return NO_SUCH_PROGRAM, "", str(problem)
        return status, output, error

    return run


def refuse(module: AnsibleModule, problems: Sequence[str]) -> None:
    """End the module when its description cannot work, with everything that is wrong with it."""
    if problems:
        module.fail_json(msg=f"{module.params['name']} cannot run as described, and nothing was changed: {'; '.join(problems)}.")


def carry_out_and_exit(module: AnsibleModule, backend: Backend, run: Runner) -> None:
    """Take the service to the wanted state and end the module with what was done, or with why it could not be done."""
    try:
        plan = carry_out(Transaction(backend, run), module.params["state"], module.check_mode, module.params["purge"])
        service = backend.wanted()
    except (ServiceFailed, CommandFailed, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=plan.changed, actions=plan.actions, diff=plan.diff, unit=service.unit, fingerprint=service.fingerprint)
