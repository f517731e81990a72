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
        #: what images start by themselves, as an engine tells it
        self.starts: dict[str, list[str]] = {}
        self.registry: dict[str, str] = {}
        self.networks: dict[str, dict] = {}
        self.active: dict[str, str] = {}
        self.enabled: set[str] = set()
        #: label of each running container
        self.containers: dict[str, str] = {}
        #: image of each running container
        self.images_of: dict[str, str] = {}
        #: jobs: the command line of each that was made, in order, and the exit status that one of a name ends with
        self.jobs: list[list[str]] = []
        self.job_status: dict[str, int] = {}
        self._made: dict[str, dict] = {}
        #: counts down with each command that changes something; the machine dies when it gets to 0
        self.steps_left: int | None = None
        #: programs of the host that fail, each with what it says
        self.failing: dict[str, str] = {}
        #: text that makes a unit die at its start
        self.poison = "banana"
        self.has_docker = True
        #: units that lie elsewhere
        self.fragments: dict[str, str] = {}
        #: answers to the next requests to read files again: whether each is refused
        self.refuses_to_reload: list[bool] = []
        #: text that makes a unit be started again and again
        self.limp = "kiwi"
        #: the command (its first words) at which the machine dies
        self.dies_at: tuple[str, ...] | None = None

    def run(self, command):
        words = list(command)
        self.commands.append(words)
        if self.dies_at and tuple(words[: len(self.dies_at)]) == self.dies_at:
            raise KeyboardInterrupt
        if words[0] not in ("journalctl", "timeout") and not {"show", "inspect", "ps", "list-sockets", "logs"} & set(words[1:3]):
            self.step()
        if words[0] == "systemctl":
            return self._systemctl(words[1:])
        if words[0] == "systemd-run":
            for part in re.split(r"; | && ", words[-1]):
                _systemctl, verb, *units = part.removeprefix("exec ").split()
                for unit in units or [""]:
                    outcome = self._start(unit) if verb == "start" else self._systemctl([verb, unit])
            return outcome
        if words[0] == "timeout" and "/usr/bin/docker" in words:
            return self._docker(words[words.index("/usr/bin/docker") + 1 :])
        if words[0] == "/usr/bin/docker":
            return self._docker(words[1:]) if self.has_docker else (127, "", "no such program")
        if words[0].startswith("/opt/"):
            return (1, "", self.failing[words[0]]) if words[0] in self.failing else (0, "", "")
        return (0, "a line of its log\n", "") if words[0] == "journalctl" else (1, "", f"unknown command {words}")

    def step(self):
        """One change of the machine, which may be its last."""
        if self.steps_left is not None:
            if self.steps_left == 0:
                raise KeyboardInterrupt
            self.steps_left -= 1

    def boot(self):
        """The machine after a power cut: what is enabled is started from what is on disk."""
        self.active.clear()
        self.containers.clear()
        for unit in sorted(self.enabled):
            if (self.units / unit).exists():
                self._start(unit)

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
            fragment = self.fragments.get(unit, str(self.units / unit) if load == "loaded" else "")
            if fragment:
                load = "loaded"
            lines = [f"LoadState={load}", f"ActiveState={active}", f"UnitFileState={state}", f"FragmentPath={fragment}"]
            return 0, "\n".join([*lines, "MainPID=0", "NeedDaemonReload=no", "NRestarts=0", ""]), ""
        if verb == "enable":
            self.enabled.add(unit)
            wants = self.units / "multi-user.target.wants"
            wants.mkdir(exist_ok=True)
            (wants / unit).touch()
        elif verb == "disable":
            self.enabled.discard(unit)
            (self.units / "multi-user.target.wants" / unit).unlink(missing_ok=True)
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
            missing = [path for path in re.findall(r"source=([^,]+/files/[^,]+),|--env-file (\S+)", text) for path in path if path and not Path(path).exists()]
            assert not missing, f"{unit} would start without {missing}"
        return 0, "", ""

    def _docker(self, words):
        if words[:2] == ["image", "inspect"]:
            return self._found(self.images.get(words[2]))
        if words[0] == "pull":
            image = words[-1]
            if image not in self.registry:
                return 1, "", "manifest unknown"
            self.images[image] = {"Id": "sha256:" + self.registry[image], "RepoDigests": [], "Config": self.starts}
            return 0, "", ""
        if words[:2] == ["network", "inspect"]:
            return self._found(self.networks.get(words[2]))
        if words[:2] == ["network", "create"]:
            options = dict(w.split("=", 1) for w in words if w.startswith("com.docker"))
            subnet = words[words.index("--subnet") + 1] if "--subnet" in words else None
            shape = {"IPAM": {"Config": [{"Subnet": subnet}]}, "Options": options, "Internal": "--internal" in words}
            self.networks[words[-1]] = {**shape, "Labels": {"private_llm.platform": "1"}, "Containers": {}}
            return 0, "", ""
        if words[:2] == ["network", "rm"]:
            del self.networks[words[2]]
            return 0, "", ""
        if words[0] == "exec" and words[-1] == "reload-please":
            self.step()
            return (1, "", "I do not understand it") if self.refuses_to_reload and self.refuses_to_reload.pop(0) else (0, "", "")
        if words[0] == "exec":
            return (0, "", "") if words[1] in self.containers else (1, "", "no such container")
        if words[0] in ("create", "start", "wait", "logs", "rm", "stop"):
            return self._job(words)
        if words[:2] == ["container", "inspect"] and words[2] in self._made:
            return self._found(self._made[words[2]])
        if words[:2] == ["container", "inspect"]:
            if words[2] not in self.containers:
                return self._found(None)
            label = self.containers[words[2]]
            labels = {"private_llm.platform.fingerprint": label} if label else {}
            return self._found({"State": {"Running": True}, "Config": {"Labels": labels}})
        return 1, "", f"unknown docker command {words}"

    def _job(self, words):
        """Containers that are made outside of units."""
        name = words[words.index("--name") + 1] if words[0] == "create" else words[-1]
        if words[0] == "create":
            label = next(word.partition("=")[2] for word in words if word.startswith("private_llm.platform.fingerprint="))
            self.jobs.append(words)
            state = {"Running": False, "Status": "created", "ExitCode": 0}
            self._made[name] = {"State": state, "Config": {"Labels": {"private_llm.platform.fingerprint": label}}}
        elif words[0] == "start":
            status = self.job_status.get(name, 0)
            self._made[name]["State"] = {"Running": False, "Status": "exited", "ExitCode": status}
        elif words[0] == "wait":
            return 0, f"{self._made[name]['State']['ExitCode']}\n", ""
        elif words[0] == "logs":
            return 0, "a line of the job\n", ""
        elif words[0] == "rm":
            self._made.pop(name, None)
        return 0, "", ""

    @staticmethod
    def _found(what):
        return (0, json.dumps([what]), "") if what else (1, "[]", "no such thing")
