# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import gguf, trial_model


@pytest.fixture
def path(tmp_path):
    trial_model.write(str(tmp_path / "trial.gguf"))
    return str(tmp_path / "trial.gguf")


def test_the_model_of_a_trial_has_the_types_and_shapes_that_the_default_model_computes_with(path):
    found = gguf.describe(gguf.read(path))
    assert (found["architecture"], found["file_type"], found["key_length"], found["experts_used"]) == ("qwen3moe", "Q4_K_M", 128, 8)


def test_the_model_of_a_trial_is_small_and_the_same_each_time(path, tmp_path):
    trial_model.write(str(tmp_path / "again.gguf"))
    assert (tmp_path / "again.gguf").read_bytes() == (tmp_path / "trial.gguf").read_bytes()
    assert os.path.getsize(path) < 10 * 1024 * 1024
