# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import cuda_repository, gpus
from ansible_collections.private_llm.platform.plugins.modules import nvidia_driver_plan
from ansible_collections.private_llm.platform.tests.unit.fakes.gpu_tree import GpuTree
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

OFF = {"enabled": False, "certificate": None, "enrolled": False}


@pytest.fixture
def parameters(tmp_path, monkeypatch):
    machine = os.uname_result(("Linux", "host", "6.12.48+deb13-amd64", "#1", "x86_64"))
    monkeypatch.setattr(nvidia_driver_plan.os, "uname", lambda: machine)
    monkeypatch.setattr(nvidia_driver_plan, "this_distribution", lambda: ("debian", "13"))
    GpuTree(tmp_path).device("0000:01:00.0", 0x2204)
    return {"gpus": [gpus.described(gpu) for gpu in gpus.find_gpus(str(tmp_path))], "secure_boot": OFF}


def test_the_plan_is_for_the_distribution_and_the_running_kernel(parameters):
    result = run_module(nvidia_driver_plan.main, parameters, check=True)
    assert not result["changed"]
    assert result["plan"]["packages"][0] == "nvidia-kernel-open-dkms=595.*"
    assert result["plan"]["headers"][0] == "linux-headers-6.12.48+deb13-amd64"


def test_another_kernel_can_be_named(parameters):
    result = run_module(nvidia_driver_plan.main, {**parameters, "kernel": "6.1.0-56-amd64"})
    assert result["plan"]["headers"][0] == "linux-headers-6.1.0-56-amd64"


@pytest.mark.parametrize("branch", ["580.95.05", "newest", ""])
def test_a_branch_that_is_none_is_refused(parameters, branch):
    result = run_module(nvidia_driver_plan.main, {**parameters, "branch": branch})
    assert result["failed"] and "give its number, such as 580, or auto" in result["msg"]


def test_everything_that_stands_in_the_way_is_told_at_once(parameters):
    result = run_module(nvidia_driver_plan.main, {**parameters, "branch": "480", "version": "580.95.05"})
    assert result["failed"] and len(result["problems"]) == 2
    assert result["msg"].endswith("Nothing was changed.")


def test_the_distributions_that_the_plan_knows_have_a_repository():
    assert set(nvidia_driver_plan.nvidia_plan.SUPPORTED) == set(cuda_repository.DISTRIBUTIONS)
