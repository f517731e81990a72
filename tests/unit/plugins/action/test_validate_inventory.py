# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from ansible_collections.private_llm.platform.plugins.action import validate_inventory
from ansible_collections.private_llm.platform.tests.unit.fakes.vault import Vaulted

OPTIONS = {
    "litellm_port": {"type": "int", "description": "Port.", "default": 4000},
    "litellm_master_key": {"type": "int", "no_log": True, "required": True},
    "litellm_people": {"type": "list", "elements": "dict", "options": {"name": {"type": "str", "required": True, "description": "Name."}}},
}


def test_the_variables_of_each_role_are_read_from_its_argument_specs(tmp_path):
    os.makedirs(tmp_path / "litellm" / "meta")
    os.makedirs(tmp_path / "without_specs" / "tasks")
    (tmp_path / "litellm" / "meta" / "argument_specs.yml").write_text("argument_specs: {main: {options: {litellm_port: {type: int}}}}\n")
    assert validate_inventory.read_specs(str(tmp_path)) == {"litellm": {"litellm_port": {"type": "int"}}}


def test_the_roles_of_this_collection_are_found():
    assert "litellm_access_users" in validate_inventory.read_specs(validate_inventory.ROLES_DIRECTORY)["litellm_access"]


@pytest.mark.parametrize("name, value", [("litellm_port", 4000), ("litellm_port", "4000"), ("litellm_port", None), ("litellm_people", [{"name": "x"}])])
def test_a_value_that_the_role_would_take_is_no_problem(name, value):
    assert validate_inventory.type_problem(name, OPTIONS[name], value) is None


def test_a_value_of_the_wrong_type_is_one_sentence():
    assert validate_inventory.type_problem("litellm_port", OPTIONS["litellm_port"], "many").startswith("litellm_port does not fit: ")


def test_a_mistake_inside_a_list_is_found():
    problem = validate_inventory.type_problem("litellm_people", OPTIONS["litellm_people"], [{"nam": "x"}])
    assert "nam" in problem


def test_a_secret_of_the_wrong_type_is_not_quoted():
    problem = validate_inventory.type_problem("litellm_master_key", OPTIONS["litellm_master_key"], "my-secret")
    assert problem == "litellm_master_key does not fit: it has the wrong type."


def test_a_root_secret_that_is_vaulted_inline_is_looked_at_as_its_plain_text():
    def problems_of(secret):
        return validate_inventory.ActionModule._root_secret_problems("root", {"root": secret}, {"root": secret})

    assert problems_of(Vaulted("an-example-root-secret-of-enough-length")) == []
    assert "has 5 characters" in problems_of(Vaulted("short"))[0]


def test_a_key_that_is_vaulted_inline_is_looked_at_as_its_plain_text():
    def problems_of(key):
        people = {"people": [{"name": "ada", "key": key}]}
        names = {"people_variable": "people", "teams_variable": "teams", "budgets_variable": "budgets", "models": []}
        return validate_inventory.ActionModule._access_problems(names, people, people)

    assert problems_of(Vaulted("sk-adas-own-key-0000")) == []
    assert "ada: key must start with sk-" in problems_of(Vaulted("no-prefix-but-long-enough"))[0]
