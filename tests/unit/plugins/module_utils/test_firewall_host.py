# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import subprocess

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import firewall_host
from ansible_collections.private_llm.platform.plugins.module_utils.firewall_host import TooLate, login_of, return_script
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import CommandFailed
from ansible_collections.private_llm.platform.tests.unit.fakes.packet_host import PacketHost

OLD, NEW = "the old rules\n", "the new rules\n"
SECONDS = 60


@pytest.fixture(autouse=True)
def _any_user(monkeypatch):
    monkeypatch.setattr(os, "chown", lambda *_arguments: None)
    monkeypatch.setattr(firewall_host.ManagedFile, "difference", lambda self: None if os.path.exists(self.path) else "missing")


@pytest.fixture
def host(tmp_path):
    return PacketHost(tmp_path)


def set_up(host, text):
    host.firewall.confirm(host.firewall.apply(text, SECONDS))


def test_confirmed_rules_are_live_stay_when_time_passes_and_are_loaded_at_boot(host):
    set_up(host, NEW)
    assert host.timers == {} and host.enabled
    host.time_passes()
    assert host.table == NEW
    host.loses_power()
    assert host.table == NEW


@pytest.mark.parametrize("before", [None, OLD])
@pytest.mark.parametrize("end", [PacketHost.time_passes, PacketHost.loses_power])
def test_rules_that_nobody_confirms_are_replaced_by_those_from_before(host, before, end):
    if before:
        set_up(host, before)
    host.firewall.apply(NEW, SECONDS)
    assert host.table == NEW
    end(host)
    assert host.table == before
    assert host.firewall.reasons(NEW)


def killed_at(host, step):
    """Apply and confirm with a run that dies at a step; whether it got to its end."""
    host.steps_left = step
    try:
        host.firewall.confirm(host.firewall.apply(NEW, SECONDS))
    except KeyboardInterrupt:
        return False
    finally:
        host.steps_left = None
    return True


@pytest.mark.parametrize("before", [None, OLD])
@pytest.mark.parametrize("end", [PacketHost.time_passes, PacketHost.loses_power])
def test_a_run_that_is_killed_at_any_step_leaves_the_old_rules_or_the_new_ones(tmp_path, before, end):
    seen = set()
    for step in range(20):
        (tmp_path / str(step)).mkdir()
        host = PacketHost(tmp_path / str(step))
        if before:
            set_up(host, before)
        finished = killed_at(host, step)
        assert host.table in (before, NEW)
        end(host)
        seen.add(host.table)
        assert host.table in (before, NEW)
        assert host.table == (host.rules.read_text() if host.rules.exists() else None)
        # The next run finishes the work.
        if host.firewall.reasons(NEW):
            set_up(host, NEW)
        assert host.table == NEW and host.firewall.reasons(NEW) == []
        if finished:
            break
    assert finished and seen == {before, NEW}


def test_the_way_back_is_set_before_the_rules_are_loaded(host):
    set_up(host, OLD)
    for step in range(10):
        host.timers.clear()
        try:
            host.steps_left = step
            host.firewall.apply(NEW, SECONDS)
            break
        except KeyboardInterrupt:
            assert host.table == OLD or host.timers
        finally:
            host.steps_left = None


def test_rules_that_are_confirmed_too_late_are_not_taken_for_kept(host):
    set_up(host, OLD)
    token = host.firewall.apply(NEW, SECONDS)
    host.time_passes()
    with pytest.raises(TooLate):
        host.firewall.confirm(token)
    assert host.table == OLD


def test_a_second_run_takes_over_from_one_that_still_waits(host):
    set_up(host, OLD)
    first = host.firewall.apply("rules of another run\n", SECONDS)
    second = host.firewall.apply(NEW, SECONDS)
    with pytest.raises(TooLate):
        host.firewall.confirm(first)
    host.firewall.confirm(second)
    host.time_passes()
    assert host.table == NEW


def test_a_confirmation_whose_answer_was_lost_may_be_repeated(host):
    token = host.firewall.apply(NEW, SECONDS)
    host.firewall.confirm(token)
    host.firewall.confirm(token)
    assert host.table == NEW


def test_rules_that_nft_does_not_take_change_nothing(host):
    set_up(host, OLD)
    with pytest.raises(CommandFailed, match="nothing was loaded: syntax error, unexpected banana"):
        host.firewall.apply("banana", SECONDS)
    assert host.table == OLD and host.timers == {}
    host.loses_power()
    assert host.table == OLD


def test_what_was_changed_by_hand_is_put_right(host):
    set_up(host, NEW)
    assert host.firewall.reasons(NEW) == []
    host.table = "somebody added a rule\n"
    assert host.firewall.reasons(NEW) == ["rules: the table (not loaded, or changed by hand)"]
    host.table = None
    assert host.firewall.reasons(NEW) == ["rules: the table (not loaded, or changed by hand)"]


def test_nothing_is_left_of_rules_that_are_taken_away(host):
    set_up(host, NEW)
    assert host.firewall.is_there()
    host.firewall.remove()
    assert host.table is None and not host.enabled and not host.firewall.is_there()


def test_the_script_of_the_way_back_works_in_a_real_shell(tmp_path, monkeypatch):
    said = tmp_path / "said"
    program = tmp_path / "nft"
    program.write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    program.chmod(0o755)
    monkeypatch.setattr(firewall_host, "NFT", str(program))

    def fire():
        subprocess.run(["/bin/sh", "-c", return_script(str(tmp_path), "abc", str(tmp_path / "lock"))], check=True)
        return said.read_text().splitlines() if said.exists() else []

    assert fire() == []
    pending = tmp_path / "pending-abc.nft"
    pending.touch()
    assert fire() == ["delete table inet private_llm"]
    assert not pending.exists()
    pending.touch()
    (tmp_path / "rules.nft").touch()
    assert fire()[1:] == [f"-f {tmp_path}/rules.nft"]


def process(proc, pid, parent, variables=b"HOME=/root\0"):
    directory = proc / str(pid)
    directory.mkdir()
    (directory / "environ").write_bytes(variables)
    (directory / "stat").write_text(f"{pid} (a name) with ) brackets) S {parent} 1 1 0")


def test_the_login_is_found_among_the_processes_that_sudo_has_emptied_the_environment_of(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 30)
    process(tmp_path, 30, 20)
    process(tmp_path, 20, 10)
    process(tmp_path, 10, 1, b"A=b\0SSH_CONNECTION=192.0.2.10 51000 198.51.100.1 2222\0")
    assert login_of(str(tmp_path)) == ("192.0.2.10", 2222)


def test_without_a_login_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 30)
    process(tmp_path, 30, 1)
    assert login_of(str(tmp_path)) is None
    assert login_of(str(tmp_path / "nowhere")) is None


def test_the_unit_comes_before_the_network_and_stays_when_the_host_goes_down(host):
    set_up(host, NEW)
    text = (host.directory / "units" / firewall_host.UNIT).read_text()
    assert "Before=network-pre.target docker.service" in text
    assert "PartOf=nftables.service" in text
    assert "ExecStop" not in text and not re.search("Conflicts=", text)
