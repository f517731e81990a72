# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
import yaml
from ansible_collections.private_llm.platform.plugins.modules import gguf_info
from ansible_collections.private_llm.platform.tests.unit.fakes import gguf_files
from ansible_collections.private_llm.platform.tests.unit.fakes.gguf_files import Shape
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

SHAPE = Shape(layers=2, embedding=256, heads=4, kv_heads=2, head=64, vocabulary=64, experts=4, experts_used=2, expert_width=256, context=4096)


@pytest.mark.parametrize("check", [True, False])
def test_a_model_is_described_and_nothing_changes(tmp_path, check):
    path = tmp_path / "model.gguf"
    gguf_files.model(SHAPE).write(path)
    result = run_module(gguf_info.main, {"path": str(path)}, check=check)
    assert result["changed"] is False
    assert (result["model"]["architecture"], result["model"]["layers"]) == ("qwen3moe", 2)


def test_every_value_is_documented_and_every_documented_value_is_there(tmp_path):
    path = tmp_path / "model.gguf"
    gguf_files.model(SHAPE).write(path)
    result = run_module(gguf_info.main, {"path": str(path)})
    assert sorted(result["model"]) == sorted(yaml.safe_load(gguf_info.RETURN)["model"]["contains"])


def test_what_is_no_model_is_one_sentence(tmp_path):
    path = tmp_path / "page.gguf"
    path.write_text("<html>Sign in first</html>")
    result = run_module(gguf_info.main, {"path": str(path)})
    assert result["failed"]
    assert result["msg"].startswith(f"{path} is no GGUF file")
