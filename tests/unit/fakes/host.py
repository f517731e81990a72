# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with systemd and Docker, as far as the service modules talk to them; files are real, below a temporary directory."""

from __future__ import annotations

import json
import re
from pathlib import Path


class FakeHost:
    """Answers the commands of the service modules, and remembers each of them in ``commands``."""

    def __init__(self, units: Path) -> None:
        self.units = units
        self.commands: list[list[str]] = []
        self.images: dict[str, dict] = {}
        self.registry: dict[str, str] = {}
        self.networks: dict[str, dict] = {}
        self.active: dict[str, str] = {}
        self.enabled: set[str] = set()
        self.containers: dict[str, str] = {}
        #: text that makes a unit die at its start
        self.poison = "banana"
        self.has_docker = True
        #: text that makes a unit be started again and again
        self.limp = "kiwi"
        #: the command (its first words) at which the machine dies
        self.dies_at: tuple[str, ...] | None = None

    def run(self, command):
        words = list(command)
        self.commands.append(words)
        if self.dies_at and tuple(words[: len(self.dies_at)]) == self.dies_at:
            raise KeyboardInterrupt
        if words[0] == "systemctl":
            return self._systemctl(words[1:])
        if words[0] == "/usr/bin/docker":
            return self._docker(words[1:]) if self.has_docker else (127, "", "no such program")
        return (0, "a line of its log\n", "") if words[0] == "journalctl" else (1, "", f"unknown command {words}")

    def ran(self, *start):
        """How often a command that begins so was run."""
        return sum(1 for words in self.commands if tuple(words[: len(start)]) == start)

    def _systemctl(self, words):
        verb, unit = words[0], words[-1]
        if verb == "show":
            unit = words[1]
            load = "loaded" if (self.units / unit).exists() else "not-found"
            state = "enabled" if unit in self.enabled else ""
            active = self.active.get(unit, "inactive")
            return 0, f"LoadState={load}\nActiveState={active}\nUnitFileState={state}\nMainPID=0\nNeedDaemonReload=no\nNRestarts=0\n", ""
        if verb == "enable":
            self.enabled.add(unit)
        elif verb == "disable":
            self.enabled.discard(unit)
        elif verb == "stop":
            self.active[unit] = "inactive"
            self.containers.pop(unit.removesuffix(".service"), None)
        elif verb == "restart":
            return self._start(unit)
        return 0, "", ""

    def _start(self, unit):
        text = (self.units / unit).read_text()
        if self.poison in text:
            self.active[unit] = "failed"
            return 1, "", f"Job for {unit} failed."
        self.active[unit] = "activating" if self.limp in text else "active"
        label = re.search(r"private_llm\.platform\.fingerprint=(\w+)", text)
        if label:
            self.containers[unit.removesuffix(".service")] = label.group(1)
        return 0, "", ""

    def _docker(self, words):
        if words[:2] == ["image", "inspect"]:
            return self._found(self.images.get(words[2]))
        if words[0] == "pull":
            image = words[-1]
            if image not in self.registry:
                return 1, "", "manifest unknown"
            self.images[image] = {"Id": "sha256:" + self.registry[image], "RepoDigests": []}
            return 0, "", ""
        if words[:2] == ["network", "inspect"]:
            return self._found(self.networks.get(words[2]))
        if words[:2] == ["network", "create"]:
            options = dict(w.split("=", 1) for w in words if w.startswith("com.docker"))
            subnet = words[words.index("--subnet") + 1] if "--subnet" in words else None
            self.networks[words[-1]] = {"IPAM": {"Config": [{"Subnet": subnet}]}, "Options": options, "Internal": "--internal" in words}
            return 0, "", ""
        if words[:2] == ["container", "inspect"]:
            if words[2] not in self.containers:
                return self._found(None)
            label = self.containers[words[2]]
            labels = {"private_llm.platform.fingerprint": label} if label else {}
            return self._found({"State": {"Running": True}, "Config": {"Labels": labels}})
        return 1, "", f"unknown docker command {words}"

    @staticmethod
    def _found(what):
        return (0, json.dumps([what]), "") if what else (1, "[]", "no such thing")
