"""What Prometheus, Alertmanager and Loki tell, asked from the host on which they answer."""

from __future__ import annotations

import json
import shlex
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

PROMETHEUS, ALERTMANAGER, LOKI = 9090, 9093, 3100
# A web server that keeps what it is sent, one request a line.
WEBHOOK = """
import http.server, json
class Keeper(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open("/run/webhook.json", "a") as kept:
            kept.write(json.dumps({"path": self.path, **body}) + "\\n")
        self.send_response(200)
        self.end_headers()
    def log_message(self, *words):
        pass
http.server.HTTPServer(("%s", %d), Keeper).serve_forever()
"""


def ask(host: Any, port: int, path: str, **query: str) -> Any:
    """What a program of the host answers by HTTP, as data."""
    url = f"http://127.0.0.1:{port}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
    return json.loads(host.check_output(f"curl -sS --fail-with-body {shlex.quote(url)}"))


def value(host: Any, expression: str) -> float | None:
    """The one value of an expression of Prometheus now; None when it has none."""
    found = ask(host, PROMETHEUS, "/api/v1/query", query=expression)["data"]["result"]
    return float(found[0]["value"][1]) if found else None


def unhealthy_targets(host: Any, expected: int = 9) -> dict[str, str]:
    """What Prometheus could not ask, with its reason; how many it asks where it should be others, as in its first seconds."""
    targets = ask(host, PROMETHEUS, "/api/v1/targets")["data"]["activeTargets"]
    if len(targets) != expected:
        return {"all": f"{len(targets)} targets instead of {expected}"}
    return {target["labels"]["service"]: target["lastError"] for target in targets if target["health"] != "up"}


def firing(host: Any) -> set[str]:
    """Names of the alerts that fire in Prometheus."""
    return {alert["labels"]["alertname"] for alert in ask(host, PROMETHEUS, "/api/v1/alerts")["data"]["alerts"] if alert["state"] == "firing"}


def log_lines(host: Any, selector: str) -> list[tuple[dict[str, str], str]]:
    """Lines of the last hour with their labels, the oldest first."""
    found = ask(host, LOKI, "/loki/api/v1/query_range", query=selector, limit="5000", direction="forward")["data"]["result"]
    entries = [(int(stamp), stream["stream"], line) for stream in found for stamp, line in stream["values"]]
    return [(labels, line) for _stamp, labels, line in sorted(entries, key=lambda entry: entry[0])]


def start_webhook(host: Any, address: str, port: int) -> None:
    """Let somebody listen for alerts on the host."""
    host.check_output(f"systemctl is-active -q webhook || systemd-run -q --unit webhook python3 -c {shlex.quote(WEBHOOK % (address, port))}")


def webhook_alerts(host: Any) -> list[dict[str, Any]]:
    """Every alert that the webhook was sent."""
    sent = host.run("cat /run/webhook.json").stdout.splitlines()
    return [{"path": message["path"], **alert} for message in map(json.loads, sent) for alert in message["alerts"]]


def within(seconds: float, ask_again: Callable[[], Any]) -> Any:
    """The first answer that is not empty; the last one when time is up."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask_again()
        if answer or time.monotonic() > deadline:
            return answer
        time.sleep(0.5)
