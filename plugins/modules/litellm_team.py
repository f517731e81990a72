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
  - private_llm.platform.litellm_single
  - private_llm.platform.litellm_marked
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
    description: Name of the team (the gateway's team ID).
    type: str
    required: true
  title:
    description: Name to show (the gateway's team alias); the name when not given.
    type: str
  state:
    description:
      - V(blocked) keeps the team but refuses all its keys. A team that was blocked at the gateway works again with V(present).
      - V(absent) removes the team. It is an error while it has keys, for the gateway would delete them.
    type: str
    choices: [present, blocked, absent]
    default: present
  models:
    description: Models that keys of the team may use, whatever the keys say; all when empty.
    type: list
    elements: str
    default: []
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
  description: What was done, or in check mode would be done, in words; on failure what was done by then.
  type: list
  elements: str
  returned: always
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
  returned: always
  sample: {"read": 4, "write": 1}
name:
  description: Name of the team.
  type: str
  returned: success
  sample: research
"""

from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import litellm_options as options
from ansible_collections.private_llm.platform.plugins.module_utils import litellm_state as state
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_access import run_single
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_state import Wanted

OPTIONS: dict[str, Any] = {
    **options.named("present", "blocked", "absent"),
    "title": {"type": "str"},
    **options.MODELS,
    **options.BUDGET,
    **options.RATES,
    **options.METADATA,
    **options.TAKE_OVER,
}


def wanted_of(parameters: dict[str, Any]) -> Wanted:
    return Wanted(teams=[state.team_of(parameters)])


def main() -> None:
    run_single(OPTIONS, wanted_of, lambda parameters: {"name": parameters["name"]})


if __name__ == "__main__":
    main()
