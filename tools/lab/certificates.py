"""The lab's own certificate authority and the registry's certificate."""

from __future__ import annotations

from pathlib import Path

from lab.context import Lab, LabError, digest_of
from lab.steps import Step

REGISTRY_NAME = "registry.test"
SUBJECT_ALTERNATIVE_NAMES = f"DNS:{REGISTRY_NAME},DNS:localhost,IP:127.0.0.1"
AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 825
# Replaced a week before it ends, so that no run begins with a certificate that ends in the middle.
RENEW_SECONDS = 7 * 24 * 3600


class Certificates(Step):
    def __init__(self, lab: Lab) -> None:
        super().__init__(lab, "certificates", needs=("packages",))
        self.directory = lab.home / "ca"
        self.authority = self.directory / "ca.crt"
        self.authority_key = self.directory / "ca.key"
        self.certificate = self.directory / "registry.crt"
        self.key = self.directory / "registry.key"
        self.for_hosts = self.directory / "certs.d" / f"{REGISTRY_NAME}:5000" / "ca.crt"

    def fingerprint(self) -> str:
        return digest_of(SUBJECT_ALTERNATIVE_NAMES, str(AUTHORITY_DAYS), str(CERTIFICATE_DAYS))

    def is_present(self) -> bool:
        if not all(path.exists() for path in (self.authority, self.authority_key, self.certificate, self.key, self.for_hosts)):
            return False
        if self.for_hosts.read_bytes() != self.authority.read_bytes():
            return False
        lasts = self.lab.attempt(["openssl", "x509", "-noout", "-checkend", str(RENEW_SECONDS), "-in", self.certificate])
        return lasts.returncode == 0

    def make(self) -> None:
        log = self.lab.log_of("certificates")
        log.unlink(missing_ok=True)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._new_key(self.authority_key, log)
        self._openssl(
            log,
            "req",
            "-x509",
            "-new",
            "-key",
            self.authority_key,
            "-days",
            str(AUTHORITY_DAYS),
            "-subj",
            "/CN=private-llm lab authority",
            "-addext",
            "basicConstraints=critical,CA:TRUE,pathlen:0",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
            "-out",
            self.authority,
        )
        self._new_key(self.key, log)
        request = self.directory / "registry.csr"
        extensions = self.directory / "registry.ext"
        extensions.write_text(
            f"subjectAltName={SUBJECT_ALTERNATIVE_NAMES}\nbasicConstraints=critical,CA:FALSE\n"
            "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
        )
        self._openssl(log, "req", "-new", "-key", self.key, "-subj", f"/CN={REGISTRY_NAME}", "-out", request)
        self._openssl(
            log,
            "x509",
            "-req",
            "-in",
            request,
            "-CA",
            self.authority,
            "-CAkey",
            self.authority_key,
            "-CAcreateserial",
            "-days",
            str(CERTIFICATE_DAYS),
            "-extfile",
            extensions,
            "-out",
            self.certificate,
        )
        request.unlink()
        extensions.unlink()
        self.for_hosts.parent.mkdir(parents=True, exist_ok=True)
        self.for_hosts.write_bytes(self.authority.read_bytes())
        if not self.is_present():
            raise LabError("The certificates were made but openssl finds them wrong.", log)

    def _new_key(self, path: Path, log: Path) -> None:
        # Made readable by nobody else before it holds anything.
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        self._openssl(log, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)

    def _openssl(self, log: Path, *arguments: str | Path) -> None:
        self.lab.run(["openssl", *arguments], log=log, failure="The lab's certificates could not be made by openssl")
