#!/usr/bin/python
# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: versions_info
short_description: List every version that is deployed on a host
version_added: 0.2.0
description:
  - Lists the operating system and its kernel, packages, images of the containers that this collection runs (with digest and the day they were built),
    releases that a link points at, and files such as models. Changes nothing.
author:
  - Private LLM Platform team (@private-llm)
attributes:
  check_mode:
    description: Never changes anything.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: N/A
options:
  packages:
    description: Names of Debian packages; V(*) stands for any characters. Those that are not installed are left out.
    type: list
    elements: str
    default: []
  releases:
    description: Symbolic links that select a release; one that is not there is left out.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What it is a release of.
        type: str
        required: true
      link:
        description: The link.
        type: path
        required: true
  files:
    description: Files whose content matters, such as models, each as a path in which V(*) stands for any characters. They are read in full.
    type: list
    elements: str
    default: []
seealso:
  - module: private_llm.platform.container_service
"""

EXAMPLES = r"""
- name: List what runs here
  private_llm.platform.versions_info:
    packages: [docker-ce, containerd.io, "nvidia-driver*"]
    releases:
      - name: llama.cpp
        link: /opt/llama.cpp/current
    files: ["/var/lib/llama/models/*.gguf"]
"""

RETURN = r"""
versions:
  description: One entry for each thing, in the order of kind and name.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: C(system), C(package), C(image), C(release) or C(file).
      type: str
    name:
      description: What it is.
      type: str
    version:
      description: Its version; of an image its name with tag, of a file its size in bytes.
      type: str
    identity:
      description: What no other one has, such as an image's digest or a file's checksum; empty where there is none.
      type: str
    built:
      description: When an image was built (ISO 8601); empty for everything else.
      type: str
  sample: [{"kind": "package", "name": "containerd.io", "version": "2.1.5-1", "identity": "", "built": ""}]
"""

import glob
import hashlib
import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils.docker_cli import LABEL
from ansible_collections.private_llm.platform.plugins.module_utils.service_module import runner
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import Runner

DOCKER = "/usr/bin/docker"
PIECE_BYTES = 1 << 20


def entry(kind: str, name: str, version: str, identity: str = "", built: str = "") -> dict[str, str]:
    """One line of the list."""
    return {"kind": kind, "name": name, "version": version, "identity": identity, "built": built}


def system(os_release: str, kernel: str) -> list[dict[str, str]]:
    """The operating system, of the text of /etc/os-release, and its kernel."""
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    return [entry("system", "operating system", fields.get("PRETTY_NAME", "unknown").strip('"')), entry("system", "kernel", kernel)]


def packages(run: Runner, names: list[str]) -> list[dict[str, str]]:
    """Those of the named packages that are installed."""
    if not names:
        return []
    # Names that nothing has make it fail, and are no news.
    _status, output, _error = run(["dpkg-query", "--show", "--showformat", "${db:Status-Status}\t${Package}\t${Version}\n", *names])
    rows = [line.split("\t") for line in output.splitlines() if line.count("\t") == 2]
    return [entry("package", name, version) for status, name, version in rows if status == "installed"]


def images(run: Runner) -> list[dict[str, str]]:
    """The image of each container that this collection runs."""
    status, output, _error = run([DOCKER, "ps", "--quiet", "--filter", f"label={LABEL}"])
    containers = output.split() if status == 0 else []
    if not containers:
        return []
    _status, output, _error = run([DOCKER, "container", "inspect", *containers])
    found = []
    for container in json.loads(output):
        _status, output, _error = run([DOCKER, "image", "inspect", container["Image"]])
        image = json.loads(output)[0]
        tags = image.get("RepoTags") or []
        digests = image.get("RepoDigests") or []
        identity = digests[0].partition("@")[2] if digests else image["Id"]
        name = container["Name"].lstrip("/")
        found.append(entry("image", name, tags[0] if tags else container["Config"]["Image"], identity, image.get("Created", "")))
    return found


def releases(wanted: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What the links point at."""
    return [entry("release", one["name"], os.path.basename(os.readlink(one["link"]))) for one in wanted if os.path.islink(one["link"])]


def checksum(path: str) -> str:
    """SHA-256 of a file of any size."""
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(PIECE_BYTES):
            found.update(piece)
    return found.hexdigest()


def files(patterns: list[str]) -> list[dict[str, str]]:
    """The files that are there."""
    paths = sorted({path for pattern in patterns for path in glob.glob(pattern) if os.path.isfile(path)})
    return [entry("file", path, f"{os.path.getsize(path)} bytes", checksum(path)) for path in paths]


def main() -> None:
    """Entry point."""
    named = {"name": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "releases": {"type": "list", "elements": "dict", "default": [], "options": {**named, "link": {"type": "path", "required": True}}},
            "files": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    run = runner(module)
    with open("/etc/os-release", encoding="utf-8") as stream:
        found = system(stream.read(), os.uname().release)
    found += packages(run, module.params["packages"]) + images(run)
    found += releases(module.params["releases"]) + files(module.params["files"])
    module.exit_json(changed=False, versions=sorted(found, key=lambda one: (one["kind"], one["name"])))


if __name__ == "__main__":
    main()
