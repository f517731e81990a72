# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: log_agent_config
short_description: Write the configuration of a log agent
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Says how the lines of a host's journal reach Loki, in the language of Grafana Alloy or of Promtail.
  - Lines get the labels C(host), C(service) and C(level) and no others. Keys, bearer tokens, passwords in addresses and the like are replaced
    before a line leaves the host; traces of several lines are kept whole.
positional: _input, agent
options:
  _input:
    description:
      - What differs from host to host. Keys are C(host), C(loki_url), C(journal), C(max_age), C(multiline_services) and C(scrub), and for Promtail
        C(positions) and C(port).
    type: dict
    required: true
  agent:
    description: The agent that is to read it.
    type: str
    choices: [alloy, promtail]
    required: true
"""

EXAMPLES = r"""
- name: Show what Alloy is told
  ansible.builtin.debug:
    msg: >-
      {{ {'host': 'gpu1', 'loki_url': 'http://10.0.0.9:3100/loki/api/v1/push', 'journal': '/var/log/journal', 'max_age': '12h',
          'multiline_services': ['litellm'], 'scrub': []} | private_llm.platform.log_agent_config('alloy') }}
"""

RETURN = r"""
_value:
  description: The whole configuration file.
  type: str
"""

import json
from collections.abc import Mapping
from typing import Any, Callable

import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.module_utils.log_pipeline import BadPattern, Settings, alloy, promtail

SETTINGS = ("host", "loki_url", "journal", "max_age", "multiline_services", "scrub")


def log_agent_config(given: Mapping[str, Any], agent: str) -> str:
    """The text of an agent's configuration file. :raises AnsibleFilterError: for a setting that cannot work."""
    # Ansible's own kinds of text, which know where they come from, are nothing that a YAML file can hold.
    given = json.loads(json.dumps(given))
    try:
        settings = Settings(**{name: given[name] for name in SETTINGS})
        if agent == "alloy":
            return alloy(settings)
        return str(yaml.safe_dump(promtail(settings, given["positions"], given["port"]), sort_keys=False, width=1000))
    except KeyError as error:
        raise AnsibleFilterError(f"log_agent_config: {error} is missing") from error
    except BadPattern as error:
        raise AnsibleFilterError(f"log_agent_config: {error}") from error


class FilterModule:
    """The filter under its name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """For Ansible."""
        return {"log_agent_config": log_agent_config}
