"""Runs the quality gates, the images' own tests and the Molecule scenarios, and says what came of each."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from lab.context import LAST_LINES, Lab, LabError
from lab.images import PREFIX
from lab.plan import tool_environment

# The whole platform on the newest Debian, with what it shares compiled binaries with, and GPUs, whose names in containers need its newer engine;
# the other scenarios cover the older one.
SUITE_OF_SCENARIO = dict.fromkeys(("site", "two_hosts", "gpu_host", "llama_cpp", "llama_server"), "trixie")
OTHER_SUITE = "bookworm"
# llama_cpp compiles once and leaves the result in the lab; whoever comes after it only unpacks that.
COMPILES = "llama_cpp"
USES_COMPILED = ("site", "two_hosts", "llama_server")
LONGEST_JOB_SECONDS = 3600.0
# Logs are read in files and in the pages of continuous integration, where colours are noise and narrow lines are broken ones.
PLAIN_OUTPUT = {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "true", "PY_COLORS": "0", "COLUMNS": "160", "TERM": "dumb"}
SIGN_OF_FAILURE = re.compile(r"fatal: \[|^\W*E  +\S|\bFAILED\b|\b[Ee]rror:|\bERROR\b|Traceback")


@dataclass(frozen=True)
class Job:
    """One thing that passes or fails by its exit code."""

    name: str
    kind: str
    argv: tuple[str, ...]
    suite: str = ""
    after: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}".strip()


@dataclass
class Result:
    """What came of a job."""

    job: Job
    passed: bool
    seconds: float
    log: Path


def scenario_names(repository: Path) -> list[str]:
    """Every directory of molecule/ that has a molecule.yml; shared playbooks have none."""
    return sorted(path.parent.name for path in (repository / "molecule").glob("*/molecule.yml"))


def suite_of(scenario: str, override: str | None) -> str:
    return override or SUITE_OF_SCENARIO.get(scenario, OTHER_SUITE)


def scenario_jobs(names: Sequence[str], override: str | None) -> list[Job]:
    """Scenarios in the order in which they should start: the compiling one, those that wait for it, the others."""

    def rank(name: str) -> tuple[int, str]:
        if name == COMPILES:
            return (0, name)
        # Begun as soon as the compiled binaries are there: `site` is the longest of all.
        return (1 + USES_COMPILED.index(name), name) if name in USES_COMPILED else (1 + len(USES_COMPILED), name)

    jobs = []
    for name in sorted(names, key=rank):
        suite = suite_of(name, override)
        shares = name in USES_COMPILED and COMPILES in names and suite == suite_of(COMPILES, override)
        jobs.append(Job(name, "scenario", ("molecule", "test", "-s", name), suite, after=(COMPILES,) if shares else ()))
    return jobs


def image_jobs(repository: Path) -> list[Job]:
    """Images bring their own tests: images/NAME/tests/run IMAGE POSTGRES_IMAGE."""
    jobs = []
    for program in sorted((repository / "images").glob("*/tests/run")):
        name = program.parents[1].name
        jobs.append(Job(name, "image", (str(program), f"{PREFIX}/{name}:current", f"{PREFIX}/postgres:current")))
    return jobs


def gate_jobs(repository: Path, quick: bool = False) -> list[Job]:
    program = str(repository / "tests" / "gates")
    return [Job("gates", "", (program, "quick") if quick else (program,))]


def choose(jobs: Sequence[Job], names: Sequence[str]) -> list[Job]:
    """The named jobs, or all of them; a name that nothing has is an error and never an empty, green run."""
    if not names:
        return list(jobs)
    known = {job.name for job in jobs} | {job.title for job in jobs}
    if unknown := [name for name in names if name not in known]:
        raise LabError(f"Nothing here is called {', '.join(unknown)}; known are {', '.join(sorted({job.name for job in jobs}))}.")
    return [job for job in jobs if job.name in names or job.title in names]


@dataclass
class JobRun:
    """Runs jobs a few at a time, each with a log of its own."""

    lab: Lab
    at_once: int = 2
    say: Callable[[str], None] = print
    results: list[Result] = field(default_factory=list)
    _children: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, jobs: Sequence[Job], at_once: int | None = None) -> None:
        waiting = list(jobs)
        running: dict[Future[Result], Job] = {}
        try:
            with ThreadPoolExecutor(max_workers=at_once or self.at_once) as pool:
                try:
                    while waiting or running:
                        unfinished = {job.name for job in (*waiting, *running.values()) if job.kind == "scenario"}
                        for job in [j for j in waiting if not set(j.after) & unfinished]:
                            if len(running) >= (at_once or self.at_once):
                                break
                            waiting.remove(job)
                            running[pool.submit(self._one, job)] = job
                        done, _pending = wait(running, return_when=FIRST_COMPLETED)
                        for future in done:
                            running.pop(future)
                            self.results.append(future.result())
                except BaseException:
                    # Interrupted: end what runs first, or leaving the pool would wait for it.
                    self._end_children()
                    raise
        finally:
            self._end_children()

    def _one(self, job: Job) -> Result:
        log = self.lab.log_of(f"test-{job.title}")
        where = f" on {job.suite}" if job.suite else ""
        self.say(f"{job.title}{where} ... (log: {log})")
        started = time.monotonic()
        code = self._execute(job, log)
        seconds = time.monotonic() - started
        self.say(f"{job.title}{where}: {'ok' if code == 0 else 'FAILED'} in {seconds:.0f} s")
        return Result(job, code == 0, seconds, log)

    def _execute(self, job: Job, log: Path) -> int:
        settings: Mapping[str, str] = {**self.lab.environment, **tool_environment(self.lab, job.suite or None), **PLAIN_OUTPUT}
        with log.open("w") as stream:
            stream.write(f"$ {' '.join(job.argv)}\n")
            stream.flush()
            try:
                child = subprocess.Popen(
                    job.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    env=settings,
                    cwd=self.lab.repository,
                    start_new_session=True,
                )
            except OSError as error:
                stream.write(f"{job.argv[0]} cannot be started: {error}\n")
                return 127
            with self._lock:
                self._children.add(child.pid)
            try:
                return child.wait(LONGEST_JOB_SECONDS)
            except subprocess.TimeoutExpired:
                stream.write(f"\nStill running after {LONGEST_JOB_SECONDS:.0f} seconds: ended.\n")
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                return 124
            finally:
                with self._lock:
                    self._children.discard(child.pid)

    def _end_children(self) -> None:
        with self._lock:
            for group in self._children:
                try:
                    os.killpg(group, signal.SIGTERM)
                except ProcessLookupError:
                    pass

    def report(self, seconds: float) -> int:
        """Print what failed, the table and the closing line; return the exit code."""
        failed = [result for result in self.results if not result.passed]
        for result in failed:
            self.say(f"\n---- {result.job.title} FAILED, from {result.log}\n{excerpt(result.log)}")
        self.say("")
        for line in table(self.results):
            self.say(line)
        self.say(f"\nTotal {seconds:.0f} s")
        self.say(f"{len(self.results) - len(failed)} passed, {len(failed)} failed")
        return 1 if failed or not self.results else 0


def excerpt(log: Path, before: int = 30, after: int = 10) -> str:
    """The last sign of a failure with what led to it, and the end: between them stands what was tidied up afterwards."""
    lines = log.read_text(errors="replace").splitlines()
    end = max(len(lines) - LAST_LINES, 0)
    # The last one: failures that a test provokes and expects come earlier.
    for number in range(end - 1, -1, -1):
        if SIGN_OF_FAILURE.search(lines[number]):
            return "\n".join([*lines[max(0, number - before) : min(number + after, end)], "[...]", *lines[end:]])
    return "\n".join(lines[end:])


def table(results: Sequence[Result]) -> list[str]:
    width = max((len(result.job.title) for result in results), default=4)
    lines = [f"{'what':{width}}  {'Debian':8}  {'seconds':>7}  result"]
    for result in results:
        verdict = "ok" if result.passed else f"FAILED  {result.log}"
        lines.append(f"{result.job.title:{width}}  {result.job.suite or '-':8}  {result.seconds:7.0f}  {verdict}")
    return lines
