# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.modules import langfuse_project_keys
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

GIVEN = {
    "container": "postgres-langfuse",
    "login_user": "langfuse",
    "login_database": "langfuse",
    "password_file": "/run/secrets/postgres_password",
    "project_id": "o'brien",
    "public_key": "pk-lf-new",
}


class FakeServer:
    """psql in a container: the keys that a start has made."""

    def __init__(self, monkeypatch, keys, runs=True, error=""):
        self.keys, self.runs, self.error, self.statements = keys, runs, error, []
        monkeypatch.setattr(AnsibleModule, "get_bin_path", lambda *_arguments, **_more: "/usr/bin/docker")
        monkeypatch.setattr(AnsibleModule, "run_command", lambda _module, command, **more: self.run(command, **more))

    def run(self, command, data="", **_more):
        if command[1] == "inspect":
            return 0, "true\n" if self.runs else "false\n", ""
        self.statements.append(data)
        return (2, "", self.error) if self.error else (0, json.dumps(self.keys), "")


def run(check=False):
    return run_module(langfuse_project_keys.main, GIVEN, check=check)


def test_keys_of_before_are_deleted_and_the_one_in_use_stays(monkeypatch):
    server = FakeServer(monkeypatch, ["pk-lf-new", "pk-lf-old", "pk-lf-older"])
    result = run()
    assert result["changed"] and result["deleted"] == ["pk-lf-old", "pk-lf-older"]
    assert server.statements[1] == "DELETE FROM api_keys WHERE project_id = 'o''brien' AND public_key IN ('pk-lf-old', 'pk-lf-older');"


def test_only_keys_that_a_start_has_made_are_looked_at(monkeypatch):
    server = FakeServer(monkeypatch, ["pk-lf-new"])
    assert not run()["changed"]
    (statement,) = server.statements
    assert statement.endswith("WHERE project_id = 'o''brien' AND note = 'Provisioned API Key';")


def test_nothing_is_deleted_while_the_key_in_use_is_not_there(monkeypatch):
    server = FakeServer(monkeypatch, ["pk-lf-old"])
    assert "has no key pk-lf-new in the project o'brien, so the keys of before were left" in run()["msg"]
    assert len(server.statements) == 1


def test_check_mode_says_what_would_be_deleted_before_the_new_key_is_there(monkeypatch):
    server = FakeServer(monkeypatch, ["pk-lf-old"])
    assert run(check=True)["deleted"] == ["pk-lf-old"] and len(server.statements) == 1


@pytest.mark.parametrize("check", [True, False])
def test_a_container_that_does_not_run_is_foreseen_in_check_mode_and_else_a_sentence(monkeypatch, check):
    FakeServer(monkeypatch, [], runs=False)
    result = run(check=check)
    assert (result["deleted"] == []) if check else ("postgres-langfuse does not run" in result["msg"])


def test_what_the_server_refuses_is_told_in_its_own_words(monkeypatch):
    FakeServer(monkeypatch, [], error='ERROR:  relation "api_keys" does not exist')
    assert run()["msg"] == 'PostgreSQL in the container postgres-langfuse refused: ERROR:  relation "api_keys" does not exist'
