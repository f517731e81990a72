# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store counts as ready only with its buckets and lifetimes, although the shell of SeaweedFS never fails. The shell is the stand-in's."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from tree import ROOT, trusted

ROLE = ROOT / "roles" / "object_store"
STAND_IN = ROOT / "images" / "object-store-stand-in"
# A shell that shows its prompt, as SeaweedFS did up to 4.19 when it was not asked by a person.
WEED = """#!{python}
import sys
from pathlib import Path
sys.path.insert(0, "{stand_in}")
from object_store_stand_in import Shell
root = Path("{place}")
lines = sys.stdin.read().splitlines()
with open(root / "asked", "a") as asked:
    asked.writelines(line + "\\n" for line in lines)
shell = Shell(root / "buckets", root / "filer.conf")
for line in lines:
    out, error = shell.run(line)
    sys.stdout.write("{prompt}" + out)
    sys.stderr.write(error)
"""


class Store:
    """A store without a server: its buckets and rules in a directory."""

    def __init__(self, place, prompt=""):
        self.place = place
        (place / "buckets").mkdir()
        self.shell_is(WEED.format(python=sys.executable, stand_in=STAND_IN, place=place, prompt=prompt))

    def shell_is(self, program):
        (self.place / "weed").write_text(program)
        (self.place / "weed").chmod(0o755)

    def ready(self, buckets=("langfuse",), lifetimes=()):
        """Run the role's script as the role renders it."""
        given = {"object_store_buckets": list(buckets), "object_store_lifetimes": [{"prefix": prefix, "days": days} for prefix, days in lifetimes]}
        internal = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
        internal = {name: trusted(value) if isinstance(value, str) else value for name, value in internal.items()}
        templar = Templar(loader=DataLoader(), variables={**internal, **given})
        script = templar.template(trusted((ROLE / "templates" / "buckets.sh.j2").read_text()))
        environment = {"PATH": f"{self.place}:/usr/bin:/bin"}
        return subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=60)

    @property
    def buckets(self):
        return sorted(path.name for path in (self.place / "buckets").iterdir())

    @property
    def lifetimes(self):
        rules = json.loads((self.place / "filer.conf").read_text())
        return {prefix: rule.get("ttl") for prefix, rule in rules.items()}

    def asked(self):
        words = (self.place / "asked").read_text().splitlines()
        (self.place / "asked").unlink()
        return words


@pytest.fixture(params=["", "> "], ids=["without a prompt", "with a prompt"])
def store(tmp_path, request):
    return Store(tmp_path, request.param)


def test_missing_buckets_are_made_and_those_that_are_there_are_left(store):
    assert store.ready(["alpha", "beta"]).returncode == 0
    assert store.buckets == ["alpha", "beta"] and [words for words in store.asked() if "create" in words]
    assert store.ready(["alpha", "beta"]).returncode == 0
    assert set(store.asked()) == {"s3.bucket.list"}


def test_a_bucket_whose_name_begins_like_another_one_is_another_one(store):
    assert store.ready(["langfuse-old"]).returncode == 0
    assert store.ready(["langfuse"]).returncode == 0
    assert store.buckets == ["langfuse", "langfuse-old"]


def test_a_bucket_that_cannot_be_made_is_told_although_the_shell_ends_well(store):
    (store.place / "buckets").chmod(0o500)
    (store.place / "buckets").rmdir()
    (store.place / "buckets").write_text("no directory")
    done = store.ready()
    assert done.returncode != 0 and "The bucket langfuse cannot be made" in done.stderr


def test_a_name_that_the_store_refuses_is_told_in_its_own_words(store):
    done = store.ready(["Capitals"])
    assert done.returncode != 0 and "bucket name can only contain lower case characters" in done.stderr


@pytest.mark.parametrize("program", ["#!/bin/sh\nexit 0\n", "#!/bin/sh\necho 'error: no filer' >&2\n", "#!/bin/sh\nexit 1\n"])
def test_a_shell_that_does_nothing_leaves_the_store_unready(store, program):
    store.shell_is(program)
    assert store.ready().returncode != 0


@pytest.mark.parametrize("days, ttl", [(30, "30d"), (255, "255d"), (256, "37w"), (365, "53w"), (1785, "255w"), (1786, "5y"), (3650, "10y")])
def test_a_lifetime_is_set_never_shorter_than_asked_for(store, days, ttl):
    assert store.ready(lifetimes=[("langfuse/events/", days)]).returncode == 0
    assert store.lifetimes == {"/buckets/langfuse/events/": ttl}
    store.asked()
    assert store.ready(lifetimes=[("langfuse/events/", days)]).returncode == 0
    assert set(store.asked()) == {"s3.bucket.list", "fs.configure"}


def test_a_lifetime_is_changed_and_taken_away(store):
    assert store.ready(lifetimes=[("langfuse/events/", 30), ("langfuse/exports/", 7)]).returncode == 0
    assert store.ready(lifetimes=[("langfuse/events/", 60), ("langfuse/exports/", 7)]).returncode == 0
    assert store.lifetimes == {"/buckets/langfuse/events/": "60d", "/buckets/langfuse/exports/": "7d"}
    assert store.ready(lifetimes=[("langfuse/events/", 0), ("langfuse/exports/", 7)]).returncode == 0
    assert store.lifetimes == {"/buckets/langfuse/exports/": "7d"}


def test_a_lifetime_that_cannot_be_set_is_told(store):
    store.ready()
    (store.place / "filer.conf").mkdir()
    done = store.ready(lifetimes=[("langfuse/events/", 30)])
    assert done.returncode != 0 and "The lifetime of /buckets/langfuse/events/ cannot be set" in done.stderr
