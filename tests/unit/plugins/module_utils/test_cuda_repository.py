# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import cuda_repository

FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"


@pytest.mark.parametrize(
    ("distribution", "version", "architecture", "directory", "key", "fingerprint"),
    [
        ("debian", "12", "x86_64", "debian12/x86_64/", "3bf863cc.pub", "EB693B3035CD5710E231E123A4B469963BF863CC"),
        ("debian", "13", "x86_64", "debian13/x86_64/", "8793F200.pub", "02182E60104FCDC26EAE1B8597A5D4CB8793F200"),
        ("ubuntu", "22.04", "x86_64", "ubuntu2204/x86_64/", "3bf863cc.pub", "EB693B3035CD5710E231E123A4B469963BF863CC"),
        ("ubuntu", "24.04", "aarch64", "ubuntu2404/sbsa/", "3bf863cc.pub", "EB693B3035CD5710E231E123A4B469963BF863CC"),
    ],
)
def test_each_distribution_has_a_repository_and_a_key(distribution, version, architecture, directory, key, fingerprint):
    found = cuda_repository.repository_for(distribution, version, architecture)
    assert found.uri == f"https://developer.download.nvidia.com/compute/cuda/repos/{directory}"
    assert found.key == f"{found.uri}{key}" and found.fingerprints == [fingerprint]
    assert list(found.problems()) == []


def test_a_mirror_may_have_a_key_of_its_own():
    found = cuda_repository.repository_for("debian", "13", "x86_64", "https://mirror.example/cuda/", "/etc/mirror.asc", [FINGERPRINT])
    assert (found.uri, found.key, found.fingerprints) == ("https://mirror.example/cuda/debian13/x86_64/", "/etc/mirror.asc", [FINGERPRINT])


@pytest.mark.parametrize(
    ("distribution", "version", "architecture", "named"), [("debian", "11", "x86_64", "debian 11"), ("debian", "13", "riscv64", "riscv64")]
)
def test_a_host_that_nvidia_has_nothing_for_is_told_so(distribution, version, architecture, named):
    with pytest.raises(cuda_repository.NoRepositoryError, match=named):
        cuda_repository.repository_for(distribution, version, architecture)


def test_the_distribution_is_read_from_the_host(tmp_path):
    (tmp_path / "os-release").write_text('NAME="Ubuntu"\nID=ubuntu\nVERSION_ID="24.04"\n')
    assert cuda_repository.this_distribution(str(tmp_path / "os-release")) == ("ubuntu", "24.04")
