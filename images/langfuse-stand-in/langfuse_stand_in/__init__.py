"""A stand-in for Langfuse 4: the web and the worker program, with the contract of the real ones towards their stores and callers."""

import json


def log(message: str, **more: object) -> None:
    """One line of JSON, as LANGFUSE_LOG_FORMAT=json asks for."""
    print(json.dumps({"program": "langfuse-stand-in", "message": message, **more}), flush=True)
