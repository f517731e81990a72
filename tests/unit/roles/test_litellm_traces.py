# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The traces of the gateway: what one says is decided by key and team, and a Langfuse that is away costs a bounded buffer and no request."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[3] / "roles" / "litellm" / "files" / "traces.py"
SPEC = importlib.util.spec_from_file_location("gateway_traces", PATH)
traces = importlib.util.module_from_spec(SPEC)
# A dataclass looks its module up by name.
sys.modules["gateway_traces"] = traces
SPEC.loader.exec_module(traces)

CALL = {
    "litellm_call_id": "9cd22922-9033-4877-aa3f-9c06dedd79ba",
    "call_type": "acompletion",
    "status": "success",
    "stream": True,
    "startTime": 1_700_000_000.0,
    "completionStartTime": 1_700_000_000.5,
    "endTime": 1_700_000_002.0,
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "total_tokens": 10,
    "response_cost": 0.25,
    "model": "hosted_vllm/qwen3-coder",
    "model_group": "qwen3-coder",
    "messages": [{"role": "user", "content": "Wie spät? ⏰"}],
    "response": {"choices": [{"message": {"role": "assistant", "content": "Zwölf.", "tool_calls": None}}]},
    "metadata": {"user_api_key_user_id": "ada", "user_api_key_team_id": "research", "user_api_key_alias": "ada-1"},
}


def read(message):
    """The fields of a protobuf message, by the book: number and content, in their order."""
    found, at = [], 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = number()
        length = {0: None, 1: 8, 5: 4}.get(key & 7, -1)
        if length is None:
            found.append((key >> 3, number()))
            continue
        length = number() if length == -1 else length
        found.append((key >> 3, message[at : at + length]))
        at += length
    return found


def value_of(message):
    ((kind, content),) = read(message)
    if kind == 1:
        return content.decode()
    if kind == 4:
        return struct.unpack("<d", content)[0]
    if kind == 5:
        return [value_of(entry) for _number, entry in read(content)]
    return bool(content) if kind == 2 else content


def attributes_of(span):
    pairs = (dict(read(content)) for number, content in read(span) if number == 9)
    return {pair[1].decode(): value_of(pair[2]) for pair in pairs}


# -- what may be recorded ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choices, policy",
    [
        ((), "everything"),
        ((None, ""), "everything"),
        (("metadata", None), "metadata"),
        (("everything", "nothing"), "nothing"),
        (("nothing", "everything"), "nothing"),
        (("metadata", "everything"), "metadata"),
        (("nohting",), "nothing"),
    ],
)
def test_the_more_private_of_key_and_team_counts(choices, policy):
    assert traces.policy_of("everything", *choices) == policy


def test_key_or_team_may_record_more_than_the_default():
    assert traces.policy_of("metadata", None, "everything") == "everything"


def test_a_trace_has_prompt_reply_model_tokens_person_and_team():
    found = attributes_of(traces.span_of(CALL, "everything", "production").encoded())
    assert json.loads(found["langfuse.observation.input"]) == CALL["messages"]
    assert json.loads(found["langfuse.observation.output"]) == {"role": "assistant", "content": "Zwölf."}
    assert json.loads(found["langfuse.observation.usage_details"]) == {"input": 7, "output": 3, "total": 10}
    assert json.loads(found["langfuse.observation.cost_details"]) == {"total": 0.25}
    assert found["langfuse.observation.completion_start_time"] == "2023-11-14T22:13:20.500Z"
    assert (found["user.id"], found["langfuse.observation.metadata.team"], found["langfuse.observation.model.name"]) == ("ada", "research", "qwen3-coder")
    assert found["langfuse.trace.tags"] == ["team:research", "model:qwen3-coder"]


def test_metadata_alone_has_figures_and_not_one_word():
    call = {**CALL, "status": "failure", "error_str": "Wie spät? is no question", "error_information": {"error_class": "BadRequestError"}}
    for entry in (CALL, call):
        span = traces.span_of(entry, "metadata", "production").encoded()
        assert "spät".encode() not in span and "Zwölf".encode() not in span
        assert attributes_of(span)["user.id"] == "ada"
    assert attributes_of(span)["langfuse.observation.status_message"] == "BadRequestError"


def test_a_failed_call_is_an_error_with_its_reason():
    found = attributes_of(traces.span_of({**CALL, "status": "failure", "error_str": "the model is away", "response": None}, "everything", "p").encoded())
    assert (found["langfuse.observation.level"], found["langfuse.observation.status_message"]) == ("ERROR", "the model is away")
    assert "langfuse.observation.output" not in found


def test_the_vectors_of_an_embedding_are_not_kept():
    found = attributes_of(traces.span_of({**CALL, "call_type": "aembedding", "response": {"data": [0.1] * 9}}, "everything", "p").encoded())
    assert found["langfuse.observation.type"] == "embedding" and "langfuse.observation.output" not in found


def test_a_trace_is_found_by_the_id_that_the_caller_was_told():
    span = dict(read(traces.span_of(CALL, "everything", "p").encoded()))
    assert span[1].hex() == "9cd2292290334877aa3f9c06dedd79ba" and len(span[2]) == 8
    assert (struct.unpack("<Q", span[7])[0], struct.unpack("<Q", span[8])[0]) == (1_700_000_000 * 10**9, 1_700_000_002 * 10**9)


def test_a_call_with_an_odd_id_still_has_a_trace():
    assert len(traces.trace_id({"litellm_call_id": "odd"})) == 32


def test_a_span_is_the_same_each_time_it_is_sent():
    span = traces.span_of(CALL, "everything", "p")
    assert span.encoded() == span.encoded()


def test_a_request_holds_its_spans_one_by_one():
    ((_number, resource),) = read(traces.request_of([b"one", b"two"]))
    scope = dict(read(resource))[2]
    assert [content for number, content in read(scope) if number == 2] == [b"one", b"two"]


@pytest.mark.parametrize(
    "response, said",
    [
        ({"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}, [{"content": "a"}, {"content": "b"}]),
        ({"choices": [{"text": "old style"}]}, {"role": "assistant", "content": "old style"}),
        ({"choices": [{"text": "[1]"}, {"text": ""}]}, [{"role": "assistant", "content": "[1]"}, {"role": "assistant", "content": ""}]),
        ({"object": "response", "output": [{"type": "message", "phase": None, "content": [{"text": "c", "logprobs": None}]}]},
         {"type": "message", "content": [{"text": "c"}]}),
        ({"output": [{"type": "reasoning"}, {"type": "function_call"}]}, [{"type": "reasoning"}, {"type": "function_call"}]),
        ({"object": "list"}, {"object": "list"}),
        ("42", {"role": "assistant", "content": "42"}),
        (None, None),
    ],
)
def test_a_reply_is_what_was_said(response, said):
    assert traces.reply_of(response) == said


@pytest.mark.parametrize(
    "messages, instructions, asked",
    [
        ([{"role": "user", "content": "a"}], None, [{"role": "user", "content": "a"}]),
        ([{"role": "user", "content": "a"}], "Be kind.", [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "a"}]),
        ("a", [{"text": "Be kind."}], [{"role": "system", "content": [{"text": "Be kind."}]}, {"role": "user", "content": "a"}]),
        (None, "Be kind.", [{"role": "system", "content": "Be kind."}]),
        ("[1]", None, [{"role": "user", "content": "[1]"}]),
        (None, None, None),
    ],
)  # fmt: skip
def test_instructions_beside_the_messages_are_asked_as_well(messages, instructions, asked):
    assert traces.asked_of(messages, instructions) == asked


def test_instructions_are_words_that_metadata_alone_does_not_have():
    assert b"Be secret" not in traces.span_of(CALL, "metadata", "p", "Be secret.").encoded()


# -- the way ----------------------------------------------------------------------------------------------------------------


def fail(problem):
    raise problem


@contextlib.contextmanager
def answering(status):
    """The address of a server that answers everything with one status."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments):
            pass

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Langfuse:
    """Takes batches, or is away, or refuses."""

    def __init__(self):
        self.taken, self.problem, self.sent, self.lost, self.said, self.failed = [], None, 0, {}, [], {}
        self.bad = frozenset()
        self.calls = threading.Event()

    def send(self, batch):
        self.calls.set()
        if self.problem:
            fail(self.problem)
        if self.bad & set(batch):
            fail(traces.Refused("HTTP 400"))
        self.taken += batch

    def counts(self):
        def sent(number):
            self.sent += number

        def lost(number, reason):
            self.lost[reason] = self.lost.get(reason, 0) + number

        def failed(reason):
            self.failed[reason] = self.failed.get(reason, 0) + 1

        return traces.Counts(sent, lost, failed, self.said.append)


@pytest.fixture
def langfuse(monkeypatch):
    monkeypatch.setattr(traces, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(traces, "LONGEST_PAUSE_SECONDS", 0.02)
    return Langfuse()


def buffer_of(langfuse, most=100, most_bytes=10**6):
    return traces.Buffer(langfuse.send, langfuse.counts(), most, most_bytes, pause=0.01)


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_traces_arrive_in_their_order(langfuse):
    buffer = buffer_of(langfuse, most=1000)
    for number in range(500):
        buffer.add(b"%d" % number)
    wait_for(lambda: langfuse.sent == 500)
    assert langfuse.taken == [b"%d" % number for number in range(500)]
    assert (buffer.count, buffer.size, langfuse.lost) == (0, 0, {})


def test_while_langfuse_is_away_traces_wait_and_arrive_later(langfuse):
    langfuse.problem = traces.Unreachable("nobody there")
    buffer = buffer_of(langfuse)
    for _number in range(60):
        buffer.add(b"x")
    wait_for(lambda: langfuse.said)
    assert buffer.count == 60 and langfuse.lost == {}
    langfuse.problem = None
    wait_for(lambda: langfuse.sent == 60)
    assert len(langfuse.said) == 2, "an outage is told once, and its end once"


@pytest.mark.parametrize("most, most_bytes", [(40, 10**6), (1000, 400)])
def test_a_full_buffer_grows_no_further_and_counts_what_it_cannot_take(langfuse, most, most_bytes):
    langfuse.problem = traces.Unreachable("nobody there")
    buffer = buffer_of(langfuse, most, most_bytes)
    for _number in range(100):
        buffer.add(b"x" * 10)
    assert (buffer.count, buffer.size, langfuse.lost) == (40, 400, {"buffer full": 60})
    langfuse.problem = None
    wait_for(lambda: langfuse.sent == 40)


def test_adding_never_waits_for_langfuse(langfuse):
    away = threading.Event()

    def hang(_batch):
        langfuse.calls.set()
        away.wait(10)

    buffer = traces.Buffer(hang, langfuse.counts(), 100, 10**6, pause=0.01)
    buffer.add(b"x")
    assert langfuse.calls.wait(5)
    began = time.monotonic()
    for _number in range(99):
        buffer.add(b"x")
    assert time.monotonic() - began < 0.5
    away.set()


@pytest.mark.parametrize("problem", [traces.Refused("HTTP 400"), ValueError("a mistake of ours")])
def test_what_langfuse_refuses_is_counted_and_does_not_stand_in_the_way(langfuse, problem):
    langfuse.problem = problem
    buffer = buffer_of(langfuse)
    buffer.add(b"x")
    wait_for(lambda: langfuse.lost == {"refused": 1})
    langfuse.problem = None
    buffer.add(b"y")
    wait_for(lambda: langfuse.taken == [b"y"])


def test_one_trace_that_is_refused_takes_no_other_with_it(langfuse):
    langfuse.bad = {b"13", b"77", b"78"}
    buffer = buffer_of(langfuse, most=1000)
    for number in range(250):
        buffer.add(b"%d" % number)
    wait_for(lambda: buffer.count == 0)
    assert langfuse.taken == [b"%d" % number for number in range(250) if number not in (13, 77, 78)]
    assert (langfuse.sent, langfuse.lost) == (247, {"refused": 3})


@pytest.mark.parametrize("status, reason", [(401, "wrong keys"), (403, "wrong keys"), (404, "wrong address"), (302, "wrong address")])
def test_wrong_keys_or_address_are_told_with_their_reason_and_traces_wait_until_that_is_put_right(langfuse, status, reason):
    langfuse.problem = traces.Unreachable(f"HTTP {status}", traces.TURNED_AWAY[status])
    buffer = buffer_of(langfuse)
    for _number in range(60):
        buffer.add(b"x")
    wait_for(lambda: langfuse.failed.get(reason, 0) >= 3)
    assert buffer.count == 60 and langfuse.lost == {} and f"HTTP {status}" in langfuse.said[0] and len(langfuse.said) == 1
    langfuse.problem = None
    wait_for(lambda: langfuse.sent == 60)
    assert langfuse.lost == {}


def test_wrong_keys_that_nobody_puts_right_lose_traces_in_the_end_and_the_loss_has_its_reason(langfuse, monkeypatch):
    monkeypatch.setattr(traces, "TURNED_AWAY_SECONDS", 0.05)
    langfuse.problem = traces.Unreachable("HTTP 401", "wrong keys")
    buffer = buffer_of(langfuse)
    for _number in range(60):
        buffer.add(b"x")
    wait_for(lambda: buffer.count == 0)
    assert langfuse.lost == {"wrong keys": 60} and langfuse.sent == 0


def test_an_outage_between_two_refusals_gives_traces_their_whole_time_again(langfuse, monkeypatch):
    monkeypatch.setattr(traces, "TURNED_AWAY_SECONDS", 1.0)
    langfuse.problem = traces.Unreachable("HTTP 401", "wrong keys")
    buffer = buffer_of(langfuse)
    buffer.add(b"x")
    wait_for(lambda: langfuse.failed.get("wrong keys", 0) >= 2)
    langfuse.problem = traces.Unreachable("nobody there")
    time.sleep(1.1)
    langfuse.problem = traces.Unreachable("HTTP 401", "wrong keys")
    before = langfuse.failed["wrong keys"]
    wait_for(lambda: langfuse.failed["wrong keys"] >= before + 2)
    assert langfuse.lost == {} and buffer.count == 1


@pytest.mark.parametrize("status, error", [(200, None), (400, traces.Refused), (413, traces.Refused), (401, traces.Unreachable), (404, traces.Unreachable),
                                           (429, traces.Unreachable), (503, traces.Unreachable), (308, traces.Unreachable)])  # fmt: skip
def test_each_answer_of_langfuse_is_a_judgement_of_the_traces_or_of_nothing_but_the_moment(status, error):
    with answering(status) as url:
        sender = traces.Sender(url, "pk", "sk")
        if error is None:
            sender([b""])
        else:
            with pytest.raises(error):
                sender([b""])


def test_what_waits_is_sent_before_the_gateway_stops(langfuse):
    buffer = traces.Buffer(langfuse.send, langfuse.counts(), 100, 10**6, pause=60)
    buffer.add(b"x")
    buffer.close(5)
    assert langfuse.taken == [b"x"] and langfuse.lost == {}


def test_what_cannot_be_sent_before_the_gateway_stops_is_counted_and_told(langfuse):
    langfuse.problem = traces.Unreachable("nobody there")
    buffer = buffer_of(langfuse)
    buffer.add(b"x")
    buffer.close(5)
    assert langfuse.lost == {"gateway stopped": 1} and "they are lost" in langfuse.said[-1]
    buffer.add(b"late")
    assert langfuse.lost == {"gateway stopped": 2}


def test_a_batch_is_bounded_in_bytes(langfuse):
    sizes = []
    buffer = traces.Buffer(lambda batch: sizes.append(len(batch)), langfuse.counts(), 100, 10**9, pause=60)
    for _number in range(5):
        buffer.add(b"x" * (traces.LARGEST_BATCH_BYTES // 2))
    buffer.close(5)
    assert sizes == [2, 2, 1]
