# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import image_registry
from ansible_collections.private_llm.platform.plugins.module_utils.image_registry import Access, Client, Reference, RegistryError
from ansible_collections.private_llm.platform.tests.unit.fakes.registry import PASSWORD, TOKEN, USER, StandInRegistry

MADE = "2026-10-01T12:30:00.123456789Z"
MADE_AT = datetime(2026, 10, 1, 12, 30, tzinfo=UTC)
IMAGE = Reference("registry.example.com", "team/web", "1.0", "")


@pytest.fixture
def registry():
    stand_in = StandInRegistry()
    yield stand_in
    stand_in.close()


def ask(registry, reference=IMAGE, **access):
    return Client("registry.example.com", Access(url=registry.url, **access)).describe(reference, "amd64")


@pytest.mark.parametrize(
    "image, parts",
    [
        ("postgres:17", ("docker.io", "library/postgres", "17", "")),
        ("docker.io/prom/prometheus:v3", ("docker.io", "prom/prometheus", "v3", "")),
        ("prom/prometheus:v3", ("docker.io", "prom/prometheus", "v3", "")),
        ("localhost/web:1", ("localhost", "web", "1", "")),
        ("registry.test:5000/web", ("registry.test:5000", "web", "", "")),
        ("ghcr.io/a/b/c:v1@sha256:" + "a" * 64, ("ghcr.io", "a/b/c", "v1", "sha256:" + "a" * 64)),
    ],
)
def test_a_name_is_read_as_engines_read_it(image, parts):
    assert image_registry.parse_reference(image) == Reference(*parts)


@pytest.mark.parametrize(
    "image, there",
    [
        ("postgres:17", "registry.test:5000/copies/docker.io/library/postgres:17"),
        ("ghcr.io/a/b:v1@sha256:" + "a" * 64, "registry.test:5000/copies/ghcr.io/a/b:v1@sha256:" + "a" * 64),
        ("registry.test:5000/copies/own/web:1", "registry.test:5000/copies/own/web:1"),
        ("registry.test:5000/other/web:1", "registry.test:5000/copies/registry.test:5000/other/web:1"),
        ("", ""),
    ],
)
def test_a_mirror_has_an_image_below_its_whole_name(image, there):
    assert image_registry.mirrored(image, "registry.test:5000/copies") == there
    assert image_registry.mirrored(image, "") == image


@pytest.mark.parametrize("mirror", ["https://registry.test", "registry.test/", "Registry.test", "registry.test/a b", "registry.test:x"])
def test_what_is_no_name_of_a_mirror_is_told(mirror):
    assert "without https:// before" in image_registry.mirror_problem(mirror)


@pytest.mark.parametrize("mirror", ["", "registry.test", "registry.test:5000", "10.0.0.1:5000/a/b_c", "localhost/x"])
def test_what_may_be_the_name_of_a_mirror_is_taken(mirror):
    assert image_registry.mirror_problem(mirror) is None


@pytest.mark.parametrize("image", ["", "a b:1", "web:1@sha256:abc"])
def test_what_is_no_name_is_refused(image):
    with pytest.raises(RegistryError, match="is no name of an image"):
        image_registry.parse_reference(image)


def test_an_image_is_known_by_the_digest_of_its_manifest(registry):
    digest = registry.put("team/web", "1.0", MADE)
    assert ask(registry) == image_registry.Found(digest, MADE_AT)


def test_an_image_of_several_architectures_is_known_by_all_of_them_and_as_old_as_the_hosts(registry):
    digest = registry.put("team/web", "1.0", MADE, architecture="amd64")
    assert ask(registry) == image_registry.Found(digest, MADE_AT)
    with pytest.raises(RegistryError, match="is not there for linux/arm64"):
        Client("registry.example.com", Access(url=registry.url)).describe(IMAGE, "arm64")


@pytest.mark.parametrize("asks", ["basic", "token"])
def test_a_registry_that_asks_who_it_is_gets_an_answer(registry, asks):
    registry.asks = asks
    digest = registry.put("team/web", "1.0", MADE)
    assert ask(registry, username=USER, password=PASSWORD).digest == digest
    with pytest.raises(RegistryError) as refused:
        ask(registry, username=USER, password="wrong-password")
    assert "wrong-password" not in str(refused.value)


def test_a_registry_that_gives_everybody_a_token_is_asked_for_one_once(registry):
    registry.asks, registry.anonymous = "token", True
    registry.put("team/web", "1.0", MADE)
    ask(registry)
    assert [path for path, _given in registry.seen if path.startswith("/token?")] == ["/token?service=stand-in&scope=repository%3Ateam%2Fweb%3Apull"]


def test_where_a_configuration_lies_elsewhere_nobody_there_learns_who_asks(registry):
    elsewhere = StandInRegistry()
    registry.asks, registry.anonymous, registry.moved = "token", True, elsewhere.url
    registry.put("team/web", "1.0", MADE)
    elsewhere.put("team/web", "1.0", MADE)
    assert ask(registry).created == MADE_AT
    assert [given for _path, given in elsewhere.seen] == [""]
    assert (f"Bearer {TOKEN}") in [given for _path, given in registry.seen]
    elsewhere.close()


def test_a_token_is_fetched_over_https_wherever_the_registry_is(registry):
    registry.asks, registry.realm = "token", "ftp://elsewhere.example.com/token"
    with pytest.raises(RegistryError, match="for a token, which is no https address"):
        ask(registry)


def test_an_image_that_is_not_there_is_named_with_its_registry(registry):
    with pytest.raises(RegistryError, match=rf"the registry {registry.address} has no registry\.example\.com/team/web:1\.0"):
        ask(registry)


def test_content_that_is_not_what_its_digest_promises_is_refused(registry):
    registry.put("team/web", "1.0", MADE)
    path = next(path for path in registry.content if "/blobs/" in path)
    registry.content[path] = ("application/octet-stream", b'{"created": "2020-01-01T00:00:00Z"}')
    with pytest.raises(RegistryError, match="sent something else"):
        ask(registry)


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}", b'{"schemaVersion": 1, "fsLayers": []}'])
def test_an_answer_that_describes_no_image_is_refused(registry, content):
    registry.content["/v2/team/web/manifests/1.0"] = ("text/html", content)
    with pytest.raises(RegistryError, match=r"is no description of an image|names no configuration"):
        ask(registry)


def test_an_answer_without_end_is_not_read_to_its_end(registry):
    registry.content["/v2/team/web/manifests/1.0"] = ("application/json", b" " * (image_registry.LARGEST + 1))
    with pytest.raises(RegistryError, match="has more than"):
        ask(registry)


def test_a_registry_that_does_not_answer_is_named(registry):
    registry.close()
    with pytest.raises(RegistryError, match=f"the registry {registry.address} does not answer"):
        ask(registry)


def test_an_image_runs_by_the_digest_that_was_written_down_for_it():
    digests = {"web:1": {"digest": "sha256:" + "a" * 64}, "odd:1": {}}
    assert image_registry.pinned("web:1", digests) == "web:1@sha256:" + "a" * 64
    assert image_registry.pinned("other:1@sha256:" + "b" * 64, digests) == "other:1@sha256:" + "b" * 64
    assert image_registry.pinned("other:1", {}) == "other:1"
    for image in ("other:1", "odd:1"):
        with pytest.raises(RegistryError, match=f"the image {image} has no digest in image_digests"):
            image_registry.pinned(image, digests)
