# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.private_llm.platform.plugins.filter.model_names import FilterModule

names = FilterModule().filters()["model_names"]


def test_each_name_is_told_once_in_the_order_of_the_hosts():
    hosts = {"a": {"llm_models": [{"name": "large"}, {"name": "small"}]}, "b": {"llm_models": [{"name": "large"}]}, "c": {}}
    assert names(hosts, ["a", "b", "c"], "other") == ["large", "small", "other"]


def test_a_model_that_is_taken_away_has_no_name():
    assert names({"a": {"llm_models": [{"name": "large"}, {"name": "small", "state": "absent"}]}}, ["a"], "x") == ["large"]


@pytest.mark.parametrize("wrong", [None, "large", 5, [None, {"nam": "a"}, {"name": 5}]])
def test_a_list_that_is_wrong_is_left_to_the_check_of_the_inventory(wrong):
    assert names({"a": {"llm_models": wrong}}, ["a"], "x") == ["x"]


def test_without_hosts_there_is_the_name_that_is_given():
    assert names({}, [], "x") == ["x"]
