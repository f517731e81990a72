# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import managed_paths

NEW_OWNER = (54321, 54322)


@pytest.fixture
def given_away(monkeypatch):
    """Names of what was given to somebody else, with its new user and group; nobody but root could do so really."""
    seen = {}
    monkeypatch.setattr(os, "chown", lambda name, uid, gid, dir_fd, follow_symlinks: seen.update({name: (uid, gid, follow_symlinks)}))
    return seen


@pytest.fixture
def data(tmp_path):
    """A directory of data with a link that points out of it."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "stranger").touch()
    (tmp_path / "data" / "inner").mkdir(parents=True)
    (tmp_path / "data" / "inner" / "block").touch()
    (tmp_path / "data" / "way-out").symlink_to(tmp_path / "elsewhere")
    return tmp_path / "data"


def test_what_a_directory_holds_goes_with_it_to_another_owner_and_links_lead_nowhere(data, given_away):
    managed_paths.hand_over(str(data), (os.getuid(), os.getgid()), NEW_OWNER)
    assert given_away == dict.fromkeys(("inner", "block", "way-out"), (*NEW_OWNER, False))


def test_what_belongs_to_others_stays_theirs(data, given_away):
    managed_paths.hand_over(str(data), (os.getuid() + 1, os.getgid()), NEW_OWNER)
    assert given_away == {}


def test_a_group_of_somebody_elses_stays(data, given_away):
    managed_paths.hand_over(str(data), (os.getuid(), os.getgid() + 1), NEW_OWNER)
    assert set(given_away.values()) == {(NEW_OWNER[0], -1, False)}
