"""After all that the other files of tests did, no secret is found where it does not belong."""

from __future__ import annotations

import hashlib
import json

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import platform_secrets
from canaries import Search
from rotation import CANARIES, NEW, NUMBERS, OLD
from site_runs import CONTAINERS, outputs, people_directory
from telling import LOKI, PROMETHEUS

HOST = "pl-site"
# Where secrets are meant to be: for root alone, and read from there by the services.
MEANT = {
    "/etc/private-llm/": "what services are given",
    "/etc/llama-server/": "keys of the model server",
}
# It sees the whole host as nobody does, which has its own test.
SEES_THE_HOST = "node-exporter"


@pytest.fixture(scope="module")
def search(host):
    """Looks for every secret that there is, or was before the root secret was another one."""
    found = {"root secret": NEW, "root secret of before": OLD, **CANARIES}
    now, before = platform_secrets.all_secrets(NEW, OLD, NUMBERS), platform_secrets.all_secrets(OLD, OLD, {})
    found |= {**now, **{f"{name} of before": secret for name, secret in before.items() if secret != now[name]}}
    found["encryption key as Langfuse is given it"] = hashlib.sha256(now["langfuse/encryption-key"].encode()).hexdigest()
    found |= {f"key of {path.parent.name}": path.read_text().strip() for path in people_directory().glob("*/key")}
    return Search(HOST, found)


@pytest.fixture(scope="module")
def of_root(search):
    """What root finds in files and in the arguments of all processes."""
    return search.files("root", "cmdline")


def test_the_search_finds_what_there_is_to_find(of_root):
    assert any(path.startswith("/etc/private-llm/litellm/") for path in of_root), "a search that finds nothing proves nothing"


def test_no_file_and_no_process_that_others_may_look_at_holds_a_secret(search):
    # The exporter that sees the host's processes is nobody, too.
    assert search.files("nobody", "cmdline", "environ") == {}


def roots(host):
    """What each container sees as its root directory, as processes of the host may reach it."""
    programs = [host.check_output("docker inspect -f '{{.State.Pid}}' %s", name) for name in CONTAINERS if name != SEES_THE_HOST]
    return [f"/proc/{program}/root/" for program in programs]


def test_no_other_user_reaches_a_secret_by_way_of_a_container(host, search):
    number = host.check_output("docker inspect -f '{{.Config.User}}' prometheus").partition(":")[0]
    assert search.files(number, places=roots(host)), "its own user finds Prometheus's keys, so the search works"
    assert search.files("nobody", places=roots(host)) == {}


def test_secrets_are_in_the_files_that_are_meant_for_them_and_in_no_others(of_root):
    assert {path: names for path, names in of_root.items() if not path.startswith(tuple(MEANT))} == {}


def test_secrets_of_before_are_gone_from_the_host(of_root):
    assert {path: old for path, names in of_root.items() if (old := [name for name in names if name.endswith(" of before")])} == {}


def test_no_playbook_has_printed_a_secret(search):
    # Showing a secret is what that one is for.
    printed = {name: text for name, text in outputs().items() if not name.startswith("show_secret.yml")}
    assert len(printed) > 20
    assert {name: found for name, text in printed.items() if (found := search.names_in(text))} == {}


@pytest.mark.parametrize("command", ["journalctl --no-pager --output export", f"docker inspect {' '.join(CONTAINERS)}", "systemctl show '*'"])
def test_no_secret_is_told_by_the_host(host, search, command):
    text = host.check_output(command)
    assert len(text) > 10_000 and search.names_in(text) == []


def test_the_engine_tells_nobody_but_root(host):
    assert host.run("setpriv --reuid nobody --regid nogroup --clear-groups docker inspect litellm").rc != 0


def test_no_secret_is_in_the_lines_that_are_kept(host, search):
    query = "query_range?limit=5000&direction={}&query=%7Bservice%3D~%22.%2B%22%7D"
    for direction in ("forward", "backward"):
        text = host.check_output("curl --silent --fail --globoff %s", f"http://127.0.0.1:{LOKI}/loki/api/v1/{query.format(direction)}")
        assert len(json.loads(text)["data"]["result"]) > 5 and search.names_in(text) == []


@pytest.mark.parametrize("path", ["series?match[]=%7B__name__=~%22.%2B%22%7D", "status/config", "targets", "rules"])
def test_no_secret_is_in_what_prometheus_tells(host, search, path):
    text = host.check_output("curl --silent --fail --globoff %s", f"http://127.0.0.1:{PROMETHEUS}/api/v1/{path}")
    assert json.loads(text)["status"] == "success" and search.names_in(text) == []


@pytest.mark.parametrize("container", ["postgres-litellm", "postgres-langfuse"])
def test_no_secret_is_in_the_dumps_of_a_database(host, search, container):
    for dump in host.check_output("ls -d /var/lib/private-llm/backups/%s/*", container).split():
        text = host.check_output("docker exec --interactive %s pg_restore --file=- <%s", container, dump)
        assert "PostgreSQL database dump complete" in text and search.names_in(text) == []
