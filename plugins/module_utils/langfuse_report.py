# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was recorded, added up, as a table for the screen, as CSV and as one HTML page that needs nothing else."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.langfuse_traces import cell

KEYS = ("week", "person", "team", "model")
FIGURES = ("requests", "errors", "input_tokens", "output_tokens", "cost")
Rows = Sequence[Mapping[str, Any]]
NOBODY = "-"

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c2733;background:#fff;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #dde3e9}th{font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
svg text{font:12px system-ui,sans-serif;fill:#1c2733}rect{fill:#2f6f9f}.note{color:#5b6b7a}
@media(prefers-color-scheme:dark){body{background:#11171d;color:#e3e9ef}th,td{border-color:#2c3742}svg text{fill:#e3e9ef}rect{fill:#6fb1dd}}
"""


def by(rows: Rows, *keys: str) -> list[dict[str, Any]]:
    """The figures added up for each value of some of the keys, the most requests first; weeks in their order."""
    sums: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        entry = sums.setdefault(tuple(str(row[key] or NOBODY) for key in keys), dict.fromkeys(FIGURES, 0))
        for figure in FIGURES:
            entry[figure] += row[figure]
    added = [{**dict(zip(keys, names)), **entry} for names, entry in sums.items()]
    return sorted(added, key=lambda row: ("week" in keys and row["week"], -row["requests"], *(row[key] for key in keys)))


def shown(name: str, value: Any) -> str:
    """A figure as people read it."""
    return "%.4f" % value if name == "cost" else format(value, ",").replace(",", " ") if name in FIGURES else str(value or NOBODY)


def table(found: Mapping[str, Any]) -> str:
    """For the screen: who and what, without the weeks."""
    parts = []
    for keys in (("person", "team"), ("model",), ("week",)):
        rows = by(found["usage"], *keys)
        head = [*keys, *FIGURES]
        lines = [head] + [[shown(name, row[name]) for name in head] for row in rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        parts.append("\n".join(_line(line, widths, len(keys)) for line in lines))
    topics = ["%s %s: %s" % (entry["kind"], entry["name"], ", ".join(entry["topics"])) for entry in found["topics"] if entry["topics"]]
    return "\n\n".join([*parts, *(["\n".join(["What they ask about", *topics])] if topics else [])])


def _line(line: Sequence[str], widths: Sequence[int], names: int) -> str:
    padded = (text.ljust(width) if column < names else text.rjust(width) for column, (text, width) in enumerate(zip(line, widths)))
    return "  ".join(padded).rstrip()


def as_csv(found: Mapping[str, Any]) -> str:
    """Every row."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*KEYS, *FIGURES])
    writer.writerows([[cell(row[name]) for name in (*KEYS, *FIGURES)] for row in found["usage"]])
    return stream.getvalue()


def _html_table(head: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    marks = {name: ' class="n"' if name in FIGURES else "" for name in head}
    cells = "".join("<th%s>%s</th>" % (marks[name], escape(name.replace("_", " "))) for name in head)
    lines = ("".join("<td%s>%s</td>" % (marks[name], escape(shown(name, row[name]))) for name in head) for row in rows)
    return "<table><thead><tr>%s</tr></thead><tbody>%s</tbody></table>" % (cells, "".join("<tr>%s</tr>" % line for line in lines))


def _chart(rows: Rows, label: Callable[[Mapping[str, Any]], str], most: int = 25) -> str:
    """Bars for the number of requests, drawn as a picture within the page."""
    rows = rows[:most]
    longest = max((row["requests"] for row in rows), default=0) or 1
    bars = []
    for position, row in enumerate(rows):
        top, width = position * 24, 500 * row["requests"] / longest
        bars.append(
            '<text x="0" y="%d">%s</text><rect x="190" y="%d" width="%.1f" height="16"/><text x="%.1f" y="%d">%s</text>'
            % (top + 16, escape(label(row)[:28]), top + 3, width, 196 + width, top + 16, escape(shown("requests", row["requests"])))
        )
    return '<svg viewBox="0 0 780 %d" role="img" aria-label="Requests">%s</svg>' % (max(len(rows), 1) * 24, "".join(bars))


def as_html(found: Mapping[str, Any]) -> str:
    """One page with charts and tables, without scripts and without anything from elsewhere."""
    usage = found["usage"]
    people, teams, models, weeks = by(usage, "person", "team"), by(usage, "team"), by(usage, "model"), by(usage, "week")
    total = sum(row["requests"] for row in usage)
    topics = [{"who": "%s %s" % (t["kind"], t["name"]), "about": ", ".join(t["topics"])} for t in found["topics"] if t["topics"]]
    parts = [
        "<h1>What was asked</h1><p class='note'>%s to %s (UTC), %s requests</p>" % (found["since"], found["until"], shown("requests", total)),
        "<h2>Requests each week</h2>" + _chart(weeks, lambda row: str(row["week"])),
        "<h2>People</h2>" + _chart(people, lambda row: "%s (%s)" % (row["person"], row["team"])) + _html_table(["person", "team", *FIGURES], people),
        "<h2>Teams</h2>" + _html_table(["team", *FIGURES], teams),
        "<h2>Models</h2>" + _html_table(["model", *FIGURES], models),
        *(["<h2>What they ask about</h2>" + _html_table(["who", "about"], topics)] if topics else []),
        "<h2>Each week</h2>" + _html_table([*KEYS, *FIGURES], usage),
    ]
    head = "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>What was asked</title>"
    return "%s<style>%s</style><body>%s</body></html>\n" % (head, STYLE, "".join(parts))


FORMS: dict[str, Callable[[Mapping[str, Any]], str]] = {"table": table, "csv": as_csv, "html": as_html}
