# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The platform's own secrets: their names, what changing each of them does, and how the next one of a name is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.private_llm.platform.plugins.module_utils import hkdf

# Nobody changes a secret so often; beyond it a number is a misspelling.
GREATEST_NUMBER = 9999


@dataclass(frozen=True)
class Secret:
    """One of the platform's secrets.

    Attributes:
        name: The label that it is derived with.
        what: What it is, in words.
        effect: What a new one does, or why there can be none.
        prefix: What programs want it to begin with.
        is_kept: Whether it is derived from the root secret of the first run, whatever the root secret is now.
        has_next: Whether `rotate.yml` can change it alone.
    """

    name: str
    what: str
    effect: str
    prefix: str = ""
    is_kept: bool = False
    has_next: bool = True


CATALOGUE = (
    Secret("litellm/master-key", "master key of the gateway", "the gateway restarts", prefix="sk-"),
    Secret("litellm/ui-password", "password of the gateway's page", "the gateway restarts; whoever is logged in stays so until the session ends"),
    Secret("litellm/metrics-key", "key of Prometheus at the gateway", "a scrape or two fail", prefix="sk-"),
    Secret("llama-server/api-key", "keys of the model servers", "the model servers and the gateway restart; a request in between is refused, about a minute"),
    Secret("postgres/litellm", "owner's password of the gateway's database", "the database and the gateway restart; changed in the server first"),
    Secret("postgres/langfuse", "owner's password of Langfuse's database", "the database and Langfuse restart; traces wait in the gateway meanwhile"),
    Secret("postgres/analyst", "password of the role that reads both databases", "whoever uses it has to be told"),
    Secret("clickhouse/langfuse", "password of ClickHouse", "ClickHouse and Langfuse restart; traces wait in the gateway meanwhile"),
    Secret("valkey/langfuse", "password of Valkey", "Valkey and Langfuse restart; traces wait in the gateway meanwhile"),
    Secret("object-store/langfuse", "key of the object store", "the object store and Langfuse restart; traces wait in the gateway meanwhile"),
    Secret(
        "langfuse/project-key", "key that records and reads conversations",
        "Langfuse and the gateway restart; the old key is deleted, and refused a minute later", prefix="sk-lf-",
    ),
    Secret("langfuse/session", "what Langfuse's pages sign sessions with", "Langfuse restarts, and everybody logs in again"),
    Secret("reverse-proxy/authority", "authority of the certificates", "a new authority, whose certificate people have to be given"),
    Secret(
        "langfuse/admin", "administrator's password of Langfuse",
        "stays: Langfuse reads it at its first start alone; change it on its pages", is_kept=True, has_next=False,
    ),
    Secret(
        "grafana/admin-password", "administrator's password of Grafana",
        "stays: Grafana reads it at its first start alone; change it on its pages", is_kept=True, has_next=False,
    ),
    Secret(
        "litellm/salt-key", "salt key of the gateway",
        "cannot change: the gateway's database is encrypted with it", is_kept=True, has_next=False,
    ),
    Secret(
        "langfuse/salt", "salt of Langfuse",
        "cannot change: every key in Langfuse's database is hashed with it", is_kept=True, has_next=False,
    ),
    Secret(
        "langfuse/encryption-key", "encryption key of Langfuse",
        "cannot change: Langfuse's database is encrypted with it", is_kept=True, has_next=False,
    ),
    Secret(
        "grafana/secret-key", "secret key of Grafana",
        "cannot change: what Grafana has encrypted with it would have to be entered again", is_kept=True, has_next=False,
    ),
)  # fmt: skip
BY_NAME = {secret.name: secret for secret in CATALOGUE}
CHANGEABLE = tuple(secret.name for secret in CATALOGUE if secret.has_next)


def numbers_of(given: Any) -> dict[str, int]:
    """Which one of each secret is in use: 1 is the first, and what the inventory says of it counts up.

    Raises:
        ValueError: Something is no number, or belongs to no secret that can be changed alone.
    """
    if problem := _numbers_problem(given):
        raise ValueError("platform_secret_numbers%s" % problem)
    return {name: given.get(name, 1) for name in BY_NAME}


def _numbers_problem(given: Any) -> str | None:
    """What is wrong with the numbers, as the rest of a sentence."""
    if not isinstance(given, Mapping):
        return " has to be a dictionary of names and numbers, as rotate.yml writes it."
    for name, number in given.items():
        if problem := name_problem(str(name)):
            return ": %s" % problem
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= GREATEST_NUMBER:
            return ": %s is %r; write a whole number from 1 to %d." % (name, number, GREATEST_NUMBER)
    return None


def name_problem(name: str) -> str | None:
    """Why a secret of this name cannot be changed alone, and what can be; None when it can."""
    secret = BY_NAME.get(name)
    if secret is None:
        return "%r is no secret of the platform. Those that can be changed: %s." % (name, ", ".join(CHANGEABLE))
    if not secret.has_next:
        return "%s (%s) has no next one: %s. Those that can be changed: %s." % (name, secret.what, secret.effect, ", ".join(CHANGEABLE))
    return None


def with_next(given: Any, name: str) -> dict[str, int]:
    """What the inventory has to say of the numbers for the next secret of a name to be in use.

    Raises:
        ValueError: The numbers are wrong, or there can be no next one.
    """
    numbers = numbers_of(given)
    if problem := name_problem(name):
        raise ValueError(problem)
    return {**given, name: numbers[name] + 1}


def all_secrets(root_secret: str, kept_root_secret: str, given: Any) -> dict[str, str]:
    """Every secret by its name.

    Raises:
        ValueError: A root secret cannot be used, or the numbers are wrong.
    """
    numbers = numbers_of(given)
    return {
        secret.name: secret.prefix
        + hkdf.derive_secret(kept_root_secret if secret.is_kept else root_secret, secret.name, number=numbers[secret.name])
        for secret in CATALOGUE
    }
