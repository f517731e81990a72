# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secret variables of a container, which its program reads from a file before it starts.

What an engine is told as a container's environment it keeps in its own files and tells whoever asks, so it is not told.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace

from ansible_collections.private_llm.platform.plugins.module_utils.container_engine import Container, ImageStart, Mount

TARGET = "/run/private-llm/secret_environment"
SHELL = "/bin/sh"
# The program takes the shell's place, so that signals and exit status are its own.
SCRIPT = f'set -a; . {TARGET}; set +a; exec "$@"'


def file_text(variables: Mapping[str, str]) -> bytes:
    """The text of a file that a shell reads variables from, sorted, each value quoted where it has to be."""
    return "".join(f"{name}={shlex.quote(variables[name])}\n" for name in sorted(variables)).encode()


def read_first(container: Container, source: str, start: ImageStart) -> Container:
    """The container, in which a shell reads the variables and then becomes the program.

    :param source: the file on the host.
    :param start: what the image starts by itself.
    """
    # As for an engine: with another entry point the image's own arguments mean nothing.
    program = ImageStart([container.entrypoint]) if container.entrypoint else start
    words = [*program.entrypoint, *(container.command or program.command)]
    mounts = [*container.mounts, Mount(source, TARGET, read_only=True)]
    return replace(container, mounts=mounts, entrypoint=SHELL, command=["-c", SCRIPT, SHELL, *words])


def start_text(start: ImageStart) -> str:
    """What an image starts, as one line."""
    return json.dumps([list(start.entrypoint), list(start.command)])


def start_from_text(text: str) -> ImageStart:
    """The reverse of :func:`start_text`; nothing for an empty text."""
    entrypoint, command = json.loads(text or "[[], []]")
    return ImageStart(tuple(entrypoint), tuple(command))
