# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import collections

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import hkdf

ROOT = "an-example-root-secret-of-enough-length-0123456789"

# RFC 5869, appendix A: the three test cases for SHA-256 (basic, longer inputs, empty salt and info).
RFC_5869 = [
    pytest.param(
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        42,
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        id="A.1",
    ),
    pytest.param(
        "".join("%02x" % value for value in range(0x50)),
        "".join("%02x" % value for value in range(0x60, 0xB0)),
        "".join("%02x" % value for value in range(0xB0, 0x100)),
        82,
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
        "cc30c58179ec3e87c14c01d5c1f3434f1d87",
        id="A.2",
    ),
    pytest.param(
        "0b" * 22,
        "",
        "",
        42,
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        id="A.3",
    ),
]


@pytest.mark.parametrize("key_material, salt, info, length, pseudorandom_key, output", RFC_5869)
def test_the_test_vectors_of_rfc_5869_hold(key_material, salt, info, length, pseudorandom_key, output):
    extracted = hkdf.hkdf_extract(bytes.fromhex(salt), bytes.fromhex(key_material))
    assert extracted.hex() == pseudorandom_key
    assert hkdf.hkdf_expand(extracted, bytes.fromhex(info), length).hex() == output
    assert hkdf.hkdf(bytes.fromhex(key_material), bytes.fromhex(salt), bytes.fromhex(info), length).hex() == output


def test_more_than_rfc_5869_allows_is_refused():
    with pytest.raises(ValueError, match="at most 8160 bytes"):
        hkdf.hkdf_expand(bytes(32), b"", 8161)


@pytest.mark.parametrize("length", [1, 2, 40, 127, 128, 129, 500])
def test_a_secret_has_exactly_the_asked_length_and_only_letters_and_digits(length):
    secret = hkdf.derive_secret(ROOT, "some/label", length)
    assert len(secret) == length
    assert set(secret) <= set(hkdf.ALPHABET)


def test_a_secret_never_changes_between_releases():
    # A changed value here would change every secret of every installation.
    assert hkdf.derive_secret(ROOT, "litellm/master-key") == "6TOJbnAFGAqb5zazRDDdsSBeReBQJi49BXdGgnLh"
    assert hkdf.derive_secret(ROOT, "litellm/key/ada/1", 8) == "5TEvvv1j"


def test_another_label_or_root_gives_an_unrelated_secret():
    secrets = {hkdf.derive_secret(ROOT, "label/%d" % number) for number in range(200)}
    secrets.add(hkdf.derive_secret(ROOT + "x", "label/0"))
    assert len(secrets) == 201


def test_every_character_is_equally_likely():
    text = "".join(hkdf.derive_secret(ROOT, "label/%d" % number, 500) for number in range(124))
    counts = collections.Counter(text)
    assert set(counts) == set(hkdf.ALPHABET)
    # 62,000 characters, 1000 expected of each; a modulo bias would put the first eight letters near 1220.
    assert max(counts.values()) < 1150
    assert min(counts.values()) > 850


@pytest.mark.parametrize(
    "root, sentence",
    [
        ("", "is empty"),
        (None, "is empty"),
        ("short", "has 5 characters, it needs at least 32"),
        ("CHANGE-ME-to-a-long-random-string-of-characters", "still the placeholder"),
        (42, "must be a string"),
    ],
)
def test_an_unusable_root_secret_is_refused_with_a_sentence(root, sentence):
    with pytest.raises(ValueError, match=sentence):
        hkdf.derive_secret(root, "some/label")


def test_a_refusal_does_not_quote_the_secret():
    with pytest.raises(ValueError) as refusal:
        hkdf.derive_secret("tooshortsecret", "some/label")
    assert "tooshortsecret" not in str(refusal.value)


def test_an_empty_label_is_refused():
    with pytest.raises(ValueError, match="needs a label"):
        hkdf.derive_secret(ROOT, "")
