#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nvidia_driver_plan
short_description: Choose the packages that make NVIDIA's driver on a host
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Chooses branch, kernel modules and packages for the GPUs of a host and its distribution, and fails with everything that stands in the way.
  - What it looks at besides its options is the distribution, the processor and the kernel. Changes nothing.
attributes:
  check_mode:
    description: Never changes anything.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: full
options:
  gpus:
    description: The GPUs as M(private_llm.platform.gpu_info) returns them.
    type: list
    elements: dict
    required: true
  secure_boot:
    description: Secure Boot as M(private_llm.platform.gpu_info) returns it.
    type: dict
    required: true
  nvswitch:
    description: Kind of the NVSwitch as M(private_llm.platform.gpu_info) returns it.
    type: str
  source:
    description: Where packages come from, V(vendor) (NVIDIA's repository) or V(distribution).
    type: str
    choices: [vendor, distribution]
    default: vendor
  branch:
    description:
      - Branch of the driver, a number, or V(auto) for the long-term branch 580, or what NVIDIA's repository has instead where it does not have that
        (595 for Debian 13).
      - Debian's own packages have one branch only, which is then taken.
    type: str
    default: auto
  version:
    description: Whole version within the branch, such as V(580.95.05); when not given, the one that is installed, or else the newest of the branch.
    type: str
    default: ""
  installed:
    description: Version of the driver's packages on the host as M(private_llm.platform.gpu_info) returns it. One of the branch is kept.
    type: str
    default: ""
  flavour:
    description: Kernel modules; V(auto) takes the open ones wherever they drive every GPU.
    type: str
    choices: [auto, open, proprietary]
    default: auto
  kernel:
    description: Release of the kernel that modules are for; the running one when not given.
    type: str
  next_kernel:
    description: Release of the kernel that the host boots next, as M(private_llm.platform.gpu_info) returns it. It gets modules, too.
    type: str
    default: ""
  kernel_metapackages:
    description: Packages that bring the next kernels, as M(private_llm.platform.gpu_info) returns them.
    type: list
    elements: str
    default: []
  packages:
    description: Installed packages as M(private_llm.platform.gpu_info) returns them; those of the other O(source) stand in the way.
    type: list
    elements: str
    default: []
seealso:
  - module: private_llm.platform.gpu_info
"""

EXAMPLES = r"""
- name: Look for GPUs
  private_llm.platform.gpu_info:
  register: found

- name: Choose the packages
  private_llm.platform.nvidia_driver_plan:
    gpus: "{{ found.gpus }}"
    secure_boot: "{{ found.secure_boot }}"
    nvswitch: "{{ found.nvswitch if found.nvswitch else omit }}"
  register: planned
"""

RETURN = r"""
plan:
  description: What to install.
  type: dict
  returned: success
  contains:
    branch:
      description: Branch of the driver.
      type: int
      sample: 580
    flavour:
      description: Kernel modules, C(open) or C(proprietary).
      type: str
      sample: open
    cuda_major:
      description: CUDA's major version that the branch brings.
      type: int
      sample: 13
    version:
      description: Pattern that the version of all of the driver's packages matches.
      type: str
      sample: 580.*
    headers:
      description: Packages that modules are compiled with; empty where they come compiled.
      type: list
      elements: str
      sample: [linux-headers-6.12.48+deb13-amd64, linux-headers-amd64]
    packages:
      description: Packages of the driver, as apt takes them.
      type: list
      elements: str
      sample: ["nvidia-kernel-open-dkms=580.*", "nvidia-driver-cuda=580.*", "nvidia-persistenced=580.*"]
    fabric_manager:
      description: Packages that an NVSwitch needs; empty where there is none.
      type: list
      elements: str
      sample: []
    components:
      description: Components of the distribution's repository that are needed.
      type: list
      elements: str
      sample: []
    pinned:
      description: Patterns of the names of packages that have to stay at the version.
      type: list
      elements: str
      sample: ["*nvidia*", "libcuda1"]
    held:
      description: Packages that only a run of the role may upgrade.
      type: list
      elements: str
      sample: [nvidia-kernel-open-dkms, nvidia-driver-cuda, nvidia-persistenced]
    kernels:
      description: Releases of the kernels that need modules, the running one first.
      type: list
      elements: str
      sample: [6.12.48+deb13-amd64]
    unwanted:
      description:
        - Repositories whose packages of the driver are not to be taken, each with C(release), as a pin of apt matches it, and C(packages), patterns
          of their names.
      type: list
      elements: dict
      sample: [{release: "o=Debian", packages: [libcuda1]}]
"""

import os
import re
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils import nvidia_plan
from ansible_collections.private_llm.platform.plugins.module_utils.cuda_repository import this_distribution


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "gpus": {"type": "list", "elements": "dict", "required": True},
            "secure_boot": {"type": "dict", "required": True},
            "nvswitch": {"type": "str"},
            "source": {"type": "str", "choices": [nvidia_plan.VENDOR, nvidia_plan.DISTRIBUTION], "default": nvidia_plan.VENDOR},
            "branch": {"type": "str", "default": "auto"},
            "version": {"type": "str", "default": ""},
            "installed": {"type": "str", "default": ""},
            "flavour": {"type": "str", "choices": ["auto", nvidia_plan.OPEN, nvidia_plan.PROPRIETARY], "default": "auto"},
            "kernel": {"type": "str"},
            "next_kernel": {"type": "str", "default": ""},
            "kernel_metapackages": {"type": "list", "elements": "str", "default": []},
            "packages": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    machine = os.uname()
    host = nvidia_plan.Host(
        *this_distribution(), machine.machine, given["kernel"] or machine.release, given["gpus"], given["nvswitch"] or None, given["secure_boot"],
        given["installed"], given["next_kernel"], given["kernel_metapackages"], given["packages"],
    )  # fmt: skip
    if not re.fullmatch(r"auto|\d{3}", given["branch"]):
        module.fail_json(msg=f"The branch '{given['branch']}' is none: give its number, such as 580, or auto. Nothing was changed.")
    branch = None if given["branch"] == "auto" else int(given["branch"])
    wish = nvidia_plan.Wish(given["source"], branch, given["version"], given["flavour"])
    if found := nvidia_plan.problems(host, wish):
        module.fail_json(msg=" ".join([*found, "Nothing was changed."]), problems=found)
    module.exit_json(changed=False, plan=asdict(nvidia_plan.plan(host, wish)))


if __name__ == "__main__":
    main()
