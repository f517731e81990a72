#!/usr/bin/python3
"""The program of the documented example: takes connections where it is told to."""

import socket
import sys

host, port = sys.argv[2].rsplit(":", 1)
listener = socket.create_server((host, int(port)))
while True:
    listener.accept()[0].close()
