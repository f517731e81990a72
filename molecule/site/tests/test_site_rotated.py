"""The platform of the other files of tests gets another root secret, and Valkey the second password of it: what was derived before opens nothing any
more, and no data is lost."""

from __future__ import annotations

import json

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import platform_secrets
from rotation import NEW, NUMBERS, OLD, rotated_inventory
from site_runs import NAME, SENTENCE, key_of, people_directory, project_keys, recap, run_playbook, sentences
from telling import unhealthy_targets, within

QUESTION = {"model": "qwen3-coder", "messages": [{"role": "user", "content": "Hello?"}]}
BEFORE, AFTER = platform_secrets.all_secrets(OLD, OLD, {}), platform_secrets.all_secrets(NEW, OLD, NUMBERS)
SECRET = ("--extra-vars", "secret=valkey/langfuse")
EVERYTHING_SAID = ("--diff", "-vvv")


def what_runs(host):
    return host.check_output("docker ps --quiet --no-trunc | sort")


@pytest.fixture(scope="module")
def key_of_before():
    """Ada's key while the old root secret held; the first fixture of all."""
    return key_of("ada")


def dumps(host):
    """The dumps of the gateway's database, each with the second in which it was complete."""
    lines = host.check_output("find /var/lib/private-llm/backups/postgres-litellm -name '*.dump' -printf '%T@ %f\\n'").splitlines()
    return {name: float(second) for second, name in map(str.split, lines)}


@pytest.fixture(scope="module")
def dumps_of_before(host):
    return dumps(host)


@pytest.fixture(scope="module")
def rotated(host, key_of_before, dumps_of_before, tmp_path_factory):
    """The run with the new root secret, the next number and the next version of the gateway, by somebody who has read docs/secrets.md; the directory
    of its inventory."""
    inventory = rotated_inventory(tmp_path_factory.mktemp("rotated"))
    image = host.check_output("docker inspect -f '{{.Config.Image}}' litellm")
    recipe = f"FROM {image}\nLABEL version=next\n"
    host.check_output("mkdir -p /run/empty && printf %s | docker build --quiet --tag registry.test/litellm:next --file - /run/empty", recipe)
    with (inventory / "group_vars/all/platform.yml").open("a") as stream:
        stream.write("litellm_image: registry.test/litellm:next\n")
    run = run_playbook("rotate.yml", inventory, *SECRET, *EVERYTHING_SAID)
    assert run.returncode == 0, sentences(run)[-3000:]
    return inventory


def status_of(host, key):
    """What the gateway answers a question with that key, asked on its own host by TLS, and the answer."""
    command = "curl --silent --cacert /etc/private-llm/tls/reverse-proxy/ca.crt --resolve %s --header %s --json %s --write-out '\\n%%{http_code}' %s"
    arguments = (f"{NAME}:443:127.0.0.1", f"Authorization: Bearer {key}", json.dumps(QUESTION), f"https://{NAME}/v1/chat/completions")
    answer, _line, status = host.check_output(command, *arguments).rpartition("\n")
    return int(status), answer


# -- runs that change nothing of it ---------------------------------------------------------------------------------------------


def test_a_new_root_secret_without_the_old_one_is_refused_before_anything_is_changed(host, tmp_path, key_of_before):
    before = what_runs(host)
    run = run_playbook("site.yml", rotated_inventory(tmp_path, keep=False), *EVERYTHING_SAID)
    assert run.returncode != 0 and "platform_kept_root_secret" in sentences(run)
    assert what_runs(host) == before and key_of("ada") == key_of_before


def test_a_check_run_tells_of_the_new_secrets_and_changes_nothing(host, tmp_path, key_of_before):
    before = what_runs(host)
    inventory = rotated_inventory(tmp_path)
    run = run_playbook("rotate.yml", inventory, *SECRET, *EVERYTHING_SAID, "--check")
    assert run.returncode == 0 and recap(run)["changed"] > 10, sentences(run)[-3000:]
    assert what_runs(host) == before and key_of("ada") == key_of_before
    assert not (inventory / "group_vars/all/secret_numbers.yml").exists()


def test_a_run_that_fails_half_way_leaves_what_ran(host, tmp_path, key_of_before):
    inventory = rotated_inventory(tmp_path, secret=OLD)
    with (inventory / "group_vars/all/platform.yml").open("a") as stream:
        stream.write("postgres_settings: {max_connections: banana}\n")
    run = run_playbook("site.yml", inventory, *EVERYTHING_SAID)
    assert run.returncode != 0 and "What was there before was put back and runs again" in sentences(run)
    assert within(60, lambda: status_of(host, key_of_before)[0] == 200)


# -- the run ----------------------------------------------------------------------------------------------------------------------


def test_with_the_new_root_secret_people_have_new_keys_that_answer_and_the_old_ones_do_not(host, rotated, key_of_before):
    assert key_of("ada") != key_of_before
    status, answer = status_of(host, key_of("ada"))
    assert status == 200 and SENTENCE in answer
    assert status_of(host, key_of_before)[0] == 401
    assert (people_directory() / "ada" / "key").stat().st_mode & 0o777 == 0o600


def test_a_dump_was_complete_before_the_next_version_of_the_gateway_started(host, rotated, dumps_of_before):
    assert host.check_output("docker inspect -f '{{index .Config.Labels \"version\"}}' litellm") == "next"
    (new,) = set(dumps(host)) - set(dumps_of_before)
    started = host.check_output("date +%s --date \"$(docker inspect -f '{{.State.StartedAt}}' litellm)\"")
    assert dumps(host)[new] < float(started)


def test_the_number_of_the_next_secret_is_kept_with_the_inventory(rotated):
    assert "valkey/langfuse: 2" in (rotated / "group_vars/all/secret_numbers.yml").read_text()


def address_of(host, container, network):
    return host.check_output(f"docker inspect -f '{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}' {container}")


def http_status(host, url, *options):
    words = " ".join(["%s"] * len(options))
    return int(host.check_output(f"curl --silent --output /dev/null --write-out '%%{{http_code}}' {words} %s", *options, url))


def by_bearer(url):
    return lambda host, secret: http_status(host, url, "--header", f"Authorization: Bearer {secret}") == 200


def by_project_key(host, secret):
    return http_status(host, "http://127.0.0.1:3001/api/public/projects", "--user", project_keys(secret)) == 200


def said(host, yes, no, command, *arguments):
    """Whether a program lets somebody in by its own words; a command that the engine had no time for says neither."""
    runs = []

    def answer():
        runs.append(host.run(command, *arguments))
        return yes in runs[-1].stdout or no in runs[-1].stdout + runs[-1].stderr

    assert within(30, answer), runs[-1].stderr
    return yes in runs[-1].stdout


def by_psql(container, user):
    command = "PGPASSWORD=%s docker exec --env PGPASSWORD %s psql --host=127.0.0.1 --username=%s --dbname=postgres --command='SELECT 1 AS inside'"
    return lambda host, secret: said(host, "inside", "password authentication failed", command, secret, container, user)


def by_clickhouse(host, secret):
    url = f"http://{address_of(host, 'clickhouse-langfuse', 'analytics')}:8123/?query=SELECT+1"
    return http_status(host, url, "--header", "X-ClickHouse-User: clickhouse", "--header", f"X-ClickHouse-Key: {secret}") == 200


def by_valkey(host, secret):
    return said(host, "PONG", "NOAUTH", "REDISCLI_AUTH=%s docker exec --env REDISCLI_AUTH valkey-langfuse valkey-cli ping", secret)


DOORS = {
    "litellm/master-key": by_bearer("http://127.0.0.1:4000/user/list"),
    "litellm/metrics-key": by_bearer("http://127.0.0.1:4000/metrics/"),
    "llama-server/api-key": by_bearer("http://127.0.0.1:8000/metrics"),
    "postgres/litellm": by_psql("postgres-litellm", "litellm"),
    "postgres/langfuse": by_psql("postgres-langfuse", "langfuse"),
    "postgres/analyst": by_psql("postgres-langfuse", "analyst"),
    "clickhouse/langfuse": by_clickhouse,
    "valkey/langfuse": by_valkey,
    "langfuse/project-key": by_project_key,
}


@pytest.mark.parametrize("name", DOORS)
def test_the_new_secret_opens_its_door_and_the_one_of_before_does_not(host, rotated, name):
    assert DOORS[name](host, AFTER[name])
    # Langfuse believes a key that was deleted for a minute.
    assert within(75, lambda: not DOORS[name](host, BEFORE[name]))


def test_the_first_password_of_the_new_root_secret_was_never_valkeys(host, rotated):
    assert not by_valkey(host, platform_secrets.all_secrets(NEW, OLD, {})["valkey/langfuse"])


def test_langfuse_has_the_one_key_that_the_gateway_uses(host, rotated):
    keys = host.check_output("docker exec postgres-langfuse psql --username langfuse --tuples-only --no-align --command 'SELECT public_key FROM api_keys'")
    (used,) = set(host.check_output("grep -ho 'pk-lf-[0-9a-f]*' /etc/private-llm/litellm/*/environment").split())
    assert keys.split() == [used]


def test_what_watches_the_platform_has_the_new_keys(host, rotated):
    assert within(60, lambda: unhealthy_targets(host) == {}), unhealthy_targets(host)


def test_what_was_spent_before_is_still_there_under_the_new_root_secret(host, rotated):
    count = "SELECT count(*) FROM \"LiteLLM_SpendLogs\" WHERE \"startTime\" < now() - interval '1 minute'"
    spent = host.check_output("docker exec postgres-litellm psql --username litellm --tuples-only --no-align --command %s", count)
    assert int(spent) > 0
