# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: langfuse_problems
short_description: Find what is wrong with the environment of a Langfuse
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Holds environment variables against the list of those that Langfuse knows, with their formats, and tells each mistake in one sentence.
  - Langfuse itself ignores a name that it does not know, so that a misspelling goes unnoticed.
  - No value is quoted.
positional: known, program
options:
  _input:
    description: Names and values of the variables, secret ones too.
    type: dict
    required: true
  known:
    description: What is known, with C(version), C(required) and C(variables), as the role C(langfuse) has it in C(files/variables.json).
    type: dict
    required: true
  program:
    description: Which of the two programs the variables are for.
    type: str
    choices: [web, worker]
    default: web
"""

EXAMPLES = r"""
- name: Refuse misspelt variables
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join(' ') }}"
  vars:
    problems: "{{ my_environment | private_llm.platform.langfuse_problems(lookup('file', 'variables.json') | from_json) }}"
"""

RETURN = r"""
_value:
  description: A sentence for each problem; none when all is well.
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.module_utils import langfuse_settings
from ansible_collections.private_llm.platform.plugins.module_utils.inventory_checks import decrypted


def langfuse_problems(environment: Any, known: Mapping[str, Any], program: str = "web") -> list[str]:
    if not isinstance(environment, Mapping):
        raise AnsibleFilterError("langfuse_problems: the environment must be a dictionary.")
    return langfuse_settings.problems_of(decrypted(environment), known, program)


class FilterModule:
    """What is wrong with an environment."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"langfuse_problems": langfuse_problems}
