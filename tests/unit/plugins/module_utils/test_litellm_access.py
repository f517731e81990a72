# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looking, planning and acting: what goes wrong in between, and how many calls it takes."""

from __future__ import annotations

import datetime
import gc
import json
import os
import subprocess
import sys
import threading
import time

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import litellm_access as core
from ansible_collections.private_llm.platform.plugins.module_utils import litellm_state as state
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_client import LitellmClient, LitellmError
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_plan import make_plan
from ansible_collections.private_llm.platform.plugins.module_utils.people import moment
from ansible_collections.private_llm.platform.tests.unit.fakes.litellm import MASTER_KEY, FakeLitellm


@pytest.fixture
def gateway():
    with FakeLitellm() as fake:
        yield fake


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(core, "VERIFY_DELAYS", (0.0, 0.0, 0.0, 0.0))


def people(count, **key):
    return [
        {"name": "p%d" % number, "keys": [{"alias": "p%d-1" % number, "value": "sk-key-of-person-%06d" % number, **key}]} for number in range(count)
    ]


def reconcile(gateway, users, check_mode=False, **lists):
    client = LitellmClient(gateway.url, MASTER_KEY, sleep=lambda seconds: None)
    plan = core.reconcile(client, state.wanted_of(users, **lists), check_mode)
    return plan, client


def test_nothing_to_do_for_a_thousand_people_takes_a_call_a_page(gateway):
    reconcile(gateway, people(1000))
    plan, client = reconcile(gateway, people(1000))
    assert plan.steps == []
    # 1,001 users on 11 pages, 1,000 keys on 10, teams on 1.
    assert (client.reads, client.writes) == (11 + 10 + 1, 0)


def test_one_change_among_a_thousand_people_is_verified_by_a_look_at_that_one(gateway):
    reconcile(gateway, people(1000))
    changed = people(1000)
    changed[500]["keys"][0]["rpm_limit"] = 5
    _plan, client = reconcile(gateway, changed)
    assert client.writes == 1
    assert client.reads <= 11 + 10 + 1 + 3


def test_an_older_gateway_that_makes_users_one_by_one_is_served_so(gateway):
    gateway.missing_paths = (core.BULK_PATH,)
    reconcile(gateway, people(20))
    assert len(gateway.written("/user/new")) == 20
    assert len(gateway.users) == 21


def test_a_user_that_failed_among_many_is_made_alone(gateway):
    gateway.answer_once(core.BULK_PATH, 200, {"data": [], "meta": {"failed": 20}})
    reconcile(gateway, people(20))
    assert len(gateway.users) == 21


@pytest.mark.parametrize("path", ["/user/new", "/key/generate", "/key/update", "/team/new", "/team/member_add", "/budget/new"])
def test_a_write_that_failed_once_is_done_again_and_only_what_is_left(gateway, path):
    users = [{**person, "teams": [{"name": "t"}]} for person in people(2, budget="b", team="t")]
    lists = {"teams": [{"name": "t"}], "budgets": [{"name": "b", "rpm_limit": 3}]}
    gateway.add_key("sk-key-of-person-000001", key_alias="other", user_id="p1")
    gateway.answer_once(path, 500, {"error": {"message": "boom", "type": "internal_server_error", "code": "500"}})
    reconcile(gateway, users, **lists)
    assert reconcile(gateway, users, **lists)[0].steps == []
    assert len(gateway.keys) == 2


def test_a_write_whose_answer_was_lost_is_not_done_twice(gateway):
    answer = gateway.post_key_generate

    def make_and_fall_silent(body):
        answer(body)
        gateway.post_key_generate = answer
        raise ConnectionError

    gateway.post_key_generate = make_and_fall_silent
    reconcile(gateway, people(1))
    assert len(gateway.written("/key/generate")) == 1
    assert len(gateway.keys) == 1


def test_what_the_gateway_refuses_for_good_is_not_tried_again(gateway):
    gateway.answer_always("/key/generate", 403, {"error": {"message": "not for you", "type": "auth_error", "code": "403"}})
    with pytest.raises(LitellmError, match="403 .auth_error.: not for you"):
        reconcile(gateway, people(1))
    assert len(gateway.written("/key/generate")) == 1


def test_no_stage_begins_before_the_one_it_needs_is_done(gateway):
    gateway.answer_always("/user/new", 500, {"error": {"message": "boom", "type": "internal_server_error", "code": "500"}})
    with pytest.raises(LitellmError, match="Another run does what is left"):
        reconcile(gateway, people(2))
    assert gateway.keys == {}


def test_many_failures_are_told_in_few_words(gateway):
    gateway.answer_always("/key/generate", 400, {"error": {"message": "no", "type": "bad_request_error", "code": "400"}})
    with pytest.raises(LitellmError) as failure:
        reconcile(gateway, people(50))
    assert len(str(failure.value)) < 1000


def test_leaving_comes_after_keys_have_moved(gateway):
    lists = {"teams": [{"name": "t"}, {"name": "u"}]}
    reconcile(gateway, [{**person, "teams": [{"name": "t"}]} for person in people(1, team="t")], **lists)
    gateway.requests.clear()
    reconcile(gateway, [{**person, "teams": [{"name": "u"}]} for person in people(1, team="u")], **lists)
    assert [path for path, _body in gateway.writes()] == ["/user/update", "/team/member_add", "/key/update", "/team/member_delete"]


def test_teams_cost_no_call_each(gateway):
    teams = [{"name": "t%d" % number} for number in range(150)]
    users = [{**person, "teams": [{"name": "t%d" % number, "max_budget": 3}]} for number, person in enumerate(people(150))]
    reconcile(gateway, users, teams=teams)
    _plan, client = reconcile(gateway, users, teams=teams)
    # Two pages each of users, keys and teams, and one call for what members may spend.
    assert client.reads == 7


def test_two_runs_on_one_host_wait_for_each_other(tmp_path):
    order = []

    def second():
        with core.alone("http://gateway:4000/", directory=str(tmp_path)):
            order.append("second")

    with core.alone("http://gateway:4000", directory=str(tmp_path)) as held:
        assert held
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_lock_ends_with_its_process(tmp_path):
    command = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX); os._exit(9)"
    with core.alone("http://gateway:4000", directory=str(tmp_path)):
        pass
    subprocess.run([sys.executable, "-c", command, str(next(tmp_path.iterdir()))], check=False)
    with core.alone("http://gateway:4000", directory=str(tmp_path)) as held:
        assert held


def test_trap_10_an_end_that_the_list_moves_by_a_second_is_set(gateway):
    reconcile(gateway, people(1, expires="2030-01-01T00:00:00Z"))
    row = next(iter(gateway.keys.values()))
    row["expires"] = "2030-01-01T00:00:45.123000+00:00"
    plan, _client = reconcile(gateway, people(1, expires="2030-01-01T00:00:01Z"))
    assert [step.sentence for step in plan.steps] == ["key p0-1: expires 2030-01-01T00:00:45.123000+00:00 -> 2030-01-01T00:00:01Z"]
    assert abs((moment(row["expires"]) - moment("2030-01-01T00:00:01Z")).total_seconds()) <= 2


def test_where_no_lock_can_be_made_the_run_goes_on(tmp_path):
    with core.alone("http://gateway:4000", directory=str(tmp_path / "missing")) as held:
        assert not held
    with core.alone("http://gateway:4000", only_looks=True, directory=str(tmp_path)):
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "text, expected",
    [
        ("2027-01-31", "2027-01-31T23:59:59Z"),
        ("2027-01-31T12:00:00Z", "2027-01-31T12:00:00Z"),
        ("2027-01-31 12:00", "2027-01-31T12:00:00Z"),
        ("2027-01-31T12:00:00.856391+02:00", "2027-01-31T10:00:00Z"),
        ("2027-01-31T12:00:00.856000+0000", "2027-01-31T12:00:00Z"),
        (datetime.date(2027, 1, 31), "2027-01-31T23:59:59Z"),
    ],
)
def test_trap_10_a_moment_is_read_in_every_form_that_the_gateway_and_people_use(text, expected):
    assert state.written(moment(text)) == expected


@pytest.mark.parametrize("text", ["", None, "soon", "2027-02-31", "2027-13-01T00:00:00Z"])
def test_what_is_no_moment_is_none(text):
    assert moment(text) is None


def test_an_end_that_the_gateway_counted_late_is_left(gateway):
    users = people(1, expires="2030-01-01T00:00:00Z")
    reconcile(gateway, users)
    row = next(iter(gateway.keys.values()))
    row["expires"] = "2030-01-01T00:00:45.123000+00:00"
    assert reconcile(gateway, users)[0].steps == []
    row["expires"] = "2030-01-02T00:00:00Z"
    assert len(reconcile(gateway, users)[0].steps) == 1


# -- what others do at the same time ------------------------------------------


def when(gateway, path, act, times=1):
    """Somebody acts right after the gateway has done what it was asked at a path."""
    name = "post_" + path.strip("/").replace("/", "_")
    honest, left = getattr(gateway, name), [times]

    def answer(body):
        result = honest(body)
        if left[0]:
            left[0] -= 1
            act(body)
        return result

    setattr(gateway, name, answer)


def test_what_somebody_else_changes_meanwhile_is_put_back_and_told(gateway):
    reconcile(gateway, people(1))
    row = gateway.key_of("sk-key-of-person-000000")
    when(gateway, "/key/update", lambda body: row.update(rpm_limit=99))
    plan, _client = reconcile(gateway, people(1, rpm_limit=5))
    assert row["rpm_limit"] == 5
    assert "Somebody else changed people at the same time, and it was put back: p0: key p0-1 has another rpm_limit" in str(plan.warnings)


def test_somebody_who_goes_on_changing_the_same_is_an_error_that_names_it(gateway):
    reconcile(gateway, people(1))
    row = gateway.key_of("sk-key-of-person-000000")
    when(gateway, "/key/update", lambda body: row.update(rpm_limit=99), times=100)
    with pytest.raises(LitellmError, match="Somebody else goes on changing what this run changes: p0: key p0-1 has another rpm_limit"):
        reconcile(gateway, people(1, rpm_limit=5))
    assert len(gateway.written("/key/update")) == len(core.VERIFY_DELAYS)


def test_what_somebody_else_removes_meanwhile_is_there_again_and_told(gateway):
    reconcile(gateway, people(1))
    when(gateway, "/key/update", lambda body: gateway.keys.clear())
    plan, _client = reconcile(gateway, people(1, rpm_limit=5))
    assert gateway.key_of("sk-key-of-person-000000")["rpm_limit"] == 5
    assert "p0: key p0-1 was removed" in str(plan.warnings)


def test_a_value_that_was_not_kept_is_not_blamed_on_somebody_else(gateway):
    reconcile(gateway, people(1))
    gateway.lose_writes_to = ("/key/update",)
    with pytest.raises(LitellmError, match="did not keep them all"):
        reconcile(gateway, people(1, rpm_limit=5))


def test_trap_35_a_member_whom_somebody_else_adds_or_takes_out_first_is_no_failure(gateway):
    lists = {"teams": [{"name": "t"}]}
    reconcile(gateway, people(1), **lists)
    member = [{**person, "teams": [{"name": "t"}]} for person in people(1)]
    honest = gateway.post_team_member_add

    def somebody_was_faster(body):
        gateway.memberships["t", "p0"] = None
        return honest(body)

    gateway.post_team_member_add = somebody_was_faster
    reconcile(gateway, member, **lists)
    assert reconcile(gateway, member, **lists)[0].steps == []
    honest_leave = gateway.post_team_member_delete

    def somebody_was_faster_again(body):
        gateway.memberships.pop(("t", "p0"), None)
        return honest_leave(body)

    gateway.post_team_member_delete = somebody_was_faster_again
    reconcile(gateway, people(1), **lists)
    assert ("t", "p0") not in gateway.memberships


def test_trap_41_what_was_made_and_is_not_shown_at_once_is_neither_doubled_nor_an_error(gateway):
    when(gateway, "/key/generate", lambda body: gateway.answer_once("/key/list", 200, {"keys": [], "total_count": 0, "total_pages": 0}))
    reconcile(gateway, people(1))
    assert len(gateway.keys) == 1
    assert reconcile(gateway, people(1))[0].steps == []


# -- locks ---------------------------------------------------------------------


def test_whoever_is_not_root_locks_in_a_directory_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setattr(core, "LOCK_DIRECTORY", "/proc")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    with core.alone("http://gateway:4000") as held:
        assert held
        assert len(os.listdir(tmp_path / "run")) == 1
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(core.tempfile, "tempdir", str(tmp_path))
    with core.alone("http://gateway:4000") as held:
        assert held
    made = tmp_path / ("private_llm.platform-%d" % os.geteuid())
    assert made.stat().st_mode & 0o777 == 0o700


def test_a_directory_in_which_others_can_write_is_no_place_for_locks(monkeypatch, tmp_path):
    monkeypatch.setattr(core, "LOCK_DIRECTORY", "/proc")
    tmp_path.chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with core.alone("http://gateway:4000") as held:
        assert not held
    assert os.listdir(tmp_path) == []


# -- the promised bounds --------------------------------------------------------


@pytest.mark.parametrize("count", [20, 1000])
def test_calls_stay_within_two_pages_of_a_hundred_and_ten_for_each_kind(gateway, count):
    users = [{**person, "teams": [{"name": "t%d" % (number % 7), "max_budget": 3}]} for number, person in enumerate(people(count, budget="b"))]
    lists = {"teams": [{"name": "t%d" % number} for number in range(7)], "budgets": [{"name": "b", "max_budget": 1, "budget_duration": "30d"}]}
    reconcile(gateway, users, **lists)
    gateway.requests.clear()
    plan, client = reconcile(gateway, users, **lists)
    assert (plan.steps, client.writes) == ([], 0)
    most = 2 * -(-count // 100) + 10
    for kind in ("/key/", "/user/", "/team/", "/v2/team/", "/budget/"):
        assert len([path for _method, path, _fields, _headers in gateway.requests if path.startswith(kind)]) <= most


TEN_THOUSAND = """
import json, re, sys
from pathlib import Path
from ansible.module_utils import basic
from ansible_collections.private_llm.platform.plugins.modules import litellm_access
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
try:
    litellm_access.main()
finally:
    # Not getrusage: what it tells includes the process that started this one.
    most = re.search("VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1)
    print(json.dumps({"mebibytes": int(most) / 1024}), file=sys.stderr)
"""


def test_ten_thousand_people_fit_into_200_mebibytes(gateway):
    users = people(10000, rpm_limit=60, models=["coder"])
    for person in users:
        key = person["keys"][0]
        marks = "allowed_routes,metadata.managed_key,models,rpm_limit"
        metadata = {"managed_by": state.MANAGER, "managed_fields": marks, "managed_key": "default"}
        limits = {"rpm_limit": 60, "models": ["coder"], "allowed_routes": ["llm_api_routes"]}
        gateway.add_key(key["value"], key_alias=key["alias"], user_id=person["name"], metadata=metadata, **limits)
        own = {"managed_by": state.MANAGER, "managed_fields": "user_role"}
        gateway.add_user(person["name"], user_role=state.USER_ROLE, metadata=own)
    arguments = {"api_url": gateway.url, "api_key": MASTER_KEY, "users": users}
    own = {"_ansible_check_mode": True, "_ansible_diff": False, "_ansible_no_log": False, "_ansible_remote_tmp": "/nonexistent"}
    done = subprocess.run(
        [sys.executable, "-c", TEN_THOUSAND],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, **own}}), env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert (result.get("changed"), result["calls"]) == (False, {"read": 101 + 100 + 1, "write": 0}), result.get("msg")
    assert json.loads(done.stderr.strip().splitlines()[-1])["mebibytes"] <= 200


def test_ten_times_as_many_people_take_about_ten_times_as_long_to_plan():
    def seconds(count):
        wanted = state.wanted_of(people(count))
        keys = {key.token: {"token": key.token, "user_id": key.person, **key.fields} for key in wanted.keys}
        found = state.Found(keys=keys, now=time.time())
        # The collector walks through all objects of all tests whenever it likes.
        gc.collect()
        gc.disable()
        started = time.process_time()
        make_plan(wanted, found)
        gc.enable()
        return time.process_time() - started

    few = min(seconds(1000) for _attempt in range(3))
    assert min(seconds(10000) for _attempt in range(2)) <= 20 * few
