# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model servers of a host, out of what its inventory says: one for each entry of ``llm_models``, or one for all that is said without it."""

from __future__ import annotations

import posixpath
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils.people import did_you_mean

LIST = "llm_models"
UNIT = "llama-server"
FIRST_PORT, HIGHEST_PORT = 8000, 65535
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")
PRICES = ("input_price", "output_price")
# What an entry may say, and the variable of a role that says it for all entries that do not.
VARIABLES = {
    "url": "llama_model_url",
    "sha256": "llama_model_sha256",
    "parts_sha256": "llama_model_parts_sha256",
    "gpus": "llama_server_gpus",
    "gpu_memory": "llama_server_gpu_memory",
    "slots": "llama_server_slots",
    "context_per_slot": "llama_server_context_per_slot",
    "people": "llama_server_people",
    "cache_ram": "llama_server_cache_ram",
    "extra_arguments": "llama_server_extra_arguments",
}
FIELDS = frozenset({"name", "port", "state", "file", *VARIABLES, *PRICES})
STATES = ("started", "absent")


class ModelsError(Exception):
    """The list cannot work; the text has a sentence for each problem."""


def file_of(url: str) -> str:
    """The name of the file that an address leads to."""
    return posixpath.basename(urllib.parse.urlsplit(url).path)


def part_files(first: str, count: int) -> list[str]:
    """The names of all files of a model whose first file is called that way."""
    return [first.replace("-00001-of-", "-%05d-of-" % number) for number in range(1, count + 1)]


def unit_of(port: int) -> str:
    """The unit of the server on a port: it does not change when the list gets longer or is sorted anew."""
    return UNIT if port == FIRST_PORT else f"{UNIT}-{port}"


def servers(variables: Mapping[str, Any], defaults: Mapping[str, Any], name: str, prices: Mapping[str, float]) -> list[dict[str, Any]]:
    """Every server of a host, each with everything that the roles and the gateway need.

    :param variables: the host's variables.
    :param defaults: those of the roles, for what the host does not say.
    :param name: the model's name where there is no list.
    :param prices: ``input_price`` and ``output_price``, dollars for a million tokens, for entries without their own.
    :raises ModelsError: with all problems at once.
    """
    given = variables.get(LIST)
    entries = given if given is not None else [{"name": name}]
    complaints = problems(entries, variables)
    if complaints:
        raise ModelsError(" ".join(f"{LIST}: {complaint}" for complaint in complaints))
    return [_server(entry, position, variables, defaults, prices) for position, entry in enumerate(entries)]


def names(variables: Mapping[str, Any], name: str) -> list[str]:
    """The names of the models that a host serves, as far as its list can be read; ``name`` where there is no list."""
    entries = variables.get(LIST, [{"name": name}])
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        return []
    named = [entry for entry in entries if isinstance(entry, Mapping) and isinstance(entry.get("name"), str)]
    return [str(entry["name"]) for entry in named if entry.get("state", STATES[0]) != "absent"]


def problems(entries: Any, variables: Mapping[str, Any]) -> list[str]:
    """A sentence for each thing in the list that cannot work."""
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        return ["a list with at least one entry is expected."]
    found: list[str] = []
    for position, entry in enumerate(entries, start=1):
        found += _entry_problems(entry, position)
    if found:
        return found
    ports = [_port(entry, position) for position, entry in enumerate(entries)]
    found += [f"two entries have the port {port}." for port in sorted({port for port in ports if ports.count(port) > 1})]
    return found + _card_problems([entry for entry in entries if entry.get("state", STATES[0]) == STATES[0]], variables)


def _entry_problems(entry: Any, position: int) -> list[str]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        return [f"entry {position} has no name."]
    name = entry["name"]
    found = [f"{name}: has an unknown field {field}{did_you_mean(str(field), FIELDS)}" for field in entry if field not in FIELDS]
    if not NAME.fullmatch(name):
        found.append(f"entry {position} is called '{name}': letters, digits and ._:/- are expected.")
    if entry.get("state", STATES[0]) not in STATES:
        found.append(f"{name}: has the state {entry['state']}, {' or '.join(STATES)} is expected.")
    port = entry.get("port", FIRST_PORT)
    if isinstance(port, bool) or not isinstance(port, int) or not 1024 <= port <= HIGHEST_PORT:
        found.append(f"{name}: has the port {port}, a number from 1024 to {HIGHEST_PORT} is expected.")
    if ("url" in entry) != ("sha256" in entry):
        found.append(f"{name}: needs url and sha256 together, for a checksum belongs to one file.")
    gpus = entry.get("gpus", [])
    if not isinstance(gpus, Sequence) or isinstance(gpus, str):
        found.append(f"{name}: has {gpus} for gpus, where a list is expected.")
    return found


def _card_problems(entries: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> list[str]:
    """Two servers on one card are planned apart and fill it twice, unless each is told how much of it is its own."""
    if len(entries) < 2 or variables.get("platform_gpu") == "none":
        return []
    found, taken = [], {}  # type: list[str], dict[str, str]
    for entry in entries:
        if entry.get("gpu_memory"):
            continue
        if not entry.get("gpus"):
            found.append(f"{entry['name']}: needs gpus (or gpu_memory), for the host has several models and each plans for cards of its own.")
        for gpu in map(str, entry.get("gpus") or []):
            if gpu in taken:
                found.append(f"{taken[gpu]} and {entry['name']} both have the GPU {gpu}; give each its own, or gpu_memory to both.")
            taken[gpu] = entry["name"]
    return found


def _port(entry: Mapping[str, Any], position: int) -> int:
    return int(entry.get("port", FIRST_PORT + position))


def _server(
    entry: Mapping[str, Any], position: int, variables: Mapping[str, Any], defaults: Mapping[str, Any], prices: Mapping[str, float]
) -> dict[str, Any]:
    def said(variable: str) -> Any:
        return variables[variable] if variable in variables else defaults[variable]

    server = {field: entry.get(field, said(variable)) for field, variable in VARIABLES.items()}
    if "url" in entry:
        server["parts_sha256"] = entry.get("parts_sha256", [])
    port = _port(entry, position)
    # A file name that is set for the host is the name of its one file.
    named = variables["llama_model_file"] if "llama_model_file" in variables and "url" not in entry else file_of(server["url"])
    server.update(
        name=entry["name"],
        state=entry.get("state", STATES[0]),
        port=port,
        unit=unit_of(port),
        file=entry.get("file", named),
        gpus=[str(gpu) for gpu in server["gpus"]],
        **{price: float(entry.get(price, prices[price])) for price in PRICES},
    )
    server["files"] = part_files(server["file"], len(server["parts_sha256"]) + 1)
    server["path"] = posixpath.join(str(said("llama_model_directory")), server["file"])
    return server
