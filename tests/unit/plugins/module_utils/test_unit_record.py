# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import unit_record
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import HEADER, render
from ansible_collections.private_llm.platform.plugins.module_utils.unit_record import UnitRecord


def unit(command="/bin/a", **parts):
    record = UnitRecord(**parts)
    text = render({"Service": {"ExecStart": f"{command} {record.fingerprint} {record.exact_image}"}})
    return text + "\n" + render({unit_record.SECTION: record.section()}, header="")


def test_a_unit_gives_back_what_was_written_into_it():
    record = UnitRecord("f1", "web:1", "web@sha256:11", '{"http": "http://a/?b=c"}', ("127.0.0.1:80:80", "[::1]:80:80"), image_start='[["/a=b"], []]')
    assert unit_record.parse(unit(**vars(record))) == record


def test_a_unit_without_a_record_gives_an_empty_one():
    assert unit_record.parse(render({"Service": {"ExecStart": "/bin/a"}})) == UnitRecord()


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (unit(fingerprint="f2", exact_image="i1", health="h1"), None),
        (unit(fingerprint="f1", exact_image="i2", health="h1"), None),
        (unit(fingerprint="f1", exact_image="i1", health="h2"), "health check"),
        (unit(command="/bin/b", fingerprint="f1", exact_image="i1", health="h1"), "content"),
    ],
    ids=["other files", "another image", "another health check", "another command"],
)
def test_two_units_differ_by_what_they_do_and_not_by_what_names_it(after, why):
    before = unit(fingerprint="f1", exact_image="i1", health="h1")
    assert unit_record.explain(before.encode(), after.encode()) == why


def test_only_enabled_units_of_ours_count_as_publishing(tmp_path):
    for name in ("own", "other", "stopped"):
        (tmp_path / f"{name}.service").write_text(unit(fingerprint="f", publish=("127.0.0.1:80:80",)))
    (tmp_path / "stranger.service").write_text(unit(fingerprint="f", publish=("127.0.0.1:81:80",)).replace(HEADER, ""))
    enabled = {"own.service", "other.service", "stranger.service"}
    assert unit_record.published_by_others(str(tmp_path), "own.service", enabled) == {"127.0.0.1:80:80": "other.service"}
