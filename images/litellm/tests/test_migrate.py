# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image's "prisma" command on a real PostgreSQL."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from conftest import EXTRAS, PrismaCommand

NewDatabase = Callable[[], str]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a directory with two migrations, one of which needs to be alone in its transaction."""
    add_migration(tmp_path, "20260101000000_first", "CREATE TABLE a (id int); INSERT INTO a VALUES (1);")
    add_migration(tmp_path, "20260102000000_with spaces", "CREATE INDEX CONCURRENTLY a_id ON a (id);")
    return tmp_path


def add_migration(project: Path, name: str, script: str) -> None:
    (project / "migrations" / name).mkdir(parents=True)
    (project / "migrations" / name / "migration.sql").write_text(script, encoding="utf-8")


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(statement.encode())


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as database:
        return database.execute(query.encode()).fetchall()


def test_every_migration_is_applied_and_recorded_with_its_checksum(migrated_url: str) -> None:
    scripts = {path.parent.name: path.read_bytes() for path in EXTRAS.glob("migrations/*/migration.sql")}
    ledger = dict(rows(migrated_url, "SELECT migration_name, checksum FROM _prisma_migrations WHERE finished_at IS NOT NULL"))
    assert ledger == {name: hashlib.sha256(script).hexdigest() for name, script in scripts.items()}


def test_a_second_run_has_nothing_to_do(migrated_url: str, prisma: PrismaCommand) -> None:
    assert prisma(migrated_url, "migrate", "deploy").stdout == "No pending migrations to apply.\n"


def test_only_what_is_new_is_applied(project: Path, new_database: NewDatabase, prisma: PrismaCommand) -> None:
    url = new_database()
    assert prisma(url, "migrate", "deploy", cwd=project).stdout == "2 migrations applied.\n"
    add_migration(project, "20260103000000_third", "INSERT INTO a VALUES (3);")
    assert prisma(url, "migrate", "deploy", cwd=project).stdout == "1 migrations applied.\n"
    assert rows(url, "SELECT id FROM a ORDER BY id") == [(1,), (3,)]


def test_the_schema_of_the_url_is_where_the_tables_go(project: Path, new_database: NewDatabase, prisma: PrismaCommand) -> None:
    url = new_database()
    execute(url, "CREATE SCHEMA app")
    assert prisma(f"{url}?schema=app&connection_limit=3", "migrate", "deploy", cwd=project).returncode == 0
    assert rows(url, "SELECT schemaname FROM pg_tables WHERE tablename IN ('a', '_prisma_migrations')") == [("app",), ("app",)]


def test_a_failing_migration_stops_everything_until_it_is_resolved(project: Path, new_database: NewDatabase, prisma: PrismaCommand) -> None:
    url = new_database()
    add_migration(project, "20260103000000_broken", "INSERT INTO a VALUES (3); SELECT absent;")

    failed = prisma(url, "migrate", "deploy", cwd=project)
    assert failed.returncode == 1
    assert "P3018" in failed.stderr
    assert "Migration name: 20260103000000_broken\n" in failed.stderr
    assert rows(url, "SELECT count(*) FROM a") == [(1,)]

    again = prisma(url, "migrate", "deploy", cwd=project)
    assert again.returncode == 1
    assert "P3009" in again.stderr
    assert "The `20260103000000_broken` migration started at" in again.stderr

    assert prisma(url, "migrate", "resolve", "--rolled-back", "20260103000000_broken", cwd=project).returncode == 0
    (project / "migrations/20260103000000_broken/migration.sql").write_text("INSERT INTO a VALUES (3);", encoding="utf-8")
    assert prisma(url, "migrate", "deploy", cwd=project).returncode == 0
    assert rows(url, "SELECT count(*) FROM a") == [(2,)]


def test_a_migration_can_be_marked_as_applied_by_hand(project: Path, new_database: NewDatabase, prisma: PrismaCommand) -> None:
    url = new_database()
    prisma(url, "migrate", "deploy", cwd=project)
    add_migration(project, "20260103000000_by_hand", "CREATE TABLE a (id int);")
    prisma(url, "migrate", "resolve", "--applied", "20260103000000_by_hand", cwd=project)
    assert prisma(url, "migrate", "deploy", cwd=project).stdout == "No pending migrations to apply.\n"


def test_a_database_with_foreign_tables_is_left_alone(project: Path, new_database: NewDatabase, prisma: PrismaCommand) -> None:
    url = new_database()
    execute(url, "CREATE TABLE precious (id int)")
    refused = prisma(url, "migrate", "deploy", cwd=project)
    assert refused.returncode == 1
    assert "P3005" in refused.stderr
    assert rows(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [("precious",)]


def test_it_waits_for_its_turn_and_then_says_whose_lock_it_is(project: Path, new_database: NewDatabase, prisma: PrismaCommand) -> None:
    url = new_database()
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(72707369)")
        refused = prisma(url, "migrate", "deploy", cwd=project)
        without_lock = prisma(url, "migrate", "deploy", cwd=project, PRISMA_SCHEMA_DISABLE_ADVISORY_LOCK="1")
    assert "P1002" in refused.stderr
    assert "advisory lock" in refused.stderr
    assert without_lock.returncode == 0


def test_an_unreachable_database_is_named_without_its_password(project: Path, prisma: PrismaCommand) -> None:
    refused = prisma("postgresql://someone:hush-hush@127.0.0.1:1/none", "migrate", "deploy", cwd=project)
    assert refused.returncode == 1
    assert "P1001: Can't reach" in refused.stderr.replace("\n\n", ": ")
    assert "127.0.0.1:1" in refused.stderr
    assert "hush-hush" not in refused.stderr


def test_what_needs_the_schema_engine_is_refused_in_one_sentence(prisma: PrismaCommand) -> None:
    refused = prisma("postgresql://u@h/d", "migrate", "diff", "--from-empty")
    assert refused.returncode == 1
    assert refused.stderr == "prisma migrate diff: this image does not carry Prisma's schema engine, which this command needs.\n"
