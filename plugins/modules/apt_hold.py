#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apt_hold
short_description: Keep packages from being upgraded by anything but a run that means to
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Holds packages, or lets go of them, all in one step. A held package is left alone by C(apt-get upgrade) and by unattended upgrades.
attributes:
  check_mode:
    description: Can run in C(check_mode) and predicts what a real run would do.
    support: full
  diff_mode:
    description: Shows which packages are held.
    support: full
options:
  packages:
    description:
      - Names of packages, or patterns with C(*) and C(?) that are matched against what is installed.
      - A name that is not installed is an error, except in check mode and with O(state=released).
    type: list
    elements: str
    required: true
  version:
    description: Pattern that the version of what a pattern of O(packages) finds has to match; a package that is named is not asked for it.
    type: str
    default: "*"
  not_version:
    description: Pattern that this version must not match; for none when empty.
    type: str
    default: ""
  state:
    description: Whether the packages are held.
    type: str
    choices: [held, released]
    default: held
"""

EXAMPLES = r"""
- name: Keep the driver at its version
  private_llm.platform.apt_hold:
    packages: [nvidia-driver-cuda, "libnvidia-*"]
    version: 580.*
"""

RETURN = r"""
packages:
  description: Packages that changed sides.
  type: list
  elements: str
  returned: success
  sample: [nvidia-driver-cuda]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils import apt_holds
from ansible_collections.private_llm.platform.plugins.module_utils.service_module import runner
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import CommandFailed, must


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "required": True},
            "version": {"type": "str", "default": "*"},
            "not_version": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["held", "released"], "default": "held"},
        },
        supports_check_mode=True,
    )
    run = runner(module)
    hold = module.params["state"] == "held"
    try:
        installed = apt_holds.parse(must(run, apt_holds.QUERY))
        difference = apt_holds.differing(installed, module.params["packages"], hold, module.params["version"], module.params["not_version"])
        if difference.missing and hold and not module.check_mode:
            module.fail_json(msg=f"These packages are not installed, so they cannot be held: {', '.join(difference.missing)}. Install them first.")
        moving = sorted({*difference.moving, *(difference.missing if hold else [])})
        if moving and not module.check_mode:
            must(run, ["apt-mark", "hold" if hold else "unhold", *moving])
    except CommandFailed as error:
        module.fail_json(msg=f"{error}.")
    before = {name for name, found in installed.items() if found.held}
    after = before | set(moving) if hold else before - set(moving)
    diff = {"before": "".join(f"hold {name}\n" for name in sorted(before)), "after": "".join(f"hold {name}\n" for name in sorted(after))}
    module.exit_json(changed=bool(moving), packages=moving, diff=diff)


if __name__ == "__main__":
    main()
