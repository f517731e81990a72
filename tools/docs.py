#!/usr/bin/env python3
"""Writes the reference pages of docs/ out of what the code itself declares, so that the two cannot differ.

tools/docs.py          writes docs/README.md, docs/alerts.md, docs/hardening.md, docs/roles/ROLE.md, docs/modules/NAME.md and the tables of
                       docs/capacity.md and docs/secrets.md
tools/docs.py --check  writes nothing and fails when a page is not what it would write
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
# The collection that this checkout is; Python finds it as Ansible does.
sys.path.insert(0, str(ROOT / ".collections"))
sys.path.insert(0, str(ROOT / "molecule/shared"))
DOCS = ROOT / "docs"
COLLECTION = "private_llm.platform"
GENERATED = "<!-- Written by `make docs` out of {source}; change it there. -->"
LONGEST_DEFAULT = 100
SECRETS_TABLE = re.compile(r"(<!-- `make docs` writes the table of secrets here. -->\n).*?(<!-- end -->)", re.DOTALL)

MARKUP = (
    (re.compile(r"\b(?:O|V|RV|C|E|P)\(((?:[^()\\]|\\.)*)\)"), r"`\1`"),
    (re.compile(r"\bB\(([^()]*)\)"), r"**\1**"),
    (re.compile(r"\bI\(([^()]*)\)"), r"*\1*"),
    (re.compile(r"\bM\(([^()]*)\)"), r"`\1`"),
    (re.compile(r"\bU\(([^()]*)\)"), r"<\1>"),
    (re.compile(r"\b[LR]\(([^(),]*),\s*([^()]*)\)"), r"[\1](\2)"),
)


def text_of(description: Any) -> str:
    """Ansible's own markup as Markdown, on one line."""
    parts = description if isinstance(description, list) else [description or ""]
    text = " ".join(" ".join(str(part).split()) for part in parts)
    for pattern, replacement in MARKUP:
        text = pattern.sub(replacement, text)
    return text.replace("\\", "")


def cell(text: str) -> str:
    """Text that may stand in a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def type_of(option: dict[str, Any]) -> str:
    kind = str(option.get("type", "str"))
    return f"list of {option['elements']}" if kind == "list" and "elements" in option else kind


def default_of(option: dict[str, Any]) -> str:
    if option.get("required"):
        return "**required**"
    if "default" not in option:
        return ""
    value = option["default"]
    written = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    short = written if len(written) <= LONGEST_DEFAULT else written[: LONGEST_DEFAULT - 4] + " ..."
    ticks = "``" if "`" in short else "`"
    return f"{ticks}{' '.join(short.split())}{ticks}"


def rows(options: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """One table row an option; what lies within an option follows it."""
    for name, option in options.items():
        full = f"{prefix}{name}"
        about = text_of(option.get("description"))
        if option.get("choices"):
            about += " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "."
        if option.get("no_log"):
            about += " Secret: never shown."
        yield f"| `{full}` | {type_of(option)} | {cell(default_of(option))} | {cell(about)} |"
        inner = option.get("options") or option.get("suboptions") or {}
        yield from rows(inner, f"{full}[]." if option.get("type") == "list" else f"{full}.")


def table(options: dict[str, Any], heading: str) -> list[str]:
    return [f"| {heading} | Type | Default | What it is for |", "|---|---|---|---|", *rows(options)] if options else ["It has none."]


def role_page(role: Path) -> tuple[str, str]:
    """The page of one role, and what it does in one line."""
    source = role / "meta" / "argument_specs.yml"
    entry_points = yaml.safe_load(source.read_text())["argument_specs"]
    main = entry_points["main"]
    summary = text_of(main.get("short_description"))
    lines = [f"# {role.name}", "", GENERATED.format(source=source.relative_to(ROOT)), "", summary + ("" if summary.endswith(".") else "."), ""]
    if main.get("description"):
        described = main["description"]
        lines += [line for part in (described if isinstance(described, list) else [described]) for line in (text_of(part), "")]
    lines += [f"How to use it: [roles/{role.name}](../../roles/{role.name}/README.md)", "", "## Variables", "", *table(main.get("options") or {}, "Variable")]
    for name, entry in entry_points.items():
        if name != "main":
            lines += ["", f"## Variables of tasks_from: {name}", "", text_of(entry.get("short_description")), ""]
            lines += table(entry.get("options") or {}, "Variable")
    return "\n".join(lines) + "\n", summary


def constants_of(path: Path) -> dict[str, str]:
    """The documentation strings of a plugin or a documentation fragment, without importing it."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
            found[node.targets[0].id] = str(ast.literal_eval(node.value))
    return found


def fragment_source(fragment: str) -> Path:
    """The file of a documentation fragment, of this collection or of ansible-core."""
    collection, _dot, name = fragment.rpartition(".")
    if collection == COLLECTION:
        return ROOT / "plugins" / "doc_fragments" / f"{name}.py"
    core = importlib.util.find_spec(f"ansible.plugins.doc_fragments.{name}")
    if core is None or core.origin is None:
        raise SystemExit(f"The documentation fragment {fragment} is neither of this collection nor of ansible-core.")
    return Path(core.origin)


def documentation_of(path: Path, constants: dict[str, str]) -> dict[str, Any]:
    """What a plugin says of itself, with the options of the fragments it refers to."""
    about: dict[str, Any] = yaml.safe_load(constants["DOCUMENTATION"])
    for fragment in about.get("extends_documentation_fragment", []):
        source = fragment_source(fragment)
        shared = yaml.safe_load(constants_of(source)["DOCUMENTATION"])
        if ROOT not in source.parents:
            # ansible-core explains file modes at length; its first sentence is enough here.
            for option in shared.get("options", {}).values():
                option["description"] = option["description"][:1] if isinstance(option["description"], list) else option["description"]
        for part in ("options", "attributes"):
            about[part] = {**shared.get(part, {}), **about.get(part, {})}
    return about


def plugin_page(path: Path, kind: str) -> tuple[str, str]:
    """The page of one module or filter, and what it does in one line."""
    constants = constants_of(path)
    about = documentation_of(path, constants)
    name = f"{COLLECTION}.{path.stem}"
    summary = text_of(about["short_description"])
    described = about["description"] if isinstance(about["description"], list) else [about["description"]]
    lines = [f"# {name} ({kind})", "", GENERATED.format(source=path.relative_to(ROOT)), "", summary + ".", ""]
    lines += [f"- {text_of(part)}" for part in described]
    modes = [f"{mode.replace('_', ' ')}: {what['support']}" for mode, what in (about.get("attributes") or {}).items()]
    lines += ["", "; ".join(modes).capitalize() + ".", ""] if modes else [""]
    lines += ["## Options", "", *table(about.get("options") or {}, "Option"), "", "## Examples", "", "```yaml", constants["EXAMPLES"].strip(), "```"]
    returned = yaml.safe_load(constants.get("RETURN") or "") or {}
    if returned:
        lines += ["", "## Returned", "", "| Value | Type | When | What it is |", "|---|---|---|---|"]
        lines += [f"| `{key}` | {type_of(value)} | {value.get('returned', '')} | {cell(text_of(value['description']))} |" for key, value in returned.items()]
    return "\n".join(lines) + "\n", summary


def alerts_page() -> str:
    """Every alert with its severity and its page."""
    rules = importlib.import_module("alerts")
    lines = ["# Alerts", "", GENERATED.format(source="roles/prometheus/templates/rules and roles/loki/templates/rules"), ""]
    found = [*rules.alerts(), *rules.alerts(rules.LOGS_ROLE)]
    for group in dict.fromkeys(alert.group for alert in found):
        lines += [f"## {group.capitalize()}", "", "| Alert | Severity | Fires when | After |", "|---|---|---|---|"]
        for alert in found:
            if alert.group == group:
                condition = cell(" ".join(str(alert.rule["expr"]).split()))
                lines.append(f"| [{alert.name}](runbooks/{alert.name}.md) | {alert.severity} | `{condition}` | {alert.rule.get('for', 'at once')} |")
        lines.append("")
    return "\n".join(lines)


def heading_of(page: Path) -> str:
    return next((line.lstrip("# ").strip() for line in page.read_text().splitlines() if line.startswith("#")), page.stem)


def hardening_page() -> str:
    """What is asked of containers and units, out of what the tests ask."""
    asked = importlib.import_module("container_hardening")
    lines = [
        "# What is asked of containers and units",
        "",
        GENERATED.format(source="molecule/shared/container_hardening.py, which the tests of the whole platform ask of its containers and units"),
        "",
        "## Containers",
        "",
        "The controls of the CIS Docker Benchmark that concern a running container. Every container meets every one, but for those below.",
        "",
        "| Control | What it asks |",
        "|---|---|",
        *(f"| {name} | {cell(text)} |" for name, text, _is_met in asked.CONTROLS),
        "",
        "| Container | Control it does not meet | Why |",
        "|---|---|---|",
        *(f"| {container} | {control} | {cell(reason)} |" for container, given in asked.WAIVERS.items() for control, reason in given.items()),
        "",
        "A container that publishes a port on all addresses (`0.0.0.0`) does not meet `published-address`: name one, or put TLS before it ([tls.md](tls.md)).",
        "",
        "## Units that are no containers",
        "",
        "The most that `systemd-analyze security` may find: 0 is no exposure, 10 is all of it.",
        "",
        "| Unit | At most |",
        "|---|---|",
        *(f"| {unit} | {exposure} |" for unit, exposure in asked.EXPOSURE.items()),
    ]
    return "\n".join(lines) + "\n"


def secrets_page() -> str:
    """The page about secrets with its table as it has to be."""
    known = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.module_utils.platform_secrets")
    lines = ["", "| Name | What it is | What a new one does |", "|---|---|---|"]
    lines += [f"| `{secret.name}` | {cell(secret.what)} | {cell(secret.effect)} |" for secret in known.CATALOGUE]
    return SECRETS_TABLE.sub(lambda found: found[1] + "\n".join(lines) + "\n" + found[2], (DOCS / "secrets.md").read_text())


def pages() -> dict[Path, str]:
    """Every generated page and its whole text."""
    made: dict[Path, str] = {}
    roles, plugins = [], []
    for role in sorted(path.parent.parent for path in ROOT.glob("roles/*/meta/argument_specs.yml")):
        made[DOCS / "roles" / f"{role.name}.md"], summary = role_page(role)
        roles.append(f"| [{role.name}](roles/{role.name}.md) | {cell(summary)} |")
    for kind, folder in (("module", "modules"), ("filter", "filter")):
        for path in sorted((ROOT / "plugins" / folder).glob("*.py")):
            if "DOCUMENTATION" in constants_of(path):
                made[DOCS / "modules" / f"{path.stem}.md"], summary = plugin_page(path, kind)
                plugins.append(f"| [{path.stem}](modules/{path.stem}.md) | {kind} | {cell(summary)} |")
    lines = ["# Documentation", "", GENERATED.format(source="the pages below"), ""]
    for title, place in (("How to", DOCS), ("Decisions", DOCS / "decisions"), ("Benchmarks", DOCS / "benchmarks")):
        written = [page for page in sorted(place.glob("*.md")) if page != DOCS / "README.md"]
        if written:
            lines += [f"## {title}", "", *(f"- [{heading_of(page)}]({page.relative_to(DOCS)})" for page in written), ""]
    lines += ["## Roles", "", "| Role | What it does |", "|---|---|", *roles, ""]
    lines += ["## Modules and filters", "", "| Name | Kind | What it does |", "|---|---|---|", *plugins]
    made[DOCS / "alerts.md"] = alerts_page()
    made[DOCS / "hardening.md"] = hardening_page()
    made[DOCS / "secrets.md"] = secrets_page()
    capacity = importlib.import_module("capacity")
    made[capacity.PAGE] = capacity.page()
    made[DOCS / "README.md"] = "\n".join(lines) + "\n"
    return made


def outdated(wanted: dict[Path, str]) -> list[str]:
    """Pages that are missing, differ, or belong to nothing any more."""
    present = {page for folder in ("roles", "modules") for page in (DOCS / folder).glob("*.md")}
    wrong = {page for page, text in wanted.items() if not page.exists() or page.read_text() != text} | (present - wanted.keys())
    return sorted(str(page.relative_to(ROOT)) for page in wrong)


def main(arguments: list[str]) -> int:
    wanted = pages()
    wrong = outdated(wanted)
    if arguments == ["--check"]:
        if wrong:
            print(f"Out of date: {', '.join(wrong)}. Run `make docs` and commit what it writes.", file=sys.stderr)
        return 1 if wrong else 0
    if arguments:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    for name in wrong:
        page = ROOT / name
        if page in wanted:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(wanted[page])
        else:
            page.unlink()
        print(f"{'wrote' if page in wanted else 'removed'} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
