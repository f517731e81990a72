"""Looking for secrets on a test host, in everything that a user of it can read."""

from __future__ import annotations

import base64
import subprocess
import urllib.parse
from collections.abc import Mapping, Sequence

# Reads what to look for from its input, so that no argument holds it; then tells each file with what it found there, as FILE, a tab, and the words.
_SEARCH = r"""
set -eu
umask 077
words=$(mktemp /dev/shm/words-XXXXXX)
trap 'rm -f "$words"' EXIT
cat >"$words"
chown "$1" "$words"
become="setpriv --reuid $1 --regid $(id -g "$1" 2>/dev/null || echo "$1") --clear-groups"
{
    $become find "${@:3}" \( -path /proc -o -path /sys -o -path /dev -o -path /srv/fixtures -o -path '/var/lib/docker/overlay2/*/merged' \
        -o -path '/proc/*/root/proc' -o -path '/proc/*/root/sys' -o -path '/proc/*/root/dev' -o -path '/proc/*/root/usr' \) -prune \
        -o -type f -size +0 -readable -print0 2>/dev/null || true
    for kind in $2; do printf '%s\0' /proc/[0-9]*/"$kind"; done
} | LC_ALL=C $become xargs -0 -r grep -lFsf "$words" --null | while IFS= read -r -d '' file; do
    LC_ALL=C $become grep -ohaFf "$words" "$file" 2>/dev/null | sort -u | while IFS= read -r word; do printf '%s\t%s\n' "$file" "$word"; done
done
"""


class Search:
    """Looks for secrets of which each has a name.

    Args:
        container: The test host.
        secrets: Each secret by its name. Its forms in addresses and in Base64 are looked for, too.
    """

    def __init__(self, container: str, secrets: Mapping[str, str]) -> None:
        self._container = container
        self._names: dict[str, str] = {}
        for name, secret in secrets.items():
            for form in (secret, urllib.parse.quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("=")):
                self._names[form] = name

    def names_in(self, text: str) -> list[str]:
        """Which secrets a text holds."""
        return sorted({name for form, name in self._names.items() if form in text})

    def files(self, user: str, *kinds: str, places: Sequence[str] = ("/",)) -> dict[str, list[str]]:
        """Files that a user of the host can read and that hold a secret, each with the names of those.

        Args:
            user: Name or number of the user.
            kinds: Files of every process that are looked at as well.
            places: Directories that are looked through.
        """
        words = "\n".join(self._names) + "\n"
        command = ["docker", "exec", "--interactive", self._container, "bash", "-c", _SEARCH, "bash", user, " ".join(kinds), *places]
        done = subprocess.run(command, input=words, capture_output=True, text=True, check=True, errors="replace")
        found: dict[str, list[str]] = {}
        for line in done.stdout.splitlines():
            file, _tab, word = line.partition("\t")
            found.setdefault(file, []).append(self._names.get(word, word[:4]))
        return found
