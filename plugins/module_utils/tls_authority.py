# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates for TLS: what one says, whether it fits, and an authority of one's own. Also a program: python3 -I tls_authority.py DIRECTORY.

systemd runs it once a day: a certificate that is about to end is made anew, its service reads it again, and when it ends is written where
node_exporter finds it. Everything that it needs is in the directory. Nothing but Python's own library and the openssl program is used.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

PEM_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s*([A-Za-z0-9+/=\s]+?)\s*-----END CERTIFICATE-----")
# Order of the group of the curve P-256: a private key is a number below it.
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
CA_DAYS = 3650
DAY_SECONDS = 86400
SAN_OID, CONSTRAINTS_OID = bytes.fromhex("551d11"), bytes.fromhex("551d13")
# Tags of ASN.1, and those that a certificate gives its own fields.
INTEGER, OCTETS, OID, UTC_TIME, SEQUENCE, BOOLEAN = 0x02, 0x04, 0x06, 0x17, 0x30, 0x01
VERSION, EXTENSIONS, DNS_NAME, IP_ADDRESS = 0xA0, 0xA3, 0x82, 0x87
METRIC = "private_llm_certificate_not_after_timestamp_seconds"


class BadCertificate(Exception):
    """A certificate or key that cannot be used; the text says why and never holds any of it."""


# -- reading -----------------------------------------------------------------------------------------------------------


def _elements(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Tag, content and whole encoding of each ASN.1 element in a row."""
    position = 0
    while position < len(data):
        start = position
        tag, length = data[position], data[position + 1]
        position += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[position : position + count], "big")
            position += count
        if position + length > len(data):
            raise BadCertificate("it is cut short")
        yield tag, data[position : position + length], data[start : position + length]
        position += length


def _time(tag: int, content: bytes) -> float:
    text = content.decode("ascii")
    if tag == UTC_TIME:
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.timezone.utc).timestamp()


def _first(data: bytes) -> bytes:
    """The content of the first of some elements in a row."""
    for _tag, content, _whole in _elements(data):
        return content
    raise BadCertificate("it is cut short")


@dataclass(frozen=True)
class Certificate:
    """What a certificate says. Times are seconds since 1970."""

    subject: bytes
    issuer: bytes
    not_before: float
    not_after: float
    names: tuple[str, ...]
    is_authority: bool
    encoded: bytes = field(repr=False, default=b"")

    def covers(self, name: str) -> bool:
        """Whether a browser would take it for a server of this name or address."""
        if name in self.names:
            return True
        _host, dot, domain = name.partition(".")
        return bool(dot) and f"*.{domain}" in self.names and not _is_address(name)

    @property
    def ends(self) -> str:
        """The day on which it ends."""
        return datetime.datetime.fromtimestamp(self.not_after, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")

    @classmethod
    def read(cls, encoded: bytes) -> Certificate:
        """Read one. :raises BadCertificate: when it is none."""
        try:
            return cls._read(encoded)
        except (IndexError, ValueError) as error:
            raise BadCertificate("it cannot be read") from error

    @classmethod
    def _read(cls, encoded: bytes) -> Certificate:
        body = _first(_first(encoded))
        fields = [element for element in _elements(body) if element[0] != VERSION]
        _serial, _algorithm, issuer, validity, subject = fields[:5]
        start, end = (_time(tag, content) for tag, content, _whole in _elements(validity[1]))
        extensions = dict(cls._extensions(fields))
        names = tuple(cls._names(extensions.get(SAN_OID, b"")))
        constraints = list(_elements(_first(extensions[CONSTRAINTS_OID]))) if CONSTRAINTS_OID in extensions else []
        is_authority = any(tag == BOOLEAN and content != b"\0" for tag, content, _whole in constraints)
        return cls(subject[2], issuer[2], start, end, names, is_authority, encoded)

    @staticmethod
    def _extensions(fields: Sequence[tuple[int, bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        for tag, content, _whole in fields:
            if tag == EXTENSIONS:
                for _tag, extension, _raw in _elements(_first(content)):
                    parts = list(_elements(extension))
                    yield parts[0][1], parts[-1][1]

    @staticmethod
    def _names(extension: bytes) -> Iterator[str]:
        if extension:
            for tag, content, _whole in _elements(_first(extension)):
                if tag == DNS_NAME:
                    yield content.decode("ascii").lower()
                elif tag == IP_ADDRESS:
                    yield str(ipaddress.ip_address(content))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def read_chain(text: str) -> list[Certificate]:
    """All certificates in a PEM text, in their order. :raises BadCertificate: when one cannot be read."""
    return [Certificate.read(base64.b64decode(body)) for body in PEM_CERTIFICATE.findall(text)]


def key_problem(certificate: str, key: str) -> str | None:
    """Why a private key cannot be used with a certificate, both PEM; None when it can."""
    with tempfile.TemporaryDirectory(prefix="private-llm-") as place:
        paths = [os.path.join(place, name) for name in ("certificate", "key")]
        for path, text in zip(paths, (certificate, key)):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
                stream.write(text)
        if "ENCRYPTED" in key:
            return "the private key is encrypted; the proxy has to start without anybody who types a password"
        try:
            # Nothing is spoken with it.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(paths[0], paths[1], password=lambda: "")
        except ssl.SSLError as error:
            return "the private key is of another certificate" if "KEY_VALUES_MISMATCH" in str(error) else "the private key cannot be read"
        except (OSError, ValueError):
            return "the private key cannot be read"
    return None


def given_problems(certificate: str, key: str, names: Sequence[str], now: float) -> list[str]:
    """What is wrong with a certificate that somebody else made, for servers of these names."""
    try:
        chain = read_chain(certificate)
    except BadCertificate as error:
        return [f"the certificate is no good: {error}"]
    if not chain:
        return ["the certificate holds no -----BEGIN CERTIFICATE-----"]
    first = chain[0]
    problems = []
    if first.not_after <= now:
        problems.append(f"the certificate ended on {first.ends}")
    if first.not_before > now + DAY_SECONDS:
        problems.append("the certificate is not valid yet")
    missing = [name for name in names if not first.covers(name.lower())]
    if missing:
        problems.append(f"the certificate is for {', '.join(first.names) or 'nobody'} and not for {', '.join(missing)}")
    for number, (lower, upper) in enumerate(zip(chain, chain[1:]), start=1):
        if lower.issuer != upper.subject:
            problems.append(f"certificate {number + 1} of the chain did not sign certificate {number}; the server's own comes first")
        elif upper.not_after <= now:
            problems.append(f"certificate {number + 1} of the chain ended on {upper.ends}")
    problem = key_problem(certificate, key)
    return [*problems, problem] if problem else problems


# -- making ------------------------------------------------------------------------------------------------------------


def authority_key(secret: str) -> str:
    """The private key (PEM, P-256) of an authority that is derived from a secret: the same for the same secret, on whichever host."""
    number = int.from_bytes(hashlib.sha512(b"private_llm.platform/tls-authority/1\0" + secret.encode()).digest(), "big") % (P256_ORDER - 1) + 1
    body = bytes((INTEGER, 1, 1, OCTETS, 32)) + number.to_bytes(32, "big") + bytes.fromhex("a00a06082a8648ce3d030107")
    lines = base64.encodebytes(bytes((SEQUENCE, len(body))) + body).decode("ascii")
    return f"-----BEGIN EC PRIVATE KEY-----\n{lines}-----END EC PRIVATE KEY-----\n"


def write_secretly(path: str, text: str) -> None:
    """Replace a file in one step; nobody but its owner may ever read it."""
    temporary = f"{path}.new"
    if os.path.exists(temporary):
        os.unlink(temporary)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(temporary, path)


def _openssl(*words: str) -> str:
    # Keys are in files; what openssl says of them is not told further.
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BadCertificate(f"'openssl {words[0]}' failed with exit status {done.returncode}")
    return done.stdout


def read_text(path: str) -> str:
    """The text of a file; empty when there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


class Store:
    """A directory with the certificate of one service; ``bundle.pem`` is what the service reads: its certificate, the chain, its key."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.bundle = f"{directory}/bundle.pem"
        self.authority = f"{directory}/ca.crt"
        self.authority_key = f"{directory}/ca.key"
        self.settings_path = f"{directory}/settings.json"
        #: there while what the service has loaded may be older than the bundle
        self.stale = f"{directory}/reload"

    def settings(self) -> dict[str, Any]:
        """What was asked for last; empty when nothing was."""
        return json.loads(read_text(self.settings_path) or "{}")  # type: ignore[no-any-return]

    def certificate(self) -> Certificate | None:
        """The certificate in the bundle; None when there is none that can be read."""
        try:
            return next(iter(read_chain(read_text(self.bundle))), None)
        except BadCertificate:
            return None

    def make_authority(self, key: str, name: str) -> None:
        """A certificate of an authority with this key, valid for ten years."""
        write_secretly(self.authority_key, key)
        extensions = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
        with tempfile.TemporaryDirectory(prefix="private-llm-") as place:
            configuration = os.path.join(place, "openssl.cnf")
            with open(configuration, "w", encoding="utf-8") as stream:
                stream.write(f"[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\nCN={name}\n[ext]\n{extensions}")
            words = ("req", "-x509", "-new", "-sha256", "-days", str(CA_DAYS), "-config", configuration, "-key", self.authority_key)
            write_secretly(self.authority, _openssl(*words))
        os.chmod(self.authority, 0o644)

    def issue(self, names: Sequence[str], days: int) -> None:
        """A new key, and a certificate of the authority for it, in place of what is there."""
        sans = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in names)
        lines = f"subjectAltName={sans}\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
        with tempfile.TemporaryDirectory(prefix="private-llm-") as place:
            key, request, extensions = (os.path.join(place, name) for name in ("key", "request", "extensions"))
            with open(extensions, "w", encoding="utf-8") as stream:
                stream.write(f"{lines}subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
            _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
            _openssl("req", "-new", "-sha256", "-key", key, "-subj", "/CN=private-llm", "-out", request)
            serial = f"0x{os.urandom(16).hex()}"
            signed = _openssl(
                "x509", "-req", "-sha256", "-in", request, "-CA", self.authority, "-CAkey", self.authority_key, "-set_serial", serial,
                "-days", str(days), "-extfile", extensions,
            )  # fmt: skip
            self.replace(signed + read_text(self.authority) + read_text(key))

    def replace(self, bundle: str) -> None:
        """Have the service read this bundle from now on."""
        write_secretly(self.stale, "")
        write_secretly(self.bundle, bundle)

    def reason_to_issue(self, names: Sequence[str], renew_days: int, now: float) -> str | None:
        """Why the authority has to make a certificate; None when the one that is there will do."""
        found = self.certificate()
        if found is None:
            return "missing"
        authority = next(iter(read_chain(read_text(self.authority))), None)
        if authority is None or found.issuer != authority.subject or authority.encoded not in [c.encoded for c in read_chain(read_text(self.bundle))]:
            return "another authority"
        if sorted(found.names) != sorted(name.lower() for name in names):
            return "names"
        if found.not_after - now < renew_days * DAY_SECONDS:
            return f"ends on {found.ends}"
        return None

    def write_metric(self, directory: str) -> None:
        """Tell node_exporter's textfile collector when the certificate ends."""
        found = self.certificate()
        if directory and found is not None:
            name = os.path.basename(self.directory)
            head = f"# HELP {METRIC} When the certificate ends, in seconds since 1970.\n# TYPE {METRIC} gauge\n"
            path = f"{directory}/private_llm_tls_{name}.prom"
            os.makedirs(directory, exist_ok=True)
            write_secretly(path, f'{head}{METRIC}{{certificate="{name}"}} {found.not_after:.0f}\n')
            os.chmod(path, 0o644)

    def tell_service(self, unit: str) -> None:
        """Have the service read the bundle, where it runs; nothing when it has read it already."""
        if unit and os.path.exists(self.stale):
            subprocess.run(["systemctl", "try-reload-or-restart", unit], check=True, capture_output=True)
        if os.path.exists(self.stale):
            os.unlink(self.stale)


def renew(directory: str, now: float) -> bool:
    """The daily work; returns whether there is a new certificate."""
    store = Store(directory)
    settings = store.settings()
    reason = None
    if settings["source"] == "own":
        reason = store.reason_to_issue(settings["names"], settings["renew_days"], now)
        if reason:
            store.issue(settings["names"], settings["valid_days"])
    store.write_metric(settings["metrics_directory"])
    store.tell_service(settings["reload_unit"])
    return reason is not None


if __name__ == "__main__":
    sys.stdout.write("renewed\n" if renew(sys.argv[1], datetime.datetime.now(datetime.timezone.utc).timestamp()) else "nothing to do\n")
