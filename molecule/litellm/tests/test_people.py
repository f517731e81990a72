"""Who used how much is told exactly, and the administrator sees it on the gateway's web page, which nobody else gets into."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from browser import browser

SCENARIO = Path(__file__).resolve().parents[1]
MASTER_KEY = "sk-master-of-the-test-0123456789"
PASSWORD = "password-of-the-page-0123456789"
CHAT = {"model": "canned", "messages": [{"role": "user", "content": "Hello?"}]}
# How often each of them asks.
REQUESTS = {"ada": 4, "grace": 2, "linus": 0, "barbara": 1}
PRICE = 0.001


def key_of(name):
    return f"sk-key-of-{name}-for-the-test-0123456789"


def tell():
    """What an operator's playbook tells, and what it prints however talkative."""
    directory = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
    (directory / "key.json").write_text(json.dumps({"master_key": MASTER_KEY}))
    inventories = [os.environ["MOLECULE_INVENTORY_FILE"], os.environ["PRIVATE_LLM_INVENTORY"]]
    options = [word for path in inventories for word in ("--inventory", path)]
    command = ["ansible-playbook", *options, str(SCENARIO / "usage.yml"), "--extra-vars", f"@{directory / 'key.json'}", "-vvv"]
    run = subprocess.run(command, cwd=SCENARIO.parents[1], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return {**json.loads((directory / "usage.json").read_text()), "printed": run.stdout + run.stderr}


@pytest.fixture(scope="module")
def before(host):
    """What was used before the people here ask; nothing on a new host."""
    return tell()


@pytest.fixture(scope="module")
def answers(before, outside):
    """Each of the people asks; barbara loses her key afterwards."""

    def manage(path, body):
        answer = outside.request(4000, path, key=MASTER_KEY, body=body)
        assert answer.status in (200, 400, 409), answer.text

    manage("/team/new", {"team_id": "research", "team_alias": "Research", "max_budget": 100, "budget_duration": "30d"})
    for name in REQUESTS:
        user = {"user_id": name, "user_alias": name.title(), "user_email": f"{name}@example.com", "auto_create_key": False}
        manage("/user/new", {**user, "user_role": "internal_user_viewer", "max_budget": 20, "budget_duration": "30d"})
        team = {"team_id": "research"} if name in ("ada", "grace") else {}
        manage("/key/generate", {"key": key_of(name), "key_alias": f"{name}-1", "user_id": name, "allowed_routes": ["llm_api_routes"], **team})
    got = {name: [outside.request(4000, "/v1/chat/completions", key=key_of(name), body=CHAT).json() for _ in range(n)] for name, n in REQUESTS.items()}
    manage("/key/delete", {"key_aliases": ["barbara-1"]})
    return got


@pytest.fixture(scope="module")
def usage(before, answers):
    """What is told once the gateway has written down all that was used: it does so a moment later."""
    expected = before["total"]["requests"] + sum(REQUESTS.values())
    deadline = time.monotonic() + 60
    while True:
        found = tell()
        if found["total"]["requests"] >= expected or time.monotonic() > deadline:
            return found
        time.sleep(2)


def used(before, usage, kind, field, name):
    """What somebody used since these tests began."""

    def of(found):
        return next((row["usage"] for row in found[kind] if row[field] == name), {})

    return {measure: value - of(before).get(measure, 0) for measure, value in of(usage).items()}


def row_of(usage, name):
    return next(row for row in usage["users"] if row["name"] == name)


@pytest.mark.parametrize("name", ["ada", "grace", "barbara"])
def test_a_persons_usage_is_the_sum_of_their_answers(before, usage, answers, name):
    since = used(before, usage, "users", "name", name)
    sent = sum(answer["usage"]["prompt_tokens"] for answer in answers[name])
    got = sum(answer["usage"]["completion_tokens"] for answer in answers[name])
    assert (since["successful_requests"], since["prompt_tokens"], since["completion_tokens"]) == (REQUESTS[name], sent, got)
    assert since["spend"] == pytest.approx((sent + got) * PRICE)


def test_what_is_left_of_a_budget_is_the_budget_without_what_was_spent(usage):
    ada = row_of(usage, "ada")
    assert ada["spend"] > 0
    assert ada["budget_left"] == pytest.approx(20 - ada["spend"])


def test_a_team_has_used_what_its_people_used(before, usage):
    since = used(before, usage, "teams", "id", "research")
    assert since["requests"] == REQUESTS["ada"] + REQUESTS["grace"]
    assert since["spend"] == pytest.approx(sum(used(before, usage, "users", "name", name)["spend"] for name in ("ada", "grace")))
    team = next(team for team in usage["teams"] if team["id"] == "research")
    assert team["budget_left"] == pytest.approx(100 - team["spend"]) and team["spend"] > 0


def test_who_asked_nothing_was_never_there_and_who_asked_was(usage):
    assert row_of(usage, "linus")["last_used"] is None and row_of(usage, "linus")["usage"]["requests"] == 0
    assert row_of(usage, "ada")["last_used"] <= usage["as_of"]


def test_a_key_that_is_gone_is_still_told_with_what_it_used(usage):
    key = next(key for key in usage["keys"] if key["alias"] == "barbara-1")
    assert (key["state"], key["user"]) == ("deleted", "barbara") and key["usage"]["requests"] >= 1
    assert row_of(usage, "barbara")["state"] == "no_key"


def test_no_key_nor_any_part_of_one_is_printed(usage):
    assert [key for key in (MASTER_KEY, "sk-...", *map(key_of, REQUESTS)) if key in usage["printed"]] == []


def test_a_persons_key_reads_nobodys_usage(answers, outside):
    for path in ("/user/list", "/key/list", "/v2/team/list", "/user/daily/activity/aggregated/users?start_date=2026-01-01&end_date=2026-01-01"):
        assert outside.request(4000, path, key=key_of("ada")).status in (401, 403), path


# -- the web page -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(outside):
    return f"http://{outside.address}:4000/ui/"


def log_in(window, page, name, password):
    window.open(page)
    window.wait_for("Username", "Password")
    window.type("username", name)
    window.type("password", password)
    window.click("Login")


@pytest.mark.parametrize(
    "name, password",
    [("admin", "not-the-password"), ("admin", MASTER_KEY), ("ada@example.com", key_of("ada")), ("admin", key_of("ada"))],
    ids=["a wrong password", "the master key", "a person with their key", "the administrator's name with a person's key"],
)
def test_the_page_lets_nobody_in_with(usage, window, page, name, password):
    log_in(window, page, name, password)
    text = window.wait_for("Username", "Password")
    time.sleep(1)
    assert "Internal Users" not in window.text() and "Virtual Keys" not in text
    assert window.run("return document.cookie").find("token=") == -1


def test_the_page_without_a_login_asks_for_one(window, page):
    window.open(page + "?page=users")
    assert "ada@example.com" not in window.wait_for("Username", "Password")


def test_the_administrator_sees_the_people_with_their_spend_and_limits(usage, window, page):
    log_in(window, page, "admin", PASSWORD)
    window.wait_for("Virtual Keys", "Internal Users")
    window.open(page + "?page=users")
    spent = row_of(usage, "ada")["spend"]
    window.wait_for("ada@example.com", "grace@example.com", f"${spent:.2f}", "$20.00", "Unlimited")
    window.picture(Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "admin-page.png")
    window.open(page + "?page=teams")
    team = next(team for team in usage["teams"] if team["id"] == "research")
    window.wait_for("Research", f"${team['spend']:.2f} / $100.00")


def test_the_page_asks_nobody_but_the_gateway(window, page, outside):
    window.open(page + "?page=users")
    window.wait_for("ada@example.com")
    assert window.hosts() == {f"{outside.address}:4000"}
