# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a Langfuse holds is read page by page, exported without gap or double, deleted when old, and added up."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import langfuse_traces
from ansible_collections.private_llm.platform.plugins.module_utils.langfuse_traces import Api, Export, LangfuseError, moment_of
from ansible_collections.private_llm.platform.tests.unit.fakes.langfuse import PUBLIC_KEY, SECRET_KEY, FakeLangfuse, observation, served

SINCE, UNTIL = moment_of("2026-11-01"), moment_of("2026-11-25")


def many(count, **more):
    start = datetime(2026, 11, 2, tzinfo=UTC)
    return [observation(n, langfuse_traces.stamp(start + timedelta(minutes=n)), question=f"Question {n}?", **more) for n in range(count)]


@pytest.fixture
def api_of():
    def make(url, secret=SECRET_KEY):
        return Api(url, PUBLIC_KEY, secret, sleep=lambda _seconds: None)

    return make


def jsonl(export):
    with open(export.jsonl, encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def table(export):
    with open(export.csv, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_an_export_has_each_conversation_once_in_both_files(api_of, tmp_path):
    export = Export(str(tmp_path / "export"))
    with served(FakeLangfuse(many(95))) as url:
        progress = export.run(api_of(url), SINCE, UNTIL)
    assert (progress.count, progress.is_final) == (95, True)
    assert len({record["observation"] for record in jsonl(export)}) == len(jsonl(export)) == len(table(export)) == 95
    assert jsonl(export)[-1]["input"] == [{"role": "user", "content": "Question 0?"}]
    assert jsonl(export)[-1]["output"] == {"role": "assistant", "content": "Hi."}
    assert (table(export)[0]["person"], table(export)[0]["team"], table(export)[0]["input_tokens"]) == ("ada", "research", "10")


@pytest.mark.parametrize("pages", [1, 2, 3])
def test_an_export_that_is_cut_off_goes_on_without_gap_or_double(api_of, tmp_path, pages):
    export = Export(str(tmp_path / "export"))
    fake = FakeLangfuse(many(200))
    fake.refuse_after = pages
    with served(fake) as url:
        with pytest.raises(LangfuseError):
            export.run(api_of(url), SINCE, UNTIL)
        # What a process that is killed leaves behind the last note.
        for path in (export.jsonl, export.csv):
            with open(path, "a", encoding="utf-8") as stream:
                stream.write('{"half": "a li')
        fake.refuse_after = None
        assert export.run(api_of(url), SINCE, UNTIL).count == 200
    assert [record["observation"] for record in jsonl(export)] == [f"{n:016x}" for n in reversed(range(200))]
    assert [row["observation"] for row in table(export)] == [f"{n:016x}" for n in reversed(range(200))]


def test_a_complete_export_asks_for_nothing(api_of, tmp_path):
    export = Export(str(tmp_path / "export"))
    fake = FakeLangfuse(many(3))
    with served(fake) as url:
        export.run(api_of(url), SINCE, UNTIL)
        before = len(fake.asked)
        export.run(api_of(url), SINCE, UNTIL)
    assert len(fake.asked) == before


def test_an_export_of_a_period_that_was_not_over_is_made_anew(api_of, tmp_path):
    export, tomorrow = Export(str(tmp_path / "export")), datetime.now(UTC) + timedelta(days=1)
    fake = FakeLangfuse(many(3))
    with served(fake) as url:
        assert not export.run(api_of(url), SINCE, tomorrow).is_final
        fake.observations.insert(0, observation(99, langfuse_traces.stamp(datetime.now(UTC) - timedelta(minutes=langfuse_traces.SETTLE_MINUTES, seconds=1))))
        assert export.run(api_of(url), SINCE, tomorrow).count == 4
    assert len(jsonl(export)) == len(table(export)) == 4


def test_what_may_still_be_on_its_way_is_left_to_a_later_run(api_of, tmp_path):
    export, just_now = Export(str(tmp_path / "export")), datetime.now(UTC) - timedelta(seconds=1)
    fake = FakeLangfuse([observation(99, langfuse_traces.stamp(just_now - timedelta(minutes=1))), *many(3)])
    with served(fake) as url:
        progress = export.run(api_of(url), SINCE, just_now)
    assert (progress.count, progress.complete, progress.is_final) == (3, True, False)


@pytest.mark.parametrize("text", ["42", "true", "null", '"quoted"', "{broken", "plain"])
def test_an_answer_that_looks_like_a_value_stays_what_somebody_wrote(text):
    assert langfuse_traces.record_of({**observation(1, "2026-11-10T00:00:00.000Z"), "output": text})["output"] == text


def test_an_export_tells_why_a_call_failed():
    assert langfuse_traces.record_of({**observation(1, "2026-11-10T00:00:00.000Z"), "statusMessage": "the model is away"})["error"] == "the model is away"


def test_a_directory_with_another_period_is_refused(api_of, tmp_path):
    export = Export(str(tmp_path / "export"))
    with served(FakeLangfuse(many(1))) as url:
        export.run(api_of(url), SINCE, UNTIL)
        with pytest.raises(LangfuseError, match="choose another directory"):
            export.run(api_of(url), SINCE, moment_of("2026-11-24"))


def test_what_is_exported_is_for_its_owner_alone(api_of, tmp_path):
    export = Export(str(tmp_path / "export"))
    with served(FakeLangfuse(many(1))) as url:
        export.run(api_of(url), SINCE, UNTIL)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "export").iterdir()} == {0o600}
    assert (tmp_path / "export").stat().st_mode & 0o777 == 0o700


def test_no_prompt_becomes_a_formula_in_a_spreadsheet():
    assert [langfuse_traces.cell(text) for text in ("=1+1", "@SUM(A1)", "plain", 5, None)] == ["'=1+1", "'@SUM(A1)", "plain", 5, None]


def test_pages_grow_while_they_are_light_and_shrink_when_they_are_heavy(api_of):
    fake = FakeLangfuse(many(130))
    with served(fake) as url:
        list(api_of(url).pages(SINCE, UNTIL, "core,io"))
        light = [int(query["limit"]) for _method, _path, query in fake.asked]
        fake.asked.clear()
        for entry in fake.observations:
            entry["input"] = "x" * 600_000
        list(api_of(url).pages(SINCE, UNTIL, "core,io"))
    assert light == [20, 40, 80]
    assert [int(query["limit"]) for _method, _path, query in fake.asked][:2] == [20, 10]


def test_an_answer_that_fails_for_a_moment_is_asked_for_again(api_of):
    fake = FakeLangfuse(many(1))
    fake.stumble = [503, 429]
    with served(fake) as url:
        assert [len(page) for page, _cursor in api_of(url).pages(SINCE, UNTIL, "core")] == [1]


def test_wrong_keys_are_told_at_once_and_the_secret_is_not(api_of):
    fake = FakeLangfuse(many(1))
    with served(fake) as url, pytest.raises(LangfuseError, match="check the project's keys") as caught:
        api_of(url, "sk-lf-quite-another-secret").ask("GET", "/health")
    assert "sk-lf-quite-another-secret" not in str(caught.value) and fake.asked == []


def test_a_langfuse_that_is_not_there_is_a_sentence(api_of):
    with pytest.raises(LangfuseError, match="did not answer GET /health"):
        api_of("http://127.0.0.1:9").ask("GET", "/health")


def test_what_is_older_is_deleted_in_requests_of_at_most_a_thousand(api_of):
    fake = FakeLangfuse([*many(1100), observation(5000, "2026-11-24T00:00:00.000Z")])
    with served(fake) as url:
        done = langfuse_traces.prune(api_of(url), moment_of("2026-11-20"), dry_run=False)
    assert [len(batch) for batch in fake.deleted] == [1000, 100]
    assert done.traces == 1100 and done.months == {"2026-11": 1100}
    assert not {f"{5000:032x}"} & {trace for batch in fake.deleted for trace in batch}


def test_a_dry_run_counts_the_same_and_deletes_nothing(api_of):
    fake = FakeLangfuse(many(1100))
    with served(fake) as url:
        assert langfuse_traces.prune(api_of(url), moment_of("2026-11-20"), dry_run=True).traces == 1100
    assert fake.deleted == []


def test_usage_is_added_up_for_each_week_person_team_and_model(api_of):
    fake = FakeLangfuse(
        [
            observation(1, "2026-11-22T12:00:00.000Z"),
            observation(2, "2026-11-23T12:00:00.000Z"),
            observation(3, "2026-11-24T12:00:00.000Z", level="ERROR"),
            observation(4, "2026-11-24T13:00:00.000Z", person="grace"),
        ]
    )
    with served(fake) as url:
        rows = langfuse_traces.report(api_of(url), SINCE, UNTIL, topics=False).rows()
    assert [(row["week"], row["person"], row["requests"], row["errors"]) for row in rows] == [
        ("2026-11-16", "ada", 1, 0),
        ("2026-11-23", "ada", 2, 1),
        ("2026-11-23", "grace", 1, 0),
    ]
    assert (rows[1]["input_tokens"], rows[1]["output_tokens"], rows[1]["cost"]) == (20, 10, 1.0)


def test_topics_are_the_words_that_somebody_uses_more_than_others(api_of):
    about = {"ada": "Why does the parser reject this grammar?", "grace": "Which invoice belongs to this customer?"}
    entries = [observation(n, "2026-11-23T12:00:00.000Z", person=person, team="", question=about[person]) for n, person in enumerate([*about] * 3)]
    with served(FakeLangfuse(entries)) as url:
        topics = {entry["name"]: entry["topics"] for entry in langfuse_traces.report(api_of(url), SINCE, UNTIL, topics=True).topics()}
    assert {"parser", "grammar"} <= set(topics["ada"]) and {"invoice", "customer"} <= set(topics["grace"])
    assert not set(topics["ada"]) & set(topics["grace"])


@pytest.mark.parametrize(
    "prompt, question",
    [
        ([{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}, {"role": "user", "content": "three"}], "three"),
        ([{"role": "user", "content": [{"type": "text", "text": "seen"}, {"type": "image_url"}]}], "seen "),
        ("as it is", "as it is"),
        (None, ""),
    ],
)
def test_the_question_is_what_was_typed_last(prompt, question):
    assert langfuse_traces.last_question(prompt) == question


def test_words_are_counted_within_bounds():
    words = langfuse_traces.Words()
    for number in range(20_000):
        words.add({f"word{number}", "parser"})
    assert len(words.counts) <= 4 * langfuse_traces.MOST_WORDS and words.counts["parser"] == 20_000


@pytest.mark.parametrize("clock, hours", [("03:30", 5.5), ("22:00", 24.0), ("23:00", 1.0)])
def test_the_next_time_of_day_is_always_ahead(clock, hours):
    assert langfuse_traces.seconds_until(clock, datetime(2026, 11, 25, 22, 0, tzinfo=UTC)) == hours * 3600


def test_the_program_says_what_is_missing(capsys, monkeypatch):
    monkeypatch.delenv("LANGFUSE_URL", raising=False)
    assert langfuse_traces.main(["prune", "--days", "30"]) == 1
    assert "LANGFUSE_URL" in capsys.readouterr().err


def test_the_program_deletes_nothing_of_today(capsys):
    assert langfuse_traces.main(["prune", "--days", "0"]) == 1
    assert "--days must be 1 or more" in capsys.readouterr().err


def test_the_program_tells_what_a_dry_run_would_delete(capsys, monkeypatch):
    fake = FakeLangfuse([observation(1, "2020-01-01T00:00:00.000Z")])
    with served(fake) as url:
        for name, value in (("URL", url), ("PUBLIC_KEY", PUBLIC_KEY), ("SECRET_KEY", SECRET_KEY)):
            monkeypatch.setenv(f"LANGFUSE_{name}", value)
        assert langfuse_traces.main(["prune", "--days", "30", "--dry-run"]) == 0
    assert "1 traces" in (said := capsys.readouterr().out) and "would be deleted (2020-01: 1)" in said
    assert fake.deleted == []
