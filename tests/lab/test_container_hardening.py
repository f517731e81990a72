"""The list of controls finds what it is for: each control is met by a good container and missed by one that breaks it."""

from __future__ import annotations

import copy

import pytest
from container_hardening import CONTROLS, findings

GOOD = {
    "HostConfig": {
        "SecurityOpt": ["no-new-privileges"], "CapDrop": ["ALL"], "CapAdd": None, "Privileged": False, "NetworkMode": "platform", "Memory": 1 << 30,
        "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}, "ReadonlyRootfs": True, "RestartPolicy": {"Name": "no"},
        "PidMode": "", "IpcMode": "private", "Devices": [], "DeviceRequests": None, "UTSMode": "", "PidsLimit": 512,
        "LogConfig": {"Type": "journald"},
    },
    "Config": {"User": "999:999"},
    "Mounts": [{"Source": "/var/lib/private-llm/web", "Propagation": "rprivate"}],
    "NetworkSettings": {"Networks": {"platform": {}}},
}  # fmt: skip
BROKEN = {
    "apparmor": ("HostConfig", "SecurityOpt", ["no-new-privileges", "apparmor=unconfined"]),
    "capabilities": ("HostConfig", "CapAdd", ["SYS_ADMIN"]),
    "privileged": ("HostConfig", "Privileged", True),
    "system-mounts": ("Mounts", None, [{"Source": "/etc"}]),
    "privileged-ports": ("HostConfig", "PortBindings", {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "80"}]}),
    "network": ("HostConfig", "NetworkMode", "host"),
    "memory": ("HostConfig", "Memory", 0),
    "read-only-root": ("HostConfig", "ReadonlyRootfs", False),
    "published-address": ("HostConfig", "PortBindings", {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}),
    "restart": ("HostConfig", "RestartPolicy", {"Name": "always"}),
    "processes": ("HostConfig", "PidMode", "host"),
    "shared-memory": ("HostConfig", "IpcMode", "host"),
    "devices": ("HostConfig", "DeviceRequests", [{"Driver": "cdi"}]),
    "mount-propagation": ("Mounts", None, [{"Source": "/srv/web", "Propagation": "rshared"}]),
    "host-name": ("HostConfig", "UTSMode", "host"),
    "seccomp": ("HostConfig", "SecurityOpt", ["no-new-privileges", "seccomp=unconfined"]),
    "new-privileges": ("HostConfig", "SecurityOpt", None),
    "user": ("Config", "User", "root"),
    "process-limit": ("HostConfig", "PidsLimit", None),
    "default-network": ("NetworkSettings", "Networks", {"bridge": {}}),
    "log-driver": ("HostConfig", "LogConfig", {"Type": "json-file"}),
    "engine-socket": ("Mounts", None, [{"Source": "/srv/docker.sock"}]),
}


def broken(name):
    container = copy.deepcopy(GOOD)
    section, field, value = BROKEN[name]
    if field is None:
        container[section] = value
    else:
        container[section][field] = value
    return container


def test_a_good_container_has_no_findings():
    assert findings(GOOD) == []


@pytest.mark.parametrize("name", [name for name, _text, _is_met in CONTROLS])
def test_each_control_is_missed_by_a_container_that_breaks_it_and_by_no_other(name):
    found = findings(broken(name))
    assert len(found) == 1 and found[0].startswith(f"{name}: ")
    assert findings(broken(name), {name: "a reason"}) == []


def test_a_waiver_has_to_be_needed_and_to_say_why():
    assert findings(GOOD, {"user": "a reason"}) == ["the waiver of user is not needed"]
    assert findings(broken("user"), {"user": " "}) == ["the waiver of user has no reason"]
