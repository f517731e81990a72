# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The list of people in an inventory: what a person may say, what is wrong with a list, which key each person has."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import hkdf

STATES = ("present", "blocked", "absent")
# Per person and, under the same names, as defaults for everybody.
LIMITS: dict[str, str] = {
    "max_budget": "number",
    "budget_duration": "duration",
    "rpm_limit": "whole number",
    "tpm_limit": "whole number",
    "max_parallel_requests": "whole number",
    "models": "list",
}
FIELDS: dict[str, str] = {
    "name": "text",
    "email": "text",
    "full_name": "text",
    "state": "text",
    "key_generation": "whole number",
    "key": "text",
    **LIMITS,
}

KEY_LIMITS = ("models", "rpm_limit", "tpm_limit", "max_parallel_requests")

NAME_PATTERN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
EMAIL_PATTERN = re.compile(r"[^@\s]+@[^@\s]+")
DURATION_PATTERN = re.compile(r"[1-9][0-9]*(?:s|m|h|d|w|mo)")
# Only characters that need no quoting in a shell, an environment file or a header.
KEY_PATTERN = re.compile(r"sk-[A-Za-z0-9._~+/=-]+")
MINIMUM_KEY_LENGTH = 16
# The gateway keeps its own administrator under this name.
RESERVED_NAMES = ("default_user_id",)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return "; did you mean %s?" % close[0] if close else "."


def key_problem(key: str) -> str | None:
    """What is wrong with a key that somebody chose, without quoting it."""
    if not key.startswith("sk-"):
        return "must start with sk-"
    if len(key) < MINIMUM_KEY_LENGTH:
        return "has %d characters, it needs at least %d" % (len(key), MINIMUM_KEY_LENGTH)
    if not KEY_PATTERN.fullmatch(key):
        return "may only have letters, digits and . _ ~ + / = - after sk-"
    return None


def _type_problem(kind: str, value: Any) -> str | None:
    if kind == "text":
        return None if isinstance(value, str) else "must be text"
    if kind == "list":
        return None if isinstance(value, (list, tuple)) and all(isinstance(entry, str) for entry in value) else "must be a list of names"
    if kind == "duration":
        return None if isinstance(value, str) and DURATION_PATTERN.fullmatch(value) else "must be a period such as 30d, 12h or 1mo"
    try:
        number = float(value) if not isinstance(value, bool) else None
    except (TypeError, ValueError):
        number = None
    if number is None or not math.isfinite(number):
        return "must be a %s" % kind
    if kind == "whole number" and number != int(number):
        return "must be a whole number"
    if number < 0:
        return "must not be negative"
    return None


def _person_problems(person: Mapping[str, Any], default_budget_duration: str | None) -> list[str]:
    problems = ["has an unknown field %s%s" % (field, did_you_mean(str(field), FIELDS)) for field in person if field not in FIELDS]
    usable = {}
    for field, kind in FIELDS.items():
        value = person.get(field)
        if value is None:
            continue
        problem = _type_problem(kind, value)
        if problem:
            problems.append("%s %s." % (field, problem))
        else:
            usable[field] = value
    name = usable.get("name")
    if name is not None and not NAME_PATTERN.fullmatch(name):
        problems.append("name must work as a file name: letters, digits, and . _ - inside, at most 64 characters.")
    if name in RESERVED_NAMES:
        problems.append("name is reserved by the gateway.")
    if "email" in usable and not EMAIL_PATTERN.fullmatch(usable["email"]):
        problems.append("email is no e-mail address.")
    if "state" in usable and usable["state"] not in STATES:
        problems.append("state must be %s, not %s." % (" or ".join(STATES), usable["state"]))
    if "key_generation" in usable and int(float(usable["key_generation"])) < 1:
        problems.append("key_generation must be 1 or more.")
    if "key" in usable:
        problem = key_problem(usable["key"])
        if problem:
            problems.append("key %s." % problem)
    if "max_budget" in usable and person.get("budget_duration") is None and not default_budget_duration:
        problems.append("max_budget needs budget_duration, the period after which it starts anew, such as 30d.")
    if "budget_duration" in usable and "max_budget" in person and person["max_budget"] is None:
        problems.append("budget_duration means nothing without max_budget.")
    return problems


def problems_of(people: Any, default_budget_duration: str | None = None) -> list[str]:
    """Everything that is wrong with a list of people, a sentence each; empty when all is well."""
    if people is None:
        return []
    if not isinstance(people, (list, tuple)):
        return ["must be a list with one entry per person."]
    problems: list[str] = []
    names: dict[str, int] = {}
    emails: dict[str, str] = {}
    keys: dict[str, str] = {}
    for position, person in enumerate(people, start=1):
        if not isinstance(person, Mapping):
            problems.append("entry %d must be a dictionary with at least a name." % position)
            continue
        name = person.get("name")
        if name is None or name == "":
            problems.append("entry %d has no name." % position)
            who = "entry %d" % position
            person = {field: value for field, value in person.items() if field != "name"}
        else:
            who = str(name)
            # Two names that differ in case alone would share a directory on some file systems.
            first = names.setdefault(who.casefold(), position)
            if first != position:
                problems.append("%s: the name is used twice, in entries %d and %d." % (who, first, position))
        problems.extend("%s: %s" % (who, problem) for problem in _person_problems(person, default_budget_duration))
        for field, seen in (("email", emails), ("key", keys)):
            value = person.get(field)
            if isinstance(value, str) and value:
                other = seen.setdefault(value.casefold() if field == "email" else value, who)
                if other != who:
                    problems.append("%s: has the same %s as %s." % (who, "e-mail address" if field == "email" else "key", other))
    return problems


def access_of(people: Iterable[Mapping[str, Any]], root_secret: str, defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the access module wants to know, of the people as an inventory lists them."""
    return [_access_of_one(person, root_secret, defaults) for person in people]


def _access_of_one(person: Mapping[str, Any], root_secret: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    # A limit that a person has as null is a limit taken away, not one that falls back to the default.
    limits = {limit: person[limit] if limit in person else defaults.get(limit) for limit in LIMITS}
    name = str(person["name"])
    generation = int(person.get("key_generation") or 1)
    key = person.get("key") or "sk-" + hkdf.derive_secret(root_secret, "litellm/key/%s/%d" % (name, generation))
    access: dict[str, Any] = {
        "name": name,
        "state": person.get("state") or "present",
        "keys": [
            {
                "alias": "%s-%d" % (name, generation),
                "value": key,
                **{limit: limits[limit] for limit in KEY_LIMITS if limits[limit] is not None},
            }
        ],
    }
    if person.get("email"):
        access["email"] = person["email"]
    if person.get("full_name"):
        access["full_name"] = person["full_name"]
    if limits["max_budget"] is not None:
        access["max_budget"] = limits["max_budget"]
        if limits["budget_duration"] is not None:
            access["budget_duration"] = limits["budget_duration"]
    return access
