# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What holds for all unit tests."""

from __future__ import annotations

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import litellm_access


@pytest.fixture(autouse=True)
def _locks_of_this_test_alone(tmp_path, monkeypatch):
    """A module locks a gateway for the whole host; a test leaves nothing behind on it."""
    monkeypatch.setattr(litellm_access, "LOCK_DIRECTORY", str(tmp_path))
