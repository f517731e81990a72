# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: model_names
short_description: Tell under which names people ask for models
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Takes the variables of all hosts and gives the names of the models that the given ones serve, each once, in order.
  - A list of models that is wrong is no failure here, so that everything that is wrong with an inventory can be told at once.
positional: hosts, name
options:
  _input:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  hosts:
    description: Names of the hosts that serve models.
    type: list
    elements: str
    required: true
  name:
    description: The model's name where a host has no C(llm_models).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the names of the models
  ansible.builtin.debug:
    msg: "{{ hostvars | private_llm.platform.model_names(groups['gpu'], 'qwen3-coder') }}"
"""

RETURN = r"""
_value:
  description: The names; at least O(name).
  type: list
  elements: str
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import model_servers


def model_names(variables: Mapping[str, Any], hosts: Iterable[str], name: str) -> list[str]:
    """The filter."""
    found = [served for host in hosts for served in model_servers.names(variables[host], name)]
    return list(dict.fromkeys(found)) or [name]


class FilterModule:
    """What this file offers."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"model_names": model_names}
