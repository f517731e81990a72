"""The engine runs with the merged configuration."""

from __future__ import annotations

import json


def test_the_engine_runs_now_and_at_boot(host):
    service = host.service("docker")
    assert service.is_running and service.is_enabled


def test_container_logs_go_to_the_journal(host):
    assert host.check_output("docker info --format '{{.LoggingDriver}}'") == "journald"


def test_settings_of_others_are_kept(host):
    found = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert found["max-concurrent-downloads"] == 2 and "no-such-setting" not in found


def test_what_runs_is_what_is_on_disk(host):
    pid = host.check_output("systemctl show docker --property MainPID --value")
    wanted = host.check_output("grep -o 'PRIVATE_LLM_FINGERPRINT=[0-9a-f]*' /etc/systemd/system/docker.service.d/private-llm.conf")
    assert wanted in host.check_output(f"tr '\\0' '\\n' < /proc/{pid}/environ")


def test_the_vendors_packages_stay_at_the_version_that_was_asked_for_though_a_newer_one_is_offered(host):
    assert host.package("docker-ce").version == "5:29.1.3-1~stand-in"
    assert "5:30.0.0-1~stand-in" in host.check_output("apt-cache madison docker-ce")
    assert "Inst docker-ce" not in host.check_output("apt-get upgrade -s")


def test_the_vendors_repository_is_trusted_with_its_own_key_alone(host):
    entry = host.file("/etc/apt/sources.list.d/docker.sources").content_string
    assert "127.0.0.1:8099/docker/debian" in entry and "Signed-By: /etc/apt/keyrings/docker.asc" in entry
    host.check_output("apt-get update --error-on=any")
