"""The service comes back from whatever is done to it, keeps its data, and the next run finds nothing to mend."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml

SCENARIO = Path(__file__).resolve().parents[1]
HOST = "pl-engine_room"
SECONDS_TO_COME_BACK = 60


def run(check=False, **changes):
    """Run the service with a changed description, as a task of a playbook would."""
    service = yaml.safe_load((SCENARIO / "vars.yml").read_text())["room_service"] | changes
    options = ["--inventory", os.environ["MOLECULE_INVENTORY_FILE"], "--inventory", f"{os.environ['PRIVATE_LLM_LAB']}/inventory"]
    command = ["ansible", HOST, *options, "-m", "private_llm.platform.container_service", "-a", json.dumps(service), *(["--check"] if check else [])]
    environment = os.environ | {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true"}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert " => {" in answer.stdout, answer.stdout + answer.stderr
    verdict, _arrow, text = answer.stdout.partition(" => ")
    return json.JSONDecoder().raw_decode(text)[0] | {"failed": "FAILED" in verdict}


def is_ready(host):
    return host.run("docker exec room pg_isready -q -h 127.0.0.1 -U postgres").rc == 0


def wait_until_ready(host):
    deadline = time.monotonic() + SECONDS_TO_COME_BACK
    while not is_ready(host):
        assert time.monotonic() < deadline, f"not back after {SECONDS_TO_COME_BACK} s"
        time.sleep(0.5)


def sql(host, statement):
    return host.check_output(f'docker exec room psql -U postgres -tAc "{statement}"')


@pytest.fixture(autouse=True)
def whole(host):
    """Every test begins and ends with a service that runs as described, with its data."""
    sql(host, "CREATE TABLE IF NOT EXISTS kept AS SELECT 'here' AS word")
    yield
    wait_until_ready(host)
    assert sql(host, "SELECT word FROM kept") == "here"
    after = run()
    assert not after["failed"] and not after["changed"], after


# -- faults -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        "kill -9 $(docker inspect -f '{{.State.Pid}}' room)",
        "docker kill room",
        "docker rm -f room",
        "kill -9 $(systemctl show room --property MainPID --value)",
        "systemctl restart docker",
        "kill -9 $(systemctl show docker --property MainPID --value)",
        "kill -9 $(pidof containerd)",
    ],
    ids=["program killed", "container killed", "container removed", "client killed", "engine restarted", "engine killed", "containerd killed"],
)
def test_it_comes_back_from(host, fault):
    before = host.check_output("docker inspect -f '{{.State.StartedAt}}' room")
    host.check_output(fault)
    deadline = time.monotonic() + SECONDS_TO_COME_BACK
    # Not all faults end the program (containerd's death need not), so an unchanged one may stay.
    while time.monotonic() < deadline:
        started = host.run("docker inspect -f '{{.State.StartedAt}}' room").stdout.strip()
        if is_ready(host) and (started != before or "containerd" in fault):
            break
        time.sleep(0.5)
    assert is_ready(host)


def restart_host(*how):
    subprocess.run(["docker", *how, HOST], check=True, capture_output=True)


def test_it_comes_back_after_a_power_cut(host):
    restart_host("kill")
    restart_host("start")
    wait_until_ready(host)


def test_it_comes_back_after_a_reboot_without_network_and_registry(host):
    template = "{{range $name, $n := .NetworkSettings.Networks}}{{$name}} {{end}}"
    network = subprocess.check_output(["docker", "inspect", "-f", template, HOST], text=True).split()[0]
    subprocess.run(["docker", "network", "disconnect", network, HOST], check=True, capture_output=True)
    try:
        restart_host("restart", "--time", "60")
        wait_until_ready(host)
    finally:
        subprocess.run(["docker", "network", "connect", network, HOST], check=True, capture_output=True)


# -- changes that fail --------------------------------------------------------------------------------------------------------


def test_a_registry_that_is_gone_does_not_touch_what_runs(host):
    started = host.check_output("docker inspect -f '{{.State.StartedAt}}' room")
    result = run(image="registry.test:1/library/postgres:99")
    assert result["failed"] and "cannot be pulled" in result["msg"]
    assert host.check_output("docker inspect -f '{{.State.StartedAt}}' room") == started


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"command": ["postgres", "-c", "max_connections=banana"]}, "invalid value for parameter"),
        ({"entrypoint": "/bin/false"}, "was started again"),
        ({"entrypoint": "/no/such/program"}, "no such file or directory"),
        ({"command": ["sleep", "infinity"], "health": {"exec": ["pg_isready", "--host=127.0.0.1"], "timeout": 5}}, "not healthy after 5 s"),
        ({"health": {"exec": ["sleep", "infinity"], "timeout": 5}}, "not healthy after 5 s"),
    ],
    ids=["a setting it refuses", "a program that ends at once", "a program that is not there", "never healthy", "a health check that hangs"],
)
def test_a_change_that_cannot_work_is_taken_back(host, changes, reason):
    result = run(**changes)
    assert result["failed"] and reason in result["msg"] and "put back and runs again" in result["msg"], result
    assert is_ready(host)


def test_a_disk_that_is_full_leaves_what_was_there(host):
    unit = host.check_output("cat /etc/systemd/system/room.service")
    started = host.check_output("docker inspect -f '{{.State.StartedAt}}' room")
    host.check_output("mkdir /run/full && mount -t tmpfs -o size=512k tmpfs /run/full && cp -a /etc/systemd/system/. /run/full/")
    host.check_output("mount --bind /run/full /etc/systemd/system; head -c 1M /dev/zero > /etc/systemd/system/filler || test -s /etc/systemd/system/filler")
    try:
        result = run(memory="300m")
    finally:
        host.check_output("umount /etc/systemd/system && umount /run/full && rmdir /run/full && systemctl daemon-reload")
    assert result["failed"] and "No space left" in result["msg"], result
    assert host.check_output("cat /etc/systemd/system/room.service") == unit
    assert host.check_output("docker inspect -f '{{.State.StartedAt}}' room") == started


# -- changes that work ------------------------------------------------------------------------------------------------------------


def test_check_mode_says_what_a_change_would_do_and_does_nothing(host):
    started = host.check_output("docker inspect -f '{{.State.StartedAt}}' room")
    predicted = run(check=True, memory="300m")
    assert predicted["changed"] and any(action.startswith("restart: room.service") for action in predicted["actions"])
    assert host.check_output("docker inspect -f '{{.State.StartedAt}}' room") == started


@pytest.mark.parametrize("seconds", [0.2, 0.5, 0.8, 1.1, 1.5, 2.0])
def test_a_run_that_was_killed_is_finished_by_the_next(host, seconds):
    memory = 300 + int(seconds * 10)
    host.check_output(
        "nohup sh -c 'until pgrep -f AnsiballZ_container_service >/dev/null; do sleep 0.05; done; "
        f"sleep {seconds}; pkill -9 -f AnsiballZ_container_service' >/dev/null 2>&1 &"
    )
    first = attempt(memory=f"{memory}m")
    second = run(memory=f"{memory}m")
    assert not second["failed"], (first, second)
    assert host.check_output("docker inspect -f '{{.HostConfig.Memory}}' room") == str(memory * 1024 * 1024)
    run()


def attempt(**changes):
    """A run that may die: whatever it said."""
    try:
        return run(**changes)
    except (AssertionError, ValueError) as error:
        return str(error)
