# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Which project of which Langfuse, and of which time."""

    DOCUMENTATION = r"""
options:
  url:
    description: Address of Langfuse, as the host reaches it that the module runs on.
    type: str
    required: true
  public_key:
    description: Public key of the project.
    type: str
    required: true
  secret_key:
    description: Secret key of the project.
    type: str
    required: true
  period:
    description:
      - Days by a name, namely V(today), V(yesterday), V(this_week), V(last_week), V(this_month), V(last_month), V(this_year), or a number of days such
        as V(30d), in UTC.
      - Either this or O(since) and O(until).
    type: str
  since:
    description: Beginning of the period, as a day (its beginning, UTC) or a moment such as V(2026-11-30T12:00:00Z).
    type: str
  until:
    description: End of the period, which does not belong to it.
    type: str
"""
