#!/usr/bin/env python3
"""Writes the dashboards that Grafana is given, in its classic JSON, from what is said here.

tools/dashboards.py          writes roles/grafana/files/dashboards/NAME.json
tools/dashboards.py --check  writes nothing and fails when a file is not what it would write
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "roles" / "grafana" / "files" / "dashboards"
PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
LOKI = {"type": "loki", "uid": "loki"}
# Grafana's grid has 24 columns; most panels are as high as 8 of its rows.
COLUMNS = 24
HEIGHT = 8
SCHEMA_VERSION = 39
GOOD, CAREFUL, BAD = "green", "orange", "red"
Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """One query of a panel. ``legend`` names its series, with labels in double braces."""

    expression: str
    legend: str = ""
    source: Json = field(default_factory=lambda: PROMETHEUS)
    instant: bool = False


@dataclass(frozen=True)
class Panel:
    """A panel without its place. ``width`` is in columns; ``steps`` are values from which on a colour is used."""

    kind: str
    title: str
    queries: tuple[Query, ...]
    about: str = ""
    unit: str = "short"
    width: int = 8
    height: int = HEIGHT
    steps: tuple[tuple[float, str], ...] = ()
    options: Json = field(default_factory=dict)
    stacked: bool = False
    maximum: float | None = None
    decimals: int | None = None
    transformations: tuple[Json, ...] = ()


def q(expression: str, legend: str = "") -> Query:
    """A query of metrics."""
    return Query(expression, legend)


def now(expression: str, legend: str = "") -> Query:
    """A query of metrics for this moment alone, for tables and single numbers."""
    return Query(expression, legend, instant=True)


def logs_of(expression: str, legend: str = "") -> Query:
    """A query of logs."""
    return Query(expression, legend, source=LOKI)


def number(title: str, query: Query, unit: str = "short", steps: Sequence[tuple[float, str]] = (), about: str = "", width: int = 4) -> Panel:
    """One number, coloured by how good it is."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background" if steps else "none",
        "graphMode": "area",
        "textMode": "auto",
        "orientation": "auto",
        "justifyMode": "auto",
    }
    return Panel("stat", title, (query,), about, unit, width, 4, tuple(steps), options, decimals=1)


def lines(title: str, *queries: Query, unit: str = "short", about: str = "", width: int = 8, stacked: bool = False, maximum: float | None = None) -> Panel:
    """Values over time."""
    options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return Panel("timeseries", title, queries, about, unit, width, stacked=stacked, options=options, maximum=maximum)


def table(title: str, *queries: Query, about: str = "", width: int = 12, unit: str = "short", rename: Json | None = None) -> Panel:
    """A table of what is now: one row for each combination of labels."""
    transformations: tuple[Json, ...] = (
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": rename or {}}},
    )
    options = {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": (rename or {}).get("Value #A", "Value"), "desc": True}]}
    return Panel("table", title, queries, about, unit, width, options=options, transformations=transformations)


def log_lines(title: str, query: str, width: int = COLUMNS, height: int = 12, about: str = "") -> Panel:
    """The lines themselves."""
    options = {
        "showTime": True, "showLabels": False, "showCommonLabels": False, "wrapLogMessage": True, "prettifyLogMessage": False,
        "enableLogDetails": True, "dedupStrategy": "none", "sortOrder": "Descending",
    }
    return Panel("logs", title, (logs_of(query),), about, width=width, height=height, options=options)


def alert_list(title: str, width: int = 12) -> Panel:
    """Alerts that fire."""
    options = {
        "viewMode": "list", "groupMode": "default", "groupBy": [], "maxItems": 20, "sortOrder": 3, "dashboardAlerts": False, "alertName": "",
        "alertInstanceLabelFilter": "{severity!=\"none\"}", "datasource": "Prometheus", "showInstances": True,
        "stateFilter": {"firing": True, "pending": True, "noData": False, "normal": False, "error": True},
    }
    return Panel("alertlist", title, (), width=width, options=options)


@dataclass(frozen=True)
class Row:
    """A heading with panels below it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """A dashboard; its name is the file's and ends its uid."""

    name: str
    title: str
    about: str
    rows: tuple[Row, ...]
    variables: tuple[Json, ...] = ()

    @property
    def uid(self) -> str:
        return f"platform-{self.name}"


def variable(name: str, label: str, query: str, source: Json) -> Json:
    """A list to choose from above a dashboard; everything when nothing is chosen."""
    asked: Any = {"query": query, "refId": name} if source is PROMETHEUS else query
    return {
        "name": name, "label": label, "type": "query", "datasource": source, "query": asked, "refresh": 2, "regex": "", "sort": 1,
        "multi": True, "includeAll": True, "allValue": ".+", "hide": 0, "skipUrlSync": False, "options": [],
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


HOST = variable("host", "Host", "label_values(up, host)", PROMETHEUS)
GPU_HOST = variable("host", "Host", 'label_values(up{job="llama-server"}, host)', PROMETHEUS)
LOG_HOST = variable("host", "Host", "label_values(host)", LOKI)
SERVICE = variable("service", "Service", "label_values(service)", LOKI)
LEVEL = variable("level", "Level", "label_values(level)", LOKI)
DATABASE = variable("database", "Database", 'label_values(up{job="postgres"}, service)', PROMETHEUS)
# Lines that the choice above the dashboard leaves.
CHOSEN = '{host=~"$host", service=~"$service", level=~"$level"} |~ "(?i)$search"'
CHOSEN_RATE = f"rate({CHOSEN} [$__interval])"
OF_DATABASE = '{service=~"$database"}'
SEARCH = {
    "name": "search", "label": "Text (regular expression)", "type": "textbox", "query": "", "hide": 0, "skipUrlSync": False,
    "current": {"selected": True, "text": "", "value": ""}, "options": [],
}



def per_database(counter: str) -> str:
    """How much a counter of PostgreSQL's databases rises in a second, for each server."""
    return f"sum by (service) (rate(pg_stat_database_{counter}{OF_DATABASE}[5m]))"


DASHBOARDS = (
    Dashboard(
        "overview", "Overview", "Is it good right now?",
        (
            Row("Right now", (
                number("Model servers up", now('sum(up{job="llama-server"})'), steps=((0, BAD), (1, GOOD))),
                number("Alerts", now('sum(ALERTS{alertstate="firing",severity=~"critical|warning"}) or vector(0)'), steps=((0, GOOD), (1, CAREFUL), (3, BAD))),
                number("Requests waiting", now("sum(model:requests_waiting)"), steps=((0, GOOD), (1, CAREFUL), (10, BAD))),
                number("First word, 95 of 100 within", now("platform:first_token:p95_5m"), "s", ((0, GOOD), (5, CAREFUL), (20, BAD))),
                number("Failed", now("platform:failures:ratio5m"), "percentunit", ((0, GOOD), (0.01, CAREFUL), (0.05, BAD))),
                number("People in the last hour", now("count(sum by (user) (increase(litellm_proxy_total_requests_metric_total[1h])) > 0)")),
            )),
            Row("What people feel", (
                lines("Requests a minute", q("platform:requests:rate5m * 60", "all"), q("platform:failures:rate5m * 60", "failed"),
                      q("platform:refusals:rate5m * 60", "refused by a limit")),
                lines("Seconds to the first word", q("platform:first_token:p50_5m", "half of the answers"),
                      q("platform:first_token:p95_5m", "95 of 100"), unit="s"),
                lines("Running and waiting", q("model:requests_running", "running, {{service}} on {{host}}"),
                      q("model:requests_waiting", "waiting, {{service}} on {{host}}")),
            )),
            Row("What the machines do", (
                lines("Tokens a second", q("model:answered_tokens:rate5m", "answered by {{service}} on {{host}}"),
                      q("model:prompt_tokens:rate5m", "read by {{service}} on {{host}}")),
                lines("GPU busy", q("gpu:busy:ratio", "{{host}} {{gpu}}"), unit="percentunit", maximum=1),
                alert_list("Alerts", 8),
            )),
            Row("What broke", (
                table("Services that do not answer", now("up == 0"), width=8, rename={"Value": "up"}),
                lines("Lines with errors a minute", logs_of('sum by (service) (rate({level=~"error|critical"}[5m])) * 60', "{{service}}"), width=16),
            )),
        ),
    ),
    Dashboard(
        "people", "People and spend", "Who uses how much, and how near they are to their limits.",
        (
            Row("Use", (
                lines("Requests a minute", q("sum by (user) (people:requests:rate5m) * 60", "{{user}}"), width=12, stacked=True),
                lines("Tokens a minute", q("people:tokens:rate5m * 60", "{{user}}"), width=12, stacked=True),
                lines("Spend in an hour", q("people:spend:increase1h", "{{user}}"), unit="currencyUSD", width=12, stacked=True),
                lines("Refused and failed a minute", q("sum by (user, exception_status) (people:failures:rate5m) * 60", "{{user}} {{exception_status}}"),
                      width=12),
            )),
            Row("In the chosen time", (
                table("People", now("sum by (user) (increase(litellm_proxy_total_requests_metric_total[$__range]))"),
                      now("sum by (user) (increase(litellm_total_tokens_metric_total[$__range]))"),
                      now("sum by (user) (increase(litellm_spend_metric_total[$__range]))"),
                      rename={"Value #A": "Requests", "Value #B": "Tokens", "Value #C": "Spend"}),
                table("Models", now("sum by (requested_model) (increase(litellm_proxy_total_requests_metric_total[$__range]))"), rename={"Value": "Requests"}),
            )),
            Row("Budgets", (
                table("Left of people's budgets", now("people:budget_left:ratio"), unit="percentunit", width=8, rename={"Value": "Left"}),
                table("Left of teams' budgets", now("teams:budget_left:ratio"), unit="percentunit", width=8, rename={"Value": "Left"}),
                table("Left of keys' budgets", now("keys:budget_left:ratio"), unit="percentunit", width=8, rename={"Value": "Left"}),
            )),
        ),
    ),
    Dashboard(
        "serving", "Serving", "Queue, slots, reading and answering, cache, and how long it all takes.",
        (
            Row("Queue", (
                lines("Running", q('model:requests_running{host=~"$host"}', "{{service}} on {{host}}")),
                lines("Waiting", q('model:requests_waiting{host=~"$host"}', "{{service}} on {{host}}")),
                lines("Slots busy in a step", q('llamacpp:n_busy_slots_per_decode{host=~"$host"}', "{{service}} on {{host}}")),
            )),
            Row("Speed", (
                lines("Answering, tokens a second", q('model:answer_speed:tokens_per_second{host=~"$host"}', "{{service}} on {{host}}"),
                      about="While something is being answered: what one person sees."),
                lines("Reading prompts, tokens a second", q('model:prompt_speed:tokens_per_second{host=~"$host"}', "{{service}} on {{host}}")),
                lines("From the prompt cache", q('model:prompt_cache:hit_ratio1h{host=~"$host"}', "{{service}} on {{host}}"), unit="percentunit", maximum=1),
            )),
            Row("Latency at the gateway", (
                lines("First word", q("platform:first_token:p50_5m", "half"), q("platform:first_token:p95_5m", "95 of 100"), unit="s"),
                lines("Whole answer", q("platform:request_duration:p95_5m", "95 of 100"), unit="s"),
                lines("In the gateway itself", q("platform:gateway_queue:p95_5m", "95 of 100"), unit="s"),
            )),
            Row("Health", (
                lines("Model servers as the gateway sees them", q("litellm_deployment_state", "{{litellm_model_name}} {{api_base}}"), width=12,
                      about="0 is well, 1 partly out of order, 2 out of order."),
                log_lines("Warnings and errors", '{service=~"llama-server.*|litellm", level=~"warning|error|critical"}', width=12, height=HEIGHT),
            )),
        ),
        (GPU_HOST,),
    ),
    Dashboard(
        "gpu", "GPU", "What the cards do, and how they are.",
        (
            Row("Load", (
                lines("Busy", q('gpu:busy:ratio{host=~"$host"}', "{{host}} {{gpu}}"), unit="percentunit", maximum=1),
                lines("Memory used", q('gpu:memory_used:bytes{host=~"$host"}', "{{host}} {{gpu}}"),
                      q('gpu:memory_total:bytes{host=~"$host"}', "all of {{host}} {{gpu}}"),
                      unit="bytes"),
                lines("Power", q('gpu:power:watts{host=~"$host"}', "{{host}} {{gpu}}"), unit="watt"),
            )),
            Row("Heat", (
                lines("Temperature", q('gpu:temperature:celsius{host=~"$host"}', "{{host}} {{gpu}}"),
                      q('gpu:memory_temperature:celsius{host=~"$host"}', "memory of {{host}} {{gpu}}"),
                      unit="celsius"),
                lines("Clock", q('gpu:clock:hertz{host=~"$host"}', "{{host}} {{gpu}}"), unit="hertz"),
                lines("Slowed down", q('gpu:throttled_by_heat:ratio5m{host=~"$host"}', "by heat, {{host}} {{gpu}}"),
                      q('gpu:throttled_by_power:ratio5m{host=~"$host"}', "by the power limit, {{host}} {{gpu}}"), unit="percentunit", maximum=1),
            )),
            Row("Faults", (
                table("XID errors", now('gpu:xid_errors:count{host=~"$host"} > 0'), width=8, rename={"Value": "Times"}),
                lines("Memory errors in an hour", q('increase(gpu:ecc_corrected:total{host=~"$host"}[1h])', "corrected, {{host}} {{gpu}}"),
                      q('increase(gpu:ecc_uncorrected:total{host=~"$host"}[1h])', "not corrected, {{host}} {{gpu}}")),
                lines("Replaced rows", q('gpu:rows_remapped_uncorrectable:total{host=~"$host"}', "{{host}} {{gpu}}")),
            )),
        ),
        (GPU_HOST,),
    ),
    Dashboard(
        "hosts", "Hosts", "Processor, memory, disks and units of each machine.",
        (
            Row("Load", (
                lines("Processors busy", q('host:cpu_busy:ratio5m{host=~"$host"}', "{{host}}"), unit="percentunit", maximum=1),
                lines("Memory available", q('host:memory_available:ratio{host=~"$host"}', "{{host}}"), unit="percentunit", maximum=1),
                lines("Waiting for something", q('rate(node_pressure_cpu_waiting_seconds_total{host=~"$host"}[5m])', "processor, {{host}}"),
                      q('rate(node_pressure_io_waiting_seconds_total{host=~"$host"}[5m])', "disk, {{host}}"),
                      q('rate(node_pressure_memory_waiting_seconds_total{host=~"$host"}[5m])', "memory, {{host}}"), unit="percentunit"),
            )),
            Row("Disks", (
                lines("Free", q('host:disk_free:ratio{host=~"$host"}', "{{host}} {{mountpoint}}"), unit="percentunit", maximum=1),
                lines("Read and written", q('sum by (host) (rate(node_disk_read_bytes_total{host=~"$host"}[5m]))', "read, {{host}}"),
                      q('sum by (host) (rate(node_disk_written_bytes_total{host=~"$host"}[5m]))', "written, {{host}}"), unit="Bps"),
                table("Fullest in a day at this pace",
                      now('predict_linear(node_filesystem_avail_bytes{host=~"$host",fstype!~"tmpfs|ramfs|overlay"}[6h], 86400)'),
                      unit="bytes", width=8, rename={"Value": "Free then"}),
            )),
            Row("Units and clock", (
                table("Units that have failed", now('node_systemd_unit_state{host=~"$host",state="failed"} == 1'), width=8),
                lines("Started again", q('increase(node_systemd_service_restart_total{host=~"$host"}[1h]) > 0', "{{host}} {{name}}")),
                lines("Clock wrong by", q('node_timex_offset_seconds{host=~"$host"}', "{{host}}"), unit="s"),
            )),
        ),
        (HOST,),
    ),
    Dashboard(
        "logs", "Logs", "What every service wrote.",
        (
            Row("Lines", (
                lines("Lines a minute by level", logs_of(f"sum by (level) ({CHOSEN_RATE}) * 60", "{{level}}"),
                      width=12, stacked=True),
                lines("Lines a minute by service", logs_of(f"topk(10, sum by (service) ({CHOSEN_RATE})) * 60", "{{service}}"),
                      width=12, stacked=True),
                log_lines("Lines", CHOSEN, height=20),
            )),
            Row("The store itself", (
                lines("Lines received a second", q("sum(rate(loki_distributor_lines_received_total[5m]))", "all hosts"), width=12),
                lines("Lines lost in 15 minutes", q("platform:log_lines_lost:increase15m", "{{host}}"), width=12),
            )),
        ),
        (LOG_HOST, SERVICE, LEVEL, SEARCH),
    ),
    Dashboard(
        "databases", "Databases", "The PostgreSQL servers behind the platform.",
        (
            Row("State", (
                number("Up", now(f"sum(pg_up{OF_DATABASE})"), steps=((0, BAD), (1, GOOD)), width=6),
                number("Size", now(f"sum(pg_database_size_bytes{OF_DATABASE})"), "bytes", width=6),
                number("Connections used", now(f"sum(pg_stat_activity_count{OF_DATABASE}) / sum(pg_settings_max_connections{OF_DATABASE})"),
                       "percentunit", ((0, GOOD), (0.7, CAREFUL), (0.85, BAD)), width=6),
                number("Longest transaction", now(f"max(pg_stat_activity_max_tx_duration{OF_DATABASE})"), "s", width=6),
            )),
            Row("Work", (
                lines("Transactions a second", q(per_database("xact_commit"), "{{service}}"), q(per_database("xact_rollback"), "taken back, {{service}}")),
                lines("Connections by state", q(f"sum by (service, state) (pg_stat_activity_count{OF_DATABASE})", "{{service}} {{state}}"), stacked=True),
                lines("Read from memory", q(f"{per_database('blks_hit')} / ({per_database('blks_hit')} + {per_database('blks_read')})", "{{service}}"),
                      unit="percentunit", maximum=1),
            )),
            Row("Trouble", (
                lines("Deadlocks in 5 minutes", q(f"{per_database('deadlocks')} * 300", "{{service}}"), width=12),
                log_lines("Warnings and errors", '{service=~"postgres.*", level=~"warning|error|critical"}', width=12, height=HEIGHT),
            )),
        ),
        (DATABASE,),
    ),
)


def target(query: Query, number_of: int, kind: str) -> Json:
    """A query as a panel holds it."""
    found: Json = {"refId": chr(ord("A") + number_of), "datasource": query.source, "expr": query.expression}
    if query.legend:
        found["legendFormat"] = query.legend
    if query.source is LOKI:
        found["queryType"] = "range"
        return found
    found |= {"instant": query.instant, "range": not query.instant, "editorMode": "code"}
    if kind == "table":
        found["format"] = "table"
    return found


def panel_json(panel: Panel, number_of: int, x: int, y: int) -> Json:
    """A panel at its place."""
    steps = [{"color": colour, "value": None if index == 0 else value} for index, (value, colour) in enumerate(panel.steps)]
    defaults: Json = {
        "unit": panel.unit,
        "color": {"mode": "thresholds" if panel.steps else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": steps or [{"color": "text", "value": None}]},
        "mappings": [],
        "custom": {},
    }
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        defaults["custom"] = {"lineWidth": 1, "fillOpacity": 30 if panel.stacked else 10, "showPoints": "never", "spanNulls": False, "stacking": stacking}
        defaults["min"] = 0
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    found: Json = {
        "id": number_of,
        "type": panel.kind,
        "title": panel.title,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "options": panel.options,
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }
    if panel.about:
        found["description"] = panel.about
    if panel.queries:
        found["datasource"] = panel.queries[0].source
        found["targets"] = [target(query, index, panel.kind) for index, query in enumerate(panel.queries)]
    if panel.transformations:
        found["transformations"] = list(panel.transformations)
    return found


def panels_of(dashboard: Dashboard) -> list[Json]:
    """All panels with their places, row after row."""
    found: list[Json] = []
    y = 0
    for row in dashboard.rows:
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        found.append({"id": len(found) + 1, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []})
        x, y, highest = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, highest = 0, y + highest, 0
            found.append(panel_json(panel, len(found) + 1, x, y))
            x, highest = x + panel.width, max(highest, panel.height)
        y += highest
    return found


def as_json(dashboard: Dashboard) -> Json:
    """A dashboard as Grafana reads it."""
    links = [
        {"title": other.title, "type": "link", "url": f"/d/{other.uid}", "icon": "dashboard", "keepTime": True, "includeVars": False, "targetBlank": False,
         "asDropdown": False, "tags": [], "tooltip": other.about}
        for other in DASHBOARDS
        if other is not dashboard
    ]
    annotations = {
        "name": "Alerts", "datasource": PROMETHEUS, "enable": True, "hide": False, "iconColor": "red",
        "expr": 'ALERTS{alertstate="firing",severity=~"critical|warning"}',
    }
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["platform"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "timepicker": {},
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "weekStart": "",
        "links": links,
        "annotations": {"list": [annotations]},
        "templating": {"list": list(dashboard.variables)},
        "panels": panels_of(dashboard),
    }


def files() -> dict[Path, str]:
    """Each file and its whole text."""
    return {PLACE / f"{board.name}.json": json.dumps(as_json(board), indent=1, ensure_ascii=False) + "\n" for board in DASHBOARDS}


def queries() -> Iterator[tuple[str, Query]]:
    """Every query with the place it stands at."""
    for board in DASHBOARDS:
        for row in board.rows:
            for panel in row.panels:
                for query in panel.queries:
                    yield f"{board.title}, {panel.title}", query


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with --check say which differ."""
    wrong = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    wrong += [path for path in PLACE.glob("*.json") if path not in files()]
    if arguments:
        sys.stderr.write("".join(f"{path.relative_to(ROOT)} is not what tools/dashboards.py writes; run it.\n" for path in wrong))
        return 1 if wrong else 0
    PLACE.mkdir(parents=True, exist_ok=True)
    for path in wrong:
        if path in files():
            path.write_text(files()[path])
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
