"""Keys that are handed out again from the inventory alone, asked of the playbook as it is shipped."""

from __future__ import annotations

import os
import subprocess

import pytest
import yaml
from ansible_collections.private_llm.platform.plugins.module_utils.people import access_of

from tree import ROOT

ENVIRONMENT = {**os.environ, "ANSIBLE_NOCOLOR": "1", "NO_COLOR": "1"}
ROOT_SECRET = "a-root-secret-of-the-test-that-is-long-enough"
PEOPLE = [{"name": "ada", "keys": [{"name": "laptop"}, {"name": "ci", "generation": 3}]}, {"name": "grace", "key_generation": 2}]


class Operator:
    """Somebody with an inventory whose host nobody can reach."""

    def __init__(self, directory):
        self._directory = directory
        self.hand_outs = directory / "people"

    def hand_out_again(self, people, *arguments):
        host = {"gateway.invalid": None}
        variables = {
            "platform_root_secret": ROOT_SECRET,
            "platform_listen_address": "0.0.0.0",
            "llm_users": people,
            "litellm_access_handout_directory": str(self.hand_outs),
            "litellm_access_purge": True,
        }
        inventory = self._directory / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"all": {"vars": variables, "children": {name: {"hosts": host} for name in ("gpu", "gateway", "observability")}}}))
        command = ["ansible-playbook", "--inventory", str(inventory), str(ROOT / "playbooks" / "users.yml"), "--tags", "handouts", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT, check=False)
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def keys(self):
        return {str(path.parent.relative_to(self.hand_outs)): path.read_text().strip() for path in self.hand_outs.rglob("key")}


@pytest.fixture
def operator(tmp_path):
    return Operator(tmp_path)


def derived(people):
    """Every key as the gateway is told of it."""
    keys = [(person["name"], key) for person in access_of(people, ROOT_SECRET, {}) for key in person["keys"]]
    return {name if key["name"] == "default" else f"{name}/{key['name']}": key["value"] for name, key in keys}


def test_all_keys_are_handed_out_again_though_no_host_can_be_reached(operator):
    status, output = operator.hand_out_again(PEOPLE)
    assert status == 0, output
    assert operator.keys() == derived(PEOPLE)
    assert "grace: hand-out made" in output
    assert [key for key in operator.keys().values() if key in output] == []


def test_only_the_person_who_is_named_is_handed_a_key_and_everybody_else_keeps_theirs(operator):
    operator.hand_out_again(PEOPLE)
    (operator.hand_outs / "ada" / "ci" / "key").unlink()
    newer = [{**PEOPLE[0]}, {"name": "grace", "key_generation": 3}, {"name": "linus"}]
    status, output = operator.hand_out_again(newer, "--extra-vars", "only=grace")
    assert status == 0, output
    before, now = derived(PEOPLE), derived(newer)
    assert operator.keys() == {"ada/laptop": before["ada/laptop"], "grace": now["grace"]}


def test_what_was_handed_to_somebody_who_is_in_no_list_any_more_is_removed_with_purge(operator):
    operator.hand_out_again(PEOPLE)
    status, output = operator.hand_out_again(PEOPLE[1:])
    assert status == 0, output
    assert operator.keys() == derived(PEOPLE[1:])


def test_a_mistake_in_the_list_is_named_and_nothing_is_handed_out(operator):
    status, output = operator.hand_out_again([{"name": "ada", "key_generation": 0}, {"name": "ada"}])
    assert status != 0
    assert "ada: key_generation must be 1 or more" in output and "the name is used twice" in output
    assert not operator.hand_outs.exists()
