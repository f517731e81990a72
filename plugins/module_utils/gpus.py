# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has for NVIDIA's driver to drive, and how far the driver is: GPUs, NVSwitch, Secure Boot, versions."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.gpu_table import architecture_of, chip_of, cuda_major_of, is_data_center
from ansible_collections.private_llm.platform.plugins.module_utils.systemd import Runner

VENDOR_NVIDIA = 0x10DE
VENDOR_MELLANOX = 0x15B3
# Display controllers, and the same without a display; the first byte of the three of a PCI class is the interface.
GPU_CLASSES = (0x0300, 0x0302)
BRIDGE_CLASS = 0x0680
SECURE_BOOT_VARIABLE = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
# Where shim says that somebody at the console turned its checks off; the kernel then takes modules as if Secure Boot was off.
SHIM_VARIABLE = "sys/firmware/efi/efivars/MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23"
NON_VOLATILE = 1
# Lists of certificates that the kernel trusts for modules, as shim and the firmware hand them over.
TRUSTED_CERTIFICATES = (
    "sys/firmware/efi/efivars/MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23",
    "sys/firmware/efi/efivars/db-d719b2cb-3d3a-4596-a3bc-dad00e67656f",
)
# Where DKMS keeps the certificate that it signs modules with; the second one is Ubuntu's.
SIGNING_CERTIFICATES = ("var/lib/dkms/mok.pub", "var/lib/shim-signed/mok/MOK.der")
# Debian names the modules of its packages after the driver they belong to.
MODULE_NAMES = ("nvidia", "nvidia-current-open", "nvidia-current")
PCI_IDS = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids")
# Packages of which one is there wherever a driver is: the libraries that programs load, and the source of the modules. Ubuntu's binary modules carry the
# version of their kernel.
LIBRARY_PACKAGES = re.compile(r"^(libnvidia-compute(-\d+)?(-server)?|libnvidia-ml1|libcuda1)$")
MODULE_PACKAGES = re.compile(
    r"^(nvidia-dkms(-\d+)?(-server)?(-open)?|nvidia-kernel-open-dkms|nvidia-kernel-dkms|nvidia-open-kernel-dkms)$"
)


@dataclass(frozen=True)
class Gpu:
    """A GPU as sysfs shows it, with what the table says of its chip."""

    pci_address: str
    device_id: str
    name: str
    chip: str
    generation: str
    compute_capability: str | None
    architecture: str | None
    open_modules: str
    oldest_branch: int
    newest_branch: int | None
    oldest_cuda: str | None
    newest_cuda: int | None
    data_center: bool
    kernel_driver: str | None


@dataclass(frozen=True)
class Driver:
    """Versions of the driver; None for what is not there."""

    loaded: str | None
    on_disk: str | None
    package: str | None
    module_package: str | None


def _read(root: str, path: str) -> str | None:
    try:
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return None


def _read_bytes(root: str, path: str) -> bytes:
    try:
        with open(os.path.join(root, path), "rb") as stream:
            return stream.read()
    except OSError:
        return b""


def _number(text: str | None) -> int:
    try:
        return int(text or "", 16)
    except ValueError:
        return -1


def names_in_pci_ids(text: str) -> dict[int, str]:
    """NVIDIA's device names out of the PCI ID database."""
    found: dict[int, str] = {}
    inside = False
    for line in text.splitlines():
        if re.match(r"[0-9a-f]{4} ", line):
            inside = line.startswith("10de ")
        elif inside and (entry := re.match(r"\t([0-9a-f]{4})\s+(.+)", line)):
            found[int(entry[1], 16)] = entry[2].strip()
    return found


def _names(root: str) -> dict[int, str]:
    for path in PCI_IDS:
        if text := _read(root, path):
            return names_in_pci_ids(text)
    return {}


def _name_of(root: str, address: str, device_id: int, names: dict[int, str]) -> str:
    # The driver's own name is the one that people know; it is there once the driver is loaded.
    information = _read(root, f"proc/driver/nvidia/gpus/{address}/information") or ""
    if known := re.search(r"^Model:\s*(.+)$", information, flags=re.MULTILINE):
        return known[1].strip()
    return names.get(device_id, f"{chip_of(device_id).name} (device {device_id:04x})")


def _devices(root: str, vendor: int) -> Iterable[tuple[str, int, int]]:
    for path in sorted(glob.glob(os.path.join(root, "sys/bus/pci/devices/*"))):
        if _number(_read(path, "vendor")) == vendor:
            yield os.path.basename(path), _number(_read(path, "device")), _number(_read(path, "class")) >> 8


def _kernel_driver(root: str, address: str) -> str | None:
    try:
        return os.path.basename(os.readlink(os.path.join(root, "sys/bus/pci/devices", address, "driver")))
    except OSError:
        return None


def find_gpus(root: str = "/") -> list[Gpu]:
    """NVIDIA's GPUs among the PCI devices of the host, by address."""
    found = [(address, device_id) for address, device_id, kind in _devices(root, VENDOR_NVIDIA) if kind in GPU_CLASSES]
    names = _names(root) if found else {}
    gpus = []
    for address, device_id in found:
        chip = chip_of(device_id)
        gpus.append(
            Gpu(
                pci_address=address,
                device_id=f"{device_id:04x}",
                name=_name_of(root, address, device_id, names),
                chip=chip.name,
                generation=chip.generation.name,
                compute_capability=chip.compute_capability,
                architecture=architecture_of(chip.compute_capability) if chip.compute_capability else None,
                open_modules=chip.generation.open_modules,
                oldest_branch=chip.generation.oldest_branch,
                newest_branch=chip.generation.newest_branch,
                oldest_cuda=chip.oldest_cuda,
                newest_cuda=chip.generation.newest_cuda,
                data_center=is_data_center(device_id),
                kernel_driver=_kernel_driver(root, address),
            )
        )
    return gpus


def architectures(gpus: Iterable[Gpu]) -> list[str]:
    """The architectures to compile CUDA code for, as CMake calls them, smallest first; GPUs whose architecture is not known add none."""
    return sorted({gpu.architecture for gpu in gpus if gpu.architecture}, key=int)


def nvswitch(root: str = "/") -> str | None:
    """Which kind of NVSwitch joins the GPUs.

    ``pci``: switches that are PCI devices themselves (up to Hopper); ``nvlink5``: switches behind a ConnectX card that calls itself their
    management port (Blackwell), which need nvlsm besides the fabric manager; None: there is none.
    """
    if any(kind == BRIDGE_CLASS for _address, _device_id, kind in _devices(root, VENDOR_NVIDIA)):
        return "pci"
    for address, _device_id, _kind in _devices(root, VENDOR_MELLANOX):
        if b"SW_MNG" in _read_bytes(root, f"sys/bus/pci/devices/{address}/vpd"):
            return "nvlink5"
    return None


def _shim_is_off(variable: bytes) -> bool:
    # As the kernel reads it: one that outlives a boot was not written by shim.
    return variable[4:5] == b"\x01" and not int.from_bytes(variable[:4], "little") & NON_VOLATILE


def secure_boot(root: str = "/") -> dict[str, Any]:
    """Whether the firmware lets only signed modules in, and whether the one that DKMS signs with would be let in."""
    # Four bytes of attributes come before the value.
    enabled = _read_bytes(root, SECURE_BOOT_VARIABLE)[4:5] == b"\x01" and not _shim_is_off(_read_bytes(root, SHIM_VARIABLE))
    trusted = b"".join(_read_bytes(root, path) for path in TRUSTED_CERTIFICATES)
    certificates = [(path, content) for path in SIGNING_CERTIFICATES if (content := _read_bytes(root, path))]
    enrolled = [path for path, content in certificates if content in trusted]
    chosen = enrolled or [path for path, _content in certificates]
    return {"enabled": enabled, "certificate": f"/{chosen[0]}" if chosen else None, "enrolled": bool(enrolled)}


def upstream_version(version: str) -> str:
    """The program's own version within a Debian package's (``1:580.95.05-1ubuntu1`` is ``580.95.05``)."""
    return re.split(r"[-+~]", version.rpartition(":")[2])[0]


def _installed(run: Runner) -> dict[str, str]:
    _status, output, _errors = run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev}\t${Package}\t${Version}\n", "*nvidia*", "libcuda1"])
    rows = [line.split("\t") for line in output.splitlines() if line.count("\t") == 2]
    return {package: version for state, package, version in rows if state[1:2] == "i"}


def driver_packages(run: Runner) -> list[str]:
    """Names of the installed packages that may be of a driver, sorted."""
    return sorted(_installed(run))


def next_kernel(kernel: str, root: str = "/") -> str:
    """The kernel that the host boots next: the newest one in /boot, or the given one where that has none."""
    found = [os.path.basename(path).removeprefix("vmlinuz-") for path in glob.glob(os.path.join(root, "boot/vmlinuz-*"))]
    return max([kernel, *found], key=_by_number)


def _by_number(release: str) -> list[tuple[int, int, str]]:
    # A number is newer than a word in its place, as in 6.12.48 and 6.12-rc1.
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.findall(r"\d+|[a-z]+", release)]


def kernel_metapackages(run: Runner) -> list[str]:
    """Which packages bring the host its next kernels, by what follows ``linux-image-`` in their names (``amd64``, ``generic-hwe-24.04``)."""
    _status, output, _errors = run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev}\t${Package}\n", "linux-image-[a-z]*"])
    rows = [line.split("\t") for line in output.splitlines() if line.count("\t") == 1]
    names = [package.removeprefix("linux-image-") for state, package in rows if state[1:2] == "i"]
    return sorted(name for name in names if not name.startswith("unsigned-") and not name.endswith("-dbg"))


def _on_disk(run: Runner, kernel: str) -> str | None:
    for name in MODULE_NAMES:
        status, output, _errors = run(["modinfo", "-k", kernel, "-F", "version", name])
        if status == 0 and output.strip():
            return output.split()[0]
    return None


def driver(run: Runner, kernel: str, root: str = "/") -> Driver:
    """Which versions of the driver are loaded, on disk for a kernel release, and in packages (libraries and modules)."""
    loaded = _read(root, "sys/module/nvidia/version")
    if loaded is None and (stated := re.search(r"Kernel Module\s.*?(\d+(?:\.\d+)+)", _read(root, "proc/driver/nvidia/version") or "")):
        loaded = stated[1]
    packages = _installed(run)
    libraries = sorted(upstream_version(version) for name, version in packages.items() if LIBRARY_PACKAGES.match(name))
    modules = sorted(upstream_version(version) for name, version in packages.items() if MODULE_PACKAGES.match(name))
    return Driver(loaded, _on_disk(run, kernel), libraries[-1] if libraries else None, modules[-1] if modules else None)


def cuda_major(found: Driver) -> int | None:
    """CUDA's major version of the driver that runs, or will run; None without a driver."""
    version = found.on_disk or found.package or found.loaded
    return cuda_major_of(int(version.partition(".")[0])) if version else None


def reboot_reason(found: Driver, gpus: Iterable[Gpu]) -> str | None:
    """Why only a reboot makes the installed driver work, None where nothing has to happen or loading its module is enough."""
    wanted = found.on_disk or found.package
    if wanted is None:
        return None
    if found.loaded is None:
        held = sorted(gpu.pci_address for gpu in gpus if gpu.kernel_driver == "nouveau")
        return f"the driver nouveau holds the GPU {', '.join(held)}, and cannot be made to let go of it" if held else None
    if found.on_disk and found.loaded != found.on_disk:
        return f"the kernel runs version {found.loaded} of the driver, on disk is {found.on_disk}"
    if found.package and found.loaded != found.package:
        return f"the kernel runs version {found.loaded} of the driver, the libraries are of {found.package}"
    return None


def described(gpu: Gpu) -> dict[str, Any]:
    """A GPU as a module hands it over."""
    return asdict(gpu)
