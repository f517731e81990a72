# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.private_llm.platform.plugins.modules import apt_offered
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

MADISON = """ nvidia-driver-cuda | 595.45.04-1 | https://vendor.example/debian13/x86_64  Packages
 nvidia-driver-cuda | 590.44.01-1 | https://vendor.example/debian13/x86_64  Packages
"""
INSTALLED = {"kept-from-before": "1.2-3"}


@pytest.fixture(autouse=True)
def apt(monkeypatch):
    def run(arguments):
        if arguments[0] == "apt-cache":
            return 0, MADISON if arguments[2] == "nvidia-driver-cuda" else "", ""
        version = INSTALLED.get(arguments[-1])
        return (0, f"installed {version}", "") if version else (1, "", "no packages found")

    monkeypatch.setattr(apt_offered, "runner", lambda _module: run)


@pytest.mark.parametrize("package", ["nvidia-driver-cuda", "nvidia-driver-cuda=595.*", "nvidia-driver-cuda=590.44.01-1", "kept-from-before=1.2*"])
def test_what_a_repository_offers_or_the_host_has_is_no_news(package):
    result = run_module(apt_offered.main, {"packages": [package]}, check=True)
    assert not result["changed"] and result["missing"] == []


def test_everything_that_is_missing_is_told_at_once_with_what_there_is_and_the_way_out():
    result = run_module(apt_offered.main, {"packages": ["nvidia-driver-cuda=580.*", "datacenter-gpu-manager-4-core"], "remedy": "Choose another branch."})
    assert result["failed"]
    assert "nvidia-driver-cuda=580.* (there is 595.45.04-1, 590.44.01-1)" in result["msg"]
    assert "datacenter-gpu-manager-4-core (there is no such package)" in result["msg"]
    assert result["msg"].endswith("Choose another branch.")


def test_what_may_be_missing_is_told_without_a_failure():
    result = run_module(apt_offered.main, {"packages": ["datacenter-gpu-manager-4-core"], "required": False})
    assert not result.get("failed")
    assert result["missing"] == ["datacenter-gpu-manager-4-core"] and result["offered"] == {"datacenter-gpu-manager-4-core": []}
