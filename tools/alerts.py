"""The platform's rules as a host gets them: the templates of the role prometheus with the defaults of its variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

ROOT = Path(__file__).resolve().parents[1]
METRICS_ROLE = ROOT / "roles" / "prometheus"
LOGS_ROLE = ROOT / "roles" / "loki"
RUNBOOKS = ROOT / "docs" / "runbooks"


@dataclass(frozen=True)
class Alert:
    """One alert: the group that it belongs to and what its rule file says."""

    group: str
    name: str
    rule: Mapping[str, Any]

    @property
    def severity(self) -> str:
        return str(self.rule["labels"]["severity"])

    @property
    def annotations(self) -> dict[str, str]:
        return dict(self.rule["annotations"])


def variables(role: Path) -> dict[str, Any]:
    """The variables of a role with their defaults; those that are made of others are worked out."""
    known: dict[str, Any] = {}
    for file in ("defaults", "vars"):
        known.update(yaml.safe_load((role / file / "main.yml").read_text()))
    plain = jinja2.Environment(undefined=jinja2.ChainableUndefined, autoescape=False)  # noqa: S701 - no web page
    expression = known.get("__prometheus_xid_critical", "")
    return {**known, "__prometheus_xid_critical": plain.from_string(expression).render(known)}


def rule_files(role: Path = METRICS_ROLE, overrides: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Each rule file of a role by its name, rendered as the role does it."""
    environment = jinja2.Environment(
        variable_start_string="<<",
        variable_end_string=">>",
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - no web page
    )
    values = {**variables(role), **(overrides or {})}
    templates = sorted((role / "templates" / "rules").glob("*.yml.j2"))
    return {path.name.removesuffix(".j2"): environment.from_string(path.read_text()).render(values) for path in templates}


def rules(role: Path = METRICS_ROLE) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each rule with the name of its group."""
    for text in rule_files(role).values():
        for group in yaml.safe_load(text)["groups"]:
            for rule in group["rules"]:
                yield group["name"], rule


def alerts(role: Path = METRICS_ROLE) -> list[Alert]:
    """Every alert of a role, in the order of the files."""
    return [Alert(group, rule["alert"], rule) for group, rule in rules(role) if "alert" in rule]


def recorded_names() -> set[str]:
    """The names that recording rules give."""
    return {rule["record"] for _group, rule in rules() if "record" in rule}
