"""An HTTP server with the faults of real ones, chosen by the first part of the path; it notes each request on standard output."""

from __future__ import annotations

import http.server
import pathlib

MODEL = pathlib.Path("/srv/fixtures/tiny-qwen3moe.gguf").read_bytes()
CUT = 100_000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the model.

    ``cut`` ends a whole transfer early, ``no-ranges`` too and answers a request for the rest with the whole; ``stubborn`` ends every transfer early.
    """

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        asked = self.headers.get("Range", "")
        print(f"{self.path} {asked or 'whole'}", flush=True)
        if kind == "missing":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and kind != "no-ranges" else 0
        body = MODEL[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(MODEL) - 1}/{len(MODEL)}")
        self.end_headers()
        try:
            self.wfile.write(body[:CUT] if kind == "stubborn" or not asked else body)
        except OSError:
            print("the other side hung up", flush=True)

    def log_message(self, *_arguments: object) -> None:
        """The requests are noted above."""


http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
