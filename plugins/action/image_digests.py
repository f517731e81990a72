# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks registries on the controller which images the roles' variables mean, and writes that down; no host is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.private_llm.platform.plugins.module_utils import image_pins
from ansible_collections.private_llm.platform.plugins.module_utils.image_pins import Pin, PinsError
from ansible_collections.private_llm.platform.plugins.module_utils.image_registry import (
    Access,
    Client,
    Reference,
    RegistryError,
    mirror_problem,
    mirrored,
    parse_reference,
)

ROLES_DIRECTORY = os.path.join(os.path.dirname(__file__), "..", "..", "roles")
IMAGE_SUFFIX = "_image"
COSIGN_SECONDS = 120


def role_images(role: str, directory: str = ROLES_DIRECTORY) -> dict[str, str]:
    """The variables of a role that name an image, and what they are by default; those that may be empty name none."""
    with open(os.path.join(directory, role, "defaults", "main.yml"), encoding="utf-8") as stream:
        defaults = yaml.safe_load(stream) or {}
    return {name: value for name, value in defaults.items() if name.endswith(IMAGE_SUFFIX) and value}


def wanted_images(roles: Mapping[str, Any], hostvars: Mapping[str, Any], directory: str = ROLES_DIRECTORY) -> dict[str, set[str]]:
    """Every image that a host will run, and the variables that name it."""
    images: dict[str, set[str]] = {}
    for role, hosts in roles.items():
        for variable, default in role_images(role, directory).items():
            for host in hosts:
                image = hostvars[host].get(variable, default)
                images.setdefault(str(image), set()).add(variable)
    return images


def signature_text(how: Mapping[str, Any]) -> str:
    """What a signature is checked with, in words that change when it does."""
    return f"key {how['key']}" if how.get("key") else f"{how['identity']} ({how['issuer']})"


def signature_problem(name: str, how: Any) -> str | None:
    """What is wrong with a signature's settings."""
    if isinstance(how, Mapping) and set(how) in ({"key"}, {"identity", "issuer"}):
        return None
    return f"signatures: {name} needs key, or identity and issuer, and nothing else."


def cosign_command(program: str, how: Mapping[str, Any], image: str) -> list[str]:
    """The command that checks a signature."""
    if how.get("key"):
        return [program, "verify", "--key", str(how["key"]), image]
    return [program, "verify", "--certificate-identity", str(how["identity"]), "--certificate-oidc-issuer", str(how["issuer"]), image]


def write_atomically(path: str, text: str) -> None:
    """Replace a file as a whole; one that was there keeps its mode."""
    mode = os.stat(path).st_mode & 0o777 if os.path.exists(path) else 0o644
    descriptor, temporary = tempfile.mkstemp(prefix=".image_digests-", dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, mode)
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


class Survey:
    """One look at all images."""

    def __init__(self, arguments: Mapping[str, Any], now: datetime) -> None:
        self._arguments = arguments
        self._now = now
        self._rules = image_pins.Rules(
            arguments["minimum_age_days"], arguments["age_from"], frozenset(arguments["young"]), frozenset(arguments["changed"])
        )
        self._clients: dict[str, Client] = {}
        self.pinned: dict[str, Pin] = {}
        self.waiting: dict[str, Pin] = {}
        self.problems: list[str] = []
        self.report: list[str] = []

    def look(self, images: Mapping[str, set[str]], before: Mapping[str, Pin], waited: Mapping[str, Pin]) -> None:
        """Decide what each image's name stands for."""
        for image in sorted(images):
            try:
                reference = parse_reference(image)
                if reference.digest:
                    self.report.append(f"{image}: pinned by its variable ({', '.join(sorted(images[image]))})")
                    continue
                self._look_at(image, parse_reference(mirrored(image, self._arguments["mirror"])), images[image], before.get(image), waited.get(image))
            except RegistryError as error:
                self.problems.append(f"{image}: {error}.")
                self._keep(image, before.get(image), waited.get(image))
        for image in sorted(set(before) - set(images)):
            self.report.append(f"{image}: no host runs it any more, taken out")

    def _keep(self, image: str, pin: Pin | None, waiting: Pin | None) -> None:
        if pin is not None:
            self.pinned[image] = pin
        if waiting is not None:
            self.waiting[image] = waiting

    def _client(self, registry: str) -> Client:
        if registry not in self._clients:
            self._clients[registry] = Client(registry, Access(**self._arguments["registries"].get(registry, {})))
        return self._clients[registry]

    def _look_at(self, image: str, reference: Reference, variables: set[str], before: Pin | None, waited: Pin | None) -> None:
        client = self._client(reference.registry)
        found = client.describe(reference, self._arguments["architecture"])
        verdict = image_pins.judge(image, found, before, waited, self._rules, self._now)
        pin = verdict.pin
        if pin is None or verdict.problem:
            self._keep(image, pin, verdict.waiting)
            self.problems.append(f"{verdict.problem}.")
            return
        for variable in sorted(variables & set(self._arguments["signatures"])):
            how = self._arguments["signatures"][variable]
            if pin.signature == signature_text(how):
                continue
            problem = self._signature_problem(f"{client.host}/{reference.repository}@{pin.digest}", how)
            if problem:
                # What was found right once goes on running; what never was does not.
                self._keep(image, before if before is not None and before.signature else None, pin)
                self.problems.append(f"{image} ({pin.digest}): {problem}")
                return
            pin = Pin(pin.digest, pin.first_seen, pin.created, signature_text(how))
        self._keep(image, pin, None)
        word = "unchanged" if pin == before else "new" if before is None else "changed"
        self.report.append(f"{image}: {pin.digest} ({word}, made {pin.created or 'nobody knows when'}{', signature right' if pin.signature else ''})")

    @staticmethod
    def _signature_problem(image: str, how: Mapping[str, Any]) -> str | None:
        program = shutil.which("cosign")
        if program is None:
            return (
                "its signature is to be checked, and there is no cosign on this machine: install it (Debian 13 has the package cosign), or set "
                "platform_check_signatures to false."
            )
        try:
            done = subprocess.run(cosign_command(program, how, image), capture_output=True, text=True, timeout=COSIGN_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"cosign did not check its signature: {error}."
        if done.returncode == 0:
            return None
        return f"its signature is not the one of {signature_text(how)}: {' '.join((done.stderr or done.stdout).split())[-300:]}."


class ActionModule(ActionBase):  # type: ignore[misc]
    """Which images run, by digest."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "path": {"type": "path"},
                "pinned": {"type": "dict", "default": {}},
                "ask": {"type": "bool", "default": True},
                "roles": {"type": "dict", "required": True},
                "architecture": {"type": "str", "default": "amd64"},
                "minimum_age_days": {"type": "int", "default": 14},
                "age_from": {"type": "str", "choices": ["created", "first_seen"], "default": "created"},
                "young": {"type": "list", "elements": "str", "default": []},
                "changed": {"type": "list", "elements": "str", "default": []},
                "registries": {"type": "dict", "default": {}},
                "mirror": {"type": "str", "default": ""},
                "signatures": {"type": "dict", "default": {}},
            },
            required_if=[("ask", True, ["path"])],
        )
        images = wanted_images(arguments["roles"], task_vars["hostvars"])
        if not arguments["ask"]:
            return {**result, **self._without_asking(images, arguments["pinned"])}
        self._expect_settings(arguments)
        path = os.path.abspath(os.path.expanduser(arguments["path"]))
        before = self._read(path)
        survey = Survey(arguments, datetime.now(timezone.utc))
        try:
            survey.look(images, *image_pins.parse(before, path))
        except PinsError as error:
            raise AnsibleActionFail(f"{error}.") from error
        text = image_pins.render(survey.pinned, survey.waiting)
        result.update(
            changed=text != before,
            digests={image: pin.as_dict() for image, pin in survey.pinned.items()},
            report=survey.report,
            problems=survey.problems,
        )
        if text != before:
            result["diff"] = {"before_header": path, "after_header": path, "before": before, "after": text}
            if not self._task.check_mode:
                write_atomically(path, text)
        if survey.problems:
            result.update(failed=True, msg=self._failure(survey.problems, len(images)))
        return result

    @staticmethod
    def _failure(problems: list[str], count: int) -> str:
        return "%d of %d images were not taken, the others are written down:\n- %s" % (len(problems), count, "\n- ".join(problems))

    @staticmethod
    def _without_asking(images: Mapping[str, set[str]], pinned: Mapping[str, Any]) -> dict[str, Any]:
        missing = [image for image in sorted(images) if image not in pinned and "@" not in image]
        found = {"changed": False, "digests": dict(pinned), "report": [], "problems": [f"{image} has no digest." for image in missing]}
        if missing:
            advice = "Run playbooks/image_digests.yml, which asks the registries, or take the variable platform_image_digests away. Nothing was changed."
            found.update(failed=True, msg="Images run by digest here, and these have none: %s. %s" % (", ".join(missing), advice))
        return found

    @staticmethod
    def _expect_settings(arguments: Mapping[str, Any]) -> None:
        problems = [problem for name, how in arguments["signatures"].items() if (problem := signature_problem(str(name), how))]
        if problem := mirror_problem(arguments["mirror"]):
            problems.append(f"mirror: {problem}.")
        known = ("url", "username", "password", "ca_path")
        for name, access in arguments["registries"].items():
            if not isinstance(access, Mapping) or set(access) - set(known):
                problems.append(f"registries: {name} has something else than {', '.join(known)}.")
        if problems:
            raise AnsibleActionFail(" ".join(problems))

    @staticmethod
    def _read(path: str) -> str:
        if not os.path.isdir(os.path.dirname(path)):
            raise AnsibleActionFail(f"{os.path.dirname(path)} is no directory: name a file beside your inventory in platform_image_digests_file.")
        try:
            with open(path, encoding="utf-8") as stream:
                return stream.read()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise AnsibleActionFail(f"{path} cannot be read: {error}.") from error
