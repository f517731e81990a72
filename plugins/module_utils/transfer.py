# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a large file to this host: streamed, resumed where the other side allows it, and only ever complete and verified."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import http.client
import io
import json
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Callable

from ansible.module_utils.urls import open_url

BLOCK = 1024 * 1024
RETRIED_STATUSES = (408, 425, 429, 500, 502, 503, 504)
CHECKSUM = re.compile(r"^(?:sha256:)?([0-9a-fA-F]{64})$")


class TransferFailed(Exception):
    """The file could not be brought here; the text is complete for the user."""


class _TryAgain(Exception):
    """This attempt failed, the next one may not."""


@dataclass
class Answer:
    """What the other side sends: ``start`` is where in the file its first byte belongs."""

    stream: Any
    start: int
    total: int | None
    validator: str | None = None


@dataclass(frozen=True)
class Transfer:
    """A finished transfer."""

    size: int
    received: int
    resumed_from: int
    attempts: int


def parse_checksum(text: str) -> str:
    """The lower-case digits of ``sha256:DIGITS`` or ``DIGITS``. :raises ValueError: when it is neither."""
    match = CHECKSUM.match(text.strip())
    if not match:
        raise ValueError("a SHA-256 checksum has 64 hexadecimal digits, with or without 'sha256:' before them")
    return match.group(1).lower()


def shown(url: str) -> str:
    """The address without what may be secret in it: user, password, query."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def local_path(url: str) -> str | None:
    """The path that a ``file://`` address means, or None for any other address."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.unquote(parts.path) if parts.scheme == "file" else None


def sha256_of(path: str) -> str:
    """The SHA-256 checksum of a file's content."""
    return str(_digest_of(path).hexdigest())


def _digest_of(path: str) -> Any:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(BLOCK), b""):
            digest.update(block)
    return digest


def size_text(size: int) -> str:
    """A size as people read it."""
    value, unit = float(size), "bytes"
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{size} bytes" if unit == "bytes" else f"{value:.1f} {unit}"


@dataclass(frozen=True)
class Source:
    """Where a file comes from, and how to ask for it."""

    url: str
    headers: Mapping[str, str]
    timeout: int = 60
    validate_certs: bool = True
    ca_path: str | None = None

    def open(self, start: int, validator: str | None) -> Answer:
        """Ask for the file from a position on.

        :raises TransferFailed: when asking again is pointless.
        """
        path = local_path(self.url)
        return self._open_http(start, validator) if path is None else self._open_file(path, start)

    def probe(self) -> int | None:
        """Ask whether the file can be had, without taking it; how many bytes it has, if that is told.

        :raises TransferFailed: when it cannot be had.
        """
        try:
            answer = self.open(0, None)
            answer.stream.close()
            return answer.total
        except _TryAgain as error:
            raise TransferFailed(f"{shown(self.url)} cannot be fetched: {error}") from error

    @staticmethod
    def _open_file(path: str, start: int) -> Answer:
        try:
            stream = io.FileIO(path)
            total = os.fstat(stream.fileno()).st_size
        except OSError as error:
            raise TransferFailed(f"{path} cannot be read on this host: {error.strerror}") from error
        stream.seek(min(start, total))
        return Answer(stream, min(start, total), total)

    def _open_http(self, start: int, validator: str | None) -> Answer:
        headers = {**self.headers, "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if validator:
                headers["If-Range"] = validator
        try:
            response = open_url(
                self.url,
                headers=headers,
                timeout=self.timeout,
                validate_certs=self.validate_certs,
                ca_path=self.ca_path,
                http_agent="private_llm.platform",
                # A download site's redirect must not carry the headers (they may hold a token) to another host.
                unredirected_headers=list(self.headers),
                decompress=False,
            )
        except urllib.error.HTTPError as error:
            return self._refused(error, start)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._unreachable(error) from error
        return self._accepted(response, start)

    def _refused(self, error: urllib.error.HTTPError, start: int) -> Answer:
        if error.code == 416 and start:
            match = re.match(r"bytes \*/(\d+)$", error.headers.get("Content-Range", ""))
            if match and int(match.group(1)) == start:
                return Answer(error, start, start)
            return Answer(error, 0, 0)
        if error.code in RETRIED_STATUSES:
            raise _TryAgain(f"the server answered {error.code} ({error.reason})") from error
        hint = {401: "it wants credentials", 403: "access is refused", 404: "there is no such file", 410: "the file is gone"}.get(
            error.code, "it is not delivered"
        )
        raise TransferFailed(f"{shown(self.url)} answered {error.code}: {hint}. Check the address and the headers sent with it") from error

    def _unreachable(self, error: Exception) -> Exception:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return TransferFailed(
                f"the certificate of {shown(self.url)} is not trusted on this host ({reason}): add its authority to the host's CA certificates"
            )
        if isinstance(error, ValueError):
            return TransferFailed(f"'{shown(self.url)}' is not an address that can be fetched (https, http or file): {error}")
        return _TryAgain(f"no connection ({reason})")

    @staticmethod
    def _accepted(response: Any, start: int) -> Answer:
        validator = response.headers.get("ETag", "")
        validator = response.headers.get("Last-Modified") if validator.startswith("W/") or not validator else validator
        length = response.headers.get("Content-Length")
        begin = 0
        if response.status == 206:
            match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            begin = int(match.group(1)) if match else -1
            if begin != start:
                response.close()
                raise _TryAgain("the server sent another part of the file than the one asked for")
        return Answer(response, begin, begin + int(length) if length and length.isdigit() else None, validator or None)


class Partial:
    """An unfinished file next to where it will be, with a note of what it is a part of."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._note = f"{path}.json"

    def usable_size(self, checksum: str) -> int:
        """How much of the wanted file is here; 0 when the note is of another file."""
        if self.note().get("checksum") != checksum:
            return 0
        try:
            return os.path.getsize(self.path)
        except OSError:
            return 0

    def note(self) -> dict[str, Any]:
        """What is known about the part that is here."""
        try:
            with open(self._note, encoding="utf-8") as stream:
                found = json.load(stream)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def remember(self, checksum: str, url: str, validator: str | None) -> None:
        """Note what is being received, before it is."""
        with open(self._note, "w", encoding="utf-8") as stream:
            # Only a hash of the address: it may hold a token.
            json.dump({"checksum": checksum, "source": hashlib.sha256(url.encode()).hexdigest(), "validator": validator}, stream)

    def validator(self, url: str) -> str | None:
        """What the server of this address said the part belongs to."""
        note = self.note()
        same = note.get("source") == hashlib.sha256(url.encode()).hexdigest()
        return note.get("validator") if same else None

    def forget_note(self) -> None:
        """Remove the note of a part that is complete."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._note)

    def discard(self) -> None:
        """Remove the part and its note."""
        self.forget_note()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def expect_space(directory: str, missing: int, keep_free: int, what: str) -> None:
    """Refuse a transfer for which there is no space, before it takes any.

    :param directory: where the file goes; it need not exist yet.
    :param missing: bytes that are still to come.
    :param keep_free: bytes that have to be free afterwards.
    :raises TransferFailed: when they would not be.
    """
    there = os.path.abspath(directory)
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    free = shutil.disk_usage(there).free
    if free < missing + keep_free:
        kept = f" with {size_text(keep_free)} left for others" if keep_free else ""
        raise TransferFailed(
            f"{directory} has {size_text(free)} free, and {what} needs {size_text(missing)}{kept}: free "
            f"{size_text(missing + keep_free - free)} more, or take another directory. Nothing was changed"
        )


class Fetcher:
    """Brings one file into a :class:`Partial`, which then holds exactly what was asked for."""

    def __init__(
        self, source: Source, checksum: str, attempts: int = 5, sleep: Callable[[float], None] = time.sleep, keep_free: int = 0
    ) -> None:
        self._source = source
        self._checksum = checksum
        self._attempts = attempts
        self._keep_free = keep_free
        self._began_here = False
        self._sleep = sleep

    def fetch(self, path: str) -> Transfer:
        """Receive into ``path``.

        :raises TransferFailed: then ``path`` is either gone or a part that the next call goes on with.
        """
        partial = Partial(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise TransferFailed(f"another run is fetching {shown(self._source.url)} right now: wait for it to end") from error
            try:
                return self._fetch(partial, stream)
            except OSError as error:
                partial.discard()
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise TransferFailed(
                        f"no space is left in {os.path.dirname(path)} for {shown(self._source.url)}: free some and run again"
                    ) from error
                raise TransferFailed(f"{path} cannot be written: {error.strerror or error}") from error
            except TransferFailed:
                if os.path.exists(path) and os.path.getsize(path) == 0:
                    partial.discard()
                raise

    def _fetch(self, partial: Partial, stream: IO[bytes]) -> Transfer:
        received = attempt = failures = 0
        why = ""
        while failures < self._attempts:
            if failures:
                self._sleep(min(2.0 ** (failures - 1), 30.0))
            attempt += 1
            try:
                start, got, digest = self._attempt(partial, stream)
            except _TryAgain as error:
                why = str(error)
                failures += 1
                continue
            received += got
            size = stream.seek(0, os.SEEK_END)
            if digest == self._checksum:
                os.fsync(stream.fileno())
                partial.forget_note()
                return Transfer(size, received, start, attempt)
            stream.truncate(0)
            if not self._began_here:
                # The part that an earlier run left did not belong to it; this happens once, because now the file is ours from its first byte.
                continue
            partial.discard()
            raise TransferFailed(
                f"{shown(self._source.url)} delivered {size_text(size)} with the SHA-256 checksum {digest}, but {self._checksum} is expected: "
                "check the address and the checksum. Nothing was changed"
            )
        kept = stream.seek(0, os.SEEK_END)
        later = f" The first {size_text(kept)} are kept, the next run goes on from there." if kept else ""
        raise TransferFailed(f"{shown(self._source.url)} could not be fetched in {attempt} attempts: {why}.{later} Nothing was changed")

    def _attempt(self, partial: Partial, stream: IO[bytes]) -> tuple[int, int, str]:
        have = partial.usable_size(self._checksum)
        answer = self._source.open(have, partial.validator(self._source.url) if have else None)
        with contextlib.closing(answer.stream):
            if have and answer.start == 0 and answer.total == 0:
                stream.truncate(0)
                raise _TryAgain("the server has less of the file than was fetched earlier")
            start = answer.start
            self._began_here = self._began_here or start == 0
            stream.truncate(start)
            if answer.total is not None:
                expect_space(os.path.dirname(partial.path), answer.total - start, self._keep_free, shown(self._source.url))
            partial.remember(self._checksum, self._source.url, answer.validator)
            digest = _digest_of(partial.path) if start else hashlib.sha256()
            stream.seek(start)
            got = self._receive(answer, stream, digest, start)
        if answer.total is not None and start + got < answer.total:
            raise _TryAgain(f"the transfer ended after {size_text(start + got)} of {size_text(answer.total)}")
        return start, got, digest.hexdigest()

    @staticmethod
    def _receive(answer: Answer, stream: IO[bytes], digest: Any, start: int) -> int:
        got = 0
        if answer.total == start:
            return got
        while True:
            try:
                block = answer.stream.read(BLOCK)
            except (OSError, http.client.HTTPException) as error:
                stream.flush()
                raise _TryAgain(f"the connection broke after {size_text(start + got)} ({error})") from error
            if not block:
                stream.flush()
                return got
            stream.write(block)
            digest.update(block)
            got += len(block)
