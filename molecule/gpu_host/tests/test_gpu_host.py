"""What NVIDIA's packages become on a host: one version, pinned and held, running, seen from containers, and upgraded without mixing."""

from __future__ import annotations

import json

import pytest

DRIVER = ("nvidia-kernel-open-dkms", "nvidia-driver-cuda", "libcuda1", "nvidia-persistenced")
TOOLKIT = ("nvidia-container-toolkit", "nvidia-container-toolkit-base", "libnvidia-container-tools", "libnvidia-container1")
UPGRADED = "595.45.04"


@pytest.mark.parametrize("name", DRIVER)
def test_the_whole_driver_went_to_the_new_branch_together(host, name):
    assert host.package(name).version == f"{UPGRADED}-1"


def test_what_is_loaded_is_what_is_installed_after_the_reboot(host):
    assert host.file("/srv/simulated-gpu/sys/module/nvidia/version").content_string.strip() == UPGRADED
    assert host.check_output("nvidia-smi --query-gpu=name,driver_version") == f"Simulated GPU, {UPGRADED}"


def test_the_model_server_finished_its_work_before_each_reboot_and_runs_again(host):
    # One reboot took the GPU from nouveau, the other one was the upgrade.
    assert host.file("/srv/finished").content_string.splitlines() == ["finished", "finished"]
    assert host.service("llama-server").is_running


def test_the_persistence_daemon_runs_now_and_at_boot(host):
    service = host.service("nvidia-persistenced")
    assert service.is_running and service.is_enabled


def test_an_ordinary_upgrade_leaves_driver_toolkit_and_dcgm_alone(host):
    host.check_output("apt-get update -q")
    planned = host.check_output("apt-get upgrade -s")
    touched = [line.split()[1] for line in planned.splitlines() if line.startswith("Inst")]
    held = host.check_output("apt-mark showhold").split()
    assert {*TOOLKIT, *DRIVER, "datacenter-gpu-manager-4-core"} <= set(held)
    assert not {name for name in touched if "nvidia" in name or "gpu-manager" in name or name == "libcuda1"}


def test_the_branch_is_pinned_though_others_are_offered(host):
    policy = host.check_output("apt-cache policy libcuda1")
    assert f"Candidate: {UPGRADED}-1" in policy and "1001" in policy
    assert "580.105.08-1" in host.check_output("apt-cache madison libcuda1")


def test_a_ppa_with_a_newer_version_of_the_branch_is_passed_over(host):
    assert "595.99.99-1" in host.check_output("apt-cache madison nvidia-driver-cuda")
    assert f"Candidate: {UPGRADED}-1" in host.check_output("apt-cache policy nvidia-driver-cuda")


@pytest.mark.parametrize("name", TOOLKIT)
def test_the_four_packages_of_the_toolkit_are_at_one_version_though_a_newer_one_is_offered(host, name):
    assert host.package(name).version == "1.20.1-1"
    assert "1.21.0-1" in host.check_output(f"apt-cache madison {name}")


def test_each_repository_is_trusted_with_its_own_key_alone(host):
    for name in ("private-llm-cuda", "private-llm-nvidia-container-toolkit"):
        entry = host.file(f"/etc/apt/sources.list.d/{name}.sources").content_string
        assert f"Signed-By: /etc/apt/keyrings/{name}.asc" in entry
    assert host.run("find /etc/apt/trusted.gpg /etc/apt/trusted.gpg.d -newer /srv/repository.fingerprint -type f").stdout == ""


def test_refused_repositories_left_nothing_and_apt_works(host):
    assert not host.file("/etc/apt/sources.list.d/stranger.sources").exists
    assert not host.file("/etc/apt/keyrings/stranger.asc").exists
    assert "127.0.0.1:8099/cuda/" in host.file("/etc/apt/sources.list.d/private-llm-cuda.sources").content_string
    host.check_output("apt-get update --error-on=any")


def test_the_engine_has_cdi_and_the_operator_s_own_settings(host):
    settings = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert settings["features"] == {"buildkit": False, "cdi": True}
    assert settings["max-concurrent-downloads"] == 2


def test_a_container_sees_the_gpu_after_a_reboot_with_descriptions_made_anew(host, inspect):
    assert host.service("uses-gpu").is_running
    assert inspect("uses-gpu")["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == ["nvidia.com/gpu=all"]
    assert "GPU 0" in host.check_output("docker exec uses-gpu nvidia-smi --list-gpus")
    assert host.check_output("docker exec uses-gpu ls /dev/nvidia-simulated") == "/dev/nvidia-simulated"


def test_the_container_waits_for_the_unit_that_describes_gpus(host):
    for kind in ("After", "Wants"):
        assert "nvidia-cdi-refresh.service" in host.check_output(f"systemctl show uses-gpu --property {kind} --value").split()


def test_dcgm_is_for_the_driver_s_cuda_and_runs_once(host):
    assert host.package("datacenter-gpu-manager-4-cuda13").is_installed
    assert not host.package("datacenter-gpu-manager-4-cuda12").is_installed
    assert host.service("nvidia-dcgm").is_running and host.service("nvidia-dcgm").is_enabled
    assert "1 GPU found" in host.check_output("dcgmi discovery --list")


def test_nouveau_is_kept_out_and_unattended_upgrades_are_told(host):
    assert "blacklist nouveau" in host.file("/etc/modprobe.d/private-llm-nouveau.conf").content_string
    assert '"nvidia-"' in host.check_output("apt-config dump Unattended-Upgrade::Package-Blacklist")
