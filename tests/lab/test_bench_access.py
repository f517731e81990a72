"""The benchmark of people says what was promised, and fails when that is not kept."""

from __future__ import annotations

import sys

import bench_access
import pytest
from bench_access import NOTHING_TO_DO, ONE_ADDED, ONE_GET_EACH, Row, page_of, ratios_of


@pytest.mark.parametrize(
    "row",
    [
        Row(10000, NOTHING_TO_DO, 210, 0, 30.0, 200.0),
        Row(20, NOTHING_TO_DO, 12, 0, 1.0, 29.0),
        Row(10000, ONE_ADDED, 6, 1, 8.0, 400.0),
        Row(10000, "litellm_access: first run", 300, 10500, 500.0, 166.0),
        Row(100, "loop of uri tasks: first run", 200, 200, 291.0),
    ],
)
def test_what_was_promised_and_what_was_not_promised_is_no_miss(row):
    assert row.missed() == []


@pytest.mark.parametrize(
    "row, unit",
    [
        (Row(10000, NOTHING_TO_DO, 211, 0, 1.0, 29.0), "reads"),
        (Row(10000, NOTHING_TO_DO, 205, 1, 1.0, 29.0), "writes"),
        (Row(10000, NOTHING_TO_DO, 205, 0, 30.1, 29.0), "s"),
        (Row(10000, "litellm_access: first run", 209, 10500, 500.0, 201.0), "MiB"),
        (Row(20, ONE_ADDED, 6, 1, 8.1, 60.0), "s"),
    ],
)
def test_a_missed_promise_is_a_sentence_with_both_numbers(row, unit):
    (sentence,) = row.missed()
    assert row.what in sentence and f" {unit}, promised are " in sentence
    assert sentence in page_of([row])


def test_a_missed_promise_ends_the_benchmark_with_an_error_and_a_line(monkeypatch, capsys):
    class Gateway:
        def clean(self):
            pass

    monkeypatch.setattr(bench_access, "Gateway", Gateway)
    monkeypatch.setattr(bench_access, "measure_module", lambda _gateway, count, say: say(Row(count, NOTHING_TO_DO, 4, 0, 1.0, 29.0)))
    monkeypatch.setattr(bench_access, "measure_playbook", lambda _gateway, count, say: say(Row(count, ONE_ADDED, 6, 1, 9.0, 60.0)))
    monkeypatch.setattr(sys, "argv", ["bench_access", "--only", "module", "--people", "20", "--output", ""])
    with pytest.raises(SystemExit) as ended:
        bench_access.main()
    assert "Promise missed: 20 people, users.yml: one added with only=NAME: 9 s, promised are 8." in str(ended.value.code)


def test_ratios_tell_how_much_longer_the_ways_without_the_module_take():
    rows = [
        Row(100, "loop of uri tasks: nothing to do", 200, 0, 150.0),
        Row(100, "litellm_access in a playbook: nothing to do", None, None, 3.0),
        Row(100, ONE_GET_EACH, 200, 0, 13.0),
        Row(100, NOTHING_TO_DO, 5, 0, 0.5, 30.0),
        Row(20, NOTHING_TO_DO, 4, 0, 0.4, 29.0),
    ]
    loop, each = ratios_of(rows)
    assert "takes 50 times as long" in loop
    assert "takes 26 times as long as the module and 40 times as many calls" in each
