"""The tables of docs/capacity.md, computed by the code that plans on a host, for the production model on cards of common sizes."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import capacity_plan, gguf
from ansible_collections.private_llm.platform.tests.unit.fakes import gguf_files

ROOT = Path(__file__).resolve().parents[1]

PAGE = ROOT / "docs" / "capacity.md"
TABLE = re.compile(r"(<!-- `make docs` writes the table of (\w+) here. -->\n).*?(<!-- end -->)", re.DOTALL)
PEOPLE = 20
MARGIN = 1024
# MiB as nvidia-smi gives them for cards of that size.
CARDS = {
    "24 GB (RTX 4090, RTX 3090)": 24564,
    "32 GB (RTX 5090)": 32607,
    "48 GB (L40S)": 46068,
    "80 GB (H100, A100)": 81559,
    "96 GB (RTX PRO 6000)": 97887,
    "141 GB (H200)": 143771,
}
LONG = 262144


def production() -> dict[str, Any]:
    """The production model, out of a file that has its head."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "production.gguf"
        gguf_files.model().write(path)
        return gguf.describe(gguf.read(str(path)))


def number(value: float) -> str:
    return f"{round(value):,}"


def defaults(model: dict[str, Any]) -> list[str]:
    """What is chosen for 20 people when nothing is set."""
    lines = ["| Card | MiB | Slots x context | Weights | Context | Compute | Conversion | Driver | Needed | To spare |", "|---" * 10 + "|"]
    for card, mib in CARDS.items():
        memory = capacity_plan.Memory("gpu", card, (mib,))
        chosen = capacity_plan.choose(model, capacity_plan.Settings(0, 0), memory, MARGIN, PEOPLE)
        plan = capacity_plan.plan_for(model, chosen, memory, MARGIN)
        parts = plan.parts
        sizes = (parts.weights, parts.context, parts.compute, parts.scratch, parts.driver, plan.needed, plan.spare)
        lines.append(f"| {card} | {number(mib)} | **{chosen.slots} x {number(chosen.context)}** | {' | '.join(number(size) for size in sizes)} |")
    return lines


def types(model: dict[str, Any]) -> list[str]:
    """What other types of context memory would give, and how many of the longest contexts there is room for."""
    lines = ["| Card | f16 | q8_0 (default) | q4_0 | Contexts of 262,144 with q8_0 |", "|---|---|---|---|---|"]
    for card, mib in CARDS.items():
        memory = capacity_plan.Memory("gpu", card, (mib,))
        cells = []
        for kept in ("f16", "q8_0", "q4_0"):
            chosen = capacity_plan.choose(model, capacity_plan.Settings(0, 0, kept, kept), memory, MARGIN, PEOPLE)
            cells.append(f"{chosen.slots} x {number(chosen.context)}")
        long = capacity_plan.most_slots(model, capacity_plan.Settings(0, LONG), memory, MARGIN, PEOPLE)
        lines.append(f"| {card} | {' | '.join(cells)} | {long or 'none'} |")
    return lines


def page() -> str:
    """The whole page with its tables as they have to be."""
    model = production()
    tables = {"defaults": defaults(model), "types": types(model)}
    return TABLE.sub(lambda found: found[1] + "\n".join(tables[found[2]]) + "\n" + found[3], PAGE.read_text())
