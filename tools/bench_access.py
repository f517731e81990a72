#!/usr/bin/env python3
"""How many calls and seconds people cost: the access module next to the ways without it, against the real gateway.

`make bench ARGS=access` runs it, after it has brought up the gateway of the scenario litellm_access; whoever it makes there is removed again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
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


@dataclass
class Row:
    """One line of the table."""

    people: int
    what: str
    reads: int | None
    writes: int | None
    seconds: float
    mebibytes: float | None = None


class Gateway:
    """The scenario's gateway and what the benchmark does with it beside the module."""

    def __init__(self) -> None:
        found = subprocess.run(
            ["docker", "exec", HOST, "ip", "-4", "route", "get", "192.0.2.1"], capture_output=True, text=True, check=False
        ).stdout.split()
        if "src" not in found:
            sys.exit(f'The test host {HOST} does not run: make molecule ARGS="converge -s litellm_access"')
        self.url = f"http://{found[found.index('src') + 1]}:4000"
        self.key = yaml.safe_load((SCENARIO / "vars.yml").read_text())["master_key"]

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
    """Users and teams of the module: everybody has an address, limits, a budget, a team and a key."""
    users = []
    for number in range(count):
        name, team = f"{TAG}{number:05d}", f"{TAG}team-{number // PEOPLE_IN_A_TEAM:03d}"
        budget = {"max_budget": 20, "budget_duration": "30d"}
        key = {"alias": f"{name}-1", "value": f"sk-key-of-the-benchmark-{number:06d}", "team": team, "rpm_limit": 60, "models": ["canned"]}
        user = {"name": name, "email": f"{name}@example.com", "teams": [{"name": team, **budget}], "keys": [key], "rpm_limit": 60, **budget}
        users.append(user)
    users[count // 2]["keys"][0].update(changes)
    return users, [{"name": team, "models": ["canned"]} for team in sorted({user["teams"][0]["name"] for user in users})]


def run_module(gateway: Gateway, users: Any, teams: Any, concurrency: int = 4, **more: Any) -> tuple[dict[str, Any], float, float]:
    """Result, seconds and mebibytes of one run."""
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
    users, teams = people_of(count)
    changed, _teams = people_of(count, rpm_limit=30)
    again, _teams = people_of(count, rpm_limit=31)
    only = users[count // 2]["name"]
    for what, people, more in (
        ("first run", users, {}),
        ("nothing to do", users, {}),
        ("one changed", changed, {}),
        ("one changed, only that one looked at", again, {"only": [only]}),
    ):
        result, seconds, mebibytes = run_module(gateway, people, teams, **more)
        say(Row(count, f"litellm_access: {what}", result["calls"]["read"], result["calls"]["write"], seconds, mebibytes))


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

    users, teams = people_of(COMPARED)
    named = [{"name": user["name"], "key": user["keys"][0]["value"]} for user in users]
    people = [{**person, "token": hashlib.sha256(person["key"].encode()).hexdigest()} for person in named]
    loop = {"url": gateway.url, "headers": {"Authorization": f"Bearer {gateway.key}"}, "people": people}
    say(Row(COMPARED, "loop of uri tasks: first run", 2 * COMPARED, 2 * COMPARED, play(LOOP, loop)))
    say(Row(COMPARED, "loop of uri tasks: nothing to do", 2 * COMPARED, 0, play(LOOP, loop)))
    started = time.monotonic()
    for person in people:
        gateway.call(f"/user/info?user_id={person['name']}")
        gateway.call(f"/key/info?key={person['token']}")
    say(Row(COMPARED, "one GET for each user and key, without Ansible", 2 * COMPARED, 0, time.monotonic() - started))
    gateway.clean()
    module = {"url": gateway.url, "key": gateway.key, "users": users, "teams": teams}
    say(Row(COMPARED, "litellm_access in a playbook: first run", None, None, play(MODULE, module)))
    say(Row(COMPARED, "litellm_access in a playbook: nothing to do", None, None, play(MODULE, module)))


def measure_concurrency(gateway: Gateway, say: Callable[[Row], None], count: int = 200) -> None:
    """How many calls at once the gateway is faster with."""
    users, teams = people_of(count)
    for at_once in (1, 2, 4, 8):
        gateway.clean()
        result, seconds, _mebibytes = run_module(gateway, users, teams, concurrency=at_once)
        say(Row(count, f"first run, {at_once} calls at once", result["calls"]["read"], result["calls"]["write"], seconds))


def table_of(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| People | What | Reads | Writes | Seconds | Memory, MiB |", "|---:|---|---:|---:|---:|---:|"]
    for row in rows:
        cells = [row.reads, row.writes, f"{row.seconds:.1f}", None if row.mebibytes is None else f"{row.mebibytes:.0f}"]
        shown = " | ".join("" if cell is None else str(cell) for cell in cells)
        lines.append(f"| {row.people:,} | {row.what} | {shown} |")
    return "\n".join(lines)


def ratios_of(rows: list[Row]) -> list[str]:
    """What the table says in words, as ratios of one run."""
    seconds = {(row.people, row.what): row.seconds for row in rows}
    loop, module = "loop of uri tasks: ", "litellm_access in a playbook: "
    return [
        f"- {COMPARED} people, {when}: the loop of `ansible.builtin.uri` takes "
        f"{seconds[COMPARED, loop + when] / seconds[COMPARED, module + when]:.0f} times as long as the module."
        for when in ("first run", "nothing to do")
        if (COMPARED, loop + when) in seconds and (COMPARED, module + when) in seconds
    ]


def page_of(rows: list[Row]) -> str:
    """The page of the docs."""
    load = statistics.fmean(os.getloadavg())
    return f"""# What people cost: calls and seconds

Measured by `make bench` against LiteLLM 1.109.1 with one worker and PostgreSQL 15 in a test host of
the lab, whose database engine is the WASM build (`images/litellm`), which answers slower than the native one. Module and gateway shared
{os.cpu_count()} cores ({platform.machine()}, Python {platform.python_version()}, mean load {load:.1f}). Everybody has an address, limits, a
budget, a place in a team of {PEOPLE_IN_A_TEAM} and one key. Ratios are of one run on one machine; seconds are upper bounds. Memory is the
highest of the module's process.

{table_of(rows)}

{chr(10).join(ratios_of(rows))}

Reads and writes are calls to the gateway. A first run looks at everything once before and once after; a run without changes looks once.
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
    finally:
        gateway.clean()
    if options.output:
        Path(options.output).parent.mkdir(parents=True, exist_ok=True)
        Path(options.output).write_text(page_of(rows))


if __name__ == "__main__":
    main()
