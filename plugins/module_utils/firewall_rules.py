# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's packet filter as one nftables table of its own: what is wrong with its description, and its text. Nothing here touches a host."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

TABLE = "private_llm"
# Before Docker's and iptables' own chains (0): what is dropped here is dropped for good, what is accepted here they still look at.
PRIORITY = "filter - 10"
HIGHEST_PORT = 65535
LONGEST_INTERFACE = 15
ANY_PORT = "any"
SELECTORS = {4: "ip", 6: "ip6"}
# Without these a path with a smaller packet size, a neighbour or a router could not be found: IPv6 stops working, IPv4 hangs.
ICMP_ERRORS = "icmp type { destination-unreachable, time-exceeded, parameter-problem } accept"
ICMPV6_ERRORS = "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept"
NEIGHBOURS = "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept"
MULTICAST = "icmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } accept"
KNOWN_CONNECTIONS = "ct state vmap { established : accept, related : accept, invalid : drop }"
# To our own containers, so that a program that tries fails at once instead of after minutes.
REFUSE = "reject with icmpx type admin-prohibited"
INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}|[A-Za-z0-9_.-]{1,14}\*")


@dataclass(frozen=True)
class Service:
    """Ports of a protocol, and the networks that may reach them (or that may be reached)."""

    name: str
    protocol: str
    ports: tuple[tuple[int, int], ...]
    networks: tuple[Network, ...]
    bridge: str = ""


def parse_port(text: str) -> tuple[int, int]:
    """First and last port of ``22``, ``8000-8010`` or ``any``. :raises ValueError: when it is none of them."""
    if text == ANY_PORT:
        return (0, HIGHEST_PORT)
    match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", text)
    if match is None:
        raise ValueError("is no port; write a number, FIRST-LAST or any")
    first, last = int(match.group(1)), int(match.group(2) or match.group(1))
    if not 0 < first <= HIGHEST_PORT or not 0 < last <= HIGHEST_PORT:
        raise ValueError(f"is outside 1 to {HIGHEST_PORT}")
    if first > last:
        raise ValueError("ends before it begins")
    return (first, last)


def parse_network(text: str) -> Network:
    """A network or a single address. :raises ValueError: with the reason, when it is neither."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is no address or network such as 10.0.0.0/8 or fd00::/8; names are not looked up") from None
    raise ValueError(f"has address bits beyond its prefix; did you mean {network}?")


# -- what can be wrong -------------------------------------------------------------------------------------------------


def _ports(entry: Mapping[str, Any], what: str) -> Iterator[str]:
    if not entry["ports"]:
        yield f"{what} names no port; any stands for all of them"
    ranges = []
    for text in entry["ports"]:
        try:
            ranges.append((parse_port(str(text)), text))
        except ValueError as error:
            yield f"{what}: port '{text}' {error}"
    for position, ((first, last), text) in enumerate(ranges):
        for (other_first, other_last), other in ranges[:position]:
            if first <= other_last and other_first <= last:
                yield f"{what}: ports {other} and {text} overlap"


def _networks(networks: Sequence[str], what: str, none: str) -> Iterator[str]:
    if not networks:
        yield f"{what} {none}"
    seen: dict[Network, str] = {}
    for text in networks:
        try:
            network = parse_network(text)
        except ValueError as error:
            yield f"{what}: '{text}' {error}"
            continue
        if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped:
            yield f"{what}: '{text}' is an IPv4 address in IPv6 form, which no packet carries; write it as IPv4"
        if network in seen:
            yield f"{what}: {text} is there twice"
        seen[network] = text


def _bridge(name: str, bridges: Sequence[str], what: str) -> Iterator[str]:
    if name not in bridges:
        yield f"{what}: '{name}' is not in container_bridges"


def _interfaces(bridges: Sequence[str]) -> Iterator[str]:
    for position, name in enumerate(bridges):
        if not INTERFACE.fullmatch(name):
            yield f"container_bridges: '{name}' is no device name of 1 to {LONGEST_INTERFACE} letters, digits or _.-, with * at its end at most"
            continue
        for other in bridges[:position]:
            if name == other:
                yield f"container_bridges: {name} is there twice"


def _overlaps(services: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    taken: list[tuple[str, str, int, int]] = []
    for what, entry in services:
        for text in entry["ports"]:
            try:
                first, last = parse_port(str(text))
            except ValueError:
                continue
            for other, protocol, other_first, other_last in taken:
                if other != what and protocol == entry["protocol"] and first <= other_last and other_first <= last:
                    yield f"{what} and {other} overlap at {protocol} port {max(first, other_first)}; which networks count there would be unclear"
            taken.append((what, entry["protocol"], first, last))


def problems(given: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing that cannot work, or that would mean something else than it says."""
    found: list[str] = []
    bridges = given["container_bridges"]
    ssh = {"ports": given["ssh_ports"], "protocol": "tcp"}
    found += _ports(ssh, "ssh_ports")
    found += _networks(given["ssh_networks"], "ssh_networks", "is empty: nobody could log in; 0.0.0.0/0 and ::/0 stand for everybody")
    found += _interfaces(bridges)
    named = [(f"inbound {entry['name']}", entry) for entry in given["inbound"]]
    for what, entry in named:
        found += _ports(entry, what)
        found += _networks(entry["networks"], what, "has no networks; 0.0.0.0/0 and ::/0 stand for everybody")
    names = [what for what, _entry in named]
    found += [f"{what} is there twice" for what in sorted({name for name in names if names.count(name) > 1})]
    found += _overlaps([("ssh_ports", ssh), *named])
    for entry in given["container_to_host"]:
        what = f"container_to_host {entry['name']}"
        found += _ports(entry, what)
        found += _networks([entry["address"]], what, "")
        found += _bridge(entry["bridge"], bridges, what)
    for entry in given["container_egress"]:
        what = f"container_egress {entry['name']}"
        found += _ports(entry, what)
        found += _networks(entry["to"], what, "leads nowhere; name networks in to")
        found += _bridge(entry["bridge"], bridges, what)
    for entry in given["host_egress_allowed"]:
        what = f"host_egress_allowed {entry['name']}"
        found += _ports(entry, what)
        found += _networks(entry["to"], what, "leads nowhere; name networks in to")
    if given["host_egress_allowed"] and given["host_egress"] == "open":
        found.append("host_egress_allowed lists exceptions, but host_egress is open; set it to limited or take the list away")
    return found


def control_problem(given: Mapping[str, Any], client: str, port: int) -> str | None:
    """Why the connection that asks for this table would be shut out by it; None when it would not.

    :param client: the address that the connection comes from, as this host sees it.
    :param port: the port of this host that it goes to.
    """
    address = ipaddress.ip_address(client.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if not any(first <= port <= last for first, last in (parse_port(str(text)) for text in given["ssh_ports"])):
        return f"you are logged in by port {port}, which is not in ssh_ports"
    if not any(address in parse_network(text) for text in given["ssh_networks"]):
        return f"you are logged in from {address}, which is in none of ssh_networks"
    return None


# -- the text ----------------------------------------------------------------------------------------------------------


def addresses(networks: Iterable[Network], direction: str) -> list[str]:
    """The matches for some networks, one for each family that has any; direction is ``saddr`` or ``daddr``."""
    matches = []
    for version, selector in SELECTORS.items():
        own = [network for network in networks if network.version == version]
        if not own:
            continue
        # Overlapping elements would be refused by the kernel.
        merged = list(ipaddress.collapse_addresses(own))  # type: ignore[type-var]
        if any(network.prefixlen == 0 for network in merged):
            matches.append(f"meta nfproto ipv{version}")
        else:
            matches.append(f"{selector} {direction} {{ {', '.join(map(str, merged))} }}")
    return matches


def port_match(service: Service, field: str = "dport") -> str:
    """The match for a service's protocol and ports; field is ``dport``, or ``ct original proto-dst`` for what Docker has redirected."""
    merged = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in sorted(service.ports))
    whole = service.ports == ((0, HIGHEST_PORT),)
    if field == "dport":
        return f"meta l4proto {service.protocol}" if whole else f"{service.protocol} dport {{ {merged} }}"
    return f"meta l4proto {service.protocol}" + ("" if whole else f" {field} {{ {merged} }}")


def service_of(entry: Mapping[str, Any], networks: Sequence[str]) -> Service:
    """A checked entry of a description."""
    ports = tuple(parse_port(str(text)) for text in entry["ports"])
    parsed = tuple(parse_network(text) for text in networks)
    return Service(entry.get("name", ""), entry.get("protocol", "tcp"), ports, parsed, entry.get("bridge", ""))


def _comment(service: Service) -> str:
    return ' comment "%s"' % re.sub(r"[^A-Za-z0-9 _.:/-]", "", service.name)[:100] if service.name else ""


def _denied(given: Mapping[str, Any], chain: str, verdict: str = "drop") -> list[str]:
    log = [f'limit rate 10/minute burst 20 packets log prefix "private-llm {chain}: " level info'] if given["log_denied"] else []
    return [*log, f"counter {verdict}"]


def _input(given: Mapping[str, Any]) -> list[str]:
    ssh = service_of({"name": "SSH", "ports": given["ssh_ports"]}, given["ssh_networks"])
    lines = ['iifname "lo" accept', NEIGHBOURS, MULTICAST, KNOWN_CONNECTIONS, ICMP_ERRORS, ICMPV6_ERRORS]
    lines += [f'iifname "{bridge}" goto from_containers' for bridge in given["container_bridges"]]
    lines += ["icmp type echo-request limit rate 20/second accept", "icmpv6 type echo-request limit rate 20/second accept"]
    # A host that could not renew its address would be lost too.
    lines += ["udp sport 67 udp dport 68 accept", "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept"]
    for service in [ssh, *(service_of(entry, entry["networks"]) for entry in given["inbound"])]:
        lines += [f"{source} {port_match(service)} accept{_comment(service)}" for source in addresses(service.networks, "saddr")]
    return lines + _denied(given, "input")


def _from_containers(given: Mapping[str, Any]) -> list[str]:
    lines = []
    for entry in given["container_to_host"]:
        service = service_of(entry, [entry["address"]])
        for target in addresses(service.networks, "daddr"):
            lines.append(f'iifname "{service.bridge}" {target} {port_match(service)} accept{_comment(service)}')
    return lines + _denied(given, "container", REFUSE)


def _forward(given: Mapping[str, Any]) -> list[str]:
    lines = [KNOWN_CONNECTIONS]
    # Containers of one network talk to each other; between two networks Docker's own chains decide after this one.
    lines += [f'iifname "{bridge}" oifname "{bridge}" accept' for bridge in given["container_bridges"]]
    lines += [f'iifname "{bridge}" goto out_of_containers' for bridge in given["container_bridges"]]
    for entry in given["inbound"]:
        service = service_of(entry, entry["networks"])
        match = f"ct status dnat {port_match(service, 'ct original proto-dst')}"
        lines += [f"{source} {match} accept{_comment(service)}" for source in addresses(service.networks, "saddr")]
    if given["forward_others"]:
        lines += [f'oifname "{bridge}" counter drop' for bridge in given["container_bridges"]]
        lines += ["accept"]
    return lines + _denied(given, "forward")


def _out_of_containers(given: Mapping[str, Any]) -> list[str]:
    lines = []
    for entry in given["container_egress"]:
        service = service_of(entry, entry["to"])
        lines += [
            f'iifname "{service.bridge}" {target} {port_match(service)} accept{_comment(service)}'
            for target in addresses(service.networks, "daddr")
        ]
    return lines + _denied(given, "egress", REFUSE)


def _output(given: Mapping[str, Any]) -> list[str]:
    ssh = service_of({"ports": given["ssh_ports"]}, [])
    answers = port_match(ssh).replace("dport", "sport")
    lines = ['oifname "lo" accept', NEIGHBOURS, MULTICAST, ICMP_ERRORS, ICMPV6_ERRORS, KNOWN_CONNECTIONS.replace(", invalid : drop", "")]
    # An SSH session that is older than the kernel's memory of connections: its packets must pass, and none of them can open a new one.
    lines += [f"{answers} tcp flags & (syn | rst) == 0x0 accept"]
    lines += ["udp sport 68 udp dport 67 accept", "udp sport 546 udp dport 547 accept"]
    lines += [f'oifname "{bridge}" accept' for bridge in given["container_bridges"]]
    for entry in given["host_egress_allowed"]:
        service = service_of(entry, entry["to"])
        lines += [f"{target} {port_match(service)} accept{_comment(service)}" for target in addresses(service.networks, "daddr")]
    return lines + _denied(given, "output")


def _chain(name: str, lines: Sequence[str], hook: str = "") -> str:
    # Dropped by policy too: a chain that somebody shortens by hand stays shut.
    head = [f"type filter hook {hook} priority {PRIORITY}; policy drop;"] if hook else []
    return f"  chain {name} {{\n" + "".join(f"    {line}\n" for line in [*head, *lines]) + "  }\n"


def render(given: Mapping[str, Any]) -> str:
    """The text for ``nft -f``: it replaces the table in one step and touches no other. The description has to be free of problems."""
    chains = [
        _chain("from_containers", _from_containers(given)),
        _chain("out_of_containers", _out_of_containers(given)),
        _chain("input", _input(given), "input"),
        _chain("forward", _forward(given), "forward"),
    ]
    if given["host_egress"] == "limited":
        chains.append(_chain("output", _output(given), "output"))
    # Named once so that there is something to delete, the first time too.
    head = "# Written by private_llm.platform; changes made here are undone by the next run.\n"
    return f"{head}table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n{''.join(chains)}}}\n"
