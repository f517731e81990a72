# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import port_users
from ansible_collections.private_llm.platform.plugins.module_utils.listeners import Listener, Owner
from ansible_collections.private_llm.platform.plugins.modules import ports_free
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

WANTED = {"address": "127.0.0.1", "port": 8000, "unit": "llama-server"}


def users_of(wanted, sockets=(), owners=None, socket_units=(), containers=()):
    users, names = port_users.find_users(wanted, list(sockets), owners or {}, list(socket_units), list(containers))
    return port_users.is_own(wanted["unit"], users), names


def test_a_port_that_nobody_uses_is_free():
    assert users_of(WANTED) == (True, [])


def test_our_own_unit_may_listen():
    own, _names = users_of(WANTED, [Listener("127.0.0.1", 8000, "1")], {"1": Owner("llama-server", 42, "llama-server.service")})
    assert own


def test_another_program_is_named_with_process_and_unit():
    own, names = users_of(WANTED, [Listener("0.0.0.0", 8000, "1")], {"1": Owner("python3", 42, "ssh.service")})
    assert not own
    assert names == ["python3 (process 42 of the unit ssh.service)"]


def test_another_address_of_the_same_port_is_no_conflict():
    assert users_of(WANTED, [Listener("10.89.64.1", 8000, "1")], {"1": Owner("systemd", 1)}) == (True, [])


def test_a_socket_unit_is_named_instead_of_systemd_itself():
    bridge = {"address": "10.89.64.1", "port": 8000, "unit": "llama-server-bridge"}
    own, names = users_of(
        bridge, [Listener("10.89.64.1", 8000, "1")], {"1": Owner("systemd", 1)}, [("10.89.64.1", 8000, "llama-server-bridge.socket")]
    )
    assert own
    assert names == ["systemd for llama-server-bridge.socket"]


def test_our_own_container_may_publish_the_port():
    gateway = {"address": "0.0.0.0", "port": 4000, "unit": "litellm"}
    sockets = [Listener("0.0.0.0", 4000, "1")]
    owners = {"1": Owner("docker-proxy", 42, "docker.service")}
    assert users_of(gateway, sockets, owners, containers=[("0.0.0.0", 4000, "litellm")])[0]


def test_a_container_of_somebody_else_is_named():
    gateway = {"address": "0.0.0.0", "port": 4000, "unit": "litellm"}
    own, names = users_of(
        gateway, [Listener("0.0.0.0", 4000, "1")], {"1": Owner("docker-proxy", 42, "docker.service")}, containers=[("0.0.0.0", 4000, "web")]
    )
    assert not own
    assert names == ["the container web"]


def test_a_socket_without_a_visible_process_is_a_conflict_too():
    own, names = users_of(WANTED, [Listener("127.0.0.1", 8000, "1")])
    assert not own
    assert "does not show" in names[0]


@pytest.fixture(autouse=True)
def _root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_without_root_it_says_how_to_become_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = run_module(ports_free.main, {"ports": []})
    assert result["failed"] and "ansible_become: true" in result["msg"]


@pytest.mark.parametrize("check", [True, False])
def test_a_real_listener_stops_the_run_with_one_sentence(check):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        result = run_module(ports_free.main, {"ports": [{"address": "0.0.0.0", "port": port, "unit": "litellm"}]}, check=check)
    assert result["failed"]
    assert "Port %d on 0.0.0.0 is needed by litellm, but " % port in result["msg"]
    assert "(process %d" % os.getpid() in result["msg"]
    assert "listens there; stop it or choose another port." in result["msg"]
