# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report is a table, CSV and a page that needs nothing else; nobody's words become its mark-up."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.filter.langfuse_report import langfuse_report

FOUND = {
    "since": "2026-11-01T00:00:00.000Z",
    "until": "2026-12-01T00:00:00.000Z",
    "usage": [
        {"week": "2026-11-16", "person": "ada", "team": "research", "model": "qwen3-coder", "requests": 1, "errors": 0, "input_tokens": 10,
         "output_tokens": 5, "cost": 0.5},
        {"week": "2026-11-23", "person": "ada", "team": "research", "model": "qwen3-coder", "requests": 1200, "errors": 3, "input_tokens": 900,
         "output_tokens": 450, "cost": 1.25},
        {"week": "2026-11-23", "person": "<script>alert(1)</script>", "team": "", "model": "=cmd()", "requests": 2, "errors": 0,
         "input_tokens": 1, "output_tokens": 1, "cost": 0.0},
    ],
    "topics": [{"kind": "person", "name": "ada", "prompts": 3, "topics": ["parser", "grammar"]}, {"kind": "team", "name": "x", "prompts": 0, "topics": []}],
}  # fmt: skip


def test_the_table_adds_up_what_each_person_did():
    assert re.search(r"^ada +research +1 201 +3 +910 +455 +1\.7500$", langfuse_report(FOUND), re.MULTILINE)


def test_the_table_tells_topics():
    assert "person ada: parser, grammar" in langfuse_report(FOUND)


def test_the_csv_has_every_row_and_no_formula():
    rows = list(csv.DictReader(io.StringIO(langfuse_report(FOUND, "csv"))))
    assert [(row["week"], row["requests"]) for row in rows] == [("2026-11-16", "1"), ("2026-11-23", "1200"), ("2026-11-23", "2")]
    assert rows[2]["model"] == "'=cmd()"


def test_the_page_is_well_formed_and_takes_nothing_from_elsewhere():
    page = langfuse_report(FOUND, "html")
    tags = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)
            assert not {"src", "href"} & {name for name, _value in attrs}

    Reader().feed(page)
    assert {"table", "svg", "rect"} <= set(tags) and "script" not in tags
    assert "&lt;script&gt;" in page and "http" not in page and "url(" not in page


def test_a_bar_is_as_long_as_its_number():
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([0-9.]+)"', langfuse_report(FOUND, "html").split("<h2>People")[1])]
    assert widths == [500.0, pytest.approx(500 * 2 / 1201, abs=0.1)]


def test_nothing_recorded_is_a_report_too():
    empty = {**FOUND, "usage": [], "topics": []}
    assert all(langfuse_report(empty, form) for form in ("table", "csv", "html"))


@pytest.mark.parametrize("found, form", [({}, "table"), (FOUND, "pdf"), ([], "csv")])
def test_what_cannot_be_shown_is_refused(found, form):
    with pytest.raises(AnsibleFilterError, match="langfuse_report"):
        langfuse_report(found, form)
