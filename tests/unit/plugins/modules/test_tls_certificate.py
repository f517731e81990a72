# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import managed_paths
from ansible_collections.private_llm.platform.plugins.modules import tls_certificate
from ansible_collections.private_llm.platform.tests.unit.fakes.modules import run_module

SECRET = "a-secret-of-the-test-that-is-long-enough"
OWN = {"name": "web", "names": ["web.test"], "authority_secret": SECRET}


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host whose files lie below a temporary directory and whose systemd does what it is told."""
    units = tmp_path / "units"
    units.mkdir()
    enabled = set()
    commands = []

    def run(command):
        commands.append(list(command))
        if command[:2] == ["systemctl", "show"]:
            return 0, f"LoadState=loaded\nUnitFileState={'enabled' if command[2] in enabled else ''}\n", ""
        if command[1] in ("enable", "disable"):
            (enabled.add if command[1] == "enable" else enabled.discard)(command[-1])
        return 0, "", ""

    monkeypatch.setattr(tls_certificate, "HOME", str(tmp_path / "tls"))
    monkeypatch.setattr(tls_certificate, "PROGRAM", str(tmp_path / "lib" / "tls_authority.py"))
    monkeypatch.setattr(tls_certificate, "UNIT_DIRECTORY", str(units))
    monkeypatch.setattr(tls_certificate, "runner", lambda module: run)
    monkeypatch.setattr(os, "chown", lambda *_arguments: None)
    monkeypatch.setattr(managed_paths.Ownership, "difference", lambda self, path: None)
    return commands


def run(check=False, **parameters):
    return run_module(tls_certificate.main, parameters, check=check)


def test_a_first_run_makes_everything_and_a_second_one_nothing(host):
    first = run(**OWN)
    assert first["changed"] and "certificate: web (missing)" in first["actions"]
    assert "-----BEGIN CERTIFICATE-----" in first["authority"] and first["not_after"]
    assert "PRIVATE KEY" in Path(first["bundle"]).read_text()
    assert ["systemctl", "enable", "--quiet", "--now", "private-llm-tls-web.timer"] in host
    second = run(**OWN)
    assert not second["changed"] and second["actions"] == []


def test_check_mode_tells_the_same_and_makes_nothing(host, tmp_path):
    predicted = run(check=True, **OWN)
    assert not (tmp_path / "tls").exists()
    assert predicted["actions"] == run(**OWN)["actions"]


def test_other_names_lead_to_another_certificate_of_the_same_authority(host):
    first = run(**OWN)
    second = run(**{**OWN, "names": ["web.test", "www.test"]})
    assert "certificate: web (names)" in second["actions"] and second["authority"] == first["authority"]
    assert "web.test, www.test until" in second["diff"]["after"]


def test_another_secret_leads_to_another_authority(host):
    first = run(**OWN)
    second = run(**{**OWN, "authority_secret": SECRET + "x"})
    assert "certificate: web (another authority)" in second["actions"] and second["authority"] != first["authority"]


def test_no_key_and_no_secret_is_in_what_a_run_prints(host):
    printed = run(**OWN)["printed"]
    assert SECRET not in printed and "PRIVATE KEY" not in printed


@pytest.mark.parametrize("more, told", [
    ({"names": []}, "names is empty"),
    ({"names": ["a b"]}, "'a b' is no name of a server"),
    ({"authority_secret": "short"}, "authority_secret has fewer than 32 characters"),
    ({"authority_name": "x\ny"}, "authority_name may hold"),
    ({"valid_days": 0}, "valid_days must be at least 1"),
    ({"source": "given"}, "source given needs certificate and private_key"),
    ({"name": "../web"}, "name '../web' may hold"),
])  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_is_changed(host, tmp_path, more, told):
    result = run(**{**OWN, **more})
    assert result["failed"] and told in result["msg"] and "nothing was changed" in result["msg"]
    assert not (tmp_path / "tls").exists()


def test_absent_takes_everything_away_once(host, tmp_path):
    run(**OWN)
    assert run(name="web", state="absent")["changed"]
    assert not (tmp_path / "tls" / "web").exists() and list((tmp_path / "units").iterdir()) == []
    assert not run(name="web", state="absent")["changed"]
