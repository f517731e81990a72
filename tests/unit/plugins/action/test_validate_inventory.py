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


def test_what_a_playbook_hands_to_its_roles_is_found_wherever_it_is_said(tmp_path):
    (tmp_path / "site.yml").write_text(
        "- {hosts: a, vars_files: [more.yml], roles: [plain, {role: one, vars: {one_a: 1}}],\n"
        "   tasks: [{ansible.builtin.include_role: {name: two}, vars: {two_b: 2}}, {ansible.builtin.debug: {}, vars: {not_c: 3}}]}\n"
        "- {ansible.builtin.import_playbook: people.yml}\n"
    )
    (tmp_path / "more.yml").write_text("three_d: 4\n")
    (tmp_path / "people.yml").write_text("- {hosts: a, post_tasks: [{import_role: {name: four}, vars: {four_e: 5}}]}\n")
    assert validate_inventory.read_wired(str(tmp_path / "site.yml")) == {"one_a", "two_b", "three_d", "four_e"}


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


class Hostvars(dict):
    """Variables of each host as they are written, and as they come out."""

    def __init__(self, raw, templated=None):
        super().__init__(templated or raw)
        self._raw = raw

    def raw_get(self, host):
        return self._raw[host]


class Untouchable:
    def __getitem__(self, name):
        raise AssertionError("%s was templated though nothing in it is a template" % name)


NAMES = {
    "root_secret_variable": "root", "kept_root_secret_variable": "kept_root", "secret_numbers_variable": "numbers",
    "people_variable": "people",
    "teams_variable": "teams",
    "budgets_variable": "budgets",
    "models": [],
    "platform_variables": [],
}
SECRET = "an-example-root-secret-of-enough-length"


def looked_at(raw, templated=None):
    action = object.__new__(validate_inventory.ActionModule)
    action._checked_lists = ({}, [])
    hostvars = Hostvars(raw, templated)
    return {host: action._problems_of(host, hostvars, {}, NAMES) for host in raw}


def test_lists_without_a_template_are_read_as_they_are_written():
    raw = {"a": {"root": SECRET, "people": [{"name": "ada", "key_generation": 0}]}}
    assert looked_at(raw, {"a": Untouchable()}) == {"a": ["people: ada: key_generation must be 1 or more."]}


def test_lists_with_a_template_are_read_as_they_come_out_on_each_host():
    raw = {host: {"root": SECRET, "people": [{"name": "{{ somebody }}", "key_generation": 0}]} for host in "ab"}
    templated = {host: {"people": [{"name": "ada-of-" + host, "key_generation": 0}]} for host in "ab"}
    assert looked_at(raw, templated) == {host: ["people: ada-of-%s: key_generation must be 1 or more." % host] for host in "ab"}


def test_lists_that_all_hosts_share_are_looked_at_once_and_told_for_each(monkeypatch):
    calls = []
    real = validate_inventory.people.problems_of
    monkeypatch.setattr(validate_inventory.people, "problems_of", lambda *given: calls.append(given) or real(*given))
    shared = [{"name": "ada", "key_generation": 0}]
    raw = {host: {"root": SECRET, "people": shared} for host in "abc"}
    raw["d"] = {"root": SECRET, "people": [{"name": "grace"}]}
    found = looked_at(raw)
    assert [len(problems) for problems in found.values()] == [1, 1, 1, 0]
    assert len(calls) == 2
