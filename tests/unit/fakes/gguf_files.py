# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes GGUF files that have a head and no weights: the data is a hole in the file, so a model of 18 GB takes a few MB on disk.

As a program (standard library only, so that it runs on any test host): gguf_files.py FILE writes the production shape.
"""

from __future__ import annotations

import io
import struct
import sys
from dataclasses import dataclass, field
from typing import Any

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}
BLOCKS = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_K": (12, 256, 144), "Q6_K": (14, 256, 210)}
ALIGNMENT = 32
Q4_K_M = 15


def text(value: str, order: str = "<") -> bytes:
    raw = value.encode()
    return struct.pack(order + "Q", len(raw)) + raw


def value(kind: int, content: Any, order: str = "<") -> bytes:
    """One value of the metadata; an array is ``(kind of its elements, elements)``."""
    if kind == STRING:
        return text(content, order)
    if kind == ARRAY:
        inner, elements = content
        head = struct.pack(order + "IQ", inner, len(elements))
        if inner in CODES:
            return head + struct.pack("%s%d%s" % (order, len(elements), CODES[inner]), *elements)
        return head + b"".join(value(inner, element, order) for element in elements)
    return struct.pack(order + CODES[kind], content)


@dataclass
class Model:
    """A file to be: entries are ``(name, kind, content)``, tensors ``(name, shape with the row length first, type)``."""

    entries: list[tuple[str, int, Any]] = field(default_factory=list)
    tensors: list[tuple[str, tuple[int, ...], str]] = field(default_factory=list)
    version: int = 3
    order: str = "<"

    def layout(self) -> list[tuple[int, int]]:
        """Offset and size of each tensor's data."""
        places, offset = [], 0
        for _name, shape, kind in self.tensors:
            _number, block, width = BLOCKS[kind]
            size = 1
            for length in shape:
                size *= length
            size = size // block * width
            places.append((offset, size))
            offset += -(-size // ALIGNMENT) * ALIGNMENT
        return places

    def head(self) -> bytes:
        out = io.BytesIO()
        out.write(b"GGUF" + struct.pack(self.order + "IQQ", self.version, len(self.tensors), len(self.entries)))
        for name, kind, content in self.entries:
            out.write(text(name, self.order) + struct.pack(self.order + "I", kind) + value(kind, content, self.order))
        for (name, shape, label), (offset, _size) in zip(self.tensors, self.layout(), strict=True):
            out.write(text(name, self.order) + struct.pack("%sI%dQ" % (self.order, len(shape)), len(shape), *shape))
            out.write(struct.pack(self.order + "IQ", BLOCKS[label][0], offset))
        return out.getvalue()

    def write(self, path: Any) -> None:
        head = self.head()
        end = -(-len(head) // ALIGNMENT) * ALIGNMENT
        places = self.layout()
        with open(path, "wb") as stream:
            stream.write(head)
            stream.truncate(end + (places[-1][0] + -(-places[-1][1] // ALIGNMENT) * ALIGNMENT if places else 0))

    def split(self, count: int) -> list[Model]:
        """The same model in parts, as llama-gguf-split makes them: all metadata in the first one."""
        own = [[("split.no", U16, number), ("split.count", U16, count), ("split.tensors.count", I32, len(self.tensors))] for number in range(count)]
        step = -(-len(self.tensors) // count)
        return [
            Model((self.entries if number == 0 else []) + own[number], self.tensors[number * step : (number + 1) * step], self.version)
            for number in range(count)
        ]


@dataclass(frozen=True)
class Shape:
    """Lengths of a model; the defaults are those of Qwen3-Coder-30B-A3B."""

    architecture: str = "qwen3moe"
    layers: int = 48
    embedding: int = 2048
    heads: int = 32
    kv_heads: int = 4
    head: int = 128
    vocabulary: int = 151936
    experts: int = 128
    experts_used: int = 8
    expert_width: int = 768
    width: int = 5472
    context: int = 262144


def better(layer: int, layers: int) -> bool:
    """The layers in which llama.cpp's Q4_K_M keeps some tensors in Q6_K."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def model(shape: Shape = Shape()) -> Model:
    """A model of that shape, quantised as Q4_K_M; dense when it has no experts."""
    prefix = shape.architecture + "."
    entries: list[tuple[str, int, Any]] = [
        ("general.architecture", STRING, shape.architecture),
        ("general.name", STRING, "Shape of %s" % shape.architecture),
        ("general.file_type", U32, Q4_K_M),
        (prefix + "context_length", U32, shape.context),
        (prefix + "embedding_length", U32, shape.embedding),
        (prefix + "block_count", U32, shape.layers),
        (prefix + "feed_forward_length", U32, shape.width),
        (prefix + "attention.head_count", U32, shape.heads),
        (prefix + "attention.head_count_kv", U32, shape.kv_heads),
        (prefix + "attention.key_length", U32, shape.head),
        (prefix + "attention.value_length", U32, shape.head),
        (prefix + "attention.layer_norm_rms_epsilon", F32, 1e-6),
        (prefix + "rope.freq_base", F32, 1e7),
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, "qwen2"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, ["t%d" % number for number in range(shape.vocabulary)])),
        ("tokenizer.ggml.merges", ARRAY, (STRING, ["t 0"])),
        ("tokenizer.ggml.eos_token_id", U32, 0),
        ("tokenizer.chat_template", STRING, "{{ messages }}"),
    ]
    if shape.experts:
        entries += [
            (prefix + "expert_count", U32, shape.experts),
            (prefix + "expert_used_count", U32, shape.experts_used),
            (prefix + "expert_feed_forward_length", U32, shape.expert_width),
        ]
    wide, narrow = shape.heads * shape.head, shape.kv_heads * shape.head
    tensors: list[tuple[str, tuple[int, ...], str]] = [
        ("token_embd.weight", (shape.embedding, shape.vocabulary), "Q4_K"),
        ("output.weight", (shape.embedding, shape.vocabulary), "Q6_K"),
        ("output_norm.weight", (shape.embedding,), "F32"),
    ]
    for layer in range(shape.layers):
        high = "Q6_K" if better(layer, shape.layers) else "Q4_K"
        inner: list[tuple[str, tuple[int, ...], str]] = [
            ("attn_norm", (shape.embedding,), "F32"),
            ("ffn_norm", (shape.embedding,), "F32"),
            ("attn_q", (shape.embedding, wide), "Q4_K"),
            ("attn_k", (shape.embedding, narrow), "Q4_K"),
            ("attn_v", (shape.embedding, narrow), high),
            ("attn_output", (wide, shape.embedding), "Q4_K"),
        ]
        if shape.architecture.startswith("qwen3"):
            inner += [("attn_q_norm", (shape.head,), "F32"), ("attn_k_norm", (shape.head,), "F32")]
        if shape.experts:
            inner += [
                ("ffn_gate_inp", (shape.embedding, shape.experts), "F32"),
                ("ffn_gate_exps", (shape.embedding, shape.expert_width, shape.experts), "Q4_K"),
                ("ffn_up_exps", (shape.embedding, shape.expert_width, shape.experts), "Q4_K"),
                ("ffn_down_exps", (shape.expert_width, shape.embedding, shape.experts), high),
            ]
        else:
            inner += [
                ("ffn_gate", (shape.embedding, shape.width), "Q4_K"),
                ("ffn_up", (shape.embedding, shape.width), "Q4_K"),
                ("ffn_down", (shape.width, shape.embedding), high),
            ]
        tensors += [("blk.%d.%s.weight" % (layer, name), lengths, kind) for name, lengths, kind in inner]
    return Model(entries, tensors)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: gguf_files.py FILE")
    model().write(sys.argv[1])
