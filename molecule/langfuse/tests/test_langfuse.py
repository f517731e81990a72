"""What passes the gateway is in Langfuse as it was, as far as key and team allow, and nowhere else. Langfuse, ClickHouse and the object store are
stand-ins here; the gateway, PostgreSQL and Valkey are the real programs."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from ansible_collections.private_llm.platform.plugins.module_utils import hkdf
from container_hardening import findings_of_platform
from outside import Answer

ROOT_SECRET = "this-secret-belongs-to-the-test-and-guards-nothing"
MASTER_KEY = "sk-master-of-the-test-0123456789"
PUBLIC_KEY = "pk-lf-gateway"
GATEWAY, LANGFUSE, OBJECT_STORE = 4000, 3001, 8333
STORES = ("valkey-langfuse", "clickhouse-langfuse", "object-store-langfuse", "postgres-langfuse")
CONTAINERS = (*STORES, "langfuse-web", "langfuse-worker", "litellm", "postgres-litellm")
ANSWER = "A canned answer."
PEOPLE = [f"person-{number:02d}" for number in range(1, 21)]
# As converge.yml gives it to the gateway.
PLACES_IN_THE_BUFFER = 100
ARRIVES_WITHIN = 60
OUTAGE_SECONDS = 60


def secret(label, length=40):
    return hkdf.derive_secret(ROOT_SECRET, label, length)


SECRET_KEY = f"sk-lf-{secret('langfuse/project-key')}"


def key_of(name, key="default"):
    place = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "people" / name
    return (place / "key" if key == "default" else place / key / "key").read_text().strip()


def langfuse(outside, path, method="GET", body=None, headers=None, credentials=f"{PUBLIC_KEY}:{SECRET_KEY}"):
    """Ask Langfuse's public API."""
    given = {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode(), "Content-Type": "application/json", **(headers or {})}
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{outside.address}:{LANGFUSE}{path}", data, given, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return Answer(answer.status, answer.read().decode())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read().decode())


def observations(outside, **query):
    """All that fit, newest first."""
    found, cursor = [], None
    fields = "core,basic,io,metadata,model,usage,metrics"
    while True:
        asked = {"fields": fields, "limit": "1000", **query, **({"cursor": cursor} if cursor else {})}
        answer = langfuse(outside, f"/api/public/v2/observations?{urllib.parse.urlencode(asked)}").json()
        found += answer["data"]
        cursor = answer["meta"].get("cursor")
        if not cursor:
            return found


def prompt_of(observation):
    return json.loads(observation["input"])[-1]["content"]


def arrived(outside, since, count):
    """The observations from a moment on, once there are as many as are expected."""
    deadline = time.monotonic() + ARRIVES_WITHIN
    while True:
        found = observations(outside, fromStartTime=since)
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(1)


def now(host):
    """The host's clock, which the gateway's stamps come from."""
    return host.check_output("date -u +%Y-%m-%dT%H:%M:%S.%3NZ")


def ask(outside, key, question, stream=False, headers=None, **more):
    """A question; its status and its answer, streamed or not."""
    body = {"model": "canned", "messages": [{"role": "user", "content": question}], "stream": stream, **more}
    given = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(f"http://{outside.address}:{GATEWAY}/v1/chat/completions", json.dumps(body).encode(), given)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    if not stream:
        return 200, json.loads(text)["choices"][0]["message"]["content"]
    events = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: {")]
    return 200, "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


# By each way of asking: its address, what is sent, what has to be recorded as asked and as answered by model.py.
KIND = "Be kind."
WAYS = {
    "chat": ("/v1/chat/completions", lambda text: {"messages": [{"role": "user", "content": text}]}, lambda text: [{"role": "user", "content": text}]),
    "messages": (
        "/v1/messages",
        lambda text: {"max_tokens": 50, "system": KIND, "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]},
        lambda text: [{"role": "system", "content": KIND}, {"role": "user", "content": [{"type": "text", "text": text}]}],
    ),
    "responses": (
        "/v1/responses",
        lambda text: {"instructions": KIND, "input": text},
        lambda text: [{"role": "system", "content": KIND}, {"role": "user", "content": text}],
    ),
    "completions": ("/v1/completions", lambda text: {"prompt": text}, lambda text: [{"role": "user", "content": text}]),
}


@pytest.fixture(scope="module")
def model(host):
    """The model that answers by every way of asking, on the host's address in the gateway's network."""
    program = base64.b64encode((Path(__file__).resolve().parents[1] / "model.py").read_bytes()).decode()
    host.check_output(f"echo {program} | base64 -d > /run/model.py")
    host.run("systemctl stop test-model")
    host.check_output("systemd-run --quiet --collect --unit test-model /usr/bin/python3 /run/model.py 10.89.64.1 8009")
    host.check_output("for i in $(seq 50); do ss -Htln 'sport = 8009' | grep -q . && exit 0; sleep 0.1; done; exit 1")
    yield
    host.check_output("systemctl stop test-model")


def put(outside, key, path, body):
    """A request to the gateway: its status, its text, and the id of the call."""
    given = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{outside.address}:{GATEWAY}{path}", json.dumps(body).encode(), given)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers["x-litellm-call-id"]
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), None


def said(output):
    """The text of a recorded answer: a message's content is a text, or parts that have texts."""
    content = json.loads(output)["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def lost(outside):
    """What the gateway says that it lost, by reason."""
    text = outside.request(GATEWAY, "/metrics/", key=MASTER_KEY).text
    return {reason: float(number) for reason, number in re.findall(r'^private_llm_traces_lost_total\{reason="([^"]+)"\} (\S+)$', text, re.MULTILINE)}


def metric(outside, name):
    text = outside.request(GATEWAY, "/metrics/", key=MASTER_KEY).text
    return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE).group(1))


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(1)


def wait_until_langfuse_answers(host):
    host.check_output(f"for i in $(seq 60); do curl -fs http://127.0.0.1:{LANGFUSE}/api/public/ready && exit 0; sleep 0.5; done; exit 1")


@pytest.fixture
def without_langfuse(host):
    """Langfuse's web program is stopped until the test asks for it again, and runs after the test in any case."""
    host.check_output("systemctl stop langfuse-web")

    def back():
        host.check_output("systemctl start langfuse-web langfuse-worker")
        wait_until_langfuse_answers(host)

    yield back
    back()


# -- what is asked and answered is recorded -------------------------------------------------------------------------------


def test_two_hundred_requests_of_twenty_keys_are_two_hundred_traces_although_langfuse_is_away_for_a_minute(host, outside, without_langfuse):
    began, stopped, before = now(host), time.monotonic(), lost(outside)
    questions = [(PEOPLE[number % 20], f"Question {number} of {uuid.uuid4()} äöü ⏰?", number % 40 < 20) for number in range(200)]
    answers = []

    def put(asked):
        person, question, stream = asked
        return ask(outside, key_of(person), question, stream)

    with ThreadPoolExecutor(8) as pool:
        # A third of them while nobody takes traces, the others once somebody does again.
        answers += pool.map(put, questions[:70])
        assert lost(outside) == before and metric(outside, "private_llm_traces_waiting") == 70
        time.sleep(max(0.0, OUTAGE_SECONDS - (time.monotonic() - stopped)))
        without_langfuse()
        wait_for(lambda: metric(outside, "private_llm_traces_waiting") == 0)
        answers += pool.map(put, questions[70:])
    assert Counter(answers) == {(200, ANSWER): 200}
    found = {prompt_of(entry): entry for entry in arrived(outside, began, 200)}
    assert len(found) == len(arrived(outside, began, 200)) == 200
    for person, question, stream in questions:
        entry = found[question]
        assert (entry["userId"], entry["metadata"]["team"]) == (person, ("research", "sales")[int(person[-2:]) % 2])
        assert (json.loads(entry["output"])["content"], entry["providedModelName"], entry["metadata"]["stream"]) == (ANSWER, "canned", stream)
        assert entry["usageDetails"]["input"] > 0 and entry["usageDetails"]["output"] > 0 and entry["totalCost"] > 0
    assert lost(outside) == before, "what waited was not lost"


def test_what_the_buffer_cannot_hold_is_lost_and_counted_to_the_last_one(host, outside, without_langfuse):
    began, before, extra = now(host), lost(outside)["buffer full"], 37
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda number: ask(outside, key_of(PEOPLE[number % 20]), f"{number}")[0], range(PLACES_IN_THE_BUFFER + extra)))
    assert set(statuses) == {200}
    wait_for(lambda: lost(outside)["buffer full"] - before >= extra)
    assert lost(outside)["buffer full"] - before == extra
    without_langfuse()
    assert len(arrived(outside, began, PLACES_IN_THE_BUFFER)) == PLACES_IN_THE_BUFFER


def test_a_question_that_the_model_cannot_answer_is_recorded_as_an_error(host, outside):
    began = now(host)
    status, _text = ask(outside, key_of("person-02"), "Will it fail?", model="gone")
    found = arrived(outside, began, 1)
    assert status >= 500 and found
    assert {(entry["level"], prompt_of(entry), entry["userId"]) for entry in found} == {("ERROR", "Will it fail?", "person-02")}


def test_of_a_failure_of_who_chose_metadata_there_is_not_one_word(host, outside):
    began = now(host)
    assert ask(outside, key_of("lawyer"), "Will this fail too?", model="gone")[0] >= 500
    found = arrived(outside, began, 1)
    assert found and {(entry["level"], entry["input"], entry["output"]) for entry in found} == {("ERROR", None, None)}
    assert not any("127.0.0.1" in (entry.get("statusMessage") or "") for entry in found)


@pytest.mark.parametrize("stream", [False, True], ids=["at once", "streamed"])
@pytest.mark.parametrize("way", WAYS)
def test_by_each_way_of_asking_prompt_and_answer_are_recorded_exactly_and_once(host, outside, model, way, stream):
    path, request, asked = WAYS[way]
    began, question = now(host), f'What is {uuid.uuid4()}? {{"not": "JSON"}} äöü ⏰'
    status, text, call = put(outside, key_of("person-07"), path, {"model": "echo", "stream": stream, **request(question)})
    assert status == 200, text
    time.sleep(3)
    (found,) = arrived(outside, began, 1)
    assert json.loads(found["input"]) == asked(question)
    assert said(found["output"]) == f"You asked: {question}"
    assert (found["userId"], found["metadata"]["team"], found["providedModelName"]) == ("person-07", "sales", "echo")
    assert (found["usageDetails"]["input"], found["usageDetails"]["output"], found["metadata"]["stream"]) == (11, 4, stream)
    assert found["traceId"] == call.replace("-", "")


def test_what_is_embedded_is_recorded_and_its_vectors_are_not(host, outside, model):
    began, texts = now(host), [f"Embed {uuid.uuid4()}", "42"]
    assert put(outside, key_of("person-07"), "/v1/embeddings", {"model": "echo", "input": texts})[0] == 200
    (found,) = arrived(outside, began, 1)
    assert [message["content"] for message in json.loads(found["input"])] == texts
    assert (found["type"], found["output"], found["usageDetails"]["input"], found["userId"]) == ("EMBEDDING", None, 11, "person-07")


@pytest.mark.parametrize("way", WAYS)
def test_by_each_way_of_asking_metadata_is_not_one_word(host, outside, model, way):
    path, request, _asked = WAYS[way]
    began, marker = now(host), str(uuid.uuid4())
    for stream in (False, True):
        assert put(outside, key_of("lawyer"), path, {"model": "echo", "stream": stream, **request(marker)})[0] == 200
    found = arrived(outside, began, 2)
    assert [(entry["userId"], entry["input"], entry["output"]) for entry in found] == [("lawyer", None, None)] * 2
    assert host.check_output("grep -rlaF %s /var/lib/private-llm/ || true", marker) == ""


def test_with_wrong_keys_chats_go_on_and_traces_wait_until_they_are_right_again(host, outside):
    def secret_hash_is(changed):
        query = f"UPDATE api_keys SET hashed_secret_key = {changed} WHERE public_key = '{PUBLIC_KEY}'"
        host.check_output("docker exec postgres-langfuse psql -U langfuse -c %s", query)
        # It remembers keys.
        host.check_output("systemctl restart langfuse-web")
        wait_until_langfuse_answers(host)

    def failed():
        return metric(outside, 'private_llm_traces_failed_attempts_total\\{reason="wrong keys"\\}')

    began, before, attempts = now(host), lost(outside), failed()
    secret_hash_is("'x' || hashed_secret_key")
    try:
        assert ask(outside, key_of("person-08"), "Are the keys right?")[0] == 200
        wait_for(lambda: failed() > attempts, 60)
        assert metric(outside, "private_llm_traces_waiting") == 1 and lost(outside) == before
    finally:
        secret_hash_is("substr(hashed_secret_key, 2)")
    assert [prompt_of(entry) for entry in arrived(outside, began, 1)] == ["Are the keys right?"]
    assert lost(outside) == before


# -- privacy --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("person", ["lawyer", "discreet"])
def test_of_who_chose_metadata_there_are_figures_and_not_one_word(host, outside, person):
    began, marker = now(host), str(uuid.uuid4())
    for stream in (False, True):
        assert ask(outside, key_of(person), f"Something private {marker}", stream) == (200, ANSWER)
    found = arrived(outside, began, 2)
    assert [(entry["userId"], entry["input"], entry["output"]) for entry in found] == [(person, None, None)] * 2
    assert all(entry["usageDetails"]["input"] > 0 and entry["metadata"]["recording"] == "metadata" for entry in found)
    stored = host.check_output("grep -rlaF %s /var/lib/private-llm/ || true", marker)
    assert stored == "", "it must be on no disk of the analytics either"


@pytest.mark.parametrize("person, key", [("counsellor", "default"), ("mixed", "silent")])
def test_of_who_chose_nothing_there_is_nothing(host, outside, person, key):
    began = now(host)
    assert ask(outside, key_of(person, key), "Nobody hears this.")[0] == 200
    assert ask(outside, key_of("person-01"), "Everybody hears this.")[0] == 200
    assert [entry["userId"] for entry in arrived(outside, began, 1)] == ["person-01"]


def test_another_key_of_the_same_person_is_recorded(host, outside):
    began = now(host)
    assert ask(outside, key_of("mixed"), "This key is recorded.")[0] == 200
    assert [prompt_of(entry) for entry in arrived(outside, began, 1)] == ["This key is recorded."]


OURS, LITELLMS = (400, "What is recorded of a request is decided by its key"), (401, "is not allowed in request body")
# What a request says to be recorded otherwise or as somebody else's, and how it is refused, if it is not simply ignored.
FORGERIES = {
    "no-log": ({"no-log": True}, OURS),
    "the switch for messages": ({"turn_off_message_logging": True}, LITELLMS),
    "the switch in the metadata": ({"metadata": {"turn_off_message_logging": True}}, LITELLMS),
    "another Langfuse": ({"langfuse_host": "http://127.0.0.1:9", "langfuse_public_key": "pk", "langfuse_secret_key": "sk"}, LITELLMS),
    "the key's own metadata": ({"metadata": {"user_api_key_metadata": {"recording": "everything"}, "recording": "everything"}}, None),
    "the key's own metadata to hide": ({"metadata": {"user_api_key_metadata": {"recording": "nothing"}, "recording": "nothing"}}, None),
    "the team's metadata": ({"litellm_metadata": {"user_api_key_team_metadata": {"recording": "nothing"}, "recording": "nothing"}}, None),
    "another person": ({"metadata": {"trace_user_id": "somebody-else", "user_api_key_user_id": "somebody-else"}, "user": "somebody-else"}, None),
    "masks": ({"metadata": {"mask_input": True, "mask_output": True}}, None),
}
REFUSED = {name: (forged, how) for name, (forged, how) in FORGERIES.items() if how}
IGNORED = {name: forged for name, (forged, how) in FORGERIES.items() if not how}
HEADERS = ("x-litellm-enable-message-redaction", "litellm-enable-message-redaction", "x-litellm-disable-callbacks", "x-litellm-call-id")


@pytest.mark.parametrize("forged, how", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("way", WAYS)
def test_a_request_that_would_change_what_is_recorded_of_it_is_refused_with_the_reason(outside, way, forged, how):
    path, request, _asked = WAYS[way]
    status, text, _call = put(outside, key_of("person-02"), path, {"model": "canned", **request("Is this recorded?"), **forged})
    assert (status, how[1] in text) == (how[0], True), text


@pytest.mark.parametrize("forged", IGNORED.values(), ids=IGNORED.keys())
@pytest.mark.parametrize("way", WAYS)
def test_what_else_a_request_says_of_its_recording_or_its_person_is_ignored(host, outside, model, way, forged):
    path, request, asked = WAYS[way]
    began, question = now(host), f"Is this recorded? {uuid.uuid4()}"
    for person in ("person-02", "lawyer"):
        status, text, _call = put(outside, key_of(person), path, {"model": "echo", **request(question), **forged})
        assert status == 200, text
    found = {entry["userId"]: entry for entry in arrived(outside, began, 2)}
    assert sorted(found) == ["lawyer", "person-02"]
    assert (json.loads(found["person-02"]["input"]), said(found["person-02"]["output"])) == (asked(question), f"You asked: {question}")
    assert (found["lawyer"]["input"], found["lawyer"]["output"]) == (None, None)


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_would_change_what_is_recorded_is_refused_with_a_sentence(outside, header):
    status, text = ask(outside, key_of("person-03"), "Is this recorded?", headers={header: "true"})
    assert status == 400 and f"leave out {header}" in text


def test_the_header_that_would_uncover_what_is_private_does_nothing(host, outside):
    began = now(host)
    assert ask(outside, key_of("lawyer"), "Something private.", headers={"litellm-disable-message-redaction": "true"})[0] == 200
    assert [(entry["input"], entry["output"]) for entry in arrived(outside, began, 1)] == [(None, None)]


# -- doors and secrets ----------------------------------------------------------------------------------------------------


def test_no_store_answers_from_outside_and_only_langfuse_and_the_gateway_do(host, outside):
    listening = {int(port) for port in host.check_output("ss -Htln | awk '{print $4}' | grep -v '^127\\|^\\[::1\\]\\|%lo' | sed 's/.*://'").split()}
    # The object store as well here, because converge.yml asks for that.
    assert listening - {22, 8009} == {GATEWAY, LANGFUSE, OBJECT_STORE}
    assert not any(outside.connects(port) for port in (5433, 5434, 6379, 8123, 9000, 3030))


def test_an_object_store_that_answers_the_network_wants_a_signature(outside):
    assert outside.request(OBJECT_STORE, "/langfuse/").status == 403


@contextlib.contextmanager
def listener(host):
    """An address outside the test host at which somebody listens."""
    address = host.check_output("ip -4 route show default | awk '{print $3}'")
    with socket.create_server((address, 0)) as server:
        yield f"{address} {server.getsockname()[1]}"


@pytest.mark.parametrize("name", ["valkey-langfuse", "clickhouse-langfuse", "langfuse-worker"])
def test_no_packet_of_it_reaches_anybody_outside(host, name):
    connect = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3)"
    pid = host.check_output("docker inspect -f '{{.State.Pid}}' %s", name)
    with listener(host) as place:
        assert host.run(f"python3 -c '{connect}' {place}").rc == 0, "the host itself does reach it"
        assert host.run(f"nsenter --target {pid} --net python3 -c '{connect}' {place}").rc != 0


def test_raw_events_and_exports_end(host):
    rules = host.check_output("echo fs.configure | docker exec -i object-store-langfuse weed shell")
    lifetimes = {rule["locationPrefix"]: rule["ttl"] for rule in json.loads(rules)["locations"]}
    assert lifetimes == {"/buckets/langfuse/events/": "30d", "/buckets/langfuse/exports/": "7d"}
    assert host.check_output("ls /var/lib/private-llm/object-store-langfuse/buckets/langfuse").split() == ["events", "exports"]


def test_clickhouse_is_told_an_end_for_each_of_its_own_tables(host):
    known = json.loads((Path(__file__).resolve().parents[3] / "roles/clickhouse/files/system_logs.json").read_text())["logs"]
    settings = host.check_output("docker exec clickhouse-langfuse cat /etc/clickhouse-server/config.d/private-llm.xml")
    ends = {element.tag: element.get("remove") or element.findtext("ttl") for element in ElementTree.fromstring(settings)}
    assert {name for name in known if not ends.get(name)} == set() and len(known) > 30
    assert ends["query_log"] == "event_date + INTERVAL 7 DAY DELETE" and ends["query_metric_log"] == "1"


def test_the_containers_are_hardened(inspect):
    assert findings_of_platform({name: inspect(name) for name in CONTAINERS}, open_doors=["litellm", "langfuse-web", "object-store-langfuse"]) == {}


def test_the_memory_limits_of_the_analytics_add_up_to_19_gib(inspect):
    total = sum(inspect(name)["HostConfig"]["Memory"] for name in (*STORES, "langfuse-web", "langfuse-worker"))
    assert total == 19 * 2**30


@pytest.mark.parametrize("credentials", ["pk-lf-gateway:sk-lf-wrong", "pk-lf-other:" + SECRET_KEY, "x"])
def test_traces_with_wrong_keys_are_refused(outside, credentials):
    headers = {"Content-Type": "application/x-protobuf", "x-langfuse-ingestion-version": "4"}
    assert langfuse(outside, "/api/public/otel/v1/traces", "POST", b"", headers, credentials).status == 401


def test_nobody_can_sign_up(outside):
    assert langfuse(outside, "/api/auth/signup", "POST", {"email": "me@example.com"}).status == 422


def test_nothing_is_told_to_the_makers(host):
    for name in ("langfuse-web", "langfuse-worker"):
        assert "TELEMETRY_ENABLED=false" in host.check_output("docker inspect -f '{{.Config.Env}}' %s", name)


def test_valkey_wants_its_password_and_drops_nothing(host):
    assert "NOAUTH" in host.check_output("docker exec valkey-langfuse valkey-cli get x")
    asked = "docker exec -e REDISCLI_AUTH=%s valkey-langfuse valkey-cli config get maxmemory-policy"
    assert host.check_output(asked, secret("valkey/langfuse")).split()[-1] == "noeviction"


def test_clickhouse_knows_nobody_but_its_one_user(host):
    for user, password in (("default", ""), ("clickhouse", "wrong")):
        command = "docker exec -e CLICKHOUSE_USER=%s -e CLICKHOUSE_PASSWORD=%s clickhouse-langfuse clickhouse-client --query 'SELECT 1'"
        assert host.run(command, user, password).rc != 0


def secrets_in_use():
    labels = ("postgres/langfuse", "postgres/analyst", "clickhouse/langfuse", "valkey/langfuse", "object-store/langfuse", "langfuse/salt")
    labels += ("langfuse/session", "langfuse/admin", "langfuse/project-key")
    encryption_key = hashlib.sha256(secret("langfuse/encryption-key").encode()).hexdigest()
    return [secret(label) for label in labels] + [encryption_key]


@pytest.mark.parametrize(
    "command",
    ["systemctl cat '*langfuse*' litellm", "ps axww", "journalctl --no-pager", "find /etc /opt -xdev -perm -o+r -type f -exec grep -Ih '' {} +"],
)
def test_no_secret_is_seen_in(host, command):
    output = host.run(command).stdout
    assert len(output) > 1000 and [position for position, word in enumerate(secrets_in_use()) if word in output] == []


# -- the analyst ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "container, port, database, table",
    [("postgres-langfuse", 5434, "langfuse", "projects"), ("postgres-litellm", 5433, "litellm", '\\"LiteLLM_TeamTable\\"')],
)
def test_the_analyst_reads_every_table_and_changes_none(host, container, port, database, table):
    image = host.check_output("docker inspect -f '{{.Image}}' %s", container)

    def query(*statements, password=None):
        password = password or secret("postgres/analyst")
        connect = f"psql -h 127.0.0.1 -p {port} -U analyst -d {database} -tA " + " ".join(f'-c "{statement}"' for statement in statements)
        return host.run(f"PGPASSWORD={password} docker run --rm --network host -e PGPASSWORD {image} {connect}")

    assert int(query(f"SELECT count(*) FROM {table}").stdout) >= 1
    assert "read-only transaction" in query(f"DELETE FROM {table}").stderr
    assert "permission denied" in query("SET default_transaction_read_only = off", f"DELETE FROM {table}").stderr
    assert "permission denied" in query("SET default_transaction_read_only = off", "CREATE TABLE mine (x int)").stderr
    assert query("SELECT 1", password="wrong").rc != 0


# -- export, retention, report ---------------------------------------------------------------------------------------------

PROGRAM = "/opt/private-llm/langfuse/langfuse_traces.py"
EXPORT = "/var/lib/private-llm/exports/test"
MANY = 100_000
# So long ago that nothing else is there.
LONG_AGO = 1_577_836_800
LARGEST_MEMORY_KIB = 200 * 1024


@pytest.fixture(scope="module")
def program(host):
    """How the program is run on the host: with its variables, whose values are in no argument."""
    environment = f"LANGFUSE_URL=http://127.0.0.1:{LANGFUSE}\nLANGFUSE_PUBLIC_KEY={PUBLIC_KEY}\nLANGFUSE_SECRET_KEY={SECRET_KEY}\n"
    host.check_output("install -m 600 /dev/null /run/langfuse.env && printf %s > /run/langfuse.env", environment)
    return f"set -a; . /run/langfuse.env; exec /usr/bin/python3 -I {PROGRAM}"


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def old_span(number):
    """A span as OTLP has it, one each second of a day and a bit in 2020."""
    values = {
        "langfuse.observation.type": "generation",
        "user.id": "archivist",
        "langfuse.observation.input": json.dumps([{"role": "user", "content": f"Old question {number}"}]),
        "langfuse.observation.output": json.dumps({"role": "assistant", "content": "x" * 400}),
    }
    attributes = b"".join(field(9, field(1, name.encode()) + field(2, field(1, value.encode()))) for name, value in values.items())
    moment = ((LONG_AGO + number) * 10**9).to_bytes(8, "little")
    ids = field(1, number.to_bytes(16, "big")) + field(2, (number + 1).to_bytes(8, "big"))
    return field(2, ids + field(5, b"old") + b"\x39" + moment + b"\x41" + moment + attributes)


@pytest.fixture(scope="module")
def archive(host, outside):
    """A hundred thousand traces, brought in as the gateway does."""
    headers = {"Content-Type": "application/x-protobuf", "x-langfuse-ingestion-version": "4"}
    for start in range(0, MANY, 2000):
        body = field(1, field(2, b"".join(old_span(number) for number in range(start, start + 2000))))
        assert langfuse(outside, "/api/public/otel/v1/traces", "POST", body, headers).status == 200
    oldest = "/api/public/v2/observations?limit=1&toStartTime=2020-01-01T00:00:01Z"
    newest = "/api/public/v2/observations?limit=1&fromStartTime=2020-01-02T03:46:39Z&toStartTime=2020-02-01T00:00:00Z"
    deadline = time.monotonic() + 300
    while not all(langfuse(outside, path).json()["data"] for path in (oldest, newest)):
        assert time.monotonic() < deadline
        time.sleep(1)


def test_an_export_of_100000_traces_that_is_killed_goes_on_without_gap_or_double_in_constant_memory(host, program, archive):
    command = f"{program} export --since 2020-01-01 --until 2020-02-01 --directory {EXPORT}"
    host.check_output(f"rm -rf {EXPORT}; systemctl reset-failed export-test 2>/dev/null || true")
    host.check_output("systemd-run --quiet --collect --unit export-test sh -c %s", command)
    far = f"[ -s {EXPORT}/progress.json ] && [ $(stat -c %s {EXPORT}/conversations.jsonl.partial) -gt 20000000 ]"
    host.check_output(f"for i in $(seq 600); do {far} && exit 0; sleep 0.1; done; exit 1")
    host.check_output("systemctl kill --signal KILL export-test")
    count = json.loads(host.file(f"{EXPORT}/progress.json").content_string)["count"]
    assert 0 < count < MANY
    measured = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    said = host.check_output("python3 -c %s sh -c %s", measured, command).splitlines()
    assert said[0] == f"{MANY} conversations in {EXPORT}"
    assert int(said[1]) <= LARGEST_MEMORY_KIB, f"{said[1]} KiB"
    assert host.check_output(f"wc -l < {EXPORT}/conversations.jsonl") == str(MANY)
    assert host.check_output(f"grep -o '\"trace\": \"[0-9a-f]*' {EXPORT}/conversations.jsonl | sort -u | wc -l") == str(MANY)
    counted = "import csv; rows = [row['trace'] for row in csv.DictReader(open('%s', newline=''))]; print(len(rows), len(set(rows)))"
    assert host.check_output("python3 -c %s", counted % f"{EXPORT}/conversations.csv") == f"{MANY} {MANY}"
    assert host.check_output(f"stat -c %a {EXPORT} {EXPORT}/conversations.jsonl {EXPORT}/conversations.csv").split() == ["700", "600", "600"]


def test_a_dry_run_tells_what_would_be_deleted_and_deletes_nothing(host, outside, program, archive):
    said = host.check_output("sh -c %s", f"{program} prune --days 1000 --dry-run")
    assert said.startswith(f"{MANY} traces") and f"would be deleted (2020-01: {MANY})" in said
    assert langfuse(outside, "/api/public/v2/observations?limit=1&toStartTime=2020-02-01T00:00:00Z").json()["data"]


def test_what_is_too_old_is_deleted_and_nothing_else(host, outside, program, archive):
    kept = len(observations(outside, fromStartTime="2021-01-01T00:00:00Z"))
    assert f"{MANY} traces" in host.check_output("sh -c %s", f"{program} prune --days 1000")
    deadline = time.monotonic() + 120
    while langfuse(outside, "/api/public/v2/observations?limit=1&toStartTime=2020-02-01T00:00:00Z").json()["data"]:
        assert time.monotonic() < deadline
        time.sleep(1)
    assert len(observations(outside, fromStartTime="2021-01-01T00:00:00Z")) == kept > 0


def test_the_retention_runs_as_a_service_without_privileges(host):
    assert host.service("langfuse-retention").is_running and host.service("langfuse-retention").is_enabled
    pid = host.check_output("systemctl show -p MainPID --value langfuse-retention")
    assert host.check_output(f"stat -c %U /proc/{pid}") != "root"
    assert "--days=30" in host.check_output(f"tr '\\0' ' ' < /proc/{pid}/cmdline")


def test_the_report_adds_up_what_langfuse_has(outside, host):
    found = observations(outside, fromStartTime="2021-01-01T00:00:00Z")
    given = {"url": f"http://127.0.0.1:{LANGFUSE}", "public_key": PUBLIC_KEY, "secret_key": SECRET_KEY, "period": "7d"}
    command = ["ansible", "--inventory", os.environ["MOLECULE_INVENTORY_FILE"], "all", "-m", "private_llm.platform.langfuse_info", "-a", json.dumps(given)]
    settings = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=settings).stdout
    report = yaml.safe_load(result.partition("=>")[2])
    assert sum(row["requests"] for row in report["usage"]) == len(found)
    assert {row["person"] for row in report["usage"]} >= {*PEOPLE, "lawyer", "discreet"}
    assert "recorded" in next(entry["topics"] for entry in report["topics"] if entry["name"] == "person-02")


# -- failures -------------------------------------------------------------------------------------------------------------


def jobs(host, queue):
    asked = f"docker exec -e REDISCLI_AUTH=%s valkey-langfuse valkey-cli llen {queue}"
    return host.run(asked, secret("valkey/langfuse")).stdout.strip()


def kill(host, name):
    host.check_output("kill -9 $(docker inspect -f '{{.State.Pid}}' %s)", name)


def test_what_was_taken_survives_the_death_of_valkey(host, outside):
    began = now(host)
    host.check_output("systemctl stop langfuse-worker")
    assert ask(outside, key_of("person-05"), "Does this survive Valkey?")[0] == 200
    wait_for(lambda: jobs(host, "otel-ingestion-queue") == "1")
    started = host.check_output("docker inspect -f '{{.State.StartedAt}}' valkey-langfuse")
    kill(host, "valkey-langfuse")
    wait_for(lambda: host.run("docker inspect -f '{{.State.StartedAt}}' valkey-langfuse").stdout.strip() not in ("", started))
    wait_for(lambda: jobs(host, "otel-ingestion-queue") == "1")
    host.check_output("systemctl start langfuse-worker")
    assert [prompt_of(entry) for entry in arrived(outside, began, 1)] == ["Does this survive Valkey?"]


def test_what_was_begun_survives_the_death_of_the_worker(host, outside):
    began = now(host)
    # With ClickHouse asleep the worker cannot be done before it dies.
    host.check_output("docker pause clickhouse-langfuse")
    try:
        assert ask(outside, key_of("person-05"), "Does this survive the worker?")[0] == 200
        wait_for(lambda: jobs(host, "otel-ingestion-queue:active") == "1")
        kill(host, "langfuse-worker")
    finally:
        host.check_output("docker unpause clickhouse-langfuse")
    assert [prompt_of(entry) for entry in arrived(outside, began, 1)] == ["Does this survive the worker?"]
