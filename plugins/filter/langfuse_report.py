# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: langfuse_report
short_description: Show what a Langfuse has recorded as a table, as CSV or as a page
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Takes what M(private_llm.platform.langfuse_info) found.
  - The page has charts and tables, and needs no script and nothing from elsewhere.
positional: form
options:
  _input:
    description: What the module returned.
    type: dict
    required: true
  form:
    description: How it is shown.
    type: str
    choices: [table, csv, html]
    default: table
"""

EXAMPLES = r"""
- name: Write a page
  ansible.builtin.copy:
    content: "{{ november | private_llm.platform.langfuse_report('html') }}"
    dest: november.html
    mode: "0600"
"""

RETURN = r"""
_value:
  description: The report.
  type: str
"""

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.module_utils.langfuse_report import FORMS


def langfuse_report(found: Any, form: str = "table") -> str:
    if not isinstance(found, Mapping) or not {"usage", "topics", "since", "until"} <= found.keys():
        raise AnsibleFilterError("langfuse_report: the input must be what private_llm.platform.langfuse_info returned.")
    if form not in FORMS:
        raise AnsibleFilterError("langfuse_report: the form must be %s, not %s." % (" or ".join(FORMS), form))
    return FORMS[form](found)


class FilterModule:
    """Reports of what was recorded."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"langfuse_report": langfuse_report}
