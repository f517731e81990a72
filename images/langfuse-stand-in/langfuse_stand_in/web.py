"""The web program: takes traces, answers the public API."""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import hmac
import json
import signal
import threading
import time
import urllib.parse
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg2
import redis

from langfuse_stand_in import log, otlp, settings, stores

VERSION = f"{settings.KNOWN['version']}-stand-in"
QUEUE = "otel-ingestion-queue"
DELETIONS = "trace-delete-queue"
LARGEST_PAGE = 1000
MOST_DELETIONS = 1000
GROUPS: dict[str, tuple[str, ...]] = {
    "core": ("id", "traceId", "startTime", "endTime", "projectId", "parentObservationId", "type"),
    "basic": ("name", "level", "statusMessage", "environment", "userId", "sessionId"),
    "time": ("completionStartTime",),
    "io": ("input", "output"),
    "metadata": ("metadata",),
    "model": ("providedModelName",),
    "usage": ("usageDetails", "costDetails", "totalCost"),
    "metrics": ("latency",),
    "trace_context": ("tags", "traceName"),
    "prompt": (),
}
COLUMNS = {"userId": "user_id", "name": "name", "traceId": "trace_id", "type": "type", "level": "level", "sessionId": "session_id"}


class BadRequest(Exception):
    """What the caller did wrong."""


def moment_text(nanoseconds: int) -> str:
    """A moment as the API writes it."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def nanoseconds_of(text: str) -> int:
    """A moment as the API reads it."""
    try:
        return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1e9)
    except ValueError:
        raise BadRequest(f"{text} is no moment") from None


def observation(row: dict[str, Any], groups: list[str], expanded: set[str]) -> dict[str, Any]:
    """An event as the API shows it."""
    usage, cost = json.loads(row["usage"] or "{}"), json.loads(row["cost"] or "{}")
    metadata = json.loads(row["metadata"] or "{}")
    everything = {
        "id": row["id"], "traceId": row["trace_id"], "startTime": moment_text(row["start_ns"]), "endTime": moment_text(row["end_ns"]),
        "projectId": row["project_id"], "parentObservationId": row["parent_id"] or None, "type": row["type"], "name": row["name"],
        "level": row["level"], "statusMessage": row["status_message"] or None, "environment": row["environment"], "userId": row["user_id"] or None,
        "sessionId": row["session_id"] or None, "completionStartTime": row["completion_start"] or None, "input": row["input"] or None,
        "output": row["output"] or None, "providedModelName": row["model"] or None, "usageDetails": usage, "costDetails": cost,
        "totalCost": cost.get("total", 0), "latency": (row["end_ns"] - row["start_ns"]) / 1e9, "tags": json.loads(row["tags"] or "[]"),
        "traceName": row["name"],
        "metadata": {name: value if name in expanded or not isinstance(value, str) else value[:200] for name, value in metadata.items()},
    }  # fmt: skip
    return {name: everything[name] for group in groups for name in GROUPS[group]}


def selection(asked: dict[str, str], project: str) -> tuple[str, dict[str, object]]:
    """The conditions and their parameters for a query of observations."""
    conditions, parameters = ["project_id = {project:String}"], {"project": project}
    for name, column in COLUMNS.items():
        if name in asked:
            conditions.append(f"{column} = {{{column}:String}}")
            parameters[column] = asked[name]
    for name, sign in (("fromStartTime", ">="), ("toStartTime", "<")):
        if name in asked:
            conditions.append(f"start_ns {sign} {nanoseconds_of(asked[name])}")
    if "cursor" in asked:
        try:
            cursor = json.loads(base64.b64decode(asked["cursor"]))
            conditions.append(f"(start_ns, id) < ({int(cursor['lastStartTimeTo'])}, {{last:String}})")
            parameters["last"] = cursor["lastId"]
        except (ValueError, KeyError, binascii.Error):
            raise BadRequest("Invalid cursor format") from None
    return " AND ".join(conditions), parameters


class Langfuse:
    """What the requests share."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.clickhouse = stores.ClickHouse(environment)
        self.bucket = stores.Bucket(environment)
        self.valkey: redis.Redis = stores.patiently("Valkey", lambda: stores.valkey(environment), 30, log)
        self._local = threading.local()
        # Keys that were right, with their project and until when that is believed without asking the database.
        self._keys: dict[tuple[str, str], tuple[str, float]] = {}
        self._believed = float(environment.get("LANGFUSE_CACHE_API_KEY_TTL_SECONDS", "300"))

    def database(self) -> Any:
        """This thread's connection to PostgreSQL."""
        if getattr(self._local, "connection", None) is None or self._local.connection.closed:
            self._local.connection = stores.postgres(self.environment)
        return self._local.connection

    def hashed(self, secret: str) -> str:
        """A secret as it is stored."""
        return hashlib.sha256((self.environment["SALT"] + secret).encode()).hexdigest()

    def migrate(self) -> None:
        """Bring both databases to this version and make what LANGFUSE_INIT_ names, without changing what is there."""
        log("migrating PostgreSQL and ClickHouse")
        given = self.environment
        with self.database().cursor() as cursor:
            cursor.execute(stores.TABLES)
            stores.same_secrets(cursor, given)
            if organisation := given.get("LANGFUSE_INIT_ORG_ID"):
                project = given.get("LANGFUSE_INIT_PROJECT_ID")
                cursor.execute("INSERT INTO organizations VALUES (%s, %s) ON CONFLICT DO NOTHING", (organisation, given.get("LANGFUSE_INIT_ORG_NAME")))
                named = (project, organisation, given.get("LANGFUSE_INIT_PROJECT_NAME"))
                cursor.execute("INSERT INTO projects VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", named)
                key = (given["LANGFUSE_INIT_PROJECT_PUBLIC_KEY"], project, self.hashed(given["LANGFUSE_INIT_PROJECT_SECRET_KEY"]))
                cursor.execute("INSERT INTO api_keys VALUES (%s, %s, %s, 'Provisioned API Key') ON CONFLICT DO NOTHING", key)
                user = (given["LANGFUSE_INIT_USER_EMAIL"], given.get("LANGFUSE_INIT_USER_NAME"), self.hashed(given["LANGFUSE_INIT_USER_PASSWORD"]))
                cursor.execute("INSERT INTO users VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", user)
        self.clickhouse.migrate()

    def project_of(self, header: str) -> str | None:
        """The project whose keys these are."""
        try:
            kind, _space, encoded = header.partition(" ")
            public, _colon, secret = base64.b64decode(encoded).decode().partition(":")
        except (ValueError, binascii.Error):
            return None
        if kind != "Basic":
            return None
        pair = (public, self.hashed(secret))
        project, until = self._keys.get(pair, ("", 0.0))
        if time.monotonic() >= until:
            self._keys.pop(pair, None)
            with self.database().cursor() as cursor:
                cursor.execute("SELECT project_id, hashed_secret_key FROM api_keys WHERE public_key = %s", (public,))
                found = cursor.fetchone()
            if found is None or not hmac.compare_digest(found[1], pair[1]):
                return None
            project = found[0]
            self._keys[pair] = (project, time.monotonic() + self._believed)
        return project


class Handler(BaseHTTPRequestHandler):
    """The public API."""

    protocol_version = "HTTP/1.1"
    langfuse: Langfuse

    def log_message(self, *_arguments: object) -> None:
        """Say nothing of each request."""

    def _answer(self, status: int, body: object, kind: str = "application/json") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        address = urllib.parse.urlsplit(self.path)
        asked = dict(urllib.parse.parse_qsl(address.query, keep_blank_values=True))
        try:
            self._route(f"{self.command} {address.path}", asked, body)
        except BadRequest as error:
            self._answer(400, {"message": str(error), "error": "InvalidRequestError"})
        except (OSError, RuntimeError, psycopg2.Error, redis.RedisError) as error:
            log("a store failed", error=str(error).strip())
            self._answer(500, {"message": "Internal Server Error"})

    def _route(self, route: str, asked: dict[str, str], body: bytes) -> None:
        if route == "GET /api/public/health":
            return self._health("failIfDatabaseUnavailable" in asked)
        if route == "GET /api/public/ready":
            return self._answer(200, {"status": "OK", "version": VERSION})
        if route == "GET /":
            return self._answer(200, b"<!doctype html><title>Langfuse stand-in</title><h1>This is a stand-in for Langfuse</h1>", "text/html")
        if route == "POST /api/auth/signup":
            disabled = self.langfuse.environment.get("AUTH_DISABLE_SIGNUP") == "true"
            return self._answer(422 if disabled else 501, {"message": "Sign up is disabled." if disabled else "not in the stand-in"})
        project = self.langfuse.project_of(self.headers.get("Authorization", ""))
        if project is None:
            return self._answer(401, {"message": "Invalid credentials. Please ensure that you've configured the correct host.", "error": "UnauthorizedError"})
        if route == "GET /api/public/projects":
            return self._answer(200, {"data": [{"id": project, "name": self.langfuse.environment.get("LANGFUSE_INIT_PROJECT_NAME", project)}]})
        if route == "POST /api/public/otel/v1/traces":
            return self._take(project, body)
        if route == "GET /api/public/v2/observations":
            return self._observations(project, asked)
        if route == "DELETE /api/public/traces":
            return self._delete(project, body)
        return self._answer(404, {"message": "Not in the stand-in, or gone with version 4"})

    def _health(self, strictly: bool) -> None:
        try:
            with self.langfuse.database().cursor() as cursor:
                cursor.execute("SELECT 1")
        except psycopg2.Error:
            if strictly:
                return self._answer(503, {"status": "Database not available", "version": VERSION})
        return self._answer(200, {"status": "OK", "version": VERSION})

    def _take(self, project: str, body: bytes) -> None:
        if self.headers.get("x-langfuse-ingestion-version") != "4":
            raise BadRequest("the stand-in takes traces of ingestion version 4 only")
        if "application/x-protobuf" not in self.headers.get("Content-Type", ""):
            raise BadRequest("Invalid content type")
        try:
            otlp.spans_of(body)
        except ValueError as error:
            raise BadRequest(str(error)) from None
        key = f"otel/{project}/{datetime.now(UTC):%Y/%m/%d/%H/%M}/{uuid.uuid4()}.pb"
        self.langfuse.bucket.put(key, body)
        self.langfuse.valkey.lpush(QUEUE, json.dumps({"project": project, "key": key}))
        self._answer(200, b"", "application/x-protobuf")

    def _observations(self, project: str, asked: dict[str, str]) -> None:
        if asked.get("parseIoAsJson") == "true":
            raise BadRequest("parseIoAsJson is no longer there")
        groups = ["core", *(group for group in asked.get("fields", "core,basic").split(",") if group != "core")]
        if unknown := set(groups) - GROUPS.keys():
            raise BadRequest(f"unknown fields {', '.join(sorted(unknown))}")
        limit = int(asked.get("limit", "50"))
        if not 1 <= limit <= LARGEST_PAGE:
            raise BadRequest(f"limit must be between 1 and {LARGEST_PAGE}")
        conditions, parameters = selection(asked, project)
        statement = f"SELECT * FROM events WHERE {conditions} ORDER BY start_ns DESC, id DESC LIMIT {limit + 1}"  # noqa: S608 (names are ours)
        rows = self.langfuse.clickhouse.rows(statement, **parameters)
        expanded = set(asked.get("expandMetadata", "").split(","))
        meta = {}
        if len(rows) > limit:
            last = rows[limit - 1]
            meta["cursor"] = base64.b64encode(json.dumps({"lastStartTimeTo": last["start_ns"], "lastId": last["id"]}).encode()).decode()
        self._answer(200, {"data": [observation(row, groups, expanded) for row in rows[:limit]], "meta": meta})

    def _delete(self, project: str, body: bytes) -> None:
        try:
            names = json.loads(body)["traceIds"]
        except (ValueError, KeyError, TypeError):
            raise BadRequest("traceIds is missing") from None
        if not 1 <= len(names) <= MOST_DELETIONS:
            raise BadRequest(f"Between 1 and {MOST_DELETIONS} traces can be deleted in one request.")
        self.langfuse.valkey.lpush(DELETIONS, json.dumps({"project": project, "traces": names}))
        self._answer(200, {"message": "Traces deleted successfully"})

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815


def serve(environment: dict[str, str]) -> None:
    """Log in everywhere, migrate, and answer until told to stop."""
    langfuse = stores.patiently("the stores", lambda: Langfuse(environment), 30, log)
    stores.patiently("PostgreSQL and ClickHouse", langfuse.migrate, 30, log)
    stores.patiently("the object store", langfuse.bucket.check, 30, log)
    Handler.langfuse = langfuse
    port = int(environment.get("PORT", "3000"))
    server = ThreadingHTTPServer(("0.0.0.0", port), Handler)  # noqa: S104 (a container's own network)
    server.daemon_threads = True
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    log("This is a stand-in for Langfuse (web); it is ready", version=VERSION, port=port)
    server.serve_forever()
