# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container under systemd, as the transaction sees it.

Everything that a definition consists of lies in a directory named after its fingerprint. The unit alone says which of them runs, so that
replacing that one file is the whole change: before it nothing that runs has felt anything, after it every start gives the new service.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import cdi, secret_variables, unit_record
from ansible_collections.private_llm.platform.plugins.module_utils.container_engine import (
    Container,
    Engine,
    ImageStart,
    Mount,
    Network,
    parse_publish,
)
from ansible_collections.private_llm.platform.plugins.module_utils.health import Health
from ansible_collections.private_llm.platform.plugins.module_utils.journal import STATE_DIRECTORY
from ansible_collections.private_llm.platform.plugins.module_utils.listeners import overlaps
from ansible_collections.private_llm.platform.plugins.module_utils.managed_paths import (
    ManagedDirectory,
    ManagedFile,
    Ownership,
    file_from_parameters,
    login_account,
    remove_tree,
    split_owner,
    variables_changed,
    write_atomically,
)
from ansible_collections.private_llm.platform.plugins.module_utils.port_users import is_own, port_users, taken
from ansible_collections.private_llm.platform.plugins.module_utils.reloading import ask_to_reload
from ansible_collections.private_llm.platform.plugins.module_utils.service_transaction import Backend, Service, fingerprint
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import (
    UNIT_DIRECTORY,
    CommandFailed,
    Runner,
    UnitStatus,
    enabled_units,
    must,
    render,
)
from ansible_collections.private_llm.platform.plugins.module_utils.unit_record import UnitRecord

CONFIGURATION_DIRECTORY = "/etc/private-llm"
ENVIRONMENTS = ("environment", "secret_environment")
# Beside the definitions: files that the running program reads again, at the same place whatever the definition.
LIVE = "live"
LOG_LINES = 20
BEFORE_UPGRADE = "before_upgrade"
JOBS_REMEMBERED = 20
ROOT = Ownership("0", "0", "0600")


class ContainerBackend(Backend):
    """A container in an engine under systemd."""

    def __init__(self, parameters: dict[str, Any], engine: Engine, run: Runner, check_mode: bool) -> None:
        self._given = parameters
        self._name: str = parameters["name"]
        self._engine = engine
        self._run = run
        self._check_mode = check_mode
        self._networks = [Network(**network) for network in parameters["networks"]]
        self._home = f"{CONFIGURATION_DIRECTORY}/{self._name}"
        self._unit = f"{self._name}.service"
        self._unit_path = f"{UNIT_DIRECTORY}/{self._unit}"
        self._jobs_path = f"{STATE_DIRECTORY}/{self._name}.jobs.json"
        self._loaded_path = f"{STATE_DIRECTORY}/{self._name}.loaded"

    def warnings(self) -> Sequence[str]:
        """What works, and yet nobody may have wanted it."""
        owner, _group = split_owner(self._given["user"])
        account = login_account(int(owner)) if self._given["state"] == "started" and owner != "0" else None
        if account is None:
            return []
        danger = f"whoever logs in as {account} can read what it holds, secrets included"
        remedy = "Give the container another user, or the account another number."
        return [f"On this host {account} has number {owner}, as the program of {self._name} does: {danger}. {remedy}"]

    # -- what is needed first -----------------------------------------------------------------------------------------

    def preparations(self) -> list[tuple[str, str]]:
        image = self._given["image"]
        missing = [("image", image)] if image and self._engine.image_reference(image) is None else []
        return missing + [("network", network.name) for network in self._networks if not self._engine.has_network(network.name)]

    def prepare(self) -> None:
        for kind, what in self.preparations():
            if kind == "image":
                self._engine.pull(what)
            else:
                self._engine.create_network(next(network for network in self._networks if network.name == what))

    def refusals(self) -> Sequence[str]:
        return [
            *(f"{conflict}." for conflict in map(self._engine.network_conflict, self._networks) if conflict),
            *self._unknown_devices(),
            *self._missing_sources(),
            *self._claimed_ports(),
            *self._jobs_that_are_services(),
        ]

    def _unknown_devices(self) -> list[str]:
        wanted = [device for device in self._given["devices"] if not device.startswith("/")]
        known = cdi.devices() if wanted else set()
        if self._check_mode and not known:
            # On a fresh host the devices are described by a role that check mode did not really run.
            return []
        names = ", ".join(sorted(known)) or "none"
        remedy = "describe it first (for NVIDIA: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml)"
        return [f"This host knows no device {device}; {remedy}. Known are: {names}." for device in wanted if device not in known]

    def _missing_sources(self) -> list[str]:
        if self._check_mode:
            # What an earlier task makes is not there when that task was only predicted.
            return []
        taken = [volume["source"] for volume in self._given["volumes"] if not volume["mode"]]
        needed = [*taken, *(device.partition(":")[0] for device in self._given["devices"] if device.startswith("/"))]
        return [f"There is no {path} on this host; make it first, or correct the path." for path in needed if not os.path.exists(path)]

    def _jobs_that_are_services(self) -> list[str]:
        names = [f"{self._name}-{job['name']}" for job in self._given["jobs"]]
        services = [name for name in names if os.path.exists(f"{UNIT_DIRECTORY}/{name}.service")]
        return [f"The container of a job would be called {name}, which is a service; rename the job." for name in services]

    def _claimed_ports(self) -> list[str]:
        own = [parse_publish(text)[:2] for text in self._given["publish"]]
        others = unit_record.published_by_others(UNIT_DIRECTORY, self._unit, enabled_units(UNIT_DIRECTORY))
        return [
            f"Port {port} on {address} is published by {unit} as well; choose another port, or take that service away first."
            for text, unit in others.items()
            for address, port in own
            if parse_publish(text)[1] == port and overlaps(parse_publish(text)[0], address)
        ]

    def obstacles(self) -> Sequence[str]:
        addresses = [parse_publish(text) for text in self._given["publish"]]
        ports = [{"address": address, "port": port, "unit": self._name} for address, port, _inside in addresses]
        stranger = None if os.path.exists(self._unit_path) else self._engine.stranger(self._name)
        if stranger:
            return [stranger]
        return [taken(port, names) for port, users, names in port_users(ports, self._run) if users and not is_own(self._name, users)]

    # -- what is wanted -----------------------------------------------------------------------------------------------

    def wanted(self) -> Service:
        exact = self._exact_image()
        health = Health.from_parameters(self._given["health"], self._engine.inside(self._name))
        before = unit_record.read(self._unit_path)
        identities = [file.identity() for file in self._files("", "")]
        label = fingerprint([self._unit_text(exact, "", ""), identities, [vars(network) for network in self._networks]])
        start = secret_variables.start_text(self._image_start()) if self._given["secret_environment"] else ""
        publish = tuple(self._given["publish"])
        record = UnitRecord(label, self._given["image"] or "", exact, health.as_text() if health else "", publish, image_start=start)
        text = self._unit_text(exact, label, label) + "\n" + render({unit_record.SECTION: record.section()}, header="")
        unit = ManagedFile(
            self._unit_path, text.encode(), Ownership("0", "0", "0644"), kind="unit", name=self._unit, explain=unit_record.explain
        )
        return Service(
            unit=self._unit,
            fingerprint=label,
            files=tuple(self._files(label, before.fingerprint or label)),
            unit_files=(unit,),
            live_files=tuple(self._live_files(f"{self._home}/{LIVE}")),
            live_removals=tuple(self._superfluous_live_files()),
            directories=(
                ManagedDirectory(CONFIGURATION_DIRECTORY, Ownership("0", "0", "0755")),
                ManagedDirectory(self._home, Ownership("0", "0", "0700")),
                *self._data(),
            ),
            health=health,
            changes=tuple(self._changes(before)),
            owned_directories=(self._home,),
            # What the jobs have done is done to the data, so it is forgotten with that.
            data_directories=(*(directory.path for directory in self._data()), self._jobs_path, self._loaded_path),
        )

    def _exact_image(self) -> str:
        """By digest where a registry gave one. What is to be fetched again is taken to be what the unit runs under this name."""
        image: str = self._given["image"] or ""
        before = unit_record.read(self._unit_path)
        return (self._engine.image_reference(image) if image else None) or (before.exact_image if before.image == image else image)

    def _image_start(self) -> ImageStart:
        """What the image starts by itself; of one that is to be fetched again what the unit says."""
        known = self._engine.image_start(self._given["image"]) if self._given["image"] else None
        return known or secret_variables.start_from_text(unit_record.read(self._unit_path).image_start)

    def _files(self, label: str, before: str) -> list[ManagedFile]:
        """Files and environments in the directory of one definition; ``before`` is the definition that they are compared with."""
        owner, group = split_owner(self._given["user"])
        home, old = f"{self._home}/{label}", f"{self._home}/{before}"
        files = [
            file_from_parameters(f"{home}/files{f['path']}", f, owner, group, name=f["path"], before=f"{old}/files{f['path']}")
            for f in self._given["files"]
        ]
        texts = {"environment": self._engine.environment_file, "secret_environment": secret_variables.file_text}
        # The engine reads the one, the container's own user the other.
        owners = {"environment": ROOT, "secret_environment": Ownership(owner, group, "0600")}
        for kind in ENVIRONMENTS:
            if self._given[kind]:
                content = texts[kind]({k: str(v) for k, v in self._given[kind].items()})
                secret = kind == "secret_environment"
                files.append(
                    ManagedFile(f"{home}/{kind}", content, owners[kind], secret, kind, self._name, f"{old}/{kind}", explain=variables_changed)
                )
        return files

    # -- live files ---------------------------------------------------------------------------------------------------

    def _live_files(self, place: str) -> list[ManagedFile]:
        owner, group = split_owner(self._given["user"])
        given = self._given["live_files"]
        files = [file_from_parameters(f"{place}{f['path']}", f, owner, group, name=f["path"]) for f in given]
        return [replace(file, restarts=False) for file in files]

    def _superfluous_live_files(self) -> list[str]:
        wanted = {file.path for file in self._live_files(f"{self._home}/{LIVE}")}
        there = [os.path.join(directory, name) for directory, _directories, names in os.walk(f"{self._home}/{LIVE}") for name in names]
        return sorted(path for path in there if path not in wanted and not os.path.basename(path).startswith(".private-llm-"))

    def _live_mounts(self, place: str) -> list[Mount]:
        """A mount for each directory of live files; those below another come with it."""
        directories = sorted({os.path.dirname(f["path"]) for f in self._given["live_files"]})
        outermost = [d for d in directories if not any(d.startswith(f"{other}/") for other in directories)]
        return [Mount(f"{place}{directory}", directory, read_only=True) for directory in outermost]

    def _staging(self) -> str:
        return f"{self._home}/{self.wanted().fingerprint}/{LIVE}"

    def stage_live_files(self) -> None:
        remove_tree(self._staging())
        for file in self._live_files(self._staging()):
            os.makedirs(os.path.dirname(file.path), mode=0o755, exist_ok=True)
            file.apply()

    def _live_state(self) -> str:
        return fingerprint([file.identity() for file in self._live_files("")])

    def reload_reason(self) -> str | None:
        if not self._given["live_files"] or not self._given["reload"]:
            return None
        try:
            with open(self._loaded_path, encoding="utf-8") as stream:
                loaded = stream.read()
        except FileNotFoundError:
            loaded = ""
        return None if loaded == self._live_state() else "an earlier run was interrupted"

    def reload(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._loaded_path)
        if self._given["reload"]:
            ask_to_reload(self._given["reload"], self._engine.inside(self._name), self._run)

    def note_loaded(self) -> None:
        if self._given["live_files"] and self._given["reload"]:
            write_atomically(self._loaded_path, self._live_state().encode(), 0o600, os.geteuid(), os.getegid())

    # -- the definition -----------------------------------------------------------------------------------------------

    def _changes(self, before: UnitRecord) -> list[str]:
        """Another image, and files of the definition before that are wanted no longer."""
        told = [f"image: {self._given['image']} (was {before.image})"] if before.image not in ("", self._given["image"]) else []
        if before.image == self._given["image"] and before.exact_image != self._exact_image():
            told.append(f"image: {before.image} (another image has this name now)")
        home = f"{self._home}/{before.fingerprint}"
        if not before.fingerprint or not os.path.isdir(home):
            return told
        wanted = {file["path"] for file in self._given["files"]}
        there = [
            os.path.join(directory, name).removeprefix(f"{home}/files")
            for directory, _directories, names in os.walk(f"{home}/files")
            for name in names
            if not name.startswith(".private-llm-")
        ]
        told += [f"file: {path} (removed)" for path in sorted(set(there) - wanted)]
        gone = [kind for kind in ENVIRONMENTS if os.path.exists(f"{home}/{kind}") and not self._given[kind]]
        return told + [f"{kind}: {self._name} (removed)" for kind in gone]

    def _data(self) -> list[ManagedDirectory]:
        owner, group = split_owner(self._given["user"])
        return [
            ManagedDirectory(volume["source"], Ownership(volume["owner"] or owner, volume["group"] or group, volume["mode"]))
            for volume in self._given["volumes"]
            if volume["mode"]
        ]

    def _container(self, image: str, home: str, live: str = "") -> Container:
        given = self._given
        mounts = [Mount(f"{self._home}/{home}/files{f['path']}", f["path"], read_only=True) for f in given["files"]]
        mounts += self._live_mounts(live or f"{self._home}/{LIVE}")
        mounts += [Mount(v["source"], v["target"], v["read_only"], v["follow_mounts"]) for v in given["volumes"]]
        return Container(
            name=self._name,
            image=image,
            command=given["command"],
            entrypoint=given["entrypoint"],
            environment_files=[f"{self._home}/{home}/environment"] if given["environment"] else [],
            mounts=mounts,
            networks=[network.name for network in self._networks],
            publish=given["publish"],
            user=given["user"],
            capabilities=given["capabilities"],
            apparmor=given["apparmor"],
            devices=given["devices"],
            read_only=given["read_only"],
            tmpfs=given["tmpfs"],
            memory=given["memory"],
            shm_size=given["shm_size"],
            cpus=given["cpus"],
            pids=given["pids"],
            ulimits=given["ulimits"],
            extra_hosts=given["extra_hosts"],
            labels=given["labels"],
        )

    def _with_secrets(self, container: Container, home: str) -> Container:
        if not self._given["secret_environment"]:
            return container
        return secret_variables.read_first(container, f"{self._home}/{home}/secret_environment", self._image_start())

    def _unit_text(self, image: str, home: str, label: str) -> str:
        given = self._given
        engine = self._engine
        others = " ".join([engine.unit, "network-online.target", *cdi.describing_units(given["devices"]), *given["depends_on"]])
        return render(
            {
                "Unit": {
                    "Description": given["description"] or f"Container {self._name}",
                    # Not Requires=: where the engine needs a second try at boot, systemd would give this unit up for good.
                    "Wants": others,
                    "PartOf": engine.unit,
                    "After": others,
                    "StartLimitIntervalSec": 0,
                },
                "Service": {
                    **engine.service_section(self._with_secrets(self._container(image, home), home), label, given["stop_timeout"]),
                    "Restart": "always",
                    "RestartSec": 2,
                },
                # By the engine too, so that it comes back with an engine that was stopped and started.
                "Install": {"WantedBy": f"multi-user.target {engine.unit}"},
            }
        )

    # -- jobs ---------------------------------------------------------------------------------------------------------

    def due_jobs(self) -> Sequence[str]:
        done = self._done_jobs()
        first = [f"job: {BEFORE_UPGRADE} (another image)"] if self._is_upgrade() else []
        reasons = {job["name"]: "image or input changed" if job["name"] in done else "did not run yet" for job in self._given["jobs"]}
        return first + [f"job: {name} ({reasons[name]})" for name, identity in self._job_identities().items() if identity not in done.get(name, [])]

    def _is_upgrade(self) -> bool:
        """Whether something has to be done before another image takes over from the one that the unit names."""
        return bool(self._given[BEFORE_UPGRADE]) and unit_record.read(self._unit_path).exact_image not in ("", self._exact_image())

    def run_jobs(self) -> None:
        if self._is_upgrade():
            try:
                must(self._run, self._given[BEFORE_UPGRADE])
            except CommandFailed as error:
                raise CommandFailed(f"what comes before an upgrade failed: {error}") from error
        done = self._done_jobs()
        label = self.wanted().fingerprint
        identities = self._job_identities()
        for job in self._given["jobs"]:
            name, identity = job["name"], identities[job["name"]]
            if identity in done.get(name, []):
                continue
            container = self._job_container(job, label)
            end = self._engine.run_to_end(container, identity, job["timeout"])
            if end.status == 0:
                done[name] = [*done.get(name, []), identity][-JOBS_REMEMBERED:]
                write_atomically(self._jobs_path, json.dumps(done, sort_keys=True).encode(), 0o600, os.geteuid(), os.getegid())
            # Last, so that a run that is killed in between finds out that the job has ended well.
            self._engine.remove(container.name)
            if end.status != 0:
                lines = "\n".join(end.lines) or "(it wrote nothing)"
                raise CommandFailed(f"the job {name} ended with exit status {end.status}; it wrote:\n{lines}\n")

    def _job_container(self, job: Mapping[str, Any], home: str) -> Container:
        container = replace(
            self._container(self._exact_image(), home, live=self._staging()),
            name=f"{self._name}-{job['name']}",
            command=job["command"],
            entrypoint=job["entrypoint"] or self._given["entrypoint"],
            environment={name: str(value) for name, value in job["environment"].items()},
            publish=(),
        )
        return self._with_secrets(container, home)

    def _job_identities(self) -> dict[str, str]:
        """What each job depends on, as a hash: the image, its own description, and the files and variables that it sees."""
        files = [file.identity() for file in (*self._files("", ""), *self._live_files(""))]
        image = [self._given["image"], self._exact_image()]
        seen = {"image": image, "input": [*image, files]}
        return {job["name"]: fingerprint([*seen[job["once_per"]], dict(job)]) for job in self._given["jobs"]}

    def _done_jobs(self) -> dict[str, list[str]]:
        """What each job ran for: also for images of earlier, since a service that is put back needs no migration."""
        try:
            with open(self._jobs_path, encoding="utf-8") as stream:
                return dict(json.load(stream))
        except FileNotFoundError:
            return {}

    # -- what runs, and what is left ----------------------------------------------------------------------------------

    def running_fingerprint(self, status: UnitStatus) -> str | None:
        return self._engine.running_label(self._name)

    def leftovers(self, failed: bool) -> Sequence[str]:
        needed = {unit_record.read(self._unit_path).fingerprint, "" if failed else self.wanted().fingerprint}
        needed |= {LIVE} if self._given["live_files"] else set()
        return [f"{self._home}/{name}" for name in sorted(os.listdir(self._home)) if name not in needed] if os.path.isdir(self._home) else []

    def superfluous(self) -> Sequence[str]:
        return [f"network {n.name} (unused)" for n in self._networks if self._engine.is_unused_network(n.name, self._name)]

    def purge(self) -> None:
        for network in self._networks:
            if self._engine.is_unused_network(network.name, self._name):
                self._engine.remove_network(network.name)

    def log_lines(self) -> Sequence[str]:
        # What its program wrote, what the engine refused it, and what systemd made of that.
        unit = ["+", f"_SYSTEMD_UNIT={self._unit}", "+", f"UNIT={self._unit}"]
        _status, output, _error = self._run(
            ["journalctl", "--no-pager", "--output", "cat", "--lines", str(LOG_LINES), *self._engine.log_matches(self._name), *unit]
        )
        return output.splitlines()

    def look_further(self) -> Sequence[str]:
        return self._engine.look_further(self._name)
