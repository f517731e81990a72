#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cuda_repository
short_description: Let apt use NVIDIA's repository of drivers, CUDA and DCGM
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Knows which of NVIDIA's repositories and which key belong to the host's distribution and processor, and does the rest as
    M(private_llm.platform.apt_source) does. All that install from it name the same entry, so that they cannot contradict each other.
attributes:
  check_mode:
    description: Can run in C(check_mode); the key is fetched and looked at, for that changes nothing.
    support: full
  diff_mode:
    description: Shows the entry.
    support: full
options:
  url:
    description: Where the directories of all distributions are; a mirror's for sites without Internet.
    type: str
    default: https://developer.download.nvidia.com/compute/cuda/repos
  key:
    description: Where the key is, an URL or an absolute path on the host; that in the repository itself when empty.
    type: str
    default: ""
  fingerprints:
    description: Whole fingerprints that the key may have, 40 or 64 hexadecimal digits each; NVIDIA's own when empty.
    type: list
    elements: str
    default: []
seealso:
  - module: private_llm.platform.apt_source
"""

EXAMPLES = r"""
- name: Let apt use NVIDIA's repository
  private_llm.platform.cuda_repository:
"""

RETURN = r"""
path:
  description: File with the entry.
  type: str
  returned: success
  sample: /etc/apt/sources.list.d/private-llm-cuda.sources
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils import apt_repository, cuda_repository
from ansible_collections.private_llm.platform.plugins.module_utils.service_module import runner
from ansible_collections.private_llm.platform.plugins.module_utils.web import fetched


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "default": cuda_repository.URL},
            "key": {"type": "str", "default": "", "no_log": False},
            "fingerprints": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        repository = cuda_repository.repository_for(
            *cuda_repository.this_distribution(), os.uname().machine, given["url"], given["key"], given["fingerprints"]
        )
        if problems := list(repository.problems()):
            module.fail_json(msg=f"The repository cannot be used as described, and nothing was changed: {'; '.join(problems)}.")
        module.exit_json(**apt_repository.present(apt_repository.Apt(runner(module)), repository, fetched, module.check_mode))
    except (cuda_repository.NoRepositoryError, apt_repository.RepositoryError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
