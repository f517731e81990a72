"""Plays a router that can only pass small packets: python3 too_big.py PORT. Takes one UDP packet and tells its sender that it was too big."""

import socket
import struct
import sys

SMALLEST_MTU = 1280
PACKET_TOO_BIG = 2

server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.bind(("::", int(sys.argv[1])))
data, sender = server.recvfrom(4096)
# The address that it came to is the one that answers it.
server.connect(sender)
own = server.getsockname()
udp = struct.pack("!HHHH", sender[1], own[1], 8 + len(data), 0) + data
packet = struct.pack("!IHBB", 6 << 28, len(udp), socket.IPPROTO_UDP, 64)
packet += socket.inet_pton(socket.AF_INET6, sender[0]) + socket.inet_pton(socket.AF_INET6, own[0]) + udp
raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
raw.sendto(struct.pack("!BBHI", PACKET_TOO_BIG, 0, 0, SMALLEST_MTU) + packet, (sender[0], 0))
