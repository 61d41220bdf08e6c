"""A file's records are cut into batches, and each is done once, whoever does it and whoever dies."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import asyncpg
import pytest

from counterfoil import clock
from counterfoil.db.transactions import begin, session
from counterfoil.points.files import batches
from counterfoil.points.files.files import File
from counterfoil.worker.crediting import credit_job, look_after_files
from tests.points_files.world import GUARD, Bank, World

ROWS = [(f"m{n % 9 + 1}", n + 1, f"r{n}") for n in range(40)]
POINTS = {f"m{m}": sum(row[1] for row in ROWS if row[0] == f"m{m}") for m in range(1, 10)}


async def _opened(bank: Bank, *rows: Any) -> File:
    """A file that is stored, of which nothing is credited yet, and nobody was called."""
    file = await bank.send(*(rows or ROWS))
    await bank.world.step()
    assert await bank.world.queued() == [
        ("points.credit_file", {"event": "points.file_opened", "file_no": file.file_no, "worker": 0})
    ]
    return file


async def _work(world: World, file: File, worker: int = 0, stop: asyncio.Event | None = None) -> None:
    payload = {"file_no": file.file_no, "worker": worker}
    await credit_job(world.engine, payload, guard=GUARD, stop=stop)


async def _batches(world: World) -> list[Any]:
    return list(await world.all("SELECT * FROM points_batches ORDER BY from_n"))


async def _all_is_credited(world: World, file: File) -> None:
    await look_after_files(world.engine)
    await world.run()
    told = await world.file(file)
    assert (told.state, told.credited, told.credited_points) == ("credited", 40, sum(POINTS.values()))
    assert await world.balances() == POINTS


async def test_batches_are_cut_between_members_within_the_bounds_and_leave_nothing_out(
    world: World, bank: Bank
) -> None:
    file = await _opened(bank, *ROWS, *(("m5", 1, f"more{n}") for n in range(11)))
    await _work(world, file)
    made = await _batches(world)
    assert [(a.to_n, b.from_n) for a, b in pairwise(made)] == [(b.from_n, b.from_n) for b in made[1:]]
    assert (made[0].from_n, made[-1].to_n) == (0, 51)
    assert all(batch.to_n - batch.from_n <= 5 for batch in made)
    for before, after in pairwise(made):
        shares = before.last_customer == after.first_customer
        assert not shares or before.first_customer == before.last_customer, "a member who fits was cut"
        assert before.last_customer <= after.first_customer
    assert {batch.state for batch in made} == {"done"}


async def test_a_worker_that_died_leaves_its_batch_to_the_next_with_its_number(
    world: World, bank: Bank
) -> None:
    file = await _opened(bank)
    async with begin(world.engine) as tx:
        taken = await batches.take(tx, file_no=file.file_no, worker=0, now=clock.now())
    assert taken is not None
    await look_after_files(world.engine)
    assert [payload["worker"] for _, payload in await world.queued()] == [0]
    await _all_is_credited(world, file)
    first = (await _batches(world))[0]
    assert (first.batch_no, first.to_n, first.attempts) == (taken.batch_no, taken.to_n, 2)


async def test_a_number_that_somebody_has_is_nobody_elses_and_nobody_is_called_for_it(
    world: World, bank: Bank
) -> None:
    file = await _opened(bank)
    async with session(world.engine) as db:
        assert await batches.try_lock(db, file_no=file.file_no, worker=0)
        await look_after_files(world.engine)
        assert await world.queued() == []
        await _work(world, file)
        assert await world.balances() == {}
        await batches.unlock(db, file_no=file.file_no, worker=0)
    await look_after_files(world.engine)
    await look_after_files(world.engine)
    assert len(await world.queued()) == 1, "a worker is called once"
    await _all_is_credited(world, file)


async def test_many_workers_at_once_credit_each_record_once_and_end_the_file_once(
    world: World, bank: Bank
) -> None:
    await bank.change(limiter={"batch_size_min": 3, "batch_size_max": 5, "workers_min": 3, "workers_max": 4})
    file = await _opened(bank)
    await asyncio.gather(*(_work(world, file, worker) for worker in (0, 1, 2, 0, 1, 2)))
    told = await world.file(file)
    assert told.state == "credited"
    answers = [job for job, _ in await world.queued() if job == "points.answer_file"]
    assert len(answers) == 1
    await _all_is_credited(world, file)


async def test_a_worker_more_than_the_limiter_allows_goes_after_its_batch(world: World, bank: Bank) -> None:
    await bank.change(limiter={"batch_size_min": 3, "batch_size_max": 5, "workers_max": 1})
    file = await _opened(bank)
    await _work(world, file, worker=1)
    assert [(batch.worker, batch.state) for batch in await _batches(world)] == [(1, "done")]
    await _all_is_credited(world, file)


async def test_a_worker_that_is_told_to_stop_ends_its_batch_and_another_goes_on(
    world: World, bank: Bank
) -> None:
    file = await _opened(bank)
    stop = asyncio.Event()
    stop.set()
    for number in (1, 2, 3):
        await _work(world, file, stop=stop)
        assert [batch.state for batch in await _batches(world)] == ["done"] * number
    assert (await world.file(file)).state == "crediting"
    await _all_is_credited(world, file)


async def test_a_batch_that_fails_leaves_nothing_and_is_done_when_it_can_be(world: World, bank: Bank) -> None:
    file = await _opened(bank, *ROWS, ("nobody", 3, "x"))
    await world.execute("ALTER TABLE points_results RENAME TO elsewhere")
    with pytest.raises(asyncpg.UndefinedTableError):
        await _work(world, file)
    assert await world.balances() == {}
    await world.execute("ALTER TABLE elsewhere RENAME TO points_results")
    await look_after_files(world.engine)
    await world.run()
    told = await world.file(file)
    assert (told.credited, told.rejected) == (40, 1)


async def test_a_batch_that_is_locked_is_waited_for_and_then_known_as_done(world: World, bank: Bank) -> None:
    """Two owners of one number, as when the first one's connection broke without its knowing."""
    file = await _opened(bank)
    async with begin(world.engine) as tx:
        await batches.take(tx, file_no=file.file_no, worker=0, now=clock.now())
        working = asyncio.create_task(_work(world, file))
        await asyncio.sleep(0.1)
        assert not working.done()
    await working
    await _all_is_credited(world, file)


async def test_a_connection_that_breaks_in_a_batch_ends_that_worker_only(world: World, bank: Bank) -> None:
    file = await _opened(bank)
    async with begin(world.engine) as tx:
        await tx.execute("LOCK TABLE points_transfers IN ACCESS EXCLUSIVE MODE")
        working = asyncio.create_task(_work(world, file))
        cut = 0
        while not cut:
            await asyncio.sleep(0.02)
            cut = await tx.scalar(
                """SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'"""
            )
    await working
    assert await world.balances() == {}
    await _all_is_credited(world, file)
