# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import secret_variables
from ansible_collections.private_llm.platform.plugins.module_utils.container_engine import ImageStart


@pytest.mark.parametrize("value", ["plain", "", "two words", "it's", '"$HOME" `id`', "back\\slash\\n", "a=b&c?d#e", "\t*", "ü", "postgresql://u:p@h/d?x=1"])
def test_a_shell_reads_each_value_as_it_was_given(tmp_path, value):
    given = tmp_path / "variables"
    given.write_bytes(secret_variables.file_text({"BEFORE": "x", "VALUE": value}))
    script = secret_variables.SCRIPT.replace(secret_variables.TARGET, str(given))
    shown = subprocess.run(["/bin/sh", "-c", script, "/bin/sh", "printenv", "VALUE"], capture_output=True, check=True)
    assert shown.stdout.decode() == f"{value}\n"


def test_without_the_file_nothing_is_started(tmp_path):
    script = secret_variables.SCRIPT.replace(secret_variables.TARGET, str(tmp_path / "missing"))
    ended = subprocess.run(["/bin/sh", "-c", script, "/bin/sh", "echo", "started"], capture_output=True, check=False)
    assert ended.returncode != 0 and ended.stdout == b""


def test_what_an_image_starts_can_be_written_down():
    start = ImageStart(("/entry", "--a=b"), ("serve",))
    assert secret_variables.start_from_text(secret_variables.start_text(start)) == start
    assert secret_variables.start_from_text("") == ImageStart()
