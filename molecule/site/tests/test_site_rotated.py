"""The platform of the other files of tests gets another root secret: what was derived from the old one is worth nothing, and no data is lost."""

from __future__ import annotations

import json

import pytest
from site_runs import NAME, SENTENCE, closed_inventory, key_of, people_directory, run_playbook, sentences

OLD, NEW = "this-secret-belongs-to-the-test-and-guards-nothing", "another-secret-of-the-test-that-guards-nothing-either"
QUESTION = {"model": "qwen3-coder", "messages": [{"role": "user", "content": "Hello?"}]}


def with_root_secret(directory, *lines):
    """The closed site's inventory with another root secret, and further lines."""
    inventory = closed_inventory(directory)
    path = inventory / "group_vars/all/platform.yml"
    path.write_text(path.read_text().replace(f"platform_root_secret: {OLD}\n", "\n".join((f"platform_root_secret: {NEW}", *lines, ""))))
    return inventory


def what_runs(host):
    return host.check_output("docker ps --quiet --no-trunc | sort")


@pytest.fixture(scope="module")
def key_of_before():
    """Ada's key while the old root secret held; the first fixture of all."""
    return key_of("ada")


@pytest.fixture(scope="module")
def rotated(key_of_before, tmp_path_factory):
    """The run with the new root secret, by somebody who has read docs/secrets.md."""
    run = run_playbook("site.yml", with_root_secret(tmp_path_factory.mktemp("rotated"), f"platform_kept_root_secret: {OLD}"))
    assert run.returncode == 0, sentences(run)[-3000:]
    return run


def status_of(host, key):
    """What the gateway answers a question with that key, asked on its own host by TLS, and the answer."""
    command = "curl --silent --cacert /etc/private-llm/tls/reverse-proxy/ca.crt --resolve %s --header %s --json %s --write-out '\\n%%{http_code}' %s"
    arguments = (f"{NAME}:443:127.0.0.1", f"Authorization: Bearer {key}", json.dumps(QUESTION), f"https://{NAME}/v1/chat/completions")
    answer, _line, status = host.check_output(command, *arguments).rpartition("\n")
    return int(status), answer


def test_a_new_root_secret_without_the_old_one_is_refused_before_anything_is_changed(host, tmp_path, key_of_before):
    before = what_runs(host)
    run = run_playbook("site.yml", with_root_secret(tmp_path))
    assert run.returncode != 0 and "platform_kept_root_secret" in sentences(run)
    assert what_runs(host) == before and key_of("ada") == key_of_before


def test_with_the_new_root_secret_people_have_new_keys_that_answer_and_the_old_ones_do_not(host, rotated, key_of_before):
    assert key_of("ada") != key_of_before
    status, answer = status_of(host, key_of("ada"))
    assert status == 200 and SENTENCE in answer
    assert status_of(host, key_of_before)[0] == 401
    assert (people_directory() / "ada" / "key").stat().st_mode & 0o777 == 0o600


def test_what_was_spent_before_is_still_there_under_the_new_root_secret(host, rotated):
    count = "SELECT count(*) FROM \"LiteLLM_SpendLogs\" WHERE \"startTime\" < now() - interval '1 minute'"
    spent = host.check_output("docker exec postgres-litellm psql --username litellm --tuples-only --no-align --command %s", count)
    assert int(spent) > 0
