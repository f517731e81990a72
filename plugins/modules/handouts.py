#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: handouts
short_description: Write each person's key and how to use it to the controller
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Writes one directory per person below O(directory) on the controller, with C(key), C(environment) (to be sourced) and C(curl.sh).
  - Directories have mode 0700, files 0600 (the script 0700). A C(.gitignore) keeps all of it out of version control.
  - The directory of somebody who is V(absent) is removed, if it was made here. Directories of people who are not named are left.
attributes:
  action:
    description: Runs as an action plugin, on the controller.
    support: full
  check_mode:
    description: Predicts exactly what a real run does.
    support: full
  diff_mode:
    description: Shows which files change, never what is in them.
    support: full
options:
  directory:
    description: Where the hand-outs lie. Made when missing.
    type: path
    required: true
  public_url:
    description: Address at which people reach the gateway, such as V(http://llm.example.com:4000); C(/v1) is added where a client wants it.
    type: str
    required: true
  model:
    description: Model that the example asks. When empty, the person names one.
    type: str
    default: ''
  people:
    description:
      - Everybody, including those who left, as the filter P(private_llm.platform.litellm_people#filter) gives them.
      - Of each entry C(name), C(state) and the C(value) of the first of C(keys) matter; all else is ignored.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Write the hand-outs
  private_llm.platform.handouts:
    directory: ~/private-llm/people
    public_url: http://llm.example.com:4000
    people: "{{ llm_users | private_llm.platform.litellm_people(platform_root_secret) }}"
"""

RETURN = r"""
actions:
  description: What was done, in words.
  type: list
  elements: str
  returned: success
  sample: ["ada: key written", "grace: hand-out removed"]
"""
