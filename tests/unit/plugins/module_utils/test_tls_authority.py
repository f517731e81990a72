# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import ssl
import subprocess

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import tls_authority
from ansible_collections.private_llm.platform.plugins.module_utils.tls_authority import (
    DAY_SECONDS,
    BadCertificate,
    Certificate,
    Store,
    authority_key,
    given_problems,
    key_problem,
    read_chain,
    renew,
)

SECRET = "a-secret-of-the-test-that-is-long-enough"
NAMES = ["gateway.test", "192.0.2.10", "2001:db8::10"]


@pytest.fixture
def store(tmp_path):
    found = Store(str(tmp_path / "web"))
    os.makedirs(found.directory)
    found.make_authority(authority_key(SECRET), "Authority of the test")
    return found


@pytest.fixture
def now():
    import time

    return time.time()


def parts(store):
    """Certificate and chain, and the key, as somebody else would give them."""
    text = tls_authority.read_text(store.bundle)
    certificate, marker, key = text.partition("-----BEGIN PRIVATE KEY-----")
    return certificate, marker + key


def test_the_same_secret_makes_the_same_authority_on_every_host(tmp_path, store):
    store.issue(NAMES, 90)
    elsewhere = Store(str(tmp_path / "elsewhere"))
    os.makedirs(elsewhere.directory)
    elsewhere.make_authority(authority_key(SECRET), "Authority of the test")
    assert authority_key(SECRET) != authority_key(SECRET + "x")
    # Who trusts the one made elsewhere trusts what this one signed.
    certificate = f"{store.directory}/leaf.pem"
    with open(certificate, "w", encoding="ascii") as stream:
        stream.write(parts(store)[0])
    subprocess.run(["openssl", "verify", "-CAfile", elsewhere.authority, certificate], check=True, capture_output=True)


def test_an_issued_certificate_says_what_was_asked_for(store, now):
    store.issue(NAMES, 90)
    found = store.certificate()
    assert sorted(found.names) == sorted(NAMES) and not found.is_authority
    assert abs(found.not_after - now - 90 * DAY_SECONDS) < 60
    assert read_chain(tls_authority.read_text(store.bundle))[1].is_authority


def test_what_python_says_of_a_certificate_is_what_is_read_here(store):
    store.issue(NAMES, 90)
    told = ssl._ssl._test_decode_cert(store.bundle)
    found = store.certificate()
    assert ssl.cert_time_to_seconds(told["notAfter"]) == found.not_after
    assert ssl.cert_time_to_seconds(told["notBefore"]) == found.not_before
    assert {value.lower() for kind, value in told["subjectAltName"] if kind == "DNS"} == {name for name in found.names if name == "gateway.test"}


@pytest.mark.parametrize("names, renew_days, reason", [
    (NAMES, 30, None),
    ([*reversed(NAMES)], 30, None),
    (["GATEWAY.test", *NAMES[1:]], 30, None),
    (NAMES[:1], 30, "names"),
    (NAMES, 100, "ends on"),
])  # fmt: skip
def test_another_certificate_is_made_when_names_differ_or_the_end_is_near(store, now, names, renew_days, reason):
    store.issue(NAMES, 90)
    found = store.reason_to_issue(names, renew_days, now)
    assert found is None if reason is None else reason in found


def test_another_certificate_is_made_when_there_is_none_or_the_authority_is_another(store, now):
    assert store.reason_to_issue(NAMES, 30, now) == "missing"
    store.issue(NAMES, 90)
    store.make_authority(authority_key(SECRET + "x"), "Another authority")
    assert store.reason_to_issue(NAMES, 30, now) == "another authority"


def test_a_given_certificate_that_fits_has_no_problems(store, now):
    store.issue(NAMES, 90)
    assert given_problems(*parts(store), NAMES, now) == []


def test_all_that_is_wrong_with_a_given_certificate_is_told_at_once(store, now):
    store.issue(NAMES, 90)
    certificate, _key = parts(store)
    store.issue(NAMES, 90)
    found = given_problems(certificate, parts(store)[1], ["other.test"], now + 91 * DAY_SECONDS)
    assert len(found) == 3
    for words in ("ended on", "not for other.test", "of another certificate"):
        assert words in " ".join(found)


def test_a_chain_in_the_wrong_order_is_noticed(store, now):
    store.issue(NAMES, 90)
    certificate, key = parts(store)
    other = Store(f"{store.directory}/other")
    os.makedirs(other.directory)
    other.make_authority(authority_key(SECRET + "x"), "Another authority")
    leaf = certificate.partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    found = given_problems(leaf + tls_authority.read_text(other.authority), key, NAMES, now)
    assert found == ["certificate 2 of the chain did not sign certificate 1; the server's own comes first"]


@pytest.mark.parametrize("key, told", [
    ("nonsense", "the private key cannot be read"),
    ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "is encrypted"),
])  # fmt: skip
def test_a_key_that_cannot_be_used_is_told_without_being_shown(store, key, told):
    store.issue(NAMES, 90)
    problem = key_problem(parts(store)[0], key)
    assert told in problem and "AAAA" not in problem


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x82\xff\xff", b"\x30\x03\x02\x01\x01", b"\x30\x80\x00\x00", b"\x02\x01\x01", bytes(40)])
def test_what_is_no_certificate_is_one_sentence(data):
    with pytest.raises(BadCertificate):
        Certificate.read(data)


def test_a_certificate_that_is_damaged_anywhere_never_breaks_the_reader(store):
    store.issue(NAMES, 90)
    encoded = store.certificate().encoded
    for position in range(0, len(encoded), 3):
        damaged = bytearray(encoded)
        damaged[position] ^= 0xFF
        try:
            Certificate.read(bytes(damaged))
        except BadCertificate:
            continue


def test_a_star_covers_one_label(store):
    found = Certificate(b"", b"", 0, 0, ("*.example.com", "192.0.2.1"), False)
    assert found.covers("web.example.com") and found.covers("192.0.2.1")
    assert not found.covers("example.com") and not found.covers("a.web.example.com")


def test_no_file_with_a_key_is_ever_open_to_others(store):
    store.issue(NAMES, 90)
    for path in (store.bundle, store.authority_key):
        assert os.stat(path).st_mode & 0o777 == 0o600


def keep(store, **more):
    settings = {"source": "own", "names": NAMES, "valid_days": 90, "renew_days": 30, "reload_unit": "", "metrics_directory": f"{store.directory}/metrics"}
    tls_authority.write_secretly(store.settings_path, tls_authority.json.dumps({**settings, **more}))


def test_the_daily_work_renews_in_time_and_tells_the_end(store, now):
    store.issue(NAMES, 90)
    keep(store)
    first = store.certificate()
    assert not renew(store.directory, now) and store.certificate() == first
    assert renew(store.directory, now + 61 * DAY_SECONDS)
    assert store.certificate() != first
    text = tls_authority.read_text(f"{store.directory}/metrics/private_llm_tls_web.prom")
    assert f'{{certificate="web"}} {store.certificate().not_after:.0f}\n' in text


def test_a_given_certificate_is_never_replaced_by_the_daily_work(store, now):
    store.issue(NAMES, 90)
    keep(store, source="given")
    first = store.certificate()
    assert not renew(store.directory, now + 89 * DAY_SECONDS) and store.certificate() == first


def test_the_service_is_told_until_it_was(store, monkeypatch):
    told = []
    monkeypatch.setattr(tls_authority.subprocess, "run", lambda words, **_more: told.append(words[1:]))
    store.tell_service("web.service")
    assert told == []
    store.replace("bundle")
    store.tell_service("web.service")
    store.tell_service("web.service")
    assert told == [["try-reload-or-restart", "web.service"]]
