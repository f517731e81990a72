# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random descriptions of a firewall, many of them foolish; the same ones for the same seed."""

from __future__ import annotations

import ipaddress
import random

BRIDGES = ["docker0", "br-*", "pl-platform"]


def network(dice: random.Random) -> str:
    if dice.random() < 0.4:
        raw = ipaddress.IPv6Address((0xFD << 120) | dice.getrandbits(120))
        return str(ipaddress.ip_network((raw, dice.choice([8, 48, 64, 128])), strict=False))
    raw = ipaddress.IPv4Address(dice.getrandbits(32))
    return str(ipaddress.ip_network((raw, dice.choice([1, 8, 12, 16, 24, 32])), strict=False))


def networks(dice: random.Random, client: str) -> list[str]:
    """Some networks; often one that the client is in, sometimes everything."""
    found = [network(dice) for _number in range(dice.randint(1, 4))]
    if dice.random() < 0.5:
        bits = ipaddress.ip_address(client).max_prefixlen
        prefix = dice.choice([0, bits // 4, bits // 2, bits - 8, bits])
        found.append(str(ipaddress.ip_network((client, prefix), strict=False)))
    return found


def ports(dice: random.Random, login_port: int) -> list[str]:
    if dice.random() < 0.05:
        return ["any"]
    first = dice.randint(1, 65000)
    found = [str(first), f"{first + 1}-{first + dice.randint(1, 500)}"][: dice.randint(1, 2)]
    return [*found, str(login_port)] if dice.random() < 0.5 else found


def description(seed: int, client: str, login_port: int) -> dict:
    """What somebody might ask for who is logged in from an address, by a port."""
    dice = random.Random(seed)
    protocol = {"protocol": "tcp"}

    def services(**more):
        return [
            {"name": f"service {number}", "ports": ports(dice, login_port), "protocol": dice.choice(["tcp", "udp"]), **{k: v() for k, v in more.items()}}
            for number in range(dice.randint(0, 3))
        ]

    limited = dice.random() < 0.5
    return {
        "ssh_ports": ports(dice, login_port) if dice.random() < 0.5 else [str(login_port)],
        "ssh_networks": networks(dice, client),
        "inbound": services(networks=lambda: networks(dice, client)),
        "container_bridges": dice.sample(BRIDGES, dice.randint(0, 3)),
        "container_to_host": [{"name": "x", "bridge": dice.choice(BRIDGES), "address": "10.89.64.1", "ports": ["8000"], **protocol}][: dice.randint(0, 1)],
        "container_egress": [{"name": "y", "bridge": dice.choice(BRIDGES), "to": networks(dice, client), "ports": ["any"], **protocol}][: dice.randint(0, 1)],
        "forward_others": dice.random() < 0.5,
        "host_egress": "limited" if limited else "open",
        "host_egress_allowed": services(to=lambda: networks(dice, client)) if limited else [],
        "log_denied": dice.random() < 0.5,
    }
