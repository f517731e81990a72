# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
import yaml
from ansible_collections.private_llm.platform.plugins.modules import capacity_plan
from ansible_collections.private_llm.platform.tests.unit.fakes import gguf_files
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("production") / "model.gguf"
    gguf_files.model().write(path)
    return str(path)


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """A host on which nvidia-smi says this."""

    def has(listed, status=0):
        program = tmp_path / "nvidia-smi"
        asked = "*name,memory.total,mig.mode.current,memory.used*noheader,nounits*"
        cases = "%s) printf '%%b' '%s';; *compute-apps*) echo GPU-a, python3, 9000;;" % (asked, listed)
        program.write_text('#!/bin/sh\ncase "$*" in %s esac\nexit %d\n' % (cases, status))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", "%s:/usr/bin:/bin" % tmp_path)

    monkeypatch.setenv("PATH", str(tmp_path))
    return has


def plan(model_path, check=False, **parameters):
    return run_module(capacity_plan.main, {"model_path": model_path, **parameters}, check=check)


@pytest.mark.parametrize("check", [True, False])
def test_the_card_is_asked_and_the_plan_fills_it(model_path, cards, check):
    cards("0, GPU-a, NVIDIA H100 80GB HBM3, 81559, [N/A], 10\\n")
    result = plan(model_path, check)
    assert (result["changed"], result["planned"]) == (False, True)
    assert (result["plan"]["slots"], result["plan"]["context_per_slot"], result["plan"]["device"]) == (20, 57344, "NVIDIA H100 80GB HBM3")
    assert result["plan"]["context_size"] == 20 * 57344
    assert 1024 < result["plan"]["spare"] < 4096
    assert result["report"][1] == "20 slots of 57344 tokens (q8_0)"


def test_every_value_is_documented_and_every_documented_value_is_there(model_path):
    result = plan(model_path, gpu_memory=81559)
    assert sorted(result["plan"]) == sorted(yaml.safe_load(capacity_plan.RETURN)["plan"]["contains"])


def test_several_cards_are_used_together_unless_some_are_named(model_path, cards):
    cards("0, GPU-a, A, 24564, [N/A], 10\\n1, GPU-b, A, 24564, [N/A], 10\\n2, GPU-c, B, 81559, [N/A], 10\\n")
    assert plan(model_path)["plan"]["memory"] == 24564 * 2 + 81559
    assert plan(model_path, gpus=["2"])["plan"]["device"] == plan(model_path, gpus=["GPU-c"])["plan"]["device"] == "B"
    assert plan(model_path, gpus=["0", "GPU-b"])["plan"]["device"] == "2 x A"
    assert plan(model_path, gpus=["3"])["msg"] == "There is no GPU 3 on this host; it has 0 (A, GPU-a), 1 (A, GPU-b), 2 (B, GPU-c)."
    assert plan(model_path, gpus=["0", "GPU-a"])["msg"] == "The GPU GPU-a is named twice."


def test_a_server_that_does_not_split_its_model_has_the_first_card_alone(model_path, cards):
    cards("0, GPU-a, A, 24564, [N/A], 10\\n1, GPU-b, A, 24564, [N/A], 10\\n")
    assert plan(model_path, split_mode="none")["plan"]["memory"] == 24564
    assert plan(model_path, split_mode="none", gpus=["1"], gpu_memory=24000)["plan"]["memory"] == 24000


def test_a_card_that_another_program_holds_is_told_of(model_path, cards):
    cards("0, GPU-a, A, 24564, [N/A], 9010\\n")
    assert "Other programs than llama-server take 9010 MiB of the GPU 0 (A)" in plan(model_path)["printed"]


def test_memory_that_is_stated_for_two_cards_is_that_of_both(model_path):
    both = plan(model_path, gpus=["0", "1"], gpu_memory=49128)["plan"]
    assert (both["memory"], both["margin"], both["parts"]["driver"]) == (49128, 2048, 1400.0)


@pytest.mark.parametrize("check", [True, False])
def test_a_divided_card_is_not_planned_as_if_it_were_whole(model_path, cards, check):
    cards("0, GPU-a, NVIDIA H100 80GB HBM3, 81559, Enabled, 10\\n1, GPU-b, NVIDIA L4, 23034, [N/A], 10\\n")
    for named in ([], ["0"], ["GPU-a"]):
        refused = plan(model_path, check, gpus=named)["msg"]
        assert refused.startswith("The GPU 0 (NVIDIA H100 80GB HBM3) is divided into instances (MIG), of which a program sees one.")
        assert "llama_server_gpu_memory" in refused
    assert plan(model_path, check, gpus=["MIG-0c757cd7"])["msg"].startswith("MIG-0c757cd7 is an instance of a divided card (MIG). Name the instance")
    assert plan(model_path, check, gpus=["MIG-0c757cd7"], gpu_memory=40192)["plan"]["memory"] == 40192
    assert plan(model_path, check, gpus=["1"])["plan"]["device"] == "NVIDIA L4"


def test_without_a_driver_it_says_what_to_do_and_in_check_mode_waits_for_it(model_path, cards):
    assert "install the driver first" in plan(model_path)["msg"]
    result = plan(model_path, check=True, slots=4, context_per_slot=8192)
    assert (result["planned"], result["plan"]["slots"], result["plan"]["context_size"]) == (False, 4, 32768)
    assert result["report"][0].startswith("No plan yet: There is no nvidia-smi")


def test_a_driver_without_a_card_is_no_gpu(model_path, cards):
    cards("NVIDIA-SMI has failed", status=9)
    assert "nvidia-smi finds no GPU on this host (NVIDIA-SMI has failed)" in plan(model_path)["msg"]


def test_a_model_that_is_not_there_is_waited_for_in_check_mode_alone(tmp_path):
    missing = str(tmp_path / "nowhere.gguf")
    assert plan(missing, gpu_memory=81559)["msg"] == f"There is no model file {missing}."
    assert plan(missing, check=True, gpu_memory=81559, memory_max="auto")["plan"] == {
        "slots": 0, "context_per_slot": 0, "context_size": 0, "memory_max": "",
    }  # fmt: skip


def test_a_damaged_model_is_no_surprise_for_later_even_in_check_mode(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 100)
    assert plan(str(path), check=True, gpu_memory=81559)["failed"]


@pytest.mark.parametrize("check", [True, False])
def test_what_does_not_fit_is_refused_with_the_nearest_plans(model_path, check):
    result = plan(model_path, check, gpu_memory=46068, slots=20, context_per_slot=65536)
    assert result["failed"]
    assert "The plan does not fit: 20 slots of 65536 tokens (q8_0)" in result["msg"]
    assert "What fits: 7 slots of 65536 tokens (q8_0)" in result["msg"]
    assert result["msg"].endswith("Nothing was changed.")


def test_the_hosts_memory_can_be_planned_too(model_path, tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 67108864 kB\n")
    monkeypatch.setattr(capacity_plan, "MEMINFO", str(tmp_path / "meminfo"))
    result = plan(model_path, device="host", cache_ram=4096)
    assert (result["plan"]["memory"], result["plan"]["parts"]["prompt_cache"], result["plan"]["parts"]["driver"]) == (65536, 4096, 0)


def test_a_prompt_cache_that_the_host_cannot_hold_is_warned_of(model_path, tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 16777216 kB\n")
    monkeypatch.setattr(capacity_plan, "MEMINFO", str(tmp_path / "meminfo"))
    result = plan(model_path, gpu_memory=81559, cache_ram=32768)
    assert len(result["warnings"]) == 1
    assert "the host has 16384 MiB" in result["warnings"][0]


def test_a_limit_of_memory_is_computed_when_asked_for_and_else_kept(model_path):
    assert plan(model_path, gpu_memory=81559, memory_max="auto")["plan"]["memory_max"] == "38912M"
    assert plan(model_path, gpu_memory=81559, memory_max="64G")["plan"]["memory_max"] == "64G"


@pytest.mark.parametrize("name, value", [("slots", -1), ("people", 0), ("ubatch", 0), ("margin", -5), ("gpu_layers", "most")])
def test_a_number_that_is_none_is_named(model_path, name, value):
    result = plan(model_path, gpu_memory=81559, **{name: value})
    assert result["failed"] and result["msg"].startswith(f"{name} is {value}: ")


def test_the_model_file_is_only_read(model_path):
    before = os.stat(model_path).st_mtime_ns
    plan(model_path, gpu_memory=81559)
    assert os.stat(model_path).st_mtime_ns == before
