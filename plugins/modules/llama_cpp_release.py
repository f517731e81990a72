#!/usr/bin/python
# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: llama_cpp_release
short_description: Build a pinned release of llama.cpp
version_added: 0.1.0
author: Private LLM Platform team (@private-llm)
description:
  - Builds llama.cpp from a source tarball or a git tag into a directory of its own, named after the version and a hash of everything that
    defines the build (source, build options, programs, distribution, architecture). What exists under that name is right and is left alone.
  - The build happens in a private directory beside it, without a network, and is put in place in one step after its programs were tried.
    C(llama-server) has to say the expected version. With O(cuda) and cards, it also has to list them, and C(llama-bench) to compute on each of them,
    with a model of 10 MB that is made for it, so that it fits beside a server that runs. A card that it could not be tried on is told of.
    A build that fails leaves nothing but its log.
  - It switches nothing that runs. A service uses a release by its path.
  - Finished builds can be kept as tarballs in a directory, and are taken from there by hosts of the same kind.
options:
  version:
    description: The version that the built programs must say, such as V(0.5.0).
    type: str
    required: true
  build_number:
    description: The upstream build number of this version. It is built in, and the programs must say it.
    type: int
    default: 0
  commit:
    description:
      - The upstream commit of this version. It is built in, and the programs must say it.
      - Required with O(git_repository), where the tag must point at it, so all 40 digits are needed there.
    type: str
    default: ""
  source_url:
    description: The source tarball, an C(https), C(http) or C(file) address. The latter means a file on the managed host.
    type: str
  source_checksum:
    description: The SHA-256 checksum of the source tarball. Required with O(source_url).
    type: str
  source_headers:
    description: Headers sent with the request for the tarball, or with those of git over C(https) or C(http), such as C(Authorization).
    type: dict
    default: {}
  git_repository:
    description:
      - The git repository to take the source from, instead of O(source_url). Git must be installed.
      - A user or password in the address would be seen in the list of processes and in the log, so it is refused; see O(source_headers).
    type: str
  git_tag:
    description: The tag in O(git_repository).
    type: str
  cmake_options:
    description: Options for CMake, without the C(-D). Booleans become C(ON) and C(OFF).
    type: dict
    default: {}
  cuda:
    description:
      - What to build for NVIDIA GPUs with; without it the programs compute on the processor alone.
      - A host without a driver can build, too; there the toolkit's stub of the driver's library is needed.
    type: dict
    suboptions:
      version:
        description: The release of the CUDA toolkit, such as V(13.0). Its compiler must say it.
        type: str
        required: true
      architectures:
        description:
          - The GPUs to build for, each as its compute capability (V(9.0)) or as CMake writes it (V(90-real)).
          - The time that the build takes grows with their number.
        type: list
        elements: str
        required: true
      toolkit:
        description: Where the toolkit is. The programs find its libraries there, so it has to stay.
        type: path
        required: true
  targets:
    description: The programs to build. C(llama-server) must be among them.
    type: list
    elements: str
    default: [llama-server, llama-bench, llama-batched-bench, llama-fit-params]
  releases_directory:
    description: Where the releases are.
    type: path
    default: /opt/llama.cpp/releases
  artifact_directory:
    description:
      - Where finished builds are kept, each as a tarball and its checksum. A build found there intact is taken instead of building.
      - What is in it gets executed, so nobody else may be able to write there.
    type: path
  cache_directory:
    description: Where a downloaded source tarball stays until its build has succeeded.
    type: path
    default: /var/cache/llama.cpp
  log_directory:
    description: Where the builds' logs are kept.
    type: path
    default: /var/log/llama.cpp-build
  compiler_cache:
    description:
      - Where C(ccache) keeps what it compiled, so that a changed option or the next version takes less time. Not used where ccache is not installed.
      - Everything in it becomes part of later builds, so nobody else may be able to write there.
    type: path
  compiler_cache_size:
    description: How large the compiler cache may grow, such as V(10G).
    type: str
    default: 10G
  jobs:
    description: How many compilers may run at once; V(0) means as many as processors and memory (1 GiB each) allow.
    type: int
    default: 0
  niceness:
    description: How far the build steps back behind other work, V(0) to V(19).
    type: int
    default: 10
  isolated:
    description:
      - Whether configuring and compiling must not have a network, so that a build cannot depend on what some server sends today.
      - Where the host does not allow that (C(unshare --net), in some containers), the build is refused; V(false) lets it have the host's network.
    type: bool
    default: true
  build:
    description:
      - Whether to build when the release is neither there nor among the finished builds.
      - With V(false) the source tarball is fetched and verified, so that a later task builds from a source that is known to be right.
    type: bool
    default: true
attributes:
  check_mode:
    description: Can run in check mode and predicts the changes.
    support: full
  diff_mode:
    description: Shows the release that comes to exist.
    support: full
"""

EXAMPLES = r"""
- name: Build llama.cpp for processors
  private_llm.platform.llama_cpp_release:
    version: 0.5.0
    source_url: https://github.com/ggml-org/llama.cpp/archive/refs/tags/v0.5.0.tar.gz
    source_checksum: fef9ed754f4e031fb5c663c29260feda4ebc241abb68d64a81c0f1df5f1748e2
    build_number: 11312
    commit: 0c1e57098
    cmake_options:
      BUILD_SHARED_LIBS: false
      GGML_NATIVE: false

- name: Build llama.cpp for the NVIDIA GPUs of this host
  private_llm.platform.llama_cpp_release:
    version: 0.5.0
    source_url: https://github.com/ggml-org/llama.cpp/archive/refs/tags/v0.5.0.tar.gz
    source_checksum: fef9ed754f4e031fb5c663c29260feda4ebc241abb68d64a81c0f1df5f1748e2
    cmake_options:
      BUILD_SHARED_LIBS: false
    cuda:
      version: "13.0"
      toolkit: /usr/local/cuda-13.0
      architectures: ["9.0"]
    compiler_cache: /var/cache/llama.cpp-compiled

- name: Build llama.cpp from a mirror of its repository
  private_llm.platform.llama_cpp_release:
    version: 0.5.0
    git_repository: https://git.example.com/mirrors/llama.cpp.git
    git_tag: v0.5.0
    commit: 0c1e57098bba43ac29e6e3b677cdceebdd22334f
"""

RETURN = r"""
release:
  description: The name of the release directory.
  type: str
  returned: success
  sample: 0.5.0-3f2a9c01d4be
path:
  description: The path of the release directory; the programs are in C(bin) below it.
  type: str
  returned: success
  sample: /opt/llama.cpp/releases/0.5.0-3f2a9c01d4be
ready:
  description: Whether the release is there, or would be if this were not check mode.
  type: bool
  returned: success
origin:
  description: Where the release came from in this run.
  type: str
  returned: success
  sample: V(present), V(artifact), V(build) or V(none)
log:
  description: The log of the build.
  type: str
  returned: when it was built
seconds:
  description: How long the build took.
  type: int
  returned: when it was built
devices:
  description: The GPUs that the programs list.
  type: list
  elements: str
  returned: when it was built with O(cuda), or taken from the finished builds
  sample: ["CUDA0 (NVIDIA H100 80GB HBM3)"]
trials:
  description: What C(llama-bench) computed on each card before the release was put in place. The speeds are of its tiny model, no figures to compare.
  type: list
  elements: dict
  returned: when it was built with O(cuda), or taken from the finished builds
  contains:
    card:
      description: UUID of the card, or of an instance of a divided card.
      type: str
    device:
      description: Its name, as C(llama-bench) says it.
      type: str
    prompt:
      description: Prompt tokens a second.
      type: float
    answer:
      description: Answered tokens a second.
      type: float
untried:
  description: Cards that it was not tried on, and why. Each is a warning, too.
  type: list
  elements: dict
  returned: when it was built with O(cuda), or taken from the finished builds
  sample: [{"card": "GPU-8d2c...", "why": "NVIDIA L4 has 300 MiB free, and 768 MiB are needed"}]
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils import llama_cpp_cuda, trial_model
from ansible_collections.private_llm.platform.plugins.module_utils.llama_cpp_cuda import CudaError
from ansible_collections.private_llm.platform.plugins.module_utils.transfer import (
    Fetcher,
    Source,
    TransferFailed,
    local_path,
    parse_checksum,
    sha256_of,
    shown,
)

MANIFEST = "release.json"
# Raised when the same parameters come to be built in another way.
RECIPE = 1
GIB = 1024**3
# As many digits of the commit as upstream's own builds show.
SHORT_COMMIT = 9
ERROR_LINE = re.compile(
    r"(?:fatal )?error[: ]|CMake Error|undefined reference|No space left|cannot find|multiple definition|Killed|internal compiler error|not found",
    re.IGNORECASE,
)
PROBE_SECONDS = 60
TRIAL_SECONDS = 120
OUT_OF_MEMORY = re.compile(r"out of memory|cudaMalloc failed", re.IGNORECASE)
LANGUAGES = ("C", "CXX", "CUDA")
# Where the build happens, below the releases. The same path each time keeps a compiler cache useful and the programs free of random names.
WORKPLACE = ".build-here"


class BuildFailed(Exception):
    """The release cannot be had; the text is complete for the user."""


def cmake_value(value: Any) -> str:
    """A value as CMake reads it."""
    return ("ON" if value else "OFF") if isinstance(value, bool) else str(value)


def distribution() -> str:
    """Which release of which distribution this host runs, such as ``debian-trixie``."""
    with open("/etc/os-release", encoding="utf-8") as stream:
        fields = dict(line.rstrip().split("=", 1) for line in stream if "=" in line)
    release = fields.get("VERSION_CODENAME") or fields.get("VERSION_ID") or "unknown"
    return "-".join(word.strip('"') for word in (fields.get("ID", "linux"), release))


def processor() -> str:
    """A short hash of what this host's processor can do: programs built for it run only where that is the same."""
    with open("/proc/cpuinfo", encoding="utf-8") as stream:
        flags = next((line for line in stream if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:8]


def error_lines(log: str, most: int = 3) -> list[str]:
    """The lines of a build's log that say why it failed: those of the last step that failed, else the last that look like an error."""
    lines = [line.rstrip() for line in log.splitlines()]
    failed = [number for number, line in enumerate(lines) if line.startswith("FAILED:")]
    last = lines[failed[-1] + 1 :] if failed else lines
    found: list[str] = []
    for number, line in enumerate(last):
        if line.startswith("CMake Error"):
            # CMake says where first, and what in the indented lines after it.
            text = []
            for following in last[number + 1 :]:
                if following and not following.startswith(" "):
                    break
                text.append(following.strip())
            found.append(" ".join([line.strip(), *filter(None, text)]))
        elif ERROR_LINE.search(line) and not line.startswith((" ", "ninja:", "gmake", "make")):
            found.append(line.strip())
    if failed:
        return found[:most] or [line for line in last if line.strip()][-most:]
    return found[-most:] or [line for line in lines if line.strip()][-most:]


def says(output: str, version: str, build_number: int, commit: str) -> bool:
    """Whether what a program says about itself names this version, and the build number and commit where given."""
    wanted = [re.escape(version)] + ([str(build_number)] if build_number else [])
    for word in wanted:
        if not re.search(rf"(?<![\w.]){word}(?![\w-]|\.\w)", output):
            return False
    return not commit or re.search(rf"(?<!\w){re.escape(commit[:7])}", output) is not None


class Release:
    """One build of llama.cpp: its name is a function of everything that defines it."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.version: str = parameters["version"]
        self.build_number: int = parameters["build_number"]
        self.commit: str = parameters["commit"]
        self.targets: list[str] = list(parameters["targets"])
        source = f"git:{self.commit}" if parameters["git_repository"] else f"sha256:{parse_checksum(parameters['source_checksum'])}"
        self.cuda: dict[str, Any] = parameters["cuda"] or {}
        chosen = {**parameters["cmake_options"], **({"GGML_CUDA": True, "GGML_CUDA_NCCL": False} if self.cuda else {})}
        self.options = {name: cmake_value(value) for name, value in sorted(chosen.items())}
        self.definition: dict[str, Any] = {
            "recipe": RECIPE,
            "version": self.version,
            "build_number": self.build_number,
            "commit": self.commit[:SHORT_COMMIT],
            "source": source,
            "cmake_options": self.options,
            "targets": sorted(self.targets),
            "distribution": distribution(),
            "architecture": platform.machine(),
        }
        if self.cuda:
            self.definition["cuda"] = {
                "version": self.cuda["version"],
                "architectures": llama_cpp_cuda.architectures(self.cuda["architectures"]),
                "toolkit": self.cuda["toolkit"],
            }
        digest = hashlib.sha256(json.dumps(self.definition, sort_keys=True).encode()).hexdigest()
        self.name = f"{self.version}-{digest[:12]}"
        native = self.options.get("GGML_NATIVE", "ON").upper() not in ("OFF", "0", "FALSE", "NO")
        self.artifact_name = f"{self.name}-{processor()}" if native else self.name

    def complete(self, path: str) -> bool:
        """Whether a directory holds this release with all its programs."""
        try:
            with open(os.path.join(path, MANIFEST), encoding="utf-8") as stream:
                manifest = json.load(stream)
            return manifest["definition"] == self.definition and all(
                os.path.getsize(os.path.join(path, name)) == size for name, size in manifest["files"].items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def write_manifest(self, path: str, compiler: str, proof: Mapping[str, Any]) -> None:
        """Note beside the programs what they were built from, and what they showed when they were tried."""
        files = {}
        for directory, _directories, names in os.walk(path):
            for name in sorted(names):
                whole = os.path.join(directory, name)
                if not os.path.islink(whole):
                    files[os.path.relpath(whole, path)] = os.path.getsize(whole)
        with open(os.path.join(path, MANIFEST), "w", encoding="utf-8") as stream:
            json.dump({"definition": self.definition, "compiler": compiler, "tried": dict(proof), "files": files}, stream, indent=2, sort_keys=True)
            stream.write("\n")


class Builder:
    """Brings a release about on this host."""

    def __init__(self, module: AnsibleModule, release: Release) -> None:
        self._module = module
        self._parameters = module.params
        self._release = release
        self._releases: str = module.params["releases_directory"]
        self.path = os.path.join(self._releases, release.name)
        self._log = os.path.join(module.params["log_directory"], f"{release.name}.log")

    # -- the three ways to a release ----------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Do what the parameters ask for. :raises BuildFailed: when the release cannot be had."""
        result: dict[str, Any] = {"changed": False, "release": self._release.name, "path": self.path, "ready": True, "origin": "present"}
        if self._release.complete(self.path):
            return result
        result["diff"] = {
            "before_header": self.path,
            "after_header": self.path,
            "before": "absent\n",
            "after": json.dumps(self._release.definition, indent=2) + "\n",
        }
        if self._module.check_mode:
            return self._predict(result)
        with self._lock():
            if self._release.complete(self.path):
                return result
            proof = self._from_artifact()
            if proof is not None:
                return {**result, **proof, "changed": True, "origin": "artifact"}
            if not self._parameters["build"]:
                self._tarball()
                result.pop("diff")
                return {**result, "ready": False, "origin": "none"}
            began = time.monotonic()
            proof = self._build()
            return {**result, **proof, "changed": True, "origin": "build", "log": self._log, "seconds": int(time.monotonic() - began)}

    def _predict(self, result: dict[str, Any]) -> dict[str, Any]:
        if self._artifact_intact():
            return {**result, "changed": True, "origin": "artifact"}
        local = local_path(self._parameters["source_url"] or "")
        if local is not None:
            self._verify_local(local)
        if not self._parameters["build"]:
            result.pop("diff")
            return {**result, "ready": False, "origin": "none"}
        self._isolation()
        return {**result, "changed": True, "origin": "build"}

    # -- finished builds ----------------------------------------------------------------------------------------------

    def _artifact(self) -> str | None:
        directory = self._parameters["artifact_directory"]
        return os.path.join(directory, f"{self._release.artifact_name}.tar.gz") if directory else None

    def _artifact_intact(self) -> bool:
        artifact = self._artifact()
        if artifact is None:
            return False
        try:
            with open(f"{artifact}.sha256", encoding="utf-8") as stream:
                wanted = parse_checksum(stream.read(4096).split(" ", 1)[0])
            found = sha256_of(artifact)
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            self._module.warn(f"the finished build {artifact} cannot be used: {error}")
            return False
        if found != wanted:
            self._module.warn(f"the finished build {artifact} is damaged (SHA-256 {found}, expected {wanted}) and is not used")
        return found == wanted

    def _from_artifact(self) -> dict[str, Any] | None:
        """Put a finished build in place; what it showed when it was tried, None where there is none of use."""
        artifact = self._artifact()
        if artifact is None or not self._artifact_intact():
            return None
        with self._workplace() as workplace:
            unpacked = os.path.join(workplace, "release")
            os.mkdir(unpacked, 0o755)
            status, _output, error = self._module.run_command(["tar", "-xzf", artifact, "-C", unpacked, "--no-same-owner"])
            if status != 0 or not self._release.complete(unpacked):
                self._module.warn(f"the finished build {artifact} is not of this release and is not used {error.strip()}")
                return None
            try:
                self._verify_version(unpacked)
                proof = self._verify_devices(unpacked) if self._release.cuda else {}
            except (BuildFailed, CudaError) as failure:
                self._module.warn(f"the finished build {artifact} does not run here and is not used: {failure}")
                return None
            self._put_in_place(unpacked)
        return proof

    def _keep_artifact(self, workplace: str) -> None:
        artifact = self._artifact()
        if artifact is None:
            return
        try:
            os.makedirs(os.path.dirname(artifact), exist_ok=True)
            temporary = f"{artifact}.{os.getpid()}"
            self._command(["tar", "-czf", temporary, "--owner=0", "--group=0", "-C", workplace, "."])
            checksum = sha256_of(temporary)
            with open(f"{temporary}.sha256", "w", encoding="utf-8") as stream:
                stream.write(f"{checksum}  {os.path.basename(artifact)}\n")
            os.rename(temporary, artifact)
            os.rename(f"{temporary}.sha256", f"{artifact}.sha256")
        except (OSError, BuildFailed) as error:
            self._module.warn(f"the build succeeded but could not be kept in {os.path.dirname(artifact)}: {error}")

    # -- the source ---------------------------------------------------------------------------------------------------

    def _verify_local(self, path: str) -> None:
        wanted = parse_checksum(self._parameters["source_checksum"])
        try:
            found = sha256_of(path)
        except OSError as error:
            raise BuildFailed(f"the source {path} cannot be read on this host: {error.strerror}") from error
        if found != wanted:
            raise BuildFailed(
                f"the source {path} has the SHA-256 checksum {found}, but {wanted} is expected: check source_url and source_checksum. Nothing was changed"
            )

    def _tarball(self) -> str | None:
        """The verified tarball on this host, fetched if need be; None when the source is a git repository."""
        url = self._parameters["source_url"]
        if not url:
            return None
        local = local_path(url)
        if local is not None:
            self._verify_local(local)
            return local
        checksum = parse_checksum(self._parameters["source_checksum"])
        cache = self._parameters["cache_directory"]
        os.makedirs(cache, mode=0o755, exist_ok=True)
        path = os.path.join(cache, f"{checksum}.source")
        if not (os.path.exists(path) and sha256_of(path) == checksum):
            headers = {str(name): str(value) for name, value in self._parameters["source_headers"].items()}
            Fetcher(Source(url, headers), checksum).fetch(f"{path}.part")
            os.rename(f"{path}.part", path)
        return path

    def _unpack_source(self, directory: str) -> None:
        tarball = self._tarball()
        os.mkdir(directory)
        if tarball is not None:
            self._command(["tar", "-xf", tarball, "-C", directory, "--strip-components=1", "--no-same-owner"])
        else:
            repository, tag = self._parameters["git_repository"], self._parameters["git_tag"]
            if self._module.get_bin_path("git") is None:
                raise BuildFailed("git is not installed, and the source is a git repository: install it or give a source tarball")
            self._command(["git", "clone", "--quiet", "--depth=1", "--branch", tag, "--", repository, directory], environment=self._git_headers())
            _status, output, _error = self._module.run_command(
                ["git", "-c", f"safe.directory={directory}", "-C", directory, "rev-parse", "HEAD"], check_rc=True
            )
            if output.strip() != self._release.commit:
                raise BuildFailed(
                    f"the tag {tag} of {shown(repository)} is commit {output.strip()}, but {self._release.commit} is expected. Nothing was changed"
                )
        if not os.path.isfile(os.path.join(directory, "CMakeLists.txt")):
            source = shown(self._parameters["source_url"] or self._parameters["git_repository"])
            raise BuildFailed(f"the source {source} has no CMakeLists.txt in its top directory: it is not llama.cpp")

    # -- the build ----------------------------------------------------------------------------------------------------

    def _build(self) -> dict[str, Any]:
        """Build and try the release, and put it in place; what it showed when it was tried."""
        for program in ("cmake", "c++"):
            if self._module.get_bin_path(program) is None:
                raise BuildFailed(f"{program} is not installed: install cmake and a C++ compiler before building")
        os.makedirs(os.path.dirname(self._log), mode=0o755, exist_ok=True)
        with open(self._log, "w", encoding="utf-8") as stream:
            stream.write(json.dumps(self._release.definition) + "\n")
        toolkit = self._toolkit()
        self._isolation()
        with self._workplace() as workplace:
            source, build, finished = (os.path.join(workplace, name) for name in ("source", "build", "release"))
            self._unpack_source(source)
            self._command(self._configure(source, build, toolkit), network=False)
            self._command(["cmake", "--build", build, "--parallel", str(self._jobs()), "--target", *self._release.targets], network=False)
            self._collect(os.path.join(build, "bin"), finished)
            self._verify_version(finished)
            proof = self._verify_devices(finished) if toolkit else {}
            _status, compiler, _error = self._module.run_command(["c++", "--version"])
            self._release.write_manifest(finished, compiler.splitlines()[0] if compiler else "unknown", proof)
            self._keep_artifact(finished)
            self._put_in_place(finished)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._parameters["cache_directory"], f"{self._release.definition['source'].partition(':')[2]}.source"))
        return proof

    def _toolkit(self) -> llama_cpp_cuda.Toolkit | None:
        """The CUDA toolkit, known to be the one that was asked for; None for a build without."""
        cuda = self._release.cuda
        if not cuda:
            return None
        toolkit = llama_cpp_cuda.installed_toolkit(cuda["toolkit"])
        _status, output, error = self._module.run_command([toolkit.nvcc, "--version"])
        toolkit.expect(cuda["version"], output + error)
        return toolkit

    def _configure(self, source: str, build: str, toolkit: llama_cpp_cuda.Toolkit | None) -> list[str]:
        options = {"CMAKE_BUILD_TYPE": "Release", "LLAMA_BUILD_IS_DEV": "OFF", "LLAMA_BUILD_NUMBER": str(self._release.build_number)}
        if self._release.commit:
            options["LLAMA_BUILD_COMMIT"] = self._release.commit[:SHORT_COMMIT]
        if toolkit:
            options.update(llama_cpp_cuda.configure_options(toolkit, self._release.definition["cuda"]["architectures"]))
        options.update(self._release.options)
        # The cache is no part of what defines a build, so llama.cpp's own search for one is off.
        options["GGML_CCACHE"] = "OFF"
        if self._ccache():
            options.update({f"CMAKE_{language}_COMPILER_LAUNCHER": "ccache" for language in LANGUAGES})
        generator = ["-G", "Ninja"] if self._module.get_bin_path("ninja") else []
        return ["cmake", "-S", source, "-B", build, *generator, *(f"-D{name}={value}" for name, value in options.items())]

    def _jobs(self) -> int:
        if self._parameters["jobs"] > 0:
            return int(self._parameters["jobs"])
        with open("/proc/meminfo", encoding="utf-8") as stream:
            memory = next((int(line.split()[1]) * 1024 for line in stream if line.startswith("MemAvailable")), GIB)
        return max(1, min(len(os.sched_getaffinity(0)), memory // GIB))

    def _ccache(self) -> bool:
        return bool(self._parameters["compiler_cache"]) and self._module.get_bin_path("ccache") is not None

    def _isolation(self) -> list[str]:
        """What runs a command without a network. :raises BuildFailed: where the host does not allow it."""
        if not self._parameters["isolated"]:
            return []
        command = ["unshare", "--net", "--"]
        if self._module.get_bin_path("unshare") is None:
            said = "there is no unshare"
        else:
            status, output, error = self._module.run_command([*command, "true"])
            if status == 0:
                return command
            said = (error or output).strip()
        raise BuildFailed(
            f"the build would have the network of this host, because it cannot be taken away from it ({said}). Build where that is possible and take "
            "the finished build from there (artifact_directory; of the role: llama_cpp_artifact_directory), or allow the network (isolated; of the "
            "role: llama_cpp_build_isolated). Nothing was changed"
        )

    def _git_headers(self) -> dict[str, str]:
        """The headers for git by its environment, which root alone can see."""
        headers = [f"{name}: {value}" for name, value in self._parameters["source_headers"].items()]
        variables = {"GIT_CONFIG_COUNT": str(len(headers))}
        for number, header in enumerate(headers):
            variables.update({f"GIT_CONFIG_KEY_{number}": "http.extraHeader", f"GIT_CONFIG_VALUE_{number}": header})
        return variables

    def _command(self, command: Sequence[str], network: bool = True, environment: Mapping[str, str] | None = None) -> None:
        """Run one step of the build; its output goes to the log as it comes."""
        isolated = [] if network else self._isolation()
        step = ["/bin/sh", "-c", 'exec nice -n "$BUILD_NICENESS" "$@" >>"$BUILD_LOG" 2>&1', "sh", *isolated, *command]
        variables = {
            **(environment or {}),
            "BUILD_LOG": self._log,
            "BUILD_NICENESS": str(self._parameters["niceness"]),
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
        }
        if self._ccache():
            os.makedirs(self._parameters["compiler_cache"], mode=0o700, exist_ok=True)
            variables["CCACHE_DIR"] = self._parameters["compiler_cache"]
            variables["CCACHE_MAXSIZE"] = self._parameters["compiler_cache_size"]
        with contextlib.suppress(OSError):
            with open(self._log, "a", encoding="utf-8") as stream:
                stream.write("+ " + " ".join(command) + "\n")
        status, _output, _error = self._module.run_command(step, environ_update=variables)
        if status != 0:
            with open(self._log, encoding="utf-8", errors="replace") as stream:
                lines = " | ".join(error_lines(stream.read()))
            what = f"building llama.cpp {self._release.version} failed at '{' '.join(command[:2])}'"
            raise BuildFailed(f"{what}: {lines}. The whole log is {self._log}. Nothing was changed")

    def _collect(self, binaries: str, finished: str) -> None:
        os.makedirs(os.path.join(finished, "bin"), mode=0o755)
        wanted = [name for name in sorted(os.listdir(binaries)) if name in self._release.targets or ".so" in name]
        for name in wanted:
            shutil.copy2(os.path.join(binaries, name), os.path.join(finished, "bin", name), follow_symlinks=False)
        missing = sorted(set(self._release.targets) - set(wanted))
        if missing:
            raise BuildFailed(f"the build ended well but did not make {', '.join(missing)}: see {self._log}. Nothing was changed")

    def _verify_version(self, directory: str) -> None:
        status, output, error = self._probe(directory, ["llama-server", "--version"])
        said = (output + error).strip()
        first = next((line for line in said.splitlines() if "version" in line.lower() or "build" in line.lower()), said)
        release = self._release
        if status != 0:
            raise BuildFailed(f"the built llama-server does not run (status {status}): {said[-300:]}. Nothing was changed")
        if not says(said, release.version, release.build_number, release.commit):
            expected = ", ".join(
                filter(None, [release.version, f"build {release.build_number}" if release.build_number else "", release.commit[:SHORT_COMMIT]])
            )
            advice = "check version, build number and commit against the source. Nothing was changed"
            raise BuildFailed(f"the built llama-server says '{first}', but {expected} is expected: {advice}")

    def _probe(self, directory: str, command: Sequence[str], seconds: int = PROBE_SECONDS, card: str = "") -> tuple[int, str, str]:
        """Run a program of a release, with one card alone if one is named; where no driver is, with the toolkit's stub of its library, for else
        the program would not start."""
        with contextlib.ExitStack() as stack:
            environment = {"CUDA_VISIBLE_DEVICES": card} if card else {}
            if self._release.cuda and not llama_cpp_cuda.cards():
                stub = llama_cpp_cuda.Toolkit(self._release.cuda["toolkit"]).stub
                if stub:
                    place = stack.enter_context(tempfile.TemporaryDirectory(prefix="llama-cpp-"))
                    os.symlink(stub, os.path.join(place, llama_cpp_cuda.DRIVER_LIBRARY))
                    environment["LD_LIBRARY_PATH"] = place
            program = [os.path.join(directory, "bin", command[0]), *command[1:]]
            status, output, error = self._module.run_command(["timeout", str(seconds), *program], environ_update=environment)
        return status, output, error

    def _verify_devices(self, directory: str) -> dict[str, Any]:
        """See whether the programs compute on the cards: each has to be listed, and to compute where there is room beside what runs on it.

        :raises CudaError: when there are cards and the programs do not compute on one of them that they were built for.
        """
        if not llama_cpp_cuda.cards():
            return {"devices": [], "trials": [], "untried": []}
        _status, output, error = self._probe(directory, ["llama-server", "--list-devices"])
        devices = llama_cpp_cuda.devices(output)
        if not devices:
            said = " ".join((output + error).split())[-300:]
            raise CudaError(f"the driver has a GPU, but the built llama-server lists none: {said}. See {self._log}. Nothing was changed")
        trials, untried = self._trials(directory)
        for one in untried:
            self._module.warn(f"llama.cpp {self._release.version} was not tried on the GPU {one['card'] or '(unknown)'}: {one['why']}")
        return {"devices": devices, "trials": trials, "untried": untried}

    def _installed_cards(self) -> list[llama_cpp_cuda.Card]:
        program = self._module.get_bin_path("nvidia-smi")
        if program is None:
            return []
        _status, said, _error = self._module.run_command([program, *llama_cpp_cuda.CARD_QUERY])
        _status, listed, _error = self._module.run_command([program, "-L"])
        return llama_cpp_cuda.installed_cards(said, listed)

    def _trials(self, directory: str) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """Compute on each card; what was measured, and on which cards nothing could be, and why."""
        if "llama-bench" not in self._release.targets:
            return [], [{"card": "", "why": "llama-bench is not among the programs that are built"}]
        cards = self._installed_cards()
        if not cards:
            return [], [{"card": "", "why": "nvidia-smi is not there or lists none"}]
        wanted = self._release.definition["cuda"]["architectures"]
        if not any(llama_cpp_cuda.is_built_for(wanted, card.capability) for card in cards):
            there = ", ".join(f"{card.name} ({card.capability})" for card in cards)
            raise CudaError(f"the build is for the architectures {wanted}, and this host has {there}: none of them can run it. Nothing was changed")
        trials, untried = [], []
        with tempfile.TemporaryDirectory(prefix="llama-cpp-") as place:
            model = os.path.join(place, "trial.gguf")
            trial_model.write(model)
            for card in cards:
                why = self._reason_not_to_try(card, wanted)
                result = self._trial(directory, model, card) if why is None else why
                if isinstance(result, str):
                    untried.append({"card": card.uuid, "why": result})
                else:
                    trials.append({"card": card.uuid, **result})
        return trials, untried

    @staticmethod
    def _reason_not_to_try(card: llama_cpp_cuda.Card, wanted: str) -> str | None:
        if not llama_cpp_cuda.is_built_for(wanted, card.capability):
            return f"{card.name} has the compute capability {card.capability}, and the build is for {wanted}"
        if card.free is not None and card.free < llama_cpp_cuda.TRIAL_MIB:
            return f"{card.name} has {card.free} MiB free, and {llama_cpp_cuda.TRIAL_MIB} MiB are needed"
        return None

    def _trial(self, directory: str, model: str, card: llama_cpp_cuda.Card) -> dict[str, Any] | str:
        """What was measured on a card, or why its memory did not let it. :raises CudaError: when the program does not compute on it."""
        status, output, error = self._probe(directory, llama_cpp_cuda.trial_command("llama-bench", model), TRIAL_SECONDS, card.uuid)
        said = " ".join((output + error).split())[-300:]
        if status != 0 and OUT_OF_MEMORY.search(output + error):
            return f"{card.name} has no memory left for it ({said})"
        if status != 0:
            raise CudaError(
                f"the built llama-bench does not compute on the GPU {card.uuid}, {card.name} (status {status}): {said}. See {self._log}. "
                "Nothing was changed"
            )
        return llama_cpp_cuda.trial_result(output)

    # -- places -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        os.makedirs(self._releases, mode=0o755, exist_ok=True)
        with open(os.path.join(self._releases, ".lock"), "w", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            # Whoever holds the lock is alone, so what an interrupted build left can go.
            for name in os.listdir(self._releases):
                if name.startswith(".build-"):
                    shutil.rmtree(os.path.join(self._releases, name), ignore_errors=True)
            yield

    @contextlib.contextmanager
    def _workplace(self) -> Iterator[str]:
        # The lock keeps it ours.
        workplace = os.path.join(self._releases, WORKPLACE)
        os.mkdir(workplace, 0o700)
        try:
            yield workplace
        finally:
            shutil.rmtree(workplace, ignore_errors=True)

    def _put_in_place(self, finished: str) -> None:
        if os.path.lexists(self.path):
            # Only a release that was tampered with comes here; what runs from it keeps its open files.
            os.rename(self.path, os.path.join(os.path.dirname(finished), "damaged"))
        os.rename(finished, self.path)


def complaint(parameters: Mapping[str, Any]) -> str | None:
    """What is wrong with the parameters, or None."""
    if parameters["git_repository"] and not re.fullmatch(r"[0-9a-f]{40}", parameters["commit"]):
        return "git_repository needs commit, the 40 hexadecimal digits that git_tag must point at"
    address = urllib.parse.urlsplit(parameters["git_repository"] or "")
    if address.password or (address.username and address.scheme in ("http", "https")):
        return (
            f"git_repository {shown(parameters['git_repository'])} has a user or password in it, which others would see: give it in source_headers "
            "(of the role: llama_cpp_source_headers), such as Authorization"
        )
    if parameters["commit"] and not re.fullmatch(r"[0-9a-f]{7,40}", parameters["commit"]):
        return f"commit is '{parameters['commit']}', but 7 to 40 lower-case hexadecimal digits are expected"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._]*", parameters["version"]):
        return f"version is '{parameters['version']}', but something like 0.5.0 is expected"
    wrong = [name for name in parameters["cmake_options"] if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", str(name))]
    if wrong:
        return f"cmake_options has '{wrong[0]}', which is no name of a CMake option (they go without -D)"
    if "llama-server" not in parameters["targets"]:
        return "targets must contain llama-server, which is asked for its version"
    if parameters["cuda"]:
        if not llama_cpp_cuda.TOOLKIT_VERSION.fullmatch(parameters["cuda"]["version"]):
            return f"cuda.version is '{parameters['cuda']['version']}', but something like 13.0 is expected"
        try:
            llama_cpp_cuda.architectures(parameters["cuda"]["architectures"])
        except ValueError as error:
            return f"cuda.architectures: {error}"
    if parameters["source_url"]:
        try:
            parse_checksum(parameters["source_checksum"])
        except ValueError as error:
            return f"source_checksum: {error}"
    return None


def argument_spec() -> tuple[dict[str, Any], dict[str, Any]]:
    """The module's parameters, and what holds between them."""
    options: dict[str, Any] = {
        "version": {"type": "str", "required": True},
        "build_number": {"type": "int", "default": 0},
        "commit": {"type": "str", "default": ""},
        "source_url": {"type": "str"},
        "source_checksum": {"type": "str"},
        "source_headers": {"type": "dict", "default": {}, "no_log": True},
        "git_repository": {"type": "str"},
        "git_tag": {"type": "str"},
        "cmake_options": {"type": "dict", "default": {}},
        "cuda": {
            "type": "dict",
            "options": {
                "version": {"type": "str", "required": True},
                "architectures": {"type": "list", "elements": "str", "required": True},
                "toolkit": {"type": "path", "required": True},
            },
        },
        "targets": {"type": "list", "elements": "str", "default": ["llama-server", "llama-bench", "llama-batched-bench", "llama-fit-params"]},
        "releases_directory": {"type": "path", "default": "/opt/llama.cpp/releases"},
        "artifact_directory": {"type": "path"},
        "cache_directory": {"type": "path", "default": "/var/cache/llama.cpp"},
        "log_directory": {"type": "path", "default": "/var/log/llama.cpp-build"},
        "compiler_cache": {"type": "path"},
        "compiler_cache_size": {"type": "str", "default": "10G"},
        "jobs": {"type": "int", "default": 0},
        "niceness": {"type": "int", "default": 10},
        "isolated": {"type": "bool", "default": True},
        "build": {"type": "bool", "default": True},
    }
    relations: dict[str, Any] = {
        "mutually_exclusive": [["source_url", "git_repository"]],
        "required_one_of": [["source_url", "git_repository"]],
        "required_together": [["git_repository", "git_tag"], ["source_url", "source_checksum"]],
    }
    return options, relations


def main() -> None:
    # The service that runs a release is not root, whatever the umask of the one who builds it.
    os.umask(0o022)
    options, relations = argument_spec()
    module = AnsibleModule(argument_spec=options, supports_check_mode=True, **relations)
    wrong = complaint(module.params)
    if wrong:
        module.fail_json(msg=f"{wrong}.")
    try:
        result = Builder(module, Release(module.params)).run()
    except (BuildFailed, CudaError, TransferFailed) as error:
        module.fail_json(msg=f"{error}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
