"""Traces as OTLP sends them (protobuf), read by hand: the fields that Langfuse keeps."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

Attributes = dict[str, object]


@dataclass
class Span:
    """One span."""

    trace_id: str = ""
    span_id: str = ""
    parent_id: str = ""
    name: str = ""
    start: int = 0
    end: int = 0
    attributes: Attributes = field(default_factory=dict)


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and where the next thing begins."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Each field of a message: its number and its content."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = varint(data, at)
            yield number, value
        elif kind == 1:
            yield number, data[at : at + 8]
            at += 8
        elif kind == 2:
            length, at = varint(data, at)
            if at + length > len(data):
                raise ValueError("a field is longer than its message")
            yield number, data[at : at + length]
            at += length
        elif kind == 5:
            yield number, data[at : at + 4]
            at += 4
        else:
            raise ValueError(f"wire type {kind} is unknown")


def of_number(data: bytes, wanted: int) -> Iterator[bytes]:
    """The messages in all fields of one number."""
    return (value for number, value in fields(data) if number == wanted and isinstance(value, bytes))


def any_value(data: bytes) -> object:
    """An AnyValue."""
    for number, value in fields(data):
        if number == 1 and isinstance(value, bytes):
            return value.decode()
        if number == 2:
            return bool(value)
        if number == 3 and isinstance(value, int):
            return value
        if number == 4 and isinstance(value, bytes):
            return struct.unpack("<d", value)[0]
        if number == 5 and isinstance(value, bytes):
            return [any_value(entry) for entry in of_number(value, 1)]
    return None


def span_of(data: bytes) -> Span:
    """A Span message."""
    span = Span()
    for number, value in fields(data):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            span.trace_id = value.hex()
        elif number == 2:
            span.span_id = value.hex()
        elif number == 4:
            span.parent_id = value.hex()
        elif number == 5:
            span.name = value.decode()
        elif number == 7:
            span.start = struct.unpack("<Q", value)[0]
        elif number == 8:
            span.end = struct.unpack("<Q", value)[0]
        elif number == 9:
            pair = dict(fields(value))
            key, content = pair.get(1), pair.get(2)
            if isinstance(key, bytes) and isinstance(content, bytes):
                span.attributes[key.decode()] = any_value(content)
    return span


def spans_of(request: bytes) -> list[Span]:
    """All spans of an ExportTraceServiceRequest.

    Raises:
        ValueError: it is none, or a span has no proper ids.
    """
    try:
        spans = [
            span_of(span) for resource in of_number(request, 1) for scope in of_number(resource, 2) for span in of_number(scope, 2)
        ]
    except (IndexError, UnicodeDecodeError, struct.error) as error:
        raise ValueError(f"no protobuf of OTLP: {error}") from error
    if any(len(span.trace_id) != 32 or len(span.span_id) != 16 for span in spans):
        raise ValueError("a span has no proper trace id or span id")
    return spans
