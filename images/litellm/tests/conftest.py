# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the image, beside a PostgreSQL server whose address is in SERVER_URL (without a database name)."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import litellm_proxy_extras
import psycopg
import pytest
from prisma import Prisma

EXTRAS = Path(litellm_proxy_extras.__file__).parent
PrismaCommand = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine tests on one loop: the client's connections belong to the loop it was connected on."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    runner = pyfuncitem._request.getfixturevalue("loop")
    runner.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session")
def new_database() -> Callable[[], str]:
    """Make an empty database; return its URL."""
    numbers = itertools.count()

    def make() -> str:
        name = f"test_{next(numbers)}"
        with psycopg.connect(os.environ["SERVER_URL"] + "/postgres", autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name}")
        return f"{os.environ['SERVER_URL']}/{name}"

    return make


@pytest.fixture(scope="session")
def prisma() -> PrismaCommand:
    """Run the image's "prisma" command on a database, as LiteLLM does."""

    def run(url: str, *arguments: str, cwd: Path = EXTRAS, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "DATABASE_URL": url, **environment}
        return subprocess.run(["prisma", *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=300)

    return run


@pytest.fixture(scope="session")
def migrated_url(new_database: Callable[[], str], prisma: PrismaCommand) -> str:
    url = new_database()
    done = prisma(url, "migrate", "deploy")
    assert done.returncode == 0, done.stderr
    return url


@pytest.fixture(scope="session")
def client(migrated_url: str, loop: asyncio.Runner) -> Iterator[Prisma]:
    client = Prisma(datasource={"url": f"{migrated_url}?connection_limit=5"})
    loop.run(client.connect())
    yield client
    loop.run(client.disconnect())


@pytest.fixture
def db(client: Prisma, loop: asyncio.Runner) -> Iterator[Prisma]:
    """Return the client on an empty database."""
    yield client
    for table in ("verificationtoken", "usertable", "teammembership", "budgettable"):
        loop.run(getattr(client, f"litellm_{table}").delete_many(where={}))
