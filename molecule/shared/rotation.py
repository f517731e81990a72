"""The site with another root secret, with the next number of one secret, and with secrets of the operator's own in its inventory."""

from __future__ import annotations

from pathlib import Path

from site_runs import change, closed_inventory

OLD, NEW = "this-secret-belongs-to-the-test-and-guards-nothing", "another-secret-of-the-test-that-guards-nothing-either"
NUMBERS = {"valkey/langfuse": 2}
# What an operator keeps in the inventory beside the root secret; each stands there once.
CANARIES = {
    "key that a person brings": "sk-canary-of-a-person-0123456789-0123456789",
    "address that alerts are sent to": "http://10.89.64.1:9999/alerts/canary-of-a-webhook-0123456789",
    "password of the mail server": "canary-of-the-mail-server-0123456789",
    "secret of the single sign-on": "canary-of-the-single-sign-on-0123456789",
    "header that fetches models": "canary-of-the-model-store-0123456789",
    "header that fetches llama.cpp": "canary-of-the-release-store-0123456789",
}
_LINES = f"""
alertmanager_smtp_server: 10.89.64.1:2525
alertmanager_smtp_from: alerts@example.com
alertmanager_smtp_user: alerts
alertmanager_smtp_password: {CANARIES["password of the mail server"]}
langfuse_secret_environment:
  AUTH_GOOGLE_CLIENT_SECRET: {CANARIES["secret of the single sign-on"]}
llama_model_http_headers:
  Authorization: Bearer {CANARIES["header that fetches models"]}
llama_cpp_source_headers:
  Authorization: Bearer {CANARIES["header that fetches llama.cpp"]}
"""


def rotated_inventory(directory: Path, secret: str = NEW, keep: bool = True) -> Path:
    """The closed site's inventory with another root secret; without ``keep`` the old one is forgotten."""
    inventory = closed_inventory(directory)
    lines = [f"platform_root_secret: {secret}"] + ([f"platform_kept_root_secret: {OLD}"] if keep else [])
    numbers = f"platform_secret_numbers_file: {inventory}/group_vars/all/secret_numbers.yml"
    change(inventory, "platform.yml", f"platform_root_secret: {OLD}\n", "\n".join([*lines, numbers]) + _LINES)
    change(inventory, "platform.yml", "http://10.89.64.1:9999/alerts", CANARIES["address that alerts are sent to"])
    change(inventory, "users.yml", "  - name: hasty\n", f"  - name: owner\n    key: {CANARIES['key that a person brings']}\n  - name: hasty\n")
    return inventory
