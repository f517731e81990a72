#!/usr/bin/python
# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: langfuse_info
short_description: Add up what a Langfuse has recorded
version_added: 0.1.0
description:
  - Tells for each week, person, team and model how many requests there were, how many failed, and what they took in tokens and cost.
  - Tells what people and teams ask about, as the words that are in their questions more than in those of others. A question that was not recorded has none.
  - Reads page by page; its memory depends on people, teams, models and weeks and not on requests.
  - Uses the public API of Langfuse 4, whose ready-made figures cannot be had for each person.
extends_documentation_fragment:
  - private_llm.platform.langfuse
author:
  - Private LLM Platform team (@private-llm)
attributes:
  check_mode:
    description: Can run in C(check_mode); changes nothing in any case.
    support: full
  diff_mode:
    description: Changes nothing.
    support: N/A
options:
  topics:
    description: Whether questions are read to find topics; this takes longer.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Ask who did what in November
  private_llm.platform.langfuse_info:
    url: http://127.0.0.1:3001
    public_key: pk-lf-gateway
    secret_key: "{{ langfuse_secret_key }}"
    since: "2026-11-01"
    until: "2026-12-01"
  register: november

- name: Show it
  ansible.builtin.debug:
    msg: "{{ november | private_llm.platform.langfuse_report('table') }}"
"""

RETURN = r"""
since:
  description: Beginning of the period.
  returned: success
  type: str
until:
  description: End of the period.
  returned: success
  type: str
usage:
  description: A row for each week (its Monday), person, team and model; C(cost) is in the currency of the model prices.
  returned: success
  type: list
  elements: dict
  sample:
    - {week: "2026-11-23", person: ada, team: research, model: qwen3-coder, requests: 12, errors: 0, input_tokens: 900, output_tokens: 400, cost: 0.1}
topics:
  description: For each person and team (C(kind)) how many questions were read, and the words that tell what they are about.
  returned: success
  type: list
  elements: dict
  sample:
    - {kind: person, name: ada, prompts: 12, topics: [compiler, parser]}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils.langfuse_module import CHECKS, OPTIONS, api_of, period_of
from ansible_collections.private_llm.platform.plugins.module_utils.langfuse_traces import LangfuseError, report, stamp


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec={**OPTIONS, "topics": {"type": "bool", "default": True}}, supports_check_mode=True, **CHECKS)
    try:
        since, until = period_of(module.params)
        found = report(api_of(module.params), since, until, module.params["topics"])
    except LangfuseError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, since=stamp(since), until=stamp(until), usage=found.rows(), topics=found.topics())


if __name__ == "__main__":
    main()
