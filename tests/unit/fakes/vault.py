# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ansible-core 2.18 makes of a value that is vaulted inline: no string, but str() decrypts it."""

from __future__ import annotations


class Vaulted:
    __ENCRYPTED__ = True

    def __init__(self, plain):
        self._plain = plain

    def __str__(self):
        return self._plain
