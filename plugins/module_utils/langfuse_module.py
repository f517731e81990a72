# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What modules share that read from a Langfuse."""

from __future__ import annotations

from datetime import datetime, time, timedelta, timezone
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.langfuse_traces import Api, LangfuseError, moment_of
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_usage import named_period

OPTIONS: dict[str, Any] = {
    "url": {"type": "str", "required": True},
    "public_key": {"type": "str", "required": True, "no_log": False},
    "secret_key": {"type": "str", "required": True, "no_log": True},
    "period": {"type": "str"},
    "since": {"type": "str"},
    "until": {"type": "str"},
}
CHECKS: dict[str, Any] = {
    "required_one_of": [("period", "since")],
    "required_together": [("since", "until")],
    "mutually_exclusive": [("period", "since")],
}


def period_of(given: dict[str, Any]) -> tuple[datetime, datetime]:
    """The period that is asked for.

    Raises:
        LangfuseError: it is none.
    """
    if given["period"]:
        try:
            days = named_period(given["period"], datetime.now(timezone.utc).date())
        except ValueError as error:
            raise LangfuseError(str(error)) from None
        first, last = (datetime.combine(day, time(), timezone.utc) for day in (days.since, days.until))
        return first, last + timedelta(days=1)
    since, until = moment_of(given["since"]), moment_of(given["until"])
    if since >= until:
        raise LangfuseError("The period ends (%s) before it begins (%s)." % (given["until"], given["since"]))
    return since, until


def api_of(given: dict[str, Any]) -> Api:
    """The Langfuse that is asked."""
    return Api(given["url"], given["public_key"], given["secret_key"])
