# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.filter.log_agent_config import FilterModule

GIVEN = {
    "host": "gpu1",
    "loki_url": "http://loki:3100/loki/api/v1/push",
    "journal": "/var/log/journal",
    "max_age": "12h",
    "multiline_services": ["litellm"],
    "scrub": [],
    "positions": "/var/lib/promtail/positions.yaml",
    "port": 9080,
}
write = FilterModule().filters()["log_agent_config"]


def test_alloy_is_told_in_its_own_language():
    text = write(GIVEN, "alloy")
    assert 'loki.source.journal "host" {' in text and re.search(r'url\s+= "http://loki:3100/loki/api/v1/push"', text)


def test_promtail_is_told_in_yaml():
    found = yaml.safe_load(write(GIVEN, "promtail"))
    assert found["positions"] == {"filename": "/var/lib/promtail/positions.yaml"} and found["scrape_configs"][0]["journal"]["labels"] == {"host": "gpu1"}


def test_a_bad_pattern_is_an_error_that_names_it():
    with pytest.raises(AnsibleFilterError, match="the pattern badge has 0 groups"):
        write({**GIVEN, "scrub": ["badge"]}, "alloy")


def test_what_is_missing_is_named():
    with pytest.raises(AnsibleFilterError, match="'host' is missing"):
        write({key: value for key, value in GIVEN.items() if key != "host"}, "alloy")
