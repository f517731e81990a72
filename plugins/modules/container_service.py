#!/usr/bin/python
# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container_service
short_description: Run a container as a systemd service, in one transaction
version_added: 0.1.0
description:
  - Takes over everything that makes a service out of a container image, namely the systemd unit, configuration files, secrets, networks and directories.
  - What runs carries a fingerprint of its whole definition. Equal fingerprints mean there is nothing to do; a different one leads to exactly one restart.
    An interrupted run is therefore finished by the next one, and no handler is needed.
  - The image is on the host before anything is stopped. The unit itself never pulls, so the host boots without a network.
  - After a restart the module waits for the service's own health check. When it fails, the previous files and unit are put back and started.
  - Safe by default. All capabilities are dropped, no new privileges can be gained, the root file system is read-only,
    and every published port has to name its address.
  - A description that cannot work, or would work in a way that nobody asked for, is refused before anything is changed, with all its problems at once.
author:
  - Private LLM Platform team (@private-llm)
attributes:
  check_mode:
    description: Can run in C(check_mode) and predicts what a real run would do, also on a host that has no container engine yet.
    support: full
  diff_mode:
    description: Shows units and files; of secrets only that they differ.
    support: full
options:
  name:
    description: Name of the service; the unit is called NAME.service and the container NAME.
    type: str
    required: true
  state:
    description:
      - V(started) runs the service now and at boot.
      - V(stopped) keeps unit and files, but neither runs nor starts it at boot.
      - V(absent) removes unit and files. Directories in O(volumes) are data and stay.
    type: str
    choices: [started, stopped, absent]
    default: started
  image:
    description: Image to run, with registry and tag. Required for O(state=started) and O(state=stopped).
    type: str
  description:
    description: One line for C(systemctl status).
    type: str
    default: ""
  command:
    description: Arguments that replace the image's own command.
    type: list
    elements: str
    default: []
  entrypoint:
    description: Program that replaces the image's own entry point.
    type: str
  environment:
    description: Environment variables that may be seen by anybody on the host.
    type: dict
    default: {}
  secret_environment:
    description: Environment variables whose values are secret. They are kept in a file with mode V(0600).
    type: dict
    default: {}
  files:
    description: Files that the container sees, each with its whole content.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the container sees the file.
        type: path
        required: true
      content:
        description: The file's content, when it is not secret.
        type: str
      secret_content:
        description: The file's content, when it is secret.
        type: str
      mode:
        description: Octal mode; V(0644), or V(0600) for a secret file, when not given.
        type: str
      owner:
        description: User (name or number) that owns the file; the user of O(user) when not given.
        type: str
      group:
        description: Group (name or number) of the file; the group of O(user) when not given.
        type: str
  volumes:
    description: Directories of the host that the container sees.
    type: list
    elements: dict
    default: []
    suboptions:
      source:
        description: Path on the host.
        type: path
        required: true
      target:
        description: Path in the container.
        type: path
        required: true
      read_only:
        description: Whether the container may only read it.
        type: bool
        default: false
      owner:
        description: User that owns the directory. With O(volumes[].mode) the directory is made when it is missing.
        type: str
      group:
        description: Group of the directory.
        type: str
      mode:
        description: Octal mode of the directory; without it the path is taken as it is and has to exist.
        type: str
  networks:
    description: Bridge networks of the container, made when missing. Without any it has no network at all.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the network.
        type: str
        required: true
      subnet:
        description: Its addresses in CIDR notation; the engine chooses when not given.
        type: str
      bridge:
        description: Name of the host's bridge device; the engine chooses when not given.
        type: str
      internal:
        description: Whether the network is cut off from everything but its own members and the host.
        type: bool
        default: false
      masquerade:
        description: Whether containers reach other networks through the host's address. Off by default, so that nothing leaves.
        type: bool
        default: false
  publish:
    description: Ports of the container that the host answers on, each as ADDRESS:HOST_PORT:CONTAINER_PORT. A port without an address is refused.
    type: list
    elements: str
    default: []
  user:
    description: User (and group) the container runs as, as UID or UID:GID; the image decides when not given.
    type: str
  capabilities:
    description: Capabilities given back after all of them were dropped.
    type: list
    elements: str
    default: []
  devices:
    description: Devices, by path or by CDI name such as V(nvidia.com/gpu=all).
    type: list
    elements: str
    default: []
  read_only:
    description: Whether the root file system is read-only.
    type: bool
    default: true
  tmpfs:
    description: Directories in memory, each as PATH or PATH:OPTIONS.
    type: list
    elements: str
    default: []
  memory:
    description: Memory limit such as V(512m); it includes swap.
    type: str
  cpus:
    description: Number of processors the container may use.
    type: float
  pids:
    description: Number of processes the container may have.
    type: int
    default: 512
  ulimits:
    description: Resource limits such as C(nofile) with a value of V(65536:65536).
    type: dict
    default: {}
  extra_hosts:
    description: Host names and their addresses, known inside the container.
    type: dict
    default: {}
  after:
    description: Units that are started before this one when both are to be started.
    type: list
    elements: str
    default: []
  stop_timeout:
    description: Seconds that the program is given to end by itself.
    type: int
    default: 30
  health:
    description: How the service shows that it is well. Without it a running process is enough.
    type: dict
    suboptions:
      http:
        description: URL that is asked from the host.
        type: str
      tcp:
        description: HOST:PORT that has to accept a connection.
        type: str
      exec:
        description: Command that has to succeed inside the container.
        type: list
        elements: str
      status:
        description: HTTP status that O(health.http) has to answer with.
        type: int
        default: 200
      interval:
        description: Seconds between two attempts.
        type: float
        default: 1.0
      timeout:
        description: Seconds until the service counts as failed.
        type: int
        default: 60
seealso:
  - module: private_llm.platform.native_service
"""

EXAMPLES = r"""
- name: Run a web server that only this host can reach
  private_llm.platform.container_service:
    name: status-page
    image: docker.io/library/nginx:1.29
    publish: ["127.0.0.1:8081:80"]
    networks:
      - name: web
    tmpfs: [/var/cache/nginx, /run]
    files:
      - path: /usr/share/nginx/html/index.html
        content: "It works.\n"
    health:
      http: http://127.0.0.1:8081/

- name: Take the service away, with its unit and files
  private_llm.platform.container_service:
    name: status-page
    state: absent
"""

RETURN = r"""
actions:
  description: What was done (or, in check mode, would be done), each with its reason.
  returned: always
  type: list
  elements: str
  sample: ["file: /etc/private-llm/web/files/etc/web.conf (content)", "restart: web.service (what runs differs from what is wanted)"]
"""

import os
from collections.abc import Sequence
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import container_checks, docker_cli
from ansible_collections.private_llm.platform.plugins.module_utils.docker_cli import Container, DockerCli, Mount, Network
from ansible_collections.private_llm.platform.plugins.module_utils.health import HEALTH_OPTIONS, Health
from ansible_collections.private_llm.platform.plugins.module_utils.managed_paths import (
    FILE_OPTIONS,
    ManagedDirectory,
    ManagedFile,
    Ownership,
    file_from_parameters,
    split_owner,
)
from ansible_collections.private_llm.platform.plugins.module_utils.port_users import is_own, port_users, taken
from ansible_collections.private_llm.platform.plugins.module_utils.service_module import ServiceModule, carry_out_and_exit, runner
from ansible_collections.private_llm.platform.plugins.module_utils.service_transaction import Backend, Service, fingerprint
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import (
    UNIT_DIRECTORY,
    CommandFailed,
    Runner,
    UnitStatus,
    command_line,
    render,
)

CONFIGURATION_DIRECTORY = "/etc/private-llm"
START_SECONDS = 120
STOP_MARGIN_SECONDS = 20
LOG_LINES = 20


class ContainerBackend(Backend):
    """A container in Docker under systemd."""

    def __init__(self, parameters: dict[str, Any], run: Runner) -> None:
        self._given = parameters
        self._name: str = parameters["name"]
        self._docker = DockerCli(run)
        self._run = run
        self._networks = [Network(**network) for network in parameters["networks"]]
        self._home = f"{CONFIGURATION_DIRECTORY}/{self._name}"
        self._unit_path = f"{UNIT_DIRECTORY}/{self._name}.service"

    def preparations(self) -> list[tuple[str, str]]:
        missing = []
        if self._given["image"] and self._docker.image_reference(self._given["image"]) is None:
            missing.append(("image", self._given["image"]))
        for network in self._networks:
            found = self._docker.network(network.name)
            if found is None:
                missing.append(("network", network.name))
                continue
            conflict = network.conflict(found)
            if conflict:
                raise CommandFailed(
                    f"network {network.name} is not as wanted: {conflict}; stop what uses it, "
                    f"remove it with 'docker network rm {network.name}' and run again"
                )
        return missing

    def prepare(self) -> None:
        for kind, what in self.preparations():
            if kind == "image":
                self._docker.pull(what)
            else:
                self._docker.create_network(next(network for network in self._networks if network.name == what))

    def _files(self) -> list[ManagedFile]:
        owner, group = split_owner(self._given["user"])
        files = [file_from_parameters(f"{self._home}/files{f['path']}", f, owner, group) for f in self._given["files"]]
        root = Ownership("0", "0", "0600")
        for kind in ("environment", "secret_environment"):
            if self._given[kind]:
                content = docker_cli.environment_file({k: str(v) for k, v in self._given[kind].items()})
                files.append(ManagedFile(f"{self._home}/{kind}", content, root, secret=kind == "secret_environment"))
        return files

    def _directories(self) -> list[ManagedDirectory]:
        owner, group = split_owner(self._given["user"])
        return [
            ManagedDirectory(volume["source"], Ownership(volume["owner"] or owner, volume["group"] or group, volume["mode"]))
            for volume in self._given["volumes"]
            if volume["mode"]
        ]

    def _container(self, image: str) -> Container:
        given = self._given
        mounts = [Mount(f"{self._home}/files{f['path']}", f["path"], read_only=True) for f in given["files"]]
        mounts += [Mount(v["source"], v["target"], v["read_only"]) for v in given["volumes"]]
        return Container(
            name=self._name,
            image=image,
            command=given["command"],
            entrypoint=given["entrypoint"],
            environment_files=[f"{self._home}/{kind}" for kind in ("environment", "secret_environment") if given[kind]],
            mounts=mounts,
            networks=[network.name for network in self._networks],
            publish=given["publish"],
            user=given["user"],
            capabilities=given["capabilities"],
            devices=given["devices"],
            read_only=given["read_only"],
            tmpfs=given["tmpfs"],
            memory=given["memory"],
            cpus=given["cpus"],
            pids=given["pids"],
            ulimits=given["ulimits"],
            extra_hosts=given["extra_hosts"],
        )

    def _unit(self, image: str, label: str) -> str:
        given = self._given
        docker = docker_cli.DOCKER
        starting = [
            command_line([docker, "rm", "--force", self._name], prefix="-"),
            command_line(self._container(image).create_arguments(image, label)),
            *(command_line([docker, "network", "connect", network.name, self._name]) for network in self._networks[1:]),
            command_line([docker, "start", self._name]),
        ]
        return render(
            {
                "Unit": {
                    "Description": given["description"] or f"Container {self._name}",
                    "Wants": "network-online.target",
                    "Requires": "docker.service",
                    "PartOf": "docker.service",
                    "After": " ".join(["docker.service", "network-online.target", *given["after"]]),
                    "StartLimitIntervalSec": 0,
                },
                "Service": {
                    "Type": "exec",
                    "ExecStartPre": starting,
                    # Waiting instead of attaching: output reaches the journal once, by Docker's driver; what the engine refuses, by this unit.
                    "ExecStart": command_line(["/bin/sh", "-c", f'exit "$({docker} wait {self._name})"']),
                    "ExecStop": command_line([docker, "stop", "-t", str(given["stop_timeout"]), self._name]),
                    "ExecStopPost": command_line([docker, "rm", "--force", self._name], prefix="-"),
                    "Restart": "always",
                    "RestartSec": 2,
                    "SuccessExitStatus": "0 130 137 143",
                    "TimeoutStartSec": START_SECONDS,
                    "TimeoutStopSec": given["stop_timeout"] + STOP_MARGIN_SECONDS,
                },
                "Install": {"WantedBy": "multi-user.target"},
            }
        )

    def wanted(self) -> Service:
        image = self._given["image"] or ""
        exact = (self._docker.image_reference(image) if image else None) or image
        files = self._files()
        label = fingerprint([self._unit(exact, ""), [f.identity() for f in files], [vars(network) for network in self._networks]])
        unit = ManagedFile(self._unit_path, self._unit(exact, label).encode(), Ownership("0", "0", "0644"))
        return Service(
            unit=f"{self._name}.service",
            fingerprint=label,
            files=(*files, unit),
            directories=(
                ManagedDirectory(CONFIGURATION_DIRECTORY, Ownership("0", "0", "0755")),
                ManagedDirectory(self._home, Ownership("0", "0", "0700")),
                *self._directories(),
            ),
            health=Health.from_parameters(self._given["health"], [docker_cli.DOCKER, "exec", self._name]),
            owned_directories=(self._home,),
        )

    def running_fingerprint(self, status: UnitStatus) -> str | None:
        return self._docker.running_label(self._name)

    def obstacles(self) -> Sequence[str]:
        addresses = [docker_cli.parse_publish(text) for text in self._given["publish"]]
        ports = [{"address": address, "port": port, "unit": self._name} for address, port, _inside in addresses]
        if not os.path.exists(self._unit_path) and self._docker.is_foreign(self._name):
            remedy = f"remove it with 'docker rm --force {self._name}', or give this service another name"
            return [f"There is a container called {self._name} that this collection did not make; {remedy}."]
        return [taken(port, names) for port, users, names in port_users(ports, self._run) if users and not is_own(self._name, users)]

    def log_lines(self) -> Sequence[str]:
        _status, output, _error = self._run(
            ["journalctl", "--no-pager", "--output", "cat", "--lines", str(LOG_LINES), f"CONTAINER_NAME={self._name}", "+", f"UNIT={self._name}.service"]
        )
        return output.splitlines()

    def look_further(self) -> Sequence[str]:
        return (f"journalctl CONTAINER_NAME={self._name}", f"systemctl status {self._name}", f"docker inspect {self._name}")


def main() -> None:
    """Entry point."""
    volume_options = {
        "source": {"type": "path", "required": True},
        "target": {"type": "path", "required": True},
        "read_only": {"type": "bool", "default": False},
        "owner": {"type": "str"},
        "group": {"type": "str"},
        "mode": {"type": "str"},
    }
    network_options = {
        "name": {"type": "str", "required": True},
        "subnet": {"type": "str"},
        "bridge": {"type": "str"},
        "internal": {"type": "bool", "default": False},
        "masquerade": {"type": "bool", "default": False},
    }
    module = ServiceModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
            "image": {"type": "str"},
            "description": {"type": "str", "default": ""},
            "command": {"type": "list", "elements": "str", "default": []},
            "entrypoint": {"type": "str"},
            "environment": {"type": "dict", "default": {}},
            "secret_environment": {"type": "dict", "default": {}, "no_log": True},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": FILE_OPTIONS,
                "mutually_exclusive": [["content", "secret_content"]],
                "required_one_of": [["content", "secret_content"]],
            },
            "volumes": {"type": "list", "elements": "dict", "default": [], "options": volume_options},
            "networks": {"type": "list", "elements": "dict", "default": [], "options": network_options},
            "publish": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str"},
            "capabilities": {"type": "list", "elements": "str", "default": []},
            "devices": {"type": "list", "elements": "str", "default": []},
            "read_only": {"type": "bool", "default": True},
            "tmpfs": {"type": "list", "elements": "str", "default": []},
            "memory": {"type": "str"},
            "cpus": {"type": "float"},
            "pids": {"type": "int", "default": 512},
            "ulimits": {"type": "dict", "default": {}},
            "extra_hosts": {"type": "dict", "default": {}},
            "after": {"type": "list", "elements": "str", "default": []},
            "stop_timeout": {"type": "int", "default": 30},
            "health": HEALTH_OPTIONS,
        },
        required_if=[("state", "started", ["image"]), ("state", "stopped", ["image"])],
        supports_check_mode=True,
    )
    if module.params["state"] != "absent":
        found = container_checks.problems(module.params)
        if found:
            module.fail_json(msg=f"{module.params['name']} cannot run as described, and nothing was changed: {'; '.join(found)}.")
    run = runner(module)
    carry_out_and_exit(module, ContainerBackend(module.params, run), run)


if __name__ == "__main__":
    main()
