#!/usr/bin/python3
"""Makes signed repositories of stand-ins: tiny packages with the names, versions and dependencies of NVIDIA's, and nothing of NVIDIA's in them.

Usage: make_repository.py DIRECTORY KERNEL            makes them
       make_repository.py DIRECTORY KERNEL VERSION    publishes one more version of the driver
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

from signed_repository import fingerprint, index, make_key, package

# How NVIDIA's release files are marked, by which the driver's role knows them.
LABEL = "NVIDIA CUDA"
BRANCHES = ("580.95.05", "580.105.08", "595.45.04")
CUDA = "cuda/debian13/x86_64"
DCGM = "1:4.5.3-1"
TOOLKITS = ("1.20.1-1", "1.21.0-1")
TOOLKIT_PACKAGES = ("nvidia-container-toolkit", "nvidia-container-toolkit-base", "libnvidia-container-tools", "libnvidia-container1")

# What the loaded version is, the simulated GPU's sysfs says.
SMI = """#!/bin/sh
# Stand-in for nvidia-smi.
loaded=$(cat /srv/simulated-gpu/sys/module/nvidia/version 2>/dev/null)
if [ "$loaded" != VERSION ]; then echo "Failed to initialize NVML: Driver/library version mismatch"; exit 18; fi
case "$1" in
  --query-gpu=*) echo "Simulated GPU, VERSION" ;;
  --list-gpus) echo "GPU 0: Simulated GPU (UUID: GPU-0)" ;;
esac
"""
SERVICE = """[Unit]
Description=Stand-in for NAME
[Service]
ExecStart=/usr/bin/sleep infinity
[Install]
WantedBy=multi-user.target
"""
DCGMI = """#!/bin/sh
# Stand-in for dcgmi: it needs its one host engine.
systemctl is-active --quiet nvidia-dcgm || { echo "Error: unable to establish a connection to the host engine"; exit 1; }
echo "1 GPU found."
"""
CTK = """#!/bin/sh
# Stand-in for nvidia-ctk. The simulated GPU is divided when there is a file that says so.
output=/dev/stdout
for word in "$@"; do
  case $word in
    list) sed -n 's/^  name: */nvidia.com\\/gpu=/p' /var/run/cdi/nvidia.yaml 2>/dev/null; exit 0 ;;
    --output=*) output=${word#--output=}; mkdir -p /var/run/cdi ;;
  esac
done
{
  cat <<'SPEC'
cdiVersion: 0.5.0
containerEdits:
  mounts:
  - hostPath: /usr/bin/nvidia-smi
    containerPath: /usr/bin/nvidia-smi
    options: [ro, bind]
  - hostPath: /srv/simulated-gpu
    containerPath: /srv/simulated-gpu
    options: [ro, bind]
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia-simulated
      hostPath: /dev/null
  name: all
SPEC
  for part in $(cat /srv/simulated-gpu/divided 2>/dev/null); do
    printf -- "- containerEdits:\\n    deviceNodes:\\n    - path: /dev/nvidia-part-%s\\n      hostPath: /dev/null\\n  name: \\"%s\\"\\n" "$part" "0:$part"
  done
  echo "kind: nvidia.com/gpu"
} > "$output"
"""
REFRESH = """[Unit]
Description=Stand-in for the description of GPUs at boot
[Service]
Type=oneshot
ExecStart=/usr/bin/nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml
[Install]
WantedBy=multi-user.target
"""


def kernel_module(version: str, kernel: str) -> bytes:
    """An object file that says of itself what modinfo asks for; no kernel would load it."""
    modinfo = f"version={version}\0name=nvidia\0vermagic={kernel} SMP\0license=Dual MIT/GPL\0".encode()
    names = b"\0.modinfo\0.shstrtab\0"
    start = 64
    sections = start + len(modinfo) + len(names)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, sections, 0, 64, 0, 0, 64, 3, 2)
    table = bytes(64)
    table += struct.pack("<IIQQQQIIQQ", 1, 1, 2, 0, start, len(modinfo), 0, 0, 1, 0)
    table += struct.pack("<IIQQQQIIQQ", 10, 3, 0, 0, start + len(modinfo), len(names), 0, 0, 1, 0)
    return header + modinfo + names + table


def driver(target: Path, kernel: str, version: str) -> None:
    """One version of the driver."""
    full = f"{version}-1"
    package(
        target, "nvidia-kernel-open-dkms", full, "", {"usr/share/stand-in/nvidia.ko": kernel_module(version, kernel)},
        f"mkdir -p /lib/modules/{kernel}/updates/dkms; cp /usr/share/stand-in/nvidia.ko /lib/modules/{kernel}/updates/dkms/; depmod -a {kernel}",
    )  # fmt: skip
    package(target, "nvidia-driver-cuda", full, f"libcuda1 (= {full})", {"usr/bin/nvidia-smi": SMI.replace("VERSION", version)})
    package(target, "libcuda1", full)
    persistence = {"usr/lib/systemd/system/nvidia-persistenced.service": SERVICE.replace("NAME", "nvidia-persistenced")}
    package(target, "nvidia-persistenced", full, "", persistence)


def drivers(target: Path, kernel: str) -> None:
    """The driver in several branches, DCGM, and what modules are compiled with."""
    for version in BRANCHES:
        driver(target, kernel, version)
    package(
        target, "datacenter-gpu-manager-4-core", DCGM, "",
        {"usr/bin/dcgmi": DCGMI, "usr/lib/systemd/system/nvidia-dcgm.service": SERVICE.replace("NAME", "nvidia-dcgm")},
    )  # fmt: skip
    package(target, "datacenter-gpu-manager-4-cuda13", DCGM, "datacenter-gpu-manager-4-core")
    package(target, "datacenter-gpu-manager-4-cuda12", DCGM, "datacenter-gpu-manager-4-core")
    package(target, f"linux-headers-{kernel}", "1")
    package(target, "linux-headers-amd64", "9999")


def toolkit(target: Path) -> None:
    """The container toolkit in two versions."""
    for version in TOOLKITS:
        for name in TOOLKIT_PACKAGES:
            files: dict[str, str | bytes] = {}
            if name == "nvidia-container-toolkit-base":
                files = {"usr/bin/nvidia-ctk": CTK, "usr/lib/systemd/system/nvidia-cdi-refresh.service": REFRESH}
            package(target, name, version, "", files, "systemctl enable nvidia-cdi-refresh.service" if files else "")


def publish(directory: str, kernel: str, version: str) -> None:
    """What a vendor does between two runs."""
    cuda = Path(directory) / CUDA
    driver(cuda, kernel, version)
    index(cuda, f"{directory}.gnupg", "vendor@example.com", LABEL)


def main(directory: str, kernel: str) -> None:
    root = Path(directory)
    home = f"{directory}.gnupg"
    key, stranger = make_key(home, "vendor@example.com"), make_key(home, "stranger@example.com")
    cuda = root / CUDA
    cuda.mkdir(parents=True)
    drivers(cuda, kernel)
    index(cuda, home, "vendor@example.com", LABEL)
    (cuda / "8793F200.pub").write_bytes(key)
    containers = root / "toolkit/amd64"
    containers.mkdir(parents=True)
    toolkit(containers)
    index(containers, home, "vendor@example.com", LABEL)
    (root / "toolkit/gpgkey").write_bytes(key)
    # Somebody else's packages of a newer version of the same branch.
    ppa = root / "ppa/amd64"
    ppa.mkdir(parents=True)
    driver(ppa, kernel, "595.99.99")
    index(ppa, home, "vendor@example.com", "graphics-drivers", "LP-PPA-graphics-drivers")
    # The right key, but an index that somebody else signed; and somebody else's key.
    for name, content in (("forged", key), ("stranger", stranger)):
        place = root / name / "debian13/x86_64"
        place.mkdir(parents=True)
        package(place, "libcuda1", "580.999-1")
        index(place, home, "stranger@example.com", LABEL)
        (place / "8793F200.pub").write_bytes(content)
    # Last of all: what says that everything is there.
    Path(f"{directory}.fingerprint").write_text(fingerprint(home, "vendor@example.com"))


if __name__ == "__main__":
    os.umask(0o022)
    if len(sys.argv) > 3:
        publish(*sys.argv[1:])
    else:
        main(*sys.argv[1:])
