# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import openpgp
from ansible_collections.private_llm.platform.tests.unit.fakes.openpgp_keys import VERSION_4, VERSION_4_PRINT, VERSION_6, VERSION_6_PRINT


def armored(content):
    body = base64.b64encode(content).decode()
    return f"{openpgp.ARMOR}\nVersion: somebody's\n\n{body[:64]}\n{body[64:]}\n=abcd\n{openpgp.ARMOR_END}\n".encode()


@pytest.mark.parametrize(("key", "fingerprint"), [(VERSION_4, VERSION_4_PRINT), (VERSION_6, VERSION_6_PRINT)])
def test_a_key_has_the_fingerprint_that_its_standard_gives_it(key, fingerprint):
    assert openpgp.fingerprints(key) == [fingerprint]
    assert openpgp.fingerprints(armored(key)) == [fingerprint]


def test_all_keys_of_a_file_are_seen():
    assert openpgp.fingerprints(armored(VERSION_4) + b"\n" + armored(VERSION_6)) == [VERSION_4_PRINT, VERSION_6_PRINT]


def test_a_key_beside_the_expected_one_is_unexpected():
    assert openpgp.unexpected(VERSION_4, ["97965A9A"]) == [VERSION_4_PRINT]
    assert openpgp.unexpected(VERSION_4, ["C959 BDBA FA32 A2F8 9A15  3B67 8CFD E121 9796 5A9A"]) == []
    assert openpgp.unexpected(VERSION_4 + VERSION_6, [VERSION_4_PRINT]) == [VERSION_6_PRINT]


@pytest.mark.parametrize(
    "content", [b"", b"<html>404</html>", VERSION_4[:20], armored(VERSION_4).replace(b"OYM", b"!!!", 1)[:120], b"\xff\xff", b"\xc6", b"\x98\x02\x03\x01"]
)
def test_what_is_no_key_is_refused(content):
    with pytest.raises(openpgp.KeyFileError):
        openpgp.fingerprints(content)


@pytest.mark.parametrize("length", range(1, len(VERSION_4)))
def test_a_key_that_is_cut_off_anywhere_is_refused(length):
    with pytest.raises(openpgp.KeyFileError):
        openpgp.fingerprints(VERSION_4[:length])
