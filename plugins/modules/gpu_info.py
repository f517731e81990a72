#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: Read which NVIDIA GPUs a host has and how far its driver is
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Finds NVIDIA's GPUs by their PCI device ids, with or without a driver, and says what each chip needs of driver, kernel modules and CUDA.
  - Tells which version of the driver is loaded, on disk and installed, and whether only a reboot makes them one.
  - A chip that is newer than this collection is named as such; its compute capability is then null and never guessed.
attributes:
  check_mode:
    description: Never changes anything.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: N/A
options:
  kernel:
    description: Release of the kernel whose modules are looked at; the running one when not given.
    type: str
  root:
    description: Directory with the host's C(sys) and C(proc). Only tests need another one than V(/).
    type: path
    default: /
"""

EXAMPLES = r"""
- name: Look for GPUs
  private_llm.platform.gpu_info:
  register: found

- name: Show what CUDA code has to be compiled for
  ansible.builtin.debug:
    msg: "-DCMAKE_CUDA_ARCHITECTURES={{ found.architectures | join(';') }}"

- name: Refuse a host whose driver waits for a reboot
  ansible.builtin.assert:
    that: not found.driver.reboot_due
    fail_msg: "{{ found.driver.reboot_reason }}"
"""

RETURN = r"""
gpus:
  description: The GPUs, by PCI address.
  type: list
  elements: dict
  returned: always
  contains:
    pci_address:
      description: Where the GPU is.
      type: str
      sample: "0000:01:00.0"
    device_id:
      description: PCI device id.
      type: str
      sample: "2204"
    name:
      description: Name of the card as the driver gives it, or the PCI ID database of the host, or the chip.
      type: str
      sample: NVIDIA GeForce RTX 3090
    chip:
      description: Name of the chip, C(unknown) where the id is in no table.
      type: str
      sample: GA102
    generation:
      description: Generation of the chip.
      type: str
      sample: Ampere
    compute_capability:
      description: Compute capability, null where it is not known.
      type: str
      sample: "8.6"
    architecture:
      description: The same as CMake's C(CMAKE_CUDA_ARCHITECTURES) takes it.
      type: str
      sample: "86"
    open_modules:
      description: Whether the open kernel modules are C(impossible), C(possible) or C(required).
      type: str
      sample: possible
    oldest_branch:
      description: First driver branch that knows the chip.
      type: int
      sample: 515
    newest_branch:
      description: Last driver branch that knows the chip, null where no end is known.
      type: int
    oldest_cuda:
      description: First release of CUDA that compiles for the chip.
      type: str
      sample: "11.1"
    newest_cuda:
      description: Last major version of CUDA that compiles for the chip, null where no end is known.
      type: int
    data_center:
      description: Whether it is a card for servers.
      type: bool
      sample: false
    kernel_driver:
      description: Driver that holds the GPU now.
      type: str
      sample: nvidia
architectures:
  description: Architectures of all GPUs as C(CMAKE_CUDA_ARCHITECTURES) takes them, smallest first.
  type: list
  elements: str
  returned: always
  sample: ["86"]
driver:
  description: How far the driver is; versions are null for what is not there.
  type: dict
  returned: always
  contains:
    loaded:
      description: Version of the module that the kernel runs.
      type: str
      sample: 580.95.05
    on_disk:
      description: Version of the module on disk for the kernel.
      type: str
      sample: 580.95.05
    package:
      description: Version of the libraries' package.
      type: str
      sample: 580.95.05
    module_package:
      description: Version of the modules' package.
      type: str
      sample: 580.95.05
    cuda_major:
      description: CUDA's major version that the driver brings, null without a driver.
      type: int
      sample: 13
    reboot_due:
      description: Whether only a reboot makes the installed driver work.
      type: bool
      sample: false
    reboot_reason:
      description: Why it is due, null where it is not.
      type: str
secure_boot:
  description: Whether Secure Boot is C(enabled), the C(certificate) that DKMS signs modules with, and whether it is C(enrolled).
  type: dict
  returned: always
  sample: {"enabled": false, "certificate": null, "enrolled": false}
nvswitch:
  description: C(pci) or C(nvlink5) where an NVSwitch joins the GPUs, null where there is none.
  type: str
  returned: always
kernel:
  description: Release of the kernel whose modules were looked at.
  type: str
  returned: always
  sample: 6.12.48+deb13-amd64
next_kernel:
  description: Release of the kernel that the host boots next, the newest one that is installed.
  type: str
  returned: always
  sample: 6.12.57+deb13-amd64
kernel_metapackages:
  description: Packages that bring the host its next kernels, by what follows C(linux-image-) in their names.
  type: list
  elements: str
  returned: always
  sample: [amd64]
packages:
  description: Installed packages that may be of a driver.
  type: list
  elements: str
  returned: always
  sample: [libcuda1, nvidia-driver-cuda, nvidia-kernel-open-dkms]
"""

import os
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils import gpus
from ansible_collections.private_llm.platform.plugins.module_utils.service_module import runner


def main() -> None:
    module = AnsibleModule(
        argument_spec={"kernel": {"type": "str"}, "root": {"type": "path", "default": "/"}},
        supports_check_mode=True,
    )
    root = module.params["root"]
    kernel = module.params["kernel"] or os.uname().release
    found = gpus.find_gpus(root)
    run = runner(module)
    driver = gpus.driver(run, kernel, root)
    reason = gpus.reboot_reason(driver, found)
    module.exit_json(
        changed=False,
        gpus=[gpus.described(gpu) for gpu in found],
        architectures=gpus.architectures(found),
        driver={**asdict(driver), "cuda_major": gpus.cuda_major(driver), "reboot_due": reason is not None, "reboot_reason": reason},
        secure_boot=gpus.secure_boot(root),
        nvswitch=gpus.nvswitch(root),
        kernel=kernel,
        next_kernel=gpus.next_kernel(kernel, root),
        kernel_metapackages=gpus.kernel_metapackages(run),
        packages=gpus.driver_packages(run),
    )


if __name__ == "__main__":
    main()
