# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import cdi

# As nvidia-ctk writes it: keys in alphabetical order, other things that have names too.
SORTED = """---
cdiVersion: 0.5.0
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
  env:
  - name: NOT_A_DEVICE
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
    - name: neither-this
  name: "0"
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: all
kind: nvidia.com/gpu
"""
AS_WRITTEN_BY_HAND = """
cdiVersion: "0.6.0"
kind: "example.com/card"
devices:
  - name: first
    containerEdits: {}
  - name: 'second'
    containerEdits: {}
containerEdits:
  hooks:
    - hookName: createContainer
      name: not-this
"""
JSON = '{"cdiVersion": "0.6.0", "kind": "example.com/net", "devices": [{"name": "eth0"}]}'


@pytest.fixture
def described(tmp_path):
    def call(**files):
        for name, text in files.items():
            (tmp_path / name.replace("_", ".")).write_text(text)
        return cdi.devices((str(tmp_path), str(tmp_path / "missing")))

    return call


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("gpu_yaml", SORTED, {"nvidia.com/gpu=0", "nvidia.com/gpu=all"}),
        ("card_yml", AS_WRITTEN_BY_HAND, {"example.com/card=first", "example.com/card=second"}),
        ("net_json", JSON, {"example.com/net=eth0"}),
    ],
)
def test_devices_are_found_under_their_full_names(described, name, text, names):
    assert described(**{name: text}) == names


def test_a_description_that_cannot_be_read_describes_nothing_and_hides_no_other(described):
    assert described(broken_json="{", notes_txt="name: x", net_json=JSON) == {"example.com/net=eth0"}


def test_a_host_without_descriptions_has_no_devices(described):
    assert described() == set()


def test_a_container_that_asks_for_nvidia_s_devices_waits_for_the_unit_that_describes_them():
    assert cdi.describing_units(["nvidia.com/gpu=all", "nvidia.com/gpu=0", "/dev/fuse:/dev/fuse"]) == ["nvidia-cdi-refresh.service"]
    assert cdi.describing_units(["example.com/net=eth0", "/dev/fuse"]) == []
