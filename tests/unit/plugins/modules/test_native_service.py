# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import socket

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import journal, managed_paths, native_backend, service_transaction
from ansible_collections.private_llm.platform.plugins.modules import native_service
from ansible_collections.private_llm.platform.tests.unit.fakes.host import FakeHost
from ansible_collections.private_llm.platform.tests.unit.fakes.interruptions import count_changes_of_files, killed_at_each_step
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
    socket_answer = native_backend.NativeBackend.running_fingerprint

    def of_the_process(self, status):
        # A fake unit has no process whose environment could be read.
        return socket_answer(self, status) if self._is_socket else running.get(f"{self._name}.service")

    monkeypatch.setattr(native_backend.NativeBackend, "running_fingerprint", of_the_process)
    monkeypatch.setattr(native_backend, "UNIT_DIRECTORY", str(units))
    monkeypatch.setattr(native_backend, "CONFIGURATION_DIRECTORY", str(tmp_path / "private-llm"))
    monkeypatch.setattr(native_backend, "PROGRAM_DIRECTORY", str(tmp_path / "lib"))
    monkeypatch.setattr(journal, "STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setattr(native_service, "runner", lambda module: fake.run)
    monkeypatch.setattr(service_transaction, "SECONDS_TO_SETTLE", 0)
    monkeypatch.setattr(service_transaction, "SECONDS_TO_WATCH", 0)
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


def test_a_service_that_runs_is_stopped_by_systemd_itself_before_its_socket_is_opened_anew(host, run):
    run(listen_streams=["127.0.0.1:9000"])
    host.active["ticker.service"] = "active"
    run(listen_streams=["127.0.0.1:9001"])
    assert host.ran("systemd-run") == 1 and (host.active["ticker.socket"], host.active["ticker.service"]) == ("active", "inactive")


def test_a_socket_stays_open_when_a_run_is_killed_at_any_step_and_is_finished_by_the_next(host, run, tmp_path, monkeypatch):
    run(listen_streams=["127.0.0.1:9000"])
    count_changes_of_files(host, monkeypatch)
    for step in killed_at_each_step(host, lambda: run(listen_streams=["127.0.0.1:9001"])):
        assert host.active["ticker.socket"] == "active", step
        run(listen_streams=["127.0.0.1:9001"])
        assert "ListenStream=127.0.0.1:9001" in (host.units / "ticker.socket").read_text() and is_tidy(tmp_path), step
        assert not run(listen_streams=["127.0.0.1:9001"])["changed"], step
        run(listen_streams=["127.0.0.1:9000"])


BAD = [
    ({"name": "Ticker"}, "name 'Ticker' may hold"),
    ({"exec_start": []}, "exec_start is empty"),
    ({"exec_start": ["ticker"]}, "the program of exec_start 'ticker' must be an absolute path"),
    ({"exec_start": ["/bin/ticker", "a\nb"]}, "exec_start holds a line break"),
    ({"unit_source": "package"}, "belongs to the package's own unit"),
    ({"files": [{"path": "ticker.conf", "content": ""}]}, "file 'ticker.conf' must be an absolute path"),
    ({"files": [{"path": "/etc/passwd", "content": ""}]}, "/etc/passwd lies outside of the service's directories"),
    ({"files": [{"path": "/etc/ticker/../passwd", "content": ""}]}, "must name one place below /"),
    ({"files": [{"path": "/etc/ticker/key", "secret_content": "x", "mode": "0640"}]}, "could be read by others"),
    ({"files": [{"path": "/etc/ticker/a", "content": ""}, {"path": "/etc/ticker/a", "content": ""}]}, "two files are called /etc/ticker/a"),
    ({"directories": [{"path": "/etc"}]}, "'/etc' belongs to the whole host"),
    ({"directories": [{"path": "/var/lib/ticker", "mode": "rwx"}]}, "four octal digits"),
    ({"links": [{"path": "current", "target": "/opt/ticker/releases/1"}]}, "link 'current' must be an absolute path"),
    ({"links": [{"path": "/opt/a", "target": "/opt/a"}]}, "would point at itself"),
    ({"links": [{"path": "/opt/a", "target": "/opt/releases/1", "keep": 0}]}, "keep 0 of the link /opt/a must be at least 1"),
    ({"links": [{"path": "/opt/a", "target": "/opt/b", "keep": 2}]}, "have to be in one called releases"),
    ({"service_options": {"ExecStart": "/bin/other"}}, "service_options has ExecStart, which this module writes itself"),
    ({"service_options": {"limit-nofile": 1}}, "'limit-nofile', which is no name of a directive"),
    ({"service_options": {"UMask": "0077\nUser=root"}}, "UMask of service_options holds a line break"),
    ({"listen_streams": ["9000"]}, "listen_streams '9000' must be ADDRESS:PORT"),
    ({"listen_streams": ["127.0.0.1:99999"]}, "outside 1 to 65535"),
    ({"listen_streams": ["127.0.0.1:9000", "127.0.0.1:9000"]}, "listen_streams names twice 127.0.0.1:9000"),
    ({"socket_options": {"NoDelay": True}}, "socket_options without listen_streams"),
    ({"drain": {"timeout": 0}}, "drain.timeout 0 must be at least 1"),
    ({"drain": {"timeout": 5}, "listen_streams": ["127.0.0.1:9000"]}, "drain is for programs that listen by themselves"),
    ({"depends_on": ["ssh"]}, "write its kind too"),
    ({"environment": {"A B": "c"}}, "no name for one"),
    ({"health": {"tcp": "9000"}}, "must be HOST:PORT"),
    ({"stop_timeout": -1}, "must not be negative"),
    ({"purge": True}, "belongs to state absent only"),
]


@pytest.mark.parametrize(("parameters", "sentence"), BAD, ids=[f"{next(iter(p))}-{n}" for n, (p, _sentence) in enumerate(BAD)])
def test_a_description_that_cannot_work_is_refused_before_anything_changes(host, run, parameters, sentence):
    result = run(**parameters)
    assert result["failed"] and sentence in result["msg"]
    assert not host.commands


def test_what_is_purged_has_to_belong_to_the_service(host, run):
    assert "belongs to the whole host" in run(state="absent", purge=True, exec_start=[], directories=[{"path": "/var/lib"}])["msg"]


def test_a_program_is_drained_as_root_outside_of_its_sandbox_and_has_the_time_for_it(host, run, tmp_path):
    run(drain={"timeout": 90}, stop_timeout=30)
    text = (host.units / "ticker.service").read_text()
    assert f"ExecStop=-+/usr/bin/python3 -I {tmp_path}/lib/drain.py $MAINPID 90\n" in text and "TimeoutStopSec=100\n" in text
    assert "def take_no_more" in (tmp_path / "lib" / "drain.py").read_text()


def test_another_version_of_the_program_that_drains_restarts_nothing(host, run, tmp_path):
    run(drain={"timeout": 90})
    before = host.ran("systemctl", "restart")
    (tmp_path / "lib" / "drain.py").write_text("an older one")
    assert run(drain={"timeout": 90})["changed"] and host.ran("systemctl", "restart") == before


@pytest.fixture
def releases(tmp_path):
    made = tmp_path / "releases"
    for number in range(1, 6):
        (made / str(number)).mkdir(parents=True)
        os.utime(made / str(number), (number, number))
    return made


def link_to(tmp_path, number, keep=2):
    return [{"path": str(tmp_path / "current"), "target": str(tmp_path / "releases" / str(number)), "keep": keep}]


def test_old_releases_go_once_the_new_one_is_well_and_the_newest_stay(host, run, releases, tmp_path):
    actions = run(links=link_to(tmp_path, 5))["actions"]
    assert sorted(path.name for path in releases.iterdir()) == ["4", "5"]
    assert [action for action in actions if action.startswith("tidy: ")] == [f"tidy: {releases / n} (left over)" for n in ("3", "2", "1")]
    assert not run(links=link_to(tmp_path, 5))["changed"]


def test_the_release_that_runs_stays_however_old_it_is(host, run, releases, tmp_path):
    run(links=link_to(tmp_path, 1, keep=1))
    assert [path.name for path in releases.iterdir()] == ["1"]


def test_no_release_goes_when_the_new_one_fails(host, run, releases, tmp_path):
    run(links=link_to(tmp_path, 1, keep=5))
    assert run(links=link_to(tmp_path, 5), exec_start=["/bin/banana"])["failed"]
    assert len(list(releases.iterdir())) == 5 and os.readlink(tmp_path / "current") == str(releases / "1")


def test_absent_takes_unit_and_link_away(host, run, tmp_path):
    run()
    assert run(state="absent")["changed"]
    assert not (host.units / "ticker.service").exists() and not os.path.lexists(tmp_path / "current")
    assert not run(state="absent")["changed"]


def test_files_links_and_secrets_that_are_wanted_no_longer_go_with_the_change_and_come_back_with_a_failure(host, release, run, tmp_path):
    release(1)
    there = [tmp_path / "etc" / "ticker.conf", tmp_path / "etc" / "key", tmp_path / "private-llm" / "ticker" / "secret_environment"]
    plain = {"links": [], "secret_environment": {}}
    assert run(**plain, exec_start=["/bin/banana"])["failed"] and all(path.exists() for path in there)
    assert [action for action in run(**plain)["actions"] if "(removed)" in action] == [f"file: {path} (removed)" for path in [*there, tmp_path / "current"]]
    assert not any(os.path.lexists(path) for path in [*there, tmp_path / "current"]) and not run(**plain)["changed"]


@pytest.mark.parametrize("wrong", [{"links": [{"path": "/usr/../etc", "target": "/x"}]}, {"files": [{"path": "/etc/ticker/../passwd", "content": ""}]}])
def test_only_paths_that_would_be_accepted_are_taken_away(host, run, wrong):
    assert "must name one place" in run(state="absent", exec_start=[], **wrong)["msg"]


def test_a_directory_in_the_place_of_a_link_is_not_taken_away(host, run, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    assert run(state="absent", links=[{"path": str(precious), "target": "/opt/x"}])["failed"] and precious.exists()


# -- runs that are killed -------------------------------------------------------------------------------------------------------


@pytest.fixture
def release(tmp_path, run):
    """Run a release with a configuration and a secret of its own."""

    def call(number, **parameters):
        home = tmp_path / "etc"
        files = [{"path": f"{home}/ticker.conf", "content": f"release {number}\n"}, {"path": f"{home}/key", "secret_content": f"key {number}"}]
        links = [{"path": str(tmp_path / "current"), "target": f"/opt/ticker/releases/{number}"}]
        return run(directories=[{"path": str(home)}], files=files, links=links, **parameters)

    return call


def what_is_there(tmp_path):
    return (tmp_path / "etc" / "ticker.conf").read_text(), (tmp_path / "etc" / "key").read_text(), os.readlink(tmp_path / "current")


def is_tidy(tmp_path):
    return not list(tmp_path.rglob(".private-llm-*")) and not list((tmp_path / "state").glob("*.service.json"))


@pytest.mark.parametrize("power_cut", [False, True], ids=["run killed", "power cut"])
def test_a_change_that_is_killed_at_any_step_leaves_a_service_that_runs_and_is_finished_by_the_next(host, release, tmp_path, monkeypatch, power_cut):
    release(1)
    count_changes_of_files(host, monkeypatch)
    for step in killed_at_each_step(host, lambda: release(2)):
        if power_cut:
            host.boot()
        assert host.active["ticker.service"] == "active", step
        release(2)
        assert not release(2)["changed"] and is_tidy(tmp_path), step
        assert what_is_there(tmp_path) == ("release 2\n", "key 2", "/opt/ticker/releases/2"), step
        release(1)


@pytest.mark.parametrize("power_cut", [False, True], ids=["run killed", "power cut"])
def test_a_change_that_cannot_work_and_is_killed_at_any_step_is_taken_back_by_the_next(host, release, tmp_path, monkeypatch, power_cut):
    release(1)
    count_changes_of_files(host, monkeypatch)
    broken = {"exec_start": ["/opt/ticker/current/banana"]}
    for step in killed_at_each_step(host, lambda: release(2, **broken)):
        assert host.active["ticker.service"] != "inactive", step
        if power_cut:
            host.boot()
        result = release(2, **broken)
        assert result["failed"] and "put back" in result["msg"], (step, result)
        assert what_is_there(tmp_path) == ("release 1\n", "key 1", "/opt/ticker/releases/1"), step
        assert host.active["ticker.service"] == "active" and not release(1)["changed"] and is_tidy(tmp_path), step


def test_the_way_back_is_readable_by_root_alone_while_it_is_kept(host, release, tmp_path):
    release(1)
    host.dies_at = ("systemctl", "restart")
    with pytest.raises(KeyboardInterrupt):
        release(2)
    (kept,) = (tmp_path / "state").glob("*.service.json")
    assert kept.stat().st_mode & 0o777 == 0o600 and (tmp_path / "state").stat().st_mode & 0o777 == 0o700
