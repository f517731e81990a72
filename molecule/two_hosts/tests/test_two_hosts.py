"""One host serves people, the other keeps their conversations and watches both; between them and from outside is open what has to be."""

from __future__ import annotations

import concurrent.futures
import json
import socket

import pytest
import testinfra
from site_runs import SENTENCE, key_of, project_keys
from telling import PROMETHEUS, ask, unhealthy_targets, within

testinfra_hosts = ["docker://pl-two-watch"]
GATE, WATCH = "172.31.88.2", "172.31.88.3"
NAME = "gateway.test"
QUESTION = {"model": "qwen3-coder", "messages": [{"role": "user", "content": "Hello from a person beside two hosts"}]}
# What answers everybody, and what answers the other host: metrics of the host, the log agent, the model and the database; traces and lines of logs.
FOR_ALL, FOR_METRICS, FOR_RECORDS = {22, 443}, {9100, 12345, 8000, 9187}, {3001, 3100}
ASKED = FOR_ALL | FOR_METRICS | FOR_RECORDS | {80, 3000, 4000, 5433, 5434, 6379, 8123, 8333, 8405, 9000, 9090, 9093}


@pytest.fixture(scope="module")
def gate():
    return testinfra.get_host("docker://pl-two-gate")


@pytest.fixture(scope="module")
def answer(gate):
    """What a person is answered, asked on the gateway's host by TLS."""
    trust = f"--cacert /etc/private-llm/tls/reverse-proxy/ca.crt --resolve {NAME}:443:{GATE}"
    command = f"curl --silent --show-error --fail {trust} --header %s --json %s https://{NAME}/v1/chat/completions"
    return gate.check_output(command, f"Authorization: Bearer {key_of('ada')}", json.dumps(QUESTION))


def open_to_outside(address):
    """Which of the ports answer the test machine, which is in no group."""

    def connects(port):
        with socket.socket() as asked:
            asked.settimeout(2)
            return asked.connect_ex((address, port)) == 0

    with concurrent.futures.ThreadPoolExecutor(max_workers=len(ASKED)) as pool:
        return {port for port, found in zip(ASKED, pool.map(connects, ASKED), strict=True) if found}


def open_to(host, address):
    """Which of the ports answer a host of the platform."""
    return {port for port in ASKED if host.run(f"timeout 2 bash -c 'true </dev/tcp/{address}/{port}'").rc == 0}


def test_a_person_is_answered_by_tls(answer):
    assert SENTENCE in answer


def test_the_host_that_watches_reaches_everything_and_the_gateway_by_tls(host):
    assert within(90, lambda: unhealthy_targets(host, 11) == {}), unhealthy_targets(host, 11)
    (gateway,) = [target for target in ask(host, PROMETHEUS, "/api/v1/targets")["data"]["activeTargets"] if target["labels"]["job"] == "litellm"]
    assert gateway["scrapeUrl"] == f"https://{GATE}:443/metrics/"


def test_what_the_gateway_tells_the_host_that_watches_is_its_metrics_and_nothing_else(host):
    status = "curl --silent --insecure --output /dev/null --write-out '%%{http_code}' https://%s%s"
    answers = {path: host.check_output(status, GATE, path) for path in ("/metrics/", "/key/list", "/v1/models", "/ui/")}
    assert answers == {"/metrics/": "401", "/key/list": "403", "/v1/models": "403", "/ui/": "403"}


def test_lines_of_the_host_that_serves_are_kept_on_the_one_that_watches(host, answer):
    # At its own address, where the other host reaches it.
    asked = f"curl --silent --fail --get --data-urlencode %s http://{WATCH}:3100/loki/api/v1/query_range"
    assert within(60, lambda: '"service": "haproxy"' in host.run(asked, 'query={host="pl-two-gate"}').stdout)


def test_what_a_person_asked_is_kept_on_the_other_host(host, answer):
    secret = host.check_output("sed -n 's/^LANGFUSE_INIT_PROJECT_SECRET_KEY=//p' /etc/private-llm/langfuse-web/*/secret_environment")
    asked = f"curl --silent --fail --user %s 'http://{WATCH}:3001/api/public/v2/observations?fields=core,basic,io&userId=ada'"
    assert within(60, lambda: QUESTION["messages"][0]["content"] in host.run(asked, project_keys(secret)).stdout)


def test_from_outside_people_find_tls_and_operators_ssh_and_nothing_else():
    assert (open_to_outside(GATE), open_to_outside(WATCH)) == (FOR_ALL, FOR_ALL - {443})


def test_each_host_opens_to_the_other_what_that_one_needs(host, gate):
    assert open_to(host, GATE) == FOR_ALL | FOR_METRICS
    assert open_to(gate, WATCH) == FOR_ALL - {443} | FOR_RECORDS
