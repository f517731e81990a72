"""Test hosts as the lab's own programs use them; Molecule uses tools/lab/testhost by itself."""

from __future__ import annotations

from lab.context import Lab
from lab.images import PREFIX
from lab.plan import tool_environment


def _launcher(lab: Lab) -> str:
    return str(lab.repository / "tools" / "lab" / "testhost")


def start(lab: Lab, name: str, suite: str, *options: str) -> None:
    """Start a host with systemd and Docker inside; one that is left from earlier is removed first."""
    command = [_launcher(lab), "up", name, f"{PREFIX}/host:{suite}", *options]
    lab.run(command, environment=tool_environment(lab, suite), failure=f"The host {name} did not start")


def remove(lab: Lab, name: str) -> None:
    """Remove a host with its volumes."""
    lab.run([_launcher(lab), "down", name], environment=tool_environment(lab), failure=f"The host {name} cannot be removed")


def address_of(lab: Lab, name: str) -> str:
    """The address under which this machine reaches a host."""
    listed = lab.docker("container", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", name)
    return listed.split()[0]
