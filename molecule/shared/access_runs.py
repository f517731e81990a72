"""Runs of an operator who changes people: of the role alone, and of the playbook as it is shipped."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
SCENARIO = REPOSITORY / "molecule" / "litellm_access"
SETTINGS = yaml.safe_load((SCENARIO / "vars.yml").read_text())
PEOPLE = SETTINGS["people"]
MASTER_KEY = SETTINGS["master_key"]


def _scratch() -> Path:
    return Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])


def hand_outs() -> Path:
    """Where a run writes what people are handed."""
    return _scratch() / "people"


class Outcome:
    """What ansible-playbook said."""

    def __init__(self, playbook: Path, *arguments: str) -> None:
        inventories = [os.environ["MOLECULE_INVENTORY_FILE"], os.environ["PRIVATE_LLM_INVENTORY"]]
        command = ["ansible-playbook", *(word for path in inventories for word in ("--inventory", path)), *arguments, str(playbook)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        self.status = done.returncode
        self.output = done.stdout + done.stderr
        # Messages are wrapped on the way to the screen.
        self.sentences = " ".join(self.output.split())
        self.changed = int(found.group(1)) if (found := re.search(r"changed=(\d+)", self.output)) else None


class Run(Outcome):
    """One run of the role by an operator, with these people in the list."""

    def __init__(self, people: Sequence[dict[str, Any]], *arguments: str, **variables: Any) -> None:
        # In a file, for Ansible shows its own command line.
        path = _scratch() / "people.json"
        path.write_text(json.dumps({"people": people, **variables}))
        super().__init__(SCENARIO / "people.yml", "--extra-vars", f"@{path}", *arguments)


def users_playbook(people: Sequence[dict[str, Any]], *arguments: str) -> Outcome:
    """playbooks/users.yml with these people, on the scenario's host."""
    host = {"pl-litellm_access": None}
    variables = {
        "platform_root_secret": SETTINGS["root_secret"],
        "platform_listen_address": "0.0.0.0",
        # What this scenario's gateway has, though people may name others.
        "platform_model_name": "another-model",
        "llm_users": people,
        "litellm_access_handout_directory": str(hand_outs()),
    }
    path = _scratch() / "platform.yml"
    path.write_text(yaml.safe_dump({"all": {"vars": variables, "children": {name: {"hosts": host} for name in ("gpu", "gateway", "observability")}}}))
    return Outcome(REPOSITORY / "playbooks" / "users.yml", "--inventory", str(path), *arguments)
