# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How much a team, a user, a key or a budget may use."""

    DOCUMENTATION = r"""
options:
  max_budget:
    description: What may be spent in a period, in the currency of the model prices.
    type: float
  budget_duration:
    description: Period after which the budget starts anew, such as V(30d).
    type: str
  rpm_limit:
    description: Requests a minute.
    type: int
  tpm_limit:
    description: Tokens a minute.
    type: int
"""
