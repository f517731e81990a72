# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.private_llm.platform.plugins.modules import langfuse_info
from ansible_collections.private_llm.platform.tests.unit.fakes.langfuse import PUBLIC_KEY, SECRET_KEY, FakeLangfuse, observation, served
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module


def run(langfuse, **more):
    with served(langfuse) as url:
        given = {"url": url, "public_key": PUBLIC_KEY, "secret_key": SECRET_KEY, "since": "2026-11-01", "until": "2026-12-01"}
        return run_module(langfuse_info.main, {**given, **more})


def test_it_tells_usage_and_topics_of_the_period_alone():
    inside = observation(1, "2026-11-02T00:00:00.000Z", question="Where is the parser?")
    result = run(FakeLangfuse([inside, observation(2, "2026-12-02T00:00:00.000Z")]))
    assert [(row["person"], row["team"], row["requests"]) for row in result["usage"]] == [("ada", "research", 1)]
    assert {(entry["kind"], entry["name"]): entry["topics"] for entry in result["topics"]} == {("person", "ada"): ["parser"], ("team", "research"): ["parser"]}
    assert result["changed"] is False


def test_without_topics_no_prompt_is_fetched():
    langfuse = FakeLangfuse([observation(1, "2026-11-02T00:00:00.000Z")])
    assert run(langfuse, topics=False)["topics"] == []
    assert all("io" not in query["fields"].split(",") for _method, _path, query in langfuse.asked)


def test_wrong_keys_are_told_without_quoting_them():
    result = run(FakeLangfuse(), secret_key="sk-lf-wrong-0123456789")
    assert result["failed"] and "check the project's keys" in result["msg"] and "sk-lf-wrong" not in result["printed"]
