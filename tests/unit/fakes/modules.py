# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module in this process as Ansible would, and hand back everything that it printed."""

from __future__ import annotations

import contextlib
import io
import json

import pytest
from ansible.module_utils import basic


def run_module(main, parameters, check=False, diff=True):
    """The module's result; result["printed"] is its whole output as text, result["warnings"] what it warned of."""
    own = {"check_mode": check, "diff": diff, "no_log": False, "remote_tmp": "/nonexistent", "keep_remote_files": False}
    arguments = dict(parameters, **{f"_ansible_{name}": value for name, value in own.items()})
    output = io.StringIO()
    warnings = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
        patch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        patch.setattr(basic, "_load_params", lambda: arguments)
        # In a process that has also loaded controller code, Ansible would show warnings on the screen instead.
        patch.setattr(basic.AnsibleModule, "warn", lambda module, warning: warnings.append(warning))
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), contextlib.suppress(SystemExit):
            main()
    result = json.loads(output.getvalue().strip().splitlines()[-1])
    return dict(result, printed=output.getvalue() + "\n".join(warnings), warnings=warnings)
