#!/usr/bin/python
# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: recording_check
short_description: Prove that what passes a LiteLLM gateway arrives in Langfuse
version_added: 0.1.0
description:
  - Asks a model two marked questions through the gateway, one answered at once and one streamed, with a key that it makes for that and deletes again.
  - Then waits until Langfuse has both, and compares prompt, reply, model, tokens, person and team with what was sent and received.
  - What differs or is missing is told field by field.
author:
  - Private LLM Platform team (@private-llm)
attributes:
  check_mode:
    description: Can run in C(check_mode); asks nothing then.
    support: full
  diff_mode:
    description: Changes nothing that lasts, so there is nothing to show.
    support: full
options:
  gateway_url:
    description: Address of the gateway, as the host reaches it that the module runs on.
    type: str
    required: true
  gateway_key:
    description: Key of the gateway's administrator.
    type: str
    required: true
  model:
    description: Name of the model to ask.
    type: str
    required: true
  langfuse_url:
    description: Address of Langfuse, as the host reaches it that the module runs on.
    type: str
    required: true
  langfuse_public_key:
    description: Public key of the project.
    type: str
    required: true
  langfuse_secret_key:
    description: Secret key of the project.
    type: str
    required: true
  timeout:
    description: Seconds until what was asked has to be in Langfuse.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Prove that questions and answers are recorded
  private_llm.platform.recording_check:
    gateway_url: http://127.0.0.1:4000
    gateway_key: "{{ litellm_master_key }}"
    model: qwen3-coder
    langfuse_url: http://127.0.0.1:3001
    langfuse_public_key: pk-lf-gateway
    langfuse_secret_key: "{{ langfuse_secret_key }}"
"""

RETURN = r"""
seconds:
  description: How long it took from the last answer until both were in Langfuse.
  returned: success
  type: float
version:
  description: Version of Langfuse, as it says itself.
  returned: success
  type: str
traces:
  description: The two traces in Langfuse.
  returned: success
  type: list
  elements: str
"""

import contextlib
import json
import time
import urllib.error
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.private_llm.platform.plugins.module_utils.langfuse_traces import Api, LangfuseError, record_of

PERSON = "recording-check"
ANSWER_SECONDS = 300
PAUSE_SECONDS = 1.0


class Failed(Exception):
    """Why it is not proven."""


@dataclass(frozen=True)
class Asked:
    """A question and what came back."""

    how: str
    trace: str
    question: str
    reply: str
    tokens: int | None


class Gateway:
    """The gateway, as its administrator and as a person."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        self._key = key

    def _ask(self, path: str, key: str, body: Any) -> tuple[str, str]:
        headers = {"Authorization": "Bearer " + key, "Content-Type": "application/json"}
        try:
            answer = open_url(self._url + path, json.dumps(body).encode(), headers, method="POST", timeout=ANSWER_SECONDS, use_proxy=False)
            return answer.read().decode(), answer.headers.get("x-litellm-call-id") or ""
        except urllib.error.HTTPError as error:
            raise Failed("The gateway answered %s with %d: %s" % (path, error.code, error.read().decode(errors="replace")[:300])) from None
        except OSError as error:
            raise Failed("The gateway at %s does not answer %s: %s" % (self._url, path, error)) from None

    @contextlib.contextmanager
    def key(self, team: str) -> Iterator[str]:
        """A key for a few minutes, of nobody who exists."""
        person = {"user_id": PERSON, "team_id": team, "duration": "10m", "key_alias": "%s-%s" % (PERSON, uuid.uuid4().hex[:12])}
        text, _call = self._ask("/key/generate", self._key, {**person, "metadata": {"recording": "everything"}})
        value = str(json.loads(text)["key"])
        try:
            yield value
        finally:
            self._ask("/key/delete", self._key, {"keys": [value]})

    @contextlib.contextmanager
    def team(self) -> Iterator[str]:
        """A team for a few minutes."""
        name = "%s-%s" % (PERSON, uuid.uuid4().hex[:12])
        self._ask("/team/new", self._key, {"team_id": name, "team_alias": name})
        try:
            yield name
        finally:
            self._ask("/team/delete", self._key, {"team_ids": [name]})

    def chat(self, key: str, model: str, stream: bool) -> Asked:
        """Ask a question that nobody else asks."""
        question = "Please answer with one word. (%s)" % uuid.uuid4()
        body = {"model": model, "max_tokens": 16, "messages": [{"role": "user", "content": question}], "stream": stream}
        text, call = self._ask("/v1/chat/completions", key, body)
        how = "streamed" if stream else "plain"
        if not stream:
            answer = json.loads(text)
            return Asked(how, call.replace("-", ""), question, answer["choices"][0]["message"]["content"] or "", answer["usage"]["total_tokens"])
        events = [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:") and "[DONE]" not in line]
        pieces = [choice["delta"].get("content") or "" for event in events for choice in event.get("choices") or []]
        return Asked(how, call.replace("-", ""), question, "".join(pieces), None)


def differences(asked: Asked, found: dict[str, Any], model: str, team: str) -> list[str]:
    """What Langfuse has otherwise than it was."""
    record = record_of(found)
    prompt = [message.get("content") for message in record["input"] if isinstance(message, dict)] if isinstance(record["input"], list) else None
    reply = record["output"].get("content") if isinstance(record["output"], dict) else None
    tokens = record["input_tokens"] + record["output_tokens"]
    wrong = {
        "prompt": prompt != [asked.question],
        "reply": (reply or "") != asked.reply,
        "model": record["model"] != model,
        "tokens": tokens <= 0 or asked.tokens not in (None, tokens),
        "person": record["person"] != PERSON,
        "team": record["team"] != team,
    }
    return [name for name, is_wrong in wrong.items() if is_wrong]


def observation_of(api: Api, trace: str) -> dict[str, Any] | None:
    """What Langfuse has of a call."""
    until = datetime.now(timezone.utc) + timedelta(hours=1)
    for page, _cursor in api.pages(until - timedelta(hours=3), until, "core,basic,io,metadata,model,usage", traceId=trace):
        if page:
            return page[0]
    return None


def api_of(given: dict[str, Any]) -> Api:
    """The Langfuse that has to have it."""
    return Api(given["langfuse_url"], given["langfuse_public_key"], given["langfuse_secret_key"])


def prove(given: dict[str, Any]) -> tuple[list[Asked], float]:
    """Ask, and wait until it is recorded; how long that took."""
    gateway = Gateway(given["gateway_url"], given["gateway_key"])
    api = api_of(given)
    with gateway.team() as team, gateway.key(team) as key:
        asked = [gateway.chat(key, given["model"], stream) for stream in (False, True)]
    began = time.monotonic()
    waiting = {question.trace: question for question in asked}
    while waiting:
        for trace, question in list(waiting.items()):
            if (found := observation_of(api, trace)) is not None:
                if wrong := differences(question, found, given["model"], team):
                    raise Failed("The %s answer is in Langfuse (trace %s), but not as it was: %s." % (question.how, trace, ", ".join(wrong)))
                del waiting[trace]
        if waiting and time.monotonic() - began > given["timeout"]:
            missing = " and ".join("the %s answer" % question.how for question in waiting.values())
            raise Failed(
                "After %d seconds Langfuse does not have %s. Look at the gateway's log (journalctl CONTAINER_NAME=litellm | grep recorder) and at "
                "Langfuse's worker (journalctl CONTAINER_NAME=langfuse-worker)." % (given["timeout"], missing)
            )
        if waiting:
            time.sleep(PAUSE_SECONDS)
    return asked, time.monotonic() - began


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "gateway_url": {"type": "str", "required": True},
            "gateway_key": {"type": "str", "required": True, "no_log": True},
            "model": {"type": "str", "required": True},
            "langfuse_url": {"type": "str", "required": True},
            "langfuse_public_key": {"type": "str", "required": True, "no_log": False},
            "langfuse_secret_key": {"type": "str", "required": True, "no_log": True},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, seconds=0.0, traces=[], version="")
    try:
        version = str(api_of(module.params).ask("GET", "/health")[0].get("version"))
        asked, seconds = prove(module.params)
    except (Failed, LangfuseError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, seconds=round(seconds, 1), traces=[question.trace for question in asked], version=version)


if __name__ == "__main__":
    main()
