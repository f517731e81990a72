# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parameters that the modules for people, teams, keys and budgets share."""

from __future__ import annotations

from typing import Any

BUDGET: dict[str, Any] = {"max_budget": {"type": "float"}, "budget_duration": {"type": "str"}}
RATES: dict[str, Any] = {"rpm_limit": {"type": "int"}, "tpm_limit": {"type": "int"}}
PARALLEL: dict[str, Any] = {"max_parallel_requests": {"type": "int"}}
MODELS: dict[str, Any] = {"models": {"type": "list", "elements": "str", "default": []}}
METADATA: dict[str, Any] = {"metadata": {"type": "dict", "default": {}}}
TAKE_OVER: dict[str, Any] = {"take_over": {"type": "bool", "default": False}}


def named(*states: str) -> dict[str, Any]:
    """The name of an object and the states that it can have, the usual one first."""
    return {"name": {"type": "str", "required": True}, **state_of(*states)}


def state_of(*states: str) -> dict[str, Any]:
    """The states that an object can have, the usual one first."""
    return {"state": {"type": "str", "choices": list(states), "default": states[0]}}
