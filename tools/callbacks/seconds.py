"""An Ansible callback for the benchmarks: how long each task took, as the controller sees it, one JSON object a line."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: seconds
type: aggregate
short_description: Write how long each task took
description: Appends the name of each task and its seconds to the file named by the environment variable PRIVATE_LLM_SECONDS.
requirements: []
options: {}
"""


class CallbackModule(CallbackBase):
    """Writes a line when a host has done a task."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "seconds"

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._began = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        with open(os.environ["PRIVATE_LLM_SECONDS"], "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"task": result.task_name, "seconds": time.monotonic() - self._began}) + "\n")
