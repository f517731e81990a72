# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import listeners

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1539 00000000:0000 0A 00000000:00000000 00:00000000 00000000   999        0 41001 1 0000000000000000 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41002 1 0000000000000000 100 0 0 10 0
   2: 0100007F:1539 0100007F:9C40 01 00000000:00000000 00:00000000 00000000   999        0 41003 1 0000000000000000 20 4 30 10 -1
   3: 0140590A:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 41004 1 0000000000000000 100 0 0 10 0
"""
# What follows the owner's number in a line of the real table.
REST = "00:00000000 00000000     0        0"
ANYBODY = "00000000000000000000000000000000:0000 0A 00000000:00000000"
TCP6 = "\n".join(
    [
        "  sl  local_address remote_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode",
        "   0: 00000000000000000000000000000000:0FA0 %s %s 42001 1 0 100 0 0 10 0" % (ANYBODY, REST),
        "   1: 00000000000000000000000001000000:0050 %s %s 42002 1 0 100 0 0 10 0" % (ANYBODY, REST),
        "   2: 0000000000000000FFFF00000100007F:0051 %s %s 42003 1 0 100 0 0 10 0" % (ANYBODY, REST),
    ]
)


def test_only_listening_sockets_are_found_with_address_port_and_inode():
    assert list(listeners.parse_tcp_table(TCP)) == [
        listeners.Listener("127.0.0.1", 5433, "41001"),
        listeners.Listener("0.0.0.0", 22, "41002"),
        listeners.Listener("10.89.64.1", 8000, "41004"),
    ]


def test_ipv6_addresses_are_read_and_mapped_ones_are_ipv4():
    assert list(listeners.parse_tcp_table(TCP6)) == [
        listeners.Listener("::", 4000, "42001"),
        listeners.Listener("::1", 80, "42002"),
        listeners.Listener("127.0.0.1", 81, "42003"),
    ]


def test_an_empty_or_missing_table_is_no_listener(tmp_path):
    assert list(listeners.parse_tcp_table("")) == []
    assert listeners.listeners(str(tmp_path)) == []


@pytest.mark.parametrize(
    "listening, wanted, expected",
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("::", "127.0.0.1", True),
        ("::", "0.0.0.0", True),
        ("10.89.64.1", "127.0.0.1", False),
        ("::1", "127.0.0.1", False),
        ("::1", "0.0.0.0", False),
        ("::1", "::", True),
    ],
)
def test_addresses_that_cannot_be_listened_on_together_overlap(listening, wanted, expected):
    assert listeners.overlaps(listening, wanted) is expected


@pytest.mark.parametrize(
    "text, unit",
    [
        ("0::/system.slice/llama-server.service\n", "llama-server.service"),
        ("12:memory:/docker/abc\n1:name=systemd:/system.slice/ssh.service\n0::/system.slice/ssh.service\n", "ssh.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", "session-1.scope"),
        ("0::/docker/abc/system.slice/nginx.service\n", "nginx.service"),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_the_unit_of_a_process_is_read_from_its_cgroup(text, unit):
    assert listeners.unit_of_cgroup(text) == unit


def test_socket_units_are_read_with_their_addresses():
    text = (
        "/run/dbus/system_bus_socket dbus.socket dbus.service\n"
        "10.89.64.1:8000 llama-server-bridge.socket llama-server-bridge.service\n"
        "[::]:9090 cockpit.socket cockpit.service\n"
        "*:631 cups.socket cups.service\n"
    )
    assert listeners.parse_socket_units(text) == [
        ("10.89.64.1", 8000, "llama-server-bridge.socket"),
        ("::", 9090, "cockpit.socket"),
        ("::", 631, "cups.socket"),
    ]


def test_published_ports_of_containers_are_read_ranges_too():
    text = "litellm\t127.0.0.1:4000->4000/tcp, 8080/tcp\nweb\t0.0.0.0:8000-8001->80-81/tcp, [::]:8000-8001->80-81/tcp\ndns\t0.0.0.0:53->53/udp\nnone\t\n"
    assert listeners.parse_container_ports(text) == [
        ("127.0.0.1", 4000, "litellm"),
        ("0.0.0.0", 8000, "web"),
        ("0.0.0.0", 8001, "web"),
        ("::", 8000, "web"),
        ("::", 8001, "web"),
    ]


def test_a_real_listener_of_this_process_is_found_with_its_owner():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        found = [entry for entry in listeners.listeners() if entry.port == port]
        owners = listeners.owners_of([found[0].inode])
    assert found[0].address == "127.0.0.1"
    assert owners[found[0].inode].pid == os.getpid()
