# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import inventory_checks
from ansible_collections.private_llm.platform.tests.unit.fakes.vault import Vaulted

SPECS = {
    "litellm": ["litellm_image", "litellm_port"],
    "litellm_access": ["litellm_access_users", "litellm_access_url"],
    "postgres": ["postgres_image"],
}
PLATFORM = ["platform_root_secret", "platform_listen_address", "llm_users"]


def unknown(*names):
    return inventory_checks.unknown_variable_problems(names, SPECS, PLATFORM)


def test_a_placeholder_is_found_wherever_it_hides():
    variables = {
        "platform_root_secret": "CHANGE-ME",
        "deep": {"list": [{"secret": "x"}, {"secret": "prefix CHANGE-ME suffix"}]},
        "fine": ["a", 1, None, True],
    }
    assert inventory_checks.placeholder_problems(variables) == [
        "deep.list, entry 2.secret still has the placeholder CHANGE-ME; give it your own value.",
        "platform_root_secret still has the placeholder CHANGE-ME; give it your own value.",
    ]


def test_known_variables_and_those_of_others_are_fine():
    assert unknown("litellm_port", "litellm_access_users", "llm_users", "platform_root_secret", "my_own_variable", "ansible_user") == []


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("litellm_prot", "litellm_prot is no variable of the role litellm; did you mean litellm_port?"),
        ("litellm_access_user", "litellm_access_user is no variable of the role litellm_access; did you mean litellm_access_users?"),
        ("postgres_qqqqqqqqqqqqqqq", "postgres_qqqqqqqqqqqqqqq is no variable of the role postgres."),
        ("platform_root_secert", "platform_root_secert is no variable of the platform; did you mean platform_root_secret?"),
        ("llm_user", "llm_user is no variable of the platform; did you mean llm_users?"),
    ],
)
def test_a_misspelt_variable_is_named_with_what_was_meant(name, sentence):
    assert unknown(name) == [sentence]


def test_the_longest_role_name_owns_a_variable():
    assert inventory_checks.role_of("litellm_access_users", SPECS) == "litellm_access"
    assert inventory_checks.role_of("litellm_users", SPECS) == "litellm"
    assert inventory_checks.role_of("litellmx_users", SPECS) is None


def test_what_ansible_itself_adds_is_not_looked_at():
    assert inventory_checks.own_variables({"groups": {}, "hostvars": {}, "vars": {}, "omit": "x", "mine": 1}) == {"mine": 1}


def test_a_problem_of_all_hosts_is_told_once_and_one_of_some_names_them():
    problems = {"one": ["A is wrong.", "B is wrong."], "two": ["A is wrong."], "three": ["A is wrong.", "B is wrong."]}
    assert inventory_checks.merge(problems) == ["A is wrong.", "one, three: B is wrong."]


def test_a_root_secret_is_judged_without_being_quoted():
    problem = inventory_checks.secret_problem("platform_root_secret", "much-too-short")
    assert problem.startswith("platform_root_secret has 14 characters, it needs at least 32")
    assert "much-too-short" not in problem


@pytest.mark.parametrize("value", ["", "ada", 1, 0.5, True, None, datetime.date(2027, 1, 31), [{"name": "ada", "teams": ["a", "b"]}]])
def test_what_is_written_out_is_plain(value):
    assert inventory_checks.is_plain(value)


@pytest.mark.parametrize(
    "value", ["{{ other }}", "{% if x %}{% endif %}", "{# note #}", Vaulted("secret"), object(), [{"keys": [{"value": "{{ other }}"}]}], {"{{ name }}": 1}]
)
def test_what_ansible_has_to_work_out_is_not_plain(value):
    assert not inventory_checks.is_plain(value)
