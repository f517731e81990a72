"""The same platform with its doors closed, TLS before it and the packet filter on: people still get answers, and nothing else gets in or out."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import socket
import ssl

import pytest
from container_hardening import EXPOSURE, findings_of_platform
from site_runs import CONTAINERS, NAME, SENTENCE, closed_inventory, key_of, run_playbook, sentences
from telling import log_lines, unhealthy_targets, within

HTTPS = 443
DNS_QUESTION = """
import socket
question = b"\\x12\\x34\\x01\\x00\\x00\\x01" + bytes(6) + b"\\x07example\\x03com\\x00\\x00\\x01\\x00\\x01"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
    asked.settimeout(6)
    asked.sendto(question, ("127.0.0.11", 53))
    try:
        answer = asked.recv(512)
        print("answers:", int.from_bytes(answer[6:8], "big"))
    except OSError:
        print("answers: 0")
"""


@pytest.fixture(scope="module", autouse=True)
def closed(tmp_path_factory):
    """The site, run again as an operator does who has read docs/tls.md and docs/firewall.md."""
    inventory = closed_inventory(tmp_path_factory.mktemp("closed"))
    run = run_playbook("site.yml", inventory)
    assert run.returncode == 0, sentences(run)[-3000:]
    return inventory


@pytest.fixture(scope="module")
def trust(host, closed):
    """What a person's tools are given: the certificate of the platform's own authority."""
    return ssl.create_default_context(cadata=host.check_output("cat /etc/private-llm/tls/reverse-proxy/ca.crt"))


def ask(outside, trust, path, key=None, body=None, name=NAME):
    """Status and lines of an answer, by TLS, at a name that the certificate is for."""
    connection = http.client.HTTPSConnection(name, HTTPS, timeout=60, context=trust)
    connection._create_connection = lambda _address, *rest: socket.create_connection((outside.address, HTTPS), *rest)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
    answer = connection.getresponse()
    lines = answer.read().decode().splitlines()
    connection.close()
    return answer.status, lines


def chat(**more):
    return {"model": "qwen3-coder", "messages": [{"role": "user", "content": "Hello?"}], **more}


def test_a_chat_streams_by_tls(outside, trust):
    status, lines = ask(outside, trust, "/v1/chat/completions", key_of("ada"), chat(stream=True))
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    words = [choice["delta"].get("content") for event in events for choice in event["choices"] if choice["delta"].get("content")]
    assert status == 200 and len(words) > 1 and SENTENCE in "".join(words)


def test_without_a_key_nobody_gets_an_answer(outside, trust):
    assert ask(outside, trust, "/v1/chat/completions", None, chat())[0] == 401


@pytest.mark.parametrize("path", ["/ui/", "/user/list", "/metrics/", "/key/generate"])
def test_pages_of_administrators_are_closed_to_others(outside, trust, path):
    assert ask(outside, trust, path, key_of("ada"))[0] == 403


@pytest.mark.parametrize(
    "name, path, sign", [("grafana", "/api/health", '"database"'), ("langfuse", "/api/public/health", '"status"')], ids=["grafana", "langfuse"]
)
def test_pages_behind_tls_are_for_the_networks_of_administrators_alone(host, outside, trust, name, path, sign):
    own = f"curl --silent --show-error --cacert /etc/private-llm/tls/reverse-proxy/ca.crt --resolve {name}.test:443:127.0.0.1"
    assert sign in host.check_output(f"{own} https://{name}.test{path}")
    status, lines = ask(outside, trust, path, name=f"{name}.test")
    assert (status, lines) == (403, ["This site is not for your network."])


def test_of_all_ports_only_tls_answers_from_outside(outside):
    def is_open(port):
        try:
            with socket.create_connection((outside.address, port), timeout=1):
                return True
        except OSError:
            return False

    # All below 1024, and every one that the platform uses; the scenario firewall scans all of them, by UDP and IPv6 as well.
    ports = sorted({*range(1, 1024), 3000, 3001, 3100, 4000, 5432, 5433, 5434, 6379, 8000, 8123, 8333, 9000, 9080, 9090, 9093, 9100, 9187, 9333, 12345})
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        found = [port for port, answers in zip(ports, pool.map(is_open, ports), strict=True) if answers]
    assert [port for port in found if port != 22] == [HTTPS]


@pytest.fixture(scope="module")
def listener(host):
    """Somebody outside who counts who comes: this machine, at the address that the host reaches it by."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield f"{host.check_output('ip -4 route show default').split()[2]}/{server.getsockname()[1]}"


@pytest.mark.parametrize("name", [*CONTAINERS, "alloy"])
def test_a_container_reaches_nobody_outside_and_no_name_resolves_there(host, inspect, listener, name):
    inside = f"nsenter --target {inspect(name)['State']['Pid']} --net"
    connect = f"timeout 3 bash -c '</dev/tcp/{listener}'"
    assert host.run(connect).rc == 0, "the host itself does"
    assert host.run(f"{inside} {connect}").rc != 0
    assert host.run(f"{inside} ip -6 route get 2001:db8::1").rc != 0
    assert host.check_output(f"{inside} python3 -c '{DNS_QUESTION}'") == "answers: 0"


def test_every_container_meets_the_controls_of_the_cis_benchmark_but_those_that_are_waived(inspect):
    assert findings_of_platform({name: inspect(name) for name in (*CONTAINERS, "alloy")}) == {}


def test_what_watches_the_platform_still_sees_all_of_it(host):
    assert within(90, lambda: not unhealthy_targets(host)), unhealthy_targets(host)


def test_lines_still_arrive(host):
    host.check_output("logger --tag closed 'the doors are closed'")
    assert within(30, lambda: log_lines(host, '{host=~".+"} |= "the doors are closed"'))


def test_after_the_engine_was_restarted_the_doors_are_as_closed_as_before(host, outside, trust):
    host.check_output("systemctl restart docker")
    assert within(240, lambda: ask_quietly(outside, trust) == 200)
    assert not outside.connects(4000) and not outside.connects(3001)


def ask_quietly(outside, trust):
    try:
        return ask(outside, trust, "/v1/chat/completions", key_of("ada"), chat())[0]
    except OSError:
        return None


@pytest.mark.parametrize("unit", EXPOSURE)
def test_a_unit_that_is_no_container_is_exposed_no_more_than_stated(host, unit):
    outcome = host.run("systemd-analyze security --no-pager --threshold=%s %s", str(int(EXPOSURE[unit] * 10)), unit)
    assert outcome.rc == 0, outcome.stdout.splitlines()[-1:]
