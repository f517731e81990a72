# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What every module speaking to the gateway has in common."""

    DOCUMENTATION = r"""
options:
  api_url:
    description: Address of the gateway as seen from the host on which the module runs, such as V(http://127.0.0.1:4000).
    type: str
    required: true
  api_key:
    description: The gateway's master key.
    type: str
    required: true
  api_timeout:
    description: Seconds to wait for one answer.
    type: int
    default: 60
  validate_certs:
    description: Whether the certificate of an C(https) address must be valid.
    type: bool
    default: true
  ca_path:
    description: File with the certificates of the authorities to trust, in PEM format.
    type: path
notes:
  - Speaks to the gateway's management API. A proxy from the environment is never used.
"""
