"""Opening: all of a file is stored or nothing of it, and our own trouble is not blamed on the partner."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from counterfoil.db.transactions import begin
from counterfoil.worker.opening import open_job
from tests.points_files.world import Bank, World

ROWS = [("m1", 5, "r1"), ("m2", 6, "r2"), ("m1", 7, "r3")]


async def _nothing_is_stored(world: World) -> None:
    for table in ("points_records", "points_batches", "points_transfers"):
        assert await world.all(f"SELECT true FROM {table}") == []


async def test_records_are_stored_in_the_order_of_their_members_and_keep_their_lines(
    world: World, bank: Bank
) -> None:
    file = await bank.send(("m5", 1, "a"), ("m1", 2, "b"), ("m5", 3, "c"), ("m1", 4, "a"), "D|broken")
    await world.step()
    rows = await world.all("SELECT * FROM points_records ORDER BY n")
    assert [(row.n, row.line, row.customer_id, row.points, row.reference) for row in rows] == [
        (0, 6, "broken", None, None),
        (1, 3, "m1", 2, "b"),
        (2, 5, "m1", 4, "a"),
        (3, 2, "m5", 1, "a"),
        (4, 4, "m5", 3, "c"),
    ]
    assert [row.first_line for row in rows] == [None, None, 2, None, None]
    told = await world.file(file)
    assert (told.state, told.records, told.points, told.sequence) == ("crediting", 5, 10, 1)
    assert told.problems == [{"line": 6, "field": None, "code": "fields_wrong"}]
    assert told.broken == {"fields_wrong": 1, "duplicate": 1}


async def test_what_came_is_kept_as_it_came(world: World, bank: Bank) -> None:
    sealed = bank.seal(bank.write(*ROWS))
    file = await bank.put(sealed)
    await world.run()
    rows = await world.all(
        "SELECT content FROM points_file_parts WHERE file_no = :f AND kind = 'received' ORDER BY part_no",
        f=file.file_no,
    )
    assert b"".join(row.content for row in rows) == sealed


async def test_an_opening_that_fails_on_our_side_stores_nothing_and_is_done_later(
    world: World, bank: Bank
) -> None:
    file = await bank.send(*ROWS)
    await world.execute("ALTER TABLE points_records RENAME TO elsewhere")
    payload = {"file_no": file.file_no}
    with pytest.raises(asyncpg.UndefinedTableError):
        await open_job(world.engine, payload)
    told = await world.file(file)
    assert (told.state, told.reason, (await bank.now()).last_sequence) == ("received", None, 0)
    await world.execute("ALTER TABLE elsewhere RENAME TO points_records")
    await _nothing_is_stored(world)
    await world.run()
    assert (await world.file(file)).state == "credited"


async def test_a_process_for_openpgp_that_cannot_work_is_not_the_partners_fault(
    world: World, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await bank.send(*ROWS)
    with monkeypatch.context() as patched:
        patched.setattr("sys.executable", "/nowhere/python")
        with pytest.raises(OSError, match="nowhere"):
            await open_job(world.engine, {"file_no": file.file_no})
    assert (await world.file(file)).state == "received"
    await world.run()
    assert (await world.file(file)).state == "credited"


async def test_nothing_of_a_file_is_left_on_the_disk(
    world: World, bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of one that is credited, nor of one that is rejected, nor of one that failed."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    await bank.credited(*ROWS)
    await bank.put(bank.seal(b"no file"))
    await bank.put(b"no message")
    await world.run()
    assert [*(tmp_path / "temporary").iterdir()] == []


async def test_a_database_that_goes_away_while_a_file_is_stored_leaves_nothing_of_it(
    world: World, bank: Bank
) -> None:
    file = await bank.send(*ROWS)
    payload: dict[str, Any] = {"file_no": file.file_no}
    async with begin(world.engine) as tx:
        await tx.execute("LOCK TABLE points_records IN ACCESS EXCLUSIVE MODE")
        opening = asyncio.create_task(open_job(world.engine, payload))
        cut = 0
        while not cut:
            await asyncio.sleep(0.02)
            cut = await tx.scalar(
                """SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'"""
            )
    with pytest.raises(Exception, match="database is not there"):
        await opening
    await _nothing_is_stored(world)
    await world.run()
    assert (await world.file(file)).state == "credited"
    assert await world.balances() == {"m1": 12, "m2": 6}
