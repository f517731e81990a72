# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One user: what the module alone promises; how users behave is in the cases."""

from __future__ import annotations

import pytest
from ansible_collections.private_llm.platform.plugins.modules import litellm_user
from ansible_collections.private_llm.platform.tests.unit.fakes.litellm import MASTER_KEY, FakeLitellm
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module


@pytest.fixture
def gateway():
    with FakeLitellm() as fake:
        yield fake


def run(gateway, check=False, **parameters):
    result = run_module(litellm_user.main, {"api_url": gateway.url, "api_key": MASTER_KEY, **parameters}, check=check)
    assert MASTER_KEY not in result["printed"]
    return result


def test_a_user_costs_few_calls_however_many_others_there_are(gateway):
    for number in range(500):
        gateway.add_user("ada-%d" % number)
    assert run(gateway, name="ada", email="ada@example.com")["calls"] == {"read": 5, "write": 1}


def test_trap_3_an_address_that_contains_this_one_is_somebody_elses(gateway):
    gateway.add_user("joann", user_email="joann@example.com")
    assert run(gateway, name="ann", email="ann@example.com")["changes"] == ["user made"]


def test_trap_33_an_absent_user_keeps_the_row_unless_it_is_purged(gateway):
    gateway.add_user("ada", spend=12.5)
    gateway.add_key("sk-adas-key-000000001", key_alias="ada-1", user_id="ada")
    run(gateway, name="ada", state="absent")
    assert (gateway.users["ada"]["spend"], gateway.keys) == (12.5, {})
    assert run(gateway, name="ada", state="absent", purge=True)["changes"] == ["user removed"]
    assert "ada" not in gateway.users


def test_trap_36_a_budget_in_a_team_that_is_dropped_is_cleared_and_not_zero(gateway):
    gateway.add_team("research")
    run(gateway, name="ada", teams=["research"], team_max_budget=5, team_budget_duration="30d")
    run(gateway, name="ada", teams=["research"])
    assert gateway.written("/team/member_update")[-1] == {
        "team_id": "research", "user_id": "ada", "max_budget_in_team": None, "budget_duration": None,
    }  # fmt: skip


def test_trap_37_teams_that_are_not_given_are_left_alone(gateway):
    gateway.add_team("research")
    run(gateway, name="ada", teams=["research"])
    run(gateway, name="ada", rpm_limit=5)
    assert ("research", "ada") in gateway.memberships


def test_a_team_that_does_not_exist_is_refused(gateway):
    assert "there is no team research" in run(gateway, name="ada", teams=["research"])["msg"]
    assert "ada" not in gateway.users
