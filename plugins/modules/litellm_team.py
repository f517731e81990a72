#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_team
short_description: Manage one team of a LiteLLM gateway
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Makes, changes or removes a team and its limits. Who is in it is said by M(private_llm.platform.litellm_user) or
    M(private_llm.platform.litellm_access).
extends_documentation_fragment:
  - private_llm.platform.litellm
  - private_llm.platform.litellm_single
attributes:
  check_mode:
    description: Predicts exactly what a real run does.
    support: full
  diff_mode:
    description: Shows old and new values of each object that changes, never a key.
    support: full
options:
  name:
    description: Name of the team (the gateway's team ID).
    type: str
    required: true
  title:
    description: Name to show (the gateway's team alias); the name when not given.
    type: str
  state:
    description: V(absent) removes the team. It is an error while it has keys, for the gateway would delete them.
    type: str
    choices: [present, absent]
    default: present
  models:
    description: Models that keys of the team may use, whatever the keys say; all when empty.
    type: list
    elements: str
    default: []
  max_budget:
    description: What may be spent in a period, in the currency of the model prices.
    type: float
  budget_duration:
    description: Period after which the budget starts anew, such as V(30d).
    type: str
  rpm_limit:
    description: Requests a minute.
    type: int
  tpm_limit:
    description: Tokens a minute.
    type: int
  metadata:
    description: Further facts to keep with it. What others wrote there is kept.
    type: dict
    default: {}
seealso:
  - module: private_llm.platform.litellm_access
  - module: private_llm.platform.litellm_user
"""

EXAMPLES = r"""
- name: Make a team
  private_llm.platform.litellm_team:
    api_url: http://127.0.0.1:4000
    api_key: "{{ litellm_master_key }}"
    name: research
    models: [coder]
    max_budget: 500
    budget_duration: 30d
"""

RETURN = r"""
changes:
  description: What was done, or in check mode would be done, in words.
  type: list
  elements: str
  returned: success
  sample: ["team research made"]
status:
  description: The HTTP status with which the gateway refused a call; none when it gave no answer.
  type: int
  returned: failure
  sample: 403
error_type:
  description: The gateway's own word for the refusal, where it has one.
  type: str
  returned: failure
  sample: auth_error
calls:
  description: How many calls were made to the gateway.
  type: dict
  returned: success
  sample: {"read": 4, "write": 1}
name:
  description: Name of the team.
  type: str
  returned: success
  sample: research
"""

from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import litellm_state as state
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_access import run_single
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_state import Wanted

OPTIONS: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "title": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "models": {"type": "list", "elements": "str", "default": []},
    "max_budget": {"type": "float"},
    "budget_duration": {"type": "str"},
    "rpm_limit": {"type": "int"},
    "tpm_limit": {"type": "int"},
    "metadata": {"type": "dict", "default": {}},
}


def wanted_of(parameters: dict[str, Any]) -> Wanted:
    return Wanted(teams=[state.team_of(parameters)])


def main() -> None:
    run_single(OPTIONS, wanted_of, lambda parameters: {"name": parameters["name"]})


if __name__ == "__main__":
    main()
