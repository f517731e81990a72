"""Stands in for Loki: takes lines by its push protocol in JSON and gives them back by its query protocol."""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stand_in.selectors import Selector
from stand_in.server import Answer, Refused, Request, check_keys, log, refuse, serve

KEPT_LINES = 100_000
# What Loki takes when nobody says otherwise.
MAX_CHUNK_AGE = "2h"
MAX_SAMPLE_AGE = "1w"
NANOSECONDS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 24 * 3600 * 10**9, "w": 7 * 24 * 3600 * 10**9}
NUMBER = (int, float)
CONFIGURATION = {
    "auth_enabled": bool,
    "analytics": {"reporting_enabled": bool},
    "server": {"http_listen_port": int, "grpc_listen_address": str, "log_level": str},
    "common": {
        "path_prefix": str,
        "replication_factor": int,
        "instance_addr": str,
        "ring": {"kvstore": {"store": str}},
        "storage": {"filesystem": {"chunks_directory": str, "rules_directory": str}},
    },
    "schema_config": {
        "configs": [{"from": object, "store": str, "object_store": str, "schema": str, "index": {"prefix": str, "period": str}}]
    },
    "compactor": {"working_directory": str, "retention_enabled": bool, "delete_request_store": str, "compaction_interval": str},
    "ingester": {"max_chunk_age": str},
    "querier": {"query_ingesters_within": str},
    "limits_config": {
        "retention_period": str,
        "ingestion_rate_mb": NUMBER,
        "ingestion_burst_size_mb": NUMBER,
        "max_global_streams_per_user": int,
        "max_label_names_per_series": int,
        "reject_old_samples": bool,
        "reject_old_samples_max_age": str,
        "allow_structured_metadata": bool,
        "volume_enabled": bool,
        "discover_service_name": [str],
    },
    "ruler": {
        "storage": {"type": str, "local": {"directory": str}},
        "rule_path": str,
        "alertmanager_url": str,
        "enable_alertmanager_v2": bool,
        "enable_api": bool,
        "ring": {"kvstore": {"store": str}},
    },
}
RULES = {"groups": [{"name": str, "rules": [{"alert": str, "expr": str, "for": str, "labels": {"*": str}, "annotations": {"*": str}}]}]}


def nanoseconds(duration: str) -> int:
    """A duration such as ``48h`` or ``1h30m``. :raises Refused: when it is none."""
    parts = re.findall(r"([0-9]+)(ms|[smhdw])", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise Refused(f"time: invalid duration {duration!r}")
    return sum(int(number) * NANOSECONDS[unit] for number, unit in parts)


@dataclass(frozen=True)
class Window:
    """How late a line may come: after the newest of its stream, and at all. In nanoseconds."""

    behind: int
    old: int | None

    @classmethod
    def of(cls, configuration: dict[str, Any]) -> Window:
        """What a configuration says, or Loki's defaults. :raises Refused: for what is no duration."""
        limits = configuration.get("limits_config", {})
        behind = nanoseconds(configuration.get("ingester", {}).get("max_chunk_age", MAX_CHUNK_AGE)) // 2
        old = nanoseconds(limits.get("reject_old_samples_max_age", MAX_SAMPLE_AGE))
        return cls(behind, old if limits.get("reject_old_samples", True) else None)

    def refusal(self, stamp: int, newest: int, now: int) -> str:
        """Why a line is not taken, in Loki's words; nothing when it is."""
        if self.old is not None and stamp < now - self.old:
            return "timestamp too old"
        return "entry too far behind" if stamp < newest - self.behind else ""


def load(path: str) -> dict[str, Any]:
    """Read and check a configuration. :raises Refused: when the real one would not start with it."""
    found = yaml.safe_load(Path(path).read_text())
    check_keys("config", found, CONFIGURATION)
    newest = found["schema_config"]["configs"][-1]
    if (newest["schema"], newest["store"], newest["index"]["period"]) != ("v13", "tsdb", "24h"):
        raise Refused("schema v13 with store tsdb and an index period of 24h is required for structured metadata")
    compactor = found["compactor"]
    if compactor.get("retention_enabled") and not compactor.get("delete_request_store"):
        raise Refused("compactor.delete-request-store should be configured when retention is enabled")
    Window.of(found)
    return dict(found)


class Store:
    """Lines in memory, the oldest of which go when there are too many."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._lines: list[tuple[int, dict[str, str], str]] = []
        self._seen: set[tuple[int, str, str]] = set()
        self._lock = threading.Lock()
        self.received = 0
        self.failed = 0
        self._newest: dict[str, int] = {}

    def push(self, body: bytes, encoding: str) -> None:
        """Take ``{"streams": [{"stream": LABELS, "values": [[NANOSECONDS, LINE]]}]}``; a line that is there already is taken once."""
        given = json.loads(gzip.decompress(body) if encoding == "gzip" else body)
        refused: Counter[str] = Counter()
        now = time.time_ns()
        with self._lock:
            for stream in given["streams"]:
                labels = {str(name): str(value) for name, value in stream["stream"].items()}
                if not labels:
                    raise Refused("at least one label pair is required per stream")
                for stamp, line, *_metadata in stream["values"]:
                    self.received += 1
                    key = (int(stamp), json.dumps(labels, sort_keys=True), line)
                    newest = max(int(stamp), self._newest.get(key[1], 0))
                    if reason := self._window.refusal(int(stamp), newest, now):
                        refused[reason] += 1
                        continue
                    self._newest[key[1]] = newest
                    if key not in self._seen:
                        self._seen.add(key)
                        self._lines.append((int(stamp), labels, line))
            for stamp, labels, line in self._lines[:-KEPT_LINES]:
                self._seen.discard((stamp, json.dumps(labels, sort_keys=True), line))
            del self._lines[:-KEPT_LINES]
        if refused:
            raise Refused("; ".join(f"{reason}: {lines} lines" for reason, lines in refused.items()) + "; the others were taken")

    def query(self, selector: Selector, start: int, end: int, limit: int, forward: bool) -> list[dict[str, Any]]:
        """Wanted lines by stream, as Loki answers them."""
        with self._lock:
            found = [entry for entry in self._lines if start <= entry[0] < end and selector.wants(entry[1], entry[2])]
        found.sort(key=lambda entry: entry[0], reverse=not forward)
        streams: dict[str, dict[str, Any]] = {}
        for stamp, labels, line in found[:limit]:
            stream = streams.setdefault(json.dumps(labels, sort_keys=True), {"stream": labels, "values": []})
            stream["values"].append([str(stamp), line])
        return list(streams.values())

    def labels(self, name: str = "") -> list[str]:
        """Names of labels, or values of one."""
        with self._lock:
            found = {label: {} for _stamp, labels, _line in self._lines for label in labels} if not name else {}
            values = {labels[name] for _stamp, labels, _line in self._lines if name in labels} if name else set()
        return sorted(values or found)

    def streams(self) -> int:
        """How many combinations of labels there are."""
        with self._lock:
            return len({json.dumps(labels, sort_keys=True) for _stamp, labels, _line in self._lines})


def metrics(store: Store) -> str:
    """What Prometheus is shown."""
    return (
        "# TYPE loki_distributor_lines_received_total counter\n"
        f'loki_distributor_lines_received_total{{tenant="fake"}} {store.received}\n'
        "# TYPE loki_request_duration_seconds histogram\n"
        f'loki_request_duration_seconds_count{{status_code="500"}} {store.failed}\n'
        "# TYPE loki_ingester_memory_streams gauge\n"
        f'loki_ingester_memory_streams{{tenant="fake"}} {store.streams()}\n'
    )


def rules(configuration: dict[str, Any]) -> list[Any]:
    """The groups of rules in the ruler's directory. :raises Refused: when one is not in its form."""
    directory = configuration.get("ruler", {}).get("storage", {}).get("local", {}).get("directory")
    groups: list[Any] = []
    for path in sorted(Path(directory).glob("fake/*.yml")) if directory else []:
        found = yaml.safe_load(path.read_text())
        check_keys(path.name, found, RULES)
        groups += found["groups"]
    return groups


def main(arguments: list[str]) -> int:
    """The program: -config.file=FILE, with -verify-config to check alone, or -health to ask one that runs."""
    options = dict(word.lstrip("-").partition("=")[::2] for word in arguments)
    if "health" in options:
        urllib.request.urlopen("http://127.0.0.1:3100/ready", timeout=5).close()
        return 0
    try:
        configuration = load(options.pop("config.file"))
        groups = rules(configuration)
    except (Refused, KeyError, OSError, yaml.YAMLError) as problem:
        return refuse(problem)
    if options.pop("verify-config", None) is not None:
        return 0
    if options:
        return refuse(Refused(f"flag provided but not defined: {', '.join(options)}"))
    store = Store(Window.of(configuration))

    def handle(request: Request) -> Answer:
        if request.path == "/ready":
            return Answer("ready\n")
        if request.path == "/metrics":
            return Answer(metrics(store))
        if request.path == "/loki/api/v1/push" and request.method == "POST":
            try:
                store.push(request.body, request.headers.get("Content-Encoding", ""))
            except (Refused, ValueError, KeyError) as problem:
                return Answer(str(problem), 400)
            return Answer("", 204)
        if request.path == "/loki/api/v1/query_range":
            try:
                selector = Selector.parse(request.query["query"])
            except Refused as problem:
                return Answer(str(problem), 400)
            now = time.time_ns()
            window = (int(request.query.get("start", now - 3600 * 10**9)), int(request.query.get("end", now)))
            result = store.query(selector, *window, int(request.query.get("limit", 100)), request.query.get("direction") == "forward")
            return Answer({"status": "success", "data": {"resultType": "streams", "result": result}})
        if request.path == "/loki/api/v1/labels":
            return Answer({"status": "success", "data": store.labels()})
        if request.path.startswith("/loki/api/v1/label/"):
            return Answer({"status": "success", "data": store.labels(request.path.split("/")[5])})
        if request.path == "/prometheus/api/v1/rules":
            return Answer({"status": "success", "data": {"groups": groups}})
        return Answer("not found", 404)

    log("info", "this is a stand-in for Loki")
    serve(configuration["server"]["http_listen_port"], handle)
    return 0
