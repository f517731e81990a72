# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The promises of litellm_access, asked of a gateway that behaves (and misbehaves) like the real one."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import litellm_access as core
from ansible_collections.private_llm.platform.plugins.modules import litellm_access
from ansible_collections.private_llm.platform.tests.unit.fakes.litellm import MASTER_KEY, FakeLitellm
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

ADA_KEY = "sk-adas-own-key-000000000001"
ADA_NEXT_KEY = "sk-adas-own-key-000000000002"
LINUS_KEY = "sk-linus-own-key-00000000001"


@pytest.fixture
def gateway():
    with FakeLitellm() as fake:
        yield fake


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(core, "VERIFY_DELAYS", (0.0, 0.0))


def ada(value=ADA_KEY, alias="ada-1", state="present", email="ada@example.com", **fields):
    key_names = ("models", "rpm_limit", "tpm_limit", "max_parallel_requests", "metadata")
    key = {name: fields.pop(name) for name in key_names if name in fields}
    return {"name": "ada", "email": email, "state": state, "keys": [{"alias": alias, "value": value, **key}], **fields}


def linus(**fields):
    return {"name": "linus", "email": "linus@example.com", "keys": [{"alias": "linus-1", "value": LINUS_KEY}], **fields}


def access(gateway, *people, check=False, key=MASTER_KEY):
    parameters = {"api_url": gateway.url, "api_key": key, "users": list(people)}
    result = run_module(litellm_access.main, parameters, check=check)
    for secret in (ADA_KEY, ADA_NEXT_KEY, LINUS_KEY, MASTER_KEY):
        assert secret not in result["printed"]
    return result


def given(gateway, *people):
    """A gateway on which these people already have their access; the calls so far are forgotten."""
    result = access(gateway, *people)
    assert not result.get("failed"), result.get("msg")
    gateway.requests.clear()


def everybody(gateway, count):
    """That many people, all of whom already have their access."""
    people = [{"name": "p%d" % n, "keys": [{"alias": "p%d-1" % n, "value": "sk-key-of-person-%06d" % n}]} for n in range(count)]
    for person in people:
        key = person["keys"][0]
        gateway.add_user(person["name"], user_role="internal_user_viewer", metadata=mark("user_role"))
        gateway.add_key(
            key["value"], key_alias=key["alias"], user_id=person["name"], allowed_routes=["llm_api_routes"], metadata=key_mark("allowed_routes")
        )
    return people


def mark(fields):
    return {"managed_by": "private_llm.platform", "managed_fields": fields}


def key_mark(fields):
    return {**mark(",".join(sorted([*fields.split(","), "metadata.managed_key"]))), "managed_key": "default"}


# -- the plain path ------------------------------------------------------


def test_a_new_person_gets_a_user_and_a_key_with_all_limits(gateway):
    result = access(
        gateway, ada(rpm_limit=60, tpm_limit=9000, max_parallel_requests=2, models=["coder"], max_budget=20, budget_duration="30d")
    )
    assert result["changed"]
    assert result["people"] == [{"name": "ada", "state": "present", "changes": ["user made", "key ada-1 made"]}]
    key = gateway.key_of(ADA_KEY)
    assert (key["key_alias"], key["user_id"]) == ("ada-1", "ada")
    assert (key["rpm_limit"], key["tpm_limit"], key["max_parallel_requests"], key["models"]) == (60, 9000, 2, ["coder"])
    user = gateway.users["ada"]
    assert (user["max_budget"], user["budget_duration"], user["user_email"]) == (20, "30d", "ada@example.com")


def test_a_second_run_makes_no_write_call_at_all(gateway):
    given(gateway, ada(rpm_limit=60, max_budget=20, budget_duration="30d"), linus())
    result = access(gateway, ada(rpm_limit=60, max_budget=20, budget_duration="30d"), linus())
    assert not result["changed"]
    assert gateway.writes() == []
    assert result["calls"] == {"read": 3, "write": 0}


def test_check_mode_predicts_the_real_run_and_writes_nothing(gateway):
    predicted = access(gateway, ada(), linus(), check=True)
    assert gateway.writes() == []
    real = access(gateway, ada(), linus())
    assert (predicted["changed"], predicted["people"], predicted["diff"]) == (real["changed"], real["people"], real["diff"])
    assert not access(gateway, ada(), linus(), check=True)["changed"]


def test_check_mode_before_the_gateway_runs_predicts_for_an_empty_one():
    with FakeLitellm() as stopped:
        pass
    result = access(stopped, ada(), check=True)
    assert result["people"][0]["changes"] == ["user made", "key ada-1 made"]
    assert "The gateway does not run yet" in str(result["warnings"])


def test_check_mode_says_that_it_foresees_nothing_where_the_master_key_is_yet_to_come(gateway):
    result = access(gateway, ada(), check=True, key="sk-the-next-master-key-0000000001")
    assert (result["changed"], result["people"], result["summary"]) == (False, [], [])
    assert "nothing can be foreseen" in str(result["warnings"])
    assert access(gateway, ada(), key="sk-the-next-master-key-0000000001")["status"] == 401, "a real run is told"


def test_adding_a_person_leaves_all_others_untouched(gateway):
    given(gateway, ada(rpm_limit=60))
    before = dict(gateway.key_of(ADA_KEY))
    result = access(gateway, ada(rpm_limit=60), linus())
    assert gateway.key_of(ADA_KEY) == before
    assert [body["user_id"] for _path, body in gateway.writes()] == ["linus", "linus"]
    assert result["summary"][0] == "linus: user made; key linus-1 made"


def test_the_diff_shows_old_and_new_values_and_no_key(gateway):
    given(gateway, ada(rpm_limit=60))
    diff = access(gateway, ada(rpm_limit=30))["diff"]
    assert diff["before"] == {"ada": {"key ada-1": {"rpm_limit": 60}}}
    assert diff["after"] == {"ada": {"key ada-1": {"rpm_limit": 30}}}


def test_the_number_of_reads_grows_with_pages_and_not_with_people(gateway):
    people = everybody(gateway, 150)
    assert access(gateway, *people)["calls"] == {"read": 5, "write": 0}


# -- reading (traps 1 to 12) ---------------------------------------------


def test_trap_1_and_2_a_key_among_a_hundred_others_is_found_again(gateway):
    for number in range(130):
        gateway.add_key("sk-of-somebody-else-%04d" % number, key_alias="other-%d" % number)
    given(gateway, ada())
    assert not access(gateway, ada())["changed"]


def test_trap_3_an_address_that_is_part_of_another_is_another_person(gateway):
    gateway.add_user("joann", user_email="joann@example.com")
    given(gateway, ada(email="ann@example.com"))
    assert gateway.users["ada"]["user_email"] == "ann@example.com"
    assert gateway.users["joann"]["user_email"] == "joann@example.com"


def test_trap_4_and_5_nothing_is_asked_for_by_user_info(gateway):
    given(gateway, ada())
    access(gateway, ada(rpm_limit=3))
    assert {path for _method, path, _body, _headers in gateway.requests} == {"/user/list", "/key/list", "/v2/team/list", "/key/update"}


def test_trap_6_a_raw_key_is_never_part_of_an_address(gateway):
    given(gateway, ada())
    access(gateway, ada(rpm_limit=3))
    access(gateway, ada(state="absent"))
    for method, _path, fields, _headers in gateway.requests:
        if method == "GET":
            assert ADA_KEY not in str(fields)


def test_trap_6_a_known_key_is_named_by_its_hash_alone(gateway):
    given(gateway, ada())
    access(gateway, ada(rpm_limit=3))
    assert gateway.written("/key/update")[0]["key"] == hashlib.sha256(ADA_KEY.encode()).hexdigest()


def test_trap_7_defaults_of_the_server_are_no_drift():
    with FakeLitellm(defaults={"rpm_limit": 7, "budget_duration": "30d", "max_budget": 1.5, "tpm_limit": 10}) as gateway:
        given(gateway, ada())
        assert gateway.key_of(ADA_KEY)["rpm_limit"] == 7
        assert not access(gateway, ada())["changed"]
        assert gateway.writes() == []


def test_trap_7_metadata_that_the_server_adds_is_no_drift(gateway):
    given(gateway, ada(rpm_limit=5))
    gateway.key_of(ADA_KEY)["metadata"].update(rpm_limit_type="best_effort_throughput", tpm_limit_type=None)
    assert not access(gateway, ada(rpm_limit=5))["changed"]


def test_trap_8_counters_and_time_stamps_are_no_drift(gateway):
    given(gateway, ada(max_budget=20, budget_duration="30d"))
    noise = {
        "spend": 3.2,
        "last_active": "2026-11-23T10:00:00Z",
        "updated_at": "x",
        "budget_reset_at": "2026-12-01T00:00:00Z",
        "rotation_count": 1,
    }
    gateway.key_of(ADA_KEY).update(noise)
    gateway.users["ada"].update(noise)
    assert not access(gateway, ada(max_budget=20, budget_duration="30d"))["changed"]


def test_trap_9_numbers_are_compared_as_numbers(gateway):
    given(gateway, ada(max_budget=0.00008, budget_duration="30d", rpm_limit=60))
    gateway.users["ada"]["max_budget"] = 7.999999999999999e-05
    gateway.key_of(ADA_KEY)["rpm_limit"] = 60.0
    assert not access(gateway, ada(max_budget=0.00008, budget_duration="30d", rpm_limit=60))["changed"]


def test_trap_10_and_11_time_stamps_and_durations_are_neither_compared_nor_sent(gateway):
    given(gateway, ada())
    gateway.key_of(ADA_KEY).update(expires="2026-12-23T07:54:00+00:00", created_at="2026-11-23T07:54:00+00:00")
    access(gateway, ada(rpm_limit=3))
    assert all("duration" not in body and "expires" not in body for _path, body in gateway.writes())


def test_trap_12_the_gateways_own_user_is_never_reported_nor_touched(gateway):
    result = access(gateway, ada())
    assert "default_user_id" not in [entry["name"] for entry in result["unknown"]]
    assert gateway.users["default_user_id"]["metadata"] == {}


def test_the_order_of_models_says_nothing(gateway):
    given(gateway, ada(models=["small", "large"]))
    assert not access(gateway, ada(models=["large", "small"]))["changed"]


# -- writing keys (traps 13 to 28) ---------------------------------------


def test_trap_13_a_changed_limit_is_an_update_and_not_a_second_create(gateway):
    given(gateway, ada(rpm_limit=60))
    access(gateway, ada(rpm_limit=30))
    assert gateway.written("/key/generate") == []
    assert gateway.key_of(ADA_KEY)["rpm_limit"] == 30


def test_trap_13_a_value_that_the_gateway_took_without_keeping_it_is_an_error(gateway):
    given(gateway, ada(rpm_limit=60))
    gateway.lose_writes_to = ("/key/update",)
    result = access(gateway, ada(rpm_limit=30))
    assert result["failed"]
    assert "did not keep them all; this version of it may not know them. Still to do: ada: key ada-1: rpm_limit 60 -> 30" in result["msg"]


def test_trap_14_an_alias_of_somebody_else_is_a_conflict_and_nothing_is_changed(gateway):
    gateway.add_key("sk-made-by-hand-in-the-ui", key_alias="ada-1", user_id="eve")
    result = access(gateway, linus(), ada())
    assert result["failed"]
    assert "the alias ada-1 belongs to another key of the gateway (of user eve)" in result["msg"]
    assert gateway.writes() == []


@pytest.mark.parametrize("value", ["no-prefix-but-long-enough", "sk-short"])
def test_trap_15_a_key_that_the_gateway_would_refuse_is_refused_before_any_call(gateway, value):
    result = access(gateway, ada(value=value))
    assert "must start with sk- and have at least 16 characters" in result["msg"]
    assert value not in result["printed"]
    assert gateway.requests == []


def test_trap_16_the_user_is_made_before_the_key(gateway):
    access(gateway, ada())
    assert [path for path, _body in gateway.writes()] == ["/user/new", "/key/generate"]


def test_trap_17_a_misspelt_limit_is_refused_before_any_call(gateway):
    person = ada()
    person["keys"][0]["rmp_limit"] = 3
    result = access(gateway, person)
    assert result["failed"]
    assert "rmp_limit" in result["msg"]
    assert gateway.requests == []


def test_trap_17_a_number_given_as_text_is_sent_as_a_number(gateway):
    access(gateway, ada(rpm_limit="60"))
    assert gateway.key_of(ADA_KEY)["rpm_limit"] == 60


def test_trap_18_a_dropped_limit_is_cleared_by_an_explicit_null(gateway):
    given(gateway, ada(rpm_limit=60, tpm_limit=9000))
    access(gateway, ada(tpm_limit=9000))
    assert gateway.written("/key/update")[0]["rpm_limit"] is None
    assert "tpm_limit" not in gateway.written("/key/update")[0]
    assert not access(gateway, ada(tpm_limit=9000))["changed"]


def test_trap_18_a_dropped_budget_is_cleared_at_the_user(gateway):
    given(gateway, ada(max_budget=20, budget_duration="30d"))
    access(gateway, ada())
    body = gateway.written("/user/update")[0]
    assert (body["max_budget"], body["budget_duration"]) == (None, None)
    assert not access(gateway, ada())["changed"]


def test_dropped_models_are_cleared_by_an_empty_list(gateway):
    given(gateway, ada(models=["coder"]))
    access(gateway, ada())
    assert gateway.key_of(ADA_KEY)["models"] == []
    assert not access(gateway, ada())["changed"]


def test_trap_19_metadata_of_others_is_kept(gateway):
    given(gateway, ada(metadata={"cost_centre": "4711"}))
    gateway.key_of(ADA_KEY)["metadata"]["note"] = "written by somebody else"
    access(gateway, ada(metadata={"cost_centre": "4712"}))
    metadata = gateway.key_of(ADA_KEY)["metadata"]
    assert (metadata["note"], metadata["cost_centre"]) == ("written by somebody else", "4712")


def test_trap_19_dropped_metadata_goes_and_that_of_others_stays(gateway):
    given(gateway, ada(metadata={"cost_centre": "4711"}))
    gateway.key_of(ADA_KEY)["metadata"]["note"] = "written by somebody else"
    access(gateway, ada())
    metadata = gateway.key_of(ADA_KEY)["metadata"]
    assert "cost_centre" not in metadata
    assert metadata["note"] == "written by somebody else"


def test_trap_20_no_tags_are_sent_at_top_level(gateway):
    access(gateway, ada(metadata={"tags": ["a"]}))
    assert all("tags" not in body for _path, body in gateway.writes())
    assert gateway.key_of(ADA_KEY)["metadata"]["tags"] == ["a"]


def test_trap_22_no_team_is_sent_as_an_empty_string(gateway):
    given(gateway, ada())
    access(gateway, ada(rpm_limit=3))
    assert all("team_id" not in body for _path, body in gateway.writes())


def test_trap_24_a_new_generation_is_a_new_key_and_the_old_one_is_deleted(gateway):
    given(gateway, ada())
    result = access(gateway, ada(value=ADA_NEXT_KEY, alias="ada-2"))
    assert gateway.key_of(ADA_KEY) is None
    assert gateway.key_of(ADA_NEXT_KEY)["key_alias"] == "ada-2"
    assert result["people"][0]["changes"] == ["key ada-1 deleted", "key ada-2 made"]
    assert all("regenerate" not in path for path, _body in gateway.writes())


def test_an_own_key_that_changed_takes_over_the_alias(gateway):
    given(gateway, ada())
    access(gateway, ada(value=ADA_NEXT_KEY))
    assert gateway.key_of(ADA_KEY) is None
    assert gateway.key_of(ADA_NEXT_KEY)["key_alias"] == "ada-1"


def test_trap_25_deleting_what_is_not_there_is_no_change_and_no_call(gateway):
    result = access(gateway, ada(state="absent"))
    assert not result["changed"]
    assert gateway.writes() == []


def test_trap_27_a_person_who_comes_back_gets_the_same_key_again(gateway):
    given(gateway, ada())
    given(gateway, ada(state="absent"))
    result = access(gateway, ada())
    assert result["people"][0]["changes"] == ["login to the web page allowed again", "key ada-1 made"]
    assert gateway.key_of(ADA_KEY) is not None


def test_trap_28_no_output_has_a_key_even_when_the_gateway_quotes_it(gateway):
    token = hashlib.sha256(ADA_KEY.encode()).hexdigest()
    message = "bad: %s, Hash=%s" % (ADA_KEY, token)
    gateway.answer_always("/key/generate", 400, {"error": {"message": message, "type": "bad_request_error", "code": "400"}})
    result = access(gateway, ada())
    assert token not in result["printed"]
    assert result["failed"]
    assert "POST /key/generate" in result["msg"]


# -- writing users (traps 29 to 33) --------------------------------------


def test_trap_29_no_key_is_made_that_nobody_asked_for(gateway):
    access(gateway, ada())
    assert gateway.written("/user/new")[0]["auto_create_key"] is False
    assert len(gateway.keys) == 1


def test_trap_30_an_address_that_is_taken_is_a_conflict_and_nothing_is_changed(gateway):
    gateway.add_user("lovelace", user_email="ADA@example.com")
    result = access(gateway, ada())
    assert "already knows the e-mail address under the name lovelace" in result["msg"]
    assert gateway.writes() == []


def test_trap_31_an_unknown_user_is_made_by_new_and_never_by_update(gateway):
    access(gateway, ada())
    assert gateway.written("/user/update") == []


def test_trap_32_a_name_or_address_that_is_no_longer_given_is_emptied(gateway):
    given(gateway, ada(full_name="Ada Lovelace"))
    assert access(gateway, ada(email=None))["people"][0]["changes"] == ["user: user_alias Ada Lovelace -> none, user_email ada@example.com -> none"]
    assert (gateway.users["ada"]["user_email"], gateway.users["ada"]["user_alias"]) == ("", "")
    assert not access(gateway, ada(email=None))["changed"]


def test_a_name_that_was_given_at_the_gateway_is_left_as_it_is(gateway):
    given(gateway, ada())
    gateway.users["ada"]["user_alias"] = "Countess of Lovelace"
    assert not access(gateway, ada())["changed"]


def test_trap_33_who_leaves_loses_the_key_and_keeps_the_spend(gateway):
    given(gateway, ada(), linus())
    gateway.users["ada"]["spend"] = 12.5
    result = access(gateway, ada(state="absent"), linus())
    assert gateway.key_of(ADA_KEY) is None
    assert gateway.key_of(LINUS_KEY) is not None
    assert gateway.users["ada"]["spend"] == 12.5
    assert result["people"][0]["changes"] == ["key ada-1 deleted", "login to the web page ended"]
    assert gateway.written("/user/delete") == []


# -- blocking, ownership, drift ------------------------------------------


def test_a_blocked_person_keeps_the_key_blocked_and_comes_back_with_it(gateway):
    given(gateway, ada())
    assert access(gateway, ada(state="blocked"))["people"][0]["changes"] == ["key ada-1: blocked", "login to the web page ended"]
    assert gateway.key_of(ADA_KEY)["blocked"] is True
    assert not access(gateway, ada(state="blocked"))["changed"]
    assert access(gateway, ada())["people"][0]["changes"] == ["login to the web page allowed again", "key ada-1: unblocked"]
    assert not gateway.key_of(ADA_KEY)["blocked"]


def test_no_key_is_made_for_a_blocked_person(gateway):
    access(gateway, ada(state="blocked"))
    assert gateway.keys == {}


def test_access_is_taken_away_before_any_is_given(gateway):
    given(gateway, ada(), {"name": "eve", "keys": [{"alias": "eve-1", "value": "sk-eves-own-key-0000001"}]})
    access(
        gateway,
        linus(),
        ada(state="blocked"),
        {"name": "eve", "state": "absent", "keys": [{"alias": "eve-1", "value": "sk-eves-own-key-0000001"}]},
    )
    paths = [path for path, _body in gateway.writes()]
    taken = ["/key/delete", "/key/update", "/user/update", "/user/update"]
    assert (sorted(paths[:4]), paths[4:]) == (taken, ["/user/new", "/key/generate"])


def test_what_changed_in_the_admin_interface_is_put_back(gateway):
    given(gateway, ada(rpm_limit=60, max_budget=20, budget_duration="30d"))
    gateway.key_of(ADA_KEY).update(rpm_limit=6000, blocked=True, key_alias="renamed", user_id="eve")
    gateway.users["ada"]["max_budget"] = 1000000
    access(gateway, ada(rpm_limit=60, max_budget=20, budget_duration="30d"))
    key = gateway.key_of(ADA_KEY)
    assert (key["rpm_limit"], key["blocked"], key["key_alias"], key["user_id"]) == (60, False, "ada-1", "ada")
    assert gateway.users["ada"]["max_budget"] == 20


def test_what_was_not_made_here_is_reported_and_left(gateway):
    gateway.add_user("eve")
    gateway.add_key("sk-eves-own-key-made-by-hand", key_alias="by-hand", user_id="eve")
    gateway.add_key("sk-adas-second-key-by-hand", user_id="ada")
    result = access(gateway, ada())
    assert len(gateway.keys) == 3
    assert {"kind": "user", "name": "eve", "user": "eve", "made_here": False} in result["unknown"]
    assert {"kind": "key", "name": "by-hand", "user": "eve", "made_here": False} in result["unknown"]
    nameless = [entry for entry in result["unknown"] if entry["user"] == "ada"]
    assert nameless[0]["name"] == "without alias, made 2026-11-23T07:54:00"


def test_a_leaver_loses_a_key_that_was_not_made_here_too(gateway):
    given(gateway, ada(), linus())
    gateway.add_key("sk-adas-second-key-by-hand", key_alias="by-hand", user_id="ada")
    gateway.add_key("sk-a-key-of-somebody-else", key_alias="of-eve", user_id="eve")
    result = access(gateway, ada(state="absent"), linus())
    assert sorted(row["key_alias"] for row in gateway.keys.values()) == ["linus-1", "of-eve"]
    assert "ada: key ada-1 deleted; login to the web page ended; key by-hand (not made here) deleted" in result["summary"]
    assert [entry["name"] for entry in result["unknown"]] == ["of-eve"]
    assert not access(gateway, ada(state="absent"), linus())["changed"]


def test_a_key_of_somebody_else_that_was_moved_to_a_leaver_goes_back(gateway):
    given(gateway, ada(), linus())
    gateway.key_of(LINUS_KEY)["user_id"] = "ada"
    access(gateway, ada(state="absent"), linus())
    assert gateway.key_of(LINUS_KEY)["user_id"] == "linus"


def test_a_blocked_person_has_no_working_key_whoever_made_it(gateway):
    given(gateway, ada())
    gateway.add_key("sk-adas-second-key-by-hand", key_alias="by-hand", user_id="ada")
    predicted = access(gateway, ada(state="blocked"), check=True)
    result = access(gateway, ada(state="blocked"))
    assert result["people"][0]["changes"] == ["key ada-1: blocked", "login to the web page ended", "key by-hand (not made here): blocked"]
    assert (predicted["people"], predicted["diff"]) == (result["people"], result["diff"])
    assert [row["blocked"] for row in gateway.keys.values()] == [True, True]
    again = access(gateway, ada(state="blocked"))
    assert not again["changed"]
    assert [entry["name"] for entry in again["unknown"]] == ["by-hand"]


def test_a_key_that_was_not_made_here_stays_blocked_when_its_person_comes_back(gateway):
    given(gateway, ada())
    gateway.add_key("sk-adas-second-key-by-hand", key_alias="by-hand", user_id="ada", blocked=True)
    assert not access(gateway, ada())["changed"]


def test_a_key_may_ask_models_alone_and_its_user_may_not_make_keys(gateway):
    access(gateway, ada())
    assert gateway.key_of(ADA_KEY)["allowed_routes"] == ["llm_api_routes"]
    assert gateway.users["ada"]["user_role"] == "internal_user_viewer"


def test_a_key_and_a_user_from_before_this_rule_are_brought_under_it(gateway):
    gateway.add_user("ada", user_email="ada@example.com", metadata=mark("user_email"))
    gateway.add_key(ADA_KEY, key_alias="ada-1", user_id="ada", metadata=mark(""))
    result = access(gateway, ada())
    assert result["people"][0]["changes"] == [
        "user: user_role none -> internal_user_viewer",
        "key ada-1: allowed_routes none -> llm_api_routes",
    ]
    assert gateway.written("/key/generate") == []
    assert not access(gateway, ada())["changed"]


def test_wider_rights_given_at_the_gateway_are_taken_back(gateway):
    given(gateway, ada())
    gateway.key_of(ADA_KEY)["allowed_routes"] = ["llm_api_routes", "management_routes"]
    gateway.users["ada"]["user_role"] = "proxy_admin"
    access(gateway, ada())
    assert gateway.key_of(ADA_KEY)["allowed_routes"] == ["llm_api_routes"]
    assert gateway.users["ada"]["user_role"] == "internal_user_viewer"


def test_somebody_dropped_from_the_list_is_a_warning_and_keeps_the_key(gateway):
    given(gateway, ada(), linus())
    result = access(gateway, ada())
    assert gateway.key_of(LINUS_KEY) is not None
    assert "No longer in the list, but their keys still work: linus" in str(result["warnings"])
    assert {"kind": "user", "name": "linus", "user": "linus", "made_here": True} in result["unknown"]


def test_a_key_whose_mark_was_lost_is_still_deleted_when_its_person_leaves(gateway):
    given(gateway, ada())
    gateway.key_of(ADA_KEY)["metadata"] = {}
    access(gateway, ada(state="absent"))
    assert gateway.key_of(ADA_KEY) is None


def test_a_run_that_died_half_way_is_finished_by_the_next(gateway):
    gateway.answer_always("/key/generate", 500, {"error": {"message": "boom", "type": "internal_server_error", "code": "500"}})
    result = access(gateway, ada())
    assert "POST /key/generate" in result["msg"] and "500 (internal_server_error): boom Another run does what is left." in result["msg"]
    gateway.overrides.clear()
    result = access(gateway, ada())
    assert result["people"][0]["changes"] == ["key ada-1 made"]
    assert not access(gateway, ada())["changed"]


def test_many_leavers_are_deleted_in_few_calls(gateway):
    people = everybody(gateway, 120)
    access(gateway, *[dict(person, state="absent") for person in people])
    assert len(gateway.written("/key/delete")) == 2
    assert gateway.keys == {}


# -- bad input -----------------------------------------------------------


def test_every_problem_of_the_list_is_named_at_once_and_nothing_is_called(gateway):
    result = access(
        gateway,
        ada(),
        ada(),
        {"name": "bob", "email": "Ada@example.com", "budget_duration": "30d", "keys": [{"alias": "ada-1", "value": ADA_KEY}]},
    )
    for sentence in (
        "5 problem(s), nothing was changed",
        "ada: is in the list twice.",
        "bob: has the same e-mail address as ada.",
        "bob: has the same key alias as ada.",
        "bob: has the same key value as ada.",
        "bob: budget_duration means nothing without max_budget.",
    ):
        assert sentence in result["msg"]
    assert gateway.requests == []


def test_a_wrong_master_key_is_one_sentence(gateway):
    result = access(gateway, ada(), key="sk-some-wrong-master-key")
    assert result["failed"]
    assert "api_key must be the gateway's master key" in result["msg"]
    assert "sk-some-wrong-master-key" not in result["printed"]


def test_the_master_key_travels_in_a_header_only(gateway):
    access(gateway, ada())
    for _method, path, fields, headers in gateway.requests:
        assert headers["Authorization"] == "Bearer " + MASTER_KEY
        assert MASTER_KEY not in path + str(fields)


def test_a_key_that_somebody_wrote_into_another_field_is_masked(gateway):
    result = access(gateway, ada(alias=ADA_KEY))
    assert result["changed"]
    assert "********" in result["summary"][0]


def test_nothing_of_the_parameters_is_returned_but_the_address(gateway):
    assert access(gateway, ada())["invocation"] == {"module_args": {"api_url": gateway.url}}


def test_a_name_that_is_not_in_the_list_is_refused_before_any_call_with_a_near_one(gateway):
    result = run_module(litellm_access.main, {"api_url": gateway.url, "api_key": MASTER_KEY, "users": [ada(), linus()], "only": ["adda"]})
    assert "only: nobody in the list is called adda; did you mean ada?" in result["msg"]
    assert gateway.requests == []


def test_a_limit_above_the_teams_is_refused_where_the_gateway_would(gateway):
    person = ada(rpm_limit=60, tpm_limit=10)
    person["teams"] = [{"name": "research"}]
    person["keys"][0]["team"] = "research"
    teams = [{"name": "research", "rpm_limit": 50}]
    result = run_module(litellm_access.main, {"api_url": gateway.url, "api_key": MASTER_KEY, "users": [person], "teams": teams})
    assert "ada: rpm_limit 60 of key ada-1 is more than the 50 of its team research." in result["msg"]
    assert gateway.requests == []


# -- what a failed run tells ----------------------------------------------


def test_a_run_that_fails_half_way_tells_what_it_did_and_what_the_gateway_said(gateway):
    given(gateway, linus())
    gateway.answer_always("/key/generate", 403, {"error": {"message": "not for you", "type": "auth_error", "code": "403"}})
    result = access(gateway, ada(), linus(state="blocked"))
    assert (result["failed"], result["changed"], result["status"], result["error_type"]) == (True, True, 403, "auth_error")
    assert result["people"] == [
        {"name": "ada", "state": "present", "changes": ["user made"]},
        {"name": "linus", "state": "blocked", "changes": ["key linus-1: blocked", "login to the web page ended"]},
    ]
    assert result["summary"] == ["ada: user made", "linus: key linus-1: blocked; login to the web page ended"]
    assert result["diff"]["after"]["linus"]["key linus-1"] == {"blocked": True}
    assert result["calls"]["write"] == 4


def test_users_that_were_made_together_are_told_one_by_one_when_the_run_fails(gateway):
    gateway.add_user("p1", user_email="x@example.com")
    gateway.answer_always("/user/new", 403, {"error": {"message": "no", "type": "auth_error", "code": "403"}})
    gateway.answer_always("/key/generate", 403, {"error": {"message": "no", "type": "auth_error", "code": "403"}})
    people = [{"name": "p%d" % number, "keys": [{"alias": "p%d-1" % number, "value": "sk-key-of-person-%06d" % number}]} for number in range(5)]
    result = access(gateway, *people)
    assert [(person["name"], person["changes"][0]) for person in result["people"] if "user made" in person["changes"]] == [
        ("p%d" % number, "user made") for number in (0, 2, 3, 4)
    ]


def test_a_run_that_never_reached_the_gateway_says_that_nothing_changed(gateway):
    result = access(gateway, ada(), key="sk-some-wrong-master-key")
    assert (result["changed"], result["people"], result["status"]) == (False, [], 401)


def test_a_password_that_ends_a_login_is_long_and_new_and_never_shown(gateway):
    given(gateway, ada(), linus())
    result = access(gateway, ada(state="absent"), linus(state="blocked"))
    passwords = [body["password"] for body in gateway.written("/user/update") if "password" in body]
    assert len(set(passwords)) == 2 and min(map(len, passwords)) > 60
    assert not [password for password in passwords if password in result["printed"]]


def test_trap_23_a_key_with_a_budget_keeps_its_period_when_another_limit_changes(gateway):
    person = ada(rpm_limit=3)
    person["keys"][0].update(max_budget=2, budget_duration="30d")
    given(gateway, person)
    person["keys"][0]["rpm_limit"] = 5
    access(gateway, person)
    assert set(gateway.written("/key/update")[0]) == {"key", "rpm_limit"}
    key = gateway.key_of(ADA_KEY)
    assert (key["rpm_limit"], key["max_budget"], key["budget_duration"]) == (5, 2, "30d")


def test_an_older_gateway_that_asks_for_the_period_again_is_a_sentence_and_not_a_loop(gateway):
    given(gateway, ada(rpm_limit=3))
    gateway.answer_always("/key/update", 400, {"error": {"message": "budget_duration is missing", "type": "bad_request_error", "code": "400"}})
    result = access(gateway, ada(rpm_limit=5))
    assert result["failed"] and "400 (bad_request_error): budget_duration is missing" in result["msg"]
