"""What every file of the project promises: it works on other machines too, and nothing in it is left for later."""

from __future__ import annotations

import re

import yaml

from tree import ROOT, load, our_text_files, shown

# The names are written in pieces, so that this file does not find itself.
REGISTRY_HOSTS = re.compile(
    r"\b(py" + r"pi\.org|[a-z]+\.python" + r"hosted\.org|(deb|security|snapshot)\.deb" + r"ian\.org|[a-z]*\.?np" + r"mjs\.(org|com))\b"
)
MACHINE_PATHS = re.compile(r"(?<![\w.])(/wor" + r"k/(main|shared|steering)|/opt/(whe" + r"els|py" + r"pi)\b|/root/\.(py" + r"env|cache)|/tm" + r"p/boot)")
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|#\s*no" + r"qa(?!:)|assert Tr" + r"ue\b|pytest\.mark\.sk" + r"ip\b|type: ig" + r"nore(?!\[)")


def findings(expression):
    return [
        f"{shown(path)}:{number}: {line.strip()[:100]}"
        for path, text in our_text_files()
        if path.name != "LICENSE"
        for number, line in enumerate(text.splitlines(), start=1)
        if expression.search(line)
    ]


def test_no_file_names_the_host_of_a_package_registry():
    assert findings(REGISTRY_HOSTS) == []


def test_no_file_names_a_path_of_one_particular_machine():
    assert findings(MACHINE_PATHS) == []


def test_no_file_is_left_unfinished():
    assert findings(UNFINISHED) == []


def test_the_lists_of_the_action_group_and_of_the_modules_agree():
    listed = load(ROOT / "meta" / "runtime.yml")["action_groups"]["litellm"]
    existing = sorted(path.stem for path in ROOT.glob("plugins/modules/litellm_*.py"))
    assert sorted(listed) == existing


def test_the_checkout_is_the_collection_that_galaxy_yml_describes():
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    checkout = ROOT / ".collections" / "ansible_collections" / galaxy["namespace"] / galaxy["name"]
    assert checkout.resolve() == ROOT
    assert galaxy["dependencies"] == {}
