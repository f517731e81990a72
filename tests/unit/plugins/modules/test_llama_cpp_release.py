# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import textwrap

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils.transfer import sha256_of
from ansible_collections.private_llm.platform.plugins.modules import llama_cpp_release
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

COMMIT = "0c1e57098bba43ac29e6e3b677cdceebdd22334f"
# Builds what the source's own recipe says, as the real one would.
CMAKE = """\
    #!/bin/sh
    echo "$@" >>"$CMAKE_CALLS"
    case $1 in
      -S) mkdir -p "$4/bin"; cp "$2/recipe.sh" "$4/recipe.sh" ;;
      --build) cd "$2" && exec sh ./recipe.sh ;;
    esac
"""
# Lets whoever runs the tests build, also where no network may be taken away.
UNSHARE = """\
    #!/bin/sh
    shift 2
    exec "$@"
"""
RECIPE = """\
    said="version: {version}"
    for program in llama-server llama-bench llama-batched-bench llama-fit-params; do
      printf '#!/bin/sh\\necho "%s" >&2\\n' "$said" >bin/$program
      chmod 755 bin/$program
    done
"""


class Host:
    """A place where releases are built."""

    def __init__(self, path):
        self.path = path
        self.calls = path / "calls"
        self.tarball = path / "source.tar.gz"
        self.parameters = {
            "version": "0.5.0",
            "build_number": 11312,
            "commit": COMMIT,
            "source_url": self.tarball.as_uri(),
            "cmake_options": {"GGML_NATIVE": False, "GGML_CUDA": False},
            "releases_directory": str(path / "releases"),
            "cache_directory": str(path / "cache"),
            "log_directory": str(path / "log"),
            "artifact_directory": str(path / "artifacts"),
        }
        self.make_source(RECIPE.format(version="0.5.0 (build 11312, commit 0c1e57098)"))

    def make_source(self, recipe, **others):
        files = {"CMakeLists.txt": "project(x)", "recipe.sh": textwrap.dedent(recipe), **others}
        tree = self.path / "tree/llama.cpp-0.5.0"
        tree.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (tree / name).write_text(content)
        with tarfile.open(self.tarball, "w:gz") as archive:
            archive.add(tree, "llama.cpp-0.5.0")
        self.parameters["source_checksum"] = sha256_of(str(self.tarball))

    def run(self, check=False, **parameters):
        given = {name: value for name, value in {**self.parameters, **parameters}.items() if value is not None}
        return run_module(llama_cpp_release.main, given, check=check)

    def entries(self):
        releases = self.path / "releases"
        return sorted(name for name in os.listdir(releases) if name != ".lock") if releases.exists() else []


@pytest.fixture
def host(tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, script in {"cmake": CMAKE, "c++": "#!/bin/sh\necho a compiler 14.2\n", "unshare": UNSHARE}.items():
        (tools / name).write_text(textwrap.dedent(script))
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("CMAKE_CALLS", str(tmp_path / "calls"))
    return Host(tmp_path)


def test_a_release_is_built_into_a_directory_of_its_own(host):
    result = host.run()
    assert result["changed"]
    assert result["origin"] == "build"
    assert os.access(os.path.join(result["path"], "bin/llama-server"), os.X_OK)
    assert host.entries() == [result["release"]]


def test_a_release_that_is_there_is_left_alone(host):
    host.run()
    host.calls.unlink()
    result = host.run()
    assert not result["changed"]
    assert not host.calls.exists()


def test_check_mode_names_the_release_that_a_real_run_builds(host):
    predicted = host.run(check=True)
    assert predicted["changed"]
    assert host.entries() == []
    assert predicted["release"] == host.run()["release"]


@pytest.mark.parametrize(
    "change",
    [
        {"build_number": 1},
        {"commit": "f" * 40},
        {"cmake_options": {"GGML_NATIVE": False, "GGML_CUDA": True}},
        {"targets": ["llama-server"]},
        {"version": "0.5.1"},
    ],
)
def test_whatever_defines_the_build_changes_the_name(host, change):
    assert host.run(check=True, **change)["release"] != host.run(check=True)["release"]


def test_what_does_not_define_the_build_does_not_change_the_name(host):
    assert host.run(check=True, jobs=3, niceness=0, artifact_directory="/elsewhere")["release"] == host.run(check=True)["release"]


def test_booleans_reach_cmake_as_it_writes_them(host):
    host.run()
    assert "-DGGML_CUDA=OFF" in host.calls.read_text()
    assert "-DLLAMA_BUILD_COMMIT=0c1e57098" in host.calls.read_text()


def test_a_finished_build_is_taken_instead_of_building(host):
    host.run()
    subprocess.run(["rm", "-r", host.path / "releases"], check=True)
    host.calls.unlink()
    result = host.run()
    assert result["origin"] == "artifact"
    assert result["changed"]
    assert not host.calls.exists()


def test_check_mode_sees_a_finished_build(host):
    host.run()
    subprocess.run(["rm", "-r", host.path / "releases"], check=True)
    assert host.run(check=True)["origin"] == "artifact"


def test_a_damaged_finished_build_is_not_used(host):
    release = host.run()["release"]
    subprocess.run(["rm", "-r", host.path / "releases"], check=True)
    with open(host.path / f"artifacts/{release}.tar.gz", "ab") as stream:
        stream.write(b"x")
    result = host.run()
    assert result["origin"] == "build"
    assert "is damaged" in result["printed"]


def test_a_build_for_this_processor_alone_is_kept_under_its_name(host):
    result = host.run(cmake_options={"GGML_NATIVE": True})
    kept = [name for name in os.listdir(host.path / "artifacts") if name.endswith(".tar.gz")]
    assert kept == [f"{result['release']}-{llama_cpp_release.processor()}.tar.gz"]


def test_a_release_with_a_missing_program_is_built_again(host):
    path = host.run()["path"]
    os.unlink(os.path.join(path, "bin/llama-bench"))
    assert host.run()["changed"]
    assert os.path.exists(os.path.join(path, "bin/llama-bench"))


@pytest.mark.parametrize("check", [True, False])
def test_a_source_with_another_checksum_is_one_clear_sentence(host, check):
    result = host.run(check=check, source_checksum="0" * 64)
    assert result["failed"]
    assert f"but {'0' * 64} is expected" in result["msg"]
    assert result["msg"].endswith("Nothing was changed.")
    assert host.entries() == []


def test_a_source_that_does_not_build_leaves_nothing_but_a_log(host):
    host.make_source(
        "echo '[1/9] Building'\necho 'FAILED: x.o'\necho 'c++ -c x.cpp'\necho \"x.cpp:3:5: error: 'nonsense' was not declared\"\nexit 1\n"
    )
    result = host.run()
    assert "x.cpp:3:5: error: 'nonsense' was not declared" in result["msg"]
    assert host.entries() == []
    log = next((host.path / "log").iterdir())
    assert str(log) in result["msg"]
    assert "FAILED: x.o" in log.read_text()


def test_programs_that_say_another_version_are_refused(host):
    host.make_source(RECIPE.format(version="0.5.0-dev (build 0, commit unknown)"))
    result = host.run()
    assert "says 'version: 0.5.0-dev (build 0, commit unknown)', but 0.5.0, build 11312, 0c1e57098 is expected" in result["msg"]
    assert host.entries() == []


def test_a_program_that_was_not_made_is_named(host):
    assert "did not make llama-quantize" in host.run(targets=["llama-server", "llama-quantize"])["msg"]


def test_a_tarball_of_something_else_is_refused(host):
    host.make_source("true")
    (host.path / "tree/llama.cpp-0.5.0/CMakeLists.txt").unlink()
    with tarfile.open(host.tarball, "w:gz") as archive:
        archive.add(host.path / "tree/llama.cpp-0.5.0", "llama.cpp-0.5.0")
    assert "it is not llama.cpp" in host.run(source_checksum=sha256_of(str(host.tarball)))["msg"]


def test_without_building_the_source_is_verified_and_nothing_else_done(host):
    result = host.run(build=False)
    assert not result["ready"]
    assert not result["changed"]
    assert not host.calls.exists()


def test_what_an_interrupted_build_left_is_removed(host):
    (host.path / "releases/.build-0.4.0-abc/source").mkdir(parents=True)
    host.run()
    assert ".build-0.4.0-abc" not in host.entries()


def test_a_missing_compiler_is_named(host, monkeypatch):
    (host.path / "tools/c++").unlink()
    monkeypatch.setenv("PATH", f"{host.path}/tools")
    monkeypatch.setattr(llama_cpp_release.AnsibleModule, "get_bin_path", lambda _self, name, **_kw: None if name == "c++" else name)
    assert "c++ is not installed" in host.run()["msg"]


@pytest.mark.parametrize("check", [True, False])
def test_a_host_that_cannot_take_the_network_away_builds_only_when_told_that_it_may(host, check):
    (host.path / "tools/unshare").write_text("#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n")
    refused = host.run(check=check)
    assert "the build would have the network of this host" in refused["msg"]
    assert "unshare failed: Operation not permitted" in refused["msg"]
    assert "llama_cpp_build_isolated" in refused["msg"]
    assert host.entries() == []
    assert not host.calls.exists()
    assert host.run(check=check, isolated=False)["origin"] == "build"


@pytest.fixture
def repository(host):
    said = "0.5.0 (build 11312, commit $(git -C ../source rev-parse --short=9 HEAD))"
    host.make_source(RECIPE.format(version=said))
    tree = host.path / "tree/llama.cpp-0.5.0"
    git = ["git", "-C", tree, "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"], ["tag", "-a", "-m", "x", "v0.5.0"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    return {"source_url": None, "source_checksum": None, "git_repository": tree.as_uri(), "git_tag": "v0.5.0", "commit": commit}


def test_a_git_tag_is_built(host, repository):
    assert host.run(**repository)["origin"] == "build"


def test_a_git_tag_that_points_elsewhere_is_refused(host, repository):
    result = host.run(**{**repository, "commit": "1" * 40})
    assert f"is commit {repository['commit']}, but {'1' * 40} is expected" in result["msg"]
    assert host.entries() == []


def test_a_token_for_the_mirror_reaches_git_by_its_environment_alone(host, repository):
    real = shutil.which("git")
    (host.path / "tools/git").write_text(f'#!/bin/sh\necho "$GIT_CONFIG_KEY_0=$GIT_CONFIG_VALUE_0" >>{host.path}/git-said\nexec {real} "$@"\n')
    (host.path / "tools/git").chmod(0o755)
    result = host.run(**repository, source_headers={"Authorization": "Bearer open-sesame"})
    assert "http.extraHeader=Authorization: Bearer open-sesame" in (host.path / "git-said").read_text()
    assert "open-sesame" not in next((host.path / "log").iterdir()).read_text() + str(result)


@pytest.mark.parametrize("address", ["https://user:open-sesame@git.example.com/x", "https://open-sesame@git.example.com/x", "ssh://git:open-sesame@h/x"])
def test_a_secret_in_the_address_of_a_repository_is_refused_and_not_repeated(host, address):
    result = host.run(source_url=None, source_checksum=None, git_repository=address, git_tag="v0.5.0")
    assert "has a user or password in it" in result["msg"]
    assert "open-sesame" not in result["msg"]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"version": "../x"}, "something like 0.5.0 is expected"),
        ({"commit": "HEAD"}, "7 to 40 lower-case hexadecimal digits"),
        ({"cmake_options": {"-DX": 1}}, "no name of a CMake option"),
        ({"targets": ["llama-bench"]}, "targets must contain llama-server"),
        ({"source_checksum": "abc"}, "source_checksum: a SHA-256 checksum has 64"),
        (
            {"source_url": None, "source_checksum": None, "git_repository": "file:///x", "git_tag": "v1", "commit": "abcdef0"},
            "git_repository needs commit",
        ),
    ],
)
def test_parameters_that_cannot_work_are_refused_with_a_sentence(host, wrong, sentence):
    result = host.run(**wrong)
    assert sentence in result["msg"]
    assert host.entries() == []


@pytest.mark.parametrize(
    ("log", "lines"),
    [
        (
            "ok\nCMake Error at CMakeLists.txt:2 (message):\n  there is\n\n  no compiler\n\n\n-- Configuring incomplete, errors occurred!\n",
            ["CMake Error at CMakeLists.txt:2 (message): there is no compiler"],
        ),
        (
            "FAILED: a.o\na.cpp:1: error: one\nFAILED: b.o\nc++ -o b.o\nb.cpp:2:3: error: two\n    2 | int\nninja: build stopped: subcommand failed.\n",
            ["b.cpp:2:3: error: two"],
        ),
        (
            "FAILED: a.o\nc++: fatal error: Killed signal terminated program cc1plus\n",
            ["c++: fatal error: Killed signal terminated program cc1plus"],
        ),
        ("FAILED: a.o\nsomething odd\n", ["something odd"]),
        ("tar: x: Cannot open\ntar: nothing more\n", ["tar: x: Cannot open", "tar: nothing more"]),
    ],
)
def test_the_lines_that_say_why_a_build_failed_are_found(log, lines):
    assert llama_cpp_release.error_lines(log) == lines


@pytest.mark.parametrize(
    ("output", "right"),
    [
        ("version: 0.5.0 (build 11312, commit 0c1e57098)", True),
        ("0.5.0 (build 11312, commit 0c1e5709)", True),
        ("0.5.0-dev (build 11312, commit 0c1e57098)", False),
        ("0.5.01 (build 11312, commit 0c1e57098)", False),
        ("10.5.0 (build 11312, commit 0c1e57098)", False),
        ("0.5.0 (build 113120, commit 0c1e57098)", False),
        ("0.5.0 (build 11312, commit unknown)", False),
    ],
)
def test_a_program_has_to_say_version_build_number_and_commit(output, right):
    assert llama_cpp_release.says(output, "0.5.0", 11312, COMMIT) is right


LISTED = "  CUDA0: NVIDIA H100 (81079 MiB, 80558 MiB free)"
MEASURED = json.dumps([{"backends": "CUDA", "gpu_info": "NVIDIA H100", "n_prompt": prompt, "avg_ts": speed} for prompt, speed in ((512, 5000), (0, 200))])
ONE_CARD = "GPU-aa, NVIDIA H100, 9.0, 80558, Disabled\n"
COPIED = """\
    for program in llama-server llama-bench llama-batched-bench llama-fit-params; do
      cp ../source/program.sh bin/$program
      chmod 755 bin/$program
    done
"""
# A program that says its version, lists a card and measures.
PROGRAM = """\
#!/bin/sh
case $1 in
  --list-devices) printf 'Available devices:\\n%s\\n' '{listed}' ;;
  -m) test "$(head -c 4 "$2")" = GGUF || exit 9; echo "$CUDA_VISIBLE_DEVICES" >>{tried}
      case " {broken} " in *" $CUDA_VISIBLE_DEVICES "*) echo '{trouble}' >&2; exit 1 ;; esac
      cat {measured} ;;
  *) echo 'version: 0.5.0 (build 11312, commit 0c1e57098)' ;;
esac
"""


@pytest.fixture
def for_gpus(host, tmp_path, monkeypatch):
    """A host with a toolkit of CUDA; cards(1) gives it a card, too."""
    toolkit = tmp_path / "cuda"
    (toolkit / "bin").mkdir(parents=True)
    (toolkit / "lib64/stubs").mkdir(parents=True)
    (toolkit / "lib64/stubs/libcuda.so").touch()
    (toolkit / "bin/nvcc").write_text("#!/bin/sh\necho 'Cuda compilation tools, release 13.0, V13.0.88'\n")
    (toolkit / "bin/nvcc").chmod(0o755)
    (tmp_path / "tools/nvidia-smi").write_text(f"#!/bin/sh\ncase $1 in -L) cat {tmp_path}/listed ;; *) cat {tmp_path}/installed ;; esac\n")
    (tmp_path / "tools/nvidia-smi").chmod(0o755)
    (tmp_path / "listed").touch()
    (tmp_path / "installed").write_text(ONE_CARD)
    monkeypatch.setattr(llama_cpp_release.llama_cpp_cuda, "cards", lambda: host.cards)
    host.cards = 0
    host.parameters["cmake_options"] = {"GGML_NATIVE": False}
    host.parameters["cuda"] = {"version": "13.0", "toolkit": str(toolkit), "architectures": ["9.0"]}

    def source(listed=LISTED, measured=MEASURED, broken="", trouble=""):
        (tmp_path / "measured").write_text(measured)
        program = PROGRAM.format(listed=listed, measured=tmp_path / "measured", tried=tmp_path / "tried", broken=broken, trouble=trouble)
        host.make_source(COPIED, **{"program.sh": program})

    host.source = source
    source()
    return host


def test_a_build_for_gpus_names_architecture_compiler_and_toolkit(for_gpus):
    result = for_gpus.run()
    assert (result["origin"], result["devices"], result["trials"]) == ("build", [], [])
    configured = for_gpus.calls.read_text().splitlines()[0].split(" -D")
    for option in ("GGML_CUDA=ON", "GGML_CUDA_NCCL=OFF", "CMAKE_CUDA_ARCHITECTURES=90-real", f"CMAKE_CUDA_COMPILER={for_gpus.path}/cuda/bin/nvcc"):
        assert option in configured


def test_a_build_for_gpus_is_tried_on_the_card_before_it_is_put_in_place(for_gpus):
    for_gpus.cards = 1
    result = for_gpus.run()
    assert result["devices"] == ["CUDA0 (NVIDIA H100)"]
    assert result["trials"] == [{"card": "GPU-aa", "device": "NVIDIA H100", "prompt": 5000.0, "answer": 200.0}]
    assert result["untried"] == []


@pytest.mark.parametrize(
    "source, sentence",
    [
        ({"listed": "  (none)"}, "the driver has a GPU, but the built llama-server lists none"),
        (
            {"broken": "GPU-aa", "trouble": "CUDA error: no kernel image"},
            "does not compute on the GPU GPU-aa, NVIDIA H100 (status 1): CUDA error: no kernel image",
        ),
        ({"measured": '[{"backends":"CPU","gpu_info":"","n_prompt":1,"avg_ts":1}]'}, "computed on CPU instead of the GPU"),
    ],
)
def test_a_build_that_does_not_compute_on_the_card_is_not_put_in_place(for_gpus, source, sentence):
    for_gpus.cards = 1
    for_gpus.source(**source)
    assert sentence in for_gpus.run()["msg"]
    assert for_gpus.entries() == []


def test_every_card_is_tried_by_itself_and_a_broken_second_one_stops_the_build(for_gpus):
    for_gpus.cards = 2
    (for_gpus.path / "installed").write_text(ONE_CARD + "GPU-bb, NVIDIA H100, 9.0, 80000, Disabled\n")
    assert [one["card"] for one in for_gpus.run()["trials"]] == ["GPU-aa", "GPU-bb"]
    assert (for_gpus.path / "tried").read_text().split() == ["GPU-aa", "GPU-bb"]
    for_gpus.source(broken="GPU-bb", trouble="CUDA error: uncorrectable ECC error")
    assert "does not compute on the GPU GPU-bb" in for_gpus.run()["msg"]


def test_an_instance_of_a_divided_card_is_tried_in_place_of_the_card(for_gpus):
    for_gpus.cards = 1
    (for_gpus.path / "installed").write_text("GPU-aa, NVIDIA H100, 9.0, 80558, Enabled\n")
    (for_gpus.path / "listed").write_text("GPU 0: NVIDIA H100 (UUID: GPU-aa)\n  MIG 3g.40gb     Device  0: (UUID: MIG-11)\n")
    assert [one["card"] for one in for_gpus.run()["trials"]] == ["MIG-11"]


def test_a_card_that_a_running_server_nearly_fills_is_tried_with_what_a_plan_leaves_free(for_gpus):
    for_gpus.cards = 1
    (for_gpus.path / "installed").write_text("GPU-aa, NVIDIA GeForce RTX 4090, 8.9, 1024, [N/A]\n")
    result = for_gpus.run(cuda={**for_gpus.parameters["cuda"], "architectures": ["8.9"]})
    assert [one["card"] for one in result["trials"]] == ["GPU-aa"]


@pytest.mark.parametrize(
    "installed, source, why",
    [
        ("GPU-bb, NVIDIA H100, 9.0, 100, Disabled\n", {}, "NVIDIA H100 has 100 MiB free, and 768 MiB are needed"),
        ("GPU-bb, NVIDIA T400, 7.5, 3000, [N/A]\n", {}, "NVIDIA T400 has the compute capability 7.5, and the build is for 90-real"),
        (
            "GPU-bb, NVIDIA H100, 9.0, 900, Disabled\n",
            {"broken": "GPU-bb", "trouble": "CUDA error: out of memory"},
            "NVIDIA H100 has no memory left for it (CUDA error: out of memory)",
        ),
    ],
    ids=["full", "not built for", "filled meanwhile"],
)
def test_a_card_that_cannot_be_tried_is_told_of_with_the_reason(for_gpus, installed, source, why):
    for_gpus.cards = 2
    for_gpus.source(**source)
    (for_gpus.path / "installed").write_text(ONE_CARD + installed)
    result = for_gpus.run()
    assert [one["card"] for one in result["trials"]] == ["GPU-aa"]
    assert result["untried"] == [{"card": "GPU-bb", "why": why}]
    assert f"was not tried on the GPU GPU-bb: {why}" in result["printed"]
    with open(f"{result['path']}/release.json") as stream:
        assert json.load(stream)["tried"]["untried"] == result["untried"]


def test_a_build_that_no_card_of_the_host_can_run_is_refused(for_gpus):
    for_gpus.cards = 1
    result = for_gpus.run(cuda={**for_gpus.parameters["cuda"], "architectures": ["8.9"]})
    assert "the build is for the architectures 89-real, and this host has NVIDIA H100 (9.0): none of them can run it" in result["msg"]


def test_without_a_driver_the_programs_are_tried_with_the_stub_of_its_library(for_gpus):
    program = "#!/bin/sh\ntest -e \"$LD_LIBRARY_PATH/libcuda.so.1\" && echo 'version: 0.5.0 (build 11312, commit 0c1e57098)'\n"
    for_gpus.make_source(COPIED, **{"program.sh": program})
    assert for_gpus.run()["changed"]


def test_a_finished_build_that_does_not_compute_on_this_hosts_card_is_not_used(for_gpus):
    for_gpus.run()
    subprocess.run(["rm", "-r", for_gpus.path / "releases"], check=True)
    for_gpus.cards = 1
    (for_gpus.path / "measured").write_text("CUDA error: no kernel image")
    result = for_gpus.run()
    assert "does not run here and is not used" in result["printed"]


@pytest.mark.parametrize(
    "change", [{"version": "13.1"}, {"architectures": ["9.0", "8.9"]}, {"toolkit": "/elsewhere"}], ids=["release", "architectures", "toolkit"]
)
def test_whatever_defines_a_build_for_gpus_changes_its_name(for_gpus, change):
    assert for_gpus.run(check=True, cuda={**for_gpus.parameters["cuda"], **change})["release"] != for_gpus.run(check=True)["release"]


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"version": "13"}, "cuda.version is '13', but something like 13.0 is expected"),
        ({"architectures": ["H100"]}, "cuda.architectures: 'H100' is no GPU architecture"),
        ({"version": "12.8"}, "is of release 13.0, but 12.8 is expected"),
        ({"toolkit": "/nowhere"}, "there is no CUDA compiler /nowhere/bin/nvcc"),
    ],
)
def test_a_build_for_gpus_that_cannot_work_is_a_sentence(for_gpus, change, sentence):
    assert sentence in for_gpus.run(cuda={**for_gpus.parameters["cuda"], **change})["msg"]
    assert for_gpus.entries() == []


def test_a_compiler_cache_is_used_where_ccache_is_installed_and_is_no_part_of_the_name(host, tmp_path):
    plain = host.run(check=True)["release"]
    cached = host.run(compiler_cache=str(tmp_path / "compiled"))
    assert cached["release"] == plain
    assert "LAUNCHER" not in host.calls.read_text()
    (tmp_path / "tools/ccache").write_text("#!/bin/sh\n")
    (tmp_path / "tools/ccache").chmod(0o755)
    subprocess.run(["rm", "-r", tmp_path / "releases", tmp_path / "artifacts"], check=True)
    host.run(compiler_cache=str(tmp_path / "compiled"))
    assert "-DCMAKE_CUDA_COMPILER_LAUNCHER=ccache" in host.calls.read_text()
    assert os.stat(tmp_path / "compiled").st_mode & 0o777 == 0o700


def test_a_build_has_no_network_where_that_can_be_had(host):
    if subprocess.run(["unshare", "--net", "--", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine does not let its root make network namespaces")
    (host.path / "tools/unshare").unlink()
    host.make_source("grep -c : /proc/net/dev >seen; " + RECIPE.format(version="0.5.0 (build 11312, commit 0c1e57098)") + '    test "$(cat seen)" = 1\n')
    assert host.run()["changed"]
