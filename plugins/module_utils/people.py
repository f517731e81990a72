# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lists of people and teams in an inventory: what an entry may say, what is wrong with a list, which keys each person has."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timezone
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import hkdf

STATES = ("present", "blocked", "absent")
TEAM_STATES = ("present", "blocked", "absent")
BUDGET = {"max_budget": "number", "budget_duration": "duration"}
RATES = {"rpm_limit": "whole number", "tpm_limit": "whole number"}
PARALLEL = {"max_parallel_requests": "whole number"}
# How much of their requests is recorded, from all to none of it.
RECORDING = {"recording": "recording"}
RECORDINGS = ("everything", "metadata", "nothing")
# What lies in a person's hand-out beside the directories of further keys.
HANDOUT_FILES = ("README.md", "curl.sh", "curlrc", "dotenv", "environment", "key")
# Per person and, under the same names, as defaults for everybody.
LIMITS: dict[str, str] = {**BUDGET, **RATES, **PARALLEL, "models": "list", "key_grace": "grace"}
FIELDS: dict[str, str] = {
    "name": "text",
    "email": "text",
    "full_name": "text",
    "state": "text",
    "teams": "list",
    "expires": "moment",
    "budget": "text",
    "metadata": "dictionary",
    "key_generation": "whole number",
    "key": "text",
    "keys": "keys",
    **LIMITS,
    **RECORDING,
}
KEY_FIELDS: dict[str, str] = {
    "name": "text",
    "generation": "whole number",
    "value": "text",
    "state": "text",
    "expires": "moment",
    "grace": "grace",
    "team": "text",
    "budget": "text",
    "models": "list",
    "metadata": "dictionary",
    **BUDGET,
    **RATES,
    **PARALLEL,
    **RECORDING,
}
TEAM_FIELDS: dict[str, str] = {
    "name": "text",
    "title": "text",
    "state": "text",
    "models": "list",
    "metadata": "dictionary",
    **BUDGET,
    **RATES,
    **RECORDING,
}
BUDGET_STATES = ("present", "absent")
BUDGET_FIELDS: dict[str, str] = {"name": "text", "state": "text", "soft_budget": "number", **BUDGET, **RATES, **PARALLEL}

# What a key has of its person unless it says otherwise.
KEY_LIMITS = ("models", "rpm_limit", "tpm_limit", "max_parallel_requests")
DEFAULT_KEY = "default"

NAME_PATTERN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
EMAIL_PATTERN = re.compile(r"[^@\s]+@[^@\s]+")
GRACE_PATTERN = re.compile(r"([1-9][0-9]*)(s|m|h|d|w)")
GRACE_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.\d+)?\s*([Zz]|[+-]\d\d:?\d\d)?)?")
DURATION_PATTERN = re.compile(r"[1-9][0-9]*(?:s|m|h|d|w|mo)")
# Only characters that need no quoting in a shell, an environment file or a header.
KEY_PATTERN = re.compile(r"sk-[A-Za-z0-9._~+/=-]+")
MINIMUM_KEY_LENGTH = 16
# The gateway keeps its own administrator under this name.
RESERVED_NAMES = ("default_user_id",)


def did_you_mean(word: str, known: Iterable[str], most: int = 1) -> str:
    """The end of a sentence about an unknown word."""
    close = difflib.get_close_matches(word, sorted(known), n=most, cutoff=0.6)
    return "; did you mean %s?" % " or ".join(close) if close else "."


def key_problem(key: str) -> str | None:
    """What is wrong with a key that somebody chose, without quoting it."""
    if not key.startswith("sk-"):
        return "must start with sk-"
    if len(key) < MINIMUM_KEY_LENGTH:
        return "has %d characters, it needs at least %d" % (len(key), MINIMUM_KEY_LENGTH)
    if not KEY_PATTERN.fullmatch(key):
        return "may only have letters, digits and . _ ~ + / = - after sk-"
    return None


def moment_text(value: Any) -> str:
    """A date or a moment of an inventory, which YAML may already have read, as text."""
    return value.isoformat() if isinstance(value, (date, datetime)) else str(value)


def moment(text: Any) -> datetime | None:
    """A time stamp in any of the forms that the gateway uses, or as an operator writes it; a date alone is the end of that day (UTC)."""
    if isinstance(text, datetime):
        return text if text.tzinfo else text.replace(tzinfo=timezone.utc)
    if isinstance(text, date):
        return datetime.combine(text, time(23, 59, 59), timezone.utc)
    if not isinstance(text, str) or not text.strip():
        return None
    found = _MOMENT.fullmatch(text.strip())
    if not found:
        return None
    day, clock, zone = found.groups()
    try:
        if clock is None:
            return moment(date.fromisoformat(day))
        offset = "+00:00" if zone in (None, "Z", "z") else zone if ":" in zone else zone[:3] + ":" + zone[3:]
        return datetime.fromisoformat("%sT%s%s" % (day, clock if clock.count(":") == 2 else clock + ":00", offset))
    except ValueError:
        return None


def seconds_of(grace: Any) -> int:
    """How many seconds a grace period such as 7d has; none for nothing and for 0."""
    found = GRACE_PATTERN.fullmatch(str(grace or ""))
    return int(found.group(1)) * GRACE_SECONDS[found.group(2)] if found else 0


def _type_problem(kind: str, value: Any) -> str | None:
    if kind == "text":
        return None if isinstance(value, str) else "must be text"
    if kind == "list":
        return None if isinstance(value, (list, tuple)) and all(isinstance(entry, str) for entry in value) else "must be a list of names"
    if kind == "keys":
        good = isinstance(value, (list, tuple)) and all(isinstance(entry, Mapping) for entry in value)
        return None if good else "must be a list of dictionaries, each with at least a name"
    if kind == "dictionary":
        return None if isinstance(value, Mapping) else "must be a dictionary"
    if kind == "recording":
        return None if value in RECORDINGS else "must be %s" % " or ".join(RECORDINGS)
    if kind == "duration":
        return None if isinstance(value, str) and DURATION_PATTERN.fullmatch(value) else "must be a period such as 30d, 12h or 1mo"
    if kind == "grace":
        return None if value in ("", "0", 0) or (isinstance(value, str) and GRACE_PATTERN.fullmatch(value)) else "must be a time such as 7d or 12h"
    if kind == "moment":
        return None if moment(value) is not None else "must be a date such as 2027-01-31, or a moment such as 2027-01-31T12:00:00Z"
    return _number_problem(kind, value)


def _number_problem(kind: str, value: Any) -> str | None:
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


def _usable(entry: Mapping[str, Any], fields: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    """The fields of an entry that have the right type; of the others a sentence each."""
    problems.extend("has an unknown field %s%s" % (field, did_you_mean(str(field), fields)) for field in entry if field not in fields)
    usable = {}
    for field, kind in fields.items():
        value = entry.get(field)
        if value is None:
            continue
        problem = _type_problem(kind, value)
        if problem:
            problems.append("%s %s." % (field, problem))
        else:
            usable[field] = value
    return usable


def _common_problems(
    entry: Mapping[str, Any], usable: Mapping[str, Any], states: Iterable[str], default_budget_duration: str | None = None
) -> list[str]:
    problems = []
    name = usable.get("name")
    if name is not None and not NAME_PATTERN.fullmatch(name):
        problems.append("name must work as a file name: letters, digits, and . _ - inside, at most 64 characters.")
    if name in RESERVED_NAMES:
        problems.append("name is reserved by the gateway.")
    if "state" in usable and usable["state"] not in states:
        problems.append("state must be %s, not %s." % (" or ".join(states), usable["state"]))
    for field in ("key_generation", "generation"):
        if field in usable and int(float(usable[field])) < 1:
            problems.append("%s must be 1 or more." % field)
    for field in ("key", "value"):
        problem = key_problem(usable[field]) if field in usable else None
        if problem:
            problems.append("%s %s." % (field, problem))
    no_period = entry.get("budget_duration") is None and ("budget_duration" in entry or not default_budget_duration)
    if "max_budget" not in entry and "budget_duration" in entry and no_period and default_budget_duration:
        problems.append("budget_duration is null, but the default max_budget needs it; give max_budget as null, too, for no budget.")
    if "max_budget" in usable and no_period:
        problems.append("max_budget needs budget_duration, the period after which it starts anew, such as 30d.")
    if "budget_duration" in usable and "max_budget" in entry and entry["max_budget"] is None:
        problems.append("budget_duration means nothing without max_budget.")
    return problems


class _Known:
    """What the other lists of an inventory have; None where nobody said."""

    def __init__(self, teams: Any, budgets: Any, models: Any) -> None:
        self.names = {"team": self._states(teams), "budget": self._states(budgets)}
        self.models = set(models) if models else None

    @staticmethod
    def _states(entries: Any) -> dict[str, str] | None:
        if not isinstance(entries, (list, tuple)):
            return None
        named = [entry for entry in entries if isinstance(entry, Mapping) and isinstance(entry.get("name"), str)]
        return {entry["name"]: str(entry.get("state") or "present") for entry in named}

    def problems(self, kind: str, names: Iterable[Any]) -> list[str]:
        """Names that no list has, and names of what is to be removed."""
        known = self.names[kind]
        problems = []
        for name in names:
            if known is not None and name not in known:
                problems.append("there is no %s %s%s" % (kind, name, did_you_mean(str(name), known)))
            elif known is not None and known[name] == "absent":
                problems.append("the %s %s is absent." % (kind, name))
        return problems

    def model_problems(self, models: Iterable[str]) -> list[str]:
        """Models that the gateway does not have."""
        if self.models is None:
            return []
        return ["there is no model %s%s" % (name, did_you_mean(name, self.models)) for name in models if name not in self.models]


def _person_problems(person: Mapping[str, Any], default_budget_duration: str | None, known: _Known) -> list[str]:
    problems: list[str] = []
    usable = _usable(person, FIELDS, problems)
    problems += _common_problems(person, usable, STATES, default_budget_duration)
    if "email" in usable and not EMAIL_PATTERN.fullmatch(usable["email"]):
        problems.append("email is no e-mail address.")
    teams = list(usable.get("teams") or [])
    if len(set(teams)) < len(teams):
        problems.append("teams names a team twice.")
    if usable.get("state") != "absent":
        problems += known.problems("team", dict.fromkeys(teams))
        problems += known.problems("budget", [usable["budget"]] if usable.get("budget") else [])
        problems += known.model_problems(usable.get("models") or [])
    if "keys" in usable:
        for field in ("key", "key_generation"):
            if person.get(field) is not None:
                problems.append("%s and keys cannot both be given; each of the keys has its own %s." % (field, "value" if field == "key" else "generation"))
        problems += _keys_problems(usable["keys"], teams, usable.get("state"), known)
    return problems


def _keys_problems(keys: Iterable[Mapping[str, Any]], teams: list[str], person_state: Any, known: _Known) -> list[str]:
    problems = []
    names: set[str] = set()
    for position, key in enumerate(keys, start=1):
        own: list[str] = []
        name = key.get("name")
        label = "key %s" % (name if isinstance(name, str) and name else position)
        if name is None or name == "":
            own.append("has no name.")
        if str(name) in HANDOUT_FILES:
            own.append("a key cannot be named so, for a file of the hand-out has that name.")
        usable = _usable(key, KEY_FIELDS, own)
        own += _common_problems(key, usable, STATES)
        if isinstance(name, str) and name.casefold() in names:
            own.append("the name is used twice.")
        names.add(str(name).casefold())
        if person_state != "absent" and usable.get("state") != "absent":
            if usable.get("team") and usable["team"] not in teams:
                own.append("team %s is none of the person's teams." % usable["team"])
            own += known.problems("budget", [usable["budget"]] if usable.get("budget") else [])
            own += known.model_problems(usable.get("models") or [])
        problems += ["%s: %s" % (label, problem) for problem in own]
    return problems


def _list_problems(entries: Any, kind: str, check: Any) -> list[str]:
    """What is wrong with a list of named entries and with each of them."""
    if entries is None:
        return []
    if not isinstance(entries, (list, tuple)):
        return ["must be a list with one entry per %s." % kind]
    problems: list[str] = []
    names: dict[str, int] = {}
    for position, entry in enumerate(entries, start=1):
        if not isinstance(entry, Mapping):
            problems.append("entry %d must be a dictionary with at least a name." % position)
            continue
        name = entry.get("name")
        if name is None or name == "":
            problems.append("entry %d has no name." % position)
            who = "entry %d" % position
            entry = {field: value for field, value in entry.items() if field != "name"}
        else:
            who = str(name)
            # Two names that differ in case alone would share a directory on some file systems.
            first = names.setdefault(who.casefold(), position)
            if first != position:
                problems.append("%s: the name is used twice, in entries %d and %d." % (who, first, position))
        problems.extend("%s: %s" % (who, problem) for problem in check(who, entry))
    return problems


def problems_of(
    people: Any, default_budget_duration: str | None = None, teams: Any = None, budgets: Any = None, models: Iterable[str] | None = None
) -> list[str]:
    """Everything that is wrong with a list of people, a sentence each; empty when all is well.

    Names of teams, budgets and models are looked up in the lists that are given, and believed where none is.
    """
    known = _Known(teams, budgets, models)
    emails: dict[str, str] = {}
    keys: dict[str, str] = {}

    def check(who: str, person: Mapping[str, Any]) -> list[str]:
        problems = _person_problems(person, default_budget_duration, known)
        listed = person.get("keys") if isinstance(person.get("keys"), (list, tuple)) else []
        values = [person.get("key"), *(key.get("value") for key in listed or [] if isinstance(key, Mapping))]
        email = person.get("email")
        for kind, value, seen in [
            # Somebody who goes on under another name has the address that the absent name had.
            ("e-mail address", email.casefold() if isinstance(email, str) and person.get("state") != "absent" else None, emails),
            *(("key", value, keys) for value in values),
        ]:
            if isinstance(value, str) and value:
                other = seen.setdefault(value, who)
                if other != who:
                    problems.append("has the same %s as %s." % (kind, other))
        own = [value for value in values if isinstance(value, str) and value]
        if len(set(own)) < len(own):
            problems.append("has the same key twice.")
        return problems

    return _list_problems(people, "person", check)


def team_problems(teams: Any, models: Iterable[str] | None = None) -> list[str]:
    """Everything that is wrong with a list of teams, a sentence each."""
    known = _Known(None, None, models)

    def check(_who: str, team: Mapping[str, Any]) -> list[str]:
        problems: list[str] = []
        usable = _usable(team, TEAM_FIELDS, problems)
        return problems + _common_problems(team, usable, TEAM_STATES) + known.model_problems(usable.get("models") or [])

    return _list_problems(teams, "team", check)


def budget_problems(budgets: Any) -> list[str]:
    """Everything that is wrong with a list of shared budgets, a sentence each."""

    def check(_who: str, budget: Mapping[str, Any]) -> list[str]:
        problems: list[str] = []
        return problems + _common_problems(budget, _usable(budget, BUDGET_FIELDS, problems), BUDGET_STATES)

    return _list_problems(budgets, "budget", check)


def default_problems(defaults: Mapping[str, Any], models: Iterable[str] | None = None) -> list[str]:
    """Everything that is wrong with what people have who do not have their own, a sentence each."""
    problems: list[str] = []
    given = {name: value for name, value in defaults.items() if value not in (None, "", [])}
    usable = _usable(given, LIMITS, problems)
    problems += _common_problems(given, usable, STATES) + _Known(None, None, models).model_problems(usable.get("models") or [])
    return ["The default for people who do not have their own: %s" % problem for problem in problems]


def only_of(people: Sequence[Mapping[str, Any]], names: Collection[str]) -> Sequence[Mapping[str, Any]]:
    """The people with these names; everybody when no name is given."""
    return [person for person in people if person["name"] in names] if names else people


def unknown_name_problems(names: Iterable[str], people: Any) -> list[str]:
    """Names asked for that nobody in the list has, a sentence each with the near ones."""
    listed = [str(person.get("name") or "") for person in people or [] if isinstance(person, Mapping)] if isinstance(people, (list, tuple)) else []
    known = set(listed)
    return ["nobody in the list is called %s%s" % (name, did_you_mean(name, known, most=3)) for name in names if name not in known]


def access_of(people: Iterable[Mapping[str, Any]], root_secret: str, defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the access module wants to know, of the people as an inventory lists them."""
    return [_access_of_one(person, root_secret, defaults) for person in people]


def _derived(root_secret: str, name: str, key_name: str, generation: int) -> str:
    # A person's only key has no name in its label: the same key whether or not the person has further ones.
    place = name if key_name == DEFAULT_KEY else "%s/%s" % (name, key_name)
    return "sk-" + hkdf.derive_secret(root_secret, "litellm/key/%s/%d" % (place, generation))


def _alias(name: str, key_name: str, generation: int) -> str:
    # No name has a slash, so a person called ada-ci and a key ci of ada cannot meet.
    return "%s-%d" % (name if key_name == DEFAULT_KEY else "%s/%s" % (name, key_name), generation)


def _access_of_one(person: Mapping[str, Any], root_secret: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    # A limit that a person has as null is a limit taken away, not one that falls back to the default.
    limits = {limit: person[limit] if limit in person else defaults.get(limit) for limit in LIMITS}
    name = str(person["name"])
    teams = [str(team) for team in person.get("teams") or []]
    budget = {field: limits[field] for field in BUDGET if limits["max_budget"] is not None and limits[field] is not None}
    listed = person.get("keys")
    if listed is None:
        listed = [{"name": DEFAULT_KEY, "generation": person.get("key_generation"), "value": person.get("key")}]
    access: dict[str, Any] = {
        "name": name,
        "full_name": person.get("full_name") or "",
        "email": person.get("email") or "",
        "state": person.get("state") or "present",
        "team": teams[0] if teams else "",
        # The gateway counts a person's own budget for keys without a team only: in a team it has to be said there.
        "teams": [{"name": team, **budget} for team in teams],
        "keys": [key for entry in listed for key in _keys_of_one(person, entry, limits, teams, root_secret)],
        **budget,
        **{field: limits[field] for field in RATES if limits[field] is not None},
    }
    if person.get("metadata"):
        access["metadata"] = person["metadata"]
    return access


def _keys_of_one(
    person: Mapping[str, Any], entry: Mapping[str, Any], limits: Mapping[str, Any], teams: list[str], root_secret: str
) -> list[dict[str, Any]]:
    """A key of the inventory, and its predecessor while that one may still work."""
    name, key_name = str(person["name"]), str(entry["name"])
    generation = int(entry.get("generation") or 1)
    grace = seconds_of(entry["grace"] if "grace" in entry else limits["key_grace"])
    common: dict[str, Any] = {"name": key_name, "state": entry.get("state") or "present"}
    own_limits = {limit: entry[limit] if limit in entry else limits[limit] for limit in KEY_LIMITS}
    own_limits.update({field: entry.get(field) for field in BUDGET})
    common.update({limit: value for limit, value in own_limits.items() if value is not None})
    for field, fallback in (("team", teams[0] if teams else None), ("budget", person.get("budget"))):
        if entry.get(field) or fallback:
            common[field] = entry.get(field) or fallback
    # Kept with the key, where the gateway's recorder finds it and no request can change it.
    recording = entry.get("recording") or person.get("recording")
    if entry.get("metadata") or recording:
        common["metadata"] = {**(entry.get("metadata") or {}), **({"recording": recording} if recording else {})}
    expires = entry["expires"] if "expires" in entry else person.get("expires")
    if expires is not None:
        common["expires"] = moment_text(expires)
    own = entry.get("value")
    value = own or _derived(root_secret, name, key_name, generation)
    key = {"alias": _alias(name, key_name, generation), "value": value, "generation": generation, **common}
    if grace and (own or generation == 1):
        key["grace_seconds"] = grace
    keys = [key]
    if grace and not own and generation > 1:
        old = generation - 1
        value = _derived(root_secret, name, key_name, old)
        keys.append({"alias": _alias(name, key_name, old), "value": value, **common, "retiring": True, "grace_seconds": grace})
    return keys
