# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the text of a table does to a packet, for the part of nft's language that the renderer uses; anything else in it is an error."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Packet:
    """A packet as a chain sees it."""

    source: str
    target: str
    protocol: str = "tcp"
    source_port: int = 40000
    port: int = 22
    device_in: str = "eth0"
    device_out: str = "eth0"
    #: new, established or invalid
    state: str = "new"
    #: the port that it went to before Docker redirected it
    published_as: int | None = None
    syn: bool = True


def _ports(text):
    for part in text.split(","):
        first, _dash, last = part.strip().partition("-")
        yield range(int(first), int(last or first) + 1)


def _is_in(text, address):
    found = ipaddress.ip_address(address)
    return any(found in ipaddress.ip_network(part.strip()) for part in text.split(","))


def _version(address):
    return ipaddress.ip_address(address).version


# Each match of the language: how it is written, and whether a packet fits.
MATCHES = (
    (r'iifname "([^"]+)"', lambda p, name: fnmatch.fnmatch(p.device_in, name)),
    (r'oifname "([^"]+)"', lambda p, name: fnmatch.fnmatch(p.device_out, name)),
    (r"meta nfproto ipv([46])", lambda p, version: _version(p.source) == int(version)),
    (r"ip saddr \{ ([^}]+) \}", lambda p, text: _version(p.source) == 4 and _is_in(text, p.source)),
    (r"ip6 saddr \{ ([^}]+) \}", lambda p, text: _version(p.source) == 6 and _is_in(text, p.source)),
    (r"ip6 saddr (fe80::/10)", lambda p, text: _version(p.source) == 6 and _is_in(text, p.source)),
    (r"ip daddr \{ ([^}]+) \}", lambda p, text: _version(p.target) == 4 and _is_in(text, p.target)),
    (r"ip6 daddr \{ ([^}]+) \}", lambda p, text: _version(p.target) == 6 and _is_in(text, p.target)),
    (r"(tcp|udp) dport \{ ([^}]+) \}", lambda p, kind, text: p.protocol == kind and any(p.port in ports for ports in _ports(text))),
    (r"(tcp|udp) sport \{ ([^}]+) \}", lambda p, kind, text: p.protocol == kind and any(p.source_port in ports for ports in _ports(text))),
    (r"udp sport ([0-9]+) udp dport ([0-9]+)", lambda p, a, b: p.protocol == "udp" and (p.source_port, p.port) == (int(a), int(b))),
    (r"meta l4proto (tcp|udp)", lambda p, kind: p.protocol == kind),
    (r"ct original proto-dst \{ ([^}]+) \}", lambda p, text: any((p.published_as or 0) in ports for ports in _ports(text))),
    (r"ct status (dnat)", lambda p, _word: p.published_as is not None),
    (r"tcp flags & \(syn \| rst\) == (0x0)", lambda p, _word: not p.syn),
    (r"(icmp|icmpv6) type \{ [^}]+ \}(?: ip6 hoplimit 255)?", lambda p, kind: p.protocol == kind),
    (r"(icmp|icmpv6) type echo-request limit rate 20/second", lambda p, kind: p.protocol == kind),
)
CONNECTIONS = re.compile(r"ct state vmap \{ (.+) \}")
IGNORED = re.compile(r"type filter hook .*|limit rate .* log prefix .*")


class Table:
    """The chains of a rendered table."""

    def __init__(self, text):
        self.chains = {}
        name = ""
        for line in (line.strip() for line in text.splitlines()):
            if line.startswith("chain "):
                name = line.split()[1]
                self.chains[name] = []
            elif line == "}":
                name = ""
            elif name and line:
                self.chains[name].append(re.sub(r' comment "[^"]*"$', "", line))

    def verdict(self, chain, packet):
        """``accept``, ``drop`` or ``reject``."""
        for rule in self.chains[chain]:
            if IGNORED.fullmatch(rule):
                continue
            if known := CONNECTIONS.fullmatch(rule):
                decided = dict(pair.split(" : ") for pair in known.group(1).split(", ")).get(packet.state)
                if decided:
                    return decided
                continue
            rest, fits = rule, True
            while rest and not re.match(r"accept$|counter (drop|reject)|goto ", rest):
                for expression, matches in MATCHES:
                    if found := re.match(expression + r"(?: |$)", rest):
                        fits = fits and matches(packet, *found.groups())
                        rest = rest[found.end() :]
                        break
                else:
                    raise AssertionError(f"the evaluator does not know {rest!r} in {rule!r}")
            if not fits:
                continue
            if rest.startswith("goto "):
                return self.verdict(rest.split()[1], packet)
            return rest.removeprefix("counter ").split()[0]
        return "drop"
