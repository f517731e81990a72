# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What the modules for one object at the gateway have in common."""

    DOCUMENTATION = r"""
options: {}
notes:
  - What is given is the whole wanted state of the object. A limit that was set by this module once and is no longer given is removed; one
    that it never set is left alone.
  - An object that M(private_llm.platform.litellm_access) has in its list belongs there, and is an error here; say it in one place only.
  - In check mode, where the gateway does not accept the master key, which a run may give it first, a warning says that nothing can be foreseen.
  - When the task fails, C(changed) and C(changes) tell what was done by then.
"""
