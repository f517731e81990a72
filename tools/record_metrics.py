#!/usr/bin/env python3
"""Records what the programs on a test host show to Prometheus, for the test that every metric of a dashboard or rule exists.

tools/record_metrics.py HOST    writes tests/dashboards/metrics/PROGRAM.txt for each program that answers on the container HOST

Of each metric one sample is kept; what labels say of people and keys is left out.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PLACE = Path(__file__).resolve().parents[1] / "tests" / "dashboards" / "metrics"
# Where each real program answers on its host, how its key is found there, and how it tells its version.
PROGRAMS = {
    "prometheus": ("http://127.0.0.1:9090/metrics", "", "docker exec prometheus prometheus --version 2>&1 | head -n 1"),
    "alertmanager": ("http://127.0.0.1:9093/metrics", "", "docker exec alertmanager alertmanager --version 2>&1 | head -n 1"),
    "node-exporter": ("http://127.0.0.1:9100/metrics", "", "docker exec node-exporter node_exporter --version 2>&1 | head -n 1"),
    "postgres-exporter": ("http://127.0.0.1:9187/metrics", "", "docker exec postgres-litellm-exporter postgres_exporter --version 2>&1 | head -n 1"),
    "litellm": (
        "http://127.0.0.1:4000/metrics/",
        "grep -ohP '(?<=LITELLM_MASTER_KEY=).*' /etc/private-llm/litellm/*/secret_environment",
        "docker exec litellm python3 -c 'from importlib.metadata import version; print(\"litellm\", version(\"litellm\"))'",
    ),
    "llama-server": (
        "http://127.0.0.1:8000/metrics",
        "head -n 1 /etc/llama-server/api-keys",
        "/opt/llama.cpp/current/bin/llama-server --version 2>&1 | head -n 1",
    ),
}


def on_host(host: str, command: str) -> str:
    """What a command says on the host; nothing when it fails."""
    done = subprocess.run(["docker", "exec", host, "bash", "-c", command], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def shortened(text: str) -> list[str]:
    """The lines on kind and meaning, and one sample of each name without the values of its labels."""
    kept, seen = [], set()
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            kept.append(line)
        elif line and not line.startswith("#"):
            found = re.match(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ", line)
            if found and found.group(1) not in seen:
                seen.add(found.group(1))
                labels = ",".join(re.findall(r'([a-zA-Z_]\w*)="(?:[^"\\]|\\.)*"', found.group(2) or ""))
                kept.append(f"{found.group(1)}{{{labels}}} 1")
    return kept


def main(host: str) -> int:
    """Ask each program once."""
    PLACE.mkdir(parents=True, exist_ok=True)
    for name, (url, key, version) in PROGRAMS.items():
        authorization = f'-H "Authorization: Bearer $({key})"' if key else ""
        text = on_host(host, f"curl -sS --fail {authorization} {url}")
        if text:
            head = [f"# {on_host(host, version).strip() or name}: what it showed on a test host, by tools/record_metrics.py; names and labels alone"]
            (PLACE / f"{name}.txt").write_text("\n".join([*head, *shortened(text)]) + "\n")
            sys.stdout.write(f"recorded {name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
