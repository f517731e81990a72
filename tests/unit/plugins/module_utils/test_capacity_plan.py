# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import capacity_plan, gguf
from ansible_collections.private_llm.platform.plugins.module_utils.capacity_plan import Memory, PlanError, Settings
from ansible_collections.private_llm.platform.tests.unit.fakes import gguf_files
from ansible_collections.private_llm.platform.tests.unit.fakes.gguf_files import Shape

CARDS = {"24 GB": 24564, "32 GB": 32607, "48 GB": 46068, "80 GB": 81559, "96 GB": 97887, "141 GB": 143771}
MARGIN = 1024
HOST = Memory("host", "the host's memory", (65536,))


def described(path, shape):
    gguf_files.model(shape).write(path)
    return gguf.describe(gguf.read(str(path)))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return described(tmp_path_factory.mktemp("production") / "model.gguf", Shape())


def gpu(mib, count=1):
    return Memory("gpu", "a card", (mib,) * count)


def settings(slots, context, kept="q8_0", **others):
    return Settings(slots, context, kept, kept, **others)


# What llama-fit-params prints for this shape: settings, then MiB of weights, of context and of the compute buffer.
ESTIMATED = [
    # version 0.7.0
    ("0.7.0", settings(1, 4096, "f16"), 17691, 384, 320),
    ("0.7.0", settings(1, 32768, "f16"), 17691, 3072, 348),
    ("0.7.0", settings(1, 131072, "f16"), 17691, 12288, 444),
    ("0.7.0", settings(1, 262144, "f16"), 17691, 24576, 572),
    ("0.7.0", settings(1, 262144, "q8_0"), 17691, 13056, 572),
    ("0.7.0", settings(1, 262144, "q4_0"), 17691, 6912, 572),
    ("0.7.0", settings(1, 262144, "q8_0", ubatch=2048), 17691, 13056, 2291),
    ("0.7.0", settings(8, 32768, "q8_0"), 17691, 13056, 348),
    ("0.7.0", settings(8, 65536, "q8_0"), 17691, 26112, 380),
    # version 0.5.0
    ("0.5.0", settings(20, 204, "q8_0", ubatch=256), 17691, 255, 152),
    ("0.5.0", settings(4, 8192, "q8_0", ubatch=2048), 17691, 1632, 1235),
    ("0.5.0", settings(20, 6553, "q8_0"), 17691, 6630, 304),
    ("0.5.0", settings(1, 262144, "q8_0", ubatch=2048), 17691, 13056, 1376),
    ("0.5.0", settings(1, 524288, "f16"), 17691, 49152, 600),
    ("0.5.0", settings(8, 65536, "q4_0"), 17691, 13824, 304),
]


@pytest.mark.parametrize("version, wanted, weights, context, compute", ESTIMATED)
def test_the_prediction_is_never_below_the_programs_own_estimate_and_within_5_percent(model, version, wanted, weights, context, compute):
    parts = capacity_plan.predict(model, wanted, HOST)
    own = parts.weights + parts.context + parts.compute
    assert weights + context + compute <= own + 1
    assert own <= (weights + context + compute) * 1.05


# Other shapes, as version 0.5.0 estimates them with q8_0 and micro-batches of 512.
DENSE_8B = Shape("llama", 32, 4096, 32, 8, 128, 128256, 0, 0, 0, 14336, 131072)
DENSE_32B = Shape("qwen3", 64, 5120, 64, 8, 128, 151936, 0, 0, 0, 25600, 40960)
FEW_WORDS = Shape("llama", 8, 4096, 32, 8, 128, 4096, 0, 0, 0, 14336, 131072)
FEW_WORDS_AND_EXPERTS = Shape("qwen3moe", 8, 2048, 32, 4, 128, 4096, 128, 8, 768, 5472, 131072)
WIDE_EXPERTS = Shape("qwen3moe", 8, 4096, 64, 4, 128, 4096, 128, 4, 1536, 12288, 40960)


@pytest.mark.parametrize(
    "shape, slots, context, mib",
    [
        (DENSE_8B, 1, 4096, 4685 + 272 + 266), (DENSE_8B, 1, 262144, 4685 + 17408 + 364), (DENSE_8B, 4, 65536, 4685 + 17408 + 274),
        (DENSE_32B, 1, 4096, 18840 + 544 + 316), (DENSE_32B, 1, 262144, 18840 + 34816 + 452), (DENSE_32B, 4, 65536, 18840 + 34816 + 316),
        (FEW_WORDS, 1, 4096, 1020 + 68 + 120), (FEW_WORDS, 4, 8192, 1020 + 544 + 116), (FEW_WORDS, 1, 262144, 1020 + 4352 + 364),
        (FEW_WORDS_AND_EXPERTS, 1, 4096, 2891 + 34 + 92), (FEW_WORDS_AND_EXPERTS, 4, 65536, 2891 + 2176 + 152),
        (WIDE_EXPERTS, 1, 4096, 11506 + 34 + 104), (WIDE_EXPERTS, 4, 8192, 11506 + 272 + 108), (WIDE_EXPERTS, 1, 262144, 11506 + 2176 + 356),
    ],
)  # fmt: skip
def test_other_shapes_are_predicted_as_well(tmp_path, shape, slots, context, mib):
    parts = capacity_plan.predict(described(tmp_path / "model.gguf", shape), settings(slots, context), HOST)
    assert mib - 3 <= parts.weights + parts.context + parts.compute <= 1.01 * mib


@pytest.mark.parametrize("version, wanted, weights, context, compute", [row for row in ESTIMATED if row[0] == "0.7.0"])
def test_each_part_is_what_the_newer_version_estimates(model, version, wanted, weights, context, compute):
    parts = capacity_plan.predict(model, wanted, HOST)
    assert parts.weights == pytest.approx(weights, abs=1)
    assert parts.context == pytest.approx(context, abs=1)
    assert parts.compute == pytest.approx(compute, abs=2)


@pytest.mark.parametrize("kept, kib", [("f16", 96), ("q8_0", 51), ("q5_1", 36), ("q4_0", 27)])
def test_a_token_takes_as_much_context_memory_as_its_type_says(model, kept, kib):
    assert capacity_plan.cache_bytes_per_token(model, kept, kept) == kib * 1024


# What useful plans need on a card, with CUDA's scratch space and 700 MiB for the driver.
@pytest.mark.parametrize(
    "slots, context, mib",
    [
        (8, 131072, 72940), (4, 262144, 73068), (20, 57344, 77956), (8, 163840, 86540), (8, 57344, 42340), (2, 262144, 45932),
        (4, 57344, 30468), (2, 40960, 22820),
    ],
)
def test_known_plans_need_what_is_known(model, slots, context, mib):
    assert capacity_plan.plan_for(model, settings(slots, context), gpu(81559), MARGIN).needed == pytest.approx(mib, abs=3)


# Tokens that go into a card in 8 slots with 1 GiB kept free, rounded down to thousands of 1,024.
@pytest.mark.parametrize(
    "card, kept, thousands",
    [
        ("24 GB", "f16", 52), ("24 GB", "q8_0", 95), ("24 GB", "q4_0", 175), ("32 GB", "f16", 138), ("32 GB", "q8_0", 251), ("32 GB", "q4_0", 458),
        ("48 GB", "f16", 282), ("48 GB", "q8_0", 510), ("48 GB", "q4_0", 931), ("80 GB", "f16", 659), ("80 GB", "q8_0", 1190 * 1000 / 1024),
    ],
)  # fmt: skip
def test_a_card_holds_as_many_tokens_as_is_known(model, card, kept, thousands):
    unlimited = {**model, "context_length": 2**20}
    context = capacity_plan.most_context(unlimited, settings(8, 0, kept), gpu(CARDS[card]), MARGIN, 256)
    assert 8 * context / 1024 == pytest.approx(thousands, rel=0.03)


def test_the_table_of_embeddings_stays_on_the_host(model):
    on_gpu = capacity_plan.weights_bytes(model, "gpu", None)
    assert model["bytes"]["total"] - on_gpu == model["bytes"]["token_embedding"]
    assert round(on_gpu / 2**20) == 17524


def test_a_model_without_an_output_layer_of_its_own_has_its_embeddings_in_both_places(model):
    tied = {**model, "bytes": {**model["bytes"], "output": 0, "total": model["bytes"]["total"] - model["bytes"]["output"]}}
    assert capacity_plan.weights_bytes(tied, "gpu", None) == tied["bytes"]["total"]


@pytest.mark.parametrize("layers, on_gpu", [(0, 0), (1, 0), (2, 1), (25, 24), (49, 48), (99, 48)])
def test_layers_go_to_the_gpu_from_the_last_one_on_and_the_output_counts_as_one(model, layers, on_gpu):
    assert len(capacity_plan.offloaded_layers(model, layers)) == on_gpu


def test_half_of_the_layers_need_half_of_the_context_memory(model):
    half = capacity_plan.predict(model, settings(4, 32768, gpu_layers=25), gpu(81559))
    whole = capacity_plan.predict(model, settings(4, 32768), gpu(81559))
    assert half.context == whole.context / 2
    assert half.weights < 0.6 * whole.weights


def test_latent_attention_keeps_no_values(model):
    latent = {**model, "latent_attention": True}
    assert capacity_plan.cache_bytes_per_token(latent, "f16", "f16") == capacity_plan.cache_bytes_per_token(model, "f16", "f16") / 2


def test_context_of_another_type_than_f16_needs_room_to_be_converted(model):
    assert capacity_plan.scratch_bytes(model, settings(1, 262144)) == 512 * 2**20
    assert capacity_plan.scratch_bytes(model, settings(1, 262144, "f16")) == 0


def test_without_flash_attention_the_scores_are_kept_whole(model):
    # What llama-fit-params of version 0.5.0 prints for one context of 131,072: 8,478 MiB.
    assert 8478 <= capacity_plan.compute_bytes(model, settings(1, 131072, "f16", flash_attention=False)) / 2**20 <= 8478 * 1.05


def test_the_context_of_a_slot_is_rounded_up_as_the_server_does(model):
    assert (settings(20, 204).tokens, settings(1, 1000).tokens) == (20 * 256, 1024)


def test_requests_that_share_a_context_may_look_at_all_of_it():
    shared = settings(20, 262144, pool=1048576)
    assert (shared.tokens, shared.stream) == (1048576, 1048576)


@pytest.mark.parametrize("kept", ["f16", "q8_0", "q4_0"])
@pytest.mark.parametrize("card", CARDS)
def test_what_is_chosen_fits_and_one_step_more_does_not(model, card, kept):
    memory = gpu(CARDS[card])
    chosen = capacity_plan.choose(model, settings(0, 0, kept), memory, MARGIN, 20)
    plan = capacity_plan.plan_for(model, chosen, memory, MARGIN)
    assert plan.spare >= 0.019 * memory.total
    longer = replace(chosen, context=chosen.context + capacity_plan.CHOSEN_STEP)
    assert capacity_plan.plan_for(model, longer, memory, MARGIN).spare < 0.02 * memory.total or longer.context > model["context_length"]


def test_twenty_people_get_a_slot_each_on_a_large_card_and_share_slots_of_use_on_a_small_one(model):
    chosen = {card: capacity_plan.choose(model, settings(0, 0), gpu(mib), MARGIN, 20) for card, mib in CARDS.items()}
    assert [chosen[card].slots for card in CARDS] == [2, 4, 8, 20, 20, 20]
    assert min(plan.context for plan in chosen.values()) >= 40960


def test_what_is_given_stays_and_the_rest_is_chosen(model):
    memory = gpu(81559)
    assert capacity_plan.choose(model, settings(7, 0), memory, MARGIN, 20).slots == 7
    by_context = capacity_plan.choose(model, settings(0, 131072), memory, MARGIN, 20)
    assert (by_context.slots, by_context.context) == (8, 131072)
    both = settings(3, 512)
    assert capacity_plan.choose(model, both, memory, MARGIN, 20) == both


def test_a_card_that_has_room_for_a_useless_context_only_gets_no_plan(model):
    weights = capacity_plan.predict(model, settings(1, 256), gpu(1)).total
    chosen = capacity_plan.choose(model, settings(0, 0), gpu(int(weights) + MARGIN + 50), MARGIN, 20)
    assert (chosen.slots, chosen.context) == (1, 4096)
    assert not capacity_plan.plan_for(model, chosen, gpu(int(weights) + MARGIN + 50), MARGIN).fits


def test_the_reserve_is_used_where_nothing_of_use_would_fit_without_it(model):
    tight = capacity_plan.plan_for(model, settings(1, 8192), gpu(1), 0).needed + MARGIN
    assert capacity_plan.choose(model, settings(0, 0), gpu(tight), MARGIN, 20) == settings(1, 8192)


def test_no_more_slots_than_people_and_no_more_context_than_the_model_knows_are_chosen(model):
    chosen = capacity_plan.choose(model, settings(0, 0), gpu(400000), MARGIN, 3)
    assert (chosen.slots, chosen.context) == (3, 262144)


def test_a_plan_that_does_not_fit_names_the_nearest_that_do(model):
    plan = capacity_plan.plan_for(model, settings(20, 65536), gpu(81559), MARGIN)
    nearest = [(other.settings.slots, other.settings.context, other.settings.type_k) for other in capacity_plan.nearest(model, plan)]
    assert nearest == [(18, 65536, "q8_0"), (20, 59392, "q8_0"), (20, 65536, "q4_0")]
    assert all(other.fits for other in capacity_plan.nearest(model, plan))
    said = capacity_plan.refusal(model, plan)
    assert "20 slots of 65536 tokens (q8_0) need 86" in said
    assert "18 slots of 65536 tokens (q8_0), 7" in said and "20 slots of 65536 tokens (q4_0), " in said


def test_a_shared_context_that_does_not_fit_names_a_smaller_one(model):
    plan = capacity_plan.plan_for(model, settings(20, 262144, pool=2097152), gpu(81559), MARGIN)
    others = capacity_plan.nearest(model, plan)
    assert others and all(other.fits and other.settings.pool for other in others)


def test_a_model_that_is_larger_than_the_card_is_said_so(model):
    plan = capacity_plan.plan_for(model, settings(1, 4096), gpu(16380), MARGIN)
    assert capacity_plan.nearest(model, plan) == []
    assert "The weights alone are 17525 MiB" in capacity_plan.refusal(model, plan)


def test_several_cards_each_need_the_driver_and_a_compute_buffer(model):
    one = capacity_plan.predict(model, settings(4, 32768), gpu(24564))
    two = capacity_plan.predict(model, settings(4, 32768), gpu(24564, 2))
    assert two.driver == 2 * one.driver
    assert two.compute > 2 * one.compute
    assert two.uneven == (two.weights + two.context) / 48


def test_the_host_is_warned_for_when_the_prompt_cache_does_not_go_into_its_memory(model):
    plan = capacity_plan.plan_for(model, settings(8, 57344, cache_ram=32768), gpu(81559), MARGIN)
    assert capacity_plan.host_warnings(model, plan, 131072, "") == []
    (warning,) = capacity_plan.host_warnings(model, plan, 32768, "")
    assert "32768 MiB of them for the prompt cache" in warning and "the host has 32768 MiB" in warning


def test_a_limit_of_memory_that_does_not_count_the_prompt_cache_is_warned_of(model):
    plan = capacity_plan.plan_for(model, settings(8, 57344, cache_ram=32768), gpu(81559), MARGIN)
    (warning,) = capacity_plan.host_warnings(model, plan, 131072, "32G")
    assert warning.startswith("MemoryMax is 32G")
    assert capacity_plan.host_warnings(model, plan, 131072, "64G") == []


def test_the_limit_of_memory_that_is_computed_is_never_warned_of(model):
    for cache_ram in (0, 8192, 65536):
        for memory in (gpu(81559), HOST):
            plan = capacity_plan.plan_for(model, settings(8, 57344, cache_ram=cache_ram), memory, MARGIN)
            limit = "%dM" % capacity_plan.memory_limit_mib(model, plan)
            assert capacity_plan.host_warnings(model, plan, 0, limit) == []


def test_a_context_that_more_may_use_than_there_is_is_warned_of(model):
    shared = capacity_plan.plan_for(model, settings(20, 262144, pool=1048576), gpu(81559), MARGIN)
    (warning,) = capacity_plan.host_warnings(model, shared, 0, "")
    assert "every request that is under way fails at once" in warning
    enough = capacity_plan.plan_for(model, settings(4, 262144, pool=1048576), gpu(81559), MARGIN)
    assert capacity_plan.host_warnings(model, enough, 0, "") == []


@pytest.mark.parametrize(
    "text, mib",
    [("64G", 65536), ("512M", 512), ("1T", 1048576), ("1048576K", 1024), ("1.5G", 1536), ("infinity", None), ("80%", None), ("", None)],
)
def test_sizes_are_understood_as_systemd_understands_them(text, mib):
    assert capacity_plan.size_mib(text) == mib


def test_the_table_has_every_part_and_adds_up(model):
    plan = capacity_plan.plan_for(model, settings(20, 57344), gpu(81559), MARGIN)
    lines = capacity_plan.report(model, plan)
    assert lines[:2] == ["qwen3moe Q4_K_M, 30.5 billion parameters on a card", "20 slots of 57344 tokens (q8_0)"]
    sizes = {line[:18].strip(): int(line.split()[-2]) for line in lines[2:]}
    total = sizes.pop("all of the memory")
    assert sizes.pop("and of the host") > 8192
    assert sum(sizes.values()) == pytest.approx(total, abs=len(sizes))


def test_whatever_a_file_says_gives_a_plan_or_a_sentence(model):
    chance = random.Random(20260102)
    numbers = [name for name, value in model.items() if isinstance(value, int) and name not in ("layers", "latent_attention")]
    numbers += ["sliding_window"]
    plans = refusals = 0
    for _case in range(300):
        odd = {**model, **{name: chance.choice([None, 0, 1, 3, 2**40]) for name in chance.sample(numbers, 2)}}
        odd = {**odd, "recurrent_bytes": odd["recurrent_bytes"] or 0, "recurrent_layers": odd["recurrent_layers"] or 0}
        odd = {**odd, "parameters": odd["parameters"] or 0, "experts": odd["experts"] or 0}
        try:
            capacity_plan.expect_language_model(odd)
        except PlanError:
            refusals += 1
            continue
        plan = capacity_plan.plan_for(odd, capacity_plan.choose(odd, settings(0, 0), gpu(81559), MARGIN, 20), gpu(81559), MARGIN)
        assert capacity_plan.report(odd, plan) and capacity_plan.refusal(odd, plan)
        plans += 1
    assert min(plans, refusals) > 50


@pytest.mark.parametrize("missing", ["layers", "heads", "vocabulary_size"])
def test_a_file_that_is_no_language_model_is_refused(model, missing):
    with pytest.raises(PlanError, match=missing.replace("_", " ")):
        capacity_plan.expect_language_model({**model, missing: None})


def test_cards_are_read_as_nvidia_smi_lists_them():
    listed = "0, GPU-1f2e, NVIDIA H100 80GB HBM3, 81559, Disabled, 4\n1, GPU-3d4c, NVIDIA H100 80GB HBM3, 81559, [N/A], [N/A]\n"
    first, second = capacity_plan.parse_gpus(listed)
    assert first == capacity_plan.Gpu("0", "GPU-1f2e", "NVIDIA H100 80GB HBM3", 81559, used=4)
    assert (second.index, second.uuid) == ("1", "GPU-3d4c")
    assert capacity_plan.parse_gpus("No devices were found\n") == []
    with pytest.raises(PlanError, match="NVIDIA GB10 does not say how much memory it has"):
        capacity_plan.parse_gpus("0, GPU-5, NVIDIA GB10, [N/A], [N/A], [N/A]\n")


@pytest.mark.parametrize(
    "used, programs, told",
    [
        (3, "", []),
        (78000, "GPU-a, /opt/llama.cpp/current/bin/llama-server, 77990\n", []),
        (78000, "GPU-a, /opt/llama.cpp/current/bin/llama-server, 70000\nGPU-a, python3, 8000\n", ["8000 MiB of the GPU 0 (NVIDIA H100)"]),
        (1500, "", ["1500 MiB of the GPU 0 (NVIDIA H100)"]),
        (78000, "GPU-a, /opt/llama.cpp/current/bin/llama-server, [N/A]\n", []),
        (5000, "GPU-b, /opt/llama.cpp/current/bin/llama-server, 5000\n", ["5000 MiB of the GPU 0 (NVIDIA H100)"]),
    ],
    ids=["idle", "the server alone", "another program", "a desktop", "nobody tells", "a server on another card"],
)
def test_memory_that_other_programs_hold_is_warned_of(used, programs, told):
    warnings = capacity_plan.stranger_warnings([capacity_plan.Gpu("0", "GPU-a", "NVIDIA H100", 81559, used=used)], programs)
    assert len(warnings) == len(told)
    assert all(f"Other programs than llama-server take {what}" in warning for what, warning in zip(told, warnings, strict=True))


def test_the_hosts_memory_is_read_as_the_kernel_tells_it():
    assert capacity_plan.parse_meminfo("MemFree: 1 kB\nMemTotal:       24683872 kB\n") == 24105
    assert capacity_plan.parse_meminfo("") == 0
