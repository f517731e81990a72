"""Each alert fires when it must, in the words it promises, and is silent when it must be: asked of Prometheus' own promtool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from alerts import LOGS_ROLE, RUNBOOKS, alerts, rule_files

CASES = {name: cases for path in sorted(Path(__file__).parent.glob("cases/*.yml")) for name, cases in yaml.safe_load(path.read_text()).items()}
ALERTS = {alert.name: alert for alert in alerts()}
OF_LOGS = {alert.name: alert for alert in alerts(LOGS_ROLE)}
GROUPS = ("people", "serving", "gpu", "host", "platform")
# Absence is their very subject, or they fire by design.
FIRE_WITHOUT_DATA = {"Watchdog"}

each_alert = pytest.mark.parametrize("name", sorted(ALERTS))


@pytest.fixture(scope="session")
def directory(tmp_path_factory):
    """The rule files as a host gets them."""
    place = tmp_path_factory.mktemp("rules")
    for name, text in rule_files().items():
        (place / name).write_text(text)
    return place


def promtool(*arguments):
    """The exit status of promtool and everything it said."""
    program = shutil.which("promtool")
    assert program, "promtool is missing: call the tests through `make check`, which fetches it"
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def expected(alert, case):
    annotations = {**alert.annotations, "summary": case["summary"]}
    return {"exp_labels": {**alert.rule["labels"], **case.get("labels", {})}, "exp_annotations": annotations}


def as_test(alert, case, fires):
    check = {"eval_time": case.get("at", "10m"), "alertname": alert.name, "exp_alerts": [expected(alert, case)] if fires else []}
    series = [{"series": name, "values": str(values)} for name, values in case["series"].items()]
    return {"interval": case.get("step", "1m"), "input_series": series, "alert_rule_test": [check]}


def promised_minutes(duration):
    return int(duration[:-1]) * {"m": 1, "h": 60}[duration[-1]]


def cases_of(name, kind):
    cases = list(CASES.get(name, {}).get(kind) or [])
    if kind == "silent" and name not in FIRE_WITHOUT_DATA:
        # Ten minutes longer than the alert would have to hold.
        minutes = promised_minutes(ALERTS[name].rule.get("for", "0m")) + 10
        cases.append({"at": f"{minutes}m", "series": {}})
    return cases


@pytest.fixture(scope="session")
def verdicts(directory):
    """What promtool says of each alert's cases; one call for all, because loading the program takes longer than a case."""
    recording = [group["name"] for group in yaml.safe_load((directory / "recording.yml").read_text())["groups"]]
    paths = []
    for alert in ALERTS.values():
        for kind in ("fires", "silent"):
            tests = [as_test(alert, case, kind == "fires") for case in cases_of(alert.name, kind)]
            files = {"rule_files": ["recording.yml", f"{alert.group}.yml"], "group_eval_order": [*recording, alert.group]}
            path = directory / f"{alert.name}.{kind}.test.yml"
            path.write_text(yaml.safe_dump({**files, "evaluation_interval": tests[0]["interval"] if tests else "1m", "tests": tests}))
            paths.append(path)
    _status, output = promtool("test", "rules", *paths)
    sections = output.split("Unit Testing:")[1:]
    assert len(sections) == len(paths), output
    return {Path(section.split()[0]).name: section for section in sections}


def assert_promised(verdicts, name, kind):
    said = verdicts[f"{name}.{kind}.test.yml"]
    assert said.split()[1:] == ["SUCCESS"], said


@each_alert
def test_it_fires_when_it_must_and_says_what_is_wrong(verdicts, name):
    assert CASES[name]["fires"]
    assert_promised(verdicts, name, "fires")


@each_alert
def test_it_is_silent_when_all_is_well_and_when_there_is_no_data(verdicts, name):
    assert CASES[name]["silent"] or name in FIRE_WITHOUT_DATA
    assert_promised(verdicts, name, "silent")


def test_every_alert_has_cases_and_every_case_an_alert():
    assert sorted(CASES) == sorted(ALERTS)


def test_there_are_five_groups_with_alerts_in_each():
    assert {alert.group for alert in ALERTS.values()} == set(GROUPS)
    assert len(ALERTS) >= 30


@pytest.mark.parametrize("name", sorted(ALERTS | OF_LOGS))
def test_it_says_how_bad_it_is_what_is_wrong_and_what_to_do(name):
    alert = (ALERTS | OF_LOGS)[name]
    assert alert.severity in ("critical", "warning", "info", "none")
    assert alert.rule["labels"]["group"] == alert.group
    assert set(alert.annotations) == {"summary", "action", "runbook_url"}
    assert alert.annotations["runbook_url"].endswith(f"/{name}.md")


def test_every_alert_has_a_runbook_and_every_runbook_an_alert():
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == set(ALERTS | OF_LOGS)


def test_the_rules_are_what_prometheus_takes(directory):
    status, output = promtool("check", "rules", *(directory / name for name in rule_files()))
    assert status == 0, output


def test_a_threshold_of_the_inventory_reaches_its_alert():
    rendered = rule_files(overrides={"prometheus_alert_gpu_celsius": 61})["gpu.yml"]
    assert "gpu:temperature:celsius > 61" in rendered
