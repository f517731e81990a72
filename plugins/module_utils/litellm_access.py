# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may use the gateway: wanted people and keys + found people and keys -> the calls that lead from one to the other.

Nothing here speaks to a gateway, so every rule can be tested by itself. A field that the inventory once set and no longer sets is
cleared; one that it never set belongs to the server (its own defaults are no drift). For that each object carries, in its metadata,
who made it and which fields were set.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.litellm_client import key_hash

MANAGER = "private_llm.platform"
MANAGED_BY = "managed_by"
MANAGED_FIELDS = "managed_fields"
# A row of the gateway's own that owns what the master key makes.
GATEWAY_USER = "default_user_id"
DELETE_BATCH = 100
# What everybody has: otherwise a person's key could make further keys, without limits and outliving this one.
ALLOWED_ROUTES = ["llm_api_routes"]
USER_ROLE = "internal_user_viewer"

KEY_FIELDS = ("allowed_routes", "models", "max_budget", "budget_duration", "rpm_limit", "tpm_limit", "max_parallel_requests")
USER_FIELDS = ("user_role", "max_budget", "budget_duration")
# The gateway cannot clear these (it drops an empty value without a word): they are set, and left once they are no longer named.
USER_NAMES = {"user_email": "email", "user_alias": "full_name"}


@dataclass
class Step:
    """One call, and what it means for a person."""

    path: str
    fields: dict[str, Any]
    person: str
    subject: str
    sentence: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    tokens: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """All that has to be done, in the order in which it is done: access is taken away before any is given."""

    steps: list[Step] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unknown: list[dict[str, Any]] = field(default_factory=list)
    people: list[dict[str, Any]] = field(default_factory=list)

    def diff(self) -> dict[str, Any]:
        """Old and new values of each object that changes, keys by their alias."""
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        for step in self.steps:
            if step.before is not None:
                before.setdefault(step.person, {})[step.subject] = step.before
            if step.after is not None:
                after.setdefault(step.person, {})[step.subject] = step.after
        return {"before": before, "after": after, "before_header": "the gateway now", "after_header": "the gateway as wanted"}

    def calls(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """The calls of all steps; neighbouring deletions go together."""
        batch: list[str] = []
        for step in self.steps:
            if step.path == "/key/delete":
                batch.extend(step.tokens)
                continue
            yield from _deletions(batch)
            batch = []
            yield step.path, step.fields
        yield from _deletions(batch)


def _deletions(tokens: list[str]) -> Iterable[tuple[str, dict[str, Any]]]:
    for start in range(0, len(tokens), DELETE_BATCH):
        yield "/key/delete", {"keys": tokens[start : start + DELETE_BATCH]}


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


def is_ours(row: Mapping[str, Any]) -> bool:
    """Whether this module once made the object."""
    return _metadata(row).get(MANAGED_BY) == MANAGER


def key_name(row: Mapping[str, Any]) -> str:
    """How a found key is called: by its alias, or by the start of its hash."""
    return str(row.get("key_alias") or "sha256:%s" % str(row.get("token"))[:12])


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    metadata = row.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _once_set(row: Mapping[str, Any]) -> set[str]:
    recorded = _metadata(row).get(MANAGED_FIELDS)
    return set(recorded.split(",")) - {""} if is_ours(row) and isinstance(recorded, str) else set()


def _is_set(value: Any) -> bool:
    return value is not None and value != []


def _wanted_metadata(set_fields: Iterable[str], own: Mapping[str, Any]) -> dict[str, Any]:
    fields = sorted([*set_fields, *("metadata.%s" % name for name in own)])
    return {**own, MANAGED_BY: MANAGER, MANAGED_FIELDS: ",".join(fields)}


def _merged_metadata(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The whole metadata to send, with what others wrote there kept; None when nothing differs."""
    metadata = _metadata(found)
    dropped = {entry[len("metadata.") :] for entry in _once_set(found) if entry.startswith("metadata.")} - set(wanted)
    merged = {name: value for name, value in metadata.items() if name not in dropped}
    merged.update(wanted)
    if all(name in metadata and same(metadata[name], value) for name, value in wanted.items()) and not dropped & set(metadata):
        return None
    return merged


def _changes(found: Mapping[str, Any], wanted: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """Fields to send: wanted ones that differ, and an explicit null (or empty list) for those that were set once and no longer are."""
    once_set = _once_set(found)
    changes: dict[str, Any] = {}
    for name in fields:
        value = wanted.get(name)
        if _is_set(value):
            if not same(found.get(name), value):
                changes[name] = value
        elif name in once_set and _is_set(found.get(name)):
            changes[name] = [] if name == "models" else None
    return changes


def _shown(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in fields.items() if name not in ("key", "metadata", "user_id", "auto_create_key") and _is_set(value)
    }


def _described(changes: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    parts = []
    for name, value in sorted(changes.items()):
        if name not in ("metadata", "key"):
            parts.append("%s %s -> %s" % (name, _short(found.get(name)), _short(value)))
    return ", ".join(parts) or "marked as managed"


def _short(value: Any) -> str:
    if not _is_set(value):
        return "none"
    return " ".join(value) if isinstance(value, list) else str(value)


class _Planner:
    def __init__(self, wanted: list[dict[str, Any]], users: list[dict[str, Any]], keys: list[dict[str, Any]]) -> None:
        self.wanted = wanted
        self.users = {str(row["user_id"]): row for row in users}
        self.keys = {str(row["token"]): row for row in keys}
        self.keys_of: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in keys:
            self.keys_of[str(row.get("user_id"))].append(row)
        self.names = {str(person["name"]) for person in wanted}
        self.tokens = {key_hash(key["value"]): str(person["name"]) for person in wanted for key in person["keys"]}
        self.plan = Plan()
        self.take_away: list[Step] = []
        self.user_steps: list[Step] = []
        self.key_changes: list[Step] = []
        self.new_keys: list[Step] = []
        self.deleted: set[str] = set()

    def run(self) -> Plan:
        for person in self.wanted:
            if person["state"] == "absent":
                self._leave(person)
            else:
                self._user(person)
                self._keys(person)
            self._foreign_keys(person)
        self._unknown()
        self._alias_conflicts()
        self.plan.steps = self.take_away + self.user_steps + self.key_changes + self.new_keys
        changes: dict[str, list[str]] = defaultdict(list)
        for step in self.plan.steps:
            changes[step.person].append(step.sentence)
        self.plan.people = [
            {"name": person["name"], "state": person["state"], "changes": changes[person["name"]]} for person in self.wanted
        ]
        return self.plan

    def _delete(self, person: str, row: Mapping[str, Any]) -> None:
        token = str(row["token"])
        if token in self.deleted:
            return
        self.deleted.add(token)
        alias = key_name(row)
        self.take_away.append(
            Step(
                "/key/delete",
                {},
                person,
                "key %s" % alias,
                "key %s%s deleted" % (alias, self._origin(row)),
                before=_shown(_visible(row, KEY_FIELDS)),
                tokens=[token],
            )
        )

    def _leave(self, person: Mapping[str, Any]) -> None:
        # The row of the user stays: what the person has spent remains readable.
        name = str(person["name"])
        for key in person["keys"]:
            row = self.keys.get(key_hash(key["value"]))
            if row is not None:
                self._delete(name, row)
        for row in self.keys_of[name]:
            # Somebody else's key that was moved here at the gateway goes back to its owner.
            if self.tokens.get(str(row["token"]), name) == name:
                self._delete(name, row)

    def _user(self, person: Mapping[str, Any]) -> None:
        name = str(person["name"])
        wanted: dict[str, Any] = {row_name: person[field_name] for row_name, field_name in USER_NAMES.items() if person.get(field_name)}
        wanted.update({limit: person[limit] for limit in USER_FIELDS if person.get(limit) is not None})
        wanted["user_role"] = USER_ROLE
        metadata = _wanted_metadata(sorted(wanted), {})
        email = wanted.get("user_email")
        if email:
            for row in self.users.values():
                if str(row["user_id"]) != name and (row.get("user_email") or "").casefold() == email.casefold():
                    self.plan.conflicts.append(
                        "%s: the gateway already knows the e-mail address under the name %s." % (name, row["user_id"])
                    )
        found = self.users.get(name)
        if found is None:
            # Without auto_create_key false the gateway would make a key that nobody knows of.
            fields = {"user_id": name, "auto_create_key": False, "metadata": metadata, **wanted}
            self.user_steps.append(Step("/user/new", fields, name, "user", "user made", after=_shown(wanted)))
            return
        changes = _changes(found, wanted, USER_FIELDS)
        for row_name in USER_NAMES:
            value = wanted.get(row_name)
            if value and (found.get(row_name) or "").casefold() != value.casefold():
                changes[row_name] = value
        merged = _merged_metadata(found, metadata)
        if merged is not None:
            changes["metadata"] = merged
        if changes:
            # /user/update makes a user of an unknown name; here the name was found, so it cannot.
            self.user_steps.append(
                Step(
                    "/user/update",
                    {"user_id": name, **changes},
                    name,
                    "user",
                    "user: %s" % _described(changes, found),
                    before=_compared(found, changes),
                    after=_compared(changes, changes),
                )
            )

    def _keys(self, person: Mapping[str, Any]) -> None:
        name = str(person["name"])
        blocked = person["state"] == "blocked"
        own_tokens = {key_hash(key["value"]) for key in person["keys"]}
        for row in self.keys_of[name]:
            if is_ours(row) and str(row["token"]) not in own_tokens and str(row["token"]) not in self.tokens:
                self._delete(name, row)
        for key in person["keys"]:
            token = key_hash(key["value"])
            limits = {limit: key[limit] for limit in KEY_FIELDS if _is_set(key.get(limit))}
            limits["allowed_routes"] = ALLOWED_ROUTES
            metadata = _wanted_metadata(limits, key.get("metadata") or {})
            found = self.keys.get(token)
            if found is not None:
                self._key(name, key, found, limits, metadata, blocked)
            elif not blocked:
                fields = {"key": key["value"], "key_alias": key["alias"], "user_id": name, "metadata": metadata, **limits}
                sentence = "key %s made" % key["alias"]
                self.new_keys.append(Step("/key/generate", fields, name, "key %s" % key["alias"], sentence, after=_shown(limits)))

    def _key(
        self, name: str, key: Mapping[str, Any], found: dict[str, Any], limits: dict[str, Any], metadata: dict[str, Any], blocked: bool
    ) -> None:
        changes = _changes(found, limits, KEY_FIELDS)
        if found.get("key_alias") != key["alias"]:
            changes["key_alias"] = key["alias"]
        if found.get("user_id") != name:
            changes["user_id"] = name
        if bool(found.get("blocked")) != blocked:
            changes["blocked"] = blocked
        merged = _merged_metadata(found, metadata)
        if merged is not None:
            changes["metadata"] = merged
        if not changes:
            return
        others = {field_name: value for field_name, value in changes.items() if field_name != "blocked"}
        parts = [] if "blocked" not in changes else ["blocked" if blocked else "unblocked"]
        if others:
            parts.append(_described(others, found))
        step = Step(
            "/key/update",
            {"key": found["token"], **changes},
            name,
            "key %s" % key["alias"],
            "key %s: %s" % (key["alias"], ", ".join(parts)),
            before=_compared(found, changes),
            after=_compared(changes, changes),
        )
        (self.take_away if changes.get("blocked") else self.key_changes).append(step)

    def _foreign_keys(self, person: Mapping[str, Any]) -> None:
        name = str(person["name"])
        for row in self.keys_of[name]:
            if not self._is_foreign(row) or str(row["token"]) in self.deleted:
                continue
            if person["state"] == "blocked" and not row.get("blocked"):
                self._block_foreign(name, row)
            else:
                self._report("key", key_name(row), name, False)

    def _block_foreign(self, person: str, row: Mapping[str, Any]) -> None:
        changes = {"blocked": True}
        alias = key_name(row)
        self.take_away.append(
            Step(
                "/key/update",
                {"key": row["token"], **changes},
                person,
                "key %s" % alias,
                "key %s%s: blocked" % (alias, self._origin(row)),
                before=_compared(row, changes),
                after=_compared(changes, changes),
            )
        )

    def _is_foreign(self, row: Mapping[str, Any]) -> bool:
        return not is_ours(row) and str(row["token"]) not in self.tokens

    def _origin(self, row: Mapping[str, Any]) -> str:
        return " (not made here)" if self._is_foreign(row) else ""

    def _unknown(self) -> None:
        left = []
        for user_id in sorted(set(self.users) - self.names - {GATEWAY_USER}):
            self._report("user", user_id, user_id, is_ours(self.users[user_id]))
        for owner in sorted(set(self.keys_of) - self.names):
            for row in self.keys_of[owner]:
                if str(row["token"]) in self.tokens:
                    continue
                self._report("key", key_name(row), owner, is_ours(row))
                if is_ours(row) and not row.get("blocked"):
                    left.append(owner)
        if left:
            self.plan.warnings.append(
                "No longer in the list, but their keys still work: %s. Somebody who leaves stays in the list with state absent."
                % ", ".join(sorted(set(left)))
            )

    def _report(self, kind: str, name: str, owner: str, made_here: bool) -> None:
        self.plan.unknown.append({"kind": kind, "name": name, "user": owner, "made_here": made_here})

    def _alias_conflicts(self) -> None:
        holders = {row.get("key_alias"): row for row in self.keys.values() if row.get("key_alias")}
        for step in [*self.take_away, *self.key_changes, *self.new_keys]:
            alias = step.fields.get("key_alias")
            holder = holders.get(alias)
            if alias is None or holder is None or holder["token"] in self.deleted or holder["token"] == step.fields.get("key"):
                continue
            if holder["token"] in self.tokens and step.path == "/key/update":
                continue
            self.plan.conflicts.append(
                "%s: the alias %s belongs to another key of the gateway (of user %s) that was not made here; rename or delete that one."
                % (step.person, alias, holder.get("user_id"))
            )


def _visible(row: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    return {name: row.get(name) for name in fields}


def _compared(row: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changing fields of one side; of the metadata only who manages the object and which fields."""
    compared = {name: row.get(name) for name in changes if name not in ("metadata", "key")}
    if "metadata" in changes:
        metadata = _metadata(row)
        shown = dict.fromkeys((MANAGED_BY, MANAGED_FIELDS, *_metadata(changes)))
        compared["metadata"] = {name: metadata.get(name) for name in shown}
    return compared


def make_plan(wanted: list[dict[str, Any]], users: list[dict[str, Any]], keys: list[dict[str, Any]]) -> Plan:
    """The way from what was found to what is wanted."""
    return _Planner(wanted, users, keys).run()


def problems_of(wanted: list[dict[str, Any]]) -> list[str]:
    """What is wrong with the wanted state in itself, a sentence each."""
    problems = []
    seen: dict[tuple[str, str], str] = {}

    def once(kind: str, value: str | None, person: str) -> None:
        if not value:
            return
        other = seen.setdefault((kind, value), person)
        if other is not person:
            problems.append("%s: has the same %s as %s." % (person, kind, other))

    names: set[str] = set()
    for person in wanted:
        name = str(person["name"])
        if name in names:
            problems.append("%s: is in the list twice." % name)
            continue
        names.add(name)
        if name == GATEWAY_USER:
            problems.append("%s: is the gateway's own administrator." % name)
        if person.get("budget_duration") and person.get("max_budget") is None:
            problems.append("%s: budget_duration means nothing without max_budget." % name)
        once("e-mail address", (person.get("email") or "").casefold(), name)
        aliases: set[str] = set()
        for key in person["keys"]:
            alias, value = key["alias"], key["value"]
            if not value.startswith("sk-") or len(value) < 16:
                problems.append("%s: the value of key %s must start with sk- and have at least 16 characters." % (name, alias))
            if alias in aliases:
                problems.append("%s: has two keys with the alias %s." % (name, alias))
            aliases.add(alias)
            once("key alias", alias, name)
            once("key value", value, name)
            if key.get("budget_duration") and key.get("max_budget") is None:
                problems.append("%s: budget_duration of key %s means nothing without max_budget." % (name, alias))
    return problems
