# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Confirms new rules by a connection that was made after they were loaded: only whoever connects from outside can know that it works."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

MODULE = "private_llm.platform.firewall"
DEFAULT_TIMEOUT = 60
# What the host may need from the end of its timer until the old rules are loaded.
MARGIN_SECONDS = 10
PAUSE_SECONDS = 1.0


class ActionModule(ActionBase):  # type: ignore[misc]
    """The module of the same name, twice: by the connection that is there, and by a new one."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        began = time.monotonic()
        applied = self._execute_module(module_name=MODULE, module_args=dict(self._task.args), task_vars=task_vars)
        token = applied.pop("confirm_token", None)
        result.update(applied)
        if not token:
            return result
        deadline = began + int(self._task.args.get("confirm_timeout") or DEFAULT_TIMEOUT)
        problem = self._confirm(token, deadline, task_vars or {})
        if problem:
            result.update(failed=True, changed=False, msg=problem)
            result.pop("actions", None)
        return result

    def _confirm(self, token: str, deadline: float, task_vars: dict[str, Any]) -> str | None:
        """Keep the rules by a new connection; why that was not possible, once the old ones are back."""
        reason = ""
        while time.monotonic() < deadline:
            try:
                # Also after a failure: a connection that half-way got through must not be taken for a new one.
                self._connection.reset()
                kept = self._execute_module(module_name=MODULE, module_args={"confirm_token": token}, task_vars=task_vars)
            except (AnsibleConnectionFailure, AnsibleError) as error:
                reason = str(error)
                Display().vv("The new rules are not confirmed yet: %s" % reason)
                time.sleep(PAUSE_SECONDS)
                continue
            if not kept.get("failed"):
                return None
            reason = str(kept.get("msg") or "")
            break
        time.sleep(max(0.0, deadline + MARGIN_SECONDS - time.monotonic()))
        return (
            "With the new rules no new connection to this host could be made, so the host has put the rules from before back. "
            "Look at ssh_ports and ssh_networks, and at what is between you and the host. The last attempt said: %s" % reason
        )
