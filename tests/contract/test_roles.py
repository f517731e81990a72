"""What every role promises: one skeleton, typed variables, tasks that can be read on one screen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tree import ROLES, ROOT, action_of, load, shown, strings_in, task_files, tasks_of, without_jinja

TASKS_ON_ONE_SCREEN = 80
SKELETON = ("defaults/main.yml", "meta/main.yml", "meta/argument_specs.yml", "tasks/main.yml", "README.md")

each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
each_task_file = pytest.mark.parametrize("path", task_files(), ids=shown)


def defaults_of(role: Path) -> dict[str, object]:
    return load(role / "defaults" / "main.yml") or {}


def options_of(role: Path) -> dict[str, dict[str, object]]:
    return load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"].get("options") or {}


def test_there_are_roles():
    assert ROLES, f"no role found below {ROOT}/roles"


@each_role
def test_a_role_has_the_whole_skeleton(role):
    missing = [name for name in SKELETON if not (role / name).is_file()]
    assert missing == []


@each_role
def test_every_default_is_described_and_every_described_default_is_set(role):
    defaults = defaults_of(role)
    described = {name: option["default"] for name, option in options_of(role).items() if "default" in option}
    assert defaults == described


@each_role
def test_a_variable_without_default_is_required_or_may_be_left_out(role):
    undecided = [name for name, option in options_of(role).items() if option.get("required") and "default" in option]
    assert undecided == [], "required and yet with a default"


@each_role
def test_every_variable_carries_the_name_of_its_role(role):
    internal = load(role / "vars" / "main.yml") or {} if (role / "vars" / "main.yml").exists() else {}
    strangers = [name for name in options_of(role) if not name.startswith(f"{role.name}_")]
    strangers += [name for name in internal if not name.startswith(f"__{role.name}_")]
    assert strangers == []


@each_role
def test_every_variable_says_what_it_is_for(role):
    silent = [name for name, option in options_of(role).items() if not option.get("description") or "type" not in option]
    assert silent == []


@each_role
def test_a_variable_that_names_a_secret_is_never_logged(role):
    secret = re.compile(r"(password|secret|token|api_key|master_key|salt_key|private_key)$")
    shown_in_logs = [name for name, option in options_of(role).items() if secret.search(name) and option.get("no_log") is not True]
    assert shown_in_logs == []


@each_role
def test_a_role_has_no_handlers_which_a_run_that_dies_would_lose(role):
    assert not (role / "handlers").exists()


@each_role
def test_the_tasks_of_a_role_fit_on_a_screen(role):
    assert len((role / "tasks" / "main.yml").read_text().splitlines()) <= TASKS_ON_ONE_SCREEN


@each_role
def test_a_role_is_run_by_a_molecule_scenario(role):
    # One of its own, or one with the neighbours without which it is of no use.
    name = re.compile(rf"\bprivate_llm\.platform\.{role.name}\b")
    scenarios = [path.parent.name for path in ROOT.glob("molecule/*/converge.yml") if name.search(path.read_text())]
    assert scenarios, f"no molecule/*/converge.yml runs {role.name}"


@each_role
def test_a_role_depends_on_no_other_role(role):
    assert load(role / "meta" / "main.yml").get("dependencies") == []


@each_role
def test_a_role_reads_no_variable_of_another_role(role):
    others = [other.name for other in ROLES if other != role and not other.name.startswith(f"{role.name}_")]
    text = "\n".join(path.read_text() for directory in ("tasks", "templates", "vars", "defaults") for path in (role / directory).rglob("*.*"))
    own = set(options_of(role))
    strangers = [
        word
        for expression in re.findall(r"\{[{%].*?[%}]\}", text, flags=re.DOTALL)
        for word in re.findall(r"(?<![\w.'/\"-])[a-z]\w*", expression)
        if word not in own and any(word.startswith(f"{other}_") for other in others) and not word.startswith(f"{role.name}_")
    ]
    assert strangers == []


@each_task_file
def test_every_task_calls_its_module_by_its_full_name(path):
    short = [action for action in map(action_of, tasks_of(path)) if action.count(".") < 2]
    assert short == []


@each_task_file
def test_every_task_has_a_name(path):
    assert [action_of(task) for task in tasks_of(path) if not task.get("name")] == []


@each_task_file
def test_no_task_looks_away_from_an_error(path):
    assert [task["name"] for task in tasks_of(path) if task.get("ignore_errors") or task.get("failed_when") is False] == []


@each_task_file
def test_no_task_invents_a_default_that_nobody_can_see(path):
    hidden = [task["name"] for task in tasks_of(path) for text in strings_in(task) if re.search(r"\|\s*(default|d)\s*\(", text)]
    assert hidden == []


def listed(publish):
    """Ports, also where an expression decides whether there are any: then the elements of the lists in it."""
    return re.findall(r"\[([^\]]+)\]", publish) if isinstance(publish, str) else publish


@each_task_file
def test_every_published_port_names_the_address_it_listens_on(path):
    bare = [
        port
        for task in tasks_of(path)
        for action, arguments in task.items()
        if action.endswith(".container_service") and isinstance(arguments, dict)
        for port in listed(arguments.get("publish") or [])
        if without_jinja(port).count(":") < 2
    ]
    assert bare == []


@each_task_file
def test_no_role_starts_stops_or_describes_a_unit_by_itself(path):
    by_itself = [task["name"] for task in tasks_of(path) if action_of(task).rpartition(".")[2] in ("systemd", "systemd_service", "service", "sysvinit")]
    by_itself += [task["name"] for task in tasks_of(path) for text in strings_in(task) if re.search(r"\bsystemctl\b|/systemd/system/", text)]
    assert by_itself == [], "container_service and native_service do that, with a way back"
