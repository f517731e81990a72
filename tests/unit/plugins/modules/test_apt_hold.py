# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import apt_holds
from ansible_collections.private_llm.platform.plugins.modules import apt_hold
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

PACKAGES = "ii \tlibcuda1\t580.95.05-1\nhi \tnvidia-driver-cuda\t580.95.05-1\nii \tnvidia-container-toolkit\t1.20.1-1\nrc \tnvidia-smi\t580.1-1\n"


@pytest.fixture
def host(monkeypatch):
    """A host with these packages; what apt-mark was told is in the list."""
    told = []

    def run(command):
        if command == apt_holds.QUERY:
            return 0, PACKAGES, ""
        told.append(command)
        return 0, "", ""

    monkeypatch.setattr(apt_hold, "runner", lambda module: run)
    return told


def test_packages_are_held_in_one_step_and_those_that_are_held_already_left_alone(host):
    result = run_module(apt_hold.main, {"packages": ["libcuda1", "nvidia-driver-cuda"]})
    assert result["changed"] and result["packages"] == ["libcuda1"]
    assert host == [["apt-mark", "hold", "libcuda1"]]
    assert result["diff"] == {"before": "hold nvidia-driver-cuda\n", "after": "hold libcuda1\nhold nvidia-driver-cuda\n"}


def test_a_pattern_finds_only_packages_of_the_version_that_is_meant(host):
    assert run_module(apt_hold.main, {"packages": ["*nvidia*", "libcuda*"], "version": "580.*"})["packages"] == ["libcuda1"]


def test_what_is_held_needs_no_change(host):
    assert not run_module(apt_hold.main, {"packages": ["nvidia-driver-cuda", "no-such-*"]})["changed"]
    assert host == []


def test_a_package_that_is_not_installed_cannot_be_held(host):
    result = run_module(apt_hold.main, {"packages": ["nvidia-smi"]})
    assert result["failed"] and "not installed" in result["msg"] and "nvidia-smi" in result["msg"]
    assert host == []


def test_check_mode_predicts_for_packages_that_are_still_to_come(host):
    result = run_module(apt_hold.main, {"packages": ["nvidia-smi"]}, check=True)
    assert result["changed"] and result["packages"] == ["nvidia-smi"]
    assert host == []


def test_packages_are_let_go_of(host):
    assert run_module(apt_hold.main, {"packages": ["nvidia-driver-cuda", "nvidia-smi"], "state": "released"})["packages"] == ["nvidia-driver-cuda"]
    assert host == [["apt-mark", "unhold", "nvidia-driver-cuda"]]


def test_only_packages_that_do_not_have_the_wanted_version_are_let_go_of(host):
    parameters = {"packages": ["*nvidia*"], "state": "released", "version": "[3-9][0-9][0-9].*"}
    assert not run_module(apt_hold.main, {**parameters, "not_version": "580.*"})["changed"]
    assert run_module(apt_hold.main, {**parameters, "not_version": "595.*"})["packages"] == ["nvidia-driver-cuda"]
