# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import pwd

import pytest
from ansible.module_utils import basic
from ansible_collections.private_llm.platform.plugins.module_utils import (
    cdi,
    container_backend,
    journal,
    listeners,
    managed_paths,
    service_transaction,
)
from ansible_collections.private_llm.platform.plugins.modules import container_service
from ansible_collections.private_llm.platform.tests.unit.fakes.host import FakeHost
from ansible_collections.private_llm.platform.tests.unit.fakes.interruptions import count_changes_of_files, killed_at_each_step
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

IMAGE = "registry.example.com/web:1"
SECRET = "a-secret-that-nobody-may-see"


@pytest.fixture
def host(tmp_path, monkeypatch):
    units = tmp_path / "units"
    units.mkdir()
    fake = FakeHost(units)
    fake.registry[IMAGE] = "11" * 32
    monkeypatch.setattr(container_backend, "UNIT_DIRECTORY", str(units))
    monkeypatch.setattr(container_backend, "CONFIGURATION_DIRECTORY", str(tmp_path / "private-llm"))
    monkeypatch.setattr(container_backend, "STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setattr(journal, "STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setattr(cdi, "devices", set)
    monkeypatch.setattr(container_service, "runner", lambda module: fake.run)
    # The machine of the test has ports of its own in use.
    monkeypatch.setattr(listeners, "listeners", list)
    # Whoever runs the tests owns the files, so that they need not be root.
    monkeypatch.setattr(service_transaction, "SECONDS_TO_SETTLE", 0)
    monkeypatch.setattr(service_transaction, "SECONDS_TO_WATCH", 0)
    monkeypatch.setattr(managed_paths, "user_id", lambda name: os.getuid())
    monkeypatch.setattr(managed_paths, "group_id", lambda name: os.getgid())
    return fake


def run(check=False, **parameters):
    arguments = {
        "name": "web",
        "image": IMAGE,
        "publish": ["127.0.0.1:8080:80"],
        "networks": [{"name": "inner", "subnet": "10.1.2.0/24"}],
        "files": [{"path": "/etc/web.conf", "content": "listen 80\n"}],
        "user": "1000:1000",
        "secret_environment": {"TOKEN": SECRET},
        **parameters,
    }
    return run_module(container_service.main, arguments, check=check)


def home_of(tmp_path):
    """The directory of the definition that the unit names."""
    (home,) = (tmp_path / "private-llm" / "web").iterdir()
    return home


def test_a_fresh_host_gets_image_network_files_and_a_running_unit(host, tmp_path):
    result = run()
    assert result["changed"] and host.active["web.service"] == "active" and "web.service" in host.enabled
    assert IMAGE in host.images and "inner" in host.networks
    assert (home_of(tmp_path) / "files" / "etc" / "web.conf").read_text() == "listen 80\n"


def test_a_second_run_changes_nothing(host):
    run()
    restarts = host.ran("systemctl", "restart")
    assert not run()["changed"] and host.ran("systemctl", "restart") == restarts


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("environment", {"COLOUR": "blue"}),
        ("secret_environment", {"TOKEN": "another"}),
        ("files", [{"path": "/etc/web.conf", "content": "listen 81\n"}]),
        ("memory", "1g"),
        ("command", ["serve"]),
        ("publish", ["127.0.0.1:8081:80"]),
    ],
)
def test_a_changed_definition_restarts_once(host, parameter, value):
    run()
    before = host.ran("systemctl", "restart")
    assert run(**{parameter: value})["changed"]
    assert host.ran("systemctl", "restart") == before + 1


def test_check_mode_predicts_and_touches_nothing(host, tmp_path):
    predicted = run(check=True)
    assert predicted["changed"] and not (tmp_path / "private-llm").exists() and not host.images
    assert any(action.startswith(f"image: {IMAGE}") for action in predicted["actions"])


def test_check_mode_predicts_on_a_host_without_an_engine(host):
    host.has_docker = False
    assert run(check=True)["changed"]


def test_check_mode_on_a_finished_host_says_no_change(host):
    run()
    assert not run(check=True)["changed"]


def test_the_image_is_fetched_before_anything_is_stopped(host):
    run()
    host.registry["registry.example.com/web:2"] = "22" * 32
    host.commands.clear()
    run(image="registry.example.com/web:2")
    verbs = [words[1] for words in host.commands]
    assert verbs.index("pull") < verbs.index("restart")


def test_an_image_that_no_registry_has_leaves_the_running_service_alone(host):
    run()
    host.commands.clear()
    result = run(image="registry.example.com/web:9")
    assert result["failed"] and "cannot be pulled" in result["msg"]
    assert host.active["web.service"] == "active" and not host.ran("systemctl", "restart")


def test_the_unit_never_pulls_and_runs_the_exact_image(host):
    run()
    text = (host.units / "web.service").read_text()
    assert "--pull never" in text and "sha256:" + "11" * 32 in text


def test_a_definition_that_cannot_start_is_replaced_by_the_one_before(host):
    run()
    before = (host.units / "web.service").read_text()
    result = run(command=["banana"])
    assert result["failed"] and "put back and runs again" in result["msg"] and "a line of its log" in result["msg"]
    assert (host.units / "web.service").read_text() == before and host.active["web.service"] == "active"


def test_a_disk_that_is_full_leaves_what_was_there(host, tmp_path, monkeypatch):
    run()
    before = (host.units / "web.service").read_text()
    restarts = host.ran("systemctl", "restart")
    write = managed_paths.write_atomically

    def no_space_for_the_unit(path, *more):
        if path.endswith("web.service") and b"--memory" in more[0]:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        write(path, *more)

    monkeypatch.setattr(managed_paths, "write_atomically", no_space_for_the_unit)
    result = run(memory="1g", files=[{"path": "/etc/web.conf", "content": "listen 81\n"}])
    assert result["failed"] and "No space left" in result["msg"] and "what runs was not touched" in result["msg"]
    assert (host.units / "web.service").read_text() == before and host.ran("systemctl", "restart") == restarts
    assert (home_of(tmp_path) / "files" / "etc" / "web.conf").read_text() == "listen 80\n"


def test_a_new_service_that_cannot_start_leaves_nothing_behind(host):
    result = run(command=["banana"])
    assert result["failed"] and "Its unit and files were taken away again" in result["msg"]
    assert not (host.units / "web.service").exists() and "web.service" not in host.enabled


def test_a_file_changed_by_hand_is_put_right(host, tmp_path):
    run()
    file = home_of(tmp_path) / "files" / "etc" / "web.conf"
    file.write_text("listen 666\n")
    assert run()["changed"] and file.read_text() == "listen 80\n"


def test_a_container_started_by_somebody_else_is_replaced(host):
    run()
    host.containers.pop("web")
    assert any("carries no mark of this collection" in action for action in run()["actions"])


def test_the_parameters_do_not_go_to_the_log_of_the_host(host, monkeypatch):
    logged = []
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda module, message, log_args=None: logged.append(str(message)))
    run(files=[{"path": "/etc/key", "secret_content": f'"{SECRET}"\n'}], secret_environment={})
    assert SECRET not in "".join(logged)


def test_a_container_of_that_name_that_somebody_else_made_is_not_destroyed(host):
    host.containers["web"] = None
    result = run()
    assert result["failed"] and "a container called web that this collection did not make" in result["msg"]
    assert not host.ran("systemctl", "restart")


def test_secrets_are_in_no_result_diff_unit_or_wide_file(host, tmp_path):
    result = run(check=True, diff=True)
    run()
    assert SECRET not in str(result) and SECRET not in (host.units / "web.service").read_text()
    assert (home_of(tmp_path) / "secret_environment").stat().st_mode & 0o777 == 0o600


def test_the_engine_is_not_told_secret_variables(host, tmp_path):
    run()
    home = home_of(tmp_path)
    unit = (host.units / "web.service").read_text()
    assert f"source={home}/secret_environment,target=/run/private-llm/secret_environment,readonly" in unit and "--env-file" not in unit
    assert (home / "secret_environment").read_text() == f"TOKEN={SECRET}\n"


@pytest.mark.parametrize(
    ("given", "started"),
    [
        ({}, "/entry of-image serve"),
        ({"command": ["work"]}, "/entry of-image work"),
        ({"entrypoint": "/other"}, "/other"),
        ({"entrypoint": "/other", "command": ["work"]}, "/other work"),
    ],
    ids=["the image's own", "another command", "another entry point", "both"],
)
def test_with_secret_variables_the_image_starts_as_it_would_without(host, given, started):
    host.starts = {"Entrypoint": ["/entry", "of-image"], "Cmd": ["serve"]}
    run(**given)
    assert f'exec \\"$$@\\"" /bin/sh {started}\n' in (host.units / "web.service").read_text().replace('"/bin/sh" ', "/bin/sh ")


def test_an_image_that_has_to_be_fetched_again_starts_the_same_by_prediction(host):
    host.starts = {"Entrypoint": ["/entry"], "Cmd": ["serve"]}
    run()
    host.images.clear()
    assert run(check=True)["actions"] == [f"image: {IMAGE} (missing)"]


BAD = [
    ({"name": "Web"}, "name 'Web' may hold"),
    ({"name": "web/../x"}, "may hold small letters"),
    ({"image": "registry.example.com/web"}, "has no tag"),
    ({"image": "registry.example.com:5000/web"}, "has no tag"),
    ({"image": "registry.example.com/web:latest"}, "another one every day"),
    ({"image": "web:1@sha256:123"}, "has a digest that is none"),
    ({"image": "two words:1"}, "is no image name"),
    ({"publish": ["8080:80"]}, "must be ADDRESS:HOST_PORT:CONTAINER_PORT"),
    ({"publish": ["80"]}, "must be ADDRESS:HOST_PORT:CONTAINER_PORT"),
    ({"publish": ["127.0.0.1:http:80"]}, "must be ADDRESS:HOST_PORT:CONTAINER_PORT"),
    ({"publish": ["127.0.0.1:70000:80"]}, "outside 1 to 65535"),
    ({"publish": ["localhost:8080:80"]}, "must begin with an IP address"),
    ({"publish": ["127.0.0.1:8080:80", "127.0.0.1:8080:81"]}, "two ports of the container are published on 127.0.0.1:8080"),
    ({"networks": []}, "without a network cannot publish"),
    ({"networks": [{"name": "a"}, {"name": "a"}]}, "names twice a"),
    ({"networks": [{"name": "a b"}]}, "network 'a b' may hold"),
    ({"networks": [{"name": "a", "subnet": "10.1.2.3/24"}]}, "must be a network such as"),
    ({"networks": [{"name": "a", "bridge": "a-name-that-is-too-long"}]}, "must have 1 to 15"),
    ({"files": [{"path": "etc/web.conf", "content": ""}]}, "must be an absolute path"),
    ({"files": [{"path": "/etc/../../../root/.bashrc", "content": ""}]}, "must name one place below /"),
    ({"files": [{"path": "/etc/web.conf", "content": "", "mode": "rw"}]}, "four octal digits"),
    ({"files": [{"path": "/etc/key", "secret_content": "x", "mode": "0644"}]}, "could be read by others"),
    ({"files": [{"path": "/a", "content": ""}, {"path": "/a", "content": "2"}]}, "would see two things at /a"),
    ({"volumes": [{"source": "data", "target": "/data"}]}, "source of a volume 'data' must be an absolute path"),
    ({"volumes": [{"source": "/", "target": "/host"}]}, "must name one place below /"),
    ({"volumes": [{"source": "/a,readonly=false", "target": "/a"}]}, "holds a comma"),
    ({"volumes": [{"source": "/a", "target": "/a", "owner": "1"}]}, "has an owner but no mode"),
    ({"volumes": [{"source": "/a", "target": "/etc/web.conf"}]}, "would see two things at /etc/web.conf"),
    ({"tmpfs": ["tmp"]}, "tmpfs 'tmp' must be an absolute path"),
    ({"devices": ["gpu0"]}, "neither a path below /dev nor a CDI name"),
    ({"user": "postgres"}, "in numbers"),
    ({"depends_on": ["docker"]}, "write its kind too"),
    ({"depends_on": ["web.service"]}, "names web.service itself"),
    ({"purge": True}, "belongs to state absent only"),
    ({"volumes": [{"source": "/var/lib", "target": "/data", "mode": "0700"}]}, "belongs to the whole host"),
    ({"volumes": [{"source": "/var/run/docker.sock", "target": "/d.sock"}]}, "root of this host"),
    ({"labels": {"Team": "x"}}, "label 'Team' may hold"),
    ({"labels": {"private_llm.platform.fingerprint": "x"}}, "this collection's own"),
    ({"labels": {"team": "a\nb"}}, "label team holds a line break"),
    ({"jobs": [{"name": "a", "command": ["x"]}, {"name": "a", "command": ["y"]}]}, "two jobs are called a"),
    ({"jobs": [{"name": "A b", "command": ["x"]}]}, "job 'A b' may hold"),
    ({"jobs": [{"name": "a"}]}, "it would start the service itself"),
    ({"jobs": [{"name": "a", "command": ["x"], "timeout": 0}]}, "timeout 0 of the job a"),
    ({"jobs": [{"name": "a", "command": ["x"], "environment": {"A B": "c"}}]}, "no name for one"),
    ({"capabilities": ["ALL"]}, "none that can be given back"),
    ({"environment": {"1ST": "x"}}, "no name for one"),
    ({"environment": {"TEXT": "one\ntwo"}}, "TEXT holds a line break"),
    ({"environment": {"TOKEN": "x"}}, "is in environment and in secret_environment"),
    ({"user": None}, "secret_environment needs user"),
    ({"before_upgrade": ["dump"]}, "the program of before_upgrade 'dump' must be an absolute path"),
    ({"memory": "lots"}, "must be a number with b, k, m or g"),
    ({"cpus": 0}, "must be more than 0"),
    ({"pids": 0}, "must be at least 1"),
    ({"stop_timeout": -1}, "must not be negative"),
    ({"ulimits": {"nofile": "many"}}, "must be NUMBER or SOFT:HARD"),
    ({"extra_hosts": {"db": "somewhere"}}, "which is none"),
    ({"health": {"http": "ftp://127.0.0.1/"}}, "no http or https address"),
    ({"health": {"http": "http://127.0.0.1:9999/"}}, "publish does not put the container there"),
    ({"health": {"tcp": "127.0.0.2:8080"}}, "publish does not put the container there"),
    ({"health": {"tcp": "8080"}}, "must be HOST:PORT"),
    ({"health": {"tcp": "127.0.0.1:8080", "interval": 0}}, "interval"),
    ({"health": {"exec": []}}, "health.exec is empty"),
    ({"health": {"http": "http://127.0.0.1:99999/"}}, "no http or https address"),
    ({"health": {"http": "http://127.0.0.1:8080/a b"}}, "no http or https address"),
    ({"health": {"http": "http://[::1/"}}, "no http or https address"),
    ({"health": {"tcp": "127.0.0.1:99999"}}, "must be HOST:PORT"),
    ({"description": "x\n[Service]\nExecStartPre=/bin/evil"}, "description holds a line break"),
    ({"files": [{"path": "/etc/web.conf", "content": "", "mode": "416"}]}, "must be four octal digits in quotes"),
    ({"environment": {"COLOUR": None}}, "COLOUR has no text as its value"),
    ({"volumes": [{"source": "/run", "target": "/run"}]}, "root of this host"),
    ({"volumes": [{"source": "/var/lib/docker/volumes", "target": "/v", "mode": "0700"}]}, "belongs to the whole host"),
    ({"publish": ["0.0.0.0:8080:80", "127.0.0.1:8080:81"]}, "port 8080 is published on 127.0.0.1 and on an address that includes it"),
]


@pytest.mark.parametrize(("parameters", "sentence"), BAD, ids=[f"{next(iter(p))}-{n}" for n, (p, _sentence) in enumerate(BAD)])
def test_a_description_that_cannot_work_is_refused_before_anything_changes(host, parameters, sentence):
    result = run(**parameters)
    assert result["failed"] and sentence in result["msg"]
    assert not host.commands


@pytest.mark.parametrize("check", [True, False])
def test_a_port_that_a_stranger_uses_stops_the_run_before_anything_changes(host, monkeypatch, check):
    run()
    before = (host.units / "web.service").read_text()
    stranger = listeners.Listener("0.0.0.0", 8081, "4711")
    monkeypatch.setattr(listeners, "listeners", lambda: [stranger])
    monkeypatch.setattr(listeners, "owners_of", lambda inodes: {"4711": listeners.Owner("nginx", 99, "nginx.service")})
    result = run(check=check, publish=["127.0.0.1:8081:80"])
    assert result["failed"] and "Port 8081 on 127.0.0.1 is needed by web, but nginx (process 99" in result["msg"]
    assert (host.units / "web.service").read_text() == before and host.active["web.service"] == "active"


def test_all_problems_of_a_description_are_told_at_once(host):
    message = run(image="web", memory="lots", publish=["80"])["msg"]
    assert "no tag" in message and "memory 'lots'" in message and "publish '80'" in message


def test_a_network_of_another_shape_is_not_touched(host):
    host.networks["inner"] = {"IPAM": {"Config": [{"Subnet": "10.9.9.0/24"}]}, "Options": {}, "Internal": False}
    result = run()
    assert result["failed"] and "subnet is 10.9.9.0/24, wanted 10.1.2.0/24" in result["msg"]


def test_absent_takes_unit_and_files_away_and_leaves_the_data(host, tmp_path):
    data = tmp_path / "data"
    run(volumes=[{"source": str(data), "target": "/data", "mode": "0700"}])
    (data / "kept").write_text("here")
    assert run(state="absent")["changed"]
    assert not (host.units / "web.service").exists() and not (tmp_path / "private-llm" / "web").exists()
    assert (data / "kept").read_text() == "here"
    assert not run(state="absent")["changed"]


def test_stopped_keeps_the_files_but_does_not_run(host):
    run()
    assert run(state="stopped")["changed"]
    assert host.active["web.service"] == "inactive" and (host.units / "web.service").exists() and "web.service" not in host.enabled
    assert not run(state="stopped")["changed"]


def test_a_volume_that_is_not_there_is_refused_before_anything_changes(host, tmp_path):
    run()
    before = (host.units / "web.service").read_text()
    result = run(volumes=[{"source": str(tmp_path / "missing"), "target": "/data"}])
    assert result["failed"] and f"There is no {tmp_path}/missing on this host" in result["msg"] and (host.units / "web.service").read_text() == before


def test_a_line_break_can_end_no_directive_of_a_unit(host):
    result = run(command=["a\rb"])
    assert result["failed"] and "would hold a line break" in result["msg"] and not host.ran("systemctl", "restart")


@pytest.mark.parametrize("state", ["started", "stopped", "absent"])
def test_a_unit_of_that_name_that_somebody_else_wrote_is_left_alone(host, state):
    (host.units / "web.service").write_text("[Service]\nExecStart=/usr/sbin/sshd -D\n")
    host.active["web.service"] = "active"
    result = run(state=state)
    assert result["failed"] and "was not written by this collection" in result["msg"]
    assert host.active["web.service"] == "active" and "sshd" in (host.units / "web.service").read_text()


def test_a_unit_of_a_package_is_not_shadowed(host):
    host.fragments["web.service"] = "/lib/systemd/system/web.service"
    assert "There is a unit web.service at /lib/systemd/system/web.service" in run()["msg"] and not (host.units / "web.service").exists()


@pytest.mark.parametrize("error", [ValueError("nonsense"), TypeError("another version"), RuntimeError("")])
def test_whatever_goes_wrong_what_ran_before_runs_again(host, monkeypatch, error):
    run()
    before = (host.units / "web.service").read_text()

    def breaks(*arguments, **keywords):
        raise error

    monkeypatch.setattr(service_transaction.Transaction, "_verify", breaks)
    result = run(memory="1g")
    assert result["failed"] and "put back and runs again" in result["msg"] and (host.units / "web.service").read_text() == before


def test_a_directory_of_data_has_its_owner_and_mode_back_with_the_service_before(host, tmp_path):
    data = tmp_path / "data"
    run(volumes=[{"source": str(data), "target": "/data", "mode": "0700"}])
    run(volumes=[{"source": str(data), "target": "/data", "mode": "0755"}], command=["banana"])
    assert data.stat().st_mode & 0o777 == 0o700


def test_what_another_user_is_to_own_is_handed_over_while_nothing_runs(host, tmp_path, monkeypatch):
    data = tmp_path / "data"
    run(volumes=[{"source": str(data), "target": "/data", "mode": "0700"}])
    handed = []
    monkeypatch.setattr(managed_paths.ManagedDirectory, "changes_hands", property(lambda path: path.path == str(data)))
    monkeypatch.setattr(managed_paths.ManagedDirectory, "difference", lambda path: "owner" if path.path == str(data) else None)
    monkeypatch.setattr(managed_paths, "hand_over", lambda path, before, after: handed.append((path, host.active["web.service"])))
    result = run(volumes=[{"source": str(data), "target": "/data", "mode": "0700"}], user="2000:2000")
    assert f"directory: {data} (owner)" in result["actions"] and handed == [(str(data), "inactive")]
    assert host.active["web.service"] == "active"


def account(number, shell):
    return pwd.struct_passwd(("alice", "x", number, number, "", "/home/alice", shell))


@pytest.mark.parametrize(("shell", "warned"), [("/bin/bash", True), ("/usr/sbin/nologin", False)], ids=["person", "service"])
def test_an_account_of_the_host_that_could_look_into_the_program_is_told(host, monkeypatch, shell, warned):
    monkeypatch.setattr(pwd, "getpwuid", lambda number: account(number, shell))
    told = str(run().get("warnings", ""))
    assert ("alice has number 1000, as the program of web does" in told) is warned


def test_what_was_secret_is_hidden_also_when_it_is_secret_no_longer(host):
    run(files=[{"path": "/etc/key", "secret_content": SECRET}])
    assert SECRET not in run(check=True, files=[{"path": "/etc/key", "content": "open"}])["printed"]


def test_a_removal_that_follows_a_killed_change_leaves_no_way_back_to_what_is_gone(host, tmp_path):
    run()
    host.dies_at = ("systemctl", "restart")
    with pytest.raises(KeyboardInterrupt):
        run(memory="1g")
    host.dies_at = None
    run(state="absent")
    assert not run(state="absent")["changed"] and is_tidy_after_removal(tmp_path)


def is_tidy_after_removal(tmp_path):
    return not (tmp_path / "private-llm" / "web").exists() and not list((tmp_path / "state").glob("*.service.json"))


# -- what a change is called, and what it takes ---------------------------------------------------------------------------------


def reason_of(result):
    return next((action for action in result["actions"] if action.startswith("restart: ")), None)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"environment": {"COLOUR": "blue"}}, "environment: web (missing)"),
        ({"secret_environment": {"TOKEN": "x", "MORE": "y"}}, "secret_environment: web (TOKEN changed, MORE added)"),
        ({"secret_environment": {}}, "secret_environment: web (removed)"),
        ({"files": [{"path": "/etc/web.conf", "content": "listen 81\n"}]}, "file: /etc/web.conf (content)"),
        ({"files": [{"path": "/etc/web.conf", "content": "listen 80\n", "mode": "0600"}]}, "file: /etc/web.conf (mode)"),
        ({"files": [{"path": "/etc/other.conf", "content": ""}]}, "file: /etc/web.conf (removed)"),
        ({"memory": "1g"}, "unit: web.service (content)"),
    ],
)
def test_a_change_is_called_by_what_differs(host, parameters, told):
    run()
    actions = run(**parameters)["actions"]
    assert told in actions and f"changed: {told.partition(':')[0]}" in actions[-1]


def test_a_newer_image_is_told_with_the_one_before(host):
    run()
    host.registry["registry.example.com/web:2"] = "22" * 32
    actions = run(image="registry.example.com/web:2")["actions"]
    assert f"image: registry.example.com/web:2 (was {IMAGE})" in actions and "restart: web.service (changed: image)" in actions


def test_an_image_that_was_lost_and_comes_back_the_same_restarts_nothing(host):
    run()
    host.images.clear()
    assert run(check=True)["actions"] == run()["actions"] == [f"image: {IMAGE} (missing)"]


def test_another_health_check_is_taken_over_without_a_restart(host):
    run()
    before = host.ran("systemctl", "restart")
    result = run(health={"exec": ["true"]})
    assert result["actions"] == ["unit: web.service (health check)"] and host.ran("systemctl", "restart") == before
    assert not run(health={"exec": ["true"]})["changed"]


def test_the_service_that_was_put_back_is_asked_by_its_own_health_check(host):
    run(health={"exec": ["the-old-question"]})
    host.commands.clear()
    run(health={"exec": ["the-new-question"]}, command=["banana"])
    asked = [words[-1] for words in host.commands if words[0] == "timeout"]
    assert asked and asked[-1] == "the-old-question"


def test_a_unit_changed_by_hand_is_put_right(host):
    run()
    unit = host.units / "web.service"
    before = unit.read_text()
    unit.write_text(before.replace("RestartSec=2", "RestartSec=200"))
    assert reason_of(run()) == "restart: web.service (its files were changed by somebody else)" and unit.read_text() == before


def test_labels_are_on_the_container_and_on_the_lines_of_its_log(host):
    run(labels={"team": "search"})
    text = (host.units / "web.service").read_text()
    assert "--label team=search" in text and "--log-opt labels=team" in text


def test_what_a_service_depends_on_is_started_first_and_not_required(host):
    run(depends_on=["db.service"])
    text = (host.units / "web.service").read_text()
    assert "Wants=docker.service network-online.target db.service" in text and "After=docker.service network-online.target db.service" in text
    assert "PartOf=docker.service\n" in text


def test_an_image_is_fetched_from_the_mirror_by_its_whole_name(host):
    host.registry["mirror.example.com/copies/docker.io/team/web:2"] = "22" * 32
    actions = run(image="team/web:2", image_mirror="mirror.example.com/copies")["actions"]
    assert "image: mirror.example.com/copies/docker.io/team/web:2 (missing)" in actions
    assert "image_mirror: a mirror is named as images are" in run(image_mirror="https://mirror.example.com")["msg"]


# -- jobs -----------------------------------------------------------------------------------------------------------------------

MIGRATION = {"jobs": [{"name": "migrate", "command": ["up"], "environment": {"STEPS": 3}}]}


def test_a_job_runs_with_the_image_and_the_files_of_the_service_before_it_is_restarted(host):
    host.commands.clear()
    run(**MIGRATION)
    (job,) = host.jobs
    assert job[-1] == "up" and "--env STEPS=3" in " ".join(job) and "--publish" not in job and "--cap-drop" in job
    order = [words[1] for words in host.commands if words[1] in ("create", "restart")]
    assert order == ["create", "restart"]


def test_a_job_runs_once_for_an_image_and_its_input(host):
    run(**MIGRATION)
    run(**MIGRATION)
    run(**MIGRATION, memory="1g")
    assert len(host.jobs) == 1


@pytest.mark.parametrize(
    "change",
    [{"image": "registry.example.com/web:2"}, {"secret_environment": {"TOKEN": "another"}}, {"jobs": [{"name": "migrate", "command": ["up", "more"]}]}],
    ids=["image", "variable", "command"],
)
def test_a_job_runs_again_for_another_image_or_input(host, change):
    host.registry["registry.example.com/web:2"] = "22" * 32
    run(**MIGRATION)
    assert "job: migrate (image or input changed)" in run(**{**MIGRATION, **change})["actions"]
    assert len(host.jobs) == 2


def test_a_job_that_runs_once_per_image_does_not_run_for_other_input(host):
    host.registry["registry.example.com/web:2"] = "22" * 32
    migration = {"jobs": [{**MIGRATION["jobs"][0], "once_per": "image"}]}
    run(**migration)
    assert not [action for action in run(**migration, secret_environment={"TOKEN": "another"})["actions"] if action.startswith("job:")]
    assert "job: migrate (image or input changed)" in run(**migration, image="registry.example.com/web:2")["actions"]


def test_what_comes_before_an_upgrade_runs_once_for_another_image_and_for_nothing_else(host):
    host.registry["registry.example.com/web:2"] = "22" * 32
    dump = {"before_upgrade": ["/opt/dump", "now"]}
    assert "job: before_upgrade (another image)" not in run(**dump)["actions"]
    assert "job: before_upgrade (another image)" not in run(**dump, memory="1g")["actions"] and not host.ran("/opt/dump")
    newer = {**dump, "memory": "1g", "image": "registry.example.com/web:2"}
    assert "job: before_upgrade (another image)" in run(check=True, **newer)["actions"] and not host.ran("/opt/dump")
    run(**newer)
    assert host.commands.index(["/opt/dump", "now"]) < max(i for i, words in enumerate(host.commands) if words[:2] == ["systemctl", "restart"])
    assert not run(**newer)["changed"] and host.ran("/opt/dump") == 1


def test_an_upgrade_whose_dump_fails_is_not_begun(host):
    host.registry["registry.example.com/web:2"] = "22" * 32
    run()
    before, restarts = (host.units / "web.service").read_text(), host.ran("systemctl", "restart")
    host.failing = {"/opt/dump": "no room"}
    result = run(image="registry.example.com/web:2", before_upgrade=["/opt/dump"])
    assert result["failed"] and "what comes before an upgrade failed" in result["msg"] and "no room" in result["msg"]
    assert (host.units / "web.service").read_text() == before and host.ran("systemctl", "restart") == restarts


def test_a_job_that_fails_leaves_the_service_alone_and_runs_again(host, tmp_path):
    run()
    before, restarts = (host.units / "web.service").read_text(), host.ran("systemctl", "restart")
    host.job_status["web-migrate"] = 3
    result = run(**MIGRATION, memory="1g")
    assert result["failed"] and "the job migrate ended with exit status 3" in result["msg"] and "a line of the job" in result["msg"]
    assert (host.units / "web.service").read_text() == before and host.ran("systemctl", "restart") == restarts and is_tidy(tmp_path)
    host.job_status.clear()
    assert "job: migrate (did not run yet)" in run(**MIGRATION, memory="1g")["actions"]


# -- live files -------------------------------------------------------------------------------------------------------------------

LIVE = {"reload": {"exec": ["reload-please"]}}


def rules(content, **more):
    return {**LIVE, "live_files": [{"path": "/etc/rules/a.yml", "content": content}], **more}


def live(tmp_path):
    return {str(p.relative_to(tmp_path / "private-llm/web/live")): p.read_text() for p in (tmp_path / "private-llm/web/live").rglob("*.*")}


def asked_to_reload(host):
    return sum(1 for words in host.commands if words[-1] == "reload-please")


def test_a_live_file_is_mounted_with_its_directory_and_the_first_start_needs_no_reload(host, tmp_path):
    result = run(**rules("one"))
    assert "file: /etc/rules/a.yml (missing)" in result["actions"] and live(tmp_path) == {"etc/rules/a.yml": "one"}
    assert f"source={tmp_path}/private-llm/web/live/etc/rules,target=/etc/rules,readonly" in (host.units / "web.service").read_text()
    assert not asked_to_reload(host) and not run(**rules("one"))["changed"]


def test_a_changed_live_file_is_read_again_without_a_restart(host, tmp_path):
    run(**rules("one"))
    restarts = host.ran("systemctl", "restart")
    predicted = run(check=True, **rules("two"))
    result = run(**rules("two"))
    assert result["actions"] == predicted["actions"] == ["file: /etc/rules/a.yml (content)", "reload: web.service (changed: file)"]
    assert live(tmp_path) == {"etc/rules/a.yml": "two"}
    assert asked_to_reload(host) == 1 and host.ran("systemctl", "restart") == restarts
    assert not run(**rules("two"))["changed"] and is_tidy(tmp_path)


def test_a_live_file_that_is_wanted_no_longer_is_removed_and_the_program_told(host, tmp_path):
    both = [{"path": "/etc/rules/a.yml", "content": "one"}, {"path": "/etc/rules/b.yml", "content": "two"}]
    run(**rules("", live_files=both))
    result = run(**rules("one"))
    assert any(action.startswith("file: ") and action.endswith("b.yml (removed)") for action in result["actions"])
    assert live(tmp_path) == {"etc/rules/a.yml": "one"} and asked_to_reload(host) == 1


def test_another_definition_restarts_and_needs_no_reload_on_top(host):
    run(**rules("one"))
    result = run(**rules("two"), memory="1g")
    assert "restart: web.service (changed: file, unit)" in result["actions"] and not asked_to_reload(host)
    assert not run(**rules("two"), memory="1g")["changed"]


def test_a_program_that_watches_its_files_is_asked_nothing(host, tmp_path):
    files = [{"path": "/etc/rules/a.yml", "content": "one"}]
    run(live_files=files)
    restarts = host.ran("systemctl", "restart")
    assert run(live_files=[{**files[0], "content": "two"}])["changed"]
    assert live(tmp_path) == {"etc/rules/a.yml": "two"} and host.ran("systemctl", "restart") == restarts
    assert not run(live_files=[{**files[0], "content": "two"}])["changed"]


def test_what_the_program_refuses_is_put_back_and_read_again(host, tmp_path):
    run(**rules("one"))
    host.refuses_to_reload = [True, False]
    result = run(**rules("two"))
    assert result["failed"] and "did not take its changed files" in result["msg"] and "is in use; what runs was not restarted" in result["msg"]
    assert live(tmp_path) == {"etc/rules/a.yml": "one"} and asked_to_reload(host) == 2
    assert host.active["web.service"] == "active"


CHECKED = {"jobs": [{"name": "check", "command": ["lint"]}]}


def test_a_job_sees_the_wanted_live_files_and_what_runs_does_not(host, tmp_path):
    run(**rules("one"), **CHECKED)
    host.job_status["web-check"] = 1
    result = run(**rules("broken"), **CHECKED)
    assert result["failed"] and "the job check ended with exit status 1" in result["msg"]
    assert live(tmp_path) == {"etc/rules/a.yml": "one"} and not asked_to_reload(host)
    (source,) = {word.partition("source=")[2].partition(",")[0] for word in host.jobs[-1] if "target=/etc/rules" in word}
    assert "/live/etc/rules" in source and not source.startswith(f"{tmp_path}/private-llm/web/live")


def test_what_a_job_sees_holds_no_live_file_of_before(host, tmp_path):
    both = [{"path": "/etc/rules/a.yml", "content": "one"}, {"path": "/etc/rules/b.yml", "content": "two"}]
    run(**rules("", live_files=both), **CHECKED)
    run(**rules("one"), **CHECKED)
    (home,) = [path for path in (tmp_path / "private-llm/web").iterdir() if path.name != "live"]
    assert [path.name for path in (home / "live/etc/rules").iterdir()] == ["a.yml"]


def test_a_secret_live_file_is_shown_nowhere(host, tmp_path):
    run(live_files=[{"path": "/etc/rules/token", "secret_content": SECRET}])
    result = run(live_files=[{"path": "/etc/rules/token", "secret_content": SECRET + "2"}])
    assert SECRET not in str(result) and (tmp_path / "private-llm/web/live/etc/rules/token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "parameters, sentence",
    [
        ({"files": [{"path": "/etc/rules/b.yml", "content": ""}]}, "/etc/rules/b.yml lies in a directory of live files"),
        ({"volumes": [{"source": "/srv/x", "target": "/etc/rules/x"}]}, "/etc/rules/x lies in a directory of live files"),
        ({"live_files": [{"path": "/a.yml", "content": ""}]}, "a live file cannot lie in /"),
        ({"live_files": []}, "reload has nothing to read again"),
    ],
)
def test_live_files_that_cannot_work_are_refused(host, parameters, sentence):
    result = run(**{**rules("one"), **parameters})
    assert result["failed"] and sentence in result["msg"] and not host.images


@pytest.mark.parametrize("refused", [False, True], ids=["taken", "refused"])
def test_a_reload_that_is_killed_at_any_step_is_finished_or_taken_back_by_the_next(host, tmp_path, monkeypatch, refused):
    run(**rules("one"))
    count_changes_of_files(host, monkeypatch)

    def change():
        host.refuses_to_reload = [refused, False]
        return run(**rules("two"))

    for step in killed_at_each_step(host, change):
        result = change()
        if refused:
            assert result["failed"] and live(tmp_path) == {"etc/rules/a.yml": "one"}, step
        else:
            assert result["changed"] and live(tmp_path) == {"etc/rules/a.yml": "two"}, step
            assert not run(**rules("two"))["changed"], step
        host.refuses_to_reload = []
        run(**rules("one"))
        assert not run(**rules("one"))["changed"] and is_tidy(tmp_path), step


def test_a_container_may_look_at_the_whole_host_but_not_change_it(host):
    volume = {"source": "/", "target": "/host", "follow_mounts": True}
    result = run(volumes=[volume])
    assert result["failed"] and "must name one place below /" in result["msg"]
    assert run(volumes=[{**volume, "read_only": True}])["changed"]
    assert "type=bind,source=/,target=/host,readonly,bind-propagation=rslave" in (host.units / "web.service").read_text()


# -- what contradicts the host ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [True, False])
def test_a_device_that_the_host_does_not_know_is_refused(host, monkeypatch, check):
    monkeypatch.setattr(cdi, "devices", lambda: {"nvidia.com/gpu=0"})
    result = run(check=check, devices=["nvidia.com/gpu=all"])
    assert result["failed"] and "knows no device nvidia.com/gpu=all" in result["msg"] and "Known are: nvidia.com/gpu=0" in result["msg"]
    assert not host.images


def test_a_check_on_a_host_without_any_devices_takes_them_as_still_to_come(host):
    assert run(check=True, devices=["nvidia.com/gpu=all"])["changed"]


def test_a_port_that_another_service_publishes_is_refused_even_while_that_is_down(host):
    run(name="api", publish=["127.0.0.1:8080:80"])
    host.active["api.service"] = "inactive"
    result = run()
    assert result["failed"] and "Port 8080 on 127.0.0.1 is published by api.service as well" in result["msg"]
    assert "web.service" not in host.active


def test_the_port_of_a_service_that_was_stopped_for_good_is_free(host):
    run(name="api")
    run(name="api", state="stopped")
    assert not run().get("failed")


# -- the end --------------------------------------------------------------------------------------------------------------------


def test_purge_takes_data_and_networks_that_nobody_uses(host, tmp_path):
    data = tmp_path / "data"
    volumes = [{"source": str(data), "target": "/data", "mode": "0700"}]
    run(volumes=volumes)
    predicted = run(check=True, volumes=volumes, state="absent", purge=True)
    result = run(volumes=volumes, state="absent", purge=True)
    assert result["actions"] == predicted["actions"] and f"remove: {data} (data)" in result["actions"]
    assert not data.exists() and not host.networks


def test_purge_leaves_a_network_that_others_use(host):
    run()
    host.networks["inner"]["Containers"] = {"1": {"Name": "web"}, "2": {"Name": "other"}}
    run(state="absent", purge=True)
    assert "inner" in host.networks


# -- runs that are killed -------------------------------------------------------------------------------------------------------

GOOD = {"memory": "1g", "files": [{"path": "/etc/web.conf", "content": "listen 81\n"}, {"path": "/etc/more.conf", "content": ""}]}
GOOD_WITH_ENVIRONMENT = {"environment": {"COLOUR": "blue"}, "files": [], "jobs": [{"name": "migrate", "command": ["up"]}]}
BAD = {"command": ["banana"], "files": [{"path": "/etc/web.conf", "content": "listen 82\n"}]}


def is_tidy(tmp_path):
    """Nothing is left but one definition, and no way back is kept."""
    definitions = [path for path in (tmp_path / "private-llm" / "web").iterdir() if path.name != "live"]
    hidden = list(tmp_path.rglob(".private-llm-*"))
    return len(definitions) == 1 and not hidden and not list((tmp_path / "state").glob("*.service.json"))


@pytest.mark.parametrize("change", [GOOD, GOOD_WITH_ENVIRONMENT], ids=["files", "environment and job"])
@pytest.mark.parametrize("power_cut", [False, True], ids=["run killed", "power cut"])
def test_a_change_that_is_killed_at_any_step_leaves_a_service_that_runs_and_is_finished_by_the_next(host, tmp_path, monkeypatch, change, power_cut):
    run()
    count_changes_of_files(host, monkeypatch)
    for step in killed_at_each_step(host, lambda: run(**change)):
        if power_cut:
            host.boot()
        assert host.active["web.service"] == "active", step
        assert run(**change)["changed"], step
        assert host.active["web.service"] == "active" and not run(**change)["changed"], step
        assert is_tidy(tmp_path), step
        run()


@pytest.mark.parametrize("power_cut", [False, True], ids=["run killed", "power cut"])
def test_a_change_that_cannot_work_and_is_killed_at_any_step_is_taken_back_by_the_next(host, tmp_path, monkeypatch, power_cut):
    run()
    good = (host.units / "web.service").read_text()
    count_changes_of_files(host, monkeypatch)
    for step in killed_at_each_step(host, lambda: run(**BAD)):
        # At worst the program that does not work: never one that was stopped and forgotten.
        assert host.active["web.service"] != "inactive", step
        if power_cut:
            host.boot()
        result = run(**BAD)
        assert result["failed"] and "put back" in result["msg"], (step, result)
        assert (host.units / "web.service").read_text() == good and host.active["web.service"] == "active", step
        assert not run()["changed"], step
        assert is_tidy(tmp_path), step


def test_a_change_that_was_killed_at_any_step_may_be_given_up(host, tmp_path, monkeypatch):
    run()
    good = (host.units / "web.service").read_text()
    count_changes_of_files(host, monkeypatch)
    for step in killed_at_each_step(host, lambda: run(**BAD)):
        run()
        assert (host.units / "web.service").read_text() == good and host.active["web.service"] == "active", step
        assert not run()["changed"] and is_tidy(tmp_path), step


def test_a_first_run_that_is_killed_at_any_step_is_finished_by_the_next(host, tmp_path, monkeypatch):
    count_changes_of_files(host, monkeypatch)
    for step in killed_at_each_step(host, run):
        assert run()["changed"], step
        assert host.active["web.service"] == "active" and "web.service" in host.enabled and not run()["changed"], step
        assert is_tidy(tmp_path), step
        run(state="absent")


def test_a_removal_that_is_killed_at_any_step_is_finished_by_the_next(host, tmp_path, monkeypatch):
    run()
    count_changes_of_files(host, monkeypatch)
    for step in killed_at_each_step(host, lambda: run(state="absent")):
        run(state="absent")
        assert not (host.units / "web.service").exists() and not (tmp_path / "private-llm" / "web").exists(), step
        assert not run(state="absent")["changed"], step
        run()
