# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A directory that looks like the sys and proc of a host with GPUs."""

from __future__ import annotations

ENABLED = b"\x06\x00\x00\x00\x01"
DISABLED = b"\x06\x00\x00\x00\x00"


class GpuTree:
    """Builds the tree; hand str(tree.root) to what would look below /."""

    def __init__(self, root):
        self.root = root

    def write(self, path, content):
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
        return self

    def device(self, address, device_id, kind=0x030000, vendor=0x10DE, driver=None, vpd=None):
        place = f"sys/bus/pci/devices/{address}"
        self.write(f"{place}/vendor", f"0x{vendor:04x}\n").write(f"{place}/device", f"0x{device_id:04x}\n").write(f"{place}/class", f"0x{kind:06x}\n")
        if vpd:
            self.write(f"{place}/vpd", vpd)
        if driver:
            (self.root / place / "driver").symlink_to(f"../../../../bus/pci/drivers/{driver}")
        return self

    def loaded(self, version):
        return self.write("sys/module/nvidia/version", f"{version}\n")
