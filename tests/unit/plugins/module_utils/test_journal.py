# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import threading

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import journal
from ansible_collections.private_llm.platform.plugins.module_utils.journal import Journal


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "STATE_DIRECTORY", str(tmp_path / "state"))
    (tmp_path / "state").mkdir()
    return Journal("web.service")


def test_what_was_there_comes_back_as_it_was(kept, tmp_path):
    file, link, missing = tmp_path / "file", tmp_path / "link", tmp_path / "missing"
    file.write_bytes(b"\x00\xff")
    file.chmod(0o640)
    link.symlink_to("somewhere")
    kept.begin([str(file), str(link), str(missing)], running=True, enabled=False)
    file.write_bytes(b"other")
    os.unlink(link)
    missing.write_text("new")
    entry = kept.read()
    for snapshot in entry.snapshots:
        snapshot.put_back()
    assert (file.read_bytes(), file.stat().st_mode & 0o777, os.readlink(link), missing.exists()) == (b"\x00\xff", 0o640, "somewhere", False)
    assert entry.running and not entry.enabled and not entry.disturbed


def test_that_a_service_has_felt_a_change_is_remembered(kept):
    kept.begin([], running=True, enabled=True)
    kept.disturb()
    assert kept.begin([], running=False, enabled=False).disturbed


def test_owner_and_mode_of_a_directory_come_back_and_what_it_holds_stays(kept, tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    kept.begin([str(data)], running=True, enabled=True)
    data.chmod(0o755)
    (data / "new").write_text("written meanwhile")
    for snapshot in kept.read().snapshots:
        snapshot.put_back()
    assert data.stat().st_mode & 0o777 == 0o700 and (data / "new").exists()


def test_the_oldest_version_of_a_path_is_the_way_back(kept, tmp_path):
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_text("good")
    kept.begin([str(file)], running=True, enabled=True)
    file.write_text("half")
    other.write_text("other")
    entry = kept.begin([str(file), str(other)], running=False, enabled=False)
    assert (entry.content_of(str(file)), entry.content_of(str(other)), entry.running, entry.enabled) == (b"good", b"other", True, True)


def test_a_journal_that_was_ended_is_gone(kept):
    kept.begin([], running=True, enabled=True)
    kept.end()
    kept.end()
    assert kept.read() is None


def test_only_one_run_at_a_time_works_on_a_unit(kept):
    order = []

    def second():
        with Journal("web.service").lock():
            order.append("second")

    with kept.lock():
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.3)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
