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
  - The build happens in a private directory beside it, and is put in place in one step after its C(llama-server) has said the expected version.
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
    description: Headers sent with the request for the tarball, such as C(Authorization).
    type: dict
    default: {}
  git_repository:
    description: The git repository to take the source from, instead of O(source_url). Git must be installed.
    type: str
  git_tag:
    description: The tag in O(git_repository).
    type: str
  cmake_options:
    description: Options for CMake, without the C(-D). Booleans become C(ON) and C(OFF).
    type: dict
    default: {}
  targets:
    description: The programs to build. C(llama-server) must be among them.
    type: list
    elements: str
    default: [llama-server, llama-bench, llama-fit-params]
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
  jobs:
    description: How many compilers may run at once; V(0) means as many as processors and memory (1 GiB each) allow.
    type: int
    default: 0
  niceness:
    description: How far the build steps back behind other work, V(0) to V(19).
    type: int
    default: 10
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
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
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
        self.options = {name: cmake_value(value) for name, value in sorted(parameters["cmake_options"].items())}
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

    def write_manifest(self, path: str, compiler: str) -> None:
        """Note beside the programs what they were built from."""
        files = {}
        for directory, _directories, names in os.walk(path):
            for name in sorted(names):
                whole = os.path.join(directory, name)
                if not os.path.islink(whole):
                    files[os.path.relpath(whole, path)] = os.path.getsize(whole)
        with open(os.path.join(path, MANIFEST), "w", encoding="utf-8") as stream:
            json.dump({"definition": self.definition, "compiler": compiler, "files": files}, stream, indent=2, sort_keys=True)
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
            if self._from_artifact():
                return {**result, "changed": True, "origin": "artifact"}
            if not self._parameters["build"]:
                self._tarball()
                result.pop("diff")
                return {**result, "ready": False, "origin": "none"}
            began = time.monotonic()
            self._build()
            return {**result, "changed": True, "origin": "build", "log": self._log, "seconds": int(time.monotonic() - began)}

    def _predict(self, result: dict[str, Any]) -> dict[str, Any]:
        if self._artifact_intact():
            return {**result, "changed": True, "origin": "artifact"}
        local = local_path(self._parameters["source_url"] or "")
        if local is not None:
            self._verify_local(local)
        if not self._parameters["build"]:
            result.pop("diff")
            return {**result, "ready": False, "origin": "none"}
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

    def _from_artifact(self) -> bool:
        artifact = self._artifact()
        if artifact is None or not self._artifact_intact():
            return False
        with self._workplace() as workplace:
            unpacked = os.path.join(workplace, "release")
            os.mkdir(unpacked, 0o755)
            status, _output, error = self._module.run_command(["tar", "-xzf", artifact, "-C", unpacked, "--no-same-owner"])
            if status != 0 or not self._release.complete(unpacked):
                self._module.warn(f"the finished build {artifact} is not of this release and is not used {error.strip()}")
                return False
            try:
                self._verify_version(unpacked)
            except BuildFailed as failure:
                self._module.warn(f"the finished build {artifact} does not run here and is not used: {failure}")
                return False
            self._put_in_place(unpacked)
        return True

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
            self._command(["git", "clone", "--quiet", "--depth=1", "--branch", tag, "--", repository, directory])
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

    def _build(self) -> None:
        for program in ("cmake", "c++"):
            if self._module.get_bin_path(program) is None:
                raise BuildFailed(f"{program} is not installed: install cmake and a C++ compiler before building")
        os.makedirs(os.path.dirname(self._log), mode=0o755, exist_ok=True)
        with open(self._log, "w", encoding="utf-8") as stream:
            stream.write(json.dumps(self._release.definition) + "\n")
        with self._workplace() as workplace:
            source, build, finished = (os.path.join(workplace, name) for name in ("source", "build", "release"))
            self._unpack_source(source)
            self._command(self._configure(source, build))
            self._command(["cmake", "--build", build, "--parallel", str(self._jobs()), "--target", *self._release.targets])
            self._collect(os.path.join(build, "bin"), finished)
            self._verify_version(finished)
            _status, compiler, _error = self._module.run_command(["c++", "--version"])
            self._release.write_manifest(finished, compiler.splitlines()[0] if compiler else "unknown")
            self._keep_artifact(finished)
            self._put_in_place(finished)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._parameters["cache_directory"], f"{self._release.definition['source'].partition(':')[2]}.source"))

    def _configure(self, source: str, build: str) -> list[str]:
        options = {"CMAKE_BUILD_TYPE": "Release", "LLAMA_BUILD_IS_DEV": "OFF", "LLAMA_BUILD_NUMBER": str(self._release.build_number)}
        if self._release.commit:
            options["LLAMA_BUILD_COMMIT"] = self._release.commit[:SHORT_COMMIT]
        options.update(self._release.options)
        generator = ["-G", "Ninja"] if self._module.get_bin_path("ninja") else []
        return ["cmake", "-S", source, "-B", build, *generator, *(f"-D{name}={value}" for name, value in options.items())]

    def _jobs(self) -> int:
        if self._parameters["jobs"] > 0:
            return int(self._parameters["jobs"])
        with open("/proc/meminfo", encoding="utf-8") as stream:
            memory = next((int(line.split()[1]) * 1024 for line in stream if line.startswith("MemAvailable")), GIB)
        return max(1, min(len(os.sched_getaffinity(0)), memory // GIB))

    def _command(self, command: Sequence[str]) -> None:
        """Run one step of the build; its output goes to the log as it comes."""
        step = ["/bin/sh", "-c", 'exec nice -n "$BUILD_NICENESS" "$@" >>"$BUILD_LOG" 2>&1', "sh", *command]
        environment = {
            "BUILD_LOG": self._log,
            "BUILD_NICENESS": str(self._parameters["niceness"]),
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
        }
        with contextlib.suppress(OSError):
            with open(self._log, "a", encoding="utf-8") as stream:
                stream.write("+ " + " ".join(command) + "\n")
        status, _output, _error = self._module.run_command(step, environ_update=environment)
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
        program = os.path.join(directory, "bin", "llama-server")
        status, output, error = self._module.run_command(["timeout", str(PROBE_SECONDS), program, "--version"])
        said = (output + error).strip()
        first = next((line for line in said.splitlines() if "version" in line.lower() or "build" in line.lower()), said)
        release = self._release
        if status != 0:
            raise BuildFailed(f"the built llama-server does not run (status {status}): {said[-300:]}")
        if not says(said, release.version, release.build_number, release.commit):
            expected = ", ".join(
                filter(None, [release.version, f"build {release.build_number}" if release.build_number else "", release.commit[:SHORT_COMMIT]])
            )
            advice = "check version, build number and commit against the source. Nothing was changed"
            raise BuildFailed(f"the built llama-server says '{first}', but {expected} is expected: {advice}")

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
        # The same path in each build keeps a compiler cache useful and the programs free of random names; the lock keeps it ours.
        workplace = os.path.join(self._releases, f".build-{self._release.name}")
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
    if parameters["commit"] and not re.fullmatch(r"[0-9a-f]{7,40}", parameters["commit"]):
        return f"commit is '{parameters['commit']}', but 7 to 40 lower-case hexadecimal digits are expected"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._]*", parameters["version"]):
        return f"version is '{parameters['version']}', but something like 0.5.0 is expected"
    wrong = [name for name in parameters["cmake_options"] if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", str(name))]
    if wrong:
        return f"cmake_options has '{wrong[0]}', which is no name of a CMake option (they go without -D)"
    if "llama-server" not in parameters["targets"]:
        return "targets must contain llama-server, which is asked for its version"
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
        "targets": {"type": "list", "elements": "str", "default": ["llama-server", "llama-bench", "llama-fit-params"]},
        "releases_directory": {"type": "path", "default": "/opt/llama.cpp/releases"},
        "artifact_directory": {"type": "path"},
        "cache_directory": {"type": "path", "default": "/var/cache/llama.cpp"},
        "log_directory": {"type": "path", "default": "/var/log/llama.cpp-build"},
        "jobs": {"type": "int", "default": 0},
        "niceness": {"type": "int", "default": 10},
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
    except (BuildFailed, TransferFailed) as error:
        module.fail_json(msg=f"{error}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
