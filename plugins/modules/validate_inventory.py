#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: validate_inventory
short_description: Find what is wrong with the inventory before any host is touched
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Looks at the variables of all hosts on the controller and names every problem at once, a sentence each.
  - A root secret that is missing, too short or still a placeholder; any value that still has the placeholder C(CHANGE-ME); variables that
    look like those of a role of this collection, or of the platform, and that nothing reads; values of the wrong type; people, teams and
    shared budgets as a whole, with whatever they name that does not exist; variables that have no effect, since a playbook sets them itself.
  - No connection is made, so hosts need not be reachable.
attributes:
  action:
    description: Runs as an action plugin, on the controller.
    support: full
  check_mode:
    description: Never changes anything.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: full
options:
  root_secret_variable:
    description: Name of the variable with the root secret.
    type: str
    default: platform_root_secret
  kept_root_secret_variable:
    description: Name of the variable with the root secret of before, which need not be there.
    type: str
    default: platform_kept_root_secret
  secret_numbers_variable:
    description: Name of the variable that tells which of the platform's secrets are not the first of their name; it need not be there.
    type: str
    default: platform_secret_numbers
    version_added: 0.2.0
  people_variable:
    description: Name of the variable with the list of people.
    type: str
    default: llm_users
  teams_variable:
    description: Name of the variable with the list of teams.
    type: str
    default: llm_teams
  budgets_variable:
    description: Name of the variable with the list of shared budgets.
    type: str
    default: llm_budgets
  models:
    description: Names of the models there are, of which people and teams may name some. Without any, every name is believed.
    type: list
    elements: str
    default: []
  platform_variables:
    description:
      - Names of the other variables that playbooks read. A variable that begins as one of them does, up to the first underscore, and is none of
        them is taken for a misspelling.
    type: list
    elements: str
    default: []
  groups:
    description: Groups that must have at least one host.
    type: list
    elements: str
    default: []
  address_variable:
    description: Name of the variable that every host of O(addressed_groups) has to have as soon as there are two of them.
    type: str
    default: ""
  addressed_groups:
    description: Groups whose hosts reach each other.
    type: list
    elements: str
    default: []
  playbook:
    description:
      - The playbook that the inventory is for. What it hands to its roles stands above an inventory, so a variable of that name is refused there.
    type: path
"""

EXAMPLES = r"""
- name: Find what is wrong before anything is changed
  private_llm.platform.validate_inventory:
    platform_variables: [platform_listen_address]
    groups: [gateway]
  run_once: true
"""

RETURN = r"""
msg:
  description: That all is well, or every problem, a sentence each.
  type: str
  returned: always
  sample: "The inventory has 1 problem, and nothing was changed: llm_users: entry 3 has no name."
"""
