# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What all service modules take."""

    DOCUMENTATION = r"""
options:
  name:
    description: Name of the service; its unit is called NAME.service.
    type: str
    required: true
  state:
    description:
      - V(started) runs the service now and at boot.
      - V(stopped) keeps unit and files, but neither runs nor starts it at boot.
      - V(absent) removes unit and files. Data stays unless O(purge) is set.
    type: str
    choices: [started, stopped, absent]
    default: started
  purge:
    description: With O(state=absent), whether the service's data goes as well. It cannot be brought back.
    type: bool
    default: false
  description:
    description: One line for C(systemctl status).
    type: str
    default: ""
  environment:
    description: Environment variables that may be seen by anybody on the host.
    type: dict
    default: {}
  secret_environment:
    description: Environment variables whose values are secret. They are kept in a file with mode V(0600).
    type: dict
    default: {}
  files:
    description: Files that the program reads, each with its whole content.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the program sees the file.
        type: path
        required: true
      content:
        description: The file's content, when it is not secret.
        type: str
      secret_content:
        description: The file's content, when it is secret.
        type: str
      mode:
        description: Four octal digits in quotes; V(0644), or V(0600) for a secret file, when not given.
        type: str
      owner:
        description: User (name or number) that owns the file; who that is without it, the module says.
        type: str
      group:
        description: Group (name or number) of the file.
        type: str
  depends_on:
    description: Units that are started with this one and before it. It is not stopped with them.
    type: list
    elements: str
    default: []
  stop_timeout:
    description: Seconds that the program is given to end by itself.
    type: int
    default: 30
  health:
    description:
      - How the service shows that it is well. Without it the program has to stay up for a few seconds.
      - It is kept in the unit, which everybody on the host can read.
    type: dict
    suboptions:
      http:
        description: URL that is asked from the host.
        type: str
      tcp:
        description: HOST:PORT that has to accept a connection.
        type: str
      exec:
        description: Command that has to succeed; for a container it is run inside.
        type: list
        elements: str
      status:
        description: HTTP status that O(health.http) has to answer with.
        type: int
        default: 200
      interval:
        description: Seconds between two attempts.
        type: float
        default: 1.0
      timeout:
        description: Seconds until the service counts as failed.
        type: int
        default: 60
"""
