# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way from what a LiteLLM gateway has to what it should have. Nothing here speaks to a gateway, so every rule can be tested by itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import IntEnum
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import litellm_state as state
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_client import key_hash
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_state import Found, Key, Membership, Team, User, Wanted
from ansible_collections.private_llm.platform.plugins.module_utils.people import moment

NAMES_IN_A_WARNING = 20


class Stage(IntEnum):
    """When a step has its turn; steps of one stage do not depend on each other."""

    # Access is taken away before any is given.
    TAKE_AWAY = 0
    BUDGETS = 1
    TEAMS = 2
    USERS = 3
    JOIN = 4
    CHANGE_KEYS = 5
    # The gateway holds a key's old limits against its new team's, even when both change in one call.
    MOVE_KEYS = 6
    MAKE_KEYS = 7
    # The old key ends after the new one works.
    RETIRE_KEYS = 8
    # Taking somebody out of a team deletes the person's keys of that team, so keys have moved on before.
    LEAVE = 9
    REMOVE = 10


@dataclass
class Step:
    """One change: the call that makes it and what it means."""

    stage: Stage
    path: str
    fields: dict[str, Any]
    kind: str
    name: str
    owner: str
    sentence: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None

    @property
    def subject(self) -> str:
        """The object, as people name it."""
        return self.kind if self.kind == "user" else "%s %s" % (self.kind, self.name)


@dataclass
class Plan:
    """All that has to be done, and all that is worth telling."""

    steps: list[Step] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unknown: list[dict[str, Any]] = field(default_factory=list)


def make_plan(wanted: Wanted, found: Found) -> Plan:
    """The way from what was found to what is wanted."""
    return _Planner(wanted, found).run()


def _shown(fields: Mapping[str, Any]) -> dict[str, Any]:
    hidden = ("key", "metadata", "user_id", "team_id", "budget_id", "key_alias", "duration", "auto_create_key")
    return {name: value for name, value in fields.items() if name not in hidden and state.is_set(value)}


def _short(value: Any) -> str:
    if not state.is_set(value):
        return "none"
    return " ".join(str(entry) for entry in value) if isinstance(value, (list, tuple)) else str(value)


def _described(changes: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    parts = [
        "%s %s -> %s" % (name, _short(found.get(name)), _short(value))
        for name, value in sorted(changes.items())
        if name not in ("metadata", "key", "duration", "blocked")
    ]
    if "blocked" in changes:
        parts.insert(0, "blocked" if changes["blocked"] else "unblocked")
    return ", ".join(parts) or "marked as managed"


def _compared(row: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changing fields of one side; of the metadata what is set here."""
    compared = {name: row.get(name) for name in changes if name not in ("metadata", "key", "duration")}
    if "metadata" in changes:
        metadata = state.metadata_of(row)
        compared["metadata"] = {name: metadata.get(name) for name in state.metadata_of(changes)}
    return compared


def _latest_first(row: Mapping[str, Any]) -> tuple[bool, float]:
    """The order in which keys were replaced: one that still counts as current, then the youngest."""
    made = moment(row.get("created_at"))
    return state.RETIRED_AT in state.metadata_of(row), -(made.timestamp() if made else 0.0)


class _Planner:
    def __init__(self, wanted: Wanted, found: Found) -> None:
        self.wanted = wanted
        self.found = found
        self.plan = Plan()
        self.now = datetime.fromtimestamp(found.now, timezone.utc)
        self.keys = {key.token: key for key in wanted.keys}
        self.keys_of: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in found.keys.values():
            self.keys_of[str(row.get("user_id"))].append(row)
        self.users = {user.name: user for user in wanted.users}
        self.places_of: dict[str, list[Membership]] = defaultdict(list)
        for membership in wanted.memberships:
            self.places_of[membership.user].append(membership)
        self.deleted: set[str] = set()
        self.retiring: set[str] = set()
        # Team and user of keys that were not made here: leaving the team would delete them.
        self.foreign_places: dict[tuple[str, str], str] = {}
        self.taken = {
            str(row["user_email"]).casefold(): name for name, row in sorted(found.users.items(), reverse=True) if row.get("user_email")
        }

    def run(self) -> Plan:
        for budget in self.wanted.budgets:
            self._budget(budget)
        for team in self.wanted.teams:
            if team.state != "absent":
                self._team(team)
        for name in self.wanted.closed:
            self._unlisted_keys(name)
        for key in self.wanted.keys:
            self._key(key)
        for user in self.wanted.users:
            self._user(user)
        for name in sorted(self.wanted.closed):
            self._foreign_keys(name)
        if self.wanted.whole:
            self._unknown()
        for team in self.wanted.teams:
            if team.state == "absent" and team.name in self.found.teams:
                self._remove_team(team.name)
        for budget in self.wanted.budgets:
            if budget.state == "absent" and budget.name in self.found.budgets:
                self._remove_budget(budget.name)
        self._alias_conflicts()
        self._missing_references()
        self.plan.steps.sort(key=lambda step: step.stage)
        return self.plan

    def _add(
        self,
        stage: Stage,
        path: str,
        fields: dict[str, Any],
        kind: str,
        name: str,
        owner: str,
        sentence: str,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
    ) -> None:
        self.plan.steps.append(Step(stage, path, fields, kind, name, owner, sentence, before, after))

    def _change(self, stage: Stage, path: str, target: dict[str, Any], kind: str, name: str, owner: str, changes: dict[str, Any], row: Any) -> None:
        subject = kind if kind == "user" else "%s %s" % (kind, name)
        sentence = "%s: %s" % (subject, _described(changes, row))
        self._add(stage, path, {**target, **changes}, kind, name, owner, sentence, _compared(row, changes), _compared(changes, changes))

    # -- budgets and teams ------------------------------------------------

    def _budget(self, budget: state.Budget) -> None:
        row = self.found.budgets.get(budget.name)
        if budget.state == "absent":
            return
        if row is None:
            fields = {"budget_id": budget.name, **budget.fields}
            self._add(Stage.BUDGETS, "/budget/new", fields, "budget", budget.name, "", "budget %s made" % budget.name, after=_shown(budget.fields))
            return
        # A budget has no place to note what was set here: what is not named is cleared.
        changes = state.changes_of(row, budget.fields, state.BUDGET_FIELDS, recorded=set(state.BUDGET_FIELDS))
        if changes:
            self._change(Stage.BUDGETS, "/budget/update", {"budget_id": budget.name}, "budget", budget.name, "", changes, row)

    def _remove_budget(self, name: str) -> None:
        users = [
            state.key_label(row)
            for token, row in self.found.keys.items()
            if row.get("budget_id") == name and token not in self.deleted and self._budget_after(token, row) == name
        ]
        if users:
            # The gateway would delete it all the same, and leave those keys without any limit.
            self.plan.conflicts.append("budget %s: cannot be removed while keys have it: %s." % (name, ", ".join(users[:5])))
            return
        row = self.found.budgets[name]
        before = _shown({field_name: row.get(field_name) for field_name in state.BUDGET_FIELDS})
        self._add(Stage.REMOVE, "/budget/delete", {"id": name}, "budget", name, "", "budget %s removed" % name, before=before)

    def _budget_after(self, token: str, row: Mapping[str, Any]) -> Any:
        key = self.keys.get(token)
        return row.get("budget_id") if key is None else key.fields.get("budget_id")

    def _team(self, team: Team) -> None:
        row = self.found.teams.get(team.name)
        metadata = state.wanted_metadata(self.wanted.manager, team.fields, team.metadata)
        if row is None:
            fields = {"team_id": team.name, **team.fields, "metadata": metadata}
            self._add(Stage.TEAMS, "/team/new", fields, "team", team.name, "", "team %s made" % team.name, after=_shown(team.fields))
            return
        changes = state.changes_of(row, team.fields, state.TEAM_FIELDS)
        merged = state.merged_metadata(row, metadata)
        if merged is not None:
            changes["metadata"] = merged
        if changes:
            self._change(Stage.TEAMS, "/team/update", {"team_id": team.name}, "team", team.name, "", changes, row)

    def _remove_team(self, name: str, quietly: bool = False) -> None:
        left = [
            state.key_label(row)
            for token, row in self.found.keys.items()
            if row.get("team_id") == name and token not in self.deleted and self._team_after(token, row) == name
        ]
        if left:
            # The gateway would delete these keys with the team.
            sentence = "team %s: cannot be removed while it has keys: %s." % (name, ", ".join(left[:5]))
            (self.plan.warnings if quietly else self.plan.conflicts).append(sentence)
            return
        row = self.found.teams[name]
        before = _shown({field_name: row.get(field_name) for field_name in state.TEAM_FIELDS})
        self._add(Stage.REMOVE, "/team/delete", {"team_ids": [name]}, "team", name, "", "team %s removed" % name, before=before)

    def _team_after(self, token: str, row: Mapping[str, Any]) -> Any:
        key = self.keys.get(token)
        return row.get("team_id") if key is None else key.fields.get("team_id")

    # -- users and their places in teams ----------------------------------

    def _user(self, user: User) -> None:
        row = self.found.users.get(user.name)
        if user.state == "absent":
            # The row stays: what the person has spent remains readable.
            if row is not None:
                if row.get("user_role") not in (None, state.USER_ROLE):
                    # A role given at the gateway could still be logged in with.
                    role = {"user_role": state.USER_ROLE}
                    self._change(Stage.TAKE_AWAY, "/user/update", {"user_id": user.name}, "user", user.name, user.name, role, row)
                self._leave_all(user, row)
            for key_row in self.keys_of[user.name]:
                # Somebody else's key that was moved here at the gateway goes back to its owner.
                key = self.keys.get(str(key_row["token"]))
                if key is None or key.person == user.name:
                    self._delete_key(user.name, key_row)
            if row is not None and user.purge:
                self._add(
                    Stage.REMOVE, "/user/delete", {"user_ids": [user.name]}, "user", user.name, user.name, "user removed", before=_shown(row)
                )
            return
        self._email_conflict(user)
        if user.owns_keys:
            self._block_with_user(user)
        places = {place.team: ",".join(sorted(place.fields)) for place in self.places_of[user.name]}
        kept = self._places(user, row, places)
        metadata = state.wanted_metadata(self.wanted.manager, user.fields, user.metadata, **{state.MANAGED_TEAMS: kept})
        if row is None:
            # Without auto_create_key false the gateway would make a key that nobody knows of.
            fields = {"user_id": user.name, "auto_create_key": False, "metadata": metadata, **user.fields}
            self._add(Stage.USERS, "/user/new", fields, "user", user.name, user.name, "user made", after=_shown(user.fields))
            return
        changes = state.changes_of(row, user.fields, state.USER_FIELDS)
        # The gateway keeps an address in small letters.
        if str(row.get("user_email") or "").casefold() == str(user.fields.get("user_email") or "").casefold():
            changes.pop("user_email", None)
        if changes.get("models") == []:
            changes["models"] = [state.ALL_MODELS]
            if row.get("models") == [state.ALL_MODELS]:
                del changes["models"]
        merged = state.merged_metadata(row, metadata)
        if merged is not None:
            changes["metadata"] = merged
        if changes:
            # /user/update makes a user of an unknown name; here the name was found, so it cannot.
            self._change(Stage.USERS, "/user/update", {"user_id": user.name}, "user", user.name, user.name, changes, row)

    def _block_with_user(self, user: User) -> None:
        for row in self.keys_of[user.name]:
            metadata = dict(state.metadata_of(row))
            if user.state == "blocked" and not row.get("blocked"):
                metadata[state.BLOCKED_WITH_USER] = True
            elif user.state == "present" and row.get("blocked") and metadata.pop(state.BLOCKED_WITH_USER, None):
                pass
            else:
                continue
            changes = {"blocked": user.state == "blocked", "metadata": metadata}
            stage = Stage.TAKE_AWAY if changes["blocked"] else Stage.CHANGE_KEYS
            label = state.key_label(row)
            before, after = _compared(row, {"blocked": None}), _compared(changes, {"blocked": None})
            sentence = "key %s: %s" % (label, _described({"blocked": changes["blocked"]}, row))
            self._add(stage, "/key/update", {"key": row["token"], **changes}, "key", label, user.name, sentence, before, after)

    def _email_conflict(self, user: User) -> None:
        email = str(user.fields.get("user_email") or "").casefold()
        holder = self.taken.get(email) if email else None
        if holder is None or holder == user.name:
            return
        other = self.users.get(holder)
        if other is not None and str(other.fields.get("user_email") or "").casefold() not in ("", email):
            return  # That person's address changes in the same run.
        self.plan.conflicts.append("%s: the gateway already knows the e-mail address under the name %s." % (user.name, holder))

    def _places(self, user: User, row: Mapping[str, Any] | None, places: Mapping[str, str]) -> dict[str, str]:
        """Joins and leaves teams; gives what is to be noted, which still names teams that could not be left."""
        recorded = state.managed_teams(row) if row is not None else {}
        for membership in self.places_of[user.name]:
            self._join(membership, recorded.get(membership.team, ""))
        kept = dict(places)
        if user.name in self.wanted.closed or user.owns_teams:
            for team in sorted(set(recorded) - set(places)):
                if not self._leave(team, user.name):
                    kept[team] = recorded[team]
        else:
            kept = {**recorded, **kept}
        return kept

    def _join(self, membership: Membership, recorded: str) -> None:
        team = self.found.teams.get(membership.team)
        if team is None and not any(wanted.name == membership.team for wanted in self.wanted.teams):
            self.plan.conflicts.append("%s: there is no team %s, neither in the list nor at the gateway." % (membership.user, membership.team))
            return
        target = {"team_id": membership.team}
        limits = {"max_budget_in_team" if name == "max_budget" else name: value for name, value in membership.fields.items()}
        if team is None or membership.user not in team["members_with_roles"]:
            fields = {**target, "member": {"role": "user", "user_id": membership.user}, **limits}
            sentence = "joined team %s" % membership.team
            self._add(Stage.JOIN, "/team/member_add", fields, "team", membership.team, membership.user, sentence, after=membership.fields)
            return
        row = self.found.members.get((membership.team, membership.user), {})
        changes = state.changes_of(row, membership.fields, state.MEMBER_FIELDS, recorded=set(recorded.split(",")) - {""})
        if changes:
            sent = {"max_budget_in_team" if name == "max_budget" else name: value for name, value in changes.items()}
            sentence = "in team %s: %s" % (membership.team, _described(changes, row))
            fields = {**target, "user_id": membership.user, **sent}
            before, after = _compared(row, changes), _compared(changes, changes)
            self._add(Stage.JOIN, "/team/member_update", fields, "team", membership.team, membership.user, sentence, before, after)

    def _leave_all(self, user: User, row: Mapping[str, Any]) -> None:
        teams = {name for name, team in self.found.teams.items() if user.name in team["members_with_roles"]}
        for team in sorted(teams | (set(state.managed_teams(row)) & set(self.found.teams))):
            self._leave(team, user.name)

    def _leave(self, team: str, user: str) -> bool:
        """Whether nothing stands in the way."""
        row = self.found.teams.get(team)
        if row is None or user not in row["members_with_roles"]:
            return True
        if any(wanted.name == team and wanted.state == "absent" for wanted in self.wanted.teams):
            return True
        person = self.users.get(user)
        if person is None or person.state != "absent":
            for key in self.keys_of[user]:
                token = str(key["token"])
                if key.get("team_id") == team and token not in self.deleted and self._team_after(token, key) == team:
                    self.plan.warnings.append(
                        "%s stays in team %s, for leaving would delete the key %s that was not made here; move or delete that one."
                        % (user, team, state.key_label(key))
                    )
                    return False
        fields = {"team_id": team, "user_id": user}
        self._add(Stage.LEAVE, "/team/member_delete", fields, "team", team, user, "left team %s" % team, before={"member": True})
        return True

    # -- keys -------------------------------------------------------------

    def _delete_key(self, owner: str, row: Mapping[str, Any], reason: str = "deleted") -> None:
        token = str(row["token"])
        if token in self.deleted:
            return
        self.deleted.add(token)
        label = state.key_label(row)
        sentence = "key %s%s %s" % (label, self._origin(row), reason)
        before = _shown({name: row.get(name) for name in (*state.KEY_FIELDS, "expires")})
        self._add(Stage.TAKE_AWAY, "/key/delete", {"keys": [token]}, "key", label, owner, sentence, before=before)

    def _unlisted_keys(self, name: str) -> None:
        """Keys of a person that were made here and are no longer listed: an own value's predecessor may live on for a while."""
        unlisted = [row for row in self.keys_of[name] if state.is_ours(row) and str(row["token"]) not in self.keys]
        successors = {key.name: key for key in self.wanted.keys if key.person == name and key.grace and not key.retiring and key.state != "absent"}
        for row in sorted(unlisted, key=_latest_first):
            successor = successors.pop(str(state.metadata_of(row).get(state.MANAGED_KEY) or ""), None)
            user = self.users.get(name)
            if successor is None or user is None or user.state == "absent":
                self._delete_key(name, row)
            else:
                self._retire(successor, row)

    def _predecessors(self, key: Key) -> None:
        """What has the alias of a key that stands alone: the key before it, which lives on for a while or goes."""
        aliases = (key.alias, key.alias + state.RETIRING_SUFFIX)
        rows = [row for token, row in self.found.keys.items() if token != key.token and row.get("key_alias") in aliases]
        retire = key.grace and key.state == "present"
        for row in sorted(rows, key=_latest_first):
            if key.state == "absent":
                self._delete_key(key.person, row)
            elif not state.is_marked(row):
                continue  # Somebody else's: a conflict, which is told with all others.
            elif retire:
                self._retire(key, row)
                retire = False
            else:
                self._delete_key(key.person, row)

    def _key(self, key: Key) -> None:
        row = self.found.keys.get(key.token)
        if key.owns_alias:
            self._predecessors(key)
        if key.state == "absent":
            if row is not None:
                self._delete_key(key.person, row)
            return
        if key.expires is not None and key.expires <= self.now:
            if row is not None:
                self._delete_key(key.person, row, "deleted, it expired on %s" % state.written(key.expires))
            else:
                self.plan.warnings.append("%s: key %s is not made, it expired on %s." % (key.person, key.alias, state.written(key.expires)))
            return
        if row is None:
            if not key.retiring and key.state != "blocked":
                self._make_key(key)
            return
        fields, metadata = self._wanted_key(key)
        changes = state.changes_of(row, fields, state.KEY_FIELDS)
        if bool(row.get("blocked")) != (key.state == "blocked"):
            changes["blocked"] = key.state == "blocked"
        if key.retiring:
            self._retire(key, row, metadata)
            return
        self._expire(row, key.expires, changes)
        merged = state.merged_metadata(row, metadata)
        if merged is not None:
            changes["metadata"] = merged
        self._change_key(key, row, changes)

    def _change_key(self, key: Key, row: Mapping[str, Any], changes: dict[str, Any]) -> None:
        target = {"key": key.token}
        move = {"team_id": changes.pop("team_id")} if changes.get("team_id") else {}
        if changes.pop("blocked", False):
            # Alone and first: the rest may need a team or a budget that is still to be made, and nothing may hold this up.
            self._change(Stage.TAKE_AWAY, "/key/update", target, "key", key.alias, key.person, {"blocked": True}, row)
        elif row.get("blocked") and key.state != "blocked":
            changes["blocked"] = False
        if changes:
            stage = Stage.CHANGE_KEYS
            sent = {name: value for name, value in changes.items() if name != "expires"}
            sentence = "key %s: %s" % (key.alias, _described(changes, row))
            before, after = _compared(row, changes), _compared(changes, changes)
            self._add(stage, "/key/update", {**target, **sent}, "key", key.alias, key.person, sentence, before, after)
        if move:
            self._change(Stage.MOVE_KEYS, "/key/update", target, "key", key.alias, key.person, move, row)

    def _wanted_key(self, key: Key) -> tuple[dict[str, Any], dict[str, Any]]:
        set_fields = [*key.fields, *(["expires"] if key.expires or key.retiring else [])]
        recorded = [name for name in set_fields if name not in ("key_alias", "user_id")]
        return key.fields, state.wanted_metadata(self.wanted.manager, recorded, key.metadata, **{state.MANAGED_KEY: key.name})

    def _make_key(self, key: Key) -> None:
        fields, metadata = self._wanted_key(key)
        sent = {"key": key.value, "metadata": metadata, **fields}
        after = _shown(fields)
        if key.expires is not None:
            sent["duration"] = "%ds" % round((key.expires - self.now).total_seconds())
            after["expires"] = state.written(key.expires)
        self._add(Stage.MAKE_KEYS, "/key/generate", sent, "key", key.alias, key.person, "key %s made" % key.alias, after=after)

    def _expire(self, row: Mapping[str, Any], expires: datetime | None, changes: dict[str, Any]) -> None:
        """The gateway takes a duration and keeps a moment: it is only sent when the moment differs."""
        found = moment(row.get("expires"))
        if expires is None:
            if found is not None and "expires" in state.once_set(row):
                changes.update(duration="-1", expires=None)
        elif found is None or abs((found - expires).total_seconds()) > state.EXPIRY_TOLERANCE:
            changes.update(duration="%ds" % max(0, round((expires - self.now).total_seconds())), expires=state.written(expires))

    def _retire(self, key: Key, row: Mapping[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """Brings an old key to its end. The end lies at the gateway from the moment of the rotation on, whoever runs what afterwards."""
        since = moment(state.metadata_of(row).get(state.RETIRED_AT)) or self.now
        end = since + timedelta(seconds=key.grace)
        if key.expires is not None:
            end = min(end, key.expires)
        if end <= self.now:
            self._delete_key(key.person, row, "deleted, its grace period has ended")
            return
        self.retiring.add(str(row["token"]))
        # A key that ends keeps its limits and its team: the gateway would hold the old ones against a new team. It is never opened again.
        changes: dict[str, Any] = {"blocked": True} if key.state == "blocked" and not row.get("blocked") else {}
        self._expire(row, end, changes)
        fields = state.once_set(row) | {"expires", "metadata.%s" % state.RETIRED_AT, "metadata.%s" % state.MANAGED_KEY}
        marks = {state.MANAGED_BY: self.wanted.manager, state.MANAGED_KEY: key.name, state.RETIRED_AT: state.written(since)}
        if metadata is None:
            wanted = {**state.metadata_of(row), **marks, state.MANAGED_FIELDS: ",".join(sorted(fields))}
        else:
            own = sorted({*metadata[state.MANAGED_FIELDS].split(","), "metadata.%s" % state.RETIRED_AT})
            wanted = {**metadata, **marks, state.MANAGED_FIELDS: ",".join(own)}
        merged = state.merged_metadata(row, wanted)
        if merged is not None:
            changes["metadata"] = merged
        if metadata is None and row.get("key_alias") == key.alias:
            # The successor takes the alias over, and an alias is unique at the gateway.
            changes["key_alias"] = key.alias + state.RETIRING_SUFFIX
        if not changes:
            return
        label = state.key_label(row)
        early = changes.get("blocked") or "key_alias" in changes
        sentence = "key %s: %s" % (label, _described(changes, row))
        if "duration" in changes:
            sentence = "key %s ends on %s" % (label, state.written(end))
        before, after = _compared(row, changes), _compared(changes, changes)
        target = {"key": row["token"], **{name: value for name, value in changes.items() if name != "expires"}}
        self._add(Stage.TAKE_AWAY if early else Stage.RETIRE_KEYS, "/key/update", target, "key", label, key.person, sentence, before, after)

    def _foreign_keys(self, name: str) -> None:
        user = self.users[name]
        for row in self.keys_of[name]:
            if not self._is_foreign(row) or str(row["token"]) in self.deleted:
                continue
            if user.state == "blocked" and not row.get("blocked"):
                label = state.key_label(row)
                changes = {"blocked": True}
                before, after = _compared(row, changes), _compared(changes, changes)
                sentence = "key %s%s: blocked" % (label, self._origin(row))
                self._add(Stage.TAKE_AWAY, "/key/update", {"key": row["token"], **changes}, "key", label, name, sentence, before, after)
            elif self.wanted.whole:
                self._report("key", state.key_label(row), name, False)

    def _is_foreign(self, row: Mapping[str, Any]) -> bool:
        return not state.is_ours(row) and str(row["token"]) not in self.keys

    def _origin(self, row: Mapping[str, Any]) -> str:
        return " (not made here)" if self._is_foreign(row) and not state.is_marked(row) else ""

    # -- what is not in the list ------------------------------------------

    def _unknown(self) -> None:
        listed = {team.name for team in self.wanted.teams}
        left: set[str] = set()
        for name in sorted(set(self.found.users) - set(self.users) - {state.GATEWAY_USER}):
            row = self.found.users[name]
            ours = state.is_ours(row)
            self._report("user", name, name, ours)
            if ours and self.wanted.purge:
                # The row stays, for the spend history; what it could do goes.
                for team in sorted(state.managed_teams(row)):
                    self._leave(team, name)
        for owner in sorted(set(self.keys_of) - set(self.users)):
            for row in self.keys_of[owner]:
                token, ours = str(row["token"]), state.is_ours(row)
                if token in self.keys:
                    continue
                if ours and self.wanted.purge:
                    self._delete_key(owner, row, "deleted, it is no longer in the list")
                    continue
                self._report("key", state.key_label(row), owner, ours)
                if ours and not row.get("blocked"):
                    left.add(owner)
        for name in sorted(set(self.found.teams) - listed):
            ours = state.is_ours(self.found.teams[name])
            if ours and self.wanted.purge:
                self._remove_team(name, quietly=True)
            else:
                self._report("team", name, "", ours)
        if left:
            self.plan.warnings.append(
                "No longer in the list, but their keys still work: %s. Somebody who leaves stays in the list with state absent." % _some(left)
            )

    def _report(self, kind: str, name: str, owner: str, made_here: bool) -> None:
        self.plan.unknown.append({"kind": kind, "name": name, "user": owner, "made_here": made_here})

    # -- what stands in the way -------------------------------------------

    def _alias_conflicts(self) -> None:
        """The gateway checks that an alias is free and then takes it, so two at once may both get it: better to look before."""
        holders = {row.get("key_alias"): row for row in self.found.keys.values() if row.get("key_alias")}
        for step in self.plan.steps:
            alias = step.fields.get("key_alias") if step.path in ("/key/generate", "/key/update") else None
            holder = holders.get(alias) if alias else None
            if holder is None:
                continue
            token = str(holder["token"])
            if token in self.deleted or token in self.retiring or token == step.fields.get("key"):
                continue
            if token in self.keys and step.path == "/key/update":
                continue
            if step.path == "/key/generate" and token == key_hash(step.fields["key"]):
                continue
            self.plan.conflicts.append(
                "%s: the alias %s belongs to another key of the gateway (of user %s) that was not made here; rename or delete that one."
                % (step.owner or "key", alias, holder.get("user_id"))
            )

    def _missing_references(self) -> None:
        """The gateway takes unknown names without a word and makes keys that belong to nobody."""
        teams = {team.name for team in self.wanted.teams if team.state != "absent"} | set(self.found.teams)
        budgets = {budget.name for budget in self.wanted.budgets if budget.state != "absent"} | set(self.found.budgets)
        users = {user.name for user in self.wanted.users} | set(self.found.users)
        for key in self.wanted.keys:
            if key.state == "absent":
                continue
            owner = key.person or "key %s" % key.alias
            for kind, name, known in (
                ("team", key.fields.get("team_id"), teams),
                ("budget", key.fields.get("budget_id"), budgets),
                ("user", key.fields.get("user_id"), users),
            ):
                if name and name not in known:
                    self.plan.conflicts.append("%s: key %s names the %s %s, which does not exist." % (owner, key.alias, kind, name))


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = len(listed) - NAMES_IN_A_WARNING
    return ", ".join(listed[:NAMES_IN_A_WARNING]) + (" and %d more" % more if more > 0 else "")
