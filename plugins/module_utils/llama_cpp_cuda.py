# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a build of llama.cpp for NVIDIA GPUs needs beyond one for processors: architectures, a toolkit, and proof that it computes on the card."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CAPABILITY = re.compile(r"(\d{1,2})\.(\d)")
ARCHITECTURE = re.compile(r"\d{2,3}[af]?(?:-real|-virtual)?")
TOOLKIT_RELEASE = re.compile(r"\brelease (\d+\.\d+)\b")
TOOLKIT_VERSION = re.compile(r"\d{2}\.\d")
# "  CUDA0: NVIDIA H100 80GB HBM3 (81079 MiB, 80558 MiB free)", as llama.cpp's programs list what they can compute on.
DEVICE = re.compile(r"^\s+(CUDA\d+): (.+?)(?: \(\d+ MiB.*\))?$", re.MULTILINE)
DRIVER_LIBRARY = "libcuda.so.1"
# Where the kernel module lists the cards that it drives.
CARDS = "/proc/driver/nvidia/gpus"
# llama-bench loads the model and takes these many tokens in and out: enough to see that the card computes, some seconds on any of them.
BENCH_PROMPT, BENCH_ANSWER = 512, 64
# MiB that llama-bench needs beside the weights: CUDA's own memory, a small context and the compute buffer.
BENCH_ROOM = 2048


class CudaError(Exception):
    """The build cannot have CUDA, or does not use it; the text is a sentence for the user without its full stop."""


def architecture(given: str) -> str:
    """A GPU's architecture as CMake writes it: ``90-real`` for the compute capability ``9.0``; what is written that way already stays.

    :raises ValueError: when it is neither.
    """
    capability = CAPABILITY.fullmatch(given)
    if capability:
        return f"{capability[1]}{capability[2]}-real"
    if ARCHITECTURE.fullmatch(given):
        return given
    raise ValueError(f"'{given}' is no GPU architecture: a compute capability such as 9.0, or CMake's form such as 90-real, is expected")


def architectures(given: Iterable[str]) -> str:
    """The value of ``CMAKE_CUDA_ARCHITECTURES``: each one once, the oldest first. :raises ValueError: when one of them is none."""
    wanted = {architecture(str(entry).strip()) for entry in given}
    if not wanted:
        raise ValueError("at least one GPU architecture is needed")
    return ";".join(sorted(wanted, key=lambda text: (int(re.match(r"\d+", text)[0]), text)))  # type: ignore[index]


@dataclass(frozen=True)
class Toolkit:
    """An installed CUDA toolkit."""

    path: str

    @property
    def nvcc(self) -> str:
        return os.path.join(self.path, "bin", "nvcc")

    @property
    def library_directories(self) -> list[str]:
        """Where the programs find the toolkit's libraries when they run, as long as the toolkit stays."""
        places = (os.path.join(self.path, name) for name in ("lib64", "lib"))
        return [place for place in places if os.path.isdir(place)][:1]

    @property
    def stub(self) -> str | None:
        """The stand-in for the driver's library, which programs are linked with where no driver is; None when it is not installed."""
        names = (os.path.join(place, "stubs", "libcuda.so") for place in self.library_directories)
        return next((name for name in names if os.path.exists(name)), None)

    def expect(self, version: str, said: str) -> None:
        """:raises CudaError: when the compiler (which said ``said``) is of another release than the build is named after."""
        found = TOOLKIT_RELEASE.search(said)
        if found is None:
            raise CudaError(f"{self.nvcc} does not say which release it is: {' '.join(said.split())[-200:]}")
        if found[1] != version:
            raise CudaError(
                f"{self.nvcc} is of release {found[1]}, but {version} is expected: set the version (of the role: llama_cpp_cuda_version) to the "
                "toolkit that is there, or install the one that is wanted"
            )


def installed_toolkit(path: str) -> Toolkit:
    """:raises CudaError: when there is no compiler in that directory."""
    toolkit = Toolkit(path)
    if not os.access(toolkit.nvcc, os.X_OK):
        raise CudaError(
            f"there is no CUDA compiler {toolkit.nvcc}: install the toolkit's packages (of the role: llama_cpp_cuda_packages), or name the "
            "directory of an installed one (llama_cpp_cuda_toolkit)"
        )
    return toolkit


def configure_options(toolkit: Toolkit, wanted: str) -> dict[str, str]:
    """CMake options that lead to this toolkit. Programs look for its libraries where it is, and never among the stubs."""
    return {
        "CMAKE_CUDA_ARCHITECTURES": wanted,
        "CMAKE_CUDA_COMPILER": toolkit.nvcc,
        "CUDAToolkit_ROOT": toolkit.path,
        "CMAKE_BUILD_WITH_INSTALL_RPATH": "ON",
        "CMAKE_INSTALL_RPATH": ";".join(["$ORIGIN", *toolkit.library_directories]),
    }


def cards(place: str = CARDS) -> int:
    """How many GPUs the loaded driver has; 0 without one."""
    try:
        return len(os.listdir(place))
    except OSError:
        return 0


def devices(listed: str) -> list[str]:
    """The GPUs among what a program lists that it can compute on, such as ``CUDA0 (NVIDIA H100 80GB HBM3)``."""
    return [f"{name} ({what})" for name, what in DEVICE.findall(listed)]


def free_memory(said: str) -> int:
    """MiB that are free on the card with the most, out of ``nvidia-smi --query-gpu=memory.free --format=csv,noheader,nounits``; 0 if it says none."""
    return max((int(line) for line in said.split() if line.isdigit()), default=0)


def bench_command(program: str, model: str) -> list[str]:
    """A run of llama-bench that takes some seconds on a card."""
    return [program, "-m", model, "-p", str(BENCH_PROMPT), "-n", str(BENCH_ANSWER), "-r", "2", "-ngl", "99", "-fa", "1", "-o", "json"]


def bench_result(said: str) -> dict[str, Any]:
    """What llama-bench measured: tokens a second of ``prompt`` and ``answer``, and the ``device`` that it was on.

    :raises CudaError: when it measured nothing, or on something else than a GPU.
    """
    try:
        rows: list[Mapping[str, Any]] = json.loads(said)
        speeds = {"prompt" if row["n_prompt"] else "answer": float(row["avg_ts"]) for row in rows}
        backend, device = str(rows[0]["backends"]), str(rows[0]["gpu_info"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise CudaError(f"llama-bench did not say what it measured: {' '.join(said.split())[-200:]}") from error
    if "CUDA" not in backend or not device:
        raise CudaError(f"llama-bench computed on {backend or 'nothing'} instead of the GPU")
    if set(speeds) != {"prompt", "answer"} or min(speeds.values()) <= 0:
        raise CudaError(f"llama-bench measured no speed: {speeds}")
    return {"device": device, **{name: round(speed, 1) for name, speed in speeds.items()}}
