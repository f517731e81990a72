# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What has metadata, and with it a mark of who manages it."""

    DOCUMENTATION = r"""
options:
  metadata:
    description: Further facts to keep with it. What others wrote there is kept.
    type: dict
    default: {}
  take_over:
    description:
      - Takes the object over when it was made by M(private_llm.platform.litellm_access), out of its list. Take it out of that list, too.
      - Without it, such an object is an error and nothing is changed.
    type: bool
    default: false
"""
