# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at all hosts' variables on the controller; no host is asked and none need be reachable."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.private_llm.platform.plugins.module_utils import inventory_checks, model_servers, people, platform_secrets

ROLES_DIRECTORY = os.path.join(os.path.dirname(__file__), "..", "..", "roles")
BUDGET_PERIOD_VARIABLE = "litellm_access_default_budget_duration"


def read_specs(directory: str) -> dict[str, dict[str, Any]]:
    """Options of the main entry point of each role that lies there."""
    specs: dict[str, dict[str, Any]] = {}
    for role in sorted(os.listdir(directory)):
        path = os.path.join(directory, role, "meta", "argument_specs.yml")
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as stream:
                entry_points = (yaml.safe_load(stream) or {}).get("argument_specs", {})
            specs[role] = {name: option for entry in entry_points.values() for name, option in (entry.get("options") or {}).items()}
    return specs


def read_wired(playbook: str) -> set[str]:
    """Variables that a playbook, what it imports, or a file of variables that one of its plays reads, sets for roles."""
    directory = os.path.dirname(playbook)
    plays = _read(playbook) or []
    wired = inventory_checks.wired_variables(plays)
    for play in plays:
        for name in play.get("vars_files") or []:
            wired |= set(_read(os.path.join(directory, name)) or {})
        if imported := play.get("ansible.builtin.import_playbook"):
            wired |= read_wired(os.path.join(directory, imported))
    return wired


def _read(path: str) -> Any:
    with open(path, encoding="utf-8") as stream:
        return yaml.safe_load(stream)


def type_problem(name: str, option: Mapping[str, Any], value: Any) -> str | None:
    """What the role itself would say about a value, said before the first role runs."""
    if value is None:
        return None
    spec = {field: setting for field, setting in option.items() if field not in ("description", "default", "required", "version_added")}
    checked = ArgumentSpecValidator({name: _without_text(spec)}).validate({name: value})
    if not checked.error_messages:
        return None
    # Ansible quotes the value, and a secret must not be quoted.
    return "%s does not fit: %s" % (name, "it has the wrong type." if option.get("no_log") else " ".join(checked.error_messages))


def _without_text(spec: Any) -> Any:
    """A role's specification in the words of a module's: without descriptions, at any depth."""
    cleaned = dict(spec)
    if isinstance(cleaned.get("options"), Mapping):
        cleaned["options"] = {
            name: _without_text({field: setting for field, setting in option.items() if field not in ("description", "version_added")})
            for name, option in cleaned["options"].items()
        }
    return cleaned


class _Values(Mapping[str, Any]):
    """A host's variables as they will be; what needs no templating is not copied through it, for thousands of people take a second there."""

    def __init__(self, raw: Mapping[str, Any], templated: Any) -> None:
        self.raw = raw
        self._templated = templated

    def __getitem__(self, name: str) -> Any:
        raw = self.raw[name]
        return raw if inventory_checks.is_plain(raw) else inventory_checks.decrypted(self._templated[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.raw)

    def __len__(self) -> int:
        return len(self.raw)


class ActionModule(ActionBase):  # type: ignore[misc]
    """The inventory, looked at as a whole."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _wired: Collection[str] = frozenset()

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "root_secret_variable": {"type": "str", "default": "platform_root_secret", "no_log": False},
                "kept_root_secret_variable": {"type": "str", "default": "platform_kept_root_secret", "no_log": False},
                "secret_numbers_variable": {"type": "str", "default": "platform_secret_numbers", "no_log": False},
                "people_variable": {"type": "str", "default": "llm_users"},
                "teams_variable": {"type": "str", "default": "llm_teams"},
                "budgets_variable": {"type": "str", "default": "llm_budgets"},
                "models": {"type": "list", "elements": "str", "default": []},
                "platform_variables": {"type": "list", "elements": "str", "default": []},
                "groups": {"type": "list", "elements": "str", "default": []},
                "playbook": {"type": "path"},
                "address_variable": {"type": "str", "default": ""},
                "addressed_groups": {"type": "list", "elements": "str", "default": []},
            }
        )
        specs = read_specs(ROLES_DIRECTORY)
        hostvars = task_vars["hostvars"]
        hosts = [str(host) for host in task_vars["groups"]["all"]]
        self._wired = read_wired(arguments["playbook"]) if arguments["playbook"] else set()
        self._checked_lists: tuple[dict[str, Any], list[str]] = ({}, [])
        problems = {host: self._problems_of(host, hostvars, specs, arguments) for host in hosts}
        merged = [
            "The inventory has no hosts in the group %s." % group for group in arguments["groups"] if not task_vars["groups"].get(group)
        ]
        merged += inventory_checks.merge(problems)
        merged += self._address_problems(arguments, task_vars["groups"], hostvars)
        if merged:
            raise AnsibleActionFail(
                "The inventory has %d problem%s, and nothing was changed:\n- %s"
                % (len(merged), "" if len(merged) == 1 else "s", "\n- ".join(merged))
            )
        result.update(changed=False, msg="The inventory is complete: %d host%s." % (len(hosts), "" if len(hosts) == 1 else "s"))
        return result

    @staticmethod
    def _address_problems(arguments: Mapping[str, Any], groups: Mapping[str, Any], hostvars: Any) -> list[str]:
        """Hosts that the others could not reach."""
        name = arguments["address_variable"]
        hosts = list(dict.fromkeys(str(host) for group in arguments["addressed_groups"] for host in groups.get(group) or []))
        lost = [host for host in hosts if not hostvars.raw_get(host).get(name)] if name and len(hosts) > 1 else []
        return ["%s: %s is missing, the address at which the other hosts reach this one." % (", ".join(lost), name)] if lost else []

    def _problems_of(self, host: str, hostvars: Any, specs: dict[str, dict[str, Any]], arguments: dict[str, Any]) -> list[str]:
        raw = inventory_checks.own_variables(dict(hostvars.raw_get(host)))
        values = _Values(raw, hostvars[host])
        known = {name: option for options in specs.values() for name, option in options.items()}
        problems = inventory_checks.placeholder_problems(raw)
        own = [arguments[name] for name in ("root_secret_variable", "people_variable", "teams_variable", "budgets_variable")]
        problems += inventory_checks.unknown_variable_problems(raw, specs, [*arguments["platform_variables"], *own])
        problems += inventory_checks.wired_problems(raw, self._wired)
        problems += self._root_secret_problems(arguments["root_secret_variable"], raw, values)
        if arguments["kept_root_secret_variable"] in raw:
            problems += self._root_secret_problems(arguments["kept_root_secret_variable"], raw, values)
        problems += self._secret_number_problems(arguments["secret_numbers_variable"], raw, values)
        problems += self._access_problems_once(arguments, raw, values)
        problems += self._model_problems(raw, values)
        for name in sorted(set(raw) & set(known)):
            try:
                value = values[name]
            except Exception:  # noqa: S112
                # It refers to what only the play knows; the role checks it when it runs.
                continue
            problem = type_problem(name, known[name], value)
            if problem:
                problems.append(problem)
        return problems

    @staticmethod
    def _root_secret_problems(name: str, raw: Mapping[str, Any], values: Any) -> list[str]:
        if name not in raw:
            return ["%s is missing; make one with 'openssl rand -base64 48' and keep it in an encrypted inventory file." % name]
        try:
            value = inventory_checks.decrypted(values[name])
        except Exception:
            return ["%s cannot be read: it refers to a variable that is not defined, or to a file that cannot be decrypted." % name]
        problem = inventory_checks.secret_problem(name, value)
        return [problem] if problem else []

    @staticmethod
    def _secret_number_problems(name: str, raw: Mapping[str, Any], values: Any) -> list[str]:
        if name not in raw:
            return []
        try:
            platform_secrets.numbers_of(values[name])
        except ValueError as error:
            return [str(error)]
        return []

    def _access_problems_once(self, arguments: Mapping[str, Any], raw: Mapping[str, Any], values: _Values) -> list[str]:
        """Lists that all hosts share are looked at for the first of them alone, unless they may come out differently on each."""
        names = [*(arguments["%s_variable" % kind] for kind in ("people", "teams", "budgets")), BUDGET_PERIOD_VARIABLE]
        lists = {name: raw[name] for name in names if name in raw}
        known_lists, problems = self._checked_lists
        if lists and lists == known_lists:
            return problems
        problems = self._access_problems(arguments, raw, values)
        if inventory_checks.is_plain(lists):
            self._checked_lists = (lists, problems)
        return problems

    @staticmethod
    def _model_problems(raw: Mapping[str, Any], values: _Values) -> list[str]:
        """What is wrong with the list of models, which every other play needs."""
        name = model_servers.LIST
        if name not in raw:
            return []
        try:
            entries = values[name]
        except Exception:
            return ["%s cannot be read: it refers to a variable that is not defined, or to a file that cannot be decrypted." % name]
        return ["%s: %s" % (name, problem) for problem in model_servers.problems(entries, values)]

    @staticmethod
    def _access_problems(arguments: Mapping[str, Any], raw: Mapping[str, Any], values: Any) -> list[str]:
        """What is wrong with people, teams and shared budgets, which name each other."""
        read: dict[str, Any] = {}
        problems = []
        for kind in ("people", "teams", "budgets"):
            name = arguments["%s_variable" % kind]
            try:
                read[kind] = inventory_checks.decrypted(values[name]) if name in raw else []
            except Exception:
                problems.append("%s cannot be read: it refers to a variable that is not defined, or to a file that cannot be decrypted." % name)
        if problems:
            return problems
        try:
            default_period = values[BUDGET_PERIOD_VARIABLE] if BUDGET_PERIOD_VARIABLE in raw else None
        except Exception:
            default_period = None
        found = {
            "people": people.problems_of(read["people"], default_period, read["teams"], read["budgets"], arguments["models"]),
            "teams": people.team_problems(read["teams"], arguments["models"]),
            "budgets": people.budget_problems(read["budgets"]),
        }
        return ["%s: %s" % (arguments["%s_variable" % kind], problem) for kind, sentences in found.items() for problem in sentences]
