#!/usr/bin/python3
"""A stand-in for SeaweedFS: `weed server` answers S3 with signatures (version 4) checked, `weed shell` lists and makes buckets."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import signal
import sys
import threading
import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LONGEST_SKEW = timedelta(minutes=15)
ADMIN_PORT = 9333
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def log(message: str, **more: object) -> None:
    """One line of JSON."""
    print(json.dumps({"program": "object-store-stand-in", "message": message, **more}), flush=True)


def keyed(key: bytes, text: str) -> bytes:
    """HMAC-SHA256."""
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Refused(Exception):
    """An S3 error: status, code, sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Gate:
    """Who may come in: the identities of the S3 configuration."""

    def __init__(self, path: Path) -> None:
        identities = json.loads(path.read_text())["identities"]
        self.secrets = {key["accessKey"]: key["secretKey"] for identity in identities for key in identity["credentials"]}

    def check(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Refuse a request whose signature is not that of its sender and its content."""
        fields = dict(re.findall(r"(\w+)=([^,\s]+)", handler.headers.get("Authorization", "")))
        if not {"Credential", "SignedHeaders", "Signature"} <= fields.keys():
            raise Refused(403, "AccessDenied", "The request has no signature.")
        access_key, day, region, service, _end = fields["Credential"].split("/")
        secret = self.secrets.get(access_key)
        if secret is None:
            raise Refused(403, "InvalidAccessKeyId", "Nobody has this access key.")
        moment = handler.headers.get("x-amz-date", "")
        sent = datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(datetime.now(UTC) - sent) > LONGEST_SKEW:
            raise Refused(403, "RequestTimeTooSkewed", "The clocks differ by more than 15 minutes.")
        digest = handler.headers.get("x-amz-content-sha256", "")
        if digest != hashlib.sha256(body).hexdigest():
            raise Refused(400, "XAmzContentSHA256Mismatch", "The content is not what was signed.")
        path, _mark, query = handler.path.partition("?")
        names = fields["SignedHeaders"].split(";")
        headers = "".join(f"{name}:{' '.join((handler.headers.get(name) or '').split())}\n" for name in names)
        pairs = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
        canonical_query = "&".join(f"{urllib.parse.quote(k, safe='-_.~')}={urllib.parse.quote(v, safe='-_.~')}" for k, v in pairs)
        request = "\n".join([handler.command, path, canonical_query, headers, fields["SignedHeaders"], digest])
        scope = f"{day}/{region}/{service}/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = keyed(keyed(keyed(keyed(f"AWS4{secret}".encode(), day), region), service), "aws4_request")
        if not hmac.compare_digest(keyed(key, text).hex(), fields["Signature"]):
            raise Refused(403, "SignatureDoesNotMatch", "The signature is not that of the secret key.")


class Handler(BaseHTTPRequestHandler):
    """S3 with the bucket in the path."""

    protocol_version = "HTTP/1.1"
    gate: Gate
    root: Path

    def log_message(self, *_arguments: object) -> None:
        """Say nothing of each request."""

    def _answer(self, status: int, body: bytes = b"", kind: str = "application/xml") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _object(self) -> Path:
        bucket, _slash, key = urllib.parse.unquote(self.path.partition("?")[0]).lstrip("/").partition("/")
        if not (self.root / bucket).is_dir() or not bucket:
            raise Refused(404, "NoSuchBucket", f"There is no bucket {bucket}.")
        path = (self.root / bucket / key).resolve()
        if not path.is_relative_to(self.root / bucket):
            raise Refused(400, "InvalidArgument", "The key leads out of its bucket.")
        return path

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            self.gate.check(self, body)
            self._answer(*self._carry_out(self._object(), body))
        except Refused as refused:
            log("refused", code=refused.code, path=self.path)
            self._answer(refused.status, f"<Error><Code>{refused.code}</Code><Message>{refused}</Message></Error>".encode())
        except (ValueError, OSError) as error:
            self._answer(400, f"<Error><Code>InvalidRequest</Code><Message>{error}</Message></Error>".encode())

    def _carry_out(self, path: Path, body: bytes) -> tuple[int, bytes, str]:
        if self.command == "PUT":
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.{threading.get_ident()}")
            partial.write_bytes(body)
            partial.replace(path)
            return 200, b"", "application/xml"
        if self.command == "DELETE":
            path.unlink(missing_ok=True)
            return 204, b"", "application/xml"
        if path.is_dir():
            return 200, b"<ListBucketResult/>", "application/xml"
        if not path.is_file():
            raise Refused(404, "NoSuchKey", "There is no such object.")
        return 200, path.read_bytes(), "application/octet-stream"

    do_GET = do_HEAD = do_PUT = do_DELETE = _serve  # noqa: N815


class Admin(BaseHTTPRequestHandler):
    """What the shell talks to, on loopback."""

    root: Path

    def log_message(self, *_arguments: object) -> None:
        """Say nothing of each request."""

    def do_POST(self) -> None:
        """One command."""
        words = self.rfile.read(int(self.headers["Content-Length"])).decode().split()
        said = ""
        if words[:1] == ["s3.bucket.list"]:
            said = "".join(f"  {path.name}\tsize:0\tlogical:0\tchunk:0\n" for path in sorted(self.root.iterdir()))
        elif words[:2] == ["s3.bucket.create", "-name"]:
            said = self._create(" ".join(words[2:]))
        elif words:
            said = f"unknown command: {words[0]}\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())

    def _create(self, name: str) -> str:
        if not BUCKET.fullmatch(name):
            return f"error: invalid bucket name {name}\n"
        try:
            (self.root / name).mkdir(exist_ok=True)
        except OSError as error:
            return f"create bucket under /buckets\nerror: {error}\n"
        return f"create bucket under /buckets\ncreated bucket {name}\n"


def options_of(arguments: list[str]) -> dict[str, str]:
    """-name=value and -name, as weed takes them."""
    return {name: value or "true" for name, _equals, value in (argument.lstrip("-").partition("=") for argument in arguments)}


def serve(options: dict[str, str]) -> None:
    """Run until told to stop."""
    if missing := {"dir", "s3", "s3.config"} - options.keys():
        sys.exit(f"object-store-stand-in: `weed server` needs {', '.join(sorted(missing))}")
    Handler.root = Admin.root = Path(options["dir"]) / "buckets"
    Handler.root.mkdir(parents=True, exist_ok=True)
    Handler.gate = Gate(Path(options["s3.config"]))
    port = int(options.get("s3.port", "8333"))
    admin = ThreadingHTTPServer(("127.0.0.1", ADMIN_PORT), Admin)
    threading.Thread(target=admin.serve_forever, daemon=True).start()
    web = ThreadingHTTPServer((options.get("ip.bind", "127.0.0.1"), port), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=web.shutdown).start())
    log("This is a stand-in for SeaweedFS; it answers S3", port=port, identities=len(Handler.gate.secrets), pid=os.getpid())
    web.serve_forever()


def shell() -> None:
    """Each line of the input is a command. As with the real one the end is good whatever happened, and it waits for a master without end.

    The prompt before the first answer is what the real one prints when its terminal library finds no terminal, in the versions that ask it.
    """
    sys.stdout.write("> ")
    for line in sys.stdin:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{ADMIN_PORT}/", line.encode(), timeout=10) as answer:
                    sys.stdout.write(answer.read().decode())
                break
            except OSError:
                time.sleep(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["server"]:
        serve(options_of(sys.argv[2:]))
    elif sys.argv[1:2] == ["shell"]:
        shell()
    else:
        sys.exit("object-store-stand-in: only `weed server` and `weed shell` are here")
