"""What every module and filter of the collection promises to whoever uses it."""

from __future__ import annotations

import pytest
import yaml

from tree import FILTERS, MODULES, ROOT, action_of, constant_of, load, shown, tasks_in

each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
each_plugin = pytest.mark.parametrize("path", [*MODULES, *FILTERS], ids=lambda path: path.stem)


def documentation_of(path):
    return yaml.safe_load(constant_of(path, "DOCUMENTATION"))


@each_module
@pytest.mark.parametrize("mode", ["check_mode", "diff_mode"])
def test_a_module_supports_check_and_diff_mode_fully(path, mode):
    # A module that only reads has nothing to compare; by Ansible's custom its name ends so.
    only_reads = mode == "diff_mode" and path.stem.endswith("_info")
    assert documentation_of(path)["attributes"][mode]["support"] == ("N/A" if only_reads else "full")


@each_plugin
def test_a_plugin_is_documented_under_its_own_name(path):
    documentation = documentation_of(path)
    assert documentation.get("module", documentation.get("name")) == path.stem


@each_plugin
def test_the_examples_are_yaml(path):
    assert yaml.safe_load(constant_of(path, "EXAMPLES"))


@each_module
def test_the_examples_call_the_module_by_its_full_name(path):
    actions = {action_of(task) for task in tasks_in(yaml.safe_load(constant_of(path, "EXAMPLES")))}
    assert f"private_llm.platform.{path.stem}" in actions
    assert [action for action in actions if action.count(".") < 2] == []


@each_plugin
def test_a_plugin_has_a_unit_test_named_after_it(path):
    found = sorted(shown(test) for test in (ROOT / "tests" / "unit").rglob(f"test_{path.stem}*.py"))
    assert found, f"no tests/unit/**/test_{path.stem}*.py"


def test_the_action_group_of_the_gateway_has_every_module_that_speaks_to_it():
    speaking = {path.stem for path in MODULES if "private_llm.platform.litellm" in (documentation_of(path).get("extends_documentation_fragment") or [])}
    assert set(load(ROOT / "meta" / "runtime.yml")["action_groups"]["litellm"]) == speaking
