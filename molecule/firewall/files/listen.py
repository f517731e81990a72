"""Answers on some ports and tells what came: python3 listen.py tcp:9000 udp:9123 ... Prints one line for each connection or packet."""

import select
import socket
import sys

sockets = {}
for word in sys.argv[1:]:
    kind, port = word.split(":")
    server = socket.socket(socket.AF_INET6, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("::", int(port)))
    if kind == "tcp":
        server.listen(64)
    sockets[server] = word
while True:
    for ready in select.select(list(sockets), [], [])[0]:
        if ready.type == socket.SOCK_STREAM:
            connection, sender = ready.accept()
            try:
                connection.sendall(b"hello\n")
            except OSError:
                pass
            connection.close()
        else:
            _data, sender = ready.recvfrom(4096)
            ready.sendto(b"hello\n", sender)
        print(sockets[ready], sender[0].removeprefix("::ffff:"), flush=True)
