"""What the playbooks make of an inventory with several models and hosts, asked of ansible-playbook itself."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
import yaml

from tree import ROOT

SHOWN = ("__platform_models", "__platform_model_names", "__platform_model_servers", "__platform_model_listeners", "__platform_model_keys")
BASE = {"platform_root_secret": "a-root-secret-of-the-test-that-is-long-enough", "platform_listen_address": "0.0.0.0"}


@pytest.fixture
def wiring(tmp_path):
    """What each host sees of the wiring, for an inventory with hosts of the groups gpu and gateway."""

    def show(gpu, gateway, analytics=None, shown=SHOWN, observability=None, **variables):
        groups = {"gpu": gpu, "gateway": gateway, "analytics": analytics, "observability": observability}
        groups = {name: hosts for name, hosts in groups.items() if hosts}
        (tmp_path / "hosts.yml").write_text(
            yaml.safe_dump({"all": {"vars": {**BASE, **variables}, "children": {name: {"hosts": hosts} for name, hosts in groups.items()}}})
        )
        # In a tree like the collection's own, for the playbooks read the roles' defaults there.
        (tmp_path / "playbooks").mkdir(exist_ok=True)
        for link, target in (("roles", "roles"), ("playbooks/wiring.yml", "playbooks/wiring.yml")):
            (tmp_path / link).symlink_to(ROOT / target)
        play = {
            "hosts": "all",
            "gather_facts": False,
            "vars_files": ["wiring.yml"],
            "tasks": [
                {
                    "ansible.builtin.copy": {"content": "{{ dict(shown | zip(values)) | to_json }}", "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}"},
                    "delegate_to": "localhost",
                    "vars": {"shown": list(shown), "values": [f"{{{{ {name} }}}}" for name in shown]},
                }
            ],
        }
        (tmp_path / "playbooks" / "show.yml").write_text(yaml.safe_dump([play]))
        subprocess.run(
            ["ansible-playbook", "--inventory", str(tmp_path / "hosts.yml"), str(tmp_path / "playbooks" / "show.yml")],
            cwd=ROOT, env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return {host: json.loads((tmp_path / host).read_text()) for hosts in groups.values() for host in hosts}

    return show


def test_one_host_without_a_list_has_the_one_model_that_it_always_had(wiring):
    seen = wiring({"one": {}}, {"one": {}})["one"]
    (model,) = seen["__platform_models"]
    assert (model["name"], model["api_base"]) == ("qwen3-coder", "http://10.89.64.1:8000/v1")
    assert (model["input_cost_per_token"], model["output_cost_per_token"]) == pytest.approx((1e-07, 4e-07))
    assert seen["__platform_model_names"] == ["qwen3-coder"]
    assert [listener["unit"] for listener in seen["__platform_model_listeners"]] == ["llama-server", "llama-server-bridge"]


def test_the_gateway_knows_every_server_of_every_host_and_servers_of_one_name_share_its_requests(wiring):
    two = [{"name": "large", "gpus": [0]}, {"name": "small", "gpus": [1], "output_price": 0.2}]
    seen = wiring(
        {"a": {"platform_address": "192.0.2.1", "llm_models": two}, "b": {"platform_address": "192.0.2.2", "platform_model_name": "large"}}, {"g": {}}
    )["g"]
    assert [(model["name"], model["api_base"]) for model in seen["__platform_models"]] == [
        ("large", "http://192.0.2.1:8000/v1"),
        ("small", "http://192.0.2.1:8001/v1"),
        ("qwen3-coder", "http://192.0.2.2:8000/v1"),
    ]


def test_two_hosts_without_a_list_share_the_requests_for_one_model(wiring):
    seen = wiring({"a": {"platform_address": "192.0.2.1"}, "b": {"platform_address": "192.0.2.2"}}, {"g": {}}, platform_model_name="coder")["g"]
    assert {model["name"] for model in seen["__platform_models"]} == {"coder"}
    assert len(seen["__platform_models"]) == 2
    assert seen["__platform_model_names"] == ["coder"]


def test_each_server_of_a_host_has_a_key_of_its_own_and_the_gateway_knows_it(wiring):
    models = [{"name": "a", "gpus": [0]}, {"name": "b", "gpus": [1]}]
    seen = wiring({"one": {"llm_models": models}}, {"one": {}})["one"]
    keys = seen["__platform_model_keys"]
    assert len(set(keys.values())) == 2
    assert [model["api_key"] for model in seen["__platform_models"]] == [keys["8000"], keys["8001"]]


def test_a_server_that_is_taken_away_is_no_longer_offered(wiring):
    models = [{"name": "a", "gpus": [0]}, {"name": "b", "state": "absent"}]
    seen = wiring({"one": {"llm_models": models}}, {"one": {}})["one"]
    assert [model["name"] for model in seen["__platform_models"]] == ["a"]
    assert seen["__platform_model_names"] == ["a"]
    assert [server["unit"] for server in seen["__platform_model_servers"]] == ["llama-server", "llama-server-8001"]


LANGFUSE = (
    "__platform_langfuse_listen_address", "__platform_langfuse_gateway_url", "__platform_langfuse_networks", "__platform_networks",
    "__platform_firewall_inbound", "__platform_firewall_egress", "__platform_object_store", "__platform_gateway_networks",
)  # fmt: skip
SEPARATE = {"gpu": {"box": {"platform_address": "10.0.0.1"}}, "gateway": {"box": {}}, "analytics": {"books": {"platform_address": "10.0.0.2"}}}


def rules_named(seen, variable, name):
    return [rule for rule in seen[variable] if name in rule["name"]]


def test_beside_the_gateway_langfuse_answers_its_own_host_alone(wiring):
    seen = wiring({"one": {}}, {"one": {}}, {"one": {}}, LANGFUSE)["one"]
    assert (seen["__platform_langfuse_listen_address"], seen["__platform_langfuse_gateway_url"]) == ("127.0.0.1", "http://langfuse-web:3000")
    assert not rules_named(seen, "__platform_firewall_inbound", "traces") and not rules_named(seen, "__platform_firewall_egress", "traces")
    assert [network["name"] for network in seen["__platform_gateway_networks"]] == ["platform"]


def test_a_host_of_its_own_for_langfuse_answers_the_gateway_and_nobody_else(wiring):
    seen = wiring(**SEPARATE, shown=LANGFUSE)
    assert seen["books"]["__platform_langfuse_listen_address"] == "10.0.0.2"
    assert seen["box"]["__platform_langfuse_gateway_url"] == "http://10.0.0.2:3001"
    assert seen["books"]["__platform_firewall_inbound"] == [{"name": "traces", "ports": ["3001"], "networks": ["10.0.0.1"]}]
    assert rules_named(seen["box"], "__platform_firewall_egress", "traces") == [
        {"name": "traces to books", "bridge": "pl-outside", "to": ["10.0.0.2"], "ports": ["3001"]}
    ]
    assert rules_named(seen["box"], "__platform_firewall_inbound", "traces") == [] == seen["books"]["__platform_firewall_egress"]
    assert [network["name"] for network in seen["box"]["__platform_gateway_networks"]] == ["platform", "outside"], "the gateway needs a way out"
    assert [network.get("masquerade") for network in seen["box"]["__platform_networks"]] == [None], "and its database does not"


def test_a_second_gateway_reaches_langfuse_beside_the_first_one(wiring):
    hosts = {"one": {"platform_address": "10.0.0.1"}, "two": {"platform_address": "10.0.0.3"}}
    seen = wiring({"one": {}}, hosts, {"one": {}}, LANGFUSE)
    assert seen["one"]["__platform_langfuse_listen_address"] == "10.0.0.1"
    assert rules_named(seen["one"], "__platform_firewall_inbound", "traces")[0]["networks"] == ["10.0.0.3"]
    assert seen["two"]["__platform_langfuse_gateway_url"] == "http://10.0.0.1:3001"
    assert rules_named(seen["two"], "__platform_firewall_egress", "traces")[0]["to"] == ["10.0.0.1"]


def test_langfuse_has_no_way_out(wiring):
    books = wiring(**SEPARATE, shown=LANGFUSE)["books"]
    assert books["__platform_firewall_egress"] == [] and not any(network.get("masquerade") for network in books["__platform_langfuse_networks"])


def test_an_identity_provider_that_is_named_is_the_one_thing_that_langfuse_reaches_outside(wiring):
    provider = {"name": "sso.example.com", "address": "10.0.9.9", "port": 443}
    books = wiring(**SEPARATE, shown=LANGFUSE, platform_langfuse_identity_provider=provider)["books"]
    assert [network["bridge"] for network in books["__platform_langfuse_networks"] if network.get("masquerade")] == ["pl-langfuse"]
    assert books["__platform_firewall_egress"] == [
        {"name": "single sign-on of Langfuse", "bridge": "pl-langfuse", "to": ["10.0.9.9"], "ports": ["443"]}
    ]


WATCHED = ("__platform_firewall_inbound", "__platform_firewall_egress", "__platform_firewall_to_host")
APART = {
    "gpu": {"box": {"platform_address": "10.0.0.1"}},
    "gateway": {"gate": {"platform_address": "10.0.0.2"}},
    "observability": {"eye": {"platform_address": "10.0.0.3"}, "spare": {"platform_address": "10.0.0.4"}},
}


def test_the_host_that_watches_and_nobody_else_may_ask_others_for_their_metrics(wiring):
    seen = wiring(**APART, shown=WATCHED)
    assert rules_named(seen["box"], "__platform_firewall_inbound", "metrics") == [
        {"name": "metrics", "ports": ["9100", "12345", "9400"], "networks": ["10.0.0.3"]}
    ]
    # The model server answers gateways as well, and the gateway people.
    assert rules_named(seen["box"], "__platform_firewall_inbound", "model")[0]["networks"] == ["10.0.0.2", "10.0.0.3"]
    assert rules_named(seen["gate"], "__platform_firewall_inbound", "metrics")[0]["ports"] == ["9100", "12345", "9187"]
    assert rules_named(seen["eye"], "__platform_firewall_inbound", "metrics") == []
    ways = {way["name"]: way for way in rules_named(seen["eye"], "__platform_firewall_egress", "metrics")}
    assert ways["metrics of box"] == {
        "name": "metrics of box", "bridge": "pl-outside", "to": ["10.0.0.1"], "ports": ["9100", "12345", "8000", "9400"],
    }  # fmt: skip
    assert sorted(ways) == ["metrics of box", "metrics of gate", "metrics of spare"]


def test_every_host_may_send_its_lines_to_the_one_that_keeps_them_and_to_no_other(wiring):
    seen = wiring(**APART, shown=WATCHED)
    assert rules_named(seen["eye"], "__platform_firewall_inbound", "logs") == [
        {"name": "logs", "ports": ["3100"], "networks": ["10.0.0.1", "10.0.0.2", "10.0.0.4"]}
    ]
    for host in ("box", "gate", "spare"):
        assert rules_named(seen[host], "__platform_firewall_inbound", "logs") == []
        assert rules_named(seen[host], "__platform_firewall_egress", "logs") == [
            {"name": "logs to eye", "bridge": "pl-outside", "to": ["10.0.0.3"], "ports": ["3100"]}
        ]


def test_on_one_host_no_door_is_opened_for_what_watches_it(wiring):
    one = {"one": {}}
    seen = wiring(one, one, one, WATCHED, one)["one"]
    assert [rule["name"] for rule in seen["__platform_firewall_inbound"]] == ["gateway"] and seen["__platform_firewall_egress"] == []


def test_a_model_server_beside_the_host_that_watches_is_asked_through_the_way_out(wiring):
    both = {"box": {"platform_address": "10.0.0.1"}}
    seen = wiring(both, {"gate": {"platform_address": "10.0.0.2"}}, shown=WATCHED, observability=both)["box"]
    assert seen["__platform_firewall_to_host"] == [
        {"name": "metrics of model servers", "bridge": "pl-outside", "address": "10.0.0.1", "ports": ["8000"]}
    ]


def test_further_ways_out_are_those_that_the_operator_names(wiring):
    mail = {"name": "mail", "bridge": "pl-outside", "to": ["10.0.0.25"], "ports": ["587"]}
    one = {"one": {}}
    assert wiring(one, one, one, WATCHED, one, platform_egress=[mail])["one"]["__platform_firewall_egress"] == [mail]


def test_a_model_server_beside_its_gateway_is_asked_at_the_hosts_address_where_another_host_watches(wiring):
    shown = (*WATCHED, "__platform_models", "__platform_model_address", "__platform_targets")
    box, eye = {"box": {"platform_address": "10.0.0.1"}}, {"eye": {"platform_address": "10.0.0.3"}}
    seen = wiring(box, box, shown=shown, observability=eye)
    assert (seen["box"]["__platform_model_address"], seen["box"]["__platform_models"][0]["api_base"]) == ("10.0.0.1", "http://10.0.0.1:8000/v1")
    assert seen["box"]["__platform_firewall_to_host"] == [
        {"name": "model servers by pl-platform", "bridge": "pl-platform", "address": "10.0.0.1", "ports": ["8000"]}
    ]
    assert "8000" in rules_named(seen["box"], "__platform_firewall_inbound", "metrics")[0]["ports"]
    assert {target["job"]: target["address"] for target in seen["eye"]["__platform_targets"]}["llama-server"] == "10.0.0.1:8000"


def test_a_gateway_with_a_way_out_asks_the_model_server_of_its_own_host_by_that(wiring):
    box, eye = {"box": {"platform_address": "10.0.0.1"}}, {"eye": {"platform_address": "10.0.0.3"}}
    seen = wiring(box, box, eye, ("__platform_firewall_to_host",), eye)["box"]["__platform_firewall_to_host"]
    assert [(way["bridge"], way["address"]) for way in seen] == [("pl-platform", "10.0.0.1"), ("pl-outside", "10.0.0.1")]


def test_a_gateway_that_answers_at_one_address_is_watched_there(wiring):
    shown = (*WATCHED, "__platform_targets")
    gate = {"gate": {"platform_address": "10.0.0.2", "platform_listen_address": "10.9.0.2"}}
    eye = wiring(APART["gpu"], gate, shown=shown, observability={"eye": {"platform_address": "10.0.0.3"}})["eye"]
    assert {target["job"]: target["address"] for target in eye["__platform_targets"] if target["host"] == "gate"}["litellm"] == "10.9.0.2:4000"
    assert rules_named(eye, "__platform_firewall_egress", "metrics of gate")[0]["to"] == ["10.0.0.2", "10.9.0.2"]


RECEIVERS = [
    {"name": "here", "type": "webhook", "url": "http://10.89.64.1:9999/alerts"},
    {"name": "at the host's own address", "type": "webhook", "url": "http://10.0.0.1:9999/alerts"},
    {"name": "pager", "type": "webhook", "url": "https://pager.example.com/secret"},
    {"name": "ops", "type": "email", "to": "ops@example.com"},
]


@pytest.mark.parametrize("server, outside", [("10.89.64.1:25", ["pager"]), ("mail.example.com:587", ["pager", "ops"])])
def test_receivers_of_alerts_that_are_not_on_the_host_itself_are_known(wiring, server, outside):
    one = {"one": {"platform_address": "10.0.0.1"}}
    given = {"alertmanager_receivers": RECEIVERS, "alertmanager_smtp_server": server}
    assert wiring(one, one, shown=("__platform_outside_receivers",), observability=one, **given)["one"] == {"__platform_outside_receivers": outside}


PAGES = {"grafana_root_url": "https://grafana.test", "platform_langfuse_url": "https://langfuse.test/", "platform_admin_networks": ["10.1.0.0/16"]}


def test_pages_with_a_name_of_their_own_are_behind_tls_for_administrators(wiring):
    one = {"one": {}}
    sites = wiring(one, one, one, ("__platform_tls_sites",), one, platform_tls=True, platform_public_url="https://gateway.test", **PAGES)
    found = {site["name"]: (site["names"], site["port"], site["upstream"], site["networks"]) for site in sites["one"]["__platform_tls_sites"][1:]}
    assert found == {
        "grafana": (["grafana.test"], 443, "127.0.0.1:3000", ["10.1.0.0/16", "127.0.0.0/8"]),
        "langfuse": (["langfuse.test"], 443, "127.0.0.1:3001", ["10.1.0.0/16", "127.0.0.0/8"]),
    }


def test_a_host_that_answers_at_one_address_reaches_its_own_pages_there(wiring):
    one = {"one": {"platform_listen_address": "10.1.2.3"}}
    sites = wiring(one, one, one, ("__platform_tls_sites",), one, platform_tls=True, platform_public_url="https://gateway.test", **PAGES)
    gateway, grafana, _langfuse = sites["one"]["__platform_tls_sites"]
    assert gateway["admin_networks"] == grafana["networks"] == ["10.1.0.0/16", "127.0.0.0/8", "10.1.2.3"]


@pytest.mark.parametrize("url", ["", "http://grafana.test", "https://grafana.test:8443", "https://gateway.test"])
def test_a_page_without_a_name_of_its_own_by_https_is_not_behind_tls(wiring, url):
    one = {"one": {}}
    sites = wiring(one, one, one, ("__platform_tls_sites",), one, platform_public_url="https://gateway.test", platform_tls=True, grafana_root_url=url)
    assert [site["name"] for site in sites["one"]["__platform_tls_sites"]] == ["gateway"]


NINETY = {"langfuse_retention_days": 90}


@pytest.mark.parametrize("variables, days", [({}, 0), (NINETY, 90), ({**NINETY, "langfuse_retention_dry_run": True}, 0)])
def test_raw_events_stay_as_long_as_the_traces_made_of_them(wiring, variables, days):
    seen = wiring({"one": {}}, {"one": {}}, {"one": {}}, ("__platform_object_store",), **variables)["one"]["__platform_object_store"]
    assert {entry["prefix"]: entry["days"] for entry in seen["lifetimes"]} == {"langfuse/events/": days, "langfuse/exports/": 7}


def test_what_leaves_goes_by_the_network_that_lets_it_out(wiring):
    shown = wiring({"gate": {}}, {"gate": {}}, shown=["__platform_networks", "__platform_leaving_networks"])
    (inner,), (outer,) = shown["gate"]["__platform_networks"], shown["gate"]["__platform_leaving_networks"]
    assert outer["masquerade"] and outer["name"] < inner["name"], "the engine takes the first by name"


@pytest.mark.parametrize(("state", "dumped"), [("started", True), ("absent", False)])
def test_databases_are_dumped_before_an_upgrade_where_dumps_are_made_at_all(wiring, state, dumped):
    shown = ("__platform_gateway_dump", "__platform_langfuse_dump")
    seen = wiring({"one": {}}, {"one": {}}, analytics={"one": {}}, shown=shown, postgres_backup_state=state)["one"]
    programs = [f"/opt/private-llm/postgres-{name}-backup/postgres_backup.py" for name in ("litellm", "langfuse")]
    assert list(seen.values()) == [["/usr/bin/python3", "-I", program, "once"] if dumped else [] for program in programs]


# -- TLS where another host watches ------------------------------------------------------------------------------------------------

SPREAD = {
    "gpu": {"gate1": {"platform_address": "10.0.0.1"}},
    "gateway": {
        "gate1": {"platform_address": "10.0.0.1", "platform_public_url": "https://gateway.test"},
        "gate2": {"platform_address": "10.0.0.2", "ansible_host": "second.test"},
    },
    "observability": {"watch": {"platform_address": "10.0.0.9"}},
    "platform_tls": True,
    "platform_gpu": "none",
}


def test_gateways_behind_tls_are_watched_by_tls_at_their_own_addresses_and_names(wiring):
    seen = wiring(**SPREAD, shown=("__platform_targets", "__platform_firewall_egress"))["watch"]
    asked = {(target["host"], target["address"], target["tls_name"]) for target in seen["__platform_targets"] if target["job"] == "litellm"}
    assert asked == {("gate1", "10.0.0.1:443", "gateway.test"), ("gate2", "10.0.0.2:443", "second.test")}
    ways = {way["name"]: way for way in seen["__platform_firewall_egress"]}
    assert ways["metrics of gate2"]["to"] == ["10.0.0.2"] and "443" in ways["metrics of gate2"]["ports"]
    assert "4000" not in ways["metrics of gate2"]["ports"]


def test_a_gateway_behind_tls_gives_the_host_that_watches_its_metrics_and_nothing_else(wiring):
    (gateway, metrics) = wiring(**SPREAD, shown=("__platform_tls_sites",))["gate2"]["__platform_tls_sites"]
    assert (gateway["names"], "10.0.0.9" in gateway["admin_networks"]) == (["second.test"], False)
    assert (metrics["addresses"], metrics["names"], metrics["public_paths"], metrics["networks"]) == (["10.0.0.2"], [], ["/metrics"], ["10.0.0.9"])


@pytest.mark.parametrize("tls", [True, False])
def test_every_port_that_the_host_that_watches_asks_lets_it_in_by_one_entry_of_the_filter(wiring, tls):
    gpu = {**SPREAD["gpu"], "cards": {"platform_address": "10.0.0.3"}}
    spread = {**SPREAD, "gpu": gpu, "platform_tls": tls, "platform_client_networks": ["10.50.0.0/16"]}
    seen = wiring(**spread, shown=("__platform_targets", "__platform_firewall_inbound"))
    asked = [target for target in seen["watch"]["__platform_targets"] if target["host"] != "watch"]
    assert {(target["host"], target["job"]) for target in asked} > {("gate2", "litellm"), ("cards", "llama-server"), ("gate1", "llama-server")}
    for target in asked:
        port = target["address"].rpartition(":")[2]
        (entry,) = [entry for entry in seen[target["host"]]["__platform_firewall_inbound"] if port in entry["ports"]]
        assert "10.0.0.9" in entry["networks"], target


def test_certificates_that_gateways_were_given_are_what_the_host_that_watches_trusts(wiring):
    given = {"reverse_proxy_certificate_source": "given", "reverse_proxy_certificate": "the certificate"}
    spread = {**SPREAD, "gateway": {**SPREAD["gateway"], "gate2": {**SPREAD["gateway"]["gate2"], **given}}}
    assert wiring(**spread, shown=("__platform_tls_given",))["watch"]["__platform_tls_given"] == ["the certificate"]
