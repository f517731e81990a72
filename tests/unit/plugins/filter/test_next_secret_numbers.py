# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.filter.next_secret_numbers import FilterModule

next_secret_numbers = FilterModule().filters()["next_secret_numbers"]


def test_the_number_of_the_named_secret_alone_counts_up():
    assert next_secret_numbers({"langfuse/session": 3}, "valkey/langfuse") == {"langfuse/session": 3, "valkey/langfuse": 2}


def test_a_secret_without_a_next_one_is_a_sentence_with_those_that_have():
    with pytest.raises(AnsibleFilterError, match="litellm/salt-key .* has no next one: cannot change: .* Those that can be changed: litellm/master-key"):
        next_secret_numbers({}, "litellm/salt-key")
