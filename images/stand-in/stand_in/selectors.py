"""The part of LogQL that stand-ins understand: stream selectors and line filters."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from stand_in.server import Refused

MATCHER = re.compile(r'\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|`[^`]*`)\s*(,|\})')
FILTER = re.compile(r'\s*(\|=|\|~|!=|!~)\s*("(?:[^"\\]|\\.)*"|`[^`]*`)')


def unquoted(text: str) -> str:
    """A string of LogQL, in either kind of quotes. :raises Refused: for an escape that Go, which the real one is written in, does not know."""
    if text.startswith("`"):
        return text[1:-1]
    try:
        return str(json.loads(text))
    except ValueError as error:
        raise Refused(f"invalid char escape in {text}") from error


@dataclass(frozen=True)
class Selector:
    """Labels and lines that are wanted."""

    matchers: tuple[tuple[str, str, str], ...]
    filters: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Read ``{label="value"} |= "text"``. :raises Refused: for anything else."""
        rest = text.strip()
        if not rest.startswith("{"):
            raise Refused(f"the query {text!r} does not begin with a stream selector")
        rest, matchers, more = rest[1:], [], ","
        while more == ",":
            found = MATCHER.match(rest)
            if found is None:
                raise Refused(f"the query {text!r} cannot be read at {rest!r}")
            name, operator, value, more = found.groups()
            matchers.append((name, operator, unquoted(value)))
            rest = rest[found.end() :]
        filters = []
        while rest.strip():
            found = FILTER.match(rest)
            if found is None:
                raise Refused(f"the query {text!r} cannot be read at {rest!r}")
            filters.append((found.group(1), unquoted(found.group(2))))
            rest = rest[found.end() :]
        return cls(tuple(matchers), tuple(filters))

    def wants(self, labels: Mapping[str, str], line: str) -> bool:
        """Whether a line with these labels is wanted."""
        return all(self._label(labels.get(name, ""), operator, value) for name, operator, value in self.matchers) and all(
            self._line(line, operator, value) for operator, value in self.filters
        )

    @staticmethod
    def _label(found: str, operator: str, value: str) -> bool:
        same = bool(re.fullmatch(value, found)) if operator.endswith("~") else found == value
        return same != operator.startswith("!")

    @staticmethod
    def _line(line: str, operator: str, value: str) -> bool:
        same = bool(re.search(value, line)) if operator.endswith("~") else value in line
        return same != operator.startswith("!")
