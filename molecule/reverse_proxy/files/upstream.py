"""Plays a gateway: python3 upstream.py PORT. Answers good keys, refuses others, streams slowly, and tells what it was asked."""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GOOD_KEYS = ("Bearer sk-good", "Bearer sk-second")


class Gateway(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments):
        print(self.command, self.path, flush=True)

    def say(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, pause, pieces):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(pieces):
            data = f"data: {number} {time.time()}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
            time.sleep(pause)
        self.wfile.write(b"0\r\n\r\n")

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.path.startswith("/v1/"):
            return self.say(200, json.dumps({"path": self.path, "headers": dict(self.headers)}))
        if self.headers.get("Authorization") not in GOOD_KEYS:
            return self.say(401, "no such key")
        if self.path.startswith("/v1/stream"):
            _path, _query, words = self.path.partition("?")
            pause, pieces = words.split(",")
            return self.stream(float(pause), int(pieces))
        if self.path.startswith("/v1/wait"):
            time.sleep(float(self.path.partition("?")[2]))
        return self.say(200, str(len(body)))

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


Server(("127.0.0.1", int(sys.argv[1])), Gateway).serve_forever()
