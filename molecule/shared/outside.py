"""Looking at a test host from outside, and at a container as its engine sees it."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

TIMEOUT = 60


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, whatever its status."""

    status: int
    text: str

    def json(self) -> Any:
        """The answer's body, read as JSON."""
        return json.loads(self.text)


@dataclass(frozen=True)
class Outside:
    """The test machine, which reaches the host by its address like any other machine of the network."""

    address: str

    @classmethod
    def of(cls, host: Any) -> Outside:
        """The host by its address towards the network, not one of its own bridges; a container may have another one after a restart."""
        return cls(host.check_output("ip -4 route get 192.0.2.1 | grep -o 'src [0-9.]*'").split()[1])

    def connects(self, port: int) -> bool:
        """Whether the host takes a TCP connection on a port."""
        try:
            with socket.create_connection((self.address, port), timeout=3):
                return True
        except OSError:
            return False

    def request(self, port: int, path: str, key: str | None = None, body: Any = None, method: str | None = None) -> Answer:
        """Ask by HTTP; with a body it is a POST of JSON."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.address}:{port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return Answer(answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode())

    def stream(self, port: int, path: str, key: str, body: Any) -> list[str]:
        """Ask for a stream of server-sent events; each event's data, in the order they came."""
        connection = http.client.HTTPConnection(self.address, port, timeout=TIMEOUT)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        connection.request("POST", path, json.dumps({**body, "stream": True}), headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read().decode()
        lines = [line.decode().strip() for line in answer]
        connection.close()
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
