"""Loads random rule sets into a real kernel and looks whether their operator still gets in: python3 rule_sets.py COUNT. Prints what became of them,
once so many were loaded.

Runs in a network of its own, made of two namespaces and a cable: one end is the operator's machine, the other one the host. firewall_rules.py and
firewalls.py (the collection's renderer and its tests' dice) lie beside this file.
"""

import itertools
import json
import os
import socket
import subprocess
import sys
import threading

import firewall_rules
import firewalls

OPERATOR, HOST, PORT = "192.0.2.10", "192.0.2.1", 22
LOADED = int(sys.argv[1])


def run(*words):
    subprocess.run(words, check=True, capture_output=True)


def answer(connection):
    with connection:
        while data := connection.recv(16):
            connection.sendall(data)


def serve(server):
    while True:
        threading.Thread(target=answer, args=[server.accept()[0]], daemon=True).start()


def connected():
    connection = socket.create_connection((HOST, PORT), timeout=3)
    connection.settimeout(3)
    return connection


def echo(connection):
    connection.sendall(b"x")
    return connection.recv(16) == b"x"


# The host's end is this namespace; the operator's is one that this process enters for its connections.
run("ip", "link", "set", "lo", "up")
# One that an earlier run left.
subprocess.run(["ip", "netns", "delete", "operator"], capture_output=True, check=False)
run("ip", "netns", "add", "operator")
run("ip", "link", "add", "cable", "type", "veth", "peer", "name", "far", "netns", "operator")
run("ip", "address", "add", f"{HOST}/24", "dev", "cable")
run("ip", "link", "set", "cable", "up")
run("ip", "-n", "operator", "address", "add", f"{OPERATOR}/24", "dev", "far")
run("ip", "-n", "operator", "link", "set", "far", "up")
server = socket.create_server((HOST, PORT))
threading.Thread(target=serve, args=[server], daemon=True).start()
# A thread that changes its namespace would leave the others where they are; so the host's own side keeps to subprocesses from here on.
own = os.open("/proc/self/ns/net", os.O_RDONLY)
CLONE_NEWNET = 0x40000000
import ctypes  # noqa: E402

libc = ctypes.CDLL(None, use_errno=True)


def enter(descriptor):
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


operator = os.open("/run/netns/operator", os.O_RDONLY)
told = {"refused": 0, "kept": 0, "lost": []}
enter(operator)
standing = connected()
for seed in itertools.count():
    if told["kept"] + len(told["lost"]) >= LOADED:
        break
    asked = firewalls.description(seed, OPERATOR, PORT)
    if firewall_rules.problems(asked) or firewall_rules.control_problem(asked, OPERATOR, PORT):
        told["refused"] += 1
        continue
    enter(own)
    loaded = subprocess.run(["nft", "-f", "-"], input=firewall_rules.render(asked), capture_output=True, text=True, check=False)
    enter(operator)
    try:
        assert loaded.returncode == 0, loaded.stderr
        assert echo(standing), "the connection that stands is dead"
        with connected() as another:
            assert echo(another), "a new connection is dead"
        told["kept"] += 1
    except (AssertionError, OSError) as problem:
        told["lost"].append([seed, str(problem)])
print(json.dumps(told))
