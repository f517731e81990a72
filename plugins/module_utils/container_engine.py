# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container is, and what a container engine has to be able to do, in no engine's own words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.private_llm.platform.plugins.module_utils.systemd import Section


class BadPublish(ValueError):
    """A published port that does not name its address, or is not a port."""


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
class Network:
    """A bridge network. ``masquerade`` is the way out of it: without it containers reach the host and each other only."""

    name: str
    subnet: str | None = None
    bridge: str | None = None
    internal: bool = False
    masquerade: bool = False


@dataclass(frozen=True)
class Mount:
    """A directory or file of the host inside the container."""

    source: str
    target: str
    read_only: bool = False
    #: whether file systems that come and go below it on the host do so in the container
    follows: bool = False


@dataclass(frozen=True)
class Container:
    """A container as it is to run. ``image`` is its exact reference, by digest or id."""

    name: str
    image: str
    command: Sequence[str] = ()
    entrypoint: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    environment_files: Sequence[str] = ()
    mounts: Sequence[Mount] = ()
    networks: Sequence[str] = ()
    publish: Sequence[str] = ()
    user: str | None = None
    capabilities: Sequence[str] = ()
    apparmor: str = "default"
    devices: Sequence[str] = ()
    read_only: bool = True
    tmpfs: Sequence[str] = ()
    memory: str | None = None
    shm_size: str | None = None
    cpus: float | None = None
    pids: int = 512
    ulimits: Mapping[str, str] = field(default_factory=dict)
    extra_hosts: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageStart:
    """What an image starts where nobody says otherwise."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()


@dataclass(frozen=True)
class JobEnd:
    """How a container that ran to its end did: exit status and last lines."""

    status: int
    lines: Sequence[str]


class Engine(ABC):
    """A container engine. Where none is installed (yet), everything that is asked for is simply absent."""

    #: the unit that has to run for containers to run
    unit: str

    @abstractmethod
    def environment_file(self, variables: Mapping[str, str]) -> bytes:
        """The text of a file that gives a container its environment."""

    @abstractmethod
    def image_reference(self, image: str) -> str | None:
        """The exact reference of an image that is on the host: by digest where a registry gave one, else its id."""

    @abstractmethod
    def image_start(self, image: str) -> ImageStart | None:
        """What an image that is on the host starts by itself; None when it is not there."""

    @abstractmethod
    def pull(self, image: str) -> None:
        """Fetch an image. :raises CommandFailed: when no registry gives it."""

    @abstractmethod
    def has_network(self, name: str) -> bool:
        """Whether a network of this name is there."""

    @abstractmethod
    def network_conflict(self, network: Network) -> str | None:
        """What is different in a network that is there under this name, as a sentence with the remedy; None when nothing is."""

    @abstractmethod
    def create_network(self, network: Network) -> None:
        """Make a network. :raises CommandFailed: when the engine refuses."""

    @abstractmethod
    def is_unused_network(self, name: str, own: str) -> bool:
        """Whether a network that was made here is there and no container but ``own`` is in it."""

    @abstractmethod
    def remove_network(self, name: str) -> None:
        """Remove a network. :raises CommandFailed: when the engine refuses."""

    @abstractmethod
    def stranger(self, name: str) -> str | None:
        """A sentence with the remedy when a container of this name is there that was not made here; None when none is."""

    @abstractmethod
    def running_label(self, name: str) -> str | None:
        """The fingerprint on a running container, or None."""

    @abstractmethod
    def service_section(self, container: Container, label: str, stop_timeout: int) -> Section:
        """What a unit's ``[Service]`` section has to say so that the unit is the container's life."""

    @abstractmethod
    def run_to_end(self, container: Container, label: str, timeout: int) -> JobEnd:
        """Run a container to its end, or wait for the one of this name and label that an earlier run started.

        It is left behind with what it says of its end, until :meth:`remove`; after an error none is.

        :param timeout: seconds after which it is stopped.
        :raises CommandFailed: when it cannot be started or does not end in time.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a container that has ended."""

    @abstractmethod
    def inside(self, name: str) -> list[str]:
        """The beginning of a command line that runs a command inside the container."""

    @abstractmethod
    def log_matches(self, name: str) -> list[str]:
        """What ``journalctl`` is asked for to see what the container's program wrote."""

    @abstractmethod
    def look_further(self, name: str) -> list[str]:
        """Commands that tell more about the container."""
