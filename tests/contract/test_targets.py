"""What Prometheus asks follows from the inventory's groups, on one host and on many."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from tree import ROOT

SECRET = "a-root-secret-of-32-characters-or-more"
ANSWER = "{{ {'targets': __platform_targets, 'credentials': __platform_metrics_credentials.keys()} | to_json }}"
PLAY = [
    {
        "hosts": "observability[0]",
        "gather_facts": False,
        "connection": "local",
        "vars_files": ["wiring.yml"],
        "tasks": [{"ansible.builtin.copy": {"content": ANSWER, "dest": "{{ told }}", "mode": "0600"}}],
    }
]


@pytest.fixture
def told(tmp_path):
    """What the first host of `observability` asks, and for what it has a key, for hosts in groups."""

    def compute(groups, **variables):
        hosts = sorted({host for members in groups.values() for host in members})
        addresses = {host: {"platform_address": f"10.0.0.{number}"} for number, host in enumerate(hosts, start=1)}
        inventory = {
            "all": {
                "hosts": addresses,
                "vars": {"ansible_python_interpreter": sys.executable, "platform_root_secret": SECRET, "platform_listen_address": "0.0.0.0", **variables},
                "children": {name: {"hosts": dict.fromkeys(members)} for name, members in groups.items()},
            }
        }
        # In a tree like the collection's own, for the playbooks read the roles' defaults there.
        (tmp_path / "playbooks").mkdir()
        for shared in ("roles", "playbooks/wiring.yml"):
            (tmp_path / shared).symlink_to(ROOT / shared)
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
        (tmp_path / "playbooks" / "play.yml").write_text(yaml.safe_dump(PLAY))
        answer = tmp_path / "targets.json"
        command = ["ansible-playbook", "-i", tmp_path / "hosts.yml", tmp_path / "playbooks" / "play.yml", "-e", f"told={answer}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(answer.read_text())

    return compute


@pytest.fixture
def targets(told):
    """The same by host and job, where each host has one of a job."""
    return lambda groups, **variables: {(target["host"], target["job"]): target for target in told(groups, **variables)["targets"]}


def test_a_single_host_is_asked_by_the_names_of_its_containers_and_the_model_server_over_the_bridge(targets):
    found = targets({name: ["one"] for name in ("gpu", "gateway", "analytics", "observability")})
    assert {job: target["address"] for (_host, job), target in found.items()} == {
        "node": "node-exporter:9100",
        "log-agent": "alloy:12345",
        "llama-server": "10.89.64.1:8000",
        "dcgm": "dcgm-exporter:9400",
        "litellm": "litellm:4000",
        "postgres": "postgres-litellm-exporter:9187",
        "prometheus": "prometheus:9090",
        "alertmanager": "alertmanager:9093",
        "loki": "loki:3100",
        "grafana": "grafana:3000",
    }
    assert (found["one", "llama-server"]["bearer"], found["one", "litellm"]["bearer"]) == ("llama-server", "litellm")


def test_several_hosts_are_asked_at_their_addresses_and_each_for_what_it_has(targets):
    groups = {"gpu": ["gpu1", "gpu2"], "gateway": ["gate1", "gate2"], "observability": ["watch"]}
    found = targets(groups, platform_log_agent="promtail")
    of_gpu, of_gateway = {"node", "log-agent", "llama-server", "dcgm"}, {"node", "log-agent", "litellm", "postgres"}
    assert {job for host, job in found if host == "gpu2"} == of_gpu and {job for host, job in found if host == "gate2"} == of_gateway
    assert found["gpu2", "llama-server"]["address"] == "10.0.0.4:8000" and found["gate1", "litellm"]["address"] == "10.0.0.1:4000"
    assert found["watch", "node"]["address"] == "node-exporter:9100" and found["gpu1", "log-agent"]["address"] == "10.0.0.3:9080"


def test_a_host_without_a_card_is_not_asked_for_one(targets):
    found = targets({name: ["one"] for name in ("gpu", "gateway", "observability")}, platform_gpu="none")
    assert ("one", "dcgm") not in found


def test_each_model_server_of_a_host_is_asked_with_a_key_of_its_own(told):
    models = [{"name": "small"}, {"name": "large"}]
    found = told({name: ["one"] for name in ("gpu", "gateway", "observability")}, platform_gpu="none", llm_models=models)
    servers = {target["service"]: target for target in found["targets"] if target["job"] == "llama-server"}
    assert {unit: server["address"] for unit, server in servers.items()} == {"llama-server": "10.89.64.1:8000", "llama-server-8001": "10.89.64.1:8001"}
    assert {server["bearer"] for server in servers.values()} < set(found["credentials"])
