# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages make NVIDIA's driver on a host: branch, flavour of the kernel modules, where they come from, and what stands in the way.

Sources: NVIDIA's driver installation guide (names of packages, branches), the package indexes of Debian 12 and 13 (names, branches, dependencies),
Ubuntu's documentation of its signed modules; as of November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.gpu_table import OPEN_IMPOSSIBLE, OPEN_REQUIRED, cuda_major_of

VENDOR, DISTRIBUTION = "vendor", "distribution"
OPEN, PROPRIETARY = "open", "proprietary"
SUPPORTED = (("debian", "12"), ("debian", "13"), ("ubuntu", "22.04"), ("ubuntu", "24.04"))
# Debian's stable releases have one branch each, and no package for NVSwitch.
DEBIAN_BRANCHES = {"12": 535, "13": 550}
# Debian 12's security updates left the source of its open modules behind, so that it cannot be installed beside the other packages.
DEBIAN_WITHOUT_OPEN = ("12",)
FIRST_WITH_OPEN = 515
# From here on NVIDIA's packages for Ubuntu are called the same for each branch.
FIRST_WITHOUT_SUFFIX = 590
FIRST_WITHOUT_PROPRIETARY = 620
DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Everything that has the driver's version; packages of other versions, such as the container toolkit, are not touched by a pin on it.
PINNED = ("*nvidia*", "libcuda1*", "libcudadebugger1*", "cuda-drivers*", "libnvsdm*")
# Debian packs it on its own; it works with every driver of its branch and has a version of its own.
UNVERSIONED = ("nvidia-persistenced", "linux-modules-nvidia-")
VERSION = re.compile(r"\d+(\.\d+)*")


@dataclass(frozen=True)
class Host:
    """What the plan has to know of a host; kernel is a release, installed the driver's version or empty, the rest as gpu_info tells it."""

    distribution: str
    version: str
    architecture: str
    kernel: str
    gpus: Sequence[Mapping[str, Any]]
    nvswitch: str | None
    secure_boot: Mapping[str, Any]
    installed: str = ""


@dataclass(frozen=True)
class Wish:
    """What the operator asks for: source is vendor or distribution, flavour auto, open or proprietary, version a whole one or empty."""

    source: str
    branch: int
    version: str
    flavour: str


@dataclass(frozen=True)
class Plan:
    """Packages by what they are for, each list as apt takes it; version is the pattern that all of the driver has to match."""

    branch: int
    flavour: str
    cuda_major: int
    version: str
    headers: list[str]
    packages: list[str]
    fabric_manager: list[str]
    components: list[str]
    pinned: list[str]
    held: list[str] = field(default_factory=list)


def branch_of(host: Host, wish: Wish) -> int:
    """The branch that will be installed: Debian's own packages leave no choice."""
    if wish.source == DISTRIBUTION and host.distribution == "debian":
        return DEBIAN_BRANCHES.get(host.version, wish.branch)
    return wish.branch


def flavour_of(host: Host, wish: Wish) -> str:
    """Open modules where they drive every GPU and can be had, else the proprietary ones."""
    if wish.flavour != "auto":
        return wish.flavour
    kinds = {gpu["open_modules"] for gpu in host.gpus}
    if OPEN_IMPOSSIBLE in kinds or branch_of(host, wish) < FIRST_WITH_OPEN:
        return PROPRIETARY
    if OPEN_REQUIRED not in kinds and not _has_open(host, wish):
        return PROPRIETARY
    return OPEN


def _has_open(host: Host, wish: Wish) -> bool:
    return not (wish.source == DISTRIBUTION and host.distribution == "debian" and host.version in DEBIAN_WITHOUT_OPEN)


def needs_dkms(host: Host, wish: Wish) -> bool:
    """Whether the modules are compiled on the host; Ubuntu's own come compiled and signed."""
    return not (wish.source == DISTRIBUTION and host.distribution == "ubuntu")


def problems(host: Host, wish: Wish) -> list[str]:
    """One sentence for each thing that stands in the way; with any of them nothing may be changed."""
    if (host.distribution, host.version) not in SUPPORTED or host.architecture not in DEBIAN_ARCHITECTURES:
        known = ", ".join(f"{name} {number}" for name, number in SUPPORTED)
        return [f"The driver can be installed on {known} with an x86_64 or aarch64 processor; this is {host.distribution} {host.version}, {host.architecture}."]
    return [*_of_wish(host, wish), *_of_gpus(host, wish), *_of_sources(host, wish), *_of_secure_boot(host, wish)]


def _of_wish(host: Host, wish: Wish) -> Iterator[str]:
    if wish.version and not VERSION.fullmatch(wish.version):
        yield f"The version '{wish.version}' is none: give it as NVIDIA does, such as 580.95.05."
    elif wish.version and wish.version.partition(".")[0] != str(branch_of(host, wish)):
        yield f"The version {wish.version} is not of branch {branch_of(host, wish)}: correct one of the two."
    branch, flavour = branch_of(host, wish), flavour_of(host, wish)
    if flavour == PROPRIETARY and branch >= FIRST_WITHOUT_PROPRIETARY:
        yield f"Branch {branch} has no proprietary kernel modules any more: choose the open ones, or a branch before {FIRST_WITHOUT_PROPRIETARY}."
    if flavour == OPEN and branch < FIRST_WITH_OPEN:
        yield f"Branch {branch} has no open kernel modules: choose the proprietary ones, or a newer branch."


def _of_gpus(host: Host, wish: Wish) -> Iterator[str]:
    branch, flavour = branch_of(host, wish), flavour_of(host, wish)
    for gpu in host.gpus:
        name = f"{gpu['name']} ({gpu['pci_address']}, {gpu['generation']})"
        if branch < gpu["oldest_branch"]:
            remedy = "take the vendor's packages" if wish.source == DISTRIBUTION else "choose a newer branch"
            yield f"{name} needs branch {gpu['oldest_branch']} of the driver or a newer one, {branch} does not know it: {remedy}."
        if gpu["newest_branch"] and branch > gpu["newest_branch"]:
            yield f"{name} was last known to branch {gpu['newest_branch']}, {branch} does not drive it any more: choose an older branch, or take the card out."
        if flavour == OPEN and gpu["open_modules"] == OPEN_IMPOSSIBLE:
            yield f"{name} is not driven by the open kernel modules, which the others need or you chose: it needs the proprietary ones."
        if flavour == PROPRIETARY and gpu["open_modules"] == OPEN_REQUIRED:
            yield f"{name} is driven by the open kernel modules alone, not by the proprietary ones."


def _of_sources(host: Host, wish: Wish) -> Iterator[str]:
    if flavour_of(host, wish) == OPEN and not _has_open(host, wish):
        yield f"Debian {host.version} has no open kernel modules that fit its other packages of the driver: take the vendor's packages."
    if host.nvswitch and wish.source == DISTRIBUTION and host.distribution == "debian":
        yield "The GPUs are joined by an NVSwitch, and Debian has no fabric manager for it: take the vendor's packages."


def _of_secure_boot(host: Host, wish: Wish) -> Iterator[str]:
    if not host.secure_boot["enabled"] or not needs_dkms(host, wish) or host.secure_boot["enrolled"]:
        return
    if host.secure_boot["certificate"]:
        make = ""
    elif host.distribution == "ubuntu":
        make = "update-secureboot-policy --new-key; "
    else:
        make = (
            "mkdir -p /var/lib/dkms; openssl req -new -x509 -nodes -days 36500 -subj '/CN=DKMS module signing key' -newkey rsa:2048 "
            "-keyout /var/lib/dkms/mok.key -outform DER -out /var/lib/dkms/mok.pub; chmod 600 /var/lib/dkms/mok.key; "
        )
    fallback = "/var/lib/shim-signed/mok/MOK.der" if host.distribution == "ubuntu" else "/var/lib/dkms/mok.pub"
    certificate = host.secure_boot["certificate"] or fallback
    signed = " Or take Ubuntu's own packages, whose modules are signed already." if host.distribution == "ubuntu" else ""
    yield (
        "Secure Boot is on, and the firmware does not know the key that this host signs kernel modules with, so that it would refuse the driver. "
        f"Run on the host: {make}mokutil --import {certificate}; then reboot it, choose 'Enroll MOK' on its console, and run this again.{signed}"
    )


def plan(host: Host, wish: Wish) -> Plan:
    """The packages; only for a host and a wish without problems."""
    branch, flavour = branch_of(host, wish), flavour_of(host, wish)
    exact = f"{wish.version or branch}{'-' if wish.version else '.'}*"
    names = _packages(host, wish, branch, flavour)
    # Packages of the other source are older or newer; a version they do not have is what keeps the two from being mixed.
    # What is there of the branch stays: apt would take the newest that fits, under the feet of the loaded module.
    kept = f"{host.installed}-*" if not wish.version and host.installed.startswith(f"{branch}.") else exact
    versioned = [name if wish.source == DISTRIBUTION and name.startswith(UNVERSIONED) else f"{name}={kept}" for name in names]
    headers = [f"linux-headers-{host.kernel}", _headers_of_updates(host)] if needs_dkms(host, wish) else []
    components = ["contrib", "non-free", "non-free-firmware"] if wish.source == DISTRIBUTION and host.distribution == "debian" else []
    fabric = _fabric_manager(host, branch)
    return Plan(branch, flavour, cuda_major_of(branch), exact, headers, versioned, fabric, components, list(PINNED), [*names, *fabric])


def _headers_of_updates(host: Host) -> str:
    # Without them the next kernel would come without a driver.
    if host.distribution == "ubuntu":
        return f"linux-headers-{host.kernel.rpartition('-')[2]}"
    flavour = re.search(r"-((?:cloud-|rt-)?(?:amd64|arm64))$", host.kernel)
    return f"linux-headers-{flavour[1] if flavour else DEBIAN_ARCHITECTURES[host.architecture]}"


def _packages(host: Host, wish: Wish, branch: int, flavour: str) -> list[str]:
    is_open = flavour == OPEN
    if host.distribution == "debian" and wish.source == DISTRIBUTION:
        return ["nvidia-open-kernel-dkms" if is_open else "nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-ml1", "nvidia-persistenced"]
    if host.distribution == "debian":
        return ["nvidia-kernel-open-dkms" if is_open else "nvidia-kernel-dkms", "nvidia-driver-cuda", "nvidia-persistenced"]
    if wish.source == DISTRIBUTION:
        kind = f"{branch}-server{'-open' if is_open else ''}"
        kernel = host.kernel.rpartition("-")[2]
        return [
            f"linux-modules-nvidia-{kind}-{kernel}", f"nvidia-headless-no-dkms-{kind}", f"nvidia-utils-{branch}-server",
            f"nvidia-compute-utils-{branch}-server", f"libnvidia-compute-{branch}-server",
        ]  # fmt: skip
    suffix = "" if branch >= FIRST_WITHOUT_SUFFIX else f"-{branch}"
    modules = f"nvidia-dkms{suffix}{'-open' if is_open else ''}"
    return [modules, f"libnvidia-compute{suffix}", f"nvidia-utils{suffix}", f"nvidia-compute-utils{suffix}"]


def _fabric_manager(host: Host, branch: int) -> list[str]:
    if host.nvswitch is None:
        return []
    manager = "nvidia-fabricmanager" if branch >= FIRST_WITHOUT_SUFFIX else f"nvidia-fabricmanager-{branch}"
    return [manager, "nvlsm"] if host.nvswitch == "nvlink5" else [manager]
