# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import csv
import io

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.filter.litellm_report import litellm_report

USAGE = {"requests": 12345, "failed_requests": 1, "successful_requests": 12344, "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
ADA = {"name": "ada", "state": "active", "teams": ["research", "ops"], "max_budget": 20.0, "budget_left": 18.75, "spend": 1.25}
ADA.update(email="ada@example.com", last_used="2026-11-25T14:15:41Z", usage={**USAGE, "spend": 0.5}, keys=2)
GRACE = {**ADA, "name": "grace", "teams": [], "usage": {**USAGE, "requests": 1, "spend": 3.0}}
FOUND = {"since": "2026-11-01", "until": "2026-11-25", "users": [ADA, GRACE]}


def cells(document):
    return list(csv.DictReader(io.StringIO(document)))


def test_a_table_has_who_used_most_on_top_and_a_total_at_the_end():
    lines = litellm_report(FOUND, "users").splitlines()
    assert [line.split()[0] for line in lines] == ["person", lines[1].split()[0], "grace", "ada", "total"]
    assert "12 345" in lines[3] and "12 346" in lines[4] and "3.50" in lines[4]


def test_the_columns_of_a_table_stand_below_each_other_whatever_the_names():
    people = [{**ADA, "name": name} for name in ("a", "名前名前", "x" * 60, "e\u0301", "two\nlines")]
    lines = litellm_report({**FOUND, "users": people}, "users").splitlines()
    assert len(lines) == 8
    assert len(lines[1]) == max(len(line) for line in lines[:2])
    assert "x" * 29 + "..." in "\n".join(lines)


RESEARCH = {"id": "research", "name": "Research", "state": "active", "members": ["ada"], "max_budget": 500.0, "budget_left": 480.5}
RESEARCH.update(spend=19.5, last_used="2026-11-24T10:00:00Z", usage={**USAGE, "spend": 7.25}, keys=3)


@pytest.mark.parametrize("kind, row", [("users", ADA), ("teams", RESEARCH)])
def test_a_person_and_a_team_are_told_with_spend_tokens_requests_last_use_and_what_is_left(kind, row):
    found = {**FOUND, kind: [row]}
    head, _rule, line, _total = litellm_report(found, kind).splitlines()
    assert [title for title in ("requests", "tokens in", "tokens out", "spend", "last used", "budget", "left") if title not in head] == []
    shown = ["12 345", " 10 ", " 5 ", "%.2f" % row["max_budget"], "%.2f" % row["budget_left"], row["last_used"][:16].replace("T", " ")]
    assert [value for value in shown if value not in line] == []
    (told,) = cells(litellm_report(found, kind, "csv"))
    assert [told[name] for name in ("used_requests", "used_prompt_tokens", "used_completion_tokens")] == ["12345", "10", "5"]
    assert [told[name] for name in ("used_spend", "last_used", "max_budget", "budget_left")] == [
        str(value) for value in (row["usage"]["spend"], row["last_used"], row["max_budget"], row["budget_left"])
    ]


def test_a_table_without_a_period_tells_budgets_only():
    head = litellm_report({"users": [ADA], "since": None, "until": None}, "users").splitlines()[0]
    assert "requests" not in head and "left" in head


def test_csv_has_the_period_and_every_number_as_it_is():
    row = cells(litellm_report(FOUND, "users", "csv"))[0]
    assert (row["since"], row["until"], row["name"], row["teams"]) == ("2026-11-01", "2026-11-25", "ada", "research ops")
    assert (row["used_requests"], row["used_spend"], row["budget_left"], row["full_name"]) == ("12345", "0.5", "18.75", "")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_csv_gives_a_spreadsheet_no_formula(name):
    assert cells(litellm_report({**FOUND, "users": [{**ADA, "full_name": name}]}, "users", "csv"))[0]["full_name"] == "'" + name


@pytest.mark.parametrize("name", ['quo"te', "com,ma", "new\nline", "ünï"])
def test_csv_keeps_what_a_name_has_in_it(name):
    assert cells(litellm_report({**FOUND, "users": [{**ADA, "full_name": name}]}, "users", "csv"))[0]["full_name"] == name


def test_a_negative_amount_stays_a_number():
    assert cells(litellm_report({**FOUND, "users": [{**ADA, "budget_left": -0.5}]}, "users", "csv"))[0]["budget_left"] == "-0.5"


@pytest.mark.parametrize(
    "found, kind, form",
    [(FOUND, "teams", "table"), (FOUND, "keys", "csv"), (FOUND, "people", "table"), (FOUND, "users", "xml"), ([], "users", "csv")],
)
def test_what_cannot_be_reported_is_named(found, kind, form):
    with pytest.raises(AnsibleFilterError, match="litellm_report|has no"):
        litellm_report(found, kind, form)
