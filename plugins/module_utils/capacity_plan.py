# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory llama-server will need, and which number of slots and length of context go into the memory that is there.

Pure arithmetic: a model is what ``gguf.describe`` says of it, lengths are in tokens, results in MiB. The formulas follow llama.cpp's own
bookkeeping (src/llama-kv-cache.cpp, src/llama-context.cpp, ggml/src/ggml-cuda/fattn-common.cuh) and were held against llama-fit-params of
v0.5.0 and v0.7.0. Where the two versions differ, and for architectures with memory of their own kind, the larger figure is taken: a plan
that leaves some memory unused is a smaller surprise than a server that does not start.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable

MIB = 1024 * 1024
# Context memory by type: values in a block, bytes of a block.
CACHE_TYPES = {
    "f32": (1, 4), "f16": (1, 2), "bf16": (1, 2), "q8_0": (32, 34), "q5_1": (32, 24), "q5_0": (32, 22), "q4_1": (32, 20), "q4_0": (32, 18),
    "iq4_nl": (32, 18),
}  # fmt: skip
# Types to go down to when a plan does not fit; those between them have no fast kernels in llama.cpp's default CUDA build.
SMALLER_TYPES = ("q8_0", "q4_0")
# llama.cpp rounds the context of each slot up to this.
CONTEXT_STEP = 256
# Contexts that are chosen here are a multiple of this, so that small differences between cards do not give odd numbers.
CHOSEN_STEP = 2048
# What is chosen here leaves this share of the memory free beside the margin, for two of the parts are estimates; what is given may go up to it.
UNCERTAIN = 0.02
# A context that is chosen is never shorter than this, unless the model's own is: a file and a question about it.
SMALLEST_CHOSEN = 4096
# How much context a slot should have when slots are chosen, best first: a coding agent's session, a long file with questions, a file.
USEFUL_CONTEXTS = (57344, 40960, 32768, 16384, 8192)
# CUDA's own memory on each card, with cuBLAS; an estimate from public reports, and llama.cpp's estimator leaves it out.
DRIVER_MIB = 700
# Of the program itself on the host, with CUDA's host side; an estimate.
PROGRAM_MIB = 2048
# What a limit of the server's memory gives on top of what is expected.
SLACK = 1.25
# With several cards llama.cpp works on this many micro-batches at once and keeps their inputs (GGML_SCHED_MAX_COPIES).
COPIES_ON_SEVERAL_CARDS = 4
# What a card says is in use when nothing runs on it, and somewhat more.
STRANGERS_MIB = 600
SERVER_PROGRAM = "llama-server"
SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*$", re.IGNORECASE)
DIVIDED_REMEDY = (
    "Name the instance by its UUID (nvidia-smi -L; gpus, of the role: llama_server_gpus) and state its MiB (nvidia-smi shows them; gpu_memory, of "
    "the role: llama_server_gpu_memory), for nvidia-smi tells programs of whole cards only."
)
ARCHITECTURE_FIELDS = ("layers", "embedding_length", "heads", "key_length", "value_length", "vocabulary_size")


class PlanError(Exception):
    """No plan can be made; the text is a sentence for the user."""


@dataclass(frozen=True)
class Memory:
    """Where the model goes: ``gpu`` or ``host``, its name for people, and MiB of each device (of the host: one)."""

    kind: str
    name: str
    devices: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.devices)


@dataclass(frozen=True)
class Gpu:
    """A card as ``nvidia-smi`` tells of it; ``mib`` is all of its memory, also of one ``divided`` into instances (MIG), ``used`` what is taken of it."""

    index: str
    uuid: str
    name: str
    mib: int
    divided: bool = False
    used: int = 0


@dataclass(frozen=True)
class Settings:
    """What llama-server is told; ``pool`` is the length of a context that all slots share, 0 for one of its own for each.

    ``gpu_layers`` None means all; ``cache_ram`` is in MiB.
    """

    slots: int
    context: int
    type_k: str = "q8_0"
    type_v: str = "q8_0"
    ubatch: int = 512
    flash_attention: bool = True
    pool: int = 0
    gpu_layers: int | None = None
    cache_ram: int = 8192
    locked: bool = False

    @property
    def tokens(self) -> int:
        """Tokens of all context memory together, as llama.cpp rounds them."""
        return _up(self.pool, CONTEXT_STEP) if self.pool else self.slots * _up(self.context, CONTEXT_STEP)

    @property
    def stream(self) -> int:
        """Tokens that one request's attention may look at."""
        return self.tokens if self.pool else _up(self.context, CONTEXT_STEP)


@dataclass(frozen=True)
class Parts:
    """MiB by part."""

    weights: float
    context: float
    compute: float
    scratch: float
    driver: float
    prompt_cache: float = 0.0
    uneven: float = 0.0

    @property
    def total(self) -> float:
        return self.weights + self.context + self.compute + self.scratch + self.driver + self.prompt_cache + self.uneven


@dataclass(frozen=True)
class Plan:
    """Settings with what they need, and the memory that they need it of; ``margin`` MiB of each device stay free."""

    settings: Settings
    parts: Parts
    memory: Memory
    margin: int

    @property
    def needed(self) -> int:
        return math.ceil(self.parts.total)

    @property
    def spare(self) -> int:
        """MiB that nobody needs, with the margin already taken off; negative when the plan does not fit."""
        return self.memory.total - self.margin * len(self.memory.devices) - self.needed

    @property
    def fits(self) -> bool:
        return self.spare >= 0


def _up(number: float, step: int) -> int:
    return math.ceil(number / step) * step


def expect_language_model(model: Mapping[str, Any]) -> None:
    """:raises PlanError: when the file does not say what a plan is made of."""
    missing = [name for name in ARCHITECTURE_FIELDS if not model.get(name)]
    if missing:
        raise PlanError(
            "The model file does not say its %s, so its memory cannot be planned; is it a language model? Set the number of slots and their "
            "context yourself and turn the plan off." % ", ".join(name.replace("_", " ") for name in missing)
        )


def offloaded_layers(model: Mapping[str, Any], gpu_layers: int | None) -> range:
    """The layers that are on the GPU: the last ones; what comes out of the last layer counts as one more layer (llama-model.cpp)."""
    layers: int = model["layers"]
    return range(0 if gpu_layers is None else max(layers + 1 - gpu_layers, 0), layers)


def weights_bytes(model: Mapping[str, Any], memory_kind: str, gpu_layers: int | None) -> int:
    """Bytes of weights in the GPU's memory, or in the host's.

    The table of token embeddings stays on the host, and a model without an output layer of its own uses a copy of it on the GPU.
    """
    sizes = model["bytes"]
    if memory_kind == "host":
        return int(sizes["total"])
    outside = sizes["total"] - sum(model["bytes_per_layer"]) - sizes["token_embedding"]
    if not sizes["output"]:
        outside += sizes["token_embedding"]
    layers = sum(model["bytes_per_layer"][layer] for layer in offloaded_layers(model, gpu_layers))
    return int(layers + (outside if gpu_layers is None or gpu_layers > 0 else 0))


def cache_bytes_per_token(model: Mapping[str, Any], type_k: str, type_v: str, layers: Sequence[int] | None = None) -> float:
    """Bytes that a token of a conversation takes: a key and a value for each head that has some, in each layer (llama-kv-cache.cpp).

    Models with latent attention keep no values. Layers that look at a window only are counted in full, which is more than they take.
    """
    chosen = range(model["layers"]) if layers is None else layers
    heads = sum(model["kv_heads_per_layer"][layer] for layer in chosen)
    value_length = 0 if model["latent_attention"] else model["value_length"]
    return float(heads * (model["key_length"] * _width(type_k) + value_length * _width(type_v)))


def _width(cache_type: str) -> float:
    """Bytes of a value."""
    block, size = CACHE_TYPES[cache_type]
    return size / block


def compute_bytes(model: Mapping[str, Any], settings: Settings, devices: int = 1) -> float:
    """Bytes of the buffer for what lies between weights and answer; it grows with the micro-batch (``ubatch``).

    The mask of the attention, 2 bytes for each token of the batch and of the context (4 without flash attention), and beside it the larger of
    the scores of all words of the vocabulary (4 bytes a word, and five times the embedding) and of what a layer needs at its widest: with
    experts twice the inputs and outputs of all that are used, else attention and the two halves of the feed-forward. Without flash attention
    the scores of each head for each token of the context come on top. v0.7.0 of llama.cpp gives this; v0.5.0 lets the mask and the scores
    share memory, so that with long contexts and large batches it needs up to 3 % less in all.
    """
    batch, stream = settings.ubatch, settings.stream
    embedding, heads, key = model["embedding_length"], model["heads"], model["key_length"]
    copies = COPIES_ON_SEVERAL_CARDS if devices > 1 else 1
    mask = (2 if settings.flash_attention else 4) * batch * stream * copies
    scores = 0 if settings.flash_attention else 4 * heads * batch * stream
    output = 4 * batch * (model["vocabulary_size"] + 5 * embedding)
    attention = 2 * embedding + 5 * heads * key + 2 * (model["kv_heads"] or heads) * key
    if model["experts"]:
        width = model["expert_feed_forward_length"] or model["feed_forward_length"] or 0
        layer = 4 * batch * max(attention, 2 * (model["experts_used"] or 1) * (embedding + width))
    else:
        layer = 4 * batch * (attention + 2 * (model["feed_forward_length"] or 4 * embedding))
    return float(mask + scores + max(output, layer))


def scratch_bytes(model: Mapping[str, Any], settings: Settings) -> float:
    """Bytes in which CUDA's attention turns one layer's keys and values into f16 where they are kept in another type (fattn-common.cuh)."""
    if not settings.flash_attention:
        return 0.0
    widest = max(model["kv_heads_per_layer"], default=0)
    key = model["key_length"] if settings.type_k != "f16" else 0
    value = model["value_length"] if settings.type_v != "f16" and not model["latent_attention"] else 0
    return 2.0 * widest * (key + value) * settings.tokens


def predict(model: Mapping[str, Any], settings: Settings, memory: Memory) -> Parts:
    """What the settings need of that memory, in MiB by part."""
    on_gpu = memory.kind == "gpu"
    devices = len(memory.devices)
    layers = offloaded_layers(model, settings.gpu_layers) if on_gpu else range(model["layers"])
    weights = weights_bytes(model, memory.kind, settings.gpu_layers) / MIB
    context = settings.tokens * cache_bytes_per_token(model, settings.type_k, settings.type_v, layers) / MIB
    context += settings.slots * model["recurrent_bytes"] / MIB
    return Parts(
        weights=weights,
        context=context,
        compute=devices * compute_bytes(model, settings, devices) / MIB,
        scratch=devices * scratch_bytes(model, settings) / MIB if on_gpu else 0.0,
        driver=DRIVER_MIB * devices if on_gpu else 0.0,
        prompt_cache=0.0 if on_gpu else settings.cache_ram,
        # Several cards share a model by whole layers, so all but one may have a layer more than their share.
        uneven=(devices - 1) * (weights + context) / model["layers"],
    )


def plan_for(model: Mapping[str, Any], settings: Settings, memory: Memory, margin: int) -> Plan:
    """The plan that these settings are, whether it fits or not."""
    return Plan(settings, predict(model, settings, memory), memory, margin)


def largest(low: int, high: int, step: int, fits: Callable[[int], bool]) -> int:
    """The largest multiple of ``step`` from ``low`` to ``high`` that fits, 0 when none does; what is smaller than one that fits has to fit, too."""
    bottom, top = _up(low, step) // step, high // step
    if bottom > top or not fits(bottom * step):
        return 0
    while bottom < top:
        middle = (bottom + top + 1) // 2
        if fits(middle * step):
            bottom = middle
        else:
            top = middle - 1
    return bottom * step


def most_context(model: Mapping[str, Any], settings: Settings, memory: Memory, margin: int, step: int) -> int:
    """Tokens of context that each slot can have with everything else as it is, 0 for none."""
    limit = model["context_length"] or 2**20
    return largest(step, max(limit, step), step, lambda context: plan_for(model, replace(settings, context=context), memory, margin).fits)


def most_slots(model: Mapping[str, Any], settings: Settings, memory: Memory, margin: int, most: int) -> int:
    """How many slots fit with everything else as it is, 0 for none."""
    return largest(1, most, 1, lambda slots: plan_for(model, replace(settings, slots=slots), memory, margin).fits)


def chosen_reserve(memory: Memory) -> int:
    """MiB of each device that no chosen plan uses."""
    return math.ceil(UNCERTAIN * min(memory.devices))


def choose(model: Mapping[str, Any], settings: Settings, memory: Memory, margin: int, people: int) -> Settings:
    """Settings with the slots and the context that are 0 in them filled in, for ``people`` who share the server.

    A slot for each person if each then has a context that is of use, else as many as have it, but at least two: one long request shall not
    keep everybody waiting. The context is then as long as it can be. What is given stays. Where nothing fits, the smallest plan of use is the
    answer, for whoever asks to see that it does not fit.
    """
    limit = model["context_length"] or USEFUL_CONTEXTS[0]
    if settings.pool:
        return replace(settings, slots=settings.slots or people, context=settings.context or min(settings.pool, limit))
    if settings.slots and settings.context:
        return settings
    smallest = min(SMALLEST_CHOSEN, limit)
    for free in (margin + chosen_reserve(memory), margin):
        slots = settings.slots or _slots_of_use(model, settings, memory, free, people, limit)
        context = settings.context or most_context(model, replace(settings, slots=slots or 1), memory, free, min(CHOSEN_STEP, smallest))
        if slots and context >= smallest:
            return replace(settings, slots=slots, context=context)
    return replace(settings, slots=settings.slots or 1, context=settings.context or smallest)


def _slots_of_use(model: Mapping[str, Any], settings: Settings, memory: Memory, margin: int, people: int, limit: int) -> int:
    """As many slots as can have the context that is given, or the longest of the useful ones that two or more can have."""
    slots = 0
    for context in (settings.context,) if settings.context else USEFUL_CONTEXTS:
        slots = most_slots(model, replace(settings, context=min(context, settings.context or limit)), memory, margin, people)
        if slots >= min(people, 2):
            break
    return slots


def nearest(model: Mapping[str, Any], plan: Plan) -> list[Plan]:
    """Plans that fit and differ from one that does not in one thing: fewer slots, less context, a smaller type of context memory."""
    settings, memory, margin = plan.settings, plan.memory, plan.margin

    def candidates() -> Iterator[Settings]:
        if settings.pool:
            pool = largest(
                CONTEXT_STEP, settings.pool, CONTEXT_STEP, lambda tokens: plan_for(model, replace(settings, pool=tokens), memory, margin).fits
            )
            if pool:
                yield replace(settings, pool=pool)
        else:
            slots = most_slots(model, settings, memory, margin, settings.slots)
            if slots:
                yield replace(settings, slots=slots)
            context = most_context(model, settings, memory, margin, CHOSEN_STEP)
            if context:
                yield replace(settings, context=min(context, settings.context))
        if settings.flash_attention:
            for cache_type in SMALLER_TYPES:
                smaller = replace(settings, type_k=cache_type, type_v=cache_type)
                is_smaller = _width(cache_type) * 2 < _width(settings.type_k) + _width(settings.type_v)
                if is_smaller and plan_for(model, smaller, memory, margin).fits:
                    yield smaller
                    break

    return [plan_for(model, candidate, memory, margin) for candidate in candidates()]


def host_memory_mib(model: Mapping[str, Any], plan: Plan) -> float:
    """MiB of the host's memory that cannot be given back to others while the server runs.

    The prompt cache (``--cache-ram``), the copy of one slot that is on its way into it, the program itself, and what of the model is not on the
    GPU. Where all of it is on the GPU, the file's pages are only borrowed, unless they are locked.
    """
    settings = plan.settings
    slot = settings.stream * cache_bytes_per_token(model, settings.type_k, settings.type_v) / MIB
    moving = slot if settings.cache_ram else 0.0
    if plan.memory.kind == "host":
        return plan.parts.total + moving + PROGRAM_MIB
    total = settings.cache_ram + moving + PROGRAM_MIB
    everything = predict(model, replace(settings, gpu_layers=None), plan.memory)
    rest = everything.weights - plan.parts.weights + everything.context - plan.parts.context
    return total + rest + (model["bytes"]["total"] / MIB if settings.locked else 0.0)


def memory_limit_mib(model: Mapping[str, Any], plan: Plan) -> int:
    """A limit (MemoryMax) in MiB, whole GiB, under which the server is not killed for what it was told to do; the model's pages are in it."""
    pages = 0.0 if plan.memory.kind == "host" or plan.settings.locked else model["bytes"]["total"] / MIB
    return _up(SLACK * (host_memory_mib(model, plan) + pages), 1024)


def size_mib(text: str) -> float | None:
    """MiB that systemd understands under a size such as ``64G``; None for what is no such size (a percentage, ``infinity``)."""
    found = SIZE.match(text)
    if found is None:
        return None
    return float(found[1]) * 1024.0 ** (" KMGT".index(found[2].upper() or " ") - 2)


def host_warnings(model: Mapping[str, Any], plan: Plan, host_mib: int, memory_max: str) -> list[str]:
    """What is short on the host, a sentence each. ``host_mib`` 0: the host's memory is not known."""
    settings = plan.settings
    expected = math.ceil(host_memory_mib(model, plan))
    warnings = []
    if host_mib and expected > host_mib - plan.margin and plan.memory.kind == "gpu":
        warnings.append(
            "llama-server will need about %d MiB of the host's memory, %d MiB of them for the prompt cache (--cache-ram), and the host has %d MiB. "
            "A smaller prompt cache lets conversations that lost their slot be read again instead of being kept." % (expected, settings.cache_ram, host_mib)
        )
    limit = size_mib(memory_max)
    if limit is not None and limit < expected:
        warnings.append(
            "MemoryMax is %s, but llama-server will need about %d MiB of the host's memory, %d MiB of them for the prompt cache (--cache-ram): the "
            "kernel would kill it when the cache is full. Raise the limit, or make the cache smaller." % (memory_max, expected, settings.cache_ram)
        )
    if settings.pool and settings.slots * settings.context > settings.pool:
        warnings.append(
            "The context is shared: %d slots may use %d tokens each and there are %d in all. When they are full, every request that is under way "
            "fails at once with the error 500. A context of its own for each slot (no shared pool) cannot do that."
            % (settings.slots, settings.context, settings.pool)
        )
    if model["context_length"] and settings.context > model["context_length"]:
        warnings.append(
            "Each slot has %d tokens of context, but the model was trained for %d: answers far into it may be of no use."
            % (settings.context, model["context_length"])
        )
    return warnings


def notes(model: Mapping[str, Any]) -> list[str]:
    """What makes the prediction an upper bound for this model, a sentence each."""
    told = []
    if model["sliding_window"]:
        told.append("Some layers of this model look at a window of %d tokens only; they are counted in full." % model["sliding_window"])
    if model["recurrent_layers"]:
        told.append("%d layers keep a state of fixed size instead of context; it is counted as llama.cpp's own formula has it." % model["recurrent_layers"])
    return told


def in_words(settings: Settings) -> str:
    """Slots, context and types in a few words."""
    kept = settings.type_k if settings.type_k == settings.type_v else "%s/%s" % (settings.type_k, settings.type_v)
    slots = "%d slot%s" % (settings.slots, "" if settings.slots == 1 else "s")
    if settings.pool:
        return "%s of up to %d tokens that share %d (%s)" % (slots, settings.context, settings.pool, kept)
    return "%s of %d tokens (%s)" % (slots, settings.context, kept)


def refusal(model: Mapping[str, Any], plan: Plan) -> str:
    """Why a plan does not fit, and the nearest ones that do."""
    memory = plan.memory
    start = "The plan does not fit: %s need %d MiB, and %s has %d MiB, of which %d MiB stay free." % (
        in_words(plan.settings), plan.needed, memory.name, memory.total, plan.margin * len(memory.devices))  # fmt: skip
    others = nearest(model, plan)
    if not others:
        return "%s The weights alone are %d MiB: take a smaller model, or more memory." % (start, math.ceil(plan.parts.weights))
    return "%s What fits: %s." % (start, "; ".join("%s, %d MiB" % (in_words(other.settings), other.needed) for other in others))


def report(model: Mapping[str, Any], plan: Plan) -> list[str]:
    """The plan as a small table, a line each."""
    settings, memory = plan.settings, plan.memory
    size, unit = (model["parameters"] / 1e9, "billion") if model["parameters"] >= 1e9 else (model["parameters"] / 1e6, "million")
    title = "%s %s, %.1f %s parameters" % (model["architecture"], model["file_type"] or "of mixed types", size, unit)
    rows = [
        ("weights", plan.parts.weights),
        ("context memory", plan.parts.context),
        ("compute buffer", plan.parts.compute),
        ("conversion to f16", plan.parts.scratch),
        ("driver (estimate)", plan.parts.driver),
        ("prompt cache", plan.parts.prompt_cache),
        ("uneven split", plan.parts.uneven),
        ("kept free", plan.margin * len(memory.devices)),
        ("to spare", plan.spare),
    ]
    lines = ["%s on %s" % (title, memory.name), in_words(settings)]
    lines += ["%-18s %8d MiB" % (name, math.ceil(size)) for name, size in rows if size or name == "to spare"]
    lines.append("%-18s %8d MiB" % ("all of the memory", memory.total))
    if memory.kind == "gpu":
        lines.append("%-18s %8d MiB" % ("and of the host", math.ceil(host_memory_mib(model, plan))))
    return lines + notes(model)


def parse_gpus(text: str) -> list[Gpu]:
    """The cards out of ``nvidia-smi --query-gpu=index,uuid,name,memory.total,mig.mode.current,memory.used --format=csv,noheader,nounits``.

    :raises PlanError: when a card does not say how much memory it has.
    """
    gpus = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) != 6:
            continue
        index, uuid, name, size, divided, used = (cell.strip() for cell in row)
        if not size.isdigit():
            raise PlanError(
                "%s does not say how much memory it has (nvidia-smi: %s); state the MiB that llama-server may use (gpu_memory; of the role: "
                "llama_server_gpu_memory)." % (name, size)
            )
        gpus.append(Gpu(index, uuid, name, int(size), divided == "Enabled", int(used) if used.isdigit() else 0))
    return gpus


def chosen_gpus(gpus: Sequence[Gpu], wanted: Sequence[str]) -> list[Gpu]:
    """The cards that are named by number or UUID, all if none is named.

    :raises PlanError: when one of them is not there, named twice, or divided: then CUDA sees an instance alone, whose memory is not the card's.
    """
    instance = next((name for name in wanted if name.startswith("MIG-")), None)
    if instance:
        raise PlanError("%s is an instance of a divided card (MIG). %s" % (instance, DIVIDED_REMEDY))
    chosen = _named_gpus(gpus, wanted) if wanted else list(gpus)
    divided = next((gpu for gpu in chosen if gpu.divided), None)
    if divided:
        raise PlanError("The GPU %s (%s) is divided into instances (MIG), of which a program sees one. %s" % (divided.index, divided.name, DIVIDED_REMEDY))
    return chosen


def _named_gpus(gpus: Sequence[Gpu], wanted: Sequence[str]) -> list[Gpu]:
    chosen: list[Gpu] = []
    for name in wanted:
        found = [gpu for gpu in gpus if name in (gpu.index, gpu.uuid)]
        if not found:
            there = ", ".join("%s (%s, %s)" % (gpu.index, gpu.name, gpu.uuid) for gpu in gpus)
            raise PlanError("There is no GPU %s on this host; it has %s." % (name, there))
        if found[0] in chosen:
            raise PlanError("The GPU %s is named twice." % name)
        chosen.append(found[0])
    return chosen


def stranger_warnings(gpus: Sequence[Gpu], text: str) -> list[str]:
    """What others take of the cards that the plan counts whole: of everything in use, what no llama-server uses.

    :param text: what ``nvidia-smi --query-compute-apps=gpu_uuid,process_name,used_memory --format=csv,noheader,nounits`` says.
    """
    own: dict[str, int] = {}
    untold = set()
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        uuid, program, used = (cell.strip() for cell in row) if len(row) == 3 else ("", "", "")
        if program.rpartition("/")[2].startswith(SERVER_PROGRAM):
            own[uuid] = own.get(uuid, 0) + (int(used) if used.isdigit() else 0)
            untold |= set() if used.isdigit() else {uuid}
    # In a container the driver does not say whose memory it is; then nothing can be told apart.
    others = [(gpu, gpu.used - own.get(gpu.uuid, 0)) for gpu in gpus if gpu.uuid not in untold]
    return [
        "Other programs than llama-server take %d MiB of the GPU %s (%s), which the plan counts as free (nvidia-smi shows them): end them, or state "
        "what llama-server may use (gpu_memory; of the role: llama_server_gpu_memory)." % (taken, gpu.index, gpu.name)
        for gpu, taken in others
        if taken > STRANGERS_MIB
    ]


def parse_meminfo(text: str) -> int:
    """MiB of memory that the kernel has, out of /proc/meminfo; 0 when it does not say."""
    found = re.search(r"^MemTotal:\s+(\d+) kB$", text, flags=re.MULTILINE)
    return int(found[1]) // 1024 if found else 0
