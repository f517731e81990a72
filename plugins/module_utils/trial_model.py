# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model of some MiB that shows whether a build computes: it has the shapes and types of the model that is served, and answers nothing of sense.

It is small enough for a card whose memory a running server holds, and whole where a served model comes in parts. Experts, heads of 128 values
and the types Q4_K and Q6_K are those of Qwen3-Coder-30B-A3B, Q4_K_M, so that the same kernels compute.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from ansible_collections.private_llm.platform.plugins.module_utils.gguf import MAGIC, STRING, TENSOR_TYPES

ARCHITECTURE = "qwen3moe"
LAYERS, WIDTH, VOCABULARY = 2, 512, 1024
HEADS, KEY_VALUE_HEADS, HEAD_WIDTH = 4, 2, 128
EXPERTS, EXPERTS_USED, EXPERT_WIDTH = 16, 8, 256
CONTEXT = 4096
VERSION, ALIGNMENT = 3, 32
UINT32, FLOAT32 = 4, 6
F32, Q4_K, Q6_K = 0, 12, 14
Q4_K_M = 15
# One block of each type: scales so small that nothing overflows, and values that differ from one another.
SCALE = struct.pack("<e", 2**-12)
BLOCKS = {
    F32: struct.pack("<f", 1.0),
    Q4_K: SCALE + struct.pack("<e", 0.0) + bytes(range(1, 13)) + bytes(range(128)),
    Q6_K: bytes(range(192)) + bytes(range(1, 17)) + SCALE,
}


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _entry(name: str, value: str | int | float) -> bytes:
    if isinstance(value, str):
        return _text(name) + struct.pack("<I", STRING) + _text(value)
    kind, code = (UINT32, "I") if isinstance(value, int) else (FLOAT32, "f")
    return _text(name) + struct.pack("<I" + code, kind, value)


def _metadata() -> dict[str, str | int | float]:
    of_architecture: dict[str, str | int | float] = {
        "context_length": CONTEXT,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": EXPERT_WIDTH,
        "expert_feed_forward_length": EXPERT_WIDTH,
        "expert_count": EXPERTS,
        "expert_used_count": EXPERTS_USED,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KEY_VALUE_HEADS,
        "attention.key_length": HEAD_WIDTH,
        "attention.value_length": HEAD_WIDTH,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 1e7,
        "vocab_size": VOCABULARY,
    }
    return {
        "general.architecture": ARCHITECTURE,
        "general.name": "Trial of a build",
        "general.file_type": Q4_K_M,
        # Numbers are all that is put in, so there are no words to know.
        "tokenizer.ggml.model": "none",
        **{f"{ARCHITECTURE}.{name}": value for name, value in of_architecture.items()},
    }


def _tensors() -> Iterator[tuple[str, tuple[int, ...], int]]:
    """Name, shape (the length of a row first) and type of each tensor."""
    yield "token_embd.weight", (WIDTH, VOCABULARY), Q4_K
    yield "output_norm.weight", (WIDTH,), F32
    yield "output.weight", (WIDTH, VOCABULARY), Q6_K
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for name, length in (("attn_norm", WIDTH), ("ffn_norm", WIDTH), ("attn_q_norm", HEAD_WIDTH), ("attn_k_norm", HEAD_WIDTH)):
            yield f"{block}.{name}.weight", (length,), F32
        yield f"{block}.attn_q.weight", (WIDTH, HEADS * HEAD_WIDTH), Q4_K
        yield f"{block}.attn_k.weight", (WIDTH, KEY_VALUE_HEADS * HEAD_WIDTH), Q4_K
        yield f"{block}.attn_v.weight", (WIDTH, KEY_VALUE_HEADS * HEAD_WIDTH), Q6_K
        yield f"{block}.attn_output.weight", (HEADS * HEAD_WIDTH, WIDTH), Q4_K
        yield f"{block}.ffn_gate_inp.weight", (WIDTH, EXPERTS), F32
        yield f"{block}.ffn_gate_exps.weight", (WIDTH, EXPERT_WIDTH, EXPERTS), Q4_K
        yield f"{block}.ffn_up_exps.weight", (WIDTH, EXPERT_WIDTH, EXPERTS), Q4_K
        yield f"{block}.ffn_down_exps.weight", (EXPERT_WIDTH, WIDTH, EXPERTS), Q6_K


def _padding(size: int) -> bytes:
    return bytes(-size % ALIGNMENT)


def write(path: str) -> None:
    """Write the model, the same bytes each time."""
    metadata, tensors = _metadata(), list(_tensors())
    head = MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(metadata)) + b"".join(_entry(name, value) for name, value in metadata.items())
    counts, offset = [], 0
    for name, shape, kind in tensors:
        _name, values, size = TENSOR_TYPES[kind]
        counts.append(math.prod(shape) // values)
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += counts[-1] * size + len(_padding(counts[-1] * size))
    with open(path, "wb") as stream:
        stream.write(head + _padding(len(head)))
        for (_name, _shape, kind), count in zip(tensors, counts):
            data = BLOCKS[kind] * count
            stream.write(data + _padding(len(data)))
