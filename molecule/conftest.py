"""Fixtures of all scenarios' tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from outside import Outside


@pytest.fixture(autouse=True)
def _in_the_order_of_the_file(host: Any) -> None:
    """pytest runs tests that do not use the parametrised host last; a scenario's tests tell one story from top to bottom."""


@pytest.fixture(scope="module")
def outside(host: Any) -> Outside:
    """The host as the network sees it."""
    return Outside.of(host)


@pytest.fixture(scope="module")
def inspect(host: Any) -> Callable[[str], Any]:
    """What the engine knows of a container."""

    def look(name: str) -> Any:
        return json.loads(host.check_output(f"docker inspect {name}"))[0]

    return look
