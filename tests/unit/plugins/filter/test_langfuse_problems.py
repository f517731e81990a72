# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with Langfuse's environment is told by name, before anything is changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.filter.langfuse_problems import langfuse_problems

KNOWN = json.loads((Path(__file__).resolve().parents[4] / "roles" / "langfuse" / "files" / "variables.json").read_text())
GOOD = {
    "DATABASE_URL": "postgresql://langfuse:secret0123@postgres-langfuse:5432/langfuse",
    "SALT": "s" * 40,
    "ENCRYPTION_KEY": "0f" * 32,
    "NEXTAUTH_URL": "https://langfuse.example.com",
    "NEXTAUTH_SECRET": "n" * 40,
    "CLICKHOUSE_URL": "http://clickhouse:8123",
    "CLICKHOUSE_MIGRATION_URL": "clickhouse://clickhouse:9000",
    "CLICKHOUSE_USER": "clickhouse",
    "CLICKHOUSE_PASSWORD": "c" * 40,
    "REDIS_HOST": "valkey",
    "LANGFUSE_S3_EVENT_UPLOAD_BUCKET": "langfuse",
}


def test_a_good_environment_has_no_problem():
    assert langfuse_problems(GOOD, KNOWN) == []


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"DATABASE_URL": "postgresql://langfuse:p@ss@db:5432/langfuse"}, "DATABASE_URL must be postgresql://USER:PASSWORD@HOST:PORT/NAME"),
        ({"DATABASE_URL": "postgresql://langfuse:p%zz@db:5432/langfuse"}, "DATABASE_URL must be"),
        ({"DATABASE_URL": "postgresql://langfuse:pass#word@db:5432/langfuse"}, "DATABASE_URL must be"),
        ({"DATABASE_URL": ""}, "DATABASE_URL is missing."),
        ({"ENCRYPTION_KEY": "0f" * 16}, "ENCRYPTION_KEY must be 64 hexadecimal digits."),
        ({"ENCRYPTION_KEY": "zz" * 32}, "ENCRYPTION_KEY must be 64 hexadecimal digits."),
        ({"NEXTAUTH_URL": "langfuse.example.com"}, "NEXTAUTH_URL must begin with http:// or https://."),
        ({"NEXTAUTH_URL": "https://"}, "NEXTAUTH_URL must be a URL"),
        ({"CLICKHOUSE_URL": "http://clickhouse:eighty"}, "CLICKHOUSE_URL must be a URL"),
        ({"CLICKHOUSE_PASSWORD": "a&b=c#d?e%f+g@h i"}, "CLICKHOUSE_PASSWORD may only have letters, digits"),
        ({"SALT": "short"}, "SALT needs at least 16 characters."),
        ({"TELEMETRY_ENABLED": "no"}, "TELEMETRY_ENABLED must be one of true, false."),
        ({"REDIS_PORT": "six"}, "REDIS_PORT must be a number."),
        ({"AUTH_DISABLE_SIGNUP": True}, "AUTH_DISABLE_SIGNUP must be text in quotes."),
        ({"LANGFUSE_INIT_USER_EMAIL": "nobody"}, "LANGFUSE_INIT_USER_EMAIL must be an e-mail address."),
        ({"AUTH_DISABLE_SINGUP": "true"}, "AUTH_DISABLE_SINGUP is no variable of Langfuse 4.16.0; did you mean AUTH_DISABLE_SIGNUP?"),
    ],
)
def test_a_mistake_is_one_sentence(change, sentence):
    (problem,) = langfuse_problems({**GOOD, **change}, KNOWN)
    assert problem.startswith(sentence)


def test_a_password_with_special_characters_may_be_percent_encoded():
    assert langfuse_problems({**GOOD, "DATABASE_URL": "postgresql://langfuse:p%40ss%2Fword@db:5432/langfuse"}, KNOWN) == []


def test_no_value_is_quoted():
    values = {"DATABASE_URL": "postgresql://u:the@secret@db:5432/l", "ENCRYPTION_KEY": "very-secret-but-short", "CLICKHOUSE_PASSWORD": "very secret"}
    said = " ".join(langfuse_problems({**GOOD, **values}, KNOWN))
    assert said.count(".") >= 3 and "secret" not in said


def test_the_worker_needs_no_session_secret():
    assert langfuse_problems({name: value for name, value in GOOD.items() if not name.startswith("NEXTAUTH")}, KNOWN, "worker") == []


def test_something_that_is_no_dictionary_is_refused():
    with pytest.raises(AnsibleFilterError, match="must be a dictionary"):
        langfuse_problems(["DATABASE_URL"], KNOWN)
