# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One team: what the module alone promises; how teams behave is in the cases."""

from __future__ import annotations

import pytest
from ansible_collections.private_llm.platform.plugins.modules import litellm_team
from ansible_collections.private_llm.platform.tests.unit.fakes.litellm import MASTER_KEY, FakeLitellm
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module


@pytest.fixture
def gateway():
    with FakeLitellm() as fake:
        yield fake


def run(gateway, check=False, **parameters):
    result = run_module(litellm_team.main, {"api_url": gateway.url, "api_key": MASTER_KEY, **parameters}, check=check)
    assert MASTER_KEY not in result["printed"]
    return result


def test_trap_34_a_team_that_exists_is_looked_up_and_not_made_again(gateway):
    gateway.add_team("research", team_alias="research")
    assert run(gateway, name="research")["changes"] == ["team research: marked as managed"]
    assert gateway.written("/team/new") == []


def test_trap_38_a_team_with_keys_is_not_removed(gateway):
    gateway.add_team("research")
    gateway.add_key("sk-somebodys-key-0001", key_alias="ada-1", team_id="research")
    assert "team research: cannot be removed while it has keys: ada-1" in run(gateway, name="research", state="absent")["msg"]


def test_an_absent_team_is_no_change_and_no_call_to_remove_it(gateway):
    assert not run(gateway, name="research", state="absent")["changed"]
    assert gateway.written("/team/delete") == []


def test_a_refusal_carries_status_and_the_gateways_sentence(gateway):
    gateway.answer_always("/team/new", 422, {"detail": [{"loc": ["body", "rpm_limit"], "msg": "Input should be a valid integer", "input": "x"}]})
    result = run(gateway, name="research")
    assert (result["status"], "rpm_limit: Input should be a valid integer" in result["msg"]) == (422, True)
