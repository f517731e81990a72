"""The container registry that the test hosts pull from, and what is pushed to it."""

from __future__ import annotations

import fcntl
import json
import socket
import ssl
import struct
import time
import urllib.error
import urllib.request
from pathlib import Path

from lab.certificates import REGISTRY_NAME, Certificates
from lab.context import OWNER_LABEL, Lab, LabError, digest_of
from lab.images import PREFIX, image_id
from lab.steps import Step

CONTAINER = "private-llm-lab-registry"
IMAGE = f"{PREFIX}/registry:current"
PORT = 5000
SIOCGIFADDR = 0x8915
FINGERPRINT_LABEL = "private-llm-lab.fingerprint"
MANIFEST_TYPES = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


def is_free(address: str, port: int) -> bool:
    """Whether a port of one address can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def address_of_device(device: str) -> str | None:
    """The IPv4 address of a network device of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", device.encode()[:15]))
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])


def free_port(address: str, preferred: int) -> int:
    """The preferred port, or one that the kernel names."""
    if is_free(address, preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


class Registry(Step):
    """A container on two named addresses: the loopback, where the engine pushes, and its bridge, where the hosts pull."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, "registry", needs=("image registry", "certificates"))
        self.certificates = Certificates(lab)
        self.data = lab.home / "registry"

    def fingerprint(self) -> str:
        return digest_of(image_id(self.lab, IMAGE) or "", self.certificates.certificate.read_bytes(), self.bridge_address())

    def is_present(self) -> bool:
        return self._runs_as_wanted() and self.push_port() is not None and self._answers(timeout=2)

    def describe(self) -> str:
        return f"already running (127.0.0.1:{self.push_port()})"

    def make(self) -> None:
        self.lab.docker_attempt("rm", "--force", "--volumes", CONTAINER)
        bridge = self.bridge_address()
        if not is_free(bridge, PORT):
            raise LabError(f"Port {PORT} of {bridge}, where the test hosts look for their registry, is taken; free it and run this again.")
        self.data.mkdir(parents=True, exist_ok=True)
        tls = "/etc/docker/registry/tls"
        self.lab.docker(
            "run",
            "--detach",
            "--name",
            CONTAINER,
            "--label",
            OWNER_LABEL,
            "--label",
            f"{FINGERPRINT_LABEL}={self.fingerprint()}",
            "--restart",
            "unless-stopped",
            "--read-only",
            "--cap-drop",
            "ALL",
            "--cap-add",
            "DAC_OVERRIDE",
            "--security-opt",
            "no-new-privileges",
            "--publish",
            f"127.0.0.1:{free_port('127.0.0.1', PORT)}:{PORT}",
            "--publish",
            f"{bridge}:{PORT}:{PORT}",
            "--mount",
            f"type=bind,source={self.data},target=/var/lib/registry",
            "--mount",
            f"type=bind,source={self.certificates.certificate},target={tls}/registry.crt,readonly",
            "--mount",
            f"type=bind,source={self.certificates.key},target={tls}/registry.key,readonly",
            IMAGE,
            failure="The registry's container could not be started",
        )
        if not self._answers(timeout=30):
            raise LabError(f"The registry was started but does not answer; look with `docker logs {CONTAINER}`.")

    def bridge_address(self) -> str:
        """The engine's own address on its default network: what `host-gateway` means inside a container."""
        question = '{{index .Options "com.docker.network.bridge.name"}} {{range .IPAM.Config}}{{.Gateway}} {{end}}'
        device, *gateways = self.lab.docker("network", "inspect", "bridge", "--format", question).split() or ["docker0"]
        # Older engines name no gateway; the device itself always has the address.
        for address in (*gateways, address_of_device(device)):
            if address and ":" not in address:
                return address
        raise LabError("The engine's default network has no IPv4 address on this machine; the test hosts would not find the registry.")

    def push_port(self) -> int | None:
        outcome = self.lab.docker_attempt("port", CONTAINER, f"{PORT}/tcp")
        for line in outcome.stdout.splitlines():
            address, _colon, port = line.strip().rpartition(":")
            if address == "127.0.0.1":
                return int(port)
        return None

    def _runs_as_wanted(self) -> bool:
        outcome = self.lab.docker_attempt(
            "container", "inspect", "--format", f'{{{{.State.Running}}}} {{{{index .Config.Labels "{FINGERPRINT_LABEL}"}}}}', CONTAINER
        )
        return outcome.stdout.strip() == f"true {self.fingerprint()}"

    def _answers(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while True:
            if (port := self.push_port()) is not None and ask(self.certificates.authority, port, "/v2/") is not None:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)

    def manifest(self, name: str, tag: str) -> dict[str, object] | None:
        port = self.push_port()
        body = ask(self.certificates.authority, port, f"/v2/{name}/manifests/{tag}") if port else None
        return json.loads(body) if body else None


def ask(authority: Path, port: int, path: str) -> bytes | None:
    """One question to the registry over verified TLS; None if it does not answer it."""
    trust = ssl.create_default_context(cafile=str(authority))
    # A proxy in the environment has no business with an address of this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
    request = urllib.request.Request(f"https://127.0.0.1:{port}{path}", headers={"Accept": MANIFEST_TYPES})
    try:
        with opener.open(request, timeout=5) as answer:
            return bytes(answer.read())
    except (OSError, urllib.error.URLError):
        return None


class Push(Step):
    """One image in the registry, under the name that the official one has."""

    def __init__(self, lab: Lab, registry: Registry, image: str, name: str, tag: str) -> None:
        super().__init__(lab, f"push {name}", needs=(f"image {image}", "registry"))
        self.registry = registry
        self.source = f"{PREFIX}/{image}:current"
        self.repository = name
        self.tag = tag

    @property
    def reference(self) -> str:
        """The name under which a test host pulls it."""
        return f"{REGISTRY_NAME}:{PORT}/{self.repository}:{self.tag}"

    def fingerprint(self) -> str:
        return digest_of(self.reference, image_id(self.lab, self.source) or "")

    def is_present(self) -> bool:
        return self._config_digest() == image_id(self.lab, self.source)

    def _config_digest(self) -> str | None:
        manifest = self.registry.manifest(self.repository, self.tag)
        config = manifest.get("config") if manifest else None
        return str(config.get("digest")) if isinstance(config, dict) else None

    def make(self) -> None:
        log = self.lab.log_of(self.name)
        log.unlink(missing_ok=True)
        target = f"127.0.0.1:{self.registry.push_port()}/{self.repository}:{self.tag}"
        self.lab.docker("tag", self.source, target)
        self.lab.docker("push", target, log=log, failure=f"The image {self.source} could not be pushed to the lab's registry")
        self.lab.docker_attempt("image", "rm", target)
