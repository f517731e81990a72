"""The gateway lets in who has a key, keeps its secrets, and survives its own death."""

from __future__ import annotations

import time
import uuid

import pytest
from container_hardening import findings_of_platform

MASTER_KEY = "sk-master-of-the-test-0123456789"
SECRETS = (MASTER_KEY, "salt-of-the-test-0123456789", "password-of-the-page-0123456789", "correct-horse-battery-staple", "sk-key-of-the-model-0123456789")
CHAT = {"model": "canned", "messages": [{"role": "user", "content": "Hello?"}]}


@pytest.fixture
def database(host):
    def ask(statement):
        return host.check_output("docker exec postgres-litellm psql --quiet --no-psqlrc --tuples-only --username litellm --command %s", statement).strip()

    return ask


def test_a_request_without_a_key_is_refused(outside):
    assert outside.request(4000, "/v1/chat/completions", body=CHAT).status == 401


def test_a_request_with_an_unknown_key_is_refused(outside):
    assert outside.request(4000, "/v1/chat/completions", key="sk-nobody-knows-this-key", body=CHAT).status == 401


def test_the_administrator_gets_an_answer(outside):
    answer = outside.request(4000, "/v1/chat/completions", key=MASTER_KEY, body=CHAT)
    assert answer.json()["choices"][0]["message"]["content"] == "A canned answer."


def test_the_models_of_the_inventory_are_offered_and_no_others(outside):
    answer = outside.request(4000, "/v1/models", key=MASTER_KEY)
    assert [model["id"] for model in answer.json()["data"]] == ["canned"]


def test_metrics_are_for_key_holders_only(outside):
    assert outside.request(4000, "/metrics/").status == 401
    assert "litellm_" in outside.request(4000, "/metrics/", key=MASTER_KEY).text


def test_the_container_is_hardened(inspect):
    assert findings_of_platform({"litellm": inspect("litellm")}, open_doors=["litellm"]) == {}


@pytest.mark.parametrize(
    "command", ["systemctl cat litellm", "ps axww", "journalctl --no-pager", "cat /etc/private-llm/litellm/*/files/etc/litellm/config.yaml"]
)
def test_no_secret_is_seen_in(host, command):
    output = host.check_output(command)
    assert [secret for secret in SECRETS if secret in output] == []


def test_the_file_with_the_secrets_is_for_the_gateway_alone_and_in_a_directory_of_root(host):
    file = host.file(host.check_output("ls /etc/private-llm/litellm/*/secret_environment"))
    assert (file.mode, file.uid) == (0o600, 64000)
    directory = host.file("/etc/private-llm/litellm")
    assert (directory.mode, directory.user) == (0o700, "root")


def test_a_killed_gateway_answers_again_by_itself(host, outside):
    before = host.check_output("docker inspect -f '{{.Id}}' litellm")
    host.check_output("kill -9 $(docker inspect -f '{{.State.Pid}}' litellm)")
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        after = host.run("docker inspect -f '{{.Id}}' litellm").stdout.strip()
        if after and after != before and outside.connects(4000) and host.run("curl -fs http://127.0.0.1:4000/health/readiness").rc == 0:
            break
        time.sleep(1)
    assert outside.request(4000, "/v1/chat/completions", key=MASTER_KEY, body=CHAT).status == 200


def test_the_database_is_migrated_before_the_gateway_is_started(host):
    """By a container of its own, so that the gateway of before answers meanwhile and a failure leaves it alone."""
    def first_and_last(container):
        lines = host.check_output(f"journalctl --no-pager --output short-unix CONTAINER_NAME={container}").splitlines()
        times = [float(line.split()[0]) for line in lines if line[:1].isdigit()]
        return min(times), max(times)

    assert first_and_last("litellm-migrate")[1] < first_and_last("litellm")[0]


def test_single_requests_are_forgotten_after_their_time_and_no_sooner(database):
    old, young = (f"request-of-the-test-{uuid.uuid4()}" for _ in range(2))
    for request, age in ((old, "366 days"), (young, "364 days")):
        database(
            'INSERT INTO "LiteLLM_SpendLogs" (request_id, call_type, "startTime", "endTime") '
            f"VALUES ('{request}', 'acompletion', now() - interval '{age}', now() - interval '{age}')"
        )
    # The scenario lets the gateway look every minute.
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        left = database("SELECT request_id FROM \"LiteLLM_SpendLogs\" WHERE request_id LIKE 'request-of-the-test-%'").split()
        if old not in left:
            break
        time.sleep(2)
    assert left == [young]
