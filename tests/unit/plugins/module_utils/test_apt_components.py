# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.private_llm.platform.plugins.module_utils import apt_components

WANTED = ("contrib", "non-free", "non-free-firmware")
OWN = "/etc/apt/sources.list.d/own.sources"
MIRROR = "http://mirror.example/debian/"
SECURITY = "http://mirror.example/debian-security/"


def printed(*rows):
    return "".join("\t".join(row) + "\n" for row in rows)


def row(uri, release, component, entry="/etc/apt/sources.list:1", origin="Debian", signed_by="$(SIGNED_BY)"):
    return (uri, release, component, signed_by, origin, entry)


def text_for(*rows, wanted=WANTED):
    return apt_components.text(apt_components.entries(apt_components.parse_targets(printed(*rows)), wanted, OWN))


def test_the_missing_components_are_added_with_the_address_and_key_that_the_host_uses():
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    of_mirror = [row(MIRROR, release, "main", signed_by=key) for release in ("trixie", "trixie-updates")]
    text = text_for(*of_mirror, row(SECURITY, "trixie-security", "main"))
    assert text == (
        f"Types: deb\nURIs: {SECURITY}\nSuites: trixie-security\nComponents: contrib non-free non-free-firmware\n\n"
        f"Types: deb\nURIs: {MIRROR}\nSuites: trixie trixie-updates\nComponents: contrib non-free non-free-firmware\nSigned-By: {key}\n"
    )


def test_components_that_others_added_are_not_added_again():
    assert "Components: contrib non-free\n" in text_for(row(MIRROR, "trixie", "main"), row(MIRROR, "trixie", "non-free-firmware"))
    assert text_for(row(MIRROR, "trixie", "main"), *(row(MIRROR, "trixie", name) for name in WANTED)) == ""


def test_what_an_earlier_run_wrote_is_written_again_and_not_taken_for_somebody_else_s():
    fresh = text_for(row(MIRROR, "trixie", "main"))
    assert text_for(row(MIRROR, "trixie", "main"), *(row(MIRROR, "trixie", name, entry=f"{OWN}:1") for name in WANTED)) == fresh != ""


def test_repositories_of_others_are_left_alone():
    assert text_for(row("https://example.com/", "trixie", "main", origin="Example"), row(MIRROR, "trixie", "contrib")) == ""
