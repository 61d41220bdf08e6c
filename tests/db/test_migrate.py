"""The schema: brought up to date once, by whoever comes first, or not at all."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, PrimaryKeyConstraint, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

import counterfoil
from counterfoil.db.engine import create_engine
from counterfoil.db.metadata import metadata
from counterfoil.db.migrate import check_schema, current_revision, migrate, newest_revision
from counterfoil.db.transactions import begin, read
from counterfoil.errors import UnavailableError
from tests.conftest import new_database

for _place in sorted(Path(counterfoil.__file__).parent.rglob("tables.py")):
    _room = ".".join(_place.relative_to(Path(counterfoil.__file__).parent).parent.parts)
    import_module(f"counterfoil.{_room}.tables")  # now `metadata` has the tables of all rooms

_EVERYTHING = """
    SELECT c.relname, c.relkind::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    WHERE c.relnamespace = 'public'::regnamespace ORDER BY 1, 3"""


@pytest.fixture
async def empty(cluster: URL) -> AsyncIterator[AsyncEngine]:
    """A database in which nothing was ever made."""
    async with new_database(cluster) as url:
        engine = create_engine(url.render_as_string(hide_password=False))
        async with begin(engine) as tx:
            await tx.execute("DROP SCHEMA public CASCADE")
            await tx.execute("CREATE SCHEMA public")
        yield engine
        await engine.dispose()


async def _tables(engine: AsyncEngine) -> list[Any]:
    async with read(engine) as tx:
        return [tuple(row) for row in await tx.all(_EVERYTHING)]


async def test_migrating_again_changes_nothing(empty: AsyncEngine) -> None:
    assert await current_revision(empty) is None
    assert await migrate(empty) == newest_revision()
    before = await _tables(empty)
    assert before
    assert await migrate(empty) == await current_revision(empty) == newest_revision()
    assert await _tables(empty) == before


async def test_the_tables_in_the_code_are_those_of_the_migrated_database(engine: AsyncEngine) -> None:
    def differences(connection: Connection) -> list[Any]:
        def ours(_name: str | None, kind: str, _parents: Any) -> bool:
            return kind != "table" or not (_name or "").startswith(("pgqueuer", "alembic"))

        context = MigrationContext.configure(
            connection,
            opts={"compare_type": True, "compare_server_default": True, "include_name": ours},
        )
        return list(compare_metadata(context, metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_every_check_and_index_of_the_code_is_in_the_database_and_no_other(engine: AsyncEngine) -> None:
    async with read(engine) as tx:
        rows = await tx.all(
            """SELECT conname AS name FROM pg_constraint WHERE connamespace = 'public'::regnamespace
                 AND contype <> 'n'
               UNION SELECT indexname FROM pg_indexes WHERE schemaname = 'public'"""
        )
    found = {row.name for row in rows if not row.name.startswith(("pgqueuer", "alembic"))}
    tables = metadata.tables.values()
    declared = {
        c.name
        for t in tables
        for c in t.constraints
        # A table without a key has an empty one in SQLAlchemy, and none in the database.
        if not isinstance(c, PrimaryKeyConstraint) or len(c.columns)
    } | {i.name for t in tables for i in t.indexes}
    assert found == declared


async def test_downgrading_leaves_nothing_of_ours(empty: AsyncEngine) -> None:
    from alembic import command

    from counterfoil.db.migrate import _config

    await migrate(empty)

    def down(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")

    async with empty.connect() as connection:
        await connection.run_sync(down)
        await connection.commit()
    assert {row[0] for row in await _tables(empty) if not row[0].startswith(("pgq", "alembic"))} == set()
    assert await migrate(empty) == newest_revision()


_MIGRATING = """
import asyncio, sys
from counterfoil.db.engine import create_engine
from counterfoil.db.migrate import migrate

async def main():
    engine = create_engine(sys.argv[1])
    print(await migrate(engine))
    await engine.dispose()

asyncio.run(main())
"""


async def test_several_processes_at_once_migrate_once(empty: AsyncEngine) -> None:
    address = empty.url.render_as_string(hide_password=False)
    results = await asyncio.gather(
        *(anyio.run_process([sys.executable, "-c", _MIGRATING, address], check=False) for _ in range(2))
    )
    assert [(r.returncode, r.stdout.decode().strip()) for r in results] == [(0, newest_revision())] * 2
    await check_schema(empty)


@pytest.mark.parametrize("table", ["alembic_version", "merchants", "vouchers"])
async def test_a_migration_that_meets_a_lock_gives_up_soon_and_leaves_nothing_half(
    empty: AsyncEngine, table: str
) -> None:
    before = await _tables(empty)
    async with empty.connect() as other:
        # Somebody is making a table of that name, and is not ready with it.
        await other.execute(text(f"CREATE TABLE {table} (version_num varchar(32) NOT NULL)"))
        with pytest.raises(UnavailableError, match="gave up without changing anything") as caught:
            await migrate(empty)
        await other.rollback()
    assert caught.value.code == "migration_locked_out"
    assert [row for row in await _tables(empty) if row[0] != "alembic_version"] == before
    # Whoever comes next, from another process, is not kept waiting by the one who failed.
    another = create_engine(empty.url.render_as_string(hide_password=False))
    with anyio.fail_after(60):
        assert await migrate(another) == newest_revision()
    await another.dispose()


async def test_a_lock_on_the_queues_tables_is_told_as_clearly(empty: AsyncEngine) -> None:
    await migrate(empty)
    async with begin(empty) as tx:
        await tx.execute("ALTER TABLE pgqueuer DROP COLUMN headers")
    async with empty.connect() as other:
        await other.execute(text("LOCK TABLE pgqueuer IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(UnavailableError) as caught:
            await migrate(empty)
        await other.rollback()
    assert caught.value.code == "migration_locked_out"
    await migrate(empty)
    async with read(empty) as tx:
        assert await tx.scalar("SELECT count(headers) FROM pgqueuer") == 0


async def test_settings_of_a_migration_do_not_stay_with_the_pool(empty: AsyncEngine) -> None:
    await migrate(empty)
    async with read(empty) as tx:
        assert await tx.scalar("SHOW lock_timeout") == "10s"
        assert await tx.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


async def test_a_database_that_is_not_up_to_date_is_told_with_what_to_do(empty: AsyncEngine) -> None:
    with pytest.raises(UnavailableError, match=r"revision none.*counterfoil db migrate") as caught:
        await check_schema(empty)
    assert caught.value.code == "schema_outdated"
    await migrate(empty)
    await check_schema(empty)
    async with begin(empty) as tx:
        await tx.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(UnavailableError, match="revision 9999"):
        await check_schema(empty)


async def test_a_database_that_is_not_there_is_unavailable_and_no_bug() -> None:
    engine = create_engine("postgresql://nobody@127.0.0.1:1/none")
    for ask in (migrate, check_schema, current_revision):
        with pytest.raises(UnavailableError):
            await ask(engine)
