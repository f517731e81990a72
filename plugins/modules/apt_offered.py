#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apt_offered
short_description: Ask apt whether it can install packages, before anything is installed
version_added: 0.2.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Looks for each package, in the version that is wanted, among what the repositories of the host offer and what is installed.
  - Fails with everything that is missing at once, and which versions there are instead. Changes nothing, and does not refresh the index.
attributes:
  check_mode:
    description: Never changes anything.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: full
options:
  packages:
    description: Names of packages; a version may follow after an equals sign, in which V(*) stands for any characters.
    type: list
    elements: str
    required: true
  required:
    description: Whether it fails where something is missing; V(false) only tells.
    type: bool
    default: true
  remedy:
    description: What the operator can do about it; the failure ends with it.
    type: str
    default: Check the name, and which repositories the host has.
seealso:
  - module: ansible.builtin.apt
"""

EXAMPLES = r"""
- name: Make sure that the driver can be had
  private_llm.platform.apt_offered:
    packages: ["nvidia-driver-cuda=580.*", "nvidia-kernel-open-dkms=580.*"]
    remedy: Choose another branch of the driver.
"""

RETURN = r"""
missing:
  description: Packages that cannot be had, as they were asked for.
  returned: always
  type: list
  elements: str
  sample: ["nvidia-driver-cuda=580.*"]
offered:
  description: For each of these, the versions that there are instead.
  returned: always
  type: dict
  sample: {"nvidia-driver-cuda=580.*": ["595.45.04-1", "590.44.01-1"]}
"""

from fnmatch import fnmatchcase

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils.service_module import runner
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import Runner

# More would hide the sentence.
SHOWN_VERSIONS = 5


def versions(run: Runner, name: str) -> list[str]:
    """The versions of a package that there are, as apt orders them, and the installed one."""
    _status, output, _error = run(["apt-cache", "madison", name])
    rows = [[cell.strip() for cell in line.split("|")] for line in output.splitlines()]
    offered = [row[1] for row in rows if len(row) == 3 and row[0] == name]
    status, output, _error = run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", name])
    installed = [output.split()[1]] if status == 0 and output.startswith("installed ") else []
    return list(dict.fromkeys([*offered, *installed]))


def missing(run: Runner, packages: list[str]) -> dict[str, list[str]]:
    """What cannot be had, with the versions that there are instead."""
    found = {}
    for package in packages:
        name, _equals, pattern = package.partition("=")
        there = versions(run, name)
        if not any(fnmatchcase(version, pattern or "*") for version in there):
            found[package] = there
    return found


def sentence(package: str, there: list[str]) -> str:
    """One missing package for a person."""
    if not there:
        return f"{package} (there is no such package)"
    more = f" and {len(there) - SHOWN_VERSIONS} more" if len(there) > SHOWN_VERSIONS else ""
    return f"{package} (there is {', '.join(there[:SHOWN_VERSIONS])}{more})"


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "required": True},
            "required": {"type": "bool", "default": True},
            "remedy": {"type": "str", "default": "Check the name, and which repositories the host has."},
        },
        supports_check_mode=True,
    )
    found = missing(runner(module), module.params["packages"])
    answer = {"missing": list(found), "offered": found}
    if found and module.params["required"]:
        told = "; ".join(sentence(package, there) for package, there in found.items())
        module.fail_json(msg=f"The repositories of this host do not offer {told}. {module.params['remedy']}", **answer)
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
