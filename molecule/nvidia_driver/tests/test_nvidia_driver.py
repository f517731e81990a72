"""Debian's own driver is installed, compiled for the packaged kernel, and stays as it is."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def kernel(host):
    """The packaged kernel for which there are headers."""
    (release,) = host.check_output("ls /lib/modules").split()
    return release


@pytest.fixture(scope="module")
def version(host):
    """Version of the driver's libraries, as the driver calls itself."""
    return host.check_output("dpkg-query -W -f '${Version}' libcuda1").partition("-")[0]


def test_dkms_compiled_the_modules_for_the_packaged_kernel(host, kernel, version):
    assert f"nvidia-current/{version}, {kernel}, x86_64: installed" in host.check_output("dkms status")


def test_the_compiled_module_says_that_it_is_of_this_version_and_kernel(host, kernel, version):
    assert host.check_output(f"modinfo -k {kernel} -F version nvidia-current") == version
    assert host.check_output(f"modinfo -k {kernel} -F vermagic nvidia-current").startswith(f"{kernel} ")


def test_the_module_knows_the_card_that_was_simulated(host, kernel):
    aliases = host.check_output(f"modinfo -k {kernel} -F alias nvidia-current").split()
    assert "pci:v000010DEd*sv*sd*bc03sc00i00*" in aliases


def test_no_graphics_came_along(host):
    assert not host.package("nvidia-driver").is_installed
    assert not host.package("xserver-xorg-core").is_installed


def test_the_driver_is_pinned_to_its_branch(host, version):
    policy = host.check_output("apt-cache policy libcuda1 nvidia-kernel-dkms")
    branch = version.partition(".")[0]
    assert policy.count("1001") >= 2 and f"Candidate: {branch}." in policy


def test_the_driver_is_held_and_an_upgrade_leaves_it_alone(host):
    held = host.check_output("apt-mark showhold").split()
    assert {"nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-ml1", "nvidia-persistenced", "libnvidia-cfg1", "firmware-nvidia-gsp"} <= set(held)
    assert "E: Held packages were changed" in host.run("apt-get remove -s -y libcuda1").stderr


def test_unattended_upgrades_are_told_to_leave_the_driver_alone(host):
    settings = host.check_output("apt-config dump Unattended-Upgrade::Package-Blacklist")
    for name in ("nvidia-", "libnvidia-", "libcuda1$", "linux-modules-nvidia-"):
        assert f'"{name}"' in settings


def test_nouveau_is_kept_out(host):
    assert "blacklist nouveau" in host.check_output("modprobe --showconfig").splitlines()


def test_further_components_come_from_the_repositories_that_the_host_uses_anyway(host):
    own = host.file("/etc/apt/sources.list.d/private-llm-nvidia.sources").content_string
    used = host.check_output("cat /etc/apt/sources.list")
    assert "Components: contrib non-free non-free-firmware" in own
    assert all(line.split()[1].rstrip("/") in used for line in own.splitlines() if line.startswith("URIs:"))


def test_a_refused_wish_left_nothing_behind(host):
    assert not host.file("/etc/apt/sources.list.d/private-llm-cuda.sources").exists
    assert "535" in host.file("/etc/apt/preferences.d/private-llm-nvidia").content_string
