"""Scenarios start in an order that compiles once, on the right Debian, and the exit code of each one counts."""

from __future__ import annotations

import time

import pytest

from lab.context import Lab, LabError
from lab.runner import Job, JobRun, choose, excerpt, scenario_jobs, scenario_names

NAMES = ["docker_engine", "litellm", "llama_cpp", "llama_model", "llama_server", "postgres", "site"]


@pytest.fixture
def lab(tmp_path):
    repository = tmp_path / "repository"
    for name in ("requirements.txt", "requirements-dev.txt", "tools/lab/constraints.txt"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).touch()
    return Lab(home=tmp_path / "lab", repository=repository, environment={"PATH": "/usr/bin:/bin"})


def by_name(jobs):
    return {job.name: job for job in jobs}


def finish(lab, *jobs):
    said = []
    run = JobRun(lab, say=said.append)
    run.run(jobs)
    return run.report(1.0), said


def test_the_compiling_scenario_starts_first():
    assert scenario_jobs(NAMES, None)[0].name == "llama_cpp"


def test_what_uses_the_compiled_binaries_waits_for_them():
    jobs = by_name(scenario_jobs(NAMES, None))
    assert jobs["site"].after == jobs["llama_server"].after == ("llama_cpp",)


def test_nothing_waits_for_a_scenario_that_was_not_chosen():
    assert by_name(scenario_jobs(["site"], None))["site"].after == ()


def test_the_platform_runs_on_the_newest_debian_and_the_roles_on_the_one_before():
    jobs = by_name(scenario_jobs(NAMES, None))
    assert (jobs["site"].suite, jobs["llama_cpp"].suite, jobs["postgres"].suite) == ("trixie", "trixie", "bookworm")


def test_one_variable_puts_all_scenarios_on_one_debian():
    assert {job.suite for job in scenario_jobs(NAMES, "bookworm")} == {"bookworm"}


def test_a_directory_without_a_molecule_file_is_no_scenario(tmp_path):
    for name in ("postgres", "shared"):
        (tmp_path / "molecule" / name).mkdir(parents=True)
    (tmp_path / "molecule" / "postgres" / "molecule.yml").touch()
    assert scenario_names(tmp_path) == ["postgres"]


def test_an_unknown_name_is_refused_and_not_an_empty_success():
    with pytest.raises(LabError, match="Nothing here is called postgers"):
        choose(scenario_jobs(NAMES, None), ["postgers"])


def test_a_run_without_a_failure_ends_with_exit_code_0(lab):
    code, said = finish(lab, Job("good", "scenario", ("true",)))
    assert (code, said[-1]) == (0, "1 passed, 0 failed")


def test_one_failure_makes_the_whole_run_fail_and_shows_its_log(lab):
    code, said = finish(lab, Job("good", "scenario", ("true",)), Job("bad", "scenario", ("sh", "-c", "echo it is broken; exit 3")))
    assert (code, said[-1]) == (1, "1 passed, 1 failed")
    assert any("it is broken" in line for line in said)


def test_a_program_that_is_missing_is_a_failure(lab):
    code, _said = finish(lab, Job("missing", "scenario", ("/nonexistent/program",)))
    assert code == 1


def test_a_run_of_nothing_is_no_success(lab):
    code, _said = finish(lab)
    assert code == 1


def test_a_job_starts_only_after_the_one_it_waits_for(lab, tmp_path):
    mark = tmp_path / "compiled"
    slow = Job("llama_cpp", "scenario", ("sh", "-c", f"sleep 0.5; touch {mark}"))
    code, _said = finish(lab, slow, Job("site", "scenario", ("test", "-e", str(mark)), after=("llama_cpp",)))
    assert code == 0


def test_two_jobs_run_at_the_same_time(lab, tmp_path):
    started = time.monotonic()
    meet = 'touch "$0"; for i in $(seq 100); do [ -e "$1" ] && exit 0; sleep 0.1; done; exit 1'
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    code, _said = finish(lab, Job("a", "scenario", ("sh", "-c", meet, a, b)), Job("b", "scenario", ("sh", "-c", meet, b, a)))
    assert code == 0
    assert time.monotonic() - started < 9


def test_what_led_to_a_failure_is_shown_although_tidying_up_came_after_it(tmp_path):
    log = tmp_path / "log"
    log.write_text("\n".join(["reason", "fatal: [host]: FAILED!", *(f"tidied {i}" for i in range(100))]))
    assert "reason\nfatal: [host]: FAILED!" in excerpt(log)
