# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import people
from ansible_collections.private_llm.platform.plugins.module_utils.hkdf import derive_secret
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_state import team_of
from ansible_collections.private_llm.platform.plugins.module_utils.people import (
    access_of,
    budget_problems,
    problems_of,
    seconds_of,
    team_problems,
)

ROOT = "an-example-root-secret-of-enough-length-0123456789"


def test_a_complete_person_and_a_bare_name_are_both_fine():
    complete = {
        "name": "ada",
        "email": "ada@example.com",
        "full_name": "Ada Lovelace",
        "state": "blocked",
        "key_generation": 2,
        "key": "sk-her-own-key-0000000",
        "max_budget": 20.5,
        "budget_duration": "30d",
        "rpm_limit": 60,
        "tpm_limit": 100000,
        "max_parallel_requests": 4,
        "models": ["coder"],
    }
    assert problems_of([complete, {"name": "linus"}]) == []
    assert problems_of([]) == []
    assert problems_of(None) == []


@pytest.mark.parametrize(
    "person, sentence",
    [
        ({"email": "x@example.com"}, "entry 1 has no name."),
        ({"name": ""}, "entry 1 has no name."),
        ("ada", "entry 1 must be a dictionary with at least a name."),
        ({"name": "a/b"}, "a/b: name must work as a file name: letters, digits, and . _ - inside, at most 64 characters."),
        ({"name": "../etc"}, "../etc: name must work as a file name: letters, digits, and . _ - inside, at most 64 characters."),
        ({"name": 42}, "42: name must be text."),
        ({"name": "default_user_id"}, "default_user_id: name is reserved by the gateway."),
        ({"name": "ada", "rmp_limit": 3}, "ada: has an unknown field rmp_limit; did you mean rpm_limit?"),
        ({"name": "ada", "xyz": 3}, "ada: has an unknown field xyz."),
        ({"name": "ada", "max_budget": 5}, "ada: max_budget needs budget_duration, the period after which it starts anew, such as 30d."),
        ({"name": "ada", "max_budget": None, "budget_duration": "30d"}, "ada: budget_duration means nothing without max_budget."),
        ({"name": "ada", "max_budget": "much", "budget_duration": "30d"}, "ada: max_budget must be a number."),
        ({"name": "ada", "max_budget": -1, "budget_duration": "30d"}, "ada: max_budget must not be negative."),
        ({"name": "ada", "max_budget": 1, "budget_duration": "a month"}, "ada: budget_duration must be a period such as 30d, 12h or 1mo."),
        ({"name": "ada", "key": "sk-short"}, "ada: key has 8 characters, it needs at least 16."),
        ({"name": "ada", "key": "without-the-prefix-it-needs"}, "ada: key must start with sk-."),
        ({"name": "ada", "key": "sk-with a space in it"}, "ada: key may only have letters, digits and . _ ~ + / = - after sk-."),
        ({"name": "ada", "key_generation": 0}, "ada: key_generation must be 1 or more."),
        ({"name": "ada", "rpm_limit": "many"}, "ada: rpm_limit must be a whole number."),
        ({"name": "ada", "rpm_limit": 1.5}, "ada: rpm_limit must be a whole number."),
        ({"name": "ada", "rpm_limit": True}, "ada: rpm_limit must be a whole number."),
        ({"name": "ada", "models": "coder"}, "ada: models must be a list of names."),
        ({"name": "ada", "email": "nowhere"}, "ada: email is no e-mail address."),
        ({"name": "ada", "teams": "research"}, "ada: teams must be a list of names."),
        ({"name": "ada", "teams": ["research", "research"]}, "ada: teams names a team twice."),
        ({"name": "ada", "teams": ["reserach"]}, "ada: there is no team reserach; did you mean research?"),
        ({"name": "ada", "teams": ["old"]}, "ada: the team old is absent."),
        ({"name": "ada", "models": ["codr"]}, "ada: there is no model codr; did you mean coder?"),
        ({"name": "ada", "budget": "none"}, "ada: there is no budget none."),
        ({"name": "ada", "expires": "next year"}, "ada: expires must be a date such as 2027-01-31, or a moment such as 2027-01-31T12:00:00Z."),
        ({"name": "ada", "expires": "2027-02-31"}, "ada: expires must be a date such as 2027-01-31, or a moment such as 2027-01-31T12:00:00Z."),
        ({"name": "ada", "key_grace": "a week"}, "ada: key_grace must be a time such as 7d or 12h."),
        ({"name": "ada", "metadata": "x"}, "ada: metadata must be a dictionary."),
        ({"name": "ada", "keys": ["laptop"]}, "ada: keys must be a list of dictionaries, each with at least a name."),
        ({"name": "ada", "keys": [{"generation": 2}]}, "ada: key 1: has no name."),
        ({"name": "ada", "keys": [{"name": "ci"}, {"name": "CI"}]}, "ada: key CI: the name is used twice."),
        ({"name": "ada", "keys": [{"name": "a/b"}]}, "ada: key a/b: name must work as a file name: letters, digits, and . _ - inside, at most 64 characters."),
        ({"name": "ada", "keys": [{"name": "ci", "value": "sk-short"}]}, "ada: key ci: value has 8 characters, it needs at least 16."),
        ({"name": "ada", "keys": [{"name": "ci", "generation": 0}]}, "ada: key ci: generation must be 1 or more."),
        ({"name": "ada", "keys": [{"name": "ci", "team": "research"}]}, "ada: key ci: team research is none of the person's teams."),
        (
            {"name": "ada", "keys": [{"name": "ci", "max_budget": 3}]},
            "ada: key ci: max_budget needs budget_duration, the period after which it starts anew, such as 30d.",
        ),
        ({"name": "ada", "keys": [{"name": "ci", "rmp_limit": 3}]}, "ada: key ci: has an unknown field rmp_limit; did you mean rpm_limit?"),
        ({"name": "ada", "key_generation": 2, "keys": []}, "ada: key_generation and keys cannot both be given; each of the keys has its own generation."),
        ({"name": "ada", "state": "gone"}, "ada: state must be present or blocked or absent, not gone."),
    ],
)
def test_each_mistake_is_one_sentence(person, sentence):
    teams = [{"name": "research"}, {"name": "old", "state": "absent"}]
    assert problems_of([person], teams=teams, budgets=[], models=["coder"]) == [sentence]


def test_names_of_other_lists_are_believed_where_none_is_given():
    assert problems_of([{"name": "ada", "teams": ["research"], "models": ["coder"], "budget": "trainee"}]) == []


def test_who_left_may_name_what_left_too():
    assert problems_of([{"name": "ada", "state": "absent", "teams": ["old"], "models": ["gone"]}], teams=[], models=["coder"]) == []


def test_a_key_of_two_people_is_found_in_any_of_their_lists():
    people = [{"name": "ada", "keys": [{"name": "ci", "value": "sk-the-same-key-00000"}]}, {"name": "linus", "key": "sk-the-same-key-00000"}]
    assert problems_of(people) == ["linus: has the same key as ada."]


@pytest.mark.parametrize(
    "team, sentence",
    [
        ({}, "entry 1 has no name."),
        ({"name": "a b"}, "a b: name must work as a file name: letters, digits, and . _ - inside, at most 64 characters."),
        ({"name": "research", "max_budget": 5}, "research: max_budget needs budget_duration, the period after which it starts anew, such as 30d."),
        ({"name": "research", "models": ["codr"]}, "research: there is no model codr; did you mean coder?"),
        ({"name": "research", "state": "closed"}, "research: state must be present or blocked or absent, not closed."),
        ({"name": "research", "members": []}, "research: has an unknown field members."),
    ],
)
def test_each_mistake_of_a_team_is_one_sentence(team, sentence):
    assert team_problems([team], ["coder"]) == [sentence]


def test_a_shared_budget_is_checked_as_well():
    assert budget_problems([{"name": "trainee", "max_budget": 5, "budget_duration": "7d", "soft_budget": 3}, {"name": "trainee"}]) == [
        "trainee: the name is used twice, in entries 1 and 2."
    ]


@pytest.mark.parametrize("grace, seconds", [("7d", 604800), ("12h", 43200), ("2w", 1209600), ("", 0), (None, 0), (0, 0), ("0", 0)])
def test_a_grace_period_is_counted_in_seconds(grace, seconds):
    assert seconds_of(grace) == seconds


def test_every_problem_of_the_list_is_found_at_once():
    problems = problems_of(
        [
            {"name": "ada", "email": "a@example.com", "key": "sk-the-same-key-00000"},
            {"name": "Ada"},
            {"name": "linus", "email": "A@example.com", "key": "sk-the-same-key-00000"},
            {"rpm_limit": -1},
        ]
    )
    assert problems == [
        "Ada: the name is used twice, in entries 1 and 2.",
        "linus: has the same e-mail address as ada.",
        "linus: has the same key as ada.",
        "entry 4 has no name.",
        "entry 4: rpm_limit must not be negative.",
    ]


def test_no_problem_quotes_a_key():
    assert "very-secret" not in str(problems_of([{"name": "ada", "key": "very-secret-and-without-prefix"}]))


def test_a_dictionary_instead_of_a_list_is_one_sentence():
    assert problems_of({"ada": {}}) == ["must be a list with one entry per person."]


@pytest.mark.parametrize("budget", [{"max_budget": 5}, {}], ids=["a budget of one's own", "the default budget"])
def test_a_budget_whose_period_is_taken_away_is_a_problem_although_there_is_a_default_period(budget):
    problems = problems_of([{"name": "ada", "budget_duration": None, **budget}], default_budget_duration="30d")
    assert len(problems) == 1 and "max_budget" in problems[0] and "budget_duration" in problems[0]
    assert problems_of([{"name": "ada", "budget_duration": None, "max_budget": None}], default_budget_duration="30d") == []


def test_somebody_may_have_the_address_of_a_name_that_is_absent():
    people = [{"name": "ada", "email": "ada@example.com", "state": "absent"}, {"name": "ada.l", "email": "Ada@example.com"}]
    assert problems_of(people) == []


def test_a_default_period_is_enough_for_a_budget():
    assert problems_of([{"name": "ada", "max_budget": 5}], default_budget_duration="30d") == []


def test_a_key_follows_from_root_secret_name_and_generation():
    first = access_of([{"name": "ada"}], ROOT, {})[0]["keys"][0]
    second = access_of([{"name": "ada", "key_generation": 2}], ROOT, {})[0]["keys"][0]
    common = {"name": "default", "state": "present"}
    assert first == {"alias": "ada-1", "value": "sk-" + derive_secret(ROOT, "litellm/key/ada/1"), "generation": 1, **common}
    assert second == {"alias": "ada-2", "value": "sk-" + derive_secret(ROOT, "litellm/key/ada/2"), "generation": 2, **common}


def test_a_persons_own_key_is_taken_as_it_is():
    assert access_of([{"name": "ada", "key": "sk-her-own-key-0000000"}], ROOT, {})[0]["keys"][0]["value"] == "sk-her-own-key-0000000"


def test_defaults_fill_in_and_null_takes_a_default_away():
    defaults = {"rpm_limit": 60, "max_budget": 20, "budget_duration": "30d", "models": ["coder"], "tpm_limit": None}
    people = access_of(
        [{"name": "ada"}, {"name": "linus", "rpm_limit": 5}, {"name": "eve", "rpm_limit": None, "max_budget": None}], ROOT, defaults
    )
    assert [person["keys"][0].get("rpm_limit") for person in people] == [60, 5, None]
    assert [person.get("max_budget") for person in people] == [20, 20, None]
    assert [person.get("budget_duration") for person in people] == ["30d", "30d", None]
    assert people[0]["keys"][0]["models"] == ["coder"]


def only_person(person, **defaults):
    return access_of([person], ROOT, defaults)[0]


def test_several_keys_have_names_and_values_of_their_own():
    listed = [{"name": "default"}, {"name": "ci", "generation": 2}, {"name": "own", "value": "sk-her-own-key-0000000"}]
    keys = only_person({"name": "ada", "keys": listed})["keys"]
    assert [(key["alias"], key["name"], key["value"]) for key in keys] == [
        ("ada-1", "default", "sk-" + derive_secret(ROOT, "litellm/key/ada/1")),
        ("ada/ci-2", "ci", "sk-" + derive_secret(ROOT, "litellm/key/ada/ci/2")),
        ("ada/own-1", "own", "sk-her-own-key-0000000"),
    ]


def test_the_only_key_stays_the_same_when_further_ones_are_added():
    alone = only_person({"name": "ada", "key_generation": 3})["keys"][0]
    assert only_person({"name": "ada", "keys": [{"name": "default", "generation": 3}, {"name": "ci"}]})["keys"][0] == alone


def test_during_the_grace_period_the_generation_before_comes_with_the_new_one():
    keys = only_person({"name": "ada", "key_generation": 3}, key_grace="7d")["keys"]
    assert [(key["alias"], key.get("retiring", False), key.get("grace_seconds")) for key in keys] == [("ada-3", False, None), ("ada-2", True, 604800)]


@pytest.mark.parametrize("person", [{"key_grace": None}, {"key_grace": "0"}, {"keys": [{"name": "ci", "generation": 2, "grace": ""}]}])
def test_a_grace_period_is_taken_away_from_one_person_or_key(person):
    keys = only_person({"name": "ada", **({} if "keys" in person else {"key_generation": 2}), **person}, key_grace="7d")["keys"]
    assert [key.get("retiring", False) for key in keys] == [False]


def test_a_value_of_ones_own_has_the_grace_period_itself():
    assert only_person({"name": "ada", "key": "sk-her-own-key-0000000"}, key_grace="1h")["keys"][0]["grace_seconds"] == 3600


def test_a_key_has_the_limits_of_its_person_unless_it_has_its_own():
    listed = [{"name": "a"}, {"name": "b", "rpm_limit": None, "expires": "2026-12-31"}]
    first, second = only_person({"name": "ada", "rpm_limit": 60, "models": ["coder"], "expires": "2027-01-31", "keys": listed})["keys"]
    assert (first["rpm_limit"], first["models"], first["expires"]) == (60, ["coder"], "2027-01-31")
    assert ("rpm_limit" in second, second["expires"]) == (False, "2026-12-31")


def test_in_a_team_the_persons_budget_is_said_there_too_and_keys_count_for_the_first():
    budget = {"max_budget": 20, "budget_duration": "30d"}
    access = only_person({"name": "ada", "teams": ["research", "ops"], "keys": [{"name": "a"}, {"name": "b", "team": "ops"}], **budget})
    assert (access["team"], access["teams"]) == ("research", [{"name": "research", **budget}, {"name": "ops", **budget}])
    assert [key["team"] for key in access["keys"]] == ["research", "ops"]


def test_a_date_that_yaml_has_read_is_a_date():
    assert problems_of([{"name": "ada", "expires": datetime.date(2027, 1, 31)}]) == []
    assert only_person({"name": "ada", "expires": datetime.date(2027, 1, 31)})["keys"][0]["expires"] == "2027-01-31"


@pytest.mark.parametrize("expires", ["2027-01-31T25:00:00Z", "2027-01-31T24:00:00Z", "2027-02-31", "next week"])
def test_an_expiry_that_is_no_moment_is_a_problem_and_not_a_key_without_end(expires):
    assert any("expires" in problem for problem in problems_of([{"name": "ada", "expires": expires}]))


@pytest.mark.parametrize(
    "default", [{"key_grace": "7 days"}, {"max_budget": 20}, {"budget_duration": "monthly"}, {"models": ["unknown"]}], ids=lambda default: next(iter(default))
)
def test_a_default_that_nobody_could_have_is_a_problem_too(default):
    (problem,) = people.default_problems(default, models=["coder"])
    assert problem.startswith("The default for people who do not have their own: ")
    assert people.default_problems({"key_grace": "7d", "max_budget": 20, "budget_duration": "30d", "models": ["coder"], "rpm_limit": None}, ["coder"]) == []


@pytest.mark.parametrize("name", people.HANDOUT_FILES)
def test_a_key_named_like_a_file_of_the_hand_out_is_refused_before_anything_is_changed(name):
    assert any("a file of the hand-out has that name" in problem for problem in problems_of([{"name": "ada", "keys": [{"name": name}]}]))


def test_what_is_recorded_is_kept_with_each_key_and_a_key_may_differ_from_its_person():
    person = {"name": "ada", "recording": "nothing", "keys": [{"name": "default"}, {"name": "ci", "recording": "everything", "metadata": {"for": "builds"}}]}
    assert problems_of([person]) == []
    keys = {key["name"]: key.get("metadata") for key in access_of([person, {"name": "grace"}], ROOT, {})[0]["keys"]}
    assert keys == {"default": {"recording": "nothing"}, "ci": {"for": "builds", "recording": "everything"}}


def test_who_says_nothing_about_recording_has_nothing_written_about_it():
    assert "metadata" not in access_of([{"name": "grace"}], ROOT, {})[0]["keys"][0]


@pytest.mark.parametrize("problems", [problems_of, team_problems])
def test_a_word_for_recording_that_means_nothing_is_a_problem(problems):
    assert problems([{"name": "ada", "recording": "some"}]) == ["ada: recording must be everything or metadata or nothing."]


def test_what_is_recorded_of_a_team_is_kept_in_its_metadata():
    team = team_of({"name": "legal", "recording": "metadata", "metadata": {"head": "grace"}})
    assert team.metadata == {"head": "grace", "recording": "metadata"}
