# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fnmatch

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import gpus, nvidia_plan
from ansible_collections.private_llm.platform.tests.unit.fakes.gpu_tree import GpuTree

RTX_3090, RTX_5090, GTX_1080, H100, B300, GTX_780 = 0x2204, 0x2B85, 0x1B80, 0x2330, 0x3182, 0x1004
OFF = {"enabled": False, "certificate": None, "enrolled": False}
KERNELS = {"debian": "6.12.48+deb13-amd64", "ubuntu": "6.8.0-90-generic"}


@pytest.fixture
def host(tmp_path):
    def build(*device_ids, distribution="debian", version="13", architecture="x86_64", nvswitch=None, secure_boot=None, installed="", **more):
        tree = GpuTree(tmp_path)
        for number, device_id in enumerate(device_ids or [RTX_3090]):
            tree.device(f"0000:{number:02x}:00.0", device_id)
        found = [gpus.described(gpu) for gpu in gpus.find_gpus(str(tmp_path))]
        return nvidia_plan.Host(distribution, version, architecture, KERNELS[distribution], found, nvswitch, secure_boot or OFF, installed, **more)

    return build


def wish(source="vendor", branch=580, version="", flavour="auto"):
    return nvidia_plan.Wish(source, branch, version, flavour)


def names(packages):
    return [package.partition("=")[0] for package in packages]


@pytest.mark.parametrize(
    ("cards", "flavour"),
    [
        ([RTX_3090], "open"),
        ([H100, H100], "open"),
        ([RTX_5090], "open"),
        ([GTX_1080], "proprietary"),
        ([GTX_1080, RTX_3090], "proprietary"),
        ([0xFFFF], "open"),
    ],
)
def test_open_modules_are_taken_wherever_they_drive_every_gpu(host, cards, flavour):
    assert nvidia_plan.problems(host(*cards), wish()) == []
    assert nvidia_plan.plan(host(*cards), wish()).flavour == flavour


@pytest.mark.parametrize(
    ("distribution", "version", "source", "branch", "packages"),
    [
        ("debian", "13", "vendor", 580, ["nvidia-kernel-open-dkms=580.*", "nvidia-driver-cuda=580.*", "nvidia-persistenced=580.*"]),
        ("debian", "12", "vendor", 595, ["nvidia-kernel-open-dkms=595.*", "nvidia-driver-cuda=595.*", "nvidia-persistenced=595.*"]),
        (
            "debian", "12", "distribution", 580,
            ["nvidia-kernel-dkms=535.*", "nvidia-smi=535.*", "libcuda1=535.*", "libnvidia-ml1=535.*", "nvidia-persistenced"],
        ),
        (
            "debian", "13", "distribution", 580,
            ["nvidia-open-kernel-dkms=550.*", "nvidia-smi=550.*", "libcuda1=550.*", "libnvidia-ml1=550.*", "nvidia-persistenced"],
        ),
        (
            "ubuntu", "24.04", "vendor", 580,
            ["nvidia-dkms-580-open=580.*", "libnvidia-compute-580=580.*", "nvidia-utils-580=580.*", "nvidia-compute-utils-580=580.*"],
        ),
        ("ubuntu", "22.04", "vendor", 595, ["nvidia-dkms-open=595.*", "libnvidia-compute=595.*", "nvidia-utils=595.*", "nvidia-compute-utils=595.*"]),
        (
            "ubuntu", "24.04", "distribution", 580,
            [
                "linux-modules-nvidia-580-server-open-generic", "nvidia-headless-no-dkms-580-server-open=580.*", "nvidia-utils-580-server=580.*",
                "nvidia-compute-utils-580-server=580.*", "libnvidia-compute-580-server=580.*",
            ],
        ),
    ],
)  # fmt: skip
def test_each_distribution_and_source_has_packages_of_its_own(host, distribution, version, source, branch, packages):
    planned = nvidia_plan.plan(host(distribution=distribution, version=version), wish(source, branch))
    assert planned.packages == packages
    assert planned.held == names(packages)


def test_proprietary_modules_are_other_packages(host):
    assert nvidia_plan.plan(host(GTX_1080), wish()).packages[0] == "nvidia-kernel-dkms=580.*"
    assert nvidia_plan.plan(host(GTX_1080, distribution="ubuntu", version="24.04"), wish()).packages[0] == "nvidia-dkms-580=580.*"


@pytest.mark.parametrize(
    "installed, taken", [("", "580.*"), ("580.95.05", "580.95.05-*"), ("575.57.08", "580.*"), ("5800.1", "580.*")]
)
def test_what_is_installed_of_the_branch_stays(host, installed, taken):
    planned = nvidia_plan.plan(host(installed=installed), wish("vendor", 580))
    assert planned.packages == [f"{name}={taken}" for name in names(planned.packages)]
    assert planned.version == "580.*"


def test_a_whole_version_that_is_asked_for_replaces_what_is_installed(host):
    asked = nvidia_plan.Wish("vendor", 580, "580.105.08", "auto")
    assert nvidia_plan.plan(host(installed="580.95.05"), asked).packages[0].endswith("=580.105.08-*")


def test_a_whole_version_is_taken_to_the_last_digit(host):
    planned = nvidia_plan.plan(host(), wish(version="580.95.05"))
    assert planned.version == "580.95.05-*" and planned.packages[0] == "nvidia-kernel-open-dkms=580.95.05-*"


@pytest.mark.parametrize(
    ("distribution", "version", "source", "headers"),
    [
        ("debian", "13", "vendor", ["linux-headers-6.12.48+deb13-amd64", "linux-headers-amd64"]),
        ("ubuntu", "24.04", "vendor", ["linux-headers-6.8.0-90-generic", "linux-headers-generic"]),
        ("ubuntu", "24.04", "distribution", []),
    ],
)
def test_modules_that_are_compiled_get_headers_for_this_kernel_and_the_next(host, distribution, version, source, headers):
    assert nvidia_plan.plan(host(distribution=distribution, version=version), wish(source)).headers == headers


@pytest.mark.parametrize(
    ("distribution", "version", "source", "branch"),
    [
        ("debian", "12", "vendor", 580), ("debian", "13", "vendor", 595), ("debian", "13", "distribution", 550), ("ubuntu", "22.04", "vendor", 580),
        ("ubuntu", "24.04", "distribution", 580),
    ],
)  # fmt: skip
def test_the_branch_that_nobody_names_is_one_that_the_repository_has(host, distribution, version, source, branch):
    assert nvidia_plan.plan(host(distribution=distribution, version=version), wish(source, None)).branch == branch


@pytest.mark.parametrize(("wanted", "branch"), [(wish(branch=None), 575), (wish(branch=580), 580), (wish(branch=None, version="590.44.01"), 590)])
def test_a_driver_that_is_installed_keeps_its_branch_until_another_one_is_named(host, wanted, branch):
    assert nvidia_plan.plan(host(distribution="debian", version="12", installed="575.57.08"), wanted).branch == branch


def test_a_whole_version_names_its_branch(host):
    assert nvidia_plan.plan(host(), wish(branch=None, version="590.44.01")).branch == 590


def test_a_card_that_is_too_old_for_what_debian_13_is_offered_is_led_to_debian_s_own_packages(host):
    (sentence,) = nvidia_plan.problems(host(GTX_1080), wish(branch=None))
    assert "595 does not drive it any more" in sentence and "take the distribution's own packages" in sentence
    assert nvidia_plan.problems(host(GTX_1080), wish("distribution", None)) == []


def test_a_kernel_that_waits_for_the_next_boot_gets_headers_too(host):
    planned = nvidia_plan.plan(host(next_kernel="6.12.57+deb13-amd64"), wish())
    assert planned.kernels == ["6.12.48+deb13-amd64", "6.12.57+deb13-amd64"]
    assert planned.headers[:2] == ["linux-headers-6.12.48+deb13-amd64", "linux-headers-6.12.57+deb13-amd64"]


def test_a_host_with_kernels_of_a_newer_release_goes_on_getting_modules_for_them(host):
    newer = host(distribution="ubuntu", version="24.04", kernel_metapackages=["generic-hwe-24.04"])
    assert nvidia_plan.plan(newer, wish()).headers[-1] == "linux-headers-generic-hwe-24.04"
    assert nvidia_plan.plan(newer, wish("distribution")).packages[0] == "linux-modules-nvidia-580-server-open-generic-hwe-24.04"


@pytest.mark.parametrize(
    ("distribution", "version", "source", "packages"),
    [
        ("debian", "13", "vendor", ["libcuda1", "nvidia-open-kernel-dkms", "nvidia-container-toolkit"]),
        ("debian", "12", "vendor", ["libcuda1", "nvidia-kernel-dkms", "nvidia-smi"]),
        ("debian", "13", "distribution", ["libcuda1", "nvidia-driver-cuda"]),
        ("ubuntu", "24.04", "vendor", ["libnvidia-compute-580-server", "nvidia-utils-580-server"]),
        ("ubuntu", "24.04", "distribution", ["libnvidia-compute-580", "nvidia-dkms-580-open"]),
    ],
)
def test_a_driver_of_the_other_source_is_not_mixed_with(host, distribution, version, source, packages):
    there = host(distribution=distribution, version=version, installed="580.95.05", packages=packages)
    (sentence,) = nvidia_plan.problems(there, wish(source, None))
    assert "apt-get purge --allow-change-held-packages libcuda1" in sentence or "apt-get purge --allow-change-held-packages libnvidia-compute" in sentence
    assert "container" not in sentence


@pytest.mark.parametrize(
    ("distribution", "version", "source", "packages"),
    [
        ("debian", "13", "vendor", ["libcuda1", "nvidia-driver-cuda", "nvidia-kernel-open-dkms"]),
        ("debian", "13", "distribution", ["libcuda1", "nvidia-open-kernel-dkms", "nvidia-smi"]),
        ("ubuntu", "24.04", "vendor", ["libnvidia-compute-580", "nvidia-dkms-580-open", "nvidia-utils-580"]),
        ("ubuntu", "24.04", "distribution", ["libnvidia-compute-580-server", "nvidia-utils-580-server", "nvidia-headless-no-dkms-580-server-open"]),
    ],
)
def test_a_driver_of_the_same_source_is_in_nobody_s_way(host, distribution, version, source, packages):
    there = host(distribution=distribution, version=version, installed="580.95.05", packages=packages)
    assert nvidia_plan.problems(there, wish(source, None)) == []


@pytest.mark.parametrize(
    ("distribution", "version", "source", "origin", "name"),
    [
        ("debian", "13", "vendor", "o=Debian", "libcuda1"),
        ("ubuntu", "24.04", "vendor", "o=Ubuntu", "*nvidia*"),
        ("ubuntu", "24.04", "distribution", "l=NVIDIA CUDA", "*nvidia*"),
    ],
)
def test_packages_of_the_other_source_are_kept_out_even_if_they_have_the_same_branch(host, distribution, version, source, origin, name):
    planned = nvidia_plan.plan(host(distribution=distribution, version=version), wish(source))
    assert name in next(source["packages"] for source in planned.unwanted if source["release"] == origin)


@pytest.mark.parametrize("source", ["vendor", "distribution"])
@pytest.mark.parametrize("release", ["o=LP-PPA-*", "a=*-backports"])
def test_packages_of_a_ppa_or_of_backports_are_kept_out_whatever_the_source(host, source, release):
    planned = nvidia_plan.plan(host(distribution="ubuntu", version="24.04"), wish(source))
    assert "libcuda1*" in next(entry["packages"] for entry in planned.unwanted if entry["release"] == release)


def test_debian_s_helpers_that_both_sources_use_are_not_kept_out(host):
    debians = next(source["packages"] for source in nvidia_plan.plan(host(), wish()).unwanted if source["release"] == "o=Debian")
    assert not any(fnmatch.fnmatch("nvidia-support", pattern) for pattern in debians)


def test_only_debian_s_own_packages_need_further_components(host):
    assert nvidia_plan.plan(host(), wish("distribution")).components == ["contrib", "non-free", "non-free-firmware"]
    assert nvidia_plan.plan(host(), wish("vendor")).components == []


@pytest.mark.parametrize(
    ("nvswitch", "branch", "packages"),
    [
        (None, 580, []),
        ("pci", 580, ["nvidia-fabricmanager-580"]),
        ("pci", 595, ["nvidia-fabricmanager"]),
        ("nvlink5", 580, ["nvidia-fabricmanager-580", "nvlsm"]),
    ],
)
def test_the_fabric_manager_comes_with_an_nvswitch_and_only_then(host, nvswitch, branch, packages):
    planned = nvidia_plan.plan(host(H100, nvswitch=nvswitch), wish(branch=branch))
    assert planned.fabric_manager == packages
    assert set(packages) <= set(planned.held)


@pytest.mark.parametrize(("branch", "major"), [(535, 12), (580, 13)])
def test_the_branch_says_which_cuda_it_brings(host, branch, major):
    assert nvidia_plan.plan(host(), wish(branch=branch)).cuda_major == major


@pytest.mark.parametrize(
    ("cards", "place", "wanted", "sentence"),
    [
        ([GTX_780], {}, {}, "was last known to branch 470"),
        ([GTX_1080], {}, {"branch": 595}, "was last known to branch 580"),
        ([B300], {}, {"branch": 570}, "needs branch 580 of the driver or a newer one, 570 does not know it: choose a newer branch"),
        ([B300], {}, {"source": "distribution"}, "needs branch 580 of the driver or a newer one, 550 does not know it: take the vendor's packages"),
        ([RTX_5090], {}, {"flavour": "proprietary"}, "is driven by the open kernel modules alone"),
        ([GTX_1080], {}, {"flavour": "open"}, "is not driven by the open kernel modules"),
        ([GTX_1080, RTX_5090], {}, {}, "is driven by the open kernel modules alone"),
        ([RTX_3090], {}, {"branch": 620, "flavour": "proprietary"}, "Branch 620 has no proprietary kernel modules any more"),
        ([RTX_3090], {}, {"branch": 470, "flavour": "open"}, "Branch 470 has no open kernel modules"),
        ([RTX_3090], {}, {"version": "595.45.04"}, "The version 595.45.04 is not of branch 580"),
        ([RTX_3090], {}, {"version": "latest"}, "The version 'latest' is none"),
        ([RTX_3090], {"version": "12"}, {"source": "distribution", "flavour": "open"}, "Debian 12 has no open kernel modules that fit"),
        ([H100], {"nvswitch": "pci"}, {"source": "distribution"}, "Debian has no fabric manager"),
        ([RTX_3090], {"version": "11"}, {}, "this is debian 11"),
        ([RTX_3090], {"architecture": "riscv64"}, {}, "riscv64"),
    ],
)
def test_what_cannot_work_is_a_sentence_with_the_way_out(host, cards, place, wanted, sentence):
    assert sentence in " ".join(nvidia_plan.problems(host(*cards, **place), wish(**wanted)))


ON = {"enabled": True, "certificate": None, "enrolled": False}


def test_secure_boot_without_an_enrolled_key_stops_with_the_commands_that_mend_it(host):
    (sentence,) = nvidia_plan.problems(host(secure_boot=ON), wish())
    assert "openssl req" in sentence and "mokutil --import /var/lib/dkms/mok.pub" in sentence and "Enroll MOK" in sentence


def test_a_key_that_is_there_is_not_made_again(host):
    (sentence,) = nvidia_plan.problems(host(secure_boot={**ON, "certificate": "/var/lib/dkms/mok.pub"}), wish())
    assert "openssl" not in sentence and "mokutil --import /var/lib/dkms/mok.pub" in sentence


def test_secure_boot_is_no_problem_once_the_key_is_enrolled_or_where_modules_come_signed(host):
    assert nvidia_plan.problems(host(secure_boot={"enabled": True, "certificate": "/x", "enrolled": True}), wish()) == []
    assert nvidia_plan.problems(host(distribution="ubuntu", version="24.04", secure_boot=ON), wish("distribution")) == []
    (sentence,) = nvidia_plan.problems(host(distribution="ubuntu", version="24.04", secure_boot=ON), wish())
    assert "update-secureboot-policy --new-key" in sentence and "Ubuntu's own packages" in sentence
