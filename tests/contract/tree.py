"""How the tests of this directory see the repository: its files, its roles and their tasks."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parent.parent for path in ROOT.glob("roles/*/meta/main.yml"))
MODULES = sorted(path for path in ROOT.glob("plugins/modules/*.py") if path.name != "__init__.py")
FILTERS = sorted(path for path in ROOT.glob("plugins/filter/*.py") if path.name != "__init__.py")
# A file beside the playbooks that holds variables is a mapping; a playbook is a list of plays.
PLAYBOOKS = sorted(path for path in ROOT.glob("playbooks/*.yml") if re.search(r"^- ", path.read_text(), flags=re.MULTILINE))

# Everything a task may hold besides its one action.
TASK_KEYWORDS = frozenset(
    "any_errors_fatal args async become become_exe become_flags become_method become_user changed_when check_mode collections connection "
    "debugger delay delegate_facts delegate_to diff environment failed_when ignore_errors ignore_unreachable local_action loop loop_control "
    "module_defaults name no_log notify poll port register remote_user retries run_once tags throttle timeout until vars when".split()
)
BLOCKS = ("block", "rescue", "always")
PLAY_TASKS = ("pre_tasks", "tasks", "post_tasks", "handlers")
NEVER_OURS = {".git", ".ansible", ".collections", ".venv", "build", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


def load(path: Path) -> Any:
    """The YAML document in a file; Ansible's own tags are read as plain values."""
    return yaml.load(path.read_text(), Loader=_Loader)


class _Loader(yaml.SafeLoader):
    pass


def _plain(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node)
    return loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else loader.construct_scalar(node)


_Loader.add_multi_constructor("!", _plain)


def shown(path: Path) -> str:
    """A path as people write it."""
    return str(path.relative_to(ROOT))


def task_files() -> list[Path]:
    """Files that hold tasks, of roles and of playbooks."""
    return [*sorted(ROOT.glob("roles/*/tasks/*.yml")), *sorted(ROOT.glob("playbooks/tasks/*.yml")), *PLAYBOOKS]


def tasks_of(path: Path) -> Iterator[dict[str, Any]]:
    """Each task in a task file or playbook."""
    yield from tasks_in(load(path) or [])


def tasks_in(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each task in a list of tasks or of plays, also those within blocks."""
    for entry in entries:
        if "hosts" in entry:
            for key in PLAY_TASKS:
                yield from _flatten(entry.get(key) or [])
        elif "import_playbook" not in entry and "ansible.builtin.import_playbook" not in entry:
            yield from _flatten([entry])


def _flatten(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        if any(key in task for key in BLOCKS):
            for key in BLOCKS:
                yield from _flatten(task.get(key) or [])
        else:
            yield task


def action_of(task: dict[str, Any]) -> str:
    """The name of the module or action that a task calls."""
    names = [key for key in task if key not in TASK_KEYWORDS and not key.startswith("with_")]
    return names[0] if len(names) == 1 else f"<not one action: {names}>"


def strings_in(value: Any) -> Iterator[str]:
    """Each string in a nested value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)


def constant_of(path: Path, name: str) -> str:
    """A module-level string of a Python file, without running it."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == name for target in node.targets):
            return str(ast.literal_eval(node.value))
    return ""


def our_text_files() -> Iterator[tuple[Path, str]]:
    """Every text file of the project; what tools leave behind is not ours."""
    for directory, names, files in os.walk(ROOT):
        names[:] = [name for name in names if name not in NEVER_OURS and not (Path(directory) / name).is_symlink()]
        for file in files:
            path = Path(directory) / file
            if path.suffix in {".gz", ".pyc", ".gguf", ".png"} or path.stat().st_size > 2_000_000:
                continue
            try:
                yield path, path.read_text()
            except UnicodeDecodeError:
                continue


def without_jinja(text: str) -> str:
    """Text in which each Jinja expression has become one word."""
    return re.sub(r"\{\{.*?\}\}", "X", text, flags=re.DOTALL)


def trusted(text):
    """A text that Ansible takes as a template."""
    try:
        from ansible.template import trust_as_template
    except ImportError:  # before ansible-core 2.19 every text is a template
        return text
    return trust_as_template(text)
