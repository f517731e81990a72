"""Each dashboard is what its source says, each query is one that Prometheus or Loki understands, each metric exists."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import dashboards
from alerts import LOGS_ROLE, METRICS_ROLE, recorded_names, rules

FIXTURES = Path(__file__).parent / "metrics"
BOARDS = {board.name: dashboards.as_json(board) for board in dashboards.DASHBOARDS}
QUERIES = list(dashboards.queries())
OF_METRICS = [(place, query.expression) for place, query in QUERIES if query.source is dashboards.PROMETHEUS]
OF_LOGS = [(place, query.expression) for place, query in QUERIES if query.source is dashboards.LOKI]
# What Prometheus itself makes.
OF_PROMETHEUS = {"up", "ALERTS", "scrape_duration_seconds"}
# What other parts of the platform write for the node exporter.
OF_OUR_OWN = {"private_llm_backup_last_success_timestamp_seconds", "private_llm_certificate_not_after_timestamp_seconds"}
# No lab has a card, and nobody fails there; the names are those of the documentation of DCGM and of the gateway's source.
DOCUMENTED = re.compile(r"DCGM_(FI|EXP)_[A-Z0-9_]+$|promtail_dropped_entries_total$|loki_\w+$")

each_board = pytest.mark.parametrize("name", sorted(BOARDS))


def as_asked(expression):
    """A query as Grafana sends it, with the variables filled in."""
    return re.sub(r"\$__(range|interval|rate_interval)", "5m", re.sub(r"\$(host|service|level|database|search)", "x", expression))


def test_the_committed_files_are_what_the_source_writes():
    assert dashboards.main(["--check"]) == 0


@each_board
def test_a_dashboard_has_a_fixed_uid_and_the_classic_form(name):
    board = BOARDS[name]
    assert board["uid"] == f"platform-{name}" and board["schemaVersion"] == 39 and "spec" not in board
    assert all(panel["datasource"]["uid"] in ("prometheus", "loki") for panel in board["panels"] if "datasource" in panel)


@each_board
def test_panels_have_numbers_of_their_own_and_do_not_overlap(name):
    panels = BOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    covered = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(covered) == len(set(covered)) and max(x for x, _y in covered) < 24


@each_board
def test_grafanas_own_model_of_a_dashboard_knows_every_field(name):
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    board = json.loads((dashboards.PLACE / f"{name}.json").read_text())
    again = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(board)))
    assert lost(board, again) == []


def lost(before, after, place="dashboard"):
    """What is no longer there, or another, after the model has read and written it."""
    if isinstance(before, dict):
        if not isinstance(after, dict):
            return [place]
        return [entry for key, value in before.items() for entry in ([f"{place}.{key}"] if key not in after else lost(value, after[key], f"{place}.{key}"))]
    if isinstance(before, list):
        if not isinstance(after, list) or len(before) != len(after):
            return [place]
        return [entry for index, value in enumerate(before) for entry in lost(value, after[index], f"{place}[{index}]")]
    return [] if before == after else [place]


def test_prometheus_understands_every_query_of_metrics(tmp_path):
    # As rules, for that is what promtool reads; each is named after its place.
    entries = [{"record": f"query:{number}", "expr": as_asked(expression)} for number, (_place, expression) in enumerate(OF_METRICS)]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": entries}]}))
    assert shutil.which("promtool"), "promtool is missing: call the tests through `make check`, which fetches it"
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_grammar_of_loki_takes_every_query_of_logs_and_every_rule():
    expressions = [as_asked(expression) for _place, expression in OF_LOGS] + [rule["expr"] for _group, rule in rules(LOGS_ROLE)]
    expressions += re.findall(r"^    (\{.*)$", (dashboards.ROOT / "docs" / "observability.md").read_text(), re.MULTILINE)
    program = Path(os.environ["PRIVATE_LLM_GRAMMAR"]) / "check.mjs"
    asked = [*expressions, 'sum by (x) (rate({a="b"}[5m]']
    done = subprocess.run(["node", program], input=json.dumps(asked), capture_output=True, text=True, check=True)
    # The last one is broken on purpose: a check that takes everything would not show.
    assert [entry["text"] for entry in json.loads(done.stdout)] == asked[-1:]


def names_in(expression):
    """The metrics that an expression of Prometheus names."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    words = re.findall(r"[a-zA-Z_:][\w:]*(?!\w)(?!\s*\()", bare)
    return {word for word in words if word not in {"and", "or", "unless", "offset", "bool"} and not re.fullmatch(r"e\d+|[smhd]", word)}


@functools.cache
def known_metrics():
    """Every metric that a real program has shown: names in recorded answers, with those that a histogram is made of."""
    text = "\n".join(path.read_text() for path in FIXTURES.glob("*.txt"))
    shown = set(re.findall(r"^([a-zA-Z_:][\w:]*)(?:\{|\s)", text, re.MULTILINE)) | set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    return shown | recorded_names() | OF_PROMETHEUS | OF_OUR_OWN


@pytest.mark.parametrize(
    "place, expression", [*OF_METRICS, *((f"rule {rule.get('record') or rule['alert']}", rule["expr"]) for _group, rule in rules(METRICS_ROLE))]
)
def test_every_metric_is_one_that_a_program_of_the_platform_shows(place, expression):
    assert {name for name in names_in(expression) if name not in known_metrics() and not DOCUMENTED.match(name)} == set(), place
