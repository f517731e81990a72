# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cases that the real gateway passes in the scenario litellm_access, asked of the fake."""

from __future__ import annotations

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import litellm_access as core
from ansible_collections.private_llm.platform.tests.unit.cases.litellm import CASES, World
from ansible_collections.private_llm.platform.tests.unit.fakes.litellm import MASTER_KEY, FakeLitellm


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_case(case, monkeypatch):
    monkeypatch.setattr(core, "VERIFY_DELAYS", (0.0, 0.0, 0.0, 0.0))
    with FakeLitellm() as gateway:
        case(World(gateway.url, MASTER_KEY, "case"))
