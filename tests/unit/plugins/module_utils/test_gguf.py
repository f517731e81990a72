# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import random
import struct
import time
import tracemalloc

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import gguf
from ansible_collections.private_llm.platform.tests.unit.fakes import gguf_files
from ansible_collections.private_llm.platform.tests.unit.fakes.gguf_files import ARRAY, STRING, U8, U16, U32, U64, Model, Shape

SMALL = Shape(layers=3, embedding=256, heads=4, kv_heads=2, head=64, vocabulary=64, experts=4, experts_used=2, expert_width=256, context=4096)
ENTRIES = [("general.architecture", STRING, "qwen3moe"), ("qwen3moe.block_count", U32, 3)]


def described(path):
    return gguf.describe(gguf.read(str(path)))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.gguf"


@pytest.fixture(scope="module")
def production(tmp_path_factory):
    path = tmp_path_factory.mktemp("production") / "production.gguf"
    gguf_files.model().write(path)
    return path


def refused(path):
    with pytest.raises(gguf.GgufError) as caught:
        described(path)
    return str(caught.value)


def test_the_production_shape_is_read_as_it_is_published(production):
    model = described(production)
    assert (model["layers"], model["embedding_length"], model["heads"], model["kv_heads"]) == (48, 2048, 32, 4)
    assert (model["key_length"], model["value_length"], model["experts"], model["experts_used"]) == (128, 128, 128, 8)
    assert (model["context_length"], model["vocabulary_size"], model["file_type"]) == (262144, 151936, "Q4_K_M")
    assert (model["tokenizer"], model["chat_template"]) == ("gpt2", True)
    assert model["parameters"] == 30532122624
    assert model["bytes"]["total"] == 18550716416


def test_bytes_by_group_by_layer_and_by_type_are_the_same_bytes(production):
    model = described(production)
    groups = dict(model["bytes"])
    total = groups.pop("total")
    assert sum(groups.values()) == total == sum(model["tensor_types"].values())
    outside = groups["token_embedding"] + groups["output"] + 2048 * 4
    assert sum(model["bytes_per_layer"]) == total - outside
    assert round(groups["experts"] / 2**30, 2) == 16.35


def test_only_the_head_of_a_large_file_is_read(production):
    tracemalloc.start()
    started = time.process_time()
    (part,) = gguf.read(str(production))
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert part.size > 17 * 2**30
    assert part.head < 3 * 2**20
    assert peak < 8 * 2**20
    assert time.process_time() - started < 10


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_of_the_format_are_read(file, version):
    model = gguf_files.model(SMALL)
    model.version = version
    model.write(file)
    assert described(file)["version"] == version


def test_a_dense_model_has_no_experts(file):
    gguf_files.model(Shape("llama", 2, 256, 4, 2, 64, 64, 0, 0, 0, 512)).write(file)
    model = described(file)
    assert (model["experts"], model["bytes"]["experts"], model["feed_forward_length"]) == (0, 0, 512)
    assert model["bytes"]["feed_forward"] > 0


def test_head_lengths_that_are_not_stated_follow_from_the_embedding(file):
    Model([*ENTRIES, ("qwen3moe.embedding_length", U32, 2048), ("qwen3moe.attention.head_count", U32, 16)]).write(file)
    model = described(file)
    assert (model["key_length"], model["value_length"], model["kv_heads"]) == (128, 128, 16)


def test_heads_may_differ_from_layer_to_layer(file):
    Model([*ENTRIES, ("qwen3moe.attention.head_count", U32, 8), ("qwen3moe.attention.head_count_kv", ARRAY, (U32, [4, 0, 2]))]).write(file)
    model = described(file)
    assert (model["kv_heads"], model["kv_heads_per_layer"]) == (4, [4, 0, 2])


def test_layers_between_those_with_full_attention_keep_a_state_of_fixed_size(file):
    prefix = "qwen3next."
    entries = [("general.architecture", STRING, "qwen3next"), (prefix + "block_count", U32, 8), (prefix + "full_attention_interval", U32, 4)]
    entries += [(prefix + "attention.head_count", U32, 16), (prefix + "attention.head_count_kv", U32, 2)]
    entries += [(prefix + "ssm." + name, U32, value) for name, value in (("inner_size", 4096), ("state_size", 128), ("conv_kernel", 4), ("group_count", 16))]
    Model(entries).write(file)
    model = described(file)
    assert model["kv_heads_per_layer"] == [0, 0, 0, 2, 0, 0, 0, 2]
    assert (model["recurrent_layers"], model["recurrent_bytes"]) == (6, 6 * 4 * (3 * (4096 + 2 * 16 * 128) + 128 * 4096))


def test_parts_are_read_as_one_model(tmp_path):
    whole = gguf_files.model(SMALL)
    for number, part in enumerate(whole.split(3)):
        part.write(tmp_path / f"model-0000{number + 1}-of-00003.gguf")
    whole.write(tmp_path / "whole.gguf")
    split, single = described(tmp_path / "model-00001-of-00003.gguf"), described(tmp_path / "whole.gguf")
    assert len(split.pop("files")) == 3
    assert len(single.pop("files")) == 1
    assert split == single


def test_a_missing_part_is_named(tmp_path):
    for number, part in enumerate(gguf_files.model(SMALL).split(3)):
        if number != 1:
            part.write(tmp_path / f"model-0000{number + 1}-of-00003.gguf")
    assert refused(tmp_path / "model-00001-of-00003.gguf") == f"There is no model file {tmp_path}/model-00002-of-00003.gguf."


def test_a_part_of_another_model_is_refused(tmp_path):
    for number, part in enumerate(gguf_files.model(SMALL).split(3)):
        part.write(tmp_path / f"model-0000{number + 1}-of-00003.gguf")
    (tmp_path / "model-00001-of-00003.gguf").replace(tmp_path / "model-00002-of-00003.gguf")
    gguf_files.model(SMALL).split(3)[0].write(tmp_path / "model-00001-of-00003.gguf")
    assert "does not say that it is part 2 of 3" in refused(tmp_path / "model-00001-of-00003.gguf")


def test_another_part_than_the_first_is_answered_with_the_name_of_the_first(tmp_path):
    gguf_files.model(SMALL).split(3)[1].write(tmp_path / "model-00002-of-00003.gguf")
    assert "give %s/model-00001-of-00003.gguf" % tmp_path in refused(tmp_path / "model-00002-of-00003.gguf")


def test_a_part_that_was_renamed_is_refused(file):
    gguf_files.model(SMALL).split(3)[0].write(file)
    assert "its name has to end with -00001-of-00003.gguf" in refused(file)


def test_a_big_endian_file_is_refused_with_a_sentence(file):
    model = gguf_files.model(SMALL)
    model.order = ">"
    model.write(file)
    assert "big-endian" in refused(file)


@pytest.mark.parametrize("version", [0, 1, 4, 99])
def test_other_versions_are_refused_by_number(file, version):
    Model(ENTRIES, version=version).write(file)
    assert f"of version {version}" in refused(file)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"<!DOCTYPE html><html>Sign in</html>", b"PK\x03\x04" * 100])
def test_what_is_no_gguf_is_refused(file, content):
    file.write_bytes(content)
    assert "is no GGUF file" in refused(file)


def test_a_missing_file_and_a_directory_are_named(tmp_path):
    assert refused(tmp_path / "nowhere.gguf") == f"There is no model file {tmp_path}/nowhere.gguf."
    assert refused(tmp_path) == f"{tmp_path} is no regular file."


def test_a_pipe_does_not_keep_the_reader_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "is no regular file" in refused(tmp_path / "pipe")


def test_a_file_that_was_not_fetched_to_its_end_is_refused(file):
    gguf_files.model(SMALL).write(file)
    os.truncate(file, file.stat().st_size - 40000)
    assert "is not complete" in refused(file)


def test_a_file_that_is_cut_anywhere_in_its_head_is_refused(file):
    model = gguf_files.model(SMALL)
    head = model.head()
    for end in range(len(head)):
        file.write_bytes(head[:end])
        assert refused(file)


@pytest.mark.parametrize(
    "raw, sentence",
    [
        (struct.pack("<IQQ", 3, 2**62, 0), "says that it has 4611686018427387904 tensors, which is more than it has room for"),
        (struct.pack("<IQQ", 3, 0, 2**62), "says that it has 4611686018427387904 entries of metadata, which is more than it has room for"),
        (struct.pack("<IQQQ", 3, 0, 1, 2**40) + b"x" * 64, "has a text of 1099511627776 bytes at the name of entry 1"),
        (struct.pack("<IQQ", 3, 0, 1) + gguf_files.text("a") + struct.pack("<IIQ", ARRAY, STRING, 2**60), "texts in a, which is more than it has room"),
        (struct.pack("<IQQ", 3, 0, 1) + gguf_files.text("a") + struct.pack("<IIQ", ARRAY, U64, 2**60), "numbers in a, which is more than it has room"),
        (struct.pack("<IQQ", 3, 0, 1) + gguf_files.text("a") + struct.pack("<IIQ", ARRAY, ARRAY, 1), "unknown or nested kind 9"),
        (struct.pack("<IQQ", 3, 0, 1) + gguf_files.text("a") + struct.pack("<IQ", 77, 1), "value of the unknown kind 77"),
    ],
)
def test_a_number_that_cannot_be_is_refused_before_anything_is_read_for_it(file, raw, sentence):
    file.write_bytes(b"GGUF" + raw + b"\0" * 64)
    assert sentence in refused(file)


@pytest.mark.parametrize(
    "entries, sentence",
    [
        ([("qwen3moe.block_count", U32, 3)], "does not say of which architecture it is"),
        ([("general.architecture", U32, 3)], "has no text for general.architecture"),
        ([*ENTRIES, ENTRIES[0]], "has the entry general.architecture twice"),
        ([ENTRIES[0], ("qwen3moe.block_count", U32, 4000000000)], "says that it has 4000000000 layers, where 4096 is the most"),
        ([ENTRIES[0], ("qwen3moe.block_count", STRING, "many")], "has many for qwen3moe.block_count, where a number is expected"),
        ([*ENTRIES, ("qwen3moe.attention.head_count_kv", ARRAY, (U32, [4]))], "has no number for each of its 3 layers"),
        ([*ENTRIES, ("general.alignment", U32, 24)], "has the alignment 24, which is no power of two"),
        ([*ENTRIES, ("general.file\x1b[2J", U8, 1), ("general.file\x1b[2J", U8, 1)], "has the entry general.file?[2J twice"),
    ],
)
def test_metadata_that_contradicts_itself_is_refused(file, entries, sentence):
    Model(entries).write(file)
    assert sentence in refused(file)


@pytest.mark.parametrize(
    "tensors, sentence",
    [
        ([("a", (0,), "F32")], "gives the tensor a the shape [0]"),
        ([("a", (2**40, 2**40), "F32")], "which does not go with the type F32"),
        ([("a", (100, 2), "Q4_K")], "which does not go with the type Q4_K"),
        ([("a", (1, 1, 1, 1, 1), "F32")], "5 dimensions, where 4 is the most"),
        ([("a", (8,), "F32"), ("a", (8,), "F32")], "has the tensor a twice"),
        ([("a" * 64, (8,), "F32")], "has a text of 64 bytes at entry 1 of the table of tensors"),
    ],
)
def test_a_table_of_tensors_that_cannot_be_is_refused(file, tensors, sentence):
    file.write_bytes(Model(ENTRIES, tensors).head() + b"\0" * 1000)
    assert sentence in refused(file)


def test_a_type_that_is_newer_than_the_collection_asks_for_an_update(file, monkeypatch):
    monkeypatch.setitem(gguf_files.BLOCKS, "F32", (77, 1, 4))
    Model(ENTRIES, [("a", (8,), "F32")]).write(file)
    assert "has the tensor a of the type 77, which this version of the collection does not know" in refused(file)


def test_tensors_that_lie_over_one_another_are_refused(file, monkeypatch):
    monkeypatch.setattr(Model, "layout", lambda model: [(0, 32)] * len(model.tensors))
    Model(ENTRIES, [("a", (8,), "F32"), ("b", (8,), "F32")]).write(file)
    assert "says that the tensor b begins at byte 0 of the data, but 32 is where the one before it ends" in refused(file)


def peak_memory(path):
    tracemalloc.start()
    started = time.process_time()
    said = refused(path)
    seconds = time.process_time() - started
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return said, peak, seconds


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(gguf_files.text("a") + struct.pack("<IIQ", ARRAY, STRING, 5_000_000), id="a list of texts without end"),
        pytest.param(gguf_files.text("a") + struct.pack("<IIQ", ARRAY, STRING, 2_000_000) + b"\0" * 8 + b"\xff", id="texts that grow"),
        pytest.param(gguf_files.text("a") + struct.pack("<IIQ", ARRAY, U8, 63 * 2**20), id="a list of numbers as large as can be"),
        pytest.param(gguf_files.text("a") + struct.pack("<IQ", STRING, 63 * 2**20), id="a text as large as can be"),
    ],
)
def test_the_largest_claims_cost_little_memory_and_time(file, start):
    with open(file, "wb") as stream:
        stream.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 3) + start)
        stream.truncate(2**33)
    said, peak, seconds = peak_memory(file)
    assert "damaged" in said
    assert peak < 3 * gguf.LARGEST_HEAD
    assert seconds < 20


def test_the_parts_of_a_model_share_one_limit(tmp_path):
    for number, part in enumerate(gguf_files.model(SMALL).split(3)):
        part.entries += [("filler", STRING, "x" * 25 * 2**20)]
        part.write(tmp_path / f"model-0000{number + 1}-of-00003.gguf")
    assert refused(tmp_path / "model-00001-of-00003.gguf").startswith(f"{tmp_path}/model-00003-of-00003.gguf has more than 64 MiB of metadata")


def mutated(chance, head):
    """A head with one to four faults: bytes turned, lengths made huge, pieces taken out, doubled or cut off."""
    raw = bytearray(head)
    for _fault in range(chance.randint(1, 4)):
        place = chance.randrange(len(raw)) if raw else 0
        fault = chance.randrange(6)
        if fault == 0:
            raw[place : place + 1] = bytes([chance.randrange(256)])
        elif fault == 1:
            raw[place : place + 8] = struct.pack("<Q", chance.choice([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, chance.randrange(2**64)]))
        elif fault == 2:
            del raw[place : place + chance.randrange(1, 64)]
        elif fault == 3:
            raw[place:place] = raw[place : place + chance.randrange(1, 64)]
        elif fault == 4:
            del raw[place:]
        else:
            raw[place : place + 4] = struct.pack("<I", chance.randrange(2**32))
    return bytes(raw)


def test_a_file_with_faults_is_refused_with_a_sentence_or_read_and_nothing_else_happens(file):
    chance = random.Random(20260101)
    heads = [gguf_files.model(SMALL).head(), *(part.head() for part in gguf_files.model(SMALL).split(2)), Model(ENTRIES, [("a", (8,), "F32")]).head()]
    read, sentences = 0, []
    for _case in range(4000):
        raw = mutated(chance, chance.choice(heads))
        with open(file, "wb") as stream:
            stream.write(raw)
            # As large as a real model, so that no number is refused only because the file is small.
            stream.truncate(len(raw) + chance.choice([0, 2**33]))
        try:
            described(file)
            read += 1
        except gguf.GgufError as error:
            sentences.append(str(error))
    assert min(read, len(sentences)) > 20, (read, len(sentences))
    assert [said for said in sentences if str(file) not in said or not said.isprintable()] == []


def test_the_number_of_a_part_fits_the_files(tmp_path):
    Model([*ENTRIES, ("split.count", U16, 2000), ("split.no", U16, 0)]).write(tmp_path / "model-00001-of-02000.gguf")
    assert "is one of 2000 parts" in refused(tmp_path / "model-00001-of-02000.gguf")
