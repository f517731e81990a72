# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils import psql
from ansible_collections.private_llm.platform.plugins.modules import postgres_role
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

PASSWORD = "correct-horse-battery-staple"
GIVEN = {
    "container": "postgres-litellm",
    "login_user": "litellm",
    "password_file": "/run/secrets/postgres_password",
    "name": "analyst",
    "password": PASSWORD,
    "member_of": ["pg_read_all_data"],
    "settings": {"default_transaction_read_only": "on"},
    "connection_limit": 5,
}
ROLE = {"member_of": ["pg_read_all_data"], "settings": ["default_transaction_read_only=on"], "connection_limit": 5, "login": True}


class FakeServer:
    """psql in a container: one role, and whether its password fits."""

    def __init__(self, monkeypatch, role=None, password=PASSWORD, runs=True):
        self.role, self.password, self.runs = role, password, runs
        self.statements, self.commands, self.failures = [], [], []
        self.refusal = 'psql: error: FATAL:  password authentication failed for user "%s"'
        monkeypatch.setattr(psql.time, "sleep", lambda _seconds: None)
        monkeypatch.setattr(AnsibleModule, "get_bin_path", lambda *_arguments, **_more: "/usr/bin/docker")
        monkeypatch.setattr(AnsibleModule, "run_command", lambda _module, command, **more: self.run(command, **more))

    def run(self, command, data="", environ_update=None, **_more):
        self.commands.append(command)
        if command[1] == "inspect":
            return 0, "true\n" if self.runs else "false\n", ""
        if "PGPASSWORD" in command:
            if self.failures:
                return 126, "", self.failures.pop()
            name = next(word.partition("=")[2] for word in command if word.startswith("--username="))
            return (0, "", "") if environ_update["PGPASSWORD"] == self.password else (2, "", self.refusal % name)
        if data.startswith("SELECT json_build_object"):
            return 0, json.dumps(self.role) if self.role else "", ""
        self.statements += data.split("\n")
        return 0, "", ""


def run(check=False, **more):
    return run_module(postgres_role.main, {**GIVEN, **more}, check=check)


def test_a_missing_role_is_made_with_all_that_it_has(monkeypatch):
    server = FakeServer(monkeypatch)
    assert run()["actions"] == ["create", "password", "connection_limit", "member_of", "settings"]
    assert server.statements[0] == 'CREATE ROLE "analyst" LOGIN;'
    assert 'GRANT "pg_read_all_data" TO "analyst";' in server.statements
    assert "ALTER ROLE \"analyst\" SET default_transaction_read_only = 'on';" in server.statements


def test_a_role_that_is_as_wanted_is_left_alone(monkeypatch):
    server = FakeServer(monkeypatch, ROLE)
    assert run()["changed"] is False and server.statements == []


@pytest.mark.parametrize(
    "found, password, actions",
    [
        (ROLE, "another", ["password"]),
        ({**ROLE, "member_of": ["pg_monitor", "pg_read_all_data"]}, PASSWORD, ["member_of"]),
        ({**ROLE, "settings": ["work_mem=4MB", "default_transaction_read_only=on"]}, PASSWORD, ["settings"]),
        ({**ROLE, "connection_limit": -1}, PASSWORD, ["connection_limit"]),
        ({**ROLE, "login": False}, PASSWORD, ["login", "password"]),
    ],
)
def test_only_what_differs_is_changed(monkeypatch, found, password, actions):
    FakeServer(monkeypatch, found, password)
    assert run()["actions"] == actions


def test_check_mode_says_the_same_and_changes_nothing(monkeypatch):
    server = FakeServer(monkeypatch, ROLE, "another")
    assert run(check=True)["actions"] == ["password"] and server.statements == []


def test_check_mode_predicts_on_a_host_where_nothing_runs_yet(monkeypatch):
    FakeServer(monkeypatch, runs=False)
    assert run(check=True)["changed"] is True


def test_a_container_that_does_not_run_is_a_sentence(monkeypatch):
    FakeServer(monkeypatch, runs=False)
    assert "The container postgres-litellm does not run" in run()["msg"]


def test_the_password_is_in_no_output_argument_or_statement(monkeypatch):
    server = FakeServer(monkeypatch, ROLE, "another")
    result = run()
    seen = json.dumps([server.commands, server.statements]) + result["printed"]
    assert PASSWORD not in seen and "the new one" in result["printed"]


def test_the_server_gets_a_verifier_that_only_the_password_fits():
    text = postgres_role.verifier(PASSWORD, b"0123456789abcdef")
    kind, cost, keys = text.split("$")
    iterations, salt = cost.split(":")
    stored, server = (base64.b64decode(part) for part in keys.split(":"))
    salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), base64.b64decode(salt), int(iterations))
    assert (kind, server) == ("SCRAM-SHA-256", hmac.digest(salted, b"Server Key", "sha256"))
    assert stored == hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()


def test_a_role_that_is_to_go_is_dropped_and_one_that_is_gone_is_not(monkeypatch):
    server = FakeServer(monkeypatch, ROLE)
    assert run(state="absent")["actions"] == ["drop"] and server.statements == ['DROP ROLE "analyst";']
    FakeServer(monkeypatch)
    assert run(state="absent")["changed"] is False


@pytest.mark.parametrize("wrong", [{"name": 'x"; DROP'}, {"member_of": ["pg read"]}, {"settings": {"a b": 1}}, {"name": "litellm"}])
def test_names_that_are_none_are_refused_before_the_server_is_asked(monkeypatch, wrong):
    server = FakeServer(monkeypatch)
    assert run(**wrong)["failed"] and server.commands == []


OWN = {"name": "litellm", "member_of": [], "settings": {}, "connection_limit": -1}


def test_the_password_of_the_role_that_logs_in_is_changed_and_nothing_else_of_it(monkeypatch):
    server = FakeServer(monkeypatch, ROLE, password="the-old-one")
    assert run(**OWN)["actions"] == ["password"]
    (statement,) = server.statements
    assert statement.startswith('ALTER ROLE "litellm" PASSWORD \'SCRAM-SHA-256$') and PASSWORD not in statement


def test_a_change_that_was_made_already_is_seen_though_the_file_in_the_container_is_the_old_one(monkeypatch):
    server = FakeServer(monkeypatch, ROLE)
    assert not run(**OWN)["changed"] and not server.statements
    assert not any("sh" in command for command in server.commands), "the file's password would be refused"


def test_the_role_that_logs_in_is_left_alone_where_the_server_does_not_run(monkeypatch):
    FakeServer(monkeypatch, runs=False)
    assert not run(**OWN)["changed"] and not run(**OWN, check=True)["changed"]


@pytest.mark.parametrize("more", [{"member_of": ["pg_monitor"]}, {"settings": {"work_mem": "1MB"}}, {"connection_limit": 5}, {"state": "absent"}])
def test_of_the_role_that_logs_in_more_than_the_password_is_refused(monkeypatch, more):
    FakeServer(monkeypatch, ROLE)
    assert "of which the password alone can be changed" in run(**{**OWN, **more})["msg"]


def test_a_login_that_the_engine_had_no_time_for_is_tried_again_and_not_taken_for_a_wrong_password(monkeypatch):
    server = FakeServer(monkeypatch, ROLE)
    server.failures = ["OCI runtime exec failed: exec failed", "psql: error: connection refused"]
    assert run()["changed"] is False and server.failures == []


def test_where_it_cannot_be_found_out_whether_a_password_fits_nothing_is_changed(monkeypatch):
    server = FakeServer(monkeypatch, ROLE)
    server.failures = ["OCI runtime exec failed: exec failed"] * 5
    assert "whether analyst may log in was not to be found out: OCI runtime exec failed" in run()["msg"]
    assert server.statements == []


def test_a_role_whose_connections_are_all_taken_has_the_right_password(monkeypatch):
    server = FakeServer(monkeypatch, ROLE, password="another")
    server.refusal = 'psql: error: FATAL:  too many connections for role "%s"'
    assert run()["changed"] is False
