"""playbooks/rotate.yml and show_secret.yml as an operator runs them, up to where a host would be asked; and that the catalogue is what the wiring uses."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest
import yaml
from ansible_collections.private_llm.platform.plugins.module_utils import platform_secrets

from tree import ROOT

SECRET = "a-root-secret-of-the-test-that-is-long-enough"


class Operator:
    """An operator with an inventory whose host cannot be reached."""

    def __init__(self, path):
        self.variables = path / "inventory/group_vars/all"
        self.variables.mkdir(parents=True)
        self.numbers = self.variables / "secret_numbers.yml"
        hosts = {group: {"hosts": {"one": None}} for group in ("gpu", "gateway", "observability")}
        (path / "inventory/hosts.yml").write_text(yaml.safe_dump({"all": {"children": hosts}}))
        self.configure(platform_root_secret=SECRET, platform_listen_address="0.0.0.0", platform_gpu="none")
        self._inventory = path / "inventory"

    def configure(self, **variables):
        path = self.variables / "platform.yml"
        known = yaml.safe_load(path.read_text()) if path.exists() else {}
        # Closed at once, so that a play that asks the host ends there.
        path.write_text(yaml.safe_dump({**known, "ansible_host": "127.0.0.1", "ansible_port": 1, **variables}))

    def run(self, playbook, secret, *arguments):
        """What a playbook said, on one line."""
        command = ["ansible-playbook", "--inventory", str(self._inventory), str(ROOT / "playbooks" / playbook), "--extra-vars", json.dumps({"secret": secret})]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        done = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        self.status = done.returncode
        return " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def operator(tmp_path):
    return Operator(tmp_path)


def test_the_wiring_uses_every_secret_of_the_catalogue_and_derives_none_beside_it():
    wiring = (ROOT / "playbooks/wiring.yml").read_text()
    assert set(re.findall(r"__platform_secrets\['([^']+)'\]", wiring)) == set(platform_secrets.BY_NAME)
    assert re.findall(r"derive_secret\('([^']+)'", wiring) == ["llama-server/api-key/"]


def test_a_secret_is_shown_as_the_inventory_numbers_it(operator):
    name, second = "litellm/ui-password", {"litellm/ui-password": 2}
    assert platform_secrets.all_secrets(SECRET, SECRET, {})[name] in operator.run("show_secret.yml", name)
    operator.configure(platform_secret_numbers=second)
    assert platform_secrets.all_secrets(SECRET, SECRET, second)[name] in operator.run("show_secret.yml", name)


def test_a_secret_that_does_not_exist_is_told_with_those_that_do(operator):
    said = operator.run("show_secret.yml", "grafana/password")
    assert operator.status != 0 and 'is no secret of the platform. There are: clickhouse/langfuse, grafana/admin-password, ' in said
    assert not any(secret in said for secret in platform_secrets.all_secrets(SECRET, SECRET, {}).values())


def test_the_next_number_is_written_beside_the_inventory_and_used_in_the_same_run(operator):
    said = operator.run("rotate.yml", "valkey/langfuse")
    assert f"valkey/langfuse is number 2 now, as {operator.numbers} says" in said and "run site.yml again, not this" in said
    assert yaml.safe_load(operator.numbers.read_text()) == {"platform_secret_numbers": {"valkey/langfuse": 2}}
    # The plays of site.yml follow, and the host does not answer.
    assert operator.status != 0 and "UNREACHABLE" in said
    operator.run("rotate.yml", "langfuse/session")
    assert yaml.safe_load(operator.numbers.read_text()) == {"platform_secret_numbers": {"valkey/langfuse": 2, "langfuse/session": 2}}


def test_a_check_run_writes_no_number(operator):
    assert "valkey/langfuse is number 2 now" in operator.run("rotate.yml", "valkey/langfuse", "--check")
    assert not operator.numbers.exists()


@pytest.mark.parametrize("name, reason", [("", "is no secret of the platform"), ("litellm/salt-key", "database is encrypted with it")])
def test_a_secret_without_a_next_one_is_refused_before_anything_is_written(operator, name, reason):
    said = operator.run("rotate.yml", name)
    assert operator.status != 0 and reason in said and "valkey/langfuse" in said
    assert not operator.numbers.exists() and "UNREACHABLE" not in said


def test_numbers_are_not_written_where_ansible_would_not_read_them(operator, tmp_path):
    operator.configure(platform_secret_numbers_file=str(tmp_path / "nowhere/numbers.yml"))
    said = operator.run("rotate.yml", "valkey/langfuse")
    assert operator.status != 0 and "nowhere is no directory: name a file beside your inventory in platform_secret_numbers_file" in said
