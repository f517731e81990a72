# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import llama_cpp_cuda
from ansible_collections.private_llm.platform.plugins.module_utils.llama_cpp_cuda import Card, CudaError, Toolkit

NVCC = "nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release 13.0, V13.0.88\nBuild cuda_13.0.r13.0/compiler.36424714_0\n"
LISTED = "Available devices:\n  CUDA0: NVIDIA H100 80GB HBM3 (81079 MiB, 80558 MiB free)\n  CUDA1: NVIDIA L40S (46068 MiB, 45000 MiB free)\n"


@pytest.mark.parametrize(
    "given, written",
    [("9.0", "90-real"), ("12.0", "120-real"), ("8.6", "86-real"), ("90", "90"), ("120a-real", "120a-real"), ("75-virtual", "75-virtual")],
)
def test_an_architecture_is_written_as_cmake_has_it(given, written):
    assert llama_cpp_cuda.architecture(given) == written


@pytest.mark.parametrize("given", ["", "9", "sm_90", "9.0;8.0", "H100", "90-fast", "9.0 "])
def test_what_is_no_architecture_is_refused(given):
    with pytest.raises(ValueError, match="is no GPU architecture"):
        llama_cpp_cuda.architecture(given)


def test_each_architecture_is_built_for_once_in_an_order_that_does_not_depend_on_the_cards():
    assert llama_cpp_cuda.architectures(["12.0", "9.0", "8.9", "9.0"]) == "89-real;90-real;120-real"
    with pytest.raises(ValueError, match="at least one"):
        llama_cpp_cuda.architectures([])


def test_a_toolkit_has_to_be_of_the_release_that_the_build_is_named_after():
    toolkit = Toolkit("/usr/local/cuda")
    toolkit.expect("13.0", NVCC)
    with pytest.raises(CudaError, match=r"is of release 13\.0, but 12\.8 is expected: set the version"):
        toolkit.expect("12.8", NVCC)
    with pytest.raises(CudaError, match="does not say which release it is: Segmentation fault"):
        toolkit.expect("13.0", "Segmentation fault")


def test_a_toolkit_that_is_not_there_is_named_with_what_to_do(tmp_path):
    with pytest.raises(CudaError, match=r"there is no CUDA compiler .*/bin/nvcc: install the toolkit's packages"):
        llama_cpp_cuda.installed_toolkit(str(tmp_path))


def test_the_stub_of_the_drivers_library_is_found_where_nvidia_puts_it(tmp_path):
    (tmp_path / "lib64").mkdir()
    assert Toolkit(str(tmp_path)).stub is None
    (tmp_path / "lib64/stubs").mkdir()
    (tmp_path / "lib64/stubs/libcuda.so").touch()
    assert Toolkit(str(tmp_path)).stub == f"{tmp_path}/lib64/stubs/libcuda.so"


def test_programs_look_for_the_toolkits_libraries_and_never_among_the_stubs(tmp_path):
    (tmp_path / "lib64/stubs").mkdir(parents=True)
    options = llama_cpp_cuda.configure_options(Toolkit(str(tmp_path)), "90-real")
    assert options["CMAKE_INSTALL_RPATH"] == f"$ORIGIN;{tmp_path}/lib64"
    assert options["CMAKE_CUDA_COMPILER"] == f"{tmp_path}/bin/nvcc"


def test_gpus_are_read_as_the_programs_list_them():
    assert llama_cpp_cuda.devices(LISTED) == ["CUDA0 (NVIDIA H100 80GB HBM3)", "CUDA1 (NVIDIA L40S)"]
    assert llama_cpp_cuda.devices("Available devices:\n  (none)\n") == []


def test_cards_are_counted_as_the_driver_has_them(tmp_path):
    assert llama_cpp_cuda.cards(str(tmp_path / "nowhere")) == 0
    (tmp_path / "0000:01:00.0").mkdir()
    assert llama_cpp_cuda.cards(str(tmp_path)) == 1


SAID = """\
GPU-aaaa, NVIDIA H100 80GB HBM3, 9.0, 80558, Disabled
GPU-bbbb, NVIDIA A100-SXM4-40GB, 8.0, 40000, Enabled
GPU-cccc, NVIDIA GeForce RTX 4090, 8.9, [N/A], [N/A]
"""
INSTANCES = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb)
  MIG 3g.20gb     Device  0: (UUID: MIG-1111)
  MIG 2g.10gb     Device  1: (UUID: MIG-2222)
GPU 2: NVIDIA GeForce RTX 4090 (UUID: GPU-cccc)
"""


def test_a_divided_card_counts_as_its_instances():
    assert llama_cpp_cuda.installed_cards(SAID, INSTANCES) == [
        Card("GPU-aaaa", "NVIDIA H100 80GB HBM3", "9.0", 80558),
        Card("MIG-1111", "NVIDIA A100-SXM4-40GB MIG 3g.20gb", "8.0", None),
        Card("MIG-2222", "NVIDIA A100-SXM4-40GB MIG 2g.10gb", "8.0", None),
        Card("GPU-cccc", "NVIDIA GeForce RTX 4090", "8.9", None),
    ]
    assert llama_cpp_cuda.installed_cards("NVIDIA-SMI has failed because it could not talk to the driver.", "") == []


@pytest.mark.parametrize(
    "wanted, capability, promised",
    [
        ("90-real", "9.0", True),
        ("86-real", "8.9", True),
        ("89-real", "8.6", False),
        ("89-real", "9.0", False),
        ("80-virtual", "9.0", True),
        ("80", "12.0", True),
        ("75-virtual;120a-real", "12.1", True),
        ("120a-real", "12.1", False),
        ("120a-real", "12.0", True),
        ("90-real", "[N/A]", True),
    ],
)
def test_a_build_promises_to_compute_on_the_cards_that_its_code_is_for(wanted, capability, promised):
    assert llama_cpp_cuda.is_built_for(wanted, capability) is promised


def rows(**changed):
    row = {"backends": "CUDA", "gpu_info": "NVIDIA H100 80GB HBM3", "n_prompt": 512, "n_gen": 0, "avg_ts": 5000.04}
    return json.dumps([{**row, **changed}, {**row, "n_prompt": 0, "n_gen": 64, "avg_ts": 200.0, **changed}])


def test_what_llama_bench_measured_is_read():
    assert llama_cpp_cuda.trial_result(rows()) == {"device": "NVIDIA H100 80GB HBM3", "prompt": 5000.0, "answer": 200.0}


@pytest.mark.parametrize(
    "said, sentence",
    [
        (rows(backends="CPU"), "computed on CPU instead of the GPU"),
        (rows(backends="CUDA", gpu_info=""), "instead of the GPU"),
        (rows(avg_ts=0), "measured no speed"),
        ("[]", "did not say what it measured"),
        ("CUDA error: out of memory", "did not say what it measured: CUDA error: out of memory"),
    ],
)
def test_a_measurement_that_proves_nothing_is_refused(said, sentence):
    with pytest.raises(CudaError, match=sentence):
        llama_cpp_cuda.trial_result(said)
