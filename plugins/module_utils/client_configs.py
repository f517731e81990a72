# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configuration of the tools that developers ask a gateway with, each in that tool's own format."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Under this name tools that take no key in their configuration look for it; Zed makes it out of the provider's name.
KEY_VARIABLE = "PRIVATE_LLM_API_KEY"
PROVIDER = "private-llm"
TITLE = "Private LLM"
# A larger answer is cut off by few tasks, and leaves too little of a small context for the question.
LONGEST_ANSWER = 8192

# What an HTTP header can carry; anything else would be refused by each tool in its own, unclear way.
HEADER_VALUE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class File:
    """A file to hand out."""

    content: str
    mode: int = 0o600


@dataclass(frozen=True)
class Access:
    """One key, and what can be asked with it.

    url: the gateway without /v1; models: the first one is what is asked by default; context_tokens: what a model takes in at once.
    """

    key: str
    url: str
    models: tuple[str, ...] = ()
    context_tokens: int = 32768

    @property
    def openai_url(self) -> str:
        """The address that OpenAI-compatible clients want."""
        return self.url + "/v1"

    @property
    def answer_tokens(self) -> int:
        """How long an answer may get."""
        return min(LONGEST_ANSWER, self.context_tokens // 4)


@dataclass(frozen=True)
class Tool:
    """A tool, where its file lies in the hand-out, where the developer puts it, and what else to know."""

    name: str
    path: str
    destination: str
    hint: str = ""
    needs_variable: bool = field(default=False)


TOOLS = (
    Tool("Continue (VS Code, JetBrains, `cn`)", "continue/config.yaml", "`~/.continue/config.yaml`"),
    Tool(
        "Cline",
        "cline/providers.json",
        "`~/.cline/data/settings/providers.json`",
        "In VS Code choose the provider *OpenAI Compatible* and enter address, key and model from below.",
    ),
    Tool("Zed", "zed/settings.json", "merge into `~/.config/zed/settings.json`", needs_variable=True),
    Tool("aider", "aider/aider.conf.yml", "`~/.aider.conf.yml`"),
    Tool("opencode", "opencode/opencode.json", "`~/.config/opencode/opencode.json`"),
    Tool("Codex CLI", "codex/config.toml", "`~/.codex/config.toml`", needs_variable=True),
    Tool("Claude Code", "claude-code/settings.json", "`~/.claude/settings.json`"),
    Tool("Qwen Code", "qwen-code/settings.json", "`~/.qwen/settings.json`"),
)

CURL_SCRIPT = """\
#!/bin/sh
# Ask the model a question and watch the answer come: ./curl.sh ["your question"]
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
model=${MODEL:-%(model)s}
question=${1:-Write a haiku about a private language model.}
if [ -z "$model" ]; then
  echo "Name a model, for example: MODEL=coder $0" >&2
  exit 2
fi
quoted() { printf '%%s' "$1" | sed 's/\\\\/\\\\\\\\/g; s/"/\\\\"/g' | tr '\\n\\t' '  '; }
# curlrc has the address and the key, so that no list of processes shows the key.
curl --config "$here/curlrc" --no-buffer --silent --show-error --fail-with-body \\
  --data "{\\"model\\": \\"$(quoted "$model")\\", \\"stream\\": true, \\"messages\\": [{\\"role\\": \\"user\\", \\"content\\": \\"$(quoted "$question")\\"}]}"
"""


def quoted(text: str) -> str:
    """A double-quoted string as both YAML and TOML read it, whatever is in it."""
    pieces = []
    for character in text:
        code = ord(character)
        if character in '"\\':
            pieces.append("\\" + character)
        elif 0x20 <= code < 0x7F:
            pieces.append(character)
        else:
            pieces.append("\\u%04x" % code if code < 0x10000 else "\\U%08x" % code)
    return '"%s"' % "".join(pieces)


def as_json(document: Any) -> str:
    """A JSON document as people read it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def assignments(variables: Mapping[str, str], prefix: str = "") -> str:
    """Lines that a shell reads; plain values stay as they are, so that tools which know no quotes read them too."""
    return "".join("%s%s=%s\n" % (prefix, name, shlex.quote(value)) for name, value in variables.items())


def environment_of(access: Access) -> dict[str, str]:
    """The variables that OpenAI's own libraries read, and those that the configurations here refer to."""
    return {
        "OPENAI_BASE_URL": access.openai_url,
        "OPENAI_API_BASE": access.openai_url,
        "OPENAI_API_KEY": access.key,
        KEY_VARIABLE: access.key,
    }


def curlrc(access: Access) -> str:
    """A configuration file of curl that asks the chat endpoint."""

    def option(name: str, value: str) -> str:
        return '%s = "%s"\n' % (name, value.replace("\\", "\\\\").replace('"', '\\"'))

    return (
        option("url", access.openai_url + "/chat/completions")
        + option("header", "Authorization: Bearer " + access.key)
        + option("header", "Content-Type: application/json")
    )


def continue_config(access: Access) -> str:
    """Every model, in Continue's YAML."""
    lines = ["name: %s" % quoted(TITLE), 'version: "1.0.0"', "schema: v1", "models:"]
    for model in access.models:
        lines += [
            "  - name: %s" % quoted(model),
            "    provider: openai",
            "    model: %s" % quoted(model),
            "    apiBase: %s" % quoted(access.openai_url),
            "    apiKey: %s" % quoted(access.key),
            "    roles: [chat, edit, apply, summarize]",
            "    capabilities: [tool_use]",
            "    defaultCompletionOptions:",
            "      contextLength: %d" % access.context_tokens,
            "      maxTokens: %d" % access.answer_tokens,
        ]
    return "\n".join(lines) + "\n"


def cline_providers(access: Access) -> str:
    """The provider that Cline asks, as `cline auth` itself keeps it."""
    settings = {"provider": "openai-compatible", "apiKey": access.key, "model": access.models[0], "baseUrl": access.openai_url}
    # Cline reads the file only with a time in it; one that never changes keeps the hand-out as it is.
    provider = {"settings": settings, "updatedAt": "2026-01-01T00:00:00.000Z", "tokenSource": "manual"}
    return as_json({"version": 1, "lastUsedProvider": "openai-compatible", "providers": {"openai-compatible": provider}})


def zed_settings(access: Access) -> str:
    """A provider for Zed, which takes the key from the environment or its own store, never from this file."""
    models = [
        {
            "name": model,
            "display_name": "%s (%s)" % (model, TITLE),
            "max_tokens": access.context_tokens,
            "max_output_tokens": access.answer_tokens,
            "capabilities": {"tools": True, "images": False, "parallel_tool_calls": False, "prompt_cache_key": False},
        }
        for model in access.models
    ]
    return as_json(
        {
            "language_models": {"openai_compatible": {PROVIDER: {"api_url": access.openai_url, "available_models": models}}},
            "agent": {"default_model": {"provider": PROVIDER, "model": access.models[0]}},
        }
    )


def aider_config(access: Access) -> str:
    """The gateway as an OpenAI server, for all of aider's tasks."""
    model = quoted("openai/" + access.models[0])
    return "\n".join(
        [
            "openai-api-base: %s" % quoted(access.openai_url),
            "openai-api-key: %s" % quoted(access.key),
            "model: %s" % model,
            "weak-model: %s" % model,
            "editor-model: %s" % model,
            "# aider knows no prices and limits of this model; the gateway keeps both.",
            "show-model-warnings: false",
            "check-update: false",
            "analytics: false",
            "",
        ]
    )


def opencode_config(access: Access) -> str:
    """A provider of its own for opencode, and no other."""
    models = {model: {"name": model, "limit": {"context": access.context_tokens, "output": access.answer_tokens}} for model in access.models}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": TITLE,
        "options": {"baseURL": access.openai_url, "apiKey": access.key},
        "models": models,
    }
    default = "%s/%s" % (PROVIDER, access.models[0])
    return as_json(
        {
            "$schema": "https://opencode.ai/config.json",
            "model": default,
            "small_model": default,
            "enabled_providers": [PROVIDER],
            "provider": {PROVIDER: provider},
            # Conversations stay in the house.
            "share": "disabled",
            "autoupdate": False,
        }
    )


def codex_config(access: Access) -> str:
    """A provider for Codex, which speaks the Responses API alone and takes the key from the environment."""
    return "\n".join(
        [
            "model = %s" % quoted(access.models[0]),
            "model_provider = %s" % quoted(PROVIDER),
            "model_context_window = %d" % access.context_tokens,
            "check_for_update_on_startup = false",
            'web_search = "disabled"',
            "",
            "[analytics]",
            "enabled = false",
            "",
            "[model_providers.%s]" % PROVIDER,
            "name = %s" % quoted(TITLE),
            "base_url = %s" % quoted(access.openai_url),
            "env_key = %s" % quoted(KEY_VARIABLE),
            'wire_api = "responses"',
            "",
        ]
    )


def claude_code_settings(access: Access) -> str:
    """The gateway's Anthropic-compatible side, for all of Claude Code's tasks."""
    model = access.models[0]
    environment = {
        # Claude Code adds /v1/messages itself.
        "ANTHROPIC_BASE_URL": access.url,
        "ANTHROPIC_AUTH_TOKEN": access.key,
        "ANTHROPIC_MODEL": model,
        "ANTHROPIC_DEFAULT_OPUS_MODEL": model,
        "ANTHROPIC_DEFAULT_SONNET_MODEL": model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
        "CLAUDE_CODE_SUBAGENT_MODEL": model,
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(access.answer_tokens),
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": str(access.context_tokens),
        # Nothing but questions to the gateway leaves the developer's machine.
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        # A line that differs in every request would make the model server read each conversation anew.
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
    }
    return as_json({"$schema": "https://json.schemastore.org/claude-code-settings.json", "env": environment})


def qwen_code_settings(access: Access) -> str:
    """Every model, for Qwen Code."""
    models = [
        {
            "id": model,
            "name": "%s (%s)" % (model, TITLE),
            "baseUrl": access.openai_url,
            "envKey": KEY_VARIABLE,
            "generationConfig": {"contextWindowSize": access.context_tokens, "samplingParams": {"max_tokens": access.answer_tokens}},
        }
        for model in access.models
    ]
    return as_json(
        {
            "env": {KEY_VARIABLE: access.key},
            "modelProviders": {"openai": models},
            "security": {"auth": {"selectedType": "openai"}},
            "model": {"name": access.models[0]},
            "privacy": {"usageStatisticsEnabled": False},
            "general": {"enableAutoUpdate": False},
        }
    )


RENDERERS = {
    "continue/config.yaml": continue_config,
    "cline/providers.json": cline_providers,
    "zed/settings.json": zed_settings,
    "aider/aider.conf.yml": aider_config,
    "opencode/opencode.json": opencode_config,
    "codex/config.toml": codex_config,
    "claude-code/settings.json": claude_code_settings,
    "qwen-code/settings.json": qwen_code_settings,
}


def root_of(public_url: str) -> str:
    """A gateway's address without the /v1 that some people write behind it."""
    return public_url.rstrip("/").removesuffix("/v1").rstrip("/")


def models_of(allowed: Iterable[str], default: str) -> tuple[str, ...]:
    """The models to offer, the one to ask by default first; names with a meaning of their own, such as all-team-models, are none."""
    names = [name for name in allowed if name and not name.startswith("all-") and name != "no-default-models" and "*" not in name]
    if not names:
        return (default,) if default else ()
    return tuple(sorted(dict.fromkeys(names), key=lambda name: name != default))


def problem_of(access: Access) -> str | None:
    """Why no tool could use an access, without quoting the key."""
    if not HEADER_VALUE.fullmatch(access.key):
        return "the key has a blank, a line break or a character beyond ASCII, which no HTTP header carries"
    if not HEADER_VALUE.fullmatch(access.url):
        return "the gateway's address %r has a blank or a character beyond ASCII" % access.url
    for model in access.models:
        if not model.isprintable():
            return "the model's name %r has a line break or another control character" % model
    return None


def files_of(access: Access) -> dict[str, File]:
    """Path and content of each file of one key; without a model only what needs none."""
    default = shlex.quote(access.models[0]) if access.models else ""
    variables = environment_of(access)
    files = {
        "key": File(access.key + "\n"),
        "environment": File(assignments(variables, "export ")),
        "dotenv": File(assignments(variables)),
        "curlrc": File(curlrc(access)),
        "curl.sh": File(CURL_SCRIPT % {"model": default}, 0o700),
    }
    if access.models:
        files.update({path: File(render(access)) for path, render in RENDERERS.items()})
    return files


def plain(text: str) -> str:
    """Text of somebody else's on one line, without what Markdown would take for its own."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", line)


def limits_of(fields: Mapping[str, Any]) -> list[str]:
    """Limits in words."""
    sentences = []
    if fields.get("max_budget") is not None:
        period = " in %s" % fields["budget_duration"] if fields.get("budget_duration") else ""
        sentences.append("%g dollars%s" % (float(fields["max_budget"]), period))
    for name, unit in (("rpm_limit", "requests a minute"), ("tpm_limit", "tokens a minute"), ("max_parallel_requests", "requests at a time")):
        if fields.get(name) is not None:
            sentences.append("%d %s" % (int(fields[name]), unit))
    return sentences


def readme(name: str, full_name: str, keys: Sequence[tuple[str, str, Access, Mapping[str, Any]]], limits: Mapping[str, Any]) -> str:
    """The page that a person reads first. keys: name, directory ("" for this one), access and limits of each."""
    first = keys[0][2]
    lines = ["# Private LLM: access of %s" % (plain(full_name) or plain(name)), ""]
    lines += ["You have your own key to a language model that runs in our own house. What you ask stays there.", ""]
    lines += ["- Address for OpenAI-compatible tools: `%s`" % first.openai_url]
    lines += ["- Address for Anthropic-compatible tools: `%s`" % first.url]
    if first.models:
        lines += ["- Model: %s" % ", ".join("`%s`" % model.replace("`", "'") for model in first.models)]
    if limits_of(limits):
        lines += ["- You may use: %s" % ", ".join(limits_of(limits))]
    lines += ["", "## Your keys", ""]
    for key_name, directory, _access, key_limits in keys:
        place = "in `%s/`" % directory if directory else "beside this page"
        extra = " (%s)" % ", ".join(limits_of(key_limits)) if limits_of(key_limits) else ""
        lines += ["- **%s**: %s%s" % (plain(key_name), place, extra)]
    lines += ["", "A key is a password: keep it to yourself, out of git and out of chats. If one is lost, tell your administrators; they give you a new one."]
    lines += ["", "## Try it", "", "```", "./%scurl.sh" % (keys[0][1] + "/" if keys[0][1] else ""), "```", ""]
    lines += ["## Files of a key", ""]
    lines += ["- `key`: the key alone", "- `environment`: for your shell (`. ./environment`); the libraries of OpenAI read it"]
    lines += ["- `dotenv`: the same for tools that want `NAME=value`", "- `curlrc`, `curl.sh`: ask from the command line", ""]
    if first.models:
        lines += ["| Tool | File | Copy it to |", "|---|---|---|"]
        for tool in TOOLS:
            notes = " ".join(filter(None, [tool.hint, "Needs the variables of `environment`." if tool.needs_variable else ""]))
            lines += ["| %s | `%s` | %s%s |" % (tool.name, tool.path, tool.destination, ". " + notes if notes else "")]
        lines += ["", "If you already have such a file, merge the two. Any other tool that speaks the API of OpenAI wants the same three things:"]
        lines += ["the address, the key and the model."]
    return "\n".join(lines) + "\n"
