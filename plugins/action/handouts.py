# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs in the controller's own process: keys are neither copied to a module nor sent anywhere."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.private_llm.platform.plugins.module_utils.handouts import hand_out
from ansible_collections.private_llm.platform.plugins.module_utils.people import STATES

ARGUMENT_SPEC: dict[str, Any] = {
    "directory": {"type": "path", "required": True},
    "public_url": {"type": "str", "required": True},
    "model": {"type": "str", "default": ""},
    "context_tokens": {"type": "int", "default": 32768},
    "people": {"type": "list", "elements": "dict", "required": True},
    "purge": {"type": "bool", "default": False},
}


def read_people(people: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The people as they are, each with a name and a state that a directory can follow."""
    read = []
    for person in people:
        name = str(person.get("name") or "")
        state = person.get("state") or "present"
        if not name or os.path.basename(name) != name or name.startswith("."):
            raise ValueError("The name %r does not work as the name of a directory." % name)
        if state not in STATES:
            raise ValueError("%s: state must be %s, not %s." % (name, " or ".join(STATES), state))
        read.append({**person, "name": name, "state": state})
    return read


class ActionModule(ActionBase):  # type: ignore[misc]
    """The list of hand-outs, written here."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        try:
            outcome = hand_out(
                os.path.abspath(arguments["directory"]),
                read_people(arguments["people"]),
                arguments["public_url"],
                arguments["model"],
                arguments["context_tokens"],
                check=self._task.check_mode,
                purge=arguments["purge"],
            )
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from None
        except OSError as error:
            raise AnsibleActionFail("The hand-outs cannot be written on the controller: %s." % error) from None
        result.update(changed=bool(outcome.actions), actions=outcome.actions)
        if outcome.warnings:
            result["warnings"] = outcome.warnings
        if self._task.diff:
            result["diff"] = {"before": outcome.before, "after": outcome.after}
        return result
