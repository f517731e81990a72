# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a GPU is, by its PCI device id: chip, generation, compute capability, and which drivers and CUDA releases know it.

Sources, as of November 2026:

- blocks of ids and names of data centre cards: the PCI ID database (snapshot of 2026-08-22);
- the oldest branch of each generation from Turing on: the lists of compatible GPUs in the releases 515.43.04 to 595.45.04 of NVIDIA's open modules;
- newest branch and CUDA release of the older generations: NVIDIA's support matrix of R580, and the release notes of CUDA 13.0;
- compute capabilities and the first CUDA release that knows them: NVIDIA's table of CUDA GPUs, and the release notes of CUDA 11 to 13.
"""

from __future__ import annotations

from dataclasses import dataclass

OPEN_IMPOSSIBLE = "impossible"
OPEN_POSSIBLE = "possible"
OPEN_REQUIRED = "required"


@dataclass(frozen=True)
class Generation:
    """What all chips of a generation have in common.

    name: what NVIDIA calls it; open_modules: whether the open kernel modules drive it;
    oldest_branch, newest_branch: driver branches that know it, None where no end is known; newest_cuda: last CUDA major that compiles for it.
    """

    name: str
    open_modules: str
    oldest_branch: int
    newest_branch: int | None = None
    newest_cuda: int | None = None


BEFORE_MAXWELL = Generation("before Maxwell", OPEN_IMPOSSIBLE, 0, newest_branch=470, newest_cuda=11)
MAXWELL = Generation("Maxwell", OPEN_IMPOSSIBLE, 535, newest_branch=580, newest_cuda=12)
PASCAL = Generation("Pascal", OPEN_IMPOSSIBLE, 535, newest_branch=580, newest_cuda=12)
VOLTA = Generation("Volta", OPEN_IMPOSSIBLE, 535, newest_branch=580, newest_cuda=12)
TURING = Generation("Turing", OPEN_POSSIBLE, 515)
AMPERE = Generation("Ampere", OPEN_POSSIBLE, 515)
ADA = Generation("Ada Lovelace", OPEN_POSSIBLE, 530)
HOPPER = Generation("Hopper", OPEN_POSSIBLE, 525)
# Grace Hopper's GPU is reached over another bus than PCIe, which the proprietary modules do not speak.
GRACE_HOPPER = Generation("Hopper", OPEN_REQUIRED, 535)
BLACKWELL = Generation("Blackwell", OPEN_REQUIRED, 570)
BLACKWELL_580 = Generation("Blackwell", OPEN_REQUIRED, 580)
BLACKWELL_595 = Generation("Blackwell", OPEN_REQUIRED, 595)
# Newer than this table: NVIDIA's ids only rise, and everything from Turing on is driven by the open modules, newer ones by nothing else.
NEWER = Generation("newer than this collection", OPEN_REQUIRED, 580)
RUBIN = Generation("Rubin", OPEN_REQUIRED, 595)


@dataclass(frozen=True)
class Chip:
    """A block of PCI device ids, first to last, and the chip that NVIDIA gave it to.

    compute_capability is None where no published table names it; oldest_cuda is the first CUDA release that compiles for it;
    data_center tells whether every card of the chip is one for servers.
    """

    first: int
    last: int
    name: str
    generation: Generation
    compute_capability: str | None
    oldest_cuda: str | None
    data_center: bool = False


CHIPS = (
    Chip(0x1340, 0x137F, "GM108", MAXWELL, "5.0", "6.5"),
    Chip(0x1380, 0x13BD, "GM107", MAXWELL, "5.0", "6.5"),
    Chip(0x13BE, 0x13FF, "GM204", MAXWELL, "5.2", "6.5"),
    Chip(0x1400, 0x147F, "GM206", MAXWELL, "5.2", "6.5"),
    Chip(0x15C0, 0x15FF, "GP100", PASCAL, "6.0", "8.0", data_center=True),
    Chip(0x1600, 0x167F, "GM204", MAXWELL, "5.2", "6.5"),
    Chip(0x1700, 0x173F, "GP100", PASCAL, "6.0", "8.0", data_center=True),
    Chip(0x1740, 0x177F, "GM108", MAXWELL, "5.0", "6.5"),
    Chip(0x1780, 0x17BF, "GM107", MAXWELL, "5.0", "6.5"),
    Chip(0x17C0, 0x17FF, "GM200", MAXWELL, "5.2", "6.5"),
    Chip(0x1B00, 0x1B7F, "GP102", PASCAL, "6.1", "8.0"),
    Chip(0x1B80, 0x1BFF, "GP104", PASCAL, "6.1", "8.0"),
    Chip(0x1C00, 0x1C7F, "GP106", PASCAL, "6.1", "8.0"),
    Chip(0x1C80, 0x1CFF, "GP107", PASCAL, "6.1", "8.0"),
    Chip(0x1D00, 0x1D7F, "GP108", PASCAL, "6.1", "8.0"),
    Chip(0x1D80, 0x1DFF, "GV100", VOLTA, "7.0", "9.0"),
    Chip(0x1E00, 0x1E7F, "TU102", TURING, "7.5", "10.0"),
    Chip(0x1E80, 0x1EFF, "TU104", TURING, "7.5", "10.0"),
    Chip(0x1F00, 0x1F7F, "TU106", TURING, "7.5", "10.0"),
    Chip(0x1F80, 0x1FFF, "TU117", TURING, "7.5", "10.0"),
    Chip(0x2080, 0x20FF, "GA100", AMPERE, "8.0", "11.0", data_center=True),
    Chip(0x2180, 0x21FF, "TU116", TURING, "7.5", "10.0"),
    Chip(0x2200, 0x227F, "GA102", AMPERE, "8.6", "11.1"),
    Chip(0x2300, 0x233F, "GH100", HOPPER, "9.0", "11.8", data_center=True),
    Chip(0x2340, 0x237F, "GH100", GRACE_HOPPER, "9.0", "11.8", data_center=True),
    Chip(0x2380, 0x23FF, "GH100", HOPPER, "9.0", "11.8", data_center=True),
    Chip(0x2400, 0x247F, "GA103", AMPERE, "8.6", "11.1"),
    Chip(0x2480, 0x24FF, "GA104", AMPERE, "8.6", "11.1"),
    Chip(0x2500, 0x257F, "GA106", AMPERE, "8.6", "11.1"),
    Chip(0x2580, 0x25FF, "GA107", AMPERE, "8.6", "11.1"),
    Chip(0x2680, 0x26FF, "AD102", ADA, "8.9", "11.8"),
    Chip(0x2700, 0x277F, "AD103", ADA, "8.9", "11.8"),
    Chip(0x2780, 0x27FF, "AD104", ADA, "8.9", "11.8"),
    Chip(0x2800, 0x287F, "AD106", ADA, "8.9", "11.8"),
    Chip(0x2880, 0x28FF, "AD107", ADA, "8.9", "11.8"),
    Chip(0x2900, 0x297F, "GB100", BLACKWELL, "10.0", "12.8", data_center=True),
    Chip(0x2980, 0x29FF, "GB102", BLACKWELL_580, "10.0", "12.8", data_center=True),
    Chip(0x2B80, 0x2BFF, "GB202", BLACKWELL, "12.0", "12.8"),
    Chip(0x2C00, 0x2C7F, "GB203", BLACKWELL, "12.0", "12.8"),
    Chip(0x2D00, 0x2D7F, "GB206", BLACKWELL, "12.0", "12.8"),
    Chip(0x2D80, 0x2DFF, "GB207", BLACKWELL, "12.0", "12.8"),
    Chip(0x2E00, 0x2E7F, "GB20B", BLACKWELL_595, "12.1", "12.9"),
    Chip(0x2F00, 0x2F7F, "GB205", BLACKWELL, "12.0", "12.8"),
    Chip(0x3000, 0x30FF, "GR100", RUBIN, None, None, data_center=True),
    Chip(0x3180, 0x31FF, "GB110", BLACKWELL_580, "10.3", "12.9", data_center=True),
    Chip(0x3200, 0x323F, "GB112", BLACKWELL_580, "10.3", "12.9", data_center=True),
)
FIRST_OF_TURING = 0x1E00

# Cards for servers that carry a chip which desktops have too.
DATA_CENTER_CARDS = {
    0x13BD: "M10", 0x13F2: "M60", 0x13F3: "M6", 0x1431: "M4", 0x17FD: "M40", 0x1B38: "P40", 0x1B39: "P10", 0x1BB3: "P4", 0x1BB4: "P6",
    0x1DB0: "V100", 0x1DB1: "V100", 0x1DB2: "V100", 0x1DB3: "V100", 0x1DB4: "V100", 0x1DB5: "V100", 0x1DB6: "V100", 0x1DB7: "V100", 0x1DB8: "V100",
    0x1DBD: "V100", 0x1DF0: "PG500", 0x1DF2: "PG503", 0x1DF5: "V100", 0x1DF6: "V100S", 0x1E37: "T10", 0x1E38: "T40", 0x1EB8: "T4",
    0x2235: "A40", 0x2236: "A10", 0x2237: "A10G", 0x2238: "A10M", 0x25B6: "A2 or A16", 0x26B5: "L40", 0x26B7: "L20", 0x26B8: "L40G",
    0x26B9: "L40S", 0x26BA: "L20", 0x26F5: "L40 CNX", 0x27B6: "L2", 0x27B7: "L16", 0x27B8: "L4", 0x2BB5: "RTX PRO 6000 Blackwell Server Edition",
    0x2C3A: "RTX PRO 4500 Blackwell Server Edition",
}  # fmt: skip


def chip_of(device_id: int) -> Chip:
    """The chip of a GPU with this PCI device id.

    An id that no block holds is a chip from before Maxwell when it is smaller than all of Turing's, and else one newer than this table; its compute
    capability is then not known (None), and never guessed.
    """
    for chip in CHIPS:
        if chip.first <= device_id <= chip.last:
            return chip
    if device_id < FIRST_OF_TURING:
        return Chip(device_id, device_id, "unknown", BEFORE_MAXWELL, None, None)
    return Chip(device_id, device_id, "unknown", NEWER, None, None)


def is_data_center(device_id: int) -> bool:
    """Whether a card with this PCI device id is made for servers."""
    return device_id in DATA_CENTER_CARDS or chip_of(device_id).data_center


def architecture_of(compute_capability: str) -> str:
    """What CMake calls a compute capability (``8.9`` is ``89``)."""
    return compute_capability.replace(".", "")


def cuda_major_of(branch: int) -> int:
    """CUDA's major version that a driver branch brings."""
    if branch >= 580:
        return 13
    return 12 if branch >= 525 else 11
