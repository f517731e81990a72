"""A release is built, complete, and says what it is."""

from __future__ import annotations

import json

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import llama_cpp_cuda, trial_model

RELEASES = "/opt/llama.cpp/releases"


@pytest.fixture(scope="module")
def release(host):
    names = host.check_output(f"ls {RELEASES}").split()
    return f"{RELEASES}/{next(name for name in names if name.startswith('0.'))}"


def test_the_server_says_the_version_that_was_asked_for(host, release):
    said = host.run(f"{release}/bin/llama-server --version")
    assert "0.5.0 (build 11312, commit 0c1e57098)" in said.stdout + said.stderr


@pytest.mark.parametrize("program", ["llama-server", "llama-bench", "llama-batched-bench", "llama-fit-params"])
def test_a_program_runs_on_this_host(host, release, program):
    assert host.run(f"{release}/bin/{program} --help").rc == 0


def test_programs_of_a_release_are_for_everybody_to_run_and_for_root_to_change(host, release):
    for path in (release, f"{release}/bin", f"{release}/bin/llama-server"):
        file = host.file(path)
        assert (file.user, file.mode) == ("root", 0o755)


def test_a_release_tells_what_it_was_built_from(host, release):
    definition = json.loads(host.file(f"{release}/release.json").content_string)["definition"]
    assert definition["source"].startswith("sha256:")
    assert definition["cmake_options"]["GGML_NATIVE"] == "OFF"


def test_the_server_needs_no_library_that_a_bare_host_lacks(host, release):
    assert "not found" not in host.check_output(f"ldd {release}/bin/llama-server")


def test_the_model_that_cards_are_tried_with_is_one_that_llama_bench_computes_with(host, release, tmp_path):
    trial_model.write(str(tmp_path / "trial.gguf"))
    host.ansible("ansible.builtin.copy", f"src={tmp_path}/trial.gguf dest=/srv/trial.gguf", check=False)
    said = host.check_output(" ".join(llama_cpp_cuda.trial_command(f"{release}/bin/llama-bench", "/srv/trial.gguf")))
    speeds = {row["n_prompt"]: row["avg_ts"] for row in json.loads(said)}
    assert sorted(speeds) == [0, llama_cpp_cuda.TRIAL_PROMPT]
    assert min(speeds.values()) > 0


def test_building_does_not_switch_what_runs(host):
    assert not host.file("/opt/llama.cpp/current").exists


def test_the_finished_build_is_kept_for_other_hosts(host, release):
    name = release.rpartition("/")[2]
    assert host.run(f"cd /var/cache/llama.cpp-artifacts && sha256sum --check --strict {name}.tar.gz.sha256").rc == 0


def test_a_source_is_built_from_the_first_compiler_call_to_the_finished_release(host):
    path = host.file("/srv/small-release").content_string
    assert "9.9.9 (build 42, commit 012345678)" in host.check_output(f"{path}/bin/llama-server")


def logs_of(host, word):
    return host.check_output(f"grep -l {word} /var/log/llama.cpp-build/9.9.9-*.log").splitlines()


def test_a_build_has_no_network(host):
    seen = host.check_output(f"grep -h Networks {logs_of(host, 'Networks')[0]}")
    assert "lo:" in seen
    assert "eth0" not in seen


def test_a_changed_option_builds_out_of_the_compiler_cache(host):
    counted = dict(line.split() for line in host.check_output("CCACHE_DIR=/srv/compiled ccache --print-stats").splitlines())
    assert int(counted["direct_cache_hit"]) + int(counted["preprocessed_cache_hit"]) >= 1


def test_the_compiler_cache_is_for_root_alone(host):
    directory = host.file("/srv/compiled")
    assert (directory.user, directory.mode) == ("root", 0o700)


@pytest.fixture
def for_gpus(host):
    if not host.file("/usr/local/cuda/bin/nvcc").exists:
        pytest.skip("this machine has no CUDA compiler to show to its hosts (/usr/local/cuda/bin/nvcc)")
    for path in host.check_output(f"ls -d {RELEASES}/9.9.9-*").split():
        manifest = json.loads(host.file(f"{path}/release.json").content_string)
        if "cuda" in manifest["definition"]:
            return path, manifest
    raise AssertionError("no release for GPUs was built")


def test_a_release_for_gpus_is_compiled_by_nvidias_compiler_for_the_architecture_that_was_asked_for(host, for_gpus):
    path, manifest = for_gpus
    assert manifest["definition"]["cuda"]["architectures"] == "90-real"
    assert manifest["definition"]["cmake_options"]["GGML_CUDA"] == "ON"
    assert manifest["tried"] == {"devices": [], "trials": [], "untried": []}, "this host has no GPU to try it on"
    assert ".nv_fatbin" in host.check_output(f"readelf --sections --wide {path}/bin/llama-server")
    assert logs_of(host, "'CMAKE_CUDA_ARCHITECTURES=90-real of CUDA'")


def test_a_release_for_gpus_finds_the_toolkits_library_by_itself(host, for_gpus):
    path, manifest = for_gpus
    major, minor = manifest["definition"]["cuda"]["version"].split(".")
    assert f"with CUDA {major}0{minor}0" in host.check_output(f"{path}/bin/llama-server --version")
    assert "/usr/local/cuda/lib" in host.check_output(f"ldd {path}/bin/llama-server | grep libcudart")


@pytest.fixture
def real_build(host):
    if not host.file("/srv/real/build").exists:
        pytest.skip("this machine has no CUDA compiler of the release that the lab has libraries for (/usr/local/cuda/bin/nvcc)")
    return "/srv/real/build"


def test_llama_cpp_itself_is_configured_for_the_gpus_that_were_asked_for_with_a_compiler_cache_and_nothing_fetched(host, real_build):
    cache = dict(line.split("=", 1) for line in host.file(f"{real_build}/CMakeCache.txt").content_string.splitlines() if "=" in line)
    assert cache["CMAKE_CUDA_ARCHITECTURES:UNINITIALIZED"] == "89-real;90-real"
    assert cache["CMAKE_CUDA_COMPILER_LAUNCHER:UNINITIALIZED"] == "ccache"
    assert cache["CUDA_cublas_LIBRARY:FILEPATH"] == "/srv/toolkit/lib/libcublas.so"
    assert cache["CUDA_cuda_driver_LIBRARY:FILEPATH"].endswith("/lib/stubs/libcuda.so")
    assert (cache["GGML_CUDA:BOOL"], cache["GGML_CUDA_NCCL:BOOL"], cache["GGML_CCACHE:BOOL"]) == ("ON", "OFF", "OFF")
    assert (cache["LLAMA_USE_PREBUILT_UI:BOOL"], cache["LLAMA_OPENSSL:BOOL"]) == ("OFF", "OFF")


@pytest.mark.parametrize("name", ["scale", "norm", "template-instances/fattn-vec-instance-q8_0-q8_0"])
def test_a_file_of_llama_cpp_is_compiled_for_gpus(host, real_build, name):
    sections = host.check_output(f"readelf --sections --wide {real_build}/ggml/src/ggml-cuda/CMakeFiles/ggml-cuda.dir/{name}.cu.o")
    assert ".nv_fatbin" in sections


def test_what_was_refused_left_nothing_behind(host):
    left = host.check_output(f"ls -A {RELEASES}").split()
    assert [name for name in left if name.startswith(".build")] == []
    incomplete = [name for name in left if name.startswith("9.9") and not host.file(f"{RELEASES}/{name}/release.json").exists]
    assert incomplete == []
    built = 3 if host.file("/usr/local/cuda/bin/nvcc").exists else 2
    assert len([name for name in left if name.startswith("9.9")]) == built


def test_the_log_of_a_failed_build_is_kept(host):
    assert host.run("grep -rl this_name_was_never_declared /var/log/llama.cpp-build").stdout
