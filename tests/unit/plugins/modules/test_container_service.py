# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os

import pytest
from ansible.module_utils import basic
from ansible_collections.private_llm.platform.plugins.module_utils import listeners, managed_paths, service_transaction
from ansible_collections.private_llm.platform.plugins.modules import container_service
from ansible_collections.private_llm.platform.tests.unit.fakes.host import FakeHost
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

IMAGE = "registry.example.com/web:1"
SECRET = "a-secret-that-nobody-may-see"


@pytest.fixture
def host(tmp_path, monkeypatch):
    units = tmp_path / "units"
    units.mkdir()
    fake = FakeHost(units)
    fake.registry[IMAGE] = "11" * 32
    monkeypatch.setattr(container_service, "UNIT_DIRECTORY", str(units))
    monkeypatch.setattr(container_service, "CONFIGURATION_DIRECTORY", str(tmp_path / "private-llm"))
    monkeypatch.setattr(container_service, "runner", lambda module: fake.run)
    # The machine of the test has ports of its own in use.
    monkeypatch.setattr(listeners, "listeners", list)
    # Whoever runs the tests owns the files, so that they need not be root.
    monkeypatch.setattr(service_transaction, "SECONDS_TO_SETTLE", 0)
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
        "secret_environment": {"TOKEN": SECRET},
        **parameters,
    }
    return run_module(container_service.main, arguments, check=check)


def test_a_fresh_host_gets_image_network_files_and_a_running_unit(host, tmp_path):
    result = run()
    assert result["changed"] and host.active["web.service"] == "active" and "web.service" in host.enabled
    assert IMAGE in host.images and "inner" in host.networks
    assert (tmp_path / "private-llm" / "web" / "files" / "etc" / "web.conf").read_text() == "listen 80\n"


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
    write = managed_paths.write_atomically

    def no_space_for_the_unit(path, *more):
        if path.endswith("web.service") and b"--memory" in more[0]:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        write(path, *more)

    monkeypatch.setattr(managed_paths, "write_atomically", no_space_for_the_unit)
    result = run(memory="1g", files=[{"path": "/etc/web.conf", "content": "listen 81\n"}])
    assert result["failed"] and "No space left" in result["msg"]
    assert (host.units / "web.service").read_text() == before
    assert (tmp_path / "private-llm" / "web" / "files" / "etc" / "web.conf").read_text() == "listen 80\n"


def test_a_new_service_that_cannot_start_leaves_nothing_behind(host):
    result = run(command=["banana"])
    assert result["failed"] and "othing of it was left behind" in result["msg"]
    assert not (host.units / "web.service").exists() and "web.service" not in host.enabled


@pytest.mark.parametrize("step", [("/usr/bin/docker", "pull"), ("systemctl", "daemon-reload"), ("systemctl", "enable"), ("systemctl", "restart")])
def test_a_run_that_died_is_finished_by_the_next(host, step):
    host.dies_at = step
    with pytest.raises(KeyboardInterrupt):
        run()
    host.dies_at = None
    assert run()["changed"] and host.active["web.service"] == "active"
    assert not run()["changed"]


def test_a_file_changed_by_hand_is_put_right(host, tmp_path):
    run()
    file = tmp_path / "private-llm" / "web" / "files" / "etc" / "web.conf"
    file.write_text("listen 666\n")
    assert run()["changed"] and file.read_text() == "listen 80\n"


def test_a_container_started_by_somebody_else_is_replaced(host):
    run()
    host.containers.pop("web")
    assert any("not started by this collection" in action for action in run()["actions"])


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
    assert (tmp_path / "private-llm" / "web" / "secret_environment").stat().st_mode & 0o777 == 0o600


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
    ({"files": [{"path": "/etc/web.conf", "content": "", "mode": "rw"}]}, "three or four octal digits"),
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
    ({"after": ["docker"]}, "write its kind too"),
    ({"capabilities": ["ALL"]}, "none that can be given back"),
    ({"environment": {"1ST": "x"}}, "no name for one"),
    ({"environment": {"TEXT": "one\ntwo"}}, "TEXT holds a line break"),
    ({"environment": {"TOKEN": "x"}}, "is in environment and in secret_environment"),
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
