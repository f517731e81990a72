"""`make demo`: a bare host, the real site.yml, and a streamed answer to a developer's key."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import testhosts
from lab.context import Lab, LabError
from lab.plan import all_steps, bring_up, tool_environment
from lab.registry import is_free

HOST = "private-llm-demo"
SUITE = "trixie"
GATEWAY_PORT = 4000
LANGFUSE_PORT = 3001
LOOPBACK = "127.0.0.1"
QUESTION = "Please say hello."
INVENTORY = "inventories/demo"


def streamed_pieces(lines: Iterator[bytes]) -> Iterator[str]:
    """The text in a stream of server-sent events of the OpenAI protocol."""
    for line in lines:
        text = line.decode(errors="replace").strip()
        if not text.startswith("data:"):
            continue
        data = text.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        try:
            event = json.loads(data)
        except ValueError as error:
            raise LabError(f"The gateway sent something that is no event of the protocol: {data[:200]}") from error
        if "error" in event:
            raise LabError(f"The gateway broke the answer off: {event['error']}")
        for choice in event.get("choices", []):
            if piece := (choice.get("delta") or {}).get("content"):
                yield str(piece)


def lines_of(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    # readline gives a line as soon as it is there; iterating would wait for a full buffer.
    while line := answer.readline():
        yield line


class Gateway:
    """The gateway as a developer sees it: an address and a key."""

    def __init__(self, address: str, port: int, key: str) -> None:
        self.address = address
        self.port = port
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def models(self) -> list[str]:
        with self._ask("GET", "/v1/models") as answer:
            return [str(model["id"]) for model in json.loads(answer.read())["data"]]

    def chat(self, model: str, question: str) -> Iterator[str]:
        body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": question}]})
        with self._ask("POST", "/v1/chat/completions", body) as answer:
            yield from streamed_pieces(lines_of(answer))

    @contextmanager
    def _ask(self, method: str, path: str, body: str | None = None) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=120)
        try:
            connection.request(method, path, body, self._headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise LabError(
                    f"The gateway at {self.url} answered {path} with {answer.status}: {answer.read(300).decode(errors='replace')}"
                )
            yield answer
        except OSError as error:
            raise LabError(f"The gateway at {self.url} does not answer: {error}.") from error
        finally:
            connection.close()


class Demo:
    """The demo from nothing to the closing screen."""

    def __init__(self, lab: Lab, say: Callable[[str], None] = print) -> None:
        self.lab = lab
        self.say = say
        self.people = lab.home / "demo" / "people"
        self.summary = lab.repository / "build" / "demo" / "summary.json"
        self.seconds: dict[str, float] = {}
        self.results: dict[str, object] = {}

    def run(self, keep: bool = False) -> None:
        try:
            self._run(keep)
        except (LabError, KeyboardInterrupt) as error:
            self._write_summary(ok=False, error=str(error) or "interrupted")
            raise
        self._write_summary(ok=True)

    def _run(self, keep: bool) -> None:
        with self._phase("lab", "Preparing the lab"):
            bring_up(self.lab, all_steps(self.lab, [SUITE]), self.say)
        with self._phase("host", f"Starting the host {HOST}"):
            self._start_host(keep)
        with self._phase("site", "Running playbooks/site.yml"):
            self._playbook()
        with self._phase("answer", "Asking the gateway with a developer's key"):
            self._answer()
        self._closing_screen()

    @contextmanager
    def _phase(self, name: str, title: str) -> Iterator[None]:
        self.say(f"\n=== {title}")
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - started, 1)

    # -- the host --------------------------------------------------------------------------------------------------

    def _is_running(self) -> bool:
        outcome = self.lab.docker_attempt("container", "inspect", "--format", "{{.State.Running}}", HOST)
        return outcome.stdout.strip() == "true"

    def _start_host(self, keep: bool) -> None:
        if keep and self._is_running():
            self.say(f"{HOST} is kept as it is")
            return
        # The people of an earlier demo are gone with its host.
        shutil.rmtree(self.people, ignore_errors=True)
        options = ["--publish", f"{LOOPBACK}:{GATEWAY_PORT}:{GATEWAY_PORT}"] if is_free(LOOPBACK, GATEWAY_PORT) else []
        if not options:
            self.say(f"Port {GATEWAY_PORT} of 127.0.0.1 is taken; the gateway will be reached at the host's own address")
        testhosts.start(self.lab, HOST, SUITE, *options)
        self.say(f"{HOST} runs Debian {SUITE} with systemd and Docker inside")

    def _gateway_address(self) -> str:
        outcome = self.lab.docker_attempt("port", HOST, f"{GATEWAY_PORT}/tcp")
        if outcome.stdout.strip():
            return LOOPBACK
        return testhosts.address_of(self.lab, HOST)

    # -- the platform ----------------------------------------------------------------------------------------------

    def _inventory_options(self) -> list[str]:
        return ["-i", INVENTORY, "-i", str(self.lab.inventory)]

    def _playbook(self) -> None:
        log = self.lab.log_of("demo-site")
        settings = {**self.lab.environment, **tool_environment(self.lab, SUITE), "PYTHONUNBUFFERED": "1"}
        if sys.stdout.isatty():
            settings["ANSIBLE_FORCE_COLOR"] = "true"
        command = ["ansible-playbook", *self._inventory_options(), "playbooks/site.yml"]
        if (address := self._gateway_address()) != LOOPBACK:
            command += ["-e", f"platform_public_url=http://{address}:{GATEWAY_PORT}"]
        self.say(f"$ {' '.join(command)}")
        with (
            log.open("w") as stream,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=settings,
                cwd=self.lab.repository,
            ) as play,
        ):
            for line in play.stdout or ():
                self.say(line.rstrip("\n"))
                stream.write(line)
        if play.returncode != 0:
            raise LabError(
                f"playbooks/site.yml failed with exit code {play.returncode}; look into the host with `{self._shell_command()}`.", log
            )

    # -- the answer ------------------------------------------------------------------------------------------------

    def _person(self) -> Path:
        found = sorted(path.parent for path in self.people.glob("*/key"))
        if not found:
            raise LabError(f"No developer's key was handed out below {self.people}; the demo's inventory must name at least one person.")
        return found[0]

    def _answer(self) -> None:
        person = self._person()
        gateway = Gateway(self._gateway_address(), GATEWAY_PORT, (person / "key").read_text().strip())
        models = gateway.models()
        if not models:
            raise LabError(f"The key of {person.name} may use no model; give one in {INVENTORY}.")
        self.say(f"{person.name} asks {models[0]}: {QUESTION}")
        sys.stdout.write("> ")
        pieces = []
        for piece in gateway.chat(models[0], QUESTION):
            sys.stdout.write(piece)
            sys.stdout.flush()
            pieces.append(piece)
        sys.stdout.write("\n")
        if len(pieces) < 2:
            raise LabError(
                f"The answer came in {len(pieces)} piece(s); a streamed answer has more. Look with `docker exec {HOST} journalctl CONTAINER_NAME=litellm`."
            )
        self.results = {
            "person": person.name,
            "key_file": str(person / "key"),
            "hand_out": str(person),
            "model": models[0],
            "question": QUESTION,
            "answer": "".join(pieces),
            "pieces": len(pieces),
            "gateway": gateway.url,
        }

    # -- what people see at the end --------------------------------------------------------------------------------

    def _ui_password_command(self) -> str:
        options = " ".join(self._inventory_options())
        return f"PYTHONPATH=tools python3 -m lab run ansible-playbook {options} playbooks/show_secret.yml -e secret=litellm/ui-password"

    def _shell_command(self) -> str:
        address = self.lab.docker_environment.get("DOCKER_HOST", "")
        return f"{f'DOCKER_HOST={address} ' if address else ''}docker exec -it {HOST} bash"

    def _curl_command(self) -> str:
        body = json.dumps({"model": self.results["model"], "stream": True, "messages": [{"role": "user", "content": QUESTION}]})
        return (
            f"curl -N {self.results['gateway']}/v1/chat/completions -H 'Content-Type: application/json' "
            f"-H \"Authorization: Bearer $(cat {self.results['key_file']})\" -d '{body}'"
        )

    def _langfuse_url(self) -> str:
        return f"http://{testhosts.address_of(self.lab, HOST)}:{LANGFUSE_PORT}"

    def _closing_screen(self) -> None:
        gateway = self.results["gateway"]
        self.say(f"""
=== The platform is up

Gateway        {gateway}/v1  (OpenAI protocol)
Admin page     {gateway}/ui  user admin, password shown by
               {self._ui_password_command()}
Conversations  {self._langfuse_url()}  ({"Langfuse" if self.lab.official_images else "a stand-in for Langfuse"}; playbooks/export.yml and report.yml read it)
Host           {self._shell_command()}
A developer    {self.results["person"]}: key, environment file and curl in {self.results["hand_out"]}

Ask it again   {self._curl_command()}
Stop it        make clean   (make distclean removes everything that was installed for it)

Seconds        {", ".join(f"{name} {value:.0f}" for name, value in self.seconds.items())}""")

    def _write_summary(self, ok: bool, error: str = "") -> None:
        addresses = {"gateway": self.results.get("gateway"), "ui": f"{self.results['gateway']}/ui"} if self.results else {}
        content = {
            "ok": ok,
            "error": error,
            "host": HOST,
            "addresses": addresses,
            "seconds": self.seconds,
            "finished": int(time.time()),
            "ui_password_command": self._ui_password_command(),
            "stop_command": "make clean",
            "stand_ins": [] if self.lab.official_images else ["langfuse", "clickhouse", "object-store"],
            **self.results,
        }
        self.summary.parent.mkdir(parents=True, exist_ok=True)
        self.summary.unlink(missing_ok=True)
        with os.fdopen(os.open(self.summary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            json.dump(content, stream, indent=2)
            stream.write("\n")
