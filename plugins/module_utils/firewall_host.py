# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table of rules on a host, replaced in a way that cannot shut its operator out.

New rules are loaded only after a timer of systemd's own has been set that brings the old ones back. Whoever asked for them takes the
timer away by a new connection, which proves that one can still be made. The file of rules that is read at boot is replaced at that moment and
not before, so that a run which is killed, or a host which loses power, has the old rules or the new ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import os
import secrets
from collections.abc import Iterator
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.firewall_rules import TABLE
from ansible_collections.private_llm.platform.plugins.module_utils.managed_paths import (
    ManagedFile,
    Ownership,
    remove_tree,
    write_atomically,
)
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import (
    UNIT_DIRECTORY,
    CommandFailed,
    Runner,
    Section,
    Systemd,
    must,
    render,
)

DIRECTORY = "/etc/private-llm/firewall"
LOCK = "/run/private-llm-firewall.lock"
UNIT = "private-llm-firewall.service"
RETURN_UNIT = "private-llm-firewall-return"
NFT = "/usr/sbin/nft"


class TooLate(Exception):
    """The rules that are to be confirmed are no longer waiting for it."""


def return_script(directory: str, token: str, lock: str = LOCK) -> str:
    """What the timer runs: the confirmed rules again, or none where none were ever confirmed; nothing when somebody was faster."""
    pending, rules = f"{directory}/pending-{token}.nft", f"{directory}/rules.nft"
    back = f"if [ -e {rules} ]; then {NFT} -f {rules}; else {NFT} delete table inet {TABLE}; fi"
    return f"exec flock {lock} sh -c '[ -e {pending} ] || exit 0; rm -f {pending}; {back}'"


def login_of(proc: str = "/proc") -> tuple[str, int] | None:
    """Address and port of the SSH login that this process descends from; None when it descends from none."""
    pid = os.getpid()
    while pid > 1:
        try:
            with open(f"{proc}/{pid}/environ", "rb") as stream:
                environment = stream.read().split(b"\0")
            with open(f"{proc}/{pid}/stat", encoding="ascii", errors="replace") as stream:
                # The name before it may hold blanks and brackets.
                parent = int(stream.read().rpartition(")")[2].split()[1])
        except OSError:
            return None
        for entry in environment:
            name, _equals, value = entry.decode("utf-8", "replace").partition("=")
            if name == "SSH_CONNECTION" and len(value.split()) == 4:
                client, _client_port, _server, port = value.split()
                return client, int(port)
        pid = parent
    return None


class FirewallHost:
    """The table on this host, the file that it is loaded from at boot, and the unit that does it."""

    def __init__(self, run: Runner, directory: str = DIRECTORY, lock: str = LOCK, units: str = UNIT_DIRECTORY) -> None:
        self._run = run
        self._directory = directory
        self._lock = lock
        self._rules = f"{directory}/rules.nft"
        #: a hash of the table as the kernel showed it when it was confirmed, and the token that confirmed it
        self._loaded = f"{directory}/loaded"
        section: Section = {
            "Type": "oneshot",
            "RemainAfterExit": True,
            "ExecStart": f"{NFT} -f {self._rules}",
            "ExecReload": f"{NFT} -f {self._rules}",
        }
        unit: Section = {
            "Description": "Packet filter of the private LLM platform",
            "Documentation": "man:nft(8)",
            "DefaultDependencies": False,
            "RequiresMountsFor": directory,
            "ConditionPathExists": self._rules,
            "Wants": "network-pre.target",
            # Debian's own unit begins by removing everybody's rules, so this one comes after it and again whenever that one does.
            "After": "nftables.service",
            "PartOf": "nftables.service",
            "Before": "network-pre.target docker.service",
        }
        # Nothing is done at its stop: at shutdown the network and the containers are still up.
        text = render({"Unit": unit, "Service": section, "Install": {"WantedBy": "sysinit.target"}})
        self._unit = ManagedFile(f"{units}/{UNIT}", text.encode(), Ownership("0", "0", "0644"), kind="unit", name=UNIT)

    # -- what is there ------------------------------------------------------------------------------------------------

    def confirmed(self) -> str:
        """The text of the rules that are loaded at boot; empty when there are none."""
        return self._read(self._rules)

    def live(self) -> str:
        """A hash of the table as the kernel has it, without counters; empty when it has none."""
        status, output, _error = self._run([NFT, "-s", "list", "table", "inet", TABLE])
        return hashlib.sha256(output.encode()).hexdigest() if status == 0 else ""

    def reasons(self, text: str) -> list[str]:
        """Why something has to be done for this text to be what protects the host; empty when it does already."""
        before = self.confirmed()
        found = []
        if before != text:
            found.append("rules: the table (%s)" % ("content" if before else "missing"))
        elif self.live() != self._read(self._loaded).partition(" ")[0] or not self.live():
            found.append("rules: the table (not loaded, or changed by hand)")
        difference = self._unit.difference()
        if difference:
            found.append(f"unit: {UNIT} ({difference})")
        elif not Systemd(self._run).status(UNIT).is_enabled:
            found.append(f"enable: {UNIT}")
        return found

    def check(self, text: str) -> str | None:
        """What nft itself says against a text, without loading it; None when nothing, or when it is not installed yet."""
        if not os.path.exists(NFT):
            return None
        trial = f"{self._directory}/.check.nft" if os.path.isdir(self._directory) else f"/run/private-llm-firewall-{os.getpid()}.nft"
        write_atomically(trial, text.encode(), 0o600, 0, 0)
        try:
            status, output, error = self._run([NFT, "-c", "-f", trial])
        finally:
            os.unlink(trial)
        return None if status == 0 else (error or output).strip()

    # -- what is done -------------------------------------------------------------------------------------------------

    def apply(self, text: str, seconds: int) -> str:
        """Load a text for so many seconds; returns the token that confirms it. :raises CommandFailed: when nothing was loaded."""
        token = secrets.token_hex(8)
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        os.chmod(self._directory, 0o700)
        if self._unit.difference():
            self._unit.apply()
            Systemd(self._run).reload()
        Systemd(self._run).enable(UNIT)
        with self._alone():
            pending = self._pending(token)
            write_atomically(pending, text.encode(), 0o600, 0, 0)
            # The way back first. Those of runs that died come after it, or for a moment there would be none.
            must(self._run, [
                "systemd-run", "--quiet", "--collect", f"--unit={RETURN_UNIT}-{token}", f"--on-active={seconds}",
                "--timer-property=AccuracySec=1s", "/bin/sh", "-c", return_script(self._directory, token, self._lock),
            ])  # fmt: skip
            for path in set(glob.glob(f"{self._directory}/pending-*.nft")) - {pending}:
                os.unlink(path)
            status, output, error = self._run([NFT, "-f", pending])
            if status != 0:
                os.unlink(pending)
                self._end_timer(token)
                raise CommandFailed(f"nft does not take the rules, and nothing was loaded: {(error or output).strip()}")
        return token

    def confirm(self, token: str) -> None:
        """Keep what was loaded. :raises TooLate: when the timer, or another run, was faster."""
        with self._alone():
            # A second time by the same run, when the answer to the first one was lost on its way.
            if self._read(self._loaded).partition(" ")[2] != token:
                if not os.path.exists(self._pending(token)):
                    raise TooLate
                os.rename(self._pending(token), self._rules)
                write_atomically(self._loaded, f"{self.live()} {token}".encode(), 0o600, 0, 0)
        self._end_timer(token)
        Systemd(self._run).restart(UNIT)

    def is_there(self) -> bool:
        """Whether anything of the table is left on this host."""
        return bool(self.live()) or os.path.exists(self._directory) or os.path.exists(self._unit.path)

    def remove(self) -> None:
        """Take the table away, and what would load it again."""
        with self._alone():
            systemd = Systemd(self._run)
            if os.path.exists(self._unit.path):
                systemd.disable(UNIT)
                systemd.stop(UNIT)
                os.unlink(self._unit.path)
                systemd.reload()
            remove_tree(self._directory)
            if self.live():
                must(self._run, [NFT, "delete", "table", "inet", TABLE])

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _pending(self, token: str) -> str:
        return f"{self._directory}/pending-{token}.nft"

    def _end_timer(self, token: str) -> None:
        # One that has fired already finds nothing to do, and is gone.
        self._run(["systemctl", "stop", f"{RETURN_UNIT}-{token}.timer"])

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with open(self._lock, "w", encoding="ascii") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _read(path: str) -> str:
        try:
            with open(path, encoding="utf-8") as stream:
                return stream.read()
        except FileNotFoundError:
            return ""


def description_of(parameters: dict[str, Any]) -> dict[str, Any]:
    """The part of a module's parameters that describes the rules."""
    return {name: value for name, value in parameters.items() if name not in ("state", "confirm_timeout", "confirm_token")}
