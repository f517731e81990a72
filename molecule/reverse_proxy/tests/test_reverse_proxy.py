"""The proxy as its clients, its administrators and its enemies see it."""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

REPOSITORY = Path(__file__).resolve().parents[3]
SCENARIO = REPOSITORY / "molecule" / "reverse_proxy"
SETTINGS = yaml.safe_load((SCENARIO / "vars.yml").read_text())
HOST = "pl-reverse_proxy"
STORE = "/etc/private-llm/tls/reverse-proxy"
GOOD, SECOND = "Bearer sk-good", "Bearer sk-second"
ABUSE_SECONDS = 60
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def authority(host, tmp_path_factory):
    """The own authority's certificate, as it is handed to people."""
    path = tmp_path_factory.mktemp("authority") / "ca.crt"
    path.write_text(host.check_output(f"cat {STORE}/ca.crt") + "\n")
    return path


class Client:
    """A client of the network that trusts the own authority."""

    def __init__(self, address, authority):
        self.address = address
        self.authority = authority

    def connect(self, name="gateway.test", **settings):
        context = ssl.create_default_context(cafile=self.authority)
        for setting, value in settings.items():
            setattr(context, setting, value)
        plain = socket.create_connection((self.address, 443), timeout=30)
        return context.wrap_socket(plain, server_hostname=name)

    def ask(self, path, key=GOOD, name="gateway.test", method="GET", body=None, headers=None):
        """Status, body and headers of an answer."""
        connection = http.client.HTTPConnection(self.address, 443, timeout=60)
        connection.sock = self.connect("gateway.test")
        connection.request(method, path, body, {"Host": name, **({"Authorization": key} if key else {}), **(headers or {})})
        answer = connection.getresponse()
        found = answer.status, answer.read().decode(), dict(answer.getheaders())
        connection.close()
        return found

    def status(self, *arguments, **options):
        return self.ask(*arguments, **options)[0]


@pytest.fixture(scope="module")
def client(outside, authority):
    return Client(outside.address, authority)


def curl(client, path, *arguments):
    """What curl prints; it speaks HTTP/2."""
    command = ["curl", "--silent", "--noproxy", "*", "--cacert", client.authority, "--resolve", f"gateway.test:443:{client.address}", *arguments]
    return subprocess.run([*command, f"https://gateway.test{path}"], capture_output=True, text=True, check=True).stdout


def a_minute_later(host):
    """Forget what is counted of addresses, as a minute would."""
    host.check_output("systemctl restart haproxy")
    deadline = time.monotonic() + 60
    while host.run("curl --silent --fail http://127.0.0.1:8405/healthy").rc != 0:
        assert time.monotonic() < deadline
        time.sleep(0.2)


# -- TLS ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version, taken", [(ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)])
def test_modern_tls_is_spoken_with_a_certificate_that_the_authority_vouches_for(client, version, taken):
    with client.connect(minimum_version=version, maximum_version=version) as connection:
        assert (connection.version() in ("TLSv1.2", "TLSv1.3")) is taken
        assert ("DNS", "gateway.test") in connection.getpeercert()["subjectAltName"]


def test_older_tls_is_refused(client):
    # By the program that still can: seclevel 0 is what lets it try.
    command = ["openssl", "s_client", "-connect", f"{client.address}:443", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]
    done = subprocess.run(command, input="", text=True, capture_output=True, check=False)
    assert done.returncode != 0 and "alert protocol version" in done.stderr


def test_a_name_that_the_certificate_is_not_for_is_noticed_by_the_client(client):
    with pytest.raises(ssl.SSLCertVerificationError):
        client.connect("elsewhere.test")


def test_http_2_is_spoken_and_plain_http_is_not_answered(client, outside):
    assert curl(client, "/v1/x", "--header", f"Authorization: {GOOD}", "--output", os.devnull, "--write-out", "%{http_version}") == "2"
    assert not outside.connects(80)


def test_nobody_but_root_can_read_a_key(host):
    for name in ("ca.key", "bundle.pem"):
        file = host.file(f"{STORE}/{name}")
        assert (file.user, file.mode) == ("root", 0o600)
    assert host.file(STORE).mode == 0o700


# -- answers ------------------------------------------------------------------------------------------------------------


def arrivals(client, *arguments):
    """How late after it was sent each piece of a stream came, in seconds."""
    command = ["curl", "--silent", "--no-buffer", "--noproxy", "*", "--cacert", client.authority, "--resolve", f"gateway.test:443:{client.address}"]
    command += [*arguments, "--header", f"Authorization: {GOOD}", "https://gateway.test/v1/stream?0.3,6"]
    late = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        for line in run.stdout:
            if line.startswith("data: "):
                late.append(time.time() - float(line.split()[2]))
    return late


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_a_stream_is_passed_on_piece_by_piece(client, version):
    late = arrivals(client, version)
    assert len(late) == 6 and max(late) < 0.25, late


def test_a_model_that_thinks_longer_than_a_client_may_be_silent_is_waited_for(client):
    assert SETTINGS["reverse_proxy_client_timeout"] < 7
    assert client.status("/v1/wait?7") == 200


def test_what_is_behind_is_told_who_asks_and_cannot_be_lied_to(client):
    status, body, headers = client.ask("/health/liveliness", headers={"X-Forwarded-For": "127.0.0.1"})
    told = {name.lower(): value for name, value in json.loads(body)["headers"].items()}
    assert status == 200 and told["x-forwarded-proto"] == "https"
    assert ipaddress.ip_address(told["x-forwarded-for"]) != ipaddress.ip_address("127.0.0.1")
    assert "max-age" in headers["strict-transport-security"]


# -- who may ask for what -----------------------------------------------------------------------------------------------


def inside(host, path, name="gateway.test"):
    """What an administrator gets, whose network the host itself plays."""
    options = f"--path-as-is --cacert {STORE}/ca.crt --resolve {name}:443:127.0.0.1 --output /dev/null --write-out '%{{http_code}}'"
    return int(host.check_output(f"curl --silent {options} 'https://{name}{path}'"))


@pytest.mark.parametrize("path", ["/ui", "/ui/", "/key/generate", "/user/new", "/health", "/", "/v2/x", "/V1/x", "/%75i"])
def test_pages_and_routes_of_administrators_answer_their_networks_alone(host, client, path):
    assert client.status(path) == 403
    assert inside(host, path) == 200


@pytest.mark.parametrize("path", ["/v1/../ui", "/v1/%2e%2e/ui", "/v1/..%2fui", "//ui", "/v1//../ui", "/v1/..", "/v1/.%2E/key", "/v1\\..\\ui"])
def test_a_path_that_could_be_read_in_two_ways_is_refused_to_everybody(host, client, path):
    assert client.status(path) == 400
    assert inside(host, path) == 400


def test_where_paths_decide_nothing_names_with_a_slash_in_them_are_passed_on(host):
    path = "/api/public/v2/prompts/folder%2Fname"
    said = host.check_output(f"curl --silent --cacert {STORE}/ca.crt --resolve pages.test:443:127.0.0.1 https://pages.test{path}")
    assert json.loads(said)["path"] == path


def test_a_site_for_some_networks_is_closed_to_the_others(host, client):
    assert client.status("/", name="pages.test") == 403
    assert inside(host, "/", "pages.test") == 200


def test_a_name_that_nobody_has_is_nobodys(client):
    assert client.status("/v1/x", name="other.test") == 421


# -- limits -------------------------------------------------------------------------------------------------------------


def test_a_body_up_to_the_limit_is_taken_and_a_larger_one_is_not(client):
    limit = SETTINGS["reverse_proxy_max_body_mib"] * MEBIBYTE
    assert client.ask("/v1/x", method="POST", body=bytes(limit))[:2] == (200, str(limit))
    with client.connect() as connection:
        connection.sendall(f"POST /v1/x HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: {GOOD}\r\nContent-Length: {limit + 1}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_body_of_unknown_length_is_not_taken(client):
    with client.connect() as connection:
        connection.sendall(f"POST /v1/x HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: {GOOD}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 411")


HEAD = f"POST /v1/x HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: {GOOD}\r\n"


@pytest.mark.parametrize("beginning", [HEAD[:30], f"{HEAD}Content-Length: 100\r\n\r\nsome"], ids=["in the head", "in the body"])
def test_who_does_not_come_to_an_end_is_not_waited_for(client, beginning):
    with client.connect() as connection:
        began = time.monotonic()
        connection.sendall(beginning.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - began < SETTINGS["reverse_proxy_request_timeout"] + 3


def test_one_address_has_so_many_requests_under_way_and_no_more(client):
    limit = SETTINGS["reverse_proxy_max_parallel_requests"]
    statuses = []
    asking = [threading.Thread(target=lambda: statuses.append(client.status("/v1/wait?3"))) for _number in range(limit + 4)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert sorted(statuses) == [200] * limit + [429] * 4
    assert client.status("/v1/x") == 200


def test_one_address_has_so_many_connections_open_and_no_more(client):
    held = []
    for _number in range(SETTINGS["reverse_proxy_max_address_connections"]):
        held.append(client.connect())
    with pytest.raises(OSError):
        client.connect()
    for connection in held:
        connection.close()


def test_an_address_that_guesses_keys_is_no_longer_heard_but_for_keys_that_have_proven_good(host, client):
    a_minute_later(host)
    assert client.status("/v1/x") == 200
    limit = SETTINGS["reverse_proxy_max_failures"]
    statuses = [client.status("/v1/x", key=f"Bearer sk-guess-{number}") for number in range(limit + 10)]
    assert statuses[:limit] == [401] * limit and statuses[-5:] == [429] * 5
    asked = host.check_output("journalctl --unit behind-gateway --output cat --no-pager | grep -c . || true")
    status, body, headers = client.ask("/v1/x", key="Bearer sk-another-guess")
    assert (status, json.loads(body)["error"]["code"], headers["retry-after"]) == (429, "429", "60")
    assert host.check_output("journalctl --unit behind-gateway --output cat --no-pager | grep -c . || true") == asked
    assert client.status("/v1/x") == 200
    # A good one that nobody has seen yet has to wait, or every guess would be worth a try.
    assert client.status("/v1/x", key=SECOND) == 429
    a_minute_later(host)
    assert client.status("/v1/x", key=SECOND) == 200


def test_no_key_is_in_the_log_or_in_the_metrics(host, client):
    client.ask("/v1/x?key=sk-in-the-query", key="Bearer sk-in-the-header")
    log = host.check_output("journalctl --unit haproxy --no-pager")
    assert "GET /v1/x" in log and "sk-" not in log
    assert "sk-" not in host.check_output("curl --silent http://127.0.0.1:8405/metrics")


# -- certificates over time -----------------------------------------------------------------------------------------------


def served(client):
    """The certificate that a client gets."""
    with client.connect() as connection:
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True))


def metric(host):
    text = host.check_output("cat /var/lib/private-llm/metrics/private_llm_tls_reverse-proxy.prom")
    return int(re.search(r'not_after_timestamp_seconds\{certificate="reverse-proxy"\} ([0-9]+)', text).group(1))


def test_when_the_certificate_ends_is_told_as_a_metric(host, client):
    assert metric(host) == int(served(client).not_valid_after_utc.timestamp())


def test_a_certificate_that_is_about_to_end_is_made_anew_by_the_timer_and_cuts_no_answer(host, client):
    assert host.check_output("systemctl is-enabled private-llm-tls-reverse-proxy.timer") == "enabled"
    assert "active" in host.check_output("systemctl is-active private-llm-tls-reverse-proxy.timer")
    before = served(client)
    host.check_output("systemctl start private-llm-tls-reverse-proxy.service")
    assert served(client).serial_number == before.serial_number
    # As if its end were near.
    host.check_output(f"sed -i.kept 's/\"renew_days\": 30/\"renew_days\": 200/' {STORE}/settings.json")
    with client.connect() as connection:
        connection.sendall(f"GET /v1/stream?0.5,8 HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: {GOOD}\r\nConnection: close\r\n\r\n".encode())
        time.sleep(1)
        host.check_output("systemctl start private-llm-tls-reverse-proxy.service")
        deadline = time.monotonic() + 20
        while served(client).serial_number == before.serial_number:
            assert time.monotonic() < deadline, "the new certificate is not served"
            time.sleep(0.5)
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    host.check_output(f"mv {STORE}/settings.json.kept {STORE}/settings.json")
    assert answer.count(b"data: ") == 8 and answer.endswith(b"0\r\n\r\n")
    # Who trusted the authority needs nothing new.
    assert served(client).issuer == before.issuer and client.status("/v1/x") == 200


@pytest.fixture
def operate(tmp_path):
    """Run the role again as an operator does."""

    def play(*arguments, **variables):
        extra = tmp_path / "extra.json"
        extra.write_text(json.dumps(variables))
        inventory = os.environ["MOLECULE_INVENTORY_FILE"]
        command = ["ansible-playbook", "--inventory", inventory, "--extra-vars", f"@{extra}", *arguments, str(SCENARIO / "role.yml")]
        environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, env=environment)
        output = done.stdout + done.stderr
        changed = re.search(r"changed=(\d+)", output)
        return done.returncode, int(changed.group(1)) if changed else None, output

    return play


def made(names, days=30, began=0):
    """A certificate of nobody in particular, and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "of the test")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now + datetime.timedelta(days=began - 1)).not_valid_after(now + datetime.timedelta(days=days))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    return {"reverse_proxy_certificate_source": "given", "reverse_proxy_certificate": pem, "reverse_proxy_private_key": private}


NAMES = ["gateway.test", "pages.test"]


@pytest.mark.parametrize("given, told", [
    (made(NAMES, days=-0.5), "the certificate ended on"),
    (made(["gateway.test"]), "the certificate is for gateway.test and not for pages.test"),
    ({**made(NAMES), "reverse_proxy_private_key": made(NAMES)["reverse_proxy_private_key"]}, "the private key is of another certificate"),
    ({**made(NAMES), "reverse_proxy_certificate": "nonsense"}, "the certificate holds no -----BEGIN CERTIFICATE-----"),
    ({"reverse_proxy_authority_secret": "short"}, "authority_secret has fewer than 32 characters"),
], ids=["expired", "other names", "another key", "no certificate", "a short secret"])  # fmt: skip
def test_a_certificate_that_cannot_be_used_is_refused_before_anything_is_changed(operate, client, given, told):
    before = served(client).serial_number
    status, changed, output = operate(**given)
    assert status != 0 and changed == 0 and told in " ".join(output.split()), output
    assert "PRIVATE KEY" not in output
    assert served(client).serial_number == before


def test_a_given_certificate_is_served_once_it_is_given_and_its_key_is_never_shown(host, operate, client):
    own = host.check_output(f"sha256sum {STORE}/ca.crt")
    given = made(NAMES)
    status, changed, output = operate("--diff", "-vvv", **given)
    assert (status, changed) == (0, 1), output
    assert given["reverse_proxy_private_key"].splitlines()[1] not in output
    trusting = Client(client.address, client.authority.with_name("given.crt"))
    trusting.authority.write_text(given["reverse_proxy_certificate"])
    assert trusting.status("/v1/x") == 200
    assert operate(**given)[:2] == (0, 0)
    status, changed, output = operate("--diff", "-vvv")
    assert (status, changed) == (0, 1) and SETTINGS["reverse_proxy_authority_secret"] not in output
    # The authority is made of its secret: people who trusted it go on doing so.
    assert client.status("/v1/x") == 200
    assert host.check_output(f"sha256sum {STORE}/ca.crt") == own


def test_a_run_that_died_before_the_new_certificate_was_read_is_finished_by_the_next_one(host, operate):
    host.check_output(f"touch {STORE}/reload")
    status, changed, output = operate("-v")
    assert (status, changed) == (0, 1) and "an earlier run died before it" in " ".join(output.split())
    assert operate()[:2] == (0, 0)


# -- abuse --------------------------------------------------------------------------------------------------------------


def test_a_minute_of_abuse_is_not_felt_by_who_asks_well(host):
    a_minute_later(host)
    subprocess.run(["docker", "cp", str(SCENARIO / "files" / "abuse.py"), f"{HOST}:/root/abuse.py"], check=True, capture_output=True)
    restarts = host.check_output("systemctl show haproxy behind-gateway --property NRestarts")
    figures = json.loads(host.check_output(f"python3 /root/abuse.py {ABUSE_SECONDS}"))
    print(figures)
    assert figures["failed"] == 0 and all(count > 0 for count in figures["attacks"].values()), figures
    assert figures["abused_p95"] <= 2 * figures["quiet_p95"], figures
    assert host.check_output("systemctl show haproxy behind-gateway --property NRestarts") == restarts
    peak = host.check_output("ps -C haproxy -o rss= | sort -n | tail -1")
    assert int(peak) < 200 * 1024
    assert host.run("systemctl is-active haproxy").stdout.strip() == "active"
