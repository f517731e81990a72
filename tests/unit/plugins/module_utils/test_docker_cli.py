# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils.container_engine import Container
from ansible_collections.private_llm.platform.plugins.module_utils.docker_cli import LABEL, DockerCli
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import CommandFailed

JOB = Container(name="web-migrate", image="web@sha256:11", command=["up"], networks=["inner", "outer"])


class Docker:
    """Answers as docker does for one container, and remembers what it was asked to do."""

    def __init__(self, found=None, status=0, refuses=None):
        self.found = found
        self.status = status
        self.refuses = refuses
        self.did = []

    def __call__(self, command):
        words = list(command)
        limit = words[0] == "timeout"
        verb = words[words.index("/usr/bin/docker") + 1]
        if verb == "container":
            return (0, json.dumps([self.found]), "") if self.found else (1, "[]", "no such container")
        self.did.append(verb)
        if verb == self.refuses:
            return 125, "", f"docker refuses to {verb}"
        if verb == "wait":
            return (124, "", "") if limit and self.status is None else (0, f"{self.status}\n", "")
        return (0, "one\ntwo\n", "") if verb == "logs" else (0, "", "")


def container(label, status, exit_code=0):
    return {"State": {"Running": status == "running", "Status": status, "ExitCode": exit_code}, "Config": {"Labels": {LABEL: label}}}


def test_a_job_is_made_connected_started_and_waited_for():
    docker = Docker()
    end = DockerCli(docker).run_to_end(JOB, "mine", 60)
    assert docker.did == ["create", "network", "start", "wait", "logs"]
    assert (end.status, end.lines) == (0, ["one", "two"])


@pytest.mark.parametrize("found", [container("mine", "running"), container("mine", "exited")], ids=["still runs", "has ended well"])
def test_a_job_that_an_interrupted_run_started_is_not_started_twice(found):
    docker = Docker(found)
    DockerCli(docker).run_to_end(JOB, "mine", 60)
    assert docker.did == ["wait", "logs"]


@pytest.mark.parametrize("found", [container("mine", "created"), container("mine", "exited", 1)], ids=["was never started", "had failed"])
def test_a_job_that_did_nothing_or_failed_in_an_interrupted_run_is_started_anew(found):
    docker = Docker(found)
    DockerCli(docker).run_to_end(JOB, "mine", 60)
    assert docker.did == ["rm", "create", "network", "start", "wait", "logs"]


def test_a_job_of_another_input_that_still_runs_is_let_to_its_end_first():
    docker = Docker(container("another", "running"))
    DockerCli(docker).run_to_end(JOB, "mine", 60)
    assert docker.did[:3] == ["wait", "rm", "create"]


def test_a_container_of_that_name_that_somebody_else_made_is_neither_waited_for_nor_removed():
    docker = Docker({"State": {"Running": True, "Status": "running", "ExitCode": 0}, "Config": {"Labels": {}}})
    with pytest.raises(CommandFailed, match="a container called web-migrate that this collection did not make"):
        DockerCli(docker).run_to_end(JOB, "mine", 60)
    assert docker.did == []


def test_an_engine_that_does_not_answer_is_no_engine_without_images():
    with pytest.raises(CommandFailed, match="the Docker Engine does not answer"):
        DockerCli(lambda command: (1, "[]", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.")).image_reference("web:1")


def test_an_image_of_docker_hub_is_named_by_its_digest_too():
    found = [{"Id": "sha256:11", "RepoDigests": ["postgres@sha256:22"]}]
    docker = DockerCli(lambda command: (0, json.dumps(found), ""))
    assert docker.image_reference("docker.io/library/postgres:17") == "postgres@sha256:22"


def test_a_job_that_takes_too_long_is_stopped_and_removed_and_its_last_lines_are_told():
    docker = Docker(status=None)
    with pytest.raises(CommandFailed, match=r"web-migrate did not end within 60 s; its last lines: one \| two"):
        DockerCli(docker).run_to_end(JOB, "mine", 60)
    assert docker.did[-3:] == ["stop", "logs", "rm"]


def test_a_job_that_the_engine_refuses_leaves_no_container_behind():
    docker = Docker(refuses="start")
    with pytest.raises(CommandFailed, match="docker refuses to start"):
        DockerCli(docker).run_to_end(JOB, "mine", 60)
    assert docker.did[-1] == "rm"


def test_an_answer_is_remembered_until_something_is_changed():
    asked = []

    def run(command):
        asked.append(list(command)[1])
        return 0, json.dumps([{"Id": "sha256:11", "RepoDigests": []}]), ""

    docker = DockerCli(run)
    docker.image_reference("web:1")
    docker.image_reference("web:1")
    docker.pull("web:1")
    docker.image_reference("web:1")
    assert asked == ["image", "pull", "image"]
