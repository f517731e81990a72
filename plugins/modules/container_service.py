#!/usr/bin/python
# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container_service
short_description: Run a container as a systemd service, in one transaction
version_added: 0.1.0
description:
  - Takes over everything that makes a service out of a container image, namely the systemd unit, configuration files, secrets, networks and directories.
  - What runs carries a fingerprint of its whole definition. Equal fingerprints mean there is nothing to do; a different one leads to exactly one restart.
    An interrupted run is therefore finished by the next one, and no handler is needed.
  - The image is on the host before anything is stopped. The unit itself never pulls, so the host boots without a network.
  - Everything new is written beside what runs, and the unit is replaced last. So a run that is killed, or a host that loses power, leaves a
    service that starts, and the next run finishes the work.
  - After a restart the module waits for the service's own health check. When it fails, the previous unit with its image and files is put back,
    started and waited for.
  - Safe by default. All capabilities are dropped, no new privileges can be gained, the root file system is read-only,
    and every published port has to name its address.
  - A description that cannot work, or would work in a way that nobody asked for, is refused before anything is changed, with all its problems at once.
  - A file belongs to the user of O(user) unless it names another owner.
  - A directory of O(volumes) that is to have another owner is handed over with what it holds, while the service is stopped, and handed back when the new
    service does not work. What is root's stays root's. O(jobs) run before that.
  - The engine is told no secret variable, for it keeps a container's environment in its own files and tells whoever asks. A shell in the container reads
    O(secret_environment) from a file and becomes the program, so the image has to have C(/bin/sh), and O(user) has to be given. What is started by
    C(docker exec) does not see these variables.
extends_documentation_fragment:
  - private_llm.platform.service
author:
  - Private LLM Platform team (@private-llm)
attributes:
  check_mode:
    description: Can run in C(check_mode) and predicts what a real run would do, also on a host that has no container engine yet.
    support: full
  diff_mode:
    description: Shows units and files; of secrets only that they differ.
    support: full
options:
  image:
    description:
      - Image to run, with registry and tag or digest. Required for O(state=started).
      - What is on the host under this name is taken; it is fetched when nothing is. The unit names it by digest, or by its ID where no registry gave one.
    type: str
  image_digests:
    description:
      - Digests by image (name and tag), each a dictionary with C(digest), as M(private_llm.platform.image_digests) writes them. With any of them
        O(image) runs by its digest, and one that is not named and has none is refused.
      - Given once for all services of a play with C(module_defaults).
    type: dict
    default: {}
    version_added: 0.2.0
  image_mirror:
    description:
      - Name of a registry, perhaps with a path, that has a copy of every image below the image's whole name, registry included. With
        V(registry.example.com/mirror) an O(image) of C(ghcr.io/team/web:1) is C(registry.example.com/mirror/ghcr.io/team/web:1).
      - Given once for all services of a play with C(module_defaults).
    type: str
    default: ""
    version_added: 0.2.0
  command:
    description: Arguments that replace the image's own command.
    type: list
    elements: str
    default: []
  entrypoint:
    description: Program that replaces the image's own entry point.
    type: str
  volumes:
    description: Directories of the host that the container sees.
    type: list
    elements: dict
    default: []
    suboptions:
      source:
        description: Path on the host.
        type: path
        required: true
      target:
        description: Path in the container.
        type: path
        required: true
      read_only:
        description: Whether the container may only read it.
        type: bool
        default: false
      follow_mounts:
        description: Whether file systems that are mounted or taken off below it on the host later come and go in the container too.
        type: bool
        default: false
      owner:
        description: User that owns the directory. With O(volumes[].mode) the directory is made when it is missing.
        type: str
      group:
        description: Group of the directory.
        type: str
      mode:
        description: Four octal digits in quotes, the mode of the directory; without it the path is taken as it is and has to exist.
        type: str
  networks:
    description: Bridge networks of the container, made when missing. Without any it has no network at all.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the network.
        type: str
        required: true
      subnet:
        description: Its addresses in CIDR notation; the engine chooses when not given.
        type: str
      bridge:
        description: Name of the host's bridge device; the engine chooses when not given.
        type: str
      internal:
        description: Whether the network is cut off from everything but its own members and the host.
        type: bool
        default: false
      masquerade:
        description: Whether containers reach other networks through the host's address. Off by default, so that nothing leaves.
        type: bool
        default: false
  publish:
    description: Ports of the container that the host answers on, each as ADDRESS:HOST_PORT:CONTAINER_PORT. A port without an address is refused.
    type: list
    elements: str
    default: []
  user:
    description:
      - User (and group) the container runs as, as UID or UID:GID; the image decides when not given.
      - Where somebody can log in to the host under that number, a warning says so, for that account can read what the program holds.
    type: str
  capabilities:
    description: Capabilities given back after all of them were dropped.
    type: list
    elements: str
    default: []
  apparmor:
    description: Profile of AppArmor; V(default) is the engine's own, V(unconfined) none, for what that one keeps from working, such as D-Bus.
    type: str
    choices: [default, unconfined]
    default: default
  devices:
    description: Devices, by path or by CDI name such as V(nvidia.com/gpu=all).
    type: list
    elements: str
    default: []
  read_only:
    description: Whether the root file system is read-only.
    type: bool
    default: true
  tmpfs:
    description: Directories in memory, each as PATH or PATH:OPTIONS.
    type: list
    elements: str
    default: []
  memory:
    description: Memory limit such as V(512m); it includes swap.
    type: str
  shm_size:
    description: Size of the shared memory C(/dev/shm) such as V(256m), which counts towards O(memory); the engine's own 64 MiB when not given.
    type: str
  cpus:
    description: Number of processors the container may use.
    type: float
  pids:
    description: Number of processes the container may have.
    type: int
    default: 512
  ulimits:
    description: Resource limits such as C(nofile) with a value of V(65536:65536).
    type: dict
    default: {}
  extra_hosts:
    description: Host names and their addresses, known inside the container.
    type: dict
    default: {}
  labels:
    description:
      - Labels of the container. Each line that its program logs carries them into the journal as well, in capitals with C(_) for other characters.
    type: dict
    default: {}
  jobs:
    description:
      - Programs of the image, such as a database migration, that run to their end before the service is started anew, in this order. They see
        the files, variables, volumes and networks of the service.
      - Each runs once for an image and its input (O(jobs[].once_per)); input is everything that the job sees of files and variables, and its
        own description.
      - When one fails, the task fails and the service that runs was not touched.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the job; its container is called NAME-JOB.
        type: str
        required: true
      command:
        description: Arguments for the entry point.
        type: list
        elements: str
        default: []
      entrypoint:
        description: Program that replaces the image's own entry point.
        type: str
      environment:
        description: Further environment variables, none of them secret.
        type: dict
        default: {}
      timeout:
        description: Seconds that the job may take.
        type: int
        default: 600
      once_per:
        description: V(image) for a job whose outcome does not depend on files and variables, such as a database migration; it runs once for an image.
        type: str
        choices: [input, image]
        default: input
  before_upgrade:
    description:
      - Command of the host that runs before O(jobs) when another image is about to take over, such as a dump of the database that it will change.
        What ran before still runs. When the command fails, so does the task, and nothing was changed.
    type: list
    elements: str
    default: []
    version_added: 0.2.0
  live_files:
    description:
      - Files that the running program reads again, by itself or when O(reload) asks it to. A change of them alone is no restart.
      - The directory of each is mounted as a whole, so that nothing else of O(files) and O(volumes) may lie in it.
      - O(jobs) see the wanted files before the running program does. One that checks them keeps a broken file from being used.
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
        description: User (name or number) that owns the file.
        type: str
      group:
        description: Group (name or number) of the file.
        type: str
  reload:
    description:
      - How the running program is asked to read its O(live_files) again. When it refuses them, those before are put back and read again.
      - Without it the program is taken to watch its files.
    type: dict
    suboptions:
      http:
        description: URL that takes an empty POST and answers with an error when it refuses.
        type: str
      exec:
        description: Command that is run inside the container and has to succeed.
        type: list
        elements: str
seealso:
  - module: private_llm.platform.native_service
"""

EXAMPLES = r"""
- name: Run a database that only this host can reach
  private_llm.platform.container_service:
    name: inventory-db
    image: docker.io/library/postgres:17-trixie
    user: "999:999"
    publish: ["127.0.0.1:5499:5432"]
    networks:
      - name: inventory
        internal: false
    environment:
      POSTGRES_PASSWORD_FILE: /run/secrets/password
    files:
      - path: /run/secrets/password
        secret_content: "{{ inventory_db_password }}"
    volumes:
      - source: /var/lib/inventory-db
        target: /var/lib/postgresql/data
        mode: "0700"
    tmpfs: [/tmp, /run/postgresql]
    memory: 512m
    labels:
      team: stock
    stop_timeout: 120
    health:
      exec: [pg_isready, --host=127.0.0.1, --username=postgres]

- name: Change the database's schema once for each image and input, then run what uses it
  private_llm.platform.container_service:
    name: inventory-report
    image: docker.io/library/postgres:17-trixie
    user: "999:999"
    entrypoint: /bin/sleep
    command: [infinity]
    networks:
      - name: inventory
    secret_environment:
      PGPASSWORD: "{{ inventory_db_password }}"
    jobs:
      - name: migrate
        entrypoint: /usr/bin/psql
        command: [--host=inventory-db, --username=postgres, --command, CREATE TABLE IF NOT EXISTS parts (name text)]
    depends_on: [inventory-db.service]
    stop_timeout: 1

- name: Change what a program reads without stopping it, and only when it is in order
  private_llm.platform.container_service:
    name: inventory-watch
    image: docker.io/library/postgres:17-trixie
    user: "999:999"
    entrypoint: /bin/bash
    command: [-c, "trap 'cat /etc/watch/names' HUP; while :; do sleep 1; done"]
    networks:
      - name: inventory
    live_files:
      - path: /etc/watch/names
        content: "screws\n"
    jobs:
      - name: check
        entrypoint: /usr/bin/grep
        command: [--quiet, "^[a-z]", /etc/watch/names]
    reload:
      exec: [bash, -c, kill -HUP 1]
    stop_timeout: 1

- name: Take the services away, with unit and files
  private_llm.platform.container_service:
    name: "{{ item }}"
    state: absent
  loop: [inventory-report, inventory-watch]

- name: Take the database away with its data
  private_llm.platform.container_service:
    name: inventory-db
    state: absent
    purge: true
    volumes:
      - source: /var/lib/inventory-db
        target: /var/lib/postgresql/data
        mode: "0700"
    networks:
      - name: inventory
"""

RETURN = r"""
actions:
  description:
    - What was done (or, in check mode, would be done), each as C(KIND) C(:) what, and why in brackets.
    - Kinds are C(image), C(network), C(directory), C(file), C(environment), C(secret_environment), C(unit), C(job), C(enable), C(restart), C(reload),
      C(finish), C(tidy), C(stop), C(disable) and C(remove).
  returned: success
  type: list
  elements: str
  sample: ["file: /etc/web.conf (content)", "environment: web (COLOUR changed)", "restart: web.service (changed: file, environment)"]
unit:
  description: Name of the unit.
  returned: success
  type: str
  sample: web.service
fingerprint:
  description: Hash of the definition, which the running container carries as its label C(private_llm.platform.fingerprint).
  returned: success
  type: str
  sample: 0123456789abcdef0123456789abcdef
"""

from ansible_collections.private_llm.platform.plugins.module_utils import container_checks
from ansible_collections.private_llm.platform.plugins.module_utils.container_backend import ContainerBackend
from ansible_collections.private_llm.platform.plugins.module_utils.docker_cli import DockerCli
from ansible_collections.private_llm.platform.plugins.module_utils.image_registry import RegistryError, mirror_problem, mirrored, pinned
from ansible_collections.private_llm.platform.plugins.module_utils.reloading import RELOAD_OPTIONS
from ansible_collections.private_llm.platform.plugins.module_utils.service_module import (
    SERVICE_OPTIONS,
    ServiceModule,
    carry_out_and_exit,
    refuse,
    runner,
)

VOLUME_OPTIONS = {
    "source": {"type": "path", "required": True},
    "target": {"type": "path", "required": True},
    "read_only": {"type": "bool", "default": False},
    "follow_mounts": {"type": "bool", "default": False},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "str"},
}
NETWORK_OPTIONS = {
    "name": {"type": "str", "required": True},
    "subnet": {"type": "str"},
    "bridge": {"type": "str"},
    "internal": {"type": "bool", "default": False},
    "masquerade": {"type": "bool", "default": False},
}
JOB_OPTIONS = {
    "name": {"type": "str", "required": True},
    "command": {"type": "list", "elements": "str", "default": []},
    "entrypoint": {"type": "str"},
    "environment": {"type": "dict", "default": {}},
    "timeout": {"type": "int", "default": 600},
    "once_per": {"type": "str", "choices": ["input", "image"], "default": "input"},
}


def main() -> None:
    """Entry point."""
    module = ServiceModule(
        argument_spec={
            **SERVICE_OPTIONS,
            "image": {"type": "str"},
            "image_digests": {"type": "dict", "default": {}},
            "image_mirror": {"type": "str", "default": ""},
            "command": {"type": "list", "elements": "str", "default": []},
            "entrypoint": {"type": "str"},
            "volumes": {"type": "list", "elements": "dict", "default": [], "options": VOLUME_OPTIONS},
            "networks": {"type": "list", "elements": "dict", "default": [], "options": NETWORK_OPTIONS},
            "publish": {"type": "list", "elements": "str", "default": []},
            "user": {"type": "str"},
            "capabilities": {"type": "list", "elements": "str", "default": []},
            "apparmor": {"type": "str", "choices": ["default", "unconfined"], "default": "default"},
            "devices": {"type": "list", "elements": "str", "default": []},
            "read_only": {"type": "bool", "default": True},
            "tmpfs": {"type": "list", "elements": "str", "default": []},
            "memory": {"type": "str"},
            "cpus": {"type": "float"},
            "shm_size": {"type": "str"},
            "pids": {"type": "int", "default": 512},
            "ulimits": {"type": "dict", "default": {}},
            "extra_hosts": {"type": "dict", "default": {}},
            "labels": {"type": "dict", "default": {}},
            "jobs": {"type": "list", "elements": "dict", "default": [], "options": JOB_OPTIONS},
            "before_upgrade": {"type": "list", "elements": "str", "default": []},
            "live_files": {**SERVICE_OPTIONS["files"]},
            "reload": RELOAD_OPTIONS,
        },
        required_if=[("state", "started", ["image"])],
        supports_check_mode=True,
    )
    if problem := mirror_problem(module.params["image_mirror"]):
        refuse(module, [f"image_mirror: {problem}"])
    if module.params["state"] == "started":
        try:
            module.params["image"] = mirrored(pinned(module.params["image"], module.params["image_digests"]), module.params["image_mirror"])
        except RegistryError as error:
            refuse(module, [str(error)])
    refuse(module, container_checks.problems(module.params))
    run = runner(module)
    backend = ContainerBackend(module.params, DockerCli(run), run, module.check_mode)
    for warning in backend.warnings():
        module.warn(warning)
    carry_out_and_exit(module, backend, run)


if __name__ == "__main__":
    main()
