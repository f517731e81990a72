#!/usr/bin/python
# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tls_certificate
short_description: Keep a TLS certificate for a service, of an authority of one's own or one that is given
version_added: 0.2.0
description:
  - Keeps C(/etc/private-llm/tls/NAME/bundle.pem), which holds certificate, chain and private key in one file that only root can read.
  - With V(own), an authority is derived from a secret, so that the same secret makes the same authority on whichever host. It signs a certificate for
    the names that are asked for. A timer of systemd's makes a new one before the old one ends and has the service read it.
  - With V(given), a certificate that somebody else made is used. One that has ended, is for other names, has a broken chain or a key that does not
    fit is refused before anything is changed, with all that is wrong with it at once.
  - When the certificate ends is written for node_exporter's textfile collector, as C(private_llm_certificate_not_after_timestamp_seconds).
  - A run that dies between a new certificate and the service's reading it is finished by the next one.
  - Needs the program C(openssl) on the host for O(source=own).
author:
  - Private LLM Platform team (@private-llm)
attributes:
  check_mode:
    description: Can run in C(check_mode) and predicts what a real run would do; a given certificate is checked in full.
    support: full
  diff_mode:
    description: Shows names and end of the certificate before and after; never a key.
    support: full
options:
  name:
    description: Name of the service that the certificate is for.
    type: str
    required: true
  state:
    description: Whether the certificate is kept, or removed with its authority and its timer.
    type: str
    choices: [present, absent]
    default: present
  source:
    description: Whether an authority of our own makes the certificate, or somebody else has made it.
    type: str
    choices: [own, given]
    default: own
  names:
    description: Names and IP addresses that the service is known by. Required for O(state=present).
    type: list
    elements: str
    default: []
  authority_secret:
    description: What the authority is derived from, 32 characters or more. Required for O(source=own).
    type: str
  authority_name:
    description: Name of the authority, which people see when they trust it.
    type: str
    default: Private LLM platform
  valid_days:
    description: Days that a certificate of the own authority is valid.
    type: int
    default: 90
  renew_days:
    description: So many days before its end the timer makes a new one.
    type: int
    default: 30
  certificate:
    description: With O(source=given), the certificate and its chain, in PEM.
    type: str
  private_key:
    description: With O(source=given), the private key, in PEM and not encrypted.
    type: str
  reload_unit:
    description: Unit that has to read the certificate again when it was replaced.
    type: str
    default: ""
  metrics_directory:
    description: Directory of node_exporter's textfile collector; nothing is written when empty.
    type: path
    default: ""
seealso:
  - module: private_llm.platform.native_service
"""

EXAMPLES = r"""
- name: Keep a certificate of our own authority
  private_llm.platform.tls_certificate:
    name: web
    names: [web.example.com, 192.0.2.10]
    authority_secret: "{{ web_authority_secret }}"
    reload_unit: haproxy.service

- name: Use a certificate that the company's authority made
  private_llm.platform.tls_certificate:
    name: web
    source: given
    names: [web.example.com]
    certificate: "{{ web_certificate }}"
    private_key: "{{ web_private_key }}"
"""

RETURN = r"""
actions:
  description: What was done (or, in check mode, would be done), each as C(KIND) C(:) what, and why in brackets.
  returned: success
  type: list
  elements: str
  sample: ["certificate: web (missing)"]
bundle:
  description: Path of the file with certificate, chain and private key.
  returned: success
  type: str
  sample: /etc/private-llm/tls/web/bundle.pem
not_after:
  description: When the certificate ends; empty where there is none yet.
  returned: success
  type: str
  sample: 2027-02-23 17:00 UTC
authority:
  description: Certificate of the own authority in PEM, for whoever is to trust it; empty where there is none.
  returned: success
  type: str
  sample: "-----BEGIN CERTIFICATE-----..."
"""

import inspect
import json
import os
import re
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils import tls_authority
from ansible_collections.private_llm.platform.plugins.module_utils.description_checks import NAME
from ansible_collections.private_llm.platform.plugins.module_utils.managed_paths import ManagedFile, Ownership, remove_tree
from ansible_collections.private_llm.platform.plugins.module_utils.service_module import runner
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import (
    UNIT_DIRECTORY,
    CommandFailed,
    Runner,
    Section,
    Systemd,
    must,
    render,
)
from ansible_collections.private_llm.platform.plugins.module_utils.tls_authority import BadCertificate, Store

HOME = "/etc/private-llm/tls"
PROGRAM = "/usr/local/lib/private-llm/tls_authority.py"
SHORTEST_SECRET = 32
SERVER_NAME = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?|[0-9a-f:.]+")
# What of the parameters the timer has to know.
KEPT = ("source", "names", "valid_days", "renew_days", "reload_unit", "metrics_directory")


def problems(given: dict[str, Any], now: float) -> list[str]:
    """One sentence for each thing that cannot work."""
    found = []
    if not NAME.fullmatch(given["name"]):
        found.append(f"name '{given['name']}' may hold small letters, digits and _.- only, and begins with a letter or digit")
    if given["state"] == "absent":
        return found
    if not given["names"]:
        found.append("names is empty; name what the service is known by")
    found += [f"'{name}' is no name of a server" for name in given["names"] if not SERVER_NAME.fullmatch(name.lower())]
    if given["source"] == "own":
        if len(given["authority_secret"] or "") < SHORTEST_SECRET:
            found.append(f"authority_secret has fewer than {SHORTEST_SECRET} characters")
        if not re.fullmatch(r"[A-Za-z0-9 .,_()-]{1,64}", given["authority_name"]):
            found.append("authority_name may hold 1 to 64 letters, digits, blanks and .,_()-")
        if given["valid_days"] < 1 or given["renew_days"] < 0:
            found.append("valid_days must be at least 1, and renew_days must not be negative")
        return found
    if not given["certificate"] or not given["private_key"]:
        return [*found, "source given needs certificate and private_key"]
    return found + tls_authority.given_problems(given["certificate"], given["private_key"], given["names"], now)


class Keeper:
    """A certificate on this host, and the timer that looks after it."""

    def __init__(self, given: dict[str, Any], run: Runner, now: float) -> None:
        self._given = given
        self._run = run
        self._now = now
        self.store = Store(f"{HOME}/{given['name']}")
        self._timer = f"private-llm-tls-{given['name']}.timer"

    def _files(self) -> list[ManagedFile]:
        service = f"private-llm-tls-{self._given['name']}.service"
        describe = f"Certificate of {self._given['name']}"
        units: dict[str, dict[str, Section]] = {
            service: {
                "Unit": {"Description": f"{describe}: renew, and tell when it ends"},
                "Service": {"Type": "oneshot", "ExecStart": f"/usr/bin/python3 -I {PROGRAM} {self.store.directory}"},
            },
            self._timer: {
                "Unit": {"Description": f"{describe}, looked at once a day"},
                "Timer": {"OnCalendar": "daily", "RandomizedDelaySec": "1h", "Persistent": True},
                "Install": {"WantedBy": "timers.target"},
            },
        }
        owner = Ownership("0", "0", "0644")
        program = inspect.getsource(tls_authority).encode()
        return [ManagedFile(PROGRAM, program, owner)] + [
            ManagedFile(f"{UNIT_DIRECTORY}/{name}", render(sections).encode(), owner, kind="unit", name=name) for name, sections in units.items()
        ]

    def _bundle(self) -> str:
        return "\n".join(part.strip() for part in (self._given["certificate"], self._given["private_key"])) + "\n"

    def _authority_changes(self) -> bool:
        return tls_authority.read_text(self.store.authority_key) != tls_authority.authority_key(self._given["authority_secret"])

    def _reason(self) -> str | None:
        """Why there has to be another certificate; None when what is there will do."""
        if self._given["source"] == "given":
            found = tls_authority.read_text(self.store.bundle)
            return None if found == self._bundle() else "content" if found else "missing"
        if self._authority_changes():
            return "another authority" if os.path.exists(self.store.authority) else "missing"
        return self.store.reason_to_issue(self._given["names"], self._given["renew_days"], self._now)

    def _kept_settings(self) -> dict[str, Any]:
        return {name: self._given[name] for name in KEPT}

    def actions(self) -> list[str]:
        """What has to be done."""
        name = self._given["name"]
        found = []
        reason = self._reason()
        if reason:
            found.append(f"certificate: {name} ({reason})")
        for file in self._files():
            difference = file.difference()
            if difference:
                found.append(f"{file.kind}: {file.shown} ({difference})")
        if self.store.settings() != self._kept_settings():
            found.append(f"settings: {name}")
        if not Systemd(self._run).status(self._timer).is_enabled:
            found.append(f"enable: {self._timer}")
        if os.path.exists(self.store.stale) and not reason and self._given["reload_unit"]:
            found.append(f"reload: {self._given['reload_unit']} (an earlier run died before it)")
        return found

    def carry_out(self) -> None:
        """Do it."""
        os.makedirs(self.store.directory, mode=0o700, exist_ok=True)
        for directory in (HOME, self.store.directory):
            os.chmod(directory, 0o700)
        tls_authority.write_secretly(self.store.settings_path, json.dumps(self._kept_settings()))
        reason = self._reason()
        if reason and self._given["source"] == "given":
            self.store.replace(self._bundle())
        elif reason:
            if self._authority_changes() or not os.path.exists(self.store.authority):
                self.store.make_authority(tls_authority.authority_key(self._given["authority_secret"]), self._given["authority_name"])
            self.store.issue(self._given["names"], self._given["valid_days"])
        os.makedirs(os.path.dirname(PROGRAM), mode=0o755, exist_ok=True)
        changed = [file for file in self._files() if file.difference()]
        for file in changed:
            file.apply()
        if any(file.kind == "unit" for file in changed):
            Systemd(self._run).reload()
        must(self._run, ["systemctl", "enable", "--quiet", "--now", self._timer])
        self.store.write_metric(self._given["metrics_directory"])
        self.store.tell_service(self._given["reload_unit"])

    def remove(self) -> None:
        """Take everything away."""
        systemd = Systemd(self._run)
        if systemd.status(self._timer).load != "not-found":
            must(self._run, ["systemctl", "disable", "--quiet", "--now", self._timer])
        for file in self._files()[1:]:
            remove_tree(file.path)
        remove_tree(self.store.directory)
        systemd.reload()

    def is_there(self) -> bool:
        """Whether anything is left."""
        return os.path.exists(self.store.directory) or any(os.path.exists(file.path) for file in self._files()[1:])

    def told(self) -> str:
        """The certificate in one line."""
        found = self.store.certificate()
        return f"{', '.join(found.names)} until {found.ends}\n" if found else ""

    def authority(self) -> str:
        """The own authority's certificate."""
        return tls_authority.read_text(self.store.authority) if self._given["source"] == "own" else ""


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "source": {"type": "str", "choices": ["own", "given"], "default": "own"},
            "names": {"type": "list", "elements": "str", "default": []},
            "authority_secret": {"type": "str", "no_log": True},
            "authority_name": {"type": "str", "default": "Private LLM platform"},
            "valid_days": {"type": "int", "default": 90},
            "renew_days": {"type": "int", "default": 30},
            "certificate": {"type": "str"},
            "private_key": {"type": "str", "no_log": True},
            "reload_unit": {"type": "str", "default": ""},
            "metrics_directory": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    now = time.time()
    found = problems(module.params, now)
    if found:
        module.fail_json(msg="The certificate of %s cannot be as described, and nothing was changed: %s." % (module.params["name"], "; ".join(found)))
    keeper = Keeper(module.params, runner(module), now)
    try:
        if module.params["state"] == "absent":
            is_there = keeper.is_there()
            if is_there and not module.check_mode:
                keeper.remove()
            module.exit_json(changed=is_there, actions=["remove: the certificate"] if is_there else [])
        before, actions = keeper.told(), keeper.actions()
        if actions and not module.check_mode:
            keeper.carry_out()
        certificate = keeper.store.certificate()
        module.exit_json(
            changed=bool(actions),
            actions=actions,
            bundle=keeper.store.bundle,
            not_after=certificate.ends if certificate else "",
            authority=keeper.authority(),
            diff={"before": before, "after": keeper.told()},
        )
    except (BadCertificate, CommandFailed, OSError) as error:
        module.fail_json(msg=f"The certificate of {module.params['name']}: {error}")


if __name__ == "__main__":
    main()
