"""Steps are made when missing, skipped when current, ordered by their needs, and never half done without a trace."""

from __future__ import annotations

import threading

import pytest

from lab import fixtures
from lab.context import Lab, LabError
from lab.plan import all_steps, in_order, scenario_steps
from lab.steps import Runner, State, Step


class Thing(Step):
    """A step whose product is a file in a directory."""

    def __init__(self, lab, name, needs=(), made_from="1", broken=False):
        super().__init__(lab, name, needs)
        self.made_from = made_from
        self.broken = broken
        self.product = lab.home / name

    def fingerprint(self):
        return self.made_from

    def is_present(self):
        return self.product.exists()

    def make(self):
        if self.broken:
            raise LabError("it broke")
        self.product.write_text(self.made_from)


@pytest.fixture
def lab(tmp_path):
    return Lab(home=tmp_path, environment={"PATH": "/usr/bin:/bin"})


def run(lab, *steps, say=lambda line: None):
    outcomes = Runner(State(lab.home / "state.json"), say=say).run(steps)
    return {outcome.name: outcome.made for outcome in outcomes}


def test_a_missing_product_is_made(lab):
    assert run(lab, Thing(lab, "a")) == {"a": True}


def test_a_current_product_is_not_made_again(lab):
    run(lab, Thing(lab, "a"))
    assert run(lab, Thing(lab, "a")) == {"a": False}


def test_a_product_made_from_something_else_is_made_again(lab):
    run(lab, Thing(lab, "a"))
    assert run(lab, Thing(lab, "a", made_from="2")) == {"a": True}


def test_a_product_that_vanished_is_made_again(lab):
    run(lab, Thing(lab, "a"))
    (lab.home / "a").unlink()
    assert run(lab, Thing(lab, "a")) == {"a": True}


def test_a_step_that_failed_is_tried_again_although_an_older_product_is_there(lab):
    run(lab, Thing(lab, "a"))
    with pytest.raises(LabError):
        run(lab, Thing(lab, "a", made_from="2", broken=True))
    assert run(lab, Thing(lab, "a", made_from="1")) == {"a": True}


def test_a_failure_names_its_step(lab):
    with pytest.raises(LabError, match="^a: it broke$"):
        run(lab, Thing(lab, "a", broken=True))


def test_what_needs_a_failed_step_is_not_made(lab):
    with pytest.raises(LabError):
        run(lab, Thing(lab, "a", broken=True), Thing(lab, "b", needs=("a",)))
    assert not (lab.home / "b").exists()


def test_a_step_waits_for_what_it_needs(lab):
    order = []

    class Noted(Thing):
        def make(self):
            super().make()
            order.append(self.name)

    run(lab, Noted(lab, "last", needs=("middle",)), Noted(lab, "middle", needs=("first",)), Noted(lab, "first"))
    assert order == ["first", "middle", "last"]


def test_two_independent_steps_run_at_the_same_time(lab):
    meeting = threading.Barrier(2, timeout=10)

    class Meeting(Thing):
        def make(self):
            meeting.wait()
            super().make()

    assert run(lab, Meeting(lab, "a"), Meeting(lab, "b")) == {"a": True, "b": True}


def test_the_screen_says_how_far_it_is(lab):
    said = []
    run(lab, Thing(lab, "a"), Thing(lab, "b", needs=("a",)), say=said.append)
    assert said[0] == "[ 1/2] a ..."
    assert said[-1].startswith("[ 2/2] b: done in ")


def test_a_state_file_that_was_cut_off_only_costs_time(lab):
    run(lab, Thing(lab, "a"))
    (lab.home / "state.json").write_text('{"a": "1')
    assert run(lab, Thing(lab, "a")) == {"a": True}


def test_every_step_of_the_real_lab_has_all_that_it_needs(lab):
    names = [step.name for step in in_order(all_steps(lab, ["trixie", "bookworm"]))]
    assert len(names) == len(set(names))


def test_the_official_images_are_not_built_here(tmp_path):
    lab = Lab(home=tmp_path, environment={"PATH": "/usr/bin:/bin", "IMAGES": "official"})
    names = {step.name for step in in_order(all_steps(lab, ["trixie"]))}
    assert not names & {"image postgres", "image litellm", "push berriai/litellm"}


def test_hosts_of_the_older_release_are_made_only_when_asked_for(lab):
    assert "image host bookworm" not in {step.name for step in all_steps(lab, ["trixie"])}


def test_only_a_scenario_that_looks_at_a_web_page_waits_for_a_browser(lab):
    def names(*scenarios):
        return {step.name for step in scenario_steps(lab, ["trixie"], scenarios)}

    assert names("verify", "-s", "litellm") - names("verify", "-s", "postgres") == {"browser"}
    assert "browser" not in {step.name for step in all_steps(lab, ["trixie"])}


@pytest.mark.parametrize(("said", "expected"), [("release 13.0, V13.0.88", {"CUDA libraries"}), ("release 12.8, V12.8.61", set()), (None, set())])
def test_only_a_machine_with_the_compiler_that_they_go_with_gets_cuda_libraries(lab, tmp_path, monkeypatch, said, expected):
    nvcc = tmp_path / "nvcc"
    if said:
        nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, {said}'\n")
        nvcc.chmod(0o755)
    monkeypatch.setattr(fixtures, "NVCC", nvcc)
    own = {step.name for step in scenario_steps(lab, ["trixie"], ["llama_cpp"])}
    others = {step.name for step in scenario_steps(lab, ["trixie"], ["llama_model"])}
    assert own - others == expected
