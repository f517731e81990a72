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
