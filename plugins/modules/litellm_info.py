#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_info
short_description: Read teams, users and keys of a LiteLLM gateway, and what they used
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Reads who may use a gateway, within which limits, what is left of each budget, and, for a period, who used how much.
  - Needs one call for each hundred users and keys each, twice that with a period, and one or two for teams. Changes nothing.
  - Never returns a key, nor any part of one; a key is told by its alias, and by its hash only with O(key_hashes=true).
  - What was spent of a budget starts anew with each budget period; what was used in a period does not, and includes keys, users and teams that are gone.
extends_documentation_fragment:
  - private_llm.platform.litellm
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: N/A
options:
  gather:
    description: What to read.
    type: list
    elements: str
    choices: [users, teams, keys]
    default: [users, teams, keys]
  period:
    description:
      - Days for which to tell what was used, today included. V(30d) stands for any number of days.
      - V(today), V(yesterday), V(this_week) (from Monday), V(last_week), V(this_month), V(last_month) or V(this_year) are as the gateway counts days, in UTC.
    type: str
  since:
    description: First day of the period, such as V(2026-11-01), instead of O(period).
    type: str
  until:
    description: Last day of the period; today when not given. At most 400 days after O(since).
    type: str
  key_hashes:
    description:
      - Whether to return the hash of each key, which is the key's name in the gateway's own metrics and logs.
      - Nobody gets in with a hash, but the gateway's administrator can act on the key with it, and it tells the same key in two places apart
        from others. So it is only returned on demand.
    type: bool
    default: false
seealso:
  - plugin: private_llm.platform.litellm_report
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Ask who used how much last month
  private_llm.platform.litellm_info:
    api_url: http://127.0.0.1:4000
    api_key: "{{ litellm_master_key }}"
    period: last_month
  register: used

- name: Show it as a table
  ansible.builtin.debug:
    msg: "{{ (used | private_llm.platform.litellm_report('users')).splitlines() }}"

- name: Find keys that expire
  private_llm.platform.litellm_info:
    api_url: http://127.0.0.1:4000
    api_key: "{{ litellm_master_key }}"
    gather: [keys]
  register: gateway

- name: Name them
  ansible.builtin.debug:
    msg: "{{ gateway['keys'] | selectattr('expires') | map(attribute='alias') }}"
"""

RETURN = r"""
as_of:
  description: When it was read, in UTC.
  type: str
  returned: success
  sample: "2026-11-25T14:35:00Z"
since:
  description: First day of the period.
  type: str
  returned: success, null without a period
  sample: "2026-11-01"
until:
  description: Last day of the period.
  type: str
  returned: success, null without a period
  sample: "2026-11-25"
users:
  description: Everybody the gateway knows, and who is gone but asked something in the period (with state V(deleted)).
  type: list
  elements: dict
  returned: when users are gathered
  contains:
    name:
      description: Name (the gateway's user ID); null for requests that belong to nobody.
      type: str
    full_name:
      description: Name to show.
      type: str
    email:
      description: E-mail address.
      type: str
    role:
      description: Role at the gateway.
      type: str
    state:
      description: V(active), V(blocked) or V(expired) by the person's keys, V(no_key), V(administrator) (the master key), or V(deleted).
      type: str
    teams:
      description: IDs of the teams that the person is in.
      type: list
      elements: str
    keys:
      description: How many keys the person has.
      type: int
    max_budget:
      description: What may be spent in a budget period.
      type: float
    budget_duration:
      description: Length of the budget period.
      type: str
    budget_reset_at:
      description: When the budget starts anew.
      type: str
    spend:
      description: What was spent in this budget period.
      type: float
    budget_left:
      description: What is left of the budget; negative where more was spent, null without a budget.
      type: float
    last_used:
      description: When one of the person's keys was last used; null if never, or if the key is gone.
      type: str
    usage:
      description: What was used in the period; null without one.
      type: dict
      contains:
        spend:
          description: What it cost, in the currency of the model prices.
          type: float
        requests:
          description: Requests, also those that failed.
          type: int
        successful_requests:
          description: Requests that were answered.
          type: int
        failed_requests:
          description: Requests that failed at a model; one that the gateway refuses by itself is usually not in its report.
          type: int
        prompt_tokens:
          description: Tokens that went in.
          type: int
        completion_tokens:
          description: Tokens that came out.
          type: int
        total_tokens:
          description: Both together.
          type: int
  sample: [{"name": "ada", "state": "active", "teams": ["research"], "max_budget": 20.0, "spend": 1.25, "budget_left": 18.75}]
teams:
  description: Teams with C(id), C(name), C(state), C(members), C(keys), C(models), limits, budget, C(last_used) and C(usage), in the
        words used for users. Requests with keys of no team have a row with state V(no_team).
  type: list
  elements: dict
  returned: when teams are gathered
  sample: [{"id": "research", "name": "Research", "members": ["ada"], "keys": 2, "max_budget": 100.0, "budget_left": 96.5}]
keys:
  description:
    - Keys with C(alias), C(label) (the alias, or words for a key without one), C(user), C(team), C(state), C(models), limits, budget,
      C(created), C(expires), C(last_used) and C(usage), and with O(key_hashes=true) C(hash).
    - A key that is gone but was used in the period has state V(deleted), the administrator's own V(master).
  type: list
  elements: dict
  returned: when keys are gathered
  sample: [{"alias": "ada-1", "user": "ada", "state": "active", "expires": null, "last_used": "2026-11-25T14:15:41Z"}]
total:
  description: What everybody used together in the period; null without one.
  type: dict
  returned: when users are gathered
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
  sample: {"read": 6, "write": 0}
"""

import datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils import litellm_usage
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_client import LitellmClient, LitellmError, argument_spec

EVERYTHING = ["users", "teams", "keys"]


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def gather(client: LitellmClient, what: list[str], period: litellm_usage.Period | None, moment: str, hashes: bool) -> dict[str, Any]:
    """All that was asked for, in as few calls as it takes."""
    found: dict[str, Any] = {}
    # Users and teams are told when they last used a key, so keys are read for them too.
    used_keys = litellm_usage.usage_of_keys(client, period) if period and "keys" in what else None
    keys = litellm_usage.describe_keys(client.keys(), used_keys, moment, hashes)
    if "users" in what:
        used_users = litellm_usage.usage_of_users(client, period) if period else None
        found["users"] = litellm_usage.describe_users(client.users(), keys, used_users)
        found["total"] = litellm_usage.total_of(found["users"]) if period else None
    if "teams" in what:
        used_teams = litellm_usage.usage_of_teams(client, period) if period else None
        found["teams"] = litellm_usage.describe_teams(client.teams(), keys, used_teams)
    if "keys" in what:
        found["keys"] = keys
    return found


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **argument_spec(),
            "gather": {"type": "list", "elements": "str", "choices": EVERYTHING, "default": EVERYTHING},
            "period": {"type": "str"},
            "since": {"type": "str"},
            "until": {"type": "str"},
            "key_hashes": {"type": "bool", "default": False},
        },
        mutually_exclusive=[("period", "since"), ("period", "until")],
        supports_check_mode=True,
    )
    parameters = module.params
    moment = now()
    try:
        period = litellm_usage.find_period(parameters["period"], parameters["since"], parameters["until"], moment.date())
        client = LitellmClient(
            parameters["api_url"],
            parameters["api_key"],
            timeout=parameters["api_timeout"],
            validate_certs=parameters["validate_certs"],
            ca_path=parameters["ca_path"],
        )
        as_of = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        found = gather(client, parameters["gather"], period, as_of, parameters["key_hashes"])
    except LitellmError as error:
        module.fail_json(msg=str(error), status=error.status, error_type=error.error_type)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=False,
        as_of=as_of,
        since=period.since.isoformat() if period else None,
        until=period.until.isoformat() if period else None,
        calls={"read": client.reads, "write": client.writes},
        **found,
    )


if __name__ == "__main__":
    main()
