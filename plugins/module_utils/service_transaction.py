# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One service, taken from what runs to what is wanted in one transaction: plan, apply, verify, and the way back.

What runs carries a fingerprint of everything that defines it. Equal fingerprints mean there is nothing to restart, whatever
happened in between; so a run that died half-way is finished by the next one, and no handler is needed. A journal keeps the way back
for the case that the run which finishes the work finds that it cannot be finished.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import unit_record
from ansible_collections.private_llm.platform.plugins.module_utils.health import Health
from ansible_collections.private_llm.platform.plugins.module_utils.journal import Entry, Journal
from ansible_collections.private_llm.platform.plugins.module_utils.managed_paths import (
    HEALTH_CHECK,
    ManagedDirectory,
    ManagedFile,
    ManagedLink,
    Snapshot,
    UnknownOwner,
    discard_temporary,
    remove_tree,
)
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import HEADER, CommandFailed, Runner, Systemd, UnitStatus

FINGERPRINT_LENGTH = 32
STARTS_BEFORE_GIVING_UP = 5
# How long a service without a health check is watched after it was put back; starting over again every few seconds shows within it.
SECONDS_TO_SETTLE = 30
# The same after a change: longer than the two seconds that systemd waits before it starts a unit again.
SECONDS_TO_WATCH = 4
# What of a plan makes a restart necessary, in the words of its actions.
DEFINING_KINDS = ("image", "file", "link", "environment", "secret_environment", "unit")


def fingerprint(parts: Any) -> str:
    """A short hash of anything that JSON can hold; equal input gives an equal hash."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:FINGERPRINT_LENGTH]


@dataclass(frozen=True)
class Service:
    """What a service is to look like on its host. ``unit`` is what is started; its files are what starting it takes."""

    unit: str
    fingerprint: str
    #: written first; where they lie apart from what runs, nothing notices
    files: tuple[ManagedFile, ...]
    #: written last: from here on a start gives the new service
    unit_files: tuple[ManagedFile, ...]
    #: read again by the running program when asked to, so that a change of them alone is no restart
    live_files: tuple[ManagedFile, ...] = ()
    #: what live files of the definition before are wanted no longer
    live_removals: tuple[str, ...] = ()
    directories: tuple[ManagedDirectory, ...] = ()
    links: tuple[ManagedLink, ...] = ()
    health: Health | None = None
    #: differences to what is there that no path of the new definition shows, such as a file that is wanted no longer
    changes: tuple[str, ...] = ()
    #: files and links of the definition before that are wanted no longer
    removals: tuple[str, ...] = ()
    #: units that a stop has to reach too (a socket's service)
    companions: tuple[str, ...] = ()
    #: directories removed with the service
    owned_directories: tuple[str, ...] = ()
    #: data of the service, removed only when that is asked for
    data_directories: tuple[str, ...] = ()

    @property
    def all_files(self) -> tuple[ManagedFile, ...]:
        """Every file, in the order in which they are written."""
        return (*self.files, *self.unit_files)

    @property
    def owned_files(self) -> list[str]:
        """Files and links that go when the service goes, apart from those in a directory that goes."""
        paths = [f.path for f in self.all_files if f.restarts] + [link.path for link in self.links] + list(self.removals)
        inside = tuple(f"{directory}/" for directory in self.owned_directories)
        return [path for path in paths if not path.startswith(inside)]

    @property
    def own_unit_path(self) -> str | None:
        """Where the unit is that is started; None for one that a package ships."""
        return next((file.path for file in self.unit_files if os.path.basename(file.path) == self.unit), None)


class Backend(ABC):
    """What differs between a container and a native program."""

    @abstractmethod
    def wanted(self) -> Service:
        """What is wanted; called again after :meth:`prepare`, when more may be known (an image's digest)."""

    @abstractmethod
    def running_fingerprint(self, status: UnitStatus) -> str | None:
        """The fingerprint that what runs carries, or None when nothing runs."""

    @abstractmethod
    def log_lines(self) -> Sequence[str]:
        """The last lines that the service wrote."""

    @abstractmethod
    def look_further(self) -> Sequence[str]:
        """Commands that show more."""

    def preparations(self) -> list[tuple[str, str]]:
        """What has to be there before anything is stopped and is not: (kind, what), such as an image or a network."""
        return []

    def prepare(self) -> None:  # noqa: B027 - not every kind of service has something to prepare
        """Bring the missing preparations about. Nothing that runs may be disturbed."""

    def refusals(self) -> Sequence[str]:
        """What contradicts this host, whatever runs now, such as a port that another service has."""
        return ()

    def obstacles(self) -> Sequence[str]:
        """What of this host keeps the service from starting now, such as a stranger on its port."""
        return ()

    def stage_live_files(self) -> None:  # noqa: B027 - not every kind of service has live files
        """Put the wanted live files where jobs see them and what runs does not."""

    def reload_reason(self) -> str | None:
        """Why the running program has to read its live files again although they are as wanted; None when it has done so."""
        return None

    def reload(self) -> None:  # noqa: B027 - not every program has to be asked
        """Have the running program read its live files again. :raises CommandFailed: when it refuses them."""

    def note_loaded(self) -> None:  # noqa: B027 - not every kind of service has live files
        """Remember that the running program has read its live files."""

    def due_jobs(self) -> Sequence[str]:
        """Jobs that have to run to their end before the service may be started anew, each with its reason."""
        return ()

    def run_jobs(self) -> None:  # noqa: B027 - not every kind of service has jobs
        """Run the due jobs. :raises CommandFailed: when one fails; nothing that runs was disturbed."""

    def leftovers(self, failed: bool) -> Sequence[str]:
        """Paths that nothing needs once the wanted definition works or, if it failed, once the one before is back."""
        return ()

    def superfluous(self) -> Sequence[str]:
        """What a purge takes away beside the service's own paths, such as a network that nobody uses."""
        return ()

    def purge(self) -> None:  # noqa: B027 - not every kind of service has more
        """Take away what :meth:`superfluous` names."""


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
    removals: list[str] = field(default_factory=list)
    live_files: list[ManagedFile] = field(default_factory=list)
    live_removals: list[str] = field(default_factory=list)
    reload: bool = False
    #: actions of preparations, which a plan that is made anew afterwards does not show any more
    preparations: list[str] = field(default_factory=list)
    jobs: bool = False
    enable: bool = False
    restart: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.actions)

    @property
    def touched_by_others(self) -> bool:
        """Whether something that the running program has read differs on disk."""
        return bool(self.links) or any(f.restarts and f.change() not in (None, HEALTH_CHECK) for f in self.files)

    @property
    def changed_kinds(self) -> list[str]:
        """Which parts of the definition differ, each once."""
        kinds = [action.split(":", 1)[0] for action in self.actions]
        return [kind for kind in DEFINING_KINDS if kind in kinds]


class Transaction:
    """Takes one service to state ``started``, ``stopped`` or ``absent``."""

    def __init__(self, backend: Backend, run: Runner) -> None:
        self._backend = backend
        self._run = run
        self._systemd = Systemd(run)

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Keeps a second run at the same service waiting until this one is done."""
        return Journal(self._backend.wanted().unit).lock()

    # -- plan ---------------------------------------------------------------------------------------------------------

    def plan_started(self) -> Plan:
        """Compare what is wanted with what is there; reads only.

        :raises ServiceFailed: when something of this host keeps the service from starting.
        """
        service = self._backend.wanted()
        status = self._systemd.status(service.unit)
        self._refuse(service, [*self._strangers_unit(service, status), *self._backend.refusals()])
        plan = Plan(preparations=[f"{kind}: {what} (missing)" for kind, what in self._backend.preparations()])
        plan.actions += [*plan.preparations, *service.changes]
        self._plan_paths(service, plan)
        jobs = self._backend.due_jobs()
        plan.jobs = bool(jobs)
        plan.actions += jobs
        if not status.is_enabled:
            plan.enable = True
            plan.actions.append(f"enable: {service.unit} (not started at boot)")
        reason = self._restart_reason(service, status, plan)
        if reason:
            self._refuse(service, self._backend.obstacles())
            plan.restart = True
            plan.actions.append(f"restart: {service.unit} ({reason})")
        self._plan_reload(service, plan)
        plan.actions += [f"tidy: {path} (left over)" for path in self._backend.leftovers(failed=False)]
        if Journal(service.unit).read() is not None:
            plan.actions.append(f"finish: {service.unit} (an earlier run was interrupted)")
        return plan

    def _plan_reload(self, service: Service, plan: Plan) -> None:
        reason = "changed: file" if plan.live_files or plan.live_removals else self._backend.reload_reason()
        # Whoever is started anew reads everything anyway.
        if reason and not plan.restart:
            plan.reload = True
            plan.actions.append(f"reload: {service.unit} ({reason})")

    @staticmethod
    def _refuse(service: Service, sentences: Sequence[str]) -> None:
        if sentences:
            raise ServiceFailed(f"{service.unit} was not touched: {' '.join(sentences)}")

    @staticmethod
    def _strangers_unit(service: Service, status: UnitStatus) -> list[str]:
        """A unit of this name that is somebody else's must not be overwritten, stopped or removed."""
        own = service.own_unit_path
        if own is None or status.load in ("not-found", ""):
            return []
        remedy = "give this service another name, or remove that unit first"
        if status.fragment and status.fragment != own:
            return [f"There is a unit {service.unit} at {status.fragment}, which this collection did not write; {remedy}."]
        try:
            with open(own, encoding="utf-8", errors="replace") as stream:
                written_here = stream.read().startswith(HEADER)
        except FileNotFoundError:
            return []
        return [] if written_here else [f"{own} was not written by this collection; {remedy}."]

    @staticmethod
    def _plan_paths(service: Service, plan: Plan) -> None:
        for directory in service.directories:
            why = directory.difference()
            if why:
                plan.directories.append(directory)
                plan.actions.append(f"directory: {directory.path} ({why})")
        for file in service.all_files:
            if not file.difference():
                continue
            plan.files.append(file)
            why = file.change()
            if why:
                plan.actions.append(f"{file.kind}: {file.shown} ({why})")
                if why not in ("owner", "mode"):
                    plan.diff.append(file.diff())
        for link in service.links:
            why = link.difference()
            if why:
                plan.links.append(link)
                plan.actions.append(f"link: {link.path} ({why})")
        plan.removals = [path for path in service.removals if os.path.lexists(path)]
        plan.actions += [f"file: {path} (removed)" for path in plan.removals]
        for file in service.live_files:
            why = file.difference()
            if why:
                plan.live_files.append(file)
                plan.actions.append(f"file: {file.shown} ({why})")
                if why not in ("owner", "mode"):
                    plan.diff.append(file.diff())
        plan.live_removals = [path for path in service.live_removals if os.path.lexists(path)]
        plan.actions += [f"file: {path} (removed)" for path in plan.live_removals]

    def _restart_reason(self, service: Service, status: UnitStatus, plan: Plan) -> str | None:
        if not status.is_active:
            return "not running"
        running = self._backend.running_fingerprint(status)
        if running is None:
            return "what runs carries no mark of this collection"
        if running != service.fingerprint:
            kinds = plan.changed_kinds
            return f"changed: {', '.join(kinds)}" if kinds else "what runs differs from what is wanted"
        if plan.touched_by_others:
            return "its files were changed by somebody else"
        return "systemd has an old version of its unit" if status.needs_reload else None

    def plan_stopped(self, absent: bool, purge: bool = False) -> Plan:
        """What is to be done so that the service does not run; if absent, leaves nothing but its data; with purge, not even that."""
        service = self._backend.wanted()
        plan = Plan()
        status = self._systemd.status(service.unit)
        self._refuse(service, self._strangers_unit(service, status))
        for unit in (service.unit, *service.companions):
            found = self._systemd.status(unit)
            if found.is_active or found.active == "failed":
                plan.actions.append(f"stop: {unit} ({'failed' if found.active == 'failed' else 'running'})")
        if status.is_enabled:
            plan.actions.append(f"disable: {service.unit} (started at boot)")
        if absent:
            plan.actions += [f"remove: {path} (present)" for path in [*service.owned_files, *service.owned_directories] if os.path.lexists(path)]
        if Journal(service.unit).read() is not None:
            plan.actions.append(f"finish: {service.unit} (an earlier run was interrupted)")
        if purge:
            links = [path for path in service.data_directories if os.path.islink(path)]
            self._refuse(service, [f"{path} is a link; remove the data that it points at yourself." for path in links])
            plan.actions += [f"remove: {path} (data)" for path in service.data_directories if os.path.lexists(path)]
            plan.actions += [f"remove: {what}" for what in self._backend.superfluous()]
        return plan

    # -- apply --------------------------------------------------------------------------------------------------------

    def apply_started(self, plan: Plan) -> Plan:
        """Carry the plan out and wait for health. Returns the plan as it was really done.

        :raises ServiceFailed: when the service does not become healthy; then what was there before runs again.
        """
        if plan.preparations:
            prepared = plan.preparations
            self._backend.prepare()
            plan = self.plan_started()
            plan.actions = prepared + plan.actions
        service = self._backend.wanted()
        if not plan.changed:
            self._verify_unchanged(service)
            return plan
        status = self._systemd.status(service.unit)
        # Of directories that are there, owner and mode; one that is made stays.
        paths = [f.path for f in [*plan.files, *plan.live_files]] + [link.path for link in plan.links] + plan.removals + plan.live_removals
        paths += [d.path for d in plan.directories if os.path.isdir(d.path)]
        journal = Journal(service.unit)
        try:
            entry = journal.begin(paths, status.is_active, status.is_enabled)
        except OSError as error:
            raise ServiceFailed(f"{service.unit} was not touched: its way back cannot be written down: {error}") from error
        try:
            self._stage(service, plan)
            if plan.jobs:
                self._backend.run_jobs()
            self._commit(service, plan, journal)
            self._verify(service, restarted=plan.restart)
            self._backend.note_loaded()
        except Exception as error:
            # Whatever it was, what ran before has to run again.
            raise ServiceFailed(self._go_back(service, entry, str(error) or type(error).__name__)) from error
        self._forget(journal, entry)
        self._tidy(failed=False)
        return plan

    def _tidy(self, failed: bool) -> None:
        for path in self._backend.leftovers(failed):
            remove_tree(path)

    @staticmethod
    def _forget(journal: Journal, entry: Entry) -> None:
        for snapshot in entry.snapshots:
            discard_temporary(snapshot.path)
        journal.end()

    def _stage(self, service: Service, plan: Plan) -> None:
        """Write everything but the unit."""
        try:
            for directory in plan.directories:
                if not os.path.isdir(directory.path):
                    directory.apply()
            for file in plan.files:
                if file in service.files:
                    self._write(file)
            for link in plan.links:
                os.makedirs(os.path.dirname(link.path), mode=0o755, exist_ok=True)
                link.apply()
            for path in plan.removals:
                os.unlink(path)
            if plan.jobs:
                self._backend.stage_live_files()
        except UnknownOwner as error:
            raise CommandFailed(f"cannot set an owner: {error}; create that user first") from error

    @staticmethod
    def _write(file: ManagedFile) -> None:
        os.makedirs(os.path.dirname(file.path), mode=0o755, exist_ok=True)
        file.apply()

    def _commit(self, service: Service, plan: Plan, journal: Journal) -> None:
        """Write the unit and start it."""
        if plan.restart and any(directory.changes_hands for directory in plan.directories):
            # Its data is about to be somebody else's. Until the new unit is there, this is the one place where a run that dies leaves no service.
            journal.disturb()
            self._systemd.stop(service.unit)
        for directory in plan.directories:
            # What is there is used by the program that runs: changed at the last moment, and told by the journal.
            directory.apply()
        for file in plan.live_files:
            self._write(file)
        for path in plan.live_removals:
            os.unlink(path)
        for file in plan.files:
            if file in service.unit_files:
                self._write(file)
        if any(f in service.unit_files for f in plan.files) or self._systemd.status(service.unit).needs_reload:
            self._systemd.reload()
        if plan.enable:
            self._systemd.enable(service.unit)
        if plan.restart:
            journal.disturb()
            self._systemd.restart(service.unit, service.companions)
        elif plan.reload:
            self._backend.reload()

    def _verify(self, service: Service, restarted: bool = False) -> None:
        first = self._systemd.status(service.unit).restarts
        if service.health is not None:
            answer = self._answer(service.unit, service.health, first)
        elif restarted and not service.companions:
            answer = self._stays_up(service.unit, first, SECONDS_TO_WATCH)
        else:
            answer = self._not_active(service.unit)
        if answer is not None:
            raise ServiceFailed(answer)

    def _stays_up(self, unit: str, first: int, seconds: float) -> str | None:
        """Watch a unit that has no health check: one that ends at once is up for a moment too."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._systemd.status(unit).active != "failed":
            time.sleep(0.5)
        status = self._systemd.status(unit)
        if status.restarts > first:
            return f"the unit ended and was started again {status.restarts - first} times"
        return None if status.active == "active" else f"the unit is {status.active}"

    def _answer(self, unit: str, health: Health, first: int) -> str | None:
        """Wait for health. Whatever answers must be this unit, not a stranger on its port."""

        def given_up() -> str | None:
            status = self._systemd.status(unit)
            if status.active == "failed":
                return "the unit has failed"
            if status.restarts - first >= STARTS_BEFORE_GIVING_UP:
                return f"the unit ended and was started again {status.restarts - first} times"
            return None

        return health.wait(lambda: self._not_active(unit) or health.probe(self._run), given_up)

    def _not_active(self, unit: str) -> str | None:
        active = self._systemd.status(unit).active
        return None if active == "active" else f"the unit is {active}"

    def _verify_unchanged(self, service: Service) -> None:
        try:
            self._verify(service)
        except ServiceFailed as error:
            outcome = f"Nothing was changed, and nothing differs from what is wanted: try 'systemctl restart {service.unit}'"
            raise ServiceFailed(self._explained(service, str(error), outcome, list(self._backend.log_lines()))) from error

    # -- the way back -------------------------------------------------------------------------------------------------

    def _go_back(self, service: Service, entry: Entry, why: str) -> str:
        lines = list(self._backend.log_lines())
        # As it is on disk: only there it says whether what ran has felt anything.
        entry = Journal(service.unit).read() or entry
        try:
            outcome = self._put_back(service, entry)
        except Exception as error:
            outcome = f"The way back failed too: {error or type(error).__name__}; run again once that is mended, the way back is kept"
        else:
            self._forget(Journal(service.unit), entry)
        return self._explained(service, why, outcome, lines)

    def _put_back(self, service: Service, entry: Entry) -> str:
        """Make files and unit what they were, and let the service run if it ran. Returns how that went, as a sentence."""
        unit_is_new = any(s.was_missing and s.path == service.own_unit_path for s in entry.snapshots)
        if unit_is_new or (entry.disturbed and not entry.running):
            # By its own unit, as long as that is there.
            self._stop(service)
        if not entry.enabled and self._systemd.status(service.unit).is_enabled:
            self._systemd.disable(service.unit)
        if any(snapshot.changed_hands for snapshot in entry.snapshots):
            self._stop(service)
        felt = entry.running and self._live_files_differ(service, entry)
        self._put_back_paths(entry)
        if unit_is_new:
            self._systemd.reload()
            self._remove_owned(service)
            return "Its unit and files were taken away again"
        if not entry.disturbed:
            self._systemd.reload()
            self._tidy(failed=True)
            if felt:
                self._backend.reload()
                return "What was there before was put back and is in use; what runs was not restarted"
            return "What was there before was put back; what runs was not touched"
        if not entry.running:
            self._systemd.reload()
            self._tidy(failed=True)
            return "What was there before was put back; it did not run before and does not now"
        self._systemd.replace(service.unit, service.companions)
        self._tidy(failed=True)
        answer = self._settled(service, entry)
        return "What was there before was put back and runs again" if answer is None else f"What was there before was put back, but {answer}"

    @staticmethod
    def _live_files_differ(service: Service, entry: Entry) -> bool:
        """Whether what the running program may have read again is not what it was."""
        live = {*(file.path for file in service.live_files), *service.live_removals}
        return any(snapshot.path in live and Snapshot.take(snapshot.path) != snapshot for snapshot in entry.snapshots)

    @staticmethod
    def _put_back_paths(entry: Entry) -> None:
        # First what was not there: on a full disk its room is needed by the rest. What was not reached is left alone.
        for snapshot in sorted(entry.snapshots, key=lambda s: not s.was_missing):
            if Snapshot.take(snapshot.path) != snapshot:
                snapshot.put_back()

    @staticmethod
    def _remove_owned(service: Service) -> None:
        for path in service.owned_directories:
            remove_tree(path)

    def _settled(self, service: Service, entry: Entry) -> str | None:
        """Why the service that was put back is not well; None when it is. Without a health check of its own the unit has to stay up."""
        first = self._systemd.status(service.unit).restarts
        texts = [entry.content_of(file.path) for file in service.unit_files]
        if all(text is None for text in texts):
            # Only other files were changed: the unit, and with it the health check, is the one that was there.
            health = service.health
        else:
            health = next(filter(None, (Health.from_text(unit_record.parse((t or b"").decode()).health) for t in texts)), None)
        if health is not None:
            return self._answer(service.unit, health, first)
        return self._stays_up(service.unit, first, SECONDS_TO_SETTLE)

    def _explained(self, service: Service, why: str, outcome: str, lines: Sequence[str]) -> str:
        log = "\n".join(lines) or "(it logged nothing)"
        further = " ; ".join(self._backend.look_further())
        return f"{service.unit}: {why}. {outcome}.\nIts last log lines:\n{log}\nTo look further: {further}"

    # -- stopped and absent -------------------------------------------------------------------------------------------

    def _stop(self, service: Service) -> None:
        for unit in (service.unit, *service.companions):
            if self._systemd.status(unit).load != "not-found":
                self._systemd.stop(unit)

    def apply_stopped(self, absent: bool, purge: bool = False) -> None:
        """Stop and disable the service; if absent, remove its files; with purge, its data too."""
        service = self._backend.wanted()
        journal = Journal(service.unit)
        entry = journal.read()
        if entry is not None:
            # First: no later run may go back to a service that is not wanted any more.
            self._forget(journal, entry)
        self._stop(service)
        if self._systemd.status(service.unit).is_enabled:
            self._systemd.disable(service.unit)
        if absent:
            for path in service.owned_files:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            for path in [*service.owned_directories, *(service.data_directories if purge else ())]:
                remove_tree(path)
            self._systemd.reload()
        if purge:
            self._backend.purge()


def carry_out(transaction: Transaction, state: str, check_mode: bool, purge: bool = False) -> Plan:
    """Plan for a state and, unless only asked to predict, apply it. :raises ServiceFailed: see :meth:`Transaction.apply_started`."""
    absent = state == "absent"
    if check_mode:
        return transaction.plan_started() if state == "started" else transaction.plan_stopped(absent, purge)
    with transaction.alone():
        if state == "started":
            return transaction.apply_started(transaction.plan_started())
        plan = transaction.plan_stopped(absent, purge)
        if plan.changed:
            transaction.apply_stopped(absent, purge)
        return plan
