# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.private_llm.platform.plugins.modules import langfuse_export
from ansible_collections.private_llm.platform.tests.unit.fakes.langfuse import PUBLIC_KEY, SECRET_KEY, FakeLangfuse, observation, served
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module


@pytest.fixture
def run(tmp_path):
    def export(langfuse, check=False, **more):
        with served(langfuse) as url:
            given = {"url": url, "public_key": PUBLIC_KEY, "secret_key": SECRET_KEY, "directory": str(tmp_path), "since": "2025-11-01", "until": "2025-11-24"}
            return run_module(langfuse_export.main, {k: v for k, v in {**given, **more}.items() if v is not None}, check=check)

    return export


def test_a_second_run_changes_nothing(run, tmp_path):
    langfuse = FakeLangfuse([observation(1, "2025-11-02T00:00:00.000Z")])
    first, second = run(langfuse), run(langfuse)
    assert (first["changed"], first["count"], second["changed"], second["count"]) == (True, 1, False, 1)
    assert first["files"][0] == str(tmp_path / "2025-11-01_2025-11-23" / "conversations.jsonl")
    assert json.loads((tmp_path / "2025-11-01_2025-11-23" / "conversations.jsonl").read_text())["person"] == "ada"


def test_check_mode_predicts_and_asks_nothing(run, tmp_path):
    langfuse = FakeLangfuse([observation(1, "2025-11-02T00:00:00.000Z")])
    assert run(langfuse, check=True)["changed"] is True
    assert langfuse.asked == [] and list(tmp_path.iterdir()) == []
    run(langfuse)
    assert run(langfuse, check=True)["changed"] is False


def test_the_diff_shows_how_far_it_is_and_no_conversation(run):
    result = run(FakeLangfuse([observation(1, "2025-11-02T00:00:00.000Z", question="Something private?")]))
    assert result["diff"]["after"]["count"] == 1
    assert "Something private?" not in result["printed"] and SECRET_KEY not in result["printed"]


def test_an_export_right_after_its_period_says_that_it_is_not_final_and_is_made_anew(run):
    until = datetime.now(UTC) - timedelta(hours=1)
    period = {"since": "2025-11-01T00:00:00Z", "until": until.isoformat()}
    first, second = run(FakeLangfuse(), **period), run(FakeLangfuse(), **period)
    assert (first["final"], first["changed"], second["changed"]) == (False, True, True)
    assert run(FakeLangfuse(), **period, settle_hours=0)["final"] is True


def test_a_final_export_is_made_anew_when_that_is_asked_for(run):
    langfuse = FakeLangfuse([observation(1, "2025-11-02T00:00:00.000Z")])
    assert run(langfuse)["final"] is True
    langfuse.observations.append(observation(2, "2025-11-01T00:00:00.000Z"))
    assert run(langfuse)["changed"] is False
    renewed = run(langfuse, renew=True)
    assert (renewed["changed"], renewed["count"]) == (True, 2)


def test_a_period_may_have_a_name(run):
    assert run(FakeLangfuse(), since=None, until=None, period="last_month")["count"] == 0


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"since": "2026-11-24", "until": "2026-11-01"}, "The period ends (2026-11-01) before it begins (2026-11-24)."),
        ({"since": "yesterday"}, "yesterday is neither a day such as 2026-11-30"),
        ({"since": None, "until": None, "period": "some_time"}, "period must be today, yesterday"),
        ({"secret_key": "sk-lf-wrong-0123456789"}, "check the project's keys"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(run, given, sentence):
    result = run(FakeLangfuse(), **given)
    assert result["failed"] and sentence in result["msg"]
