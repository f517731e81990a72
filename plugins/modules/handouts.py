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
  - Writes one directory per person below O(directory) on the controller, with each key and what is needed to use it from the command line, from
    editors and from coding agents. A C(README.md) tells the person what is what.
  - A key has the files C(key), C(environment) (to be sourced), C(dotenv), C(curlrc) and C(curl.sh), and the configuration of Continue, Cline, Zed,
    aider, opencode, Codex CLI, Claude Code and Qwen Code. The key named V(default), or the first one where keys have no names, lies in the person's
    directory, each other one in a directory of its name.
  - Directories have mode 0700, files 0600 (the script 0700), and each is replaced as a whole or not at all.
  - Nothing is written below a work tree of version control.
  - When somebody is V(absent) or a key is gone, the files that were made here are removed, and no others. Directories of people who are not named are
    left unless O(purge) says otherwise.
  - A file that was not made here is neither overwritten nor removed. Where one has the place of a file of the hand-out, nothing is written and the
    error names it.
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
    description: Where the hand-outs lie, outside of any version control. Made when missing.
    type: path
    required: true
  public_url:
    description: Address at which people reach the gateway, such as V(http://llm.example.com:4000); C(/v1) is added where a tool wants it.
    type: str
    required: true
  model:
    description:
      - Model that is asked by default. Whose key has a list of models gets those.
      - Without any, only what needs no model is written.
    type: str
    default: ''
  context_tokens:
    description: Tokens that a model takes in at once, which some tools have to be told.
    type: int
    default: 32768
  people:
    description:
      - Everybody, including those who left, as the filter P(private_llm.platform.litellm_people#filter) gives them.
      - Of each entry C(name), C(full_name), C(state), the limits and C(keys) matter; of each key C(name), C(value), C(models), its limits, and
        C(retiring), which keeps an old key in its grace period out of the hand-out.
    type: list
    elements: dict
    required: true
  purge:
    description:
      - Removes also what was made here for people who are not among O(people) any more.
      - What people of another gateway (another O(public_url)) were handed stays, so several gateways may share a directory as long as no two
        of their people share a name.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Write the hand-outs
  private_llm.platform.handouts:
    directory: ~/private-llm/people
    public_url: http://llm.example.com:4000
    model: coder
    people: "{{ llm_users | private_llm.platform.litellm_people(platform_root_secret) }}"
"""

RETURN = r"""
actions:
  description: What was done, in words.
  type: list
  elements: str
  returned: success
  sample: ["ada: hand-out made", "linus: ci/key changed", "grace: hand-out removed"]
"""
