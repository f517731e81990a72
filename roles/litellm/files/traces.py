"""Traces on their way from the gateway to Langfuse: what one says, where it waits, how it is sent, and what was lost.

Nothing here knows LiteLLM. A trace waits in a bounded buffer, so that a Langfuse that is away costs memory up to a limit and then traces,
but never a request; each lost trace is counted with its reason.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import struct
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

EVERYTHING, METADATA, NOTHING = "everything", "metadata", "nothing"
# From what tells most to what tells least.
POLICIES = (EVERYTHING, METADATA, NOTHING)
PATH = "/api/public/otel/v1/traces"
SERVER_KIND = 2
LARGEST_BATCH = 100
LARGEST_BATCH_BYTES = 2 * 1024 * 1024
TIMEOUT_SECONDS = 10.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 5.0
# A server that says so may take the same trace later.
LATER = frozenset({408, 425, 429, *range(500, 600)})
# These are no judgement of the traces: keys or address are wrong, and somebody may put that right.
WRONG_KEYS, WRONG_ADDRESS, UNREACHABLE, REFUSED = "wrong keys", "wrong address", "unreachable", "refused"
TURNED_AWAY = {401: WRONG_KEYS, 403: WRONG_KEYS, 404: WRONG_ADDRESS, 405: WRONG_ADDRESS, **dict.fromkeys(range(300, 400), WRONG_ADDRESS)}
# So long traces wait for that.
TURNED_AWAY_SECONDS = 3600.0


def policy_of(default: str, *choices: object) -> str:
    """What may be recorded: the most private of what key and team say, else the default.

    A word that is none of the policies counts as the most private one.
    """
    said = [choice if choice in POLICIES else NOTHING for choice in choices if choice not in (None, "")]
    return str(max(said, key=POLICIES.index)) if said else default


# -- protobuf, as OTLP wants it ------------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _any(value: object) -> bytes:
    if isinstance(value, bool):
        return b"\x10" + _varint(value)
    if isinstance(value, int) and value >= 0:
        return b"\x18" + _varint(value)
    if isinstance(value, float):
        return b"\x21" + struct.pack("<d", value)
    if isinstance(value, (list, tuple)):
        return _bytes(5, b"".join(_bytes(1, _any(entry)) for entry in value))
    return _bytes(1, str(value).encode("utf-8", "replace"))


def _attributes(number: int, attributes: Mapping[str, object]) -> bytes:
    pairs = (_bytes(1, name.encode()) + _bytes(2, _any(value)) for name, value in attributes.items() if value is not None)
    return b"".join(_bytes(number, pair) for pair in pairs)


@dataclass(frozen=True)
class Span:
    """One call of a model.

    trace: 32 hexadecimal digits. start and end: seconds since 1970.
    """

    trace: str
    name: str
    start: float
    end: float
    attributes: Mapping[str, object]
    id: bytes = field(default_factory=lambda: os.urandom(8))

    def encoded(self) -> bytes:
        """The span as protobuf; the same each time, so that sending it twice makes no second one."""
        times = (_varint(number << 3 | 1) + struct.pack("<Q", round(moment * 1e9)) for number, moment in ((7, self.start), (8, self.end)))
        head = _bytes(1, bytes.fromhex(self.trace)) + _bytes(2, self.id) + _bytes(5, self.name.encode())
        return head + b"\x30" + _varint(SERVER_KIND) + b"".join(times) + _attributes(9, self.attributes)


def request_of(spans: Iterable[bytes]) -> bytes:
    """The body of one export."""
    resource = _bytes(1, _attributes(1, {"service.name": "litellm"}))
    scope = _bytes(1, _bytes(1, b"private_llm.platform"))
    return _bytes(1, resource + _bytes(2, scope + b"".join(_bytes(2, span) for span in spans)))


# -- what a trace says ---------------------------------------------------------------------------------------------------


def as_json(value: object) -> str | None:
    """A value as the text of an attribute; nothing stays nothing."""
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def without_nothing(value: Any) -> Any:
    """The same without what is None, at any depth."""
    if isinstance(value, Mapping):
        return {name: without_nothing(entry) for name, entry in value.items() if entry is not None}
    return [without_nothing(entry) for entry in value] if isinstance(value, list) else value


def asked_of(messages: Any, instructions: Any) -> object:
    """What was asked: the messages, and before them the instructions that Anthropic's and the Responses API take beside them.

    A bare text becomes a message: nobody can mistake it for JSON then.
    """
    asked = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    if not instructions:
        return asked
    return [{"role": "system", "content": instructions}, *(asked if isinstance(asked, list) else [])]


def message_of(text: Any) -> object:
    """A bare text as the message that a chat would have."""
    return {"role": "assistant", "content": text}


def reply_of(response: Any) -> object:
    """What was said: the message or messages of a chat or completion, what the Responses API put out; else the whole answer."""
    if not isinstance(response, Mapping):
        return message_of(response) if isinstance(response, str) else response
    choices, output = response.get("choices"), response.get("output")
    if isinstance(choices, list) and choices:
        said = [choice.get("message") or message_of(choice.get("text")) for choice in choices if isinstance(choice, Mapping)]
    elif isinstance(output, list) and output:
        said = output
    else:
        return response
    said = without_nothing(said)
    return said[0] if len(said) == 1 else said


def span_of(call: Mapping[str, Any], policy: str, environment: str, instructions: Any = None) -> Span:
    """The span of a call, from LiteLLM's standard logging payload. Only `everything` has prompt, reply and error text.

    instructions: what a request has beside its messages for the model to follow, which the payload does not have.
    """
    about = call.get("metadata") or {}
    person, team = about.get("user_api_key_user_id"), about.get("user_api_key_team_id")
    model = call.get("model_group") or call.get("model")
    failed = call.get("status") == "failure"
    usage = {"input": call.get("prompt_tokens") or 0, "output": call.get("completion_tokens") or 0, "total": call.get("total_tokens") or 0}
    kind = "embedding" if "embedding" in str(call.get("call_type")) else "generation"
    start, end, first = (float(call.get(name) or 0.0) for name in ("startTime", "endTime", "completionStartTime"))
    labels = {"person": person, "team": team, "key": about.get("user_api_key_alias"), "recording": policy, "stream": bool(call.get("stream"))}
    attributes: dict[str, object] = {
        "langfuse.observation.type": kind,
        "langfuse.trace.name": str(call.get("call_type") or "call"),
        "langfuse.environment": environment,
        "user.id": person,
        "session.id": (call.get("session_id") or None) if call.get("session_id") != call.get("trace_id") else None,
        "langfuse.trace.tags": [f"{name}:{value}" for name, value in (("team", team), ("model", model)) if value],
        "langfuse.observation.model.name": model,
        "langfuse.observation.usage_details": as_json(usage),
        "langfuse.observation.cost_details": as_json({"total": call.get("response_cost") or 0.0}),
        "langfuse.observation.level": "ERROR" if failed else "DEFAULT",
        **{f"langfuse.observation.metadata.{name}": value for name, value in labels.items() if value is not None},
        **{f"langfuse.trace.metadata.{name}": value for name, value in labels.items() if value is not None},
    }
    if call.get("stream") and start < first < end:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(first)) + f".{int(first * 1000) % 1000:03d}Z"
        attributes["langfuse.observation.completion_start_time"] = stamp
    error = call.get("error_information") or {}
    if failed:
        attributes["langfuse.observation.status_message"] = str(error.get("error_class") or "failure")
    if policy == EVERYTHING:
        attributes["langfuse.observation.input"] = as_json(asked_of(call.get("messages"), instructions))
        if failed:
            attributes["langfuse.observation.status_message"] = str(call.get("error_str") or error.get("error_message") or "failure")
        elif kind == "generation":
            attributes["langfuse.observation.output"] = as_json(reply_of(call.get("response")))
    return Span(trace_id(call), str(call.get("call_type") or "call"), start, max(start, end), attributes)


def trace_id(call: Mapping[str, Any]) -> str:
    """The trace of a call: the gateway's own id of it, which the caller sees in the header x-litellm-call-id."""
    digits = str(call.get("litellm_call_id") or "").replace("-", "").lower()
    return digits if len(digits) == 32 and all(digit in "0123456789abcdef" for digit in digits) else os.urandom(16).hex()


# -- the way ---------------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """Langfuse does not want these traces, and will not want them later."""


class Unreachable(Exception):
    """Langfuse cannot take traces now.

    reason: one of UNREACHABLE, WRONG_KEYS and WRONG_ADDRESS.
    """

    def __init__(self, sentence: str, reason: str = UNREACHABLE) -> None:
        super().__init__(sentence)
        self.reason = reason


class Sender:
    """Posts traces to one Langfuse, over one connection that is kept."""

    def __init__(self, url: str, public_key: str, secret_key: str) -> None:
        parts = urllib.parse.urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._path = parts.path.rstrip("/") + PATH
        self._connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
        credentials = base64.b64encode(f"{public_key}:{secret_key}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {credentials}",
            "Content-Type": "application/x-protobuf",
            "x-langfuse-ingestion-version": "4",
        }

    def __call__(self, spans: list[bytes]) -> None:
        """Send a batch.

        Raises:
            Unreachable: it may be tried again, for ever or, with wrong keys or a wrong address, for a while.
            Refused: something in the batch is not as Langfuse wants it.
        """
        try:
            self._connection.request("POST", self._path, request_of(spans), self._headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        if answer.status in LATER:
            raise Unreachable(f"HTTP {answer.status}")
        if answer.status in TURNED_AWAY:
            reason = TURNED_AWAY[answer.status]
            raise Unreachable(f"HTTP {answer.status}: {reason}", reason)
        if answer.status >= 300:
            raise Refused(f"HTTP {answer.status}")


@dataclass
class Counts:
    """What became of the traces. The functions are called as it happens, from any thread."""

    sent: Callable[[int], None]
    lost: Callable[[int, str], None]
    failed: Callable[[str], None]
    say: Callable[[str], None]


class Buffer:
    """Where traces wait: at most so many, with at most so many bytes. A full buffer takes no more; what is in it stays.

    Langfuse refuses a batch as a whole for one bad trace in it. Then half of the batch is tried, down to a single trace, so that only the bad
    one is lost. While Langfuse turns everybody away (wrong keys, no such address), traces wait as in an outage, but not for ever.
    """

    def __init__(self, send: Callable[[list[bytes]], None], counts: Counts, most: int, most_bytes: int, pause: float = 1.0) -> None:
        self._send = send
        self._counts = counts
        self._most, self._most_bytes, self._pause = most, most_bytes, pause
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._reachable = True
        self._largest = LARGEST_BATCH
        self._turned_away_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    @property
    def count(self) -> int:
        """How many traces wait."""
        return len(self._waiting)

    @property
    def size(self) -> int:
        """How many bytes wait."""
        return self._bytes

    def add(self, span: bytes) -> None:
        """Let a trace wait, or count it as lost. Never blocks for longer than another thread's look into the buffer."""
        with self._changed:
            full = len(self._waiting) >= self._most or self._bytes + len(span) > self._most_bytes
            if not full and not self._closing:
                self._waiting.append(span)
                self._bytes += len(span)
                if len(self._waiting) >= LARGEST_BATCH:
                    self._changed.notify()
                return
        self._counts.lost(1, "gateway stopped" if self._closing else "buffer full")

    def _batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        for span in self._waiting:
            if batch and (len(batch) >= self._largest or size + len(span) > LARGEST_BATCH_BYTES):
                break
            batch.append(span)
            size += len(span)
        return batch

    def _done(self, batch: list[bytes]) -> None:
        with self._changed:
            for span in batch:
                self._waiting.popleft()
                self._bytes -= len(span)

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            with self._changed:
                if not self._closing and len(self._waiting) < LARGEST_BATCH:
                    self._changed.wait(self._pause)
                batch = self._batch()
                if not batch and self._closing:
                    return
            if batch and self._deliver(batch):
                pause = FIRST_PAUSE_SECONDS
            elif batch:
                if self._closing:
                    return
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _deliver(self, batch: list[bytes]) -> bool:
        """Whether to go on at once."""
        try:
            self._send(batch)
        except Unreachable as error:
            return self._wait_or_give_up(batch, error)
        except Exception as error:  # whatever it is, requests must go on and the loss must be counted
            self._counts.failed(REFUSED)
            self._turned_away_since = None
            if len(batch) > 1:
                self._largest = len(batch) // 2
                return True
            self._lose(batch, REFUSED, f"Langfuse refused a trace ({type(error).__name__}: {error}); it is lost")
            return True
        self._done(batch)
        self._largest = min(self._largest * 2, LARGEST_BATCH)
        self._turned_away_since = None
        self._counts.sent(len(batch))
        self._tell(True, "Langfuse takes traces again")
        return True

    def _wait_or_give_up(self, batch: list[bytes], error: Unreachable) -> bool:
        self._counts.failed(error.reason)
        if error.reason == UNREACHABLE:
            self._turned_away_since = None
        elif self._turned_away_since is None:
            self._turned_away_since = time.monotonic()
        if self._turned_away_since is not None and time.monotonic() - self._turned_away_since >= TURNED_AWAY_SECONDS:
            self._lose(batch, error.reason, f"Langfuse still turns traces away ({error}); {len(batch)} are lost")
            return False
        self._tell(False, f"Langfuse cannot take traces ({error}); they wait, {self.count} of {self._most} places are taken")
        return False

    def _lose(self, batch: list[bytes], reason: str, sentence: str) -> None:
        self._done(batch)
        self._counts.lost(len(batch), reason)
        self._counts.say(sentence)

    def _tell(self, reachable: bool, sentence: str) -> None:
        """Once for each change: an outage is no reason to fill the log."""
        if reachable != self._reachable:
            self._reachable = reachable
            self._counts.say(sentence)

    def close(self, seconds: float) -> None:
        """Send what waits, for as long as that; what is left is lost."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(seconds)
        if left := self.count:
            self._counts.lost(left, "gateway stopped")
            self._counts.say(f"{left} traces were not sent before the gateway stopped; they are lost")
