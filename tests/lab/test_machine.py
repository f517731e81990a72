"""What the lab makes on a machine: certificates, archives, image keys, addresses; and what it takes over from it."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import stat
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from lab.certificates import Certificates
from lab.cleaning import mounts_below
from lab.collections import wanted_collections
from lab.context import Lab, LabError, default_home, digest_of, digest_of_tree
from lab.demo import streamed_pieces
from lab.engine import OwnEngine
from lab.fixtures import repack
from lab.grammar import grammar_path
from lab.images import declared_arguments, pick_mirror
from lab.inventory import litellm_version, render
from lab.prometheus_tools import PROGRAMS, PrometheusTools
from lab.registry import free_port, is_free


@pytest.fixture
def lab(tmp_path):
    made = Lab(home=tmp_path / "lab", environment={"PATH": os.environ["PATH"]})
    made.prepare_directories()
    return made


# -- certificates ------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificates(lab):
    step = Certificates(lab)
    step.make()
    return step


def handshake(certificates, name):
    """A TLS connection to a server with the registry's certificate, checked as a client that trusts the authority does."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificates.certificate, certificates.key)
    trust = ssl.create_default_context(cafile=str(certificates.authority))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _address = listener.accept()
            with connection:
                try:
                    server.wrap_socket(connection, server_side=True).close()
                except OSError:
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            with socket.create_connection(listener.getsockname()) as plain, trust.wrap_socket(plain, server_hostname=name) as secured:
                return secured.version()
        finally:
            thread.join(5)


@pytest.mark.parametrize("name", ["registry.test", "localhost", "127.0.0.1"])
def test_the_registry_is_trusted_under_each_of_its_names(certificates, name):
    assert handshake(certificates, name) in ("TLSv1.2", "TLSv1.3")


def test_the_registry_is_not_trusted_under_any_other_name(certificates):
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(certificates, "registry.example")


def test_private_keys_are_readable_by_their_owner_only(certificates):
    assert {stat.S_IMODE(path.stat().st_mode) for path in (certificates.authority_key, certificates.key)} == {0o600}


def test_certificates_are_present_once_made(certificates):
    assert certificates.is_present()


def test_a_certificate_of_another_authority_in_the_hosts_copy_is_noticed(certificates):
    certificates.for_hosts.write_text("another")
    assert not certificates.is_present()


# -- archives ----------------------------------------------------------------------------------------------------------


def make_tree(root, when):
    (root / "src").mkdir(parents=True)
    (root / "src" / "b.c").write_text("int b;\n")
    (root / "src" / "a.c").write_text("int a;\n")
    (root / "configure").write_text("#!/bin/sh\n")
    (root / "configure").chmod(0o755)
    (root / ".git").write_text("gitdir: elsewhere\n")
    for path in root.rglob("*"):
        os.utime(path, (when, when))
    return root


def test_equal_trees_of_different_age_give_equal_archives(tmp_path):
    digests = set()
    for number in (1, 2):
        repack(make_tree(tmp_path / f"tree{number}", when=number * 1_000_000), "llama.cpp-1", tmp_path / f"{number}.tar.gz")
        digests.add(hashlib.sha256((tmp_path / f"{number}.tar.gz").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_an_archive_has_one_top_folder_and_no_git_link(tmp_path):
    repack(make_tree(tmp_path / "tree", when=1), "llama.cpp-1", tmp_path / "out.tar.gz")
    with tarfile.open(tmp_path / "out.tar.gz") as archive:
        names = archive.getnames()
    assert names == ["llama.cpp-1", "llama.cpp-1/configure", "llama.cpp-1/src", "llama.cpp-1/src/a.c", "llama.cpp-1/src/b.c"]


def test_programs_stay_executable_in_an_archive(tmp_path):
    repack(make_tree(tmp_path / "tree", when=1), "llama.cpp-1", tmp_path / "out.tar.gz")
    with tarfile.open(tmp_path / "out.tar.gz") as archive:
        assert archive.getmember("llama.cpp-1/configure").mode == 0o755


# -- keys of images ----------------------------------------------------------------------------------------------------


def test_a_recipe_is_the_same_whatever_the_times_of_its_files(tmp_path):
    assert digest_of_tree(make_tree(tmp_path / "a", when=1)) == digest_of_tree(make_tree(tmp_path / "b", when=2))


def test_a_recipe_with_one_changed_letter_is_another(tmp_path):
    before = digest_of_tree(make_tree(tmp_path / "a", when=1))
    (tmp_path / "a" / "src" / "a.c").write_text("int c;\n")
    assert digest_of_tree(tmp_path / "a") != before


def test_lists_that_only_join_to_the_same_text_have_different_digests():
    assert digest_of("ab", "c") != digest_of("a", "bc")


def test_only_arguments_that_a_recipe_declares_are_given_to_it():
    assert declared_arguments("ARG BASE=x\nFROM ${BASE}\nARG PIP_INDEX_URL\nRUN echo ARG NO\n") == {"BASE", "PIP_INDEX_URL"}


# -- what is taken over from the machine -------------------------------------------------------------------------------

INDEX_TARGETS = """\
http://mirror.example/debian/ bookworm
http://mirror.example/debian/ bookworm-updates
http://mirror.example/debian-security/ bookworm-security
"""


def test_debian_comes_from_the_mirror_of_the_machines_own_apt():
    assert pick_mirror(INDEX_TARGETS) == "http://mirror.example/debian"


def test_security_updates_come_from_the_security_mirror():
    assert pick_mirror(INDEX_TARGETS, security=True) == "http://mirror.example/debian-security"


def test_a_machine_without_debian_mirrors_leaves_the_choice_open():
    assert pick_mirror("") is None


def test_the_configured_package_index_wins():
    assert Lab(environment={"PIP_INDEX_URL": "https://index.example/simple", "PATH": ""}).pip_index() == "https://index.example/simple"


def test_the_lab_lies_in_the_users_cache_directory():
    assert str(default_home({"XDG_CACHE_HOME": "/somewhere"})) == "/somewhere/private-llm-platform"


def test_an_engine_in_a_deep_directory_gets_a_short_socket_path(tmp_path):
    engine = OwnEngine(Lab(home=tmp_path / ("deep" * 30), environment={}))
    assert len(str(engine.socket)) < 60
    assert len(str(engine.run_directory)) < 60


def test_a_process_id_that_another_program_has_now_is_not_taken_for_the_engine(lab):
    engine = OwnEngine(lab)
    engine.directory.mkdir()
    engine.pid_file.write_text(str(os.getpid()))
    assert engine.process() is None


def test_a_missing_program_is_named_in_one_sentence(lab):
    with pytest.raises(LabError, match="The program `no-such-program` is missing"):
        lab.run(["no-such-program"])


def test_a_failing_command_tells_its_last_line_and_its_log(lab):
    with pytest.raises(LabError, match="It did not work: no space left") as caught:
        lab.run(["sh", "-c", "echo first; echo no space left; exit 1"], log=lab.log_of("x"), failure="It did not work")
    assert caught.value.log == lab.log_of("x")


def test_a_taken_port_is_not_chosen():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        assert free_port("127.0.0.1", port) != port


def test_mounts_are_undone_deepest_first():
    table = "x /lab ext4 rw 0 0\nx /lab/a ext4 rw 0 0\nx /lab/a/b ext4 rw 0 0\nx /laboratory ext4 rw 0 0\n"
    assert mounts_below(Path("/lab"), table) == ["/lab/a/b", "/lab/a", "/lab"]


# -- files that are read or written ------------------------------------------------------------------------------------


def test_collections_and_versions_are_read_from_the_requirements():
    text = '---\ncollections:\n  - name: a.b\n    version: 1.2.3\n  # why\n  - name: c.d\n    version: "4.5"\n'
    assert wanted_collections(text) == {"a.b": "1.2.3", "c.d": "4.5"}


def test_the_gateways_version_is_read_from_what_its_image_installs():
    assert litellm_version("x==1\nlitellm[proxy]==1.2.3 ; python_version > '3'\n") == "1.2.3"


def test_a_gateway_image_without_a_pinned_version_is_refused():
    with pytest.raises(LabError, match="pins no version"):
        litellm_version("litellm>=1\n")


def test_a_value_that_looks_like_a_number_stays_text_in_the_inventory():
    assert 'commit: "0123"\n' in render({"commit": "0123"})


def test_the_answers_text_is_taken_out_of_a_stream_of_events():
    lines = [
        b'data: {"choices":[{"delta":{"content":"Hel"}}]}\n',
        b"\n",
        b'data: {"choices":[{"delta":{"content":"lo"}}]}\n',
        b"data: [DONE]\n",
    ]
    assert list(streamed_pieces(iter(lines))) == ["Hel", "lo"]


def test_an_error_in_the_middle_of_a_stream_is_told():
    with pytest.raises(LabError, match="overloaded"):
        list(streamed_pieces(iter([b'data: {"error": "overloaded"}\n'])))


def test_the_launcher_of_test_hosts_is_correct_shell(request):
    launcher = request.config.rootpath / "tools" / "lab" / "testhost"
    assert subprocess.run(["sh", "-n", launcher], check=False).returncode == 0


def test_a_host_of_an_image_that_does_not_exist_is_refused_in_one_sentence(request, tmp_path):
    launcher = request.config.rootpath / "tools" / "lab" / "testhost"
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    outcome = subprocess.run(
        [launcher, "up", "nobody", "no-such-image"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (outcome.returncode, outcome.stderr.count("\n")) == (1, 1)
    assert "no-such-image does not exist" in outcome.stderr


# -- checkers ----------------------------------------------------------------------------------------------------------


def test_checkers_that_the_machine_has_are_taken_as_they_are(lab, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).write_text("#!/bin/sh\necho mine\n")
        (programs / name).chmod(0o755)
    lab.environment["PATH"] = f"{programs}:{lab.environment['PATH']}"
    step = PrometheusTools(lab)
    assert not step.is_present()
    step.make()
    assert step.is_present() and subprocess.check_output([step.path / "promtool"], text=True) == "mine\n"


def test_another_version_of_the_grammar_has_a_directory_of_its_own(lab, tmp_path):
    other = Lab(home=lab.home, repository=tmp_path / "checkout", environment=lab.environment)
    assert grammar_path(other) != grammar_path(lab)
