# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.filter.litellm_people import FilterModule
from ansible_collections.private_llm.platform.tests.unit.fakes.vault import Vaulted

ROOT = "an-example-root-secret-of-enough-length-0123456789"
litellm_people = FilterModule().filters()["litellm_people"]


def test_people_become_what_the_access_module_wants():
    people = litellm_people([{"name": "ada", "full_name": "Ada", "state": "blocked", "rpm_limit": 5}, {"name": "linus"}], ROOT, {"rpm_limit": 60})
    assert [(person["name"], person["state"], person["keys"][0]["alias"], person["keys"][0]["rpm_limit"]) for person in people] == [
        ("ada", "blocked", "ada-1", 5),
        ("linus", "present", "linus-1", 60),
    ]
    assert people[0]["full_name"] == "Ada"


def test_the_whole_list_is_checked_before_any_key_is_made():
    with pytest.raises(AnsibleFilterError, match=r"2 problem.*entry 1 has no name.*linus: key_generation must be 1 or more"):
        litellm_people([{}, {"name": "linus", "key_generation": 0}], ROOT)


def test_an_unusable_root_secret_is_refused():
    with pytest.raises(AnsibleFilterError, match="it needs at least 32"):
        litellm_people([{"name": "ada"}], "short")


def test_nobody_is_an_empty_list():
    assert litellm_people(None, ROOT) == []


def test_what_is_vaulted_inline_is_taken_as_its_plain_text():
    people = litellm_people([{"name": "ada", "key": Vaulted("sk-adas-own-key-0000")}, {"name": "linus"}], Vaulted(ROOT))
    assert people == litellm_people([{"name": "ada", "key": "sk-adas-own-key-0000"}, {"name": "linus"}], ROOT)
    assert isinstance(people[0]["keys"][0]["value"], str)


def test_only_the_people_asked_for_are_given_with_the_keys_they_have_in_the_whole_list():
    everybody = [{"name": "ada"}, {"name": "grace"}, {"name": "linus"}]
    assert litellm_people(everybody, ROOT, only=["grace"]) == [person for person in litellm_people(everybody, ROOT) if person["name"] == "grace"]


def test_people_who_are_not_asked_for_are_checked_all_the_same():
    with pytest.raises(AnsibleFilterError, match="linus: key_generation must be 1 or more"):
        litellm_people([{"name": "ada"}, {"name": "linus", "key_generation": 0}], ROOT, only=["ada"])


def test_a_name_that_nobody_has_is_an_error_that_names_near_ones():
    with pytest.raises(AnsibleFilterError, match=r"nobody in the list is called grase; did you mean grace\?"):
        litellm_people([{"name": "ada"}, {"name": "grace"}], ROOT, only=["grase"])
