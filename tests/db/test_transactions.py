from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import anyio
import pytest
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db.engine import check_server, create_engine, parse_url
from counterfoil.db.transactions import begin, read
from counterfoil.errors import ConflictError, CounterfoilError, InvalidError, UnavailableError


async def _table(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        await tx.execute("CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n > 0), m int REFERENCES t)")
        await tx.execute("INSERT INTO t VALUES (1, 1), (2, 2)")


async def test_a_block_that_ends_is_committed_and_one_that_raises_is_not(engine: AsyncEngine) -> None:
    await _table(engine)
    with pytest.raises(KeyError):  # noqa: PT012
        async with begin(engine) as tx:
            await tx.execute("INSERT INTO t VALUES (3, 3)")
            raise KeyError
    async with begin(engine) as tx:
        await tx.execute("INSERT INTO t VALUES (4, 4)")
    async with read(engine) as seen:
        assert [row.id for row in await seen.all("SELECT id FROM t ORDER BY id")] == [1, 2, 4]


async def test_the_commit_is_seen_by_others_before_the_line_after_the_block(engine: AsyncEngine) -> None:
    await _table(engine)
    async with begin(engine) as tx:
        await tx.execute("UPDATE t SET n = 9 WHERE id = 1")
        async with read(engine) as other:
            assert await other.scalar("SELECT n FROM t WHERE id = 1") == 1
    async with read(engine) as other:
        assert await other.scalar("SELECT n FROM t WHERE id = 1") == 9


async def test_a_cancelled_block_is_rolled_back_and_its_connection_is_free_again(database: URL) -> None:
    engine = create_engine(database.render_as_string(hide_password=False), pool_size=2)
    await _table(engine)
    for _ in range(5):
        with anyio.move_on_after(0.01):
            async with begin(engine) as tx:
                await tx.execute("UPDATE t SET n = 9 WHERE id = 1")
                await tx.execute("SELECT pg_sleep(60)")
    async with read(engine) as seen:
        assert await seen.scalar("SELECT n FROM t WHERE id = 1") == 1
    await engine.dispose()


async def test_a_reading_transaction_sees_one_moment_and_cannot_write(engine: AsyncEngine) -> None:
    await _table(engine)
    async with read(engine) as seen:
        assert await seen.scalar("SELECT count(*) FROM t") == 2
        async with begin(engine) as tx:
            await tx.execute("INSERT INTO t VALUES (5, 5)")
        assert await seen.scalar("SELECT count(*) FROM t") == 2
    with pytest.raises(DBAPIError, match="read-only"):
        async with read(engine) as seen:
            await seen.execute("DELETE FROM t")
    # The connection that read can write again.
    async with begin(engine) as tx:
        await tx.execute("DELETE FROM t WHERE id = 5")


@pytest.mark.parametrize(
    ("statement", "parameters", "code"),
    [
        ("INSERT INTO t VALUES (3, -1)", {}, "rule_broken"),
        ("INSERT INTO t VALUES (3, 1, 99)", {}, "reference_unknown"),
        ("INSERT INTO t VALUES (NULL, 1)", {}, "value_missing"),
        ("SELECT CAST(:v AS text)", {"v": "a\x00b"}, "text_invalid"),
        ("SELECT CAST(:v AS text)", {"v": "\ud800"}, "value_invalid"),
        ("SELECT CAST(:v AS int)", {"v": 2**40}, "value_invalid"),
        ("SELECT CAST(CAST(:v AS text) AS jsonb)", {"v": "{"}, "value_invalid"),
        ("SELECT CAST(CAST(:v AS text) AS jsonb)", {"v": '"\\u0000"'}, "text_invalid"),
        ("SELECT 2000000000 + 2000000000", {}, "number_out_of_range"),
        ("SELECT timestamptz '294276-01-01' + interval '10 years'", {}, "time_out_of_range"),
    ],
)
async def test_a_value_that_the_database_refuses_is_invalid(
    engine: AsyncEngine, statement: str, parameters: dict[str, Any], code: str
) -> None:
    await _table(engine)
    with pytest.raises(InvalidError) as caught:
        async with begin(engine) as tx:
            await tx.execute(statement, parameters)
    assert caught.value.code == code


async def test_a_mistake_in_a_statement_stays_a_bug(engine: AsyncEngine) -> None:
    with pytest.raises(DBAPIError, match="nowhere"):
        async with begin(engine) as tx:
            await tx.execute("SELECT * FROM nowhere")


async def test_a_lock_that_is_not_given_is_a_conflict(engine: AsyncEngine) -> None:
    await _table(engine)
    async with begin(engine) as first:
        await first.execute("UPDATE t SET n = 5 WHERE id = 1")
        with pytest.raises(ConflictError) as caught:  # noqa: PT012
            async with begin(engine) as second:
                await second.execute("SET LOCAL lock_timeout = '10ms'")
                await second.execute("UPDATE t SET n = 6 WHERE id = 1")
    assert caught.value.code == "busy"


async def test_of_a_deadlock_one_wins_and_the_other_hears_of_a_conflict(engine: AsyncEngine) -> None:
    await _table(engine)
    ready: list[asyncio.Event] = [asyncio.Event(), asyncio.Event()]
    outcomes: list[str] = []

    async def one(first: int, second: int) -> None:
        try:
            async with begin(engine) as tx:
                await tx.execute("SET LOCAL deadlock_timeout = '10ms'")
                await tx.execute("UPDATE t SET n = 5 WHERE id = :id", {"id": first})
                ready[first - 1].set()
                await ready[second - 1].wait()
                await tx.execute("UPDATE t SET n = 6 WHERE id = :id", {"id": second})
        except ConflictError as error:
            outcomes.append(error.code)
        else:
            outcomes.append("committed")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one, 1, 2)
        tasks.start_soon(one, 2, 1)
    assert sorted(outcomes) == ["busy", "committed"]


async def test_a_statement_that_takes_too_long_is_given_up(engine: AsyncEngine) -> None:
    with pytest.raises(UnavailableError) as caught:
        async with begin(engine, statement_timeout_seconds=0.01) as tx:
            await tx.execute("SELECT pg_sleep(60)")
    assert caught.value.code == "timed_out"
    async with begin(engine) as tx:
        assert await tx.scalar("SHOW statement_timeout") == "1min"


async def test_a_connection_that_is_cut_is_unavailable_and_the_next_one_works(engine: AsyncEngine) -> None:
    for use in (begin, read):
        with pytest.raises(UnavailableError):  # noqa: PT012
            async with use(engine) as tx:
                pid = await tx.scalar("SELECT pg_backend_pid()")
                async with begin(engine) as other:
                    await other.execute("SELECT pg_terminate_backend(:pid, 10000)", {"pid": pid})
                await tx.scalar("SELECT 1")
        async with use(engine) as tx:
            assert await tx.scalar("SELECT 1") == 1


async def test_an_error_of_a_file_that_the_block_works_with_is_not_laid_to_the_database(
    engine: AsyncEngine,
) -> None:
    for use in (begin, read):
        with pytest.raises(FileNotFoundError):
            async with use(engine):
                raise FileNotFoundError


async def test_a_pool_that_is_used_up_is_unavailable_and_no_bug(database: URL) -> None:
    engine = create_engine(database.render_as_string(hide_password=False), pool_size=1)
    engine.pool._timeout = 0.01  # type: ignore[attr-defined]
    with pytest.raises(UnavailableError) as caught:
        async with read(engine), read(engine):
            pass
    assert caught.value.code == "overloaded"
    await engine.dispose()


@pytest.mark.parametrize(
    "url",
    ["postgresql://nobody@127.0.0.1:1/none", "postgresql://nobody@/none?host=/nonexistent"],
)
async def test_a_database_that_is_not_there_is_unavailable(url: str) -> None:
    engine = create_engine(url)
    with pytest.raises(UnavailableError):
        async with begin(engine):
            pass
    with pytest.raises(UnavailableError, match="Start it, or unset DATABASE_URL") as caught:
        await check_server(engine)
    assert caught.value.code == "database_unreachable"


async def test_a_name_that_the_server_does_not_know_is_unavailable(database: URL) -> None:
    engine = create_engine(database.set(database="nothing_here").render_as_string(hide_password=False))
    for use in (begin, read):
        with pytest.raises(CounterfoilError) as caught:
            async with use(engine) as tx:
                await tx.scalar("SELECT 1")
        assert caught.value.code == "database_unavailable"
    with pytest.raises(UnavailableError, match="nothing_here"):
        await check_server(engine)
    await engine.dispose()


@pytest.mark.parametrize("url", ["mysql://a/b", "no address", "", "sqlite://"])
def test_an_address_of_something_else_is_named(url: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse_url(url)
    assert caught.value.code == "database_url_invalid"


def test_a_password_is_never_in_the_error() -> None:
    async def ask() -> None:
        await check_server(create_engine("postgresql://user:s3cret@127.0.0.1:1/db"))

    with pytest.raises(UnavailableError) as caught:
        anyio.run(ask)
    assert "s3cret" not in caught.value.detail


async def test_times_are_in_utc_whatever_the_server_says(engine: AsyncEngine) -> None:
    async with begin(engine) as tx:
        await tx.execute(f"ALTER DATABASE \"{engine.url.database}\" SET timezone = 'Asia/Tokyo'")
    await engine.dispose()
    async with read(engine) as seen:
        assert await seen.scalar("SHOW timezone") == "UTC"
        assert (await seen.scalar("SELECT now()")).utcoffset() == dt.timedelta(0)
