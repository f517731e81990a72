# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: litellm_report
short_description: Show who used how much as a table or as CSV
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Takes what M(private_llm.platform.litellm_info) found and gives a table to read, or CSV for a spreadsheet or another program.
  - The table has who used most on top and a total at the end; CSV has every field, in the gateway's own numbers.
  - In CSV a text that a spreadsheet would take for a formula has an apostrophe before it.
positional: kind, form
options:
  _input:
    description: The result of M(private_llm.platform.litellm_info).
    type: dict
    required: true
  kind:
    description: Of whom.
    type: str
    choices: [users, teams, keys]
    required: true
  form:
    description: In which form.
    type: str
    choices: [table, csv]
    default: table
"""

EXAMPLES = r"""
- name: Show who used how much
  ansible.builtin.debug:
    msg: "{{ (used | private_llm.platform.litellm_report('users')).splitlines() }}"

- name: Keep it for a spreadsheet
  ansible.builtin.copy:
    content: "{{ used | private_llm.platform.litellm_report('teams', 'csv') }}"
    dest: teams.csv
    mode: "0600"
"""

RETURN = r"""
_value:
  description: The table or the CSV document.
  type: str
"""

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.module_utils.usage_report import KINDS, as_csv, as_table

FORMS = {"table": as_table, "csv": as_csv}


def litellm_report(found: Any, kind: str, form: str = "table") -> str:
    if not isinstance(found, Mapping):
        raise AnsibleFilterError("litellm_report takes the result of litellm_info.")
    if kind not in KINDS or form not in FORMS:
        raise AnsibleFilterError("litellm_report knows %s as %s, not %s as %s." % (", ".join(KINDS), " or ".join(FORMS), kind, form))
    rows = found.get(kind)
    # An attribute of that name is no list: a dictionary has a method called keys.
    if not isinstance(rows, (list, tuple)):
        raise AnsibleFilterError("The result has no %s; add %s to gather of litellm_info." % (kind, kind))
    return FORMS[form](kind, rows, found.get("since"), found.get("until"))


class FilterModule:
    """Reports of usage."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"litellm_report": litellm_report}
