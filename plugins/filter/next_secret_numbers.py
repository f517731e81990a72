# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: next_secret_numbers
short_description: Count up the number of one of the platform's secrets
version_added: 0.2.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Gives what an inventory has to say in C(platform_secret_numbers) for the next secret of a name to be in use.
  - Fails for a name that is no secret of the platform, and for one of which there can be no next.
positional: name
options:
  _input:
    description: The numbers as they are.
    type: dict
    required: true
  name:
    description: Name of the secret, such as V(valkey/langfuse).
    type: str
    required: true
seealso:
  - plugin: private_llm.platform.derive_secrets
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what the inventory has to say
  ansible.builtin.debug:
    msg: "{{ {} | private_llm.platform.next_secret_numbers('valkey/langfuse') }}"
"""

RETURN = r"""
_value:
  description: The numbers by name.
  type: dict
  sample: {"valkey/langfuse": 2}
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.module_utils import platform_secrets


def next_secret_numbers(numbers: Any, name: str) -> dict[str, int]:
    """The filter."""
    try:
        return platform_secrets.with_next(numbers, name)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """What this file offers."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Each filter by its name."""
        return {"next_secret_numbers": next_secret_numbers}
