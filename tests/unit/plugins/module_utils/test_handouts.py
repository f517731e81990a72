# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import subprocess

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils.handouts import hand_out
from ansible_collections.private_llm.platform.plugins.module_utils.people import HANDOUT_FILES

KEY = "sk-adas-own-key-000000000001"
ADA = {"name": "ada", "state": "present", "keys": [{"alias": "ada-1", "value": KEY}]}
URL = "http://llm.example.com:4000"


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def directory(tmp_path):
    return str(tmp_path / "people")


def test_a_person_gets_key_environment_and_curl_that_nobody_else_can_read(directory):
    hand_out(directory, [ADA], URL, "coder")
    place = os.path.join(directory, "ada")
    assert {mode_of(os.path.join(place, name)) for name in os.listdir(place)} == {0o600, 0o700}
    assert (mode_of(directory), mode_of(place)) == (0o700, 0o700)
    assert {name: mode_of(os.path.join(place, name)) for name in ("key", "environment", "curl.sh")} == {
        "key": 0o600,
        "environment": 0o600,
        "curl.sh": 0o700,
    }
    with open(os.path.join(place, "key"), encoding="utf-8") as stream:
        assert stream.read() == KEY + "\n"


def test_the_environment_file_can_be_sourced(directory):
    hand_out(directory, [ADA], URL)
    shown = subprocess.run(
        ["sh", "-c", '. "$1/ada/environment" && echo "$OPENAI_BASE_URL $OPENAI_API_KEY"', "sh", directory],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert shown == "http://llm.example.com:4000/v1 %s\n" % KEY


def test_a_second_time_changes_nothing(directory):
    hand_out(directory, [ADA], URL)
    assert hand_out(directory, [ADA], URL).actions == []


def test_check_mode_predicts_and_writes_nothing(directory):
    predicted = hand_out(directory, [ADA], URL, check=True)
    assert not os.path.exists(directory)
    assert predicted.actions == hand_out(directory, [ADA], URL).actions


def test_neither_actions_nor_diff_show_the_key(directory):
    outcome = hand_out(directory, [ADA], URL)
    changed = hand_out(directory, [dict(ADA, keys=[{"alias": "ada-2", "value": KEY + "2"}])], URL)
    assert "ada: key changed" in changed.actions
    assert KEY not in str([outcome, changed])


def test_the_directory_of_somebody_who_left_is_removed_and_all_others_stay(directory):
    hand_out(directory, [ADA, dict(ADA, name="linus")], URL)
    outcome = hand_out(directory, [dict(ADA, state="absent")], URL)
    assert outcome.actions == ["ada: hand-out removed"]
    assert sorted(os.listdir(directory)) == [".gitignore", "linus"]


def test_a_directory_that_was_not_made_here_is_never_removed(directory):
    os.makedirs(os.path.join(directory, "ada"))
    with pytest.raises(ValueError, match="was not made as a hand-out of ada"):
        hand_out(directory, [dict(ADA, state="absent")], URL)


def test_nothing_is_made_for_people_who_never_came(directory):
    assert hand_out(directory, [dict(ADA, state="absent")], URL).actions == []
    assert not os.path.exists(directory)


def test_a_file_that_was_opened_to_others_is_closed_again(directory):
    hand_out(directory, [ADA], URL)
    os.chmod(os.path.join(directory, "ada", "key"), 0o644)
    os.chmod(os.path.join(directory, "ada"), 0o755)
    outcome = hand_out(directory, [ADA], URL)
    assert outcome.actions == ["ada: directory closed to others", "ada: key closed to others"]
    assert mode_of(os.path.join(directory, "ada", "key")) == 0o600


def test_hand_outs_stay_out_of_version_control(directory):
    hand_out(directory, [ADA], URL)
    subprocess.run(["git", "init", "--quiet", os.path.dirname(directory)], check=True)
    status = subprocess.run(["git", "-C", os.path.dirname(directory), "status", "--porcelain"], check=True, capture_output=True, text=True)
    assert status.stdout == ""


def test_a_link_in_place_of_a_directory_is_refused(directory, tmp_path):
    os.makedirs(directory)
    os.symlink(tmp_path, os.path.join(directory, "ada"))
    with pytest.raises(ValueError, match="is a symbolic link"):
        hand_out(directory, [ADA], URL)


# -- several keys ---------------------------------------------------------


def key(name, number, **more):
    return {"name": name, "alias": "ada-%s-1" % name, "value": "sk-adas-own-key-%012d" % number, **more}


def key_in(directory, *path):
    with open(os.path.join(directory, *path, "key"), encoding="utf-8") as stream:
        return stream.read().strip()


def test_each_named_key_has_a_directory_of_its_name(directory):
    hand_out(directory, [dict(ADA, keys=[key("laptop", 1), key("ci", 2)])], URL)
    assert sorted(os.listdir(os.path.join(directory, "ada"))) == [".private-llm-handout", "README.md", "ci", "laptop"]
    assert key_in(directory, "ada", "laptop") == key("laptop", 1)["value"]
    assert key_in(directory, "ada", "ci") == key("ci", 2)["value"]


def test_the_key_named_default_stays_where_it_was_when_another_one_comes(directory):
    hand_out(directory, [ADA], URL)
    outcome = hand_out(directory, [dict(ADA, keys=[*ADA["keys"], key("ci", 2)])], URL)
    assert key_in(directory, "ada") == KEY
    assert key_in(directory, "ada", "ci") == key("ci", 2)["value"]
    assert "ada: key changed" not in outcome.actions


def test_an_old_generation_in_its_grace_period_is_not_handed_out(directory):
    hand_out(directory, [dict(ADA, keys=[key("laptop", 1, retiring=True), key("laptop", 2)])], URL)
    assert key_in(directory, "ada", "laptop") == key("laptop", 2)["value"]


def test_the_files_of_a_key_that_is_gone_are_removed_and_foreign_ones_stay(directory):
    hand_out(directory, [dict(ADA, keys=[key("laptop", 1), key("ci", 2)])], URL, "coder")
    note = os.path.join(directory, "ada", "ci", "note.txt")
    with open(note, "w", encoding="utf-8") as stream:
        stream.write("mine")
    outcome = hand_out(directory, [dict(ADA, keys=[key("laptop", 1)])], URL, "coder")
    assert "ada: ci/key removed" in outcome.actions
    assert os.listdir(os.path.join(directory, "ada", "ci")) == ["note.txt"]
    assert hand_out(directory, [dict(ADA, keys=[key("laptop", 1)])], URL, "coder").actions == []


@pytest.mark.parametrize("name", ["key", "README.md", "../linus", ".ssh", "a/b", ""])
def test_a_key_whose_name_does_not_work_as_a_directory_is_refused_before_anything_is_written(directory, name):
    with pytest.raises(ValueError, match="ada: (a key cannot be named|the key's name)"):
        hand_out(directory, [dict(ADA, keys=[*ADA["keys"], key(name, 2)] if name else [key("ok", 1), {"value": KEY}])], URL)
    assert not os.path.exists(directory)


def test_a_key_that_is_gone_or_has_expired_is_not_handed_out(directory):
    gone = [{**key("ci", 2), "state": "absent"}, {**key("old", 3), "expires": "2020-01-01"}, {**key("later", 4), "expires": "2099-01-01"}]
    hand_out(directory, [dict(ADA, keys=[*ADA["keys"], *gone])], URL)
    place = os.path.join(directory, "ada")
    assert [os.path.exists(os.path.join(place, name, "key")) for name in ("", "ci", "old", "later")] == [True, False, False, True]


@pytest.mark.parametrize("keys", [[], [{"alias": "ada-1", "value": KEY, "retiring": True}]], ids=["none", "one that ends"])
def test_somebody_without_a_key_that_lasts_has_nothing_to_be_handed_and_is_no_hindrance(directory, keys):
    hand_out(directory, [ADA, dict(ADA, name="grace")], URL)
    hand_out(directory, [dict(ADA, keys=keys), dict(ADA, name="grace")], URL)
    assert not os.path.exists(os.path.join(directory, "ada")) and os.path.exists(os.path.join(directory, "grace", "key"))


# -- leaving --------------------------------------------------------------


def test_a_leavers_own_files_stay_with_a_warning_and_a_second_run_changes_nothing(directory):
    hand_out(directory, [ADA], URL)
    with open(os.path.join(directory, "ada", "note.txt"), "w", encoding="utf-8") as stream:
        stream.write("mine")
    outcome = hand_out(directory, [dict(ADA, state="absent")], URL)
    assert outcome.actions == ["ada: hand-out removed"]
    assert "1 file(s)" in outcome.warnings[0]
    assert sorted(os.listdir(os.path.join(directory, "ada"))) == [".private-llm-handout", "note.txt"]
    assert hand_out(directory, [dict(ADA, state="absent")], URL).actions == []


def test_a_list_of_files_that_leads_out_of_the_directory_is_not_followed(directory, tmp_path):
    hand_out(directory, [ADA], URL)
    outside = tmp_path / "precious"
    outside.write_text("mine")
    with open(os.path.join(directory, "ada", ".private-llm-handout"), "a", encoding="utf-8") as stream:
        stream.write("../../precious\n%s\n" % outside)
    hand_out(directory, [dict(ADA, state="absent")], URL)
    assert outside.read_text() == "mine"


def test_half_written_files_of_a_killed_run_are_cleared_away(directory):
    hand_out(directory, [ADA], URL)
    unfinished = os.path.join(directory, "ada", ".handout-abc123")
    with open(unfinished, "w", encoding="utf-8") as stream:
        stream.write(KEY)
    hand_out(directory, [ADA], URL)
    assert not os.path.exists(unfinished)


def test_a_run_that_breaks_off_leaves_no_file_that_is_not_on_the_list(directory, monkeypatch):
    hand_out(directory, [ADA], URL)
    real, count = os.replace, []

    def dies_later(source, target):
        count.append(target)
        if len(count) == 4:
            raise OSError("no space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", dies_later)
    with pytest.raises(OSError, match="no space"):
        hand_out(directory, [ADA], URL, "coder")
    monkeypatch.undo()
    hand_out(directory, [dict(ADA, state="absent")], URL)
    assert os.listdir(directory) == [".gitignore"]


# -- places ---------------------------------------------------------------


@pytest.mark.parametrize("mark", [".git", ".hg", ".svn", ".jj"])
def test_a_directory_under_version_control_is_refused_before_anything_is_written(directory, tmp_path, mark):
    (tmp_path / mark).mkdir()
    with pytest.raises(ValueError, match="version control"):
        hand_out(directory, [ADA], URL)
    assert not os.path.exists(directory)


def test_a_link_in_place_of_a_keys_directory_is_refused(directory, tmp_path):
    hand_out(directory, [ADA], URL)
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", os.path.join(directory, "ada", "ci"))
    with pytest.raises(ValueError, match="symbolic link"):
        hand_out(directory, [dict(ADA, keys=[*ADA["keys"], key("ci", 2)])], URL)
    assert os.listdir(tmp_path / "elsewhere") == []


def test_the_page_to_read_first_tells_limits_and_never_the_key(directory):
    hand_out(directory, [dict(ADA, full_name="Ada\n# <Lovelace>", max_budget=20, budget_duration="30d", keys=[key("ci", 1, rpm_limit=60)])], URL)
    with open(os.path.join(directory, "ada", "README.md"), encoding="utf-8") as stream:
        page = stream.read()
    assert page.startswith("# Private LLM: access of Ada \\# \\<Lovelace\\>\n")
    assert "20 dollars in 30d" in page and "60 requests a minute" in page
    assert key("ci", 1)["value"] not in page


def test_the_names_that_a_key_cannot_have_are_those_of_the_files(directory):
    hand_out(directory, [ADA], URL)
    place = os.path.join(directory, "ada")
    files = [name for name in os.listdir(place) if os.path.isfile(os.path.join(place, name)) and not name.startswith(".")]
    assert sorted(files) == sorted(HANDOUT_FILES)


# -- what others keep there -----------------------------------------------


def written(path, content="mine"):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(content)
    return path


@pytest.mark.parametrize("path", ["key", "README.md", "zed/settings.json"])
def test_a_file_that_was_not_made_here_is_not_overwritten_and_nothing_else_is_written(directory, path):
    own = written(os.path.join(directory, "grace", path))
    with pytest.raises(ValueError, match="grace/%s was not made as part of the hand-out of grace, so it is not overwritten; move it away" % path):
        hand_out(directory, [ADA, dict(ADA, name="grace")], URL, "coder")
    with open(own, encoding="utf-8") as stream:
        assert stream.read() == "mine"
    assert os.listdir(directory) == ["grace"]


def test_a_file_in_the_place_of_a_key_that_comes_later_is_not_overwritten(directory):
    hand_out(directory, [ADA], URL)
    written(os.path.join(directory, "ada", "ci", "key"))
    with pytest.raises(ValueError, match="ada/ci/key was not made as part of the hand-out"):
        hand_out(directory, [dict(ADA, keys=[*ADA["keys"], key("ci", 2)])], URL)
    assert key_in(directory, "ada", "ci") == "mine"


def test_check_mode_refuses_what_a_run_refuses(directory):
    written(os.path.join(directory, "ada", "key"))
    with pytest.raises(ValueError, match="not overwritten"):
        hand_out(directory, [ADA], URL, check=True)


def test_notes_beside_the_files_of_a_hand_out_are_no_hindrance(directory):
    own = written(os.path.join(directory, "ada", "note.txt"))
    hand_out(directory, [ADA], URL)
    assert key_in(directory, "ada") == KEY and os.path.exists(own)


def test_rules_for_git_that_were_there_before_stay(directory):
    own = written(os.path.join(directory, ".gitignore"), "*.bak\n")
    hand_out(directory, [ADA], URL)
    with open(own, encoding="utf-8") as stream:
        assert stream.read() == "*.bak\n"


# -- people who are in no list any more -----------------------------------

GRACE = dict(ADA, name="grace")


def test_without_purge_the_hand_out_of_somebody_who_is_in_no_list_any_more_stays(directory):
    hand_out(directory, [ADA, GRACE], URL)
    assert hand_out(directory, [GRACE], URL).actions == []
    assert key_in(directory, "ada") == KEY


def test_purge_removes_what_was_made_for_somebody_who_is_in_no_list_any_more_and_says_so(directory):
    hand_out(directory, [ADA, GRACE], URL)
    predicted = hand_out(directory, [GRACE], URL, check=True, purge=True)
    assert key_in(directory, "ada") == KEY
    assert hand_out(directory, [GRACE], URL, purge=True).actions == predicted.actions == ["ada: hand-out removed"]
    assert sorted(os.listdir(directory)) == [".gitignore", "grace"]
    assert hand_out(directory, [GRACE], URL, purge=True).actions == []


def test_purge_leaves_what_was_not_made_here(directory, tmp_path):
    hand_out(directory, [ADA, GRACE], URL)
    own = [written(os.path.join(directory, *path)) for path in (("notes", "list.txt"), ("file.txt",), ("ada", "note.txt"))]
    hand_out(str(tmp_path / "elsewhere"), [dict(ADA, name="linus")], URL)
    os.symlink(tmp_path / "elsewhere" / "linus", os.path.join(directory, "linus"))
    outcome = hand_out(directory, [GRACE], URL, purge=True)
    assert outcome.actions == ["ada: hand-out removed"]
    assert "1 file(s)" in outcome.warnings[0]
    assert all(os.path.exists(path) for path in own)
    assert key_in(str(tmp_path / "elsewhere"), "linus") == KEY


def test_purge_leaves_what_people_of_another_gateway_were_handed(directory):
    hand_out(directory, [ADA], "http://other.example.com:4000/v1")
    hand_out(directory, [GRACE], URL)
    assert hand_out(directory, [GRACE], URL, purge=True).actions == []
    assert hand_out(directory, [], "http://other.example.com:4000", purge=True).actions == ["ada: hand-out removed"]


def test_purge_where_nothing_was_ever_handed_out_does_nothing(directory):
    assert hand_out(directory, [], URL, purge=True).actions == []
    assert not os.path.exists(directory)
