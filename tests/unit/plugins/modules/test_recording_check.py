# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ansible_collections.private_llm.platform.plugins.modules import recording_check
from ansible_collections.private_llm.platform.tests.unit.fakes.langfuse import PUBLIC_KEY, SECRET_KEY, FakeLangfuse, observation, served
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

MASTER_KEY = "sk-master-of-the-test-0123456789"


class Gateway:
    """Answers questions and records them in the fake Langfuse, as `bend` bends them."""

    def __init__(self, langfuse, bend):
        self.langfuse, self.bend = langfuse, bend
        self.keys, self.teams = {}, []

    def answer(self, path, key, body):
        if path == "/team/new":
            self.teams.append(body["team_id"])
            return {}
        if path == "/team/delete":
            self.teams = [team for team in self.teams if team not in body["team_ids"]]
            return {}
        if path == "/key/generate":
            self.keys["sk-made-for-the-check"] = body
            return {"key": "sk-made-for-the-check"}
        if path == "/key/delete":
            self.keys = {name: owner for name, owner in self.keys.items() if name not in body["keys"]}
            return {}
        return self.chat(self.keys[key], body)

    def chat(self, owner, body):
        number = uuid.uuid4()
        recorded = observation(0, "2099-01-01T00:00:00.000Z", owner["user_id"], owner["team_id"], body["model"], body["messages"][0]["content"], "Hi.")
        recorded |= {"traceId": number.hex, "id": number.hex[:16], "startTime": "2020-01-01T00:00:00.000Z"}
        if (found := self.bend(recorded)) is not None:
            self.langfuse.observations.append(found)
        self.call = str(number)
        if not body["stream"]:
            return {"choices": [{"message": {"content": "Hi."}}], "usage": {"total_tokens": 15}}
        pieces = ("H", "i.")
        return "".join(f"data: {json.dumps({'choices': [{'delta': {'content': piece}}]})}\n\n" for piece in pieces) + "data: [DONE]\n\n"


@contextlib.contextmanager
def answering(gateway):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments):
            pass

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = gateway.answer(self.path, self.headers["Authorization"].removeprefix("Bearer "), body)
            data = (found if isinstance(found, str) else json.dumps(found)).encode()
            self.send_response(200)
            self.send_header("x-litellm-call-id", getattr(gateway, "call", ""))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def _any_time(monkeypatch):
    # The fake's clock stands still.
    pages = recording_check.Api.pages
    monkeypatch.setattr(recording_check.Api, "pages", lambda api, _since, until, fields, **more: pages(api, None, until, fields, **more))
    monkeypatch.setattr(recording_check, "PAUSE_SECONDS", 0.01)


def run(bend=lambda recorded: recorded, check=False):
    langfuse = FakeLangfuse()
    gateway = Gateway(langfuse, bend)
    with served(langfuse) as url, answering(gateway) as address:
        given = {"gateway_url": address, "gateway_key": MASTER_KEY, "model": "qwen3-coder", "langfuse_url": url, "timeout": 0}
        result = run_module(recording_check.main, {**given, "langfuse_public_key": PUBLIC_KEY, "langfuse_secret_key": SECRET_KEY}, check=check)
    return gateway, result


def test_it_holds_when_everything_arrived_as_it_was():
    gateway, result = run()
    assert len(result["traces"]) == 2 and result["changed"] is False and result["version"] == "4.16.0-fake"
    assert gateway.keys == {} and gateway.teams == []


@pytest.mark.parametrize(
    "name, change",
    [
        ("prompt", {"input": json.dumps([{"role": "user", "content": "something else"}])}),
        ("reply", {"output": None}),
        ("model", {"providedModelName": "another"}),
        ("tokens", {"usageDetails": {}}),
        ("person", {"userId": "somebody"}),
        ("team", {"metadata": {"recording": "everything"}}),
    ],
)
def test_what_is_not_as_it_was_is_named(name, change):
    _gateway, result = run(lambda recorded: {**recorded, **change})
    assert result["failed"] and result["msg"].endswith(f"but not as it was: {name}.")


def test_what_does_not_arrive_is_named_with_where_to_look():
    gateway, result = run(lambda recorded: None)
    assert "Langfuse does not have the plain answer and the streamed answer" in result["msg"] and "journalctl" in result["msg"]
    assert gateway.keys == {} and gateway.teams == [], "the key that was made for it must not stay"


def test_no_secret_is_shown():
    _gateway, result = run(lambda recorded: None)
    assert not {MASTER_KEY, SECRET_KEY, "sk-made-for-the-check"} & set(result["printed"].split('"'))


def test_check_mode_asks_nothing():
    gateway, result = run(check=True)
    assert result["traces"] == [] and not hasattr(gateway, "call")
