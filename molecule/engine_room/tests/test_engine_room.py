"""The service comes back from whatever is done to it, keeps its data, and the next run finds nothing to mend."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

SCENARIO = Path(__file__).resolve().parents[1]
HOST = "pl-engine_room"
SECRETS = ("canary-of-the-environment", "canary-of-the-file")
CONTEXT_OF_NO_IMAGE = "registry.test:1/library/postgres:99"


def service(**changes):
    return yaml.safe_load((SCENARIO / "vars.yml").read_text())["room_service"] | changes


def start_module(name, arguments, options=()):
    """Begin a run of a module, as a task of a playbook would."""
    inventories = ["--inventory", os.environ["MOLECULE_INVENTORY_FILE"], "--inventory", os.environ["PRIVATE_LLM_INVENTORY"]]
    command = ["ansible", HOST, *inventories, "-m", f"private_llm.platform.{name}", "-a", json.dumps(arguments), *options]
    environment = os.environ | {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def start(check=False, options=(), **changes):
    """Begin a run of the service with a changed description."""
    return start_module("container_service", service(**changes), [*(["--check"] if check else []), *options])


def attempt(check=False, options=(), **changes):
    """Everything that a run printed, whatever came of it."""
    return start(check, options, **changes).communicate()[0]


def run(check=False, **changes):
    """The result of a run."""
    return result_of(attempt(check, **changes))


def result_of(output):
    """What a module returned."""
    assert " => {" in output, output
    verdict, _arrow, text = output.partition(" => ")
    return json.JSONDecoder().raw_decode(text)[0] | {"failed": "FAILED" in verdict}


def is_ready(host):
    return host.run("docker exec room pg_isready -q -h 127.0.0.1 -U postgres").rc == 0


def wait_until(condition, seconds, what):
    """Ask until it is so; returns after how many seconds it was."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"{what} took more than {seconds} s"
        time.sleep(0.25)
    return time.monotonic() - began


def wait_until_ready(host, seconds=60):
    return wait_until(lambda: is_ready(host), seconds, "coming back")


def sql(host, statement):
    return host.check_output(f'docker exec room psql -U postgres -tAc "{statement}"')


def started(host):
    return host.run("docker inspect -f '{{.State.StartedAt}}' room").stdout.strip()


def memory(host):
    return int(host.check_output("docker inspect -f '{{.HostConfig.Memory}}' room")) // 2**20


def jobs_run(host):
    return int(host.check_output("wc -l < /var/lib/room-jobs/log"))


@pytest.fixture(scope="module")
def left():
    """What differs from the description since a test said so here."""
    return {}


# Everything that a run goes by.
STATE = (
    "docker inspect -f '{{.Id}} {{.State.StartedAt}}' room; docker ps --all --quiet; docker images --quiet --no-trunc; docker network ls --quiet;"
    " systemctl show room --property UnitFileState,NeedDaemonReload,NRestarts; stat -c '%n %a %u %g' /var/lib/room /var/lib/room-jobs;"
    " find /etc/private-llm /etc/systemd/system /var/lib/private-llm -printf '%p %m %U %G %s %T@\\n' | sort"
)


@pytest.fixture(autouse=True)
def _whole(host, left):
    """Every test begins and ends with a service that runs as described, with its data; the next run has nothing to mend."""
    sql(host, "CREATE TABLE IF NOT EXISTS kept AS SELECT 'here' AS word")
    before, described = host.run(STATE).stdout, dict(left)
    yield
    wait_until_ready(host)
    assert sql(host, "SELECT word FROM kept") == "here"
    # Of what is as it was, the test before has shown it, or the scenario's own second run.
    if (before, described) != (host.run(STATE).stdout, left):
        after = run(**left)
        assert not after["failed"] and not after["changed"], after


@pytest.fixture(scope="module")
def image(host):
    """Images made of the database's own: a newer version, and one that never answers."""
    base = host.check_output("docker inspect -f '{{.Config.Image}}' room")

    def make(name, *lines):
        recipe = "\\n".join([f"FROM {base}", *lines])
        host.check_output(f"mkdir -p /run/empty && printf '{recipe}\\n' | docker build -q -t registry.test/{name} -f - /run/empty")
        return f"registry.test/{name}"

    return make


# -- what a change does ---------------------------------------------------------------------------------------------------------

CHANGES = [
    ({"memory": "300m"}, ["unit: room.service (content)", "restart: room.service (changed: unit)"]),
    (
        {"environment": {"POSTGRES_PASSWORD_FILE": "/run/secrets/password", "COLOUR": "blue"}},
        ["environment: room (COLOUR added)", "job: migrate (image or input changed)", "restart: room.service (changed: environment)"],
    ),
    (
        {"secret_environment": {"ROOM_TOKEN": "another"}},
        ["secret_environment: room (ROOM_TOKEN changed)", "job: migrate (image or input changed)", "restart: room.service (changed: secret_environment)"],
    ),
    (
        {"files": [{"path": "/run/secrets/password", "secret_content": "canary-of-the-file", "mode": "0400"}]},
        ["file: /run/secrets/password (mode)", "job: migrate (image or input changed)", "restart: room.service (changed: file)"],
    ),
    ({"health": {"exec": ["pg_isready", "--host=127.0.0.1"], "timeout": 30}}, ["unit: room.service (health check)"]),
    (
        {"networks": [{"name": "room"}, {"name": "room-two", "internal": True}]},
        ["network: room-two (missing)", "unit: room.service (content)", "restart: room.service (changed: unit)"],
    ),
]


@pytest.mark.parametrize(("change", "actions"), CHANGES, ids=[next(iter(change)) for change, _actions in CHANGES])
def test_a_check_says_exactly_what_the_run_then_does_and_touches_nothing(host, change, actions):
    before = started(host)
    predicted = run(check=True, **change)
    assert predicted["actions"] == actions and started(host) == before
    assert run(**change)["actions"] == predicted["actions"]
    assert not run(**change)["changed"]
    assert (started(host) != before) == any(action.startswith("restart") for action in actions)
    run()


def test_a_newer_image_is_named_with_the_one_that_it_follows(host, image):
    newer = image("newer:2", "LABEL version=2")
    old = host.check_output("docker inspect -f '{{.Config.Image}}' room").partition("@")[0]
    actions = run(image=newer)["actions"]
    assert any(action.startswith(f"image: {newer} (was {old}") for action in actions)
    assert "restart: room.service (changed: image)" in actions
    assert host.check_output("docker inspect -f '{{.Image}}' room") == host.check_output(f"docker image inspect -f '{{{{.Id}}}}' {newer}")
    run()


def test_a_job_runs_once_for_an_image_and_its_input(host):
    before = jobs_run(host)
    change = {"environment": {"POSTGRES_PASSWORD_FILE": "/run/secrets/password", "STEP": "two"}}
    run(**change)
    run(**change)
    run(**change, memory="300m")
    assert jobs_run(host) == before + 1
    run()


def test_a_job_that_fails_leaves_the_service_alone(host):
    before = started(host)
    host.check_output("touch /var/lib/room-jobs/fail")
    result = run(memory="300m", environment={"POSTGRES_PASSWORD_FILE": "/run/secrets/password", "STEP": "three"})
    host.check_output("rm /var/lib/room-jobs/fail")
    assert result["failed"] and "the job migrate ended with exit status 1" in result["msg"] and "what runs was not touched" in result["msg"]
    assert started(host) == before and host.run("docker inspect room-migrate").rc != 0


def test_each_line_of_the_program_is_in_the_journal_once_and_carries_the_labels(host):
    sql(host, "DO 'BEGIN RAISE WARNING ''canary-of-the-log''; END'")
    entries = [json.loads(line) for line in host.check_output("journalctl --output json CONTAINER_NAME=room --grep 'WARNING:  canary-of-the-log'").splitlines()]
    assert len(entries) == 1 and entries[0]["TEAM"] == "engine room"


# -- secrets ----------------------------------------------------------------------------------------------------------------------


def test_secrets_are_in_nothing_that_a_run_prints(host):
    change = {"memory": "300m", "secret_environment": {"ROOM_TOKEN": "canary-of-the-environment", "MORE": "x"}}
    aloud = ["-vvv", "--diff"]
    outputs = [attempt(check=True, options=aloud, **change), attempt(options=aloud, **change), attempt(options=aloud, **change, entrypoint="/bin/false")]
    run()
    assert all("new content hidden" in output for output in outputs[:2]) and "put back and runs again" in outputs[2]
    assert not [secret for secret in SECRETS for output in outputs if secret in output]


def test_secrets_are_out_of_reach_for_everybody_else(host):
    search = f"grep -rlsE '{'|'.join(SECRETS)}' /etc /run /var /tmp /proc/[0-9]*/environ"
    assert len(host.run(search).stdout.split()) >= 2, "root finds them, so the search works"
    assert host.run(f"setpriv --reuid 65534 --regid 65534 --clear-groups {search}").stdout == ""
    kept = host.check_output(f"grep -rlE '{'|'.join(SECRETS)}' /etc").split()
    assert {host.file(path).mode for path in kept} == {0o600}


def owners_of_data(host):
    return set(host.check_output("find /var/lib/room -printf '%U\\n' | sort -u").split())


def test_the_data_goes_with_the_service_to_another_user_and_back_with_it(host, left):
    sql(host, "CREATE TABLE moving (word text); INSERT INTO moving VALUES ('kept')")
    # The job of this service writes to the data before it is handed over.
    moved = run(user="64999:64999", jobs=[])
    assert "directory: /var/lib/room (owner)" in moved["actions"] and owners_of_data(host) == {"64999"}
    assert sql(host, "SELECT word FROM moving") == "kept"
    # A program that cannot start under its next user.
    refused = run(user="64998:64998", jobs=[], entrypoint="/bin/false")
    assert refused["failed"] and "put back and runs again" in refused["msg"] and owners_of_data(host) == {"64999"}
    assert sql(host, "SELECT word FROM moving") == "kept"
    assert run()["changed"] and owners_of_data(host) == {"999"} and sql(host, "SELECT word FROM moving") == "kept"


def test_secret_variables_reach_the_program_itself(host):
    program = host.check_output("docker inspect -f '{{.State.Pid}}' room")
    assert host.check_output(f"tr '\\0' '\\n' </proc/{program}/environ | grep TOKEN") == "ROOM_TOKEN=canary-of-the-environment"
    # No shell stays between the engine and the program, which would keep its signals.
    assert host.check_output(f"cat /proc/{program}/comm") == "postgres"


def test_the_engine_keeps_no_secret_in_its_own_files(host):
    found = host.run(f"grep -rlsE '{'|'.join(SECRETS)}' /var/lib/docker/containers /var/lib/containerd/*.bolt* /run/containerd /run/docker")
    assert found.stdout == "" and host.run("grep -rls private_llm.platform /var/lib/docker/containers").stdout != ""


@pytest.mark.parametrize(
    "command", ["journalctl --no-pager", "systemctl cat room", "docker inspect room", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]
)
def test_secrets_are_not_in(host, command):
    output = host.check_output(command)
    assert "room" in output and not [secret for secret in SECRETS if secret in output]


def test_only_who_is_root_can_ask_the_engine(host):
    assert host.run("setpriv --reuid 65534 --regid 65534 --clear-groups docker inspect room").rc != 0


# -- faults -----------------------------------------------------------------------------------------------------------------------

DROP_IN = "/etc/systemd/system/docker.service.d"
FAIL_ONCE = (
    f"mkdir -p {DROP_IN}; rm -f /run/tried; echo '[Service]\nExecStartPre=/bin/sh -c \"test -e /run/tried || {{ touch /run/tried; exit 1; }}\"'"
    f" > {DROP_IN}/fail-once.conf; systemctl daemon-reload;"
)
FAULTS = {
    "program killed": ("kill -9 $(docker inspect -f '{{.State.Pid}}' room)", 30),
    "container killed": ("docker kill room", 30),
    "container removed": ("docker rm -f room", 30),
    "client killed": ("kill -9 $(systemctl show room --property MainPID --value)", 30),
    "engine restarted": ("systemctl restart docker", 45),
    "engine stopped and started": ("systemctl stop docker docker.socket; systemctl start docker", 45),
    "engine that needs a second try": (f"{FAIL_ONCE} systemctl restart docker; rm -r {DROP_IN}; systemctl daemon-reload", 45),
    "engine killed": ("kill -9 $(systemctl show docker --property MainPID --value)", 45),
    "containerd killed": ("kill -9 $(pidof containerd)", 45),
}


@pytest.mark.parametrize(("fault", "seconds"), FAULTS.values(), ids=FAULTS)
def test_it_comes_back_from(host, fault, seconds):
    before = started(host)
    # Each fault is an incident of its own: the engine's unit counts its starts of the last minute and gives up at the fourth.
    host.run("systemctl reset-failed docker.service docker.socket")
    host.run(fault)
    # Not all faults end the program (containerd's death need not), so an unchanged one may stay.
    wait_until(lambda: is_ready(host) and ("containerd" in fault or started(host) not in ("", before)), seconds, "coming back")


def restart_host(*how):
    subprocess.run(["docker", *how, HOST], check=True, capture_output=True)


def wait_for_the_host(host):
    wait_until(lambda: host.run("systemctl is-system-running --wait").stdout.strip() in ("running", "degraded"), 60, "the host's start")


def test_it_comes_back_after_a_power_cut(host):
    restart_host("kill")
    restart_host("start")
    wait_until_ready(host, 60)


def test_it_comes_back_after_a_reboot_without_network_and_registry(host):
    template = "{{range $name, $n := .NetworkSettings.Networks}}{{$name}} {{end}}"
    network = subprocess.check_output(["docker", "inspect", "-f", template, HOST], text=True).split()[0]
    subprocess.run(["docker", "network", "disconnect", network, HOST], check=True, capture_output=True)
    try:
        restart_host("restart", "--time", "60")
        wait_until_ready(host, 60)
    finally:
        subprocess.run(["docker", "network", "connect", network, HOST], check=True, capture_output=True)


# -- changes that fail --------------------------------------------------------------------------------------------------------------


def test_a_registry_that_is_gone_does_not_touch_what_runs(host):
    before = started(host)
    result = run(image=CONTEXT_OF_NO_IMAGE)
    assert result["failed"] and "cannot be pulled" in result["msg"] and started(host) == before


LISTEN_AND_SAY_NOTHING = "use Socket; socket(S,2,1,6); bind(S,sockaddr_in(5432,INADDR_ANY)); listen(S,9); sleep 1000"
SOON_READY = {"exec": ["pg_isready", "--host=127.0.0.1"], "timeout": 5}
SOON_THERE = {"http": "http://127.0.0.1:5433/", "timeout": 5}
BROKEN = {
    "a setting it refuses": ({"command": ["postgres", "-c", "max_connections=banana"]}, "invalid value for parameter"),
    "a program that ends at once": ({"entrypoint": "/bin/false"}, "the unit ended and was started again"),
    "a program that ends at once and has no health check": ({"entrypoint": "/bin/false", "health": None}, "the unit"),
    "a program that is not there": ({"entrypoint": "/no/such/program"}, "/no/such/program"),
    "a program that never gets ready": ({"command": ["sleep", "infinity"], "stop_timeout": 1, "health": SOON_READY}, "not healthy after 5 s"),
    "an endpoint that hangs": (
        {"entrypoint": "/usr/bin/perl", "command": ["-e", LISTEN_AND_SAY_NOTHING], "stop_timeout": 1, "health": SOON_THERE},
        "not healthy after 5 s; last answer: http://127.0.0.1:5433/: timed out",
    ),
    "a memory limit that kills it": ({"memory": "6m", "stop_timeout": 1}, "room.service"),
}


@pytest.mark.parametrize(("change", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_change_that_cannot_work_is_taken_back(host, change, reason):
    result = run(**change)
    assert result["failed"] and reason in result["msg"] and "put back and runs again" in result["msg"], result
    assert "journalctl CONTAINER_NAME=room ; systemctl status room ; docker inspect room" in result["msg"]
    assert is_ready(host)


def test_an_image_that_starts_and_never_gets_well_is_taken_back(host, image):
    before = host.check_output("docker inspect -f '{{.Image}}' room")
    never = image("never-well:1", 'ENTRYPOINT [\\"sleep\\"]', 'CMD [\\"infinity\\"]')
    result = run(image=never, stop_timeout=1, health=SOON_READY)
    assert result["failed"] and "put back and runs again" in result["msg"]
    assert host.check_output("docker inspect -f '{{.Image}}' room") == before


def test_a_health_check_that_hangs_is_taken_back_and_restarts_nothing(host):
    before = started(host)
    result = run(health={"exec": ["sleep", "infinity"], "timeout": 5})
    assert result["failed"] and "not healthy after 5 s" in result["msg"] and "what runs was not touched" in result["msg"]
    assert started(host) == before


@contextlib.contextmanager
def full(host, directory):
    """A file system without room in place of a directory, with what that holds."""
    host.check_output(f"mkdir /run/full && mount -t tmpfs -o size=512k tmpfs /run/full && cp -a {directory}/. /run/full/")
    host.check_output(f"mount --bind /run/full {directory}; head -c 1M /dev/zero > {directory}/filler || test -s {directory}/filler")
    try:
        yield
    finally:
        host.check_output(f"umount {directory} && umount /run/full && rmdir /run/full && systemctl daemon-reload")


@pytest.mark.parametrize("directory", ["/etc/systemd/system", "/etc/private-llm", "/var/lib/private-llm/services"])
def test_a_disk_that_is_full_leaves_what_was_there(host, directory):
    unit, before = host.check_output("cat /etc/systemd/system/room.service"), started(host)
    with full(host, directory):
        result = run(memory="300m")
    assert result["failed"] and "No space left" in result["msg"] and "touched" in result["msg"], result
    assert host.check_output("cat /etc/systemd/system/room.service") == unit and started(host) == before


REFUSED = {
    "an unknown device": ({"devices": ["nvidia.com/gpu=all"]}, "This host knows no device nvidia.com/gpu=all"),
    "a port of another service": ({"name": "room-two", "volumes": [], "jobs": []}, "Port 5433 on 127.0.0.1 is published by room.service as well"),
    "a port of a stranger": ({"publish": ["127.0.0.1:22:5432"]}, "Port 22 on 127.0.0.1 is needed by room, but"),
    "a network of another shape": ({"networks": [{"name": "room", "internal": True}]}, "network room is not as wanted: internal is False, wanted True"),
    "several things at once": ({"publish": ["5432"], "image": "postgres", "memory": "lots"}, "publish '5432' must be ADDRESS:HOST_PORT:CONTAINER_PORT"),
}


@pytest.mark.parametrize(("change", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_contradicts_the_host_is_refused_before_anything_changes(host, change, sentence):
    before = started(host), host.check_output("ls -l --time-style=full-iso /etc/systemd/system /etc/private-llm")
    result = run(**change)
    assert result["failed"] and sentence in result["msg"]
    assert (started(host), host.check_output("ls -l --time-style=full-iso /etc/systemd/system /etc/private-llm")) == before


# -- runs that are interrupted -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trap(host):
    """A way to strike at the moment at which a run is about to do something, or has just done it."""
    subprocess.run(["docker", "cp", str(SCENARIO / "files" / "trap.sh"), f"{HOST}:/usr/local/bin/trap.sh"], check=True, capture_output=True)
    place_traps(host)

    def at(when, pattern):
        host.check_output(f"echo '{when}|{pattern}' > /run/trap")

    yield at
    host.check_output("umount /usr/bin/docker; rm /usr/local/lib/docker-real /usr/local/bin/systemctl /usr/local/bin/trap.sh")


def place_traps(host):
    """Again after each boot: the one before Docker is a mount."""
    host.check_output(
        "chmod 755 /usr/local/bin/trap.sh && cp /usr/local/bin/trap.sh /usr/local/bin/systemctl;"
        "test -e /usr/local/lib/docker-real || cp /usr/bin/docker /usr/local/lib/docker-real; mount --bind /usr/local/bin/trap.sh /usr/bin/docker"
    )


# Every command with which a run changes the host, in the order in which it gives them.
STEPS = {
    "network": "docker network create*",
    "job made": "docker create --name room-migrate*",
    "job started": "docker start room-migrate",
    "job ends": "docker wait room-migrate",
    "job removed": "docker rm --force room-migrate",
    "unit read": "systemctl daemon-reload",
    "restart": "systemctl restart room.service",
    "health": "docker exec room *",
}


def a_change(number):
    """A change that takes all of the steps, another one each time."""
    variables = {"POSTGRES_PASSWORD_FILE": "/run/secrets/password", "NUMBER": str(number)}
    return {"memory": f"{300 + number}m", "environment": variables, "networks": [{"name": "room"}, {"name": f"room-{number}"}]}


CASES = [(when, name, pattern) for name, pattern in STEPS.items() for when in ("before", "after")]


@pytest.mark.parametrize(("number", "when", "pattern"), [(n, w, p) for n, (w, _n, p) in enumerate(CASES)], ids=[f"{w} {n}" for w, n, _p in CASES])
def test_a_run_that_is_killed_leaves_the_service_up_and_is_finished_by_the_next(host, trap, left, number, when, pattern):
    ran = jobs_run(host)
    trap(when, pattern)
    output = attempt(**a_change(number))
    assert not host.file("/run/trap").exists and '"actions"' not in output, f"the run was not killed: {output}"
    wait_until_ready(host, 30)
    second = run(**a_change(number))
    assert not second["failed"] and second["changed"], second
    assert memory(host) == 300 + number and is_ready(host) and jobs_run(host) == ran + 1
    left.update(a_change(number))


@pytest.mark.parametrize("step", ["job started", "unit read", "restart", "health"])
def test_a_power_cut_in_the_middle_of_a_run_is_survived(host, trap, left, step):
    number = 50 + list(STEPS).index(step)
    trap("hold", STEPS[step])
    running = start(**a_change(number))
    wait_until(lambda: host.file("/run/held").exists, 60, f"getting to {step}")
    restart_host("kill")
    running.communicate()
    restart_host("start")
    wait_for_the_host(host)
    place_traps(host)
    wait_until_ready(host, 60)
    second = run(**a_change(number))
    assert not second["failed"] and second["changed"] and memory(host) == 300 + number, second
    left.update(a_change(number))


TICKER = "/opt/ticker/releases"


@pytest.fixture(scope="module")
def ticker(host):
    """A way to run a release of a native program, whose configuration is in a file of its own."""
    for release in ("1.4.0", "1.5.0"):
        host.check_output(f"mkdir -p {TICKER}/{release}")
        subprocess.run(["docker", "cp", str(SCENARIO / "files" / "ticker.py"), f"{HOST}:{TICKER}/{release}/ticker"], check=True, capture_output=True)
    host.check_output(f"chmod 755 {TICKER}/*/ticker; id ticker >/dev/null 2>&1 || useradd --system ticker")

    def call(release, **changes):
        arguments = {
            "name": "ticker",
            "exec_start": ["/opt/ticker/current/ticker", "--listen", "127.0.0.1:9000"],
            "user": "ticker",
            "files": [{"path": "/etc/ticker/release", "content": release}],
            "links": [{"path": "/opt/ticker/current", "target": f"{TICKER}/{release}"}],
            "health": {"tcp": "127.0.0.1:9000", "timeout": 10},
        }
        return start_module("native_service", arguments | changes).communicate()[0]

    yield call
    start_module("native_service", {"name": "ticker", "state": "absent", "links": [{"path": "/opt/ticker/current", "target": TICKER}]}).communicate()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["systemctl daemon-reload", "systemctl restart ticker.service"])
def test_a_run_of_a_native_program_that_is_killed_leaves_it_up_and_is_finished_by_the_next(host, trap, ticker, when, step):
    ticker("1.4.0")
    trap(when, step)
    assert '"actions"' not in ticker("1.5.0")
    assert host.socket("tcp://127.0.0.1:9000").is_listening
    second = result_of(ticker("1.5.0"))
    assert not second["failed"] and second["changed"], second
    assert (host.check_output("readlink /opt/ticker/current"), host.file("/etc/ticker/release").content_string) == (f"{TICKER}/1.5.0", "1.5.0")
    assert host.socket("tcp://127.0.0.1:9000").is_listening and not result_of(ticker("1.5.0"))["changed"]


def test_a_native_release_that_fails_is_taken_back_also_by_the_run_after_one_that_was_killed(host, trap, ticker):
    ticker("1.4.0")
    broken = {"exec_start": ["/opt/ticker/current/ticker", "--listen", "192.0.2.1:9000"]}
    trap("after", "systemctl restart ticker.service")
    ticker("1.5.0", **broken)
    result = result_of(ticker("1.5.0", **broken))
    assert result["failed"] and "put back and runs again" in result["msg"], result
    assert host.file("/etc/ticker/release").content_string == "1.4.0" and not result_of(ticker("1.4.0"))["changed"]


def test_a_change_that_cannot_work_is_taken_back_by_the_run_after_the_one_that_was_killed(host, trap, left):
    left.clear()
    run()
    broken = {"command": ["postgres", "-c", "max_connections=banana"]}
    trap("after", STEPS["restart"])
    attempt(**broken)
    assert not is_ready(host)
    result = run(**broken)
    assert result["failed"] and "put back and runs again" in result["msg"] and is_ready(host)


def test_a_run_that_is_killed_while_data_changes_hands_is_finished_by_the_next(host, trap):
    trap("after", "systemctl stop room.service")
    assert '"actions"' not in attempt(user="64999:64999", jobs=[]) and not is_ready(host)
    assert run(user="64999:64999", jobs=[])["changed"] and owners_of_data(host) == {"64999"} and is_ready(host)
    assert run()["changed"] and owners_of_data(host) == {"999"}


def test_a_second_run_waits_for_one_that_its_ansible_has_left_alone(host, trap, left):
    trap("hold", STEPS["restart"])
    first = start(**a_change(60))
    wait_until(lambda: host.file("/run/held").exists, 60, "getting to the restart")
    os.killpg(first.pid, signal.SIGKILL)
    second = start(**a_change(60))
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(8)
    host.check_output("rm /run/held")
    output = second.communicate()[0]
    assert "FAILED" not in output and memory(host) == 360
    left.update(a_change(60))


# -- the end ----------------------------------------------------------------------------------------------------------------------------


def run_examples_of(module, tmp_path, *further):
    """The tasks that the documentation of a module shows, as they are."""
    name = f"private_llm.platform.{module}"
    documentation = subprocess.check_output(["ansible-doc", "--json", name], text=True)
    tasks = yaml.safe_load(json.loads(documentation)[name]["examples"]) + list(further)
    play = {"name": "Examples", "hosts": HOST, "gather_facts": False, "vars": {"inventory_db_password": "p"}, "tasks": tasks}
    (tmp_path / "examples.yml").write_text(yaml.safe_dump([play]))
    command = ["ansible-playbook", "--inventory", os.environ["MOLECULE_INVENTORY_FILE"], str(tmp_path / "examples.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_documented_examples_of_containers_run_as_they_are(host, tmp_path):
    base = host.check_output("docker inspect -f '{{.Config.Image}}' room")
    host.check_output(f"docker tag {base} docker.io/library/postgres:17-trixie")
    run_examples_of("container_service", tmp_path)
    assert not host.file("/var/lib/inventory-db").exists and host.run("docker network inspect inventory").rc != 0


@pytest.mark.usefixtures("ticker")
def test_the_documented_examples_of_native_programs_run_as_they_are(host, tmp_path):
    run_examples_of("native_service", tmp_path, {"private_llm.platform.native_service": {"name": "ticker", "state": "absent"}})
    assert host.check_output("docker info -f '{{.LoggingDriver}}'") == "journald"
    assert not host.file("/etc/systemd/system/ticker.service").exists


def test_absent_keeps_the_data_and_purge_takes_it(host):
    volumes = [{"source": "/var/lib/room-gone", "target": "/var/lib/postgresql/data", "mode": "0700"}]
    purge = {"name": "room-gone", "publish": ["127.0.0.1:5434:5432"], "volumes": volumes, "jobs": []}
    run(**purge)
    run(**purge, state="absent")
    assert host.file("/var/lib/room-gone/PG_VERSION").exists and not host.file("/etc/private-llm/room-gone").exists
    predicted = run(check=True, **purge, state="absent", purge=True)
    assert run(**purge, state="absent", purge=True)["actions"] == predicted["actions"] == ["remove: /var/lib/room-gone (data)"]
    assert not host.file("/var/lib/room-gone").exists


def test_nothing_is_left_of_all_this(host):
    assert len(host.check_output("ls /etc/private-llm/room").split()) == 1
    assert host.check_output("find / -xdev -name '.private-llm-*'") == ""
    assert host.run("ls /var/lib/private-llm/services/*.service.json").stdout == ""
    assert host.check_output("docker ps --all --format '{{.Names}}'") == "room"
