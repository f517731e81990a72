"""Good requests beside bad ones: python3 abuse.py SECONDS. Prints how long the good ones took without and with the others, as JSON.

Each kind of client has an address of its own on the loopback, as machines of a network have.
"""

import contextlib
import json
import multiprocessing
import socket
import ssl
import statistics
import sys
import time

PROXY = ("127.0.0.1", 443)
QUIET_SECONDS = 10
GOOD = "Bearer sk-good"
CONTEXT = ssl.create_default_context(cafile="/etc/private-llm/tls/reverse-proxy/ca.crt")


def connect(source, secure=True):
    plain = socket.create_connection(PROXY, timeout=10, source_address=(source, 0))
    return CONTEXT.wrap_socket(plain, server_hostname="gateway.test") if secure else plain


def request(path, key, length=0):
    return f"GET {path} HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: {key}\r\nContent-Length: {length}\r\n\r\n".encode()


def read_answer(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(4096)
        if not more:
            raise OSError("closed")
        data += more
    head, _blank, body = data.partition(b"\r\n\r\n")
    lines = head.decode().lower().splitlines()
    length = int(next((line.partition(":")[2] for line in lines if line.startswith("content-length:")), 0))
    while len(body) < length:
        body += connection.recv(4096)
    return int(lines[0].split()[1])


def good(seconds):
    """Seconds that each good request took, and how many did not get their answer."""
    taken, failed = [], 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        began = time.monotonic()
        try:
            with connect("127.0.0.1") as connection:
                connection.sendall(request("/v1/wait?0.2", GOOD))
                failed += read_answer(connection) != 200
        except OSError:
            failed += 1
        taken.append(time.monotonic() - began)
    return statistics.quantiles(taken, n=20)[-1], failed, len(taken)


def repeat(attack, address, deadline, pause, told):
    count = 0
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            attack(address)
        count += 1
        time.sleep(pause)
    told.put((attack.__name__, count))


def wrong_keys(address):
    with connect(address) as connection:
        for number in range(20):
            connection.sendall(request("/v1/x", f"Bearer sk-wrong-{number}"))
            read_answer(connection)
            time.sleep(0.005)


def oversized_bodies(address):
    with connect(address) as connection:
        connection.sendall(request("/v1/x", GOOD, 1 << 30))
        for _piece in range(64):
            connection.sendall(bytes(65536))


def slow_clients(address):
    held = []
    for _number in range(30):
        with contextlib.suppress(OSError):
            held.append(connect(address))
    for byte in request("/v1/x", GOOD)[:50]:
        for connection in held:
            with contextlib.suppress(OSError):
                connection.send(bytes([byte]))
        time.sleep(0.1)
    for connection in held:
        connection.close()


def broken_requests(address):
    for text in (b"GET / HTTP/1.1\r\nHost gateway.test\r\n\r\n", b"\0" * 400, b"GET /" + b"a" * 20000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 99):
        with connect(address) as connection:
            connection.sendall(text)
            connection.recv(4096)
    with connect(address, secure=False) as connection:
        connection.sendall(b"this is no TLS\r\n" * 10)
        connection.recv(4096)


ATTACKS = ((wrong_keys, "127.0.0.2", 0.01), (oversized_bodies, "127.0.0.3", 0.02), (slow_clients, "127.0.0.4", 0.1), (broken_requests, "127.0.0.5", 0.02))

if __name__ == "__main__":
    seconds = float(sys.argv[1])
    quiet, quiet_failed, _count = good(QUIET_SECONDS)
    told = multiprocessing.Queue()
    deadline = time.monotonic() + seconds
    running = [multiprocessing.Process(target=repeat, args=(attack, address, deadline, pause, told)) for attack, address, pause in ATTACKS]
    for process in running:
        process.start()
    abused, abused_failed, count = good(seconds)
    attacks = dict(told.get(timeout=30) for _process in running)
    for process in running:
        process.join()
    figures = {"quiet_p95": quiet, "abused_p95": abused, "failed": quiet_failed + abused_failed, "good": count, "attacks": attacks}
    print(json.dumps(figures))
