# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The management API of a LiteLLM gateway: calls, paged sweeps, and errors that never carry a key."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import socket
import time
from collections.abc import Iterable
from typing import Any, Callable
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit

from ansible.module_utils.urls import open_url

PAGE_SIZE = 100
# Seconds before each further try while nothing listens yet: 15.5 s in all.
CONNECT_DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0)
# A read may be repeated while the gateway waits for its database; a write may not.
READ_AGAIN_STATUS = (502, 503, 504)
READ_AGAIN_DELAYS = (1.0, 3.0)

_KEY_PATTERN = re.compile(r"sk-[^\s'\",;)}\]]+")


def argument_spec() -> dict[str, Any]:
    """The parameters that every module speaking to the gateway has."""
    return {
        "api_url": {"type": "str", "required": True},
        "api_key": {"type": "str", "required": True, "no_log": True},
        "api_timeout": {"type": "int", "default": 60},
        "validate_certs": {"type": "bool", "default": True},
        "ca_path": {"type": "path"},
    }


def key_hash(key: str) -> str:
    """The name under which the gateway keeps a key; the raw key is never stored nor sent in an address."""
    return hashlib.sha256(key.encode("utf-8")).hexdigest()


class LitellmError(Exception):
    """A call that failed, as one sentence without any key material."""

    def __init__(self, sentence: str, status: int | None = None, error_type: str | None = None, nobody_there: bool = False) -> None:
        super().__init__(sentence)
        self.status = status
        self.error_type = error_type
        self.nobody_there = nobody_there


def read_error(body: bytes) -> tuple[str | None, str]:
    """Type and sentence of an error body, in whichever of the gateway's three envelopes it comes."""
    try:
        document = json.loads(body.decode("utf-8"))
    except ValueError:
        return None, ""
    if not isinstance(document, dict):
        return None, ""
    error = document.get("error")
    if isinstance(error, dict):
        return error.get("type"), str(error.get("message") or "")
    if isinstance(error, str):
        return None, error
    detail = document.get("detail")
    if isinstance(detail, dict):
        return None, str(detail.get("error") or detail)
    if isinstance(detail, list):
        # FastAPI's list quotes the input, which may be a key: only place and reason are taken over.
        reasons = []
        for entry in detail:
            if isinstance(entry, dict):
                place = ".".join(str(part) for part in entry.get("loc", ()) if part != "body")
                reasons.append("%s: %s" % (place, entry.get("msg", "")))
        return None, "; ".join(reasons)
    if isinstance(detail, str):
        return None, detail
    return None, ""


class LitellmClient:
    """One gateway, spoken to with its master key."""

    def __init__(
        self,
        api_url: str,
        api_key: str,
        timeout: int = 60,
        validate_certs: bool = True,
        ca_path: str | None = None,
        secrets: Iterable[str] = (),
        patient: bool = True,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(api_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise LitellmError("The gateway's address %r is no http:// or https:// address." % api_url)
        if parts.username or parts.password:
            raise LitellmError("The gateway's address must not carry a user name or password.")
        self.api_url = api_url.rstrip("/")
        self.reads = 0
        self.writes = 0
        self._api_key = api_key
        self._secrets = {secret for secret in secrets if secret} | {api_key}
        self._timeout = timeout
        self._validate_certs = validate_certs
        self._ca_path = ca_path
        # Without patience a gateway that is not running is an answer, not something to wait for.
        self._connect_delays = CONNECT_DELAYS if patient else ()
        self._sleep = sleep

    def get(self, path: str, **query: Any) -> Any:
        """Read; may be repeated while the gateway is not ready."""
        self.reads += 1
        address = path + ("?" + urlencode(query) if query else "")
        for delay in READ_AGAIN_DELAYS:
            try:
                return self._call("GET", address)
            except LitellmError as error:
                if error.status not in READ_AGAIN_STATUS:
                    raise
                self._sleep(delay)
        return self._call("GET", address)

    def post(self, path: str, **fields: Any) -> Any:
        """Write; repeated only when nothing accepted the connection."""
        self.writes += 1
        return self._call("POST", path, fields)

    def keys(self) -> list[dict[str, Any]]:
        """All keys as objects, in as many calls as there are pages."""
        # Without return_full_object the list holds bare hashes; sorting by hash keeps the pages apart while keys come and go.
        return self._sweep(
            "/key/list",
            "keys",
            "token",
            {"size": PAGE_SIZE, "return_full_object": "true", "sort_by": "token", "sort_order": "asc"},
            "total_count",
        )

    def users(self) -> list[dict[str, Any]]:
        """All users, in as many calls as there are pages."""
        return self._sweep("/user/list", "users", "user_id", {"page_size": PAGE_SIZE, "sort_by": "user_id", "sort_order": "asc"}, "total")

    def teams(self) -> list[dict[str, Any]]:
        """All teams, in as many calls as there are pages."""
        return self._sweep("/v2/team/list", "teams", "team_id", {"page_size": PAGE_SIZE, "sort_by": "team_id", "sort_order": "asc"}, "total")

    def _sweep(self, path: str, member: str, identity: str, query: dict[str, Any], total: str) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        page = 1
        while True:
            answer = self.get(path, page=page, **query)
            rows = answer.get(member) if isinstance(answer, dict) else None
            if not isinstance(rows, list) or not all(isinstance(row, dict) and row.get(identity) for row in rows):
                raise LitellmError("GET %s of the gateway at %s answered in a shape that this module does not know." % (path, self.api_url))
            for row in rows:
                found[row[identity]] = row
            pages = answer.get("total_pages") or 0
            if page >= pages:
                break
            page += 1
        if len(found) != answer.get(total, len(found)):
            raise LitellmError(
                "GET %s of the gateway at %s gave %d of %s entries: somebody else is changing people right now; run again."
                % (path, self.api_url, len(found), answer.get(total))
            )
        return list(found.values())

    def _call(self, method: str, address: str, fields: dict[str, Any] | None = None) -> Any:
        place = "%s %s of the gateway at %s" % (method, address.split("?", 1)[0], self.api_url)
        delays = iter(self._connect_delays)
        while True:
            try:
                response = open_url(
                    self.api_url + address,
                    method=method,
                    data=None if fields is None else json.dumps(fields, sort_keys=True).encode("utf-8"),
                    headers={"Authorization": "Bearer " + self._api_key, "Content-Type": "application/json", "Accept": "application/json"},
                    timeout=self._timeout,
                    validate_certs=self._validate_certs,
                    ca_path=self._ca_path,
                    # A proxy would see the master key, a redirect would hand it to whoever is named in it, .netrc would replace it.
                    use_proxy=False,
                    follow_redirects="none",
                    use_netrc=False,
                    http_agent="private_llm.platform",
                )
                body = response.read()
                status = response.getcode()
                break
            except HTTPError as error:
                raise self._refusal(place, error) from None
            except (URLError, OSError) as error:
                reason = getattr(error, "reason", error)
                delay = next(delays, None) if _is_refused(reason) else None
                if delay is None:
                    raise LitellmError("%s failed: %s" % (place, self._no_answer(reason)), nobody_there=_is_refused(reason)) from None
                self._sleep(delay)
            except Exception as error:  # http.client raises its own family when an answer breaks off
                raise LitellmError("%s broke off in the middle of the answer (%s)." % (place, type(error).__name__)) from None
        if 300 <= status < 400:
            raise LitellmError("%s answered with a redirect (%d); give the address it leads to." % (place, status), status)
        try:
            return json.loads(body.decode("utf-8"))
        except ValueError:
            kind = "a web page" if body.lstrip()[:1] == b"<" else "something else"
            raise LitellmError(
                "%s answered %d with %s instead of JSON: is this address a LiteLLM gateway?" % (place, status, kind), status
            ) from None

    def _refusal(self, place: str, error: HTTPError) -> LitellmError:
        try:
            body = error.read()
        except Exception:  # an answer that breaks off still has its status
            body = b""
        error_type, sentence = read_error(body)
        if error.code == 401:
            sentence = "it does not accept this key; api_key must be the gateway's master key"
        elif 300 <= error.code < 400:
            sentence = "it answers with a redirect; give the address it leads to"
        elif not sentence:
            sentence = "no reason was given"
        return LitellmError(
            "%s was refused with %d%s: %s" % (place, error.code, " (%s)" % error_type if error_type else "", self._scrub(sentence)),
            error.code,
            error_type,
        )

    def _no_answer(self, reason: Any) -> str:
        if _is_refused(reason):
            return "nothing accepts connections there (tried %d times); is the gateway running?" % (len(self._connect_delays) + 1)
        if isinstance(reason, (socket.timeout, TimeoutError)):
            return "no answer within %d seconds." % self._timeout
        return self._scrub(str(reason))

    def _scrub(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = _KEY_PATTERN.sub("sk-***", text)
        return text if len(text) <= 600 else text[:600] + " ..."


def _is_refused(reason: Any) -> bool:
    return isinstance(reason, ConnectionRefusedError) or getattr(reason, "errno", None) == errno.ECONNREFUSED
