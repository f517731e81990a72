"""The model answers, to those who have a key, where it should and nowhere else."""

from __future__ import annotations

import json
import socket
import time

import pytest
from ansible_collections.private_llm.platform.plugins.module_utils import capacity_plan, gguf
from ansible_collections.private_llm.platform.tests.unit.fakes import gguf_files

KEY = "correct-horse-battery-staple"
HERE = "http://127.0.0.1:8000"
BRIDGE = "http://10.89.64.1:8000"
ANSWER = "Hello from the tiny test model."


def ask(host, url, *options, key=KEY, network="", patience=20):
    """Status and body of a request from the host itself, or from one of its network namespaces; status 0 when ``patience`` seconds were not enough."""
    inside = f"ip netns exec {network} " if network else ""
    header = f"--header 'Authorization: Bearer {key}'" if key else ""
    done = host.run(f"{inside}curl --silent --max-time {patience} --write-out '\\n%{{http_code}}' {header} {' '.join(options)} {url}")
    body, _newline, status = done.stdout.rpartition("\n")
    return int(status), body


def chat(host, base, network="", patience=20, **settings):
    request = {"model": "qwen3-coder", "messages": [{"role": "user", "content": "Say hello"}], **settings}
    return ask(host, f"{base}/v1/chat/completions", "--no-buffer", f"--json '{json.dumps(request)}'", network=network, patience=patience)


def test_the_server_runs_now_and_at_boot(host):
    service = host.service("llama-server")
    assert service.is_running
    assert service.is_enabled


def test_the_model_answers(host):
    status, body = chat(host, HERE)
    assert status == 200
    assert json.loads(body)["choices"][0]["message"]["content"] == ANSWER


def test_the_answer_streams_to_its_end(host):
    status, body = chat(host, HERE, stream=True)
    events = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: ")]
    said = "".join(json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:-1])
    assert (status, said, events[-1]) == (200, ANSWER, "[DONE]")


@pytest.mark.parametrize("key", ["", "wrong-horse-battery-staple"])
@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/props"])
def test_without_a_key_nothing_is_told(host, key, path):
    assert ask(host, f"{HERE}{path}", key=key)[0] == 401


def test_health_is_public(host):
    assert ask(host, f"{HERE}/health", key="")[0] == 200


def test_metrics_are_there_for_those_with_a_key(host):
    assert "llamacpp:requests_processing" in ask(host, f"{HERE}/metrics")[1]


def test_slots_of_others_cannot_be_read(host):
    assert ask(host, f"{HERE}/slots")[0] in (404, 501)


def test_each_slot_has_the_context_that_it_is_promised(host):
    model = json.loads(ask(host, f"{HERE}/v1/models")[1])["data"][0]
    assert (model["id"], model["meta"]["n_ctx"]) == ("qwen3-coder", 8192)


def test_each_slot_has_its_context_for_itself(host):
    words = host.check_output(f"tr '\\0' '\\n' < /proc/{pid_of(host)}/cmdline").splitlines()
    assert "--no-kv-unified" in words
    assert words[words.index("--ctx-size") + 1] == str(20 * 8192)


def test_the_servers_memory_is_limited_with_its_prompt_cache_counted(host):
    limit = int(host.check_output("systemctl show llama-server --property MemoryMax --value"))
    assert limit % 2**30 == 0
    assert 2048 + 64 < limit / 2**20 < 16384


@pytest.fixture(scope="module")
def production(tmp_path_factory):
    path = tmp_path_factory.mktemp("production") / "production.gguf"
    gguf_files.model().write(path)
    return gguf.describe(gguf.read(str(path)))


def test_the_plan_is_what_llama_cpp_itself_estimates_and_never_less(host, production):
    """The production shape, over contexts, slots, types and micro-batches; the estimator's own MiB of weights, context and compute buffer."""
    wanted = [
        capacity_plan.Settings(slots, pool // slots, kept, kept, ubatch)
        for pool in (32768, 262144, 1146880)
        for slots, kept, ubatch in ((1, "q8_0", 512), (8, "f16", 512), (20, "q4_0", 512), (20, "q8_0", 2048))
    ]
    lines = [
        f"-c {plan.slots * plan.context} -np {plan.slots} -ctk {plan.type_k} -ctv {plan.type_v} -b 2048 -ub {plan.ubatch}" for plan in wanted
    ]
    estimate = "/opt/llama.cpp/current/bin/llama-fit-params -m /srv/production.gguf -fitp on -fa on --no-repack -t 1"
    said = host.check_output("\n".join(f"{estimate} {line} 2>/dev/null | tail -n 1" for line in lines)).splitlines()
    assert len(said) == len(wanted)
    for plan, line in zip(wanted, said, strict=True):
        own = capacity_plan.predict(production, plan, capacity_plan.Memory("host", "host", (65536,)))
        theirs = sum(int(number) for number in line.split()[1:])
        ours = own.weights + own.context + own.compute
        assert theirs - 1 <= ours <= 1.05 * theirs, f"{plan}: {ours:.0f} MiB here, {line} there"


def connects(address, port):
    try:
        socket.create_connection((address, port), timeout=3).close()
    except OSError:
        return False
    return True


def test_the_server_cannot_be_reached_from_outside(host):
    # eth0, because the host has other addresses by now, which mean something else on the test machine.
    address = host.check_output("ip -4 -brief address show eth0").split()[2].partition("/")[0]
    assert connects(address, 22)
    assert not connects(address, 8000)


def test_the_second_address_answers_those_on_its_network(host):
    assert ask(host, f"{BRIDGE}/v1/models", network="gateway")[0] == 200


def test_the_second_address_does_not_answer_strangers(host):
    connect = "ip netns exec stranger timeout 3 bash -c '</dev/tcp/10.89.64.1/{port}'"
    assert host.run(connect.format(port=22)).rc == 0
    assert host.run(connect.format(port=8000)).rc != 0


def test_the_key_is_readable_by_the_server_only(host):
    file = host.file("/etc/llama-server/api-keys")
    assert (file.user, file.mode) == ("llama", 0o600)


def test_the_key_is_on_no_command_line(host):
    assert KEY not in host.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")


def test_the_key_is_in_no_log(host):
    assert KEY not in host.check_output("journalctl --no-pager --unit llama-server --unit llama-server-bridge")


def test_the_server_is_not_root_and_can_gain_nothing(host):
    pid = host.check_output("systemctl show llama-server --property MainPID --value")
    status = dict(line.split(":\t", 1) for line in host.check_output(f"cat /proc/{pid}/status").splitlines() if ":\t" in line)
    assert status["Uid"].split()[0] == str(host.user("llama").uid)
    assert int(status["CapBnd"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_the_server_sees_a_host_that_it_cannot_write(host):
    pid = host.check_output("systemctl show llama-server --property MainPID --value")
    options = {line.split()[1]: line.split()[3] for line in host.check_output(f"cat /proc/{pid}/mounts").splitlines()}
    assert options["/"].startswith("ro")


def test_the_server_has_time_to_finish_and_to_stop(host):
    assert host.check_output("systemctl show llama-server --property TimeoutStopUSec --value") == "2min 10s"


def pid_of(host):
    return host.check_output("systemctl show llama-server --property MainPID --value")


def processing(host):
    metrics = dict(line.split() for line in ask(host, f"{HERE}/metrics")[1].splitlines() if not line.startswith("#"))
    return int(metrics["llamacpp:requests_processing"])


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.2)


def test_a_restart_lets_answers_end_and_who_comes_meanwhile_is_answered_by_the_next_server(host):
    before = pid_of(host)
    request = {"model": "qwen3-coder", "messages": [{"role": "user", "content": "Say much"}], "stream": True, "ignore_eos": True, "max_tokens": 7000}
    curl = f"curl --silent --no-buffer --max-time 100 --header 'Authorization: Bearer {KEY}' --json '{json.dumps(request)}'"
    for number in range(4):
        host.check_output(f"({curl} {HERE}/v1/chat/completions > /run/stream-{number} 2>&1 &)")
    wait_until(lambda: processing(host) == 4, 20)
    # Earlier restarts have drained too.
    log = f"journalctl --no-pager --output cat --unit llama-server --since @{host.check_output('date +%s')}"
    host.check_output("systemctl restart --no-block llama-server")
    wait_until(lambda: "taking no new connections" in host.check_output(log), 10)
    # The streams may take long on a busy machine, and who comes now waits for their end.
    status, body = chat(host, BRIDGE, network="gateway", patience=100)
    while status == 503:  # the next server takes connections while it still loads the model, and says so
        status, body = chat(host, BRIDGE, network="gateway")
    assert status != 0, "the new request was not answered in time"
    assert pid_of(host) not in (before, "0"), "the new request was answered by the old server"
    assert (status, json.loads(body)["choices"][0]["message"]["content"]) == (200, ANSWER)
    for number in range(4):
        assert host.check_output(f"tail -n 2 /run/stream-{number}").strip().endswith("data: [DONE]"), "an answer was cut off"
    assert "drained" in host.check_output(log)


def test_only_the_newest_releases_stay_beside_the_one_that_runs(host):
    runs = host.check_output("readlink /opt/llama.cpp/current")
    there = host.check_output("ls /opt/llama.cpp/releases").split()
    assert len(there) == 3 and runs.rpartition("/")[2] in there and {"2023", "2024"} < set(there)


def test_a_killed_server_comes_back(host):
    host.check_output("systemctl kill --signal KILL llama-server")
    assert host.run(f"for n in $(seq 60); do curl --silent --fail {HERE}/health && exit 0; sleep 0.5; done; exit 1").rc == 0


@pytest.fixture(scope="module")
def measured(host):
    return json.loads(host.file("/srv/measured.json").content_string)


@pytest.fixture(scope="module")
def batched(host):
    """Tokens a second of llama.cpp's own program, by the length of the prompt and the number of streams; the better of two runs."""
    best = {}
    for row in (json.loads(line) for line in host.file("/srv/batched.jsonl").content_string.splitlines() if line.startswith("{")):
        seen = best.setdefault((row["pp"], row["pl"]), {"read": 0.0, "made": 0.0})
        seen.update(read=max(seen["read"], row["speed_pp"]), made=max(seen["made"], row["speed_tg"]))
    return best


def test_what_people_feel_is_measured(measured):
    found = measured["measured"]
    assert (found["failed"], found["streams"], found["in_time"]) == (0, 4, True)
    assert abs(found["prompt_tokens"] - 1024) < 150
    for name in ("prefill", "alone", "each", "together"):
        assert found[name]["p50"] > 0, name
    assert 0 < found["first_token_alone"]["p50"] <= found["first_token_crowd"]["p95"] < 20
    assert all(row["kept"] for row in measured["comparison"]), measured["comparison"]
    assert "0.5.0" in measured["build"] or "11312" in measured["build"]


def test_what_people_feel_is_near_what_the_same_build_gives_without_a_server(measured, batched):
    """The tiny model makes a token in a fraction of a millisecond, so the server's own work and the machine's other work weigh more than they ever would."""
    found = measured["measured"]
    ratios = {
        "prefill": found["prefill"]["p50"] / batched[1024, 1]["read"],
        "alone": found["alone"]["p50"] / batched[64, 1]["made"],
        "together": found["together"]["p50"] / batched[64, 4]["made"],
    }
    assert all(0.1 < ratio < 1.5 for ratio in ratios.values()), ratios


SECOND_KEY = "another-battery-staple-altogether"
SECOND = "http://127.0.0.1:8001"


def process_of(host, unit):
    return host.check_output(f"systemctl show {unit} --property MainPID --value")


def test_several_servers_of_one_host_have_models_and_keys_of_their_own(host):
    for base, key, alias, other in ((HERE, KEY, "qwen3-coder", SECOND_KEY), (SECOND, SECOND_KEY, "second", KEY)):
        assert ask(host, f"{base}/v1/models", key=other)[0] == 401
        assert json.loads(ask(host, f"{base}/v1/models", key=key)[1])["data"][0]["id"] == alias


def test_a_server_for_gpus_sees_nvidias_devices_and_the_cards_that_are_its_own(host):
    # No card is here: a node of that name tells who would see one.
    host.check_output("test -e /dev/nvidia7 || mknod --mode 666 /dev/nvidia7 c 195 7")
    first, second = process_of(host, "llama-server"), process_of(host, "llama-server-second")
    assert host.file(f"/proc/{second}/root/dev/nvidia7").exists
    assert not host.file(f"/proc/{first}/root/dev/nvidia7").exists
    environment = host.check_output(f"tr '\\0' '\\n' < /proc/{second}/environ").splitlines()
    assert {"CUDA_VISIBLE_DEVICES=1", "CUDA_DEVICE_ORDER=PCI_BUS_ID"} <= set(environment)
    assert "CUDA" not in host.check_output(f"tr '\\0' '\\n' < /proc/{first}/environ")


def test_a_server_for_gpus_may_use_nvidias_devices_and_no_others(host):
    shown = host.check_output("systemctl show llama-server-second --property DevicePolicy --property DeviceAllow --property PrivateDevices")
    # Not setting the clock (ProtectClock) is what lets systemd add reading it.
    assert set(shown.splitlines()) - {"DeviceAllow=char-rtc r"} == {"DevicePolicy=closed", "DeviceAllow=char-nvidia* rw", "PrivateDevices=no"}


def test_a_server_for_gpus_is_started_after_the_module_that_it_may_not_load_itself(host):
    after = host.check_output("systemctl show llama-server-second --property After --value").split()
    assert {"modprobe@nvidia_uvm.service", "nvidia-persistenced.service"} <= set(after)


def test_each_flag_whose_default_changes_from_version_to_version_is_given(host):
    words = host.check_output(f"tr '\\0' '\\n' < /proc/{pid_of(host)}/cmdline").splitlines()
    named = "--host --port --parallel --ctx-size --flash-attn --cache-type-k --cache-type-v --fit --gpu-layers --split-mode --batch-size --ubatch-size"
    named += " --cache-ram --cont-batching --cache-prompt --slot-prompt-similarity --no-context-shift --jinja --offline --no-kv-unified --load-mode"
    named += " --timeout --sse-ping-interval --metrics --no-slots --no-ui"
    assert set(named.split()) <= set(words)


def test_a_server_that_was_taken_away_leaves_neither_unit_nor_key(host):
    assert not host.file("/etc/systemd/system/llama-server-gone.service").exists
    assert not host.file("/etc/llama-server-gone/api-keys").exists
    assert host.run("systemctl is-active llama-server-gone").stdout.strip() == "inactive"
    assert not host.socket("tcp://127.0.0.1:8002").is_listening


def test_systemd_finds_no_fault_in_the_units(host):
    assert host.run("systemd-analyze verify llama-server.service llama-server-second.service llama-server-bridge.socket").stderr == ""
