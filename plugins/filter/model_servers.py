# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: model_servers
short_description: Tell which model servers a host runs
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Takes a host's variables and gives a dictionary for each model server that it runs, with all that the roles C(llama_model) and C(llama_server)
    and the gateway need to know of it.
  - There is one for each entry of C(llm_models). Without that list there is one, called O(name), made of the roles' own variables.
  - The whole list is checked first, and every problem is named at once.
positional: defaults, name, prices
options:
  _input:
    description: The host's variables, such as C(hostvars[inventory_hostname]).
    type: dict
    required: true
  defaults:
    description: The roles' defaults for what the host does not say.
    type: dict
    required: true
  name:
    description: The model's name where there is no list.
    type: str
    required: true
  prices:
    description: C(input_price) and C(output_price), dollars for a million tokens, for entries without their own.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the model servers of this host
  ansible.builtin.debug:
    msg: "{{ hostvars[inventory_hostname] | private_llm.platform.model_servers(role_defaults, 'qwen3-coder', prices) }}"
  vars:
    prices: {input_price: 0.1, output_price: 0.4}
    role_defaults:
      llama_model_directory: /var/lib/llama/models
      llama_model_url: https://models.example.com/model.gguf
      llama_model_sha256: 3f8c0f0f0d1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4
      llama_model_parts_sha256: []
      llama_server_gpus: []
      llama_server_gpu_memory: 0
      llama_server_slots: 0
      llama_server_context_per_slot: 0
      llama_server_people: 20
      llama_server_cache_ram: 8192
      llama_server_extra_arguments: []
"""

RETURN = r"""
_value:
  description:
    - The servers, each with C(name), C(unit), C(port), C(state), C(url), C(sha256), C(parts_sha256), C(file), C(files), C(path), C(gpus), C(gpu_memory),
      C(slots), C(context_per_slot), C(people), C(cache_ram), C(extra_arguments), C(input_price) and C(output_price).
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.module_utils import model_servers


def of_host(variables: Any, defaults: Mapping[str, Any], name: str, prices: Mapping[str, float]) -> list[dict[str, Any]]:
    """The filter."""
    if not isinstance(variables, Mapping):
        raise AnsibleFilterError("model_servers needs a host's variables, such as hostvars[inventory_hostname].")
    try:
        return model_servers.servers(variables, defaults, name, prices)
    except model_servers.ModelsError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What this file offers."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"model_servers": of_host}
