# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json

from ansible_collections.private_llm.platform.plugins.modules import versions_info
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

CONTAINERS = [{"Name": "/litellm", "Image": "sha256:aa", "Config": {"Image": "registry/litellm@sha256:dd"}}]
IMAGE = {"Id": "sha256:aa", "RepoTags": ["registry/litellm:v1"], "RepoDigests": ["registry/litellm@sha256:dd"], "Created": "2026-10-01T00:00:00Z"}


def host(docker=True, **differs):
    image = {**IMAGE, **differs}

    def run(command):
        words = list(command)
        if words[0] == "dpkg-query":
            return 1, "installed\tdocker-ce\t5:29.5.0\ndeinstall\thaproxy\t3.0\nnot-installed\tnginx\t\n", "no packages found matching x"
        if not docker:
            return 127, "", "no such program"
        if words[1] == "ps":
            return 0, "c1\n", ""
        return 0, json.dumps(CONTAINERS if words[1] == "container" else [image]), ""

    return run


def test_packages_that_are_installed_are_listed_with_their_version():
    assert versions_info.packages(host(), ["docker-ce", "haproxy", "nginx", "x"]) == [versions_info.entry("package", "docker-ce", "5:29.5.0")]


def test_an_image_is_listed_with_the_digest_that_its_registry_gave_it_and_its_age():
    assert versions_info.images(host()) == [versions_info.entry("image", "litellm", "registry/litellm:v1", "sha256:dd", "2026-10-01T00:00:00Z")]


def test_an_image_that_no_registry_gave_is_known_by_its_id():
    found = versions_info.images(host(RepoTags=None, RepoDigests=[]))
    assert found == [versions_info.entry("image", "litellm", "registry/litellm@sha256:dd", "sha256:aa", "2026-10-01T00:00:00Z")]


def test_a_host_without_an_engine_has_no_images():
    assert versions_info.images(host(docker=False)) == []


def test_releases_and_files_are_listed_where_they_are_there(tmp_path, monkeypatch):
    (tmp_path / "current").symlink_to("releases/v3.2.1-abc")
    (tmp_path / "model.gguf").write_bytes(b"12345")
    monkeypatch.setattr(versions_info, "runner", lambda module: host(docker=False))
    links = [{"name": "llama.cpp", "link": str(tmp_path / "current")}, {"name": "other", "link": str(tmp_path / "nowhere")}]
    result = run_module(versions_info.main, {"releases": links, "files": [str(tmp_path / "*.gguf"), str(tmp_path / "nowhere")]})
    assert not result["changed"]
    kinds = {(one["kind"], one["name"]): (one["version"], one["identity"]) for one in result["versions"]}
    assert kinds["release", "llama.cpp"] == ("v3.2.1-abc", "")
    assert kinds["file", str(tmp_path / "model.gguf")] == ("5 bytes", hashlib.sha256(b"12345").hexdigest())
    assert ("system", "kernel") in kinds and len(kinds) == 4
