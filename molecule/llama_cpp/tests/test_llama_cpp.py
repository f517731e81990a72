"""A release is built, complete, and says what it is."""

from __future__ import annotations

import json

import pytest

RELEASES = "/opt/llama.cpp/releases"


@pytest.fixture(scope="module")
def release(host):
    names = host.check_output(f"ls {RELEASES}").split()
    return f"{RELEASES}/{next(name for name in names if name.startswith('0.'))}"


def test_the_server_says_the_version_that_was_asked_for(host, release):
    said = host.run(f"{release}/bin/llama-server --version")
    assert "0.5.0 (build 11312, commit 0c1e57098)" in said.stdout + said.stderr


@pytest.mark.parametrize("program", ["llama-server", "llama-bench", "llama-fit-params"])
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


def test_building_does_not_switch_what_runs(host):
    assert not host.file("/opt/llama.cpp/current").exists


def test_the_finished_build_is_kept_for_other_hosts(host, release):
    name = release.rpartition("/")[2]
    assert host.run(f"cd /var/cache/llama.cpp-artifacts && sha256sum --check --strict {name}.tar.gz.sha256").rc == 0


def test_a_source_is_built_from_the_first_compiler_call_to_the_finished_release(host):
    path = host.file("/srv/small-release").content_string
    assert "9.9.9 (build 42, commit 012345678)" in host.check_output(f"{path}/bin/llama-server")


def test_what_was_refused_left_nothing_behind(host):
    small = host.file("/srv/small-release").content_string.rpartition("/")[2]
    left = host.check_output(f"ls -A {RELEASES}").split()
    assert [name for name in left if name.startswith((".build", "9.9")) and name != small] == []


def test_the_log_of_a_failed_build_is_kept(host):
    assert host.run("grep -rl this_name_was_never_declared /var/log/llama.cpp-build").stdout
