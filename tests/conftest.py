"""Real PostgreSQL for every test: one cluster a run, one migrated template, a rolled-back transaction each.

A test that must see commits asks for `database` and gets one of its own, copied from the template.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.app import App
from counterfoil.db import embedded
from counterfoil.db.engine import create_engine, parse_url
from counterfoil.db.migrate import migrate
from counterfoil.db.transactions import Tx
from counterfoil.ids import new_id
from counterfoil.settings import Settings


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def cluster() -> Iterator[URL]:
    """The address of a migrated template database: of `TEST_DATABASE_URL`'s server, or of one of our own."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given is not None:
        yield _with_template(parse_url(given))
        return
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(prefix="cf-tests-", dir=memory if memory.is_dir() else None) as home,
        embedded.running(Path(home), tuning=embedded.FAST_FOR_TESTS) as url,
    ):
        yield _with_template(parse_url(str(url)))


TEMPLATE = f"counterfoil_template_{os.getpid()}"


def _with_template(server: URL) -> URL:
    async def make() -> None:
        await _run(server, f'CREATE DATABASE "{TEMPLATE}"')
        engine = create_engine(server.set(database=TEMPLATE).render_as_string(hide_password=False))
        await migrate(engine)
        await engine.dispose()

    anyio.run(make)
    return server.set(database=TEMPLATE)


async def _run(server: URL, statement: str) -> None:
    engine = create_engine(server.render_as_string(hide_password=False))
    async with engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text(statement))
    await engine.dispose()


@asynccontextmanager
async def new_database(cluster: URL) -> AsyncIterator[URL]:
    """A database of one's own, copied from the template in some milliseconds."""
    name = f"test_{new_id().hex}"
    server = cluster.set(database="postgres")
    await _run(server, f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}" STRATEGY FILE_COPY')
    try:
        yield cluster.set(database=name)
    finally:
        await _run(server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def database(cluster: URL) -> AsyncIterator[URL]:
    """The address of an empty, migrated database for this test alone."""
    async with new_database(cluster) as url:
        yield url


@pytest.fixture
async def engine(database: URL) -> AsyncIterator[AsyncEngine]:
    """Connections to this test's own database."""
    made = create_engine(database.render_as_string(hide_password=False))
    yield made
    await made.dispose()


@pytest.fixture(scope="session")
async def shared_engine(cluster: URL) -> AsyncIterator[AsyncEngine]:
    """Connections to one database for all tests that roll back."""
    async with new_database(cluster) as url:
        made = create_engine(url.render_as_string(hide_password=False))
        yield made
        await made.dispose()


@pytest.fixture
async def tx(shared_engine: AsyncEngine) -> AsyncIterator[Tx]:
    """A transaction that is rolled back when the test ends."""
    async with shared_engine.connect() as connection:
        transaction = await connection.begin()
        yield Tx(connection)
        await transaction.rollback()


@pytest.fixture
def settings(database: URL, tmp_path: Path) -> Settings:
    """Settings that name this test's own database."""
    return Settings(DATABASE_URL=database.render_as_string(hide_password=False), home=tmp_path)  # type: ignore[call-arg]


@pytest.fixture
def platform(settings: Settings, engine: AsyncEngine) -> App:
    """An opened platform over this test's own database."""
    return App(settings, engine, server_version="of the tests", embedded=False)
