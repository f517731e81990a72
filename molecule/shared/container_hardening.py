"""The controls of the CIS Docker Benchmark that concern a running container (its section 5), asked of `docker inspect`.

A control that a container cannot meet is waived by name, with the reason, where the container is tested: a waiver that is not needed is a
failure too, so that no list outlives what it was for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

ANY_ADDRESS = ("", "0.0.0.0", "::")
SENSITIVE = ("/", "/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr", "/run", "/var/run", "/var/lib/docker", "/root", "/home")
Inspected = Mapping[str, Any]


def _host(container: Inspected) -> Any:
    return container["HostConfig"]


def _mounts(container: Inspected) -> Iterable[Any]:
    return container.get("Mounts") or []


def _published(container: Inspected) -> list[Any]:
    return [binding for bindings in (_host(container)["PortBindings"] or {}).values() for binding in bindings or []]


# A name for each, what it asks for, and whether a container meets it.
CONTROLS: tuple[tuple[str, str, Callable[[Inspected], bool]], ...] = (
    ("apparmor", "its AppArmor profile is not switched off", lambda c: "apparmor=unconfined" not in (_host(c)["SecurityOpt"] or [])),
    ("capabilities", "it has no capabilities", lambda c: _host(c)["CapDrop"] == ["ALL"] and not _host(c)["CapAdd"]),
    ("privileged", "it is not privileged", lambda c: not _host(c)["Privileged"]),
    ("system-mounts", "no directory of the system is mounted", lambda c: all(m["Source"] not in SENSITIVE for m in _mounts(c))),
    ("privileged-ports", "it publishes no privileged port", lambda c: all(int(binding["HostPort"]) >= 1024 for binding in _published(c))),
    ("network", "it has a network of its own", lambda c: _host(c)["NetworkMode"] != "host"),
    ("memory", "its memory is limited", lambda c: _host(c)["Memory"] > 0),
    ("read-only-root", "its root file system is read-only", lambda c: _host(c)["ReadonlyRootfs"]),
    ("published-address", "each published port names its address", lambda c: all(binding["HostIp"] not in ANY_ADDRESS for binding in _published(c))),
    ("restart", "systemd alone restarts it", lambda c: _host(c)["RestartPolicy"]["Name"] in ("", "no")),
    ("processes", "it has processes of its own", lambda c: _host(c)["PidMode"] != "host"),
    ("shared-memory", "its memory is not shared with the host", lambda c: _host(c)["IpcMode"] != "host"),
    ("devices", "it is given no device", lambda c: not _host(c).get("Devices") and not _host(c).get("DeviceRequests")),
    ("mount-propagation", "what is mounted is not shared on", lambda c: all(m.get("Propagation") not in ("shared", "rshared") for m in _mounts(c))),
    ("host-name", "it has a host name of its own", lambda c: _host(c)["UTSMode"] != "host"),
    ("seccomp", "its filter of system calls is not switched off", lambda c: "seccomp=unconfined" not in (_host(c)["SecurityOpt"] or [])),
    ("new-privileges", "it cannot gain privileges", lambda c: bool({"no-new-privileges", "no-new-privileges:true"} & set(_host(c)["SecurityOpt"] or []))),
    ("user", "its user is not root", lambda c: c["Config"]["User"].split(":")[0] not in ("", "0", "root")),
    ("process-limit", "the number of its processes is limited", lambda c: (_host(c)["PidsLimit"] or 0) > 0),
    ("default-network", "it is not on Docker's default network", lambda c: "bridge" not in c["NetworkSettings"]["Networks"]),
    ("log-driver", "its lines go to the journal", lambda c: _host(c)["LogConfig"]["Type"] == "journald"),
    ("engine-socket", "it has no socket of an engine", lambda c: not any("docker.sock" in m["Source"] or "containerd" in m["Source"] for m in _mounts(c))),
)


# What the platform's containers do not meet, by container and control, each with the reason.
WAIVERS: Mapping[str, Mapping[str, str]] = {
    "alloy": {"user": "the journal belongs to root; the agent has none of root's capabilities"},
    "promtail": {"user": "the journal belongs to root; the agent has none of root's capabilities"},
    "dcgm-exporter": {
        "user": "the devices of the GPUs belong to root; the exporter has none of root's capabilities",
        "devices": "the GPUs are what it tells about",
    },
    "node-exporter": {
        "apparmor": "the engine's profile keeps it from D-Bus, by which systemd tells about units",
        "system-mounts": "it tells about the host's file systems, which it reads as nobody and cannot write",
    },
}

# What a scenario says of a container that it publishes on all addresses, to ask it from outside.
OPEN_DOOR = {"published-address": "the scenario asks it from outside"}

# Units that are no containers, and the exposure that `systemd-analyze security` may find in each: 0 is none, 10 is all.
EXPOSURE: Mapping[str, float] = {
    "llama-server": 5.0,
    "postgres-litellm-backup": 5.0,
    "postgres-langfuse-backup": 5.0,
    "haproxy": 6.0,
}


def findings(container: Inspected, waivers: Mapping[str, str] | None = None) -> list[str]:
    """Each control that a container does not meet, and each waiver that it does not need; a waiver is a control's name and the reason."""
    given = dict(waivers or {})
    unmet = {name: text for name, text, is_met in CONTROLS if not is_met(container)}
    found = [f"{name}: {text}" for name, text in unmet.items() if name not in given]
    found += [f"the waiver of {name} is not needed" for name in given if name not in unmet]
    return found + [f"the waiver of {name} has no reason" for name, reason in given.items() if not reason.strip()]


def findings_of_platform(containers: Mapping[str, Inspected], open_doors: Collection[str] = ()) -> dict[str, list[str]]:
    """What is wrong with containers of the platform, each under its own name; ``open_doors`` are those that a scenario opens to everybody."""
    given = {name: {**WAIVERS.get(name, {}), **(OPEN_DOOR if name in open_doors else {})} for name in containers}
    return {name: found for name, container in containers.items() if (found := findings(container, given[name]))}
