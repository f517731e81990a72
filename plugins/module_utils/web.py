# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small files from the web or from the host itself."""

from __future__ import annotations

from ansible.module_utils.urls import open_url
from ansible_collections.private_llm.platform.plugins.module_utils.apt_repository import RepositoryError

TIMEOUT_SECONDS = 30
LARGEST = 1024 * 1024


def fetched(place: str) -> bytes:
    """Content of an URL (also file://) or of an absolute path on the host, 1 MiB at most. Raises RepositoryError."""
    try:
        if place.startswith("/"):
            with open(place, "rb") as stream:
                content = stream.read(LARGEST + 1)
        else:
            content = open_url(place, timeout=TIMEOUT_SECONDS, http_agent="private_llm.platform").read(LARGEST + 1)
    except Exception as error:
        raise RepositoryError(f"{place} cannot be fetched ({error}): check the address, or name a mirror. Nothing was changed.") from error
    if len(content) > LARGEST:
        raise RepositoryError(f"{place} is larger than a key can be. Nothing was changed.")
    return content
