# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils.litellm_client import LitellmClient, LitellmError, key_hash, read_error
from ansible_collections.private_llm.platform.tests.unit.fakes.litellm import MASTER_KEY, FakeLitellm


@pytest.fixture
def gateway():
    with FakeLitellm() as fake:
        yield fake


def client_of(gateway, key=MASTER_KEY, **options):
    return LitellmClient(gateway.url, key, sleep=lambda seconds: None, **options)


def raw_key(number):
    return "sk-somebodys-key-%04d" % number


def test_keys_are_read_as_objects_and_not_as_bare_hashes(gateway):
    gateway.add_key(raw_key(1), key_alias="ada-1")
    assert [row["key_alias"] for row in client_of(gateway).keys()] == ["ada-1"]


def test_a_key_on_the_second_page_is_found(gateway):
    for number in range(101):
        gateway.add_key(raw_key(number), key_alias="key-%d" % number)
    client = client_of(gateway)
    assert len(client.keys()) == 101
    assert [query["page"] for query in gateway.reads("/key/list")] == ["1", "2"]
    assert client.reads == 2


def test_a_user_on_the_second_page_is_found(gateway):
    for number in range(150):
        gateway.add_user("user-%d" % number)
    assert len(client_of(gateway).users()) == 151
    assert len(gateway.reads("/user/list")) == 2


def test_pages_are_never_larger_than_the_gateway_allows(gateway):
    client = client_of(gateway)
    client.keys()
    client.users()
    assert gateway.reads("/key/list")[0]["size"] == "100"
    assert gateway.reads("/user/list")[0]["page_size"] == "100"


def test_an_empty_gateway_is_no_error(gateway):
    assert client_of(gateway).keys() == []


def test_a_sweep_that_lost_entries_is_an_error_and_not_a_shorter_list(gateway):
    gateway.answer_always("/key/list", 200, {"keys": [], "total_count": 3, "current_page": 1, "total_pages": 1})
    with pytest.raises(LitellmError, match="gave 0 of 3 entries"):
        client_of(gateway).keys()


def test_a_list_that_changed_while_it_was_read_is_read_anew(gateway):
    gateway.add_key(raw_key(1), key_alias="ada-1")
    gateway.answer_once("/key/list", 200, {"keys": [], "total_count": 1, "current_page": 1, "total_pages": 1})
    assert len(client_of(gateway).keys()) == 1


def test_the_three_shapes_of_an_error_are_all_read():
    assert read_error(b'{"error":{"message":"no such model","type":"key_model_access_denied","param":"model","code":"403"}}') == (
        "key_model_access_denied",
        "no such model",
    )
    assert read_error(b'{"detail":{"error":"User not found in team"}}') == (None, "User not found in team")
    assert read_error(b'{"detail":[{"loc":["body","rpm_limit"],"msg":"Input should be a valid integer","input":"sk-x"}]}') == (
        None,
        "rpm_limit: Input should be a valid integer",
    )
    assert read_error(b"<html>") == (None, "")


def test_an_error_names_status_type_and_place_but_no_key(gateway):
    key = raw_key(7)
    gateway.answer_once(
        "/key/generate", 400, {"error": {"message": "bad key %s or sk-another-one" % key, "type": "bad_request_error", "code": "400"}}
    )
    with pytest.raises(LitellmError) as failure:
        client_of(gateway, secrets=[key]).post("/key/generate", key=key)
    sentence = str(failure.value)
    assert "POST /key/generate" in sentence
    assert "400 (bad_request_error)" in sentence
    assert key not in sentence
    assert "sk-another-one" not in sentence
    assert MASTER_KEY not in sentence
    assert failure.value.status == 400


def test_a_list_of_type_errors_does_not_quote_the_input(gateway):
    with pytest.raises(LitellmError) as failure:
        client_of(gateway).post("/key/generate", key=raw_key(1), rpm_limit="my secret input")
    assert "422" in str(failure.value)
    assert "rpm_limit: Input should be a valid integer" in str(failure.value)
    assert "my secret input" not in str(failure.value)


def test_a_wrong_master_key_is_a_sentence_without_that_key(gateway):
    with pytest.raises(LitellmError, match="401.*api_key must be the gateway's master key") as failure:
        client_of(gateway, key="sk-not-the-master-key").keys()
    assert "sk-not-the-master-key" not in str(failure.value)


def test_html_instead_of_json_is_a_sentence(gateway):
    gateway.answer_once("/key/list", 200, b"<html><body>Welcome</body></html>", "text/html")
    with pytest.raises(LitellmError, match="a web page instead of JSON: is this address a LiteLLM gateway"):
        client_of(gateway).keys()


def test_json_of_another_shape_is_a_sentence(gateway):
    gateway.answer_once("/key/list", 200, {"items": []})
    with pytest.raises(LitellmError, match="in a shape that this module does not know"):
        client_of(gateway).keys()


def test_bare_hashes_are_refused_as_an_unknown_shape(gateway):
    gateway.answer_once("/key/list", 200, {"keys": ["0" * 64], "total_count": 1, "total_pages": 1})
    with pytest.raises(LitellmError, match="in a shape that this module does not know"):
        client_of(gateway).keys()


def test_a_read_is_repeated_while_the_database_is_away(gateway):
    gateway.answer_once("/user/list", 503, {"error": {"message": "no db", "type": "no_db_connection", "code": "503"}})
    assert len(client_of(gateway).users()) == 1
    assert len(gateway.reads("/user/list")) == 2


def test_a_write_is_never_repeated_after_an_answer(gateway):
    gateway.answer_once("/user/new", 503, {"error": {"message": "no db", "type": "no_db_connection", "code": "503"}})
    with pytest.raises(LitellmError, match="503"):
        client_of(gateway).post("/user/new", user_id="ada")
    assert len(gateway.written("/user/new")) == 1


def test_a_refused_connection_is_tried_again_a_bounded_number_of_times():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    pauses = []
    client = LitellmClient("http://127.0.0.1:%d" % port, MASTER_KEY, sleep=pauses.append)
    with pytest.raises(LitellmError, match="nothing accepts connections there .tried 6 times.; is the gateway running"):
        client.keys()
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_a_redirect_does_not_carry_the_master_key_elsewhere(gateway):
    gateway.answer_once("/key/list", 307, {})
    with pytest.raises(LitellmError, match="redirect"):
        client_of(gateway).keys()
    assert len(gateway.requests) == 1


def test_an_address_without_a_scheme_is_refused():
    with pytest.raises(LitellmError, match="is no http:// or https:// address"):
        LitellmClient("127.0.0.1:4000", MASTER_KEY)


@pytest.mark.parametrize("host", ["127.0.0.1", "gateway.example.com"])
def test_a_proxy_of_the_environment_never_sees_the_master_key(gateway, monkeypatch, host):
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _name, *arguments, **options: resolve("127.0.0.1", *arguments, **options))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = LitellmClient(gateway.url.replace("127.0.0.1", host), MASTER_KEY, patient=False)
    assert client.keys() == []


def test_the_name_of_a_key_at_the_gateway_is_its_sha256():
    assert key_hash("sk-1234") == "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"


# -- bad servers ---------------------------------------------------------


@contextlib.contextmanager
def server_that(answers):
    """A server that does with each connection what it is told; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _peer = listening.accept()
                    with connection:
                        connection.recv(65536)
                        answers(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield "http://127.0.0.1:%d" % listening.getsockname()[1]


def sentence_of(url, **options):
    with pytest.raises(LitellmError) as failure:
        LitellmClient(url, MASTER_KEY, sleep=lambda seconds: None, **options).keys()
    assert MASTER_KEY not in str(failure.value)
    return str(failure.value)


def test_half_an_answer_is_a_sentence():
    with server_that(lambda connection: connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"keys": [')) as url:
        assert "broke off in the middle of the answer" in sentence_of(url)


def test_a_connection_that_is_closed_without_an_answer_is_a_sentence():
    with server_that(lambda connection: None) as url:
        assert "broke off in the middle of the answer" in sentence_of(url)


def test_a_server_that_says_nothing_is_given_up_after_the_time_that_was_set():
    with server_that(lambda connection: time.sleep(3)) as url:
        assert "no answer within 1 seconds" in sentence_of(url, timeout=1)


def test_what_is_no_http_is_a_sentence():
    with server_that(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as url:
        assert "it does not speak HTTP there" in sentence_of(url)


def test_https_where_http_is_spoken_is_a_sentence(gateway):
    assert "is the address http:// rather than https://?" in sentence_of(gateway.url.replace("http", "https"))


def test_a_name_that_nobody_knows_is_a_sentence():
    assert "the name gateway.invalid is not known; check api_url" in sentence_of("http://gateway.invalid:4000")


def test_another_program_at_the_address_is_a_sentence(gateway):
    gateway.missing_paths = ("/key/list",)
    assert "it does not know this call; is this address a LiteLLM gateway" in sentence_of(gateway.url)


def test_a_gateway_without_a_database_is_a_sentence(gateway):
    gateway.answer_always("/key/list", 500, {"error": {"message": "DB not connected. See https://docs", "type": "no_db_connection", "code": "500"}})
    assert "it has no connection to its database; people and keys need one" in sentence_of(gateway.url)


def test_a_ca_file_that_cannot_be_read_is_a_sentence():
    assert "The authorities in ca_path /nonexistent cannot be read" in sentence_of("https://127.0.0.1:1", ca_path="/nonexistent")


def test_the_error_of_a_kept_connection_that_was_closed_is_not_an_error(gateway):
    client = client_of(gateway)
    client.keys()
    client._line.connection.sock.shutdown(socket.SHUT_RDWR)
    assert client.keys() == []


def test_connections_are_kept_between_calls(gateway):
    client = client_of(gateway)
    client.keys()
    first = client._line.connection
    client.keys()
    assert client._line.connection is first is not None


def test_the_clock_is_the_gateways(gateway):
    client = client_of(gateway)
    client.keys()
    assert abs(client.now() - time.time()) < 5
    client._read_clock("Tue, 01 Jan 2030 00:00:00 GMT")
    assert 1893456000.0 <= client.now() < 1893456005.0


def test_calls_at_once_are_bounded(gateway):
    client = client_of(gateway, concurrency=3)
    running, most, lock = [0], [0], threading.Lock()

    def work(_entry):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1

    client.each(work, range(12))
    assert most[0] == 3
    assert client_of(gateway, concurrency=1000).concurrency == 8
