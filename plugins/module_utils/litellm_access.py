# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bringing a LiteLLM gateway to a wanted state: look, plan, act, and look again until nothing is left to do."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils import litellm_state as state
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_client import (
    DEFAULT_CONCURRENCY,
    NAMES_A_CALL,
    LitellmClient,
    LitellmError,
    argument_spec,
)
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_plan import Plan, Stage, Step, make_plan
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_state import Found, Wanted

# Seconds before each look at what came of the changes; what is still left then is done once more, which mends most of what went wrong.
VERIFY_DELAYS = (0.0, 0.5, 1.5, 3.0)
BATCH = 100
# With more people than this, looking at everybody is hardly more work than looking at each.
LOOK_AT_EACH = 40
# Each call for a team locks it and all its new members in the gateway's database: more of them at once only wait for each other.
AT_ONCE_IN_TEAMS = 2
# So many new people are worth one call for all of them, which older gateways do not know.
USERS_IN_BULK = 3
BULK_PATH = "/management/v1/users/bulk"
# What a second attempt cannot change.
FINAL_STATUS = (401, 403, 422)
SENTENCES = 5
# Where nobody but the administrator can put a file in the way; others have a directory of their own.
LOCK_DIRECTORY = "/run"
LOCK_SECONDS = 900

_KEY_LIKE = re.compile(r"sk-[A-Za-z0-9._~+/=-]+")


@dataclass
class Call:
    """One request that makes one or several steps."""

    path: str
    fields: dict[str, Any]
    steps: list[Step]


class Unfinished(LitellmError):
    """A run that ended before all was done, with what it had done by then (or, in a check, would have)."""

    def __init__(self, sentence: str, plan: Plan, cause: LitellmError | None = None) -> None:
        super().__init__(sentence, cause.status if cause else None, cause.error_type if cause else None)
        self.plan = plan


# -- looking -------------------------------------------------------------------


def _wants_budgets(wanted: Wanted) -> bool:
    return bool(wanted.budgets) or any(key.fields.get("budget_id") for key in wanted.keys)


def _wants_limits_of_members(wanted: Wanted, users: Iterable[Mapping[str, Any]]) -> bool:
    return any(place.fields for place in wanted.memberships) or any(any(state.managed_teams(row).values()) for row in users)


def look(client: LitellmClient, wanted: Wanted) -> Found:
    """Everything that the gateway has, in paged sweeps."""
    def members() -> None:
        found.members = {(str(row["team_id"]), str(row["user_id"])): state.slim_member(row) for row in client.memberships()}

    def users() -> None:
        found.users = {str(row["user_id"]): row for row in client.users(lambda row: state.slim("user", row))}

    def keys() -> None:
        found.keys = {str(row["token"]): row for row in client.keys(lambda row: state.slim("key", row))}

    def teams() -> None:
        found.teams = {str(row["team_id"]): row for row in client.teams(state.slim_team)}
        if _wants_budgets(wanted):
            found.budgets = {str(row["budget_id"]): state.slim("budget", row) for row in client.budgets()}

    found = Found()
    limits_are_wanted = _wants_limits_of_members(wanted, ())
    client.together(users, keys, teams, *([members] if limits_are_wanted else []))
    if not limits_are_wanted and _wants_limits_of_members(wanted, found.users.values()):
        members()
    found.now = client.now()
    return found


def look_at(client: LitellmClient, wanted: Wanted) -> Found:
    """Only what the wanted state names, in a few calls that do not depend on how many others there are."""
    found = Found()
    names = sorted({user.name for user in wanted.users} | {key.person for key in wanted.keys if key.person})
    for start in range(0, len(names), NAMES_A_CALL):
        asked = names[start : start + NAMES_A_CALL]
        # One name alone is looked for as a part of names, which may be thousands; of several each is meant as it is.
        rows = client.users(lambda row: state.slim("user", row), user_ids=",".join(asked if len(asked) > 1 else asked * 2))
        found.users.update({str(row["user_id"]): row for row in rows})
    _find_holders_of_addresses(client, wanted, found)
    # Whether somebody who has a wanted address is gone is told by the keys.
    _find_keys(client, wanted, sorted({*names, *found.users}), found)
    _find_teams(client, wanted, found)
    if _wants_budgets(wanted):
        budgets = sorted({budget.name for budget in wanted.budgets} | {str(key.fields["budget_id"]) for key in wanted.keys if key.fields.get("budget_id")})
        found.budgets = {str(row["budget_id"]): state.slim("budget", row) for row in client.budgets(budgets)}
    found.now = client.now()
    return found


def _find_holders_of_addresses(client: LitellmClient, wanted: Wanted, found: Found) -> None:
    for user in wanted.users:
        email = str(user.fields.get("user_email") or "")
        known = str(found.users.get(user.name, {}).get("user_email") or "")
        if email and email.casefold() != known.casefold() and user.state != "absent":
            # The filter also gives addresses that merely contain this one.
            rows = client.users(lambda row: state.slim("user", row), user_email=email)
            found.users.update({str(row["user_id"]): row for row in rows if str(row.get("user_email") or "").casefold() == email.casefold()})


def _find_keys(client: LitellmClient, wanted: Wanted, names: list[str], found: Found) -> None:
    def add(**only: str) -> None:
        found.keys.update({str(row["token"]): row for row in client.keys(lambda row: state.slim("key", row), **only)})

    for name in names:
        add(user_id=name)
    for key in wanted.keys:
        if key.token and key.token not in found.keys:
            add(key_hash=key.token)
        aliases = {row.get("key_alias") for row in found.keys.values()}
        wanted_aliases = [key.alias, key.alias + state.RETIRING_SUFFIX] if key.owns_alias else [key.alias] if key.state != "absent" else []
        for alias in wanted_aliases:
            if alias not in aliases:
                add(key_alias=alias)
    for team in wanted.teams:
        if team.state == "absent":
            add(team_id=team.name)
    if any(budget.state == "absent" for budget in wanted.budgets):
        # There is no way to ask who has a budget.
        add()


def _find_teams(client: LitellmClient, wanted: Wanted, found: Found) -> None:
    names = {team.name for team in wanted.teams} | {place.team for place in wanted.memberships}
    names |= {str(key.fields["team_id"]) for key in wanted.keys if key.fields.get("team_id")}
    for user in wanted.users:
        row = found.users.get(user.name, {})
        names |= set(state.managed_teams(row))
        if user.state == "absent":
            names |= {str(team) for team in row.get("teams") or []}
    for name in sorted(names):
        team = client.team(name)
        if team is not None:
            found.teams[name] = state.slim_team(team)
            found.members.update({(name, str(member.get("user_id"))): state.slim_member(member) for member in team["team_memberships"]})


# -- acting --------------------------------------------------------------------


def calls_of(steps: list[Step]) -> list[Call]:
    """The requests of one stage; what the gateway takes in one call goes in one."""
    calls: list[Call] = []
    groups: dict[str, list[Step]] = defaultdict(list)
    for step in steps:
        if step.path == "/key/delete":
            groups[step.path].append(step)
        elif step.path == "/team/member_add":
            limits = {name: value for name, value in step.fields.items() if name != "member"}
            groups[step.path + json.dumps(limits, sort_keys=True)].append(step)
        else:
            calls.append(Call(step.path, step.fields, [step]))
    for group in groups.values():
        for start in range(0, len(group), BATCH):
            part = group[start : start + BATCH]
            fields = dict(part[0].fields)
            if part[0].path == "/key/delete":
                fields["keys"] = [token for step in part for token in step.fields["keys"]]
            elif len(part) > 1:
                fields["member"] = [step.fields["member"] for step in part]
            calls.append(Call(part[0].path, fields, part))
    return calls


def _make_in_bulk(client: LitellmClient, calls: list[Call], done: list[Step]) -> list[Call]:
    """New people go together where the gateway knows how; gives the calls that are still to be made."""
    makers = [call for call in calls if call.path == "/user/new"]
    if len(makers) < USERS_IN_BULK:
        return calls
    for start in range(0, len(makers), BATCH):
        part = makers[start : start + BATCH]
        try:
            answer = client.post(BULK_PATH, users=[call.fields for call in part])
        except LitellmError as error:
            if error.status in (404, 405, 422):
                # An older gateway, or one that does not take a field in bulk: one by one says which.
                tried = {id(call) for call in makers[:start]}
                return [call for call in calls if id(call) not in tried]
            raise
        rows = (answer.get("data") if isinstance(answer, dict) else None) or []
        made = {str(row.get("user_id")) for row in rows if isinstance(row, dict) and row.get("success")}
        done.extend(step for call in part if call.fields["user_id"] in made for step in call.steps)
    # A row that could not be made is found by the look that follows, and made alone then.
    return [call for call in calls if call.path != "/user/new"]


def ready_fields(client: LitellmClient, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a call sends, with what only its own moment can say."""
    ready = dict(fields)
    until = ready.pop(state.UNTIL, None)
    if until is not None:
        # The gateway takes whole seconds from when it gets to the call.
        ready["duration"] = "%ds" % max(0, int(until.timestamp() - client.now()))
    if ready.get("password") == state.UNKNOWN_PASSWORD:
        # Something of each kind that a gateway may demand.
        ready["password"] = secrets.token_urlsafe(48) + "-aA1!"
    return ready


def act(client: LitellmClient, steps: Sequence[Step], done: list[Step], bulk: bool = True) -> list[LitellmError]:
    """Make all changes, stage by stage, and note in `done` what was made; the errors of the first stage that had any."""

    def make(call: Call) -> LitellmError | None:
        try:
            client.post(call.path, **ready_fields(client, call.fields))
        except LitellmError as error:
            return error
        done.extend(call.steps)
        return None

    begin = len(done)
    place = {id(step): number for number, step in enumerate(steps)}
    try:
        return _act_stage_by_stage(client, steps, done, make, bulk)
    finally:
        # Calls end in any order; what is told has the order of the plan.
        done[begin:] = sorted(done[begin:], key=lambda step: place[id(step)])


def _act_stage_by_stage(
    client: LitellmClient, steps: Sequence[Step], done: list[Step], make: Callable[[Call], LitellmError | None], bulk: bool
) -> list[LitellmError]:
    stages: dict[Stage, list[Step]] = defaultdict(list)
    for step in steps:
        stages[step.stage].append(step)
    for stage in sorted(stages):
        calls = calls_of(stages[stage])
        try:
            if stage is Stage.USERS and bulk:
                calls = _make_in_bulk(client, calls, done)
        except LitellmError as error:
            return [error]
        errors = [error for error in client.each(make, calls, AT_ONCE_IN_TEAMS if stage is Stage.JOIN else BATCH) if error is not None]
        if errors:
            return errors
    return []


# -- both ----------------------------------------------------------------------


def _touched(plan: Plan, wanted: Wanted, cost_of_all: int) -> Wanted | None:
    """The part of the wanted state that the plan changes; None when looking at everybody takes fewer calls."""
    owners = {step.owner for step in plan.steps if step.owner}
    if len(owners) > min(LOOK_AT_EACH, cost_of_all) or owners - {user.name for user in wanted.users}:
        return None
    part = wanted.part(owners)
    named = {step.name for step in plan.steps}
    for kind in ("teams", "budgets"):
        chosen = getattr(part, kind)
        chosen.extend(entry for entry in getattr(wanted, kind) if entry.name in named and entry not in chosen)
    return part


class _Others:
    """Sees in later plans what somebody else changed meanwhile: a value that is neither the one from before nor the one that was written."""

    def __init__(self, plan: Plan) -> None:
        self.before: dict[tuple[str, ...], Any] = {}
        self.made: set[tuple[str, ...]] = set()
        self.found: set[tuple[str, ...]] = set()
        self.sentences: dict[str, None] = {}
        for step in plan.steps:
            (self.made if step.before is None else self.found).add(self._object(step))
            for name, value in (step.before or {}).items():
                self.before[(*self._object(step), name)] = value

    @staticmethod
    def _object(step: Step) -> tuple[str, ...]:
        return (step.kind, step.name, step.owner)

    def see(self, left: Plan) -> None:
        for step in left.steps:
            foreign = [name for name, value in (step.before or {}).items() if name != "metadata" and self._is_foreign(step, name, value)]
            gone = step.before is None and self._object(step) in self.found
            if foreign or gone:
                what = "%s: " % step.owner if step.owner else ""
                self.sentences["%s%s %s" % (what, step.subject, "was removed" if gone else "has another " + ", ".join(sorted(foreign)))] = None

    def _is_foreign(self, step: Step, name: str, value: Any) -> bool:
        place = (*self._object(step), name)
        if place in self.before:
            return not state.same(self.before[place], value) and (state.is_set(self.before[place]) or state.is_set(value))
        # What was just made and has nothing there was not kept; all else was right a moment ago.
        return self._object(step) not in self.made or state.is_set(value)

    def __str__(self) -> str:
        told = list(self.sentences)
        return "; ".join(told[: 2 * SENTENCES]) + (" and %d more" % (len(told) - 2 * SENTENCES) if len(told) > 2 * SENTENCES else "")


def reconcile(client: LitellmClient, wanted: Wanted, check_mode: bool, targeted: bool = False) -> Plan:
    """Bring the gateway to the wanted state and give the plan that led there; in check mode only the plan.

    Two runs at once, a call that got no answer, a gateway that took a value without keeping it: each is seen by looking again, and what is
    left is done again, a bounded number of times. Raises LitellmError when something is still left after that; one that is Unfinished tells
    what was done by then.
    """
    try:
        plan = make_plan(wanted, (look_at if targeted else look)(client, wanted))
    except LitellmError as error:
        if check_mode and error.status == 401:
            # A run that changes the master key changes it at the gateway before it comes here; a check of it does not.
            warning = "The gateway does not accept this master key, so nothing can be foreseen. That is right only where the run gives it this key first."
            return Plan(warnings=[warning], is_foreseen=False)
        if not (check_mode and error.nobody_there):
            raise
        # A check before the first run: there is no gateway yet, so there is nobody at it.
        plan = make_plan(wanted, Found(now=client.now()))
        plan.warnings.append("The gateway does not run yet; this predicts what a run does at a new one.")
    if plan.conflicts:
        raise _stopped(client, plan, [], check_mode)
    if not plan.steps or check_mode:
        return plan
    done: list[Step] = []
    try:
        _apply(client, wanted, plan, done, targeted)
    except Unfinished:
        raise
    except LitellmError as error:
        raise Unfinished(str(error), Plan(_each_once(done), warnings=plan.warnings, unknown=plan.unknown), error) from None
    return plan


def _apply(client: LitellmClient, wanted: Wanted, plan: Plan, done: list[Step], targeted: bool) -> None:
    """Act and look again until nothing is left, a bounded number of times."""
    cost_of_all = client.reads
    others = _Others(plan)
    left = plan
    errors: list[LitellmError] = []
    for attempt, delay in enumerate(VERIFY_DELAYS):
        errors = act(client, left.steps, done, bulk=attempt == 0)
        for step in left.steps:
            # Ten thousand requests that were made are no longer needed, while what is found next is read.
            step.fields = {}
            step.lowering = None
        final = [error for error in errors if error.status in FINAL_STATUS or error.nobody_there]
        if final:
            raise _failure(final, left)
        client.pause(delay)
        part = wanted if targeted else _touched(left, wanted, cost_of_all)
        left = make_plan(wanted, look(client, wanted)) if part is None else make_plan(part, look_at(client, part))
        others.see(left)
        if left.conflicts:
            raise _stopped(client, left, done, False)
        if not left.steps:
            if others.sentences:
                plan.warnings.append("Somebody else changed people at the same time, and it was put back: %s." % others)
            return
    if errors:
        raise _failure(errors, left)
    if others.sentences:
        raise LitellmError(
            "Somebody else goes on changing what this run changes: %s. Let one of the two say it alone, then run again." % others
        )
    still = "; ".join("%s: %s" % (step.owner or step.kind, step.sentence) for step in left.steps[: 2 * SENTENCES])
    raise LitellmError(
        "The gateway accepted the changes but did not keep them all; this version of it may not know them. Still to do: %s" % still
    )


def _each_once(steps: Iterable[Step]) -> list[Step]:
    """Steps without those that an earlier attempt had made already."""
    return list({(step.kind, step.name, step.owner, step.sentence): step for step in steps}.values())


def _stopped(client: LitellmClient, plan: Plan, done: list[Step], check_mode: bool) -> Unfinished:
    """What stands in the way of some must not keep others in: access is taken away all the same, and nothing is given."""
    revocations = plan.revocations()
    before = len(done)
    errors: list[LitellmError] = []
    if check_mode:
        done.extend(revocations)
    else:
        errors = act(client, revocations, done)
    taken = len(done) - before
    parts = ["The gateway has what stands in the way, nothing was %s: %s" % ("given" if done else "changed", " ".join(plan.conflicts))]
    if taken:
        parts.append("What was to be taken away was taken away all the same (%d changes)." % taken)
    if errors:
        parts.append(str(_failure(errors, plan)))
    known = Plan(_each_once(done), plan.conflicts, plan.warnings, plan.unknown)
    return Unfinished(" ".join(parts), known, errors[0] if errors else None)


def _failure(errors: list[LitellmError], left: Plan) -> LitellmError:
    sentences = list(dict.fromkeys(str(error) for error in errors))
    more = len(sentences) - SENTENCES
    text = " ".join(sentences[:SENTENCES]) + (" (and %d more)" % more if more > 0 else "")
    return LitellmError("%s Another run does what is left." % text if left.steps else text, errors[0].status, errors[0].error_type)


def _open_lock(name: str, directory: str | None) -> int | None:
    """The file to lock, in the first place where this account can have one and nobody else can put another; None where there is none."""
    own = os.environ.get("XDG_RUNTIME_DIR") or os.path.join(tempfile.gettempdir(), "private_llm.platform-%d" % os.geteuid())
    for place in [directory] if directory else [LOCK_DIRECTORY, own]:
        try:
            if place == own:
                os.makedirs(own, mode=0o700, exist_ok=True)
                found = os.lstat(own)
                if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    continue
            return os.open(os.path.join(place, name), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            continue
    return None


@contextlib.contextmanager
def alone(api_url: str, only_looks: bool = False, directory: str | None = None) -> Iterator[bool]:
    """One run at a time of this account on this host for one gateway: it gives an alias or an address twice when asked twice at once.

    Yields whether the lock is held; where none can be made, the run goes on. What another host or account does at the same time is seen by
    looking again. The lock ends with the process.
    """
    if only_looks:
        yield False
        return
    name = "private_llm.platform-%s.lock" % hashlib.sha256(api_url.rstrip("/").encode("utf-8")).hexdigest()[:16]
    handle = _open_lock(name, directory)
    if handle is None:
        yield False
        return
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise LitellmError("Another run has been changing people at %s for %d minutes." % (api_url, LOCK_SECONDS // 60)) from None
                time.sleep(0.2)
        yield True
    finally:
        os.close(handle)


# -- telling -------------------------------------------------------------------


def diff_of(plan: Plan) -> dict[str, Any]:
    """Old and new values of each object that changes, under its person; keys by their alias."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for step in plan.steps:
        owner = step.owner or "%ss" % step.kind
        subject = step.name if not step.owner else step.subject
        if step.before is not None:
            before.setdefault(owner, {}).setdefault(subject, {}).update(step.before)
        if step.after is not None:
            after.setdefault(owner, {}).setdefault(subject, {}).update(step.after)
    return {"before": before, "after": after, "before_header": "the gateway now", "after_header": "the gateway as wanted"}


def changes_of(plan: Plan) -> dict[str, list[str]]:
    """What is done for whom, in words; under no name what belongs to nobody."""
    changes: dict[str, list[str]] = defaultdict(list)
    for step in plan.steps:
        changes[step.owner].append(step.sentence)
    return changes


class AccessModule(AnsibleModule):  # type: ignore[misc]
    """A module whose parameters hold thousands of keys.

    Ansible searches every text that a module logs or returns for every secret parameter: with ten thousand keys that takes minutes. Here
    nothing of the parameters is logged or returned, and the result is searched for keys once.
    """

    no_log_values: set[str]

    def _log_invocation(self) -> None:
        self.log("Invoked for the gateway at %s" % self.params["api_url"])

    def _return_formatted(self, kwargs: dict[str, Any]) -> None:
        kwargs["invocation"] = {"module_args": {"api_url": self.params["api_url"]}}
        # Every key begins alike, so whatever holds none that looks like one holds none at all.
        text = json.dumps(kwargs, default=str)
        suspects = set(_KEY_LIKE.findall(text))
        found = {secret for secret in self.no_log_values if any(secret in suspect for suspect in suspects)} if suspects else set()
        for secret in sorted(found, key=len, reverse=True):
            # Ansible itself masks values, but no names, and an alias is a name in the diff.
            text = text.replace(secret, "*" * 8)
        self.no_log_values = {self.params["api_key"]}
        super()._return_formatted(json.loads(text) if found else kwargs)


def module_client(module: AnsibleModule, secrets: Iterable[str] = (), concurrency: int = DEFAULT_CONCURRENCY) -> LitellmClient:
    """The gateway of a module's parameters."""
    parameters = module.params
    return LitellmClient(
        parameters["api_url"],
        parameters["api_key"],
        timeout=parameters["api_timeout"],
        validate_certs=parameters["validate_certs"],
        ca_path=parameters["ca_path"],
        secrets=secrets,
        patient=not module.check_mode,
        concurrency=concurrency,
    )


def failed_with(error: LitellmError) -> dict[str, Any]:
    """What a failed module returns beside its own words: the gateway's refusal, and what was done by then."""
    plan = error.plan if isinstance(error, Unfinished) else Plan()
    return {"msg": str(error), "status": error.status, "error_type": error.error_type, "changed": bool(plan.steps), "diff": diff_of(plan)}


def run_single(options: dict[str, Any], wanted_of: Any, result_of: Any, **module_options: Any) -> None:
    """A module for one object: its options, the wanted state they mean, and what it returns of the plan."""
    module = AnsibleModule(argument_spec={**argument_spec(), **options}, supports_check_mode=True, **module_options)
    client: LitellmClient | None = None

    def told(plan: Plan) -> dict[str, Any]:
        for warning in plan.warnings:
            module.warn(warning)
        calls = {"read": client.reads if client else 0, "write": client.writes if client else 0}
        return {"changes": [step.sentence for step in plan.steps], "calls": calls, **result_of(module.params)}

    try:
        wanted = wanted_of(module.params)
        wanted.manager = state.SINGLE_MANAGER
        wanted.take_over = bool(module.params.get("take_over"))
        problems = state.problems_of(wanted)
        if problems:
            raise LitellmError(" ".join(problems))
        client = module_client(module, [key.value for key in wanted.keys])
        with alone(module.params["api_url"], module.check_mode):
            plan = reconcile(client, wanted, module.check_mode, targeted=True)
    except LitellmError as error:
        module.fail_json(**failed_with(error), **told(error.plan if isinstance(error, Unfinished) else Plan()))
    module.exit_json(changed=bool(plan.steps), diff=diff_of(plan), **told(plan))
