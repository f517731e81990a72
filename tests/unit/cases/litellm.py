# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a gateway does and what the modules make of it, one function a case, for any gateway.

The unit tests run all of them against the fake, the scenario litellm_access runs the same ones against the real program: so the fake
behaves as the real one does wherever a case has looked.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.private_llm.platform.plugins.module_utils import litellm_access as core
from ansible_collections.private_llm.platform.plugins.module_utils import litellm_state as state
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_client import LitellmClient
from ansible_collections.private_llm.platform.plugins.module_utils.people import moment
from ansible_collections.private_llm.platform.plugins.modules import litellm_access, litellm_budget, litellm_key, litellm_team, litellm_user
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

CASES = []
MODEL = "canned"


def told(result):
    """What a run says of its changes; a second may have passed between the prediction and the run."""
    parts = json.dumps([result[part] for part in ("changed", "people", "changes", "diff") if part in result], sort_keys=True)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "a moment", parts)


def case(function):
    CASES.append(function)
    return function


class World:
    """One gateway; everything a case makes there begins with a tag of its own, so that cases do not meet."""

    def __init__(self, url, master_key, tag):
        self.url = url
        self.master_key = master_key
        self.tag = tag

    # -- names

    def name(self, word):
        return "%s-%s" % (self.tag, word)

    def value(self, word):
        return "sk-value-of-%s-%s-0123456789" % (self.tag, word)

    # -- the modules

    def run(self, module, check=False, **parameters):
        result = run_module(module.main, {"api_url": self.url, "api_key": self.master_key, **parameters}, check=check)
        assert self.master_key not in result["printed"] and "sk-value-of" not in result["printed"]
        return result

    def access(self, *people, **parameters):
        """The whole list; a check before it has to predict it."""
        predicted = self.run(litellm_access, check=True, users=list(people), **parameters)
        result = self.run(litellm_access, users=list(people), **parameters)
        assert not result.get("failed"), result["msg"]
        assert told(predicted) == told(result)
        return result

    def steady(self, *people, **parameters):
        """The list once, and once more without any change."""
        result = self.access(*people, **parameters)
        again = self.run(litellm_access, users=list(people), **parameters)
        assert (again.get("changed"), again["calls"]["write"]) == (False, 0), again.get("msg", again.get("summary"))
        return result

    def single(self, module, **parameters):
        """One object; a check before it predicts it, and a second run changes nothing."""
        predicted = self.run(module, check=True, **parameters)
        result = self.run(module, **parameters)
        assert not result.get("failed"), result["msg"]
        assert told(predicted) == told(result)
        assert not self.run(module, **parameters)["changed"]
        return result

    def person(self, word="ada", keys=None, **fields):
        name = self.name(word)
        keys = [{}] if keys is None else keys
        made = [{"alias": "%s-1" % name, "value": self.value(word), **key} for key in keys]
        return {"name": name, "keys": made, **fields}

    # -- the gateway, as its web page and other programs speak to it

    def call(self, path, body=None, key=None, **query):
        address = self.url + path + ("?" + urllib.parse.urlencode(query) if query else "")
        headers = {"Authorization": "Bearer " + (key or self.master_key), "Content-Type": "application/json"}
        request = urllib.request.Request(address, None if body is None else json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def post(self, path, **body):
        return self.call(path, body)

    def done(self, path, **body):
        status, answer = self.call(path, body)
        assert status == 200, answer
        return answer

    def key(self, raw):
        _status, answer = self.call("/key/list", return_full_object="true", size=100, key_hash=hashlib.sha256(raw.encode()).hexdigest())
        return answer["keys"][0] if answer["keys"] else None

    def aliases(self, word):
        """The keys of a person, in order."""
        _status, answer = self.call("/key/list", return_full_object="true", size=100, user_id=self.name(word))
        return sorted(str(row["key_alias"]).removeprefix(self.tag + "-") for row in answer["keys"])

    def user(self, word):
        _status, answer = self.call("/user/list", user_ids=",".join([self.name(word)] * 2), page_size=100)
        return answer["users"][0] if answer["users"] else None

    def team(self, word):
        status, answer = self.call("/team/info", team_id=self.name(word))
        return answer["team_info"] if status == 200 else None

    def members(self, word):
        _status, answer = self.call("/team/info", team_id=self.name(word))
        limits = {row["user_id"]: row["litellm_budget_table"] or {} for row in answer["team_memberships"]}
        names = {member["user_id"] for member in answer["team_info"]["members_with_roles"]} - {"default_user_id"}
        return {name.removeprefix(self.tag + "-"): (limits.get(name, {}).get("max_budget"), limits.get(name, {}).get("budget_duration")) for name in names}

    def budget(self, word):
        answer = self.done("/budget/info", budgets=[self.name(word)])
        return answer[0] if answer else None

    def choose_password(self, word):
        """What somebody does who takes up an invitation."""
        invitation = self.done("/invitation/new", user_id=self.name(word))
        body = {"invitation_link": invitation["id"], "user_id": self.name(word), "password": "Chosen-password-0123456789"}
        ticket = self.call("/onboarding/get_token", invite_link=invitation["id"])[1]
        status, answer = self.call("/onboarding/claim_token", body, key=session_of(ticket))
        assert status == 200, answer

    def log_in(self, word):
        """A session of the web page."""
        user = self.user(word)
        if user["password_reset_required"] is None:
            self.choose_password(word)
        status, answer = self.call("/v2/login", {"username": user["user_email"], "password": "Chosen-password-0123456789"})
        assert status == 200, answer
        return session_of(answer)

    def works(self, session):
        return self.call("/key/list", key=session)[0] == 200

    def clean(self):
        """Remove whatever the case made."""
        users, keys, page = [], [], 1
        while True:
            _status, answer = self.call("/key/list", return_full_object="true", size=100, page=page)
            keys += [row["token"] for row in answer["keys"] if self.tag in "%s %s %s" % (row["key_alias"], row["user_id"], row["team_id"])]
            if page >= answer["total_pages"]:
                break
            page += 1
        if keys:
            self.post("/key/delete", keys=keys)
        _status, answer = self.call("/user/list", search=self.tag, page_size=100)
        users = [row["user_id"] for row in answer["users"] if row["user_id"].startswith(self.tag)]
        if users:
            self.post("/user/delete", user_ids=users)
        for team in [row["team_id"] for row in self.call("/team/list")[1] if row["team_id"].startswith(self.tag)]:
            self.post("/team/delete", team_ids=[team])
        for budget in [row["budget_id"] for row in self.call("/budget/list")[1] if row["budget_id"].startswith(self.tag)]:
            self.post("/budget/delete", id=budget)


def session_of(answer):
    """What the web page asks with: it lies in the token that the page is given."""
    payload = answer["token"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["key"]


def error_type(answer):
    error = answer.get("error")
    return error.get("type") if isinstance(error, dict) else None


def seconds_left(row):
    return (moment(row["expires"]) - datetime.datetime.now(datetime.UTC)).total_seconds()


# -- what the gateway does ----------------------------------------------------


@case
def the_gateway_echoes_a_second_create_and_keeps_the_old_row(world):
    world.done("/key/generate", key=world.value("x"), key_alias=world.name("x"), rpm_limit=5)
    assert world.done("/key/generate", key=world.value("x"), key_alias=world.name("y"), rpm_limit=9)["rpm_limit"] == 9
    row = world.key(world.value("x"))
    assert (row["key_alias"], row["rpm_limit"]) == (world.name("x"), 5)


@case
def the_gateway_refuses_an_alias_that_is_taken(world):
    world.done("/key/generate", key=world.value("x"), key_alias=world.name("x"))
    status, answer = world.post("/key/generate", key=world.value("y"), key_alias=world.name("x"))
    assert (status, error_type(answer)) == (400, "bad_request_error")


@case
def the_gateway_lists_keys_as_bare_hashes_and_a_hundred_at_most(world):
    world.done("/key/generate", key=world.value("x"), key_alias=world.name("x"))
    assert all(isinstance(row, str) for row in world.call("/key/list")[1]["keys"])
    assert world.call("/key/list", size=101)[0] == 422
    assert world.call("/user/list", page_size=101)[0] == 422


@case
def the_gateway_refuses_a_key_that_is_no_key(world):
    assert world.post("/key/generate", key="no-prefix-but-long-enough")[0] == 400
    assert world.post("/key/generate", key="sk-short")[0] == 400


@case
def the_gateway_takes_a_key_for_a_user_who_does_not_exist(world):
    world.done("/key/generate", key=world.value("x"), key_alias=world.name("x"), user_id=world.name("nobody"))
    assert world.user("nobody") is None


@case
def the_gateway_changes_only_what_is_sent_and_clears_by_null(world):
    made = {"rpm_limit": 5, "tpm_limit": 7, "max_budget": 3, "budget_duration": "30d", "models": [MODEL], "metadata": {"a": 1}}
    world.done("/key/generate", key=world.value("x"), key_alias=world.name("x"), **made)
    world.done("/key/update", key=world.value("x"), rpm_limit=None, max_budget=None, budget_duration=None, models=[], metadata={"b": 2})
    row = world.key(world.value("x"))
    assert [row[name] for name in ("rpm_limit", "tpm_limit", "max_budget", "budget_duration")] == [None, 7, None, None]
    assert (row["models"], row["metadata"]) == ([], {"b": 2})


@case
def the_gateway_takes_a_duration_and_keeps_a_moment(world):
    world.done("/key/generate", key=world.value("x"), key_alias=world.name("x"), duration="3600s")
    assert 3500 < seconds_left(world.key(world.value("x"))) <= 3610
    world.done("/key/update", key=world.value("x"), duration="60s")
    assert 0 < seconds_left(world.key(world.value("x"))) <= 70
    world.done("/key/update", key=world.value("x"), duration="-1")
    assert world.key(world.value("x"))["expires"] is None


@case
def the_gateway_lists_keys_as_deleted_that_were_not_there(world):
    world.done("/key/generate", key=world.value("x"), key_alias=world.name("x"))
    both = [world.value("x"), world.value("never-made")]
    assert len(world.done("/key/delete", keys=both)["deleted_keys"]) == 2
    assert world.post("/key/delete", keys=both)[0] == 404
    assert world.post("/key/delete", keys=[])[0] in (400, 422)


@case
def the_gateway_makes_a_key_with_a_user_unless_told_not_to(world):
    assert world.done("/user/new", user_id=world.name("x"), auto_create_key=False)["key"] == ""
    assert world.aliases("x") == []
    assert world.done("/user/new", user_id=world.name("y"))["key"].startswith("sk-")
    assert len(world.aliases("y")) == 1


@case
def the_gateway_refuses_a_user_and_an_address_that_are_taken(world):
    email = world.name("x") + "@example.com"
    world.done("/user/new", user_id=world.name("x"), user_email=email, auto_create_key=False)
    assert world.post("/user/new", user_id=world.name("x"), auto_create_key=False)[0] == 409
    assert world.post("/user/new", user_id=world.name("y"), user_email=email.upper(), auto_create_key=False)[0] == 409


@case
def the_gateway_makes_a_user_of_an_unknown_name_that_is_updated(world):
    world.done("/user/update", user_id=world.name("x"), max_budget=1)
    assert world.user("x")["max_budget"] == 1


@case
def the_gateway_gives_an_address_to_two_users_when_it_is_updated(world):
    email = world.name("x") + "@example.com"
    world.done("/user/new", user_id=world.name("x"), user_email=email, auto_create_key=False)
    world.done("/user/new", user_id=world.name("y"), auto_create_key=False)
    world.done("/user/update", user_id=world.name("y"), user_email=email)
    assert world.user("x")["user_email"] == world.user("y")["user_email"] == email


@case
def the_gateway_drops_an_empty_list_of_a_users_models_and_takes_an_empty_address(world):
    email = world.name("x") + "@example.com"
    world.done("/user/new", user_id=world.name("x"), user_email=email, models=[MODEL], metadata={"a": 1}, rpm_limit=3, auto_create_key=False)
    world.done("/user/update", user_id=world.name("x"), models=[], metadata={}, user_email="", rpm_limit=None)
    row = world.user("x")
    assert (row["models"], row["metadata"], row["user_email"], row["rpm_limit"]) == ([MODEL], {"a": 1}, "", None)


@case
def the_gateway_finds_an_address_by_any_part_of_it(world):
    for word in ("ann", "joann"):
        world.done("/user/new", user_id=world.name(word), user_email="%s@%s.example.com" % (word, self_domain(world)), auto_create_key=False)
    found = world.call("/user/list", user_email="ann@%s.example.com" % self_domain(world))[1]["users"]
    assert len(found) == 2


def self_domain(world):
    return world.tag


@case
def trap_3_the_gateway_finds_one_name_by_any_part_of_it_and_several_as_they_are(world):
    for word in ("ann", "ann.l"):
        world.done("/user/new", user_id=world.name(word), auto_create_key=False)
    asked = world.name("ann")
    assert len(world.call("/user/list", user_ids=asked)[1]["users"]) == 2
    assert [row["user_id"] for row in world.call("/user/list", user_ids="%s,%s" % (asked, asked))[1]["users"]] == [asked]
    assert world.single(litellm_user, name=asked, rpm_limit=3)["calls"]["read"] <= 5


@case
def the_gateway_makes_several_users_in_one_call_and_says_which_not(world):
    world.done("/user/new", user_id=world.name("x"), auto_create_key=False)
    answer = world.done("/management/v1/users/bulk", users=[{"user_id": world.name("x")}, {"user_id": world.name("y"), "rpm_limit": 4}])
    assert [row["success"] for row in answer["data"]] == [False, True]
    assert (world.user("y")["rpm_limit"], world.aliases("y")) == (4, [])


@case
def the_gateway_makes_itself_a_member_of_each_team_and_refuses_a_taken_name(world):
    world.done("/team/new", team_id=world.name("t"), team_alias="T")
    assert [member["user_id"] for member in world.team("t")["members_with_roles"]] == ["default_user_id"]
    assert world.post("/team/new", team_id=world.name("t"), team_alias="T")[0] == 400


@case
def the_gateway_adds_many_members_at_once_and_refuses_them_a_second_time(world):
    world.done("/team/new", team_id=world.name("t"))
    people = [{"role": "user", "user_id": world.name(word)} for word in ("x", "y")]
    for member in people:
        world.done("/user/new", user_id=member["user_id"], auto_create_key=False)
    world.done("/team/member_add", team_id=world.name("t"), member=people, max_budget_in_team=4, budget_duration="30d")
    assert world.members("t") == {"x": (4, "30d"), "y": (4, "30d")}
    status, answer = world.post("/team/member_add", team_id=world.name("t"), member=people[0])
    assert (status, error_type(answer)) == (400, "team_member_already_in_team")


@case
def the_gateway_clears_what_a_member_may_spend_by_null(world):
    world.done("/team/new", team_id=world.name("t"))
    world.done("/user/new", user_id=world.name("x"), auto_create_key=False)
    world.done("/team/member_add", team_id=world.name("t"), member={"role": "user", "user_id": world.name("x")}, max_budget_in_team=4)
    world.done("/team/member_update", team_id=world.name("t"), user_id=world.name("x"), max_budget_in_team=None)
    assert world.members("t") == {"x": (None, None)}


@case
def the_gateway_deletes_a_members_keys_of_the_team_with_the_member(world):
    world.done("/team/new", team_id=world.name("t"))
    world.done("/user/new", user_id=world.name("x"), auto_create_key=False)
    world.done("/team/member_add", team_id=world.name("t"), member={"role": "user", "user_id": world.name("x")})
    world.done("/key/generate", key=world.value("x"), key_alias=world.name("x"), user_id=world.name("x"), team_id=world.name("t"))
    world.done("/key/generate", key=world.value("y"), key_alias=world.name("y"), user_id=world.name("x"))
    world.done("/team/member_delete", team_id=world.name("t"), user_id=world.name("x"))
    assert world.aliases("x") == ["y"]
    assert world.post("/team/member_delete", team_id=world.name("t"), user_id=world.name("x"))[0] == 400


@case
def the_gateway_deletes_the_keys_of_a_team_with_the_team(world):
    world.done("/team/new", team_id=world.name("t"))
    world.done("/key/generate", key=world.value("x"), key_alias=world.name("x"), team_id=world.name("t"))
    world.done("/team/delete", team_ids=[world.name("t")])
    assert world.key(world.value("x")) is None
    assert world.post("/team/delete", team_ids=[world.name("t")])[0] == 404


@case
def the_gateway_refuses_a_team_that_does_not_exist_only_when_a_key_is_changed(world):
    world.done("/key/generate", key=world.value("x"), key_alias=world.name("x"))
    assert world.post("/key/update", key=world.value("x"), team_id=world.name("t"))[0] == 404


@case
def the_gateway_holds_what_a_key_was_against_its_new_team(world):
    world.done("/team/new", team_id=world.name("t"), rpm_limit=5, models=[MODEL])
    keys = {"rpm": {"rpm_limit": 9, "tpm_limit": 1}, "model": {"models": ["another-model"]}, "good": {"rpm_limit": 9}}
    keys["user"] = {"user_id": world.name("nobody")}
    for word, fields in keys.items():
        world.done("/key/generate", key=world.value(word), key_alias=world.name(word), **fields)
    moved = {"team_id": world.name("t"), "rpm_limit": 3, "models": [MODEL]}
    assert {word: world.post("/key/update", key=world.value(word), **moved)[0] for word in keys} == {
        "rpm": 403, "model": 403, "user": 403, "good": 200,
    }  # fmt: skip
    world.done("/key/update", key=world.value("rpm"), rpm_limit=3)
    world.done("/key/update", key=world.value("rpm"), team_id=world.name("t"))


@case
def the_gateway_answers_null_for_a_budget_that_does_not_exist(world):
    assert world.post("/budget/update", budget_id=world.name("b"), max_budget=1) == (200, None)
    assert world.post("/budget/delete", id=world.name("b")) == (200, None)


@case
def the_gateway_leaves_keys_without_limits_when_their_budget_goes(world):
    world.done("/budget/new", budget_id=world.name("b"), max_budget=1, budget_duration="7d")
    assert world.post("/budget/new", budget_id=world.name("b"), max_budget=1)[0] == 400
    world.done("/key/generate", key=world.value("x"), key_alias=world.name("x"), budget_id=world.name("b"))
    assert world.key(world.value("x"))["budget_id"] == world.name("b")
    world.done("/budget/delete", id=world.name("b"))
    assert world.key(world.value("x"))["budget_id"] is None


# -- the whole list -----------------------------------------------------------


def everything(world, **more):
    """One of each, with every limit."""
    team = world.name("t")
    key = {
        "name": "laptop", "team": team, "budget": world.name("b"), "models": [MODEL], "rpm_limit": 60, "tpm_limit": 9000,
        "max_parallel_requests": 2, "max_budget": 3, "budget_duration": "7d", "metadata": {"cost_centre": "4711"}, "expires": "2099-01-31",
    }  # fmt: skip
    person = world.person(
        keys=[key], email=world.name("ada") + "@example.com", full_name="Ada Lovelace", max_budget=20, budget_duration="30d", rpm_limit=100,
        tpm_limit=20000, metadata={"floor": 3}, teams=[{"name": team, "max_budget": 20, "budget_duration": "30d"}],
    )  # fmt: skip
    teams = [{
        "name": team, "title": "Research", "models": [MODEL], "max_budget": 500, "budget_duration": "30d", "rpm_limit": 1000,
        "tpm_limit": 100000, "metadata": {"head": "grace"},
    }]  # fmt: skip
    limits = {"max_budget": 7, "soft_budget": 5, "budget_duration": "30d", "rpm_limit": 30, "tpm_limit": 4000, "max_parallel_requests": 3}
    return person, {"teams": teams, "budgets": [{"name": world.name("b"), **limits}], **more}


@case
def everything_that_is_wanted_is_there_after_one_run_and_stays(world):
    person, lists = everything(world)
    result = world.steady(person, **lists)
    team, ada = world.name("t"), world.name("ada")
    assert result["people"] == [
        {"name": ada, "state": "present", "changes": ["user made", "joined team %s" % team, "key %s-1 made" % ada]}
    ]
    assert {"budget %s made" % world.name("b"), "team %s made" % team} <= set(result["summary"])
    row, key, user, budget = world.team("t"), world.key(world.value("ada")), world.user("ada"), world.budget("b")
    assert [row[name] for name in ("team_alias", "max_budget", "budget_duration", "rpm_limit", "tpm_limit", "models")] == [
        "Research", 500, "30d", 1000, 100000, [MODEL],
    ]  # fmt: skip
    assert [key[name] for name in ("rpm_limit", "tpm_limit", "max_parallel_requests", "max_budget", "budget_duration", "team_id", "models")] == [
        60, 9000, 2, 3, "7d", team, [MODEL],
    ]  # fmt: skip
    assert moment(key["expires"]).date().isoformat() in ("2099-01-31", "2099-02-01")
    assert [user[name] for name in ("user_alias", "max_budget", "budget_duration", "rpm_limit", "tpm_limit")] == [
        "Ada Lovelace", 20, "30d", 100, 20000,
    ]  # fmt: skip
    assert [budget[name] for name in ("max_budget", "soft_budget", "budget_duration", "rpm_limit", "tpm_limit", "max_parallel_requests")] == [
        7, 5, "30d", 30, 4000, 3,
    ]  # fmt: skip
    assert (key["budget_id"], world.members("t")) == (world.name("b"), {"ada": (20, "30d")})
    assert (key["metadata"]["cost_centre"], user["metadata"]["floor"], row["metadata"]["head"]) == ("4711", 3, "grace")


@case
def a_limit_that_is_dropped_is_gone_from_each_kind(world):
    person, lists = everything(world)
    world.steady(person, **lists)
    bare = world.person(teams=[{"name": world.name("t")}])
    world.steady(bare, teams=[{"name": world.name("t")}], budgets=[{"name": world.name("b")}])
    row, key, user, budget = world.team("t"), world.key(world.value("ada")), world.user("ada"), world.budget("b")
    for found in (row, key, user, budget):
        assert [found[name] for name in ("max_budget", "budget_duration", "rpm_limit", "tpm_limit")] == [None] * 4
    assert (row["models"], key["models"], key["max_parallel_requests"], key["expires"], key["budget_id"]) == ([], [], None, None, None)
    assert (budget["soft_budget"], budget["max_parallel_requests"], world.members("t")) == (None, None, {"ada": (None, None)})
    assert (row["team_alias"], user["user_email"], user["user_alias"]) == (world.name("t"), "", "")
    for metadata, name in ((row["metadata"], "head"), (key["metadata"], "cost_centre"), (user["metadata"], "floor")):
        assert name not in metadata


@case
def what_somebody_changes_at_the_gateway_is_put_back_on_each_kind(world):
    person, lists = everything(world)
    world.steady(person, **lists)
    team, ada, key = world.name("t"), world.name("ada"), world.value("ada")
    world.done("/team/update", team_id=team, max_budget=1, rpm_limit=None, models=[], team_alias="Other")
    world.done("/user/update", user_id=ada, max_budget=1000000, user_role="proxy_admin", user_alias="Somebody")
    elsewhere = {"rpm_limit": 99999, "models": [], "allowed_routes": [], "key_alias": world.name("renamed"), "team_id": None}
    world.done("/key/update", key=key, blocked=True, duration="-1", **elsewhere)
    world.done("/budget/update", budget_id=world.name("b"), max_budget=1000)
    world.done("/team/member_update", team_id=team, user_id=ada, max_budget_in_team=1000)
    world.steady(person, **lists)
    row, found, user = world.team("t"), world.key(key), world.user("ada")
    assert (row["max_budget"], row["rpm_limit"], row["models"], row["team_alias"]) == (500, 1000, [MODEL], "Research")
    assert (user["max_budget"], user["user_role"], user["user_alias"]) == (20, "internal_user_viewer", "Ada Lovelace")
    assert (found["rpm_limit"], bool(found["blocked"]), found["models"], found["allowed_routes"]) == (60, False, [MODEL], ["llm_api_routes"])
    assert (found["key_alias"], found["team_id"], found["expires"] is None) == (ada + "-1", team, False)
    assert (world.budget("b")["max_budget"], world.members("t")) == (7, {"ada": (20, "30d")})


@case
def a_member_who_was_taken_out_at_the_gateway_comes_back_with_the_key(world):
    person, lists = everything(world)
    world.steady(person, **lists)
    world.done("/team/member_delete", team_id=world.name("t"), user_id=world.name("ada"))
    world.steady(person, **lists)
    assert (world.members("t"), world.aliases("ada")) == ({"ada": (20, "30d")}, ["ada-1"])


@case
def what_the_list_never_set_is_left_as_it_is(world):
    person = world.person()
    world.steady(person, teams=[{"name": world.name("t")}])
    world.done("/key/update", key=world.value("ada"), rpm_limit=7)
    world.done("/user/update", user_id=world.name("ada"), max_budget=9)
    world.done("/team/update", team_id=world.name("t"), tpm_limit=3)
    assert not world.access(person, teams=[{"name": world.name("t")}])["changed"]


@case
def a_key_moves_to_another_team_and_survives_leaving_the_old_one(world):
    teams = [{"name": world.name("t")}, {"name": world.name("u")}]
    world.steady(world.person(keys=[{"team": world.name("t")}], teams=[{"name": world.name("t")}]), teams=teams)
    world.steady(world.person(keys=[{"team": world.name("u")}], teams=[{"name": world.name("u")}]), teams=teams)
    assert (world.members("t"), world.members("u")) == ({}, {"ada": (None, None)})
    assert world.key(world.value("ada"))["team_id"] == world.name("u")


@case
def nobody_leaves_a_team_in_which_there_is_a_key_that_was_not_made_here(world):
    teams = [{"name": world.name("t")}]
    world.steady(world.person(teams=[{"name": world.name("t")}]), teams=teams)
    by_hand = {"key": world.value("hand"), "key_alias": world.name("hand"), "user_id": world.name("ada"), "team_id": world.name("t")}
    world.done("/key/generate", **by_hand)
    result = world.steady(world.person(), teams=teams)
    assert "stays in team" in str(result["warnings"])
    assert world.key(world.value("hand")) is not None


@case
def a_member_whom_somebody_else_added_is_left_in_the_team(world):
    lists = {"teams": [{"name": world.name("t")}]}
    world.steady(world.person(), **lists)
    world.done("/team/member_add", team_id=world.name("t"), member={"role": "user", "user_id": world.name("ada")})
    assert not world.access(world.person(), **lists)["changed"]
    assert world.members("t") == {"ada": (None, None)}


@case
def who_leaves_loses_keys_and_teams_and_keeps_the_user(world):
    person, lists = everything(world)
    world.steady(person, **lists)
    world.done("/key/generate", key=world.value("hand"), key_alias=world.name("hand"), user_id=world.name("ada"))
    result = world.steady({**person, "state": "absent"}, **lists)
    ada = world.name("ada")
    assert sorted(result["people"][0]["changes"]) == [
        "key %s-1 deleted" % ada, "key %s (not made here) deleted" % world.name("hand"), "left team %s" % world.name("t"),
        "login to the web page ended",
    ]  # fmt: skip
    assert (world.aliases("ada"), world.members("t"), world.user("ada")["user_id"]) == ([], {}, ada)
    world.steady(person, **lists)
    assert world.aliases("ada") == ["ada-1"]


@case
def a_blocked_person_has_no_working_key_and_comes_back_with_the_own_ones(world):
    person = world.person(keys=[{"name": "laptop"}, {"name": "ci", "alias": world.name("ada/ci-1"), "value": world.value("ci")}])
    world.steady(person)
    world.done("/key/generate", key=world.value("hand"), key_alias=world.name("hand"), user_id=world.name("ada"))
    world.steady({**person, "state": "blocked"})
    assert [world.key(world.value(word))["blocked"] for word in ("ada", "ci", "hand")] == [True] * 3
    world.steady(person)
    assert [bool(world.key(world.value(word))["blocked"]) for word in ("ada", "ci", "hand")] == [False, False, True]


@case
def one_of_several_keys_is_blocked_or_deleted_alone(world):
    def person(state_of_ci):
        ci = {"name": "ci", "alias": world.name("ada/ci-1"), "value": world.value("ci"), "state": state_of_ci}
        return world.person(keys=[{"name": "laptop"}, ci])

    world.steady(person("present"))
    world.steady(person("blocked"))
    assert [bool(world.key(world.value(word))["blocked"]) for word in ("ada", "ci")] == [False, True]
    world.steady(person("absent"))
    assert world.aliases("ada") == ["ada-1"]


def generation(world, number, grace=604800):
    keys = [{"alias": world.name("ada-%d" % number), "value": world.value("ada-%d" % number)}]
    if number > 1:
        old = number - 1
        keys.append({"alias": world.name("ada-%d" % old), "value": world.value("ada-%d" % old), "retiring": True, "grace_seconds": grace})
    return {"name": world.name("ada"), "keys": keys}


@case
def an_old_generation_ends_by_itself_at_the_gateway_after_its_grace_period(world):
    world.steady(generation(world, 1))
    result = world.steady(generation(world, 2))
    assert result["people"][0]["changes"][0] == "key %s made" % world.name("ada-2")
    assert result["people"][0]["changes"][1].startswith("key %s ends on " % world.name("ada-1"))
    old, new = world.key(world.value("ada-1")), world.key(world.value("ada-2"))
    assert abs(seconds_left(old) - 604800) < 60
    assert new["expires"] is None


@case
def what_is_left_of_an_old_generation_goes_with_the_next_run_after_its_end(world):
    world.steady(generation(world, 1))
    world.steady(generation(world, 2))
    metadata = {**world.key(world.value("ada-1"))["metadata"], "retired_at": "2026-01-01T00:00:00Z"}
    world.done("/key/update", key=world.value("ada-1"), metadata=metadata)
    result = world.steady(generation(world, 2))
    assert result["people"][0]["changes"] == ["key %s deleted, its grace period has ended" % world.name("ada-1")]
    assert world.aliases("ada") == ["ada-2"]


@case
def a_longer_life_that_somebody_gives_an_old_generation_is_taken_back(world):
    world.steady(generation(world, 1))
    world.steady(generation(world, 2))
    world.done("/key/update", key=world.value("ada-1"), duration="-1")
    world.steady(generation(world, 2))
    assert abs(seconds_left(world.key(world.value("ada-1"))) - 604800) < 60


@case
def only_one_old_generation_lives_on(world):
    for number in (1, 2, 3):
        world.steady(generation(world, number))
    assert world.aliases("ada") == ["ada-2", "ada-3"]


@case
def a_generation_that_is_taken_back_works_without_an_end(world):
    world.steady(generation(world, 1))
    world.steady(generation(world, 2))
    world.steady(generation(world, 1))
    assert world.aliases("ada") == ["ada-1"]
    row = world.key(world.value("ada-1"))
    assert (row["expires"], "retired_at" in row["metadata"]) == (None, False)


@case
def a_rotation_together_with_another_team_and_other_limits_ends_the_old_key(world):
    first = generation(world, 1)
    first["keys"][0].update(rpm_limit=9, tpm_limit=100)
    world.steady(first)
    second = generation(world, 2)
    for key in second["keys"]:
        key.update(rpm_limit=3, team=world.name("t"))
    world.steady({**second, "teams": [{"name": world.name("t")}]}, teams=[{"name": world.name("t"), "rpm_limit": 5}])
    old, new = world.key(world.value("ada-1")), world.key(world.value("ada-2"))
    assert abs(seconds_left(old) - 604800) < 60 and (old["team_id"], new["team_id"]) == (None, world.name("t"))


@case
def an_old_generation_that_an_administrator_blocked_is_not_opened_again(world):
    world.steady(generation(world, 1))
    world.done("/key/update", key=world.value("ada-1"), blocked=True)
    world.steady(generation(world, 2))
    assert world.key(world.value("ada-1"))["blocked"] and not world.key(world.value("ada-2"))["blocked"]


@case
def blocking_does_not_wait_for_a_team_and_a_budget_that_are_still_to_be_made(world):
    world.steady(world.person("ada"))
    blocked = world.person("ada", keys=[{"team": world.name("t"), "budget": world.name("b")}], state="blocked", teams=[{"name": world.name("t")}])
    budget = {"name": world.name("b"), "max_budget": 1, "budget_duration": "30d"}
    world.steady(blocked, teams=[{"name": world.name("t")}], budgets=[budget])
    row = world.key(world.value("ada"))
    assert (row["blocked"], row["team_id"], row["budget_id"]) == (True, world.name("t"), world.name("b"))


@case
def a_leaver_loses_a_role_that_was_given_at_the_gateway(world):
    world.steady(world.person("ada"))
    world.done("/user/update", user_id=world.name("ada"), user_role="proxy_admin")
    world.steady({"name": world.name("ada"), "state": "absent"})
    assert world.user("ada")["user_role"] == "internal_user_viewer"


@case
def an_expiry_that_is_no_moment_is_refused_before_anything_changes(world):
    result = world.run(litellm_access, users=[world.person(keys=[{"expires": "2027-01-31T25:00:00Z"}])])
    assert result["failed"] and "expires '2027-01-31T25:00:00Z' is no date or moment" in result["msg"] and world.user("ada") is None


@case
def an_old_generation_that_was_never_made_is_not_made(world):
    world.steady(generation(world, 5))
    assert world.aliases("ada") == ["ada-5"]


@case
def an_own_value_that_changes_lives_on_for_its_grace_period(world):
    def person(value):
        return world.person(keys=[{"name": "laptop", "value": world.value(value), "grace_seconds": 3600}])

    world.steady(person("old"))
    world.steady(person("new"))
    assert world.aliases("ada") == ["ada-1", "ada-1/retiring"]
    assert abs(seconds_left(world.key(world.value("old"))) - 3600) < 60
    assert world.key(world.value("new"))["key_alias"] == world.name("ada-1")
    world.steady(person("newer"))
    assert world.key(world.value("old")) is None
    assert world.aliases("ada") == ["ada-1", "ada-1/retiring"]


@case
def an_expiry_is_set_moved_and_removed(world):
    for expires, year in (("2099-01-31", 2099), ("2098-06-01T12:00:00Z", 2098)):
        world.steady(world.person(keys=[{"expires": expires}]))
        assert moment(world.key(world.value("ada"))["expires"]).year == year
    world.steady(world.person())
    assert world.key(world.value("ada"))["expires"] is None


@case
def a_key_whose_time_is_over_is_deleted_and_not_made_again(world):
    world.steady(world.person())
    over = world.person(keys=[{"expires": "2026-01-01"}])
    result = world.steady(over)
    assert result["people"][0]["changes"] == ["key %s-1 deleted, it expired on 2026-01-01T23:59:59Z" % world.name("ada")]
    assert world.aliases("ada") == []


@case
def purge_removes_what_was_made_here_and_nothing_else(world):
    ada, grace = world.person("ada", teams=[{"name": world.name("t")}]), world.person("grace")
    world.steady(ada, grace, teams=[{"name": world.name("t")}])
    world.done("/team/new", team_id=world.name("by-hand"))
    world.done("/key/generate", key=world.value("hand"), key_alias=world.name("hand"), user_id=world.name("ada"))
    world.done("/user/new", user_id=world.name("eve"), auto_create_key=False)
    result = world.access(grace)
    assert not result["changed"]
    known = {(entry["kind"], entry["name"], entry["made_here"]) for entry in result["unknown"]}
    assert {("key", world.name("ada-1"), True), ("key", world.name("hand"), False), ("team", world.name("by-hand"), False)} <= known
    world.steady(grace, purge=True)
    assert (world.aliases("ada"), world.aliases("grace")) == (["hand"], ["grace-1"])
    assert (world.team("t"), world.team("by-hand") is None) == (None, False)
    assert world.user("ada") is not None and world.user("eve") is not None


@case
def only_the_named_person_is_touched(world):
    lists = {"teams": [{"name": world.name("t"), "rpm_limit": 5}, {"name": world.name("u")}]}
    world.steady(world.person("ada"), world.person("grace"))
    ada = world.person("ada", keys=[{"rpm_limit": 9, "team": world.name("t")}], teams=[{"name": world.name("t")}])
    result = world.steady(ada, world.person("grace", keys=[{"rpm_limit": 9}]), only=[world.name("ada")], **lists)
    assert [person["name"] for person in result["people"]] == [world.name("ada")]
    assert (world.key(world.value("ada"))["rpm_limit"], world.key(world.value("grace"))["rpm_limit"]) == (9, None)
    assert (world.team("t")["rpm_limit"], world.team("u"), result["unknown"]) == (5, None, [])
    assert result["calls"]["read"] < 20


@case
def a_team_with_a_key_that_stays_is_not_removed(world):
    world.steady(world.person(keys=[{"team": world.name("t")}], teams=[{"name": world.name("t")}]), teams=[{"name": world.name("t")}])
    world.done("/key/generate", key=world.value("hand"), key_alias=world.name("hand"), team_id=world.name("t"))
    result = world.run(litellm_access, users=[world.person()], teams=[{"name": world.name("t"), "state": "absent"}])
    assert "cannot be removed while it has keys: %s" % world.name("hand") in result["msg"]
    world.done("/key/delete", keys=[world.value("hand")])
    world.steady(world.person(), teams=[{"name": world.name("t"), "state": "absent"}])
    assert (world.team("t"), world.key(world.value("ada"))["team_id"]) == (None, None)


@case
def a_budget_with_a_key_that_stays_is_not_removed(world):
    budgets = [{"name": world.name("b"), "max_budget": 5, "budget_duration": "30d"}]
    world.steady(world.person(keys=[{"budget": world.name("b")}]), budgets=budgets)
    world.done("/key/generate", key=world.value("hand"), key_alias=world.name("hand"), budget_id=world.name("b"))
    gone = {"budgets": [{"name": world.name("b"), "state": "absent"}]}
    assert "cannot be removed while keys have it" in world.run(litellm_access, users=[world.person()], **gone)["msg"]
    world.done("/key/delete", keys=[world.value("hand")])
    world.steady(world.person(), **gone)
    assert (world.budget("b"), world.key(world.value("ada"))["budget_id"]) == (None, None)


@case
def a_team_that_does_not_exist_is_a_sentence_and_nothing_is_changed(world):
    person = world.person(keys=[{"team": world.name("t")}], teams=[{"name": world.name("t")}])
    result = world.run(litellm_access, users=[person])
    assert "there is no team %s" % world.name("t") in result["msg"]
    assert world.user("ada") is None


@case
def an_address_that_somebody_else_has_is_a_conflict(world):
    email = world.name("x") + "@example.com"
    world.done("/user/new", user_id=world.name("eve"), user_email=email, auto_create_key=False)
    for only in ([], [world.name("ada")]):
        result = world.run(litellm_access, users=[world.person(email=email.upper())], only=only)
        assert "already knows the e-mail address under the name %s" % world.name("eve") in result["msg"]
    assert world.user("ada") is None


@case
def many_people_are_made_at_once(world):
    people = [world.person("p%d" % number, teams=[{"name": world.name("t"), "max_budget": 1 + number % 2, "budget_duration": "30d"}]) for number in range(30)]
    result = world.steady(*people, teams=[{"name": world.name("t")}], concurrency=8)
    # One call for the team, one for all users, one for each of the two budgets in the team, one for each key.
    assert result["calls"]["write"] == 1 + 1 + 2 + 30
    assert len(world.members("t")) == 30


@case
def two_runs_at_once_make_nothing_twice_and_lose_nothing(world):
    def wanted(*words):
        team = [{"name": world.name("t"), "max_budget": 3}]
        people = [world.person(word, teams=team, email="%s@example.com" % world.name(word)) for word in words]
        return state.wanted_of(people, [{"name": world.name("t"), "rpm_limit": 50}])

    lists = [wanted("ada", "grace", "x1", "x2"), wanted("grace", "linus", "x2", "x3")]

    def reconcile(wanted):
        return core.reconcile(LitellmClient(world.url, world.master_key), wanted, check_mode=False)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(reconcile, lists))
    assert sorted(world.members("t")) == ["ada", "grace", "linus", "x1", "x2", "x3"]
    for word in ("ada", "grace", "linus", "x1", "x2", "x3"):
        assert world.aliases(word) == [word + "-1"]
        assert world.key(world.value(word))["user_id"] == world.name(word)
    for wanted_part in lists:
        assert reconcile(wanted_part).steps == []


# -- what stands in the way, and what must not wait for it --------------------


@case
def the_gateway_refuses_a_budget_that_does_not_exist(world):
    status, answer = world.post("/key/generate", key=world.value("x"), key_alias=world.name("x"), budget_id=world.name("b"))
    assert (status, error_type(answer)) == (500, "internal_server_error")
    world.done("/key/generate", key=world.value("x"), key_alias=world.name("x"))
    status, answer = world.post("/key/update", key=world.value("x"), budget_id=world.name("b"))
    assert (status, error_type(answer)) == (400, "invalid_request_error")


@case
def the_gateway_ignores_an_end_that_is_no_duration(world):
    world.done("/key/generate", key=world.value("x"), key_alias=world.name("x"), expires="2030-01-01T00:00:00Z")
    world.done("/key/update", key=world.value("x"), expires="2030-01-01T00:00:00Z")
    assert world.key(world.value("x"))["expires"] is None


@case
def the_gateway_hides_sessions_and_ends_them_when_a_password_is_written(world):
    world.done("/user/new", user_id=world.name("x"), user_email=world.name("x") + "@example.com", auto_create_key=False)
    assert world.user("x")["password_reset_required"] is None
    session = world.log_in("x")
    assert world.user("x")["password_reset_required"] is False
    assert world.works(session) and world.aliases("x") == []
    world.done("/user/update", user_id=world.name("x"), password="Another-password-0123456789")
    assert not world.works(session) and world.user("x")["password_reset_required"] is True
    assert "password" not in world.user("x")


@case
def the_gateway_blocks_a_team_and_tells(world):
    world.done("/team/new", team_id=world.name("t"), blocked=True)
    assert world.team("t")["blocked"] is True
    world.done("/team/update", team_id=world.name("t"), blocked=False)
    assert world.team("t")["blocked"] is False


@case
def somebody_who_is_out_loses_the_sessions_of_the_web_page_and_the_password(world):
    for word, out in (("ada", "absent"), ("grace", "blocked")):
        person = world.person(word, email="%s@example.com" % world.name(word))
        world.steady(person)
        session = world.log_in(word)
        assert "login to the web page ended" in world.steady({**person, "state": out})["people"][0]["changes"]
        assert not world.works(session)
        # Whoever takes up an old invitation is put out again.
        world.choose_password(word)
        session = world.log_in(word)
        assert world.steady({**person, "state": out})["people"][0]["changes"] == ["login to the web page ended"]
        assert not world.works(session)
        assert "login to the web page allowed again" in world.steady(person)["people"][0]["changes"]


@case
def a_blocked_person_who_is_new_has_no_login_from_the_beginning(world):
    world.steady(world.person(email=world.name("ada") + "@example.com", state="blocked"))
    assert world.user("ada")["password_reset_required"] is True


@case
def a_conflict_stops_what_is_given_and_nothing_that_is_taken_away(world):
    world.steady(world.person("ada"), world.person("eve"), world.person("grace", keys=[{"rpm_limit": 60, "models": []}]), world.person("linus"))
    world.done("/key/generate", key=world.value("hand"), key_alias=world.name("new-1"))
    lists = [
        {**world.person("ada"), "state": "absent"}, {**world.person("eve"), "state": "blocked"},
        world.person("grace", keys=[{"rpm_limit": 5, "tpm_limit": 3, "models": [MODEL]}], rpm_limit=9), world.person("linus", keys=[]),
        world.person("new"), world.person("other"),
    ]  # fmt: skip
    predicted, result = (world.run(litellm_access, check=check, users=lists) for check in (True, False))
    assert "the alias %s belongs to another key" % world.name("new-1") in result["msg"]
    assert (result["failed"], result["changed"], told(result)) == (True, True, told(predicted))
    assert (world.key(world.value("ada")), world.key(world.value("linus")), world.key(world.value("eve"))["blocked"]) == (None, None, True)
    key = world.key(world.value("grace"))
    assert (key["rpm_limit"], key["tpm_limit"], key["models"], world.user("grace")["rpm_limit"]) == (5, 3, [MODEL], 9)
    assert (world.user("other"), world.user("new")) == (None, None)
    again = world.run(litellm_access, users=lists)
    assert (again["failed"], again["changed"], again["calls"]["write"]) == (True, False, 0)
    world.done("/key/delete", keys=[world.value("hand")])
    world.steady(*lists)


@case
def a_limit_that_becomes_wider_waits_for_the_end_of_a_conflict(world):
    world.steady(world.person("ada", keys=[{"rpm_limit": 5, "models": [MODEL]}]))
    world.done("/key/generate", key=world.value("hand"), key_alias=world.name("new-1"))
    result = world.run(litellm_access, users=[world.person("ada", keys=[{"rpm_limit": 60}]), world.person("new")])
    assert (result["failed"], result["changed"], world.key(world.value("ada"))["rpm_limit"]) == (True, False, 5)


@case
def a_rotation_with_a_grace_period_waits_for_the_end_of_a_conflict(world):
    world.steady(generation(world, 1))
    world.done("/key/generate", key=world.value("hand"), key_alias=world.name("new-1"))
    assert world.run(litellm_access, users=[generation(world, 2), world.person("new")])["failed"]
    assert (world.aliases("ada"), world.key(world.value("ada-1"))["expires"]) == (["ada-1"], None)


@case
def what_belongs_to_the_list_is_refused_to_the_module_for_one_object(world):
    team = [{"name": world.name("t")}]
    world.steady(world.person(teams=team, email=world.name("ada") + "@example.com"), teams=team)
    for module, parameters in (
        (litellm_key, {"alias": world.name("ada-1"), "value": world.value("other")}),
        (litellm_key, {"alias": world.name("ada-1"), "state": "absent"}),
        (litellm_key, {"alias": world.name("elsewhere"), "value": world.value("ada")}),
        (litellm_user, {"name": world.name("ada"), "rpm_limit": 3}),
        (litellm_user, {"name": world.name("ada"), "state": "absent"}),
        (litellm_team, {"name": world.name("t"), "rpm_limit": 3}),
        (litellm_team, {"name": world.name("t"), "state": "absent"}),
    ):
        result = world.run(module, **parameters)
        assert "is in the list of litellm_access; say it there alone" in result["msg"]
        assert (result["changed"], result["calls"]["write"]) == (False, 0)
    assert world.aliases("ada") == ["ada-1"]
    world.single(litellm_key, alias=world.name("ada-1"), value=world.value("ada"), user=world.name("ada"), rpm_limit=3, take_over=True)
    assert world.key(world.value("ada"))["rpm_limit"] == 3


@case
def what_belongs_to_the_module_for_one_object_is_refused_to_the_list_until_it_takes_over(world):
    world.single(litellm_team, name=world.name("t"))
    world.single(litellm_user, name=world.name("ada"))
    world.single(litellm_key, alias=world.name("ada-1"), value=world.value("ada"), user=world.name("ada"))
    lists = {"users": [world.person(keys=[{"rpm_limit": 9}])], "teams": [{"name": world.name("t"), "rpm_limit": 9}]}
    result = world.run(litellm_access, **lists)
    for kind, name in (("team", "t"), ("user", "ada"), ("key", "ada-1")):
        assert "%s %s: is managed by litellm_%s" % (kind, world.name(name), kind) in result["msg"]
    assert (world.team("t")["rpm_limit"], world.key(world.value("ada"))["rpm_limit"]) == (None, None)
    world.steady(*lists["users"], teams=lists["teams"], take_over=True)
    assert (world.team("t")["rpm_limit"], world.key(world.value("ada"))["rpm_limit"]) == (9, 9)
    world.steady(*lists["users"], teams=lists["teams"])


@case
def whom_the_list_keeps_out_loses_keys_that_stand_alone_too(world):
    world.single(litellm_user, name=world.name("ada"), email=world.name("ada") + "@example.com")
    world.single(litellm_key, alias=world.name("ada-1"), value=world.value("ada"), user=world.name("ada"))
    session = world.log_in("ada")
    assert "user %s: is managed by litellm_user" % world.name("ada") in world.run(litellm_access, users=[world.person(state="blocked")])["msg"]
    assert (world.key(world.value("ada"))["blocked"], world.works(session)) == (True, False)
    world.steady(world.person(state="absent"))
    assert world.key(world.value("ada")) is None


@case
def a_lower_generation_is_refused_even_when_its_key_is_long_gone(world):
    def person(number, state="present"):
        key = {"alias": world.name("ada-%d" % number), "value": world.value("ada-%d" % number), "generation": number}
        return {"name": world.name("ada"), "keys": [key], "state": state}

    world.steady(person(1))
    world.steady(person(3))
    for _round in range(2):
        result = world.run(litellm_access, users=[person(2)])
        assert "is generation 2, but there has been a generation 3, so a key that was replaced would work again" in result["msg"]
        assert "give generation 3, or 4 for a new key" in result["msg"]
        assert result["calls"]["write"] == 0
        assert world.aliases("ada") in (["ada-3"], [])
        world.steady(person(3, "absent"))
    world.steady(person(3))
    assert world.aliases("ada") == ["ada-3"]
    world.steady(person(4))


@case
def an_end_of_a_key_that_the_list_moves_by_a_second_is_moved(world):
    for second in (10, 11):
        expires = "2030-01-01T00:00:%dZ" % second
        assert world.steady(world.person(keys=[{"expires": expires}]))["changed"]
        assert abs((moment(world.key(world.value("ada"))["expires"]) - moment(expires)).total_seconds()) < 10
    # A sooner end than the one it has.
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    world.steady(world.person(keys=[{"expires": soon.strftime("%Y-%m-%dT%H:%M:%SZ")}]))
    assert abs(seconds_left(world.key(world.value("ada"))) - 3600) < 15


@case
def somebody_goes_on_under_another_name_with_the_same_address(world):
    email = world.name("x") + "@example.com"
    old, new = world.person("ada", email=email), world.person("ada.l", email=email)
    world.steady(old)
    result = world.steady({**old, "state": "absent"}, new)
    taken = "e-mail address taken over from %s, who is gone" % world.name("ada")
    assert taken in next(person for person in result["people"] if person["name"] == world.name("ada.l"))["changes"]
    assert (world.user("ada")["user_email"], world.user("ada.l")["user_email"], world.aliases("ada.l")) == ("", email, ["ada.l-1"])


@case
def an_address_of_somebody_who_is_in_no_list_any_more_is_free_once_the_keys_are_gone(world):
    email = world.name("x") + "@example.com"
    world.steady(world.person("ada", email=email))
    new = world.person("ada.l", email=email)
    for only in ([], [new["name"]]):
        assert "already knows the e-mail address under the name" in world.run(litellm_access, users=[new], only=only)["msg"]
    world.steady(world.person("ada", state="absent"))
    world.steady(new, only=[new["name"]])
    assert (world.user("ada")["user_email"], world.user("ada.l")["user_email"]) == ("", email)


@case
def a_team_that_was_blocked_at_the_gateway_works_again_and_one_can_be_kept_blocked(world):
    teams = [{"name": world.name("t")}]
    world.steady(teams=teams)
    world.done("/team/update", team_id=world.name("t"), blocked=True)
    assert world.steady(teams=teams)["summary"][0] == "team %s: unblocked" % world.name("t")
    assert world.team("t")["blocked"] is False
    assert world.steady(teams=[{**teams[0], "state": "blocked"}])["summary"][0] == "team %s: blocked" % world.name("t")
    assert world.team("t")["blocked"] is True
    world.steady(teams=[{"name": world.name("u"), "state": "blocked"}])
    assert world.team("u")["blocked"] is True
    world.single(litellm_team, name=world.name("v"), state="blocked")
    world.single(litellm_team, name=world.name("v"))
    assert world.team("v")["blocked"] is False


@case
def a_purged_person_with_a_key_in_a_team_leaves_it_in_the_same_run_as_foretold(world):
    teams = [{"name": world.name("t")}]
    world.steady(world.person("ada", keys=[{"team": world.name("t")}], teams=teams), world.person("grace"), teams=teams)
    result = world.steady(world.person("grace"), teams=teams, purge=True)
    assert not [warning for warning in result["warnings"] if "stays in team" in warning]
    gone = next(person for person in result["people"] if person["name"] == world.name("ada"))
    assert gone["changes"] == ["key %s deleted, it is no longer in the list" % world.name("ada-1"), "left team %s" % world.name("t")]
    assert (world.members("t"), world.aliases("ada")) == ({}, [])


RUN_ON_A_HOST = """
import json, sys
from ansible.module_utils import basic
from ansible_collections.private_llm.platform.plugins.module_utils import litellm_access as core
from ansible_collections.private_llm.platform.plugins.modules import litellm_access
core.LOCK_DIRECTORY = sys.argv[1]
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
litellm_access.main()
"""


@case
def two_hosts_at_once_make_nothing_twice_and_lose_nothing(world):
    def start(directory, *words):
        """A run as another host makes it, in a process of its own with locks of its own."""
        team = [{"name": world.name("t"), "max_budget": 3, "budget_duration": "30d"}]
        users = [world.person(word, teams=team, email="%s@example.com" % world.name(word), keys=[{"rpm_limit": 7}]) for word in words]
        own = {"_ansible_check_mode": False, "_ansible_diff": False, "_ansible_no_log": False, "_ansible_remote_tmp": directory}
        lists = {"users": users, "teams": [{"name": world.name("t"), "rpm_limit": 50}]}
        arguments = {"api_url": world.url, "api_key": world.master_key, **lists, **own}
        process = subprocess.Popen(
            [sys.executable, "-c", RUN_ON_A_HOST, directory], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
        process.stdin.close()
        return process

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        runs = [start(one, "ada", "grace", "x1", "x2"), start(other, "grace", "linus", "x2", "x3")]
        results = []
        for process in runs:
            results.append(json.loads(process.stdout.read().strip().splitlines()[-1]))
            process.wait()
    assert [result.get("msg") for result in results] == [None, None]
    everybody = ("ada", "grace", "linus", "x1", "x2", "x3")
    assert sorted(world.members("t")) == sorted(everybody)
    for word in everybody:
        assert (world.aliases(word), world.key(world.value(word))["rpm_limit"]) == ([word + "-1"], 7)
        assert world.user(word)["user_email"] == "%s@example.com" % world.name(word)
    team = [{"name": world.name("t"), "max_budget": 3, "budget_duration": "30d"}]
    people = [world.person(word, teams=team, email="%s@example.com" % world.name(word), keys=[{"rpm_limit": 7}]) for word in everybody]
    assert not world.access(*people, teams=[{"name": world.name("t"), "rpm_limit": 50}])["changed"]


# -- one object at a time -----------------------------------------------------


@case
def one_budget_is_made_changed_and_removed(world):
    name = world.name("b")
    assert world.single(litellm_budget, name=name, max_budget=5, budget_duration="30d", rpm_limit=3)["changes"] == ["budget %s made" % name]
    assert world.single(litellm_budget, name=name, max_budget=6, budget_duration="30d")["diff"]["before"]["budgets"][name] == {"max_budget": 5, "rpm_limit": 3}
    assert world.single(litellm_budget, name=name, state="absent")["changed"]
    assert world.budget("b") is None


@case
def one_team_is_made_changed_and_removed(world):
    name = world.name("t")
    assert world.single(litellm_team, name=name, models=[MODEL], max_budget=5, budget_duration="30d")["changes"] == ["team %s made" % name]
    world.single(litellm_team, name=name, title="Research")
    assert (world.team("t")["team_alias"], world.team("t")["models"], world.team("t")["max_budget"]) == ("Research", [], None)
    world.single(litellm_team, name=name, state="absent")
    assert world.team("t") is None


@case
def one_team_with_keys_is_not_removed(world):
    world.done("/team/new", team_id=world.name("t"))
    world.done("/key/generate", key=world.value("x"), key_alias=world.name("x"), team_id=world.name("t"))
    assert "cannot be removed while it has keys" in world.run(litellm_team, name=world.name("t"), state="absent")["msg"]


@case
def one_user_is_made_changed_blocked_and_removed(world):
    world.single(litellm_team, name=world.name("t"))
    ada = {"name": world.name("ada")}
    made = world.single(litellm_user, **ada, email=world.name("ada") + "@example.com", teams=[world.name("t")], team_max_budget=3, models=[MODEL])
    assert made["changes"] == ["user made", "joined team %s" % world.name("t")]
    world.single(litellm_key, alias=world.name("k"), value=world.value("k"), user=world.name("ada"))
    world.single(litellm_user, **ada, rpm_limit=5, role="internal_user")
    assert (world.user("ada")["models"], world.user("ada")["rpm_limit"], world.members("t")) == (["all-proxy-models"], 5, {"ada": (3, None)})
    world.single(litellm_user, **ada, state="blocked")
    assert world.key(world.value("k"))["blocked"] is True
    world.single(litellm_user, **ada, teams=[])
    assert (bool(world.key(world.value("k"))["blocked"]), world.members("t")) == (False, {})
    world.single(litellm_user, **ada, state="absent")
    assert (world.aliases("ada"), world.user("ada") is None) == ([], False)
    world.single(litellm_user, **ada, state="absent", purge=True)
    assert world.user("ada") is None


@case
def one_key_is_made_changed_rotated_and_deleted(world):
    alias = {"alias": world.name("k")}
    assert world.single(litellm_key, **alias, value=world.value("a"), rpm_limit=5, expires="2099-01-31")["changes"] == ["key %s made" % world.name("k")]
    world.single(litellm_key, **alias, value=world.value("a"), models=[MODEL], state="blocked")
    row = world.key(world.value("a"))
    assert (row["rpm_limit"], row["expires"], row["models"], row["blocked"]) == (None, None, [MODEL], True)
    world.single(litellm_key, **alias, value=world.value("b"), grace="1h")
    assert abs(seconds_left(world.key(world.value("a"))) - 3600) < 60
    assert world.key(world.value("b"))["key_alias"] == world.name("k")
    world.single(litellm_key, **alias, value=world.value("c"))
    assert [world.key(world.value(word)) is None for word in "abc"] == [True, True, False]
    world.single(litellm_key, **alias, state="absent")
    assert world.key(world.value("c")) is None


@case
def one_key_for_somebody_who_does_not_exist_is_refused(world):
    result = world.run(litellm_key, alias=world.name("k"), value=world.value("k"), user=world.name("nobody"))
    assert "names the user %s, which does not exist" % world.name("nobody") in result["msg"]
    assert world.key(world.value("k")) is None


@case
def a_key_that_stands_alone_is_not_taken_for_one_of_the_list(world):
    world.steady(world.person())
    world.single(litellm_key, alias=world.name("own"), value=world.value("own"), user=world.name("ada"))
    assert not world.access(world.person(), only=[world.name("ada")])["changed"]
    assert world.key(world.value("own")) is not None
