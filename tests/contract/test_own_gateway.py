"""The playbooks of docs/own-gateway.md do what the page says, as they are printed there."""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import sys

import pytest
import yaml
from ansible_collections.private_llm.platform.tests.unit.fakes.litellm import MASTER_KEY
from ansible_collections.private_llm.platform.tests.unit.fakes.litellm_usage import FakeWithUsage

from tree import ROOT

PAGE = (ROOT / "docs" / "own-gateway.md").read_text()
PRINTED = dict(re.findall(r"```yaml\n# (\w+\.yml)\n(.*?)```", PAGE, flags=re.DOTALL))
SECRETS = {"gateway_master_key": MASTER_KEY, "people_root_secret": "a-root-secret-of-the-test-that-is-long-enough"}


class Reader:
    """Somebody who copies the page into files, with an own gateway's address."""

    def __init__(self, directory, gateway):
        self.home = directory
        for name, text in PRINTED.items():
            assert "https://llm.example.com" in text
            (directory / name).write_text(text.replace("https://llm.example.com", gateway.url))
        # The page tells nothing of this checkout's settings, so a reader has none.
        (directory / "ansible.cfg").touch()
        (directory / "secrets.yml").write_text(yaml.safe_dump(SECRETS))

    def run(self, playbook, *arguments):
        environment = {**os.environ, "HOME": str(self.home), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"), "ANSIBLE_NOCOLOR": "1"}
        environment |= {"ANSIBLE_CONFIG": str(self.home / "ansible.cfg"), "ANSIBLE_PYTHON_INTERPRETER": sys.executable, "NO_COLOR": "1"}
        command = ["ansible-playbook", playbook, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.home, env=environment, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert MASTER_KEY not in done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def gateway():
    with FakeWithUsage() as running:
        yield running


@pytest.fixture
def reader(tmp_path, gateway):
    return Reader(tmp_path, gateway)


def test_the_whole_list_gives_everybody_a_key_and_a_hand_out_and_a_second_run_changes_nothing(reader, gateway):
    reader.run("people.yml")
    assert {row["key_alias"] for row in gateway.keys.values()} == {"ada-1", "linus/laptop-1", "linus/ci-1"}
    people = reader.home / "private-llm" / "people"
    assert all(gateway.key_of((people / place / "key").read_text().strip()) for place in ("ada", "linus/laptop", "linus/ci"))
    assert "changed=0 " in reader.run("people.yml")
    gateway.requests.clear()
    (people / "ada" / "key").unlink()
    reader.run("people.yml", "--tags", "handouts")
    assert (people / "ada" / "key").exists() and gateway.requests == []


def test_the_modules_for_one_object_take_address_and_key_from_one_place_and_the_list_leaves_what_they_made(reader, gateway):
    reader.run("objects.yml")
    assert [row["user_id"] for row in gateway.keys.values() if row["key_alias"] == "grace-laptop"] == ["grace"]
    assert "changed=0 " in reader.run("objects.yml")
    reader.run("people.yml", "-e", "litellm_access_purge=true")
    assert "grace-laptop" in {row["key_alias"] for row in gateway.keys.values()}


def test_the_report_names_who_used_the_gateway(reader, gateway):
    gateway.add_user("ada")
    gateway.use("of no matter", "ada", day=datetime.datetime.now(datetime.UTC).date().isoformat(), tokens=(1234, 5))
    assert re.search(r"^\W*ada .* 1 234 +5 ", reader.run("used.yml"), re.MULTILINE)
