#!/usr/bin/python3
"""A model server for tests: it answers each question with the question, by every way of asking that the gateway offers.

A chat, a completion, an answer of the Responses API and one of Anthropic's Messages, each at once or streamed in pieces, and embeddings.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}
IN_AND_OUT = {"input_tokens": 11, "output_tokens": 4, "total_tokens": 15}


def text_of(content: Any) -> str:
    """The text of a message's content, which is a text or a list of parts."""
    return content if isinstance(content, str) else " ".join(str(part.get("text", "")) for part in content)


def asked(body: dict[str, Any]) -> str:
    """What was asked last."""
    messages = body.get("messages") or body.get("input") or body.get("prompt") or ""
    said = [message for message in messages if not isinstance(message, dict) or "content" in message] if isinstance(messages, list) else [messages]
    return text_of(said[-1]["content"]) if isinstance(said[-1], dict) else str(said[-1])


def pieces(text: str) -> list[str]:
    """Some words at a time."""
    words = text.split(" ")
    return [word + (" " if position < len(words) - 1 else "") for position, word in enumerate(words)]


Event = tuple[str, dict[str, Any]]


def chat(model: str, text: str) -> tuple[dict[str, Any], Iterator[Event]]:
    """A chat completion, whole and in pieces."""
    head = {"id": "chatcmpl-1", "created": 1700000000, "model": model}
    whole = {**head, "object": "chat.completion", "usage": USAGE}
    whole["choices"] = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}]

    def parts() -> Iterator[Event]:
        chunk = {**head, "object": "chat.completion.chunk"}
        for piece in pieces(text):
            yield "", {**chunk, "choices": [{"index": 0, "delta": {"role": "assistant", "content": piece}, "finish_reason": None}]}
        yield "", {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        yield "", {**chunk, "choices": [], "usage": USAGE}

    return whole, parts()


def completion(model: str, text: str) -> tuple[dict[str, Any], Iterator[Event]]:
    """A completion of the old kind."""
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1700000000, "model": model}

    def parts() -> Iterator[Event]:
        for piece in pieces(text):
            yield "", {**head, "choices": [{"index": 0, "text": piece, "finish_reason": None, "logprobs": None}]}
        yield "", {**head, "choices": [{"index": 0, "text": "", "finish_reason": "stop", "logprobs": None}], "usage": USAGE}

    return {**head, "choices": [{"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}], "usage": USAGE}, parts()


def response(model: str, text: str) -> tuple[dict[str, Any], Iterator[Event]]:
    """An answer of the Responses API."""
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part]}
    head = {"id": "resp_1", "object": "response", "created_at": 1700000000, "model": model, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    whole = {**head, "status": "completed", "output": [item], "usage": IN_AND_OUT}

    def parts() -> Iterator[Event]:
        started = {**head, "status": "in_progress", "output": []}
        yield "response.created", {"type": "response.created", "sequence_number": 0, "response": started}
        opened = {**item, "status": "in_progress", "content": []}
        yield "response.output_item.added", {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": opened}
        for number, piece in enumerate(pieces(text), 2):
            yield "response.output_text.delta", {
                "type": "response.output_text.delta", "sequence_number": number, "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": piece,
            }  # fmt: skip
        yield "response.completed", {"type": "response.completed", "sequence_number": 99, "response": whole}

    return whole, parts()


def message(model: str, text: str) -> tuple[dict[str, Any], Iterator[Event]]:
    """An answer of Anthropic's Messages."""
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_sequence": None}
    usage = {"input_tokens": 11, "output_tokens": 4}

    def parts() -> Iterator[Event]:
        start = {**head, "content": [], "stop_reason": None, "usage": {"input_tokens": 11, "output_tokens": 0}}
        yield "message_start", {"type": "message_start", "message": start}
        yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        for piece in pieces(text):
            yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
        yield "content_block_stop", {"type": "content_block_stop", "index": 0}
        yield "message_delta", {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage}
        yield "message_stop", {"type": "message_stop"}

    return {**head, "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage}, parts()


ANSWERS = {"chat/completions": chat, "completions": completion, "responses": response, "messages": message}


class Handler(BaseHTTPRequestHandler):
    """The ways of asking."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: object) -> None:
        """Say nothing of each request."""

    def do_POST(self) -> None:
        """One question."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        path = self.path.partition("?")[0].removeprefix("/v1").strip("/")
        print(path, flush=True)
        if path == "embeddings":
            vector = [{"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}]
            return self._whole(200, {"object": "list", "model": body["model"], "data": vector, "usage": {"prompt_tokens": 11, "total_tokens": 11}})
        if path not in ANSWERS:
            return self._whole(404, {"error": {"message": f"there is no {path}"}})
        whole, parts = ANSWERS[path](body["model"], f"You asked: {asked(body)}")
        return self._streamed(parts) if body.get("stream") else self._whole(200, whole)

    def _whole(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _streamed(self, parts: Iterator[Event]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for name, content in parts:
            event = f"event: {name}\n" if name else ""
            self.wfile.write(f"{event}data: {json.dumps(content)}\n\n".encode())
            self.wfile.flush()
        if not name:
            self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True


if __name__ == "__main__":
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
