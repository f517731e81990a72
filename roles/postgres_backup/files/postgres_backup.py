"""Dumps a PostgreSQL database out of its container, keeps the dumps for some days, and tells Prometheus when the last one ended well.

postgres_backup.py once      dumps now
postgres_backup.py nightly   dumps when the last dump is older than a day, and then each night

What is dumped and where to stands in settings.json beside this file. Only what every Debian or Ubuntu host has is used.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, Any

DOCKER = "/usr/bin/docker"
SUFFIX = ".dump"
DAY_SECONDS = 86_400
# After a dump that failed.
RETRY_SECONDS = 1800.0
PRIVATE = 0o600


class BackupError(Exception):
    """There is no new dump; the text says why."""


@dataclass(frozen=True)
class Settings:
    """What is dumped and where to.

    time: a time of day as HH:MM in the host's own time; keep_days: days after which a dump is removed; metrics: a directory, None for no metrics.
    """

    container: str
    user: str
    database: str
    directory: Path
    keep_days: int
    time: str
    metrics: Path | None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """:raises KeyError: a setting is missing."""
        return cls(
            given["container"], given["user"], given["database"], Path(given["directory"]), int(given["keep_days"]), given["time"],
            Path(given["metrics"]) if given["metrics"] else None,
        )  # fmt: skip


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE)


def dumps(settings: Settings) -> list[Path]:
    """The dumps that are there, the oldest first: their names are their times."""
    return sorted(settings.directory.glob(f"*{SUFFIX}"))


def _run(container: str, command: list[str], given: IO[bytes] | int = subprocess.DEVNULL, taken: IO[bytes] | int = subprocess.DEVNULL) -> None:
    """Run a program in the container, with its input and its output.

    :raises BackupError: it failed; with the last that it said.
    """
    done = subprocess.run(
        [DOCKER, "exec", "--interactive", container, *command], stdin=given, stdout=taken, stderr=subprocess.PIPE, check=False
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise BackupError(f"{command[0]} ended with {done.returncode}: {said[-1] if said else 'without a word'}")


def dump(settings: Settings, now: datetime) -> Path:
    """Make one dump. It has its name only once it is whole, on the disk, and can be read by what restores it.

    :raises BackupError: it could not be made; what was there before stays.
    """
    target = settings.directory / f"{now.astimezone(timezone.utc):%Y-%m-%dT%H%M%SZ}{SUFFIX}"
    partial = target.with_suffix(".partial")
    try:
        with open(partial, "wb", opener=_private) as stream:
            make = ["pg_dump", "--format=custom", f"--username={settings.user}", f"--dbname={settings.database}"]
            _run(settings.container, make, taken=stream)
            os.fsync(stream.fileno())
        with open(partial, "rb") as stream:
            _run(settings.container, ["pg_restore", "--list"], given=stream)
        partial.replace(target)
    except OSError as error:
        raise BackupError(f"{partial}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def prune(settings: Settings, now: datetime) -> list[Path]:
    """Remove dumps that are too old; the newest one stays however old it is."""
    limit = f"{(now - timedelta(days=settings.keep_days)).astimezone(timezone.utc):%Y-%m-%dT%H%M%SZ}{SUFFIX}"
    old = [path for path in dumps(settings)[:-1] if path.name < limit]
    for path in old:
        path.unlink()
    return old


def tell_prometheus(settings: Settings, made: Path, now: datetime) -> None:
    """Write the metrics file, whole or not at all."""
    if settings.metrics is None:
        return
    label = f'{{backup="{settings.container}"}}'
    text = (
        "# HELP private_llm_backup_last_success_timestamp_seconds When the last good dump was made\n"
        "# TYPE private_llm_backup_last_success_timestamp_seconds gauge\n"
        f"private_llm_backup_last_success_timestamp_seconds{label} {int(now.timestamp())}\n"
        "# HELP private_llm_backup_bytes Size of the last good dump\n"
        "# TYPE private_llm_backup_bytes gauge\n"
        f"private_llm_backup_bytes{label} {made.stat().st_size}\n"
    )
    target = settings.metrics / f"backup-{settings.container}.prom"
    partial = target.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.chmod(0o644)
    partial.replace(target)


def once(settings: Settings) -> bool:
    """One dump with all that belongs to it; whether it went well."""
    now = datetime.now(timezone.utc)
    try:
        made = dump(settings, now)
    except BackupError as error:
        last = next(iter(reversed(dumps(settings))), None)
        print(f"No dump of {settings.container}: {error}. The last one that is there: {last or 'none'}", file=sys.stderr, flush=True)
        return False
    removed = prune(settings, now)
    tell_prometheus(settings, made, now)
    print(f"Dumped {settings.container} to {made} ({made.stat().st_size} bytes); {len(removed)} old ones were removed.", flush=True)
    return True


def seconds_to_wait(settings: Settings, now: datetime) -> float:
    """How long until the next dump is due: none when the last is older than a day, else until the time of day."""
    newest = dumps(settings)[-1:]
    if not newest or now.timestamp() - newest[0].stat().st_mtime > DAY_SECONDS:
        return 0.0
    hour, minute = map(int, settings.time.split(":"))
    due = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return ((due if due > now else due + timedelta(days=1)) - now).total_seconds()


def nightly(settings: Settings) -> None:
    """Without an end."""
    while True:
        time.sleep(seconds_to_wait(settings, datetime.now().astimezone()))
        if not once(settings):
            time.sleep(RETRY_SECONDS)


def main(arguments: list[str]) -> int:
    """The program."""
    settings = Settings.of(json.loads(Path(__file__).with_name("settings.json").read_text(encoding="utf-8")))
    if arguments == ["once"]:
        return 0 if once(settings) else 1
    if arguments == ["nightly"]:
        nightly(settings)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
