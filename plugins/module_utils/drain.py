# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets a server finish what it works on before it is stopped: python3 drain.py PID SECONDS.

Run by systemd (ExecStop=) before the server gets its signal, so it works for a restart by Ansible, by hand and at shutdown alike. From here on
the server's listening sockets take no new connection. Who tries is not refused but waits: TCP asks again after 1, 3 and 7 seconds, and
the new server answers. What is open may end by itself; after so many seconds the server is stopped all the same.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator

# The same number on every architecture (linux/include/uapi/asm-generic/unistd.h); Python has no call for it.
SYS_PIDFD_GETFD = 438
SO_ATTACH_FILTER = 26
# TCP_INFO begins with the state; see tcp(7) and linux/include/net/tcp_states.h.
ESTABLISHED = 1
ASK_AGAIN_SECONDS = 0.2

# A filter for packets, in the language of bpf(4): load the flags of the TCP header, keep SYN and ACK, drop a first SYN and let the rest pass.
FLAGS_OFFSET, SYN, ACK = 13, 0x02, 0x10
NO_NEW_CONNECTIONS = (
    (0x30, 0, 0, FLAGS_OFFSET),  # ldb [13]
    (0x54, 0, 0, SYN | ACK),  # and #0x12
    (0x15, 0, 1, SYN),  # jeq #0x02, drop, pass
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # pass
)


def sockets_of(pid: int) -> Iterator[socket.socket]:
    """Our own handles of the Internet sockets that a process has open. :raises OSError: when we may not have them."""
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(pid)
    try:
        for number in map(int, os.listdir(f"/proc/{pid}/fd")):
            handle = libc.syscall(SYS_PIDFD_GETFD, process, number, 0)
            if handle < 0:
                error = ctypes.get_errno()
                if error in (1, 38):  # EPERM, ENOSYS: not for any of them
                    raise OSError(error, os.strerror(error))
                continue
            try:
                found = socket.socket(fileno=handle)
            except OSError:  # a file, a pipe
                os.close(handle)
                continue
            with found:
                if found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM:
                    yield found
    finally:
        os.close(process)


def is_listening(handle: socket.socket) -> bool:
    """Whether connections come in at a socket."""
    return handle.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) != 0


def take_no_more(listener: socket.socket) -> None:
    """Let the kernel drop new connections to a listening socket until it is closed. Those that are open or half open go on."""
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in NO_NEW_CONNECTIONS)
    memory = ctypes.create_string_buffer(program)
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(NO_NEW_CONNECTIONS), ctypes.addressof(memory)))


def open_connections(pid: int, ports: set[int]) -> int:
    """How many connections to these ports the process still has."""
    states = [
        handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        for handle in sockets_of(pid)
        if not is_listening(handle) and handle.getsockname()[1] in ports
    ]
    return states.count(ESTABLISHED)


def drain(pid: int, seconds: float) -> str:
    """Stop taking connections, then wait until none is open or time is up. Returns how it went."""
    began = time.monotonic()
    ports = set()
    for handle in sockets_of(pid):
        if is_listening(handle):
            take_no_more(handle)
            ports.add(handle.getsockname()[1])
    first = left = open_connections(pid, ports)
    sys.stdout.write(f"taking no new connections, waiting for {first} to end\n")
    sys.stdout.flush()
    while left and time.monotonic() - began < seconds:
        time.sleep(ASK_AGAIN_SECONDS)
        left = open_connections(pid, ports)
    took = f"{time.monotonic() - began:.1f} s"
    return f"drained {first} connections in {took}" if not left else f"gave up after {took} with {left} of {first} connections open"


def main(arguments: list[str]) -> int:
    """Entry point; a server that is gone already is drained."""
    pid, seconds = arguments if len(arguments) == 2 else ("0", "0")
    try:
        sys.stdout.write(f"{drain(int(pid), float(seconds))}\n")
    except (FileNotFoundError, ProcessLookupError):
        sys.stdout.write("nothing to drain: the server has ended\n")
    except OSError as error:
        sys.stdout.write(f"cannot drain: {error}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
