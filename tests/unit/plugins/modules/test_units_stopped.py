# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from ansible_collections.private_llm.platform.plugins.modules import units_stopped
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

RUNNING = ["llama-server.service", "llama-server-8001.service", "other.service"]


@pytest.fixture
def stopped(monkeypatch):
    """The units that were stopped, in that order."""
    told = []

    def run(command):
        if command[1] == "list-units":
            assert "--state=active,activating,reloading" in command
            return 0, "".join(f"{unit} loaded active running A unit\n" for unit in RUNNING if fnmatchcase(unit, command[-1])), ""
        assert command[:3] == ["systemctl", "stop", "--"]
        told.append(command[-1])
        return 0, "", ""

    monkeypatch.setattr(units_stopped, "runner", lambda module: run)
    return told


def test_units_that_run_are_stopped_in_the_given_order_and_others_left_alone(stopped):
    result = run_module(units_stopped.main, {"names": ["other.service", "missing.service", "llama-server.service"]})
    assert result["changed"] and result["stopped"] == ["other.service", "llama-server.service"] == stopped


def test_a_pattern_stops_every_unit_that_matches_and_each_once(stopped):
    result = run_module(units_stopped.main, {"names": ["llama-server.service", "llama-server*.service"]})
    assert result["stopped"] == ["llama-server.service", "llama-server-8001.service"] == stopped


def test_nothing_that_runs_means_nothing_to_do(stopped):
    assert not run_module(units_stopped.main, {"names": ["missing.service"]})["changed"]
    assert stopped == []


def test_check_mode_names_the_units_and_stops_none(stopped):
    result = run_module(units_stopped.main, {"names": ["llama-server.service"]}, check=True)
    assert result["changed"] and result["diff"]["before"] == "llama-server.service runs\n"
    assert stopped == []


def test_a_unit_that_cannot_be_stopped_ends_the_run(monkeypatch):
    def run(command):
        return (0, "llama-server.service loaded active running x\n", "") if command[1] == "list-units" else (1, "", "Job canceled")

    monkeypatch.setattr(units_stopped, "runner", lambda module: run)
    result = run_module(units_stopped.main, {"names": ["llama-server.service"]})
    assert result["failed"] and "Job canceled" in result["msg"]
