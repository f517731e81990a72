# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each table that ClickHouse writes about itself is off or ends, and the configuration is the same on each run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROLE = Path(__file__).resolve().parents[3] / "roles" / "clickhouse"
KNOWN = json.loads((ROLE / "files" / "system_logs.json").read_text())["logs"]
INTERNAL = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())


def _trusted(text):
    try:
        from ansible.template import trust_as_template
    except ImportError:  # before ansible-core 2.19 every text is a template
        return text
    return trust_as_template(text)


def test_what_is_not_kept_is_dropped_in_the_order_of_the_list():
    variables = {"__clickhouse_known_logs": KNOWN, "__clickhouse_kept_logs": INTERNAL["__clickhouse_kept_logs"]}
    dropped = Templar(loader=DataLoader(), variables=variables).template(_trusted(INTERNAL["__clickhouse_dropped_logs"]))
    assert dropped == [name for name in KNOWN if name not in INTERNAL["__clickhouse_kept_logs"]]


def test_what_is_kept_is_known():
    assert set(INTERNAL["__clickhouse_kept_logs"]) < set(KNOWN)


@pytest.mark.parametrize("name", ["query_metric_log", "backup_log", "s3queue_log", "background_schedule_pool_log", "latency_log"])
def test_the_list_has_what_version_25_12_writes(name):
    assert name in KNOWN
