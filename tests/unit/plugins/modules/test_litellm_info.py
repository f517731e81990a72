# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The promises of litellm_info, asked of a gateway with the real one's envelopes and pages."""

from __future__ import annotations

import datetime
import hashlib

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import litellm_usage
from ansible_collections.private_llm.platform.plugins.modules import litellm_info
from ansible_collections.private_llm.platform.tests.unit.fakes.litellm import MASTER_KEY, proxy_error
from ansible_collections.private_llm.platform.tests.unit.fakes.litellm_usage import FakeWithUsage
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

ADA_KEY = "sk-adas-own-key-000000000001"
GRACE_KEY = "sk-graces-own-key-0000000001"
NOW = datetime.datetime(2026, 11, 25, 14, 35, tzinfo=datetime.UTC)


def hash_of(key):
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture(autouse=True)
def today(monkeypatch):
    monkeypatch.setattr(litellm_info, "now", lambda: NOW)


@pytest.fixture
def gateway():
    with FakeWithUsage() as fake:
        fake.add_team("research", team_alias="Research", max_budget=100.0, budget_duration="30d", spend=1.5)
        fake.memberships["research", "ada"] = None
        fake.add_user("ada", user_alias="Ada", user_email="ada@example.com", max_budget=20.0, budget_duration="30d", spend=1.25)
        fake.users["ada"]["budget_reset_at"] = "2026-12-01T00:00:00Z"
        fake.add_user("grace")
        fake.add_key(ADA_KEY, key_alias="ada-1", user_id="ada", team_id="research", rpm_limit=60)
        fake.key_of(ADA_KEY).update(last_active="2026-11-25T14:15:41.581000Z", expires="2027-01-01T00:00:00+00:00")
        fake.add_key(GRACE_KEY, key_alias="grace-1", user_id="grace", blocked=True)
        yield fake


def info(gateway, **parameters):
    result = run_module(litellm_info.main, {"api_url": gateway.url, "api_key": MASTER_KEY, **parameters})
    for secret in (ADA_KEY, GRACE_KEY, MASTER_KEY, "sk-..."):
        assert secret not in result["printed"]
    return result


def by(rows, field):
    return {row[field]: row for row in rows}


def test_users_teams_and_keys_are_told_with_budget_left_expiry_and_last_use(gateway):
    result = info(gateway, key_hashes=True)
    ada, team, key = by(result["users"], "name")["ada"], result["teams"][0], by(result["keys"], "alias")["ada-1"]
    assert not result["changed"]
    assert (ada["budget_left"], ada["budget_reset_at"], ada["teams"], ada["keys"]) == (18.75, "2026-12-01T00:00:00Z", ["research"], 1)
    assert (team["id"], team["budget_left"], team["members"], team["keys"]) == ("research", 98.5, ["ada"], 1)
    assert (key["hash"], key["expires"], key["rpm_limit"], key["state"]) == (hash_of(ADA_KEY), "2027-01-01T00:00:00Z", 60, "active")
    assert {ada["last_used"], team["last_used"], key["last_used"]} == {"2026-11-25T14:15:41Z"}


def test_without_a_period_no_report_is_read_and_no_usage_told(gateway):
    result = info(gateway)
    assert (result["since"], result["until"], result["total"]) == (None, None, None)
    assert {row["usage"] for row in [*result["users"], *result["teams"], *result["keys"]]} == {None}
    assert not [path for _method, path, _query, _headers in gateway.requests if "activity" in path]


def test_nothing_is_ever_written(gateway):
    info(gateway, period="this_month")
    assert gateway.writes() == []


def test_a_person_is_active_blocked_expired_or_without_key_by_their_keys(gateway):
    gateway.add_user("linus")
    gateway.add_user("radia")
    gateway.add_key("sk-radias-own-key-0000001", key_alias="radia-1", user_id="radia", expires="2026-11-01T00:00:00Z")
    states = {row["name"]: row["state"] for row in info(gateway)["users"]}
    assert states == {"ada": "active", "grace": "blocked", "linus": "no_key", "radia": "expired", "default_user_id": "administrator"}


def test_the_usage_of_a_period_is_told_for_person_team_key_and_all(gateway):
    gateway.use(hash_of(ADA_KEY), "ada", "research")
    gateway.use(hash_of(ADA_KEY), "ada", "research", spend=0.0, tokens=(0, 0), failed=True)
    gateway.use(hash_of(ADA_KEY), "ada", "research", day="2026-10-31")
    gateway.use(hash_of(GRACE_KEY), "grace", spend=0.25)
    result = info(gateway, period="this_month")
    expected = {"spend": 0.5, "requests": 2, "successful_requests": 1, "failed_requests": 1}
    expected.update(prompt_tokens=10, completion_tokens=5, total_tokens=15)
    assert (result["since"], result["until"]) == ("2026-11-01", "2026-11-25")
    assert by(result["users"], "name")["ada"]["usage"] == expected
    assert by(result["teams"], "id")["research"]["usage"] == expected
    assert by(result["keys"], "alias")["ada-1"]["usage"] == expected
    assert by(result["teams"], "id")[None]["state"] == "no_team"
    assert (result["total"]["spend"], result["total"]["requests"]) == (0.75, 3)


def test_no_hash_of_a_key_is_told_unless_it_is_asked_for(gateway):
    gateway.add_key("sk-a-key-without-an-alias-01", user_id="ada")
    gateway.use(hash_of("sk-of-somebody-who-left-01"), "barbara")
    result = info(gateway, period="today")
    assert not [token for token in (*gateway.keys, hash_of("sk-of-somebody-who-left-01")) if token in result["printed"]]
    assert all("hash" not in key for key in result["keys"])
    assert "without alias, made 2026-11-23T07:54:00" in [key["label"] for key in result["keys"]]


def test_who_is_gone_is_told_with_what_they_used(gateway):
    gone = hash_of("sk-of-somebody-who-left-01")
    gateway.use(gone, "barbara", "closed")
    result = info(gateway, period="today", key_hashes=True)
    assert by(result["users"], "name")["barbara"]["state"] == "deleted"
    assert by(result["teams"], "id")["closed"]["state"] == "deleted"
    assert by(result["keys"], "hash")[gone]["state"] == "deleted"
    assert by(result["users"], "name")["barbara"]["usage"]["requests"] == 1


def test_what_the_administrator_asked_with_the_master_key_is_told_apart(gateway):
    gateway.use("litellm_proxy_master_key", "default_user_id")
    keys = info(gateway, period="today", key_hashes=True)["keys"]
    assert [(key["hash"], key["user"]) for key in keys if key["state"] == "master"] == [(None, "default_user_id")]


def test_a_thousand_people_take_a_call_for_each_hundred_of_each_kind(gateway):
    for number in range(1000):
        name = "p%04d" % number
        gateway.add_user(name)
        gateway.add_key("sk-key-of-person-%06d" % number, key_alias=name, user_id=name)
        gateway.use(hash_of("sk-key-of-person-%06d" % number), name)
    result = info(gateway, period="today")
    assert (len(result["users"]), result["total"]["requests"]) == (1003, 1000)
    assert result["calls"] == {"read": 11 + 11 + 10 + 10 + 1 + 1, "write": 0}


def test_only_what_is_asked_for_is_read(gateway):
    result = info(gateway, gather=["keys"], period="today")
    assert "users" not in result and "teams" not in result
    assert {path for _method, path, _query, _headers in gateway.requests} == {"/key/list", "/user/daily/activity/aggregated/keys"}


def test_rows_that_move_between_pages_are_read_again_until_none_is_missing(gateway):
    for number in range(150):
        gateway.use("%064x" % number, "ada", spend=1.0 + number)
    honest, calls = gateway.get_user_daily_activity_aggregated_keys, []

    def moving(query):
        calls.append(query)
        if len(calls) == 2:
            # While the second page is read, its first row overtakes the last one of the first.
            gateway.use("%064x" % 49, "ada", spend=1000.0)
        return honest(query)

    gateway.get_user_daily_activity_aggregated_keys = moving
    assert len([key for key in info(gateway, gather=["keys"], period="today")["keys"] if key["usage"]["requests"]]) == 150
    assert len(calls) == 4


@pytest.mark.parametrize(
    "parameters, sentence",
    [
        ({"period": "fortnight"}, "period must be today, yesterday"),
        ({"since": "25.11.2026"}, "since must be a day such as 2026-11-25"),
        ({"until": "2026-11-01"}, "until needs since"),
        ({"since": "2026-11-02", "until": "2026-11-01"}, "ends on 2026-11-01, before it starts"),
        ({"since": "2025-01-01", "until": "2026-11-01"}, "at most 400"),
        ({"period": "500d"}, "at most 400"),
    ],
)
def test_a_period_that_makes_no_sense_is_refused_before_any_call(gateway, parameters, sentence):
    result = info(gateway, **parameters)
    assert result["failed"] and sentence in result["msg"]
    assert gateway.requests == []


def test_a_gateway_too_old_for_reports_is_named(gateway):
    path = "/user/daily/activity/aggregated/keys"
    gateway.answer_once(path, 404, {"detail": "Not Found"})
    result = info(gateway, period="today")
    assert result["failed"] and "too old" in result["msg"] and path in result["msg"]


@pytest.mark.parametrize(
    "status, body, sentence",
    [
        (200, b"<html>welcome</html>", "web page"),
        (200, {"surprise": []}, "a shape that this module does not know"),
        (500, proxy_error(500, "broken for %s" % ADA_KEY, "internal_server_error").body, "500"),
    ],
)
def test_an_answer_that_is_none_is_a_sentence_without_a_key(gateway, status, body, sentence):
    for _attempt in range(3):
        gateway.answer_once("/team/daily/activity/aggregated", status, body)
    result = info(gateway, gather=["teams"], period="today")
    assert result["failed"] and sentence in result["msg"]


def test_a_wrong_key_is_a_sentence(gateway):
    result = run_module(litellm_info.main, {"api_url": gateway.url, "api_key": "sk-not-the-master-key"})
    assert result["failed"] and "must be the gateway's master key" in result["msg"]


@pytest.mark.parametrize(
    "name, since, until",
    [
        ("today", "2026-11-25", "2026-11-25"),
        ("yesterday", "2026-11-24", "2026-11-24"),
        ("this_week", "2026-11-23", "2026-11-25"),
        ("last_week", "2026-11-16", "2026-11-22"),
        ("this_month", "2026-11-01", "2026-11-25"),
        ("last_month", "2026-10-01", "2026-10-31"),
        ("this_year", "2026-01-01", "2026-11-25"),
        ("30d", "2026-10-27", "2026-11-25"),
    ],
)
def test_a_named_period_means_these_days(name, since, until):
    period = litellm_usage.named_period(name, NOW.date())
    assert (period.since.isoformat(), period.until.isoformat()) == (since, until)


def test_last_month_of_january_and_march_end_where_they_should():
    assert str(litellm_usage.named_period("last_month", datetime.date(2027, 1, 31)).since) == "2026-12-01"
    assert str(litellm_usage.named_period("last_month", datetime.date(2028, 3, 31)).until) == "2028-02-29"
