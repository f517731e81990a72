# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import random

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import server_bench
from ansible_collections.private_llm.platform.plugins.module_utils.server_bench import Answer, Bench, BenchError, Wanted

WANTED = Wanted(prompt=1000, answer=64, streams=4, rounds=3, seconds=60)


def line(event):
    return b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n"


def token(text, field="content"):
    return line({"choices": [{"delta": {field: text}}]})


def usage(prompt, answer, cached=0):
    return line({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": answer, "prompt_tokens_details": {"cached_tokens": cached}}})


END = line(b"[DONE]")


class Clock:
    """A clock that goes on by a step each time it is read."""

    def __init__(self, step=1.0):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


def test_the_first_token_and_the_last_one_are_timed_and_tokens_counted_by_the_server():
    stream = [line({"choices": [{"delta": {"role": "assistant", "content": None}}]}), token("one"), token("two"), token("three"), usage(100, 3, 20), END]
    answer = server_bench.read_answer(stream, 0.0, Clock())
    assert (answer.first, answer.last, answer.prompt_tokens, answer.answer_tokens) == (1.0, 3.0, 80, 3)
    assert answer.pace == 1.0


def test_thinking_counts_as_the_beginning_of_an_answer():
    assert server_bench.read_answer([token("hm", "reasoning_content"), token("yes"), usage(1, 2), END], 0.0, Clock()).first == 1.0


@pytest.mark.parametrize(
    "stream, sentence",
    [
        ([token("one"), usage(1, 1)], "cut off before its end"),
        ([END], "without a single token"),
        ([token("one"), END], "does not say how many tokens"),
        ([line({"error": {"message": "Context size has been exceeded."}})], "ended with a fault: .*Context size"),
        ([b"data: {half\n"], "no JSON: {half"),
    ],
)
def test_what_is_no_whole_answer_is_told(stream, sentence):
    with pytest.raises(BenchError, match=sentence):
        server_bench.read_answer(stream, 0.0)


def test_comments_and_blank_lines_of_a_stream_are_passed_over():
    assert server_bench.read_answer([b": ping\n", b"\n", token("one"), usage(1, 1), END], 0.0, Clock()).pace is None


class FakeServer:
    """Two tokens a word; each token of the prompt takes a millisecond, each of the answer ten, alone or not."""

    def __init__(self, failing=()):
        self.asked, self.failing = [], set(failing)

    def __call__(self, prompt, most, timeout):
        number = len(self.asked)
        self.asked.append((len(prompt.split()), most, timeout))
        if number in self.failing:
            raise BenchError("the server answered 500")
        tokens = 2 * len(prompt.split())
        first = tokens / 1000
        return Answer(first, first + (most - 1) / 100, tokens, most, 0.0)


def run(server, wanted=WANTED, clock=None):
    return Bench(server, wanted, seed=1, clock=clock or Clock(0.0)).run()


def test_a_long_prompt_has_the_tokens_that_were_asked_for_whatever_the_vocabulary():
    server = FakeServer()
    measured = run(server)
    assert measured["prompt_tokens"] == 1000
    assert [most for words, most, _timeout in server.asked if words == 500] == [1, 1, 1]
    assert measured["prefill"] == {"p50": 1000.0, "p95": 1000.0, "lowest": 1000.0, "highest": 1000.0, "count": 3}


def test_the_pace_is_measured_alone_and_side_by_side():
    measured = run(FakeServer())
    assert measured["alone"]["p50"] == measured["each"]["p50"] == 100.0
    assert (measured["alone"]["count"], measured["each"]["count"], measured["first_token_crowd"]["count"]) == (3, 12, 12)
    assert measured["together"]["p50"] == pytest.approx(4 * 64 / 0.63, rel=0.01)
    assert (measured["failed"], measured["in_time"]) == (0, True)


def test_requests_that_fail_are_counted_and_the_rest_is_measured():
    measured = run(FakeServer(failing={1, 8}))
    assert (measured["failed"], measured["failures"]) == (2, ["the server answered 500"])
    assert (measured["prefill"]["count"], measured["each"]["count"]) == (2, 11)


@pytest.mark.parametrize("failing", [{0}, {1, 2, 3}, set(range(7, 19))])
def test_a_kind_of_request_without_an_answer_is_a_failure(failing):
    with pytest.raises(BenchError, match="answered 500"):
        run(FakeServer(failing))


def test_no_further_request_is_begun_when_the_time_is_over():
    measured = run(FakeServer(), clock=Clock(20.0))
    assert not measured["in_time"]
    assert (measured["prefill"]["count"], measured["alone"]["count"], measured["first_token_crowd"]["count"]) == (1, 1, 4)


def test_no_two_prompts_begin_alike():
    chance = random.Random(1)
    beginnings = {server_bench.words(6, chance) for _prompt in range(200)}
    assert len(beginnings) == 200


def test_a_percentile_is_a_value_that_was_measured():
    assert server_bench.quantile([3.0, 1.0, 2.0, 10.0], 0.5) == 2.0
    assert server_bench.quantile([float(number) for number in range(1, 101)], 0.95) == 95.0
    assert server_bench.quantile([7.0], 0.95) == 7.0
    assert server_bench.spread([]) is None


def test_what_was_planned_is_held_against_what_is_there():
    rows = server_bench.compare(
        {"slots": 20, "context_per_slot": 57344, "memory": 77958}, {"slots": 20, "context_per_slot": 4096, "memory": 78000, "build": "x"}
    )
    assert [(row["name"], row["kept"]) for row in rows] == [("slots", True), ("context_per_slot", False), ("memory", False)]
    assert server_bench.compare({"memory": 100}, {"memory": 99})[0]["kept"]
    assert server_bench.compare({"slots": 20}, {"memory": 0}) == []


def test_the_report_is_a_table_that_says_what_is_not_as_planned():
    measured = run(FakeServer(failing={1}))
    lines = server_bench.report(measured, server_bench.compare({"slots": 20, "memory": 100}, {"slots": 4, "memory": 90}), "a model")
    text = "\n".join(lines)
    assert lines[0] == "a model"
    assert "prefill, prompt of 1000 tokens" in text and "tokens/s" in text
    assert "4 of 20 planned, NOT as planned" in text
    assert "90 of 100 planned MiB, as planned" in text
    assert "1 requests failed: the server answered 500" in text
