"""Stands in for Grafana Alloy and for Promtail: reads the journal and does with each line what the configuration says.

Only what the collection writes is known; everything else is refused.
"""

from __future__ import annotations

import datetime
import json
import queue
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stand_in.selectors import Selector
from stand_in.server import Answer, Refused, Request, check_keys, log, refuse, serve

TOO_MANY, SERVER_ERROR = 429, 500
PRIORITIES = ("emerg", "alert", "crit", "error", "warning", "notice", "info", "debug")
TEXT, TEXTS = str, [str]
RULE = {"source_labels": TEXTS, "separator": TEXT, "regex": TEXT, "target_label": TEXT, "replacement": TEXT, "action": TEXT}
STAGES = {
    "multiline": {"firstline": TEXT, "max_wait_time": TEXT, "max_lines": int},
    "replace": {"expression": TEXT, "replace": TEXT},
    "static_labels": {"values": {"*": TEXT}},
    "label_keep": {"values": TEXTS},
}
PROMTAIL = {
    "server": {"http_listen_port": int, "grpc_listen_port": int, "log_level": TEXT, "enable_runtime_reload": bool},
    "positions": {"filename": TEXT},
    "clients": [{"url": TEXT, "batchwait": TEXT, "backoff_config": {"min_period": TEXT, "max_period": TEXT, "max_retries": int}}],
    "scrape_configs": [
        {
            "job_name": TEXT,
            "journal": {"path": TEXT, "max_age": TEXT, "labels": {"*": TEXT}},
            "relabel_configs": [RULE],
            "pipeline_stages": [{"*": object}],
        }
    ],
}
SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass
class Plan:
    """What an agent is to do, whatever language it was told in."""

    journal: str
    max_age: float
    labels: dict[str, str]
    rules: list[dict[str, Any]]
    stages: list[tuple[str, dict[str, Any]]]
    url: str
    positions: Path
    port: int
    # As many as the real ones try when nobody says so.
    retries: int = 10


def seconds(duration: str) -> float:
    """A duration such as 12h. :raises Refused: for another text."""
    found = re.fullmatch(r"(\d+)([smh])", duration)
    if found is None:
        raise Refused(f'time: invalid duration "{duration}"')
    return int(found.group(1)) * SECONDS[found.group(2)]


def check_stage(name: str, options: Any) -> tuple[str, dict[str, Any]]:
    """One stage of a pipeline. :raises Refused: when it is not known, or not as it has to be."""
    if name == "match":
        if "`" in options["selector"]:
            raise Refused("invalid selector syntax for match stage: parse error: syntax error: unexpected IDENTIFIER, expecting STRING")
        Selector.parse(options["selector"])
        return name, {"selector": options["selector"], "stages": [check_stage(*stage) for stage in options["stages"]]}
    if name not in STAGES:
        raise Refused(f"unknown stage type: {name}")
    check_keys(f"stage.{name}", options, STAGES[name])
    for key in ("expression", "firstline"):
        if key in options:
            if re.search(r"\(\?(?:[=!]|<[=!])", options[key]):
                raise Refused(f"error parsing regexp: invalid or unsupported Perl syntax in {options[key]}")
            re.compile(options[key])
    return name, dict(options)


# -- Promtail's language ------------------------------------------------------------------------------------------------------------


def promtail_stage(given: Mapping[str, Any]) -> tuple[str, Any]:
    """A stage as Promtail has it, in the words of the other agent."""
    ((name, options),) = given.items()
    if name == "match":
        check_keys("match", options, {"selector": TEXT, "stages": [{"*": object}]})
        return name, {"selector": options["selector"], "stages": [promtail_stage(stage) for stage in options["stages"]]}
    if name == "static_labels":
        return name, {"values": options}
    return ("label_keep", {"values": options}) if name == "labelallow" else (name, options)


def read_promtail(path: str) -> Plan:
    """Read and check Promtail's configuration. :raises Refused: when the real one would not start with it."""
    found = yaml.safe_load(Path(path).read_text())
    check_keys("config", found, PROMTAIL)
    (job,), (client,) = found["scrape_configs"], found["clients"]
    stages = [check_stage(*promtail_stage(stage)) for stage in job["pipeline_stages"]]
    journal = job["journal"]
    return Plan(journal["path"], seconds(journal["max_age"]), journal["labels"], job["relabel_configs"], stages, client["url"],
                Path(found["positions"]["filename"]), found["server"]["http_listen_port"],
                client.get("backoff_config", {}).get("max_retries", Plan.retries))


# -- Alloy's language ---------------------------------------------------------------------------------------------------------------

TOKEN = re.compile(r'\s*(?:(//[^\n]*)|("(?:[^"\\\n]|\\.)*")|(`[^`]*`)|(-?\d+(?:\.\d+)?)|([A-Za-z_][\w.]*)|([{}\[\]=,]))')


class Reference(str):
    """The name of another component."""


def tokens(text: str) -> Iterator[tuple[str, Any]]:
    """The words of a configuration. :raises Refused: where there is none."""
    text, place = text.rstrip(), 0
    while place < len(text):
        found = TOKEN.match(text, place)
        if found is None:
            raise Refused(f"the configuration cannot be read at {text[place:place + 40]!r}")
        place = found.end()
        comment, quoted, raw, number, name, sign = found.groups()
        if comment is not None:
            continue
        if quoted is not None:
            yield "value", json.loads(quoted)
        elif raw is not None:
            yield "value", raw[1:-1]
        elif number is not None:
            yield "value", json.loads(number)
        else:
            yield ("name", name) if name is not None else (sign, sign)
    yield "end", None


class AlloyParser:
    """Blocks as (name, label, attributes, inner blocks)."""

    def __init__(self, text: str) -> None:
        self._words = list(tokens(text))
        self._at = 0

    def _next(self, *kinds: str) -> Any:
        kind, value = self._words[self._at]
        if kind not in kinds:
            raise Refused(f"expected {' or '.join(kinds)}, got {value!r}")
        self._at += 1
        return value

    def _peek(self) -> str:
        return self._words[self._at][0]

    def body(self, end: str) -> tuple[dict[str, Any], list[tuple[str, str, Any, Any]]]:
        """Attributes and blocks up to an end."""
        attributes: dict[str, Any] = {}
        blocks: list[tuple[str, str, Any, Any]] = []
        while self._peek() != end:
            name = self._next("name")
            if self._peek() == "=":
                self._next("=")
                attributes[name] = self._value()
                continue
            label = self._next("value") if self._peek() == "value" else ""
            self._next("{")
            inner = self.body("}")
            self._next("}")
            blocks.append((name, label, *inner))
        return attributes, blocks

    def _value(self) -> Any:
        kind = self._peek()
        if kind == "value":
            return self._next("value")
        if kind == "name":
            name = self._next("name")
            return {"true": True, "false": False}.get(name, Reference(name))
        if kind == "[":
            self._next("[")
            items = []
            while self._peek() != "]":
                items.append(self._value())
                if self._peek() == ",":
                    self._next(",")
            self._next("]")
            return items
        self._next("{")
        fields = {}
        while self._peek() != "}":
            name = self._next("name", "value")
            self._next("=")
            fields[name] = self._value()
            if self._peek() == ",":
                self._next(",")
        self._next("}")
        return fields


COMPONENTS: dict[str, dict[str, Any]] = {
    "logging": {"level": TEXT, "format": TEXT},
    "loki.source.journal": {"path": TEXT, "max_age": TEXT, "labels": {"*": TEXT}, "relabel_rules": Reference, "forward_to": [Reference]},
    "loki.relabel": {"forward_to": [Reference]},
    "loki.process": {"forward_to": [Reference]},
    "loki.write": {},
}


def alloy_stage(block: tuple[str, str, Any, Any]) -> tuple[str, Any]:
    """A stage as Alloy has it."""
    name, _label, attributes, inner = block
    options = {**attributes, "stages": [alloy_stage(stage) for stage in inner]} if name == "stage.match" else attributes
    return name.removeprefix("stage."), options


def read_alloy(path: str, port: int, storage: str) -> Plan:
    """Read and check Alloy's configuration. :raises Refused: when the real one would not load it."""
    _attributes, blocks = AlloyParser(Path(path).read_text()).body("end")
    found: dict[str, Any] = {}
    for name, label, attributes, inner in blocks:
        if name not in COMPONENTS:
            raise Refused(f'cannot find the definition of component name "{name}"')
        check_keys(name, attributes, COMPONENTS[name])
        found[f"{name}.{label}" if label else name] = (attributes, inner)

    def one(kind: str) -> tuple[str, Any, Any]:
        ((key, (attributes, inner)),) = [(key, value) for key, value in found.items() if key.startswith(f"{kind}.")]
        return key, attributes, inner

    _journal, journal, _inner = one("loki.source.journal")
    relabel, _none, rules = one("loki.relabel")
    process, processing, stages = one("loki.process")
    write, _none, endpoints = one("loki.write")
    if (journal["relabel_rules"], journal["forward_to"], processing["forward_to"]) != (f"{relabel}.rules", [f"{process}.receiver"], [f"{write}.receiver"]):
        raise Refused("component does not exist: the components do not lead from the journal to Loki")
    for name, _label, attributes, _blocks in rules:
        check_keys(name, attributes, RULE)
    ((name, _label, endpoint, _blocks),) = endpoints
    check_keys(name, endpoint, {"url": TEXT, "batch_wait": TEXT, "min_backoff_period": TEXT, "max_backoff_period": TEXT, "max_backoff_retries": int})
    return Plan(journal["path"], seconds(journal["max_age"]), journal["labels"], [rule[2] for rule in rules],
                [check_stage(*alloy_stage(stage)) for stage in stages], endpoint["url"], Path(storage) / "journal-position", port,
                endpoint.get("max_backoff_retries", Plan.retries))


# -- what is done with a line -------------------------------------------------------------------------------------------------------


def relabelled(labels: dict[str, str], rules: list[dict[str, Any]]) -> dict[str, str]:
    """Labels after all rules; those that begin with two underscores go."""
    for rule in rules:
        text = rule.get("separator", ";").join(labels.get(name, "") for name in rule["source_labels"])
        found = re.fullmatch(rule.get("regex", "(.*)"), text)
        if found:
            value = found.expand(re.sub(r"\$(\d)", r"\\\1", rule.get("replacement", "$1")))
            labels = {**labels, rule["target_label"]: value}
    return {name: value for name, value in labels.items() if not name.startswith("__") and value}


def replaced(expression: str, text: str, line: str) -> str:
    """The line with each captured group replaced."""

    def instead(found: re.Match[str]) -> str:
        start, end = found.span(1)
        return found.group(0)[: start - found.start()] + text + found.group(0)[end - found.start() :]

    return re.sub(expression, instead, line)


class Line:
    """One entry on its way."""

    def __init__(self, stamp: int, labels: dict[str, str], text: str) -> None:
        self.stamp, self.labels, self.text = stamp, labels, text
        self.whole = ""

    def through(self, stages: list[tuple[str, dict[str, Any]]]) -> None:
        """Apply the stages; of a multiline one only its rule is noted."""
        for name, options in stages:
            if name == "match":
                if Selector.parse(options["selector"]).wants(self.labels, self.text):
                    self.through(options["stages"])
            elif name == "multiline":
                self.whole = options["firstline"]
            elif name == "replace":
                self.text = replaced(options["expression"], options["replace"], self.text)
            elif name == "static_labels":
                self.labels = {**self.labels, **options["values"]}
            else:
                self.labels = {label: value for label, value in self.labels.items() if label in options["values"]}


class Agent:
    """Follows the journal and pushes what it reads."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sent = 0
        self.dropped = 0
        self._entries: queue.Queue[dict[str, Any]] = queue.Queue(maxsize=10_000)

    def run(self) -> None:
        """Read and push, each in a thread of its own."""
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._push, daemon=True).start()

    def _read(self) -> None:
        cursor = self.plan.positions.read_text() if self.plan.positions.exists() else ""
        oldest = datetime.datetime.fromtimestamp(time.time() - self.plan.max_age, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        start = [f"--after-cursor={cursor}"] if cursor else [f"--since={oldest}"]
        command = ["journalctl", f"--directory={self.plan.journal}", "--output=json", "--all", "--follow", "--no-tail", *start]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as journal:
            for line in journal.stdout or ():
                self._entries.put(json.loads(line))
        log("error", "journalctl ended")

    def _line(self, entry: Mapping[str, Any]) -> Line:
        message = entry.get("MESSAGE") or ""
        text = message if isinstance(message, str) else bytes(message).decode("utf-8", "replace")
        fields = {f"__journal_{name.lower()}": value for name, value in entry.items() if isinstance(value, str)}
        if str(entry.get("PRIORITY", "")).isdigit():
            fields["__journal_priority_keyword"] = PRIORITIES[int(entry["PRIORITY"])]
        labels = relabelled({**self.plan.labels, **fields}, self.plan.rules)
        return Line(int(entry["__REALTIME_TIMESTAMP"]) * 1000, labels, text)

    def _push(self) -> None:
        waiting: list[dict[str, Any]] = []
        begun = 0.0
        while True:
            try:
                entry = self._entries.get(timeout=0.5)
                begun = begun if waiting else time.monotonic()
                waiting.append(entry)
                # Until it is quiet for a moment, so that lines that belong together come together.
                if len(waiting) < 500 and time.monotonic() - begun < 2:
                    continue
            except queue.Empty:
                if not waiting:
                    continue
            self._send(waiting)
            self.plan.positions.write_text(waiting[-1]["__CURSOR"])
            waiting = []

    def _send(self, entries: list[dict[str, Any]]) -> None:
        lines: list[Line] = []
        open_line: dict[str, Line] = {}
        for entry in entries:
            line = self._line(entry)
            match = next((o for n, o in self.plan.stages if n == "match" and any(s[0] == "multiline" for s in o["stages"])), None)
            kept_whole = match is not None and Selector.parse(match["selector"]).wants(line.labels, line.text)
            before = open_line.get(line.labels.get("service", ""))
            if kept_whole and match is not None and before is not None and not re.search(match["stages"][0][1]["firstline"], line.text):
                before.text += "\n" + line.text
                continue
            if kept_whole:
                open_line[line.labels.get("service", "")] = line
            lines.append(line)
        streams: dict[str, dict[str, Any]] = {}
        for line in lines:
            line.through(self.plan.stages)
            stream = streams.setdefault(json.dumps(line.labels, sort_keys=True), {"stream": line.labels, "values": []})
            stream["values"].append([str(line.stamp), line.text])
        body = json.dumps({"streams": list(streams.values())}).encode()
        for _attempt in range(self.plan.retries):
            request = urllib.request.Request(self.plan.url, body, {"Content-Type": "application/json"})
            try:
                urllib.request.urlopen(request, timeout=10).close()
                self.sent += len(lines)
                return
            except urllib.error.HTTPError as error:
                if error.code != TOO_MANY and error.code < SERVER_ERROR:
                    self.dropped += len(lines)
                    log("error", f"final error sending batch: {error.code} {error.read().decode()}")
                    return
                time.sleep(1)
            except OSError as error:
                log("warn", f"error sending batch, will retry: {error}")
                time.sleep(1)
        self.dropped += len(lines)
        log("error", "final error sending batch: no more retries")


def follow(agent: Agent, sent: str, dropped: str) -> int:
    """Run an agent until it is stopped."""

    def handle(request: Request) -> Answer:
        if request.path in ("/-/ready", "/ready"):
            return Answer("Ready")
        if request.path == "/metrics":
            return Answer(f'# TYPE {sent} counter\n{sent}{{host="loki"}} {agent.sent}\n# TYPE {dropped} counter\n'
                          f'{dropped}{{host="loki",reason="ingester_error"}} {agent.dropped}\n')
        return Answer("not found", 404)

    agent.run()
    serve(agent.plan.port, handle)
    return 0


def alloy(arguments: list[str]) -> int:
    """Alloy's command line: run [flags] FILE."""
    try:
        options = dict(word.removeprefix("--").partition("=")[::2] for word in arguments[1:-1])
        unknown = set(options) - {"server.http.listen-addr", "storage.path", "disable-reporting", "stability.level"}
        if arguments[0] not in ("run", "validate") or unknown:
            raise Refused(f"unknown command or flag: {' '.join([arguments[0], *unknown])}")
        port = int(options.get("server.http.listen-addr", "127.0.0.1:12345").rpartition(":")[2])
        plan = read_alloy(arguments[-1], port, options.get("storage.path", "data-alloy/"))
    except (Refused, IndexError, KeyError, OSError, ValueError) as problem:
        return refuse(problem)
    if arguments[0] == "validate":
        return 0
    log("info", "this is a stand-in for Grafana Alloy")
    return follow(Agent(plan), "loki_write_sent_entries_total", "loki_write_dropped_entries_total")


def promtail(arguments: list[str]) -> int:
    """Promtail's command line: -config.file=FILE, with -check-syntax to check alone."""
    options = dict(word.lstrip("-").partition("=")[::2] for word in arguments)
    try:
        plan = read_promtail(options["config.file"])
    except (Refused, KeyError, OSError, ValueError, yaml.YAMLError) as problem:
        return refuse(problem)
    if "check-syntax" in options:
        return 0
    log("info", "this is a stand-in for Promtail")
    return follow(Agent(plan), "promtail_sent_entries_total", "promtail_dropped_entries_total")
