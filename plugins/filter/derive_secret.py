# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: derive_secret
short_description: Derive a secret from the root secret and a label
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Gives the same alphanumeric secret for the same root secret, label and length, and an unrelated one for any other label.
  - So one root secret is all that has to be kept; every other secret of the platform follows from it.
  - Uses HKDF with SHA-256 (RFC 5869) and draws the characters without bias.
positional: label, length, number
options:
  _input:
    description: The root secret, at least 32 characters, best 48 random bytes in base64.
    type: str
    required: true
  label:
    description: What the secret is for. Two secrets with different labels say nothing about each other.
    type: str
    required: true
  length:
    description: Number of characters.
    type: int
    default: 40
  number:
    description: Which secret of that label. The next number gives an unrelated one, for when a secret was seen.
    type: int
    default: 1
    version_added: 0.2.0
"""

EXAMPLES = r"""
# The gateway's master key
litellm_master_key: "{{ 'sk-' ~ (platform_root_secret | private_llm.platform.derive_secret('litellm/master-key')) }}"

# A longer one
some_password: "{{ platform_root_secret | private_llm.platform.derive_secret('postgres/litellm', 64) }}"
"""

RETURN = r"""
_value:
  description: The secret, letters and digits only.
  type: str
"""

from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.module_utils import hkdf
from ansible_collections.private_llm.platform.plugins.module_utils.inventory_checks import decrypted


def derive_secret(root_secret: Any, label: str, length: int = 40, number: int = 1) -> str:
    try:
        return hkdf.derive_secret(decrypted(root_secret), label, int(length), int(number))
    except ValueError as error:
        raise AnsibleFilterError("derive_secret: %s" % error) from None


class FilterModule:
    """Secrets from one root secret."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"derive_secret": derive_secret}
