#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_user
short_description: Manage one user of a LiteLLM gateway
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Makes, changes, blocks or removes a user and the user's places in teams. Keys are made by M(private_llm.platform.litellm_key).
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
    description: Name of the user (its ID).
    type: str
    required: true
  email:
    description: E-mail address.
    type: str
  full_name:
    description: Name to show (the gateway's user alias).
    type: str
  role:
    description: What the user may do in the gateway's web page.
    type: str
    choices: [internal_user_viewer, internal_user, proxy_admin_viewer, proxy_admin]
    default: internal_user_viewer
  state:
    description:
      - V(present) lets the user in.
      - V(blocked) blocks all keys of the user, whoever made them. Back at V(present), the keys that this blocked work again.
      - V(absent) deletes all keys and takes the user out of all teams. The user itself stays, so that what was spent remains readable,
        unless O(purge=true).
      - Both end the user's sessions of the web page and the password for it. Who comes back and had one needs a new invitation.
    type: str
    choices: [present, blocked, absent]
    default: present
  purge:
    description: With O(state=absent), removes the user as well, and what it spent with it.
    type: bool
    default: false
  teams:
    description:
      - Teams that the user is in; one that was joined by this module or M(private_llm.platform.litellm_access) and that is no longer
        named is left. Nothing is changed when not given.
    type: list
    elements: str
  team_max_budget:
    description: What the user may spend in a period with keys of each of these teams. The gateway does not count O(max_budget) for them.
    type: float
  team_budget_duration:
    description: Period after which that budget starts anew.
    type: str
  models:
    description: Models that the user may use; all when empty.
    type: list
    elements: str
    default: []
seealso:
  - module: private_llm.platform.litellm_access
  - module: private_llm.platform.litellm_key
"""

EXAMPLES = r"""
- name: Make a user
  private_llm.platform.litellm_user:
    api_url: http://127.0.0.1:4000
    api_key: "{{ litellm_master_key }}"
    name: ada
    email: ada@example.com
    teams: [research]
    rpm_limit: 120

- name: Let somebody go and keep the spend history
  private_llm.platform.litellm_user:
    api_url: http://127.0.0.1:4000
    api_key: "{{ litellm_master_key }}"
    name: grace
    state: absent
"""

RETURN = r"""
changes:
  description: What was done, or in check mode would be done, in words; on failure what was done by then.
  type: list
  elements: str
  returned: always
  sample: ["user made", "joined team research"]
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
  description: Name of the user.
  type: str
  returned: success
  sample: ada
"""

from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import litellm_options as options
from ansible_collections.private_llm.platform.plugins.module_utils import litellm_state as state
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_access import run_single
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_state import Wanted

OPTIONS: dict[str, Any] = {
    **options.named("present", "blocked", "absent"),
    "email": {"type": "str"},
    "full_name": {"type": "str"},
    "role": {
        "type": "str",
        "choices": list(state.ROLES),
        "default": "internal_user_viewer",
    },
    "purge": {"type": "bool", "default": False},
    "teams": {"type": "list", "elements": "str"},
    "team_max_budget": {"type": "float"},
    "team_budget_duration": {"type": "str"},
    **options.MODELS,
    **options.BUDGET,
    **options.RATES,
    **options.METADATA,
    **options.TAKE_OVER,
}


def wanted_of(parameters: dict[str, Any]) -> Wanted:
    user = state.user_of(parameters)
    user.purge = parameters["purge"]
    user.owns_keys = True
    user.owns_teams = parameters["teams"] is not None
    limits = {"max_budget": parameters["team_max_budget"], "budget_duration": parameters["team_budget_duration"]}
    places = parameters["teams"] or [] if user.state != "absent" else []
    return Wanted(users=[user], memberships=[state.membership_of({"name": team, **limits}, user.name) for team in places])


def main() -> None:
    run_single(OPTIONS, wanted_of, lambda parameters: {"name": parameters["name"]})


if __name__ == "__main__":
    main()
