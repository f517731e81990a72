# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.filter.derive_secrets import FilterModule
from ansible_collections.private_llm.platform.tests.unit.fakes.vault import Vaulted

ROOT, KEPT = "an-example-root-secret-of-enough-length-0123456789", "the-root-secret-of-before-of-enough-length-0123456"
derive_secrets = FilterModule().filters()["derive_secrets"]


def test_root_secrets_that_are_vaulted_inline_give_the_same_secrets():
    assert derive_secrets(Vaulted(ROOT), Vaulted(KEPT)) == derive_secrets(ROOT, KEPT, {})


def test_a_number_is_heeded():
    assert derive_secrets(ROOT, KEPT, {"valkey/langfuse": 2})["valkey/langfuse"] != derive_secrets(ROOT, KEPT)["valkey/langfuse"]


@pytest.mark.parametrize(
    "root, numbers, sentence",
    [("short", {}, "The root secret has 5 characters"), (ROOT, {"litellm/salt-key": 2}, "has no next one"), (ROOT, [1], "has to be a dictionary")],
)
def test_what_cannot_be_used_is_one_sentence(root, numbers, sentence):
    with pytest.raises(AnsibleFilterError, match=f"^derive_secrets: .*{sentence}"):
        derive_secrets(root, KEPT, numbers)
