# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: litellm_people
short_description: Turn a list of people into what the access module wants
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Takes people as an inventory lists them and gives them as the O(private_llm.platform.litellm_access#module:users) of
    M(private_llm.platform.litellm_access), each with the keys that follow from the root secret, the names and the keys' generations.
  - A key that a person brings along is taken as it is.
  - While a grace period is set, the generation before the newest one is given too, with C(retiring).
  - The whole list is checked first, and every problem is named at once; with O(only), keys are then derived for those people alone.
positional: root_secret, defaults
options:
  _input:
    description:
      - The people, each a dictionary with C(name), and optionally C(email), C(full_name), C(state), C(teams) (names, the first one is what
        keys count for), C(expires), C(max_budget), C(budget_duration), C(rpm_limit), C(tpm_limit), C(max_parallel_requests), C(models),
        C(budget), C(metadata), C(key_grace), and either C(key_generation) or C(key) for the only key, or C(keys).
      - Each of C(keys) is a dictionary with C(name), and optionally C(generation), C(value), C(state), C(expires), C(grace), C(team),
        C(budget), C(metadata) and limits of its own.
      - A limit that is null is no limit, also where there is a default.
    type: list
    elements: dict
    required: true
  root_secret:
    description: The root secret of which keys are derived, at least 32 characters.
    type: str
    required: true
  defaults:
    description: Limits for people who do not have their own, and C(key_grace).
    type: dict
    default: {}
  teams:
    description: The teams there are, each a dictionary with C(name). Without it, names of teams are believed.
    type: list
    elements: dict
  budgets:
    description: The shared budgets there are, each a dictionary with C(name). Without it, names of budgets are believed.
    type: list
    elements: dict
  models:
    description: Names of the models there are. Without it, names of models are believed.
    type: list
    elements: str
  only:
    description: Names of the people to give; everybody when empty. A name that nobody has is an error that names near ones.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Give people their access
  private_llm.platform.litellm_access:
    api_url: http://127.0.0.1:4000
    api_key: "{{ litellm_master_key }}"
    users: "{{ llm_users | private_llm.platform.litellm_people(platform_root_secret, {'rpm_limit': 60}) }}"
"""

RETURN = r"""
_value:
  description: The people with their keys and limits; a secret, for keys are in it.
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.module_utils import people
from ansible_collections.private_llm.platform.plugins.module_utils.inventory_checks import decrypted


def litellm_people(
    users: Any,
    root_secret: Any,
    defaults: Mapping[str, Any] | None = None,
    teams: Any = None,
    budgets: Any = None,
    models: Any = None,
    only: Any = None,
) -> list[dict[str, Any]]:
    users, root_secret, defaults = decrypted(users), decrypted(root_secret), decrypted(defaults or {})
    problems = people.default_problems(defaults, models) + people.problems_of(users, defaults.get("budget_duration"), teams, budgets, models)
    problems += ["team %s" % problem for problem in people.team_problems(teams, models)]
    problems += ["budget %s" % problem for problem in people.budget_problems(budgets)]
    problems += people.unknown_name_problems(only or [], users)
    if problems:
        raise AnsibleFilterError("The list of people has %d problem(s): %s" % (len(problems), " ".join(problems)))
    try:
        return people.access_of(people.only_of(users or [], only or []), root_secret, defaults)
    except ValueError as error:
        raise AnsibleFilterError("litellm_people: %s" % error) from None


class FilterModule:
    """People of an inventory."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"litellm_people": litellm_people}
