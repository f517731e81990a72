# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import image_pins
from ansible_collections.private_llm.platform.plugins.module_utils.image_pins import Pin, PinsError, Rules
from ansible_collections.private_llm.platform.plugins.module_utils.image_registry import Found

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def days_ago(days):
    return NOW - timedelta(days=days)


def judge(found, before=None, waited=None, **rules):
    return image_pins.judge("web:1", found, before, waited, Rules(**rules), NOW)


def test_an_image_that_is_old_enough_is_taken():
    verdict = judge(Found(OLD, days_ago(20)))
    assert verdict.pin == Pin(OLD, "2026-11-25T12:00:00Z", "2026-11-05T12:00:00Z")
    assert (verdict.waiting, verdict.problem) == (None, "")


def test_a_younger_one_waits_until_a_day_that_is_told():
    verdict = judge(Found(NEW, days_ago(4)))
    assert verdict.pin is None
    assert verdict.waiting.digest == NEW
    assert "is too young" in verdict.problem
    assert "it is old enough on 2026-12-05T12:00:00Z" in verdict.problem


def test_a_younger_one_that_is_named_is_taken():
    assert judge(Found(NEW, days_ago(4)), young=frozenset({"web:1"})).pin.digest == NEW


def test_what_was_taken_once_is_not_too_young_later():
    pin = Pin(NEW, "2026-11-25T00:00:00Z", "2026-11-24T00:00:00Z")
    assert judge(Found(NEW, days_ago(1)), before=pin).pin is pin


@pytest.mark.parametrize("rules", [{}, {"young": frozenset({"web:1"})}])
def test_a_tag_that_means_another_image_now_keeps_the_old_one_and_is_a_problem(rules):
    before = Pin(OLD, "2026-01-01T00:00:00Z")
    verdict = judge(Found(NEW, days_ago(400)), before=before, **rules)
    assert (verdict.pin, verdict.waiting.digest) == (before, NEW)
    assert f"web:1 means another image now: it was {OLD}, and the registry has {NEW}" in verdict.problem


def test_a_tag_that_may_move_still_has_to_be_old_enough():
    before = Pin(OLD, "2026-01-01T00:00:00Z")
    assert judge(Found(NEW, days_ago(40)), before=before, changed=frozenset({"web:1"})).pin.digest == NEW
    young = judge(Found(NEW, days_ago(4)), before=before, changed=frozenset({"web:1"}))
    assert (young.pin, "is too young" in young.problem) == (before, True)


def test_counted_from_the_first_sight_every_new_image_waits_and_its_waiting_counts():
    first = judge(Found(NEW, days_ago(400)), age_from="first_seen")
    assert first.pin is None
    seen = Pin(NEW, image_pins.stamp(days_ago(15)))
    assert judge(Found(NEW, days_ago(400)), waited=seen, age_from="first_seen").pin is seen
    other = Pin(OLD, image_pins.stamp(days_ago(15)))
    assert judge(Found(NEW, days_ago(400)), waited=other, age_from="first_seen").pin is None, "another image waited"


@pytest.mark.parametrize("created", [None, datetime(1980, 1, 1, tzinfo=UTC), NOW + timedelta(days=2)])
def test_a_time_of_making_that_cannot_be_is_not_believed(created):
    assert judge(Found(NEW, created)).pin is None
    assert judge(Found(NEW, created), waited=Pin(NEW, image_pins.stamp(days_ago(15)))).pin is not None


def test_the_file_is_sorted_and_reads_back_as_it_was_written():
    pinned = {"web:2": Pin(NEW, "2026-11-25T12:00:00Z"), "web:1": Pin(OLD, "2026-11-25T12:00:00Z", "2026-10-01T00:00:00Z", "key cosign.pub")}
    text = image_pins.render(pinned, {})
    assert text.index("web:1") < text.index("web:2")
    assert image_pins.parse(text, "x.yml") == (pinned, {})
    assert image_pins.parse(image_pins.render({}, pinned), "x.yml") == ({}, pinned)
    assert image_pins.parse("", "x.yml") == ({}, {})


@pytest.mark.parametrize("text", ["platform_root_secret: x\n", "platform_image_digests: [a]\n", "platform_image_digests: {web: {tag: 1}}\n", "{", "- a\n"])
def test_a_file_of_somebody_elses_is_not_written_over(text):
    with pytest.raises(PinsError, match=r"x\.yml was not written by this playbook"):
        image_pins.parse(text, "x.yml")
