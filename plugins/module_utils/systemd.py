# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd units: their text, and the few things that are asked of systemd."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

UNIT_DIRECTORY = "/etc/systemd/system"
HEADER = "# Written by private_llm.platform; changes made here are undone by the next run.\n"

# Runs a script as a unit of its own, which goes on when whoever asked for it is gone.
BY_ITSELF = ("systemd-run", "--wait", "--collect", "--quiet", "--pipe", "/bin/sh", "-c")

Runner = Callable[[Sequence[str]], tuple[int, str, str]]
Section = dict[str, Any]


class CommandFailed(Exception):
    """A command that should have worked did not; the text says which and why."""


def must(run: Runner, command: Sequence[str]) -> str:
    """Run a command and return its output. :raises CommandFailed: on a non-zero exit status."""
    status, output, error = run(command)
    if status != 0:
        raise CommandFailed(f"'{' '.join(command[:3])}' failed with exit status {status}: {(error or output).strip().rstrip('.')}")
    return output


def quote(word: str) -> str:
    """One word of a command line in a unit: specifiers, variables and quotes are taken literally."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$").replace("\n", "\\n")
    return f'"{escaped}"' if not escaped or any(c in escaped for c in " \t\"'\\;") else escaped


def command_line(words: Sequence[str], prefix: str = "") -> str:
    """A command line for ``ExecStart=`` and its relatives; the prefix (``-``, ``+``) belongs to the program's path."""
    return prefix + " ".join(quote(word) for word in words)


def environment_value(name: str, value: str) -> str:
    """One assignment for ``Environment=``."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{name}={escaped}"'


def environment_file(variables: Mapping[str, str]) -> bytes:
    """The text of a systemd ``EnvironmentFile=``, sorted, each value quoted."""

    def quoted(value: str) -> str:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
        return f'"{escaped}"'

    return "".join(f"{name}={quoted(variables[name])}\n" for name in sorted(variables)).encode()


def render(sections: Mapping[str, Mapping[str, str | Sequence[str] | bool | int]], header: str = HEADER) -> str:
    """The text of a unit; a list gives one line an entry, an empty section is left out."""
    lines: list[str] = [header]
    for section, directives in sections.items():
        if not directives:
            continue
        lines.append(f"[{section}]\n")
        for name, value in directives.items():
            values = value if isinstance(value, (list, tuple)) else [value]
            for item in values:
                text = {True: "yes", False: "no"}[item] if isinstance(item, bool) else str(item)
                if any(c in text for c in "\n\r\0"):
                    raise CommandFailed(f"{name} of the unit would hold a line break, which ends a directive")
                lines.append(f"{name}={text}\n")
        lines.append("\n")
    return "".join(lines).rstrip("\n") + "\n"


def enabled_units(directory: str) -> set[str]:
    """Names of the services that are started at boot because of a link below a directory of units."""
    return {os.path.basename(path) for path in glob.glob(f"{directory}/*.wants/*.service")}


@dataclass(frozen=True)
class UnitStatus:
    """What systemd says of a unit."""

    load: str
    active: str
    enabled: str
    main_pid: int
    needs_reload: bool
    restarts: int
    #: the file that the unit was read from
    fragment: str = ""

    @property
    def is_active(self) -> bool:
        """Whether the unit runs or is on its way up."""
        return self.active in ("active", "activating", "reloading")

    @property
    def is_enabled(self) -> bool:
        """Whether the unit is started at boot."""
        return self.enabled.startswith("enabled")


class Systemd:
    """systemctl, as far as a service needs it."""

    def __init__(self, run: Runner) -> None:
        self._run = run

    def status(self, unit: str) -> UnitStatus:
        """Read a unit's state; a unit that does not exist is simply inactive."""
        names = ("LoadState", "ActiveState", "UnitFileState", "MainPID", "NeedDaemonReload", "NRestarts", "FragmentPath")
        _status, output, _error = self._run(["systemctl", "show", unit, "--property", ",".join(names)])
        found = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
        return UnitStatus(
            load=found.get("LoadState", "not-found"),
            active=found.get("ActiveState", "inactive"),
            enabled=found.get("UnitFileState", ""),
            main_pid=int(found.get("MainPID") or 0),
            needs_reload=found.get("NeedDaemonReload") == "yes",
            restarts=int(found.get("NRestarts") or 0),
            fragment=found.get("FragmentPath", ""),
        )

    def reload(self) -> None:
        """Make systemd read its unit files again."""
        must(self._run, ["systemctl", "daemon-reload"])

    def enable(self, unit: str) -> None:
        """Start the unit at boot from now on."""
        must(self._run, ["systemctl", "enable", "--quiet", unit])

    def disable(self, unit: str) -> None:
        """Do not start the unit at boot any more."""
        must(self._run, ["systemctl", "disable", "--quiet", unit])

    def restart(self, unit: str, companions: Sequence[str] = ()) -> None:
        """Start the unit anew; earlier failures are forgotten, so that a start limit cannot refuse it.

        :param companions: units that are in its way while they run (the service of a socket); stopped first.
        :raises CommandFailed: when it does not start.
        """
        self._run(["systemctl", "reset-failed", unit])
        running = [companion for companion in companions if self.status(companion).is_active]
        if running:
            # By systemd itself, so that nobody can die between the two halves.
            script = f"systemctl stop {' '.join([unit, *running])} && exec systemctl start {unit}"
            self._started(self._run([*BY_ITSELF, script]))
        else:
            self._started(self._run(["systemctl", "restart", unit]))

    @staticmethod
    def _started(outcome: tuple[int, str, str]) -> None:
        status, _output, error = outcome
        if status != 0:
            # The rest of what systemctl says is where to look, which is told with the log.
            raise CommandFailed(f"it does not start: {(error.strip() or f'exit status {status}').splitlines()[0].rstrip('.')}")

    def stop(self, unit: str) -> None:
        """Stop the unit and wait for its end."""
        must(self._run, ["systemctl", "stop", unit])
        # A program that ended badly when it was told to would be remembered as failed, even without a unit.
        self._run(["systemctl", "reset-failed", unit])

    def replace(self, unit: str, companions: Sequence[str] = ()) -> None:
        """Stop what runs by the unit that systemd knows, read the units again and start: one piece of work of systemd's own.

        Nobody can die between its parts, and the program that goes is stopped as its own unit says.

        :raises CommandFailed: when it does not start.
        """
        script = f"systemctl stop {' '.join([unit, *companions])}; systemctl reset-failed {unit}; systemctl daemon-reload && exec systemctl start {unit}"
        self._started(self._run([*BY_ITSELF, script]))
