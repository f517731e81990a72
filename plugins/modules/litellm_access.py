#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_access
short_description: Say who may use a LiteLLM gateway
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Takes the whole wanted state, people and their keys with limits and budgets, in one task.
  - Reads what the gateway has in a few paged calls, computes the difference, and writes only that; the number of calls grows with pages and
    changes, not with people.
  - What changed in the admin interface is put back. Limits that were never set here, such as the gateway's own defaults, are left alone.
  - Users and keys that were not made here are reported and left, except for the keys of people who are V(blocked) or V(absent).
  - A key made here can ask models and nothing else; it cannot make, change or list keys. Its user has the role C(internal_user_viewer).
  - After a change everything is read again, so that a value that the gateway took without keeping it is an error and not a surprise.
extends_documentation_fragment:
  - private_llm.platform.litellm
attributes:
  check_mode:
    description: Predicts exactly what a real run does. Where nothing accepts connections, it predicts for a gateway that is still empty.
    support: full
  diff_mode:
    description: Shows old and new values of each user and key that changes; a key appears by its alias.
    support: full
options:
  users:
    description: Everybody, including those who left.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The person's name at the gateway (its user ID).
        type: str
        required: true
      email:
        description: E-mail address; left as it is when not given.
        type: str
      full_name:
        description: Name to show (the gateway's user alias); left as it is when not given.
        type: str
      state:
        description:
          - V(present) lets the person in.
          - V(blocked) keeps the keys but refuses them all, whoever made them; a key that does not exist yet is not made.
            Back at V(present), a key that was not made here stays blocked until somebody unblocks it at the gateway.
          - V(absent) deletes all keys of the person, whoever made them. The user stays, so that what was spent remains readable.
        type: str
        choices: [present, blocked, absent]
        default: present
      max_budget:
        description: What the person may spend in a period, with all keys together, in the currency of the model prices.
        type: float
      budget_duration:
        description: Period after which the budget starts anew, such as V(30d).
        type: str
      keys:
        description: The person's keys. A key made here that is no longer listed is deleted.
        type: list
        elements: dict
        default: []
        suboptions:
          alias:
            description: Name of the key, unique at the gateway.
            type: str
            required: true
          value:
            description: The key itself. Starts with C(sk-) and has at least 16 characters.
            type: str
            required: true
          models:
            description: Models that the key may use; all when empty.
            type: list
            elements: str
            default: []
          max_budget:
            description: What may be spent with this key in a period.
            type: float
          budget_duration:
            description: Period after which the key's budget starts anew.
            type: str
          rpm_limit:
            description: Requests a minute.
            type: int
          tpm_limit:
            description: Tokens a minute.
            type: int
          max_parallel_requests:
            description: Requests at the same time.
            type: int
          metadata:
            description: Further facts to keep with the key. What others wrote there is kept.
            type: dict
            default: {}
seealso:
  - plugin: private_llm.platform.litellm_people
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Say who may use the gateway
  private_llm.platform.litellm_access:
    api_url: http://127.0.0.1:4000
    api_key: "{{ litellm_master_key }}"
    users:
      - name: ada
        email: ada@example.com
        max_budget: 20
        budget_duration: 30d
        keys:
          - alias: ada-1
            value: "{{ ada_key }}"
            rpm_limit: 60
      - name: grace
        state: absent

- name: Derive the keys instead of keeping them
  private_llm.platform.litellm_access:
    api_url: http://127.0.0.1:4000
    api_key: "{{ litellm_master_key }}"
    users: "{{ llm_users | private_llm.platform.litellm_people(platform_root_secret) }}"
"""

RETURN = r"""
people:
  description: Each person with what was done, or in check mode would be done.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: Name of the person.
      type: str
    state:
      description: The wanted state.
      type: str
    changes:
      description: What was done, in words; empty when all was well.
      type: list
      elements: str
  sample: [{"name": "ada", "state": "present", "changes": ["key ada-1: rpm_limit 30 -> 60"]}]
summary:
  description: The changes as lines to print; never a key.
  type: list
  elements: str
  returned: success
  sample: ["ada: key ada-1: rpm_limit 30 -> 60", "19 people unchanged"]
unknown:
  description: Users and keys of the gateway that the list does not name. They are left as they are.
  type: list
  elements: dict
  returned: success
  contains:
    kind:
      description: V(user) or V(key).
      type: str
    name:
      description: Name of the user, or alias (without one, the start of the hash) of the key.
      type: str
    user:
      description: Whom it belongs to.
      type: str
    made_here:
      description: Whether this module made it.
      type: bool
calls:
  description: How many calls were made to the gateway.
  type: dict
  returned: success
  sample: {"read": 2, "write": 0}
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_access import Plan, make_plan, problems_of
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_client import LitellmClient, LitellmError, argument_spec

# The gateway answers a read from its database, but may need a moment after a write.
VERIFY_DELAYS = (0.0, 0.5, 1.5, 3.0)


def key_spec() -> dict[str, Any]:
    return {
        "alias": {"type": "str", "required": True},
        "value": {"type": "str", "required": True, "no_log": True},
        "models": {"type": "list", "elements": "str", "default": []},
        "max_budget": {"type": "float"},
        "budget_duration": {"type": "str"},
        "rpm_limit": {"type": "int"},
        "tpm_limit": {"type": "int"},
        "max_parallel_requests": {"type": "int"},
        "metadata": {"type": "dict", "default": {}},
    }


def user_spec() -> dict[str, Any]:
    return {
        "name": {"type": "str", "required": True},
        "email": {"type": "str"},
        "full_name": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "blocked", "absent"], "default": "present"},
        "max_budget": {"type": "float"},
        "budget_duration": {"type": "str"},
        "keys": {"type": "list", "elements": "dict", "default": [], "options": key_spec(), "no_log": False},
    }


def find_plan(client: LitellmClient, users: list[dict[str, Any]]) -> Plan:
    return make_plan(users, client.users(), client.keys())


def verify(client: LitellmClient, users: list[dict[str, Any]]) -> None:
    plan = Plan()
    for delay in VERIFY_DELAYS:
        time.sleep(delay)
        plan = find_plan(client, users)
        if not plan.steps:
            return
    left = "; ".join("%s: %s" % (step.person, step.sentence) for step in plan.steps[:10])
    raise LitellmError("The gateway accepted the changes but did not keep them all. Still to do: %s" % left)


def summary_of(plan: Plan) -> list[str]:
    lines = ["%s: %s" % (person["name"], "; ".join(person["changes"])) for person in plan.people if person["changes"]]
    unchanged = sum(1 for person in plan.people if not person["changes"])
    if unchanged:
        lines.append("%d %s unchanged" % (unchanged, "person" if unchanged == 1 else "people"))
    if plan.unknown:
        lines.append("%d users or keys of the gateway are not in the list and were left" % len(plan.unknown))
    return lines


def run(client: LitellmClient, users: list[dict[str, Any]], check_mode: bool) -> Plan:
    """Plan, act, and look again."""
    problems = problems_of(users)
    if problems:
        raise LitellmError("The list of people has %d problem(s), nothing was changed: %s" % (len(problems), " ".join(problems)))
    try:
        plan = find_plan(client, users)
    except LitellmError as error:
        if not (check_mode and error.nobody_there):
            raise
        # A check before the first run: there is no gateway yet, so there is nobody at it.
        plan = make_plan(users, [], [])
        plan.warnings.append("The gateway does not run yet; this predicts what a run does at a new one.")
    if plan.conflicts:
        raise LitellmError("The gateway has what stands in the way, nothing was changed: %s" % " ".join(plan.conflicts))
    if plan.steps and not check_mode:
        for path, fields in plan.calls():
            client.post(path, **fields)
        verify(client, users)
    return plan


def main() -> None:
    module = AnsibleModule(
        argument_spec={**argument_spec(), "users": {"type": "list", "elements": "dict", "required": True, "options": user_spec()}},
        supports_check_mode=True,
    )
    parameters = module.params
    try:
        client = LitellmClient(
            parameters["api_url"],
            parameters["api_key"],
            timeout=parameters["api_timeout"],
            validate_certs=parameters["validate_certs"],
            ca_path=parameters["ca_path"],
            secrets=[key["value"] for person in parameters["users"] for key in person["keys"]],
            patient=not module.check_mode,
        )
        plan = run(client, parameters["users"], module.check_mode)
    except LitellmError as error:
        module.fail_json(msg=str(error))
    for warning in plan.warnings:
        module.warn(warning)
    module.exit_json(
        changed=bool(plan.steps),
        people=plan.people,
        summary=summary_of(plan),
        unknown=plan.unknown,
        calls={"read": client.reads, "write": client.writes},
        diff=plan.diff(),
    )


if __name__ == "__main__":
    main()
