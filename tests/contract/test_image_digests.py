"""playbooks/image_digests.yml as an operator runs it, against a stand-in registry; cosign is a stand-in, too, that says so."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess

import pytest
import yaml
from ansible_collections.private_llm.platform.plugins.action import image_digests
from ansible_collections.private_llm.platform.tests.unit.fakes.registry import PASSWORD, USER, StandInRegistry

from tree import ROLES, ROOT, load

ROLES_ON_PROCESSORS = ("litellm", "postgres", "postgres_exporter", "node_exporter", "alloy", "alertmanager", "loki", "prometheus", "grafana")
OLD, YESTERDAY = "2026-01-01T00:00:00Z", (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
STAND_IN_COSIGN = """\
#!/bin/sh
# A stand-in for cosign: it notes what it is asked and finds right what SIGNED names.
echo "$@" >>{asked}
for image; do :; done
case " $(cat {signed}) " in *" ${{image##*@}} "*) exit 0 ;; esac
echo 'stand-in: no matching signatures' >&2
exit 12
"""


class Operator:
    """An operator with an inventory whose images are all in one registry."""

    def __init__(self, path, registry):
        self.path, self.registry = path, registry
        self.file = path / "inventory/group_vars/all/image_digests.yml"
        self.images = {role: f"registry.example.com/{role}:1" for role in ROLES_ON_PROCESSORS}
        self.digests = {image: registry.put(role, "1", OLD, architecture="amd64") for role, image in self.images.items()}
        self.file.parent.mkdir(parents=True)
        hosts = {group: {"hosts": {"one": None}} for group in ("gpu", "gateway", "observability")}
        (path / "inventory/hosts.yml").write_text(yaml.safe_dump({"all": {"children": hosts}}))
        variables = {
            "platform_root_secret": "a-root-secret-of-the-test-that-is-long-enough",
            "platform_listen_address": "0.0.0.0",
            "platform_gpu": "none",
            "platform_registries": {"registry.example.com": {"url": registry.url, "username": USER, "password": PASSWORD}},
            **{f"{role}_image": image for role, image in self.images.items()},
        }
        (self.file.parent / "platform.yml").write_text(yaml.safe_dump(variables))
        (path / "bin").mkdir()

    def has_cosign(self):
        """Install the stand-in."""
        program = self.path / "bin/cosign"
        (self.path / "signed").touch()
        program.write_text(STAND_IN_COSIGN.format(asked=self.path / "asked", signed=self.path / "signed"))
        program.chmod(0o755)

    def run(self, *arguments, playbook="image_digests.yml", **variables):
        """Run the playbook; its status, and what it said on one line."""
        # Only what the run needs, so that a cosign of this machine's is not found.
        own = os.pathsep.join(place for place in os.environ["PATH"].split(os.pathsep) if not os.path.exists(os.path.join(place, "cosign")))
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PATH": f"{self.path}/bin{os.pathsep}{own}"}
        command = ["ansible-playbook", "--inventory", str(self.path / "inventory"), *arguments, "--extra-vars", json.dumps(variables)]
        done = subprocess.run([*command, str(ROOT / "playbooks" / playbook)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        self.said = " ".join((done.stdout + done.stderr).split())
        return done.returncode

    def written(self):
        """Image and digest of each line that site.yml goes by."""
        return {image: entry["digest"] for image, entry in yaml.safe_load(self.file.read_text())["platform_image_digests"].items()}


@pytest.fixture
def operator(tmp_path):
    registry = StandInRegistry()
    registry.asks = "token"
    yield Operator(tmp_path, registry)
    registry.close()


def test_every_image_is_written_down_once_and_a_second_run_changes_nothing(operator):
    assert operator.run("--check") == 0, operator.said
    assert not operator.file.exists()
    assert operator.run() == 0, operator.said
    assert operator.written() == operator.digests
    assert PASSWORD not in operator.said
    assert operator.run("-vvv") == 0
    assert "changed=0" in operator.said
    assert PASSWORD not in operator.said
    assert os.listdir(operator.file.parent).count("image_digests.yml") == len([name for name in os.listdir(operator.file.parent) if "image" in name])


def test_a_mirror_is_asked_for_every_image_by_its_whole_name(operator):
    mirrored = {image: operator.registry.put(f"copies/{image.partition(':')[0]}", "1", OLD, architecture="amd64") for image in operator.digests}
    access = {"mirror.example.com": {"url": operator.registry.url, "username": USER, "password": PASSWORD}}
    assert operator.run(platform_image_mirror="mirror.example.com/copies", platform_registries=access) == 0, operator.said
    assert operator.written() == mirrored
    assert operator.run(platform_image_mirror="https://mirror.example.com") != 0
    assert "without https:// before" in operator.said


def test_what_may_not_be_taken_is_told_all_at_once_and_the_rest_is_written(operator):
    litellm, loki, grafana = (operator.images[role] for role in ("litellm", "loki", "grafana"))
    del operator.registry.content["/v2/grafana/manifests/1"]
    operator.registry.put("litellm", "1", YESTERDAY)
    assert operator.run() != 0
    assert f"{litellm} (sha256:" in operator.said
    assert "is too young" in operator.said
    assert f"has no {grafana}" in operator.said
    assert "2 of 9 images were not taken" in operator.said
    taken = {image: digest for image, digest in operator.digests.items() if image not in (litellm, grafana)}
    assert operator.written() == taken
    moved = operator.registry.put("loki", "1", OLD, words="another one")
    assert operator.run(platform_young_images=[litellm]) != 0
    assert f"{loki} means another image now: it was {operator.digests[loki]}, and the registry has {moved}" in operator.said
    assert operator.written()[loki] == operator.digests[loki]
    assert litellm in operator.written()
    assert operator.run(platform_changed_images=[loki]) != 0
    assert operator.written()[loki] == moved


def test_an_image_without_digest_stops_the_platform_before_anything_is_changed(operator):
    assert operator.run() == 0, operator.said
    with (operator.file.parent / "platform.yml").open("a") as stream:
        stream.write("grafana_image: registry.example.com/grafana:2\n")
    assert operator.run(playbook="site.yml") != 0
    assert "Images run by digest here, and these have none: registry.example.com/grafana:2. Run playbooks/image_digests.yml" in operator.said


def test_the_signature_of_the_gateways_image_is_checked_by_digest_and_once(operator):
    image, digest = operator.images["litellm"], operator.digests[operator.images["litellm"]]
    operator.has_cosign()
    assert operator.run(platform_check_signatures=True) != 0
    assert "its signature is not the one of https://github.com/BerriAI/project-releaser/" in operator.said
    assert "stand-in: no matching signatures" in operator.said
    assert image not in operator.written()
    (operator.path / "signed").write_text(digest)
    assert operator.run(platform_check_signatures=True) == 0, operator.said
    assert operator.written()[image] == digest
    asked = (operator.path / "asked").read_text().splitlines()
    assert asked[-1] == (
        "verify --certificate-identity https://github.com/BerriAI/project-releaser/.github/workflows/release.yml@refs/heads/main "
        f"--certificate-oidc-issuer https://token.actions.githubusercontent.com {operator.registry.address}/litellm@{digest}"
    )
    assert operator.run(platform_check_signatures=True) == 0
    assert len((operator.path / "asked").read_text().splitlines()) == len(asked), "what was found right is not asked again"
    key = {"litellm_image": {"key": "cosign.pub"}}
    assert operator.run(platform_check_signatures=True, platform_image_signatures=key) == 0, operator.said
    assert (operator.path / "asked").read_text().splitlines()[-1] == f"verify --key cosign.pub {operator.registry.address}/litellm@{digest}"


def test_a_signature_that_nothing_can_check_is_not_taken_for_right(operator):
    assert operator.run(platform_check_signatures=True) != 0
    assert "its signature is to be checked, and there is no cosign on this machine" in operator.said
    assert operator.images["litellm"] not in operator.written()


def test_a_file_that_is_somebody_elses_is_left_alone(operator):
    operator.file.write_text("platform_gpu: none\n")
    assert operator.run() != 0
    assert "was not written by this playbook" in operator.said
    assert operator.file.read_text() == "platform_gpu: none\n"


def test_every_role_that_runs_a_container_is_asked_about():
    asked = set(load(ROOT / "playbooks" / "wiring.yml")["__platform_container_roles"])
    assert asked == {role.name for role in ROLES if image_digests.role_images(role.name)}


def test_every_play_that_runs_containers_runs_them_by_digest_and_from_the_mirror():
    asked = set(load(ROOT / "playbooks" / "wiring.yml")["__platform_container_roles"])
    for play in load(ROOT / "playbooks" / "site.yml"):
        roles = {re.sub(r".*\.", "", role["role"]) for role in play.get("roles", [])}
        if roles & asked:
            defaults = play["module_defaults"]["private_llm.platform.container_service"]
            wanted = {"image_digests": "{{ __platform_image_digests }}", "image_mirror": "{{ __platform_image_mirror }}"}
            assert defaults == wanted, play["name"]
