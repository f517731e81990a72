# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.filter.derive_secret import FilterModule
from ansible_collections.private_llm.platform.tests.unit.fakes.vault import Vaulted

ROOT = "an-example-root-secret-of-enough-length-0123456789"


def test_the_filter_gives_forty_characters_by_default():
    derive_secret = FilterModule().filters()["derive_secret"]
    assert len(derive_secret(ROOT, "litellm/master-key")) == 40
    assert len(derive_secret(ROOT, "litellm/master-key", 12)) == 12


def test_the_filter_refuses_a_placeholder_with_one_sentence():
    derive_secret = FilterModule().filters()["derive_secret"]
    with pytest.raises(AnsibleFilterError, match="The root secret is still the placeholder"):
        derive_secret("CHANGE-ME", "litellm/master-key")


def test_a_root_secret_that_is_vaulted_inline_gives_the_same_secret():
    derive_secret = FilterModule().filters()["derive_secret"]
    assert derive_secret(Vaulted(ROOT), "litellm/master-key") == derive_secret(ROOT, "litellm/master-key")


def test_the_next_number_of_a_label_is_another_secret_and_the_first_is_the_one_without_number():
    derive_secret = FilterModule().filters()["derive_secret"]
    assert derive_secret(ROOT, "litellm/master-key", number=1) == derive_secret(ROOT, "litellm/master-key")
    assert derive_secret(ROOT, "litellm/master-key", number=2) != derive_secret(ROOT, "litellm/master-key")
    with pytest.raises(AnsibleFilterError, match="counts secrets of one label from 1"):
        derive_secret(ROOT, "litellm/master-key", number=0)
