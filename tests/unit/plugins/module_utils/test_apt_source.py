# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import apt_repository
from ansible_collections.private_llm.platform.tests.unit.fakes.openpgp_keys import VERSION_4, VERSION_4_PRINT, VERSION_6

REPOSITORY = apt_repository.Repository("vendor", "https://vendor.example/deb/", "https://vendor.example/key", [VERSION_4_PRINT])


class Host:
    """A directory that stands for /etc/apt, an apt that answers as told, and a web that has one key."""

    def __init__(self, directory):
        self.directory, self.status, self.indexed, self.key = str(directory), 0, False, VERSION_4
        self.updates, self.fetched = 0, []
        self.apt = apt_repository.Apt(self.run, self.directory)
        self.index = f"{directory}/index"

    def run(self, command):
        if command[1] == "indextargets":
            return 0, f"{self.index}\n", ""
        self.updates += 1
        if self.status == 0:
            with open(f"{self.index}.lz4", "w"):
                pass
        return self.status, "", "E: The repository is not signed." if self.status else ""

    def fetch(self, place):
        self.fetched.append(place)
        return self.key

    def present(self, repository=REPOSITORY, check=False):
        return apt_repository.present(self.apt, repository, self.fetch, check)

    def files(self):
        return sorted(name for _place, _directories, names in os.walk(self.directory) for name in names if not name.startswith("index"))


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_a_repository_gets_its_key_its_entry_and_its_index(host):
    assert host.present()["changed"]
    entry = apt_repository.read(host.apt.entry_path("vendor")).decode()
    assert entry == f"Types: deb\nURIs: https://vendor.example/deb/\nSuites: /\nSigned-By: {host.directory}/keyrings/vendor.asc\n"
    assert apt_repository.read(host.apt.key_path("vendor")) == VERSION_4 and host.updates == 1


def test_a_second_run_fetches_and_changes_nothing(host):
    host.present()
    assert not host.present()["changed"]
    assert len(host.fetched) == 1 and host.updates == 1


def test_a_run_that_died_before_the_index_is_finished_by_the_next_one(host):
    host.present()
    os.unlink(f"{host.index}.lz4")
    assert not host.present()["changed"] and host.updates == 2


def test_a_key_of_somebody_else_is_refused_and_nothing_written(host):
    host.key = VERSION_6
    with pytest.raises(apt_repository.RepositoryError, match="expected is"):
        host.present()
    assert host.files() == []


def test_a_page_instead_of_a_key_is_refused(host):
    host.key = b"<html>404</html>"
    with pytest.raises(apt_repository.RepositoryError, match="is not the repository's key"):
        host.present()
    assert host.files() == []


def test_a_key_on_disk_that_was_replaced_is_fetched_again(host):
    host.present()
    with open(host.apt.key_path("vendor"), "wb") as stream:
        stream.write(VERSION_6)
    assert host.present()["changed"]
    assert apt_repository.read(host.apt.key_path("vendor")) == VERSION_4


def test_a_repository_that_apt_refuses_is_taken_back_whole(host):
    host.status = 100
    with pytest.raises(apt_repository.RepositoryError, match="not signed"):
        host.present()
    assert host.files() == []


def test_a_change_that_apt_refuses_leaves_what_was_there(host):
    host.present()
    host.status = 100
    with pytest.raises(apt_repository.RepositoryError):
        host.present(apt_repository.Repository("vendor", "https://other.example/", REPOSITORY.key, REPOSITORY.fingerprints))
    assert b"vendor.example" in apt_repository.read(host.apt.entry_path("vendor"))


def test_check_mode_looks_at_the_key_and_writes_nothing(host):
    result = host.present(check=True)
    assert result["changed"] and "URIs: https://vendor.example/deb/" in result["diff"]["after"]
    assert host.files() == [] and host.updates == 0


def test_a_repository_is_taken_away_with_its_key(host):
    host.present()
    assert apt_repository.absent(host.apt, "vendor", check=True)["changed"] and len(host.files()) == 2
    assert apt_repository.absent(host.apt, "vendor", check=False)["changed"] and host.files() == []
    assert not apt_repository.absent(host.apt, "vendor", check=False)["changed"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"name": "../x"}, "small letters"),
        ({"fingerprints": []}, "any key would be trusted"),
        ({"fingerprints": ["ABCD"]}, "'ABCD' is no whole fingerprint"),
        ({"fingerprints": [VERSION_4_PRINT[-16:]]}, "is no whole fingerprint"),
        ({"uri": "https://a.example/ b"}, "blank"),
        ({"suites": ["x\nSigned-By: y"]}, "line break"),
    ],
)
def test_a_description_that_is_dangerous_is_refused(given, sentence):
    described = {"name": "vendor", "uri": "https://a.example/", "key": "/k", "fingerprints": [VERSION_4_PRINT], **given}
    assert sentence in " ".join(apt_repository.Repository(**described).problems())


def test_a_repository_with_suites_and_components_is_written_as_apt_reads_it():
    described = apt_repository.Repository("vendor", "https://a.example/", "/k", [VERSION_4_PRINT], ["trixie"], ["main"])
    assert described.text("/k.asc") == "Types: deb\nURIs: https://a.example/\nSuites: trixie\nComponents: main\nSigned-By: /k.asc\n"
