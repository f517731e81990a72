# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a Langfuse 4 holds, by its public API: read page by page, written to files, added up, and deleted when it is old.

Imported by modules, and a program of its own on the host (`langfuse_traces.py --help`), so it needs nothing but Python. Whatever the number
of traces, one page of them is in memory.
"""

from __future__ import annotations

import argparse
import base64
import csv
import http.client
import json
import os
import re
import sys
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta, timezone
from math import log
from typing import Any, TextIO

TIMEOUT_SECONDS = 120.0
ATTEMPTS = 6
LONGEST_PAUSE_SECONDS = 30.0
LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
# Pages are sized by what they weigh: prompts may be megabytes each.
FIRST_PAGE, LARGEST_PAGE, LARGEST_BARE_PAGE = 20, 500, 1000
HEAVY_PAGE_BYTES, LIGHT_PAGE_BYTES = 8 * 1024 * 1024, 2 * 1024 * 1024
# So many traces may be deleted by one request.
MOST_DELETIONS = 1000
OUR_METADATA = "team,key,recording"
# So long after the end of a period traces of it may still come: the gateway keeps them while Langfuse is away, and Langfuse has a queue.
SETTLE = timedelta(hours=24)
COLUMNS = (
    "time", "trace", "observation", "person", "team", "key", "model", "name", "level", "status_message", "input", "output", "input_tokens", "output_tokens",
    "cost", "seconds", "session",
)  # fmt: skip
# A spreadsheet takes text that begins so for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
MOST_WORDS = 4000
TOPICS = 8
COMMON_WORDS = frozenset(
    "about above after again against also always another because been before being below between both cannot could does doing down during "
    "each else even every from further have having here hers herself himself into itself just like make many more most much must need only "
    "other ours over please same shall should show some such tell than that their theirs them themselves then there these they thing this "
    "those through under until upon very want well were what when where which while whom will with without would write your yours".split()
)
WORD = re.compile(r"[^\W\d_][\w-]{3,30}")


class LangfuseError(Exception):
    """Langfuse does not answer, or not as it should; the sentence says what to do."""


# -- the API -----------------------------------------------------------------------------------------------------------


class Api:
    """One project of one Langfuse, over one connection that is kept."""

    def __init__(self, url: str, public_key: str, secret_key: str, sleep: Callable[[float], None] = time.sleep) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise LangfuseError("The address of Langfuse must be http://HOST:PORT or https://HOST.")
        self._url = url
        self._prefix = parts.path.rstrip("/") + "/api/public"
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        credentials = base64.b64encode(("%s:%s" % (public_key, secret_key)).encode()).decode()
        self._headers = {"Authorization": "Basic " + credentials, "Content-Type": "application/json"}
        self._sleep = sleep

    def ask(self, method: str, path: str, query: Mapping[str, object] | None = None, body: object = None) -> tuple[Any, int]:
        """The answer and how many bytes it had; what passes by itself is tried again.

        Raises:
            LangfuseError: it did not pass, or the request was refused.
        """
        target = self._prefix + path + ("?" + urllib.parse.urlencode(query) if query else "")
        data = None if body is None else json.dumps(body).encode()
        problem, pause = "", 0.5
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            try:
                self._connection.request(method, target, data, self._headers)
                answer = self._connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                problem = str(error) or type(error).__name__
                continue
            if answer.status < 300:
                try:
                    return json.loads(content or b"{}"), len(content)
                except ValueError:
                    raise LangfuseError("%s answered %s with something that is no JSON; is it Langfuse?" % (self._url, path)) from None
            problem = "HTTP %d: %s" % (answer.status, content[:200].decode(errors="replace"))
            if answer.status not in LATER:
                break
        hint = "; check the project's keys" if problem.startswith(("HTTP 401", "HTTP 403")) else ""
        raise LangfuseError("Langfuse at %s did not answer %s %s: %s%s" % (self._url, method, path, problem, hint))

    def pages(
        self, since: datetime | None, until: datetime, fields: str, cursor: str | None = None, **more: str
    ) -> Iterator[tuple[list[dict[str, Any]], str | None]]:
        """Observations from the newest to the oldest, page by page, each with the cursor of the next page."""
        heavy = "io" in fields.split(",")
        limit = FIRST_PAGE if heavy else LARGEST_BARE_PAGE
        query: dict[str, object] = {"fields": fields, "toStartTime": stamp(until), "expandMetadata": OUR_METADATA, **more}
        if since is not None:
            query["fromStartTime"] = stamp(since)
        while True:
            answer, size = self.ask("GET", "/v2/observations", {**query, "limit": limit, **({"cursor": cursor} if cursor else {})})
            cursor = (answer.get("meta") or {}).get("cursor")
            yield answer["data"], cursor
            if not cursor:
                return
            if heavy and size > HEAVY_PAGE_BYTES:
                limit = max(1, limit // 2)
            elif heavy and size < LIGHT_PAGE_BYTES:
                limit = min(LARGEST_PAGE, limit * 2)

    def delete(self, traces: list[str]) -> None:
        """Delete up to 1000 traces; Langfuse does so a while later."""
        self.ask("DELETE", "/traces", body={"traceIds": traces})


def stamp(moment: datetime) -> str:
    """A moment as the API takes it."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment_of(text: str) -> datetime:
    """A day (its beginning, UTC) or a moment, as people write it.

    Raises:
        LangfuseError: it is neither.
    """
    try:
        found = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise LangfuseError("%s is neither a day such as 2026-11-30 nor a moment such as 2026-11-30T12:00:00Z." % text) from None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


# -- a conversation ----------------------------------------------------------------------------------------------------


def record_of(observation: Mapping[str, Any]) -> dict[str, Any]:
    """An observation as the files have it."""
    metadata = observation.get("metadata") or {}
    # What our gateway records is JSON; of others a text stays the text that it is, whatever it looks like.
    content = _parsed if metadata.get("recording") else lambda text: text
    usage = observation.get("usageDetails") or {}
    return {
        "time": observation["startTime"],
        "trace": observation["traceId"],
        "observation": observation["id"],
        "person": observation.get("userId"),
        "team": metadata.get("team"),
        "key": metadata.get("key"),
        "model": observation.get("providedModelName"),
        "name": observation.get("name"),
        "level": observation.get("level"),
        "status_message": observation.get("statusMessage"),
        "input": content(observation.get("input")),
        "output": content(observation.get("output")),
        "input_tokens": usage.get("input", 0),
        "output_tokens": usage.get("output", 0),
        "cost": observation.get("totalCost") or (observation.get("costDetails") or {}).get("total") or 0,
        "seconds": observation.get("latency"),
        "session": observation.get("sessionId"),
    }


def _parsed(text: Any) -> Any:
    """Messages that were sent as JSON; a text that is only a number or a word in quotes stays a text."""
    if not isinstance(text, str) or not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def cell(value: Any) -> Any:
    """A value for a spreadsheet, in which no text becomes a formula."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
    return "'" + text if isinstance(text, str) and text.startswith(FORMULA) else text


# -- export ------------------------------------------------------------------------------------------------------------


@dataclass
class Progress:
    """How far an export is; what lies in the files beyond it was not completed.

    until is where it really ends: a period that is not over is exported up to the moment at which that began.
    """

    since: str
    until: str
    asked_until: str
    cursor: str | None = None
    count: int = 0
    jsonl_bytes: int = 0
    csv_bytes: int = 0
    complete: bool = False
    # Empty in notes of versions that did not write it, for which an export was final right after its period.
    began: str = ""

    def is_final(self, settle: timedelta = SETTLE) -> bool:
        """Whether running again would find nothing more, as far as traces do not arrive later than that."""
        late_enough = not self.began or moment_of(self.began) >= moment_of(self.until) + settle
        return self.complete and self.until == self.asked_until and late_enough


class Export:
    """Conversations of a period in two files, in a directory of their own.

    They are written beside the final files and take their places when they are complete, so that an export that is made anew never costs the one
    that is there. After each page the files are on disk before the note of how far they are. Whoever is killed goes on behind the last note:
    nothing is missing and nothing is there twice.
    """

    def __init__(self, directory: str) -> None:
        self.jsonl = os.path.join(directory, "conversations.jsonl")
        self.csv = os.path.join(directory, "conversations.csv")
        self._note = os.path.join(directory, "progress.json")
        self._done = os.path.join(directory, "complete.json")
        self._directory = directory

    def complete(self) -> Progress | None:
        """What the final files hold, if there are some."""
        found, old = _read(self._done), _read(self._note)
        return found or (old if old and old.complete and not old.began else None)

    def progress(self) -> Progress | None:
        """How far an export is that was not completed."""
        found = _read(self._note)
        return found if found and found.began else None

    def run(
        self, api: Api, since: datetime, until: datetime, say: Callable[[str], None] = lambda _sentence: None,
        settle: timedelta = SETTLE, renew: bool = False,
    ) -> Progress:  # fmt: skip
        """Export, or go on with it; a final one is left as it is unless it is to be made anew, with what arrived later.

        Raises:
            LangfuseError: Langfuse does not answer, or has fewer conversations than the export that is there, or the directory holds the export
                of another period.
        """
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        self._take_over_old_note()
        done, progress = self.complete(), self.progress()
        for found in (done, progress):
            if found and (found.since, found.asked_until) != (stamp(since), stamp(until)):
                raise LangfuseError(
                    "%s holds the export from %s to %s; choose another directory for another period."
                    % (self._directory, found.since, found.asked_until)
                )
        if done and done.is_final(settle) and not progress and not renew:
            return done
        if progress is None or not self._is_there(progress):
            now = datetime.now(timezone.utc)
            progress = Progress(stamp(since), stamp(min(until, now)), stamp(until), began=stamp(now))
        if not progress.complete:
            self._write(api, since, progress, say)
        self._put_in_place(done, progress)
        return progress

    def _write(self, api: Api, since: datetime, progress: Progress, say: Callable[[str], None]) -> None:
        with open(_partial(self.jsonl), "a", encoding="utf-8", opener=_private) as jsonl, open(
            _partial(self.csv), "a", encoding="utf-8", newline="", opener=_private
        ) as table:
            jsonl.truncate(progress.jsonl_bytes)
            table.truncate(progress.csv_bytes)
            writer = csv.writer(table)
            if not progress.csv_bytes:
                writer.writerow(COLUMNS)
            fields = "core,basic,io,metadata,model,usage,metrics"
            for page, cursor in api.pages(since, moment_of(progress.until), fields, progress.cursor):
                for observation in page:
                    record = record_of(observation)
                    jsonl.write(json.dumps(record, ensure_ascii=False) + "\n")
                    writer.writerow([cell(record[column]) for column in COLUMNS])
                _to_disk(jsonl)
                _to_disk(table)
                progress.count += len(page)
                progress.cursor, progress.complete = cursor, not cursor
                progress.jsonl_bytes, progress.csv_bytes = (os.path.getsize(_partial(path)) for path in (self.jsonl, self.csv))
                _keep(self._note, progress)
                say("%d conversations" % progress.count)

    def _is_there(self, progress: Progress) -> bool:
        """Whether the files are as long as the note says; a complete one may have one of them in its place already."""
        pairs = ((self.jsonl, progress.jsonl_bytes), (self.csv, progress.csv_bytes))
        return progress.complete or all(os.path.exists(_partial(path)) and os.path.getsize(_partial(path)) >= size for path, size in pairs)

    def _put_in_place(self, done: Progress | None, progress: Progress) -> None:
        if done and progress.count < done.count:
            for path in (_partial(self.jsonl), _partial(self.csv), self._note):
                os.unlink(path)
            raise LangfuseError(
                "Langfuse has only %d of the %d conversations that %s holds, so some were deleted since; the export stays as it is."
                % (progress.count, done.count, self._directory)
            )
        for path in (self.jsonl, self.csv):
            if os.path.exists(_partial(path)):
                os.replace(_partial(path), path)
        _keep(self._done, progress)
        os.unlink(self._note)

    def _take_over_old_note(self) -> None:
        """Exports of versions with one note: a complete one is what it says; one that is not is begun anew."""
        found = _read(self._note)
        if found and not found.began:
            os.replace(self._note, self._done) if found.complete else os.unlink(self._note)


def _partial(path: str) -> str:
    return path + ".partial"


def _read(path: str) -> Progress | None:
    try:
        with open(path, encoding="utf-8") as stream:
            return Progress(**json.load(stream))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise LangfuseError("%s cannot be read (%s); remove the directory to export anew." % (path, error)) from None


def _keep(path: str, progress: Progress) -> None:
    with open(path + ".new", "w", encoding="utf-8", opener=_private) as stream:
        json.dump(asdict(progress), stream)
        _to_disk(stream)
    os.replace(path + ".new", path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _to_disk(stream: TextIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


# -- retention ---------------------------------------------------------------------------------------------------------


@dataclass
class Pruned:
    """What was deleted, or would be: traces, and how many of each month."""

    traces: int = 0
    months: Counter[str] = field(default_factory=Counter)


def prune(api: Api, before: datetime, dry_run: bool, say: Callable[[str], None] = lambda _sentence: None) -> Pruned:
    """Delete the traces that began before a moment."""
    done = Pruned()
    batch: dict[str, None] = {}

    def delete() -> None:
        if batch and not dry_run:
            api.delete(list(batch))
        done.traces += len(batch)
        batch.clear()
        say("%d traces" % done.traces)

    for page, _cursor in api.pages(None, before, "core"):
        for observation in page:
            if observation["traceId"] not in batch:
                batch[observation["traceId"]] = None
                done.months[observation["startTime"][:7]] += 1
            if len(batch) >= MOST_DELETIONS:
                delete()
    if batch:
        delete()
    return done


# -- report ------------------------------------------------------------------------------------------------------------


@dataclass
class Usage:
    """What one person did in one team with one model in one week."""

    requests: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0


class Words:
    """In how many prompts a word was, bounded by forgetting the rarest."""

    def __init__(self) -> None:
        self.prompts = 0
        self.counts: Counter[str] = Counter()

    def add(self, words: set[str]) -> None:
        """One prompt's words."""
        self.prompts += 1
        self.counts.update(words)
        if len(self.counts) > 4 * MOST_WORDS:
            self.counts = Counter(dict(self.counts.most_common(MOST_WORDS)))


def last_question(value: Any) -> str:
    """The text that somebody typed last: what went before it in a conversation was counted already."""
    prompt = _parsed(value)
    messages = prompt if isinstance(prompt, list) else [prompt]
    for message in reversed(messages):
        if isinstance(message, str):
            return message
        if isinstance(message, Mapping) and message.get("role", "user") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            if isinstance(content, list):
                return " ".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    return ""


def words_of(text: str) -> set[str]:
    """The words that tell what a text is about."""
    return {word for word in map(str.lower, WORD.findall(text[:20000])) if word not in COMMON_WORDS}


def week_of(moment: str) -> str:
    """The Monday of the week of a time stamp."""
    day = date.fromisoformat(moment[:10])
    return (day - timedelta(days=day.weekday())).isoformat()


class Report:
    """Adds up what people did; its size depends on people, teams, models and weeks, not on requests."""

    def __init__(self, topics: bool) -> None:
        self._topics = topics
        self._usage: dict[tuple[str, str, str, str], Usage] = {}
        self._words: dict[tuple[str, str], Words] = {}

    def add(self, observation: Mapping[str, Any]) -> None:
        """One observation."""
        record = record_of(observation)
        person, team, model = (str(record[name] or "") for name in ("person", "team", "model"))
        usage = self._usage.setdefault((week_of(record["time"]), person, team, model), Usage())
        usage.requests += 1
        usage.errors += record["level"] == "ERROR"
        usage.input_tokens += record["input_tokens"]
        usage.output_tokens += record["output_tokens"]
        usage.cost += float(record["cost"])
        if self._topics and (words := words_of(last_question(record["input"]))):
            for group in (("all", ""), ("person", person), ("team", team)):
                self._words.setdefault(group, Words()).add(words)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each week, person, team and model."""
        return [
            {"week": week, "person": person, "team": team, "model": model, **asdict(usage)}
            for (week, person, team, model), usage in sorted(self._usage.items())
        ]

    def topics(self) -> list[dict[str, Any]]:
        """For each person and team the words that are in their questions more than in those of others."""
        everybody = self._words.get(("all", ""), Words())
        found = []
        for (kind, name), words in sorted(self._words.items()):
            if kind == "all" or not name:
                continue
            scores = {
                word: count * log(1 + everybody.prompts / everybody.counts[word])
                for word, count in words.counts.items()
                if everybody.counts[word]
            }
            best = sorted(scores, key=lambda word: (-scores[word], word))[:TOPICS]
            found.append({"kind": kind, "name": name, "prompts": words.prompts, "topics": best})
        return found


def report(api: Api, since: datetime, until: datetime, topics: bool) -> Report:
    """What was done in a period."""
    collected = Report(topics)
    fields = "core,basic,metadata,model,usage" + (",io" if topics else "")
    for page, _cursor in api.pages(since, until, fields):
        for observation in page:
            collected.add(observation)
    return collected


# -- the program -------------------------------------------------------------------------------------------------------


NOT_FINAL = "; traces of the period may still arrive: run it again a day after its end"


def tell(sentence: str, stream: TextIO | None = None) -> None:
    """A line for whoever called the program."""
    stream = stream or sys.stdout
    stream.write(sentence + "\n")
    stream.flush()


def seconds_until(clock: str, now: datetime) -> float:
    """Seconds until it is this time of day, more than none."""
    hour, minute = map(int, clock.split(":"))
    then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return ((then if then > now else then + timedelta(days=1)) - now).total_seconds()


def api_from_environment() -> Api:
    """The Langfuse that the environment names."""
    missing = [name for name in ("LANGFUSE_URL", "LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY") if not os.environ.get(name)]
    if missing:
        raise LangfuseError("Set %s in the environment." % " and ".join(missing))
    return Api(os.environ["LANGFUSE_URL"], os.environ["LANGFUSE_PUBLIC_KEY"], os.environ["LANGFUSE_SECRET_KEY"])


def prune_older_than(days: int, dry_run: bool) -> None:
    """Delete what is older than some days, and say so."""
    before = datetime.now(timezone.utc) - timedelta(days=days)
    done = prune(api_from_environment(), before, dry_run)
    months = ", ".join("%s: %d" % pair for pair in sorted(done.months.items()))
    verb = "would be deleted" if dry_run else "were deleted"
    tell("%d traces from before %s %s%s" % (done.traces, stamp(before), verb, " (%s)" % months if months else ""))


def retain(days: int, clock: str, dry_run: bool) -> None:
    """Delete what is too old each day at one time; a day that fails is told, and the next one does its work too."""
    while True:
        # The host's own time of day, as people mean it.
        time.sleep(seconds_until(clock, datetime.now().astimezone()))
        try:
            prune_older_than(days, dry_run)
        except LangfuseError as error:
            tell("Nothing was deleted today. %s" % error, sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Export and delete what a Langfuse holds. LANGFUSE_URL, _PUBLIC_KEY and _SECRET_KEY say which.")
    commands = parser.add_subparsers(dest="command", required=True)
    exporting = commands.add_parser("export", help="write conversations of a period to conversations.jsonl and .csv; run again to go on")
    exporting.add_argument("--since", required=True, help="a day or a moment")
    exporting.add_argument("--until", required=True, help="a day or a moment; it does not belong to the period")
    exporting.add_argument("--directory", required=True)
    exporting.add_argument("--renew", action="store_true", help="make a complete export anew, with what arrived since")
    pruning = commands.add_parser("prune", help="delete traces that are older than some days")
    retaining = commands.add_parser("retain", help="do so each day, and never end")
    for command in (pruning, retaining):
        command.add_argument("--days", type=int, required=True)
        command.add_argument("--dry-run", action="store_true", help="only tell how many")
    retaining.add_argument("--at", required=True, help="time of day, such as 03:30")
    given = parser.parse_args(arguments)
    try:
        if given.command == "export":
            done = Export(given.directory).run(api_from_environment(), moment_of(given.since), moment_of(given.until), renew=given.renew)
            tell("%d conversations in %s%s" % (done.count, given.directory, "" if done.is_final() else NOT_FINAL))
        elif given.days < 1:
            raise LangfuseError("--days must be 1 or more.")
        elif given.command == "prune":
            prune_older_than(given.days, given.dry_run)
        else:
            retain(given.days, given.at, given.dry_run)
    except LangfuseError as error:
        tell(str(error), sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
