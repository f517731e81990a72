# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One service, taken from what runs to what is wanted in one transaction: plan, apply, verify, and the way back.

What runs carries a fingerprint of everything that defines it. Equal fingerprints mean there is nothing to restart, whatever
happened in between; so a run that died half-way is finished by the next one, and no handler is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.health import Health
from ansible_collections.private_llm.platform.plugins.module_utils.managed_paths import (
    ManagedDirectory,
    ManagedFile,
    ManagedLink,
    Snapshot,
    UnknownOwner,
    remove_tree,
)
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import CommandFailed, Runner, Systemd, UnitStatus

FINGERPRINT_LENGTH = 32
STARTS_BEFORE_GIVING_UP = 5
# How long the service that was put back is watched; starting all over again every few seconds shows within it.
SECONDS_TO_SETTLE = 30


def fingerprint(parts: Any) -> str:
    """A short hash of anything that JSON can hold; equal input gives an equal hash."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:FINGERPRINT_LENGTH]


@dataclass(frozen=True)
class Service:
    """What a service is to look like on its host. ``unit`` is what is started; ``units`` are all unit files' names."""

    unit: str
    fingerprint: str
    files: tuple[ManagedFile, ...]
    directories: tuple[ManagedDirectory, ...] = ()
    links: tuple[ManagedLink, ...] = ()
    health: Health | None = None
    #: units that a stop has to reach too (a socket's service)
    companions: tuple[str, ...] = ()
    #: directories removed with the service
    owned_directories: tuple[str, ...] = ()
    #: whether the unit is enabled and disabled by us
    enable: bool = True


class Backend(ABC):
    """What differs between a container and a native program."""

    @abstractmethod
    def preparations(self) -> list[tuple[str, str]]:
        """What has to be there before anything is stopped and is not: (kind, what), such as an image or a network."""

    @abstractmethod
    def prepare(self) -> None:
        """Bring the missing preparations about. Nothing that runs may be disturbed."""

    @abstractmethod
    def wanted(self) -> Service:
        """What is wanted; called again after :meth:`prepare`, when more may be known (an image's digest)."""

    @abstractmethod
    def running_fingerprint(self, status: UnitStatus) -> str | None:
        """The fingerprint that what runs carries, or None when nothing runs."""

    @abstractmethod
    def obstacles(self) -> Sequence[str]:
        """What of this host keeps the service from starting, such as a stranger on its port."""

    @abstractmethod
    def log_lines(self) -> Sequence[str]:
        """The last lines that the service wrote."""

    @abstractmethod
    def look_further(self) -> Sequence[str]:
        """Commands that show more."""


class ServiceFailed(Exception):
    """The service did not become healthy; the text is complete for the user."""


@dataclass
class Plan:
    """What would change, and why. Each action is ``kind: object (reason)``."""

    actions: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    files: list[ManagedFile] = field(default_factory=list)
    directories: list[ManagedDirectory] = field(default_factory=list)
    links: list[ManagedLink] = field(default_factory=list)
    prepare: bool = False
    enable: bool = False
    restart: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.actions)


class Transaction:
    """Takes one service to state ``started``, ``stopped`` or ``absent``."""

    def __init__(self, backend: Backend, run: Runner) -> None:
        self._backend = backend
        self._run = run
        self._systemd = Systemd(run)

    # -- plan ---------------------------------------------------------------------------------------------------------

    def plan_started(self) -> Plan:
        """Compare what is wanted with what is there; reads only.

        :raises ServiceFailed: when something of this host keeps the service from starting.
        """
        service = self._backend.wanted()
        plan = Plan()
        for kind, what in self._backend.preparations():
            plan.prepare = True
            plan.actions.append(f"{kind}: {what} (missing)")
        self._plan_paths(service, plan)
        status = self._systemd.status(service.unit)
        if service.enable and not status.is_enabled:
            plan.enable = True
            plan.actions.append(f"unit: {service.unit} (not enabled)")
        reason = self._restart_reason(service, status, plan)
        if reason:
            obstacles = self._backend.obstacles()
            if obstacles:
                raise ServiceFailed(f"{service.unit} was not touched: {' '.join(obstacles)}")
            plan.restart = True
            plan.actions.append(f"restart: {service.unit} ({reason})")
        return plan

    @staticmethod
    def _plan_paths(service: Service, plan: Plan) -> None:
        for directory in service.directories:
            why = directory.difference()
            if why:
                plan.directories.append(directory)
                plan.actions.append(f"directory: {directory.path} ({why})")
        for file in service.files:
            why = file.difference()
            if why:
                plan.files.append(file)
                plan.actions.append(f"file: {file.path} ({why})")
                if why in ("missing", "content"):
                    plan.diff.append(file.diff())
        for link in service.links:
            why = link.difference()
            if why:
                plan.links.append(link)
                plan.actions.append(f"link: {link.path} ({why})")

    def _restart_reason(self, service: Service, status: UnitStatus, plan: Plan) -> str | None:
        if not status.is_active:
            return "not running"
        running = self._backend.running_fingerprint(status)
        if running is None:
            return "what runs was not started by this collection"
        if running != service.fingerprint:
            return "what runs differs from what is wanted"
        if plan.files or plan.links:
            return "its files were changed by somebody else"
        return "systemd has an old version of its unit" if status.needs_reload else None

    def plan_stopped(self, absent: bool) -> Plan:
        """What is to be done so that the service does not run (and, if absent, leaves nothing but its data)."""
        service = self._backend.wanted()
        plan = Plan()
        status = self._systemd.status(service.unit)
        if status.is_active or status.active == "failed":
            plan.actions.append(f"stop: {service.unit} (running)")
        if service.enable and status.is_enabled:
            plan.actions.append(f"unit: {service.unit} (enabled)")
        if absent:
            owned = [f.path for f in service.files] + [link.path for link in service.links] + list(service.owned_directories)
            plan.actions += [f"remove: {path} (present)" for path in owned if os.path.lexists(path)]
        return plan

    # -- apply --------------------------------------------------------------------------------------------------------

    def apply_started(self, plan: Plan) -> Plan:
        """Carry the plan out and wait for health. Returns the plan as it was really done.

        :raises ServiceFailed: when the service does not become healthy; then what was there before runs again.
        """
        if plan.prepare:
            self._backend.prepare()
            prepared = [action for action in plan.actions if action.endswith("(missing)") and not action.startswith(("file:", "directory:", "link:"))]
            plan = self.plan_started()
            plan.actions = prepared + plan.actions
        service = self._backend.wanted()
        if not plan.changed:
            self._verify_unchanged(service)
            return plan
        status = self._systemd.status(service.unit)
        before = [Snapshot.take(path) for path in [f.path for f in plan.files] + [link.path for link in plan.links]]
        was_running = status.is_active
        try:
            self._write(service, plan)
            if plan.restart:
                self._systemd.restart(service.unit)
            self._verify(service)
        except (CommandFailed, ServiceFailed, OSError) as error:  # OSError: a disk that is full, a path that is a directory
            raise ServiceFailed(self._go_back(service, before, was_running, str(error))) from error
        return plan

    def _write(self, service: Service, plan: Plan) -> None:
        if plan.restart and service.unit.endswith(".socket") and self._systemd.status(service.unit).is_active:
            # A socket carries no fingerprint: it is stopped before its file changes, so that an interrupted run shows.
            self._stop(service)
        try:
            for directory in plan.directories:
                directory.apply()
            for file in plan.files:
                os.makedirs(os.path.dirname(file.path), mode=0o755, exist_ok=True)
                file.apply()
            for link in plan.links:
                os.makedirs(os.path.dirname(link.path), mode=0o755, exist_ok=True)
                link.apply()
        except UnknownOwner as error:
            raise CommandFailed(f"cannot set an owner: {error}; create that user first") from error
        if plan.files or self._systemd.status(service.unit).needs_reload:
            self._systemd.reload()
        if plan.enable:
            self._systemd.enable(service.unit)

    def _verify(self, service: Service) -> None:
        first = self._systemd.status(service.unit).restarts

        def not_ours() -> str | None:
            # Whatever answers the health check must be this unit, not a stranger on its port.
            active = self._systemd.status(service.unit).active
            return None if active == "active" else f"the unit is {active}"

        def given_up() -> str | None:
            status = self._systemd.status(service.unit)
            if status.active == "failed":
                return "the unit has failed"
            if status.restarts - first >= STARTS_BEFORE_GIVING_UP:
                return f"the unit ended and was started again {status.restarts - first} times"
            return None

        health = service.health
        answer = not_ours() if health is None else health.wait(lambda: not_ours() or health.probe(self._run), given_up)
        if answer is not None:
            raise ServiceFailed(answer)

    def _verify_unchanged(self, service: Service) -> None:
        try:
            self._verify(service)
        except ServiceFailed as error:
            outcome = f"Nothing was changed, and nothing differs from what is wanted: try 'systemctl restart {service.unit}'"
            raise ServiceFailed(self._explained(service, str(error), outcome, list(self._backend.log_lines()))) from error

    def _go_back(self, service: Service, before: Sequence[Snapshot], was_running: bool, why: str) -> str:
        lines = list(self._backend.log_lines())
        try:
            outcome = self._put_back(service, before, was_running)
        except (CommandFailed, OSError) as error:
            outcome = f"The way back failed too: {error}"
        return self._explained(service, why, outcome, lines)

    def _put_back(self, service: Service, before: Sequence[Snapshot], was_running: bool) -> str:
        """Make files and unit what they were, and let the service run if it ran. Returns how that went, as a sentence."""
        unit_is_new = any(s.path.endswith("/" + service.unit) and s.content is None and s.link is None for s in before)
        if unit_is_new or not was_running:
            self._stop(service)
        if unit_is_new and service.enable:
            self._systemd.disable(service.unit)
        for snapshot in before:
            # What was not reached is left alone: on a full disk it could not be written again.
            if Snapshot.take(snapshot.path) != snapshot:
                snapshot.put_back()
        self._systemd.reload()
        if unit_is_new:
            return "Nothing of it was left behind"
        if not was_running:
            return "What was there before was put back; it did not run before and does not now"
        self._systemd.restart(service.unit)
        answer = self._settled(service)
        return "What was there before was put back and runs again" if answer is None else f"What was there before was put back, but {answer}"

    def _settled(self, service: Service) -> str | None:
        """Why the service that was put back is not well; None when it is. Its own health check is not known: the unit has to stay up."""
        first = self._systemd.status(service.unit).restarts
        deadline = time.monotonic() + SECONDS_TO_SETTLE
        while True:
            status = self._systemd.status(service.unit)
            healthy = service.health is not None and service.health.probe(self._run) is None
            if status.active == "active" and (healthy or time.monotonic() >= deadline):
                return None
            if status.active == "failed" or status.restarts - first >= STARTS_BEFORE_GIVING_UP or time.monotonic() >= deadline:
                return f"its unit is {status.active} after {status.restarts - first} further starts"
            time.sleep(1)

    def _explained(self, service: Service, why: str, outcome: str, lines: Sequence[str]) -> str:
        log = "\n".join(lines) or "(it logged nothing)"
        further = " ; ".join(self._backend.look_further())
        return f"{service.unit}: {why}. {outcome}.\nIts last log lines:\n{log}\nTo look further: {further}"

    def _stop(self, service: Service) -> None:
        for unit in (service.unit, *service.companions):
            if self._systemd.status(unit).load != "not-found":
                self._systemd.stop(unit)

    def apply_stopped(self, absent: bool) -> None:
        """Stop and disable the service; if absent, remove its files, never its data."""
        service = self._backend.wanted()
        self._stop(service)
        if service.enable and self._systemd.status(service.unit).is_enabled:
            self._systemd.disable(service.unit)
        if absent:
            for path in [f.path for f in service.files] + [link.path for link in service.links] + list(service.owned_directories):
                remove_tree(path)
            self._systemd.reload()


def carry_out(transaction: Transaction, state: str, check_mode: bool) -> Plan:
    """Plan for a state and, unless only asked to predict, apply it. :raises ServiceFailed: see :meth:`Transaction.apply_started`."""
    if state == "started":
        plan = transaction.plan_started()
        return plan if check_mode else transaction.apply_started(plan)
    plan = transaction.plan_stopped(absent=state == "absent")
    if plan.changed and not check_mode:
        transaction.apply_stopped(absent=state == "absent")
    return plan
