# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import log_pipeline
from ansible_collections.private_llm.platform.plugins.module_utils.log_pipeline import BadPattern, Settings, alloy, level_pattern, promtail

SETTINGS = Settings("gpu1", "http://loki:3100/loki/api/v1/push", "/var/log/journal", "12h", ["litellm"], [])


def scrubbed(line, own=()):
    """A line as it leaves the host."""
    for pattern in log_pipeline.secret_patterns(own):
        line = re.sub(pattern, lambda found: found.group(0).replace(found.group(1), log_pipeline.REPLACEMENT), line)
    return line


@pytest.mark.parametrize(
    "line, secret",
    [
        ("using key sk-AbCdEf0123456789xyz", "AbCdEf0123456789xyz"),
        ("langfuse pk-lf-12345678-1234-1234-1234-123456789abc", "12345678-1234"),
        ("Authorization: Bearer eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJIUzI1NiJ9"),
        ("authorization=bearer 0123456789abcdef", "0123456789abcdef"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZDEyMw==", "dXNlcjpwYXNzd29yZDEyMw"),
        ("connecting to postgresql://litellm:s3cr3t-pass@db:5432/litellm", "s3cr3t-pass"),
        ("redis://:s3cr3t-pass@valkey:6379", "s3cr3t-pass"),
        ("POSTGRES_PASSWORD=correct-horse", "correct-horse"),
        ('{"api_key": "0123456789abcdef"}', "0123456789abcdef"),
        ("LITELLM_SALT_KEY: 0123456789abcdef", "0123456789abcdef"),
        ("salt: 0123456789abcdef", "0123456789abcdef"),
        (r'request: {\"api_key\": \"0123-4567\", \"model\": \"x\"}', "0123-4567"),
        ('{"password": "three small words"}', "small words"),
        ("PGPASSWORD=short", "short"),
        ("llama-server --api-key hunter2 --port 8000", "hunter2"),
        ("tool --auth-token=hunter22", "hunter22"),
        ("Downloading with hf_AbCdEfGhIjKlMnOpQrSt", "hf_AbCdEfGhIjKlMnOpQrSt"),
        ("clone with ghp_0123456789abcdefghij", "ghp_0123456789abcdefghij"),
        ("token eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.c2lnbmF0dXJl", "eyJzdWIiOiIxMjM0"),
    ],
)
def test_a_secret_is_replaced_and_the_rest_of_the_line_stays(line, secret):
    found = scrubbed(line)
    assert secret not in found and log_pipeline.REPLACEMENT in found and found[:3] == line[:3]


@pytest.mark.parametrize(
    "line",
    [
        "slot update: n_tokens = 1024, n_past = 512",
        "prompt eval time = 12.3 ms / 4 tokens",
        "GET /v1/models HTTP/1.1 200",
        "http://127.0.0.1:4000/health answered",
        "max_tokens: 200, temperature: 0.7",
        "llama-server --api-key-file /run/credentials/api-key --metrics",
        '{"completion_tokens": 12, "token": 7}',
    ],
)
def test_an_ordinary_line_is_left_alone(line):
    assert scrubbed(line) == line


def test_a_pattern_of_the_operators_own_is_used():
    assert scrubbed("badge 123456 seen", ["badge ([0-9]{6})"]) == f"badge {log_pipeline.REPLACEMENT} seen"


@pytest.mark.parametrize(
    "pattern, sentence",
    [("badge", "has 0 groups"), ("(a)(b)", "has 2 groups"), ("(?=a)(b)", "looks around"), ("(a", "is no regular expression"), (r"(a)\1", "looks around")],
)
def test_a_pattern_that_the_agents_would_not_take_is_refused(pattern, sentence):
    with pytest.raises(BadPattern, match=re.escape(sentence)):
        log_pipeline.secret_patterns([pattern])


def test_no_pattern_needs_what_re2_does_not_have():
    patterns = [*log_pipeline.SECRETS, log_pipeline.FIRST_LINE, *map(level_pattern, log_pipeline.LEVELS)]
    assert [pattern for pattern in patterns if re.search(r"\(\?(?:[=!]|<[=!])|\\[1-9]", pattern)] == []
    assert [pattern for pattern in log_pipeline.SECRETS if re.compile(pattern).groups != 1] == []


def level_of(line):
    """The last level that a line names."""
    found = [level for level in log_pipeline.LEVELS if re.search(level_pattern(level), line)]
    return found[-1] if found else None


@pytest.mark.parametrize(
    "line, level",
    [
        ("level=error msg=oops", "error"),
        ('{"level": "WARNING", "message": "x"}', "warning"),
        ("INFO:     127.0.0.1 - GET /", "info"),
        ("2026-11-25 18:00:00 UTC [12] ERROR:  relation does not exist", "error"),
        ("2026-11-25 18:00:00 UTC [12] FATAL:  password authentication failed", "critical"),
        ("[WARN]: disk is slow", "warning"),
        ("[WARNING]  (8) : Server gateway/llm is DOWN", "warning"),
        ("2026.11.25 18:00:00.123456 [ 1 ] {} <Error> Application: no space left", "error"),
        ("2026.11.25 18:00:00.123456 [ 1 ] {} <Information> Application: ready", "info"),
        ("E1125 18:00:00.123456 volume_server.go:12] no free volumes", "error"),
        ("error: failed to load the model", "error"),
        ("Traceback (most recent call last):\n  File", "error"),
        ("an error happened somewhere", None),
        ("GET /errors 200", None),
    ],
)
def test_the_level_is_what_the_line_itself_names(line, level):
    assert level_of(line) == level


@pytest.mark.parametrize(
    "line, first",
    [
        ("Traceback (most recent call last):", True),
        ('  File "a.py", line 1', False),
        ("ValueError: no", False),
        ('{"message": "x"}', True),
        ("2026-11-25 18:00:00 x", True),
        ("2026.11.25 18:00:00.123456 [ 1 ] {} <Error> x", True),
        ("18:00:00 - LiteLLM:ERROR", True),
        ("INFO:     started", True),
        ("level=info msg=x", True),
        ("litellm.service: Deactivated successfully.", True),
        ("Started litellm.service - LiteLLM gateway.", True),
    ],
)
def test_a_trace_goes_on_until_a_line_begins_like_a_new_one(line, first):
    assert bool(re.search(log_pipeline.FIRST_LINE, line)) is first


def test_both_agents_are_told_the_same():
    written = promtail(SETTINGS, "/var/lib/promtail/positions.yaml", 9080)
    job = written["scrape_configs"][0]
    text = alloy(SETTINGS)
    assert text.count("stage.replace") == sum("replace" in stage for stage in job["pipeline_stages"]) == len(log_pipeline.SECRETS)
    assert text.count("rule {") == len(job["relabel_configs"])
    assert job["pipeline_stages"][-1] == {"labelallow": ["host", "service", "level"]} and 'values = ["host", "service", "level"]' in text


def test_secrets_are_replaced_after_lines_were_joined_and_before_anything_else():
    kinds = [name for name, _options in log_pipeline.stages(SETTINGS)]
    assert kinds[0] == "match" and set(kinds[1 : 1 + len(log_pipeline.SECRETS)]) == {"replace"}


def test_an_agent_outlives_a_store_that_is_away_for_days_without_giving_a_line_up():
    retries = promtail(SETTINGS, "/var/lib/promtail/positions.yaml", 9080)["clients"][0]["backoff_config"]
    assert retries == {"max_period": "1m", "max_retries": 10_000}, "a minute each, that is a week"
    assert "max_backoff_retries = 10000" in alloy(SETTINGS) and 'max_backoff_period  = "1m"' in alloy(SETTINGS)


def test_no_selector_of_a_stage_has_the_back_quotes_that_the_agents_do_not_know():
    selectors = [options["selector"] for name, options in log_pipeline.stages(SETTINGS) if name == "match"]
    assert len(selectors) == 1 + len(log_pipeline.LEVELS) and not any("`" in selector for selector in selectors)


def test_a_service_with_a_hyphen_is_no_escape_that_the_agents_do_not_know():
    named = Settings("gpu1", "http://loki", "/var/log/journal", "12h", ["langfuse-web"], [])
    (selector,) = [options["selector"] for _name, options in log_pipeline.stages(named)[:1]]
    assert selector == r'{service=~"langfuse\\-web"}'


def test_without_services_of_several_lines_nothing_is_joined():
    assert "multiline" not in alloy(Settings("gpu1", "http://loki", "/var/log/journal", "12h", [], []))
