"""The page about GPU hosts says of each generation what the collection's own table says."""

from __future__ import annotations

import re

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import gpu_table

from tree import ROOT

PAGE = (ROOT / "docs" / "gpu-host.md").read_text()
ROWS = {line.split("|")[1].strip(): line for line in PAGE.splitlines() if line.startswith("| ")}
GENERATIONS = sorted({chip.generation.name for chip in gpu_table.CHIPS} - {"Rubin"})


def row_of(generation):
    (row,) = [line for names, line in ROWS.items() if generation in names.split(", ")]
    return row


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_generation_s_row_has_its_branches_and_its_cuda(generation):
    chips = [chip for chip in gpu_table.CHIPS if chip.generation.name == generation]
    kinds = {chip.generation for chip in chips}
    _start, _names, modules, branches, cuda, _end = row_of(generation).split("|")
    if newest := {kind.newest_branch for kind in kinds if kind.newest_branch}:
        assert re.findall(r"\d+", branches) == [str(max(newest))]
        assert re.findall(r"\d+", cuda) == [str(kind.newest_cuda) for kind in kinds]
        assert modules.strip() == "proprietary"
        return
    assert {chip.oldest_cuda for chip in chips} <= set(re.findall(r"\d+\.\d+", cuda))
    if {kind.open_modules for kind in kinds} == {gpu_table.OPEN_REQUIRED}:
        assert modules.strip() == "open"
        assert {str(kind.oldest_branch) for kind in kinds} == set(re.findall(r"\d{3,}", re.sub(r"[A-Z]+\d+", "", branches)))
