"""Steps that are done when missing and skipped when current, and the runner that orders, times and reports them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from lab.context import Lab, LabError


class Step:
    """One thing that the lab needs.

    name: what the screen calls it; also its key in the state file.
    needs: names of the steps that must be current before this one is looked at.
    """

    def __init__(self, lab: Lab, name: str, needs: Sequence[str] = ()) -> None:
        self.lab = lab
        self.name = name
        self.needs = tuple(needs)

    def fingerprint(self) -> str:
        """A hash of everything that this step's product is made from."""
        raise NotImplementedError

    def is_present(self) -> bool:
        """Whether the product itself is there and works; asked quickly, on every run."""
        raise NotImplementedError

    def make(self) -> None:
        """Make the product; whatever an interrupted run left behind must not matter."""
        raise NotImplementedError

    def describe(self) -> str:
        """What to say when there is nothing to do."""
        return "up to date"


class State:
    """The fingerprints of finished steps, kept in one small file that is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._fingerprints: dict[str, str] = json.loads(path.read_text())
        except (OSError, ValueError):
            self._fingerprints = {}

    def get(self, name: str) -> str | None:
        return self._fingerprints.get(name)

    def put(self, name: str, fingerprint: str | None) -> None:
        with self._lock:
            if fingerprint is None:
                self._fingerprints.pop(name, None)
            else:
                self._fingerprints[name] = fingerprint
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps(self._fingerprints, indent=1, sort_keys=True) + "\n")
            fresh.replace(self._path)


@dataclass
class Outcome:
    """What came of one step."""

    name: str
    made: bool
    seconds: float


@dataclass
class Runner:
    """Runs steps in the order of their needs, a few at a time."""

    state: State
    say: Callable[[str], None] = print
    workers: int = 2
    outcomes: list[Outcome] = field(default_factory=list)

    def run(self, steps: Sequence[Step]) -> list[Outcome]:
        known = {step.name for step in steps}
        numbers = {step.name: number for number, step in enumerate(steps, start=1)}
        for step in steps:
            if missing := set(step.needs) - known:
                raise ValueError(f"step {step.name} needs unknown steps: {', '.join(sorted(missing))}")
        total = len(steps)
        waiting = list(steps)
        finished: set[str] = set()
        running: dict[Future[Outcome], Step] = {}
        failure: Exception | None = None
        with ThreadPoolExecutor(max_workers=self.workers) as pool:
            while waiting or running:
                if failure is None:
                    for step in [s for s in waiting if set(s.needs) <= finished]:
                        waiting.remove(step)
                        running[pool.submit(self._one, step, f"[{numbers[step.name]:2d}/{total}]")] = step
                elif not running:
                    break
                if not running:
                    raise ValueError(f"steps that need one another: {', '.join(s.name for s in waiting)}")
                done, _pending = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    step = running.pop(future)
                    try:
                        self.outcomes.append(future.result())
                        finished.add(step.name)
                    except Exception as error:
                        # The first failure is told; what already runs is let finish, nothing new is started.
                        failure = failure or error
        if failure is not None:
            raise failure
        return self.outcomes

    def _one(self, step: Step, mark: str) -> Outcome:
        started = time.monotonic()
        try:
            wanted = step.fingerprint()
            if self.state.get(step.name) == wanted and step.is_present():
                self.say(f"{mark} {step.name}: {step.describe()}")
                return Outcome(step.name, False, time.monotonic() - started)
            self.say(f"{mark} {step.name} ...")
            self.state.put(step.name, None)
            step.make()
        except LabError as error:
            self.say(f"{mark} {step.name}: FAILED after {time.monotonic() - started:.0f} s")
            raise LabError(f"{step.name}: {error}", error.log) from error
        # What was asked before the work began: whatever changed meanwhile is seen by the next run.
        self.state.put(step.name, wanted)
        seconds = time.monotonic() - started
        self.say(f"{mark} {step.name}: done in {seconds:.1f} s")
        return Outcome(step.name, True, seconds)
