"""LiteLLM's callback for Langfuse: each call becomes a trace, as far as key and team allow it.

LiteLLM's own callbacks let a request say what is recorded of it and who it is from, and what they lose nobody learns. This one takes both
from the key alone, and counts. It uses what LiteLLM documents for callbacks: CustomLogger and the standard logging payload.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger
from prometheus_client import Counter, Gauge

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import traces

SECONDS_TO_END = 8.0
# By these a request would change what is recorded of it, or name the trace and so join somebody else's.
HEADERS = frozenset({"x-litellm-enable-message-redaction", "litellm-enable-message-redaction", "litellm-disable-message-redaction",
                     "x-litellm-disable-callbacks", "x-litellm-call-id"})  # fmt: skip
FIELDS = frozenset({"no-log", "turn_off_message_logging"})


def say(sentence: str) -> None:
    """One line of JSON in the gateway's log."""
    print(json.dumps({"level": "WARNING", "component": "recorder", "message": sentence}), file=sys.stderr, flush=True)


def instructions_of(kwargs: Mapping[str, Any]) -> Any:
    """What a request tells the model beside its messages: `system` of Anthropic's Messages, `instructions` of the Responses API."""
    request = (kwargs.get("litellm_params") or {}).get("proxy_server_request")
    body = request.get("body") if isinstance(request, Mapping) else None
    return (body.get("system") or body.get("instructions")) if isinstance(body, Mapping) else None


def wishes_of(data: Mapping[str, Any]) -> list[str]:
    """By what a request tries to change what is recorded of it."""
    containers = [data, *(data[name] for name in ("metadata", "litellm_metadata") if isinstance(data.get(name), Mapping))]
    request = data.get("proxy_server_request")
    headers = request.get("headers") if isinstance(request, Mapping) else None
    found = {name for container in containers for name in FIELDS if name in container}
    return sorted(found | {str(name).lower() for name in headers or {} if str(name).lower() in HEADERS})


class Recorder(CustomLogger):
    """The callback."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__()
        self._default = environment["PRIVATE_LLM_RECORDING"]
        self._environment = environment["PRIVATE_LLM_TRACES_ENVIRONMENT"]
        lost = Counter("private_llm_traces_lost", "Traces that never reached Langfuse", ["reason"])
        for reason in ("buffer full", traces.REFUSED, traces.WRONG_KEYS, traces.WRONG_ADDRESS, "gateway stopped", "not understood"):
            lost.labels(reason)
        failed = Counter("private_llm_traces_failed_attempts", "Attempts to hand traces to Langfuse that failed", ["reason"])
        for reason in (traces.UNREACHABLE, traces.WRONG_KEYS, traces.WRONG_ADDRESS, traces.REFUSED):
            failed.labels(reason)
        sent = Counter("private_llm_traces_sent", "Traces that Langfuse has taken")
        self._withheld = Counter("private_llm_traces_withheld", "Calls that were not recorded, or without their content", ["recording"])
        self._lost = lost
        counts = traces.Counts(
            sent=sent.inc, lost=lambda number, reason: lost.labels(reason).inc(number), failed=lambda reason: failed.labels(reason).inc(), say=say
        )
        send = traces.Sender(
            environment["PRIVATE_LLM_TRACES_URL"], environment["PRIVATE_LLM_TRACES_PUBLIC_KEY"], environment["PRIVATE_LLM_TRACES_SECRET_KEY"]
        )
        most, most_bytes = int(environment["PRIVATE_LLM_TRACES_BUFFER"]), int(environment["PRIVATE_LLM_TRACES_BUFFER_BYTES"])
        self._buffer = traces.Buffer(send, counts, most, most_bytes)
        waiting = Gauge("private_llm_traces_waiting", "Traces that wait for Langfuse", multiprocess_mode="livesum")
        waiting.set_function(lambda: self._buffer.count)
        waiting_bytes = Gauge("private_llm_traces_waiting_bytes", "Bytes of the traces that wait for Langfuse", multiprocess_mode="livesum")
        waiting_bytes.set_function(lambda: self._buffer.size)
        atexit.register(self._buffer.close, SECONDS_TO_END)

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str) -> None:
        """Refuse a request that wants to decide what is recorded of it."""
        if wishes := wishes_of(data):
            sentence = f"What is recorded of a request is decided by its key, not by the request; leave out {', '.join(wishes)}."
            raise HTTPException(status_code=400, detail={"error": sentence})

    async def async_log_success_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call that was answered, streamed or not."""
        self._record(kwargs)

    async def async_log_failure_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call that failed at the model."""
        self._record(kwargs)

    def _policy(self, kwargs: Mapping[str, Any]) -> str:
        parameters = kwargs.get("litellm_params") or {}
        containers = [parameters.get(name) for name in ("metadata", "litellm_metadata")]
        choices = [
            (container.get(owner) or {}).get("recording")
            for container in containers
            if isinstance(container, Mapping)
            for owner in ("user_api_key_metadata", "user_api_key_team_metadata")
        ]
        return traces.policy_of(self._default, *choices)

    def _record(self, kwargs: Mapping[str, Any]) -> None:
        try:
            policy = self._policy(kwargs)
            if policy != traces.EVERYTHING:
                self._withheld.labels(policy).inc()
            if policy != traces.NOTHING:
                span = traces.span_of(kwargs["standard_logging_object"], policy, self._environment, instructions_of(kwargs))
                self._buffer.add(span.encoded())
        except Exception as error:  # a trace is no reason for a request to fail
            self._lost.labels("not understood").inc()
            say(f"a call could not be recorded ({type(error).__name__}); its trace is lost")


def the_one() -> Recorder:
    """LiteLLM may load this file more than once; a process has one buffer all the same."""
    if not hasattr(traces, "recorder"):
        traces.recorder = Recorder(os.environ)
    found: Recorder = traces.recorder
    return found


recorder = the_one()
