# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be wrong with an inventory before any host is asked, each as one sentence."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import hkdf
from ansible_collections.private_llm.platform.plugins.module_utils.people import did_you_mean

# What Ansible itself puts among a host's variables, and what only repeats them.
NOT_FROM_THE_INVENTORY = frozenset(
    "ansible_facts ansible_check_mode ansible_diff_mode ansible_forks ansible_limit ansible_run_tags ansible_skip_tags ansible_verbosity "
    "ansible_version ansible_config_file ansible_playbook_python ansible_play_batch ansible_play_hosts ansible_play_hosts_all ansible_play_name "
    "ansible_play_role_names ansible_role_names ansible_dependent_role_names environment groups hostvars omit play_hosts playbook_dir role_names "
    "vars inventory_dir inventory_file inventory_hostname_short group_names".split()
)

TEMPLATE_MARKS = ("{{", "{%", "{#")


def decrypted(value: Any) -> Any:
    """The value with plain text for all that is vaulted inline: before ansible-core 2.19 that comes as an object that is no string."""
    if getattr(value, "__ENCRYPTED__", False):
        return str(value)
    if isinstance(value, Mapping):
        return {name: decrypted(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [decrypted(entry) for entry in value]
    return value


def is_plain(value: Any) -> bool:
    """Whether a value is what it says: nothing in it is a template, vaulted, or anything else that Ansible would have to work out."""
    if isinstance(value, str):
        return not any(mark in value for mark in TEMPLATE_MARKS)
    if isinstance(value, Mapping):
        return all(is_plain(name) and is_plain(entry) for name, entry in value.items())
    if isinstance(value, (list, tuple)):
        return all(is_plain(entry) for entry in value)
    return value is None or isinstance(value, (bool, int, float, datetime.date))


def own_variables(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables that an operator wrote, of all that a host has."""
    return {name: value for name, value in variables.items() if name not in NOT_FROM_THE_INVENTORY}


def _strings(value: Any, place: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif depth > 20:
        return
    elif isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _strings(str(name), place, depth + 1)
            yield from _strings(entry, "%s.%s" % (place, name), depth + 1)
    elif isinstance(value, (list, tuple)):
        for position, entry in enumerate(value, start=1):
            yield from _strings(entry, "%s, entry %d" % (place, position), depth + 1)


def placeholder_problems(variables: Mapping[str, Any]) -> list[str]:
    """Values that were copied from the example and never filled in."""
    problems = []
    for name in sorted(variables):
        for place, text in _strings(variables[name], name):
            if hkdf.PLACEHOLDER in text:
                problems.append("%s still has the placeholder %s; give it your own value." % (place, hkdf.PLACEHOLDER))
    return problems


def role_of(variable: str, roles: Iterable[str]) -> str | None:
    """The role that a variable is meant for: the one with the longest name that the variable begins with."""
    owners = [role for role in roles if variable.startswith(role + "_")]
    return max(owners, key=len) if owners else None


def unknown_variable_problems(variables: Iterable[str], specs: Mapping[str, Iterable[str]], platform_variables: Iterable[str]) -> list[str]:
    """Variables that look like a role's (or the platform's) and that nothing reads."""
    known = {name for options in specs.values() for name in options}
    platform = set(platform_variables)
    prefixes = {name.split("_", 1)[0] + "_" for name in platform}
    problems = []
    for variable in sorted(variables):
        if variable in known or variable in platform:
            continue
        role = role_of(variable, specs)
        if role is not None:
            # A misspelling may well lead into a neighbour's prefix: look among all, not only in this role.
            problems.append("%s is no variable of the role %s%s" % (variable, role, did_you_mean(variable, known | platform)))
        elif any(variable.startswith(prefix) for prefix in prefixes):
            problems.append("%s is no variable of the platform%s" % (variable, did_you_mean(variable, platform | known)))
    return problems


ROLE_TASKS = tuple(prefix + action for prefix in ("ansible.builtin.", "") for action in ("import_role", "include_role"))


def wired_variables(plays: Iterable[Mapping[str, Any]]) -> set[str]:
    """Variables that a playbook hands to its roles, and that stand above whatever an inventory says of them."""
    uses: list[Any] = []
    for play in plays:
        uses += play.get("roles") or []
        tasks = [task for part in ("pre_tasks", "tasks", "post_tasks") for task in play.get(part) or []]
        uses += [task for task in tasks if any(action in task for action in ROLE_TASKS)]
    return {name for use in uses if isinstance(use, Mapping) for name in use.get("vars") or {}}


def wired_problems(variables: Iterable[str], wired: Iterable[str]) -> list[str]:
    """Variables that an inventory sets in vain."""
    return [
        "%s has no effect in an inventory: the playbooks set it themselves; docs/inventory.md lists what may be set instead." % name
        for name in sorted(set(variables) & set(wired))
        # What begins so is the playbooks' own; who sets it knows what they do.
        if not name.startswith("__")
    ]


def secret_problem(name: str, value: Any) -> str | None:
    """What is wrong with a root secret, naming the variable and never the value."""
    # The search for placeholders finds this one too, and says so with its place.
    if isinstance(value, str) and hkdf.PLACEHOLDER in value:
        return None
    problem = hkdf.root_secret_problem(value)
    return "%s %s." % (name, problem) if problem else None


def merge(problems_by_host: Mapping[str, list[str]]) -> list[str]:
    """Each problem once; it names its hosts unless all of them have it."""
    hosts_of: dict[str, list[str]] = {}
    for host, problems in problems_by_host.items():
        for problem in problems:
            hosts = hosts_of.setdefault(problem, [])
            if host not in hosts:
                hosts.append(host)
    merged = []
    for problem, hosts in hosts_of.items():
        everywhere = len(hosts) == len(problems_by_host)
        merged.append(problem if everywhere else "%s: %s" % (", ".join(hosts), problem))
    return merged
