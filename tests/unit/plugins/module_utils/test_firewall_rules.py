# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils.firewall_rules import control_problem, parse_port, problems, render
from ansible_collections.private_llm.platform.tests.unit.fakes.firewalls import description
from ansible_collections.private_llm.platform.tests.unit.fakes.packets import Packet, Table

OPERATOR = "192.0.2.10"
HOST = "198.51.100.1"
SETS = 1000
TCP = {"protocol": "tcp"}


def given(**more):
    plain = {
        "ssh_ports": ["22"],
        "ssh_networks": ["0.0.0.0/0", "::/0"],
        "inbound": [],
        "container_bridges": ["docker0", "pl-platform", "pl-other"],
        "container_to_host": [],
        "container_egress": [],
        "forward_others": False,
        "host_egress": "open",
        "host_egress_allowed": [],
        "log_denied": True,
    }
    return {**plain, **more}


def service(name="gateway", ports=("4000",), networks=("0.0.0.0/0", "::/0"), **more):
    return {"name": name, "ports": list(ports), "networks": list(networks), **TCP, **more}


def verdict(chain, packet, **more):
    assert problems(given(**more)) == []
    return Table(render(given(**more))).verdict(chain, packet)


# -- the connection of whoever asks -------------------------------------------------------------------------------------


def outcomes(client, port=22):
    """What becomes of each random description that somebody asks for who is logged in from there."""
    for seed in range(SETS):
        asked = description(seed, client, port)
        refused = problems(asked) or control_problem(asked, client, port)
        yield seed, asked, refused


@pytest.mark.parametrize("client", [OPERATOR, "2001:db8::10"])
def test_no_random_description_that_is_taken_closes_the_connection_it_came_by_or_keeps_out_the_next_one(client):
    own = HOST if "." in client else "2001:db8::1"
    taken = 0
    for seed, asked, refused in outcomes(client):
        if refused:
            continue
        taken += 1
        table = Table(render(asked))
        for state in ("new", "established"):
            assert table.verdict("input", Packet(client, own, state=state)) == "accept", seed
        if "output" in table.chains:
            answer = Packet(own, client, source_port=22, port=40000, syn=False)
            assert table.verdict("output", answer) == "accept", seed
    assert taken >= 100


def test_random_descriptions_that_would_close_it_are_among_them_and_refused():
    shut_out = [seed for seed, asked, _refused in outcomes(OPERATOR) if not problems(asked) and control_problem(asked, OPERATOR, 22)]
    assert len(shut_out) >= 100
    for seed in shut_out:
        asked = description(seed, OPERATOR, 22)
        inbound = [s for s in asked["inbound"] if s["protocol"] == "tcp"]
        packet = Packet(OPERATOR, HOST)
        # Unless another rule happens to let them in, the evaluator agrees with the refusal.
        if Table(render({**asked, "inbound": []})).verdict("input", packet) == "accept":
            pytest.fail(f"{seed} was refused for no reason: {inbound}")


@pytest.mark.parametrize("client, port, told", [
    (OPERATOR, 22, None),
    ("::ffff:192.0.2.10", 22, None),
    ("fe80::1%eth0", 22, "you are logged in from fe80::1, which is in none of ssh_networks"),
    ("198.51.100.7", 22, "you are logged in from 198.51.100.7, which is in none of ssh_networks"),
    (OPERATOR, 2222, "you are logged in by port 2222, which is not in ssh_ports"),
])  # fmt: skip
def test_whoever_would_shut_themselves_out_is_told_how(client, port, told):
    assert control_problem(given(ssh_networks=["192.0.2.0/24"]), client, port) == told


# -- who gets in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chain, packet", [
    ("input", Packet("192.0.2.7", HOST, port=4000)),
    ("forward", Packet("192.0.2.7", "10.89.64.2", port=8080, published_as=4000, device_out="pl-platform")),
])  # fmt: skip
def test_a_named_port_answers_its_networks_alone_be_it_a_program_or_a_container(chain, packet):
    rules = {"inbound": [service(networks=["192.0.2.0/24", "2001:db8::/64"])]}
    assert verdict(chain, packet, **rules) == "accept"
    assert verdict(chain, Packet(**{**vars(packet), "source": "203.0.113.1"}), **rules) == "drop"


def test_a_container_is_not_reached_past_its_published_port():
    packet = Packet("192.0.2.7", "10.89.64.2", port=5432, device_out="pl-platform")
    assert verdict("forward", packet, inbound=[service(ports=["23-65535"])]) == "drop"


def test_both_families_of_addresses_have_the_same_rules():
    rules = {"ssh_networks": ["192.0.2.0/24", "2001:db8::/64"]}
    for source, own in (("192.0.2.9", HOST), ("2001:db8::9", "2001:db8:1::1")):
        assert verdict("input", Packet(source, own), **rules) == "accept"
        assert verdict("input", Packet(source, own, port=23), **rules) == "drop"
    assert verdict("input", Packet("2001:db8:9::9", "2001:db8:1::1"), **rules) == "drop"


def test_networks_that_overlap_are_one_for_the_kernel():
    text = render(given(ssh_networks=["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3"]))
    assert "ip saddr { 10.0.0.0/8 } tcp dport { 22 } accept" in text


# -- who gets out -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp"])
def test_containers_reach_nothing_outside_by_default(protocol):
    packet = Packet("10.89.64.2", "203.0.113.5", protocol, port=443, device_in="pl-platform")
    assert verdict("forward", packet) == "reject"
    assert verdict("forward", packet, forward_others=True) == "reject"


def test_a_declared_way_out_is_for_its_network_of_containers_its_target_and_its_port():
    rules = {"container_egress": [{"name": "gpu", "bridge": "pl-platform", "to": ["198.51.100.9"], "ports": ["8000"], **TCP}]}
    good = Packet("10.89.64.2", "198.51.100.9", port=8000, device_in="pl-platform")
    assert verdict("forward", good, **rules) == "accept"
    for other in ({"device_in": "pl-other"}, {"target": "198.51.100.8"}, {"port": 8001}, {"protocol": "udp"}):
        assert verdict("forward", Packet(**{**vars(good), **other}), **rules) == "reject", other


def test_containers_of_one_network_talk_to_each_other_and_not_to_another_network():
    packet = Packet("10.89.64.2", "10.89.64.3", port=5432, device_in="pl-platform", device_out="pl-platform")
    assert verdict("forward", packet) == "accept"
    assert verdict("forward", Packet(**{**vars(packet), "device_out": "pl-other"})) == "reject"


def test_containers_reach_of_the_host_what_is_declared_and_not_even_its_open_ports():
    rules = {
        "inbound": [service()],
        "container_to_host": [{"name": "model", "bridge": "pl-platform", "address": "10.89.64.1", "ports": ["8000"], **TCP}],
    }
    packet = Packet("10.89.64.2", "10.89.64.1", port=8000, device_in="pl-platform")
    assert verdict("input", packet, **rules) == "accept"
    for other in ({"port": 22}, {"port": 4000}, {"device_in": "pl-other"}, {"target": HOST}):
        assert verdict("input", Packet(**{**vars(packet), **other}), **rules) == "reject", other


def test_forwarding_for_others_leaves_containers_alone():
    packet = Packet("192.168.1.2", "203.0.113.5", device_in="virbr0", port=443)
    assert verdict("forward", packet) == "drop"
    assert verdict("forward", packet, forward_others=True) == "accept"
    assert verdict("forward", Packet(**{**vars(packet), "device_out": "pl-platform"}), forward_others=True) == "drop"


def test_a_limited_host_reaches_what_is_named_and_its_containers():
    mirror = {"name": "mirror", "to": ["192.0.2.80", "2001:db8::80"], "ports": ["443"], **TCP}
    rules = {"host_egress": "limited", "host_egress_allowed": [mirror]}
    assert verdict("output", Packet(HOST, "192.0.2.80", port=443), **rules) == "accept"
    assert verdict("output", Packet("2001:db8:1::1", "2001:db8::80", port=443), **rules) == "accept"
    assert verdict("output", Packet(HOST, "192.0.2.81", port=443), **rules) == "drop"
    assert verdict("output", Packet(HOST, "192.0.2.80", port=80), **rules) == "drop"
    assert verdict("output", Packet(HOST, "10.89.64.2", port=8080, device_out="pl-platform"), **rules) == "accept"
    # Nothing new can be begun from the port of the login.
    assert verdict("output", Packet(HOST, "203.0.113.5", source_port=22, port=443), **rules) == "drop"


def test_an_open_host_has_no_rules_for_what_it_sends():
    assert "hook output" not in render(given())


# -- refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more, told", [
    ({"ssh_networks": []}, "ssh_networks is empty: nobody could log in; 0.0.0.0/0 and ::/0 stand for everybody"),
    ({"ssh_networks": ["10.0.0.1/8"]}, "ssh_networks: '10.0.0.1/8' has address bits beyond its prefix; did you mean 10.0.0.0/8?"),
    ({"ssh_networks": ["office"]}, "ssh_networks: 'office' is no address or network such as 10.0.0.0/8 or fd00::/8; names are not looked up"),
    ({"ssh_networks": ["::ffff:10.0.0.0/104"]},
     "ssh_networks: '::ffff:10.0.0.0/104' is an IPv4 address in IPv6 form, which no packet carries; write it as IPv4"),
    ({"ssh_networks": ["10.0.0.0/8", "10.0.0.0/8"]}, "ssh_networks: 10.0.0.0/8 is there twice"),
    ({"ssh_ports": ["ssh"]}, "ssh_ports: port 'ssh' is no port; write a number, FIRST-LAST or any"),
    ({"ssh_ports": ["0"]}, "ssh_ports: port '0' is outside 1 to 65535"),
    ({"ssh_ports": ["70000"]}, "ssh_ports: port '70000' is outside 1 to 65535"),
    ({"ssh_ports": ["30-20"]}, "ssh_ports: port '30-20' ends before it begins"),
    ({"ssh_ports": ["20-30", "25"]}, "ssh_ports: ports 20-30 and 25 overlap"),
    ({"ssh_ports": []}, "ssh_ports names no port; any stands for all of them"),
    ({"inbound": [service(networks=[])]}, "inbound gateway has no networks; 0.0.0.0/0 and ::/0 stand for everybody"),
    ({"inbound": [service(), service()]}, "inbound gateway is there twice"),
    ({"inbound": [service(), service("web", ports=["3900-4100"])]},
     "inbound web and inbound gateway overlap at tcp port 4000; which networks count there would be unclear"),
    ({"inbound": [service("admin", ports=["22"])]}, "inbound admin and ssh_ports overlap at tcp port 22; which networks count there would be unclear"),
    ({"container_bridges": ["much-too-long-name"]},
     "container_bridges: 'much-too-long-name' is no device name of 1 to 15 letters, digits or _.-, with * at its end at most"),
    ({"container_bridges": ["*"]}, "container_bridges: '*' is no device name of 1 to 15 letters, digits or _.-, with * at its end at most"),
    ({"container_bridges": ["a", "a"]}, "container_bridges: a is there twice"),
    ({"container_egress": [{"name": "x", "bridge": "pl-x", "to": ["10.0.0.1"], "ports": ["1"], **TCP}]},
     "container_egress x: 'pl-x' is not in container_bridges"),
    ({"container_egress": [{"name": "x", "bridge": "docker0", "to": [], "ports": ["1"], **TCP}]}, "container_egress x leads nowhere; name networks in to"),
    ({"container_to_host": [{"name": "x", "bridge": "docker0", "address": "host", "ports": ["1"], **TCP}]},
     "container_to_host x: 'host' is no address or network such as 10.0.0.0/8 or fd00::/8; names are not looked up"),
    ({"host_egress_allowed": [{"name": "x", "to": ["10.0.0.1"], "ports": ["1"], **TCP}]},
     "host_egress_allowed lists exceptions, but host_egress is open; set it to limited or take the list away"),
])  # fmt: skip
def test_what_cannot_work_or_would_mean_something_else_is_one_sentence(more, told):
    assert problems(given(**more)) == [told]


def test_all_that_is_wrong_is_told_at_once():
    assert len(problems(given(ssh_ports=["x"], ssh_networks=["y"], inbound=[service(ports=["1", "1"], networks=["z"])]))) == 4


def test_the_same_port_of_another_protocol_is_no_overlap():
    assert problems(given(inbound=[service(), service("video", protocol="udp")])) == []


def test_a_port_may_be_any():
    assert parse_port("any") == (0, 65535)
    assert "meta l4proto udp accept" in render(given(inbound=[service(ports=["any"], protocol="udp")]))


def test_a_name_cannot_end_its_rule():
    text = render(given(inbound=[service(name='x" } ; flush ruleset ; "')]))
    assert 'comment "x   flush ruleset  "' in text
