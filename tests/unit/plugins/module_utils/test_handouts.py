# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.server
import json
import os
import stat
import subprocess
import threading

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils.handouts import hand_out

KEY = "sk-adas-own-key-000000000001"
ADA = {"name": "ada", "state": "present", "key": KEY}
URL = "http://llm.example.com:4000"


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def directory(tmp_path):
    return str(tmp_path / "people")


def test_a_person_gets_key_environment_and_curl_that_nobody_else_can_read(directory):
    hand_out(directory, [ADA], URL, "coder")
    place = os.path.join(directory, "ada")
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
    changed = hand_out(directory, [dict(ADA, key=KEY + "2")], URL)
    assert "ada: key changed" in changed.actions
    assert KEY not in str([outcome, changed])


def test_the_directory_of_somebody_who_left_is_removed_and_all_others_stay(directory):
    hand_out(directory, [ADA, {"name": "linus", "state": "present", "key": KEY}], URL)
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


def test_the_curl_script_asks_with_the_key_and_puts_no_key_on_a_command_line(directory):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append((self.path, self.headers["Authorization"], json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"data: hello\n")

        def log_message(self, *arguments):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.handle_request, daemon=True)
    thread.start()
    hand_out(directory, [ADA], "http://127.0.0.1:%d" % server.server_address[1], "coder")
    environment = dict(os.environ, no_proxy="127.0.0.1")
    shown = subprocess.run(
        ["sh", "-x", os.path.join(directory, "ada", "curl.sh"), 'Say "hi" \\ there'],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    server.server_close()
    path, authorization, body = asked[0]
    assert (path, authorization) == ("/v1/chat/completions", "Bearer " + KEY)
    assert (body["model"], body["stream"]) == ("coder", True)
    assert body["messages"] == [{"role": "user", "content": 'Say "hi" \\ there'}]
    assert shown.stdout == "data: hello\n"
    assert [line for line in shown.stderr.splitlines() if line.startswith("+ curl") and KEY in line] == []
