# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small Langfuse in memory: the part of its public API that modules use, refusals and pages included."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PUBLIC_KEY, SECRET_KEY = "pk-lf-test", "sk-lf-secret-of-the-test"


def observation(number, moment, person="ada", team="research", model="qwen3-coder", question="Hello?", answer="Hi.", **more):
    """A recorded call, as the API shows it."""
    return {
        "id": f"{number:016x}",
        "traceId": f"{number:032x}",
        "startTime": moment,
        "endTime": moment,
        "name": "acompletion",
        "level": "DEFAULT",
        "userId": person,
        "sessionId": None,
        "input": json.dumps([{"role": "user", "content": question}]),
        "output": json.dumps({"role": "assistant", "content": answer}),
        "metadata": {"team": team, "key": f"{person}-1", "recording": "everything"},
        "statusMessage": None,
        "providedModelName": model,
        "usageDetails": {"input": 10, "output": 5, "total": 15},
        "totalCost": 0.5,
        "latency": 1.25,
        **more,
    }


class FakeLangfuse:
    """Holds observations, newest first; `stumble` makes the next answers failures of that status, and `refuse_after` cuts the way after some."""

    def __init__(self, observations=()):
        self.observations = sorted(observations, key=lambda entry: (entry["startTime"], entry["id"]), reverse=True)
        self.deleted = []
        self.asked = []
        self.stumble = []
        self.refuse_after = None

    def page(self, query):
        found = [
            entry
            for entry in self.observations
            if query.get("fromStartTime", "") <= entry["startTime"] < query.get("toStartTime", "9")
            and query.get("traceId", entry["traceId"]) == entry["traceId"]
        ]
        if "cursor" in query:
            last = json.loads(base64.b64decode(query["cursor"]))
            found = [entry for entry in found if [entry["startTime"], entry["id"]] < last]
        limit = int(query.get("limit", "50"))
        meta = {}
        if len(found) > limit:
            last = found[limit - 1]
            meta["cursor"] = base64.b64encode(json.dumps([last["startTime"], last["id"]]).encode()).decode()
        return {"data": found[:limit], "meta": meta}

    def answer(self, method, path, query, body):
        self.asked.append((method, path, query))
        if self.refuse_after is not None and len(self.asked) > self.refuse_after:
            return 403, {"message": "no more"}
        if self.stumble:
            return self.stumble.pop(0), {"message": "stumbled"}
        if (method, path) == ("GET", "/api/public/health"):
            return 200, {"status": "OK", "version": "4.16.0-fake"}
        if (method, path) == ("GET", "/api/public/v2/observations"):
            return 200, self.page(query)
        if (method, path) == ("DELETE", "/api/public/traces"):
            self.deleted.append(body["traceIds"])
            return 200, {"message": "Traces deleted successfully"}
        return 404, {"message": "not here"}


@contextlib.contextmanager
def served(langfuse):
    """The address under which it answers."""
    credentials = "Basic " + base64.b64encode(f"{PUBLIC_KEY}:{SECRET_KEY}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments):
            pass

        def _serve(self):
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            address = urllib.parse.urlsplit(self.path)
            status, answer = 401, {"message": "Invalid credentials"}
            if self.headers.get("Authorization") == credentials:
                query = dict(urllib.parse.parse_qsl(address.query))
                status, answer = langfuse.answer(self.command, address.path, query, json.loads(content or b"null"))
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_DELETE = do_POST = _serve  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
