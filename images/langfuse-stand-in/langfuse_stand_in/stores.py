"""The stores, each reached with the credentials that the environment gives."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from typing import Any

import psycopg2
import redis

EVENTS = """CREATE TABLE IF NOT EXISTS events (
    id String PRIMARY KEY, project_id String, trace_id String, parent_id String, start_ns BIGINT, end_ns BIGINT, completion_start String,
    name String, type String, user_id String, session_id String, environment String, level String, status_message String, model String,
    input String, output String, usage String, cost String, metadata String, tags String
) ENGINE = ReplacingMergeTree ORDER BY (project_id, start_ns, id)"""
TABLES = """
CREATE TABLE IF NOT EXISTS organizations (id text PRIMARY KEY, name text);
CREATE TABLE IF NOT EXISTS projects (id text PRIMARY KEY, org_id text REFERENCES organizations, name text);
CREATE TABLE IF NOT EXISTS api_keys (public_key text PRIMARY KEY, project_id text REFERENCES projects, hashed_secret_key text, note text);
CREATE TABLE IF NOT EXISTS users (email text PRIMARY KEY, name text, password text);
CREATE TABLE IF NOT EXISTS sealed (name text PRIMARY KEY, digest text);
"""


def postgres(environment: dict[str, str]) -> Any:
    """A connection to PostgreSQL, which commits each statement."""
    connection = psycopg2.connect(environment["DATABASE_URL"], connect_timeout=5)
    connection.autocommit = True
    return connection


def same_secrets(cursor: Any, environment: dict[str, str]) -> None:
    """Note what this installation encrypts and hashes with, and refuse others: with them nothing that is stored could be read.

    Raises:
        RuntimeError: web and worker, or this start and an earlier one, have different secrets.
    """
    for name in ("SALT", "ENCRYPTION_KEY"):
        digest = hashlib.sha256(f"{name}:{environment[name]}".encode()).hexdigest()
        cursor.execute("INSERT INTO sealed VALUES (%s, %s) ON CONFLICT DO NOTHING", (name, digest))
        cursor.execute("SELECT digest FROM sealed WHERE name = %s", (name,))
        if cursor.fetchone()[0] != digest:
            raise RuntimeError(f"{name} is not the one that this installation began with")


def valkey(environment: dict[str, str]) -> redis.Redis:
    """A client of Valkey that is logged in."""
    port = int(environment.get("REDIS_PORT", "6379"))
    client = redis.Redis(host=environment["REDIS_HOST"], port=port, password=environment.get("REDIS_AUTH"), socket_timeout=15)
    client.ping()
    policy = client.config_get("maxmemory-policy")["maxmemory-policy"]
    if policy != "noeviction":
        raise RuntimeError(f"Valkey's maxmemory-policy is {policy}; a queue needs noeviction")
    return client


class ClickHouse:
    """The HTTP interface."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._url = environment["CLICKHOUSE_URL"].rstrip("/") + "/"
        self._migration = environment.get("CLICKHOUSE_MIGRATION_URL")
        self._headers = {"X-ClickHouse-User": environment["CLICKHOUSE_USER"], "X-ClickHouse-Key": environment["CLICKHOUSE_PASSWORD"]}
        if environment.get("CLICKHOUSE_CLUSTER_ENABLED", "true") != "false":
            raise RuntimeError("CLICKHOUSE_CLUSTER_ENABLED is not false, and there is no cluster")

    def ask(self, statement: str, data: bytes = b"", **parameters: object) -> bytes:
        """Carry out a statement; its answer."""
        given = {"query": statement, **{f"param_{name}": str(value) for name, value in parameters.items()}}
        request = urllib.request.Request(f"{self._url}?{urllib.parse.urlencode(given)}", data, self._headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                body: bytes = answer.read()
                return body
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"ClickHouse answered {error.code}: {error.read().decode(errors='replace')[:300]}") from error

    def rows(self, statement: str, **parameters: object) -> list[dict[str, Any]]:
        """What a SELECT finds."""
        return [json.loads(line) for line in self.ask(f"{statement} FORMAT JSONEachRow", **parameters).splitlines()]

    def insert(self, rows: list[dict[str, object]]) -> None:
        """Add events."""
        self.ask("INSERT INTO events FORMAT JSONEachRow", "\n".join(json.dumps(row) for row in rows).encode())

    def migrate(self) -> None:
        """Make what is missing; the native port has to take a connection, as the real migration goes there."""
        parts = urllib.parse.urlsplit(self._migration or "")
        with socket.create_connection((parts.hostname, parts.port or 9000), timeout=5):
            pass
        self.ask(EVENTS)
        self.ask("CREATE INDEX IF NOT EXISTS events_order ON events (project_id, start_ns, id)")
        self.ask("CREATE INDEX IF NOT EXISTS events_trace ON events (trace_id)")


class Bucket:
    """A bucket, by S3 with signatures of version 4: that for events, or that of another group of variables."""

    def __init__(self, environment: dict[str, str], prefix: str = "LANGFUSE_S3_EVENT_UPLOAD_") -> None:
        self._endpoint = environment[prefix + "ENDPOINT"].rstrip("/")
        self._bucket = environment[prefix + "BUCKET"]
        self._prefix = environment.get(prefix + "PREFIX", "")
        self._region = environment.get(prefix + "REGION", "auto")
        self._access_key, self._secret = environment[prefix + "ACCESS_KEY_ID"], environment[prefix + "SECRET_ACCESS_KEY"]
        if environment.get(prefix + "FORCE_PATH_STYLE") != "true":
            raise RuntimeError(f"{prefix}FORCE_PATH_STYLE is not true, and there is no name for each bucket")

    def _headers(self, method: str, path: str, body: bytes) -> dict[str, str]:
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        day, digest, host = moment[:8], hashlib.sha256(body).hexdigest(), urllib.parse.urlsplit(self._endpoint).netloc
        signed = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": moment}
        names = ";".join(signed)
        canonical = "\n".join([method, path, "", "".join(f"{k}:{v}\n" for k, v in signed.items()), names, digest])
        scope = f"{day}/{self._region}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = f"AWS4{self._secret}".encode()
        for part in (day, self._region, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        return {**signed, "Authorization": f"AWS4-HMAC-SHA256 Credential={self._access_key}/{scope}, SignedHeaders={names}, Signature={signature}"}

    def _ask(self, method: str, key: str, body: bytes = b"") -> bytes:
        path = urllib.parse.quote(f"/{self._bucket}/{key}")
        headers = self._headers(method, path, body)
        request = urllib.request.Request(self._endpoint + path, body if method == "PUT" else None, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"the object store answered {error.code}: {error.read().decode(errors='replace')[:300]}") from error

    def check(self) -> None:
        """Log in, and find the bucket."""
        self._ask("GET", "")

    def put(self, key: str, body: bytes) -> None:
        """Keep an object."""
        self._ask("PUT", self._prefix + key, body)

    def get(self, key: str) -> bytes:
        """Read an object."""
        return self._ask("GET", self._prefix + key)


def patiently(what: str, attempt: Any, seconds: float, log: Any) -> Any:
    """The first success within some time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except (OSError, RuntimeError, psycopg2.Error, redis.RedisError) as error:
            if time.monotonic() > deadline:
                log(f"cannot use {what}", error=str(error).strip())
                raise SystemExit(1) from None
            time.sleep(0.5)
