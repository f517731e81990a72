"""The lab's command line: PYTHONPATH=tools python3 -m lab COMMAND."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time

from lab.bench import BENCHMARKS, bench
from lab.cleaning import clean
from lab.context import Lab, LabError
from lab.demo import Demo
from lab.images import SUITES
from lab.plan import all_steps, bring_up, default_suite, in_order, scenario_steps, tool_environment, tool_steps
from lab.runner import JobRun, choose, gate_jobs, image_jobs, scenario_jobs, scenario_names, suite_of
from lab.steps import State, Step

OLDEST_PYTHON = (3, 11)


def say(line: str) -> None:
    """One line at once, also where the output goes through a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def say_work_only(line: str) -> None:
    """For commands that print something else: only steps that take time, and those beside the output."""
    if line.endswith((" ...", " s")) or "FAILED" in line:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab", description="Everything that the tests and the demo need on this machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="make what is missing, skip what is current")
    up.add_argument("suites", nargs="*", metavar="SUITE", help=f"Debian releases of the test hosts ({', '.join(SUITES)})")
    commands.add_parser("env", help='print the environment of the lab: eval "$(make -s env)"')
    commands.add_parser("status", help="say what is current, change nothing")
    demo = commands.add_parser("demo", help="the platform on a test host, with a streamed answer at the end")
    demo.add_argument("--keep", action="store_true", help="use the host of the last demo if it still runs")
    test = commands.add_parser("test", help="quality gates, the images' own tests, every Molecule scenario")
    test.add_argument("-j", dest="at_once", type=int, default=2, metavar="N", help="so many at once (2)")
    test.add_argument("names", nargs="*", metavar="NAME", help="only these: gates, images or scenarios")
    measure = commands.add_parser("bench", help="measure how long things take, as ratios from one run")
    measure.add_argument("names", nargs="*", metavar="NAME", help=f"only these ({', '.join(BENCHMARKS)})")
    commands.add_parser("check", help="the quick quality gates only")
    # What follows belongs to the other program, whatever it looks like.
    for name, text in (
        ("molecule", "run molecule in the lab's environment"),
        ("run", "run any command in the lab's environment"),
        ("tool", "run a command that needs the Python tools only"),
    ):
        other = commands.add_parser(name, help=text, add_help=False)
        other.add_argument("arguments", nargs=argparse.REMAINDER)
    cleaner = commands.add_parser("clean", help="remove the lab's containers and stop its engine")
    cleaner.add_argument("--all", action="store_true", dest="everything", help="remove everything that the lab ever made")
    if arguments[:1] in (["molecule"], ["run"], ["tool"]):
        return argparse.Namespace(command=arguments[0], arguments=arguments[1:])
    return parser.parse_args(arguments)


def known_suite(suite: str) -> str:
    if suite not in SUITES:
        raise LabError(f"There is no test host of Debian {suite}; known are {', '.join(SUITES)} (PRIVATE_LLM_DISTRO chooses one).")
    return suite


def command_up(lab: Lab, suites: list[str]) -> int:
    started = time.monotonic()
    bring_up(lab, all_steps(lab, [known_suite(s) for s in suites or [default_suite(lab)]]), say)
    say(f"The lab is up ({time.monotonic() - started:.1f} s): {lab.home}")
    return 0


def command_env(lab: Lab) -> int:
    for name, value in tool_environment(lab).items():
        say(f"export {name}={shlex.quote(value)}")
    return 0


def command_status(lab: Lab) -> int:
    state = State(lab.home / "state" / "steps.json")
    current: set[str] = set()
    for step in in_order(all_steps(lab, [known_suite(default_suite(lab))])):
        waits_for = [name for name in step.needs if name not in current]
        try:
            if not waits_for and state.get(step.name) == step.fingerprint() and step.is_present():
                current.add(step.name)
                say(f"{step.name}: {step.describe()}")
            else:
                say(f"{step.name}: to be made{' after ' + ', '.join(waits_for) if waits_for else ''}")
        except LabError as error:
            say(f"{step.name}: {error}")
    return 0


def command_test(lab: Lab, names: list[str], at_once: int) -> int:
    started = time.monotonic()
    override = lab.environment.get("PRIVATE_LLM_DISTRO")
    scenarios = scenario_names(lab.repository)
    chosen = choose([*gate_jobs(lab.repository), *image_jobs(lab.repository), *scenario_jobs(scenarios, override)], names)
    # Ordered again: whoever is not chosen is not waited for.
    picked = scenario_jobs([job.name for job in chosen if job.kind == "scenario"], override)
    images = [job for job in chosen if job.kind == "image"]
    gates = [job for job in chosen if not job.kind]
    run = JobRun(lab, at_once=max(1, at_once), say=say)
    bring_up(lab, tool_steps(lab), say)
    run.run(gates, at_once=1)
    if picked or images:
        suites = [known_suite(suite_of(job.name, override)) for job in picked]
        bring_up(lab, scenario_steps(lab, suites, [job.name for job in picked]), say)
        run.run([*picked[:1], *images, *picked[1:]] if picked else images)
    return run.report(time.monotonic() - started)


def command_check(lab: Lab) -> int:
    started = time.monotonic()
    bring_up(lab, tool_steps(lab), say)
    run = JobRun(lab, say=say)
    run.run(gate_jobs(lab.repository, quick=True))
    return run.report(time.monotonic() - started)


def command_run(lab: Lab, argv: list[str], steps: list[Step] | None = None) -> int:
    if not argv:
        raise LabError("Say which command to run: `lab run ansible --version`.")
    bring_up(lab, steps or all_steps(lab, [known_suite(default_suite(lab))]), say_work_only)
    settings = {**lab.environment, **tool_environment(lab)}
    sys.stdout.flush()
    try:
        return subprocess.run(argv, env=settings, cwd=lab.repository, check=False).returncode
    except OSError as error:
        raise LabError(f"`{argv[0]}` cannot be started: {error.strerror}.") from error


def command(lab: Lab, wanted: argparse.Namespace) -> int:
    if wanted.command == "up":
        return command_up(lab, wanted.suites)
    if wanted.command == "env":
        return command_env(lab)
    if wanted.command == "status":
        return command_status(lab)
    if wanted.command == "test":
        return command_test(lab, wanted.names, wanted.at_once)
    if wanted.command == "check":
        return command_check(lab)
    if wanted.command == "bench":
        bench(lab, wanted.names, say)
        return 0
    if wanted.command == "molecule":
        return command_run(lab, ["molecule", *wanted.arguments], scenario_steps(lab, [known_suite(default_suite(lab))], wanted.arguments))
    if wanted.command == "run":
        return command_run(lab, wanted.arguments)
    if wanted.command == "tool":
        return command_run(lab, wanted.arguments, tool_steps(lab))
    if wanted.command == "clean":
        clean(lab, wanted.everything, say)
        return 0
    Demo(lab, say).run(keep=wanted.keep)
    return 0


def main(arguments: list[str]) -> int:
    if sys.version_info < OLDEST_PYTHON:
        found = ".".join(str(number) for number in sys.version_info[:2])
        sys.stderr.write(
            f"error: this is Python {found} and the lab needs 3.11 or newer; install one and run `make PYTHON=python3.11 ...`.\n"
        )
        return 1
    wanted = parse(arguments)
    try:
        return command(Lab(), wanted)
    except LabError as error:
        sys.stderr.write(f"error: {error}\n")
        if error.log is not None:
            sys.stderr.write(f"log: {error.log}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; run the same again to go on from here.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
