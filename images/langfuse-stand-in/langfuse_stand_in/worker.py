"""The worker program: brings what was taken into ClickHouse, and deletes what is to go."""

from __future__ import annotations

import json
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg2
import redis

from langfuse_stand_in import log, otlp, stores
from langfuse_stand_in.web import DELETIONS, QUEUE

WAIT_SECONDS = 1
TYPES = ("span", "generation", "event", "embedding")


def row_of(span: otlp.Span, project: str) -> dict[str, object]:
    """A span as the table of events has it, by Langfuse's names of attributes."""
    given = span.attributes

    def text(*names: str) -> str:
        return next((str(given[name]) for name in names if given.get(name) not in (None, "")), "")

    kind = text("langfuse.observation.type") or "span"
    if kind not in TYPES:
        kind = "span"
    prefixes = ("langfuse.observation.metadata.", "langfuse.trace.metadata.")
    metadata = {name.removeprefix(prefix): value for prefix in prefixes for name, value in given.items() if name.startswith(prefix)}
    tags = given.get("langfuse.trace.tags") or []
    return {
        "id": span.span_id, "project_id": project, "trace_id": span.trace_id, "parent_id": span.parent_id, "start_ns": span.start,
        "end_ns": span.end, "completion_start": text("langfuse.observation.completion_start_time").strip('"'), "name": span.name,
        "type": kind.upper(), "user_id": text("user.id", "langfuse.user.id"), "session_id": text("session.id", "langfuse.session.id"),
        "environment": text("langfuse.environment") or "default", "level": text("langfuse.observation.level") or "DEFAULT",
        "status_message": text("langfuse.observation.status_message"), "model": text("langfuse.observation.model.name", "gen_ai.request.model"),
        "input": text("langfuse.observation.input"), "output": text("langfuse.observation.output"),
        "usage": text("langfuse.observation.usage_details"), "cost": text("langfuse.observation.cost_details"),
        "metadata": json.dumps(metadata), "tags": tags if isinstance(tags, str) else json.dumps(tags),
    }  # fmt: skip


class Worker:
    """One job after the other; a job that fails stays where it is."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._clickhouse = stores.ClickHouse(environment)
        self._bucket = stores.Bucket(environment)
        self._queue = stores.valkey(environment)
        with stores.postgres(environment).cursor() as cursor:
            cursor.execute("SELECT count(*) FROM projects")
            stores.same_secrets(cursor, environment)
        self._clickhouse.ask("SELECT 1")
        self._bucket.check()
        if environment.get("LANGFUSE_S3_BATCH_EXPORT_ENABLED") == "true":
            exports = stores.Bucket(environment, "LANGFUSE_S3_BATCH_EXPORT_")
            exports.put("trial", b"x")
            exports.get("trial")
        self.stopping = False

    def run(self) -> None:
        """Work until told to stop."""
        for queue in (QUEUE, DELETIONS):
            while self._queue.lmove(f"{queue}:active", queue, "LEFT", "RIGHT"):
                pass
        while not self.stopping:
            try:
                self._one(QUEUE, self._keep)
                self._one(DELETIONS, self._delete)
            except (OSError, RuntimeError, redis.RedisError, psycopg2.Error) as error:
                log("a job failed and will be tried again", error=str(error).strip())
                time.sleep(WAIT_SECONDS)

    def _one(self, queue: str, work: Any) -> None:
        waited = WAIT_SECONDS if queue == QUEUE and not self._queue.llen(DELETIONS) else 0
        active = f"{queue}:active"
        job = self._queue.blmove(queue, active, WAIT_SECONDS, "RIGHT", "LEFT") if waited else self._queue.lmove(queue, active, "RIGHT", "LEFT")
        job = job or self._queue.lindex(active, -1)
        if job:
            work(json.loads(job))
            self._queue.lrem(active, 1, job)

    def _keep(self, job: dict[str, Any]) -> None:
        self._clickhouse.insert([row_of(span, job["project"]) for span in otlp.spans_of(self._bucket.get(job["key"]))])

    def _delete(self, job: dict[str, Any]) -> None:
        names = ", ".join(f"'{name}'" for name in job["traces"] if name.isalnum())
        self._clickhouse.ask(f"ALTER TABLE events DELETE WHERE project_id = {{project:String}} AND trace_id IN ({names})", project=job["project"])
        log("deleted traces", count=len(job["traces"]))


class Health(BaseHTTPRequestHandler):
    """The health endpoint."""

    def log_message(self, *_arguments: object) -> None:
        """Say nothing of each request."""

    def do_GET(self) -> None:
        """Tell that the worker is there."""
        body = b'{"status":"ok"}'
        self.send_response(200 if self.path == "/api/health" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(environment: dict[str, str]) -> None:
    """Log in everywhere and work until told to stop."""
    worker = stores.patiently("the stores", lambda: Worker(environment), 30, log)
    health = ThreadingHTTPServer(("0.0.0.0", int(environment.get("PORT", "3030"))), Health)  # noqa: S104 (a container's own network)
    threading.Thread(target=health.serve_forever, daemon=True).start()

    def stop(*_arguments: object) -> None:
        worker.stopping = True

    signal.signal(signal.SIGTERM, stop)
    log("This is a stand-in for Langfuse (worker); it is ready")
    worker.run()
