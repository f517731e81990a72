# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils.gpu_table import (
    CHIPS,
    DATA_CENTER_CARDS,
    architecture_of,
    chip_of,
    cuda_major_of,
    is_data_center,
)


@pytest.mark.parametrize(
    ("card", "device_id", "chip", "generation", "capability", "open_modules", "branches", "oldest_cuda", "newest_cuda"),
    [
        ("GeForce GTX 780", 0x1004, "unknown", "before Maxwell", None, "impossible", (0, 470), None, 11),
        ("Tesla M40", 0x17FD, "GM200", "Maxwell", "5.2", "impossible", (535, 580), "6.5", 12),
        ("GeForce GTX 1080", 0x1B80, "GP104", "Pascal", "6.1", "impossible", (535, 580), "8.0", 12),
        ("Tesla V100", 0x1DB1, "GV100", "Volta", "7.0", "impossible", (535, 580), "9.0", 12),
        ("Tesla T4", 0x1EB8, "TU104", "Turing", "7.5", "possible", (515, None), "10.0", None),
        ("GeForce GTX 1660", 0x2184, "TU116", "Turing", "7.5", "possible", (515, None), "10.0", None),
        ("A100 80GB", 0x20B5, "GA100", "Ampere", "8.0", "possible", (515, None), "11.0", None),
        ("GeForce RTX 3090", 0x2204, "GA102", "Ampere", "8.6", "possible", (515, None), "11.1", None),
        ("GeForce RTX 4090", 0x2684, "AD102", "Ada Lovelace", "8.9", "possible", (530, None), "11.8", None),
        ("L4", 0x27B8, "AD104", "Ada Lovelace", "8.9", "possible", (530, None), "11.8", None),
        ("H100 PCIe", 0x2331, "GH100", "Hopper", "9.0", "possible", (525, None), "11.8", None),
        ("H200", 0x2335, "GH100", "Hopper", "9.0", "possible", (525, None), "11.8", None),
        ("GH200", 0x2342, "GH100", "Hopper", "9.0", "required", (535, None), "11.8", None),
        ("B200", 0x2901, "GB100", "Blackwell", "10.0", "required", (570, None), "12.8", None),
        ("B300", 0x3182, "GB110", "Blackwell", "10.3", "required", (580, None), "12.9", None),
        ("GeForce RTX 5090", 0x2B85, "GB202", "Blackwell", "12.0", "required", (570, None), "12.8", None),
        ("RTX PRO 6000 Server", 0x2BB5, "GB202", "Blackwell", "12.0", "required", (570, None), "12.8", None),
        ("GB10", 0x2E12, "GB20B", "Blackwell", "12.1", "required", (595, None), "12.9", None),
    ],
)
def test_a_card_is_known_by_its_device_id(
    card, device_id, chip, generation, capability, open_modules, branches, oldest_cuda, newest_cuda
):
    found = chip_of(device_id)
    kind = found.generation
    assert (found.name, kind.name, found.compute_capability) == (chip, generation, capability), card
    assert (kind.open_modules, (kind.oldest_branch, kind.newest_branch)) == (open_modules, branches)
    assert (found.oldest_cuda, kind.newest_cuda) == (oldest_cuda, newest_cuda)


@pytest.mark.parametrize("device_id", [0x2A00, 0x2FA0, 0x3400, 0xFFFF])
def test_a_chip_newer_than_the_table_gets_the_open_modules_and_no_guessed_capability(device_id):
    found = chip_of(device_id)
    assert found.generation.open_modules == "required"
    assert found.compute_capability is None and found.oldest_cuda is None


def test_a_chip_older_than_the_table_is_not_taken_for_a_new_one():
    assert chip_of(0x0FC6).generation.name == "before Maxwell"
    assert chip_of(0x1D00 - 0x10).generation.name == "Pascal"


def test_no_two_blocks_overlap_and_they_are_in_order():
    assert all(one.first <= one.last < two.first for one, two in itertools.pairwise(CHIPS))


def test_cards_for_servers_are_told_from_those_for_desktops():
    servers = [0x20B5, 0x2330, 0x2901, 0x1EB8, 0x2235, 0x26B9, 0x27B8, 0x2BB5, 0x1DB1]
    desktops = [0x2204, 0x2684, 0x2B85, 0x1D81, 0x2230, 0x26B1, 0x1B80]
    assert all(map(is_data_center, servers))
    assert not any(map(is_data_center, desktops))


def test_every_card_for_servers_has_a_known_chip():
    assert [hex(device_id) for device_id in DATA_CENTER_CARDS if chip_of(device_id).name == "unknown"] == []


@pytest.mark.parametrize(("branch", "major"), [(470, 11), (525, 12), (535, 12), (570, 12), (580, 13), (595, 13), (620, 13)])
def test_a_branch_brings_a_major_version_of_cuda(branch, major):
    assert cuda_major_of(branch) == major


def test_an_architecture_is_the_capability_without_its_dot():
    assert [architecture_of(text) for text in ("7.5", "8.9", "10.0", "12.1")] == ["75", "89", "100", "121"]
