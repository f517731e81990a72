"""A name server that says 192.0.2.1 to every question and prints what it was asked: python3 name_server.py ADDRESS."""

import socket
import sys

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
while True:
    query, sender = server.recvfrom(4096)
    labels, position = [], 12
    while query[position]:
        labels.append(query[position + 1 : position + 1 + query[position]].decode("ascii", "replace"))
        position += 1 + query[position]
    question = query[12 : position + 5]
    print(".".join(labels), flush=True)
    is_ipv4 = question[-4:-2] == b"\0\1"
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, 1]) if is_ipv4 else b""
    server.sendto(query[:2] + b"\x81\x80\0\1" + bytes([0, is_ipv4]) + b"\0\0\0\0" + question + answer, sender)
