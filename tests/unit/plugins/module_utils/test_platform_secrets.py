# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import hkdf, platform_secrets

ROOT, KEPT = "the-root-secret-of-today-that-is-long-enough", "the-root-secret-of-before-that-is-long-enough"
STAY = [secret.name for secret in platform_secrets.CATALOGUE if secret.is_kept]


def test_every_secret_is_another_one():
    found = platform_secrets.all_secrets(ROOT, KEPT, {})
    assert len(set(found.values())) == len(found) == len(platform_secrets.CATALOGUE) and min(map(len, found.values())) >= 40


def test_a_higher_number_changes_that_secret_alone():
    before, after = platform_secrets.all_secrets(ROOT, KEPT, {}), platform_secrets.all_secrets(ROOT, KEPT, {"valkey/langfuse": 2})
    assert {name for name in before if before[name] != after[name]} == {"valkey/langfuse"}


def test_the_first_of_each_name_is_the_one_that_releases_without_numbers_derived():
    assert platform_secrets.all_secrets(ROOT, KEPT, {})["valkey/langfuse"] == hkdf.derive_secret(ROOT, "valkey/langfuse")


def test_a_new_root_secret_changes_all_but_those_that_data_was_written_with():
    before, after = platform_secrets.all_secrets(KEPT, KEPT, {}), platform_secrets.all_secrets(ROOT, KEPT, {})
    assert [name for name in before if before[name] == after[name]] == STAY


def test_programs_find_the_beginning_that_they_want():
    found = platform_secrets.all_secrets(ROOT, KEPT, {})
    assert found["litellm/master-key"].startswith("sk-") and found["langfuse/project-key"].startswith("sk-lf-")


def test_the_next_number_counts_from_one_and_leaves_the_others():
    first = platform_secrets.with_next({}, "valkey/langfuse")
    assert first == {"valkey/langfuse": 2}
    assert platform_secrets.with_next({**first, "langfuse/session": 5}, "valkey/langfuse") == {"valkey/langfuse": 3, "langfuse/session": 5}


@pytest.mark.parametrize("name", STAY)
def test_a_secret_that_stays_has_no_next_one_and_the_reason_is_told(name):
    with pytest.raises(ValueError, match=f"^{name} .* has no next one: (cannot change|stays): .*Those that can be changed: litellm/master-key"):
        platform_secrets.with_next({}, name)


@pytest.mark.parametrize("name", ["", "valkey", "llama-server/api-key/8001"])
def test_a_name_that_is_none_is_told_with_those_that_are(name):
    with pytest.raises(ValueError, match="is no secret of the platform. Those that can be changed: .*valkey/langfuse"):
        platform_secrets.with_next({}, name)


@pytest.mark.parametrize(
    "given, problem",
    [
        ([], "has to be a dictionary"),
        ({"valkey/langfuse": 0}, "valkey/langfuse is 0; write a whole number from 1"),
        ({"valkey/langfuse": "2"}, "valkey/langfuse is '2'; write a whole number"),
        ({"valkey/langfuse": True}, "is True; write a whole number"),
        ({"valkey/langfuse": 10000}, "is 10000; write a whole number from 1 to 9999"),
        ({"litellm/salt-key": 2}, "litellm/salt-key .* has no next one"),
        ({"nothing": 2}, "'nothing' is no secret"),
    ],
)
def test_numbers_that_are_none_are_refused(given, problem):
    with pytest.raises(ValueError, match=problem):
        platform_secrets.numbers_of(given)
