# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stand-in for a container registry: manifests, indexes and configurations over HTTP, with the ways of asking who it is that real ones have."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ansible_collections.private_llm.platform.plugins.module_utils.image_registry import INDEX_TYPES, MANIFEST_TYPES

USER, PASSWORD, TOKEN = "platform", "open-sesame", "a-token-of-the-test"


def digest_of(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


class StandInRegistry:
    """Holds images; ``asks`` is what it wants to see first (``nothing``, ``basic`` or ``token``), ``moved`` sends configurations elsewhere."""

    def __init__(self):
        self.content = {}
        self.asks = "nothing"
        self.anonymous = False
        self.moved = None
        self.realm = ""
        self.seen = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                registry.answer(self)

            def log_message(self, *_arguments):
                """The requests are in ``seen``."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.address}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def put(self, repository, tag, created, architecture="", words=""):
        """Put an image there, with an index of architectures if one is named; what an engine would pin it by."""
        configuration = json.dumps({"created": created, "words": words}).encode()
        self.content[f"/v2/{repository}/blobs/{digest_of(configuration)}"] = ("application/octet-stream", configuration)
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST_TYPES[0], "config": {"digest": digest_of(configuration)}}).encode()
        kind = MANIFEST_TYPES[0]
        if architecture:
            self.content[f"/v2/{repository}/manifests/{digest_of(manifest)}"] = (kind, manifest)
            entries = [
                {"digest": "sha256:" + "0" * 64, "platform": {"os": "unknown", "architecture": "unknown"}},
                {"digest": digest_of(manifest), "platform": {"os": "linux", "architecture": architecture}},
            ]
            kind, manifest = INDEX_TYPES[0], json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPES[0], "manifests": entries}).encode()
        self.content[f"/v2/{repository}/manifests/{tag}"] = (kind, manifest)
        return digest_of(manifest)

    def answer(self, request):
        given = request.headers.get("Authorization", "")
        self.seen.append((request.path, given))
        basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if request.path.startswith("/token?"):
            right = given == basic or (self.anonymous and not given)
            return self._send(request, 200 if right else 401, json.dumps({"token": TOKEN} if right else {}).encode())
        wanted = {"nothing": "", "basic": basic, "token": f"Bearer {TOKEN}"}[self.asks]
        if wanted and given != wanted:
            challenge = f'Bearer realm="{self.realm or self.url + "/token"}",service="stand-in"' if self.asks == "token" else 'Basic realm="stand-in"'
            return self._send(request, 401, b"{}", {"WWW-Authenticate": challenge})
        if self.moved and "/blobs/" in request.path:
            return self._send(request, 307, b"", {"Location": self.moved + request.path})
        if request.path not in self.content:
            return self._send(request, 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
        kind, content = self.content[request.path]
        return self._send(request, 200, content, {"Content-Type": kind})

    @staticmethod
    def _send(request, status, content, headers=None):
        request.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)
