# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast a server of the OpenAI kind is for those who ask it: the wait for the first token, and the pace of those that follow.

Times are in seconds as a client sees them, speeds in tokens a second. The number of tokens is what the server counts itself.
"""

from __future__ import annotations

import http.client
import json
import math
import random
import ssl
import statistics
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Common words of a few letters: nearly every vocabulary has them as one token, and no two prompts made of them begin alike.
WORDS = (
    "time year people way day man thing woman life child world school state family student group country problem hand part place case week "
    "company system program question work number night point home water room mother area money story fact month lot right study book eye job "
    "word business issue side kind head house service friend father power hour game line end member law car city name team minute idea body"
).split()  # fmt: skip
TASK = "Ignore the words above. Write down the numbers from one to ten thousand in words, one on each line, and do not stop early."
DATA = "data:"
DONE = "[DONE]"


class BenchError(Exception):
    """Nothing could be measured; the text is a sentence for the user."""


@dataclass(frozen=True)
class Answer:
    """One request, in seconds from its beginning; tokens as the server counted them."""

    first: float
    last: float
    prompt_tokens: int
    answer_tokens: int
    began: float = 0.0

    @property
    def pace(self) -> float | None:
        """Tokens a second after the first one; None when there are too few to tell."""
        return (self.answer_tokens - 1) / (self.last - self.first) if self.answer_tokens > 1 and self.last > self.first else None


@dataclass
class Phase:
    """Requests of one kind."""

    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Wanted:
    """What is measured: ``prompt`` and ``answer`` in tokens, ``streams`` side by side, each kind ``rounds`` times, all within ``seconds``."""

    prompt: int
    answer: int
    streams: int
    rounds: int
    seconds: float


def words(count: int, chance: random.Random) -> str:
    """A text of that many words that no cache has seen."""
    return " ".join(chance.choice(WORDS) for _word in range(count))


def events(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The events of a stream up to its end. :raises BenchError: when it ends without saying so, or tells of a fault."""
    for raw in lines:
        line = raw.decode("utf-8", "replace").strip()
        if not line.startswith(DATA):
            continue
        content = line[len(DATA) :].strip()
        if content == DONE:
            return
        try:
            event = json.loads(content)
        except ValueError as error:
            raise BenchError(f"The stream has an event that is no JSON: {content[:200]}") from error
        if "error" in event:
            raise BenchError(f"The stream ended with a fault: {json.dumps(event['error'])[:300]}")
        yield event
    raise BenchError("The stream was cut off before its end.")


def is_token(event: Mapping[str, Any]) -> bool:
    """Whether an event brings a part of the answer (or of the thinking before it)."""
    for choice in event.get("choices") or []:
        delta = choice.get("delta") or {}
        if delta.get("content") or delta.get("reasoning_content"):
            return True
    return False


def read_answer(stream: Iterable[bytes], began: float, clock: Callable[[], float] = time.monotonic) -> Answer:
    """Follow a stream to its end. :raises BenchError: when it brings no answer, or does not say how many tokens it was."""
    first = last = None
    usage: Mapping[str, Any] = {}
    for event in events(stream):
        if is_token(event):
            last = clock() - began
            first = last if first is None else first
        usage = event.get("usage") or usage
    if first is None or last is None:
        raise BenchError("The server answered without a single token.")
    if not usage.get("completion_tokens"):
        raise BenchError("The server does not say how many tokens its answer had (stream_options.include_usage).")
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Answer(first, last, int(usage["prompt_tokens"]) - int(cached), int(usage["completion_tokens"]), began)


@dataclass(frozen=True)
class Server:
    """Where to ask, and as whom."""

    url: str
    api_key: str
    model: str
    extra: Mapping[str, Any]

    def ask(self, prompt: str, most: int, timeout: float) -> Answer:
        """One request, followed to its end. :raises BenchError: with the reason when there is no whole answer."""
        request = {
            "model": self.model,
            "messages": [{"role": "user", "content": f"{prompt}\n\n{TASK}"}],
            "max_tokens": most,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.extra,
        }
        parts = urllib.parse.urlsplit(self.url)
        connection = self._connection(parts, timeout)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.api_key}", "Connection": "close"}
        try:
            began = time.monotonic()
            connection.request("POST", f"{parts.path.rstrip('/')}/chat/completions", json.dumps(request), headers)
            response = connection.getresponse()
            if response.status != 200:
                said = " ".join(response.read(2000).decode("utf-8", "replace").split())
                raise BenchError(f"{self.url} answered {response.status}: {said[:300]}")
            return read_answer(response, began)
        except (OSError, http.client.HTTPException) as error:
            raise BenchError(f"{self.url} gave no whole answer: {error or type(error).__name__}") from error
        finally:
            connection.close()

    @staticmethod
    def _connection(parts: urllib.parse.SplitResult, timeout: float) -> http.client.HTTPConnection:
        if parts.scheme == "https":
            return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=ssl.create_default_context())
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)


Ask = Callable[[str, int, float], Answer]


class Bench:
    """Measures one server."""

    def __init__(self, ask: Ask, wanted: Wanted, seed: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._wanted = wanted
        self._chance = random.Random(seed)
        self._clock = clock
        self._deadline = clock() + wanted.seconds

    def run(self) -> dict[str, Any]:
        """All kinds of requests, one kind after the other. :raises BenchError: when one kind has no answer at all."""
        wanted = self._wanted
        # The first request is slower than all others, and says how many tokens a word is.
        warm = self._once(words(256, self._chance), 8, Phase())
        many = max(int(wanted.prompt * 256 / max(warm.prompt_tokens, 1)), 1)
        prefill, alone, crowd = Phase(), Phase(), Phase()
        self._repeat(prefill, lambda: [self._once(words(many, self._chance), 1, prefill)])
        self._repeat(alone, lambda: [self._once(words(32, self._chance), wanted.answer, alone)])
        spans: list[tuple[int, float]] = []
        self._repeat(crowd, lambda: self._together(crowd, spans))
        return {
            "prompt_tokens": round(statistics.median(answer.prompt_tokens for answer in prefill.answers)),
            "prefill": spread([answer.prompt_tokens / answer.first for answer in prefill.answers]),
            "first_token_long": spread([answer.first for answer in prefill.answers]),
            "alone": spread([answer.pace for answer in alone.answers if answer.pace]),
            "first_token_alone": spread([answer.first for answer in alone.answers]),
            "streams": wanted.streams,
            "each": spread([answer.pace for answer in crowd.answers if answer.pace]),
            "together": spread([tokens / seconds for tokens, seconds in spans if seconds > 0]),
            "first_token_crowd": spread([answer.first for answer in crowd.answers]),
            "failed": len(prefill.failures) + len(alone.failures) + len(crowd.failures),
            "failures": sorted({*prefill.failures, *alone.failures, *crowd.failures})[:5],
            "in_time": self._clock() < self._deadline,
        }

    def _left(self) -> float:
        return max(self._deadline - self._clock(), 1.0)

    def _once(self, prompt: str, most: int, phase: Phase) -> Answer:
        answer = self._ask(prompt, most, self._left())
        phase.answers.append(answer)
        return answer

    def _repeat(self, phase: Phase, once: Callable[[], Any]) -> None:
        for number in range(self._wanted.rounds):
            if number and self._clock() >= self._deadline:
                return
            try:
                once()
            except BenchError as error:
                phase.failures.append(str(error))
        if not phase.answers:
            raise BenchError(phase.failures[0] if phase.failures else "No request was answered.")

    def _together(self, phase: Phase, spans: list[tuple[int, float]]) -> None:
        """All streams at once; how many tokens came between the first token of any and the last of all, and in what time."""
        start = threading.Barrier(self._wanted.streams)
        answers: list[Answer] = []
        prompts = [words(32, self._chance) for _stream in range(self._wanted.streams)]

        def follow(prompt: str) -> None:
            start.wait()
            try:
                answers.append(self._ask(prompt, self._wanted.answer, self._left()))
            except BenchError as error:
                phase.failures.append(str(error))

        threads = [threading.Thread(target=follow, args=(prompt,), daemon=True) for prompt in prompts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        phase.answers += answers
        if answers:
            first = min(answer.began + answer.first for answer in answers)
            last = max(answer.began + answer.last for answer in answers)
            spans.append((sum(answer.answer_tokens for answer in answers), last - first))


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of all does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Median, 95th percentile, both ends and number of what was measured; None for nothing."""
    if not values:
        return None
    return {
        "p50": round(quantile(values, 0.5), 4),
        "p95": round(quantile(values, 0.95), 4),
        "lowest": round(min(values), 4),
        "highest": round(max(values), 4),
        "count": len(values),
    }


def compare(planned: Mapping[str, Any], found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was planned next to what is there: ``slots``, ``context_per_slot`` and ``memory`` (MiB), each only where both are known.

    ``kept`` is whether the promise is: the server has the slots and the context, and no more memory than planned.
    """
    rows = []
    for name in ("slots", "context_per_slot", "memory"):
        wanted, there = planned.get(name), found.get(name)
        if wanted and there:
            kept = there <= wanted if name == "memory" else there == wanted
            rows.append({"name": name, "planned": wanted, "found": there, "ratio": round(there / wanted, 3), "kept": kept})
    return rows


def report(measured: Mapping[str, Any], comparison: Sequence[Mapping[str, Any]], title: str) -> list[str]:
    """What was measured as a small table, a line each."""
    streams = measured["streams"]
    rows = [
        (f"prefill, prompt of {measured['prompt_tokens']} tokens", measured["prefill"], "tokens/s"),
        ("answer, one stream", measured["alone"], "tokens/s"),
        (f"answer, each of {streams} streams", measured["each"], "tokens/s"),
        (f"answer, {streams} streams together", measured["together"], "tokens/s"),
        ("first token, one stream", measured["first_token_alone"], "s"),
        (f"first token, {streams} streams", measured["first_token_crowd"], "s"),
        ("first token, long prompt", measured["first_token_long"], "s"),
    ]
    lines = [title, "%-38s %10s %10s" % ("", "median", "slow end")]
    for name, found, unit in rows:
        if found:
            digits = 3 if unit == "s" else 1
            # The slow end is what people remember: 95 of 100 wait no longer, and no stream was slower.
            edge = found["p95"] if unit == "s" else found["lowest"]
            lines.append("%-38s %10.*f %10.*f %s" % (name, digits, found["p50"], digits, edge, unit))
    for row in comparison:
        unit = {"slots": "", "context_per_slot": "tokens", "memory": "MiB"}[row["name"]]
        verdict = "as planned" if row["kept"] else "NOT as planned"
        lines.append(("%-38s %10d of %d planned %s, %s" % (row["name"].replace("_", " "), row["found"], row["planned"], unit, verdict)).replace(" ,", ","))
    if measured["failed"]:
        lines.append(f"{measured['failed']} requests failed: {'; '.join(measured['failures'])}")
    if not measured["in_time"]:
        lines.append("The time was over before everything was measured as often as asked for.")
    return lines
