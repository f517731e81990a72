#!/app/.venv/bin/python
# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the Prisma CLI that LiteLLM runs at start, without Prisma's schema engine.

    prisma migrate deploy                                        apply ./migrations/*/migration.sql that are not yet applied
    prisma migrate resolve --applied NAME | --rolled-back NAME   correct the ledger by hand
    prisma --version

It is installed as "prisma", so LiteLLM's own start procedure (its locks, retries, error messages and exit codes, and
DISABLE_SCHEMA_UPDATE) works as it does with the real CLI. The ledger has the layout and the checksums of Prisma's, so
a machine that has the schema engine can go on with the same database.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg import sql

VERSION = "5.17.0"
LEDGER = sql.Identifier("_prisma_migrations")
CREATE_LEDGER = sql.SQL("""CREATE TABLE {} (
    id VARCHAR(36) PRIMARY KEY NOT NULL,
    checksum VARCHAR(64) NOT NULL,
    finished_at TIMESTAMPTZ,
    migration_name VARCHAR(255) NOT NULL,
    logs TEXT,
    rolled_back_at TIMESTAMPTZ,
    started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    applied_steps_count INTEGER NOT NULL DEFAULT 0)""").format(LEDGER)
ADVISORY_LOCK = 72707369  # the key that Prisma's own CLI locks
LOCK_TIMEOUT = "10s"
LIBPQ_PARAMETERS = {"host", "sslmode", "sslrootcert", "application_name", "connect_timeout", "options"}


class PrismaError(Exception):
    """An error with one of Prisma's codes, by which LiteLLM decides what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"Error: {code}\n\n{message}")


def libpq_url(url: str) -> tuple[str, str]:
    """Split a Prisma connection URL into one that libpq understands and the name of the schema."""
    parts = urlsplit(url)
    parameters = dict(parse_qsl(parts.query))
    schema = parameters.get("schema", "public")
    kept = {name: value for name, value in parameters.items() if name in LIBPQ_PARAMETERS}
    if "sslcert" in parameters and parameters.get("sslaccept") == "strict":  # Prisma's sslcert is the authority
        kept |= {"sslrootcert": parameters["sslcert"], "sslmode": "verify-full"}
    return urlunsplit(parts._replace(query=urlencode(kept))), schema


@contextmanager
def connection(url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Connect, in the URL's schema and under Prisma's lock."""
    address, schema = libpq_url(url)
    try:
        database = psycopg.connect(address, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        parts = urlsplit(url)
        raise PrismaError("P1001", f"Can't reach database server at `{parts.hostname}:{parts.port or 5432}`: {error}") from None
    with database:
        database.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
        if not os.environ.get("PRISMA_SCHEMA_DISABLE_ADVISORY_LOCK"):  # LiteLLM sets it while it holds the lock itself
            lock(database)
        yield database


def lock(database: psycopg.Connection[tuple[object, ...]]) -> None:
    """Take Prisma's session lock, which ends with the connection."""
    database.execute(sql.SQL("SET lock_timeout = {}").format(LOCK_TIMEOUT))
    try:
        database.execute("SELECT pg_advisory_lock(%s)", (ADVISORY_LOCK,))
    except psycopg.errors.LockNotAvailable:
        raise PrismaError("P1002", f"Timed out trying to acquire a postgres advisory lock ({ADVISORY_LOCK}).") from None
    database.execute("RESET lock_timeout")


def deploy(database: psycopg.Connection[tuple[object, ...]], directory: Path) -> str:
    """Apply every migration that the ledger does not have; return a summary."""
    scripts = {path.parent.name: path.read_bytes() for path in sorted(directory.glob("*/migration.sql"))}
    if not scripts:
        raise PrismaError("P3015", f"Could not find a migration file in {directory}.")
    pending = [name for name in scripts if name not in recorded(database)]
    # A commit need not wait for the disk: a crash loses the newest commits only, ledger and schema alike. The last one waits.
    database.execute("SET synchronous_commit = off")
    for name in pending:
        if name == pending[-1]:
            database.execute("SET synchronous_commit = on")
        apply(database, name, scripts[name])
    return f"{len(pending)} migrations applied." if pending else "No pending migrations to apply."


def recorded(database: psycopg.Connection[tuple[object, ...]]) -> set[str]:
    """Return the names of the applied migrations; make the ledger of an empty database."""
    [(exists, tables)] = database.execute(
        "SELECT count(*) FILTER (WHERE tablename = '_prisma_migrations'), count(*) FROM pg_tables WHERE schemaname = current_schema()"
    ).fetchall()
    if not exists:
        if tables:
            raise PrismaError("P3005", "The database schema is not empty and has no migration history.")
        database.execute(CREATE_LEDGER)
    query = "SELECT migration_name, started_at AT TIME ZONE 'UTC', finished_at IS NULL FROM {} WHERE rolled_back_at IS NULL"
    applied = set()
    for name, started, unfinished in database.execute(sql.SQL(query).format(LEDGER)):
        if unfinished:
            raise PrismaError(
                "P3009",
                "migrate found failed migrations in the target database, new migrations will not be applied.\n"
                f"The `{name}` migration started at {started} UTC failed",
            )
        applied.add(str(name))
    return applied


def apply(database: psycopg.Connection[tuple[object, ...]], name: str, script: bytes) -> None:
    """Run one script, with its row in the ledger before and after."""
    row = str(uuid.uuid4())
    database.execute(
        sql.SQL("INSERT INTO {} (id, checksum, migration_name) VALUES (%s, %s, %s)").format(LEDGER),
        (row, hashlib.sha256(script).hexdigest(), name),
    )
    try:
        if script.strip():
            # One simple-protocol script: atomic, except for a lone CREATE INDEX CONCURRENTLY, which needs to be on its own.
            database.execute(script)
    except psycopg.Error as error:
        message = (
            "A migration failed to apply. New migrations cannot be applied before the error is recovered from.\n\n"
            f"Migration name: {name}\n\nDatabase error code: {error.sqlstate}\n\nDatabase error:\nERROR: {error}"
        )
        database.execute(sql.SQL("UPDATE {} SET logs = %s WHERE id = %s").format(LEDGER), (message, row))
        raise PrismaError("P3018", message) from None
    database.execute(sql.SQL("UPDATE {} SET finished_at = now(), applied_steps_count = 1 WHERE id = %s").format(LEDGER), (row,))


def resolve(database: psycopg.Connection[tuple[object, ...]], directory: Path, applied: str | None, rolled_back: str | None) -> str:
    """Mark one migration as applied or as rolled back."""
    name = applied or rolled_back
    updated = database.execute(
        sql.SQL("UPDATE {} SET rolled_back_at = now() WHERE migration_name = %s AND finished_at IS NULL AND rolled_back_at IS NULL").format(
            LEDGER
        ),
        (name,),
    ).rowcount
    if applied:
        script = (directory / applied / "migration.sql").read_bytes()
        database.execute(
            sql.SQL("INSERT INTO {} (id, checksum, migration_name, finished_at) VALUES (%s, %s, %s, now())").format(LEDGER),
            (str(uuid.uuid4()), hashlib.sha256(script).hexdigest(), applied),
        )
    elif not updated:
        raise PrismaError("P3012", f"Migration `{name}` cannot be rolled back because it is not in a failed state.")
    return f"Migration {name} marked as {'applied' if applied else 'rolled back'}."


def not_carried(arguments: list[str]) -> NoReturn:
    """Refuse what only the schema engine can do."""
    sys.exit(f"prisma {' '.join(arguments[:2])}: this image does not carry Prisma's schema engine, which this command needs.")


def main(arguments: list[str]) -> int:
    """Run one command of the Prisma CLI."""
    if arguments in (["--version"], ["-v"]):
        print(f"prisma : {VERSION} (migrate deploy and migrate resolve only)")
        return 0
    if arguments[:2] not in (["migrate", "deploy"], ["migrate", "resolve"]):
        not_carried(arguments)
    parser = argparse.ArgumentParser(prog=f"prisma migrate {arguments[1]}")
    parser.add_argument("--schema", type=Path, default=Path("schema.prisma"))
    if arguments[1] == "resolve":
        state = parser.add_mutually_exclusive_group(required=True)
        state.add_argument("--applied")
        state.add_argument("--rolled-back")
    options = parser.parse_args(arguments[2:])
    directory = options.schema.absolute().parent / "migrations"
    try:
        with connection(os.environ["DATABASE_URL"]) as database:
            if arguments[1] == "deploy":
                print(deploy(database, directory))
            else:
                print(resolve(database, directory, options.applied, options.rolled_back))
    except PrismaError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
