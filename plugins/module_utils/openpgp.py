# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints of OpenPGP keys, without a program that a fresh host may not have."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator

PUBLIC_KEY = 6
ARMOR = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
ARMOR_END = "-----END PGP PUBLIC KEY BLOCK-----"


class KeyFileError(Exception):
    """The file is no OpenPGP key, or one that is damaged."""


def _binary(content: bytes) -> bytes:
    text = content.decode("ascii", errors="replace")
    if ARMOR not in text:
        return content
    blocks = []
    for block in text.split(ARMOR)[1:]:
        body = block.partition(ARMOR_END)[0].replace("\r", "")
        # Headers end with an empty line; the checksum's line begins with an equals sign.
        lines = body.partition("\n\n")[2].split("\n")
        encoded = "".join(line.strip() for line in lines if not line.startswith("="))
        try:
            blocks.append(base64.b64decode(encoded, validate=True))
        except binascii.Error as error:
            raise KeyFileError(f"its armor is damaged ({error})") from error
    return b"".join(blocks)


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(data):
        head = data[place]
        if not head & 0x80:
            raise KeyFileError("it is no OpenPGP key")
        if head & 0x40:
            tag, place, length = head & 0x3F, place + 1, -1
            first = data[place] if place < len(data) else 255
            if first < 192:
                length, place = first, place + 1
            elif first < 224 and place + 1 < len(data):
                length, place = ((first - 192) << 8) + data[place + 1] + 192, place + 2
            elif first == 255:
                length, place = int.from_bytes(data[place + 1 : place + 5], "big"), place + 5
        else:
            tag, size = (head >> 2) & 0x0F, {0: 1, 1: 2, 2: 4}.get(head & 3, 0)
            length = int.from_bytes(data[place + 1 : place + 1 + size], "big") if size else -1
            place += 1 + size
        if length < 0 or place + length > len(data):
            raise KeyFileError("it is cut off or damaged")
        yield tag, data[place : place + length]
        place += length


def fingerprints(content: bytes) -> list[str]:
    """Fingerprints of the primary keys in a key file, armored or binary, in capital hexadecimal digits.

    Raises KeyFileError where there is none.
    """
    found = []
    for tag, body in _packets(_binary(content)):
        if tag != PUBLIC_KEY or not body:
            continue
        if body[0] == 4:
            digest = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False).hexdigest()
        elif body[0] == 6:
            digest = hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest()
        else:
            raise KeyFileError(f"it has a key of version {body[0]}, which nobody trusts any more")
        found.append(digest.upper())
    if not found:
        raise KeyFileError("it holds no key")
    return found


def unexpected(content: bytes, expected: list[str]) -> list[str]:
    """Which keys of a file are none of the expected ones, whose fingerprints may be written with blanks and small letters."""
    wanted = {text.replace(" ", "").upper() for text in expected}
    return [found for found in fingerprints(content) if found not in wanted]
