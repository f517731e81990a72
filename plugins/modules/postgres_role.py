#!/usr/bin/python
# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_role
short_description: Manage a login role of a PostgreSQL that runs in a container
version_added: 0.1.0
description:
  - Makes a role that may log in, with a password, memberships and settings of its own, in a PostgreSQL server that runs as a container of this host.
  - Speaks to the server through C(psql) in its container, so the host needs no client.
  - Of O(login_user) itself the password alone is managed, so that it may be changed before the server's own files are; a server that does not run is
    left alone then.
  - The server is given the password's SCRAM verifier, so that the password itself is in none of its logs. Whether a password is still the same
    is found out by logging in with it.
author:
  - Private LLM Platform team (@private-llm)
extends_documentation_fragment:
  - private_llm.platform.psql
attributes:
  check_mode:
    description: Can run in C(check_mode) and predicts what a real run would do, also where the container does not run yet.
    support: full
  diff_mode:
    description: Shows memberships and settings; of the password only that it differs.
    support: full
options:
  name:
    description: Name of the role.
    type: str
    required: true
  password:
    description: Password of the role. Required for O(state=present).
    type: str
  member_of:
    description: Roles that it is a member of, such as V(pg_read_all_data); it is taken out of all others.
    type: list
    elements: str
    default: []
  settings:
    description: Server settings of its sessions, such as C(default_transaction_read_only).
    type: dict
    default: {}
  connection_limit:
    description: Connections that it may have at a time; V(-1) for any number.
    type: int
    default: -1
  state:
    description: V(absent) removes the role, which fails while it owns something.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Let people look at the data without changing it
  private_llm.platform.postgres_role:
    container: postgres-litellm
    login_user: litellm
    password_file: /run/secrets/postgres_password
    name: analyst
    password: "{{ platform_root_secret | private_llm.platform.derive_secret('postgres/analyst') }}"
    member_of: [pg_read_all_data]
    settings:
      default_transaction_read_only: "on"
      statement_timeout: 60s
    connection_limit: 5
"""

RETURN = r"""
actions:
  description: What was done, or would be.
  returned: success
  type: list
  elements: str
  sample: ["create", "password", "member_of"]
"""

import base64
import hashlib
import hmac
import json
import os
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils.psql import (
    ARGUMENT_SPEC,
    NOT_RUNNING,
    Failed,
    Server,
    identifier,
    literal,
)

NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
SETTING = re.compile(r"[a-z_][a-z0-9_.]*")
ITERATIONS = 4096


def verifier(password: str, salt: bytes) -> str:
    """What the server keeps of a password (SCRAM-SHA-256, RFC 5802)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    client = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, client, server)]
    return "SCRAM-SHA-256$%d:%s$%s" % (ITERATIONS, encoded[0], ":".join(encoded[1:]))


class RoleServer(Server):
    """A server that is asked for its roles."""

    def role(self, name: str) -> dict[str, Any] | None:
        """What the server has under that name."""
        statement = (
            "SELECT json_build_object('member_of', ARRAY(SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid "
            "WHERE m.member = r.oid ORDER BY 1), 'settings', coalesce(r.rolconfig, ARRAY[]::text[]), 'connection_limit', r.rolconnlimit, "
            "'login', r.rolcanlogin) FROM pg_roles r WHERE r.rolname = "
        )
        rows = self.ask(statement + literal(name) + ";")
        if not rows.strip():
            return None
        found: dict[str, Any] = json.loads(rows)
        found["settings"] = dict(setting.split("=", 1) for setting in found["settings"])
        return found


def is_own(given: dict[str, Any]) -> bool:
    """Whether the role is the one that the module itself logs in as."""
    return bool(given["name"] == given["login_user"])


def problems_of(given: dict[str, Any]) -> list[str]:
    """What is wrong with the parameters."""
    problems = ["%s is no name for a role: small letters, digits and _." % name for name in [given["name"], *given["member_of"]] if not NAME.fullmatch(name)]
    problems += ["%s is no name of a setting." % name for name in given["settings"] if not SETTING.fullmatch(str(name))]
    if is_own(given) and (given["state"], given["member_of"], given["settings"], given["connection_limit"]) != ("present", [], {}, -1):
        problems.append("name and login_user are the same role, of which the password alone can be changed.")
    return problems


def statements_of(given: dict[str, Any], found: dict[str, Any] | None, same_password: bool) -> list[tuple[str, str]]:
    """What there is to do, each with its SQL."""
    name = identifier(given["name"])
    change = ("password", "ALTER ROLE %s PASSWORD %s;" % (name, literal(verifier(given["password"] or "", os.urandom(16)))))
    if is_own(given):
        return [] if same_password else [change]
    if given["state"] == "absent":
        return [("drop", "DROP ROLE %s;" % name)] if found else []
    steps = []
    if found is None:
        steps.append(("create", "CREATE ROLE %s LOGIN;" % name))
        found = {"member_of": [], "settings": {}, "connection_limit": -1, "login": True}
    if not found["login"]:
        steps.append(("login", "ALTER ROLE %s LOGIN;" % name))
    if not same_password:
        steps.append(change)
    if found["connection_limit"] != given["connection_limit"]:
        steps.append(("connection_limit", "ALTER ROLE %s CONNECTION LIMIT %d;" % (name, given["connection_limit"])))
    groups = ["GRANT %s TO %s;" % (identifier(group), name) for group in given["member_of"] if group not in found["member_of"]]
    groups += ["REVOKE %s FROM %s;" % (identifier(group), name) for group in found["member_of"] if group not in given["member_of"]]
    wanted = {setting: str(value) for setting, value in given["settings"].items()}
    settings = ["ALTER ROLE %s SET %s = %s;" % (name, s, literal(v)) for s, v in sorted(wanted.items()) if found["settings"].get(s) != v]
    settings += ["ALTER ROLE %s RESET %s;" % (name, setting) for setting in sorted(found["settings"]) if setting not in wanted]
    return steps + [(kind, " ".join(sql)) for kind, sql in (("member_of", groups), ("settings", settings)) if sql]


def shown(given: dict[str, Any]) -> dict[str, Any]:
    """What a diff shows of a role."""
    return {"member_of": sorted(given["member_of"]), "settings": dict(given["settings"]), "connection_limit": given["connection_limit"]}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **ARGUMENT_SPEC,
            "name": {"type": "str", "required": True},
            "password": {"type": "str", "no_log": True},
            "member_of": {"type": "list", "elements": "str", "default": []},
            "settings": {"type": "dict", "default": {}},
            "connection_limit": {"type": "int", "default": -1},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["password"])],
        supports_check_mode=True,
    )
    given = module.params
    if problems := problems_of(given):
        module.fail_json(msg=" ".join(problems))
    server = RoleServer(module)
    try:
        runs = server.runs()
        if is_own(given) and (not runs or server.admits(given["name"], given["password"])):
            # Also after a run that ended between the change here and the change of the file by which the module logs in.
            module.exit_json(changed=False, actions=[])
        if not runs:
            if not module.check_mode:
                module.fail_json(msg=NOT_RUNNING % given)
            found = None
        else:
            found = server.role(given["name"])
        same_password = found is not None and given["state"] == "present" and found["login"] and server.admits(given["name"], given["password"])
        steps = statements_of(given, found, same_password)
        if steps and not module.check_mode:
            server.ask("\n".join(sql for _kind, sql in steps))
    except Failed as error:
        module.fail_json(msg="PostgreSQL in the container %s refused: %s" % (given["container"], error))
    actions = [kind for kind, _sql in steps]
    after = shown(given) if given["state"] == "present" else {}
    before = shown(found) if found else {}
    if "password" in actions:
        before["password"], after["password"] = "the old one", "the new one"
    module.exit_json(changed=bool(steps), actions=actions, diff={"before": before, "after": after})


if __name__ == "__main__":
    main()
