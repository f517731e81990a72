# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import firewall_host
from ansible_collections.private_llm.platform.plugins.modules import firewall
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module
from ansible_collections.private_llm.platform.tests.unit.fakes.packet_host import PacketHost


@pytest.fixture
def host(tmp_path, monkeypatch):
    found = PacketHost(tmp_path)
    monkeypatch.setattr(os, "chown", lambda *_arguments: None)
    monkeypatch.setattr(firewall_host.ManagedFile, "difference", lambda self: None if os.path.exists(self.path) else "missing")
    monkeypatch.setattr(firewall, "FirewallHost", lambda run: found.firewall)
    monkeypatch.setattr(firewall, "login_of", lambda: None)
    monkeypatch.setattr(firewall_host, "NFT", "/usr/sbin/nft")
    monkeypatch.setattr(found.firewall, "check", lambda text: None)
    return found


def run(check=False, **parameters):
    return run_module(firewall.main, parameters, check=check)


def test_the_first_run_loads_rules_and_says_by_what_they_are_confirmed(host):
    result = run()
    assert result["changed"] and "rules: the table (missing)" in result["actions"]
    assert "hook input" in host.table
    assert not host.rules.exists()
    assert run(confirm_token=result["confirm_token"])["changed"]
    assert host.rules.read_text() == host.table


def test_a_second_run_changes_nothing(host):
    run(confirm_token=run()["confirm_token"])
    result = run()
    assert not result["changed"] and result["actions"] == [] and "confirm_token" not in result


def test_check_mode_tells_the_same_and_does_nothing(host):
    predicted = run(check=True)
    assert host.table is None and host.steps == 0 and not host.firewall.is_there()
    done = run()
    assert (predicted["actions"], predicted["diff"], predicted["rules"]) == (done["actions"], done["diff"], done["rules"])


def test_the_diff_is_the_text_of_the_table(host):
    run(confirm_token=run()["confirm_token"])
    result = run(ssh_ports=["2222"])
    assert "dport { 22 }" in result["diff"]["before"] and "dport { 2222 }" in result["diff"]["after"]


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_done(host):
    gateway = {"name": "gateway", "ports": ["4000"], "networks": ["10.0.0.1/8"]}
    result = run(inbound=[gateway, {**gateway, "name": "web"}], ssh_networks=["nonsense"], confirm_timeout=5)
    assert result["failed"] and host.steps == 0
    for part in ("nothing was changed", "'10.0.0.1/8'", "overlap at tcp port 4000", "'nonsense'", "confirm_timeout is less than 10 s"):
        assert part in result["msg"]


def test_rules_that_would_shut_out_the_login_that_asks_for_them_are_refused(host, monkeypatch):
    monkeypatch.setattr(firewall, "login_of", lambda: ("203.0.113.9", 22))
    result = run(ssh_networks=["192.0.2.0/24"])
    assert result["failed"] and host.table is None
    assert "you are logged in from 203.0.113.9, which is in none of ssh_networks: these rules would shut you out" in result["msg"]
    assert "failed" not in run(ssh_networks=["203.0.113.0/24"])


def test_what_nft_says_against_the_rules_is_part_of_the_refusal(host, monkeypatch):
    monkeypatch.setattr(host.firewall, "check", lambda text: "Error: out of luck")
    result = run()
    assert result["failed"] and "nft does not take the rules: Error: out of luck" in result["msg"] and host.table is None


def test_a_token_of_another_time_is_too_late(host):
    assert "not confirmed in time" in run(confirm_token="0123")["msg"]


@pytest.mark.parametrize("check", [True, False])
def test_absent_takes_everything_away_once(host, check):
    run(confirm_token=run()["confirm_token"])
    assert run(check=check, state="absent")["changed"]
    assert (host.table is not None) is check
    assert run(state="absent")["changed"] is check
    assert not run(state="absent")["changed"]
