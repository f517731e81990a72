# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module against a small server of the OpenAI kind on the loopback."""

from __future__ import annotations

import http.server
import json
import threading

import pytest
from ansible_collections.private_llm.platform.plugins.modules import server_bench
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

KEY = "a-key-that-nobody-may-see"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers four words, and says of itself that it has two slots."""

    def do_GET(self):
        allowed = self.headers["Authorization"] == f"Bearer {KEY}"
        self._send(200 if allowed else 401, json.dumps({"total_slots": 2, "default_generation_settings": {"n_ctx": 4096}, "build_info": "b1"}))

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self._send(401, '{"error": "no key"}')
            return
        words = len(request["messages"][0]["content"].split())
        tokens = [{"choices": [{"delta": {"content": word}}]} for word in ("one", "two", "three", "four")]
        end = {"choices": [], "usage": {"prompt_tokens": words, "completion_tokens": 4}}
        self._send(200, "".join(f"data: {json.dumps(event)}\n\n" for event in [*tokens, end]) + "data: [DONE]\n\n")

    def _send(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments):
        """Quiet."""


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def bench(server, check=False, **parameters):
    url = f"http://127.0.0.1:{server.server_port}/v1"
    return run_module(server_bench.main, {"url": url, "api_key": KEY, "model": "m", "streams": 3, "rounds": 2, "seconds": 20, **parameters}, check=check)


def test_a_server_is_measured_and_held_against_its_plan(server):
    result = bench(server, planned={"slots": 2, "context_per_slot": 8192}, extra={"ignore_eos": True})
    assert not result["changed"]
    assert result["measured"]["prefill"]["count"] == 2
    assert result["measured"]["first_token_crowd"]["count"] == 6
    assert [(row["name"], row["kept"]) for row in result["comparison"]] == [("slots", True), ("context_per_slot", False)]
    assert result["build"] == "b1"
    assert all(request["ignore_eos"] and request["stream"] and request["model"] == "m" for request in server.requests)
    assert len(server.requests) == 1 + 2 + 2 + 2 * 3


def test_a_key_that_is_wrong_is_told_and_not_shown(server):
    result = bench(server, api_key="another-key-that-nobody-may-see")
    assert "answered 401" in result["msg"]
    assert "another-key" not in result["printed"]
    assert KEY not in bench(server)["printed"]


def test_a_server_that_is_not_there_is_a_sentence():
    result = run_module(server_bench.main, {"url": "http://127.0.0.1:9/v1", "api_key": KEY, "model": "m"})
    assert result["msg"].startswith("Nothing was measured. http://127.0.0.1:9/v1 gave no whole answer:")


def test_check_mode_asks_nothing(server):
    assert "check mode" in bench(server, check=True)["report"][0]
    assert server.requests == []


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"streams": 0}, "streams is 0: at least 1"),
        ({"streams": 1000}, "measure the client"),
        ({"answer_tokens": 1}, "at least 2"),
        ({"url": "x"}, "http or https"),
    ],
)
def test_parameters_that_cannot_work_are_a_sentence(server, wrong, sentence):
    assert sentence in bench(server, **wrong)["msg"]
