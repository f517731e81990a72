# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages make NVIDIA's driver on a host: branch, flavour of the kernel modules, where they come from, and what stands in the way.

Sources: NVIDIA's driver installation guide (names of packages, branches), the package indexes of Debian 12 and 13 (names, branches, dependencies),
Ubuntu's documentation of its signed modules; as of November 2026. What NVIDIA's repository for Debian 13 lacks: threads 38, 40 and 41 of
NVIDIA/cuda-repo-management.
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
# NVIDIA's long-term branch, and what takes its place in repositories that do not have it.
LONG_TERM_BRANCH = 580
VENDOR_BRANCHES = {("debian", "13"): 595}
FIRST_WITH_OPEN = 515
# From here on NVIDIA's packages for Ubuntu are called the same for each branch.
FIRST_WITHOUT_SUFFIX = 590
FIRST_WITHOUT_PROPRIETARY = 620
DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Everything that has the driver's version; packages of other versions, such as the container toolkit, are not touched by a pin on it.
PINNED = ("*nvidia*", "libcuda1*", "libcudadebugger1*", "cuda-drivers*", "libnvsdm*")
# How the release files of those repositories are marked whose packages of the driver are not wanted.
ORIGIN_OF_VENDOR = "l=NVIDIA CUDA"
ORIGINS = {"debian": "o=Debian", "ubuntu": "o=Ubuntu"}
# They may have the same branch whatever the source; a PPA is one of Launchpad's, such as graphics-drivers.
ORIGINS_OF_OTHERS = ("o=LP-PPA-*", "a=*-backports")
# Of Debian's own packages only these clash with the vendor's; others, such as nvidia-support, are used by both.
CLASHING_IN_DEBIAN = ("nvidia-kernel-*dkms", "nvidia-open-kernel-*", "nvidia-smi", "nvidia-persistenced", "libcuda1", "libnvidia-ml1", "nvidia-driver*")
# Debian packs it on its own; it works with every driver of its branch and has a version of its own.
UNVERSIONED = ("nvidia-persistenced", "linux-modules-nvidia-")
VERSION = re.compile(r"\d+(\.\d+)*")


@dataclass(frozen=True)
class Host:
    """What the plan has to know of a host.

    kernel: release of the running kernel; installed: the driver's version or empty; next_kernel: release of the one that is booted next, empty for the
    same; the rest as gpu_info tells it.
    """

    distribution: str
    version: str
    architecture: str
    kernel: str
    gpus: Sequence[Mapping[str, Any]]
    nvswitch: str | None
    secure_boot: Mapping[str, Any]
    installed: str = ""
    next_kernel: str = ""
    kernel_metapackages: Sequence[str] = ()
    packages: Sequence[str] = ()


@dataclass(frozen=True)
class Wish:
    """What the operator asks for.

    source: vendor or distribution; flavour: auto, open or proprietary; version: a whole one or empty; branch: None for the one that fits.
    """

    source: str
    branch: int | None
    version: str
    flavour: str


@dataclass(frozen=True)
class Plan:
    """Packages by what they are for, each list as apt takes it; version is the pattern that all of the driver has to match.

    unwanted: dictionaries with the release (as apt's preferences name one) whose packages are not taken, and these packages.
    """

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
    kernels: list[str] = field(default_factory=list)
    unwanted: list[dict[str, Any]] = field(default_factory=list)


def branch_of(host: Host, wish: Wish) -> int:
    """The branch that will be installed: Debian's own packages leave no choice."""
    if wish.source == DISTRIBUTION and host.distribution == "debian":
        return DEBIAN_BRANCHES.get(host.version, LONG_TERM_BRANCH)
    if wish.branch is not None:
        return wish.branch
    if wish.version and VERSION.fullmatch(wish.version):
        return int(wish.version.partition(".")[0])
    if VERSION.fullmatch(host.installed):
        # What runs well is not replaced because a newer release of this collection would choose another one.
        return int(host.installed.partition(".")[0])
    return VENDOR_BRANCHES.get((host.distribution, host.version), LONG_TERM_BRANCH) if wish.source == VENDOR else LONG_TERM_BRANCH


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
    parts = (_of_wish, _of_gpus, _of_sources, _of_the_other_source, _of_secure_boot)
    return [sentence for part in parts for sentence in part(host, wish)]


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
            yield f"{name} was last known to branch {gpu['newest_branch']}, {branch} does not drive it any more: {_older(host, wish)}."
        if flavour == OPEN and gpu["open_modules"] == OPEN_IMPOSSIBLE:
            yield f"{name} is not driven by the open kernel modules, which the others need or you chose: it needs the proprietary ones."
        if flavour == PROPRIETARY and gpu["open_modules"] == OPEN_REQUIRED:
            yield f"{name} is driven by the open kernel modules alone, not by the proprietary ones."


def _older(host: Host, wish: Wish) -> str:
    if wish.branch is None and wish.source == VENDOR and (host.distribution, host.version) in VENDOR_BRANCHES:
        return "NVIDIA's repository has no older branch for this distribution, so take the distribution's own packages, or take the card out"
    return "choose an older branch, or take the card out"


def _of_the_other_source(host: Host, wish: Wish) -> Iterator[str]:
    """The two sources cut the driver into packages in different ways, which apt cannot turn into each other."""
    others = [name for name in host.packages if _is_of_the_other_source(host, wish, name)]
    # NVIDIA's driver for Debian always has this package, Debian's own never.
    has_vendor = "nvidia-driver-cuda" in host.packages
    if host.distribution == "debian" and host.installed and has_vendor != (wish.source == VENDOR):
        others = others or ["libcuda1"]
    if others:
        origin = "the distribution's" if wish.source == VENDOR else "NVIDIA's"
        yield (
            f"A driver out of {origin} repository is installed ({', '.join(others)}), and you ask for the other source, whose packages cannot replace it. "
            f"Stop what uses the GPU, run 'apt-get purge --allow-change-held-packages {' '.join(_of_a_driver(host))}' and 'apt-get autoremove --purge' "
            "on the host, and run this again; or keep the source (nvidia_driver_source)."
        )


def _of_a_driver(host: Host) -> list[str]:
    return [name for name in host.packages if "container" not in name]


def _is_of_the_other_source(host: Host, wish: Wish, name: str) -> bool:
    if host.distribution == "debian":
        return name == ("nvidia-open-kernel-dkms" if wish.source == VENDOR else "nvidia-driver-cuda")
    of_archive = re.search(r"^(nvidia|libnvidia)-.*-\d+-server(-open)?$", name) is not None
    of_vendor = re.search(r"^(nvidia-dkms|nvidia-utils|libnvidia-compute)(-\d+)?(-open)?$", name) is not None
    return of_archive if wish.source == VENDOR else of_vendor


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
    kernels = list(dict.fromkeys([host.kernel, host.next_kernel or host.kernel]))
    headers = [f"linux-headers-{name}" for name in (*kernels, *_kernel_flavours(host))] if needs_dkms(host, wish) else []
    components = ["contrib", "non-free", "non-free-firmware"] if wish.source == DISTRIBUTION and host.distribution == "debian" else []
    fabric = _fabric_manager(host, branch)
    return Plan(
        branch, flavour, cuda_major_of(branch), exact, headers, versioned, fabric, components, list(PINNED), [*names, *fabric], kernels, _unwanted(host, wish),
    )  # fmt: skip


def _unwanted(host: Host, wish: Wish) -> list[dict[str, Any]]:
    """Packages of any other source: it may have the same branch, or a package without a version of the driver."""
    others = [{"release": release, "packages": list(PINNED)} for release in ORIGINS_OF_OTHERS]
    if wish.source == DISTRIBUTION:
        return [{"release": ORIGIN_OF_VENDOR, "packages": list(PINNED)}, *others]
    clashing = CLASHING_IN_DEBIAN if host.distribution == "debian" else PINNED
    return [*others, {"release": ORIGINS[host.distribution], "packages": list(clashing)}]


def _kernel_flavours(host: Host) -> list[str]:
    """The kinds of kernels that updates bring; without their headers or modules the next kernel would come without a driver."""
    if host.kernel_metapackages:
        return list(host.kernel_metapackages)
    if host.distribution == "ubuntu":
        return [host.kernel.rpartition("-")[2]]
    flavour = re.search(r"-((?:cloud-|rt-)?(?:amd64|arm64))$", host.kernel)
    return [flavour[1] if flavour else DEBIAN_ARCHITECTURES[host.architecture]]


def _packages(host: Host, wish: Wish, branch: int, flavour: str) -> list[str]:
    is_open = flavour == OPEN
    if host.distribution == "debian" and wish.source == DISTRIBUTION:
        return ["nvidia-open-kernel-dkms" if is_open else "nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-ml1", "nvidia-persistenced"]
    if host.distribution == "debian":
        return ["nvidia-kernel-open-dkms" if is_open else "nvidia-kernel-dkms", "nvidia-driver-cuda", "nvidia-persistenced"]
    if wish.source == DISTRIBUTION:
        kind = f"{branch}-server{'-open' if is_open else ''}"
        return [
            *(f"linux-modules-nvidia-{kind}-{kernel}" for kernel in _kernel_flavours(host)), f"nvidia-headless-no-dkms-{kind}",
            f"nvidia-utils-{branch}-server", f"nvidia-compute-utils-{branch}-server", f"libnvidia-compute-{branch}-server",
        ]  # fmt: skip
    suffix = "" if branch >= FIRST_WITHOUT_SUFFIX else f"-{branch}"
    modules = f"nvidia-dkms{suffix}{'-open' if is_open else ''}"
    return [modules, f"libnvidia-compute{suffix}", f"nvidia-utils{suffix}", f"nvidia-compute-utils{suffix}"]


def _fabric_manager(host: Host, branch: int) -> list[str]:
    if host.nvswitch is None:
        return []
    manager = "nvidia-fabricmanager" if branch >= FIRST_WITHOUT_SUFFIX else f"nvidia-fabricmanager-{branch}"
    return [manager, "nvlsm"] if host.nvswitch == "nvlink5" else [manager]
