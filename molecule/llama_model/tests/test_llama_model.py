"""A model is fetched whole, verified and in one step, whatever the network does."""

from __future__ import annotations

import pytest

MODELS = "/var/lib/llama/models"


@pytest.fixture(scope="module")
def requests(host):
    return host.check_output("journalctl --unit faulty-server --output cat --no-pager").splitlines()


def checksum(host, path):
    return host.check_output(f"sha256sum {path}").split()[0]


PARTS = [f"split-0000{number}-of-00003" for number in (1, 2, 3)]


@pytest.mark.parametrize("name", ["tiny-qwen3moe", "cut", "no-ranges", "kept", "hub", *PARTS])
def test_a_model_is_whole(host, name):
    assert checksum(host, f"{MODELS}/{name}.gguf") == checksum(host, "/srv/fixtures/tiny-qwen3moe.gguf")


def test_a_model_is_for_everybody_to_read_and_for_root_to_change(host):
    file = host.file(f"{MODELS}/tiny-qwen3moe.gguf")
    assert (file.user, file.group, file.mode) == ("root", "root", 0o644)


def test_the_verified_checksum_is_kept_beside_the_model(host):
    assert host.run(f"cd {MODELS} && sha256sum --check --strict tiny-qwen3moe.gguf.sha256").rc == 0


def test_a_transfer_that_was_cut_goes_on_where_it_ended(requests):
    assert "/cut/cut.gguf bytes=100000-" in requests


def test_a_server_that_cannot_resume_is_asked_for_the_rest_once(requests):
    assert requests.count("/no-ranges/no-ranges.gguf bytes=100000-") == 1


def test_the_next_run_goes_on_from_another_mirror_with_what_was_kept(requests):
    assert "/cut/mirror.gguf bytes=200000-" in requests


def test_a_missing_file_is_asked_for_once(requests):
    assert requests.count("/missing/model.gguf whole") == 1


def test_an_address_at_the_hub_becomes_the_one_that_the_mirror_serves(requests):
    assert "/whole/repository/resolve/v1/hub.gguf whole" in requests
    assert "/cut/repository/resolve/main/parts/split-00002-of-00003.gguf whole" in requests


def test_the_first_part_of_a_model_comes_last(requests):
    fetched = [line.split()[0].rpartition("/")[2] for line in requests if "/split-" in line and line.endswith("100000-")]
    assert fetched == [f"{name}.gguf" for name in reversed(PARTS)]


def test_what_does_not_fit_is_not_taken(requests, host):
    asked = [line for line in requests if line.startswith("/whole/large.gguf")]
    assert asked, "it was not even asked how large the file is"
    assert not host.file(f"{MODELS}/.large.gguf.part").exists


def test_of_a_model_whose_parts_do_not_fit_together_not_even_one_is_fetched(host):
    assert host.check_output("ls -A /srv/small") == ""


def test_other_models_are_removed_only_when_told(host):
    assert host.check_output("ls /srv/models").split() == ["kept.gguf", "kept.gguf.sha256", "tiny-qwen3moe.gguf", "tiny-qwen3moe.gguf.sha256"]
    assert host.file(f"{MODELS}/cut.gguf").exists


def test_what_was_refused_is_not_in_place(host):
    assert not host.file(f"{MODELS}/large.gguf").exists
    assert not host.file(f"{MODELS}/wrong.gguf").exists
    assert not host.file(f"{MODELS}/missing.gguf").exists


def test_nothing_unfinished_stays_behind(host):
    assert host.check_output(f"find {MODELS} -name '.*.part*'") == ""
