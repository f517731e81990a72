# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program of the host under systemd, as the transaction sees it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import drain, unit_record
from ansible_collections.private_llm.platform.plugins.module_utils.health import Health
from ansible_collections.private_llm.platform.plugins.module_utils.journal import Journal
from ansible_collections.private_llm.platform.plugins.module_utils.managed_paths import (
    ManagedDirectory,
    ManagedFile,
    ManagedLink,
    Ownership,
    file_from_parameters,
    prune_directories,
    variables_changed,
)
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
from ansible_collections.private_llm.platform.plugins.module_utils.unit_record import UnitRecord

CONFIGURATION_DIRECTORY = "/etc/private-llm"
PROGRAM_DIRECTORY = "/usr/local/lib/private-llm"
MARK = "PRIVATE_LLM_FINGERPRINT"
LOG_LINES = 20
# What draining may take beyond its own bound before systemd ends it.
DRAIN_MARGIN_SECONDS = 10
ROOT = Ownership("0", "0", "0644")


class NativeBackend(Backend):
    """A program of the host under systemd."""

    def __init__(self, parameters: dict[str, Any], run: Runner) -> None:
        self._given = parameters
        self._name: str = parameters["name"]
        self._run = run
        self._is_socket = bool(parameters["listen_streams"])
        self._is_packaged = parameters["unit_source"] == "package"
        self._home = f"{CONFIGURATION_DIRECTORY}/{self._name}"
        self._secrets_path = f"{self._home}/secret_environment"
        self._drain_path = f"{PROGRAM_DIRECTORY}/drain.py"

    # -- units --------------------------------------------------------------------------------------------------------

    def _service_section(self, mark: str) -> Section:
        given = self._given
        section: Section = {"Environment": [environment_value(k, str(v)) for k, v in sorted(given["environment"].items())]}
        section["Environment"].append(environment_value(MARK, mark))
        if given["secret_environment"]:
            section["EnvironmentFile"] = self._secrets_path
        if self._is_packaged:
            return {**section, **given["service_options"]}
        section["Type"] = "exec"
        section["ExecStart"] = command_line(given["exec_start"])
        section.update({key.capitalize(): given[key] for key in ("user", "group") if given[key]})
        if not self._is_socket:
            section.update({"Restart": "always", "RestartSec": 2})
        section.update(self._stopping())
        return {**section, **given["service_options"]}

    def _stopping(self) -> Section:
        seconds: int = self._given["stop_timeout"]
        if self._given["drain"] is None:
            return {"TimeoutStopSec": seconds}
        bound: int = self._given["drain"]["timeout"]
        # As root and outside the program's sandbox (+), and no reason to call the unit failed (-).
        stop = command_line(["/usr/bin/python3", "-I", self._drain_path], prefix="-+") + f" $MAINPID {bound}"
        return {"ExecStop": stop, "TimeoutStopSec": max(seconds, bound + DRAIN_MARGIN_SECONDS)}

    def _unit(self, mark: str) -> str:
        given = self._given
        if self._is_packaged:
            return render({"Unit": given["unit_options"], "Service": self._service_section(mark)})
        unit: Section = {"Description": given["description"] or f"Service {self._name}"}
        unit["Wants"] = " ".join(["network-online.target", *given["depends_on"]])
        unit["After"] = unit["Wants"]
        unit["StartLimitIntervalSec"] = 0
        install = {} if self._is_socket else {"WantedBy": "multi-user.target"}
        return render({"Unit": {**unit, **given["unit_options"]}, "Service": self._service_section(mark), "Install": install})

    def _socket(self) -> str:
        given = self._given
        return render(
            {
                "Unit": {"Description": f"{given['description'] or self._name} (socket)", **given["unit_options"]},
                "Socket": {"ListenStream": given["listen_streams"], **given["socket_options"]},
                "Install": {"WantedBy": "sockets.target"},
            }
        )

    def _unit_files(self, mark: str, health: Health | None) -> list[ManagedFile]:
        record = UnitRecord(mark, health=health.as_text() if health else "", paths=tuple(self._own_paths()))
        end = "\n" + render({unit_record.SECTION: record.section()}, header="")
        name = f"{self._name}.service"
        path = f"{UNIT_DIRECTORY}/{name}.d/private-llm.conf" if self._is_packaged else f"{UNIT_DIRECTORY}/{name}"
        texts = [(name, path, self._unit(mark) + end)]
        if self._is_socket:
            socket = f"{self._name}.socket"
            texts.append((socket, f"{UNIT_DIRECTORY}/{socket}", self._socket() + end))
        return [
            ManagedFile(path, text.encode(), ROOT, kind="unit", name=shown, explain=unit_record.explain) for shown, path, text in texts
        ]

    # -- what is wanted -----------------------------------------------------------------------------------------------

    def _files(self) -> list[ManagedFile]:
        given = self._given
        files = [file_from_parameters(f["path"], f, "0", "0") for f in given["files"]]
        if given["secret_environment"]:
            secrets = environment_file({k: str(v) for k, v in given["secret_environment"].items()})
            owner = Ownership("0", "0", "0600")
            files.append(
                ManagedFile(self._secrets_path, secrets, owner, True, "secret_environment", self._name, explain=variables_changed)
            )
        return files

    def _own_paths(self) -> list[str]:
        """Files and links that the definition consists of, apart from units."""
        return [file.path for file in self._files()] + [link["path"] for link in self._given["links"]]

    def _helpers(self) -> list[ManagedFile]:
        if self._given["drain"] is None:
            return []
        return [ManagedFile(self._drain_path, inspect.getsource(drain).encode(), ROOT, restarts=False)]

    def _directories(self) -> list[ManagedDirectory]:
        made = [ManagedDirectory(d["path"], Ownership(d["owner"], d["group"], d["mode"])) for d in self._given["directories"]]
        if self._given["secret_environment"]:
            made += [
                ManagedDirectory(CONFIGURATION_DIRECTORY, Ownership("0", "0", "0755")),
                ManagedDirectory(self._home, Ownership("0", "0", "0700")),
            ]
        return made

    def wanted(self) -> Service:
        given = self._given
        files = self._files()
        links = tuple(ManagedLink(link["path"], link["target"]) for link in given["links"])
        mark = fingerprint([self._unit(""), self._socket(), [f.identity() for f in files], [vars(link) for link in links]])
        health = Health.from_parameters(given["health"])
        unit_files = self._unit_files(mark, health)
        before = unit_record.read(unit_files[0].path).paths
        return Service(
            unit=f"{self._name}.{'socket' if self._is_socket else 'service'}",
            fingerprint=mark,
            files=(*files, *self._helpers()),
            unit_files=tuple(unit_files),
            removals=tuple(path for path in before if path not in self._own_paths()),
            directories=tuple(self._directories()),
            links=links,
            health=health,
            companions=(f"{self._name}.service",) if self._is_socket else (),
            owned_directories=(self._home,),
            data_directories=tuple(d["path"] for d in given["directories"]),
        )

    # -- what runs, and what is left ----------------------------------------------------------------------------------

    def running_fingerprint(self, status: UnitStatus) -> str | None:
        if self._is_socket:
            # No process carries it: what listens is what the unit says, unless a run died between writing that and restarting.
            unit = f"{self._name}.socket"
            return unit_record.read(f"{UNIT_DIRECTORY}/{unit}").fingerprint if Journal(unit).read() is None else None
        try:
            with open(f"/proc/{status.main_pid}/environ", "rb") as stream:
                variables = stream.read().split(b"\0")
        except OSError:
            return None
        marks = [v.partition(b"=")[2].decode() for v in variables if v.startswith(MARK.encode() + b"=")]
        return marks[0] if marks else None

    def leftovers(self, failed: bool) -> Sequence[str]:
        if failed:
            return ()
        links = [link for link in self._given["links"] if link["keep"]]
        return [path for link in links for path in prune_directories(os.path.dirname(link["target"]), link["keep"], link["target"], link["path"])]

    def log_lines(self) -> Sequence[str]:
        _status, output, _error = self._run(
            ["journalctl", "--no-pager", "--output", "cat", "--lines", str(LOG_LINES), "--unit", f"{self._name}.service"]
        )
        return output.splitlines()

    def look_further(self) -> Sequence[str]:
        return (f"journalctl --unit {self._name}", f"systemctl status {self._name}")
