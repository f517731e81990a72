# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The query engine through the Python client that LiteLLM uses, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import prisma
import pytest
from prisma import Json, Prisma, errors

TRICKY = 'q"uote \\ back\nnl \t ünï 🎉 \x7f {}[]$type'
NOON_IN_NEW_YORK = dt.datetime(2026, 3, 4, 12, 6, 7, 891234, tzinfo=dt.timezone(dt.timedelta(hours=-5)))
KEY = {"models": [], "aliases": Json({}), "config": Json({}), "permissions": Json({})}


SCHEMA = Path(prisma.__file__).parent / "schema.prisma"


@contextmanager
def engine_process(url: str, port: int, *wrapper: str) -> Iterator[subprocess.Popen[str]]:
    """Start an engine (or a wrapper that does) as the client would; yield it once it answers."""
    command = [*wrapper, os.environ["PRISMA_QUERY_ENGINE_BINARY"], "-p", str(port)]
    environment = {**os.environ, "DATABASE_URL": url, "PRISMA_DML_PATH": str(SCHEMA)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert eventually(lambda: answers(port))
        yield process
    finally:
        process.kill()
        process.wait()


def eventually(condition: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


async def users(db: Prisma, count: int) -> None:
    await db.litellm_usertable.create_many(data=[{"user_id": f"u{i}", "spend": i, "metadata": Json({"i": i})} for i in range(count)])


# ---- the whole schema ----


async def test_every_table_of_the_schema_can_be_read(db: Prisma) -> None:
    models = re.findall(r"^model (\w+)", SCHEMA.read_text(encoding="utf-8"), re.MULTILINE)
    assert "LiteLLM_VerificationToken" in models
    for name in models:
        await getattr(db, name.lower()).find_first()


# ---- values ----


@pytest.mark.parametrize(
    ("field", "value"),
    [("user_alias", TRICKY), ("max_budget", 1e-7), ("tpm_limit", 2**62), ("models", ["a", TRICKY]), ("models", []), ("user_alias", None)],
)
async def test_a_value_comes_back_as_it_went_in(db: Prisma, field: str, value: object) -> None:
    await db.litellm_usertable.create(data={"user_id": "u", field: value})
    assert getattr(await db.litellm_usertable.find_unique(where={"user_id": "u"}), field) == value


async def test_a_time_comes_back_as_the_same_instant(db: Prisma) -> None:
    await db.litellm_usertable.create(data={"user_id": "u", "budget_reset_at": NOON_IN_NEW_YORK})
    user = await db.litellm_usertable.find_unique(where={"user_id": "u"})
    assert user.budget_reset_at == NOON_IN_NEW_YORK.replace(microsecond=891000)


@pytest.mark.parametrize("value", [{"k": [1, None, TRICKY]}, {"a": {"b": 1}}, [1, {"x": None}], "text", "{}", 5, True])
async def test_a_json_value_comes_back_as_it_went_in(db: Prisma, value: object) -> None:
    await db.litellm_usertable.create(data={"user_id": "u", "metadata": Json(value)})
    assert (await db.litellm_usertable.find_unique(where={"user_id": "u"})).metadata == value


async def test_a_json_value_is_stored_as_json_and_not_as_a_string(db: Prisma) -> None:
    await db.litellm_usertable.create(data={"user_id": "u", "metadata": Json({"a": 1})})
    await db.litellm_usertable.create(data={"user_id": "v", "metadata": json.dumps({"a": 1})})
    rows = await db.query_raw("SELECT DISTINCT jsonb_typeof(metadata) AS type, metadata->>'a' AS a FROM \"LiteLLM_UserTable\"")
    assert rows == [{"type": "object", "a": "1"}]


# ---- filters ----


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"metadata": {"path": ["n"], "equals": Json("v")}}, True),
        ({"metadata": {"path": ["n"], "equals": Json("w")}}, False),
        ({"metadata": {"path": ["tags"], "array_contains": Json(["y"])}}, True),
        ({"metadata": {"path": ["n"], "string_contains": "v"}}, True),
        ({"metadata": {"equals": Json({"tags": ["x", "y"], "n": "v"})}}, True),
        ({"NOT": [{"metadata": {"equals": Json({})}}]}, True),
        ({"OR": [{"user_id": {"in": ["u", "absent"]}}, {"AND": [{"spend": {"gt": 3}}]}]}, True),
        ({"budget_reset_at": {"lt": NOON_IN_NEW_YORK}}, False),
        ({"budget_reset_at": None}, False),
        ({"budget_reset_at": {"not": None}}, True),
        ({"user_alias": {"contains": "ÜNÏ", "mode": "insensitive"}}, True),
    ],
)
async def test_a_filter_finds_what_it_describes(db: Prisma, where: dict[str, object], found: bool) -> None:
    metadata = Json({"tags": ["x", "y"], "n": "v"})
    await db.litellm_usertable.create(
        data={"user_id": "u", "user_alias": TRICKY, "metadata": metadata, "budget_reset_at": NOON_IN_NEW_YORK}
    )
    assert bool(await db.litellm_usertable.find_many(where=where)) is found


async def test_lists_can_be_ordered_cut_and_continued_at_a_cursor(db: Prisma) -> None:
    await users(db, 5)
    page = await db.litellm_usertable.find_many(order=[{"spend": "desc"}], skip=1, take=2)
    rest = await db.litellm_usertable.find_many(cursor={"user_id": "u2"}, order={"user_id": "asc"}, take=2)
    assert [user.user_id for user in page] == ["u3", "u2"]
    assert [user.user_id for user in rest] == ["u2", "u3"]


async def test_counts_and_groups_add_up(db: Prisma) -> None:
    await users(db, 5)
    groups = await db.litellm_usertable.group_by(by=["user_role"], sum={"spend": True}, count=True)
    assert await db.litellm_usertable.count() == 5
    assert (await db.litellm_usertable.count(select={"_all": True, "tpm_limit": True})) == {"_all": 5, "tpm_limit": 0}
    assert groups[0]["_sum"]["spend"] == 10


# ---- writes ----


async def test_numbers_can_be_incremented_and_lists_extended(db: Prisma) -> None:
    await db.litellm_usertable.create(data={"user_id": "u", "models": ["a"]})
    user = await db.litellm_usertable.update(where={"user_id": "u"}, data={"spend": {"increment": 0.25}, "models": {"push": ["b"]}})
    assert (user.spend, user.models) == (0.25, ["a", "b"])


async def test_many_rows_are_made_and_changed_at_once_without_duplicates(db: Prisma) -> None:
    await users(db, 3)
    made = await db.litellm_usertable.create_many(data=[{"user_id": "u2"}, {"user_id": "u3"}], skip_duplicates=True)
    changed = await db.litellm_usertable.update_many(where={"user_id": {"startswith": "u"}}, data={"metadata": Json({"z": 1})})
    assert (made, changed) == (1, 4)


async def test_an_upsert_on_a_compound_key_creates_and_then_updates(db: Prisma) -> None:
    key = {"user_id": "u", "team_id": "t"}
    for _ in range(2):
        member = await db.litellm_teammembership.upsert(
            where={"user_id_team_id": key}, data={"create": key, "update": {"spend": {"increment": 1}}}
        )
    assert member.spend == 1


async def test_relations_can_be_created_read_changed_and_taken_apart(db: Prisma) -> None:
    budget = {"budget_id": "b", "max_budget": 3, "model_max_budget": Json({"m": 1}), "created_by": "t", "updated_by": "t"}
    await db.litellm_verificationtoken.create(data={"token": "k", **KEY, "litellm_budget_table": {"create": budget}})
    by_budget = {"litellm_budget_table": {"is": {"max_budget": {"gte": 3}, "model_max_budget": {"equals": Json({"m": 1})}}}}
    assert await db.litellm_verificationtoken.count(where=by_budget) == 1

    await db.litellm_verificationtoken.update(
        where={"token": "k"}, data={"litellm_budget_table": {"update": {"model_max_budget": Json({"m": 2})}}}
    )
    found = await db.litellm_budgettable.find_first(where={"keys": {"some": {"token": "k"}}}, include={"keys": {"take": 1}})
    assert (found.model_max_budget, [key.token for key in found.keys]) == ({"m": 2}, ["k"])

    await db.litellm_verificationtoken.update(where={"token": "k"}, data={"litellm_budget_table": {"disconnect": True}})
    assert await db.litellm_verificationtoken.count(where={"budget_id": None}) == 1


# ---- refusals ----


async def test_a_taken_id_is_a_unique_violation_that_names_the_field(db: Prisma) -> None:
    await users(db, 1)
    with pytest.raises(errors.UniqueViolationError) as error:
        await db.litellm_usertable.create(data={"user_id": "u0"})
    assert (error.value.code, error.value.meta) == ("P2002", {"target": ["user_id"]})


async def test_an_absent_row_is_none_or_a_not_found_error(db: Prisma) -> None:
    assert await db.litellm_usertable.find_unique(where={"user_id": "absent"}) is None
    assert await db.litellm_usertable.update(where={"user_id": "absent"}, data={"spend": 1}) is None
    assert await db.litellm_usertable.delete(where={"user_id": "absent"}) is None
    with pytest.raises(errors.RecordNotFoundError):
        await db.litellm_usertable.find_unique_or_raise(where={"user_id": "absent"})


async def test_an_unknown_field_a_missing_value_and_a_dangling_reference_are_refused(db: Prisma) -> None:
    with pytest.raises(errors.FieldNotFoundError):
        await db.litellm_usertable.find_first(where={"bogus": 1})
    with pytest.raises(errors.MissingRequiredValueError):
        await db.litellm_budgettable.create(data={"budget_id": "b"})
    with pytest.raises(errors.ForeignKeyViolationError):
        await db.litellm_verificationtoken.create(data={"token": "k", "budget_id": "absent", **KEY})


async def test_a_wrong_raw_query_reports_what_postgresql_says(db: Prisma) -> None:
    with pytest.raises(errors.RawQueryError, match='relation "absent" does not exist'):
        await db.query_raw("SELECT * FROM absent")


# ---- raw queries ----


async def test_raw_parameters_and_results_keep_their_types(db: Prisma) -> None:
    query = "SELECT $1::text AS t, $2::int AS i, $3::timestamptz AS d, $4::jsonb AS j, $5::text[] AS l, 1.25::numeric AS n, null AS x"
    rows = await db.query_raw(query, TRICKY, 7, NOON_IN_NEW_YORK, json.dumps({"a": 1}), ["x", "y"])
    assert rows == [{"t": TRICKY, "i": 7, "d": "2026-03-04T17:06:07.891+00:00", "j": {"a": 1}, "l": ["x", "y"], "n": 1.25, "x": None}]


async def test_raw_writes_return_the_number_of_rows(db: Prisma) -> None:
    await users(db, 3)
    assert await db.execute_raw('UPDATE "LiteLLM_UserTable" SET spend = $1 WHERE user_id <> $2', 9.5, "u0") == 2


async def test_catalog_columns_are_readable(db: Prisma) -> None:
    query = "SELECT relname AS a, relkind AS b, 'pg_class'::regclass AS c, '1 day'::interval AS d FROM pg_class WHERE relname = 'pg_class'"
    assert await db.query_raw(query) == [{"a": "pg_class", "b": "r", "c": "pg_class", "d": "1 days"}]


# ---- batches and transactions ----


async def test_a_batch_is_all_or_nothing(db: Prisma) -> None:
    await users(db, 1)
    batch = db.batch_()
    batch.litellm_usertable.create(data={"user_id": "new"})
    batch.litellm_usertable.create(data={"user_id": "u0"})
    with pytest.raises(errors.UniqueViolationError):
        await batch.commit()
    assert await db.litellm_usertable.count() == 1


async def test_a_batch_writes_everything(db: Prisma) -> None:
    async with db.batch_() as batch:
        batch.litellm_usertable.create(data={"user_id": "a", "metadata": Json({"b": 1})})
        batch.litellm_usertable.upsert(where={"user_id": "b"}, data={"create": {"user_id": "b"}, "update": {}})
    assert await db.litellm_usertable.count() == 2


async def test_a_transaction_is_invisible_until_it_is_committed(db: Prisma) -> None:
    async with db.tx() as transaction:
        await transaction.litellm_usertable.create(data={"user_id": "u"})
        assert await db.litellm_usertable.count() == 0
    assert await db.litellm_usertable.count() == 1


async def test_a_transaction_that_raises_leaves_nothing(db: Prisma) -> None:
    with pytest.raises(KeyError):
        async with db.tx() as transaction:
            await transaction.litellm_usertable.create(data={"user_id": "u"})
            raise KeyError
    assert await db.litellm_usertable.count() == 0


async def test_a_transaction_ends_when_its_time_is_over(db: Prisma) -> None:
    manager = db.tx(timeout=dt.timedelta(milliseconds=300))
    transaction = await manager.start()
    await asyncio.sleep(1)
    with pytest.raises(errors.TransactionExpiredError):
        await transaction.litellm_usertable.count()
    with pytest.raises(errors.PrismaError):
        await manager.commit()


async def test_an_unknown_transaction_is_refused_and_does_not_hang(db: Prisma) -> None:
    with pytest.raises(Exception, match="P2028|never was started"):
        await asyncio.wait_for(db._internal_engine.commit_transaction("never-started"), 5)
    assert await db.litellm_usertable.count() == 0


async def test_a_transaction_that_finds_no_free_connection_gives_up_after_max_wait(db: Prisma) -> None:
    busy = [db.tx(timeout=dt.timedelta(seconds=20)) for _ in range(5)]
    for manager in busy:
        await manager.start()
    started = time.monotonic()
    with pytest.raises(Exception, match="Unable to start a transaction in the given time|P2028"):
        await db.tx(max_wait=dt.timedelta(milliseconds=300)).start()
    assert time.monotonic() - started < 3
    for manager in busy:
        await manager.rollback()
    assert await db.litellm_usertable.count() == 0


# ---- life of the engine ----


async def test_a_hundred_queries_at_once_are_all_answered(db: Prisma) -> None:
    await users(db, 3)
    answers = await asyncio.gather(*[db.litellm_usertable.find_many() for _ in range(100)])
    assert {len(answer) for answer in answers} == {3}


async def test_queries_work_again_after_the_database_dropped_every_connection(db: Prisma) -> None:
    await db.query_raw(
        "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await asyncio.sleep(0.3)
    assert await db.litellm_usertable.count() == 0


async def test_a_connection_that_dies_under_its_query_is_an_error_and_not_the_end(db: Prisma) -> None:
    with pytest.raises(errors.PrismaError):
        await db.query_raw("SELECT pg_terminate_backend(pg_backend_pid())::text")
    assert await db.litellm_usertable.count() == 0


async def test_the_attribute_through_which_litellm_replaces_an_engine_is_the_engine(db: Prisma) -> None:
    attribute = "_Prisma__engine"
    assert getattr(db, attribute) is db._internal_engine


async def test_without_a_database_connecting_fails_soon() -> None:
    unreachable = Prisma(datasource={"url": "postgresql://nobody:secret@127.0.0.1:1/none"})
    with pytest.raises(Exception, match="Could not connect"):
        await unreachable.connect(timeout=dt.timedelta(seconds=2))


def test_the_engine_ends_soon_when_told_to_stop(migrated_url: str) -> None:
    with engine_process(migrated_url, 39001) as engine:
        engine.send_signal(signal.SIGTERM)
        assert engine.wait(timeout=5) == 0


def test_the_engine_ends_by_itself_when_its_parent_is_killed(migrated_url: str) -> None:
    with engine_process(migrated_url, 39002, "sh", "-c", '"$@" & wait', "sh") as parent:
        parent.kill()
        assert eventually(lambda: not answers(39002), seconds=8)


def test_the_engine_reports_the_commit_of_prisma_5_17() -> None:
    answer = subprocess.run([os.environ["PRISMA_QUERY_ENGINE_BINARY"], "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"query-engine 393aa359c9ad4a4bb28630fb5613f9c281cde053\n", answer.stdout)
