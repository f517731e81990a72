"""A real browser on the test machine: Debian's Chromium without a screen, steered by ChromeDriver's own protocol."""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TIMEOUT = 60
# As root in a container; and nothing that asks the Internet by itself.
OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1560,860"
).split()
# The name under which the protocol hands over an element.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One window."""

    def __init__(self, driver: str, profile: Path) -> None:
        self._base = driver
        options = {"binary": "/usr/bin/chromium", "args": [*OPTIONS, f"--user-data-dir={profile}"]}
        capabilities = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        self._base += f"/session/{self._call('POST', '/session', capabilities)['sessionId']}"

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return json.load(answer)["value"]

    def close(self) -> None:
        """End the browser."""
        self._call("DELETE", "")

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """The result of a script of the page's own."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self) -> str:
        """What a person reads on the page, on one line."""
        return re.sub(r"\s+", " ", self.run("return document.body.innerText"))

    def wait_for(self, *words: str) -> str:
        """The page's text, once all these words are on it."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            text = self.text()
            if all(word in text for word in words):
                return text
            time.sleep(0.2)
        raise AssertionError(f"{[word for word in words if word not in text]} did not appear; the page says: {text[:2000]}")

    def type(self, name: str, text: str) -> None:
        """Write into the input field of that name."""
        element = self._call("POST", "/element", {"using": "css selector", "value": f"input[name={name}]"})[ELEMENT]
        self._call("POST", f"/element/{element}/clear", {})
        self._call("POST", f"/element/{element}/value", {"text": text})

    def click(self, words: str) -> None:
        """Press the button that says exactly this."""
        element = self._call("POST", "/element", {"using": "xpath", "value": f"//button[normalize-space()='{words}']"})[ELEMENT]
        self._call("POST", f"/element/{element}/click", {})

    def hosts(self) -> set[str]:
        """From where everything on the page was asked, answered or not."""
        return set(self.run("return performance.getEntriesByType('resource').map(entry => new URL(entry.name).host)"))

    def picture(self, path: Path) -> None:
        """Keep what the window shows as a PNG file."""
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@contextmanager
def browser(directory: Path) -> Iterator[Browser]:
    """A browser with an empty profile below a directory; everything ends with the block."""
    port = _free_port()
    with (directory / "chromedriver.log").open("w") as log:
        driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                urllib.request.urlopen(f"{url}/status", timeout=5).close()
                break
            except urllib.error.URLError:
                assert time.monotonic() < deadline and driver.poll() is None, (directory / "chromedriver.log").read_text()
                time.sleep(0.1)
        window = Browser(url, directory / "profile")
        try:
            yield window
        finally:
            window.close()
    finally:
        driver.terminate()
        driver.wait(timeout=TIMEOUT)
