# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills a run at each of its steps in turn: before each command that changes something and before each change of the file system."""

from __future__ import annotations

import os
import shutil

import pytest

MOST_STEPS = 200


def count_changes_of_files(host, monkeypatch):
    """Make each change of the file system a step of the host."""
    for module, name in ((os, "rename"), (os, "unlink"), (os, "symlink"), (os, "makedirs"), (os, "fsync"), (os, "chown"), (shutil, "rmtree")):
        real = getattr(module, name)

        def counted(*arguments, __real=real, **keywords):
            host.step()
            return __real(*arguments, **keywords)

        monkeypatch.setattr(module, name, counted)


def killed_at_each_step(host, change):
    """Yield the number of each step at which a run of `change` was killed, until one gets to its end."""
    for step in range(MOST_STEPS):
        host.steps_left = step
        try:
            change()
        except KeyboardInterrupt:
            host.steps_left = None
            yield step
        else:
            host.steps_left = None
            assert step > 5, "a change has more steps than that: nothing was counted"
            return
    pytest.fail(f"the run did not end within {MOST_STEPS} steps")
