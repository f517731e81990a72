"""A host with the firewall, looked at from a second one on the same network, from inside its containers and by who operates it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from container_hardening import findings

REPOSITORY = Path(__file__).resolve().parents[3]
SCENARIO = REPOSITORY / "molecule" / "firewall"
SETTINGS = yaml.safe_load((SCENARIO / "vars.yml").read_text())
HOST, PEER = "pl-firewall", "pl-firewall-peer"
IPV4, IPV6 = "172.31.87", "fd00:6c6c:6d::"
CONFIRM_SECONDS = SETTINGS["firewall_confirm_timeout"]
RULE_SETS = 100
testinfra_hosts = [f"ansible://{HOST}"]
# What answers on the host, besides SSH and the containers: on ports that are shown, shown to others, or to nobody.
LISTENERS = "tcp:9000 tcp:9002 tcp:9100 udp:9123 udp:9124"


def on(name, command, check=True):
    """What a shell command on one of the two hosts prints."""
    done = subprocess.run(["docker", "exec", name, "sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def succeeds(name, command):
    return subprocess.run(["docker", "exec", name, "sh", "-c", command], capture_output=True, check=False).returncode == 0


def copy(source, name, target):
    subprocess.run(["docker", "cp", str(source), f"{name}:{target}"], check=True, capture_output=True)


def address(name, family):
    found = on(name, f"ip -{family} -o address show dev eth0 scope global")
    return re.search(r"inet6? ([0-9a-f.:]+)/", found).group(1)


def scan(protocol, family):
    """All ports of the host that answer to the other one."""
    return json.loads(on(PEER, f"python3 /root/scan.py {address(HOST, family)} {protocol}"))


def connects(name, target, port):
    """Whether one of the two hosts gets a connection to an address."""
    script = f"import socket; socket.create_connection(('{target}', {port}), timeout=2)"
    return succeeds(name, f'python3 -c "{script}"')


def inside(container, command):
    return succeeds(HOST, f"docker exec {container} sh -c '{command}'")


def is_answered(container, target, port):
    # busybox says by its status whether it was connected.
    return inside(container, f"echo | timeout 3 nc -w 2 {target} {port}")


def start_listeners():
    for name, words in ((HOST, LISTENERS), (PEER, "tcp:7000 tcp:7001 udp:7002 tcp:9000")):
        copy(SCENARIO / "files" / "listen.py", name, "/root/listen.py")
        on(name, f"systemctl stop listen; systemd-run --quiet --collect --unit listen python3 /root/listen.py {words}", check=False)
    deadline = time.monotonic() + 20
    while not (succeeds(HOST, "ss -Hltn | grep -q :9100") and succeeds(PEER, "ss -Hltn | grep -q :7000")):
        assert time.monotonic() < deadline, "the listeners did not start"
        time.sleep(0.2)


@pytest.fixture(scope="module", autouse=True)
def _listeners():
    copy(SCENARIO / "files" / "scan.py", PEER, "/root/scan.py")
    start_listeners()


def arrived():
    """What the listener of the other host has seen come in from the host or its containers."""
    return on(PEER, "journalctl --unit listen --output cat --no-pager | grep -E '^(tcp|udp):' || true").splitlines()


def table():
    return on(HOST, "nft -s list table inet private_llm", check=False)


# -- who gets in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol, family, intended", [
    ("tcp", 4, [22, 8080, 9000]),
    ("tcp", 6, [22, 9000]),
    ("udp", 4, [9123]),
    ("udp", 6, [9123]),
])  # fmt: skip
def test_a_scan_of_all_ports_finds_exactly_those_that_are_meant_to_be_found(protocol, family, intended):
    assert scan(protocol, family) == intended


def test_the_same_scan_finds_what_the_firewall_hides_once_it_is_gone():
    on(HOST, "nft delete table inet private_llm")
    try:
        assert scan("tcp", 4) == [22, 8080, 8081, 8082, 9000, 9002, 9100]
    finally:
        on(HOST, "systemctl restart private-llm-firewall")
    assert not connects(PEER, address(HOST, 4), 8081)


def test_a_port_that_is_shown_to_another_network_is_closed_to_this_one():
    assert connects(PEER, address(HOST, 4), 9000) and not connects(PEER, address(HOST, 4), 9100)


def test_a_container_is_not_reached_past_its_published_port():
    on(PEER, f"ip route replace 10.89.70.0/24 via {address(HOST, 4)}")
    container = on(HOST, "docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' shown")
    assert not connects(PEER, container, 8080)


def test_neighbours_are_still_found_by_ipv6():
    for name in (PEER, HOST):
        on(name, "ip -6 neighbour flush dev eth0")
    assert connects(PEER, address(HOST, 6), 9000) and connects(HOST, address(PEER, 6), 9000)


def test_the_host_still_hears_that_a_packet_was_too_big():
    copy(SCENARIO / "files" / "too_big.py", PEER, "/root/too_big.py")
    on(PEER, "systemd-run --quiet --collect --unit too-big python3 /root/too_big.py 7003; sleep 1")
    script = f"import socket, time; s = socket.socket(10, 2); s.connect(('{address(PEER, 6)}', 7003)); s.send(b'x' * 64); time.sleep(1)"
    on(HOST, f'python3 -c "{script}"')
    assert "mtu 1280" in on(HOST, f"ip -6 route get {address(PEER, 6)}")


# -- who gets out -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", ["shown", "hidden", "reporter"])
def test_no_packet_of_a_container_reaches_a_listener_outside(container):
    peer = address(PEER, 4)
    before = arrived()
    assert not is_answered(container, peer, 7001)
    assert not is_answered(container, peer, 22)
    assert not inside(container, f"ping -c 1 -W 2 {peer}")
    inside(container, f"echo leak | timeout 2 nc -u -w 1 {peer} 7002")
    assert arrived() == before


def test_no_name_is_looked_up_outside_for_a_container():
    # The host asks a name server on its own loopback, which the engine would ask past every rule for what containers send.
    copy(SCENARIO / "files" / "name_server.py", HOST, "/root/name_server.py")
    unit = f"names-{time.monotonic_ns()}"
    on(HOST, "cp /etc/resolv.conf /root/resolv.conf && echo nameserver 127.0.0.53 > /etc/resolv.conf; "
             f"systemd-run --quiet --collect --unit {unit} python3 /root/name_server.py 127.0.0.53 && systemctl restart hidden && sleep 1")  # fmt: skip
    try:
        assert succeeds(HOST, "getent hosts known.example")
        assert not inside("hidden", "timeout 15 nslookup leaked.example")
        assert inside("hidden", "timeout 15 nslookup shown")
        asked = on(HOST, f"journalctl --unit {unit} --output cat --no-pager")
    finally:
        on(HOST, f"cat /root/resolv.conf > /etc/resolv.conf; systemctl stop {unit}; systemctl restart hidden")
    assert "known.example" in asked and "leaked" not in asked


def test_a_declared_way_out_works_for_who_declared_it():
    before = len(arrived())
    assert is_answered("reporter", address(PEER, 4), 7000)
    assert len(arrived()) == before + 1
    assert not is_answered("hidden", address(PEER, 4), 7000)


def test_containers_of_one_network_reach_each_other_and_not_those_of_another():
    assert is_answered("hidden", "shown", 8080)
    other = on(HOST, "docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' reporter")
    assert not is_answered("hidden", other, 8080)


def test_containers_reach_of_the_host_what_is_declared_and_nothing_else():
    assert is_answered("reporter", "10.89.71.1", 9002)
    assert not is_answered("reporter", "10.89.71.1", 9000)
    assert not is_answered("hidden", "10.89.70.1", 9002)
    for target in ("10.89.70.1", address(HOST, 4)):
        assert not is_answered("hidden", target, 22)


@pytest.mark.parametrize("container", ["shown", "hidden", "reporter"])
def test_a_container_that_is_described_without_more_meets_the_benchmarks_controls(inspect, container):
    everybody = {
        "published-address": "the scenario looks at what the firewall does with a port that is open to everybody",
        "memory": "the scenario sets no limit, which roles do",
    }
    assert findings(inspect(container), everybody) == []


# -- what survives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["docker", "nftables"])
def test_a_restart_of_who_else_writes_rules_opens_nothing(event):
    before = table()
    on(HOST, f"systemctl restart {event}")
    deadline = time.monotonic() + 60
    while not connects(PEER, address(HOST, 4), 8080) and event == "docker":
        assert time.monotonic() < deadline, "the container that is shown did not come back"
        time.sleep(0.5)
    assert table() == before
    assert connects(PEER, address(HOST, 4), 9000)
    assert not connects(PEER, address(HOST, 4), 8081)
    if event == "nftables":
        # Debian's unit removes Docker's rules as well, which only Docker can bring back.
        on(HOST, "systemctl restart docker")


def test_other_tables_are_left_alone():
    on(HOST, "nft add table inet of_somebody_else")
    on(HOST, "systemctl restart private-llm-firewall")
    tables = on(HOST, "nft list tables")
    assert "inet of_somebody_else" in tables and "ip nat" in tables
    on(HOST, "nft delete table inet of_somebody_else")


# -- who operates it ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("ssh") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    public = path.with_suffix(".pub").read_text().strip()
    on(HOST, f"mkdir -p -m 0700 /root/.ssh; echo '{public}' > /root/.ssh/authorized_keys")
    return path


@pytest.fixture
def operate(key, tmp_path):
    """Run the role by SSH as an operator does."""

    def play(*arguments, port=22, **variables):
        own = {
            "ansible_connection": "ssh", "ansible_host": address(HOST, 4), "ansible_port": port, "ansible_ssh_private_key_file": str(key),
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=3",
            "ansible_user": "root", "ansible_python_interpreter": "/usr/bin/python3",
        }  # fmt: skip
        inventory = tmp_path / "hosts.yml"
        inventory.write_text(yaml.safe_dump({"all": {"children": {"guarded": {"hosts": {HOST: own}}}}}))
        extra = tmp_path / "extra.json"
        extra.write_text(json.dumps(variables))
        command = ["ansible-playbook", "--inventory", str(inventory), "--extra-vars", f"@{extra}", *arguments, str(SCENARIO / "role.yml")]
        environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "1"}
        return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)

    return play


def outcome(run):
    output, _nothing = run.communicate(timeout=180)
    changed = re.search(r"changed=(\d+)", output)
    return run.returncode, int(changed.group(1)) if changed else None, " ".join(output.split())


def timers():
    return on(HOST, "systemctl list-units --all --plain --no-legend 'private-llm-firewall-return-*'")


def test_new_rules_come_by_ssh_and_stay(operate):
    status, changed, output = outcome(operate(firewall_ssh_networks=["172.31.87.0/24"]))
    assert (status, changed) == (0, 1), output
    assert "ip saddr 172.31.87.0/24 tcp dport 22 accept" in table()
    assert timers() == ""
    assert outcome(operate(firewall_ssh_networks=["172.31.87.0/24"]))[:2] == (0, 0)


def test_check_mode_tells_what_would_be_done_and_does_nothing(operate):
    before = table()
    status, changed, output = outcome(operate("--check", "--diff", firewall_ssh_networks=["172.31.0.0/16"]))
    assert (status, changed) == (0, 1) and "+ ip saddr { 172.31.0.0/16 } tcp dport { 22 } accept" in output
    assert table() == before


def test_rules_that_would_shut_out_who_asks_for_them_are_refused(operate):
    before = table()
    status, changed, output = outcome(operate(firewall_ssh_networks=["192.0.2.0/24"]))
    assert status != 0 and changed == 0 and table() == before
    assert re.search(r"you are logged in from 172\.31\.87\.1, which is in none of ssh_networks", output), output


def test_all_that_is_wrong_with_a_description_is_told_at_once_and_nothing_is_changed(operate):
    before = table()
    wrong = [{"name": "one", "ports": ["4000-4010"], "networks": ["10.0.0.1/8"]}, {"name": "two", "ports": ["4005"], "networks": ["office"]}]
    status, changed, output = outcome(operate(firewall_inbound=wrong))
    assert status != 0 and changed == 0 and table() == before
    for told in ("did you mean 10.0.0.0/8", "'office' is no address", "overlap at tcp port 4005"):
        assert told in output, output


def test_rules_that_shut_out_an_operator_in_a_way_that_nobody_could_foresee_are_taken_back(operate):
    # By another port of the host that leads to SSH: for the host this login comes from itself.
    on(HOST, "systemd-run --quiet --collect --unit detour --socket-property=ListenStream=9001 --property=Type=exec "
             "/usr/lib/systemd/systemd-socket-proxyd 127.0.0.1:22")  # fmt: skip
    before = table()
    assert outcome(operate(port=9001))[0] == 0
    before = table()
    status, changed, output = outcome(operate(port=9001, firewall_inbound=SETTINGS["firewall_inbound"][:1]))
    on(HOST, "systemctl stop detour.socket detour.service", check=False)
    assert status != 0 and changed == 0, output
    assert "no new connection to this host could be made, so the host has put the rules from before back" in output
    assert table() == before and timers() == ""


def test_a_run_that_is_killed_leaves_the_old_rules(operate):
    before = table()
    run = operate(firewall_ssh_networks=["172.31.0.0/16"])
    deadline = time.monotonic() + 60
    while table() == before and time.monotonic() < deadline:
        time.sleep(0.02)
    run.kill()
    run.communicate()
    # Its confirmation may have been on its way; if not, the timer brings the old rules back.
    time.sleep(CONFIRM_SECONDS + 5)
    kept = "172.31.0.0/16" in on(HOST, "cat /etc/private-llm/firewall/rules.nft")
    assert table() != before if kept else table() == before
    assert timers() == ""


def test_a_host_that_loses_power_in_the_middle_of_a_change_has_the_old_rules(operate):
    status, _changed, output = outcome(operate())
    assert status == 0, output
    before = table()
    on(HOST, "cd /etc/private-llm/firewall && sed 's/dport { 22 }/dport { 2222 }/' rules.nft > pending-0123.nft && nft -f pending-0123.nft")
    assert table() != before
    subprocess.run(["docker", "kill", HOST], check=True, capture_output=True)
    subprocess.run(["docker", "start", HOST], check=True, capture_output=True)
    deadline = time.monotonic() + 90
    while table() != before:
        assert time.monotonic() < deadline, table()
        time.sleep(0.5)
    while not succeeds(HOST, "systemctl is-active docker && docker inspect --format '{{.State.Running}}' hidden | grep -q true"):
        assert time.monotonic() < deadline, "the containers did not come back"
        time.sleep(0.5)
    start_listeners()
    assert connects(PEER, address(HOST, 4), 9000) and not connects(PEER, address(HOST, 4), 8081)
    assert not is_answered("hidden", address(PEER, 4), 7001)


def test_a_limited_host_reaches_what_it_may_and_its_operator_still_gets_in(operate):
    allowed = [{"name": "mirror", "to": ["172.31.87.0/24"], "ports": ["7000"]}]
    status, _changed, output = outcome(operate(firewall_host_egress="limited", firewall_host_egress_allowed=allowed))
    assert status == 0, output
    try:
        assert connects(HOST, address(PEER, 4), 7000) and not connects(HOST, address(PEER, 4), 7001)
        assert not connects(HOST, address(PEER, 6), 9000)
        assert connects(HOST, "127.0.0.1", 8081)
        assert outcome(operate(firewall_host_egress="limited", firewall_host_egress_allowed=allowed))[:2] == (0, 0)
    finally:
        status, _changed, output = outcome(operate())
    assert status == 0, output
    assert connects(HOST, address(PEER, 4), 7001)


def test_random_rule_sets_in_a_real_kernel_never_lose_their_operator():
    on(PEER, "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends nftables && mkdir -p /root/sets")
    for source in ("plugins/module_utils/firewall_rules.py", "tests/unit/fakes/firewalls.py", "molecule/firewall/files/rule_sets.py"):
        copy(REPOSITORY / source, PEER, "/root/sets/")
    told = json.loads(on(PEER, f"unshare --net python3 /root/sets/rule_sets.py {RULE_SETS}").splitlines()[-1])
    assert told["lost"] == []
    assert told["kept"] == RULE_SETS and told["refused"] > 0, told
