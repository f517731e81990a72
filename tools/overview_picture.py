#!/usr/bin/env python3
"""Draws the dashboard Overview from the Prometheus of a test host, for there is no Grafana in the lab to take a picture of.

tools/overview_picture.py HOST PICTURE.png [MINUTES]   needs matplotlib, which nothing else here does
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dashboards

LABEL = "Drawn by tools/overview_picture.py from the queries of the dashboard and a test host's Prometheus. This is not Grafana."


def asked(host: str, path: str, **query: str) -> list[dict[str, Any]]:
    """What the Prometheus of the host answers."""
    url = f"http://127.0.0.1:9090/api/v1/{path}?{urllib.parse.urlencode(query)}"
    done = subprocess.run(["docker", "exec", host, "curl", "-sS", url], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout)["data"]["result"])


def answers(host: str, minutes: int) -> list[dict[str, Any]]:
    """Each panel of numbers and of lines with what its queries give."""
    end = time.time()
    found = []
    for row in dashboards.DASHBOARDS[0].rows:
        for panel in row.panels:
            queries = [query for query in panel.queries if query.source is dashboards.PROMETHEUS]
            if panel.kind not in ("stat", "timeseries") or not queries:
                continue
            window = {"start": f"{end - minutes * 60:.0f}", "end": f"{end:.0f}", "step": "5"}
            series = [
                {"legend": re.sub(r"\{\{(\w+)\}\}", lambda name, s=one: s["metric"].get(name.group(1), ""), query.legend), "values": one["values"]}
                for query in queries
                for one in asked(host, "query_range", query=query.expression, **window)
            ]
            found.append({"kind": panel.kind, "title": panel.title, "unit": panel.unit, "series": series})
    return found


def shown(value: float, unit: str) -> str:
    """A number as people read it."""
    if unit == "percentunit":
        return f"{value:.1%}"
    return f"{value:.2f} s" if unit == "s" else f"{value:g}"


def draw(panels: Sequence[dict[str, Any]], path: str) -> None:
    """Numbers in a row above, lines below them, three in a row."""
    from matplotlib import dates, pyplot

    numbers = [panel for panel in panels if panel["kind"] == "stat"]
    lines = [panel for panel in panels if panel["kind"] == "timeseries"]
    rows = -(-len(lines) // 3)
    figure = pyplot.figure(figsize=(15, 2 + 3 * rows))
    grid = figure.add_gridspec(1 + rows, 6 * 3, height_ratios=[1, *[3] * rows], hspace=0.55, wspace=2.2)
    for index, panel in enumerate(numbers):
        axes = figure.add_subplot(grid[0, index * 3 : index * 3 + 3])
        last = panel["series"][0]["values"][-1][1] if panel["series"] else None
        axes.text(0.5, 0.4, shown(float(last), panel["unit"]) if last and last != "NaN" else "no data", ha="center", va="center", fontsize=20)
        axes.set_title(panel["title"], fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    for index, panel in enumerate(lines):
        column = index % 3 * 6
        axes = figure.add_subplot(grid[1 + index // 3, column : column + 6])
        for one in panel["series"]:
            axes.plot([datetime.fromtimestamp(float(x), UTC) for x, _y in one["values"]], [float(y) for _x, y in one["values"]], label=one["legend"])
        axes.set_title(panel["title"], fontsize=10)
        axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
        axes.tick_params(labelsize=8)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if panel["series"]:
            axes.legend(fontsize=7, loc="upper left")
    figure.suptitle("Overview: is it good right now?", fontsize=14)
    figure.text(0.5, 0.02, LABEL, ha="center", fontsize=8)
    figure.savefig(path, dpi=80, bbox_inches="tight")


if __name__ == "__main__":
    draw(answers(sys.argv[1], int(sys.argv[3]) if len(sys.argv) > 3 else 15), sys.argv[2])
