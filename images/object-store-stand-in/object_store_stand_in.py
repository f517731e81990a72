#!/usr/bin/python3
"""A stand-in for SeaweedFS: `weed server` answers S3 with signatures (version 4) checked and forgets objects whose lifetime is over,
`weed shell` lists and makes buckets and sets lifetimes."""

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
TTL = re.compile(r"(25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)([mhdwMy])")
UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "M": 30 * 86400, "y": 365 * 86400}
# What SeaweedFS says of a name that is none, in the order in which it looks.
BUCKET_NAMES = {
    "bucket name must between [3, 63] characters": r".{3,63}",
    "bucket name can only contain lower case characters, numbers, dots, and hyphens": r"[a-z0-9.-]+",
    "name must start with number or lower case character": r"[a-z0-9].*",
    "name must end with number or lower case character": r".*[a-z0-9]",
}


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
    shell: Shell

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

    def _ends(self, path: Path) -> float:
        """The moment at which an object that is written now is gone; 0 for never. The longest prefix decides, as in SeaweedFS."""
        place = f"/buckets/{path.relative_to(self.root)}"
        fitting = [rule for prefix, rule in sorted(self.shell.rules().items()) if place.startswith(prefix) and rule.get("ttl")]
        found = TTL.fullmatch(fitting[-1]["ttl"]) if fitting else None
        return time.time() + int(found[1]) * UNITS[found[2]] if found else 0

    def _carry_out(self, path: Path, body: bytes) -> tuple[int, bytes, str]:
        end = path.with_name(f".{path.name}.ends")
        if self.command == "PUT":
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.{threading.get_ident()}")
            partial.write_bytes(body)
            end.write_text(str(self._ends(path)))
            partial.replace(path)
            return 200, b"", "application/xml"
        if self.command == "DELETE":
            path.unlink(missing_ok=True)
            return 204, b"", "application/xml"
        if path.is_dir():
            return 200, b"<ListBucketResult/>", "application/xml"
        if end.is_file() and 0 < float(end.read_text()) < time.time():
            path.unlink(missing_ok=True)
        if not path.is_file():
            raise Refused(404, "NoSuchKey", "There is no such object.")
        return 200, path.read_bytes(), "application/octet-stream"

    do_GET = do_HEAD = do_PUT = do_DELETE = _serve  # noqa: N815


class Mistake(Exception):
    """What a command of the shell says when it does not do it."""


def flags_of(command: str, words: list[str], known: tuple[str, ...]) -> dict[str, str]:
    """-name value, -name=value or -name, as Go's flags take them; booleans are those that end known names with a question mark.

    Raises:
        Mistake: a flag is not one of them. The real shell prints that and its usage, and does not count it as an error.
    """
    found: dict[str, str] = {}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        name, equals, value = rest.pop(0).lstrip("-").partition("=")
        if f"{name}?" in known:
            found[name] = value if equals else "true"
        elif name in known:
            if not equals and not rest:
                raise Mistake(f"flag needs an argument: -{name}\nUsage of {command}:")
            found[name] = value if equals else rest.pop(0)
        else:
            raise Mistake(f"flag provided but not defined: -{name}\nUsage of {command}:")
    return found


class Shell:
    """The commands for buckets and lifetimes, with what SeaweedFS 4.23 prints for them: (standard output, standard error).

    Its source: weed/shell/command_s3_bucket_list.go, command_s3_bucket_create.go, command_fs_configure.go and shell_liner.go, and
    weed/s3api/s3bucket for names.
    """

    def __init__(self, root: Path, rules: Path) -> None:
        self._root = root
        self._rules = rules

    def rules(self) -> dict[str, dict[str, str]]:
        """What is configured for each prefix."""
        found: dict[str, dict[str, str]] = json.loads(self._rules.read_text()) if self._rules.exists() else {}
        return found

    def run(self, line: str) -> tuple[str, str]:
        """One line, which may have several commands with semicolons between them."""
        said = [self._one(command.split()) for command in line.split(";") if command.split()]
        return "".join(out for out, _error in said), "".join(error for _out, error in said)

    def _one(self, words: list[str]) -> tuple[str, str]:
        commands = {"s3.bucket.list": self._list, "s3.bucket.create": self._create, "fs.configure": self._configure}
        if words[0] not in commands:
            return "", f"unknown command: {words[0]}\n"
        try:
            return commands[words[0]](words[0], words[1:])
        except Mistake as mistake:
            return "", f"{mistake}\n"

    def _list(self, _command: str, _words: list[str]) -> tuple[str, str]:
        return "".join(f"  {path.name}\tsize:0\tchunk:0\n" for path in sorted(self._root.iterdir()) if path.is_dir()), ""

    def _create(self, command: str, words: list[str]) -> tuple[str, str]:
        name = flags_of(command, words, ("name", "owner", "withLock?")).get("name", "")
        if not name:
            raise Mistake("error: empty bucket name")
        if problem := next((sentence for sentence, form in BUCKET_NAMES.items() if not re.fullmatch(form, name)), None):
            raise Mistake(f"error: {problem}")
        started = "create bucket under /buckets\n"
        try:
            (self._root / name).mkdir(exist_ok=True)
        except OSError as error:
            return started, f"error: {error}\n"
        return f"{started}created bucket {name}\n", ""

    def _configure(self, command: str, words: list[str]) -> tuple[str, str]:
        names = ("locationPrefix", "collection", "replication", "ttl", "disk", "delete?", "apply?", "readOnly?", "fsync?")
        given = flags_of(command, words, names)
        prefix, ttl = given.get("locationPrefix", ""), given.get("ttl", "")
        rules, said = self.rules(), ""
        if prefix:
            if "apply" not in given:
                said = 'Running in simulation mode. Use "-apply" option to apply the changes.\n'
            if ttl and not TTL.fullmatch(ttl):
                return said, "error: ttl should be of the following format [1 to 255][unit] (e.g., 5m, 2h, 180d, 1w, 2y)\n"
            if "delete" in given:
                rules.pop(prefix, None)
            else:
                rule = rules.setdefault(prefix, {"locationPrefix": prefix})
                rule.update({"ttl": ttl} if ttl else {})
        # Go's JSON of a message has one or two spaces after a colon, and not the same on each build.
        shown = json.dumps({"locations": list(rules.values())}, indent=2, separators=(",", ":  "))
        if "apply" in given:
            self._rules.write_text(json.dumps(rules))
        return f"{said}{shown}\n", ""


class Admin(BaseHTTPRequestHandler):
    """What the shell talks to, on loopback."""

    shell: Shell

    def log_message(self, *_arguments: object) -> None:
        """Say nothing of each request."""

    def do_POST(self) -> None:
        """One line of commands."""
        said = json.dumps(self.shell.run(self.rfile.read(int(self.headers["Content-Length"])).decode())).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)


def options_of(arguments: list[str]) -> dict[str, str]:
    """-name=value and -name, as weed takes them."""
    return {name: value or "true" for name, _equals, value in (argument.lstrip("-").partition("=") for argument in arguments)}


def serve(options: dict[str, str]) -> None:
    """Run until told to stop."""
    if missing := {"dir", "s3", "s3.config"} - options.keys():
        sys.exit(f"object-store-stand-in: `weed server` needs {', '.join(sorted(missing))}")
    if options.get("master.telemetry") != "false":
        sys.exit("object-store-stand-in: the real one would tell its maker about the cluster; give it -master.telemetry=false")
    Handler.root = Path(options["dir"]) / "buckets"
    Handler.root.mkdir(parents=True, exist_ok=True)
    Handler.shell = Admin.shell = Shell(Handler.root, Path(options["dir"]) / "filer.conf")
    Handler.gate = Gate(Path(options["s3.config"]))
    port = int(options.get("s3.port", "8333"))
    admin = ThreadingHTTPServer(("127.0.0.1", ADMIN_PORT), Admin)
    threading.Thread(target=admin.serve_forever, daemon=True).start()
    web = ThreadingHTTPServer((options.get("ip.bind", "127.0.0.1"), port), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=web.shutdown).start())
    log("This is a stand-in for SeaweedFS; it answers S3", port=port, identities=len(Handler.gate.secrets), pid=os.getpid())
    web.serve_forever()


def shell() -> None:
    """Each line of the input is a command. What fails is told, and the end is 0 all the same; without a master it waits for one for ever."""
    for line in sys.stdin:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{ADMIN_PORT}/", line.encode(), timeout=10) as answer:
                    out, error = json.loads(answer.read())
                break
            except OSError:
                time.sleep(0.5)
        sys.stdout.write(out)
        sys.stdout.flush()
        sys.stderr.write(error)


if __name__ == "__main__":
    if sys.argv[1:2] == ["server"]:
        serve(options_of(sys.argv[2:]))
    elif sys.argv[1:2] == ["shell"]:
        shell()
    else:
        sys.exit("object-store-stand-in: only `weed server` and `weed shell` are here")
