#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_budget
short_description: Manage one shared budget of a LiteLLM gateway
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - A budget is a set of limits with a name, which any number of keys can have. Each key has the limits for itself.
  - A limit that is not given is removed, for the gateway keeps no note of what was set here.
extends_documentation_fragment:
  - private_llm.platform.litellm_single
  - private_llm.platform.litellm_parallel
  - private_llm.platform.litellm_limits
  - private_llm.platform.litellm
attributes:
  check_mode:
    description: Predicts exactly what a real run does.
    support: full
  diff_mode:
    description: Shows old and new values of each object that changes, never a key.
    support: full
options:
  name:
    description: Name of the budget (its ID).
    type: str
    required: true
  state:
    description: V(absent) removes it. It is an error while keys have it, for they would be left without limits.
    type: str
    choices: [present, absent]
    default: present
  soft_budget:
    description: Spending at which the gateway warns.
    type: float
seealso:
  - module: private_llm.platform.litellm_access
  - module: private_llm.platform.litellm_key
"""

EXAMPLES = r"""
- name: Set the gateway once for all of its modules
  hosts: gateway
  module_defaults:
    group/private_llm.platform.litellm:
      api_url: http://127.0.0.1:4000
      api_key: "{{ litellm_master_key }}"
  tasks:
    - name: Give trainees a small budget
      private_llm.platform.litellm_budget:
        name: trainee
        max_budget: 2
        budget_duration: 7d
        rpm_limit: 10
"""

RETURN = r"""
changes:
  description: What was done, or in check mode would be done, in words; on failure what was done by then.
  type: list
  elements: str
  returned: always
  sample: ["budget trainee: rpm_limit 20 -> 10"]
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
  returned: always
  sample: {"read": 4, "write": 1}
name:
  description: Name of the budget.
  type: str
  returned: success
  sample: trainee
"""

from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import litellm_options as options
from ansible_collections.private_llm.platform.plugins.module_utils import litellm_state as state
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_access import run_single
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_state import Wanted

OPTIONS: dict[str, Any] = {
    **options.named("present", "absent"),
    **options.BUDGET,
    "soft_budget": {"type": "float"},
    **options.RATES,
    **options.PARALLEL,
}


def wanted_of(parameters: dict[str, Any]) -> Wanted:
    return Wanted(budgets=[state.budget_of(parameters)])


def main() -> None:
    run_single(OPTIONS, wanted_of, lambda parameters: {"name": parameters["name"]})


if __name__ == "__main__":
    main()
