# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a log line between the journal and Loki, once, and how each log agent is told it.

Both agents give a line the same labels, the same time and the same text, so that Loki knows a line again which the other agent has already
sent: changing the agent neither loses lines nor shows them twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LABELS = ("host", "service", "level")
REPLACEMENT = "REMOVED"
# While Loki is away an agent reads no further than what it cannot send, and tries again, rarely but for days; ten times, which is the default, are minutes.
MOST_RETRIES = 10_000
LONGEST_PAUSE = "1m"
# Each has one group, which is what is replaced. RE2 has neither look-around nor references, and needs none here.
SECRETS = (
    # keys of the gateway, of Langfuse and of others that look alike
    r"\b((?:sk|pk)-[A-Za-z0-9_-]{12,})",
    r"(?i:\bbearer)\s+([A-Za-z0-9._~+/=-]{8,})",
    r"(?i:\bbasic)\s+([A-Za-z0-9+/=]{16,})",
    # addresses with a password in them
    r"://[^:/@\s]*:([^@\s/]+)@",
    # JSON web tokens
    r"\b(eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+)",
    # tokens of Hugging Face, GitHub, GitLab and Slack
    r"\b((?:hf_|gh[pousr]_|glpat-|xox[abeoprs]-)[A-Za-z0-9_-]{16,})",
    # what a name says is secret, in quotes (also escaped ones, in JSON within JSON), where it may be of several words
    r"(?i:password|passwd|secret|token|api[_-]?key|private[_-]?key|(?:master|salt|access)[_-]?key|salt)\\*[\"']\s*[:=]\s*\\*[\"]([^\"\\]{4,})",
    # the same without quotes; what is short may be a number of tokens
    r"(?i:password|passwd|api[_-]?key|private[_-]?key|(?:master|salt|access)[_-]?key)\\*[\"']?\s*[:=]\s*\\*[\"']?([^\s\"',;&}\\]{4,})",
    r"(?i:secret|token|salt)\\*[\"']?\s*[:=]\s*\\*[\"']?([^\s\"',;&}\\]{8,})",
    # arguments of programs
    r"--(?i:[a-z-]*(?:api-key|password|passwd|secret|token))(?:\s+|=)[\"']?([^\s\"']{4,})",
)
# The words for each level, from the least to the worst: the last that is found counts.
LEVELS = {
    "debug": ("debug", "trace"),
    "info": ("info", "information", "notice", "log"),
    "warning": ("warn", "warning"),
    "error": ("error", "err", "eror"),
    "critical": ("critical", "fatal", "panic", "crit"),
}
# How programs with glog, such as SeaweedFS, begin a line of each level.
LETTERS = {"info": "I", "warning": "W", "error": "E", "critical": "F"}
PRIORITIES = {"debug": "debug", "info|notice": "info", "warning": "warning", "err|error": "error", "crit|alert|emerg": "critical"}
# How a line begins that is not the continuation of the one before: a time, a level, a JSON object, the head of a trace, or systemd's own words.
FIRST_LINE = (
    r"^(?:\{|\[|\d{2,4}[-:/.]|Traceback \(most recent|(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b|[a-z]+="
    r"|[\w@.-]+\.service\b|(?:Started|Starting|Stopped|Stopping)\b)"
)


class BadPattern(ValueError):
    """A regular expression that the agents would not take."""


@dataclass(frozen=True)
class Settings:
    """What differs from host to host. ``max_age`` and the intervals are durations such as ``12h``."""

    host: str
    loki_url: str
    journal: str
    max_age: str
    multiline_services: Sequence[str]
    scrub: Sequence[str]


def secret_patterns(own: Sequence[str]) -> list[str]:
    """All patterns of what is replaced. :raises BadPattern: for one of the operator's own that cannot work."""
    for pattern in own:
        if re.search(r"\(\?(?:[=!]|<[=!])|\\[1-9]", pattern):
            raise BadPattern(f"the pattern {pattern} looks around or back, which RE2 does not know")
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise BadPattern(f"the pattern {pattern} is no regular expression: {error}") from error
        if groups != 1:
            raise BadPattern(f"the pattern {pattern} has {groups} groups; it has to have one, around what is to be replaced")
    return [*SECRETS, *own]


def relabel_rules() -> list[dict[str, Any]]:
    """From the journal's fields to labels; a later rule wins over an earlier one."""

    def rule(source: str, regex: str, label: str, value: str) -> dict[str, Any]:
        return {"source_labels": [source], "regex": regex, "target_label": label, "replacement": value}

    return [
        rule("__journal__transport", ".*", "service", "other"),
        rule("__journal__transport", "kernel", "service", "kernel"),
        # Without what follows an @, which may be a number for each login.
        rule("__journal__systemd_unit", r"([^@]+)(?:@.*)?\.service", "service", "$1"),
        # What systemd itself says of a unit belongs to that unit.
        rule("__journal_unit", r"([^@]+)(?:@.*)?\.service", "service", "$1"),
        rule("__journal_container_name", "(.+)", "service", "$1"),
        rule("__journal__transport", ".*", "level", "info"),
        *(rule("__journal_priority_keyword", words, "level", level) for words, level in PRIORITIES.items()),
        # Many programs write everything to the stream for errors, so that the priority of a container's line says nothing.
        rule("__journal_container_name", ".+", "level", "info"),
    ]


def level_pattern(level: str) -> str:
    """A line that names its level: as a field, in angle brackets (ClickHouse), in capitals at its beginning, before a colon or in brackets (HAProxy),
    in any letters as its first word before a colon, or by glog's letter.
    """
    field = "|".join(LEVELS[level])
    capitals = "|".join(word.upper() for word in LEVELS[level])
    letter = rf"|^{LETTERS[level]}\d{{4}} \d\d:" if level in LETTERS else ""
    # The agents time a joined line by its first one, so a trace has to be a first line; the parts of a chained one come one by one.
    letter += r"|^Traceback \(most recent" if level == "error" else ""
    return (
        rf'(?i:\b(?:level|lvl|severity)"?\s*[=:]\s*"?(?:{field})\b)|(?i:<(?:{field})>)|(?i:^(?:{field})\s*:)'
        rf"|(?:^|[\s\[])(?:{capitals})\]?:|^(?:{capitals})\s|^\[(?:{capitals})\]{letter}"
    )


def stages(settings: Settings) -> list[tuple[str, dict[str, Any]]]:
    """The stages that each line goes through, as name and settings; those within a match are its ``stages``."""
    found: list[tuple[str, dict[str, Any]]] = []
    if settings.multiline_services:
        selector = "{service=~%s}" % json.dumps("|".join(map(re.escape, settings.multiline_services)))
        whole = ("multiline", {"firstline": FIRST_LINE, "max_wait_time": "2s", "max_lines": 500})
        found.append(("match", {"selector": selector, "stages": [whole]}))
    found += [("replace", {"expression": pattern, "replace": REPLACEMENT}) for pattern in secret_patterns(settings.scrub)]
    for level in LEVELS:
        # The agents' own parser, unlike Loki's, knows no back quotes.
        selector = '{level!=""} |~ %s' % json.dumps(level_pattern(level))
        found.append(("match", {"selector": selector, "stages": [("static_labels", {"values": {"level": level}})]}))
    return [*found, ("label_keep", {"values": list(LABELS)})]


# -- Alloy --------------------------------------------------------------------------------------------------------------------------


def _value(value: Any) -> str:
    if isinstance(value, Reference):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_value(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


class Reference(str):
    """The name of another component, which stands without quotes."""


def _block(header: str, attributes: Mapping[str, Any], inner: Sequence[str] = ()) -> str:
    # In a column, as the program's own formatter has it.
    width = max(map(len, attributes), default=0)
    lines = [f"{name.ljust(width)} = {_value(value)}" for name, value in attributes.items()]
    body = [line for part in [*lines, *inner] for line in part.splitlines()]
    return "\n".join([f"{header} {{", *(f"\t{line}" for line in body), "}"])


def _alloy_stages(given: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    for name, options in given:
        inner = list(_alloy_stages(options["stages"])) if "stages" in options else []
        yield _block(f"stage.{name}", {key: value for key, value in options.items() if key != "stages"}, inner)


def alloy(settings: Settings) -> str:
    """The configuration of Grafana Alloy."""
    journal = {
        "path": settings.journal,
        "max_age": settings.max_age,
        "labels": {"host": settings.host},
        "relabel_rules": Reference("loki.relabel.journal.rules"),
        "forward_to": [Reference("loki.process.lines.receiver")],
    }
    endpoint = {"url": settings.loki_url, "batch_wait": "1s", "max_backoff_period": LONGEST_PAUSE, "max_backoff_retries": MOST_RETRIES}
    parts = [
        _block("logging", {"level": "warn", "format": "logfmt"}),
        _block('loki.source.journal "host"', journal),
        _block('loki.relabel "journal"', {"forward_to": []}, [_block("rule", rule) for rule in relabel_rules()]),
        _block('loki.process "lines"', {"forward_to": [Reference("loki.write.loki.receiver")]}, list(_alloy_stages(stages(settings)))),
        _block('loki.write "loki"', {}, [_block("endpoint", endpoint)]),
    ]
    return "\n\n".join(parts) + "\n"


# -- Promtail -----------------------------------------------------------------------------------------------------------------------


def _promtail_stages(given: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name, options in given:
        if name == "match":
            found.append({"match": {"selector": options["selector"], "stages": _promtail_stages(options["stages"])}})
        elif name == "static_labels":
            found.append({"static_labels": options["values"]})
        elif name == "label_keep":
            found.append({"labelallow": options["values"]})
        else:
            found.append({name: options})
    return found


def promtail(settings: Settings, positions: str, port: int) -> dict[str, Any]:
    """The configuration of Promtail. ``positions`` is the file that remembers how far the journal was read."""
    journal = {"path": settings.journal, "max_age": settings.max_age, "labels": {"host": settings.host}}
    return {
        "server": {"http_listen_port": port, "grpc_listen_port": 0, "log_level": "warn", "enable_runtime_reload": False},
        "positions": {"filename": positions},
        "clients": [
            {"url": settings.loki_url, "batchwait": "1s", "backoff_config": {"max_period": LONGEST_PAUSE, "max_retries": MOST_RETRIES}},
        ],
        "scrape_configs": [
            {
                "job_name": "host",
                "journal": journal,
                "relabel_configs": relabel_rules(),
                "pipeline_stages": _promtail_stages(stages(settings)),
            }
        ],
    }
