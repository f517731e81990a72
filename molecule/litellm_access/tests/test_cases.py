"""The real gateway, asked the very cases that the unit tests ask the fake one: what holds there holds here."""

from __future__ import annotations

import pytest
from access_runs import MASTER_KEY, PEOPLE, Run
from ansible_collections.private_llm.platform.plugins.module_utils import litellm_access
from ansible_collections.private_llm.platform.tests.unit.cases.litellm import CASES, World


@pytest.fixture(scope="module", autouse=True)
def _everybody_of_the_scenario_again():
    """One of the cases removes whoever is not in its list."""
    yield
    outcome = Run(PEOPLE)
    assert outcome.status == 0, outcome.output


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_case(outside, case, tmp_path, monkeypatch):
    monkeypatch.setattr(litellm_access, "LOCK_DIRECTORY", str(tmp_path))
    world = World(f"http://{outside.address}:4000", MASTER_KEY, f"case{CASES.index(case)}z")
    world.clean()
    try:
        case(world)
    finally:
        world.clean()
