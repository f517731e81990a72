#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apt_source
short_description: Let apt use a vendor's repository, trusting one known key and no other
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Fetches the repository's key and refuses one whose fingerprint is not the expected one, writes an entry that trusts this key alone, and takes the
    repository's index. A repository that is not signed with its key is taken back, so that apt keeps working.
  - A key that is there and right is not fetched again. An interrupted run is finished by the next one.
attributes:
  check_mode:
    description: Can run in C(check_mode); the key is fetched and looked at, for that changes nothing.
    support: full
  diff_mode:
    description: Shows the entry.
    support: full
options:
  name:
    description: Name of the entry and of the key's file.
    type: str
    required: true
  state:
    description: Whether apt uses the repository.
    type: str
    choices: [present, absent]
    default: present
  uri:
    description: Address of the repository.
    type: str
  key:
    description: Where the key is, an URL or an absolute path on the host.
    type: str
  fingerprints:
    description: Whole fingerprints that keys in the file may have, 40 or 64 hexadecimal digits each.
    type: list
    elements: str
    default: []
  suites:
    description: Suites; one that ends with a slash is a directory.
    type: list
    elements: str
    default: ["/"]
  components:
    description: Components; none for a suite that is a directory.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Let apt use the container toolkit's repository
  private_llm.platform.apt_source:
    name: nvidia-container-toolkit
    uri: https://nvidia.github.io/libnvidia-container/stable/deb/amd64
    key: https://nvidia.github.io/libnvidia-container/gpgkey
    fingerprints: [C95B321B61E88C1809C4F759DDCAE044F796ECB0]
"""

RETURN = r"""
path:
  description: File with the entry.
  type: str
  returned: success
  sample: /etc/apt/sources.list.d/nvidia-container-toolkit.sources
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils import apt_repository
from ansible_collections.private_llm.platform.plugins.module_utils.service_module import runner
from ansible_collections.private_llm.platform.plugins.module_utils.web import fetched


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "uri": {"type": "str"},
            "key": {"type": "str", "no_log": False},
            "fingerprints": {"type": "list", "elements": "str", "default": []},
            "suites": {"type": "list", "elements": "str", "default": ["/"]},
            "components": {"type": "list", "elements": "str", "default": []},
        },
        required_if=[("state", "present", ("uri", "key", "fingerprints"))],
        supports_check_mode=True,
    )
    given = module.params
    apt = apt_repository.Apt(runner(module))
    if given["state"] == "absent":
        module.exit_json(**apt_repository.absent(apt, given["name"], module.check_mode))
    wanted = ("name", "uri", "key", "fingerprints", "suites", "components")
    repository = apt_repository.Repository(**{name: given[name] for name in wanted})
    if problems := list(repository.problems()):
        module.fail_json(msg=f"The repository cannot be used as described, and nothing was changed: {'; '.join(problems)}.")
    try:
        module.exit_json(**apt_repository.present(apt, repository, fetched, module.check_mode))
    except apt_repository.RepositoryError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
