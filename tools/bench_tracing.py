#!/usr/bin/env python3
"""What recording adds to the time of a request: two gateways side by side, one that records and one that does not, asked in turns.

`make bench ARGS=tracing` runs it, after it has brought up the scenario langfuse. Whatever else the machine does meets both alike.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import local

ROOT = Path(__file__).resolve().parents[1]
HOST = "pl-langfuse"
MASTER_KEY = "sk-master-of-the-test-0123456789"
PORTS = {"off": 4001, "on": 4000}
WARM_UP = 40
# As long as what somebody sends with some files of code.
PROMPT = "Please explain this function. " + "def f(x):\n    return x + 1\n" * 300
# The same gateway once more, from the same image with the same variables, without the recorder.
BARE = r"""
set -eu
umask 077
mkdir -p /run/bench
docker inspect -f '{{range .Config.Env}}{{println .}}{{end}}' litellm | grep . > /run/bench/environment
docker exec litellm cat /etc/litellm/config.yaml | grep -v recorder.recorder > /run/bench/config.yaml
chmod 644 /run/bench/config.yaml
chmod 711 /run/bench
docker rm -f litellm-bare >/dev/null 2>&1 || true
docker run --detach --name litellm-bare --network platform --publish 0.0.0.0:4001:4000 --env-file /run/bench/environment --user 65534:65534 \
  --read-only --tmpfs /tmp --memory 4g --mount type=bind,source=/run/bench/config.yaml,target=/etc/litellm/config.yaml,readonly \
  "$(docker inspect -f '{{.Image}}' litellm)" --config /etc/litellm/config.yaml --port 4000 >/dev/null
for i in $(seq 300); do curl -fs http://127.0.0.1:4001/health/readiness >/dev/null && exit 0; sleep 1; done
exit 1
"""


def inside(script: str) -> str:
    """Run a script on the test host."""
    done = subprocess.run(["docker", "exec", "-i", HOST, "sh", "-c", script], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"on {HOST}: {done.stderr.strip()[-500:]}")
    return done.stdout


@dataclass(frozen=True)
class Row:
    """How long requests of one kind took, in milliseconds."""

    what: str
    off: list[float]
    on: list[float]

    def cells(self) -> list[str]:
        """What the table says."""
        cells = [self.what, str(len(self.on))]
        for share in (50, 95):
            off, on = (percentile(values, share) for values in (self.off, self.on))
            cells += [f"{off:.1f}", f"{on:.1f}", f"{on - off:+.1f}", f"**{on / off:.2f}**"]
        return cells


def percentile(values: list[float], share: int) -> float:
    """The value that so many of a hundred do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


class Client:
    """Connections to both gateways, one of each for a thread."""

    def __init__(self, address: str, key: str) -> None:
        self._address, self._key = address, key
        self._local = local()

    def ask(self, side: str, stream: bool) -> float:
        """One request; milliseconds until its last byte."""
        connections = self._local.__dict__.setdefault("connections", {})
        if side not in connections:
            connections[side] = http.client.HTTPConnection(self._address, PORTS[side], timeout=60)
        body = json.dumps({"model": "canned", "stream": stream, "messages": [{"role": "user", "content": PROMPT}]})
        began = time.perf_counter()
        connections[side].request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"})
        answer = connections[side].getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(f"the gateway answered {answer.status}: {text[:300]!r}")
        return (time.perf_counter() - began) * 1000


def measure(client: Client, what: str, requests: int, stream: bool, threads: int, say: Callable[[Row], None]) -> None:
    """Ask both in turns, the first of each pair in turns too."""

    def pair(number: int) -> tuple[float, float]:
        order = ("off", "on") if number % 2 else ("on", "off")
        took = {side: client.ask(side, stream) for side in order}
        return took["off"], took["on"]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(pair, range(WARM_UP)))
        pairs = list(pool.map(pair, range(requests)))
    say(Row(what, [off for off, _on in pairs], [on for _off, on in pairs]))


def counts(address: str) -> dict[str, float]:
    """What the recording gateway says of its traces."""
    connection = http.client.HTTPConnection(address, PORTS["on"], timeout=60)
    connection.request("GET", "/metrics/", headers={"Authorization": f"Bearer {MASTER_KEY}"})
    text = connection.getresponse().read().decode()
    lost = sum(float(number) for number in re.findall(r"^private_llm_traces_lost_total\{.*\} (\S+)$", text, re.MULTILINE))
    sent = re.search(r"^private_llm_traces_sent_total (\S+)$", text, re.MULTILINE)
    return {"sent": float(sent.group(1)) if sent else 0.0, "lost": lost}


HEAD = ["Requests", "n", "p50 off", "p50 on", "added", "ratio", "p95 off", "p95 on", "added", "ratio"]


def page_of(rows: list[Row], told: dict[str, float]) -> str:
    """The page of the docs."""
    lines = [HEAD, ["---"] + ["---:"] * (len(HEAD) - 1), *(row.cells() for row in rows)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"""# What recording adds to a request

Measured by `make bench` in one run: two LiteLLM 1.109.1 gateways of one worker each, side by side, one with the recorder and one without, asked in turns,
with a prompt of {len(PROMPT) // 1000} kB. The answer is canned: this is the gateway's own time, and a model takes seconds. Everything, Langfuse's
stand-in and its stores too, shared {os.cpu_count()} cores ({platform.machine()}, mean load {statistics.fmean(os.getloadavg()):.1f}).
Milliseconds until the last byte.

{table}

Of {told["sent"] + told["lost"]:.0f} traces in that time {told["sent"]:.0f} were taken by Langfuse and {told["lost"]:.0f} lost.
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--output", default=str(ROOT / "docs" / "benchmarks" / "tracing.md"), help="the page to write; none when empty")
    options = parser.parse_args()
    rows: list[Row] = []

    def say(row: Row) -> None:
        rows.append(row)
        sys.stdout.write(f"| {' | '.join(row.cells())} |\n")
        sys.stdout.flush()

    inside(BARE)
    try:
        address = inside("ip -4 route get 192.0.2.1 | grep -o 'src [0-9.]*'").split()[1]
        client = Client(address, MASTER_KEY)
        before = counts(address)
        measure(client, "one after the other", options.requests, False, 1, say)
        measure(client, "one after the other, streamed", options.requests, True, 1, say)
        measure(client, "eight at a time", options.requests, False, 8, say)
        time.sleep(5)
        after = counts(address)
    finally:
        inside("docker rm -f litellm-bare >/dev/null; rm -rf /run/bench")
    if options.output:
        told = {name: after[name] - before[name] for name in after}
        Path(options.output).write_text(page_of(rows, told))


if __name__ == "__main__":
    main()
