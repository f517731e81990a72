"""Whoever is in the list gets in with the key of the hand-out, within the limits of the list; whoever is not, does not."""

from __future__ import annotations

import datetime
import re
import shutil
import stat
import time

import pytest
from access_runs import MASTER_KEY, PEOPLE, SCENARIO, SETTINGS, Outcome, Run, hand_outs, users_playbook

# People whom a test adds; they leave again after it.
NEWCOMERS = ("barbara", "radia", "edith")
TEAM = {"name": "research", "models": ["canned"]}
CHAT = {"model": "canned", "messages": [{"role": "user", "content": "Hello?"}]}


def key_of(name):
    return (hand_outs() / name / "key").read_text().strip()


def ask(outside, key, **more):
    return outside.request(4000, "/v1/chat/completions", key=key, body={**CHAT, **more})


def kind_of(answer):
    return answer.status, answer.json()["error"]["type"]


def keys_at_the_gateway(outside):
    """All that the gateway knows of each key, without what changes by itself."""
    answer = outside.request(4000, "/key/list?return_full_object=true&size=100", key=MASTER_KEY).json()
    moving = ("spend", "total_spend", "last_active", "updated_at", "budget_reset_at")
    return {row["key_alias"]: {name: value for name, value in row.items() if name not in moving} for row in answer["keys"]}


@pytest.fixture(autouse=True)
def everybody_of_the_list_again():
    yield
    gone = [{"name": name, "state": "absent"} for name in NEWCOMERS]
    outcome = Run([*PEOPLE, *gone], teams=[{"name": TEAM["name"], "state": "absent"}])
    assert outcome.status == 0, outcome.output


@pytest.fixture
def with_edith(outside):
    """The list with somebody whose key is rotated; the user goes in the end, for a generation never becomes lower again."""
    yield lambda **fields: [*PEOPLE, {"name": "edith", **fields}]
    assert outside.request(4000, "/user/delete", key=MASTER_KEY, body={"user_ids": ["edith"]}).status == 200


def changed(name, **fields):
    return [{**person, **fields} if person["name"] == name else person for person in PEOPLE]


def test_a_key_from_the_hand_out_works(outside):
    answer = ask(outside, key_of("ada"))
    assert answer.json()["choices"][0]["message"]["content"] == "A canned answer."


def test_a_key_that_somebody_brings_along_works(outside):
    assert ask(outside, "sk-linus-brings-his-own-key").status == 200


@pytest.mark.parametrize(
    "path, body",
    [
        ("/key/generate", {"key": "sk-a-key-that-outlives-its-maker"}),
        ("/key/update", {"key_alias": "ada-1", "rpm_limit": 100000}),
        ("/key/delete", {"key_aliases": ["grace-1"]}),
    ],
)
def test_a_persons_key_can_chat_but_not_make_or_change_keys(outside, path, body):
    before = keys_at_the_gateway(outside)
    assert outside.request(4000, path, key=key_of("ada"), body=body).status in (401, 403)
    assert keys_at_the_gateway(outside) == before
    assert ask(outside, key_of("ada")).status == 200
    assert outside.request(4000, "/v1/models", key=key_of("ada")).status == 200


def test_a_leaver_loses_a_key_that_was_made_by_hand_too(outside):
    made = {"key": "sk-made-by-hand-for-ada-0123", "key_alias": "ada-by-hand", "user_id": "ada"}
    assert outside.request(4000, "/key/generate", key=MASTER_KEY, body=made).status == 200
    assert ask(outside, made["key"]).status == 200
    assert "key ada-by-hand (not made here) deleted" in Run(changed("ada", state="absent")).sentences
    assert kind_of(ask(outside, made["key"])) == (401, "token_not_found_in_db")


def test_a_wrong_key_is_refused(outside):
    assert kind_of(ask(outside, key_of("ada") + "x")) == (401, "token_not_found_in_db")


def test_no_key_is_refused(outside):
    assert ask(outside, None).status == 401


def test_a_model_that_is_not_in_the_persons_list_is_refused(outside):
    assert kind_of(ask(outside, key_of("grace"))) == (403, "key_model_access_denied")


# A person's hand-out tells their limits.
GATEWAY_AND_HAND_OUT = 2


def test_requests_above_the_limit_are_refused_and_a_higher_limit_frees_them(outside):
    assert Run(changed("ada", rpm_limit=2)).changed == GATEWAY_AND_HAND_OUT
    statuses = [ask(outside, key_of("ada")).status for _request in range(5)]
    assert 429 in statuses
    assert set(statuses) <= {200, 429}
    assert Run(changed("ada", rpm_limit=1000)).changed == GATEWAY_AND_HAND_OUT
    assert ask(outside, key_of("ada")).status == 200


def test_spending_above_the_budget_is_refused_and_a_higher_budget_frees_it(outside):
    assert Run(changed("ada", max_budget=0.00001)).changed == GATEWAY_AND_HAND_OUT
    deadline = time.monotonic() + 30
    while ask(outside, key_of("ada")).status == 200 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert kind_of(ask(outside, key_of("ada"))) == (422, "budget_exceeded")
    assert Run(PEOPLE).changed == GATEWAY_AND_HAND_OUT
    assert ask(outside, key_of("ada")).status == 200


def test_an_added_person_gets_in_and_nothing_else_changes(outside):
    before = keys_at_the_gateway(outside)
    outcome = Run([*PEOPLE, {"name": "barbara"}])
    assert "key barbara-1 made" in outcome.sentences
    assert "3 people unchanged" in outcome.sentences
    assert ask(outside, key_of("barbara")).status == 200
    after = keys_at_the_gateway(outside)
    assert {alias: after[alias] for alias in before} == before
    assert Run([*PEOPLE, {"name": "barbara"}]).changed == 0


def test_somebody_who_leaves_is_refused_at_once_and_what_was_spent_stays(outside):
    key = key_of("ada")
    assert ask(outside, key).status == 200
    Run(changed("ada", state="absent"))
    assert kind_of(ask(outside, key)) == (401, "token_not_found_in_db")
    assert not (hand_outs() / "ada").exists()
    assert outside.request(4000, "/user/info?user_id=ada", key=MASTER_KEY).json()["user_info"]["user_id"] == "ada"
    assert Run(changed("ada", state="absent")).changed == 0


def test_somebody_who_comes_back_has_the_same_key(outside):
    key = key_of("ada")
    Run(changed("ada", state="absent"))
    Run(PEOPLE)
    assert key_of("ada") == key
    assert ask(outside, key).status == 200


def test_somebody_who_is_blocked_is_refused_until_let_in_again(outside):
    Run(changed("ada", state="blocked"))
    assert ask(outside, key_of("ada")).status == 401
    Run(PEOPLE)
    assert ask(outside, key_of("ada")).status == 200


def test_a_new_generation_ends_the_old_key_for_good(outside, with_edith):
    Run(with_edith())
    old = key_of("edith")
    Run(with_edith(key_generation=2))
    assert key_of("edith") != old
    assert ask(outside, key_of("edith")).status == 200
    assert ask(outside, old).status == 401
    outcome = Run(with_edith())
    assert outcome.status != 0 and "there has been a generation 2, so a key that was replaced would work again" in outcome.sentences
    assert [ask(outside, key).status for key in (key_of("edith"), old)] == [200, 401]


def test_an_old_key_works_beside_the_new_one_for_its_grace_period_and_ends_by_itself(outside, with_edith):
    Run(with_edith())
    old = key_of("edith")
    outcome = Run(with_edith(key_generation=2), key_grace="20s")
    started = time.monotonic()
    assert "key edith-1 ends on" in outcome.sentences
    assert [ask(outside, key).status for key in (old, key_of("edith"))] == [200, 200]
    # No run is needed for the end of it.
    time.sleep(max(0.0, 25 - (time.monotonic() - started)))
    assert kind_of(ask(outside, old)) == (401, "expired_key")
    assert ask(outside, key_of("edith")).status == 200
    assert "key edith-1 deleted, its grace period has ended" in Run(with_edith(key_generation=2), key_grace="20s").sentences


def test_a_key_ends_on_its_date(outside):
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=25)
    Run(changed("ada", expires=moment.strftime("%Y-%m-%dT%H:%M:%SZ")))
    assert ask(outside, key_of("ada")).status == 200
    time.sleep(max(0.0, (moment - datetime.datetime.now(datetime.UTC)).total_seconds() + 2))
    assert kind_of(ask(outside, key_of("ada"))) == (401, "expired_key")


def test_one_of_a_persons_keys_is_blocked_alone_and_all_share_the_persons_limit(outside):
    def barbara(state):
        own = {"name": "ci", "value": "sk-barbaras-own-key-for-ci", "state": state}
        return [*PEOPLE, {"name": "barbara", "rpm_limit": 3, "keys": [{"name": "default"}, own]}]

    Run(barbara("blocked"))
    assert [ask(outside, key).status for key in (key_of("barbara"), "sk-barbaras-own-key-for-ci")] == [200, 401]
    Run(barbara("present"))
    statuses = [ask(outside, key).status for _round in range(3) for key in (key_of("barbara"), "sk-barbaras-own-key-for-ci")]
    assert statuses.count(200) <= 3
    assert 429 in statuses


def test_what_a_person_may_spend_holds_for_the_keys_of_a_team_too(outside):
    barbara = {"name": "barbara", "teams": ["research"], "max_budget": 0.00001, "budget_duration": "30d"}
    Run([*PEOPLE, barbara], teams=[TEAM])
    deadline = time.monotonic() + 40
    while ask(outside, key_of("barbara")).status == 200 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert kind_of(ask(outside, key_of("barbara"))) == (422, "budget_exceeded")
    Run([*PEOPLE, {**barbara, "max_budget": 20}], teams=[TEAM])
    assert ask(outside, key_of("barbara")).status == 200


def test_trap_21_a_key_of_a_team_may_use_the_teams_models_alone(outside):
    Run([*PEOPLE, {"name": "barbara", "teams": ["research"]}], teams=[{**TEAM, "models": ["another-model"]}])
    assert kind_of(ask(outside, key_of("barbara"))) == (403, "team_model_access_denied")
    Run([*PEOPLE, {"name": "barbara", "teams": ["research"]}], teams=[TEAM])
    assert ask(outside, key_of("barbara")).status == 200


def test_a_team_that_somebody_blocked_at_the_gateway_works_again_after_a_run(outside):
    people = [*PEOPLE, {"name": "barbara", "teams": ["research"]}]
    Run(people, teams=[TEAM])
    assert outside.request(4000, "/team/block", key=MASTER_KEY, body={"team_id": TEAM["name"]}).status == 200
    assert ask(outside, key_of("barbara")).status == 401
    assert "team research: unblocked" in Run(people, teams=[TEAM]).sentences
    assert ask(outside, key_of("barbara")).status == 200


def test_somebody_who_leaves_is_out_although_something_stands_in_the_way_of_somebody_else(outside):
    made = {"key": "sk-made-by-hand-0123456789", "key_alias": "barbara-1"}
    key = key_of("ada")
    assert outside.request(4000, "/key/generate", key=MASTER_KEY, body=made).status == 200
    outcome = Run([*changed("ada", state="absent"), {"name": "barbara"}])
    assert outside.request(4000, "/key/delete", key=MASTER_KEY, body={"key_aliases": ["barbara-1"]}).status == 200
    assert outcome.status != 0 and "the alias barbara-1 belongs to another key" in outcome.sentences
    assert kind_of(ask(outside, key)) == (401, "token_not_found_in_db")


def test_the_users_playbook_adds_one_person_in_seconds_and_says_so(outside):
    before = keys_at_the_gateway(outside)
    started = time.monotonic()
    outcome = users_playbook([*changed("ada", rpm_limit=7), {"name": "radia"}], "--extra-vars", "only=radia")
    assert outcome.status == 0, outcome.output
    assert time.monotonic() - started <= 8
    # The user stays when somebody leaves, so an earlier round of this scenario may have made it.
    assert re.search("radia: (user made; )?key radia-1 made", outcome.sentences)
    assert ask(outside, key_of("radia")).status == 200
    after = keys_at_the_gateway(outside)
    assert {alias: after[alias] for alias in before} == before


def test_the_users_playbook_does_not_know_a_name_and_says_which_are_near(outside):
    before = keys_at_the_gateway(outside)
    outcome = users_playbook(PEOPLE, "--extra-vars", "only=grase")
    assert outcome.status != 0
    assert "nobody in the list is called grase; did you mean grace?" in outcome.sentences
    assert keys_at_the_gateway(outside) == before


def test_a_key_that_was_lost_is_handed_out_again_without_asking_the_gateway(outside):
    before = keys_at_the_gateway(outside)
    shutil.rmtree(hand_outs() / "ada")
    nobody_there = "__platform_gateway_local_url=http://127.0.0.1:9"
    outcome = users_playbook(PEOPLE, "--tags", "handouts", "--extra-vars", nobody_there)
    assert outcome.status == 0, outcome.output
    assert ask(outside, key_of("ada")).status == 200
    assert keys_at_the_gateway(outside) == before


def test_one_object_each_is_said_by_its_own_module_with_the_gateway_said_once(outside):
    key = "sk-of-a-single-key-0123456789"
    for state, changes, status in (("present", 4, 200), ("present", 0, 200), ("absent", 4, 401), ("absent", 0, 401)):
        outcome = Outcome(SCENARIO / "single.yml", "--extra-vars", f"single_state={state}")
        assert (outcome.status, outcome.changed) == (0, changes), outcome.output
        assert ask(outside, key).status == status


def test_a_limit_that_is_dropped_is_gone(outside):
    Run([{"name": "ada"}, *PEOPLE[1:]])
    assert keys_at_the_gateway(outside)["ada-1"]["rpm_limit"] is None


def test_what_somebody_changed_at_the_gateway_is_put_back(outside):
    body = {"key_alias": "ada-1", "rpm_limit": 100000, "blocked": True}
    assert outside.request(4000, "/key/update", key=MASTER_KEY, body=body).status == 200
    assert "key ada-1: unblocked, rpm_limit 100000 -> 100" in Run(PEOPLE).sentences
    assert ask(outside, key_of("ada")).status == 200


def test_a_key_made_by_hand_is_left_alone(outside):
    made = outside.request(4000, "/key/generate", key=MASTER_KEY, body={"key": "sk-made-by-hand-0123456789", "key_alias": "by-hand"})
    assert made.status == 200
    assert Run(PEOPLE).changed == 0
    assert ask(outside, "sk-made-by-hand-0123456789").status == 200
    assert outside.request(4000, "/key/delete", key=MASTER_KEY, body={"key_aliases": ["by-hand"]}).status == 200


def test_a_check_says_what_a_run_does_and_does_nothing(outside):
    before = keys_at_the_gateway(outside)
    outcome = Run([*changed("ada", rpm_limit=7), {"name": "radia"}], "--check", "--diff")
    assert "ada: user: rpm_limit 100 -> 7; key ada-1: rpm_limit 100 -> 7" in outcome.sentences
    assert "key radia-1 made" in outcome.sentences
    assert keys_at_the_gateway(outside) == before
    assert not (hand_outs() / "radia").exists()


def test_a_check_of_the_list_as_it_is_says_no_change():
    assert Run(PEOPLE, "--check", "--diff").changed == 0


def test_no_output_shows_a_key_however_talkative(with_edith):
    outcome = Run(with_edith(rpm_limit=7, key_generation=3), "--diff", "-vvvv")
    assert outcome.changed == 2
    keys = [path.read_text().strip() for path in hand_outs().glob("*/key")]
    assert len(keys) == 4
    assert [key for key in [*keys, MASTER_KEY, SETTINGS["root_secret"]] if key in outcome.output] == []


def test_the_hand_outs_are_for_the_operator_alone():
    assert {stat.S_IMODE(path.stat().st_mode) for path in hand_outs().rglob("*") if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in hand_outs().glob("*/*") if path.name in ("key", "environment")} == {0o600}


def test_every_mistake_in_the_list_is_named_at_once_and_nothing_changes(outside):
    before = keys_at_the_gateway(outside)
    outcome = Run([{"name": "ada", "max_budget": 5}, {"name": "ada"}, {"name": "eve", "key": "sk-short"}])
    assert outcome.status != 0
    assert "ada: max_budget needs budget_duration" in outcome.sentences
    assert "ada: the name is used twice" in outcome.sentences
    assert "eve: key has 8 characters" in outcome.sentences
    assert keys_at_the_gateway(outside) == before
