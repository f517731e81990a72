# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import subprocess
import sys
import time

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import drain

# Answers each connection after as many seconds as it is told.
SERVER = """
import socket, threading, time
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
def answer(connection):
    time.sleep(float(connection.recv(10)))
    connection.sendall(b"answer")
    connection.close()
while True:
    threading.Thread(target=answer, args=listener.accept()[:1], daemon=True).start()
"""


class Server:
    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def ask(self, seconds):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall(str(seconds).encode())
        time.sleep(0.1)
        return connection

    def connects(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=0.5).close()
        except OSError:
            return False
        return True


@pytest.fixture
def server():
    running = Server()
    yield running
    running.process.kill()
    running.process.wait()
    running.process.stdout.close()


def test_what_is_under_way_gets_its_answer(server):
    connection = server.ask(1)
    assert drain.drain(server.process.pid, 10).startswith("drained 1 connections in ")
    assert connection.recv(10) == b"answer"
    connection.close()


def test_nobody_new_is_let_in_and_nobody_is_refused(server):
    assert server.connects()
    drain.drain(server.process.pid, 0)
    assert not server.connects()


def test_who_comes_while_a_server_is_replaced_is_answered_by_the_next_one(server):
    drain.drain(server.process.pid, 0)
    with socket.socket() as late:
        late.settimeout(10)
        late.setblocking(False)
        late.connect_ex(("127.0.0.1", server.port))
        time.sleep(0.2)
        server.process.kill()
        server.process.wait()
        with socket.create_server(("127.0.0.1", server.port)) as successor:
            successor.settimeout(10)
            successor.accept()[0].close()


def test_waiting_has_an_end(server):
    connection = server.ask(30)
    began = time.monotonic()
    assert "with 1 of 1 connections open" in drain.drain(server.process.pid, 0.5)
    assert time.monotonic() - began < 5
    connection.close()


def test_a_server_without_connections_is_drained_at_once(server):
    assert drain.drain(server.process.pid, 10).startswith("drained 0 connections in 0.")


@pytest.mark.parametrize("arguments", [["5"], ["999999999", "5"]], ids=["a unit without a process", "a process that has ended"])
def test_there_being_nothing_to_drain_is_no_failure(arguments, capsys):
    assert drain.main(arguments) == 0
    assert "drain" in capsys.readouterr().out
