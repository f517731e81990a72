#!/usr/bin/python
# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: langfuse_project_keys
short_description: Delete the keys with which a Langfuse project was recorded before
version_added: 0.2.0
description:
  - Langfuse makes the key that its environment names at a start, knows it by its public half, and never deletes one. So a key that was changed goes on
    recording and reading until it is deleted, which this does.
  - Keys that people made on Langfuse's pages are left alone.
  - Works on Langfuse's database, because its API deletes keys for owners of an enterprise licence alone.
author:
  - Private LLM Platform team (@private-llm)
extends_documentation_fragment:
  - private_llm.platform.psql
attributes:
  check_mode:
    description: Can run in C(check_mode) and predicts what a real run would do, also before the container runs or Langfuse has made the new key.
    support: full
  diff_mode:
    description: Shows the public halves of the keys that were made at a start.
    support: full
options:
  project_id:
    description: Id of the project.
    type: str
    required: true
  public_key:
    description: Public half of the key that is in use. Nothing is deleted unless Langfuse has it.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Take away the keys of before
  private_llm.platform.langfuse_project_keys:
    container: postgres-langfuse
    login_user: langfuse
    login_database: langfuse
    password_file: /run/secrets/postgres_password
    project_id: platform
    public_key: pk-lf-0123456789abcdef
"""

RETURN = r"""
deleted:
  description: Public halves of the keys that were deleted, or would be.
  returned: success
  type: list
  elements: str
  sample: [pk-lf-gateway]
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils.psql import ARGUMENT_SPEC, NOT_RUNNING, Failed, Server, literal

# What Langfuse notes on a key that it made out of its environment.
NOTE_OF_A_START = "Provisioned API Key"


def made_at_a_start(server: Server, project: str) -> list[str]:
    """Public halves of the keys that starts of Langfuse have made in a project, in order."""
    statement = "SELECT coalesce(json_agg(public_key ORDER BY public_key), '[]') FROM api_keys WHERE project_id = %s AND note = %s;"
    found: list[str] = json.loads(server.ask(statement % (literal(project), literal(NOTE_OF_A_START))))
    return found


def delete(server: Server, project: str, public_keys: list[str]) -> None:
    """Delete keys of a project."""
    statement = "DELETE FROM api_keys WHERE project_id = %s AND public_key IN (%s);"
    server.ask(statement % (literal(project), ", ".join(literal(key) for key in public_keys)))


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **ARGUMENT_SPEC,
            "project_id": {"type": "str", "required": True},
            "public_key": {"type": "str", "required": True, "no_log": False},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    server = Server(module)
    try:
        if not server.runs():
            if module.check_mode:
                module.exit_json(changed=False, deleted=[])
            module.fail_json(msg=NOT_RUNNING % given)
        found = made_at_a_start(server, given["project_id"])
        if given["public_key"] not in found and not module.check_mode:
            module.fail_json(
                msg="Langfuse has no key %(public_key)s in the project %(project_id)s, so the keys of before were left; it makes the key at its start: "
                "look at `journalctl -u langfuse-web`." % given
            )
        old = [key for key in found if key != given["public_key"]]
        if old and not module.check_mode:
            delete(server, given["project_id"], old)
    except Failed as error:
        module.fail_json(msg="PostgreSQL in the container %s refused: %s" % (given["container"], error))
    module.exit_json(changed=bool(old), deleted=old, diff={"before": {"keys": found}, "after": {"keys": [key for key in found if key not in old]}})


if __name__ == "__main__":
    main()
