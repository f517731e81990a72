# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who listens where: the kernel's socket tables, the process behind a socket, the unit or container behind a process."""

from __future__ import annotations

import glob
import os
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LISTEN_STATE = "0A"
ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket."""

    address: str
    port: int
    inode: str


@dataclass(frozen=True)
class Owner:
    """Who holds a socket: a process and the systemd unit that it runs in, or a container."""

    process: str
    pid: int
    unit: str | None = None


def _address(hexadecimal: str) -> str:
    # The kernel prints 32-bit words in the byte order of the machine, which is little-endian wherever Debian's amd64 and arm64 run.
    raw = b"".join(bytes.fromhex(hexadecimal[start : start + 8])[::-1] for start in range(0, len(hexadecimal), 8))
    if len(raw) == 4:
        return socket.inet_ntop(socket.AF_INET, raw)
    if raw.startswith(b"\x00" * 10 + b"\xff\xff"):
        return socket.inet_ntop(socket.AF_INET, raw[12:])
    return socket.inet_ntop(socket.AF_INET6, raw)


def parse_tcp_table(text: str) -> Iterator[Listener]:
    """Listening sockets of /proc/net/tcp or /proc/net/tcp6."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != LISTEN_STATE:
            continue
        address, port = fields[1].rsplit(":", 1)
        yield Listener(_address(address), int(port, 16), fields[9])


def overlaps(listening: str, wanted: str) -> bool:
    """Whether a socket on one address keeps another from the other address of the same port."""
    if listening == wanted:
        return True
    if "::" in (listening, wanted):
        # An IPv6 socket on all addresses takes IPv4 too unless told otherwise; assume it does.
        return True
    if "0.0.0.0" in (listening, wanted):  # noqa: S104
        return ":" not in listening + wanted
    return False


def unit_of_cgroup(text: str) -> str | None:
    """The innermost service or scope in /proc/PID/cgroup, of either cgroup version."""
    for line in text.splitlines():
        _number, controllers, path = line.split(":", 2)
        if controllers in ("", "name=systemd"):
            units = [part for part in path.split("/") if re.search(r"\.(service|socket|scope)$", part)]
            if units:
                return units[-1]
    return None


def parse_socket_units(text: str) -> list[tuple[str, int, str]]:
    """Address, port and unit of each line of `systemctl list-sockets` that listens on TCP."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 2:
            continue
        match = re.fullmatch(r"(?:\[(?P<v6>[0-9a-fA-F:]+)\]|(?P<v4>[0-9.]+|\*)):(?P<port>[0-9]+)", fields[0])
        unit = next((part for part in fields[1:] if part.endswith(".socket")), None)
        if match and unit:
            address = match["v6"] or match["v4"]
            found.append(("::" if address == "*" else address, int(match["port"]), unit))
    return found


def parse_container_ports(text: str) -> list[tuple[str, int, str]]:
    """Address, port and container of each published TCP port in lines of `docker ps --format '{{.Names}}\\t{{.Ports}}'`."""
    found = []
    for line in text.splitlines():
        name, _tab, ports = line.partition("\t")
        for entry in ports.split(", "):
            match = re.fullmatch(
                r"(?:\[(?P<v6>[0-9a-fA-F:]+)\]|(?P<v4>[0-9.]+|::)):(?P<first>[0-9]+)(?:-(?P<last>[0-9]+))?->.*/tcp", entry.strip()
            )
            if match:
                first = int(match["first"])
                for port in range(first, int(match["last"] or first) + 1):
                    found.append((match["v6"] or match["v4"], port, name))
    return found


def read(path: str) -> str:
    """A file of /proc, or nothing when it is gone or closed to us."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def listeners(proc: str = "/proc") -> list[Listener]:
    """All listening TCP sockets of this network namespace."""
    return [found for table in ("tcp", "tcp6") for found in parse_tcp_table(read("%s/net/%s" % (proc, table)))]


def owners_of(inodes: Iterable[str], proc: str = "/proc") -> dict[str, Owner]:
    """The process behind each socket; one that no visible process holds is missing."""
    wanted = {"socket:[%s]" % inode: inode for inode in inodes}
    owners: dict[str, Owner] = {}
    for directory in sorted(glob.glob(proc + "/[0-9]*"), key=lambda path: int(os.path.basename(path))):
        if len(owners) == len(wanted):
            break
        for link in glob.glob(directory + "/fd/*"):
            try:
                inode = wanted.get(os.readlink(link))
            except OSError:
                continue
            # The lowest process number is the one that opened the socket; its children inherited it.
            if inode is not None and inode not in owners:
                pid = int(os.path.basename(directory))
                owners[inode] = Owner(
                    read(directory + "/comm").strip() or "process %d" % pid, pid, unit_of_cgroup(read(directory + "/cgroup"))
                )
    return owners
