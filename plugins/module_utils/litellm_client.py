# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The management API of a LiteLLM gateway: calls, paged sweeps, and errors that never carry a key."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any, Callable
from urllib.parse import urlencode, urlsplit

PAGE_SIZE = 100
# Names that one call may carry in its address; longer addresses are cut by some front proxies.
NAMES_A_CALL = 50
# Seconds before each further try while nothing listens yet: 15.5 s in all.
CONNECT_DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0)
# A read may be repeated while the gateway waits for its database; a write may not.
READ_AGAIN_STATUS = (502, 503, 504)
READ_AGAIN_DELAYS = (1.0, 3.0)
# Seconds before a list is read anew that changed while it was read.
SWEEP_AGAIN_DELAYS = (0.5, 2.0)
# Seconds after which an idle connection counts as given up; the gateway's server closes it after five.
IDLE_SECONDS = 2.0
# A gateway with one worker is hardly faster with more than this many calls at once; with sixteen its database engine gave up (measured).
DEFAULT_CONCURRENCY = 4
HIGHEST_CONCURRENCY = 8
LONGEST_SENTENCE = 600

_KEY_PATTERN = re.compile(r"sk-[^\s'\",;)}\]]+")
_HASH_PATTERN = re.compile(r"\b[0-9a-fA-F]{64}\b")
_DATABASE_PATTERN = re.compile(r"(?:no|not) (?:connected )?(?:db|database)|(?:db|database) (?:is )?not connected|no_db_connection", re.IGNORECASE)


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
    """Type and sentence of an error body, in whichever of the gateway's envelopes it comes."""
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


class _Line(threading.local):
    """The one connection of a thread."""

    connection: http.client.HTTPConnection | None = None
    used: float = 0.0


class LitellmClient:
    """One gateway, spoken to with its master key.

    Connections are kept between calls, one a thread. A proxy would see the master key and a redirect would hand it to whoever is named
    in it, so neither is followed, whatever the environment says.
    """

    def __init__(
        self,
        api_url: str,
        api_key: str,
        timeout: int = 60,
        validate_certs: bool = True,
        ca_path: str | None = None,
        secrets: Iterable[str] = (),
        patient: bool = True,
        concurrency: int = DEFAULT_CONCURRENCY,
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
        self.concurrency = max(1, min(concurrency, HIGHEST_CONCURRENCY))
        # The gateway's clock when it last answered, and this host's at that moment.
        self._clock: tuple[float, float] | None = None
        self._host = parts.hostname
        try:
            self._port = parts.port
        except ValueError:
            raise LitellmError("The gateway's address %r has no usable port." % api_url) from None
        self._path = parts.path.rstrip("/")
        self._secrets = {secret for secret in secrets if secret} | {api_key}
        self._timeout = timeout
        self._context = _tls(validate_certs, ca_path) if parts.scheme == "https" else None
        # Without patience a gateway that is not running is an answer, not something to wait for.
        self._connect_delays = CONNECT_DELAYS if patient else ()
        self._sleep = sleep
        self._line = _Line()
        self._counting = threading.Lock()
        # Sweeps run side by side, each with pages side by side: what counts is how many calls the gateway has at once.
        self._turns = threading.BoundedSemaphore(self.concurrency)
        self._headers = {
            "Authorization": "Bearer " + api_key,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "private_llm.platform",
        }

    def now(self) -> float:
        """Seconds since 1970 by the gateway's own clock, which is the one that ends keys; this host's before the first answer."""
        clock = self._clock
        return time.time() if clock is None else clock[0] + time.monotonic() - clock[1]

    def get(self, path: str, reader: Callable[[Mapping[str, Any]], Any] | None = None, **query: Any) -> Any:
        """Read; may be repeated while the gateway is not ready. A reader sees each JSON object and says what to keep of it."""
        address = path + ("?" + urlencode(query) if query else "")
        return self._read("GET", address, None, reader)

    def ask(self, path: str, **fields: Any) -> Any:
        """Read by POST, for what the gateway only answers so."""
        return self._read("POST", path, fields, None)

    def post(self, path: str, **fields: Any) -> Any:
        """Write; repeated only when nothing accepted the connection."""
        with self._counting:
            self.writes += 1
        return self._call("POST", path, fields)

    def _read(self, method: str, address: str, fields: dict[str, Any] | None, reader: Any) -> Any:
        with self._counting:
            self.reads += 1
        for delay in READ_AGAIN_DELAYS:
            try:
                return self._call(method, address, fields, reader)
            except LitellmError as error:
                if error.status not in READ_AGAIN_STATUS:
                    raise
                self._sleep(delay)
        return self._call(method, address, fields, reader)

    def pause(self, seconds: float) -> None:
        """Wait before looking again."""
        if seconds:
            self._sleep(seconds)

    def together(self, *works: Callable[[], Any]) -> list[Any]:
        """The results of several sweeps that run side by side."""
        return self.each(lambda work: work(), works)

    def each(self, work: Callable[[Any], Any], entries: Sequence[Any], at_most: int = HIGHEST_CONCURRENCY) -> list[Any]:
        """The work on every entry, some at once; results in order, and the first error is raised."""
        at_once = min(self.concurrency, len(entries), at_most)
        if at_once < 2:
            return [work(entry) for entry in entries]
        with ThreadPoolExecutor(max_workers=at_once) as pool:
            return list(pool.map(work, entries))

    # -- sweeps -----------------------------------------------------------

    def keys(self, keep: Callable[[dict[str, Any]], dict[str, Any]] = dict, **only: str) -> list[dict[str, Any]]:
        """Keys as objects, in as many calls as there are pages; all, or only those of a user_id, key_hash or key_alias."""
        # Without return_full_object the list holds bare hashes; sorting by hash keeps the pages apart while keys come and go.
        query = {"size": PAGE_SIZE, "return_full_object": "true", "sort_by": "token", "sort_order": "asc", **only}
        return self._sweep("/key/list", "keys", "token", query, "total_count", keep)

    def users(self, keep: Callable[[dict[str, Any]], dict[str, Any]] = dict, **only: str) -> list[dict[str, Any]]:
        """Users, in as many calls as there are pages; all, or only those of user_ids or with a user_email that contains a text."""
        query = {"page_size": PAGE_SIZE, "sort_by": "user_id", "sort_order": "asc", **only}
        return self._sweep("/user/list", "users", "user_id", query, "total", keep)

    def teams(self, keep: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> list[dict[str, Any]]:
        """All teams with their members, in as many calls as there are pages."""
        query = {"page_size": PAGE_SIZE, "sort_by": "team_id", "sort_order": "asc"}
        return self._sweep("/v2/team/list", "teams", "team_id", query, "total", keep)

    def team(self, team_id: str) -> dict[str, Any] | None:
        """One team with its team_memberships, None when there is none."""
        try:
            answer = self.get("/team/info", reader=without_keys, team_id=team_id)
        except LitellmError as error:
            if error.status == 404:
                return None
            raise
        team = answer.get("team_info") if isinstance(answer, dict) else None
        if not isinstance(team, dict):
            raise self._strange("/team/info")
        return {**team, "team_memberships": answer.get("team_memberships") or []}

    def memberships(self) -> list[dict[str, Any]]:
        """What each member may spend in each team; only the bare list of all teams says it."""
        answer = self.get("/team/list", reader=without_keys)
        if not isinstance(answer, list):
            raise self._strange("/team/list")
        return [row for team in answer if isinstance(team, dict) for row in team.get("team_memberships") or []]

    def budgets(self, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """All budgets, or those of these names; a name that does not exist is left out."""
        answer = self.get("/budget/list") if names is None else (self.ask("/budget/info", budgets=list(names)) if names else [])
        if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
            raise self._strange("/budget/list" if names is None else "/budget/info")
        return answer

    def _strange(self, path: str) -> LitellmError:
        return LitellmError(
            "%s of the gateway at %s answered in a shape that this module does not know; is it LiteLLM 1.106.9 or newer?" % (path, self.api_url)
        )

    def _sweep(
        self, path: str, member: str, identity: str, query: dict[str, Any], total: str, keep: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        def page_of(page: int) -> dict[str, Any]:
            answer = self.get(path, page=page, **query)
            rows = answer.get(member) if isinstance(answer, dict) else None
            if not isinstance(rows, list) or not all(isinstance(row, dict) and row.get(identity) for row in rows):
                raise self._strange("GET " + path)
            return {**answer, member: [keep(row) for row in rows]}

        found: dict[str, dict[str, Any]] = {}
        expected = 0
        for delay in (*SWEEP_AGAIN_DELAYS, None):
            first = page_of(1)
            pages = [first, *self.each(page_of, range(2, int(first.get("total_pages") or 0) + 1))]
            found = {row[identity]: row for page in pages for row in page[member]}
            expected = int(pages[-1].get(total, len(found)))
            if len(found) == expected:
                return list(found.values())
            # Somebody comes or goes between two pages, which may hide somebody else.
            self.pause(delay or 0.0)
        raise LitellmError(
            "GET %s of the gateway at %s gave %d of %d entries: somebody else is changing people right now; run again."
            % (path, self.api_url, len(found), expected)
        )

    # -- one call ---------------------------------------------------------

    def _call(self, method: str, address: str, fields: dict[str, Any] | None = None, reader: Any = None) -> Any:
        place = "%s %s of the gateway at %s" % (method, address.split("?", 1)[0], self.api_url)
        delays = iter(self._connect_delays)
        body = None if fields is None else json.dumps(fields, sort_keys=True).encode("utf-8")
        while True:
            try:
                with self._turns:
                    status, answer = self._exchange(method, address, body)
                break
            except (http.client.HTTPException, OSError) as error:
                if isinstance(error, (http.client.IncompleteRead, http.client.RemoteDisconnected)):
                    raise LitellmError("%s broke off in the middle of the answer (%s)." % (place, type(error).__name__)) from None
                delay = next(delays, None) if _is_refused(error) else None
                if delay is None:
                    raise LitellmError("%s failed: %s" % (place, self._no_answer(error)), nobody_there=_is_refused(error)) from None
                self._sleep(delay)
        if 300 <= status < 400:
            raise LitellmError("%s answered with a redirect (%d); give the address it leads to." % (place, status), status)
        if status >= 400:
            raise self._refusal(place, status, answer)
        beginning = ""
        try:
            text = answer.decode("utf-8")
            beginning = text.lstrip()[:1]
            # Large answers are held once, not twice.
            del answer
            return json.loads(text, object_hook=reader)
        except ValueError:
            kind = "a web page" if beginning == "<" else "something else"
            raise LitellmError(
                "%s answered %d with %s instead of JSON: is this address a LiteLLM gateway?" % (place, status, kind), status
            ) from None

    def _exchange(self, method: str, address: str, body: bytes | None) -> tuple[int, bytes]:
        line = self._line
        if line.connection is not None and time.monotonic() - line.used > IDLE_SECONDS:
            self._hang_up()
        # A write is not sent again: whether the gateway had seen it is found out by looking.
        again = line.connection is not None and method == "GET"
        while True:
            connection = line.connection or self._connect()
            line.connection = connection
            try:
                connection.request(method, self._path + address, body, self._headers)
                response = connection.getresponse()
                answer = response.read()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self._hang_up()
                if not again:
                    raise
                # The gateway had given up the kept connection before it saw this call.
                again = False
            except BaseException:
                self._hang_up()
                raise
            else:
                line.used = time.monotonic()
                self._read_clock(response.getheader("Date"))
                if response.will_close:
                    self._hang_up()
                return response.status, answer

    def _connect(self) -> http.client.HTTPConnection:
        if self._context is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _hang_up(self) -> None:
        if self._line.connection is not None:
            self._line.connection.close()
            self._line.connection = None

    def _read_clock(self, header: str | None) -> None:
        try:
            self._clock = (parsedate_to_datetime(header or "").timestamp(), time.monotonic())
        except (TypeError, ValueError):
            pass

    def _refusal(self, place: str, status: int, body: bytes) -> LitellmError:
        error_type, sentence = read_error(body)
        if _DATABASE_PATTERN.search("%s %s" % (error_type, sentence)):
            sentence = "it has no connection to its database; people and keys need one (%s)" % sentence
        elif status == 401:
            sentence = "it does not accept this key; api_key must be the gateway's master key"
        elif status == 404 and not error_type and sentence in ("", "Not Found"):
            sentence = "it does not know this call; is this address a LiteLLM gateway, 1.106.9 or newer?"
        elif not sentence:
            sentence = "no reason was given"
        return LitellmError(
            "%s was refused with %d%s: %s" % (place, status, " (%s)" % error_type if error_type else "", self._scrub(sentence)),
            status,
            error_type,
        )

    def _no_answer(self, error: BaseException) -> str:
        if _is_refused(error):
            return "nothing accepts connections there (tried %d times); is the gateway running?" % (len(self._connect_delays) + 1)
        if isinstance(error, (socket.timeout, TimeoutError)):
            return "no answer within %d seconds." % self._timeout
        if isinstance(error, socket.gaierror):
            return "the name %s is not known; check api_url." % self._host
        if isinstance(error, ssl.SSLCertVerificationError):
            return "its certificate is not accepted (%s); give the authority with ca_path." % error.verify_message
        if isinstance(error, ssl.SSLError):
            return "it does not speak TLS there (%s); is the address http:// rather than https://?" % (error.reason or "no reason given")
        if isinstance(error, http.client.HTTPException):
            return "it does not speak HTTP there (%s); check api_url." % type(error).__name__
        return self._scrub(str(error))

    def _scrub(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = _HASH_PATTERN.sub("***", _KEY_PATTERN.sub("sk-***", text))
        return text if len(text) <= LONGEST_SENTENCE else text[:LONGEST_SENTENCE] + " ..."


def without_keys(row: Mapping[str, Any]) -> Any:
    """A reader that drops keys, and what is not set: a team's answer carries all keys, which is more than all else together."""
    return None if "token" in row and "key_alias" in row else {name: value for name, value in row.items() if value is not None}


def _tls(validate_certs: bool, ca_path: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_path)
    except (OSError, ssl.SSLError) as error:
        raise LitellmError("The authorities in ca_path %s cannot be read: %s." % (ca_path, error)) from None
    if not validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _is_refused(reason: Any) -> bool:
    return isinstance(reason, ConnectionRefusedError) or getattr(reason, "errno", None) == errno.ECONNREFUSED
