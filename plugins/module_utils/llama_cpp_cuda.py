# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a build of llama.cpp for NVIDIA GPUs needs beyond one for processors: architectures, a toolkit, and proof that it computes on the cards."""

from __future__ import annotations

import csv
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
# llama-bench loads the trial's model and takes these many tokens in and out: enough to see that a card computes, a second or two on any of them.
TRIAL_PROMPT, TRIAL_ANSWER = 64, 16
# MiB that the trial needs on a card: nearly all of it CUDA's own memory, so a plan's margin beside a running server is enough.
TRIAL_MIB = 768
CARD_QUERY = ("--query-gpu=uuid,name,compute_cap,memory.free,mig.mode.current", "--format=csv,noheader,nounits")
# "  MIG 3g.40gb     Device  0: (UUID: MIG-0c757cd7-e942-5726-a0b8-0e8fb7067135)", below the line of its card.
MIG_DEVICE = re.compile(r"^\s+MIG\s+(\S+)\s+Device\s+\d+:\s+\(UUID:\s+(MIG-[^)\s]+)\)")
CARD_LINE = re.compile(r"^GPU \d+: .*\(UUID: (GPU-[^)\s]+)\)")


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


@dataclass(frozen=True)
class Card:
    """What one server can be given: a card, or an instance of one that is divided (MIG). ``free`` is in MiB, None where the driver does not say."""

    uuid: str
    name: str
    capability: str
    free: int | None


def installed_cards(said: str, listed: str) -> list[Card]:
    """What programs can compute on.

    :param said: what ``nvidia-smi`` answers to :data:`CARD_QUERY`.
    :param listed: what ``nvidia-smi -L`` says; it alone knows the instances of a divided card.
    """
    instances: dict[str, list[tuple[str, str]]] = {}
    card = ""
    for line in listed.splitlines():
        if found := CARD_LINE.match(line):
            card = found[1]
        elif found := MIG_DEVICE.match(line):
            instances.setdefault(card, []).append((found[2], found[1]))
    cards_found = []
    for row in csv.reader(said.splitlines(), skipinitialspace=True):
        if len(row) != 5:
            continue
        uuid, name, capability, free, divided = (cell.strip() for cell in row)
        if divided == "Enabled":
            cards_found += [Card(part, f"{name} MIG {profile}", capability, None) for part, profile in instances.get(uuid, [])]
        else:
            cards_found.append(Card(uuid, name, capability, int(free) if free.isdigit() else None))
    return cards_found


def is_built_for(wanted: str, capability: str) -> bool:
    """Whether a build for those architectures (as :func:`architectures` writes them) promises to compute on a card of that compute capability."""
    found = CAPABILITY.fullmatch(capability)
    if not found:
        return True
    number = int(found[1] + found[2])
    for entry in wanted.split(";"):
        built = int(re.match(r"\d+", entry)[0])  # type: ignore[index]
        # Machine code runs on later cards of its generation, the intermediate kind (which all but -real has) on all later ones, and that with
        # a letter on none but its own.
        later = number // 10 == built // 10 if entry.endswith("-real") else True
        if built == number or (built < number and later and "a" not in entry.partition("-")[0]):
            return True
    return False


def trial_command(program: str, model: str) -> list[str]:
    """A run of llama-bench that takes a second or two on a card, with the kernels that a server's default settings use."""
    words = [program, "-m", model, "-p", str(TRIAL_PROMPT), "-n", str(TRIAL_ANSWER), "-r", "1", "-ngl", "99", "-fa", "1"]
    return [*words, "-ctk", "q8_0", "-ctv", "q8_0", "-o", "json"]


def trial_result(said: str) -> dict[str, Any]:
    """What llama-bench measured with the trial's model: tokens a second of ``prompt`` and ``answer``, and the ``device`` that it was on.

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
