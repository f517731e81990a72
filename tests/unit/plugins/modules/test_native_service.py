# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import socket

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import managed_paths, service_transaction
from ansible_collections.private_llm.platform.plugins.modules import native_service
from ansible_collections.private_llm.platform.tests.unit.fakes.host import FakeHost
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

SECRET = "a-secret-that-nobody-may-see"


def mark_on_disk(path):
    found = re.search(r'PRIVATE_LLM_FINGERPRINT=(\w+)"', path.read_text()) if path.exists() else None
    return found.group(1) if found else None


@pytest.fixture
def host(tmp_path, monkeypatch):
    units = tmp_path / "units"
    units.mkdir()
    fake = FakeHost(units)
    running = {}
    start = fake._start

    def start_and_remember(unit):
        running[unit] = mark_on_disk(units / unit) or mark_on_disk(units / f"{unit}.d" / "private-llm.conf")
        if not (units / unit).exists():
            (units / unit).write_text("a packaged unit\n")
        return start(unit)

    monkeypatch.setattr(fake, "_start", start_and_remember)
    fake.running = running
    socket_answer = native_service.NativeBackend.running_fingerprint

    def of_the_process(self, status):
        # A fake unit has no process whose environment could be read.
        return socket_answer(self, status) if self._is_socket else running.get(f"{self._name}.service")

    monkeypatch.setattr(native_service.NativeBackend, "running_fingerprint", of_the_process)
    monkeypatch.setattr(native_service, "UNIT_DIRECTORY", str(units))
    monkeypatch.setattr(native_service, "CONFIGURATION_DIRECTORY", str(tmp_path / "private-llm"))
    monkeypatch.setattr(native_service, "runner", lambda module: fake.run)
    monkeypatch.setattr(service_transaction, "SECONDS_TO_SETTLE", 0)
    monkeypatch.setattr(managed_paths, "user_id", lambda name: os.getuid())
    monkeypatch.setattr(managed_paths, "group_id", lambda name: os.getgid())
    return fake


@pytest.fixture
def run(tmp_path):
    def call(check=False, **parameters):
        arguments = {
            "name": "ticker",
            "exec_start": ["/opt/ticker/current/ticker", "--rate", "50%"],
            "links": [{"path": str(tmp_path / "current"), "target": "/opt/ticker/releases/1"}],
            "secret_environment": {"TOKEN": SECRET},
            **parameters,
        }
        return run_module(native_service.main, arguments, check=check)

    return call


def test_a_fresh_host_gets_link_unit_and_a_running_service(host, run, tmp_path):
    assert run()["changed"] and host.active["ticker.service"] == "active" and "ticker.service" in host.enabled
    assert os.readlink(tmp_path / "current") == "/opt/ticker/releases/1"


def test_a_second_run_changes_nothing(host, run):
    run()
    assert not run()["changed"]


def test_another_release_switches_the_link_and_restarts_once(host, run, tmp_path):
    run()
    before = host.ran("systemctl", "restart")
    assert run(links=[{"path": str(tmp_path / "current"), "target": "/opt/ticker/releases/2"}])["changed"]
    assert os.readlink(tmp_path / "current") == "/opt/ticker/releases/2" and host.ran("systemctl", "restart") == before + 1


def test_a_release_that_does_not_start_gives_the_link_back(host, run, tmp_path):
    run()
    result = run(links=[{"path": str(tmp_path / "current"), "target": "/opt/ticker/releases/2"}], exec_start=["/opt/ticker/current/banana"])
    assert result["failed"] and "put back and runs again" in result["msg"]
    assert os.readlink(tmp_path / "current") == "/opt/ticker/releases/1"


def test_a_stranger_who_answers_the_health_check_does_not_make_a_service_healthy(host, run):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        health = {"tcp": f"127.0.0.1:{stranger.getsockname()[1]}", "timeout": 0}
        result = run(exec_start=["/opt/ticker/current/kiwi"], health=health)
    assert result["failed"] and "the unit is activating" in result["msg"]


def test_systemd_takes_the_command_line_literally(host, run):
    run(exec_start=["/bin/program", "50%", "$HOME", "two words", 'a "quote"'])
    assert 'ExecStart=/bin/program 50%% $$HOME "two words" "a \\"quote\\""' in (host.units / "ticker.service").read_text()


def test_secrets_are_in_no_result_and_no_unit(host, run, tmp_path):
    assert SECRET not in str(run(check=True, diff=True)) and SECRET not in str(run())
    assert SECRET not in (host.units / "ticker.service").read_text()
    assert (tmp_path / "private-llm" / "ticker" / "secret_environment").stat().st_mode & 0o777 == 0o600


def test_a_packaged_unit_gets_an_addition_and_keeps_its_own_file(host, run):
    run(unit_source="package", exec_start=[], service_options={"LimitNOFILE": 4096})
    assert "LimitNOFILE=4096" in (host.units / "ticker.service.d" / "private-llm.conf").read_text()
    assert (host.units / "ticker.service").read_text() == "a packaged unit\n"
    assert not run(unit_source="package", exec_start=[], service_options={"LimitNOFILE": 4096})["changed"]


def test_a_socket_is_started_instead_of_its_service(host, run):
    run(listen_streams=["127.0.0.1:9000"])
    assert host.active == {"ticker.socket": "active"} and "ticker.socket" in host.enabled
    assert not run(listen_streams=["127.0.0.1:9000"])["changed"]


def test_a_socket_is_stopped_before_its_file_changes(host, run):
    run(listen_streams=["127.0.0.1:9000"])
    host.dies_at = ("systemctl", "daemon-reload")
    with pytest.raises(KeyboardInterrupt):
        run(listen_streams=["127.0.0.1:9001"])
    host.dies_at = None
    assert host.active["ticker.socket"] == "inactive"
    assert run(listen_streams=["127.0.0.1:9001"])["changed"] and host.active["ticker.socket"] == "active"


def test_a_service_without_a_program_is_refused(host, run):
    assert "exec_start is empty" in run(exec_start=[])["msg"]


def test_absent_takes_unit_and_link_away(host, run, tmp_path):
    run()
    assert run(state="absent")["changed"]
    assert not (host.units / "ticker.service").exists() and not os.path.lexists(tmp_path / "current")
    assert not run(state="absent")["changed"]
