# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One key: what the module alone promises; how keys behave is in the cases."""

from __future__ import annotations

import pytest
from ansible_collections.private_llm.platform.plugins.modules import litellm_key
from ansible_collections.private_llm.platform.tests.unit.fakes.litellm import MASTER_KEY, FakeLitellm
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module


@pytest.fixture
def gateway():
    with FakeLitellm() as fake:
        yield fake


def run(gateway, check=False, **parameters):
    result = run_module(litellm_key.main, {"api_url": gateway.url, "api_key": MASTER_KEY, **parameters}, check=check)
    assert MASTER_KEY not in result["printed"]
    return result


VALUE = "sk-the-value-of-the-key-01"


def test_a_key_without_a_value_can_only_be_deleted(gateway):
    assert "value" in run(gateway, alias="build")["msg"]
    assert not run(gateway, alias="build", state="absent")["changed"]


def test_a_key_is_deleted_by_its_alias_alone(gateway):
    run(gateway, alias="build", value=VALUE)
    assert run(gateway, alias="build", state="absent")["changes"] == ["key build deleted"]
    assert gateway.keys == {}


def test_the_alias_of_a_key_that_was_not_made_here_is_a_conflict(gateway):
    gateway.add_key("sk-made-by-hand-000001", key_alias="build", user_id="eve")
    assert "the alias build belongs to another key of the gateway (of user eve)" in run(gateway, alias="build", value=VALUE)["msg"]


@pytest.mark.parametrize("name, value, sentence", [("grace", "long", "grace must be a time"), ("expires", "soon", "expires must be a date")])
def test_a_time_that_is_none_is_refused_before_any_call(gateway, name, value, sentence):
    assert sentence in run(gateway, alias="build", value=VALUE, **{name: value})["msg"]
    assert gateway.requests == []


@pytest.mark.parametrize("kind", ["user", "team", "budget"])
def test_trap_16_a_key_of_what_does_not_exist_is_refused(gateway, kind):
    assert "names the %s nowhere, which does not exist" % kind in run(gateway, alias="build", value=VALUE, **{kind: "nowhere"})["msg"]
    assert gateway.keys == {}


def test_no_result_has_the_key_or_its_hash(gateway):
    for parameters in ({"value": VALUE}, {"value": VALUE, "rpm_limit": 3}, {"state": "absent"}):
        printed = run(gateway, alias="build", **parameters)["printed"]
        assert VALUE not in printed
        assert "sha256" not in printed and not any(token in printed for token in gateway.keys)
