# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wanted of a LiteLLM gateway, what was found there, and when the two are the same.

A field that was once set here and no longer is, is cleared; one that was never set here belongs to the server (its own defaults are no
drift). For that each object carries, in its metadata, who made it and which fields were set. Budgets have no metadata: they are
only ever removed by name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.litellm_client import key_hash
from ansible_collections.private_llm.platform.plugins.module_utils.people import MINIMUM_KEY_LENGTH, moment

MANAGER = "private_llm.platform"
# What a module for one object marks: the module with the whole list does not take it for its own.
SINGLE_MANAGER = MANAGER + "/single"
MANAGED_BY = "managed_by"
MANAGED_FIELDS = "managed_fields"
# A user's: the teams that the user was put in here, each with the limits set there.
MANAGED_TEAMS = "managed_teams"
# A key's: its short name, and for one that a successor replaced the moment when that happened, which starts its grace period.
MANAGED_KEY = "managed_key"
RETIRED_AT = "retired_at"
RETIRING_SUFFIX = "/retiring"
# A key's: it was blocked because its user was.
BLOCKED_WITH_USER = "blocked_with_user"
# A key's: the end that the list gave it. The gateway's own one is off by however long a call took.
MANAGED_EXPIRES = "managed_expires"
# A user's: the highest generation that each key ever had; the row outlives the keys.
MANAGED_GENERATIONS = "managed_generations"
# A user's: when the login to the web page was ended.
LOGIN_ENDED = "login_ended"
# A row of the gateway's own that owns what the master key makes, and is a member of each team.
GATEWAY_USER = "default_user_id"
# What everybody has: otherwise a person's key could make further keys, without limits and outliving this one.
ALLOWED_ROUTES = ("llm_api_routes",)
USER_ROLE = "internal_user_viewer"
# The gateway drops an empty list of a user's models without a word; this name stands for all of them.
ALL_MODELS = "all-proxy-models"
# Seconds by which the gateway's end of a key may differ from the one it was given: it counts a duration from when it gets to the call,
# which on a busy gateway is as late as the longest time to wait for an answer. Another end in the list is noticed by MANAGED_EXPIRES.
EXPIRY_TOLERANCE = 120
# In a step's fields, what only the moment of the call can say: the moment until which a key lives, and a password that nobody knows.
UNTIL = "until"
UNKNOWN_PASSWORD = "a password that nobody knows"  # noqa: S105
# What a role may do in the gateway's web page, the least first.
ROLES = ("internal_user_viewer", "internal_user", "proxy_admin_viewer", "proxy_admin")

BUDGET_FIELDS = ("max_budget", "soft_budget", "budget_duration", "rpm_limit", "tpm_limit", "max_parallel_requests")
TEAM_FIELDS = ("team_alias", "models", "max_budget", "budget_duration", "rpm_limit", "tpm_limit")
USER_FIELDS = ("user_email", "user_alias", "user_role", "models", "max_budget", "budget_duration", "rpm_limit", "tpm_limit")
MEMBER_FIELDS = ("max_budget", "budget_duration")
KEY_FIELDS = (
    "key_alias user_id team_id budget_id allowed_routes models max_budget budget_duration rpm_limit tpm_limit max_parallel_requests"
).split()
# How a field is emptied where null does nothing.
EMPTY = {"models": [], "allowed_routes": [], "user_email": "", "user_alias": ""}


@dataclass
class Budget:
    """Limits that several keys share by name."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    state: str = "present"


@dataclass
class Team:
    """A team and its limits."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    state: str = "present"


@dataclass
class User:
    """A person; an absent one loses keys and teams while the row with the spend stays, unless it is to be purged."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    state: str = "present"
    purge: bool = False
    # For a user alone: whether blocking reaches the keys, and whether the teams that are named are all of them.
    owns_keys: bool = False
    owns_teams: bool = False


@dataclass
class Membership:
    """A person's place in a team."""

    team: str
    user: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass
class Key:
    """A key; its person is who it is reported under. A retiring one is never made, only brought to its end."""

    alias: str
    value: str
    person: str
    name: str = "default"
    fields: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    state: str = "present"
    expires: datetime | None = None
    #: an expiry that was given and is no moment
    unreadable: str = ""
    grace: int = 0
    retiring: bool = False
    #: how often the key was rotated, counted from 1; None where nobody counts
    generation: int | None = None
    # For a key alone: whatever has its alias is the key, or the one before it.
    owns_alias: bool = False

    @property
    def token(self) -> str:
        """What the gateway calls the key; nothing for one that is known by its alias alone."""
        return key_hash(self.value) if self.value else ""


@dataclass
class Wanted:
    """The state to reach.

    `closed` names people whose keys and teams are all listed: others that were made here are removed. `whole` says that this is everything
    there is to know, so that all else at the gateway is reported, and with `purge` removed if it was made here.
    """

    budgets: list[Budget] = field(default_factory=list)
    teams: list[Team] = field(default_factory=list)
    users: list[User] = field(default_factory=list)
    memberships: list[Membership] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)
    whole: bool = False
    purge: bool = False
    #: take objects over that belong to the other manager
    take_over: bool = False
    manager: str = MANAGER

    def part(self, names: Iterable[str]) -> Wanted:
        """Only what these people need, with their teams and budgets."""
        chosen = set(names)
        keys = [key for key in self.keys if key.person in chosen]
        memberships = [membership for membership in self.memberships if membership.user in chosen]
        teams = {membership.team for membership in memberships} | {key.fields.get("team_id") for key in keys}
        budgets = {key.fields.get("budget_id") for key in keys}
        return Wanted(
            [budget for budget in self.budgets if budget.name in budgets],
            [team for team in self.teams if team.name in teams],
            [user for user in self.users if user.name in chosen],
            memberships,
            keys,
            self.closed & chosen,
            take_over=self.take_over,
            manager=self.manager,
        )


@dataclass
class Found:
    """What the gateway has, each by its own name; with `whole` it is all there is."""

    budgets: dict[str, dict[str, Any]] = field(default_factory=dict)
    teams: dict[str, dict[str, Any]] = field(default_factory=dict)
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    # What members may spend, by team and user; only read where somebody wants to know.
    members: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    now: float = 0.0


_KEPT = {
    "budget": ("budget_id", *BUDGET_FIELDS),
    "team": ("team_id", *TEAM_FIELDS, "metadata", "members_with_roles", "blocked"),
    "user": ("user_id", *USER_FIELDS, "metadata", "teams", "password_reset_required"),
    "key": ("token", *KEY_FIELDS, "metadata", "blocked", "expires", "created_at"),
    "member": ("team_id", "user_id", *MEMBER_FIELDS),
}


def slim(kind: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a row that matters here: ten thousand whole ones would fill the memory of a small host."""
    return {name: row[name] for name in _KEPT[kind] if row.get(name) not in (None, [], {})}


def slim_team(row: Mapping[str, Any]) -> dict[str, Any]:
    """A team with the bare names of its members."""
    kept = slim("team", row)
    kept["members_with_roles"] = {str(member.get("user_id")) for member in row.get("members_with_roles") or [] if isinstance(member, dict)}
    return kept


def slim_member(row: Mapping[str, Any]) -> dict[str, Any]:
    """A membership with the limits that lie in a budget of its own."""
    limits = row.get("litellm_budget_table") or {}
    return slim("member", {**row, **{name: limits.get(name) for name in MEMBER_FIELDS}})


def same(found: Any, wanted: Any) -> bool:
    """Equal as the gateway means it: 60 is 60.0, a float may have lost its last digit, the order of models says nothing."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, (int, float)) and isinstance(wanted, (int, float)):
        return math.isclose(found, wanted, rel_tol=1e-9)
    if (
        isinstance(found, (list, tuple))
        and isinstance(wanted, (list, tuple))
        and all(isinstance(entry, str) for entry in (*found, *wanted))
    ):
        return sorted(found) == sorted(wanted)
    return bool(found == wanted)


def is_set(value: Any) -> bool:
    """Whether a value says something; the gateway shows what is not set in several ways."""
    return value is not None and value != [] and value != "" and value != ()


def metadata_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a found object."""
    metadata = row.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def is_ours(row: Mapping[str, Any]) -> bool:
    """Whether the object was once made out of a whole list."""
    return metadata_of(row).get(MANAGED_BY) == MANAGER


def is_marked(row: Mapping[str, Any]) -> bool:
    """Whether the object was once made by any module of this collection."""
    return metadata_of(row).get(MANAGED_BY) in (MANAGER, SINGLE_MANAGER)


def once_set(row: Mapping[str, Any]) -> set[str]:
    """The fields that were set here."""
    recorded = metadata_of(row).get(MANAGED_FIELDS)
    return set(recorded.split(",")) - {""} if is_marked(row) and isinstance(recorded, str) else set()


def managed_teams(row: Mapping[str, Any]) -> dict[str, str]:
    """The teams that a user was put in here."""
    recorded = metadata_of(row).get(MANAGED_TEAMS)
    return {str(name): str(fields) for name, fields in recorded.items()} if is_marked(row) and isinstance(recorded, dict) else {}


def wanted_metadata(manager: str, set_fields: Iterable[str], own: Mapping[str, Any], **marks: Any) -> dict[str, Any]:
    """The metadata of an object made here: the operator's own facts, and the mark."""
    given = {name: value for name, value in marks.items() if value not in (None, {})}
    fields = sorted([*set_fields, *("metadata.%s" % name for name in [*own, *given])])
    return {**own, **given, MANAGED_BY: manager, MANAGED_FIELDS: ",".join(fields)}


def merged_metadata(found: Mapping[str, Any], wanted: Mapping[str, Any], never: Iterable[str] = ()) -> dict[str, Any] | None:
    """The whole metadata to send, with what others wrote there kept and what is never to stay dropped; None when nothing differs."""
    metadata = metadata_of(found)
    dropped = ({entry[len("metadata.") :] for entry in once_set(found) if entry.startswith("metadata.")} | set(never)) - set(wanted)
    merged = {name: value for name, value in metadata.items() if name not in dropped}
    merged.update(wanted)
    if all(name in metadata and same(metadata[name], value) for name, value in wanted.items()) and not dropped & set(metadata):
        return None
    return merged


def changes_of(
    found: Mapping[str, Any], wanted: Mapping[str, Any], fields: Iterable[str], recorded: set[str] | None = None
) -> dict[str, Any]:
    """Fields to send: wanted ones that differ, and an explicit nothing for those that were set once and no longer are."""
    once = once_set(found) if recorded is None else recorded
    changes: dict[str, Any] = {}
    for name in fields:
        value = wanted.get(name)
        if is_set(value):
            if not same(found.get(name), value):
                changes[name] = value
        elif name in once and is_set(found.get(name)):
            changes[name] = EMPTY.get(name)
    return changes


def lowers(name: str, found: Any, wanted: Any) -> bool:
    """Whether a change takes something away: fewer requests, less money, fewer models, an earlier end, a lesser role."""
    if name == "blocked":
        return bool(wanted) and not found
    if not is_set(wanted):
        return False
    if name == "expires":
        end, asked = moment(found), moment(wanted)
        return asked is not None and (end is None or asked < end)
    if name == "user_role":
        return found in ROLES and wanted in ROLES and ROLES.index(wanted) < ROLES.index(found)
    if isinstance(wanted, (list, tuple)):
        return not found or bool(set(found) - set(wanted))
    if isinstance(wanted, (int, float)):
        return not isinstance(found, (int, float)) or (wanted < found and not same(found, wanted))
    return False


def written(when: datetime) -> str:
    """A moment as it is shown and recorded."""
    return when.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def key_label(row: Mapping[str, Any]) -> str:
    """How a found key is called: by its alias; one without is described, for its hash is nobody's business."""
    return str(row.get("key_alias") or "without alias, made %s" % str(row.get("created_at") or "long ago")[:19])


# -- from a module's parameters -----------------------------------------------


def _limits(source: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: source[name] for name in names if is_set(source.get(name))}


def wanted_of(
    users: Iterable[Mapping[str, Any]],
    teams: Iterable[Mapping[str, Any]] = (),
    budgets: Iterable[Mapping[str, Any]] = (),
    purge: bool = False,
    take_over: bool = False,
) -> Wanted:
    """The whole wanted state out of the lists of M(private_llm.platform.litellm_access)."""
    wanted = Wanted(whole=True, purge=purge, take_over=take_over)
    wanted.budgets = [budget_of(budget) for budget in budgets]
    wanted.teams = [team_of(team) for team in teams]
    for person in users:
        name = str(person["name"])
        wanted.closed.add(name)
        wanted.users.append(user_of(person))
        if (person.get("state") or "present") != "absent":
            for place in person.get("teams") or []:
                wanted.memberships.append(membership_of(place, name))
        for key in person.get("keys") or []:
            wanted.keys.append(key_of(key, name, person.get("state") or "present"))
    return wanted


def budget_of(budget: Mapping[str, Any]) -> Budget:
    """A budget out of a module's parameters."""
    return Budget(str(budget["name"]), _limits(budget, BUDGET_FIELDS), budget.get("state") or "present")


def membership_of(place: Mapping[str, Any], user: str) -> Membership:
    """A place in a team out of a module's parameters."""
    return Membership(str(place["name"]), user, _limits(place, MEMBER_FIELDS))


def team_of(team: Mapping[str, Any]) -> Team:
    """A team out of a module's parameters."""
    fields = {**_limits(team, TEAM_FIELDS), "team_alias": team.get("title") or team["name"]}
    recording = {"recording": team["recording"]} if team.get("recording") else {}
    return Team(str(team["name"]), fields, {**(team.get("metadata") or {}), **recording}, team.get("state") or "present")


def user_of(person: Mapping[str, Any]) -> User:
    """A user out of a module's parameters."""
    fields = _limits(person, USER_FIELDS)
    fields.update({row: person[name] for row, name in (("user_email", "email"), ("user_alias", "full_name")) if person.get(name)})
    fields["user_role"] = person.get("role") or USER_ROLE
    return User(str(person["name"]), fields, dict(person.get("metadata") or {}), person.get("state") or "present")


def key_of(key: Mapping[str, Any], person: str, person_state: str = "present") -> Key:
    """A key out of a module's parameters."""
    fields = _limits(key, KEY_FIELDS)
    fields.update(key_alias=key["alias"], allowed_routes=list(key.get("allowed_routes") or ALLOWED_ROUTES))
    for row, name in (("team_id", "team"), ("budget_id", "budget")):
        if key.get(name):
            fields[row] = key[name]
    if person:
        fields["user_id"] = person
    state = key.get("state") or "present"
    if person_state == "absent" or (person_state == "blocked" and state == "present"):
        state = person_state
    return Key(
        alias=str(key["alias"]),
        value=str(key.get("value") or ""),
        person=person,
        name=str(key.get("name") or "default"),
        fields=fields,
        metadata=dict(key.get("metadata") or {}),
        state=state,
        expires=moment(key.get("expires")),
        unreadable=str(key["expires"]) if key.get("expires") and moment(key["expires"]) is None else "",
        grace=int(key.get("grace_seconds") or 0),
        retiring=bool(key.get("retiring")),
        generation=key.get("generation"),
    )


def problems_of(wanted: Wanted) -> list[str]:
    """What is wrong with the wanted state in itself, a sentence each."""
    problems: list[str] = []
    seen: dict[tuple[str, str], str] = {}

    def once(kind: str, value: str | None, owner: str) -> None:
        if value and seen.setdefault((kind, value), owner) != owner:
            problems.append("%s: has the same %s as %s." % (owner, kind, seen[kind, value]))

    problems += ["%s: expires '%s' is no date or moment." % (key.alias, key.unreadable) for key in wanted.keys if key.unreadable]
    listed = [("budget", budget.name) for budget in wanted.budgets] + [("team", team.name) for team in wanted.teams]
    problems += ["%s %s: is in the list twice." % entry for entry, times in Counter(listed).items() if times > 1]
    people: set[str] = set()
    for user in wanted.users:
        if user.name in people:
            problems.append("%s: is in the list twice." % user.name)
            continue
        people.add(user.name)
        if user.name == GATEWAY_USER:
            problems.append("%s: is the gateway's own administrator." % user.name)
        if user.state != "absent":
            # Somebody who goes on under another name has the address that the absent name had.
            once("e-mail address", str(user.fields.get("user_email") or "").casefold(), user.name)
    limits = [(entry.name, entry.fields) for entry in wanted.budgets] + [(entry.name, entry.fields) for entry in wanted.teams]
    for name, fields in [*limits, *((user.name, user.fields) for user in wanted.users)]:
        if fields.get("budget_duration") and fields.get("max_budget") is None:
            problems.append("%s: budget_duration means nothing without max_budget." % name)
    budgets = {budget.name: budget.state for budget in wanted.budgets}
    teams = {team.name: team.state for team in wanted.teams}
    places = {(place.team, place.user) for place in wanted.memberships}
    if len(places) != len(wanted.memberships):
        problems.append("Somebody is in the same team twice.")
    for membership in wanted.memberships:
        if teams.get(membership.team) == "absent":
            problems.append("%s: is in team %s, which is absent." % (membership.user, membership.team))
    problems += _key_problems(wanted, budgets, places) + _team_limit_problems(wanted)
    for key in wanted.keys:
        once("key alias", key.alias, key.person)
        once("key value", key.value, key.person)
    return problems


def _team_limit_problems(wanted: Wanted) -> list[str]:
    """The gateway lets no key into a team that may do more in a minute than the team, once the key has a limit of tokens."""
    teams = {team.name: team.fields for team in wanted.teams}
    problems = []
    for key in wanted.keys:
        for name in ("rpm_limit", "tpm_limit"):
            own, most = key.fields.get(name), teams.get(str(key.fields.get("team_id")), {}).get(name)
            limited = key.fields.get("tpm_limit") is not None and key.state != "absent"
            if limited and own is not None and most is not None and own > most:
                sentence = "%s: %s %s of key %s is more than the %s of its team %s."
                problems.append(sentence % (key.person or "key", name, own, key.alias, most, key.fields["team_id"]))
    return problems


def _key_problems(wanted: Wanted, budgets: Mapping[str, str], places: set[tuple[str, str]]) -> list[str]:
    problems = []
    seen: set[tuple[str, str]] = set()
    twice = {name for name, times in Counter(user.name for user in wanted.users).items() if times > 1}
    for key in wanted.keys:
        owner = key.person or "key"
        if key.value == "" and key.owns_alias and key.state == "absent":
            continue
        if not key.value.startswith("sk-") or len(key.value) < MINIMUM_KEY_LENGTH:
            problems.append("%s: the value of key %s must start with sk- and have at least 16 characters." % (owner, key.alias))
        if (key.person, key.alias) in seen and key.person not in twice:
            problems.append("%s: has two keys with the alias %s." % (owner, key.alias))
        seen.add((key.person, key.alias))
        if key.fields.get("budget_duration") and key.fields.get("max_budget") is None:
            problems.append("%s: budget_duration of key %s means nothing without max_budget." % (owner, key.alias))
        team = key.fields.get("team_id")
        if team and key.state != "absent" and key.person in wanted.closed and (team, key.person) not in places:
            problems.append("%s: key %s counts for team %s, which the person is not in." % (owner, key.alias, team))
        if budgets.get(str(key.fields.get("budget_id"))) == "absent" and key.state != "absent":
            problems.append("%s: key %s has the budget %s, which is absent." % (owner, key.alias, key.fields["budget_id"]))
    return problems
