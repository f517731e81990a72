# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Usage as people read it (a table) and as programs do (CSV)."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.litellm_usage import LIMITS, MEASURES, total_of

Row = Mapping[str, Any]
WIDEST_NAME = 32
# What spreadsheets take for a formula when a cell starts with it.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
BUDGET = ("max_budget", "budget_duration", "budget_reset_at", "spend", "budget_left")

FIELDS: dict[str, tuple[str, ...]] = {
    "users": ("name", "full_name", "email", "role", "state", "teams", "keys", *BUDGET, "last_used"),
    "teams": ("id", "name", "state", "members", "keys", "models", *LIMITS, *BUDGET, "last_used"),
    "keys": ("alias", "label", "user", "team", "state", "models", *LIMITS, *BUDGET, "created", "expires", "last_used"),
}
KINDS = tuple(FIELDS)


def money(value: Any) -> str:
    """An amount; small ones keep the digits that matter, an absent one is a dash."""
    if value is None:
        return "-"
    return "%.2f" % value if abs(value) >= 1 or value == 0 else "%.4f" % value if abs(value) >= 0.0001 else "%.2g" % value


def number(value: Any) -> str:
    """A whole number with its thousands apart."""
    return "-" if value is None else format(int(value), ",d").replace(",", " ")


def moment(value: Any) -> str:
    """A time to the minute."""
    return str(value)[:16].replace("T", " ") if value else "-"


def text(value: Any) -> str:
    """Text on one line and not too wide."""
    line = " ".join("".join(character if character.isprintable() else " " for character in str(value or "-")).split())
    return line if len(line) <= WIDEST_NAME else line[: WIDEST_NAME - 3] + "..."


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, what stands in it, and whether it is a number."""

    heading: str
    show: Callable[[Row], str]
    is_number: bool = False


def _used(measure: str, show: Callable[[Any], str]) -> Callable[[Row], str]:
    return lambda row: show((row.get("usage") or {}).get(measure))


USED = (
    Column("requests", _used("requests", number), True),
    Column("failed", _used("failed_requests", number), True),
    Column("tokens in", _used("prompt_tokens", number), True),
    Column("tokens out", _used("completion_tokens", number), True),
    Column("spend", _used("spend", money), True),
)
BUDGETS = (
    Column("budget", lambda row: money(row.get("max_budget")), True),
    Column("left", lambda row: money(row.get("budget_left")), True),
    Column("starts anew", lambda row: moment(row.get("budget_reset_at"))[:10]),
)
LAST_USED = Column("last used (UTC)", lambda row: moment(row.get("last_used")))
STATE = Column("state", lambda row: text(row.get("state")).replace("_", " "))

WHO: dict[str, tuple[Column, ...]] = {
    "users": (
        Column("person", lambda row: text(row.get("name") or "(nobody)")),
        STATE,
        Column("teams", lambda row: text(", ".join(row.get("teams") or []))),
    ),
    "teams": (
        Column("team", lambda row: text(row.get("name") or row.get("id") or "(no team)")),
        STATE,
        Column("people", lambda row: number(len(row.get("members") or [])), True),
    ),
    "keys": (
        Column("key", lambda row: text(row.get("label"))),
        STATE,
        Column("person", lambda row: text(row.get("user"))),
        Column("expires", lambda row: moment(row.get("expires"))[:10]),
    ),
}


def width(line: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def as_table(kind: str, rows: Sequence[Row], since: str | None = None, until: str | None = None) -> str:
    """A table with who used most on top; with a period, a total at the end."""
    columns = [*WHO[kind], *(USED if since else ()), LAST_USED, *BUDGETS]
    ordered = sorted(rows, key=lambda row: (-((row.get("usage") or {}).get("spend") or 0), str(row.get("name") or row.get("id") or row.get("alias"))))
    lines = [[column.show(row) for column in columns] for row in ordered]
    if since and lines:
        whole = {"usage": total_of(rows)}
        lines.append(["total" if index == 0 else column.show(whole) if column in USED else "" for index, column in enumerate(columns)])
    lines.insert(0, [column.heading for column in columns])
    widths = [max(width(line[index]) for line in lines) for index in range(len(columns))]

    def aligned(line: Sequence[str]) -> str:
        cells = []
        for cell, column, wide in zip(line, columns, widths):
            padding = " " * (wide - width(cell))
            cells.append(padding + cell if column.is_number else cell + padding)
        return "  ".join(cells).rstrip()

    shown = [aligned(line) for line in lines]
    shown.insert(1, "  ".join("-" * wide for wide in widths))
    return "\n".join(shown) + "\n"


def _cell(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        value = " ".join(str(entry) for entry in value)
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return "'" + value
    return "" if value is None else value


def as_csv(kind: str, rows: Sequence[Row], since: str | None = None, until: str | None = None) -> str:
    """CSV with a heading and every field; with a period, what was used in it."""
    fields = FIELDS[kind]
    measures = MEASURES if since else ()
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*(("since", "until") if since else ()), *fields, *("used_%s" % measure for measure in measures)])
    for row in rows:
        usage = row.get("usage") or {}
        period = (since, until) if since else ()
        writer.writerow([*period, *(_cell(row.get(field)) for field in fields), *(_cell(usage.get(measure)) for measure in measures)])
    return stream.getvalue()
