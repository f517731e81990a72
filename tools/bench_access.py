#!/usr/bin/env python3
"""How many calls and seconds people cost: the module and the playbook next to the ways without them, against the real gateway.

`make bench ARGS=access` runs it, after it has brought up the gateway of the scenario litellm_access; whoever it makes there is removed again.
It fails when a promise is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / ".collections"))
from ansible_collections.private_llm.platform.plugins.module_utils.people import access_of  # noqa: E402

SCENARIO = ROOT / "molecule" / "litellm_access"
HOST = "pl-litellm_access"
TAG = "bench-"
PEOPLE_IN_A_TEAM = 50
COMPARED = 100
# Runs the module as a host does, in a process of its own that tells its memory at the end.
RUNNER = """
import json, resource, sys
from ansible.module_utils import basic
from ansible_collections.private_llm.platform.plugins.modules import litellm_access
basic._ANSIBLE_ARGS = sys.stdin.buffer.read()
basic._ANSIBLE_PROFILE = "legacy"
try:
    litellm_access.main()
finally:
    print(json.dumps({"maxrss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}), file=sys.stderr)
"""
LOOP = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Look whether each user is there
      ansible.builtin.uri: {url: "{{ url }}/user/info?user_id={{ item.name }}", headers: "{{ headers }}", status_code: [200, 404]}
      loop: "{{ people }}"
      loop_control: {label: "{{ item.name }}"}
      register: users
    - name: Make each user that is not
      ansible.builtin.uri:
        {url: "{{ url }}/user/new", method: POST, headers: "{{ headers }}", body_format: json, body: {user_id: "{{ item.item.name }}", auto_create_key: false}}
      loop: "{{ users.results }}"
      loop_control: {label: "{{ item.item.name }}"}
      when: item.status == 404
    - name: Look whether each key is there
      ansible.builtin.uri: {url: "{{ url }}/key/info?key={{ item.token }}", headers: "{{ headers }}", status_code: [200, 404]}
      loop: "{{ people }}"
      loop_control: {label: "{{ item.name }}"}
      register: keys
    - name: Make each key that is not
      ansible.builtin.uri:
        url: "{{ url }}/key/generate"
        method: POST
        headers: "{{ headers }}"
        body_format: json
        body: {key: "{{ item.item.key }}", key_alias: "{{ item.item.name }}-1", user_id: "{{ item.item.name }}", rpm_limit: 60}
      loop: "{{ keys.results }}"
      loop_control: {label: "{{ item.item.name }}"}
      when: item.status == 404
"""
MODULE = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - private_llm.platform.litellm_access: {api_url: "{{ url }}", api_key: "{{ key }}", users: "{{ users }}", teams: "{{ teams }}"}
"""


NOTHING_TO_DO = "litellm_access: nothing to do"
ONE_ADDED = "users.yml: one added with only=NAME"
ONE_GET_EACH = "one GET for each user and key"
MEBIBYTES_OF_THE_MODULE = 200


@dataclass
class Row:
    """One line of the table."""

    people: int
    what: str
    reads: int | None
    writes: int | None
    seconds: float
    mebibytes: float | None = None

    def promised(self) -> dict[str, tuple[float, float]]:
        """What was promised and what was measured, by unit; nothing for a row without a promise."""
        promised: dict[str, tuple[float, float]] = {}
        if self.what.startswith("litellm_access:") and self.mebibytes is not None:
            promised["MiB"] = (MEBIBYTES_OF_THE_MODULE, self.mebibytes)
        if self.what == NOTHING_TO_DO and self.reads is not None and self.writes is not None:
            promised["reads"] = (2 * math.ceil(self.people / 100) + 10, self.reads)
            promised["writes"] = (0, self.writes)
            promised["s"] = (30, self.seconds)
        if self.what == ONE_ADDED:
            promised["s"] = (8, self.seconds)
        return promised

    def missed(self) -> list[str]:
        """A sentence for each promise that was not kept."""
        return [
            f"{self.people:,} people, {self.what}: {measured:.4g} {unit}, promised are {limit:.4g}."
            for unit, (limit, measured) in self.promised().items()
            if measured > limit
        ]


class Gateway:
    """The scenario's gateway and what the benchmark does with it beside the module."""

    def __init__(self) -> None:
        found = subprocess.run(
            ["docker", "exec", HOST, "ip", "-4", "route", "get", "192.0.2.1"], capture_output=True, text=True, check=False
        ).stdout.split()
        if "src" not in found:
            sys.exit(f'The test host {HOST} does not run: make molecule ARGS="converge -s litellm_access"')
        self.address = found[found.index("src") + 1]
        self.url = f"http://{self.address}:4000"
        settings = yaml.safe_load((SCENARIO / "vars.yml").read_text())
        self.key, self.root_secret = settings["master_key"], settings["root_secret"]

    def call(self, path: str, body: Any = None) -> Any:
        """One call; what is refused is None."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, None if body is None else json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError:
            return None

    def clean(self) -> None:
        """Remove everybody of an earlier run."""
        while found := self.call(f"/user/list?search={TAG}&page_size=100")["users"]:
            self.call("/user/delete", {"user_ids": [row["user_id"] for row in found]})
        if teams := [row["team_id"] for row in self.call("/team/list") if row["team_id"].startswith(TAG)]:
            self.call("/team/delete", {"team_ids": teams})


def people_of(count: int, **changes: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """People and teams of an inventory: everybody has an address, limits, a budget, a team and a key. changes: of the one in the middle."""
    users: list[dict[str, Any]] = []
    for number in range(count):
        name, team = f"{TAG}{number:05d}", f"{TAG}team-{number // PEOPLE_IN_A_TEAM:03d}"
        limits = {"max_budget": 20, "budget_duration": "30d", "rpm_limit": 60, "models": ["canned"]}
        users.append({"name": name, "email": f"{name}@example.com", "teams": [team], **limits})
    users[count // 2].update(changes)
    return users, [{"name": team, "models": ["canned"]} for team in sorted({user["teams"][0] for user in users})]


def run_module(gateway: Gateway, people: Any, teams: Any, concurrency: int = 4, **more: Any) -> tuple[dict[str, Any], float, float]:
    """Result, seconds and mebibytes of one run."""
    users = access_of(people, gateway.root_secret, {})
    own = {f"_ansible_{name}": value for name, value in {"check_mode": False, "diff": False, "no_log": False, "remote_tmp": tempfile.gettempdir()}.items()}
    arguments = {"api_url": gateway.url, "api_key": gateway.key, "users": users, "teams": teams, "concurrency": concurrency, **more, **own}
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".collections")}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}), env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - started
    result = json.loads(done.stdout.strip().splitlines()[-1]) if done.stdout.strip() else {"failed": True, "msg": done.stderr}
    if result.get("failed"):
        sys.exit(f"The module failed: {result['msg']}")
    return result, seconds, json.loads(done.stderr.strip().splitlines()[-1])["maxrss"] / 1024


def measure_module(gateway: Gateway, count: int, say: Callable[[Row], None]) -> None:
    """First run, nothing to do, one changed, one alone."""
    people, teams = people_of(count)
    changed, _teams = people_of(count, max_parallel_requests=3)
    only = people[count // 2]["name"]
    for what, listed, chosen in (
        ("litellm_access: first run", people, []),
        (NOTHING_TO_DO, people, []),
        ("litellm_access: one changed", changed, []),
        ("litellm_access: one changed back, only that one looked at", people, [only]),
    ):
        result, seconds, mebibytes = run_module(gateway, listed, teams, only=chosen)
        say(Row(count, what, result["calls"]["read"], result["calls"]["write"], seconds, mebibytes))


def measure_playbook(gateway: Gateway, count: int, say: Callable[[Row], None]) -> None:
    """users.yml with the inventory of an operator, for people whom the gateway already has."""
    people, teams = people_of(count)
    added = {**people[-1], "name": f"{TAG}newcomer", "email": f"{TAG}newcomer@example.com"}
    with tempfile.TemporaryDirectory() as scratch:
        for what, listed, words in (
            ("users.yml: hand-outs for everybody, nothing else to do", people, ()),
            ("users.yml: nothing to do", people, ()),
            (ONE_ADDED, [*people, added], ("--extra-vars", f"only={added['name']}")),
        ):
            say(run_users_playbook(gateway, Path(scratch), count, what, listed, teams, *words))


def run_users_playbook(gateway: Gateway, scratch: Path, count: int, what: str, people: Any, teams: Any, *words: str) -> Row:
    """One run; memory is that of the largest process on the controller."""
    variables = scratch / "group_vars" / "all"
    variables.mkdir(parents=True, exist_ok=True)
    host = {HOST: {"ansible_connection": "community.docker.docker", "ansible_python_interpreter": "/usr/bin/python3"}}
    (scratch / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": {name: {"hosts": host} for name in ("gpu", "gateway", "observability")}}}))
    settings = {
        "platform_root_secret": gateway.root_secret,
        "platform_listen_address": gateway.address,
        "platform_model_name": "canned",
        "litellm_access_handout_directory": str(scratch / "people"),
    }
    (variables / "platform.yml").write_text(yaml.safe_dump(settings))
    (variables / "users.yml").write_text(yaml.dump({"llm_users": people, "llm_teams": teams}, Dumper=yaml.CSafeDumper))
    output = scratch / "output"
    # Talkative enough to tell how many calls were made.
    command = ["ansible-playbook", "-v", "-i", str(scratch / "hosts.yml"), str(ROOT / "playbooks" / "users.yml"), *words]
    started = time.monotonic()
    with output.open("w") as stream:
        running = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT)
        _process, status, used = os.wait4(running.pid, 0)
    seconds = time.monotonic() - started
    said = output.read_text()
    calls = {kind: re.search(rf"calls:\s+(?:\w+: \d+\s+)?{kind}: (\d+)", said) for kind in ("read", "write")}
    if os.waitstatus_to_exitcode(status) or not all(calls.values()):
        sys.exit(f"users.yml failed: {said[-2000:]}")
    reads, writes = (int(found.group(1)) for found in calls.values() if found)
    return Row(count, what, reads, writes, seconds, used.ru_maxrss / 1024)


def play(text: str, variables: dict[str, Any]) -> float:
    """Seconds of one ansible-playbook."""
    with tempfile.TemporaryDirectory() as scratch:
        book, extra = Path(scratch) / "play.yml", Path(scratch) / "variables.json"
        book.write_text(text)
        extra.write_text(json.dumps(variables))
        started = time.monotonic()
        done = subprocess.run(
            ["ansible-playbook", "-i", "localhost,", str(book), "-e", f"@{extra}", "-e", f"ansible_python_interpreter={sys.executable}"],
            capture_output=True, text=True, check=False, env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections")},
        )  # fmt: skip
        seconds = time.monotonic() - started
    if done.returncode:
        sys.exit(f"A playbook of the comparison failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return seconds


def measure_others(gateway: Gateway, say: Callable[[Row], None]) -> None:
    """The same people by a loop of uri tasks, by the module in a playbook, and one GET for each object."""
    import hashlib

    listed, teams = people_of(COMPARED)
    users = access_of(listed, gateway.root_secret, {})
    named = [{"name": user["name"], "key": user["keys"][0]["value"]} for user in users]
    people = [{**person, "token": hashlib.sha256(person["key"].encode()).hexdigest()} for person in named]
    loop = {"url": gateway.url, "headers": {"Authorization": f"Bearer {gateway.key}"}, "people": people}
    say(Row(COMPARED, "loop of uri tasks: first run", 2 * COMPARED, 2 * COMPARED, play(LOOP, loop)))
    say(Row(COMPARED, "loop of uri tasks: nothing to do", 2 * COMPARED, 0, play(LOOP, loop)))
    gateway.clean()
    module = {"url": gateway.url, "key": gateway.key, "users": users, "teams": teams}
    say(Row(COMPARED, "litellm_access in a playbook: first run", None, None, play(MODULE, module)))
    say(Row(COMPARED, "litellm_access in a playbook: nothing to do", None, None, play(MODULE, module)))
    started = time.monotonic()
    for person in people:
        gateway.call(f"/user/info?user_id={person['name']}")
        gateway.call(f"/key/info?key={person['token']}")
    say(Row(COMPARED, ONE_GET_EACH, 2 * COMPARED, 0, time.monotonic() - started))
    result, seconds, mebibytes = run_module(gateway, listed, teams)
    say(Row(COMPARED, NOTHING_TO_DO, result["calls"]["read"], result["calls"]["write"], seconds, mebibytes))


def measure_concurrency(gateway: Gateway, say: Callable[[Row], None], count: int = 200) -> None:
    """How many calls at once the gateway is faster with."""
    users, teams = people_of(count)
    for at_once in (1, 2, 4, 8):
        gateway.clean()
        result, seconds, _mebibytes = run_module(gateway, users, teams, concurrency=at_once)
        say(Row(count, f"first run, {at_once} calls at once", result["calls"]["read"], result["calls"]["write"], seconds))


def table_of(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| People | What | Reads | Writes | Seconds | Memory, MiB | Promised |", "|---:|---|---:|---:|---:|---:|---|"]
    for row in rows:
        promises = ", ".join(f"{limit:.4g} {unit}" for unit, (limit, _measured) in row.promised().items())
        cells = [row.reads, row.writes, f"{row.seconds:.1f}", None if row.mebibytes is None else f"{row.mebibytes:.0f}", promises]
        shown = " | ".join("" if cell is None else str(cell) for cell in cells)
        lines.append(f"| {row.people:,} | {row.what} | {shown} |")
    return "\n".join(lines)


def ratios_of(rows: list[Row]) -> list[str]:
    """What the table says in words, as ratios of one run."""
    measured = {row.what: row for row in rows if row.people == COMPARED}
    loop, module = "loop of uri tasks: ", "litellm_access in a playbook: "
    lines = [
        f"- {COMPARED} people, {when}: the loop of `ansible.builtin.uri` takes "
        f"{measured[loop + when].seconds / measured[module + when].seconds:.0f} times as long as the module."
        for when in ("first run", "nothing to do")
        if loop + when in measured and module + when in measured
    ]
    each, ours = measured.get(ONE_GET_EACH), measured.get(NOTHING_TO_DO)
    if each and ours and each.reads and ours.reads:
        lines.append(
            f"- {COMPARED} people, nothing to do: one GET for each user and key takes {each.seconds / ours.seconds:.0f} times as long as the module "
            f"and {each.reads / ours.reads:.0f} times as many calls, both without Ansible around them."
        )
    return lines


def page_of(rows: list[Row]) -> str:
    """The page of the docs."""
    load = statistics.fmean(os.getloadavg())
    missed = [sentence for row in rows for sentence in row.missed()]
    kept = "Every promise in the last column was kept." if not missed else "Promises that were missed:\n\n" + "\n".join(f"- {line}" for line in missed)
    return f"""# What people cost: calls and seconds

Measured by `make bench` against LiteLLM 1.109.1 with one worker and PostgreSQL 15 in a test host of
the lab, whose database engine is the WASM build (`images/litellm`), which answers slower than the native one. Module, playbook and gateway
shared {os.cpu_count()} cores ({platform.machine()}, Python {platform.python_version()}, mean load {load:.1f}). Everybody has an address, limits, a
budget, a place in a team of {PEOPLE_IN_A_TEAM} and one key. Ratios are of one run on one machine; seconds are upper bounds. Promises are for two
free cores.

{table_of(rows)}

{kept}

{chr(10).join(ratios_of(rows))}

Reads and writes are calls to the gateway. A first run looks at everything once before and once after; a run without changes looks once.
`litellm_access` is the module alone, with the memory of its process; `users.yml` is the whole playbook from the controller, with everybody in
the inventory, the check of the inventory and the hand-outs, and the memory of its largest process.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", default="20,1000,10000", help="numbers of people, with commas between")
    parser.add_argument("--only", choices=["module", "others", "concurrency"], help="only this part")
    parser.add_argument("--output", default=str(ROOT / "docs" / "benchmarks" / "access.md"), help="the page to write; none when empty")
    options = parser.parse_args()
    gateway = Gateway()
    rows: list[Row] = []

    def say(row: Row) -> None:
        rows.append(row)
        sys.stdout.write(table_of([row]).splitlines()[-1] + "\n")
        sys.stdout.flush()

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        if options.only in (None, "others"):
            gateway.clean()
            measure_others(gateway, say)
        if options.only in (None, "concurrency"):
            measure_concurrency(gateway, say)
        for count in [int(number) for number in options.people.split(",")] if options.only in (None, "module") else []:
            gateway.clean()
            measure_module(gateway, count, say)
            measure_playbook(gateway, count, say)
    finally:
        gateway.clean()
    if options.output:
        Path(options.output).parent.mkdir(parents=True, exist_ok=True)
        Path(options.output).write_text(page_of(rows))
    if missed := [sentence for row in rows for sentence in row.missed()]:
        load = ", ".join(f"{figure:.1f}" for figure in os.getloadavg())
        sys.exit("\n".join(f"Promise missed: {sentence}" for sentence in missed) + f"\nThe machine has {os.cpu_count()} cores and a load of {load}.")


if __name__ == "__main__":
    main()
