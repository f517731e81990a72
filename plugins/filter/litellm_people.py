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
    M(private_llm.platform.litellm_access), each with the key that follows from the root secret, the name and the key's generation.
  - A key that a person brings along is taken as it is.
  - The whole list is checked first, and every problem is named at once.
positional: root_secret, defaults
options:
  _input:
    description:
      - The people, each a dictionary with C(name), and optionally C(email), C(full_name), C(state), C(key_generation), C(key), C(max_budget),
        C(budget_duration), C(rpm_limit), C(tpm_limit), C(max_parallel_requests) and C(models).
      - A limit that is null is no limit, also where there is a default.
    type: list
    elements: dict
    required: true
  root_secret:
    description: The root secret of which keys are derived, at least 32 characters.
    type: str
    required: true
  defaults:
    description: Limits for people who do not have their own.
    type: dict
    default: {}
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


def litellm_people(users: Any, root_secret: Any, defaults: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    users, root_secret, defaults = decrypted(users), decrypted(root_secret), decrypted(defaults or {})
    problems = people.problems_of(users, defaults.get("budget_duration"))
    if problems:
        raise AnsibleFilterError("The list of people has %d problem(s): %s" % (len(problems), " ".join(problems)))
    try:
        return people.access_of(users or [], root_secret, defaults)
    except ValueError as error:
        raise AnsibleFilterError("litellm_people: %s" % error) from None


class FilterModule:
    """People of an inventory."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"litellm_people": litellm_people}
