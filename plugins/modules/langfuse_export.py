#!/usr/bin/python
# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: langfuse_export
short_description: Write the conversations that a Langfuse holds to files
version_added: 0.1.0
description:
  - Writes each recorded call of a period to C(conversations.jsonl), exactly as it was recorded, and to C(conversations.csv) for spreadsheets,
    where text that would become a formula gets an apostrophe before it.
  - Reads page by page, so its memory does not grow with the number of conversations.
  - An export that was interrupted goes on where it was when it is run again; nothing is missing then, and nothing is there twice.
  - A complete one stays as it is, once it was begun O(settle_hours) after its period or later. One that was begun earlier is made anew, because traces
    arrive after the fact, for instance when Langfuse was away. What is there is replaced when the new one is complete, and never by one with fewer
    conversations.
  - Uses the public API of Langfuse 4.
extends_documentation_fragment:
  - private_llm.platform.langfuse
author:
  - Private LLM Platform team (@private-llm)
attributes:
  check_mode:
    description: Can run in C(check_mode) and says whether there is something to do; asks Langfuse for nothing then.
    support: full
  diff_mode:
    description: Shows how far the export is before and after, and no conversation.
    support: full
options:
  directory:
    description:
      - Directory for exports. Each period has a directory of its own in it, named after its first and last day (or its moments), made with mode
        V(0700) when missing.
    type: path
    required: true
  settle_hours:
    description: Hours after the end of the period until which traces of it may still arrive; an export that was begun before that is not final.
    type: int
    default: 24
  renew:
    description: Whether an export that is final is made anew, for traces that arrived later than O(settle_hours).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Keep what was asked and answered in November
  private_llm.platform.langfuse_export:
    url: http://127.0.0.1:3001
    public_key: pk-lf-gateway
    secret_key: "{{ langfuse_secret_key }}"
    since: "2026-11-01"
    until: "2026-12-01"
    directory: /var/lib/private-llm/exports
"""

RETURN = r"""
count:
  description: How many conversations the files hold.
  returned: success
  type: int
files:
  description: The files.
  returned: success
  type: list
  elements: path
final:
  description: Whether the export was begun so long after its period that no more traces of it are expected.
  returned: success
  type: bool
"""

import os
from dataclasses import asdict
from datetime import datetime, time, timedelta

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils.langfuse_module import CHECKS, OPTIONS, api_of, period_of
from ansible_collections.private_llm.platform.plugins.module_utils.langfuse_traces import Export, LangfuseError, Progress, stamp


def name_of(since: datetime, until: datetime) -> str:
    """A period as the name of a directory."""
    if since.time() == until.time() == time():
        return "%s_%s" % (since.date(), (until - timedelta(days=1)).date())
    return "%s_%s" % (stamp(since).replace(":", ""), stamp(until).replace(":", ""))


def facts_of(progress: Progress | None) -> dict[str, object]:
    facts = asdict(progress) if progress else {}
    facts.pop("cursor", None)
    return facts


def main() -> None:
    """Entry point."""
    own = {
        "directory": {"type": "path", "required": True},
        "settle_hours": {"type": "int", "default": 24},
        "renew": {"type": "bool", "default": False},
    }
    module = AnsibleModule(argument_spec={**OPTIONS, **own}, supports_check_mode=True, **CHECKS)
    given = module.params
    settle = timedelta(hours=given["settle_hours"])
    try:
        since, until = period_of(given)
        export = Export(os.path.join(given["directory"], name_of(since, until)))
        before = export.complete()
        changed = before is None or not before.is_final(settle) or export.progress() is not None or given["renew"]
        after = before if module.check_mode else export.run(api_of(given), since, until, settle=settle, renew=given["renew"])
    except (LangfuseError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=changed,
        count=after.count if after else 0,
        files=[export.jsonl, export.csv],
        final=bool(after and after.is_final(settle)),
        diff={"before": facts_of(before), "after": facts_of(after)},
    )


if __name__ == "__main__":
    main()
