# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils.hkdf import derive_secret
from ansible_collections.private_llm.platform.plugins.module_utils.people import access_of, problems_of

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
        ({"name": "ada", "state": "gone"}, "ada: state must be present or blocked or absent, not gone."),
    ],
)
def test_each_mistake_is_one_sentence(person, sentence):
    assert problems_of([person]) == [sentence]


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


def test_a_default_period_is_enough_for_a_budget():
    assert problems_of([{"name": "ada", "max_budget": 5}], default_budget_duration="30d") == []


def test_a_key_follows_from_root_secret_name_and_generation():
    first = access_of([{"name": "ada"}], ROOT, {})[0]["keys"][0]
    second = access_of([{"name": "ada", "key_generation": 2}], ROOT, {})[0]["keys"][0]
    common = {"name": "default", "state": "present"}
    assert first == {"alias": "ada-1", "value": "sk-" + derive_secret(ROOT, "litellm/key/ada/1"), **common}
    assert second == {"alias": "ada-2", "value": "sk-" + derive_secret(ROOT, "litellm/key/ada/2"), **common}


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
