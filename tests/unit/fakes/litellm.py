# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small LiteLLM in memory: the management calls that this collection uses, with the envelopes, paging, silent no-ops
and refusals of the real program (measured on 1.109.1; tests/unit/cases keeps the two alike)."""

from __future__ import annotations

import base64
import datetime
import hashlib
import http.server
import json
import threading
import urllib.parse
import uuid

MASTER_KEY = "sk-fake-master-key-0123456789"
# The team that stands for sessions of the web page.
SESSIONS = "litellm-dashboard"
SHORTEST_PASSWORD = 12
OPEN_PATHS = ("/v2/login", "/onboarding/get_token", "/onboarding/claim_token")

KEY_FIELDS = (
    "key_alias user_id team_id allowed_routes models max_budget budget_duration rpm_limit tpm_limit max_parallel_requests "
    "metadata blocked budget_id expires"
).split()
TEAM_FIELDS = "team_alias models max_budget budget_duration rpm_limit tpm_limit metadata blocked".split()
BUDGET_FIELDS = "max_budget soft_budget budget_duration rpm_limit tpm_limit max_parallel_requests".split()
USER_FIELDS = "user_email user_alias user_role max_budget budget_duration models metadata rpm_limit tpm_limit".split()


class Refusal(Exception):
    def __init__(self, status, body):
        super().__init__(status)
        self.status = status
        self.body = body


def proxy_error(status, message, kind, param=None):
    return Refusal(status, {"error": {"message": message, "type": kind, "param": param, "code": str(status)}})


def detail_error(status, message):
    return Refusal(status, {"detail": {"error": message}})


def unprocessable(field, message, value):
    return Refusal(422, {"detail": [{"type": "value_error", "loc": ["body", field], "msg": message, "input": value}]})


class FakeLitellm:
    """`with FakeLitellm() as gateway:` serves on gateway.url; gateway.keys and gateway.users are its tables."""

    def __init__(self, defaults=None):
        self.keys = {}
        self.users = {
            "default_user_id": {"user_id": "default_user_id", "user_email": None, "user_role": "proxy_admin", "metadata": {}, "models": []}
        }
        self.teams = {}
        self.budgets = {}
        # (team, user) -> name of the budget that holds the member's limits, or None
        self.memberships = {}
        self.passwords = {}
        self.invitations = {}
        self.missing_paths = ()
        # What an older version does not know, and takes without a word.
        self.dropped_fields = ()
        self.lock = threading.RLock()
        self.deleted_keys = []
        self.defaults = defaults or {}
        self.requests = []
        self.overrides = []
        self.lose_writes_to = ()

    # -- what a test asks ------------------------------------------------

    def writes(self):
        return [(path, body) for method, path, body, _headers in self.requests if method == "POST"]

    def writes_to(self, start):
        return [path for path, _body in self.writes() if path.startswith(start) and path != "/budget/info"]

    def written(self, path):
        return [body for written_path, body in self.writes() if written_path == path]

    def reads(self, path):
        return [query for method, read_path, query, _headers in self.requests if method == "GET" and read_path == path]

    def key_of(self, raw):
        return self.keys.get(hashlib.sha256(raw.encode()).hexdigest())

    def add_key(self, raw, **fields):
        token = hashlib.sha256(raw.encode()).hexdigest()
        row = dict.fromkeys(KEY_FIELDS)
        row.update(models=[], allowed_routes=[], metadata={}, user_id="default_user_id")
        row.update(fields)
        row.update(token=token, key_name="sk-..." + raw[-4:], spend=0.0, created_by="default_user_id")
        row["created_at"] = "2026-11-23T07:54:00.%06dZ" % len(self.requests)
        self.keys[token] = row
        return row

    def add_user(self, user_id, **fields):
        row = dict.fromkeys(USER_FIELDS)
        row.update(user_id=user_id, models=[], metadata={}, user_role=None, spend=0.0, created_at="2026-11-23T07:54:00Z")
        row["password_reset_required"] = None
        row.update(fields)
        self.users[user_id] = row
        return row

    def answer_once(self, path, status, body, content_type="application/json"):
        self.overrides.append([path, status, body, content_type, 1])

    def answer_always(self, path, status, body, content_type="application/json"):
        self.overrides.append([path, status, body, content_type, 1000000])

    # -- the program -----------------------------------------------------

    def handle(self, method, path, query, body):
        handler = getattr(self, "%s_%s" % (method.lower(), path.strip("/").replace("/", "_")), None)
        if handler is None or path in self.missing_paths:
            raise Refusal(404, {"detail": "Not Found"})
        with self.lock:
            return handler(query if method == "GET" else {name: value for name, value in body.items() if name not in self.dropped_fields})

    @staticmethod
    def _page(query, size_name, default):
        size = int(query.get(size_name, default))
        if size > 100:
            raise unprocessable(size_name, "Input should be less than or equal to 100", str(size))
        return int(query.get("page", 1)), size

    def get_key_list(self, query):
        page, size = self._page(query, "size", 10)
        rows = [row for row in self.keys.values() if row["team_id"] != SESSIONS]
        for parameter, field in (("key_alias", "key_alias"), ("user_id", "user_id"), ("team_id", "team_id"), ("key_hash", "token")):
            if parameter in query:
                rows = [row for row in rows if row[field] == query[parameter]]
        if "sort_by" in query:
            if query["sort_by"] not in ("spend", "max_budget", "created_at", "updated_at", "token", "key_alias"):
                raise detail_error(400, "Invalid sort column.")
            rows.sort(key=lambda row: row[query["sort_by"]])
        part = rows[(page - 1) * size : page * size]
        full = query.get("return_full_object") == "true"
        return {
            "keys": [dict(row) if full else row["token"] for row in part],
            "total_count": len(rows),
            "current_page": page,
            "total_pages": -(-len(rows) // size),
        }

    def get_user_list(self, query):
        page, size = self._page(query, "page_size", 25)
        rows = list(self.users.values())
        if "user_ids" in query:
            asked = query["user_ids"].split(",")
            # One alone is any part of a name.
            rows = [row for row in rows if row["user_id"] in asked or (len(asked) == 1 and asked[0].lower() in row["user_id"].lower())]
        if "user_email" in query:
            rows = [row for row in rows if query["user_email"].lower() in (row["user_email"] or "").lower()]
        if "sort_by" in query:
            rows.sort(key=lambda row: row[query["sort_by"]])
        part = rows[(page - 1) * size : page * size]
        return {
            "users": [dict(row, key_count=0, teams=[team for team, user in self.memberships if user == row["user_id"]]) for row in part],
            "total": len(rows),
            "page": page,
            "page_size": size,
            "total_pages": -(-len(rows) // size),
        }

    @staticmethod
    def _check_types(body):
        for name in ("rpm_limit", "tpm_limit", "max_parallel_requests"):
            if body.get(name) is not None and not isinstance(body[name], int):
                raise unprocessable(name, "Input should be a valid integer", body[name])
        if body.get("metadata") is not None and not isinstance(body["metadata"], dict):
            raise unprocessable("metadata", "Input should be a valid dictionary", body["metadata"])
        if body.get("tags"):
            raise detail_error(403, "tags is an Enterprise feature")

    def _refuse_taken_alias(self, alias, token):
        for row in self.keys.values():
            if alias is not None and row["key_alias"] == alias and row["token"] != token:
                message = "Key with alias '%s' already exists. Unique key aliases across all keys are required." % alias
                raise proxy_error(400, message, "bad_request_error", "key_alias")

    # -- the web page ----------------------------------------------------

    @staticmethod
    def _page_token(key):
        return ".".join(("e30", base64.urlsafe_b64encode(json.dumps({"key": key}).encode()).decode().rstrip("="), "signature"))

    def post_invitation_new(self, body):
        self.invitations[str(uuid.uuid4())] = body["user_id"]
        return {"id": list(self.invitations)[-1], "user_id": body["user_id"]}

    def get_onboarding_get_token(self, query):
        if query["invite_link"] not in self.invitations:
            raise detail_error(401, "Invitation link does not exist in db.")
        return {"token": self._page_token(query["invite_link"])}

    def post_onboarding_claim_token(self, body):
        user_id = self.invitations.pop(body["invitation_link"])
        self.users[user_id]["password_reset_required"] = False
        self.passwords[user_id] = body["password"]
        self._end_sessions(user_id)
        return {"user_email": self.users[user_id]["user_email"]}

    def post_v2_login(self, body):
        for user_id, row in self.users.items():
            if row["user_email"] == body["username"] and self.passwords.get(user_id) == body["password"]:
                session = "sk-session-%d-of-%s" % (len(self.requests), user_id)
                self.add_key(session, user_id=user_id, team_id=SESSIONS)
                return {"token": self._page_token(session)}
        raise proxy_error(401, "Invalid credentials used to access UI.", "auth_error", "invalid_credentials")

    def _end_sessions(self, user_id):
        self._drop_keys(lambda key: key["team_id"] == SESSIONS and key["user_id"] == user_id)

    def _write_lost(self, path):
        return path in self.lose_writes_to

    def post_key_generate(self, body):
        self._check_types(body)
        raw = body.get("key") or "sk-made-by-the-server"
        if not raw.startswith("sk-") or len(raw) < 16:
            raise proxy_error(400, "{'error': 'Invalid key format. Received=%s'}" % raw, "bad_request_error", "key")
        token = hashlib.sha256(raw.encode()).hexdigest()
        self._refuse_taken_alias(body.get("key_alias"), token)
        # An end is only taken as a duration.
        fields = {name: body.get(name) for name in KEY_FIELDS if name != "expires"} | {"expires": None}
        for name, value in self.defaults.items():
            if fields.get(name) is None:
                fields[name] = value
        echo = dict(fields, key=raw, token=token, token_id=token, expires=None)
        if token in self.keys or self._write_lost("/key/generate"):
            return echo  # the real one answers with the new values and keeps the old row
        if fields["budget_id"] is not None and fields["budget_id"] not in self.budgets:
            # A foreign key of the database.
            raise proxy_error(500, "{'error': 'Internal Server Error.'}", "internal_server_error")
        self._set_duration(fields, body)
        fields["models"] = fields["models"] or []
        fields["allowed_routes"] = fields["allowed_routes"] or []
        fields["metadata"] = fields["metadata"] or {}
        fields["user_id"] = fields["user_id"] or "default_user_id"
        self.add_key(raw, **fields)
        return echo

    def _refuse_key_in_team(self, row, team_id):
        members = [user for team, user in self.memberships if team == team_id]
        if row["user_id"] not in (None, "default_user_id", *members):
            raise proxy_error(403, "User=%s is not a member of the team" % row["user_id"], "auth_error")
        most_models = self.teams[team_id]["models"]
        if most_models and set(row["models"]) - {*most_models, "all-team-models"}:
            raise proxy_error(403, "team not allowed to access model.", "team_model_access_denied")
        if row.get("tpm_limit") is None:
            return
        for name in ("rpm_limit", "tpm_limit"):
            most = self.teams.get(team_id, {}).get(name)
            if most is not None and (row.get(name) or 0) > most:
                message = "Key has a %s=%s which is greater than the team's %s=%s" % (name, row[name], name, most)
                raise proxy_error(403, message, "auth_error")

    def _token(self, key):
        return key if len(key) == 64 and not key.startswith("sk-") else hashlib.sha256(key.encode()).hexdigest()

    def post_key_update(self, body):
        self._check_types(body)
        token = self._token(body["key"])
        row = self.keys.get(token)
        if row is None:
            raise proxy_error(404, "{'error': 'Key not found.'}", "not_found_error", "key")
        self._refuse_taken_alias(body.get("key_alias"), token)
        if body.get("budget_id") is not None and body["budget_id"] not in self.budgets:
            raise proxy_error(400, "Foreign key constraint failed on the field: `..._budget_id_fkey (index)`", "invalid_request_error")
        if not self._write_lost("/key/update"):
            if body.get("team_id") not in (None, row["team_id"]):
                if body["team_id"] not in self.teams:
                    raise proxy_error(404, "Team doesn't exist in db.", "invalid_request_error")
                # The row as it was counts, whatever else the same call changes.
                self._refuse_key_in_team(row, body["team_id"])
            row.update({name: body[name] for name in KEY_FIELDS if name in body and name != "expires"})
            self._set_duration(row, body)
            row["metadata"] = row["metadata"] or {}
            row["models"] = row["models"] or []
        return dict(row, key=token)

    def post_key_delete(self, body):
        if not body.get("keys"):
            raise unprocessable("keys", "either keys or key_aliases must be given", body)
        tokens = [self._token(key) for key in body["keys"]]
        if not any(token in self.keys for token in tokens):
            raise proxy_error(404, "{'error': 'No keys found'}", "not_found_error", "keys")
        for token in tokens:
            if token in self.keys:
                self.deleted_keys.append(self.keys.pop(token))
        return {"deleted_keys": body["keys"]}

    def _refuse_taken_email(self, email):
        for row in self.users.values():
            if email and (row["user_email"] or "").lower() == email.lower():
                raise detail_error(409, "User with email %s already exists" % email)

    def post_user_new(self, body):
        self._check_types(body)
        user_id = body["user_id"]
        if user_id in self.users:
            raise detail_error(409, "User with id %s already exists" % user_id)
        self._refuse_taken_email(body.get("user_email"))
        self.add_user(user_id, **{name: body[name] for name in USER_FIELDS if body.get(name) is not None})
        answer = dict(self.users[user_id], key="")
        if body.get("auto_create_key", True):
            self.add_key("sk-auto-created-for-" + user_id, user_id=user_id)
            answer["key"] = "sk-auto-created-for-" + user_id
        return answer

    def post_user_update(self, body):
        self._check_types(body)
        user_id = body["user_id"]
        row = self.users.get(user_id) or self.add_user(user_id)
        for name in USER_FIELDS:
            # null clears limits only; an empty list or dictionary is dropped without a word, an empty text is kept.
            if name in body and (name in ("max_budget", "budget_duration", "rpm_limit", "tpm_limit") or body[name] not in (None, [], {})):
                row[name] = body[name]
        if body.get("password") is not None:
            if len(body["password"]) < SHORTEST_PASSWORD:
                raise detail_error(400, "Password does not meet the configured policy")
            row["password_reset_required"] = True
            self.passwords[user_id] = body["password"]
            self._end_sessions(user_id)
        return {"user_id": user_id, "data": dict(row)}

    def post_user_delete(self, body):
        for user_id in body["user_ids"]:
            if user_id not in self.users:
                raise detail_error(404, "User not found, passed user_id=%s" % user_id)
            del self.users[user_id]
            self.keys = {token: row for token, row in self.keys.items() if row["user_id"] != user_id}
            self.memberships = {place: name for place, name in self.memberships.items() if place[1] != user_id}
        return 1

    def post_management_v1_users_bulk(self, body):
        data = []
        for entry in body["users"]:
            unknown = set(entry) - {*USER_FIELDS, "user_id", "auto_create_key", "teams"}
            if unknown:
                raise unprocessable(sorted(unknown)[0], "Extra inputs are not permitted", None)
            try:
                self.post_user_new({"auto_create_key": False, **entry})
                data.append({"user_id": entry["user_id"], "success": True, "error": None})
            except Refusal as refusal:
                data.append({"user_id": entry["user_id"], "success": False, "error": str(refusal.body)})
        made = sum(row["success"] for row in data)
        return {"data": data, "meta": {"total_requested": len(data), "created": made, "failed": len(data) - made}}

    @staticmethod
    def _set_duration(row, body):
        duration = body.get("duration")
        if duration == "-1" or ("duration" in body and duration is None):
            row["expires"] = None
        elif duration:
            end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=int(duration.rstrip("s")))
            row["expires"] = end.isoformat().replace("+00:00", "Z")

    # -- teams -----------------------------------------------------------

    def add_team(self, team_id, **fields):
        row = dict.fromkeys(TEAM_FIELDS)
        row.update({"team_id": team_id, "models": [], "metadata": {}, "blocked": False, "spend": 0.0, "created_at": "2026-11-23T07:54:00Z", **fields})
        self.teams[team_id] = row
        self.memberships[team_id, "default_user_id"] = None
        return row

    def _shown_team(self, row):
        members = [
            {"user_id": user, "user_email": None, "role": "admin" if user == "default_user_id" else "user"}
            for team, user in self.memberships
            if team == row["team_id"]
        ]
        return dict(row, members_with_roles=members)

    def _shown_memberships(self, team_id):
        return [
            {"user_id": user, "team_id": team, "budget_id": name, "spend": 0.0, "litellm_budget_table": self.budgets.get(name)}
            for (team, user), name in self.memberships.items()
            if team == team_id
        ]

    def _team(self, team_id):
        if team_id not in self.teams:
            raise proxy_error(404, "{'message': 'Team not found, passed team id: %s.'}" % team_id, "invalid_request_error")
        return self.teams[team_id]

    def _keys_of_team(self, team_id):
        return [row for row in self.keys.values() if row["team_id"] == team_id]

    def get_v2_team_list(self, query):
        page, size = self._page(query, "page_size", 10)
        rows = sorted(self.teams.values(), key=lambda row: row["team_id"])
        part = rows[(page - 1) * size : page * size]
        return {
            "teams": [dict(self._shown_team(row), keys_count=0) for row in part],
            "total": len(rows),
            "page": page,
            "page_size": size,
            "total_pages": -(-len(rows) // size),
        }

    def get_team_list(self, query):
        return [
            dict(self._shown_team(row), team_memberships=self._shown_memberships(name), keys=self._keys_of_team(name))
            for name, row in self.teams.items()
        ]

    def get_team_info(self, query):
        row = self._team(query["team_id"])
        name = row["team_id"]
        shown = self._shown_team(row)
        return {"team_id": name, "team_info": shown, "keys": self._keys_of_team(name), "team_memberships": self._shown_memberships(name)}

    def post_team_new(self, body):
        self._check_types(body)
        if body["team_id"] in self.teams:
            raise proxy_error(400, "Team id = %s already exists." % body["team_id"], "internal_server_error")
        self.add_team(body["team_id"], **{name: body[name] for name in TEAM_FIELDS if body.get(name) is not None and name not in ("models", "metadata")})
        self.teams[body["team_id"]].update(models=body.get("models") or [], metadata=body.get("metadata") or {})
        return self._shown_team(self.teams[body["team_id"]])

    def post_team_update(self, body):
        self._check_types(body)
        row = self._team(body["team_id"])
        row.update({name: body[name] for name in TEAM_FIELDS if name in body})
        return {"team_id": body["team_id"], "data": self._shown_team(row)}

    def post_team_delete(self, body):
        for team_id in body["team_ids"]:
            if team_id not in self.teams:
                raise detail_error(404, "Team not found, passed team_id=%s" % team_id)
        for team_id in body["team_ids"]:
            del self.teams[team_id]
            self._drop_keys(lambda row, team_id=team_id: row["team_id"] == team_id)
            self.memberships = {place: name for place, name in self.memberships.items() if place[0] != team_id}
        return {"deleted_teams": body["team_ids"]}

    def _drop_keys(self, doomed):
        for token in [token for token, row in self.keys.items() if doomed(row)]:
            self.deleted_keys.append(self.keys.pop(token))

    def _member_limits(self, team_id, user_id, body):
        limits = {row: body[name] for row, name in (("max_budget", "max_budget_in_team"), ("budget_duration", "budget_duration")) if name in body}
        if not limits:
            return
        name = self.memberships.get((team_id, user_id)) or str(uuid.uuid4())
        row = self.budgets.setdefault(name, dict(dict.fromkeys(BUDGET_FIELDS), budget_id=name))
        row.update(limits)
        self.memberships[team_id, user_id] = name

    def post_team_member_add(self, body):
        team_id = self._team(body["team_id"])["team_id"]
        members = body["member"] if isinstance(body["member"], list) else [body["member"]]
        new = [member for member in members if (team_id, member["user_id"]) not in self.memberships]
        if not new:
            raise proxy_error(400, "All users are already in team.", "team_member_already_in_team", "member")
        for member in new:
            self.memberships[team_id, member["user_id"]] = None
            self.users.get(member["user_id"]) or self.add_user(member["user_id"])
            self._member_limits(team_id, member["user_id"], body)
        return self._shown_team(self.teams[team_id])

    def post_team_member_update(self, body):
        self._team(body["team_id"])
        if (body["team_id"], body["user_id"]) not in self.memberships:
            raise detail_error(400, "User not found in team")
        self._member_limits(body["team_id"], body["user_id"], body)
        return {"team_id": body["team_id"], "user_id": body["user_id"], "max_budget_in_team": body.get("max_budget_in_team")}

    def post_team_member_delete(self, body):
        team_id, user_id = self._team(body["team_id"])["team_id"], body["user_id"]
        if (team_id, user_id) not in self.memberships:
            raise detail_error(400, "User not found in team")
        del self.memberships[team_id, user_id]
        # The person's keys of this team go with it, without a word.
        self._drop_keys(lambda row: row["team_id"] == team_id and row["user_id"] == user_id)
        return self._shown_team(self.teams[team_id])

    # -- budgets ---------------------------------------------------------

    def get_budget_list(self, query):
        return list(self.budgets.values())

    def post_budget_info(self, body):
        return [self.budgets[name] for name in body["budgets"] if name in self.budgets]

    def post_budget_new(self, body):
        self._check_types(body)
        name = body["budget_id"]
        if name in self.budgets:
            raise detail_error(400, "Budget with id '%s' already exists." % name)
        self.budgets[name] = {**dict.fromkeys(BUDGET_FIELDS), **{field: body.get(field) for field in BUDGET_FIELDS}, "budget_id": name}
        return self.budgets[name]

    def post_budget_update(self, body):
        row = self.budgets.get(body["budget_id"])
        if row is not None:
            row.update({field: body[field] for field in BUDGET_FIELDS if field in body})
        return row

    def post_budget_delete(self, body):
        row = self.budgets.pop(body["id"], None)
        for key in self.keys.values():
            if row is not None and key["budget_id"] == body["id"]:
                key["budget_id"] = None
        return row

    # -- serving ---------------------------------------------------------

    def __enter__(self):
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                self._answer("GET")

            def do_POST(self):
                self._answer("POST")

            def _answer(self, method):
                parts = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(parts.query))
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
                fake.requests.append((method, parts.path, query if method == "GET" else body, dict(self.headers)))
                content_type = "application/json"
                for override in fake.overrides:
                    if override[0] == parts.path:
                        _path, status, answer, content_type, _times = override
                        override[4] -= 1
                        if not override[4]:
                            fake.overrides.remove(override)
                        break
                else:
                    status, answer = self._program(method, parts.path, query, body)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def _program(self, method, path, query, body):
                try:
                    token = hashlib.sha256((self.headers.get("Authorization") or "")[7:].encode()).hexdigest()
                    session = path == "/key/list" and fake.keys.get(token, {}).get("team_id") == SESSIONS
                    if self.headers.get("Authorization") != "Bearer " + MASTER_KEY and path not in OPEN_PATHS and not session:
                        raise proxy_error(
                            401, "Authentication Error, Invalid proxy server token. Hash=%s" % token, "token_not_found_in_db", "key"
                        )
                    return 200, fake.handle(method, path, query, body)
                except Refusal as refusal:
                    return refusal.status, refusal.body

            def log_message(self, *arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = "http://127.0.0.1:%d" % self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *arguments):
        self._server.shutdown()
        self._server.server_close()
