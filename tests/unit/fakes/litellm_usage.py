# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The small LiteLLM with the reports of daily activity, as the real program (1.109.1) was seen to give them."""

from __future__ import annotations

import datetime

from ansible_collections.private_llm.platform.tests.unit.fakes.litellm import FakeLitellm, detail_error, unprocessable

LONGEST = 400


class FakeWithUsage(FakeLitellm):
    """`gateway.used` has a row for each request: day, key hash, user, team, spend, prompt and completion tokens, whether it failed."""

    def __init__(self):
        super().__init__()
        self.used = []

    def use(self, key, user, team=None, day="2026-11-25", spend=0.5, tokens=(10, 5), failed=False):
        self.used.append({"day": day, "key": key, "user": user, "team": team, "spend": spend, "tokens": tokens, "failed": failed})

    def _rows(self, query):
        first, last = (datetime.date.fromisoformat(query[name]) for name in ("start_date", "end_date"))
        if (last - first).days > LONGEST:
            raise detail_error(400, "Date range must be at most 400 days")
        return [row for row in self.used if query["start_date"] <= row["day"] <= query["end_date"]]

    @staticmethod
    def _metrics(rows):
        sent, got = (sum(row["tokens"][index] for row in rows) for index in (0, 1))
        failed = sum(row["failed"] for row in rows)
        return {
            "spend": sum(row["spend"] for row in rows),
            "prompt_tokens": sent,
            "completion_tokens": got,
            "total_tokens": sent + got,
            "api_requests": len(rows),
            "successful_requests": len(rows) - failed,
            "failed_requests": failed,
        }

    def _pages(self, query, member, entries):
        limit, offset = int(query.get("limit", 50)), int(query.get("offset", 0))
        if limit > 100:
            raise unprocessable("limit", "Input should be less than or equal to 100", str(limit))
        return {member: entries[offset : offset + limit], "total_" + member: len(entries), "offset": offset, "limit": limit}

    def _grouped(self, query, field):
        groups = {}
        for row in self._rows(query):
            groups.setdefault(row[field], []).append(row)
        return sorted(groups.items(), key=lambda entry: -sum(row["spend"] for row in entry[1]))

    def get_user_daily_activity_aggregated_users(self, query):
        entries = []
        for name, rows in self._grouped(query, "user"):
            known = self.users.get(name) or {}
            entries.append({"user_id": name, "user_email": known.get("user_email"), "user_alias": known.get("user_alias"), **self._metrics(rows)})
        return self._pages(query, "users", entries)

    def get_user_daily_activity_aggregated_keys(self, query):
        entries = []
        for token, rows in self._grouped(query, "key"):
            about = {"key_alias": (self.keys.get(token) or {}).get("key_alias"), "team_id": rows[0]["team"], "user_id": rows[0]["user"]}
            entries.append({"api_key": token, "metrics": self._metrics(rows), "metadata": {**about, "key_exists": token in self.keys}})
        return self._pages(query, "api_keys", entries)

    def get_team_daily_activity_aggregated(self, query):
        days = {}
        for row in self._rows(query):
            days.setdefault(row["day"], {}).setdefault(row["team"] or "Unassigned", []).append(row)
        results = []
        for day, teams in sorted(days.items()):
            entities = {}
            for team, rows in teams.items():
                metadata = {"team_alias": self.teams[team]["team_alias"]} if team in self.teams else {}
                entities[team] = {"metrics": self._metrics(rows), "metadata": metadata, "api_key_breakdown": {}}
            results.append({"date": day, "metrics": {}, "breakdown": {"entities": entities}})
        return {"results": results, "metadata": {}}
