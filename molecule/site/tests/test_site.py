"""A day on the platform, from outside: people get answers, limits hold, changes reach only what they should, a reboot is no event."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import time
import tomllib
import urllib.parse
import urllib.request
from csv import DictReader

import pytest
import yaml
from container_hardening import findings_of_platform
from outside import Outside
from site_runs import CONTAINERS, REPOSITORY, SENTENCE, change, key_of, people_directory, project_keys, recap, run_playbook, sentences
from telling import firing, log_lines, start_webhook, unhealthy_targets, value, webhook_alerts, within

# This site publishes them on all addresses, which the other file of tests does not.
OPEN_DOORS = ("litellm", "langfuse-web")
GATEWAY, MODEL_SERVER, DATABASE, LANGFUSE = 4000, 8000, 5433, 3001
ROOT_SECRET = "this-secret-belongs-to-the-test-and-guards-nothing"
SECONDS_TO_COME_BACK = 240


def chat(text="Hello?"):
    return {"model": "qwen3-coder", "messages": [{"role": "user", "content": text}]}


def ask(outside, key, **more):
    return outside.request(GATEWAY, "/v1/chat/completions", key=key, body={**chat(), **more})


@pytest.fixture
def inventory(tmp_path):
    """A copy of the site's inventory to change."""
    copy = tmp_path / "inventory"
    shutil.copytree(REPOSITORY / "molecule" / "site" / "inventory", copy)
    return copy


def wait_until_answered(outside, key):
    deadline = time.monotonic() + SECONDS_TO_COME_BACK
    while time.monotonic() < deadline:
        if outside.connects(GATEWAY):
            try:
                if ask(outside, key).status == 200:
                    return
            except OSError:
                pass
        time.sleep(2)
    pytest.fail(f"the gateway gives no answer after {SECONDS_TO_COME_BACK} s")


@pytest.fixture(scope="module")
def secrets(host):
    """Every secret that is in use, read from where it is used."""
    found = {}
    for service in ("litellm", "langfuse-web"):
        lines = host.check_output(f"cat /etc/private-llm/{service}/*/secret_environment").splitlines()
        own = {line.partition("=")[0]: shlex.split(line.partition("=")[2])[0] for line in lines}
        found[f"password of the database of {service}"] = re.search(r"://[^:]+:([^@]+)@", own.pop("DATABASE_URL")).group(1)
        found |= own
    found["key of the model server"] = host.check_output("head -n 1 /etc/llama-server/api-keys")
    found |= {f"key of {name}": key_of(name) for name in ("ada", "hasty", "thrifty", "leaver")}
    assert len(found) == 20 and min(map(len, found.values())) >= 32
    return found | {"root secret": ROOT_SECRET}


def names_of(secrets, text):
    """Which of the secrets a text holds."""
    return [name for name, secret in secrets.items() if secret in text]


# -- answers --------------------------------------------------------------------------------------------------------------


def streamed_words(outside, key):
    """The pieces of a streamed answer, which has to end as the protocol wants it."""
    events = outside.stream(GATEWAY, "/v1/chat/completions", key, chat())
    assert events.pop() == "[DONE]"
    pieces = [choice["delta"].get("content") for event in events for choice in json.loads(event)["choices"]]
    return [piece for piece in pieces if piece]


def test_a_chat_streams_word_by_word(outside):
    words = streamed_words(outside, key_of("ada"))
    assert "".join(words) == SENTENCE and len(words) > 1


def test_the_plain_answer_comes_from_the_model(outside):
    assert ask(outside, key_of("ada")).json()["choices"][0]["message"]["content"] == SENTENCE


def test_no_connection_to_the_model_server_outlives_its_answer(host, outside):
    # Otherwise new requests would come in by it while the server is being drained.
    prometheus = host.check_output("docker inspect -f '{{.NetworkSettings.Networks.platform.IPAddress}}' prometheus")
    assert ask(outside, key_of("ada")).status == 200
    assert host.check_output(f"ss -H -t state established '( sport = :8000 and src 10.89.64.1 and not dst {prometheus} )'") == ""


def test_the_connection_of_prometheus_to_the_model_server_ends_before_it_asks_again(host):
    assert within(20, lambda: host.check_output("ss -H -t state established '( sport = :8000 )'") == "")


def test_what_was_spent_is_in_the_database(host, outside):
    before = spend_rows(host)
    assert ask(outside, key_of("ada")).status == 200
    deadline = time.monotonic() + 60
    while spend_rows(host) == before and time.monotonic() < deadline:
        time.sleep(2)
    assert spend_rows(host) > before


def spend_rows(host):
    sql = "SELECT count(*) FROM \\\"LiteLLM_SpendLogs\\\" WHERE \\\"user\\\" = 'ada' AND spend > 0"
    return int(host.check_output(f'docker exec postgres-litellm psql -U litellm -d litellm -tAc "{sql}"'))


# -- hand-outs --------------------------------------------------------------------------------------------------------------


def configured(*path):
    """What a tool reads in ada's hand-out."""
    text = people_directory().joinpath("ada", *path).read_text()
    return tomllib.loads(text) if path[-1].endswith(".toml") else yaml.safe_load(text)


def test_the_curl_of_the_hand_out_streams_an_answer(outside, tmp_path):
    # In the test nobody knows the public name, so curl is told where it leads.
    (tmp_path / ".curlrc").write_text(f'connect-to = "gateway.test:{GATEWAY}:{outside.address}:{GATEWAY}"\n')
    environment = {**os.environ, "HOME": str(tmp_path), "no_proxy": "*"}
    done = subprocess.run([people_directory() / "ada" / "curl.sh"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0 and done.stdout.rstrip().endswith("data: [DONE]"), done.stdout + done.stderr
    assert done.stdout.count("data: {") > 1


def test_a_second_key_lies_in_a_directory_of_its_own_and_works(outside):
    second = (people_directory() / "ada" / "ci" / "key").read_text().strip()
    assert second != key_of("ada") and ask(outside, second).status == 200


def test_every_configuration_of_the_hand_out_has_an_address_a_key_and_a_model_that_answer(outside):
    continues = configured("continue", "config.yaml")["models"][0]
    cline = configured("cline", "providers.json")["providers"]["openai-compatible"]["settings"]
    aider = configured("aider", "aider.conf.yml")
    opencode = configured("opencode", "opencode.json")
    qwen = configured("qwen-code", "settings.json")
    zed = configured("zed", "settings.json")["language_models"]["openai_compatible"]["private-llm"]
    variables = dict(line.split("=", 1) for line in (people_directory() / "ada" / "dotenv").read_text().splitlines())
    options = opencode["provider"]["private-llm"]["options"]
    offered = qwen["modelProviders"]["openai"][0]
    found = {
        (continues["apiBase"], continues["apiKey"], continues["model"]),
        (cline["baseUrl"], cline["apiKey"], cline["model"]),
        (aider["openai-api-base"], aider["openai-api-key"], aider["model"].removeprefix("openai/")),
        (options["baseURL"], options["apiKey"], opencode["model"].removeprefix("private-llm/")),
        (offered["baseUrl"], qwen["env"][offered["envKey"]], offered["id"]),
        (zed["api_url"], variables["PRIVATE_LLM_API_KEY"], zed["available_models"][0]["name"]),
    }
    assert found == {(f"http://gateway.test:{GATEWAY}/v1", key_of("ada"), "qwen3-coder")}
    assert ask(outside, key_of("ada")).status == 200


def test_claude_code_gets_an_answer_by_the_anthropic_style_endpoint_plain_and_streamed(outside):
    settings = configured("claude-code", "settings.json")["env"]
    assert settings["ANTHROPIC_BASE_URL"] == f"http://gateway.test:{GATEWAY}"
    question = {"model": settings["ANTHROPIC_MODEL"], "max_tokens": 50, "messages": [{"role": "user", "content": "Hello?"}]}
    plain = outside.request(GATEWAY, "/v1/messages", key=settings["ANTHROPIC_AUTH_TOKEN"], body=question).json()
    assert plain["content"] == [{"type": "text", "text": SENTENCE}]
    events = [json.loads(event) for event in outside.stream(GATEWAY, "/v1/messages", settings["ANTHROPIC_AUTH_TOKEN"], question)]
    pieces = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(pieces) == SENTENCE and len(pieces) > 1
    assert (events[0]["type"], events[-1]["type"]) == ("message_start", "message_stop")
    assert outside.request(GATEWAY, "/v1/messages", body=question).status == 401


def test_codex_gets_an_answer_by_the_responses_endpoint(outside):
    settings = configured("codex", "config.toml")
    provider = settings["model_providers"][settings["model_provider"]]
    assert (provider["base_url"], provider["wire_api"]) == (f"http://gateway.test:{GATEWAY}/v1", "responses")
    events = outside.stream(GATEWAY, "/v1/responses", key_of("ada"), {"model": settings["model"], "input": "Hello?"})
    pieces = [event["delta"] for event in map(json.loads, (e for e in events if e != "[DONE]")) if event["type"] == "response.output_text.delta"]
    assert "".join(pieces) == SENTENCE and len(pieces) > 1


# -- what is recorded -------------------------------------------------------------------------------------------------------


def recorded(outside, secrets, **query):
    """What Langfuse (a stand-in) has, newest first."""
    credentials = base64.b64encode(project_keys(secrets["PRIVATE_LLM_TRACES_SECRET_KEY"]).encode()).decode()
    path = f"/api/public/v2/observations?{urllib.parse.urlencode({'fields': 'core,basic,io,model,usage', 'limit': 1000, **query})}"
    request = urllib.request.Request(f"http://{outside.address}:{LANGFUSE}{path}", headers={"Authorization": f"Basic {credentials}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]


def test_what_a_person_asked_and_what_the_model_answered_is_recorded(outside, secrets):
    question = f"Is this kept? {time.monotonic_ns()}"
    assert ask(outside, key_of("ada"), messages=chat(question)["messages"]).status == 200
    deadline = time.monotonic() + 60
    while not (found := [entry for entry in recorded(outside, secrets, userId="ada") if question in (entry["input"] or "")]):
        assert time.monotonic() < deadline
        time.sleep(1)
    assert (json.loads(found[0]["output"])["content"], found[0]["providedModelName"]) == (SENTENCE, "qwen3-coder")
    assert found[0]["usageDetails"]["output"] > 0


def test_conversations_are_exported_on_the_host_and_reported_to_the_operator(host, tmp_path, secrets):
    inventory = REPOSITORY / "molecule" / "site" / "inventory"
    exported = run_playbook("export.yml", inventory, "-e", "period=today", "-vvv")
    assert exported.returncode == 0, exported.stdout[-3000:]
    lines = host.check_output("cat /var/lib/private-llm/exports/*/conversations.jsonl").splitlines()
    # Each way of asking answers in a form of its own, which is kept.
    assert any(SENTENCE in json.dumps(json.loads(line)["output"]) for line in lines)
    reported = run_playbook("report.yml", inventory, "-e", "period=today", "-e", f"platform_usage_directory={tmp_path}", "-vvv")
    assert reported.returncode == 0, reported.stdout[-3000:]
    page, table = (next(tmp_path.glob(f"*/asked.{kind}")) for kind in ("html", "csv"))
    assert "<svg" in page.read_text() and "ada" in {row["person"] for row in DictReader(table.read_text().splitlines())}
    assert {path.stat().st_mode & 0o777 for path in (page, table)} == {0o600}
    assert names_of(secrets, exported.stdout + reported.stdout) == []


# -- who used how much ------------------------------------------------------------------------------------------------------


def test_the_usage_playbook_shows_who_used_how_much_and_keeps_it_for_the_operator_alone(tmp_path, secrets):
    directory = tmp_path / "usage"
    arguments = ("-e", "period=30d", "-e", f"platform_usage_directory={directory}", "-vvv")
    deadline = time.monotonic() + 90
    while True:
        run = run_playbook("usage.yml", REPOSITORY / "molecule" / "site" / "inventory", *arguments)
        assert run.returncode == 0, run.stdout[-3000:]
        assert names_of(secrets, run.stdout + run.stderr) == []
        (report,) = directory.glob("*/usage.json")
        # The gateway writes down what was used a moment after the answer.
        ada = next(row for row in json.loads(report.read_text())["users"] if row["name"] == "ada")
        if (ada["usage"]["requests"] > 0 and ada["last_used"]) or time.monotonic() > deadline:
            break
        time.sleep(5)
    files = {path.name: path for path in directory.glob("*/*")}
    assert sorted(files) == ["keys.csv", "people.csv", "teams.csv", "usage.json"]
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    with files["people.csv"].open() as stream:
        people = {row["name"]: row for row in DictReader(stream)}
    ada = people["ada"]
    assert int(ada["used_requests"]) > 0 and float(ada["used_spend"]) > 0 and ada["last_used"]
    assert float(people["thrifty"]["max_budget"]) == 0.000001
    assert json.loads(files["usage.json"].read_text())["total"]["requests"] >= int(ada["used_requests"])
    assert re.search(rf"^ *ada +active .* {ada['used_requests']} ", run.stdout, re.MULTILINE)


def test_the_administrator_finds_the_password_of_the_web_page_and_it_opens_it(outside):
    # As docs/admin-page.md tells it.
    shown = run_playbook("show_secret.yml", REPOSITORY / "molecule" / "site" / "inventory", "--extra-vars", "secret=litellm/ui-password").stdout
    password = re.search(r"msg\"?: \"?([A-Za-z0-9]{32,})", shown).group(1)
    statuses = [outside.request(GATEWAY, "/v2/login", body={"username": "admin", "password": word}).status for word in (password, key_of("ada"))]
    assert statuses == [200, 401]


# -- refusals -------------------------------------------------------------------------------------------------------------


def test_without_a_key_nobody_gets_an_answer(outside):
    assert outside.request(GATEWAY, "/v1/chat/completions", body=chat()).status == 401


def test_a_wrong_key_gets_no_answer(outside):
    assert ask(outside, "sk-" + "x" * 40).status == 401


def test_above_the_rate_limit_a_request_is_told_to_wait(outside):
    statuses = [ask(outside, key_of("hasty")).status for _ in range(6)]
    assert statuses[0] == 200 and 429 in statuses


def test_above_the_budget_a_request_is_refused(outside):
    deadline = time.monotonic() + 60
    statuses = [ask(outside, key_of("thrifty")).status]
    while statuses[-1] == 200 and time.monotonic() < deadline:
        time.sleep(2)
        statuses.append(ask(outside, key_of("thrifty")).status)
    assert statuses[0] == 200 and statuses[-1] == 422


# -- doors ----------------------------------------------------------------------------------------------------------------


def test_the_database_answers_on_loopback_only(host, outside):
    assert host.socket(f"tcp://127.0.0.1:{DATABASE}").is_listening
    assert not outside.connects(DATABASE)


def test_of_the_analytics_only_langfuse_answers_from_outside(outside):
    assert outside.connects(LANGFUSE)
    assert not any(outside.connects(port) for port in (5434, 6379, 8123, 8333, 9000))


def test_the_model_server_answers_on_loopback_and_not_from_outside(host, outside):
    assert host.check_output(f"curl -s -o /dev/null -w '%{{http_code}}' http://127.0.0.1:{MODEL_SERVER}/health") == "200"
    assert not outside.connects(MODEL_SERVER)


def neighbour_connects(outside, address, port):
    """Whether another machine of the network, which routes the platform's addresses through the host, gets a connection."""
    image = subprocess.run(["docker", "inspect", "-f", "{{.Config.Image}}", "pl-site"], capture_output=True, text=True, check=True).stdout.strip()
    script = f"ip route add 10.89.64.0/24 via {outside.address} && timeout 4 bash -c 'exec 3<>/dev/tcp/{address}/{port}'"
    command = ["docker", "run", "--rm", "--cap-add", "NET_ADMIN", "--entrypoint", "/bin/bash", image, "-c", script]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_neighbour_that_routes_through_the_host_reaches_the_gateway_but_not_the_model_server(outside):
    assert neighbour_connects(outside, outside.address, GATEWAY)
    assert not neighbour_connects(outside, "10.89.64.1", MODEL_SERVER)


def test_the_containers_are_hardened(inspect):
    assert findings_of_platform({name: inspect(name) for name in CONTAINERS}, OPEN_DOORS) == {}


# -- what is seen of it -------------------------------------------------------------------------------------------------------


def test_every_target_is_up_and_asking_all_of_them_takes_less_than_a_second(host):
    within(60, lambda: unhealthy_targets(host) == {})
    assert unhealthy_targets(host) == {}
    assert value(host, "sum(scrape_duration_seconds)") < 1


def test_the_key_of_prometheus_opens_the_metrics_of_the_gateway_and_nothing_else(host, outside):
    key = host.check_output("cat /etc/private-llm/prometheus/*/files/run/secrets/litellm")
    assert outside.request(GATEWAY, "/metrics/").status == 401
    assert "litellm_proxy_total_requests_metric_total" in outside.request(GATEWAY, "/metrics/", key=key).text
    assert ask(outside, key).status in (401, 403)


def test_requests_are_counted_for_the_person_who_made_them(host, outside):
    assert ask(outside, key_of("ada")).status == 200
    assert within(60, lambda: value(host, 'sum(litellm_proxy_total_requests_metric_total{user="ada"})'))
    assert within(60, lambda: value(host, "sum(llamacpp:tokens_predicted_total)"))


def test_a_line_of_each_service_arrives_with_its_labels_within_ten_seconds(host, outside):
    services = ("litellm", "postgres-litellm", "llama-server", "prometheus", "alertmanager", "grafana", "loki", "alloy")
    host.check_output("docker exec postgres-litellm psql -U litellm -c \"DO \\$\\$ BEGIN RAISE LOG 'a line of the database'; END \\$\\$\"")
    assert ask(outside, key_of("ada")).status == 200
    found = {service: within(10, lambda service=service: log_lines(host, f'{{host="pl-site", service="{service}"}}')) for service in services}
    assert [service for service, lines in found.items() if not lines] == []
    assert {tuple(sorted(labels)) for lines in found.values() for labels, _line in lines} == {("host", "level", "service")}


def test_no_secret_is_in_the_logs_or_the_metrics(host, secrets):
    lines = "\n".join(line for _labels, line in log_lines(host, '{host="pl-site"}'))
    assert names_of(secrets, lines) == []
    assert names_of(secrets, host.check_output("curl -sSg 'http://127.0.0.1:9090/api/v1/series?match[]={__name__=~\".%2B\"}'")) == []


def test_a_model_server_that_is_gone_is_told_and_its_return_too(host):
    start_webhook(host, "10.89.64.1", 9999)
    host.check_output("systemctl kill --signal=KILL llama-server; systemctl stop llama-server")
    try:
        assert within(60, lambda: "ModelServerDown" in firing(host))
        sent = within(30, lambda: [a for a in webhook_alerts(host) if a["labels"]["alertname"] == "ModelServerDown"])
    finally:
        host.check_output("systemctl start llama-server")
    assert sent[0]["annotations"]["summary"] == "The model server llama-server on pl-site does not answer."
    assert within(120, lambda: "ModelServerDown" not in firing(host))


# -- changes --------------------------------------------------------------------------------------------------------------


def test_a_check_of_the_finished_site_says_no_change_and_shows_no_secret(secrets):
    run = run_playbook("site.yml", REPOSITORY / "molecule" / "site" / "inventory", "--check", "--diff", "-vvv")
    assert recap(run)["failed"] == 0 and recap(run)["changed"] == 0, run.stdout[-3000:]
    assert names_of(secrets, run.stdout + run.stderr) == []


def test_adding_a_person_gives_a_working_key_and_changes_nothing_else(host, outside, inventory):
    before = {name: host.check_output(f"docker inspect -f '{{{{.Id}}}}' {name}") for name in ("litellm", "postgres-litellm")}
    keys = {name: key_of(name) for name in ("ada", "hasty", "thrifty", "leaver")}
    change(inventory, "users.yml", "  - name: leaver\n", "  - name: leaver\n  - name: grace\n    email: grace@example.com\n")
    run = run_playbook("users.yml", inventory)
    assert run.returncode == 0, run.stdout[-3000:]
    assert ask(outside, key_of("grace")).status == 200
    assert {name: key_of(name) for name in keys} == keys
    assert {name: host.check_output(f"docker inspect -f '{{{{.Id}}}}' {name}") for name in before} == before
    assert recap(run_playbook("users.yml", inventory))["changed"] == 0


def test_who_leaves_is_refused_and_the_others_stay(outside, inventory):
    key = key_of("leaver")
    assert ask(outside, key).status == 200
    change(inventory, "users.yml", "  - name: leaver\n", "  - name: leaver\n    state: absent\n")
    run = run_playbook("users.yml", inventory)
    assert run.returncode == 0, run.stdout[-3000:]
    assert ask(outside, key).status == 401
    assert not (people_directory() / "leaver").exists()
    assert ask(outside, key_of("ada")).status == 200


@pytest.mark.parametrize("through, unit", [("server", "llama-server"), ("gateway", "litellm")])
def test_what_people_feel_is_measured_and_kept_on_the_controller(inventory, tmp_path, secrets, through, unit):
    little = {"rounds": 1, "streams": 3, "prompt_tokens": 256, "answer_tokens": 16, "seconds": 60}
    settings = {"through": through, "platform_bench_directory": str(tmp_path / "bench"), **little}
    run = run_playbook("bench.yml", inventory, "--extra-vars", json.dumps(settings))
    assert run.returncode == 0, run.stdout[-3000:]
    assert recap(run)["failed"] == 0
    (path,) = (tmp_path / "bench").iterdir()
    kept = json.loads(path.read_text())
    assert unit in path.name and path.stat().st_mode & 0o777 == 0o600
    assert (kept["measured"]["failed"], kept["measured"]["first_token_crowd"]["count"]) == (0, 3)
    assert [row["kept"] for row in kept["comparison"]] == ([True, True] if through == "server" else [])
    assert names_of(secrets, run.stdout + run.stderr + path.read_text()) == []


def test_no_secret_is_in_what_a_changing_run_prints(inventory, secrets):
    change(inventory, "users.yml", "rpm_limit: 100", "rpm_limit: 101")
    run = run_playbook("users.yml", inventory, "--diff", "-vvv")
    assert run.returncode == 0 and recap(run)["changed"] > 0
    assert names_of(secrets, run.stdout + run.stderr) == []


def test_no_secret_is_in_a_unit_a_process_list_or_the_journal(host, secrets):
    for command in ("systemctl cat litellm postgres-litellm llama-server", "ps axww", "journalctl --no-pager"):
        assert names_of(secrets, host.check_output(command)) == [], command


# -- refusals before anything is changed ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("platform.yml", "platform_root_secret: this-secret-belongs-to-the-test-and-guards-nothing", "", "platform_root_secret"),
        ("platform.yml", "this-secret-belongs-to-the-test-and-guards-nothing", "CHANGE-ME", "CHANGE-ME"),
        ("platform.yml", "platform_listen_address: 0.0.0.0", "platform_listen_address: 0.0.0.0\nlitellm_prot: 4001", "litellm_port"),
        ("users.yml", "  - name: leaver\n", "  - email: nameless@example.com\n", "name"),
        ("platform.yml", "http://10.89.64.1:9999", "https://pager.example.com", "receivers that are not at 10.89.64.1, the host itself (test)"),
        ("platform.yml", "url: http://langfuse.test:3001", "url: https://langfuse.test\nplatform_tls: true", "would still let everybody in without TLS"),
        ("platform.yml", "platform_listen", "langfuse_environment: {AUTH_DISABLE_SINGUP: 'true'}\nplatform_listen", "AUTH_DISABLE_SIGNUP"),
    ],
    ids=["a missing root secret", "a placeholder", "an unknown role variable", "a person without a name", "a receiver out of reach", "a door beside TLS",
         "an unknown variable of Langfuse"],
)
def test_a_wrong_inventory_stops_the_run_before_anything_is_changed(inventory, file, old, new, sentence):
    change(inventory, file, old, new)
    run = run_playbook("site.yml", inventory)
    assert run.returncode != 0 and recap(run)["changed"] == 0
    assert sentence in sentences(run), run.stdout[-3000:]


def test_a_port_that_is_taken_stops_the_run_before_anything_is_changed(host, inventory):
    host.check_output("systemctl stop litellm")
    host.check_output(f"systemd-run --unit squatter --collect python3 -m http.server {GATEWAY} --bind 127.0.0.1")
    try:
        time.sleep(1)
        run = run_playbook("site.yml", inventory)
    finally:
        host.check_output("systemctl stop squatter && systemctl start litellm")
    assert run.returncode != 0 and recap(run)["changed"] == 0
    assert re.search(rf"{GATEWAY}.*(python3|squatter)", sentences(run)), run.stdout[-3000:]


# -- a second server --------------------------------------------------------------------------------------------------------


def tokens_made(host, port, unit):
    """How many tokens a model server has made since its start, out of its own metrics."""
    key = host.check_output(f"head -n 1 /etc/{unit}/api-keys")
    metrics = host.check_output(f"curl --silent --fail --header 'Authorization: Bearer {key}' http://127.0.0.1:{port}/metrics")
    return next(float(line.split()[1]) for line in metrics.splitlines() if line.startswith("llamacpp:tokens_predicted_total "))


def test_a_second_server_of_the_same_name_takes_its_share_of_the_requests(host, outside, inventory):
    models = "llm_models:\n  - name: qwen3-coder\n  - {name: qwen3-coder, slots: 2, context_per_slot: 4096}\n"
    change(inventory, "platform.yml", "platform_root_secret:", f"{models}platform_root_secret:")
    first = host.check_output("systemctl show llama-server --property MainPID --value")
    run = run_playbook("site.yml", inventory)
    assert run.returncode == 0 and recap(run)["failed"] == 0, run.stdout[-3000:]
    assert host.check_output("systemctl show llama-server --property MainPID --value") == first, "the first server was restarted"
    before = [tokens_made(host, port, unit) for port, unit in ((8000, "llama-server"), (8001, "llama-server-8001"))]
    for _request in range(16):
        assert ask(outside, key_of("ada")).status == 200
    after = [tokens_made(host, port, unit) for port, unit in ((8000, "llama-server"), (8001, "llama-server-8001"))]
    assert all(now > then for now, then in zip(after, before, strict=True)), (before, after)
    assert len(set(host.check_output("cat /etc/llama-server*/api-keys").split())) == 2


# -- a reboot ---------------------------------------------------------------------------------------------------------------


def test_after_a_reboot_everything_answers_again_without_ansible(host):
    booted = host.check_output("cat /proc/sys/kernel/random/boot_id")
    subprocess.run(["docker", "restart", "--time", "60", "pl-site"], check=True, capture_output=True)
    outside = Outside.of(host)
    wait_until_answered(outside, key_of("ada"))
    assert host.check_output("cat /proc/sys/kernel/random/boot_id") != booted
    assert "".join(streamed_words(outside, key_of("ada"))) == SENTENCE
    deadline = time.monotonic() + SECONDS_TO_COME_BACK
    while not outside.connects(LANGFUSE) or outside.request(LANGFUSE, "/api/public/health?failIfDatabaseUnavailable=true").status != 200:
        assert time.monotonic() < deadline, "Langfuse gives no answer"
        time.sleep(2)
