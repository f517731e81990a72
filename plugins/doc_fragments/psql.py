# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Where a PostgreSQL that runs in a container is."""

    DOCUMENTATION = r"""
options:
  container:
    description: Name of the server's container.
    type: str
    required: true
  login_user:
    description: Superuser of the server.
    type: str
    required: true
  login_database:
    description: Database to connect to.
    type: str
    default: postgres
  password_file:
    description: File in the container that holds the password of O(login_user).
    type: path
    required: true
"""
