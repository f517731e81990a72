"""Takes the lab down again: its containers and its engine, and on demand everything it ever made."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from lab.context import OWNER_LABEL, Lab, LabError
from lab.engine import OwnEngine, answering_engine
from lab.images import PREFIX


def clean(lab: Lab, everything: bool, say: Callable[[str], None] = print) -> None:
    """Remove the lab's containers and stop the engine it started; with `everything` also remove what it made."""
    own = OwnEngine(lab)
    engine = answering_engine(lab)
    if engine is not None:
        lab.use_engine(engine)
        remove_containers(lab, say)
        if everything and engine.get("DOCKER_HOST") != own.address:
            remove_images(lab, say)
    if own.stop():
        say("stopped the engine that the lab had started")
    if everything:
        remove_home(lab, say)


def remove_containers(lab: Lab, say: Callable[[str], None]) -> None:
    containers = lab.docker("ps", "--all", "--quiet", "--filter", f"label={OWNER_LABEL}").split()
    if containers:
        lab.docker("rm", "--force", "--volumes", *containers)
    say(f"removed {len(containers)} containers")


def remove_images(lab: Lab, say: Callable[[str], None]) -> None:
    """Only what carries the lab's name; somebody else's engine keeps the rest."""
    ours = [reference for reference in lab.image_ids() if reference.startswith(f"{PREFIX}/")]
    if ours:
        lab.docker("image", "rm", *ours)
    say(f"removed {len(ours)} image names")


def mounts_below(directory: Path, table: str) -> list[str]:
    """Mount points below a directory, deepest first."""
    places = [line.split(" ")[1].replace("\\040", " ") for line in table.splitlines() if " " in line]
    return sorted((place for place in places if Path(place).is_relative_to(directory)), reverse=True)


def remove_home(lab: Lab, say: Callable[[str], None]) -> None:
    own = OwnEngine(lab)
    for directory in (lab.home, own.run_directory.parent if own.run_directory.parent != own.directory else lab.home):
        # A mount that a stopped engine forgot would turn removal into damage elsewhere.
        for place in mounts_below(directory.resolve(), Path("/proc/self/mounts").read_text()):
            outcome = subprocess.run(["umount", place], capture_output=True, text=True, check=False)
            if outcome.returncode != 0:
                raise LabError(f"{place} is still mounted and cannot be unmounted: {outcome.stderr.strip()}")
        if directory.exists():
            shutil.rmtree(directory)
            say(f"removed {directory}")
