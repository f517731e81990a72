# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """A limit of a key or a budget."""

    DOCUMENTATION = r"""
options:
  max_parallel_requests:
    description: Requests at the same time.
    type: int
"""
