# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines that waited while Loki was away are taken. Rendered as the role renders it; the Loki is the stand-in's."""

from __future__ import annotations

import json
import time

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from stand_in.loki import Store, Window, nanoseconds
from stand_in.selectors import Selector
from stand_in.server import Refused

from tree import ROOT, trusted

ROLE = ROOT / "roles" / "loki"
HOUR = 3600 * 10**9


def rendered(**given):
    """Loki's configuration as the role writes it."""
    defaults, internal = (yaml.safe_load((ROLE / part / "main.yml").read_text()) for part in ("defaults", "vars"))
    internal = {name: trusted(value) for name, value in internal.items() if name != "__loki_rules"}
    templar = Templar(loader=DataLoader(), variables={**defaults, **internal, **given})
    found = templar.template(trusted((ROLE / "templates" / "config.yaml.j2").read_text()))
    return yaml.safe_load(found) if isinstance(found, str) else found


def push(store, *ages, stream="litellm"):
    """Send lines of a stream that are so many hours old, in this order."""
    now = time.time_ns()
    values = [[str(now - int(age * HOUR)), f"{age} hours old"] for age in ages]
    store.push(json.dumps({"streams": [{"stream": {"service": stream}, "values": values}]}).encode(), "")


def test_a_line_that_waited_for_a_day_is_taken_after_newer_ones_of_its_stream():
    store = Store(Window.of(rendered()))
    push(store, 0, 23.9)
    assert store.received == 2


def test_a_line_later_than_the_variable_says_is_refused():
    with pytest.raises(Refused, match="entry too far behind: 1 lines"):
        push(Store(Window.of(rendered(loki_late_hours=6))), 0, 6.1)


def test_a_stream_that_begins_again_after_six_days_is_taken_whole():
    push(Store(Window.of(rendered())), 144, 143, 142)


@pytest.mark.parametrize("hours, oldest", [(24, 168), (200, 200)])
def test_no_line_is_too_old_before_a_week_or_what_was_asked_for(hours, oldest):
    window = Window.of(rendered(loki_late_hours=hours))
    assert window.old == oldest * HOUR and window.behind == hours * HOUR


@pytest.mark.parametrize("hours", [1, 24, 200])
def test_lines_that_loki_holds_back_are_found_all_the_same(hours):
    found = rendered(loki_late_hours=hours)
    assert nanoseconds(found["querier"]["query_ingesters_within"]) > nanoseconds(found["ingester"]["max_chunk_age"])


def test_one_refused_line_does_not_take_the_others_with_it():
    store = Store(Window.of({}))
    with pytest.raises(Refused, match="the others were taken"):
        push(store, 0, 2, 0.5)
    (stream,) = store.query(Selector.parse('{service="litellm"}'), 0, time.time_ns(), 10, forward=True)
    assert [line for _stamp, line in stream["values"]] == ["0.5 hours old", "0 hours old"]
    with pytest.raises(Refused, match="timestamp too old: 1 lines"):
        push(store, 200, stream="old")
    assert store.labels("service") == ["litellm"]


def test_what_is_no_duration_is_refused():
    with pytest.raises(Refused, match="invalid duration"):
        Window.of({"ingester": {"max_chunk_age": "two days"}})
