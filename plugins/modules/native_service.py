#!/usr/bin/python
# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: native_service
short_description: Run a program of the host as a systemd service, in one transaction
version_added: 0.1.0
description:
  - Takes over everything that makes a service out of a program, namely the systemd unit, configuration files, secrets, directories and
    the symbolic link that selects its release.
  - The running process carries a fingerprint of its whole definition in its environment. Equal fingerprints mean there is nothing to do; a
    different one leads to exactly one restart. An interrupted run is therefore finished by the next one, and no handler is needed.
  - After a restart the module waits for the service's own health check. When it fails, the previous files, links and unit are put back and started.
author:
  - Private LLM Platform team (@private-llm)
attributes:
  check_mode:
    description: Can run in C(check_mode) and predicts what a real run would do.
    support: full
  diff_mode:
    description: Shows units and files; of secrets only that they differ.
    support: full
options:
  name:
    description: Name of the service, without C(.service).
    type: str
    required: true
  state:
    description:
      - V(started) runs the service now and at boot.
      - V(stopped) keeps unit and files, but neither runs nor starts it at boot.
      - V(absent) removes unit, files and links. Directories are data and stay.
    type: str
    choices: [started, stopped, absent]
    default: started
  unit_source:
    description:
      - V(managed) writes the whole unit.
      - V(package) adds to a unit that a package ships.
    type: str
    choices: [managed, package]
    default: managed
  description:
    description: One line for C(systemctl status).
    type: str
    default: ""
  exec_start:
    description: Program and arguments. Required for O(unit_source=managed) unless O(state=absent).
    type: list
    elements: str
    default: []
  user:
    description: User that the program runs as.
    type: str
  group:
    description: Group that the program runs as.
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
    description: Files that the program reads, each with its whole content.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the file is.
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
        description: User (name or number) that owns the file; root when not given.
        type: str
      group:
        description: Group (name or number) of the file; root when not given.
        type: str
  directories:
    description: Directories that the program needs. They are made when missing and never removed.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the directory is.
        type: path
        required: true
      owner:
        description: User that owns it.
        type: str
        default: root
      group:
        description: Group of it.
        type: str
        default: root
      mode:
        description: Octal mode.
        type: str
        default: "0755"
  links:
    description: Symbolic links that are switched with the service, for instance to a release directory.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the link is.
        type: path
        required: true
      target:
        description: What it points to.
        type: path
        required: true
  unit_options:
    description: Further directives of the unit's C([Unit]) section; a value may be a list.
    type: dict
    default: {}
  service_options:
    description: Further directives of the unit's C([Service]) section, such as hardening; a value may be a list.
    type: dict
    default: {}
  listen_streams:
    description: Addresses of a socket that systemd listens on. The service is then started by the first connection.
    type: list
    elements: str
    default: []
  socket_options:
    description: Further directives of the C([Socket]) section.
    type: dict
    default: {}
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
        description: Command that has to succeed.
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
  - module: private_llm.platform.container_service
"""

EXAMPLES = r"""
- name: Run a release of a program
  private_llm.platform.native_service:
    name: ticker
    exec_start: [/opt/ticker/current/ticker, --listen, "127.0.0.1:9000"]
    user: ticker
    links:
      - path: /opt/ticker/current
        target: /opt/ticker/releases/1.4.0
    service_options:
      ProtectSystem: strict
      NoNewPrivileges: true
    health:
      tcp: 127.0.0.1:9000

- name: Give a packaged service its configuration, and restart it when that differs from what runs
  private_llm.platform.native_service:
    name: docker
    unit_source: package
    files:
      - path: /etc/docker/daemon.json
        content: '{"log-driver": "journald"}'
    health:
      exec: [docker, version]
"""

RETURN = r"""
actions:
  description: What was done (or, in check mode, would be done), each with its reason.
  returned: always
  type: list
  elements: str
  sample: ["link: /opt/ticker/current (target)", "restart: ticker.service (what runs differs from what is wanted)"]
"""

from collections.abc import Sequence
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.health import HEALTH_OPTIONS, Health
from ansible_collections.private_llm.platform.plugins.module_utils.managed_paths import (
    FILE_OPTIONS,
    ManagedDirectory,
    ManagedFile,
    ManagedLink,
    Ownership,
    file_from_parameters,
)
from ansible_collections.private_llm.platform.plugins.module_utils.service_module import ServiceModule, carry_out_and_exit, runner
from ansible_collections.private_llm.platform.plugins.module_utils.service_transaction import Backend, Service, fingerprint
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import (
    UNIT_DIRECTORY,
    Runner,
    Section,
    UnitStatus,
    command_line,
    environment_file,
    environment_value,
    render,
)

CONFIGURATION_DIRECTORY = "/etc/private-llm"
MARK = "PRIVATE_LLM_FINGERPRINT"
LOG_LINES = 20
ROOT = Ownership("0", "0", "0644")


class NativeBackend(Backend):
    """A program of the host under systemd."""

    def __init__(self, parameters: dict[str, Any], run: Runner) -> None:
        self._given = parameters
        self._name: str = parameters["name"]
        self._run = run
        self._is_socket = bool(parameters["listen_streams"])
        self._secrets_path = f"{CONFIGURATION_DIRECTORY}/{self._name}/secret_environment"

    def preparations(self) -> list[tuple[str, str]]:
        return []

    def prepare(self) -> None:
        """Nothing to bring about: releases and packages are other tasks' work."""

    def _service_section(self, mark: str) -> Section:
        given = self._given
        section: Section = {"Environment": [environment_value(k, str(v)) for k, v in sorted(given["environment"].items())]}
        section["Environment"].append(environment_value(MARK, mark))
        if given["secret_environment"]:
            section["EnvironmentFile"] = self._secrets_path
        if given["unit_source"] == "package":
            return {**section, **given["service_options"]}
        section["Type"] = "exec"
        section["ExecStart"] = command_line(given["exec_start"])
        section.update({key.capitalize(): given[key] for key in ("user", "group") if given[key]})
        if not self._is_socket:
            section.update({"Restart": "always", "RestartSec": 2})
        section["TimeoutStopSec"] = given["stop_timeout"]
        return {**section, **given["service_options"]}

    def _unit(self, mark: str) -> str:
        given = self._given
        if given["unit_source"] == "package":
            return render({"Unit": given["unit_options"], "Service": self._service_section(mark)})
        unit: Section = {"Description": given["description"] or f"Service {self._name}", "Wants": "network-online.target"}
        unit["After"] = "network-online.target"
        unit["StartLimitIntervalSec"] = 0
        install = {} if self._is_socket else {"WantedBy": "multi-user.target"}
        return render({"Unit": {**unit, **given["unit_options"]}, "Service": self._service_section(mark), "Install": install})

    def _socket(self, mark: str) -> str:
        given = self._given
        return f"# {MARK} {mark}\n" + render(
            {
                "Unit": {"Description": f"{given['description'] or self._name} (socket)", **given["unit_options"]},
                "Socket": {"ListenStream": given["listen_streams"], **given["socket_options"]},
                "Install": {"WantedBy": "sockets.target"},
            }
        )

    def _unit_path(self) -> str:
        if self._given["unit_source"] == "package":
            return f"{UNIT_DIRECTORY}/{self._name}.service.d/private-llm.conf"
        return f"{UNIT_DIRECTORY}/{self._name}.service"

    def _directories(self) -> list[ManagedDirectory]:
        made = [ManagedDirectory(d["path"], Ownership(d["owner"], d["group"], d["mode"])) for d in self._given["directories"]]
        if self._given["secret_environment"]:
            made += [
                ManagedDirectory(CONFIGURATION_DIRECTORY, Ownership("0", "0", "0755")),
                ManagedDirectory(f"{CONFIGURATION_DIRECTORY}/{self._name}", Ownership("0", "0", "0700")),
            ]
        return made

    def wanted(self) -> Service:
        given = self._given
        files = [file_from_parameters(f["path"], f, "0", "0") for f in given["files"]]
        if given["secret_environment"]:
            secrets = environment_file({k: str(v) for k, v in given["secret_environment"].items()})
            files.append(ManagedFile(self._secrets_path, secrets, Ownership("0", "0", "0600"), secret=True))
        links = tuple(ManagedLink(link["path"], link["target"]) for link in given["links"])
        mark = fingerprint([self._unit(""), self._socket(""), [f.identity() for f in files], [vars(link) for link in links]])
        files.append(ManagedFile(self._unit_path(), self._unit(mark).encode(), ROOT))
        if self._is_socket:
            files.append(ManagedFile(f"{UNIT_DIRECTORY}/{self._name}.socket", self._socket(mark).encode(), ROOT))
        return Service(
            unit=f"{self._name}.{'socket' if self._is_socket else 'service'}",
            fingerprint=mark,
            files=tuple(files),
            directories=tuple(self._directories()),
            links=links,
            health=Health.from_parameters(given["health"]),
            companions=(f"{self._name}.service",) if self._is_socket else (),
            owned_directories=(f"{CONFIGURATION_DIRECTORY}/{self._name}",) if given["secret_environment"] else (),
        )

    def running_fingerprint(self, status: UnitStatus) -> str | None:
        if self._is_socket:  # no process: a socket is stopped before its file changes, so one that listens is the one on disk
            return self.wanted().fingerprint
        try:
            with open(f"/proc/{status.main_pid}/environ", "rb") as stream:
                variables = stream.read().split(b"\0")
        except OSError:
            return None
        marks = [v.partition(b"=")[2].decode() for v in variables if v.startswith(MARK.encode() + b"=")]
        return marks[0] if marks else None

    def obstacles(self) -> Sequence[str]:
        return []

    def log_lines(self) -> Sequence[str]:
        _status, output, _error = self._run(
            ["journalctl", "--no-pager", "--output", "cat", "--lines", str(LOG_LINES), "--unit", f"{self._name}.service"]
        )
        return output.splitlines()

    def look_further(self) -> Sequence[str]:
        return (f"journalctl --unit {self._name}", f"systemctl status {self._name}")


def main() -> None:
    """Entry point."""
    directory_options = {
        "path": {"type": "path", "required": True},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "mode": {"type": "str", "default": "0755"},
    }
    link_options = {"path": {"type": "path", "required": True}, "target": {"type": "path", "required": True}}
    module = ServiceModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
            "unit_source": {"type": "str", "choices": ["managed", "package"], "default": "managed"},
            "description": {"type": "str", "default": ""},
            "exec_start": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str"},
            "group": {"type": "str"},
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
            "directories": {"type": "list", "elements": "dict", "default": [], "options": directory_options},
            "links": {"type": "list", "elements": "dict", "default": [], "options": link_options},
            "unit_options": {"type": "dict", "default": {}},
            "service_options": {"type": "dict", "default": {}},
            "listen_streams": {"type": "list", "elements": "str", "default": []},
            "socket_options": {"type": "dict", "default": {}},
            "stop_timeout": {"type": "int", "default": 30},
            "health": HEALTH_OPTIONS,
        },
        supports_check_mode=True,
    )
    if module.params["unit_source"] == "managed" and module.params["state"] != "absent" and not module.params["exec_start"]:
        module.fail_json(msg=f"{module.params['name']}: exec_start is empty; give the program and its arguments")
    run = runner(module)
    carry_out_and_exit(module, NativeBackend(module.params, run), run)


if __name__ == "__main__":
    main()
