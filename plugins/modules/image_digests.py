#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_digests
short_description: Write down by digest which container images the platform runs
version_added: 0.2.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Collects the images that roles name (their variables that end in C(_image), out of each host's variables or the role's defaults), asks their
    registries for the digest of each and writes it to a file of variables, which M(private_llm.platform.container_service) takes as
    O(private_llm.platform.container_service#module:image_digests).
  - An image that is too young, whose tag means another image than before, whose signature is wrong, or that its registry does not have is not
    taken; what was written of it before stays. Everything else is written, and then the task fails with a sentence for each of them.
  - Images whose variable has a digest in it already are left to it.
  - With O(ask) V(false) no registry is asked and nothing is written; an image that the file does not name is a failure.
attributes:
  action:
    description: Runs as an action plugin, on the controller.
    support: full
  check_mode:
    description: Asks the registries and writes nothing.
    support: full
  diff_mode:
    description: Shows the file before and after.
    support: full
options:
  path:
    description: The file, on the controller. Its directory has to exist.
    type: path
  pinned:
    description: What the file says, as the variable C(platform_image_digests); needed with O(ask) V(false).
    type: dict
    default: {}
  ask:
    description: Whether the registries are asked.
    type: bool
    default: true
  roles:
    description: Names of roles of this collection, and for each the hosts on which it runs.
    type: dict
    required: true
  architecture:
    description: Architecture of the hosts, as registries call it; the age of an image is that of this architecture's.
    type: str
    default: amd64
  minimum_age_days:
    description: Days that an image has to be old before it is taken for the first time.
    type: int
    default: 14
  age_from:
    description:
      - What the age counts from. V(created) is what the image's maker states, which a forger may state otherwise; V(first_seen) is when this module
        first saw it under its name, so that every new version waits. A time of making in the future or before 2015 is not believed.
    type: str
    choices: [created, first_seen]
    default: created
  young:
    description: Images (name and tag) that may be younger.
    type: list
    elements: str
    default: []
  changed:
    description: Images (name and tag) whose tag may mean another image than before.
    type: list
    elements: str
    default: []
  mirror:
    description:
      - Name of a registry, perhaps with a path, that is asked instead. It has every image below the image's whole name, as
        O(private_llm.platform.container_service#module:image_mirror) says. The file names images as the variables do.
    type: str
    default: ""
    version_added: 0.2.0
  registries:
    description: How registries are reached, by the name that the images have, such as C(docker.io) or C(registry.example.com:5000).
    type: dict
    default: {}
  signatures:
    description:
      - Which signatures are checked, by the name of the image's variable. C(cosign) has to be installed on the controller.
      - Each has either C(key), a file or address of the public key, or C(identity) and C(issuer) of a signature without a key of its own.
    type: dict
    default: {}
seealso:
  - module: private_llm.platform.container_service
"""

EXAMPLES = r"""
- name: Write down which images run
  private_llm.platform.image_digests:
    path: "{{ inventory_dir }}/group_vars/all/image_digests.yml"
    roles:
      litellm: "{{ groups['gateway'] }}"
    registries:
      ghcr.io:
        url: https://mirror.example.com
        username: platform
        password: "{{ vault_mirror_password }}"
        ca_path: /etc/ssl/certs/example-ca.pem
    signatures:
      litellm_image:
        identity: https://github.com/BerriAI/project-releaser/.github/workflows/release.yml@refs/heads/main
        issuer: https://token.actions.githubusercontent.com
"""

RETURN = r"""
digests:
  description: What is pinned, by image.
  type: dict
  returned: success
  sample:
    docker.io/grafana/loki:3.7.6:
      digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
      created: "2026-10-20T09:12:44Z"
      first_seen: "2026-11-25T08:00:00Z"
report:
  description: A line for each image.
  type: list
  elements: str
  returned: always
problems:
  description: A sentence for each image that was not taken.
  type: list
  elements: str
  returned: always
"""
