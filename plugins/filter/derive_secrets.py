# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: derive_secrets
short_description: Derive every secret of the platform
version_added: 0.2.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Gives each secret that the platform's own programs show each other, by its name. Keys of people, and of model servers on further ports, are not among
    them.
  - What data was written with is derived from O(kept_root_secret), everything else from the root secret.
positional: kept_root_secret, numbers
options:
  _input:
    description: The root secret, at least 32 characters.
    type: str
    required: true
  kept_root_secret:
    description: The root secret of the first run.
    type: str
    required: true
  numbers:
    description: Names and numbers of the secrets that have been changed alone, C(platform_secret_numbers) in an inventory.
    type: dict
    default: {}
seealso:
  - plugin: private_llm.platform.derive_secret
    plugin_type: filter
"""

EXAMPLES = r"""
# The second password of Valkey
valkey_password: "{{ (platform_root_secret | private_llm.platform.derive_secrets(platform_root_secret, {'valkey/langfuse': 2}))['valkey/langfuse'] }}"
"""

RETURN = r"""
_value:
  description: The secrets by name.
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.module_utils import platform_secrets
from ansible_collections.private_llm.platform.plugins.module_utils.inventory_checks import decrypted


def all_secrets(root_secret: Any, kept_root_secret: Any, numbers: Any = None) -> dict[str, str]:
    """The filter."""
    try:
        return platform_secrets.all_secrets(decrypted(root_secret), decrypted(kept_root_secret), {} if numbers is None else numbers)
    except ValueError as error:
        raise AnsibleFilterError("derive_secrets: %s" % error) from None


class FilterModule:
    """What this file offers."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Each filter by its name."""
        return {"derive_secrets": all_secrets}
