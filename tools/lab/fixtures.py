"""Files that the tests feed to the roles: the source of llama.cpp and a tiny model that answers a known sentence."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

from lab.context import Lab, LabError, digest_of
from lab.python_tools import environment_path
from lab.steps import Step

# The Python package index is the one place that carries a release's whole upstream tree to machines without any other access.
SDIST = "llama_cpp_python==0.3.36"
SDIST_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
SUBTREE = "vendor/llama.cpp"
# Raised when repack() gives other bytes for the same tree.
PACKING = "1"
LLAMA_CPP_VERSION = "0.5.0"
LLAMA_CPP_BUILD_NUMBER = 11312
LLAMA_CPP_BUILD_COMMIT = "0c1e57098"
# NVIDIA's library for matrices, of the release of the compiler that a machine may have; the headers and the one library that compiling needs.
CUBLAS = "nvidia-cublas==13.0.2.14"
CUBLAS_SHA256 = "0cf238ffdbe46c00cb9aa98e7bca745c223a5ca5a53e686ac8b3e5a08fe80d6c"
NVCC = Path("/usr/local/cuda/bin/nvcc")
NVCC_RELEASE = "release 13.0,"
SOURCE_NAME = f"llama.cpp-{LLAMA_CPP_VERSION}"
SOURCE_FILE = f"{SOURCE_NAME}.tar.gz"
MODEL_FILE = "tiny-qwen3moe.gguf"


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def repack(tree: Path, top: str, target: Path) -> None:
    """Pack a directory so that equal contents give equal bytes: sorted, without times, owners or a file name in the header."""

    def neutral(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        return member

    names = sorted(path.relative_to(tree) for path in tree.rglob("*") if path.relative_to(tree).parts[0] != ".git")
    with (
        target.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in (Path("."), *names):
            archive.add(tree / name, arcname=os.path.normpath(f"{top}/{name}"), recursive=False, filter=neutral)


class LlamaSource(Step):
    """The upstream tree of llama.cpp as the tarball that the role builds from."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, "llama.cpp source", needs=("python tools",))
        self.path = lab.home / "fixtures" / SOURCE_FILE

    def fingerprint(self) -> str:
        return digest_of(SDIST, SDIST_SHA256, SOURCE_NAME, PACKING)

    def is_present(self) -> bool:
        return self.path.exists()

    def make(self) -> None:
        log = self.lab.log_of(self.name)
        log.unlink(missing_ok=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="unpack-", dir=self.lab.home) as place:
            sdist = self._fetch(Path(place), log)
            tree = Path(place) / "tree"
            tree.mkdir()
            # tar is several times faster than Python's own module here.
            self.lab.run(
                ["tar", "--extract", "--gzip", "--file", sdist, "--directory", tree, "--no-same-owner", "--strip-components=1"],
                log=log,
                failure=f"The source package {SDIST} could not be unpacked",
            )
            fresh = Path(place) / SOURCE_FILE
            repack(tree / SUBTREE, SOURCE_NAME, fresh)
            fresh.chmod(0o644)
            fresh.replace(self.path)

    def _fetch(self, place: Path, log: Path) -> Path:
        python = environment_path(self.lab) / "bin" / "python"
        self.lab.run(
            [python, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "llama_cpp_python", "-d", place, SDIST],
            log=log,
            failure=f"The source package {SDIST} could not be fetched from the package index; look at the network and pip's configuration",
        )
        sdist = next(place.glob("llama_cpp_python-*.tar.gz"))
        found = sha256_of(sdist)
        if found != SDIST_SHA256:
            raise LabError(
                f"The source package {SDIST} has the SHA-256 {found} and not the pinned {SDIST_SHA256}; do not use that index.", log
            )
        return sdist


class TinyModel(Step):
    """A model of the production architecture, small enough for a CPU, that always answers the same sentence."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, "tiny model", needs=("python tools",))
        self.path = lab.home / "fixtures" / MODEL_FILE
        self.maker = lab.repository / "tests" / "fixtures" / "make_tiny_gguf.py"

    def fingerprint(self) -> str:
        return digest_of(self.maker.read_bytes(), str(environment_path(self.lab)))

    def is_present(self) -> bool:
        return self.path.exists()

    def make(self) -> None:
        log = self.lab.log_of(self.name)
        log.unlink(missing_ok=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        python = environment_path(self.lab) / "bin" / "python"
        self.lab.run([python, self.maker, fresh], log=log, failure="The tiny test model could not be made")
        fresh.chmod(0o644)
        fresh.replace(self.path)


def has_cuda_compiler(lab: Lab) -> bool:
    """Whether this machine has the CUDA compiler that the fixture goes with; without it the tests of builds for GPUs are skipped."""
    return NVCC.exists() and NVCC_RELEASE in lab.attempt([NVCC, "--version"]).stdout


class CudaLibraries(Step):
    """What the machine's CUDA compiler lacks to compile llama.cpp's own files; only for machines that have the compiler."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, "CUDA libraries", needs=("python tools",))
        self.path = lab.home / "fixtures" / "cublas"

    def fingerprint(self) -> str:
        return digest_of(CUBLAS, CUBLAS_SHA256)

    def is_present(self) -> bool:
        return (self.path / "include" / "cublas_v2.h").exists() and (self.path / "lib" / "libcublas.so.13").exists()

    def make(self) -> None:
        log = self.lab.log_of("cuda-libraries")
        log.unlink(missing_ok=True)
        python = environment_path(self.lab) / "bin" / "python"
        with tempfile.TemporaryDirectory(prefix="cublas-", dir=self.lab.home) as place:
            self.lab.run(
                [python, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", place, CUBLAS],
                log=log,
                failure=f"{CUBLAS} could not be fetched from the package index; look at the network and pip's configuration",
            )
            wheel = next(Path(place).glob("*.whl"))
            if sha256_of(wheel) != CUBLAS_SHA256:
                raise LabError(f"{CUBLAS} has the SHA-256 {sha256_of(wheel)} and not the pinned {CUBLAS_SHA256}; do not use that index.", log)
            fresh = Path(place) / "cublas"
            with zipfile.ZipFile(wheel) as archive:
                for member in archive.namelist():
                    kind, name = Path(member).parts[-2:] if len(Path(member).parts) > 2 else ("", "")
                    if kind == "include" or name == "libcublas.so.13":
                        target = fresh / kind / name
                        target.parent.mkdir(parents=True, exist_ok=True)
                        with archive.open(member) as packed, target.open("wb") as stream:
                            shutil.copyfileobj(packed, stream)
            shutil.rmtree(self.path, ignore_errors=True)
            fresh.rename(self.path)
