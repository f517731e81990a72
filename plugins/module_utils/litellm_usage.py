# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a gateway knows of teams, users and keys, and what each of them used in a period; read only, never a key."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.litellm_client import PAGE_SIZE, LitellmClient, LitellmError
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_state import key_label

# The gateway refuses longer ones.
LONGEST_PERIOD_DAYS = 400
PERIODS = ("today", "yesterday", "this_week", "last_week", "this_month", "last_month", "this_year")
DAYS_PATTERN = re.compile(r"([1-9][0-9]{0,2})d")
# Rows of these reports are ordered by spend, which moves while people work; a sweep that missed one is repeated.
SWEEPS = 3
ADMINISTRATOR = "default_user_id"
MASTER_KEY = "litellm_proxy_master_key"
# What the gateway's report calls requests with keys of no team.
NO_TEAM = "Unassigned"
HASH_PATTERN = re.compile(r"[0-9a-f]{64}")

MEASURES = ("spend", "requests", "successful_requests", "failed_requests", "prompt_tokens", "completion_tokens", "total_tokens")
NAME_OF_MEASURE = {"api_requests": "requests"}
LIMITS = ("rpm_limit", "tpm_limit", "max_parallel_requests")

Usage = dict[str, Any]


@dataclass(frozen=True)
class Period:
    """Days, both included, as the gateway counts them: in UTC."""

    since: datetime.date
    until: datetime.date

    def as_query(self) -> dict[str, str]:
        """The period in the gateway's words."""
        return {"start_date": self.since.isoformat(), "end_date": self.until.isoformat()}


def _first_of_next_month(day: datetime.date) -> datetime.date:
    return (day.replace(day=28) + datetime.timedelta(days=4)).replace(day=1)


def named_period(name: str, today: datetime.date) -> Period:
    """The days that a name means. Raises ValueError with a sentence for a name that means none."""
    day = datetime.timedelta(days=1)
    monday = today - day * today.weekday()
    month = today.replace(day=1)
    last_month = (month - day).replace(day=1)
    known = {
        "today": Period(today, today),
        "yesterday": Period(today - day, today - day),
        "this_week": Period(monday, today),
        "last_week": Period(monday - 7 * day, monday - day),
        "this_month": Period(month, today),
        "last_month": Period(last_month, _first_of_next_month(last_month) - day),
        "this_year": Period(today.replace(month=1, day=1), today),
    }
    if name in known:
        return known[name]
    days = DAYS_PATTERN.fullmatch(name)
    if not days:
        raise ValueError("period must be %s, or a number of days such as 30d, not %s." % (", ".join(PERIODS), name))
    return Period(today - day * (int(days.group(1)) - 1), today)


def _day(name: str, text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise ValueError("%s must be a day such as 2026-11-25, not %s." % (name, text)) from None


def find_period(period: str | None, since: str | None, until: str | None, today: datetime.date) -> Period | None:
    """The days that were asked for, or None where none were. Raises ValueError with a sentence."""
    if period:
        found = named_period(period, today)
    elif since or until:
        if not since:
            raise ValueError("until needs since, the first day of the period.")
        found = Period(_day("since", since), _day("until", until) if until else today)
    else:
        return None
    if found.until < found.since:
        raise ValueError("The period ends on %s, before it starts on %s." % (found.until, found.since))
    if (found.until - found.since).days > LONGEST_PERIOD_DAYS:
        raise ValueError("The period has %d days; the gateway reports at most %d at once." % ((found.until - found.since).days, LONGEST_PERIOD_DAYS))
    return found


def no_usage() -> Usage:
    """The usage of somebody who asked nothing."""
    return {measure: 0.0 if measure == "spend" else 0 for measure in MEASURES}


def add_usage(total: Usage, metrics: Mapping[str, Any]) -> None:
    """Add a row of a report, in the gateway's words, to a usage."""
    for theirs in ("spend", "api_requests", "successful_requests", "failed_requests", "prompt_tokens", "completion_tokens", "total_tokens"):
        ours = NAME_OF_MEASURE.get(theirs, theirs)
        total[ours] += metrics.get(theirs) or 0
    total["spend"] = round(total["spend"], 10)


def _report(client: LitellmClient, path: str, **query: Any) -> Any:
    try:
        return client.get(path, **query)
    except LitellmError as error:
        if error.status == 404:
            raise LitellmError(
                "The gateway at %s has no report %s, so it is too old to tell who used what in a period; LiteLLM 1.109.1 has it." % (client.api_url, path),
                404,
            ) from None
        raise


def _sweep(client: LitellmClient, path: str, member: str, identity: Callable[[Mapping[str, Any]], Any], period: Period) -> list[dict[str, Any]]:
    """All rows of a report that is read in pages by offset and counts them in total_MEMBER."""
    for _attempt in range(SWEEPS):
        rows: dict[Any, dict[str, Any]] = {}
        offset, total = 0, 1
        while offset < total:
            answer = _report(client, path, offset=offset, limit=PAGE_SIZE, **period.as_query())
            page = answer.get(member) if isinstance(answer, dict) else None
            if not isinstance(page, list) or not isinstance(answer.get("total_" + member), int):
                raise LitellmError("GET %s of the gateway at %s answered in a shape that this module does not know." % (path, client.api_url))
            rows.update({identity(row): row for row in page})
            total = answer["total_" + member]
            offset += PAGE_SIZE
        if len(rows) == total:
            return list(rows.values())
    raise LitellmError("GET %s of the gateway at %s gave %d of %d rows in %d attempts; run again." % (path, client.api_url, len(rows), total, SWEEPS))


def usage_of_users(client: LitellmClient, period: Period) -> dict[str | None, dict[str, Any]]:
    """A row of the gateway's report for each user who asked anything."""
    rows = _sweep(client, "/user/daily/activity/aggregated/users", "users", lambda row: row.get("user_id") or None, period)
    return {row.get("user_id") or None: row for row in rows}


def usage_of_keys(client: LitellmClient, period: Period) -> dict[str, dict[str, Any]]:
    """A row of the gateway's report for each key that was used, also of those that are gone."""
    rows = _sweep(client, "/user/daily/activity/aggregated/keys", "api_keys", lambda row: row.get("api_key"), period)
    return {str(row.get("api_key")): row for row in rows}


def usage_of_teams(client: LitellmClient, period: Period) -> dict[str, dict[str, Any]]:
    """Usage and name of each team that used anything."""
    path = "/team/daily/activity/aggregated"
    # The report also lists the keys of each team; one of them is the fewest that can be asked for.
    answer = _report(client, path, api_key_limit=1, **period.as_query())
    days = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(days, list):
        raise LitellmError("GET %s of the gateway at %s answered in a shape that this module does not know." % (path, client.api_url))
    teams: dict[str, dict[str, Any]] = {}
    for day in days:
        for team, entry in (day.get("breakdown", {}).get("entities") or {}).items():
            found = teams.setdefault(team, {"usage": no_usage(), "name": (entry.get("metadata") or {}).get("team_alias")})
            add_usage(found["usage"], entry.get("metrics") or {})
    return teams


def instant(value: Any) -> str | None:
    """A time of the gateway's, which writes them in two ways, as YYYY-MM-DDTHH:MM:SSZ."""
    if not value:
        return None
    try:
        moment = datetime.datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def latest(moments: Iterable[str | None]) -> str | None:
    """The last of some times, None where there are none."""
    return max((moment for moment in moments if moment), default=None)


def budget_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Budget, what was spent of it since it last started anew, and what is left (negative where more was spent)."""
    budget, spend = row.get("max_budget"), round(float(row.get("spend") or 0), 10)
    return {
        "max_budget": budget,
        "budget_duration": row.get("budget_duration"),
        "budget_reset_at": instant(row.get("budget_reset_at")),
        "spend": spend,
        "budget_left": None if budget is None else round(float(budget) - spend, 10),
    }


def key_state(row: Mapping[str, Any], now: str) -> str:
    """Whether a key of the gateway's list can be used."""
    if row.get("blocked"):
        return "blocked"
    expires = instant(row.get("expires"))
    return "expired" if expires and expires <= now else "active"


def describe_keys(
    rows: Iterable[Mapping[str, Any]], used: Mapping[str, Mapping[str, Any]] | None, now: str, hashes: bool = False
) -> list[dict[str, Any]]:
    """A row for each key of the gateway, and for each one that is gone but was used in the period; on demand with the keys' hashes."""
    keys = []
    seen = set()
    for row in rows:
        seen.add(row["token"])
        keys.append(
            {
                "alias": row.get("key_alias"),
                "label": key_label(row),
                "hash": row["token"],
                "user": row.get("user_id"),
                "team": row.get("team_id"),
                "state": key_state(row, now),
                "models": list(row.get("models") or []),
                **{limit: row.get(limit) for limit in LIMITS},
                **budget_of(row),
                "created": instant(row.get("created_at")),
                "expires": instant(row.get("expires")),
                "last_used": instant(row.get("last_active")),
                "usage": _usage(used, row["token"]),
            }
        )
    for token, row in (used or {}).items():
        if token not in seen:
            about = row.get("metadata") or {}
            keys.append(
                {
                    "alias": about.get("key_alias"),
                    "label": "master key" if token == MASTER_KEY else key_label(about),
                    "hash": token if HASH_PATTERN.fullmatch(token) else None,
                    "user": about.get("user_id"),
                    "team": about.get("team_id"),
                    "state": "master" if token == MASTER_KEY else "deleted",
                    "models": [],
                    **dict.fromkeys(LIMITS),
                    **budget_of({}),
                    "spend": None,
                    "created": None,
                    "expires": None,
                    "last_used": None,
                    "usage": _usage(used, token),
                }
            )
    keys.sort(key=lambda key: (key["user"] or "", key["alias"] or "", key["hash"] or ""))
    return keys if hashes else [{name: value for name, value in key.items() if name != "hash"} for key in keys]


def describe_users(
    rows: Iterable[Mapping[str, Any]], keys: Iterable[Mapping[str, Any]], used: Mapping[str | None, Mapping[str, Any]] | None
) -> list[dict[str, Any]]:
    """A row for each user of the gateway, and for each who is gone but asked something in the period."""
    of_user: dict[Any, list[Mapping[str, Any]]] = {}
    for key in keys:
        of_user.setdefault(key["user"], []).append(key)
    users = []
    for row in rows:
        name = row["user_id"]
        own = of_user.get(name, [])
        users.append(
            {
                "name": name,
                "full_name": row.get("user_alias"),
                "email": row.get("user_email"),
                "role": row.get("user_role"),
                "state": "administrator" if name == ADMINISTRATOR else _state_of(own),
                "teams": sorted(row.get("teams") or []),
                "keys": sum(1 for key in own if key["state"] not in ("deleted", "master")),
                **budget_of(row),
                "last_used": latest(key["last_used"] for key in own),
                "usage": _usage(used, name),
            }
        )
    known = {user["name"] for user in users}
    for gone, report in (used or {}).items():
        if gone not in known:
            users.append(
                {
                    "name": gone,
                    "full_name": report.get("user_alias"),
                    "email": report.get("user_email"),
                    "role": None,
                    "state": "deleted",
                    "teams": [],
                    "keys": 0,
                    **budget_of({}),
                    "spend": None,
                    "last_used": None,
                    "usage": _usage(used, gone),
                }
            )
    return sorted(users, key=lambda user: user["name"] or "")


def describe_teams(
    rows: Iterable[Mapping[str, Any]], keys: Iterable[Mapping[str, Any]], used: Mapping[str, Mapping[str, Any]] | None
) -> list[dict[str, Any]]:
    """A row for each team of the gateway, and for each that is gone but used something in the period."""
    of_team: dict[Any, list[Mapping[str, Any]]] = {}
    for key in keys:
        of_team.setdefault(key["team"], []).append(key)
    teams = []
    for row in rows:
        own = of_team.get(row["team_id"], [])
        members = [member.get("user_id") for member in row.get("members_with_roles") or [] if isinstance(member, Mapping)]
        teams.append(
            {
                "id": row["team_id"],
                "name": row.get("team_alias"),
                "state": "blocked" if row.get("blocked") else "active",
                # Whoever made a team with the master key is in it, without being one of its people.
                "members": sorted(str(member) for member in members if member and member != ADMINISTRATOR),
                "keys": sum(1 for key in own if key["state"] not in ("deleted", "master")),
                "models": list(row.get("models") or []),
                **{limit: row.get(limit) for limit in LIMITS},
                **budget_of(row),
                "last_used": latest(key["last_used"] for key in own),
                "usage": None if used is None else used.get(row["team_id"], {}).get("usage") or no_usage(),
            }
        )
    known = {team["id"] for team in teams}
    for gone, report in (used or {}).items():
        if gone not in known:
            is_none = gone == NO_TEAM and not report["name"]
            teams.append(
                {
                    "id": None if is_none else gone,
                    "name": report["name"],
                    "state": "no_team" if is_none else "deleted",
                    "members": [],
                    "keys": 0,
                    "models": [],
                    **dict.fromkeys(LIMITS),
                    **budget_of({}),
                    "spend": None,
                    "last_used": None,
                    "usage": report["usage"],
                }
            )
    return sorted(teams, key=lambda team: team["id"] or "")


def total_of(rows: Iterable[Mapping[str, Any]]) -> Usage:
    """What all rows used together."""
    total = no_usage()
    for row in rows:
        usage = row.get("usage") or {}
        for measure in MEASURES:
            total[measure] += usage.get(measure) or 0
    total["spend"] = round(total["spend"], 10)
    return total


def _usage(used: Mapping[Any, Mapping[str, Any]] | None, name: Any) -> Usage | None:
    if used is None:
        return None
    usage = no_usage()
    row = used.get(name)
    if row:
        # The report of keys keeps the numbers one level deeper than that of users.
        add_usage(usage, row.get("metrics") or row)
    return usage


def _state_of(keys: Iterable[Mapping[str, Any]]) -> str:
    states = {key["state"] for key in keys} - {"deleted", "master"}
    for state in ("active", "blocked", "expired"):
        if state in states:
            return state
    return "no_key"
