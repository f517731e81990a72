# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import openpgp

# The public key of RFC 9580, appendix A.1 (version 4), and of A.3 (version 6), with the fingerprints that the document gives.
VERSION_4 = bytes.fromhex(
    "98330453f35f0b16092b06010401da470f01010740" + "3f098994bdd916ed4053197934e4a87c80733a1280d62f8010992e43ee3b2406"
)
VERSION_4_PRINT = "C959BDBAFA32A2F89A153B678CFDE12197965A9A"
VERSION_6 = bytes.fromhex("c62a0663877fe31b00000020f94da7bb48d60a61e567706a6587d0331999bb9d891a08242ead84543df895a3")
VERSION_6_PRINT = "CB186C4F0609A697E4D52DFA6C722B0C1F1E27C18A56708F6525EC27BAD9ACC9"


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
    assert openpgp.unexpected(VERSION_4, ["97965a9a"]) == []
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
