# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.private_llm.platform.plugins.filter import model_servers as plugin
from ansible_collections.private_llm.platform.plugins.module_utils import model_servers

URL, SUM = "hf://organisation/repository@v1/model-a.gguf", "a" * 64
DEFAULTS = {
    "llama_model_directory": "/var/lib/llama/models",
    "llama_model_url": URL,
    "llama_model_sha256": "",
    "llama_model_parts_sha256": [],
    "llama_server_gpus": [],
    "llama_server_gpu_memory": 0,
    "llama_server_slots": 0,
    "llama_server_context_per_slot": 0,
    "llama_server_people": 20,
    "llama_server_cache_ram": 8192,
    "llama_server_extra_arguments": [],
}
PRICES = {"input_price": 0.1, "output_price": 0.4}


def servers(**variables):
    return plugin.FilterModule().filters()["model_servers"](variables, DEFAULTS, "qwen3-coder", PRICES)


def test_without_a_list_there_is_one_server_made_of_the_roles_own_variables():
    (server,) = servers(llama_server_slots=4, llama_model_directory="/data")
    assert (server["name"], server["unit"], server["port"], server["state"]) == ("qwen3-coder", "llama-server", 8000, "started")
    assert (server["url"], server["path"], server["slots"], server["people"]) == (URL, "/data/model-a.gguf", 4, 20)


def test_an_entry_wins_over_the_hosts_variables_and_those_over_the_roles():
    first, second = servers(
        llama_server_slots=4, llm_models=[{"name": "a", "slots": 8, "gpus": [0], "input_price": 1}, {"name": "b", "gpus": ["GPU-1f"]}]
    )
    assert (first["slots"], second["slots"], second["context_per_slot"]) == (8, 4, 0)
    assert (first["gpus"], second["gpus"]) == (["0"], ["GPU-1f"])
    assert (first["input_price"], second["input_price"], second["output_price"]) == (1.0, 0.1, 0.4)


def test_each_server_has_a_port_and_a_unit_of_its_own_that_do_not_depend_on_its_name():
    listed = servers(platform_gpu="none", llm_models=[{"name": "a"}, {"name": "a"}, {"name": "b", "port": 9000}])
    assert [(server["port"], server["unit"]) for server in listed] == [
        (8000, "llama-server"), (8001, "llama-server-8001"), (9000, "llama-server-9000"),
    ]  # fmt: skip


def test_the_file_of_a_server_is_that_of_its_own_address():
    first, second = servers(
        llama_model_file="mine.gguf", platform_gpu="none", llm_models=[{"name": "a"}, {"name": "b", "url": "https://x.test/b.gguf?x=1", "sha256": SUM}]
    )
    assert first["path"] == "/var/lib/llama/models/mine.gguf"
    assert (second["path"], second["sha256"]) == ("/var/lib/llama/models/b.gguf", SUM)


def test_all_files_of_a_model_in_parts_are_known():
    (server,) = servers(llm_models=[{"name": "a", "url": "https://x.test/m-00001-of-00003.gguf", "sha256": SUM, "parts_sha256": [SUM, SUM]}])
    assert server["files"] == ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"]


def test_a_checksum_of_the_host_is_not_taken_for_a_file_of_an_entry():
    (server,) = servers(
        llama_model_parts_sha256=["b" * 64], llama_model_sha256="c" * 64, llm_models=[{"name": "a", "url": "https://x.test/a.gguf", "sha256": SUM}]
    )
    assert (server["sha256"], server["parts_sha256"]) == (SUM, [])


@pytest.mark.parametrize(
    "entries, sentence",
    [
        ([], "a list with at least one entry is expected."),
        ("qwen", "a list with at least one entry is expected."),
        ([{"port": 1}], "entry 1 has no name."),
        ([{"name": "a b"}], "entry 1 is called 'a b'"),
        ([{"name": "a", "gpu": [0]}], "a: has an unknown field gpu; did you mean gpus?"),
        ([{"name": "a", "port": 80}], "a: has the port 80, a number from 1024 to 65535 is expected."),
        ([{"name": "a", "port": True}], "a: has the port True"),
        ([{"name": "a", "url": "https://x.test/a.gguf"}], "a: needs url and sha256 together"),
        ([{"name": "a", "gpus": "0"}], "a: has 0 for gpus, where a list is expected."),
        ([{"name": "a", "state": "gone"}], "a: has the state gone, started or absent is expected."),
        ([{"name": "a", "gpus": [0]}, {"name": "b", "gpus": [1], "port": 8000}], "two entries have the port 8000."),
        ([{"name": "a", "gpus": [0]}, {"name": "b", "gpus": [0, 1]}], "a and b both have the GPU 0; give each its own, or gpu_memory to both."),
        ([{"name": "a", "gpus": [0]}, {"name": "b"}], "b: needs gpus (or gpu_memory)"),
    ],
)
def test_a_mistake_in_the_list_is_a_sentence(entries, sentence):
    with pytest.raises(AnsibleFilterError) as caught:
        servers(llm_models=entries)
    assert str(caught.value).startswith("llm_models: ")
    assert sentence in str(caught.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(AnsibleFilterError, match="unknown field x.*entry 2 has no name"):
        servers(llm_models=[{"name": "a", "x": 1}, {}])


def test_servers_may_share_a_card_when_each_is_told_how_much_of_it_is_its_own():
    listed = servers(llm_models=[{"name": "a", "gpus": [0], "gpu_memory": 40000}, {"name": "b", "gpus": [0], "gpu_memory": 40000}])
    assert [server["gpu_memory"] for server in listed] == [40000, 40000]


def test_a_server_that_is_taken_away_needs_no_card():
    first, second = servers(llm_models=[{"name": "a", "gpus": [0]}, {"name": "b", "state": "absent"}])
    assert (first["state"], second["state"], second["unit"]) == ("started", "absent", "llama-server-8001")


def test_what_is_no_host_is_refused():
    with pytest.raises(AnsibleFilterError, match=r"such as hostvars\[inventory_hostname\]"):
        plugin.of_host("host", DEFAULTS, "a", PRICES)


def test_every_variable_that_an_entry_may_replace_is_needed_as_a_default():
    assert set(model_servers.VARIABLES.values()) <= set(DEFAULTS)
