"""What an operator is told about an inventory before anything is changed, asked of ansible-playbook itself."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
import yaml

from tree import ROOT, load

# The lab need not be there: the demo's inventory only names a directory below it.
ENVIRONMENT = {**os.environ, "PRIVATE_LLM_LAB": "/nonexistent", "ANSIBLE_NOCOLOR": "1", "NO_COLOR": "1"}
ROOT_SECRET = "a-root-secret-of-the-test-that-is-long-enough"
GOOD = {"platform_root_secret": ROOT_SECRET, "platform_listen_address": "0.0.0.0", "llm_users": [{"name": "ada"}]}


def validate(inventory):
    command = ["ansible-playbook", "--inventory", str(inventory), str(ROOT / "playbooks" / "validate.yml")]
    outcome = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT, check=False)
    # Ansible breaks long lines where it likes.
    return outcome.returncode, " ".join((outcome.stdout + outcome.stderr).split())


@pytest.fixture
def inventory(tmp_path):
    def write(**variables):
        merged = {name: value for name, value in {**GOOD, **variables}.items() if value is not ...}
        hosts = {"one.test": {"platform_address": "192.0.2.1"}, "two.test": {"platform_address": "192.0.2.2"}}
        groups = {name: {"hosts": hosts} for name in ("gpu", "gateway", "observability")}
        path = tmp_path / "hosts.yml"
        path.write_text(yaml.safe_dump({"all": {"vars": merged, "children": groups}}))
        return path

    return write


def test_the_demo_inventory_is_complete():
    status, output = validate(ROOT / "inventories" / "demo")
    assert status == 0, output


def test_the_example_inventory_is_refused_while_a_placeholder_is_left():
    status, output = validate(ROOT / "inventories" / "example")
    assert status != 0
    for place in ("platform_root_secret", "platform_listen_address", "ansible_host", "llm_users, entry 1.name"):
        assert f"{place} still has the placeholder CHANGE-ME" in output


def test_the_example_inventory_is_complete_once_its_placeholders_are_filled(tmp_path):
    for source in (ROOT / "inventories" / "example").rglob("*.yml"):
        target = tmp_path / source.relative_to(ROOT / "inventories" / "example")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text().replace("CHANGE-ME", "filled-in-with-a-value-of-forty-characters"))
    status, output = validate(tmp_path)
    assert status == 0, output


def test_every_value_of_the_example_has_a_comment_and_is_a_placeholder():
    for name in ("platform.yml", "users.yml"):
        lines = (ROOT / "inventories" / "example" / "group_vars" / "all" / name).read_text().splitlines()
        for number, line in enumerate(lines):
            if re.match(r"\s*(- )?[a-z_]+: \S", line):
                assert "CHANGE-ME" in line
                assert lines[number - 1].lstrip().startswith("#")


def test_a_good_inventory_passes_without_asking_a_host(inventory):
    status, output = validate(inventory())
    assert status == 0, output


@pytest.mark.parametrize(
    "variables, sentence",
    [
        ({"platform_root_secret": ...}, "platform_root_secret is missing"),
        ({"platform_root_secret": "short"}, "platform_root_secret has 5 characters, it needs at least 32"),
        ({"platform_root_secret": "{{ nobody_defined_this }}"}, "platform_root_secret cannot be read"),
        ({"platform_kept_root_secret": "short"}, "platform_kept_root_secret has 5 characters, it needs at least 32"),
        ({"platform_secret_numbers": {"litellm/salt-key": 2}}, "platform_secret_numbers: litellm/salt-key (salt key of the gateway) has no next one"),
        ({"litellm_prot": 4000}, "litellm_prot is no variable of the role litellm; did you mean litellm_port?"),
        ({"litellm_access_user": []}, "is no variable of the role litellm_access; did you mean litellm_access_users?"),
        ({"litellm_start_timeout": "a while"}, "litellm_start_timeout does not fit:"),
        ({"litellm_port": 4001}, "litellm_port has no effect in an inventory: the playbooks set it themselves"),
        ({"litellm_access_models": ["a"]}, "litellm_access_models has no effect in an inventory"),
        ({"langfuse_salt": "x" * 40}, "langfuse_salt has no effect in an inventory"),
        ({"llm_models": [{"name": "a", "slot": 4}]}, "llm_models: a: has an unknown field slot; did you mean slots?"),
        ({"llm_users": [{"email": "a@example.com"}]}, "llm_users: entry 1 has no name."),
        ({"llm_users": [{"name": "ada", "rmp_limit": 1}]}, "llm_users: ada: has an unknown field rmp_limit; did you mean rpm_limit?"),
    ],
)
def test_a_mistake_is_one_sentence_and_told_once(inventory, variables, sentence):
    status, output = validate(inventory(**variables))
    assert status != 0
    assert "The inventory has 1 problem, and nothing was changed" in output
    assert sentence in output


def test_all_mistakes_are_told_at_once(inventory):
    status, output = validate(inventory(platform_root_secret="short", litellm_prot=1, llm_users=[{"name": "ada"}, {"name": "ada"}, {}]))
    assert status != 0
    assert "The inventory has 4 problems" in output


def test_two_hosts_have_to_say_where_they_are_and_one_has_not(tmp_path):
    def validated(*names, groups=("gpu", "gateway", "observability")):
        path = tmp_path / "hosts.yml"
        hosts = {"hosts": {name: {"platform_address": "192.0.2.1"} if name == "known" else None for name in names}}
        path.write_text(yaml.safe_dump({"all": {"vars": GOOD, "children": dict.fromkeys(groups, hosts)}}))
        return validate(path)

    assert validated("alone")[0] == 0
    status, output = validated("known", "lost")
    assert status != 0 and "lost: platform_address is missing, the address at which the other hosts reach this one." in output
    status, output = validated("alone", groups=("gpu", "gateway"))
    assert status != 0 and "no hosts in the group observability" in output


def test_no_message_quotes_a_secret(inventory):
    secret = "not-much-of-a-secret"
    _status, output = validate(inventory(platform_root_secret=secret, llm_users=[{"name": "ada", "key": "very-secret-but-malformed"}]))
    assert secret not in output
    assert "very-secret-but-malformed" not in output


def test_every_platform_variable_that_a_playbook_reads_is_known_to_the_check():
    texts = "\n".join(path.read_text() for path in (ROOT / "playbooks").glob("*.yml"))
    used = set(re.findall(r"(?<![\w])(?:platform|llm)_[a-z_]+(?![\w.])", re.sub(r"#.*", "", texts)))
    task = load(ROOT / "playbooks" / "validate.yml")[0]["tasks"][0]["private_llm.platform.validate_inventory"]
    assert used - {"platform_root_secret", "llm_users", "platform_variables"} <= set(task["platform_variables"])
