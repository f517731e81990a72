#!/usr/bin/python
# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: native_service
short_description: Run a program of the host as a systemd service, in one transaction
version_added: 0.1.0
description:
  - Takes over everything that makes a service out of a program, namely the systemd unit, configuration files, secrets, directories and
    the symbolic link that selects its release.
  - The running process carries a fingerprint of its whole definition in its environment. Equal fingerprints mean there is nothing to do; a
    different one leads to exactly one restart. An interrupted run is therefore finished by the next one, and no handler is needed.
  - After a restart the module waits for the service's own health check. When it fails, the previous files, links and unit are put back and started.
  - A run that is killed leaves a service that runs and a journal of what it was; the next run finishes the work, or goes all the way back.
  - A description that cannot work is refused before anything is changed, with all its problems at once.
  - A file belongs to root unless it names another owner. It has to be in C(/etc/NAME), C(/etc/private-llm/NAME) or one of O(directories).
extends_documentation_fragment:
  - private_llm.platform.service
author:
  - Private LLM Platform team (@private-llm)
attributes:
  check_mode:
    description: Can run in C(check_mode) and predicts what a real run would do.
    support: full
  diff_mode:
    description: Shows units and files; of secrets only that they differ.
    support: full
options:
  unit_source:
    description:
      - V(managed) writes the whole unit.
      - V(package) adds to a unit that a package ships.
    type: str
    choices: [managed, package]
    default: managed
  exec_start:
    description: Program and arguments. Required for O(unit_source=managed) unless O(state=absent).
    type: list
    elements: str
    default: []
  user:
    description: User that the program runs as.
    type: str
  group:
    description: Group that the program runs as.
    type: str
  directories:
    description: Directories that the program needs. They are made when missing, and removed by O(purge) only.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the directory is.
        type: path
        required: true
      owner:
        description: User that owns it.
        type: str
        default: root
      group:
        description: Group of it.
        type: str
        default: root
      mode:
        description: Four octal digits in quotes, the mode.
        type: str
        default: "0755"
  links:
    description: Symbolic links that are switched with the service, for instance to a release directory.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the link is.
        type: path
        required: true
      target:
        description: What it points to.
        type: path
        required: true
      keep:
        description:
          - How many directories beside O(links[].target) stay once the service is known to be well, the newest first; all when not given.
          - They have to be in a directory called C(releases).
        type: int
  unit_options:
    description: Further directives of the unit's C([Unit]) section; a value may be a list, and one given here wins over the module's own.
    type: dict
    default: {}
  service_options:
    description: Further directives of the unit's C([Service]) section, such as hardening; a value may be a list.
    type: dict
    default: {}
  listen_streams:
    description:
      - Addresses of a socket that systemd listens on, each as ADDRESS:PORT or an absolute path. A port without an address is refused.
      - The service is then started by the first connection.
    type: list
    elements: str
    default: []
  socket_options:
    description: Further directives of the C([Socket]) section.
    type: dict
    default: {}
  drain:
    description:
      - Lets the program finish what it works on before it is stopped, be it by this module, by hand or at shutdown. It takes no new connection
        from then on; who tries waits, and is answered by the program that is started next. It is stopped when no connection is left.
      - Uses C(/usr/bin/python3) and Linux 5.6 or newer. A client that keeps a connection open between requests is waited for up to the bound.
    type: dict
    suboptions:
      timeout:
        description: Seconds after which the program is stopped all the same.
        type: int
        required: true
seealso:
  - module: private_llm.platform.container_service
"""

EXAMPLES = r"""
- name: Run a release of a program
  private_llm.platform.native_service:
    name: ticker
    exec_start: [/opt/ticker/current/ticker, --listen, "127.0.0.1:9000"]
    user: ticker
    links:
      - path: /opt/ticker/current
        target: /opt/ticker/releases/1.4.0
        keep: 3
    drain:
      timeout: 60
    service_options:
      ProtectSystem: strict
      NoNewPrivileges: true
    health:
      tcp: 127.0.0.1:9000

- name: Give a packaged service its configuration, and restart it when that differs from what runs
  private_llm.platform.native_service:
    name: docker
    unit_source: package
    files:
      - path: /etc/docker/daemon.json
        content: '{"log-driver": "journald"}'
    health:
      exec: [docker, version]
"""

RETURN = r"""
actions:
  description:
    - What was done (or, in check mode, would be done), each as C(KIND) C(:) what, and why in brackets.
    - Kinds are C(directory), C(file), C(secret_environment), C(link), C(unit), C(enable), C(restart), C(finish), C(tidy), C(stop), C(disable) and C(remove).
  returned: success
  type: list
  elements: str
  sample: ["link: /opt/ticker/current (target)", "restart: ticker.service (changed: link)"]
unit:
  description: Name of the unit that is started, a service or a socket.
  returned: success
  type: str
  sample: ticker.service
fingerprint:
  description: Hash of the definition, which the running program carries in its environment as C(PRIVATE_LLM_FINGERPRINT).
  returned: success
  type: str
  sample: 0123456789abcdef0123456789abcdef
"""

from ansible_collections.private_llm.platform.plugins.module_utils import native_checks
from ansible_collections.private_llm.platform.plugins.module_utils.native_backend import NativeBackend
from ansible_collections.private_llm.platform.plugins.module_utils.service_module import (
    SERVICE_OPTIONS,
    ServiceModule,
    carry_out_and_exit,
    refuse,
    runner,
)

DIRECTORY_OPTIONS = {
    "path": {"type": "path", "required": True},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str", "default": "0755"},
}
LINK_OPTIONS = {"path": {"type": "path", "required": True}, "target": {"type": "path", "required": True}, "keep": {"type": "int"}}


def main() -> None:
    """Entry point."""
    module = ServiceModule(
        argument_spec={
            **SERVICE_OPTIONS,
            "unit_source": {"type": "str", "choices": ["managed", "package"], "default": "managed"},
            "exec_start": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str"},
            "group": {"type": "str"},
            "directories": {"type": "list", "elements": "dict", "default": [], "options": DIRECTORY_OPTIONS},
            "links": {"type": "list", "elements": "dict", "default": [], "options": LINK_OPTIONS},
            "unit_options": {"type": "dict", "default": {}},
            "service_options": {"type": "dict", "default": {}},
            "listen_streams": {"type": "list", "elements": "str", "default": []},
            "socket_options": {"type": "dict", "default": {}},
            "drain": {"type": "dict", "options": {"timeout": {"type": "int", "required": True}}},
        },
        supports_check_mode=True,
    )
    refuse(module, native_checks.problems(module.params))
    run = runner(module)
    carry_out_and_exit(module, NativeBackend(module.params, run), run)


if __name__ == "__main__":
    main()
