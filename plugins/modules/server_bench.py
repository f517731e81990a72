#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_bench
short_description: Measure how fast a model server is for those who ask it
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Asks a server of the OpenAI kind (llama-server, or a gateway before it) as an editor would, with streamed answers, and measures how long the
    first token takes and how fast the others follow, for one request alone and for several side by side.
  - The prompts are made of random words, so that no cache has them. Tokens are counted by the server.
  - It takes the server's time from the people who use it, for O(seconds) at most and a few more for requests that are under way.
attributes:
  check_mode:
    description: Asks nothing and measures nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: full
options:
  url:
    description: Address of the server's interface, with the version, such as V(http://127.0.0.1:8000/v1).
    type: str
    required: true
  api_key:
    description: Key for it.
    type: str
    required: true
  model:
    description: Name under which the model is served.
    type: str
    required: true
  prompt_tokens:
    description: Length of the long prompt of which reading is measured, about.
    type: int
    default: 4096
  answer_tokens:
    description: Length of the answers of which the pace is measured, at most.
    type: int
    default: 128
  streams:
    description: How many requests are made side by side.
    type: int
    default: 8
  rounds:
    description: How often each kind of request is made.
    type: int
    default: 3
  seconds:
    description: Seconds after which no further request is begun.
    type: int
    default: 300
  extra:
    description:
      - Further fields of each request, such as C(ignore_eos) of llama-server, which keeps an answer from ending early.
    type: dict
    default: {}
  planned:
    description: What was planned, to be held against what is there.
    type: dict
    default: {}
    suboptions:
      slots:
        description: Requests that are worked on at once.
        type: int
      context_per_slot:
        description: Tokens of context of each.
        type: int
      memory:
        description: MiB of the GPU's memory.
        type: int
  unit:
    description: The server's systemd unit, whose memory on the GPU is asked of C(nvidia-smi) where that is installed.
    type: str
seealso:
  - module: private_llm.platform.capacity_plan
"""

EXAMPLES = r"""
- name: Measure a server
  private_llm.platform.server_bench:
    url: http://127.0.0.1:8000/v1
    api_key: "{{ server_key }}"
    model: qwen3-coder
    streams: 20
    extra: {ignore_eos: true, cache_prompt: false}
  register: measured

- name: Show what was measured
  ansible.builtin.debug:
    msg: "{{ measured.report }}"
"""

RETURN = r"""
measured:
  description:
    - What was measured; each a dictionary with C(p50), C(p95), C(lowest), C(highest) and C(count), null where nothing was.
    - In tokens a second C(prefill) (reading a long prompt), C(alone) (the answer's pace with nobody else), C(each) (of several side by side) and
      C(together) (all of these). In seconds C(first_token_alone), C(first_token_crowd) and C(first_token_long).
    - Beside them C(prompt_tokens), C(streams), C(failed), C(failures) and C(in_time).
  type: dict
  returned: not in check mode
comparison:
  description: What was planned next to what is there.
  type: list
  elements: dict
  returned: not in check mode
  contains:
    name:
      description: C(slots), C(context_per_slot) or C(memory).
      type: str
    planned:
      description: What was planned.
      type: int
    found:
      description: What is there.
      type: int
    ratio:
      description: What is there, divided by what was planned.
      type: float
    kept:
      description: Whether it is as planned, of memory no more than planned.
      type: bool
build:
  description: What llama-server says of its build, empty for another server.
  type: str
  returned: not in check mode
report:
  description: All of it as a table, a line each.
  type: list
  elements: str
  returned: always
"""

import json
import urllib.parse
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.private_llm.platform.plugins.module_utils import server_bench

LEAST = {"prompt_tokens": 16, "answer_tokens": 2, "streams": 1, "rounds": 1, "seconds": 1}
MOST_STREAMS = 256
PROPERTIES_SECONDS = 10


def complaint(params: dict[str, Any]) -> str | None:
    """What is wrong with the parameters, or None."""
    for name, least in LEAST.items():
        if params[name] < least:
            return f"{name} is {params[name]}: at least {least} is needed."
    if params["streams"] > MOST_STREAMS:
        return f"streams is {params['streams']}: more than {MOST_STREAMS} would measure the client and not the server."
    if not params["url"].startswith(("http://", "https://")):
        return f"url is '{params['url']}': an http or https address is expected."
    return None


def properties(url: str, api_key: str) -> dict[str, Any]:
    """What llama-server says of its slots; nothing for a server that is none."""
    parts = urllib.parse.urlsplit(url)
    try:
        with open_url(
            f"{parts.scheme}://{parts.netloc}/props", headers={"Authorization": f"Bearer {api_key}"}, timeout=PROPERTIES_SECONDS, use_proxy=False
        ) as answer:
            said = json.load(answer)
        settings = said["default_generation_settings"]
        return {"slots": said["total_slots"], "context_per_slot": settings["n_ctx"], "build": str(said.get("build_info", ""))}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def gpu_memory(module: AnsibleModule, unit: str | None) -> int:
    """MiB that a unit's program has on all GPUs, 0 when that is not known."""
    program = module.get_bin_path("nvidia-smi") if unit else None
    if program is None:
        return 0
    _status, pid, _error = module.run_command(["systemctl", "show", str(unit), "--property", "MainPID", "--value"])
    status, listed, _error = module.run_command([program, "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"])
    rows = [line.split(",") for line in listed.splitlines() if line.count(",") == 1] if status == 0 else []
    return sum(int(size) for owner, size in rows if owner.strip() == pid.strip() and size.strip().isdigit())


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "api_key": {"type": "str", "required": True, "no_log": True},
            "model": {"type": "str", "required": True},
            # These count tokens of text; no secret is among them.
            "prompt_tokens": {"type": "int", "default": 4096, "no_log": False},
            "answer_tokens": {"type": "int", "default": 128, "no_log": False},
            "streams": {"type": "int", "default": 8},
            "rounds": {"type": "int", "default": 3},
            "seconds": {"type": "int", "default": 300},
            "extra": {"type": "dict", "default": {}},
            "planned": {
                "type": "dict",
                "default": {},
                "options": {"slots": {"type": "int"}, "context_per_slot": {"type": "int"}, "memory": {"type": "int"}},
            },
            "unit": {"type": "str"},
        },
        supports_check_mode=True,
    )
    params = module.params
    wrong = complaint(params)
    if wrong:
        module.fail_json(msg=wrong)
    if module.check_mode:
        module.exit_json(changed=False, report=["Nothing was measured: this is check mode."])
    server = server_bench.Server(params["url"], params["api_key"], params["model"], params["extra"])
    wanted = server_bench.Wanted(
        params["prompt_tokens"], params["answer_tokens"], params["streams"], params["rounds"], float(params["seconds"])
    )
    try:
        measured = server_bench.Bench(server.ask, wanted).run()
    except server_bench.BenchError as error:
        module.fail_json(msg=f"Nothing was measured. {error}")
    found = {**properties(params["url"], params["api_key"]), "memory": gpu_memory(module, params["unit"])}
    comparison = server_bench.compare(params["planned"] or {}, found)
    module.exit_json(
        changed=False,
        measured=measured,
        comparison=comparison,
        build=found.get("build", ""),
        report=server_bench.report(measured, comparison, f"{params['model']} at {params['url']}"),
    )


if __name__ == "__main__":
    main()
