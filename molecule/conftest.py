"""Fixtures of all scenarios' tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from outside import Outside


@pytest.fixture(scope="module")
def outside(host: Any) -> Outside:
    """The host as the network sees it."""
    # The address towards the network, not one of the host's own bridges.
    return Outside(host.check_output("ip -4 route get 192.0.2.1 | grep -o 'src [0-9.]*'").split()[1])


@pytest.fixture(scope="module")
def inspect(host: Any) -> Callable[[str], Any]:
    """What the engine knows of a container."""

    def look(name: str) -> Any:
        return json.loads(host.check_output(f"docker inspect {name}"))[0]

    return look
