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

# Long over on any day on which this runs.
SINCE, UNTIL = moment_of("2025-11-01"), moment_of("2025-11-25")


def many(count, **more):
    start = datetime(2025, 11, 2, tzinfo=UTC)
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
    assert (progress.count, progress.is_final()) == (95, True)
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
            with open(f"{path}.partial", "a", encoding="utf-8") as stream:
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
        assert not export.run(api_of(url), SINCE, tomorrow).is_final()
        fake.observations.insert(0, observation(99, langfuse_traces.stamp(datetime.now(UTC) - timedelta(seconds=1))))
        assert export.run(api_of(url), SINCE, tomorrow).count == 4
    assert len(jsonl(export)) == len(table(export)) == 4


def test_what_arrives_within_the_settling_time_is_in_the_next_run(api_of, tmp_path):
    export, now = Export(str(tmp_path / "export")), datetime.now(UTC)
    since, until = now - timedelta(days=30), now - timedelta(hours=2)
    fake = FakeLangfuse([observation(1, langfuse_traces.stamp(now - timedelta(days=3)))])
    with served(fake) as url:
        assert export.run(api_of(url), since, until).is_final() is False
        fake.observations.append(observation(2, langfuse_traces.stamp(now - timedelta(days=4))))
        assert export.run(api_of(url), since, until).count == 2
        # With a settling time that is over, it is final and nothing is asked for again.
        assert export.run(api_of(url), since, until, settle=timedelta(hours=1)).is_final(timedelta(hours=1))
        before = len(fake.asked)
        export.run(api_of(url), since, until, settle=timedelta(hours=1))
    assert len(fake.asked) == before


def test_a_final_export_takes_what_arrived_later_when_it_is_made_anew(api_of, tmp_path):
    export, fake = Export(str(tmp_path / "export")), FakeLangfuse(many(3))
    with served(fake) as url:
        export.run(api_of(url), SINCE, UNTIL)
        fake.observations.append(observation(99, "2025-11-01T00:00:00.000Z"))
        assert export.run(api_of(url), SINCE, UNTIL).count == 3
        assert export.run(api_of(url), SINCE, UNTIL, renew=True).count == 4
    assert len(jsonl(export)) == len(table(export)) == 4


def test_an_export_is_not_replaced_by_one_that_the_retention_has_made_smaller(api_of, tmp_path):
    export, fake = Export(str(tmp_path / "export")), FakeLangfuse(many(3))
    with served(fake) as url:
        export.run(api_of(url), SINCE, UNTIL)
        fake.observations.pop()
        with pytest.raises(LangfuseError, match="only 2 of the 3 conversations"):
            export.run(api_of(url), SINCE, UNTIL, renew=True)
        assert len(jsonl(export)) == len(table(export)) == 3
        assert export.run(api_of(url), SINCE, UNTIL).count == 3


def test_an_export_that_is_made_anew_and_cut_off_leaves_the_old_one_whole_and_goes_on(api_of, tmp_path):
    export, fake = Export(str(tmp_path / "export")), FakeLangfuse(many(200))
    with served(fake) as url:
        export.run(api_of(url), SINCE, UNTIL)
        fake.observations.insert(0, observation(999, "2025-11-24T00:00:00.000Z"))
        fake.refuse_after = len(fake.asked) + 2
        with pytest.raises(LangfuseError):
            export.run(api_of(url), SINCE, UNTIL, renew=True)
        assert len(jsonl(export)) == len(table(export)) == 200
        fake.refuse_after = None
        assert export.run(api_of(url), SINCE, UNTIL).count == 201
    assert len({record["observation"] for record in jsonl(export)}) == len(jsonl(export)) == len(table(export)) == 201


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_run_that_dies_while_the_files_change_places_is_finished_by_the_next_one(api_of, tmp_path, monkeypatch, moved):
    export, fake = Export(str(tmp_path / "export")), FakeLangfuse(many(3))
    replaced, replace = [], langfuse_traces.os.replace

    def dies(source, target):
        if target in (export.jsonl, export.csv):
            if len(replaced) == moved:
                raise KeyboardInterrupt
            replaced.append(target)
        if target.endswith("complete.json"):
            raise KeyboardInterrupt
        replace(source, target)

    with served(fake) as url:
        monkeypatch.setattr(langfuse_traces.os, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            export.run(api_of(url), SINCE, UNTIL)
        monkeypatch.setattr(langfuse_traces.os, "replace", replace)
        assert export.run(api_of(url), SINCE, UNTIL).count == 3
    assert len(jsonl(export)) == len(table(export)) == 3


def test_an_export_of_a_version_with_one_note_stays_as_it_is(api_of, tmp_path):
    export, fake = Export(str(tmp_path / "export")), FakeLangfuse(many(3))
    with served(fake) as url:
        export.run(api_of(url), SINCE, UNTIL)
        note = json.loads((tmp_path / "export" / "complete.json").read_text())
        del note["began"]
        (tmp_path / "export" / "complete.json").unlink()
        (tmp_path / "export" / "progress.json").write_text(json.dumps(note))
        before = len(fake.asked)
        assert export.run(api_of(url), SINCE, UNTIL).count == 3
    assert len(fake.asked) == before and len(jsonl(export)) == 3


def test_a_text_that_looks_like_json_stays_a_text(api_of, tmp_path):
    export = Export(str(tmp_path / "export"))
    texts = ["42", "true", '"quoted"', "null", "plain", "[1, 2]", '{"a": 1}']
    foreign = [observation(n, f"2025-11-02T00:00:{n:02d}.000Z", input=text, output=text, metadata={"team": "x"}) for n, text in enumerate(texts)]
    ours = [observation(50 + n, f"2025-11-03T00:00:{n:02d}.000Z", input=text, output=text) for n, text in enumerate(texts[:5])]
    with served(FakeLangfuse([*foreign, *ours])) as url:
        export.run(api_of(url), SINCE, UNTIL)
    found = {record["observation"]: (record["input"], record["output"]) for record in jsonl(export)}
    assert found == {entry["id"]: (entry["input"], entry["input"]) for entry in (*foreign, *ours)}


def test_the_reason_of_a_failure_is_exported(api_of, tmp_path):
    export = Export(str(tmp_path / "export"))
    with served(FakeLangfuse([observation(1, "2025-11-02T00:00:00.000Z", level="ERROR", statusMessage="the model is away")])) as url:
        export.run(api_of(url), SINCE, UNTIL)
    assert jsonl(export)[0]["status_message"] == table(export)[0]["status_message"] == "the model is away"


def test_a_directory_with_another_period_is_refused(api_of, tmp_path):
    export = Export(str(tmp_path / "export"))
    with served(FakeLangfuse(many(1))) as url:
        export.run(api_of(url), SINCE, UNTIL)
        with pytest.raises(LangfuseError, match="choose another directory"):
            export.run(api_of(url), SINCE, moment_of("2025-11-24"))


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
    fake = FakeLangfuse([*many(1100), observation(5000, "2025-11-24T00:00:00.000Z")])
    with served(fake) as url:
        done = langfuse_traces.prune(api_of(url), moment_of("2025-11-20"), dry_run=False)
    assert [len(batch) for batch in fake.deleted] == [1000, 100]
    assert done.traces == 1100 and done.months == {"2025-11": 1100}
    assert not {f"{5000:032x}"} & {trace for batch in fake.deleted for trace in batch}


def test_a_dry_run_counts_the_same_and_deletes_nothing(api_of):
    fake = FakeLangfuse(many(1100))
    with served(fake) as url:
        assert langfuse_traces.prune(api_of(url), moment_of("2025-11-20"), dry_run=True).traces == 1100
    assert fake.deleted == []


def test_usage_is_added_up_for_each_week_person_team_and_model(api_of):
    fake = FakeLangfuse(
        [
            observation(1, "2025-11-23T12:00:00.000Z"),
            observation(2, "2025-11-24T12:00:00.000Z"),
            observation(3, "2025-11-24T12:30:00.000Z", level="ERROR"),
            observation(4, "2025-11-24T13:00:00.000Z", person="grace"),
        ]
    )
    with served(fake) as url:
        rows = langfuse_traces.report(api_of(url), SINCE, UNTIL, topics=False).rows()
    assert [(row["week"], row["person"], row["requests"], row["errors"]) for row in rows] == [
        ("2025-11-17", "ada", 1, 0),
        ("2025-11-24", "ada", 2, 1),
        ("2025-11-24", "grace", 1, 0),
    ]
    assert (rows[1]["input_tokens"], rows[1]["output_tokens"], rows[1]["cost"]) == (20, 10, 1.0)


def test_topics_are_the_words_that_somebody_uses_more_than_others(api_of):
    about = {"ada": "Why does the parser reject this grammar?", "grace": "Which invoice belongs to this customer?"}
    entries = [observation(n, "2025-11-23T12:00:00.000Z", person=person, team="", question=about[person]) for n, person in enumerate([*about] * 3)]
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
