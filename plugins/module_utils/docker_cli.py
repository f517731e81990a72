# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker by its command line: the only place that knows it, so that another engine can stand beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.container_engine import (
    Container,
    Engine,
    ImageStart,
    JobEnd,
    Mount,
    Network,
)
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import CommandFailed, Runner, Section, command_line, must

DOCKER = "/usr/bin/docker"
LABEL = "private_llm.platform.fingerprint"
NETWORK_LABEL = "private_llm.platform"
START_SECONDS = 120
STOP_MARGIN_SECONDS = 20
JOB_STOP_SECONDS = 30
JOB_LOG_LINES = "20"
# The exit status of timeout(1) when it had to end the command.
TIMED_OUT = 124


def mount_argument(mount: Mount) -> str:
    """The value of ``--mount``."""
    options = (",readonly" if mount.read_only else "") + (",bind-propagation=rslave" if mount.follows else "")
    return f"type=bind,source={mount.source},target={mount.target}{options}"


def network_arguments(network: Network) -> list[str]:
    """The arguments of ``docker network create``."""
    words = ["network", "create", "--driver", "bridge", "--label", f"{NETWORK_LABEL}=1"]
    if network.subnet:
        words += ["--subnet", network.subnet]
    if network.bridge:
        words += ["--opt", f"com.docker.network.bridge.name={network.bridge}"]
    if network.internal:
        words.append("--internal")
    words += ["--opt", f"com.docker.network.bridge.enable_ip_masquerade={str(network.masquerade).lower()}"]
    return [*words, network.name]


def network_difference(network: Network, found: Mapping[str, Any]) -> str | None:
    """What differs in a network that is there under this name, or None."""
    subnets = [entry.get("Subnet") for entry in (found.get("IPAM") or {}).get("Config") or []]
    options = found.get("Options") or {}
    if network.subnet and network.subnet not in subnets:
        return f"subnet is {', '.join(map(str, subnets)) or 'unset'}, wanted {network.subnet}"
    if network.bridge and options.get("com.docker.network.bridge.name") != network.bridge:
        return f"bridge device is {options.get('com.docker.network.bridge.name')}, wanted {network.bridge}"
    if bool(found.get("Internal")) != network.internal:
        return f"internal is {found.get('Internal')}, wanted {network.internal}"
    masquerades = options.get("com.docker.network.bridge.enable_ip_masquerade", "true") == "true"
    return None if masquerades == network.masquerade else f"masquerade is {masquerades}, wanted {network.masquerade}"


def create_arguments(container: Container, label: str) -> list[str]:
    """The command line that makes a container; networks beyond the first are connected before it starts."""
    labels = {LABEL: label, **container.labels}
    words = [DOCKER, "create", "--name", container.name, "--hostname", container.name, "--pull", "never"]
    words += [w for name, value in sorted(labels.items()) for w in ("--label", f"{name}={value}")]
    words += ["--log-driver", "journald", "--log-opt", "tag={{.Name}}"]
    words += ["--log-opt", f"labels={','.join(sorted(container.labels))}"] if container.labels else []
    words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", str(container.pids)]
    words += [w for name in container.capabilities for w in ("--cap-add", name)]
    # Without AppArmor on the host the engine takes no notice of it.
    words += ["--security-opt", f"apparmor={container.apparmor}"] if container.apparmor != "default" else []
    words += ["--read-only"] if container.read_only else []
    words += [w for mount in container.tmpfs for w in ("--tmpfs", mount)]
    words += ["--memory", container.memory, "--memory-swap", container.memory] if container.memory else []
    words += ["--shm-size", container.shm_size] if container.shm_size else []
    words += ["--cpus", str(container.cpus)] if container.cpus else []
    words += ["--user", container.user] if container.user else []
    words += [w for device in container.devices for w in ("--device", device)]
    words += [w for name, value in sorted(container.ulimits.items()) for w in ("--ulimit", f"{name}={value}")]
    words += [w for name, address in sorted(container.extra_hosts.items()) for w in ("--add-host", f"{name}:{address}")]
    words += [w for path in container.environment_files for w in ("--env-file", path)]
    words += [w for name, value in sorted(container.environment.items()) for w in ("--env", f"{name}={value}")]
    words += [w for mount in container.mounts for w in ("--mount", mount_argument(mount))]
    words += ["--network", container.networks[0] if container.networks else "none"]
    words += [w for port in container.publish for w in ("--publish", port)]
    words += ["--entrypoint", container.entrypoint] if container.entrypoint else []
    return [*words, container.image, *container.command]


def start_commands(container: Container, label: str) -> list[list[str]]:
    """What makes the container and lets it run."""
    return [
        create_arguments(container, label),
        *([DOCKER, "network", "connect", name, container.name] for name in container.networks[1:]),
        [DOCKER, "start", container.name],
    ]


class DockerCli(Engine):
    """Docker, asked by its command line. An answer is remembered until something is changed."""

    unit = "docker.service"

    def __init__(self, run: Runner) -> None:
        self._run = run
        self._seen: dict[tuple[str, str], dict[str, Any] | None] = {}

    def _inspect(self, kind: str, name: str) -> dict[str, Any] | None:
        if (kind, name) not in self._seen:
            status, output, error = self._run([DOCKER, kind, "inspect", name])
            if "annot connect to the Docker daemon" in error:
                raise CommandFailed("the Docker Engine does not answer; look with 'systemctl status docker' and 'journalctl --unit docker'")
            found = json.loads(output) if status == 0 and output.strip() else []
            self._seen[kind, name] = dict(found[0]) if found else None
        return self._seen[kind, name]

    def _forget(self) -> None:
        self._seen.clear()

    def environment_file(self, variables: Mapping[str, str]) -> bytes:
        """The text of a ``--env-file``, sorted. The format cannot hold line breaks: container_checks refuses them."""
        return "".join(f"{name}={variables[name]}\n" for name in sorted(variables)).encode()

    def image_reference(self, image: str) -> str | None:
        """See :class:`Engine`."""
        found = self._inspect("image", image)
        if found is None:
            return None
        repository = image.split("@")[0]
        if ":" in repository.rsplit("/", 1)[-1]:
            repository = repository.rpartition(":")[0]
        # The engine calls images of Docker Hub by their short names.
        names = {repository, repository.removeprefix("docker.io/"), repository.removeprefix("docker.io/library/")}
        exact = sorted(d for d in found.get("RepoDigests") or [] if d.split("@")[0] in names)
        return str(exact[0] if exact else found["Id"])

    def image_start(self, image: str) -> ImageStart | None:
        """See :class:`Engine`."""
        found = self._inspect("image", image)
        if found is None:
            return None
        config = found.get("Config") or {}
        return ImageStart(tuple(config.get("Entrypoint") or ()), tuple(config.get("Cmd") or ()))

    def pull(self, image: str) -> None:
        """See :class:`Engine`."""
        self._forget()
        status, output, error = self._run([DOCKER, "pull", "--quiet", image])
        if status != 0:
            raise CommandFailed(
                f"image {image} is not on this host and cannot be pulled: {(error or output).strip()}; "
                "check the name, the registry and this host's way to it, or load the image with 'docker load'"
            )

    def has_network(self, name: str) -> bool:
        """See :class:`Engine`."""
        return self._inspect("network", name) is not None

    def network_conflict(self, network: Network) -> str | None:
        """See :class:`Engine`."""
        found = self._inspect("network", network.name)
        conflict = None if found is None else network_difference(network, found)
        if conflict is None:
            return None
        remedy = f"stop what uses it, remove it with 'docker network rm {network.name}' and run again"
        return f"network {network.name} is not as wanted: {conflict}; {remedy}"

    def create_network(self, network: Network) -> None:
        """See :class:`Engine`."""
        self._forget()
        must(self._run, [DOCKER, *network_arguments(network)])

    def is_unused_network(self, name: str, own: str) -> bool:
        """See :class:`Engine`."""
        found = self._inspect("network", name)
        if found is None or NETWORK_LABEL not in (found.get("Labels") or {}):
            return False
        return all(member.get("Name") == own for member in (found.get("Containers") or {}).values())

    def remove_network(self, name: str) -> None:
        """See :class:`Engine`."""
        self._forget()
        must(self._run, [DOCKER, "network", "rm", name])

    def stranger(self, name: str) -> str | None:
        """See :class:`Engine`."""
        found = self._inspect("container", name)
        if found is None or LABEL in (found["Config"].get("Labels") or {}):
            return None
        remedy = f"remove it with 'docker rm --force {name}', or give this service another name"
        return f"There is a container called {name} that this collection did not make; {remedy}."

    def running_label(self, name: str) -> str | None:
        """See :class:`Engine`."""
        # Never from memory: containers come and go by themselves.
        self._seen.pop(("container", name), None)
        found = self._inspect("container", name)
        if found is None or not found["State"]["Running"]:
            return None
        label = (found["Config"].get("Labels") or {}).get(LABEL)
        return None if label is None else str(label)

    def service_section(self, container: Container, label: str, stop_timeout: int) -> Section:
        """See :class:`Engine`; docs/decisions/container-units.md says why it is made of create, start and wait."""
        name = container.name
        # Most of the time there is none, which is nothing to complain of.
        remove = command_line(["/bin/sh", "-c", f"exec {DOCKER} rm --force {name} 2>/dev/null"], prefix="-")
        return {
            "Type": "exec",
            # Names and numbers of containers are no news; what the engine refuses comes by the other stream.
            "StandardOutput": "null",
            "StandardError": "journal",
            "ExecStartPre": [remove, *map(command_line, start_commands(container, label))],
            # Ends when the container does, with its status. One process, so that nothing stays behind if it is killed; its output is
            # thrown away, for Docker's driver has already brought it to the journal.
            "ExecStart": command_line(["/bin/sh", "-c", f"exec {DOCKER} attach --no-stdin --sig-proxy=false {name} >/dev/null 2>&1"]),
            "ExecStop": command_line([DOCKER, "stop", "-t", str(stop_timeout), name]),
            "ExecStopPost": remove,
            "SuccessExitStatus": "0 130 137 143",
            "TimeoutStartSec": START_SECONDS,
            "TimeoutStopSec": stop_timeout + STOP_MARGIN_SECONDS,
        }

    def run_to_end(self, container: Container, label: str, timeout: int) -> JobEnd:
        """See :class:`Engine`."""
        self._forget()
        if not self._is_under_way(container.name, label, timeout):
            for command in start_commands(container, label):
                self._start(container.name, command)
        status, output, error = self._run(["timeout", str(timeout), DOCKER, "wait", container.name])
        if status == TIMED_OUT:
            self._run([DOCKER, "stop", "-t", str(JOB_STOP_SECONDS), container.name])
        _status, log, log_error = self._run([DOCKER, "logs", "--tail", JOB_LOG_LINES, container.name])
        lines = (log + log_error).splitlines()
        if status != 0:
            self.remove(container.name)
            why = f"did not end within {timeout} s" if status == TIMED_OUT else (error or output).strip()
            raise CommandFailed(f"the container {container.name} {why}; its last lines: {' | '.join(lines) or '(none)'}")
        return JobEnd(int(output), lines)

    def _start(self, name: str, command: list[str]) -> None:
        try:
            must(self._run, command)
        except CommandFailed:
            self._run([DOCKER, "rm", "--force", name])
            raise

    def _is_under_way(self, name: str, label: str, timeout: int) -> bool:
        """Whether an earlier run started this very container; one of another label is waited for and removed."""
        found = self._inspect("container", name)
        stranger = self.stranger(name)
        if stranger:
            raise CommandFailed(stranger.rstrip("."))
        if found is None:
            return False
        state = found["State"]
        if (found["Config"].get("Labels") or {}).get(LABEL) == label and (state["Running"] or (state["Status"], state["ExitCode"]) == ("exited", 0)):
            return True
        if state["Running"]:
            self._run(["timeout", str(timeout), DOCKER, "wait", name])
        must(self._run, [DOCKER, "rm", "--force", name])
        return False

    def remove(self, name: str) -> None:
        """See :class:`Engine`."""
        self._forget()
        must(self._run, [DOCKER, "rm", "--force", name])

    def inside(self, name: str) -> list[str]:
        """See :class:`Engine`."""
        return [DOCKER, "exec", name]

    def log_matches(self, name: str) -> list[str]:
        """See :class:`Engine`."""
        return [f"CONTAINER_NAME={name}"]

    def look_further(self, name: str) -> list[str]:
        """See :class:`Engine`."""
        return [f"journalctl CONTAINER_NAME={name}", f"systemctl status {name}", f"docker inspect {name}"]
