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
# What a step sends and nobody is told: for the metadata what is set there is told, for a duration the end that it means.
UNSHOWN = ("metadata", "key", "duration", state.UNTIL)
# What a place in a team calls its limits when they are written.
MEMBER_NAMES = {"max_budget": "max_budget_in_team"}


class Stage(IntEnum):
    """When a step has its turn; steps of one stage do not depend on each other."""

    # Access is taken away before any is given, and also when something stands in the way of the rest.
    TAKE_AWAY = 0
    # An alias or an address becomes free for its next holder.
    MAKE_WAY = 1
    BUDGETS = 2
    TEAMS = 3
    USERS = 4
    JOIN = 5
    CHANGE_KEYS = 6
    # The gateway holds a key's old limits against its new team's, even when both change in one call.
    MOVE_KEYS = 7
    MAKE_KEYS = 8
    # The old key ends after the new one works.
    RETIRE_KEYS = 9
    # Taking somebody out of a team deletes the person's keys of that team, so keys have moved on before.
    LEAVE = 10
    REMOVE = 11


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
    #: the part of a change that takes something away
    lowering: Step | None = None

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
    # Whether the gateway could be asked; where it could not, nothing is foreseen.
    is_foreseen: bool = True

    def revocations(self) -> list[Step]:
        """What must not wait for anything: whoever loses access, and every limit that becomes tighter."""
        return [step for step in self.steps if step.stage is Stage.TAKE_AWAY] + [step.lowering for step in self.steps if step.lowering]


def make_plan(wanted: Wanted, found: Found) -> Plan:
    """The way from what was found to what is wanted."""
    return _Planner(wanted, found).run()


def _shown(fields: Mapping[str, Any]) -> dict[str, Any]:
    hidden = (*UNSHOWN, "user_id", "team_id", "budget_id", "key_alias", "auto_create_key", "password_reset_required")
    return {name: value for name, value in fields.items() if name not in hidden and state.is_set(value)}


def _short(value: Any) -> str:
    if not state.is_set(value):
        return "none"
    return " ".join(str(entry) for entry in value) if isinstance(value, (list, tuple)) else str(value)


def _described(changes: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    parts = [
        "%s %s -> %s" % (name, _short(found.get(name)), _short(value))
        for name, value in sorted(changes.items())
        if name not in (*UNSHOWN, "blocked")
    ]
    if "blocked" in changes:
        parts.insert(0, "blocked" if changes["blocked"] else "unblocked")
    return ", ".join(parts) or "marked as managed"


def _compared(row: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changing fields of one side; of the metadata what is set here."""
    compared = {name: row.get(name) for name in changes if name not in UNSHOWN}
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
        self.is_list = wanted.manager == state.MANAGER
        self.now = datetime.fromtimestamp(found.now, timezone.utc)
        self.keys = {key.token: key for key in wanted.keys}
        self.listed_keys_of: dict[str, list[Key]] = defaultdict(list)
        for key in wanted.keys:
            self.listed_keys_of[key.person].append(key)
        self.listed_teams = {team.name: team for team in wanted.teams}
        self.keys_of: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in found.keys.values():
            self.keys_of[str(row.get("user_id"))].append(row)
        self.users = {user.name: user for user in wanted.users}
        self.places_of: dict[str, list[Membership]] = defaultdict(list)
        for membership in wanted.memberships:
            self.places_of[membership.user].append(membership)
        self.deleted: set[str] = set()
        self.retiring: set[str] = set()
        # Person and short name of keys that the list would turn back to a generation that has ended.
        self.turned_back: set[tuple[str, str]] = set()
        self.generations_of: dict[str, dict[str, int]] = defaultdict(dict)
        for key in wanted.keys:
            if key.generation and key.generation > 1 and not key.retiring:
                self.generations_of[key.person][key.name] = key.generation
        self.holders: dict[str, list[str]] = defaultdict(list)
        for name, row in sorted(found.users.items()):
            if row.get("user_email"):
                self.holders[str(row["user_email"]).casefold()].append(name)

    def run(self) -> Plan:
        for key in self.wanted.keys:
            self._generation(key)
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
            if team.state == "absent" and team.name in self.found.teams and not self._belongs_elsewhere("team", team.name, self.found.teams[team.name]):
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

    def _change(
        self,
        stage: Stage,
        path: str,
        target: dict[str, Any],
        kind: str,
        name: str,
        owner: str,
        changes: dict[str, Any],
        row: Any,
        subject: str = "",
        sentence: str = "",
    ) -> None:
        """A change of what is there; the part of it that takes something away can be made alone."""

        def step_of(stage: Stage, changes: dict[str, Any], sentence: str) -> Step:
            names = MEMBER_NAMES if path == "/team/member_update" else {}
            sent = {names.get(change, change): value for change, value in changes.items() if change != "expires"}
            told = sentence or "%s: %s" % (subject or (kind if kind == "user" else "%s %s" % (kind, name)), _described(changes, row))
            return Step(stage, path, {**target, **sent}, kind, name, owner, told, _compared(row, changes), _compared(changes, changes))

        step = step_of(stage, changes, sentence)
        less = {change: value for change, value in changes.items() if state.lowers(change, row.get(change), value)}
        if "expires" in less:
            less[state.UNTIL] = changes[state.UNTIL]
        if less and stage is not Stage.TAKE_AWAY:
            step.lowering = step_of(Stage.TAKE_AWAY, less, "")
        self.plan.steps.append(step)

    def _is_elsewhere(self, row: Mapping[str, Any]) -> bool:
        other = state.SINGLE_MANAGER if self.is_list else state.MANAGER
        return not self.wanted.take_over and state.metadata_of(row).get(state.MANAGED_BY) == other

    def _belongs_elsewhere(self, kind: str, name: str, row: Mapping[str, Any], owner: str = "") -> bool:
        """Whether the other manager made an object, which then is a conflict: two who say the same thing would undo each other for ever."""
        if not self._is_elsewhere(row):
            return False
        place = "managed by litellm_%s" % kind if self.is_list else "in the list of litellm_access"
        self.plan.conflicts.append(
            "%s%s %s: is %s; say it there alone, or take it over from there with take_over." % (owner and "%s: " % owner, kind, name, place)
        )
        return True

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
            fields = {"team_id": team.name, **team.fields, "metadata": metadata, **({"blocked": True} if team.state == "blocked" else {})}
            self._add(Stage.TEAMS, "/team/new", fields, "team", team.name, "", "team %s made" % team.name, after=_shown(team.fields))
            return
        if self._belongs_elsewhere("team", team.name, row):
            return
        changes = state.changes_of(row, team.fields, state.TEAM_FIELDS)
        target = {"team_id": team.name}
        if team.state == "blocked" and not row.get("blocked"):
            # Alone and first, so that nothing holds it up.
            self._change(Stage.TAKE_AWAY, "/team/update", target, "team", team.name, "", {"blocked": True}, row)
        elif team.state == "present" and row.get("blocked"):
            changes["blocked"] = False
        merged = state.merged_metadata(row, metadata)
        if merged is not None:
            changes["metadata"] = merged
        if changes:
            self._change(Stage.TEAMS, "/team/update", target, "team", team.name, "", changes, row)

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
        if row is not None and not self.is_list and self._belongs_elsewhere("user", user.name, row):
            return
        # Somebody whom the list keeps out loses what there is, whoever made it.
        ended, is_due = self._login_ended(user, row)
        elsewhere = row is not None and user.state != "absent" and self._belongs_elsewhere("user", user.name, row)
        if row is not None and is_due and (elsewhere or user.state == "absent"):
            self._end_login(user, row, ended, {**state.metadata_of(row), state.LOGIN_ENDED: ended})
        if elsewhere:
            return
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
        marks = {state.MANAGED_TEAMS: kept, state.MANAGED_GENERATIONS: self._generations(user, row), state.LOGIN_ENDED: ended}
        metadata = state.wanted_metadata(self.wanted.manager, user.fields, user.metadata, **marks)
        if row is None:
            # Without auto_create_key false the gateway would make a key that nobody knows of.
            fields = {"user_id": user.name, "auto_create_key": False, "metadata": metadata, **user.fields}
            self._add(Stage.USERS, "/user/new", fields, "user", user.name, user.name, "user made", after=_shown(user.fields))
            if is_due:
                self._end_login(user, row, ended, None)
            return
        changes = state.changes_of(row, user.fields, state.USER_FIELDS)
        # The gateway keeps an address in small letters.
        if str(row.get("user_email") or "").casefold() == str(user.fields.get("user_email") or "").casefold():
            changes.pop("user_email", None)
        if changes.get("models") == []:
            changes["models"] = [state.ALL_MODELS]
            if row.get("models") == [state.ALL_MODELS]:
                del changes["models"]
        merged = state.merged_metadata(row, metadata, never=[state.LOGIN_ENDED])
        if is_due:
            self._end_login(user, row, ended, merged or state.metadata_of(row))
            merged = None
        if merged is not None:
            changes["metadata"] = merged
        if changes:
            again = "login to the web page allowed again" if set(changes) == {"metadata"} and state.LOGIN_ENDED in state.metadata_of(row) else ""
            # /user/update makes a user of an unknown name; here the name was found, so it cannot.
            self._change(Stage.USERS, "/user/update", {"user_id": user.name}, "user", user.name, user.name, changes, row, sentence=again)

    def _login_ended(self, user: User, row: Mapping[str, Any] | None) -> tuple[str | None, bool]:
        """When the login of somebody who is out was ended, or is now, and whether that is still to be done."""
        if user.state == "present" or (user.state == "absent" and (row is None or user.purge)):
            return None, False
        recorded = state.metadata_of(row or {}).get(state.LOGIN_ENDED)
        # Whoever has chosen a password since, from an invitation, is in again; older gateways do not tell.
        still = recorded and row is not None and row.get("password_reset_required") is not False
        return (str(recorded), False) if still else (state.written(self.now), True)

    def _end_login(self, user: User, row: Mapping[str, Any] | None, ended: str | None, metadata: dict[str, Any] | None) -> None:
        """Ends the web page's sessions of somebody who is out, and the password.

        The gateway hides its sessions from every list and ends them when a password is written, so one is written that nobody knows.
        """
        fields: dict[str, Any] = {"user_id": user.name, "password": state.UNKNOWN_PASSWORD, **({"metadata": metadata} if metadata else {})}
        # A user who is still to be made comes first; nothing holds up the others.
        stage = Stage.JOIN if row is None else Stage.TAKE_AWAY
        before, after = {"login_ended": state.metadata_of(row or {}).get(state.LOGIN_ENDED)}, {"login_ended": ended}
        self._add(stage, "/user/update", fields, "user", user.name, user.name, "login to the web page ended", before, after)

    def _generation(self, key: Key) -> None:
        """A generation that was followed by another has ended, and may have ended because somebody else knew it."""
        highest = self._recorded_generations(key.person).get(key.name, 1)
        if key.generation is None or key.retiring or key.state == "absent" or key.generation >= highest:
            return
        self.turned_back.add((key.person, key.name))
        self.plan.conflicts.append(
            "%s: key %s is generation %d, but there has been a generation %d, so a key that was replaced would work again; give generation %d, or %d"
            " for a new key." % (key.person, key.alias, key.generation, highest, highest, highest + 1)
        )

    def _recorded_generations(self, user: str) -> dict[str, int]:
        recorded = state.metadata_of(self.found.users.get(user, {})).get(state.MANAGED_GENERATIONS)
        return {str(name): number for name, number in recorded.items() if isinstance(number, int)} if isinstance(recorded, dict) else {}

    def _generations(self, user: User, row: Mapping[str, Any] | None) -> dict[str, int]:
        recorded = self._recorded_generations(user.name) if row is not None else {}
        listed = self.generations_of.get(user.name, {})
        return {name: max(recorded.get(name, 1), listed.get(name, 1)) for name in sorted({*recorded, *listed})}

    def _block_with_user(self, user: User) -> None:
        for row in self.keys_of[user.name]:
            metadata = dict(state.metadata_of(row))
            if user.state == "blocked" and not row.get("blocked"):
                metadata[state.BLOCKED_WITH_USER] = True
            elif user.state == "present" and row.get("blocked") and metadata.pop(state.BLOCKED_WITH_USER, None):
                pass
            else:
                continue
            block = {"blocked": user.state == "blocked"}
            stage = Stage.TAKE_AWAY if block["blocked"] else Stage.CHANGE_KEYS
            target = {"key": row["token"], "metadata": metadata}
            self._change(stage, "/key/update", target, "key", state.key_label(row), user.name, block, row)

    def _email_conflict(self, user: User) -> None:
        email = str(user.fields.get("user_email") or "").casefold()
        for holder in self.holders.get(email, []) if email else []:
            other = self.users.get(holder)
            if holder == user.name:
                continue
            if self._is_gone(holder):
                # Somebody goes on under another name, and the gateway gives an address to one user alone.
                fields = {"user_id": holder, "user_email": ""}
                sentence = "e-mail address taken over from %s, who is gone" % holder
                before, after = {"user": holder}, {"user": user.name}
                self._add(Stage.MAKE_WAY, "/user/update", fields, "address", email, user.name, sentence, before, after)
            elif other is None or other.state == "absent" or str(other.fields.get("user_email") or "").casefold() in ("", email):
                self.plan.conflicts.append("%s: the gateway already knows the e-mail address under the name %s." % (user.name, holder))
            # Otherwise that person's address changes in the same run.

    def _is_gone(self, name: str) -> bool:
        """Whether a user is absent, or was made here, is in no list any more, and has no key that will work."""
        user = self.users.get(name)
        if user is not None:
            return user.state == "absent"
        if not self.is_list or not state.is_ours(self.found.users[name]):
            return False
        doomed = self.wanted.whole and self.wanted.purge
        return all(doomed and state.is_ours(row) for row in self.keys_of[name] if str(row["token"]) not in self.deleted)

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
        if team is None and membership.team not in self.listed_teams:
            self.plan.conflicts.append("%s: there is no team %s, neither in the list nor at the gateway." % (membership.user, membership.team))
            return
        target = {"team_id": membership.team}
        limits = {MEMBER_NAMES.get(name, name): value for name, value in membership.fields.items()}
        if team is None or membership.user not in team["members_with_roles"]:
            fields = {**target, "member": {"role": "user", "user_id": membership.user}, **limits}
            sentence = "joined team %s" % membership.team
            self._add(Stage.JOIN, "/team/member_add", fields, "team", membership.team, membership.user, sentence, after=membership.fields)
            return
        row = self.found.members.get((membership.team, membership.user), {})
        changes = state.changes_of(row, membership.fields, state.MEMBER_FIELDS, recorded=set(recorded.split(",")) - {""})
        if changes:
            target["user_id"] = membership.user
            subject = "in team %s" % membership.team
            self._change(Stage.JOIN, "/team/member_update", target, "team", membership.team, membership.user, changes, row, subject)

    def _leave_all(self, user: User, row: Mapping[str, Any]) -> None:
        teams = {name for name, team in self.found.teams.items() if user.name in team["members_with_roles"]}
        for team in sorted(teams | (set(state.managed_teams(row)) & set(self.found.teams))):
            self._leave(team, user.name)

    def _leave(self, team: str, user: str) -> bool:
        """Whether nothing stands in the way."""
        row = self.found.teams.get(team)
        if row is None or user not in row["members_with_roles"]:
            return True
        if team in self.listed_teams and self.listed_teams[team].state == "absent":
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
        unlisted = [
            row
            for row in self.keys_of[name]
            if state.is_ours(row)
            and str(row["token"]) not in self.keys
            and (name, str(state.metadata_of(row).get(state.MANAGED_KEY))) not in self.turned_back
        ]
        successors = {key.name: key for key in self.listed_keys_of.get(name, ()) if key.grace and not key.retiring and key.state != "absent"}
        for row in sorted(unlisted, key=_latest_first):
            successor = successors.pop(str(state.metadata_of(row).get(state.MANAGED_KEY) or ""), None)
            user = self.users.get(name)
            if successor is None or user is None or user.state == "absent":
                self._delete_key(name, row)
            else:
                self._retire(successor, row)

    def _predecessors(self, key: Key) -> bool:
        """What has the alias of a key that stands alone: the key before it, which lives on for a while or goes. Whether none is the list's."""
        aliases = (key.alias, key.alias + state.RETIRING_SUFFIX)
        rows = [row for token, row in self.found.keys.items() if token != key.token and row.get("key_alias") in aliases]
        if any(self._belongs_elsewhere("key", state.key_label(row), row, key.person) for row in rows):
            return False
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
        return True

    def _key(self, key: Key) -> None:
        row = self.found.keys.get(key.token)
        if (key.person, key.name) in self.turned_back and not key.retiring:
            return
        if key.owns_alias and not self._predecessors(key):
            return
        if row is not None and self._is_elsewhere(row) and (key.state == "present" or not self.is_list):
            self._belongs_elsewhere("key", key.alias, row, key.person)
            return
        if row is not None and self._is_elsewhere(row) and key.state == "blocked":
            if not row.get("blocked"):
                self._change(Stage.TAKE_AWAY, "/key/update", {"key": key.token}, "key", state.key_label(row), key.person, {"blocked": True}, row)
            return
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
            self._change(stage, "/key/update", target, "key", key.alias, key.person, changes, row)
        if move:
            self._change(Stage.MOVE_KEYS, "/key/update", target, "key", key.alias, key.person, move, row)

    def _wanted_key(self, key: Key) -> tuple[dict[str, Any], dict[str, Any]]:
        set_fields = [*key.fields, *(["expires"] if key.expires or key.retiring else [])]
        recorded = [name for name in set_fields if name not in ("key_alias", "user_id")]
        marks = {state.MANAGED_KEY: key.name, state.MANAGED_EXPIRES: state.written(key.expires) if key.expires else None}
        return key.fields, state.wanted_metadata(self.wanted.manager, recorded, key.metadata, **marks)

    def _make_key(self, key: Key) -> None:
        fields, metadata = self._wanted_key(key)
        sent = {"key": key.value, "metadata": metadata, **fields}
        after = _shown(fields)
        if key.expires is not None:
            sent[state.UNTIL] = key.expires
            after["expires"] = state.written(key.expires)
        self._add(Stage.MAKE_KEYS, "/key/generate", sent, "key", key.alias, key.person, "key %s made" % key.alias, after=after)

    def _expire(self, row: Mapping[str, Any], expires: datetime | None, changes: dict[str, Any]) -> None:
        """The gateway takes a duration and keeps a moment: it is only sent when the list gives another moment, or somebody else did."""
        found = moment(row.get("expires"))
        if expires is None:
            if found is not None and "expires" in state.once_set(row):
                changes.update(duration="-1", expires=None)
            return
        given = moment(state.metadata_of(row).get(state.MANAGED_EXPIRES))
        moved = given is not None and state.written(given) != state.written(expires)
        if found is None or moved or abs((found - expires).total_seconds()) > state.EXPIRY_TOLERANCE:
            changes.update({state.UNTIL: expires, "expires": state.written(expires)})

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
        marks = {
            state.MANAGED_BY: self.wanted.manager,
            state.MANAGED_KEY: key.name,
            state.MANAGED_EXPIRES: state.written(end),
            state.RETIRED_AT: state.written(since),
        }
        noted = {"metadata.%s" % name for name in marks if name != state.MANAGED_BY}
        if metadata is None:
            wanted = {**state.metadata_of(row), **marks, state.MANAGED_FIELDS: ",".join(sorted(state.once_set(row) | {"expires"} | noted))}
        else:
            wanted = {**metadata, **marks, state.MANAGED_FIELDS: ",".join(sorted({*metadata[state.MANAGED_FIELDS].split(",")} | noted))}
        merged = state.merged_metadata(row, wanted)
        if merged is not None:
            changes["metadata"] = merged
        if metadata is None and row.get("key_alias") == key.alias:
            # The successor takes the alias over, and an alias is unique at the gateway.
            changes["key_alias"] = key.alias + state.RETIRING_SUFFIX
        if not changes:
            return
        label = state.key_label(row)
        stage = Stage.TAKE_AWAY if changes.get("blocked") else Stage.MAKE_WAY if "key_alias" in changes else Stage.RETIRE_KEYS
        sentence = "key %s ends on %s" % (label, state.written(end)) if state.UNTIL in changes else ""
        self._change(stage, "/key/update", {"key": row["token"]}, "key", label, key.person, changes, row, sentence=sentence)
        # An end that waits for the successor is no limit that may come before it.
        self.plan.steps[-1].lowering = None

    def _foreign_keys(self, name: str) -> None:
        user = self.users[name]
        for row in self.keys_of[name]:
            if not self._is_foreign(row) or str(row["token"]) in self.deleted:
                continue
            if user.state == "blocked" and not row.get("blocked"):
                label = state.key_label(row)
                subject = "key %s%s" % (label, self._origin(row))
                self._change(Stage.TAKE_AWAY, "/key/update", {"key": row["token"]}, "key", label, name, {"blocked": True}, row, subject)
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
        # Keys first: whose keys go can leave the teams that the keys were in.
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
        for name in sorted(set(self.found.users) - set(self.users) - {state.GATEWAY_USER}):
            row = self.found.users[name]
            ours = state.is_ours(row)
            self._report("user", name, name, ours)
            if ours and self.wanted.purge:
                # The row stays, for the spend history; what it could do goes.
                for team in sorted(state.managed_teams(row)):
                    self._leave(team, name)
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
            origin = "is managed by litellm_key" if self.is_list and self._is_elsewhere(holder) else "was not made here"
            self.plan.conflicts.append(
                "%s: the alias %s belongs to another key of the gateway (of user %s) that %s; rename or delete that one."
                % (step.owner or "key", alias, holder.get("user_id"), origin)
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
