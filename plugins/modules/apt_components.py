#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apt_components
short_description: Let apt use further components of the distribution's own repositories
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Debian has drivers and firmware in components that a fresh host does not use (V(non-free) and others). This module adds the missing ones for each
    repository of Debian that the host uses already, with the same address and the same key, be it Debian's own or a mirror.
  - What others wrote stays as it is; the entries go to a file of their own.
attributes:
  check_mode:
    description: Can run in C(check_mode) and predicts what a real run would do.
    support: full
  diff_mode:
    description: Shows the file.
    support: full
options:
  name:
    description: Name of the file below C(/etc/apt/sources.list.d), without C(.sources).
    type: str
    required: true
  components:
    description: The components that are needed.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Let apt use what is not free
  private_llm.platform.apt_components:
    name: non-free
    components: [contrib, non-free, non-free-firmware]
"""

RETURN = r"""
path:
  description: File with the entries.
  type: str
  returned: success
  sample: /etc/apt/sources.list.d/non-free.sources
missing:
  description: Components that no other file of the host names.
  type: list
  elements: str
  returned: success
  sample: [contrib, non-free]
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils import apt_components
from ansible_collections.private_llm.platform.plugins.module_utils.managed_paths import Snapshot, write_atomically
from ansible_collections.private_llm.platform.plugins.module_utils.service_module import runner
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import CommandFailed, Runner, must


def _write(run: Runner, path: str, text: str) -> None:
    before = Snapshot.take(path)
    write_atomically(path, text.encode(), 0o644, os.geteuid(), os.getegid())
    try:
        must(run, ["apt-get", "update", "-q"])
    except CommandFailed:
        before.put_back()
        raise


def main() -> None:
    module = AnsibleModule(
        argument_spec={"name": {"type": "str", "required": True}, "components": {"type": "list", "elements": "str", "required": True}},
        supports_check_mode=True,
    )
    path = f"/etc/apt/sources.list.d/{module.params['name']}.sources"
    run = runner(module)
    try:
        known = apt_components.parse_targets(must(run, apt_components.TARGETS))
        entries = apt_components.entries(known, module.params["components"], path)
        text = apt_components.text(entries)
        before = (Snapshot.take(path).content or b"").decode()
        changed = before != text and bool(entries)
        if changed and not module.check_mode:
            _write(run, path, text)
    except CommandFailed as error:
        module.fail_json(msg=f"{error}. The file {path} is as it was.")
    if not known:
        module.fail_json(msg="apt uses no repository of this distribution: run apt-get update on the host, and look at /etc/apt/sources.list.")
    diff = {"before_header": path, "after_header": path, "before": before, "after": text if entries else before}
    module.exit_json(changed=changed, path=path, missing=sorted({name for entry in entries for name in entry.components}), diff=diff)


if __name__ == "__main__":
    main()
