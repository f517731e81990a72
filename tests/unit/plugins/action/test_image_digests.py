# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which images are asked about, and what a wrong signature leaves; tests/contract/test_image_digests.py runs the playbook as a whole."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ansible_collections.private_llm.platform.plugins.action import image_digests
from ansible_collections.private_llm.platform.plugins.module_utils.image_pins import Pin
from ansible_collections.private_llm.platform.tests.unit.fakes.registry import StandInRegistry

IMAGE, OLD, OTHER = "registry.example.com/web:1", "2026-01-01T00:00:00Z", "sha256:" + "a" * 64
KEYLESS = {"identity": "https://example.com/release.yml", "issuer": "https://issuer.example.com"}


def test_the_images_of_a_role_are_its_variables_that_name_one():
    assert sorted(image_digests.role_images("langfuse")) == ["langfuse_web_image", "langfuse_worker_image"]
    assert image_digests.role_images("nvidia_container_toolkit") == {}, "empty names none"


def test_each_host_is_asked_for_its_own_image_and_the_role_for_what_no_host_says():
    found = image_digests.wanted_images({"loki": ["one", "two"]}, {"one": {"loki_image": IMAGE}, "two": {}})
    assert found == {IMAGE: {"loki_image"}, image_digests.role_images("loki")["loki_image"]: {"loki_image"}}


@pytest.mark.parametrize("how", [None, "cosign.pub", {}, {"identity": "x"}, {"key": "x", "issuer": "y"}])
def test_a_signature_that_says_too_little_or_too_much_is_refused(how):
    assert image_digests.signature_problem("web_image", how) == "signatures: web_image needs key, or identity and issuer, and nothing else."


def test_cosign_is_asked_with_a_key_or_for_who_signed():
    assert image_digests.cosign_command("cosign", {"key": "cosign.pub"}, "web@x") == ["cosign", "verify", "--key", "cosign.pub", "web@x"]
    keyless = ["--certificate-identity", KEYLESS["identity"], "--certificate-oidc-issuer", KEYLESS["issuer"]]
    assert image_digests.cosign_command("cosign", KEYLESS, "web@x") == ["cosign", "verify", *keyless, "web@x"]


@pytest.fixture
def registry():
    stand_in = StandInRegistry()
    yield stand_in
    stand_in.close()


@pytest.mark.parametrize("earlier, stays", [("key cosign.pub", True), ("", False)], ids=["checked earlier", "never checked"])
def test_with_a_wrong_signature_runs_what_was_checked_earlier_and_nothing_else(registry, monkeypatch, earlier, stays):
    digest = registry.put("web", "1", OLD)
    monkeypatch.setattr(image_digests.shutil, "which", lambda _name: "/bin/false")
    arguments = {
        "minimum_age_days": 14,
        "age_from": "created",
        "young": [],
        "changed": [IMAGE],
        "registries": {"registry.example.com": {"url": registry.url}},
        "signatures": {"web_image": KEYLESS},
        "architecture": "amd64",
        "mirror": "",
    }
    survey = image_digests.Survey(arguments, datetime(2026, 11, 25, tzinfo=UTC))
    before = Pin(OTHER, OLD, OLD, earlier)
    survey.look({IMAGE: {"web_image"}}, {IMAGE: before}, {})
    assert survey.pinned == ({IMAGE: before} if stays else {})
    assert survey.waiting[IMAGE].digest == digest
    assert f"{IMAGE} ({digest}): its signature is not the one of https://example.com/release.yml" in survey.problems[0]


def test_a_file_is_replaced_as_a_whole_and_keeps_its_mode(tmp_path):
    path = tmp_path / "image_digests.yml"
    image_digests.write_atomically(str(path), "one\n")
    path.chmod(0o600)
    image_digests.write_atomically(str(path), "two\n")
    assert (path.read_text(), path.stat().st_mode & 0o777, [entry.name for entry in tmp_path.iterdir()]) == ("two\n", 0o600, ["image_digests.yml"])
