# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a GGUF model file says of itself: its metadata and its table of tensors, read from the head of the file alone.

The file may come from anywhere, so each number in it is held against a limit before memory or time is spent on it.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Callable

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MIB = 1024 * 1024
READ_AHEAD = 64 * 1024
# A vocabulary of 260,000 tokens with its merges needs 15 MiB; what is beyond these limits is no model that anybody published.
LARGEST_HEAD = 64 * MIB
MOST_STRINGS = 2 * 1024 * 1024
LONGEST_NAME = 65535
LONGEST_TENSOR_NAME = 63
MOST_DIMENSIONS = 4
MOST_LAYERS = 4096
LARGEST_NUMBER = 2**40
# Arrays of numbers up to this length are kept (a value for each layer); of longer ones only the length is.
LONGEST_KEPT_ARRAY = MOST_LAYERS
LONGEST_SHOWN_TEXT = 200
MOST_PARTS = 999
PART_NAME = re.compile(r"^(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$", re.DOTALL)

STRING, ARRAY = 8, 9
FORMATS = {code: struct.Struct("<" + code) for code in "BbHhIif?Qqd"}
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

# Tensor types by their number: name, values in a block, bytes of a block (ggml.h and ggml-common.h).
TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}

# What general.file_type means (llama.h).
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L",
    14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS",
    23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
    36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0", 41: "Q2_0",
}  # fmt: skip

GROUPS = ("token_embedding", "attention", "experts", "feed_forward", "recurrent", "norms", "output", "other")
LAYER = re.compile(r"^blk\.(\d{1,6})\.")


class GgufError(Exception):
    """The file is no model that can be read; the text is a sentence for the user."""


class GgufMissing(GgufError):
    """There is no such file."""


@dataclass(frozen=True)
class ArrayLength:
    """Stands for an array that was skipped: only its length is known."""

    length: int


@dataclass(frozen=True)
class Tensor:
    """One entry of the table: ``size`` and ``offset`` in bytes, the offset from the start of the data."""

    name: str
    kind: str
    values: int
    size: int
    offset: int


@dataclass(frozen=True)
class Part:
    """One file: ``head`` is how many of its bytes were read, ``size`` how many it has."""

    path: str
    version: int
    metadata: dict[str, Any]
    tensors: list[Tensor]
    head: int
    size: int


@dataclass
class _Budget:
    """What may still be read of all parts of a model together."""

    octets: int = LARGEST_HEAD
    strings: int = MOST_STRINGS


@dataclass
class _Head:
    """Reads values one after the other, and never beyond the file or the budget."""

    stream: BinaryIO
    path: str
    size: int
    budget: _Budget
    position: int = 0

    def take(self, count: int, what: str) -> bytes:
        if count > self.size - self.position:
            raise GgufError(
                "%s ends in the middle of %s: the file has %d bytes and %d more would be needed. It is damaged or was not fetched to its end."
                % (self.path, what, self.size, count - (self.size - self.position))
            )
        if count > self.budget.octets:
            raise GgufError(
                "%s has more than %d MiB of metadata, at %s; no model needs that much, so the file is damaged." % (self.path, LARGEST_HEAD // MIB, what)
            )
        taken = self.stream.read(count)
        if len(taken) != count:
            raise GgufError("%s ended while it was read, in the middle of %s; is it being written at the moment?" % (self.path, what))
        self.budget.octets -= count
        self.position += count
        return taken

    def scalar(self, code: str, what: str) -> Any:
        packed = FORMATS[code]
        return packed.unpack(self.take(packed.size, what))[0]

    def text(self, what: str, longest: int = LARGEST_HEAD) -> str:
        length = self.scalar("Q", what)
        if length > longest:
            raise GgufError("%s has a text of %d bytes at %s, where %d is the most; the file is damaged." % (self.path, length, what, longest))
        return self.take(length, what).decode("utf-8", "replace")

    def skip_texts(self, count: int, what: str) -> None:
        self.budget.strings -= count
        if self.budget.strings < 0:
            raise GgufError("%s has more than %d texts in its lists, at %s; the file is damaged." % (self.path, MOST_STRINGS, what))
        # The longest loop over a file, up to a million rounds for a real model: no calls that can be saved.
        read, number = self.stream.read, int.from_bytes
        room = min(self.size - self.position, self.budget.octets)
        taken = 0
        for _number in range(count):
            length = number(read(8), "little")
            taken += 8 + length
            if taken > room:
                raise GgufError("%s has texts in %s that are longer than what is left of the file; it is damaged." % (self.path, what))
            if len(read(length)) != length:
                raise GgufError("%s ended while it was read, in the middle of %s; is it being written at the moment?" % (self.path, what))
        self.position += taken
        self.budget.octets -= taken

    def expect_room(self, count: int, smallest: int, what: str) -> None:
        """Refuse a number of things that cannot all be in what is left of the file, before any of them is read."""
        if count * smallest > min(self.size - self.position, self.budget.octets):
            raise GgufError("%s says that it has %d %s, which is more than it has room for; the file is damaged." % (self.path, count, what))


def _value(head: _Head, kind: int, name: str) -> Any:
    if kind in SCALARS:
        return head.scalar(SCALARS[kind], name)
    if kind == STRING:
        return head.text(name)
    if kind == ARRAY:
        return _array(head, name)
    raise GgufError("%s gives %s a value of the unknown kind %d; the file is damaged." % (head.path, name, kind))


def _array(head: _Head, name: str) -> list[Any] | ArrayLength:
    kind = head.scalar("I", name)
    count = head.scalar("Q", name)
    if kind == STRING:
        head.expect_room(count, 8, "texts in %s" % name)
        head.skip_texts(count, name)
        return ArrayLength(count)
    if kind not in SCALARS:
        raise GgufError("%s has in %s a list of the unknown or nested kind %d; the file is damaged." % (head.path, name, kind))
    width = FORMATS[SCALARS[kind]].size
    head.expect_room(count, width, "numbers in %s" % name)
    raw = head.take(count * width, name)
    if count > LONGEST_KEPT_ARRAY:
        return ArrayLength(count)
    return list(struct.unpack("<%d%s" % (count, SCALARS[kind]), raw))


def _metadata(head: _Head, count: int) -> dict[str, Any]:
    head.expect_room(count, 13, "entries of metadata")
    metadata: dict[str, Any] = {}
    for number in range(count):
        name = head.text("the name of entry %d of the metadata" % (number + 1), LONGEST_NAME)
        if name in metadata:
            raise GgufError("%s has the entry %s twice; the file is damaged." % (head.path, _shown(name)))
        metadata[name] = _value(head, head.scalar("I", _shown(name)), _shown(name))
    return metadata


def _tensor(head: _Head, number: int) -> Tensor:
    where = "entry %d of the table of tensors" % (number + 1)
    name = head.text(where, LONGEST_TENSOR_NAME)
    shown = _shown(name)
    dimensions = head.scalar("I", where)
    if dimensions > MOST_DIMENSIONS:
        raise GgufError("%s gives the tensor %s %d dimensions, where %d is the most; the file is damaged." % (head.path, shown, dimensions, MOST_DIMENSIONS))
    shape = [head.scalar("Q", where) for _dimension in range(dimensions)]
    kind = head.scalar("I", where)
    offset = head.scalar("Q", where)
    if kind not in TENSOR_TYPES:
        raise GgufError(
            "%s has the tensor %s of the type %d, which this version of the collection does not know; update the collection." % (head.path, shown, kind)
        )
    label, block, width = TENSOR_TYPES[kind]
    values = 1
    for length in shape:
        values *= length
    if not 0 < values <= LARGEST_NUMBER or (shape and shape[0] % block):
        raise GgufError("%s gives the tensor %s the shape %s, which does not go with the type %s; the file is damaged." % (head.path, shown, shape, label))
    return Tensor(name, label, values, values // block * width, offset)


def _tensors(head: _Head, count: int) -> list[Tensor]:
    head.expect_room(count, 24, "tensors")
    tensors: dict[str, Tensor] = {}
    for number in range(count):
        tensor = _tensor(head, number)
        if tensor.name in tensors:
            raise GgufError("%s has the tensor %s twice; the file is damaged." % (head.path, _shown(tensor.name)))
        tensors[tensor.name] = tensor
    return list(tensors.values())


def _expect_data(head: _Head, metadata: Mapping[str, Any], tensors: Sequence[Tensor]) -> None:
    """Hold the table against the file: each tensor begins where the one before it ends, and the last one ends within the file."""
    alignment = metadata.get("general.alignment", 32)
    if isinstance(alignment, bool) or not isinstance(alignment, int) or not 0 < alignment <= MIB or alignment & (alignment - 1):
        raise GgufError("%s has the alignment %s, which is no power of two; the file is damaged." % (head.path, _shown(alignment)))
    expected = 0
    for tensor in tensors:
        if tensor.offset != expected:
            raise GgufError(
                "%s says that the tensor %s begins at byte %d of the data, but %d is where the one before it ends; the file is damaged."
                % (head.path, _shown(tensor.name), tensor.offset, expected)
            )
        expected += -(-tensor.size // alignment) * alignment
    start = -(-head.position // alignment) * alignment
    # The last tensor need not be padded.
    end = start + (tensors[-1].offset + tensors[-1].size if tensors else 0)
    if tensors and end > head.size:
        raise GgufError(
            "%s is not complete: its tensors need %d bytes and the file has %d. Fetch it again, or let the transfer end." % (head.path, end, head.size)
        )


def _shown(value: Any) -> str:
    """A text out of the file as it may stand in a message: short, and without characters that a terminal would obey."""
    text = str(value)
    cut = text if len(text) <= LONGEST_SHOWN_TEXT else text[:LONGEST_SHOWN_TEXT] + "..."
    return "".join(character if character.isprintable() else "?" for character in cut)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file and its size in bytes; nothing that could keep its reader waiting."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise GgufMissing("There is no model file %s." % path) from error
    except OSError as error:
        raise GgufError("%s cannot be read: %s." % (path, error.strerror or error)) from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise GgufError("%s is no regular file." % path)
    with open(handle, "rb", buffering=READ_AHEAD) as stream:
        yield stream, status.st_size


def _read_part(path: str, budget: _Budget) -> Part:
    with _opened(path) as (stream, size):
        head = _Head(stream, path, size, budget)
        if size < 24 or head.take(4, "its first bytes") != MAGIC:
            raise GgufError("%s is no GGUF file: it does not begin with the letters GGUF. Is it the model, or a page that a server sent instead?" % path)
        version = head.scalar("I", "its version")
        if version not in VERSIONS:
            if int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS:
                raise GgufError("%s is a big-endian GGUF file, which hosts of this platform cannot serve; take the little-endian one." % path)
            raise GgufError("%s is a GGUF file of version %d; versions 2 and 3 can be read." % (path, version))
        tensor_count = head.scalar("Q", "the number of its tensors")
        entry_count = head.scalar("Q", "the number of its metadata entries")
        metadata = _metadata(head, entry_count)
        tensors = _tensors(head, tensor_count)
        _expect_data(head, metadata, tensors)
        return Part(path, version, metadata, tensors, head.position, size)


def read(path: str) -> list[Part]:
    """All parts of the model whose file, or whose first part (``NAME-00001-of-0000N.gguf``), is ``path``.

    :raises GgufError: when there is no such file, or it is no complete little-endian GGUF of version 2 or 3.
    """
    budget = _Budget()
    first = _read_part(path, budget)
    count = _number(first, "split.count") or 1
    if count == 1:
        return [first]
    named = PART_NAME.match(path)
    if count > MOST_PARTS or named is None or int(named["count"]) != count:
        raise GgufError("%s is one of %d parts, so its name has to end with -00001-of-%05d.gguf, as its publisher named it." % (path, count, count))
    if _number(first, "split.no") != 0 or int(named["number"]) != 1:
        raise GgufError("%s is not the first of its %d parts; give %s-00001-of-%05d.gguf." % (path, count, named["stem"], count))
    parts = [first]
    for number in range(1, count):
        part = _read_part("%s-%05d-of-%05d.gguf" % (named["stem"], number + 1, count), budget)
        if (_number(part, "split.no"), _number(part, "split.count")) != (number, count):
            raise GgufError("%s does not say that it is part %d of %d; it belongs to another model." % (part.path, number + 1, count))
        parts.append(part)
    names = {tensor.name for part in parts for tensor in part.tensors}
    found = sum(len(part.tensors) for part in parts)
    stated = _number(first, "split.tensors.count")
    if len(names) != found or (stated is not None and stated != found):
        raise GgufError("The %d parts of %s hold %d tensors with %d names, where %s are expected; they do not belong together." % (
            count, path, found, len(names), stated if stated is not None else "as many names as tensors"))  # fmt: skip
    return parts


def _number(part: Part, name: str) -> int | None:
    """A whole number of the metadata, or None when it is not there. :raises GgufError: when it is something else."""
    value = part.metadata.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_NUMBER:
        raise GgufError("%s has %s for %s, where a number is expected; the file is damaged." % (part.path, _shown(value), name))
    return value


def _numbers(part: Part, name: str, layers: int) -> list[int] | None:
    """A number for each layer: one that holds for all, or one each. :raises GgufError: when it is neither."""
    value = part.metadata.get(name)
    if not isinstance(value, (list, ArrayLength)):
        number = _number(part, name)
        return None if number is None else [number] * layers
    if isinstance(value, ArrayLength) or len(value) < layers or not all(
        isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= LARGEST_NUMBER for number in value
    ):
        raise GgufError("%s has no number for each of its %d layers in %s; the file is damaged." % (part.path, layers, name))
    return value[:layers]


def _text(part: Part, name: str) -> str | None:
    value = part.metadata.get(name)
    if value is not None and not isinstance(value, str):
        raise GgufError("%s has no text for %s; the file is damaged." % (part.path, name))
    return None if value is None else _shown(value)


def group_of(name: str) -> str:
    """Which part of the model a tensor belongs to, one of GROUPS."""
    inner = LAYER.sub("", name)
    if name.startswith(("token_embd.", "per_layer_token_embd.")):
        return "token_embedding"
    if name in ("output.weight", "output.bias"):
        return "output"
    if "norm" in inner:
        return "norms"
    if inner == name:
        return "other"
    if "_exps" in inner or inner.startswith("exp_probs"):
        return "experts"
    for prefix, group in (("attn", "attention"), ("ffn", "feed_forward"), ("ssm", "recurrent"), ("time_mix", "recurrent"), ("channel_mix", "recurrent")):
        if inner.startswith(prefix):
            return group
    return "other"


def _sizes(tensors: Sequence[Tensor], key: Callable[[Tensor], str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for tensor in tensors:
        sizes[key(tensor)] = sizes.get(key(tensor), 0) + tensor.size
    return sizes


def _layer_bytes(tensors: Sequence[Tensor], layers: int) -> list[int]:
    sizes = [0] * layers
    for tensor in tensors:
        found = LAYER.match(tensor.name)
        if found and int(found[1]) < layers:
            sizes[int(found[1])] += tensor.size
    return sizes


def _recurrent_state(number: Callable[[str], int | None]) -> int:
    """Bytes that one conversation's state takes in one recurrent layer, whatever its length (llama-hparams.cpp, n_embd_r and n_embd_s)."""
    inner, state = number("ssm.inner_size") or 0, number("ssm.state_size") or 0
    convolution = max((number("ssm.conv_kernel") or 1) - 1, 0) * (inner + 2 * (number("ssm.group_count") or 0) * state)
    return 4 * (convolution + state * inner)


def describe(parts: Sequence[Part]) -> dict[str, Any]:
    """The model in plain values; lengths in elements, sizes in bytes, None for what the file does not say.

    :raises GgufError: when the metadata contradicts itself.
    """
    first = parts[0]
    architecture = _text(first, "general.architecture")
    if not architecture:
        raise GgufError("%s does not say of which architecture it is (general.architecture); it is no model that llama.cpp can load." % first.path)
    tensors = [tensor for part in parts for tensor in part.tensors]

    def number(name: str) -> int | None:
        return _number(first, "%s.%s" % (architecture, name))

    layers = number("block_count") or 0
    if layers > MOST_LAYERS:
        raise GgufError("%s says that it has %d layers, where %d is the most; the file is damaged." % (first.path, layers, MOST_LAYERS))
    embedding = number("embedding_length")
    heads = max(_numbers(first, architecture + ".attention.head_count", layers) or [0])
    kv_heads = _numbers(first, architecture + ".attention.head_count_kv", layers) or [heads] * layers
    interval = number("full_attention_interval")
    recurrent = _recurrent_state(number)
    attends = [kv_heads[layer] > 0 and not (recurrent and interval and (layer + 1) % interval) for layer in range(layers)]
    default_length = embedding // heads if embedding and heads else None
    latent = number("attention.key_length_mla") is not None
    tokens = first.metadata.get("tokenizer.ggml.tokens")
    groups = _sizes(tensors, lambda tensor: group_of(tensor.name))
    file_type = _number(first, "general.file_type")
    key_length = number("attention.key_length")
    value_length = number("attention.value_length")
    return {
        "architecture": architecture,
        "name": _text(first, "general.name"),
        "version": first.version,
        "file_type": None if file_type is None else FILE_TYPES.get(file_type % 1024, "type %d" % file_type),
        "parameters": sum(tensor.values for tensor in tensors),
        "layers": layers or None,
        "context_length": number("context_length"),
        "embedding_length": embedding,
        "feed_forward_length": max(_numbers(first, architecture + ".feed_forward_length", layers) or [0]) or None,
        "heads": heads or None,
        "kv_heads": max(kv_heads, default=0) or None,
        "kv_heads_per_layer": [count if attends[layer] else 0 for layer, count in enumerate(kv_heads)],
        "key_length": default_length if key_length is None else key_length,
        "value_length": default_length if value_length is None else value_length,
        "latent_attention": latent,
        "sliding_window": number("attention.sliding_window"),
        "recurrent_layers": attends.count(False) if recurrent else 0,
        "recurrent_bytes": recurrent * attends.count(False),
        "experts": number("expert_count") or 0,
        "experts_used": number("expert_used_count") or 0,
        "expert_feed_forward_length": number("expert_feed_forward_length"),
        "vocabulary_size": tokens.length if isinstance(tokens, ArrayLength) else number("vocab_size"),
        "tokenizer": _text(first, "tokenizer.ggml.model"),
        "chat_template": isinstance(first.metadata.get("tokenizer.chat_template"), str),
        "bytes": {"total": sum(groups.values()), **{group: groups.get(group, 0) for group in GROUPS}},
        "bytes_per_layer": _layer_bytes(tensors, layers),
        "tensor_types": dict(sorted(_sizes(tensors, lambda tensor: tensor.kind).items())),
        "files": [{"path": part.path, "size": part.size, "head": part.head, "tensors": len(part.tensors)} for part in parts],
    }
