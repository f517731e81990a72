# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import gpus
from ansible_collections.private_llm.platform.tests.unit.fakes.gpu_tree import DISABLED, ENABLED, GpuTree

KERNEL = "6.12.48+deb13-amd64"


@pytest.fixture
def tree(tmp_path):
    return GpuTree(tmp_path)


def programs(modules=(), packages=()):
    """Stands for modinfo and dpkg-query: versions by module name, and lines of state, package and version."""

    def run(argv):
        if argv[0] == "modinfo":
            assert argv[1:5] == ["-k", KERNEL, "-F", "version"]
            version = dict(modules).get(argv[5])
            return (0, f"{version}\n", "") if version else (1, "", "not found")
        assert argv[0] == "dpkg-query"
        return 0, "".join(f"{state}\t{package}\t{version}\n" for state, package, version in packages), ""

    return run


def test_gpus_are_found_among_other_devices_in_the_order_of_their_addresses(tree):
    tree.device("0000:41:00.0", 0x2684).device("0000:01:00.0", 0x2330, kind=0x030200)
    tree.device("0000:01:00.1", 0x22BA, kind=0x040300).device("0000:02:00.0", 0x1572, kind=0x020000, vendor=0x8086)
    assert [(gpu.pci_address, gpu.device_id) for gpu in gpus.find_gpus(str(tree.root))] == [("0000:01:00.0", "2330"), ("0000:41:00.0", "2684")]


def test_a_display_of_another_maker_is_no_gpu_of_ours(tree):
    tree.device("0000:00:02.0", 0x4680, vendor=0x8086)
    assert gpus.find_gpus(str(tree.root)) == []


def test_a_host_without_sysfs_has_no_gpus(tree):
    assert gpus.find_gpus(str(tree.root)) == []


def test_a_card_has_the_name_that_its_driver_gives_it_or_that_of_the_database_or_of_its_chip(tree):
    tree.device("0000:01:00.0", 0x2204)
    assert gpus.find_gpus(str(tree.root))[0].name == "GA102 (device 2204)"
    tree.write("usr/share/misc/pci.ids", "10dd  Somebody\n\t2204  Not this\n10de  NVIDIA Corporation\n\t2204  GA102 [GeForce RTX 3090]\n\t\t1043 1 Sub\n")
    assert gpus.find_gpus(str(tree.root))[0].name == "GA102 [GeForce RTX 3090]"
    tree.write("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA GeForce RTX 3090\nIRQ: 42\n")
    assert gpus.find_gpus(str(tree.root))[0].name == "NVIDIA GeForce RTX 3090"


def test_architectures_of_different_cards_are_listed_once_and_by_number(tree):
    tree.device("0000:01:00.0", 0x2B85).device("0000:02:00.0", 0x2684).device("0000:03:00.0", 0x2684).device("0000:04:00.0", 0xFFFF)
    assert gpus.architectures(gpus.find_gpus(str(tree.root))) == ["89", "120"]


def test_switches_between_gpus_are_told_from_their_absence_and_by_kind(tree, tmp_path):
    assert gpus.nvswitch(str(tree.root)) is None
    blackwell = GpuTree(tmp_path / "blackwell").device("0000:05:00.0", 0x1021, kind=0x020700, vendor=0x15B3, vpd=b"\x82\x10NVIDIA SW_MNG port")
    assert gpus.nvswitch(str(blackwell.root)) == "nvlink5"
    network = GpuTree(tmp_path / "network").device("0000:05:00.0", 0x1021, kind=0x020000, vendor=0x15B3, vpd=b"\x82\x10ConnectX-7")
    assert gpus.nvswitch(str(network.root)) is None
    tree.device("0000:06:00.0", 0x22A3, kind=0x068000)
    assert gpus.nvswitch(str(tree.root)) == "pci"


def test_a_host_without_efi_has_no_secure_boot(tree):
    assert gpus.secure_boot(str(tree.root)) == {"enabled": False, "certificate": None, "enrolled": False}


@pytest.mark.parametrize(("content", "enabled"), [(ENABLED, True), (DISABLED, False), (b"", False)])
def test_secure_boot_is_the_byte_behind_the_attributes(tree, content, enabled):
    tree.write(gpus.SECURE_BOOT_VARIABLE, content)
    assert gpus.secure_boot(str(tree.root))["enabled"] is enabled


def test_a_certificate_counts_as_enrolled_only_if_the_firmware_hands_it_over_whole(tree):
    certificate = bytes(range(200))
    tree.write("var/lib/dkms/mok.pub", certificate).write(gpus.SECURE_BOOT_VARIABLE, ENABLED)
    tree.write(gpus.TRUSTED_CERTIFICATES[0], b"\x07\x00\x00\x00head" + certificate[:-1])
    assert gpus.secure_boot(str(tree.root)) == {"enabled": True, "certificate": "/var/lib/dkms/mok.pub", "enrolled": False}
    tree.write(gpus.TRUSTED_CERTIFICATES[0], b"\x07\x00\x00\x00head" + certificate + b"tail")
    assert gpus.secure_boot(str(tree.root))["enrolled"]


def test_the_enrolled_certificate_is_named_where_there_are_two(tree):
    tree.write("var/lib/dkms/mok.pub", b"one").write("var/lib/shim-signed/mok/MOK.der", b"the other").write(gpus.TRUSTED_CERTIFICATES[0], b"xx the other")
    assert gpus.secure_boot(str(tree.root))["certificate"] == "/var/lib/shim-signed/mok/MOK.der"


@pytest.mark.parametrize(
    ("version", "upstream"),
    [("580.95.05-1", "580.95.05"), ("535.247.01-1~deb12u1", "535.247.01"), ("1:580.95.05-1ubuntu1", "580.95.05"), ("550.163.01", "550.163.01")],
)
def test_the_upstream_version_is_what_the_program_calls_itself(version, upstream):
    assert gpus.upstream_version(version) == upstream


@pytest.mark.parametrize("name", gpus.MODULE_NAMES)
def test_versions_are_read_from_kernel_disk_and_packages(tree, name):
    tree.loaded("580.82.07")
    packages = [
        ("hi ", "libnvidia-compute", "580.95.05-1"),
        ("ii ", "nvidia-kernel-open-dkms", "580.95.05-1"),
        ("ii ", "nvidia-container-toolkit", "1.18.0-1"),
        ("rc ", "libcuda1", "999.0-1"),
    ]
    found = gpus.driver(programs({name: "580.95.05"}, packages), KERNEL, str(tree.root))
    assert found == gpus.Driver("580.82.07", "580.95.05", "580.95.05", "580.95.05")


def test_a_module_without_a_version_in_sysfs_is_read_from_proc(tree):
    tree.write("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\nGCC version: 14.2.0\n")
    assert gpus.driver(programs(), KERNEL, str(tree.root)).loaded == "580.95.05"


def test_the_container_toolkit_alone_is_no_driver(tree):
    packages = [("ii ", "libnvidia-container1", "1.18.0-1"), ("ii ", "nvidia-container-toolkit", "1.18.0-1")]
    found = gpus.driver(programs(packages=packages), KERNEL, str(tree.root))
    assert found == gpus.Driver(None, None, None, None)


@pytest.mark.parametrize(
    ("found", "held_by", "reason"),
    [
        (gpus.Driver(None, None, None, None), "nouveau", None),
        (gpus.Driver("1.0", "1.0", "1.0", "1.0"), "nvidia", None),
        (gpus.Driver("1.0", "2.0", "2.0", "2.0"), "nvidia", "the kernel runs version 1.0 of the driver, on disk is 2.0"),
        (gpus.Driver("1.0", "1.0", "2.0", "1.0"), "nvidia", "the kernel runs version 1.0 of the driver, the libraries are of 2.0"),
        (gpus.Driver("1.0", None, "2.0", "2.0"), "nvidia", "the kernel runs version 1.0 of the driver, the libraries are of 2.0"),
        (gpus.Driver(None, "2.0", "2.0", "2.0"), "nouveau", "the driver nouveau holds the GPU 0000:01:00.0, and cannot be made to let go of it"),
        (gpus.Driver(None, "2.0", "2.0", "2.0"), None, None),
    ],
)
def test_a_reboot_is_due_when_what_runs_is_not_what_is_installed(tree, found, held_by, reason):
    tree.device("0000:01:00.0", 0x2204, driver=held_by)
    assert gpus.reboot_reason(found, gpus.find_gpus(str(tree.root))) == reason


SHIM = "sys/firmware/efi/efivars/MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23"


@pytest.mark.parametrize(
    ("state", "enabled"),
    [(None, True), (b"\x06\0\0\0\x00", True), (b"\x06\0\0\0\x01", False), (b"\x07\0\0\0\x01", True)],
)
def test_secure_boot_is_off_where_somebody_at_the_console_told_shim_so_and_nobody_else(tree, state, enabled):
    tree.write(gpus.SECURE_BOOT_VARIABLE, ENABLED)
    if state is not None:
        tree.write(SHIM, state)
    assert gpus.secure_boot(str(tree.root))["enabled"] is enabled


@pytest.mark.parametrize(
    ("kernels", "newest"),
    [
        ([], "6.1.0-30-amd64"),
        (["6.1.0-9-amd64", "6.1.0-30-amd64"], "6.1.0-30-amd64"),
        (["6.1.0-30-amd64", "6.1.0-31-amd64"], "6.1.0-31-amd64"),
        (["6.12.48+deb13-amd64"], "6.12.48+deb13-amd64"),
    ],
)
def test_the_newest_kernel_is_the_one_that_is_booted_next(tree, kernels, newest):
    for kernel in kernels:
        tree.write(f"boot/vmlinuz-{kernel}", "")
    assert gpus.next_kernel("6.1.0-30-amd64", str(tree.root)) == newest


def test_packages_that_bring_kernels_are_told_from_kernels():
    rows = ["ii \tlinux-image-generic-hwe-24.04", "ii \tlinux-image-unsigned-6.8.0-90-generic", "rc \tlinux-image-virtual", "ii \tlinux-image-amd64-dbg"]
    assert gpus.kernel_metapackages(lambda _arguments: (0, "\n".join(rows), "")) == ["generic-hwe-24.04"]
