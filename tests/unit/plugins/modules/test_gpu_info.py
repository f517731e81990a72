# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
import yaml
from ansible_collections.private_llm.platform.plugins.modules import gpu_info
from ansible_collections.private_llm.platform.tests.unit.fakes.gpu_tree import GpuTree
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

KERNEL = "0.0.0-no-such-kernel"


@pytest.fixture
def tree(tmp_path):
    return GpuTree(tmp_path)


def test_a_host_with_two_cards_is_described_whole(tree):
    tree.device("0000:01:00.0", 0x2330, kind=0x030200, driver="nvidia").device("0000:02:00.0", 0x2684, driver="nvidia").loaded("580.95.05")
    result = run_module(gpu_info.main, {"root": str(tree.root), "kernel": KERNEL})
    assert not result["changed"]
    assert result["architectures"] == ["89", "90"]
    assert [(gpu["chip"], gpu["data_center"], gpu["kernel_driver"]) for gpu in result["gpus"]] == [("GH100", True, "nvidia"), ("AD102", False, "nvidia")]
    assert result["driver"]["loaded"] == "580.95.05" and result["driver"]["on_disk"] is None
    assert result["kernel"] == KERNEL and result["nvswitch"] is None


def test_a_host_without_a_gpu_is_described_and_no_error(tree):
    result = run_module(gpu_info.main, {"root": str(tree.root)})
    assert result["gpus"] == [] and result["architectures"] == [] and not result["driver"]["reboot_due"]
    assert result["kernel"] == os.uname().release


def test_every_value_that_is_returned_is_documented(tree):
    documented = yaml.safe_load(gpu_info.RETURN)
    tree.device("0000:01:00.0", 0x2330)
    result = run_module(gpu_info.main, {"root": str(tree.root), "kernel": KERNEL}, check=True)
    assert set(documented) == set(result) - {"changed", "invocation", "printed", "warnings"}
    assert set(documented["gpus"]["contains"]) == set(result["gpus"][0])
    assert set(documented["driver"]["contains"]) == set(result["driver"])
