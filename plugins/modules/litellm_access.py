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
  - Takes the whole wanted state, budgets, teams, people, their places in teams and their keys with limits, in one task.
  - Reads what the gateway has in a few paged calls, computes the difference, and writes only that; the number of calls grows with pages and
    changes, not with people.
  - What changed in the admin interface is put back. Limits that were never set here, such as the gateway's own defaults, are left alone;
    a limit that was set here and is no longer given is removed.
  - Objects that were not made here are reported and left, except for the keys of people who are V(blocked) or V(absent).
  - Where something stands in the way, such as an alias that somebody else has, nothing is given to anybody and the task fails with every
    such thing named. What is to be taken away (keys of people who are V(blocked) or V(absent), keys that are no longer listed, limits
    that become tighter) is taken away all the same.
  - A key made here can ask models and nothing else; it cannot make, change or list keys. Its user has the role C(internal_user_viewer).
  - After a change everything that changed is read again, so that a value that the gateway took without keeping it is an error and not a
    surprise. What another run did at the same time is seen and not done twice; two runs of one account on one host wait for each other.
    A change that somebody else makes meanwhile is put back with a warning, or is an error when it is made again and again.
  - When the task fails, C(changed), RV(people) and RV(summary) tell what was done by then. Another run does the rest.
extends_documentation_fragment:
  - private_llm.platform.litellm
attributes:
  check_mode:
    description:
      - Predicts exactly what a real run does. Where nothing accepts connections, it predicts for a gateway that is still empty.
      - Where the gateway does not accept the master key, which a run may give it first, it warns that nothing can be foreseen.
    support: full
  diff_mode:
    description: Shows old and new values of each object that changes; a key appears by its alias.
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
        description: E-mail address.
        type: str
      full_name:
        description: Name to show (the gateway's user alias).
        type: str
      state:
        description:
          - V(present) lets the person in.
          - V(blocked) keeps the keys but refuses them all, whoever made them; a key that does not exist yet is not made.
            Back at V(present), a key that was not made here stays blocked until somebody unblocks it at the gateway.
          - V(absent) deletes all keys of the person, whoever made them, and takes the person out of all teams. The user stays, so that
            what was spent remains readable.
          - Who is V(blocked) or V(absent) also loses the sessions of the gateway's web page and the password for it. Who comes back and had
            one needs a new invitation.
        type: str
        choices: [present, blocked, absent]
        default: present
      max_budget:
        description:
          - What the person may spend in a period, in the currency of the model prices.
          - The gateway counts this for keys without a team only. For the keys of a team give O(users[].teams[].max_budget).
        type: float
      budget_duration:
        description: Period after which the budget starts anew, such as V(30d).
        type: str
      rpm_limit:
        description: Requests a minute with all keys together.
        type: int
      tpm_limit:
        description: Tokens a minute with all keys together.
        type: int
      metadata:
        description: Further facts to keep with the user. What others wrote there is kept.
        type: dict
        default: {}
      team:
        description: The person's first team. Of no meaning here; a hand-out shows it.
        type: str
      teams:
        description: Teams that the person is in. One that the person was put in here and that is no longer listed is left.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name of the team.
            type: str
            required: true
          max_budget:
            description: What the person may spend in a period with keys of this team.
            type: float
          budget_duration:
            description: Period after which that budget starts anew.
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
          name:
            description: Short name of the key, unique for the person, such as V(laptop).
            type: str
            default: default
          value:
            description: The key itself. Starts with C(sk-) and has at least 16 characters.
            type: str
            required: true
          state:
            description: As O(users[].state), for this key alone.
            type: str
            choices: [present, blocked, absent]
            default: present
          generation:
            description:
              - How often the key was rotated, counted from 1. The highest one is kept with the user, also after the key is gone, and a lower
                one is an error, for a key that was replaced would work again. Nothing is checked when not given.
            type: int
          retiring:
            description:
              - The key is an old generation. It is not made; where it exists, it ends O(users[].keys[].grace_seconds) after it was first
                seen to be old. The gateway itself ends it at that moment; a later run removes what is left of it.
            type: bool
            default: false
          grace_seconds:
            description:
              - For a retiring key, how long it goes on working. For another one, how long a key with another value that this one replaces
                goes on working; it is deleted at once when 0.
            type: int
            default: 0
          expires:
            description:
              - When the key ends, as C(2027-01-31) (the end of that day, UTC) or C(2027-01-31T12:00:00Z). Then it is deleted.
              - The gateway takes a time to live and counts it from when it gets to the call, so its end is off by about a second, on a busy
                gateway by as long as a call takes. A difference of up to two minutes at the gateway is left; any other end in the list is set.
            type: str
          team:
            description: Team that the key's use counts for. The person must be in it.
            type: str
          budget:
            description: Name of one of the O(budgets), or of one that the gateway has, for limits that several keys share by name.
            type: str
          models:
            description: Models that the key may use; all that its team may use when empty.
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
  teams:
    description: Teams, including those to remove.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the team (the gateway's team ID).
        type: str
        required: true
      title:
        description: Name to show (the gateway's team alias); the name when not given.
        type: str
      recording:
        description:
          - How much of what the team does is recorded, where the gateway records at all.
          - It is kept in the team's metadata, from where the gateway's recorder takes it; a request cannot change it.
        type: str
        choices: [everything, metadata, nothing]
      state:
        description:
          - V(blocked) keeps the team but refuses all its keys. A team that was blocked at the gateway works again with V(present).
          - V(absent) removes the team. It is an error while keys that stay count for it, for the gateway would delete them.
        type: str
        choices: [present, blocked, absent]
        default: present
      models:
        description: Models that keys of the team may use, whatever the keys say; all when empty.
        type: list
        elements: str
        default: []
      max_budget:
        description: What the team may spend in a period.
        type: float
      budget_duration:
        description: Period after which the budget starts anew.
        type: str
      rpm_limit:
        description: Requests a minute.
        type: int
      tpm_limit:
        description: Tokens a minute.
        type: int
      metadata:
        description: Further facts to keep with the team. What others wrote there is kept.
        type: dict
        default: {}
  budgets:
    description: Limits that keys can share by name. The gateway keeps no mark with them, so one goes only by name with V(absent).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the budget (its ID).
        type: str
        required: true
      state:
        description: V(absent) removes the budget. It is an error while keys have it, for they would be left without limits.
        type: str
        choices: [present, absent]
        default: present
      max_budget:
        description: What each key with it may spend in a period.
        type: float
      soft_budget:
        description: Spending at which the gateway warns.
        type: float
      budget_duration:
        description: Period after which the budget starts anew.
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
  only:
    description:
      - Names of people. The whole list is checked, but only these people are looked at and changed, with the teams and budgets that they
        need. Nothing else is reported or removed.
    type: list
    elements: str
    default: []
  purge:
    description:
      - Removes what was made here once and is in no list any more, keys, places in teams and teams. What was not made here is never
        removed by it, nor are users and budgets.
    type: bool
    default: false
  take_over:
    description:
      - Takes over what the modules for one object made, such as M(private_llm.platform.litellm_key). Without it, such an object in the list
        is an error, for each would undo what the other says.
    type: bool
    default: false
  concurrency:
    description: Calls to the gateway at the same time, at most 8.
    type: int
    default: 4
seealso:
  - plugin: private_llm.platform.litellm_people
    plugin_type: filter
  - module: private_llm.platform.litellm_user
  - module: private_llm.platform.litellm_team
  - module: private_llm.platform.litellm_key
  - module: private_llm.platform.litellm_budget
"""

EXAMPLES = r"""
- name: Say who may use the gateway
  private_llm.platform.litellm_access:
    api_url: http://127.0.0.1:4000
    api_key: "{{ litellm_master_key }}"
    teams:
      - name: research
        models: [coder]
        max_budget: 500
        budget_duration: 30d
    users:
      - name: ada
        email: ada@example.com
        teams:
          - name: research
            max_budget: 20
            budget_duration: 30d
        keys:
          - alias: ada/laptop-1
            name: laptop
            value: "{{ ada_key }}"
            team: research
            rpm_limit: 60
            expires: "2027-01-31"
      - name: grace
        state: absent

- name: Derive the keys instead of keeping them
  private_llm.platform.litellm_access:
    api_url: http://127.0.0.1:4000
    api_key: "{{ litellm_master_key }}"
    users: "{{ llm_users | private_llm.platform.litellm_people(platform_root_secret) }}"
    purge: true
"""

RETURN = r"""
people:
  description: Each person for whom something was done, or in check mode would be done; on failure what was done by then.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: Name of the person.
      type: str
    state:
      description: The wanted state; V(unlisted) for somebody who is no longer in the list.
      type: str
    changes:
      description: What was done, in words.
      type: list
      elements: str
  sample: [{"name": "ada", "state": "present", "changes": ["key ada-1: rpm_limit 30 -> 60"]}]
summary:
  description: The changes as lines to print; never a key.
  type: list
  elements: str
  returned: always
  sample: ["team research made", "ada: key ada-1: rpm_limit 30 -> 60", "19 people unchanged"]
unknown:
  description: What the gateway has and no list names. It is left as it is.
  type: list
  elements: dict
  returned: always
  contains:
    kind:
      description: V(user), V(team) or V(key).
      type: str
    name:
      description: Name of the user or team, or alias of the key (without one, when it was made).
      type: str
    user:
      description: Whom it belongs to.
      type: str
    made_here:
      description: Whether this module made it.
      type: bool
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
  sample: {"read": 3, "write": 0}
"""

from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.litellm_access import (
    AccessModule,
    Unfinished,
    alone,
    changes_of,
    diff_of,
    failed_with,
    module_client,
    reconcile,
)
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_client import LitellmClient, LitellmError, argument_spec
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_options import (
    BUDGET,
    METADATA,
    MODELS,
    PARALLEL,
    RATES,
    RECORDING,
    TAKE_OVER,
    named,
    state_of,
)
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_plan import Plan
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_state import Wanted, problems_of, wanted_of
from ansible_collections.private_llm.platform.plugins.module_utils.people import did_you_mean


def key_spec() -> dict[str, Any]:
    return {
        "alias": {"type": "str", "required": True},
        "name": {"type": "str", "default": "default"},
        "value": {"type": "str", "required": True, "no_log": True},
        **state_of("present", "blocked", "absent"),
        "generation": {"type": "int"},
        "retiring": {"type": "bool", "default": False},
        "grace_seconds": {"type": "int", "default": 0},
        "expires": {"type": "str"},
        "team": {"type": "str"},
        "budget": {"type": "str"},
        **MODELS,
        **BUDGET,
        **RATES,
        **PARALLEL,
        **METADATA,
    }


def user_spec() -> dict[str, Any]:
    return {
        **named("present", "blocked", "absent"),
        "email": {"type": "str"},
        "full_name": {"type": "str"},
        **BUDGET,
        **RATES,
        **METADATA,
        "team": {"type": "str"},
        "teams": {"type": "list", "elements": "dict", "default": [], "options": {"name": {"type": "str", "required": True}, **BUDGET}},
        "keys": {"type": "list", "elements": "dict", "default": [], "options": key_spec(), "no_log": False},
    }


def spec() -> dict[str, Any]:
    team = {**named("present", "blocked", "absent"), "title": {"type": "str"}, **RECORDING, **MODELS, **BUDGET, **RATES, **METADATA}
    budget = {**named("present", "absent"), **BUDGET, "soft_budget": {"type": "float"}, **RATES, **PARALLEL}
    return {
        **argument_spec(),
        "users": {"type": "list", "elements": "dict", "required": True, "options": user_spec()},
        "teams": {"type": "list", "elements": "dict", "default": [], "options": team},
        "budgets": {"type": "list", "elements": "dict", "default": [], "options": budget},
        "only": {"type": "list", "elements": "str", "default": []},
        "purge": {"type": "bool", "default": False},
        **TAKE_OVER,
        "concurrency": {"type": "int", "default": 4},
    }


def people_of(plan: Plan, wanted: Wanted) -> list[dict[str, Any]]:
    changes = changes_of(plan)
    listed = [{"name": user.name, "state": user.state, "changes": changes[user.name]} for user in wanted.users if user.name in changes]
    names = {user.name for user in wanted.users} | {""}
    return listed + [{"name": name, "state": "unlisted", "changes": changes[name]} for name in sorted(set(changes) - names)]


def summary_of(plan: Plan, wanted: Wanted, whole: bool = True) -> list[str]:
    """What was done, a line for each person; how many were left as they were only of a run that came to its end."""
    people = people_of(plan, wanted)
    lines = changes_of(plan).get("", []) + ["%s: %s" % (person["name"], "; ".join(person["changes"])) for person in people]
    unchanged = len(wanted.users) - sum(1 for person in people if person["state"] != "unlisted")
    if unchanged and whole:
        lines.append("%d %s unchanged" % (unchanged, "person" if unchanged == 1 else "people"))
    if plan.unknown:
        lines.append("%d users, teams or keys of the gateway are not in the list and were left" % len(plan.unknown))
    return lines


def wanted_from(parameters: dict[str, Any]) -> Wanted:
    """The wanted state, checked as a whole; raises LitellmError with every problem at once."""
    wanted = wanted_of(parameters["users"], parameters["teams"], parameters["budgets"], parameters["purge"], parameters["take_over"])
    names = [user.name for user in wanted.users]
    problems = problems_of(wanted)
    problems += ["only: nobody in the list is called %s%s" % (name, did_you_mean(name, names)) for name in parameters["only"] if name not in names]
    if problems:
        raise LitellmError("The list of people has %d problem(s), nothing was changed: %s" % (len(problems), " ".join(problems)))
    return wanted.part(parameters["only"]) if parameters["only"] else wanted


def main() -> None:
    module = AccessModule(argument_spec=spec(), supports_check_mode=True)
    parameters = module.params
    wanted = Wanted()
    client: LitellmClient | None = None

    def told(plan: Plan, whole: bool) -> dict[str, Any]:
        for warning in plan.warnings:
            module.warn(warning)
        calls = {"read": client.reads if client else 0, "write": client.writes if client else 0}
        return {"people": people_of(plan, wanted), "summary": summary_of(plan, wanted, whole), "unknown": plan.unknown, "calls": calls}

    try:
        wanted = wanted_from(parameters)
        # All that matters of them is in the wanted state; twice they would fill the memory of a small host.
        parameters["users"] = []
        client = module_client(module, (key.value for key in wanted.keys), parameters["concurrency"])
        with alone(parameters["api_url"], module.check_mode):
            plan = reconcile(client, wanted, module.check_mode, targeted=bool(parameters["only"]))
    except LitellmError as error:
        module.fail_json(**failed_with(error), **told(error.plan if isinstance(error, Unfinished) else Plan(), whole=False))
    module.exit_json(changed=bool(plan.steps), diff=diff_of(plan), **told(plan, whole=plan.is_foreseen))


if __name__ == "__main__":
    main()
