#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_key
short_description: Manage one key of a LiteLLM gateway
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Makes, changes, blocks or deletes a key. The value is given, so that a repeated run finds the key again; the gateway keeps only its
    hash.
  - To rotate a key, give another O(value) under the same O(alias), with O(grace) where both are to work for a while.
extends_documentation_fragment:
  - private_llm.platform.litellm_single
  - private_llm.platform.litellm_marked
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
  alias:
    description: Name of the key, unique at the gateway.
    type: str
    required: true
  value:
    description:
      - The key itself. Starts with C(sk-) and has at least 16 characters.
      - Not needed with O(state=absent), which then deletes the key of that alias.
    type: str
  user:
    description: The user that the key belongs to, who must exist; a key for a program may have none.
    type: str
  team:
    description: Team that the key's use counts for, which must exist.
    type: str
  budget:
    description: Name of a shared budget, which must exist.
    type: str
  state:
    description: V(blocked) keeps the key but refuses it. V(absent) deletes it.
    type: str
    choices: [present, blocked, absent]
    default: present
  grace:
    description:
      - With a new O(value), the time for which the old one goes on working, such as V(7d). The gateway itself ends it. Without it, the
        old one is deleted at once.
    type: str
  expires:
    description: When the key ends, as C(2027-01-31) (the end of that day, UTC) or C(2027-01-31T12:00:00Z). Then it is deleted.
    type: str
  models:
    description: Models that the key may use; all that its team may use when empty.
    type: list
    elements: str
    default: []
  allowed_routes:
    description: What the key may ask; the default lets it ask models and nothing else.
    type: list
    elements: str
    default: [llm_api_routes]
seealso:
  - module: private_llm.platform.litellm_access
  - module: private_llm.platform.litellm_user
"""

EXAMPLES = r"""
- name: Make a key for a pipeline
  private_llm.platform.litellm_key:
    api_url: http://127.0.0.1:4000
    api_key: "{{ litellm_master_key }}"
    alias: nightly-build
    value: "{{ nightly_build_key }}"
    models: [coder]
    rpm_limit: 30
    expires: "2027-01-31"

- name: Delete it
  private_llm.platform.litellm_key:
    api_url: http://127.0.0.1:4000
    api_key: "{{ litellm_master_key }}"
    alias: nightly-build
    state: absent
"""

RETURN = r"""
changes:
  description: What was done, or in check mode would be done, in words; on failure what was done by then.
  type: list
  elements: str
  returned: always
  sample: ["key nightly-build made"]
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
alias:
  description: Alias of the key.
  type: str
  returned: success
  sample: nightly-build
"""

from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import litellm_options as options
from ansible_collections.private_llm.platform.plugins.module_utils import litellm_state as state
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_access import run_single
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_client import LitellmError
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_state import Wanted
from ansible_collections.private_llm.platform.plugins.module_utils.people import GRACE_PATTERN, moment, seconds_of

OPTIONS: dict[str, Any] = {
    "alias": {"type": "str", "required": True},
    "value": {"type": "str", "no_log": True},
    "user": {"type": "str"},
    "team": {"type": "str"},
    "budget": {"type": "str"},
    **options.state_of("present", "blocked", "absent"),
    "grace": {"type": "str"},
    "expires": {"type": "str"},
    **options.MODELS,
    "allowed_routes": {"type": "list", "elements": "str", "default": ["llm_api_routes"]},
    **options.BUDGET,
    **options.RATES,
    **options.PARALLEL,
    **options.METADATA,
    **options.TAKE_OVER,
}


def wanted_of(parameters: dict[str, Any]) -> Wanted:
    if parameters["grace"] and not GRACE_PATTERN.fullmatch(parameters["grace"]):
        raise LitellmError("grace must be a time such as 7d or 12h.")
    if parameters["expires"] and moment(parameters["expires"]) is None:
        raise LitellmError("expires must be a date such as 2027-01-31, or a moment such as 2027-01-31T12:00:00Z.")
    key = state.key_of({**parameters, "name": parameters["alias"], "grace_seconds": seconds_of(parameters["grace"])}, parameters["user"] or "")
    key.owns_alias = True
    return Wanted(keys=[key])


def main() -> None:
    run_single(
        OPTIONS,
        wanted_of,
        lambda parameters: {"alias": parameters["alias"]},
        required_if=[("state", "present", ["value"]), ("state", "blocked", ["value"])],
    )


if __name__ == "__main__":
    main()
