# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each configuration is read by its own format's parser, and gives back what went in, however hostile."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import threading
import tomllib

import pytest
import yaml
from ansible_collections.private_llm.platform.plugins.module_utils.client_configs import (
    TOOLS,
    Access,
    files_of,
    models_of,
    problem_of,
    quoted,
    root_of,
)

HOSTILE_KEY = "sk-" + "'\"\\$`!;&|<>{}[]%#~^,*?()=:/@" + "k" * 200
HOSTILE_MODELS = (
    "qwen \"3\" 'coder' \\ $HOME `id` ünïcödé \U0001f600 {env:HOME} {file:/etc/passwd}",
    "yes",
    "0x1F",
    ": - #",
    "null",
    "m" * 500,
)
ORDINARY = Access("sk-adas-own-key-000000000001", "http://llm.example.com:4000", ("coder",))
HOSTILE = Access(HOSTILE_KEY, "https://llm.example.com/a'b\"c$(id)", HOSTILE_MODELS, 131072)

each_access = pytest.mark.parametrize("access", [ORDINARY, HOSTILE], ids=["ordinary", "hostile"])


def content(access, path):
    return files_of(access)[path].content


def document(access, path):
    """A file as its own format's parser reads it."""
    text = content(access, path)
    if path.endswith(".json"):
        return json.loads(text)
    return tomllib.loads(text) if path.endswith(".toml") else yaml.safe_load(text)


@pytest.mark.parametrize(
    "text", ["", 'a "b" \\ c', "\x00\x07\x1b\x7f\x85\xa0\u2028\u2029\ufeff", "\U0001f600\U0010ffff", "\ud7ff\ue000\ufffe", "a: b # c", "%s" * 9]
)
def test_a_quoted_text_reads_the_same_in_yaml_and_toml(text):
    assert yaml.safe_load("x: " + quoted(text)) == {"x": text}
    assert tomllib.loads("x = " + quoted(text)) == {"x": text}


@each_access
def test_continue_knows_every_model_with_address_and_key(access):
    config = document(access, "continue/config.yaml")
    assert (config["schema"], config["version"]) == ("v1", "1.0.0")
    assert [model["model"] for model in config["models"]] == list(access.models)
    assert {(model["provider"], model["apiBase"], model["apiKey"]) for model in config["models"]} == {("openai", access.openai_url, access.key)}


@each_access
def test_cline_asks_the_gateway_with_the_first_model(access):
    config = document(access, "cline/providers.json")
    assert config["providers"][config["lastUsedProvider"]]["settings"] == {
        "provider": "openai-compatible",
        "apiKey": access.key,
        "model": access.models[0],
        "baseUrl": access.openai_url,
    }


@each_access
def test_zed_knows_every_model_and_finds_the_key_in_the_environment(access):
    config = document(access, "zed/settings.json")
    (name, provider), *others = config["language_models"]["openai_compatible"].items()
    assert not others and provider["api_url"] == access.openai_url
    assert [model["name"] for model in provider["available_models"]] == list(access.models)
    assert config["agent"]["default_model"] == {"provider": name, "model": access.models[0]}
    assert sourced(access)[name.upper().replace("-", "_") + "_API_KEY"] == access.key


@each_access
def test_aider_asks_the_gateway_as_an_openai_server(access):
    config = document(access, "aider/aider.conf.yml")
    assert (config["openai-api-base"], config["openai-api-key"]) == (access.openai_url, access.key)
    assert {config[role] for role in ("model", "weak-model", "editor-model")} == {"openai/" + access.models[0]}


def test_opencode_offers_every_model_and_nothing_of_anybody_else():
    config = document(ORDINARY, "opencode/opencode.json")
    assert config["enabled_providers"] == list(config["provider"]) == ["private-llm"]
    assert config["provider"]["private-llm"]["options"] == {"baseURL": ORDINARY.openai_url, "apiKey": ORDINARY.key}
    assert config["model"] == "private-llm/coder"
    assert config["share"] == "disabled"


def test_opencode_takes_hostile_names_as_they_are():
    config = document(HOSTILE, "opencode/opencode.json")
    assert list(config["provider"]["private-llm"]["models"]) == list(HOSTILE_MODELS)


@each_access
def test_codex_uses_the_responses_api_and_finds_the_key_in_the_environment(access):
    config = document(access, "codex/config.toml")
    provider = config["model_providers"][config["model_provider"]]
    assert (provider["base_url"], provider["wire_api"]) == (access.openai_url, "responses")
    assert sourced(access)[provider["env_key"]] == access.key
    assert (config["model"], config["model_context_window"]) == (access.models[0], access.context_tokens)


@each_access
def test_claude_code_gets_the_address_without_v1_and_one_model_for_every_task(access):
    environment = document(access, "claude-code/settings.json")["env"]
    assert (environment["ANTHROPIC_BASE_URL"], environment["ANTHROPIC_AUTH_TOKEN"]) == (access.url, access.key)
    assert {value for name, value in environment.items() if name.endswith("_MODEL")} == {access.models[0]}
    assert all(isinstance(value, str) for value in environment.values())


@each_access
def test_qwen_code_knows_every_model_and_its_key(access):
    config = document(access, "qwen-code/settings.json")
    models = config["modelProviders"][config["security"]["auth"]["selectedType"]]
    assert [model["id"] for model in models] == list(access.models)
    assert {(model["baseUrl"], config["env"][model["envKey"]]) for model in models} == {(access.openai_url, access.key)}


def sourced(access, file="environment"):
    """The variables that a real shell has after it read the file."""
    script = 'set -a; eval "$1"; env -0'
    done = subprocess.run(["sh", "-c", script, "sh", content(access, file)], check=True, capture_output=True, env={"PATH": os.environ["PATH"]})
    return dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if line)


@each_access
@pytest.mark.parametrize("file", ["environment", "dotenv"])
def test_a_shell_reads_the_environment_as_it_was_meant(access, file):
    variables = sourced(access, file)
    assert (variables["OPENAI_BASE_URL"], variables["OPENAI_API_KEY"]) == (access.openai_url, access.key)


def test_the_dotenv_file_of_an_ordinary_key_has_no_quotes_for_tools_that_know_none():
    assert "OPENAI_API_KEY=sk-adas-own-key-000000000001\n" in content(ORDINARY, "dotenv")
    assert not re.search(r"['\"]|export", content(ORDINARY, "dotenv"))


def by(*command):
    """A parser that is a program of its own, with FILE in the place of the file; it complains of nothing when all is well."""

    def read(path):
        words = [str(path) if word == "FILE" else word for word in command]
        done = subprocess.run(words, check=True, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
        assert done.stderr == ""

    return read


def strict_json(path):
    def without_repetition(pairs):
        names = [name for name, _value in pairs]
        assert len(set(names)) == len(names), names
        return dict(pairs)

    return json.loads(path.read_text(), object_pairs_hook=without_repetition)


SHELL = by("sh", "-n", "FILE")
PARSERS = {
    "key": lambda path: re.fullmatch(r"sk-[\x21-\x7e]+\n", path.read_text()).group(),
    "environment": SHELL,
    "dotenv": SHELL,
    "curl.sh": SHELL,
    "curlrc": by("curl", "--config", "FILE", "--version"),
    ".json": strict_json,
    ".toml": lambda path: tomllib.loads(path.read_text()),
    ".yaml": lambda path: yaml.safe_load(path.read_text()),
    ".yml": lambda path: yaml.safe_load(path.read_text()),
}


@each_access
@pytest.mark.parametrize("path", sorted(files_of(ORDINARY)))
def test_every_file_is_read_without_complaint_by_its_own_formats_parser(tmp_path, access, path):
    file = tmp_path / os.path.basename(path)
    file.write_text(content(access, path), encoding="utf-8")
    PARSERS[path if path in PARSERS else file.suffix](file)


class Gateway:
    """Takes one question and remembers it."""

    def __enter__(self):
        asked = self.asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                asked.append((self.path, self.headers["Authorization"], self.headers["Content-Type"], json.loads(body)))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"data: hello\n")

            def log_message(self, *arguments):
                pass

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self._server.server_address[1]
        threading.Thread(target=self._server.handle_request, daemon=True).start()
        return self

    def __exit__(self, *arguments):
        self._server.server_close()


@pytest.mark.parametrize("key", [ORDINARY.key, HOSTILE_KEY], ids=["ordinary", "hostile"])
@pytest.mark.parametrize("model", ["coder", HOSTILE_MODELS[0]], ids=["ordinary", "hostile"])
def test_the_curl_script_asks_with_the_key_and_puts_no_key_on_a_command_line(tmp_path, key, model):
    with Gateway() as gateway:
        for name, file in files_of(Access(key, gateway.url, (model,))).items():
            if "/" not in name:
                (tmp_path / name).write_text(file.content)
        done = subprocess.run(
            ["sh", "-x", str(tmp_path / "curl.sh"), 'Say "hi" \\ there'],
            check=True,
            capture_output=True,
            text=True,
            env=dict(os.environ, no_proxy="127.0.0.1"),
        )
    path, authorization, content_type, body = gateway.asked[0]
    assert (path, authorization, content_type) == ("/v1/chat/completions", "Bearer " + key, "application/json")
    assert (body["model"], body["stream"]) == (model, True)
    assert body["messages"] == [{"role": "user", "content": 'Say "hi" \\ there'}]
    assert done.stdout == "data: hello\n"
    assert key not in done.stderr


def test_without_a_model_there_is_only_what_needs_none():
    assert sorted(files_of(Access("sk-adas-own-key-000000000001", "http://llm.example.com"))) == ["curl.sh", "curlrc", "dotenv", "environment", "key"]


def test_every_tool_of_the_page_has_its_file_and_every_file_its_line_on_the_page():
    files = files_of(ORDINARY)
    assert {tool.path for tool in TOOLS} == {path for path in files if "/" in path}


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
def test_an_address_works_with_and_without_v1(end):
    assert root_of("http://llm.example.com:4000" + end) == "http://llm.example.com:4000"


@pytest.mark.parametrize(
    "allowed, models",
    [([], ("coder",)), (["small", "coder"], ("coder", "small")), (["small"], ("small",)), (["all-team-models"], ("coder",)), (["openai/*"], ("coder",))],
)
def test_the_models_offered_are_those_that_the_key_may_ask(allowed, models):
    assert models_of(allowed, "coder") == models


@pytest.mark.parametrize(
    "access",
    [Access("sk-with a blank-000000", "http://a"), Access("sk-line\nbreak-0000", "http://a"), Access("sk-ünïcode-00000000", "http://a"),
     Access("sk-adas-own-key-0001", "http://a b"), Access("sk-adas-own-key-0001", "http://a", ("a\nb",))],
)
def test_what_no_tool_could_use_is_named_without_the_key(access):
    problem = problem_of(access)
    assert problem and access.key not in problem
