# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets derived from one root secret: HKDF with SHA-256 (RFC 5869) and an alphanumeric alphabet."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

MINIMUM_ROOT_LENGTH = 32
PLACEHOLDER = "CHANGE-ME"
# The salt separates this platform's secrets from anything else made of the same root; changing it changes every secret.
SALT = b"private_llm.platform/derive_secret/1"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

_HASH_LENGTH = hashlib.sha256().digest_size
# 248 = 4 * 62: bytes above it are thrown away, so that every character is equally likely.
_UNBIASED_LIMIT = 256 - 256 % len(ALPHABET)


def hkdf_extract(salt: bytes, key_material: bytes) -> bytes:
    """Step 1 of RFC 5869: a pseudorandom key of the input key material."""
    return hmac.new(salt or bytes(_HASH_LENGTH), key_material, hashlib.sha256).digest()


def hkdf_expand(pseudorandom_key: bytes, info: bytes, length: int) -> bytes:
    """Step 2 of RFC 5869: output key material of exactly this length."""
    if length > 255 * _HASH_LENGTH:
        raise ValueError("HKDF with SHA-256 gives at most %d bytes." % (255 * _HASH_LENGTH))
    output = b""
    block = b""
    counter = 0
    while len(output) < length:
        counter += 1
        block = hmac.new(pseudorandom_key, block + info + bytes([counter]), hashlib.sha256).digest()
        output += block
    return output[:length]


def hkdf(key_material: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Both steps of RFC 5869."""
    return hkdf_expand(hkdf_extract(salt, key_material), info, length)


def _unbiased_characters(root_secret: str, label: str) -> Iterator[str]:
    pseudorandom_key = hkdf_extract(SALT, root_secret.encode("utf-8"))
    stretch = 0
    while True:
        # The stretch number only matters when rejection has used up a whole expansion; the zero byte keeps labels apart.
        info = label.encode("utf-8") + (b"\x00%d" % stretch if stretch else b"")
        for byte in hkdf_expand(pseudorandom_key, info, 128):
            if byte < _UNBIASED_LIMIT:
                yield ALPHABET[byte % len(ALPHABET)]
        stretch += 1


def root_secret_problem(root_secret: object) -> str | None:
    """What is wrong with a root secret, as the rest of a sentence; None when it is usable."""
    if root_secret is None or root_secret == "":
        return "is empty; make one with 'openssl rand -base64 48' and keep it in an encrypted inventory file"
    if not isinstance(root_secret, str):
        return "must be a string, not %s" % type(root_secret).__name__
    if PLACEHOLDER in root_secret:
        return "is still the placeholder; make one with 'openssl rand -base64 48' and keep it in an encrypted inventory file"
    if len(root_secret) < MINIMUM_ROOT_LENGTH:
        return "has %d characters, it needs at least %d; make one with 'openssl rand -base64 48'" % (len(root_secret), MINIMUM_ROOT_LENGTH)
    return None


def derive_secret(root_secret: str, label: str, length: int = 40, number: int = 1) -> str:
    """An alphanumeric secret of exactly this length that depends on the root secret, the label and the number alone."""
    problem = root_secret_problem(root_secret)
    if problem:
        raise ValueError("The root secret %s." % problem)
    if not label:
        raise ValueError("derive_secret needs a label that says what the secret is for, such as 'litellm/master-key'.")
    if length < 1:
        raise ValueError("derive_secret cannot make a secret of %d characters." % length)
    if number < 1:
        raise ValueError("derive_secret counts secrets of one label from 1, not from %d." % number)
    # The first one is older than numbers.
    characters = _unbiased_characters(root_secret, label if number == 1 else "%s#%d" % (label, number))
    return "".join(next(characters) for _index in range(length))
