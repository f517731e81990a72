# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One shared budget: what the module alone promises; how budgets behave is in the cases."""

from __future__ import annotations

import pytest
from ansible_collections.private_llm.platform.plugins.modules import litellm_budget
from ansible_collections.private_llm.platform.tests.unit.fakes.litellm import MASTER_KEY, FakeLitellm
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module


@pytest.fixture
def gateway():
    with FakeLitellm() as fake:
        yield fake


def run(gateway, check=False, **parameters):
    result = run_module(litellm_budget.main, {"api_url": gateway.url, "api_key": MASTER_KEY, **parameters}, check=check)
    assert MASTER_KEY not in result["printed"]
    return result


def test_a_budget_costs_few_calls_however_many_others_there_are(gateway):
    for number in range(300):
        gateway.post_budget_new({"budget_id": "b%d" % number, "max_budget": 1})
    assert run(gateway, name="trainee", max_budget=2, budget_duration="7d")["calls"] == {"read": 2, "write": 1}


def test_trap_39_an_absent_budget_is_not_asked_to_be_deleted(gateway):
    assert not run(gateway, name="trainee", state="absent")["changed"]
    assert gateway.writes_to("/budget/") == []


def test_trap_40_a_budget_that_keys_have_is_not_removed(gateway):
    run(gateway, name="trainee", max_budget=2, budget_duration="7d")
    gateway.add_key("sk-somebodys-key-0001", key_alias="ada-1", budget_id="trainee")
    assert "budget trainee: cannot be removed while keys have it: ada-1" in run(gateway, name="trainee", state="absent")["msg"]


def test_a_period_without_a_budget_is_refused_before_any_call(gateway):
    assert run(gateway, name="trainee", budget_duration="7d")["msg"] == "trainee: budget_duration means nothing without max_budget."
    assert gateway.requests == []


def test_an_older_gateway_that_drops_a_limit_is_told_of(gateway):
    gateway.dropped_fields = ("soft_budget",)
    assert "this version of it may not know them" in run(gateway, name="trainee", max_budget=2, soft_budget=1)["msg"]
