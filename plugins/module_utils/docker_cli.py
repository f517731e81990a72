# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker command line: the only place that knows it, so that another engine can stand beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.systemd import CommandFailed, Runner, must

DOCKER = "/usr/bin/docker"
LABEL = "private_llm.platform.fingerprint"


class BadPublish(ValueError):
    """A published port that does not name its address, or is not a port."""


@dataclass(frozen=True)
class Network:
    """A bridge network. ``masquerade`` is the way out of it: without it containers reach the host and each other only."""

    name: str
    subnet: str | None = None
    bridge: str | None = None
    internal: bool = False
    masquerade: bool = False

    def create_arguments(self) -> list[str]:
        """The arguments of ``docker network create``."""
        words = ["network", "create", "--driver", "bridge", "--label", "private_llm.platform=1"]
        if self.subnet:
            words += ["--subnet", self.subnet]
        if self.bridge:
            words += ["--opt", f"com.docker.network.bridge.name={self.bridge}"]
        if self.internal:
            words.append("--internal")
        words += ["--opt", f"com.docker.network.bridge.enable_ip_masquerade={str(self.masquerade).lower()}"]
        return [*words, self.name]

    def conflict(self, found: Mapping[str, Any]) -> str | None:
        """What differs in a network that is there under this name, or None."""
        subnets = [entry.get("Subnet") for entry in (found.get("IPAM") or {}).get("Config") or []]
        options = found.get("Options") or {}
        if self.subnet and self.subnet not in subnets:
            return f"subnet is {', '.join(map(str, subnets)) or 'unset'}, wanted {self.subnet}"
        if self.bridge and options.get("com.docker.network.bridge.name") != self.bridge:
            return f"bridge device is {options.get('com.docker.network.bridge.name')}, wanted {self.bridge}"
        if bool(found.get("Internal")) != self.internal:
            return f"internal is {found.get('Internal')}, wanted {self.internal}"
        masquerades = options.get("com.docker.network.bridge.enable_ip_masquerade", "true") == "true"
        return None if masquerades == self.masquerade else f"masquerade is {masquerades}, wanted {self.masquerade}"


@dataclass(frozen=True)
class Mount:
    """A directory or file of the host inside the container."""

    source: str
    target: str
    read_only: bool = False

    def argument(self) -> str:
        """The value of ``--mount``."""
        return f"type=bind,source={self.source},target={self.target}" + (",readonly" if self.read_only else "")


def parse_publish(text: str) -> tuple[str, int, int]:
    """``ADDRESS:HOST_PORT:CONTAINER_PORT`` (IPv6 in brackets) in its three parts.

    :raises BadPublish: when the address is missing: a bare port would listen on every address of the host.
    """
    rest, _separator, container_port = text.rpartition(":")
    address, _separator, host_port = rest.rpartition(":")
    if not address or not host_port.isdigit() or not container_port.isdigit():
        raise BadPublish(f"publish '{text}' must be ADDRESS:HOST_PORT:CONTAINER_PORT, for instance 127.0.0.1:8080:80")
    return address.strip("[]"), int(host_port), int(container_port)


@dataclass(frozen=True)
class Container:
    """Everything that ``docker create`` is told."""

    name: str
    image: str
    command: Sequence[str] = ()
    entrypoint: str | None = None
    environment_files: Sequence[str] = ()
    mounts: Sequence[Mount] = ()
    networks: Sequence[str] = ()
    publish: Sequence[str] = ()
    user: str | None = None
    capabilities: Sequence[str] = ()
    devices: Sequence[str] = ()
    read_only: bool = True
    tmpfs: Sequence[str] = ()
    memory: str | None = None
    cpus: float | None = None
    pids: int = 512
    ulimits: Mapping[str, str] | None = None
    extra_hosts: Mapping[str, str] | None = None

    def create_arguments(self, image: str, label: str) -> list[str]:
        """The command line that makes the container; networks beyond the first are connected before it starts."""
        words = [DOCKER, "create", "--name", self.name, "--hostname", self.name, "--pull", "never"]
        words += ["--label", f"{LABEL}={label}", "--log-driver", "journald", "--log-opt", "tag={{.Name}}"]
        words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", str(self.pids)]
        words += [w for name in self.capabilities for w in ("--cap-add", name)]
        words += ["--read-only"] if self.read_only else []
        words += [w for mount in self.tmpfs for w in ("--tmpfs", mount)]
        words += ["--memory", self.memory, "--memory-swap", self.memory] if self.memory else []
        words += ["--cpus", str(self.cpus)] if self.cpus else []
        words += ["--user", self.user] if self.user else []
        words += [w for device in self.devices for w in ("--device", device)]
        words += [w for name, value in sorted((self.ulimits or {}).items()) for w in ("--ulimit", f"{name}={value}")]
        words += [w for name, address in sorted((self.extra_hosts or {}).items()) for w in ("--add-host", f"{name}:{address}")]
        words += [w for path in self.environment_files for w in ("--env-file", path)]
        words += [w for mount in self.mounts for w in ("--mount", mount.argument())]
        words += ["--network", self.networks[0] if self.networks else "none"]
        words += [w for port in self.publish for w in ("--publish", port)]
        words += ["--entrypoint", self.entrypoint] if self.entrypoint else []
        return [*words, image, *self.command]


def environment_file(variables: Mapping[str, str]) -> bytes:
    """The text of a ``--env-file``, sorted. The format cannot hold line breaks: container_checks refuses them."""
    return "".join(f"{name}={variables[name]}\n" for name in sorted(variables)).encode()


class DockerCli:
    """Questions and requests to the engine. Where no engine is (yet), everything is simply absent."""

    def __init__(self, run: Runner) -> None:
        self._run = run

    def _inspect(self, kind: str, name: str) -> dict[str, Any] | None:
        status, output, _error = self._run([DOCKER, kind, "inspect", name])
        found = json.loads(output) if status == 0 and output.strip() else []
        return dict(found[0]) if found else None

    def image_reference(self, image: str) -> str | None:
        """The exact reference of an image that is on the host: by digest where a registry gave one, else its id."""
        found = self._inspect("image", image)
        if found is None:
            return None
        repository = image.split("@")[0]
        if ":" in repository.rsplit("/", 1)[-1]:
            repository = repository.rpartition(":")[0]
        exact = sorted(d for d in found.get("RepoDigests") or [] if d.split("@")[0] == repository)
        return str(exact[0] if exact else found["Id"])

    def pull(self, image: str) -> None:
        """Fetch an image. :raises CommandFailed: when no registry gives it."""
        status, output, error = self._run([DOCKER, "pull", "--quiet", image])
        if status != 0:
            raise CommandFailed(
                f"image {image} is not on this host and cannot be pulled: {(error or output).strip()}; "
                "check the name, the registry and this host's way to it, or load the image with 'docker load'"
            )

    def network(self, name: str) -> dict[str, Any] | None:
        """What a network is, or None."""
        return self._inspect("network", name)

    def create_network(self, network: Network) -> None:
        """Make a network. :raises CommandFailed: when the engine refuses."""
        must(self._run, [DOCKER, *network.create_arguments()])

    def is_foreign(self, name: str) -> bool:
        """Whether a container of this name is there that carries no fingerprint."""
        found = self._inspect("container", name)
        return found is not None and LABEL not in (found["Config"].get("Labels") or {})

    def running_label(self, name: str) -> str | None:
        """The fingerprint on a running container, or None."""
        found = self._inspect("container", name)
        if found is None or not found["State"]["Running"]:
            return None
        label = (found["Config"].get("Labels") or {}).get(LABEL)
        return None if label is None else str(label)
