"""Metrics, logs and alerts find their way; a change is taken over without a break, and a broken one not at all.

Prometheus, Alertmanager and the exporters of host and database are the real ones; Loki, both log agents, Grafana and the GPU exporter are
stand-ins, which show what they are told and say nothing about the real programs.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from container_hardening import findings_of_platform
from telling import ALERTMANAGER, LOKI, PROMETHEUS, ask, firing, log_lines, start_webhook, value, webhook_alerts, within

SCENARIO = Path(__file__).resolve().parents[1]
SETTINGS = yaml.safe_load((SCENARIO / "vars.yml").read_text())
CONTAINERS = ("prometheus", "alertmanager", "node-exporter", "postgres-litellm-exporter", "dcgm-exporter", "loki", "alloy", "grafana")
SECRETS = ("database_password", "grafana_password", "grafana_secret", "webhook_token")
GRAFANA = 3000


def run(*arguments, playbook="converge.yml", **variables):
    """Run a playbook of the scenario as an operator does, with other variables."""
    inventories = [os.environ["MOLECULE_INVENTORY_FILE"], os.environ["PRIVATE_LLM_INVENTORY"]]
    command = ["ansible-playbook", *(word for path in inventories for word in ("--inventory", path)), str(SCENARIO / playbook), *arguments]
    command += ["--extra-vars", json.dumps(variables)]
    environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(command, cwd=SCENARIO.parents[1], capture_output=True, text=True, check=False, env=environment)


def said(outcome):
    return " ".join((outcome.stdout + outcome.stderr).split())


def container_id(host, name):
    return host.check_output(f"docker inspect -f '{{{{.Id}}}}' {name}")


def grafana(host, path, password=SETTINGS["grafana_password"]):
    return json.loads(host.check_output(f"curl -sS --user admin:{password} http://127.0.0.1:{GRAFANA}{path}"))


@pytest.fixture(scope="module", autouse=True)
def _webhook(host):
    start_webhook(host, SETTINGS["host_address"], 9999)


# -- metrics ----------------------------------------------------------------------------------------------------------------------


def targets(host):
    return ask(host, PROMETHEUS, "/api/v1/targets")["data"]["activeTargets"]


def test_every_target_is_up(host):
    within(60, lambda: all(target["health"] == "up" for target in targets(host)))
    assert {target["labels"]["service"]: (target["health"], target["lastError"]) for target in targets(host)} == {
        target["service"].replace("{{ log_agent }}", "alloy"): ("up", "") for target in SETTINGS["targets"]
    }


def test_a_target_behind_tls_is_asked_by_tls_and_believed_by_its_name_alone(host):
    (target,) = [target for target in targets(host) if target["labels"]["service"] == "behind-tls"]
    assert (target["scrapeUrl"], target["health"]) == (f"https://{SETTINGS['host_address']}:443/metrics", "up")
    # Nothing else is to be had there.
    status = "curl --silent --insecure --output /dev/null --write-out '%%{http_code}' https://%s%s"
    assert [host.check_output(status, SETTINGS["host_address"], path) for path in ("/metrics", "/api/v2/status")] == ["200", "403"]


def test_asking_all_targets_takes_less_than_a_second(host):
    assert sum(target["lastScrapeDuration"] for target in targets(host)) < 1


def test_the_host_tells_of_its_disks_memory_clock_and_units(host):
    for metric in ("node_memory_MemAvailable_bytes", "node_filesystem_avail_bytes", "node_timex_sync_status", "node_vmstat_oom_kill"):
        assert value(host, f"count({metric})"), metric
    assert value(host, 'node_systemd_unit_state{name="prometheus.service",state="active"}') == 1
    assert value(host, 'node_systemd_service_restart_total{name="prometheus.service"}') == 0


def test_what_another_program_writes_for_the_exporter_is_shown(host):
    stamp = int(time.time())
    host.check_output(f"echo 'private_llm_backup_last_success_timestamp_seconds{{backup=\"databases\"}} {stamp}' > /var/lib/private-llm/metrics/backup.prom")
    assert within(30, lambda: value(host, 'private_llm_backup_last_success_timestamp_seconds{backup="databases"}') == stamp)


def test_the_database_tells_of_its_connections(host):
    assert value(host, "pg_up") == 1 and value(host, "sum(pg_stat_activity_count)") >= 1


def test_the_rules_give_the_gpu_names_of_our_own_and_hide_a_sensor_that_is_not_there(host):
    assert within(30, lambda: value(host, "gpu:temperature:celsius")) == 41
    assert value(host, "gpu:memory_temperature:celsius") is None


# -- changes ----------------------------------------------------------------------------------------------------------------------


def rule(host, name):
    groups = ask(host, PROMETHEUS, "/api/v1/rules")["data"]["groups"]
    return next(rule["query"] for group in groups for rule in group["rules"] if rule["name"] == name)


def test_a_changed_rule_is_read_again_without_a_restart(host):
    before = container_id(host, "prometheus")
    outcome = run(prometheus_alert_gpu_celsius=61)
    assert outcome.returncode == 0 and "changed=1" in outcome.stdout, outcome.stdout[-3000:]
    assert container_id(host, "prometheus") == before and rule(host, "GpuHot") == "gpu:temperature:celsius > 61"
    assert "changed=0" in run(prometheus_alert_gpu_celsius=61).stdout


def test_a_broken_rule_is_refused_in_promtools_words_and_the_old_ones_stay(host):
    before = container_id(host, "prometheus")
    broken = "groups: [{name: own, rules: [{alert: Own, expr: 'sum('}]}]"
    outcome = run(prometheus_alert_gpu_celsius=62, prometheus_rule_files={"broken.yml": broken})
    assert outcome.returncode != 0 and "parse error" in said(outcome) and "what runs was not touched" in said(outcome)
    assert container_id(host, "prometheus") == before and rule(host, "GpuHot") == "gpu:temperature:celsius > 61"
    assert value(host, "prometheus_config_last_reload_successful") == 1


def test_a_receiver_that_cannot_be_reached_is_refused_before_anything_changes(host):
    outcome = run(alertmanager_receivers=[{"name": "lost", "type": "email"}])
    assert outcome.returncode != 0 and "lost has no to; e-mail needs alertmanager_smtp_server" in said(outcome)


def test_a_changed_route_is_read_again_without_a_restart_and_a_broken_one_refused(host):
    before = container_id(host, "alertmanager")
    assert run(alertmanager_repeat_interval="banana").returncode != 0
    assert run(alertmanager_repeat_interval="3h").returncode == 0
    assert container_id(host, "alertmanager") == before
    assert "repeat_interval: 3h" in ask(host, ALERTMANAGER, "/api/v2/status")["config"]["original"]


# -- alerts -----------------------------------------------------------------------------------------------------------------------


def test_the_test_alert_arrives_by_the_way_of_real_ones(host):
    assert run(playbook="test_alert.yml").returncode == 0
    sent = within(30, lambda: [alert for alert in webhook_alerts(host) if alert["labels"]["alertname"] == "TestAlert"])
    assert sent and sent[0]["path"] == f"/{SETTINGS['webhook_token']}"


def test_a_service_that_stops_is_told_with_what_to_do_and_told_again_when_it_is_back(host):
    host.check_output("systemctl stop dcgm-exporter")
    try:
        assert within(60, lambda: "TargetDown" in firing(host))
        sent = within(30, lambda: [alert for alert in webhook_alerts(host) if alert["labels"].get("service") == "dcgm-exporter"])
    finally:
        host.check_output("systemctl start dcgm-exporter")
    assert sent[0]["annotations"]["summary"] == "dcgm-exporter on pl-observability does not answer."
    assert sent[0]["annotations"]["action"] and sent[0]["annotations"]["runbook_url"].endswith("/TargetDown.md")
    assert within(60, lambda: [a for a in webhook_alerts(host) if a["labels"].get("service") == "dcgm-exporter" and a["status"] == "resolved"])


def test_the_watchdog_always_fires_and_wakes_nobody(host):
    assert "Watchdog" in firing(host)
    assert "Watchdog" not in {alert["labels"]["alertname"] for alert in webhook_alerts(host)}


# -- logs (stand-ins) -------------------------------------------------------------------------------------------------------------


def write_in_unit(host, unit, *texts):
    """Lines of a unit of the host, each a message of its own. From a file: systemd logs the command lines of its units."""
    host.check_output(f"printf '%s\\n' {' '.join(map(shlex.quote, texts))} > /run/told")
    host.check_output(f"systemd-run -q --wait --unit {unit} cat /run/told")


def arrived(host, selector):
    return within(10, lambda: log_lines(host, selector))


def test_a_line_of_a_unit_arrives_within_ten_seconds_with_host_service_and_level(host):
    write_in_unit(host, "teller", "hello from a unit", "level=error msg=oops")
    assert arrived(host, '{service="teller"} |= "hello from a unit"') == [
        ({"host": "pl-observability", "service": "teller", "level": "info"}, "hello from a unit")
    ]
    assert arrived(host, '{service="teller", level="error"}') == [
        ({"host": "pl-observability", "service": "teller", "level": "error"}, "level=error msg=oops")
    ]


def test_a_line_of_a_container_arrives_with_the_name_of_its_service(host):
    host.check_output("docker exec postgres-litellm psql -U litellm -c \"DO \\$\\$ BEGIN RAISE LOG 'marker of the database'; END \\$\\$\"")
    ((labels, _line), *_more) = arrived(host, '{service="postgres-litellm"} |= "marker of the database"')
    assert labels == {"host": "pl-observability", "service": "postgres-litellm", "level": "info"}


def test_no_other_label_exists(host):
    assert set(ask(host, LOKI, "/loki/api/v1/labels")["data"]) == {"host", "service", "level"}


@pytest.mark.parametrize(
    "text, secret",
    [
        ("key sk-0123456789abcdefghijklmn of ada", "0123456789abcdef"),
        ("Authorization: Bearer abcdefgh.12345678", "abcdefgh"),
        ("DATABASE_URL=postgresql://litellm:swordfish-1@db:5432/litellm", "swordfish"),
        ('{"password": "swordfish-22"}', "swordfish"),
        ("badge 123456 of the operator's own pattern", "123456"),
    ],
    ids=["key", "bearer", "address", "JSON", "own"],
)
def test_a_secret_does_not_leave_the_host(host, text, secret):
    marker = f"marker-{abs(hash(text)) % 10**8}"
    write_in_unit(host, "leaker", f"{marker} {text}")
    ((_labels, line),) = arrived(host, f'{{service="leaker"}} |= "{marker}"')
    assert secret not in line and "REMOVED" in line


def test_a_trace_of_several_lines_is_kept_whole_and_is_an_error(host):
    trace = ["Traceback (most recent call last):", '  File "a.py", line 1, in <module>', "ValueError: no such thing"]
    write_in_unit(host, "tracer", "INFO: before", *trace, "INFO: after")
    within(10, lambda: log_lines(host, '{service="tracer"} |= "INFO: after"'))
    found = log_lines(host, '{service="tracer"}')
    lines = {(labels["level"], line) for labels, line in found if not re.match("Started|tracer.service", line)}
    assert lines == {("info", "INFO: before"), ("error", "\n".join(trace)), ("info", "INFO: after")}


def test_the_other_agent_takes_over_without_losing_or_repeating_a_line(host):
    write_in_unit(host, "counter", *[f"number {n}" for n in range(20)])
    arrived(host, '{service="counter"} |= "number 19"')
    numbers = '{service="counter"} |~ "^number"'
    assert run(log_agent="promtail").returncode == 0
    assert host.run("systemctl is-active alloy").rc != 0 and host.run("systemctl is-active promtail").rc == 0
    write_in_unit(host, "counter", *[f"number {n}" for n in range(20, 40)])
    assert arrived(host, '{service="counter"} |= "number 39"')
    assert [line for _labels, line in log_lines(host, numbers)] == [f"number {n}" for n in range(40)]
    assert run(log_agent="alloy").returncode == 0
    assert host.run("systemctl is-active promtail").rc != 0 and host.run("systemctl is-active alloy").rc == 0
    write_in_unit(host, "counter", "number 40")
    assert arrived(host, '{service="counter"} |= "number 40"')
    assert [line for _labels, line in log_lines(host, numbers)] == [f"number {n}" for n in range(41)]


def test_alerts_of_logs_are_with_the_store(host):
    groups = ask(host, LOKI, "/prometheus/api/v1/rules")["data"]["groups"]
    assert {rule["alert"] for group in groups for rule in group["rules"]} == {"OutOfMemoryInLogs", "CudaErrorInLogs", "MigrationFailedInLogs"}


# -- dashboards (stand-in) --------------------------------------------------------------------------------------------------------


def test_data_sources_have_fixed_names_and_reach_what_they_are_for(host):
    assert {source["uid"]: source["type"] for source in grafana(host, "/api/datasources")} == {
        "prometheus": "prometheus", "loki": "loki", "alertmanager": "alertmanager",
    }
    # The series of the agent that was replaced ends two scrapes after it.
    query = "/api/datasources/proxy/uid/prometheus/api/v1/query?query=up"
    assert within(60, lambda: len(grafana(host, query)["data"]["result"]) == len(SETTINGS["targets"]))
    assert grafana(host, "/api/datasources/proxy/uid/loki/loki/api/v1/labels")["status"] == "success"
    assert grafana(host, "/api/datasources/proxy/uid/alertmanager/api/v2/status")["versionInfo"]


def test_all_dashboards_are_there(host):
    boards = {board["uid"] for board in grafana(host, "/api/search")}
    assert boards == {f"platform-{name}" for name in ("overview", "people", "serving", "gpu", "hosts", "logs", "databases")}


def test_a_wrong_password_opens_nothing(host):
    assert grafana(host, "/api/search", password="wrong") == {"message": "Unauthorized"}


# -- doors ------------------------------------------------------------------------------------------------------------------------


def test_nothing_answers_from_outside(outside):
    assert [port for port in (3000, 3100, 9080, 9090, 9093, 9100, 9187, 9400, 12345) if outside.connects(port)] == []


def test_the_containers_are_hardened(inspect):
    assert findings_of_platform({name: inspect(name) for name in CONTAINERS}) == {}


def test_no_secret_is_in_units_process_lists_logs_or_inspections(host):
    for command in (*(f"systemctl cat {name}" for name in CONTAINERS), "ps axww", "journalctl --no-pager", f"docker inspect {' '.join(CONTAINERS)}"):
        text = host.check_output(command)
        assert [name for name in SECRETS if SETTINGS[name] in text] == [], command
