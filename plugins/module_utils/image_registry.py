# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a container registry (the registry API, version 2) which image a tag means today, and when that image was made."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import urllib.error
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.urls import open_url

HUB, HUB_API = "docker.io", "https://registry-1.docker.io"
TIMEOUT_SECONDS = 30
# Manifests and configurations are some kB; what is larger is neither.
LARGEST = 4 * 1024 * 1024
INDEX_TYPES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFEST_TYPES = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
ACCEPT = ", ".join(INDEX_TYPES + MANIFEST_TYPES)
REFERENCE = re.compile(r"(?P<name>[^@\s]+?)(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
CHALLENGE_FIELD = re.compile(r'(\w+)="([^"]*)"')


class RegistryError(Exception):
    """The registry does not say what was asked; the text is a sentence for the user without its full stop."""


@dataclass(frozen=True)
class Reference:
    """An image's name in its parts; ``tag`` and ``digest`` may be empty."""

    registry: str
    repository: str
    tag: str
    digest: str


@dataclass(frozen=True)
class Access:
    """How a registry is reached: ``url`` instead of what its name means, who asks, and a file with the authorities to trust."""

    url: str = ""
    username: str = ""
    password: str = ""
    ca_path: str | None = None


@dataclass(frozen=True)
class Found:
    """What a tag means: the digest that an engine pins it by, and when the image was made as its maker says (None if not)."""

    digest: str
    created: datetime | None


def parse_reference(image: str) -> Reference:
    """The parts of an image's name, with the registry that engines take where none is named. :raises RegistryError: when it is no name."""
    matched = REFERENCE.fullmatch(image)
    if matched is None:
        raise RegistryError(f"'{image}' is no name of an image")
    first, slash, rest = matched["name"].partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, repository = first, rest
    else:
        registry, repository = HUB, matched["name"]
    if registry == HUB and "/" not in repository:
        repository = f"library/{repository}"
    return Reference(registry, repository, matched["tag"] or "", matched["digest"] or "")


def pinned(image: str, digests: Mapping[str, Any]) -> str:
    """The image by its digest, out of a list with a ``digest`` for each image; what has one already stays.

    :raises RegistryError: when there is a list and the image is not in it.
    """
    if not digests or not image or "@" in image:
        return image
    digest = str((digests.get(image) or {}).get("digest") or "")
    if not DIGEST.fullmatch(digest):
        raise RegistryError(f"the image {image} has no digest in image_digests: ask for it (playbooks/image_digests.yml), or give it one (IMAGE@sha256:...)")
    return f"{image}@{digest}"


def mirrored(image: str, mirror: str) -> str:
    """The image as a mirror has it: its whole name, with its registry, behind the mirror's. One that is named as the mirror's already stays.

    :raises RegistryError: when it is no name.
    """
    if not mirror or not image or image.startswith(f"{mirror}/"):
        return image
    reference = parse_reference(image)
    tag, digest = f":{reference.tag}" if reference.tag else "", f"@{reference.digest}" if reference.digest else ""
    return f"{mirror}/{reference.registry}/{reference.repository}{tag}{digest}"


def mirror_problem(mirror: str) -> str | None:
    """What is wrong with the name of a mirror."""
    if not mirror or re.fullmatch(r"[a-z0-9]+([.-]+[a-z0-9]+)*(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*", mirror):
        return None
    return f"a mirror is named as images are, HOST or HOST:PORT and perhaps /PATH, without https:// before and / behind it, and not '{mirror}'"


def digest_of(content: bytes) -> str:
    """What the content is called in a registry."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def parse_time(text: Any) -> datetime | None:
    """A time as images state it (RFC 3339, nanoseconds included); None when it is none."""
    matched = re.fullmatch(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)", str(text or ""))
    if matched is None:
        return None
    try:
        return datetime.fromisoformat(matched[1].upper() + matched[2].upper().replace("Z", "+00:00")).astimezone(timezone.utc)
    except ValueError:
        return None


class Client:
    """One registry, asked over verified TLS unless its address says otherwise."""

    def __init__(self, registry: str, access: Access) -> None:
        self._registry = registry
        self._access = access
        self._base = (access.url or (HUB_API if registry == HUB else f"https://{registry}")).rstrip("/")
        self._authorization: dict[str, str] = {}

    @property
    def host(self) -> str:
        """The registry's name and port as it is reached."""
        return urllib.parse.urlsplit(self._base).netloc if self._access.url else self._registry

    def describe(self, reference: Reference, architecture: str) -> Found:
        """What the tag means, and when the image for that architecture was made. :raises RegistryError: when that cannot be known."""
        wanted = reference.digest or reference.tag
        manifest, digest = self._manifest(reference, wanted)
        if "manifests" in manifest:
            # The digest of all architectures together is what engines pin.
            manifest, _digest = self._manifest(reference, self._for_architecture(manifest, architecture, reference))
        configuration = str((manifest.get("config") or {}).get("digest") or "")
        if not DIGEST.fullmatch(configuration):
            raise RegistryError(f"{self._shown(reference)} is in a format that names no configuration, such as that of very old engines")
        content = self._get(reference, f"blobs/{configuration}", "*/*")
        self._expect(reference, configuration, content)
        return Found(digest, parse_time(self._json(reference, content).get("created")))

    def _manifest(self, reference: Reference, wanted: str) -> tuple[dict[str, Any], str]:
        content = self._get(reference, f"manifests/{wanted}", ACCEPT)
        digest = digest_of(content)
        if DIGEST.fullmatch(wanted):
            self._expect(reference, wanted, content)
        return self._json(reference, content), digest

    def _for_architecture(self, index: Mapping[str, Any], architecture: str, reference: Reference) -> str:
        for entry in index.get("manifests") or []:
            platform = entry.get("platform") or {}
            if (platform.get("os"), platform.get("architecture")) == ("linux", architecture) and DIGEST.fullmatch(str(entry.get("digest"))):
                return str(entry["digest"])
        raise RegistryError(f"{self._shown(reference)} is not there for linux/{architecture}")

    def _expect(self, reference: Reference, digest: str, content: bytes) -> None:
        if digest_of(content) != digest:
            raise RegistryError(f"the registry sent something else for {self._shown(reference)} than its digest {digest} promises")

    def _json(self, reference: Reference, content: bytes) -> dict[str, Any]:
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise RegistryError(f"the registry's answer for {self._shown(reference)} is no description of an image")
        return found

    def _shown(self, reference: Reference) -> str:
        return f"{self._registry}/{reference.repository}:{reference.tag or reference.digest}"

    def _get(self, reference: Reference, path: str, accept: str) -> bytes:
        url = f"{self._base}/v2/{reference.repository}/{path}"
        try:
            return self._open(url, accept, self._authorization.get(reference.repository, ""))
        except urllib.error.HTTPError as error:
            if error.code != 401 or reference.repository in self._authorization:
                raise self._refusal(reference, error) from error
            self._authorization[reference.repository] = self._answer_to(error.headers.get("WWW-Authenticate", ""), reference)
        except (OSError, ValueError) as error:
            raise RegistryError(f"the registry {self.host} does not answer: {getattr(error, 'reason', error)}") from error
        return self._get(reference, path, accept)

    def _refusal(self, reference: Reference, error: urllib.error.HTTPError) -> RegistryError:
        if error.code == 404:
            return RegistryError(f"the registry {self.host} has no {self._shown(reference)}")
        if error.code in (401, 403):
            return RegistryError(f"the registry {self.host} does not show {self._shown(reference)} to {self._access.username or 'everybody'} ({error.code})")
        return RegistryError(f"the registry {self.host} answered {error.code} for {self._shown(reference)}")

    def _answer_to(self, challenge: str, reference: Reference) -> str:
        """The header that satisfies a registry which asks who it is."""
        kind = challenge.partition(" ")[0].lower()
        basic = ""
        if self._access.username:
            basic = "Basic " + base64.b64encode(f"{self._access.username}:{self._access.password}".encode()).decode()
        if kind != "bearer":
            return basic
        fields = dict(CHALLENGE_FIELD.findall(challenge))
        realm = fields.get("realm", "")
        if not realm.startswith("https://") and not (realm.startswith("http://") and self._base.startswith("http://")):
            raise RegistryError(f"the registry {self.host} sends to '{realm}' for a token, which is no https address")
        asked = {"service": fields.get("service", ""), "scope": f"repository:{reference.repository}:pull"}
        query = urllib.parse.urlencode({name: value for name, value in asked.items() if value})
        try:
            answer = json.loads(self._open(f"{realm}{'&' if '?' in realm else '?'}{query}", "application/json", basic))
            token = answer.get("token") or answer.get("access_token")
        except (OSError, ValueError, AttributeError) as error:
            who = self._access.username or "everybody"
            raise RegistryError(f"{urllib.parse.urlsplit(realm).netloc} gives {who} no token for {self._shown(reference)}: {error}") from error
        if not token:
            raise RegistryError(f"{urllib.parse.urlsplit(realm).netloc} gives no token for {self._shown(reference)}")
        return f"Bearer {token}"

    def _open(self, url: str, accept: str, authorization: str) -> bytes:
        headers = {"Accept": accept, **({"Authorization": authorization} if authorization else {})}
        answer = open_url(
            url, headers=headers, timeout=TIMEOUT_SECONDS, http_agent="private_llm.platform", ca_path=self._access.ca_path, use_netrc=False,
            # Layers and configurations may lie elsewhere, and nobody there needs to know who asks.
            unredirected_headers=["Authorization"],
        )  # fmt: skip
        content = bytes(answer.read(LARGEST + 1))
        if len(content) > LARGEST:
            raise ValueError(f"its answer has more than {LARGEST} bytes")
        return content
