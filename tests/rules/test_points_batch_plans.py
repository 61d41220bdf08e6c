"""A batch of a partner's file reads its own records and members, however many others there are."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import URL

from counterfoil import clock
from counterfoil.db.engine import create_engine
from counterfoil.db.transactions import begin, session
from counterfoil.points import ledger
from counterfoil.points.files import batches, crediting, crediting_outside
from tests.conftest import new_database
from tests.points_files.world import Bank, make_world

MEMBERS = 20_000
AT = 4_000
SIZE = 500


def _posting(statement: str) -> str:
    return statement.replace("{entries}", crediting._ENTRIES).replace("{outcome}", crediting._OUTCOMES)


STATEMENTS: dict[str, tuple[str, str]] = {
    "take": (batches._TAKE, "file, worker"),
    "cut": (batches._CUT, "file, from, to, worker, now"),
    "lock": (crediting._LOCK, "merchant, file, from, to"),
    "post": (_posting(ledger.POST), "merchant, now, argument, first, limit"),
    "post_probing": (_posting(ledger.POST_PROBING), "merchant, now, argument, first, limit"),
    "finish": (batches._FINISH, "file, batch, from, to, now, id, size, size, no, no, no, no"),
    "claim": (crediting_outside._CLAIM, "file, from, to, source"),
    "ours": (crediting_outside._OURS, "file, from, to, source"),
    "undecided": (crediting_outside._UNDECIDED, "file, from, to, source"),
    "note": (crediting_outside._NOTE, "file, from, to, source, texts, texts, texts, texts"),
}


@pytest.fixture(scope="module")
async def opened(cluster: URL, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    """A partner with a file of many members that is stored, and of which one batch was cut."""
    directory: Path = tmp_path_factory.mktemp("plans")
    async with new_database(cluster) as url:
        engine = create_engine(url.render_as_string(hide_password=False))
        names = [f"m{n:05}" for n in range(MEMBERS)]
        world = await make_world(engine, directory, *names)
        bank = await world.bank(limiter={"batch_size_min": SIZE, "batch_size_max": SIZE})
        file = await bank.send(*((name, 1, f"r-{name}") for name in names))
        await world.step()
        async with begin(engine) as tx:
            await batches.take(tx, file_no=file.file_no, worker=0, now=clock.now())
        yield bank
        await engine.dispose()


@asynccontextmanager
async def _undone(db: asyncpg.Connection) -> AsyncIterator[None]:
    """A transaction that leaves nothing, not even statistics."""
    transaction = db.transaction()
    await transaction.start()
    yield
    await transaction.rollback()


async def _plan(db: asyncpg.Connection, bank: Bank, name: str, how: str = "") -> list[Any]:
    statement, said = STATEMENTS[name]
    file_no = await db.fetchval("SELECT file_no FROM points_files")
    source = (await bank.now()).source_no
    known: dict[str, Any] = {
        "file": file_no,
        "from": AT,
        "to": AT + SIZE,
        "worker": 1,
        "batch": 1,
        "id": "NULL",
        "size": SIZE,
        "no": 0,
        "now": "now()",
        "merchant": f"'{bank.world.merchant_id}'",
        "argument": f"'{{{file_no},{AT},{AT + SIZE},{source},NULL}}'",
        "first": f"'{ledger.first_of_batch().hex[:-4]}'",
        "limit": "NULL",
        "source": source,
        "texts": "'{}'",
    }
    values = ", ".join(str(known[value]) for value in said.split(", "))
    await db.execute(f"PREPARE {name} AS {statement}")
    rows = await db.fetch(f"EXPLAIN {how} EXECUTE {name} ({values})")
    await db.execute(f"DEALLOCATE {name}")
    return [row[0] for row in rows]


@pytest.mark.parametrize("analysed", [False, True])
@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_batch_is_read_by_indexes_before_and_after_the_tables_are_analysed(
    opened: Bank, name: str, analysed: bool
) -> None:
    async with session(opened.world.engine) as db, _undone(db):
        if analysed:
            await db.execute("ANALYZE points_records, points_accounts, points_batches, points_transfers")
        plan = "\n".join(await _plan(db, opened, name))
    assert not re.search(r"Seq Scan on points_(records|accounts)\b", plan), plan
    lookups = re.findall(r"Index (?:Only )?Scan using (\w+)", plan)
    assert "uq_points_accounts_customer_id" in lookups or name not in {"lock", "post", "post_probing"}, plan


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


@pytest.mark.parametrize("known", ["nothing", "other files", "everything"])
@pytest.mark.parametrize("name", ["take", "cut", "lock", "post", "post_probing", "finish"])
async def test_a_batch_touches_no_more_rows_than_it_has_whatever_the_planner_knows(
    opened: Bank, name: str, known: str
) -> None:
    """Nor does it look anything up more than once for each record."""
    async with session(opened.world.engine) as db, _undone(db):
        if known != "nothing":
            other = 1 if known == "other files" else 0
            await db.execute("UPDATE points_records SET file_no = file_no + $1", other)
            await db.execute("ANALYZE points_records, points_accounts, points_batches, points_transfers")
            await db.execute("UPDATE points_records SET file_no = file_no - $1", other)
        ((explained,),) = await _plan(db, opened, name, "(ANALYZE, FORMAT JSON)")
    for node in _nodes(explained["Plan"]):
        touched = node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        assert max(touched, node["Actual Loops"]) <= SIZE, node
