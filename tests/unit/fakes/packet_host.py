# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host whose kernel holds one table, as far as the firewall talks to nft and systemd; files are real, below a temporary directory."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.private_llm.platform.plugins.module_utils.firewall_host import FirewallHost


class PacketHost:
    """Answers the commands of the firewall module. The timers that it was asked for run when ``time_passes``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.table: str | None = None
        self.timers: dict[str, str] = {}
        self.enabled = False
        #: counts down with each command that changes something; the run dies when it gets to 0
        self.steps_left: int | None = None
        self.steps = 0
        #: text that nft does not take
        self.poison = "banana"
        units = directory / "units"
        units.mkdir()
        self.firewall = FirewallHost(self.run, str(directory / "firewall"), str(directory / "lock"), str(units))

    @property
    def rules(self) -> Path:
        return self.directory / "firewall" / "rules.nft"

    def run(self, command):
        words = list(command)
        if words[:3] == ["/usr/sbin/nft", "-s", "list"]:
            return (0, self.table, "") if self.table else (1, "", "No such file or directory")
        if words[:2] == ["systemctl", "show"]:
            return 0, f"LoadState=loaded\nActiveState=active\nUnitFileState={'enabled' if self.enabled else ''}\n", ""
        self.steps += 1
        if self.steps_left is not None:
            if self.steps_left == 0:
                raise KeyboardInterrupt
            self.steps_left -= 1
        if words[0] == "/usr/sbin/nft":
            return self._nft(words[1:])
        if words[0] == "systemd-run":
            unit = next(word for word in words if word.startswith("--unit=")).partition("=")[2]
            self.timers[unit] = words[-1]
        elif words[1] in ("enable", "disable"):
            self.enabled = words[1] == "enable"
        elif words[1] == "stop":
            self.timers.pop(words[2].removesuffix(".timer"), None)
        elif words[1] == "restart":
            return self._nft(["-f", str(self.rules)])
        return 0, "", ""

    def _nft(self, words):
        if words[0] == "delete":
            self.table = None
            return 0, "", ""
        text = Path(words[-1]).read_text()
        if self.poison in text:
            return 1, "", "syntax error, unexpected banana"
        if "-c" not in words:
            self.table = text
        return 0, "", ""

    def time_passes(self) -> None:
        """Every timer that was set ends."""
        for script in self.timers.values():
            pending = Path(re.search(r"rm -f (\S+);", script).group(1))
            if pending.exists():
                pending.unlink()
                self._boot_rules()
        self.timers.clear()

    def loses_power(self) -> None:
        """What the kernel and systemd remember is gone; the enabled unit loads the file."""
        self.timers.clear()
        self.table = None
        self._boot_rules()

    def _boot_rules(self) -> None:
        self.table = self.rules.read_text() if self.rules.exists() else None
