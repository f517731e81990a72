#!/usr/bin/python3
"""A stand-in for ClickHouse: as much of its HTTP interface as the stand-in of Langfuse uses, on SQLite.

It reads users and settings from the configuration files of the real one, so a mistake in them is found. Called as
clickhouse-client it asks a query and shows the answer.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import signal
import socketserver
import sqlite3
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONFIGURATION = Path("/etc/clickhouse-server")
DATABASE = Path("/var/lib/clickhouse/stand-in.sqlite")
NEEDED_SETTINGS = ("listen_host", "http_port", "tcp_port", "max_server_memory_usage")
# System tables, which grow without a bound unless they have an end.
SYSTEM_LOGS = json.loads((Path(__file__).resolve().parent / "../share/clickhouse-stand-in/system_logs.json").read_text())["logs"]
# The configuration of the official image gives it an engine, beside which no TTL may stand.
WITH_AN_ENGINE = ("opentelemetry_span_log",)


def log(message: str, **more: object) -> None:
    """One line of JSON."""
    print(json.dumps({"program": "clickhouse-stand-in", "message": message, **more}), flush=True)


class Configuration:
    """What config.d and users.d say."""

    def __init__(self, directory: Path) -> None:
        self.settings: dict[str, str] = {}
        self.tables: dict[str, ET.Element] = {}
        self.users: dict[str, str] = {}
        for path in sorted(directory.glob("config.d/*.xml")):
            self._read_settings(ET.parse(path).getroot())  # noqa: S314 (the operator's own file)
        for path in sorted(directory.glob("users.d/*.xml")):
            self._read_users(ET.parse(path).getroot())  # noqa: S314

    def _read_settings(self, root: ET.Element) -> None:
        for element in root:
            self.settings[element.tag] = (element.text or "").strip()
            self.tables[element.tag] = element

    def _read_users(self, root: ET.Element) -> None:
        for user in root.iterfind("users/*"):
            if user.get("remove"):
                self.users.pop(user.tag, None)
            elif (digest := user.findtext("password_sha256_hex")) is not None:
                self.users[user.tag] = digest.strip()

    def problems(self) -> list[str]:
        """What the real one would not start with, or would fill its disk with."""
        found = [f"{name} is not set in config.d" for name in NEEDED_SETTINGS if not self.settings.get(name)]
        for name in SYSTEM_LOGS:
            element = self.tables.get(name)
            if element is None or not (element.get("remove") or "INTERVAL" in (element.findtext("ttl") or "")):
                found.append(f"the system table {name} has neither a TTL nor is it removed")
            elif name in WITH_AN_ENGINE and not element.get("remove"):
                found.append(f"the system table {name} has a TTL beside its engine, which ClickHouse refuses")
        if not self.users:
            found.append("users.d has no user with password_sha256_hex")
        return found

    def admits(self, user: str, password: str) -> bool:
        """Whether a user has this password."""
        digest = hashlib.sha256(password.encode()).hexdigest()
        return hmac.compare_digest(digest, self.users.get(user, ""))


class Store:
    """Tables in SQLite, one writer at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()
        self._local = threading.local()
        self._connection().execute("PRAGMA journal_mode=WAL")

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            self._local.connection = sqlite3.connect(self._path, timeout=60, isolation_level=None)
            self._local.connection.execute("PRAGMA synchronous=NORMAL")
        connection: sqlite3.Connection = self._local.connection
        return connection

    def insert(self, table: str, rows: list[dict[str, object]]) -> None:
        """Add rows; one with a known primary key takes the place of the old one."""
        if not rows:
            return
        columns = list(rows[0])
        marks = ", ".join("?" * len(columns))
        values = [[row.get(column) for column in columns] for row in rows]
        with self._writing:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)  # noqa: S608 (as a database does)
            connection.execute("COMMIT")

    def run(self, statement: str, parameters: dict[str, str]) -> Iterable[dict[str, object]]:
        """One statement; what it selects."""
        connection = self._connection()
        reading = statement.lstrip().upper().startswith("SELECT")
        with self._writing if not reading else _Nothing():
            cursor = connection.execute(statement, parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]


class _Nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_error: object) -> None: ...


def in_sqlite(statement: str) -> str:
    """The statement in SQLite's words."""
    if statement.lstrip().upper().startswith("CREATE TABLE"):
        statement = re.sub(r"\)\s*ENGINE\s*=.*$", ")", statement, flags=re.DOTALL | re.IGNORECASE)
        # SQLite would take a String column's digits for a number.
        statement = re.sub(r"\bString\b", "TEXT", statement)
    statement = re.sub(r"^\s*ALTER\s+TABLE\s+(\w+)\s+DELETE\s+WHERE", r"DELETE FROM \1 WHERE", statement, flags=re.IGNORECASE)
    return re.sub(r"\{(\w+):\s*\w+\}", r":\1", statement)


class Handler(BaseHTTPRequestHandler):
    """The HTTP interface."""

    protocol_version = "HTTP/1.1"
    configuration: Configuration
    store: Store

    def log_message(self, *_arguments: object) -> None:
        """Say nothing of each request."""

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """Tell that the server is there, or ask."""
        if self.path.startswith("/ping"):
            return self._answer(200, b"Ok.\n")
        return self._query(b"")

    def do_POST(self) -> None:
        """A statement, with data behind it or as the whole body."""
        self._query(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def _query(self, body: bytes) -> None:
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query, keep_blank_values=True))
        user = self.headers.get("X-ClickHouse-User", asked.get("user", "default"))
        if not self.configuration.admits(user, self.headers.get("X-ClickHouse-Key", asked.get("password", ""))):
            log("authentication failed", user=user)
            return self._answer(403, f"Code: 516. DB::Exception: {user}: Authentication failed".encode())
        statement = asked["query"] if "query" in asked else body.decode()
        data = body if "query" in asked else b""
        parameters = {name.removeprefix("param_"): value for name, value in asked.items() if name.startswith("param_")}
        try:
            return self._answer(200, self._carry_out(statement.strip().rstrip(";"), data, parameters))
        except (sqlite3.Error, ValueError) as error:
            log("statement failed", error=str(error), statement=statement[:200])
            return self._answer(400, f"Code: 62. DB::Exception: {error}".encode())

    def _carry_out(self, statement: str, data: bytes, parameters: dict[str, str]) -> bytes:
        inserting = re.match(r"INSERT\s+INTO\s+(\w+)\s+FORMAT\s+JSONEachRow", statement, flags=re.IGNORECASE)
        if inserting:
            self.store.insert(inserting.group(1), [json.loads(line) for line in data.splitlines() if line.strip()])
            return b""
        statement, _format, form = statement.partition(" FORMAT ")
        rows = self.store.run(in_sqlite(statement), parameters)
        if form.strip() == "JSONEachRow":
            return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        return b"".join("\t".join(str(value) for value in row.values()).encode() + b"\n" for row in rows)


class NativePort(socketserver.BaseRequestHandler):
    """The native protocol's port takes connections and says nothing."""

    def handle(self) -> None:
        """Wait until the other side goes."""
        self.request.settimeout(5)
        try:
            self.request.recv(1)
        except OSError:
            pass


def serve() -> None:
    """Run until told to stop."""
    configuration = Configuration(CONFIGURATION)
    if problems := configuration.problems():
        for problem in problems:
            log("configuration is wrong", problem=problem)
        sys.exit(1)
    Handler.configuration, Handler.store = configuration, Store(DATABASE)
    web = ThreadingHTTPServer((configuration.settings["listen_host"], int(configuration.settings["http_port"])), Handler)
    native = socketserver.ThreadingTCPServer((configuration.settings["listen_host"], int(configuration.settings["tcp_port"])), NativePort)
    native.daemon_threads = True
    threading.Thread(target=native.serve_forever, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=web.shutdown).start())
    log("This is a stand-in for ClickHouse; it answers", users=sorted(configuration.users), http_port=configuration.settings["http_port"])
    web.serve_forever()


def ask(arguments: list[str]) -> None:
    """What clickhouse-client does with --query."""
    given = dict(zip(arguments[::2], arguments[1::2], strict=False))
    port = Configuration(CONFIGURATION).settings.get("http_port", "8123")
    address = f"http://{given.get('--host', '127.0.0.1')}:{port}/"
    headers = {"X-ClickHouse-User": os.environ.get("CLICKHOUSE_USER", "default"), "X-ClickHouse-Key": os.environ.get("CLICKHOUSE_PASSWORD", "")}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, given["--query"].encode(), headers), timeout=30) as answer:
            sys.stdout.write(answer.read().decode())
    except urllib.error.HTTPError as error:
        sys.exit(error.read().decode())
    except OSError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    ask(sys.argv[1:]) if Path(sys.argv[0]).name == "clickhouse-client" else serve()
