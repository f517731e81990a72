"""Running the site's playbooks as an operator does, and what its test files know of it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CONTAINERS = (
    "litellm postgres-litellm langfuse-web langfuse-worker postgres-langfuse clickhouse-langfuse valkey-langfuse object-store-langfuse"
    " prometheus alertmanager loki grafana node-exporter postgres-litellm-exporter"
).split()
SENTENCE = "Hello from the tiny test model."
NAME = "gateway.test"


def people_directory() -> Path:
    """Where the hand-outs of the scenario are."""
    return Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "people"


def key_of(name: str) -> str:
    """A person's key."""
    return (people_directory() / name / "key").read_text().strip()


def project_keys(secret: str) -> str:
    """Both halves of the key of Langfuse's project, as a client gives them; the public one follows from the other."""
    return f"pk-lf-{hashlib.sha256(secret.encode()).hexdigest()[:16]}:{secret}"


def run_playbook(playbook: str, inventory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook as an operator does, with a copy of the site's inventory that a test has changed."""
    inventories = [os.environ["MOLECULE_INVENTORY_FILE"], os.environ["PRIVATE_LLM_INVENTORY"], str(inventory)]
    options = [word for path in inventories for word in ("--inventory", path)]
    command = ["ansible-playbook", *options, str(REPOSITORY / "playbooks" / playbook), *arguments]
    # Molecule wants colours, which stand between the words that a test looks for.
    environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, env=environment)
    _outputs_directory().mkdir(mode=0o700, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=_outputs_directory(), prefix=f"{playbook}-", suffix=".log", delete=False) as stream:
        stream.write(run.stdout + run.stderr)
    return run


def _outputs_directory() -> Path:
    return Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "outputs"


def outputs() -> dict[str, str]:
    """What the playbooks of all tests have printed, by the name of the file where it is kept."""
    return {path.name: path.read_text() for path in _outputs_directory().iterdir()}


def recap(run: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """The numbers of the play's last line: ok, changed, failed ..."""
    lines = re.findall(r"^\S+ +: (ok=.*)$", run.stdout, re.MULTILINE)
    assert lines, f"the run has no recap:\n{run.stdout[-3000:]}{run.stderr[-1000:]}"
    return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", lines[-1])}


def sentences(run: subprocess.CompletedProcess[str]) -> str:
    """What a run said, as one line: messages are wrapped on the way to the screen."""
    return " ".join((run.stdout + run.stderr).split())


def change(inventory: Path, file: str, old: str, new: str) -> None:
    """Another text in a copy of the inventory."""
    path = inventory / "group_vars" / "all" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def closed_inventory(directory: Path) -> Path:
    """A copy of the site's inventory by somebody who has read docs/tls.md and docs/firewall.md."""
    inventory = directory / "inventory"
    shutil.copytree(REPOSITORY / "molecule" / "site" / "inventory", inventory)
    change(inventory, "platform.yml", "platform_public_url: http://gateway.test:4000", f"platform_public_url: https://{NAME}")
    change(inventory, "platform.yml", "platform_langfuse_listen_address: 0.0.0.0", "platform_langfuse_listen_address: 127.0.0.1")
    change(inventory, "platform.yml", "platform_langfuse_url: http://langfuse.test:3001", "platform_langfuse_url: https://langfuse.test")
    with (inventory / "group_vars/all/platform.yml").open("a") as stream:
        stream.write("platform_tls: true\nplatform_firewall: true\n")
        stream.write("grafana_root_url: https://grafana.test\n")
    return inventory
