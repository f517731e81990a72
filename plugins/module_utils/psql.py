# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A PostgreSQL server that runs in a container of this host, spoken to by psql there."""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

# How a module is told where the server is.
ARGUMENT_SPEC: dict[str, Any] = {
    "container": {"type": "str", "required": True},
    "login_user": {"type": "str", "required": True},
    "login_database": {"type": "str", "default": "postgres"},
    "password_file": {"type": "path", "required": True, "no_log": False},
}

# What the server says to a password that is wrong, to a role that is not there, and to one that may not log in.
REFUSALS = ('password authentication failed for user "%s"', 'role "%s" does not exist', 'role "%s" is not permitted to log in')
# It says so after it has found the password right.
RIGHT_ALL_THE_SAME = "too many connections for role"
NOT_RUNNING = "The container %(container)s does not run; look at it with `systemctl status %(container)s`."
# Seconds after each try.
PAUSES = (1, 2, 0)


class Failed(Exception):
    """The server refused, in its own words."""


def identifier(name: str) -> str:
    """A name in SQL."""
    return '"%s"' % name.replace('"', '""')


def literal(text: str) -> str:
    """A text in SQL."""
    return "'%s'" % text.replace("'", "''")


class Server:
    """psql in the server's container. Statements go by standard input and passwords by the environment, so that no process list shows them."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._container: str = module.params["container"]
        self._user: str = module.params["login_user"]
        self._database: str = module.params["login_database"]
        self._password_file: str = module.params["password_file"]

    def runs(self) -> bool:
        """Whether the container is there and runs."""
        if self._module.get_bin_path("docker") is None:
            return False
        status, output, _error = self._module.run_command(["docker", "inspect", "-f", "{{.State.Running}}", self._container])
        return bool(status == 0 and output.strip() == "true")

    def ask(self, statements: str) -> str:
        """Carry out statements as one; what the last one selects, as unaligned text."""
        script = 'PGPASSWORD=$(cat "$1") exec psql --no-psqlrc --quiet --tuples-only --no-align --single-transaction --set=ON_ERROR_STOP=1 '
        script += '--host=127.0.0.1 --username="$2" --dbname="$3"'
        command = ["docker", "exec", "-i", self._container, "sh", "-c", script, "sh", self._password_file, self._user, self._database]
        status, output, error = self._module.run_command(command, data=statements, binary_data=True)
        if status != 0:
            raise Failed(error.strip().splitlines()[0] if error.strip() else "psql ended with status %d" % status)
        return str(output)

    def admits(self, name: str, password: str) -> bool:
        """Whether a role may log in with a password.

        Raises:
            Failed: It could not be found out, several times.
        """
        command = ["docker", "exec", "-i", "-e", "PGPASSWORD", self._container, "psql", "--no-psqlrc", "--quiet", "--host=127.0.0.1"]
        command += ["--username=%s" % name, "--dbname=%s" % self._database, "--command=SELECT 1"]
        for pause in PAUSES:
            status, _output, error = self._module.run_command(command, environ_update={"PGPASSWORD": password})
            if status == 0 or RIGHT_ALL_THE_SAME in error:
                return True
            if any(words % name in error for words in REFUSALS):
                return False
            # The engine, or the server, had no time for the question.
            time.sleep(pause)
        raise Failed("whether %s may log in was not to be found out: %s" % (name, error.strip() or "psql ended with status %d" % status))
