# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import subprocess

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import transfer
from ansible_collections.private_llm.platform.plugins.modules import fetched_file
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

CONTENT = b"a model" * 100000
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def place(tmp_path):
    (tmp_path / "source.gguf").write_bytes(CONTENT)
    (tmp_path / "models").mkdir()
    return tmp_path


def run(place, check=False, **parameters):
    arguments = {
        "url": (place / "source.gguf").as_uri(),
        "path": str(place / "models/m.gguf"),
        "checksum": f"sha256:{CHECKSUM}",
        "mode": "0644",
        **parameters,
    }
    return run_module(fetched_file.main, arguments, check=check)


def test_a_file_is_put_in_place_with_its_mode(place):
    result = run(place)
    assert result["changed"]
    assert (place / "models/m.gguf").read_bytes() == CONTENT
    assert os.stat(place / "models/m.gguf").st_mode & 0o777 == 0o644


def test_a_second_run_changes_nothing(place):
    run(place)
    assert not run(place)["changed"]


def test_nothing_unfinished_stays_behind(place):
    run(place)
    assert sorted(os.listdir(place / "models")) == ["m.gguf", "m.gguf.sha256"]


def test_a_verified_file_is_not_read_again(place, monkeypatch):
    run(place)
    monkeypatch.setattr(fetched_file, "sha256_of", lambda path: pytest.fail(f"{path} was read again"))
    assert not run(place)["changed"]


def test_a_file_that_was_tampered_with_is_replaced(place):
    run(place)
    (place / "models/m.gguf").write_bytes(b"x" * len(CONTENT))
    assert run(place)["changed"]
    assert (place / "models/m.gguf").read_bytes() == CONTENT


def test_the_remembered_checksum_is_understood_by_sha256sum(place):
    run(place)
    subprocess.run(["sha256sum", "--check", "--strict", "m.gguf.sha256"], cwd=place / "models", check=True, capture_output=True)


def test_a_file_that_was_copied_by_hand_is_taken_as_it_is(place):
    (place / "models/m.gguf").write_bytes(CONTENT)
    result = run(place, url="file:///nowhere", mode=None)
    assert not result["changed"]
    assert result["ready"]


def test_check_mode_predicts_and_writes_nothing(place):
    result = run(place, check=True)
    assert result["changed"]
    assert os.listdir(place / "models") == []


def test_check_mode_tells_how_much_is_still_to_come(place):
    assert run(place, check=True)["missing"] == len(CONTENT)
    (place / "models/.m.gguf.part").write_bytes(CONTENT[:1000])
    assert run(place, check=True)["missing"] == len(CONTENT) - 1000


@pytest.mark.parametrize("check", [True, False])
def test_a_file_that_leaves_too_little_space_is_refused_before_it_is_fetched(place, check):
    result = run(place, check=check, keep_free=2**40)
    assert "left for others: free" in result["msg"]
    assert os.listdir(place / "models") == []


def test_check_mode_works_where_the_directory_is_not_made_yet(place):
    assert run(place, check=True, path=str(place / "later/m.gguf"))["changed"]


@pytest.mark.parametrize("check", [True, False])
def test_a_checksum_that_differs_is_one_clear_sentence_and_changes_nothing(place, check):
    (place / "models/m.gguf").write_bytes(b"what was there before")
    result = run(place, check=check, checksum="0" * 64)
    assert result["failed"]
    assert CHECKSUM in result["msg"]
    assert "0" * 64 in result["msg"]
    assert result["msg"].endswith("Nothing was changed.")
    assert (place / "models/m.gguf").read_bytes() == b"what was there before"


def test_check_mode_finds_a_source_that_is_missing(place):
    assert "cannot be read on this host" in run(place, check=True, url="file:///nowhere")["msg"]


def test_a_directory_in_the_way_is_named(place):
    assert "is a directory" in run(place, path=str(place / "models"))["msg"]


def test_a_missing_directory_is_named(place):
    assert "does not exist: make the directory first" in run(place, path=str(place / "later/m.gguf"))["msg"]


def test_what_is_no_checksum_is_refused(place):
    assert run(place, checksum="abc")["msg"].startswith("checksum: a SHA-256 checksum has 64")


def test_a_changed_mode_is_put_right_without_fetching(place, monkeypatch):
    run(place)
    os.chmod(place / "models/m.gguf", 0o600)
    monkeypatch.setattr(transfer.Fetcher, "fetch", lambda *_arguments: pytest.fail("it was fetched again"))
    assert run(place)["changed"]
    assert os.stat(place / "models/m.gguf").st_mode & 0o777 == 0o644


def test_headers_are_printed_nowhere(place):
    assert "s3cret-value" not in run(place, http_headers={"Authorization": "s3cret-value"})["printed"]
