"""A response for every file: once, complete, and the same whenever and however the file comes again."""

from __future__ import annotations

import asyncio
from datetime import UTC, date
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from counterfoil import clock
from counterfoil.db.transactions import begin
from counterfoil.points.files import answering, openpgp
from counterfoil.points.files.answering import Results, TotalsDifferError
from counterfoil.points.files.files import File
from counterfoil.points.files.partners import Partner
from counterfoil.points.files.reader import Header
from counterfoil.points.files.writer import write_accruals
from counterfoil.worker.crediting import look_after_files
from tests.points_files.examples import records
from tests.points_files.world import Bank, World

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY %' AND state = 'active'"
WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event = 'relation'"
ROWS: list[Any] = [("m1", 5, "r1"), ("m2", 6, "r2"), ("m1", 5, "r1"), ("nobody", 1, "r3"), "D|broken"]


async def _decided(world: World, file: File) -> tuple[str, dict[str, Any]]:
    """Let a file be credited and not answered; gives the job that answers it, which nobody has."""
    while (await world.file(file)).state != "credited":
        await world.step("points.answer_file")
    await world.queued()
    return "points.answer_file", {"file_no": file.file_no}


async def _repeated(bank: Bank, file: File, *agains: File) -> None:
    """The first one is credited once, and each other gets its response, byte by byte."""
    await bank.world.run()
    assert (await bank.world.file(file)).state == "credited"
    response = await bank.response(file)
    assert response.told == ["accepted", "accepted", "credited", "not_found", "fields_wrong"]
    for again in agains:
        told = await bank.world.file(again)
        assert (told.state, told.repeats) == ("repeated", file.file_no)
        assert (await bank.response(again)).sealed == response.sealed
    assert await bank.world.balances() == {"m1": 5, "m2": 6}
    assert (await bank.now()).last_sequence == 1


async def test_the_same_file_again_gets_the_identical_response(world: World, bank: Bank) -> None:
    plain = bank.write(*ROWS)
    sealed = bank.seal(plain)
    file = await bank.put(sealed)
    await world.run()
    again = await bank.put(sealed)
    renamed = await bank.put(sealed, "under another name.pgp")
    anew = await bank.put(bank.seal(plain))
    await _repeated(bank, file, again, renamed, anew)


async def test_the_same_file_again_while_the_first_is_credited_waits_for_its_response(
    world: World, bank: Bank
) -> None:
    sealed = bank.seal(bank.write(*ROWS))
    file = await bank.put(sealed)
    await world.step()
    again = await bank.put(sealed)
    held = await world.step("points.credit_file")
    assert (await world.file(again)).state == "repeated"
    await world.step()
    assert (await world.file(again)).answered_at is None
    for job, payload in held:
        await world.do(job, payload)
    await _repeated(bank, file, again)


async def test_the_same_file_twice_at_once_is_credited_once(world: World, bank: Bank) -> None:
    sealed = bank.seal(bank.write(*ROWS))
    files = [await bank.put(sealed) for _ in range(3)]
    await asyncio.gather(*(world.do(job, payload) for job, payload in await world.queued()))
    states = [(await world.file(file)).state for file in files]
    assert sorted(states) == ["crediting", "repeated", "repeated"]
    first = files.pop(states.index("crediting"))
    await _repeated(bank, first, *files)


async def test_one_file_that_is_opened_twice_at_once_is_stored_once(world: World, bank: Bank) -> None:
    file = await bank.send(*ROWS)
    (job, payload), *_ = await world.queued()
    await asyncio.gather(*(world.do(job, payload) for _ in range(3)))
    await _repeated(bank, file)


async def test_of_two_files_with_one_number_at_once_one_is_accepted(world: World, bank: Bank) -> None:
    files = [await bank.send(("m1", n, f"r{n}"), sequence=1) for n in (1, 2, 3)]
    await asyncio.gather(*(world.do(job, payload) for job, payload in await world.queued()))
    await world.run()
    told = [await world.file(file) for file in files]
    assert sorted(file.state for file in told) == ["credited", "rejected", "rejected"]
    assert {file.reason for file in told} == {None, "sequence_wrong"}
    assert {file.expected_sequence for file in told if file.state == "rejected"} == {2}
    assert len(await world.balances()) == 1


async def test_a_rejected_file_that_comes_again_is_looked_at_again(world: World, bank: Bank) -> None:
    """What was wrong may be right by now: a number that was too high, say."""
    early = bank.seal(bank.write(("m2", 2, "b"), sequence=2))
    first = await bank.put(early)
    await world.run()
    assert (await world.file(first)).reason == "sequence_wrong"
    await bank.credited(("m1", 1, "a"), sequence=1)
    second = await bank.put(early)
    await world.run()
    assert (await world.file(second)).state == "credited"
    assert await world.balances() == {"m1": 1, "m2": 2}


async def test_an_old_file_that_comes_again_after_others_is_still_a_repetition(
    world: World, bank: Bank
) -> None:
    sealed = bank.seal(bank.write(*ROWS))
    file = await bank.put(sealed)
    await world.run()
    await bank.credited(("m3", 1, "x"))
    again = await bank.put(sealed)
    await world.run()
    assert (await bank.response(again)).sealed == (await bank.response(file)).sealed
    assert await world.balances() == {"m1": 5, "m2": 6, "m3": 1}


@pytest.mark.parametrize(
    "tampering",
    [
        "INSERT INTO points_results (file_no, n, status, code) VALUES (:f, 0, 'rejected', 'closed')",
        "DELETE FROM points_results WHERE file_no = :f",
        "DELETE FROM points_records WHERE file_no = :f AND n = 1",
        "UPDATE points_records SET points = points + 1 WHERE file_no = :f AND n = 1",
    ],
)
async def test_a_response_that_says_anything_but_what_was_decided_is_not_made(
    world: World, bank: Bank, tampering: str
) -> None:
    file = await bank.send(("m1", 5, "r1"), ("m2", 6, "r2"), ("nobody", 7, "r3"))
    answer = await _decided(world, file)
    await world.execute(tampering, f=file.file_no)
    with pytest.raises(TotalsDifferError):
        await world.do(*answer)
    told = await world.file(file)
    assert told.answered_at is None
    assert told.answer_error is not None
    assert told.answer_error["code"] == "internal"
    assert told.answer_after is not None, "it is tried again"


async def test_a_response_whose_results_are_cut_off_is_made_anew(
    world: World, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is half of it signed, nor is the end of the connection taken for the end of the file."""
    await bank.change(limiter={})
    file = await bank.send(*(("m1", 1, f"r{n}") for n in range(30_000)))
    answer = await _decided(world, file)
    write_plain, loop = answering.write_plain, asyncio.get_running_loop()

    def cut_off(out: BinaryIO, file: File, partner: Partner, results: Results | None) -> None:
        assert results is not None
        results.source.peek(1)
        asyncio.run_coroutine_threadsafe(world.execute(CUT), loop).result()
        write_plain(out, file, partner, results)

    monkeypatch.setattr(answering, "write_plain", cut_off)
    await world.do(*answer)
    told = await world.file(file)
    assert (told.answered_at, told.answer_error and told.answer_error["code"]) == (
        *(None, "database_unavailable"),
    )
    monkeypatch.undo()
    await world.execute("UPDATE points_files SET answer_after = now() - interval '1 day'")
    await world.do(*answer)
    response = await bank.response(file)
    assert response.told == ["accepted"] * 30_000


async def test_a_response_that_cannot_be_sealed_stops_the_database_from_telling_on(
    world: World, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More results than fit between them, and nobody who reads them any more."""
    await bank.change(limiter={})
    file = await bank.send(*(("m1", 1, f"r{n}") for n in range(30_000)))
    answer = await _decided(world, file)
    seal = openpgp.seal_written

    async def with_no_key(write: Any, target: Path, **said: Any) -> None:
        await seal(write, target, **{**said, "recipient": "no key"})

    monkeypatch.setattr(openpgp, "seal_written", with_no_key)
    with pytest.raises(RuntimeError, match="The process for OpenPGP ended"):
        await asyncio.wait_for(world.do(*answer), 30)
    assert (await world.file(file)).answered_at is None
    monkeypatch.undo()
    await world.execute("UPDATE points_files SET answer_after = now() - interval '1 day'")
    await world.do(*answer)
    assert (await bank.response(file)).told == ["accepted"] * 30_000


async def test_an_answer_that_is_given_up_while_the_database_is_slow_leaves_nothing_behind(
    world: World, bank: Bank
) -> None:
    file = await bank.send(*ROWS)
    answer = await _decided(world, file)
    async with begin(world.engine) as tx:
        await tx.execute("LOCK TABLE points_results IN ACCESS EXCLUSIVE MODE")
        task = asyncio.create_task(world.do(*answer))
        while not await world.all(WAITING):  # noqa: ASYNC110 (of another process)
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)
    assert await world.all(WAITING) == []
    assert (await world.file(file)).answered_at is None
    await world.do(*answer)
    assert (await bank.response(file)).told[:2] == ["accepted", "accepted"]


async def test_a_file_that_is_answered_by_two_at_once_has_one_response(world: World, bank: Bank) -> None:
    file = await bank.send(*ROWS)
    answer = await _decided(world, file)
    await asyncio.gather(*(world.do(*answer) for _ in range(3)))
    parts = await world.all("SELECT part_no FROM points_file_parts WHERE kind = 'response'")
    assert [row.part_no for row in parts] == [0]
    before = (await bank.response(file)).sealed
    await world.do(*answer)
    assert (await bank.response(file)).sealed == before


async def test_an_answer_whose_worker_died_is_called_for_again(world: World, bank: Bank) -> None:
    file = await bank.send(*ROWS)
    await _decided(world, file)
    await look_after_files(world.engine)
    await look_after_files(world.engine)
    assert [job for job, _ in await world.queued()] == ["points.answer_file"]
    await look_after_files(world.engine)
    await _repeated(bank, file)


@pytest.mark.parametrize("layout", ["fixed", "csv"])
async def test_a_partner_reads_its_response_in_its_own_layout(
    world: World, layout: str, tmp_path: Path
) -> None:
    said: dict[str, Any] = {"version": "01", "environment": "PROD"} if layout == "fixed" else {}
    bank = await world.bank(layout=layout, **said)
    header = Header(
        bank.terms.version, bank.terms.environment, bank.terms.sender, bank.terms.receiver, "ACCRUAL", 1,
        clock.now().replace(microsecond=0).astimezone(UTC),
    )  # fmt: skip
    day: date = clock.now().date()
    rows = [("m1", 5, "r1", day, "BASE"), ("nobody", 6, "r2", day, None), ("m1", 7, "r1", day, "BASE")]
    plain = tmp_path / "plain"
    write_accruals(plain, bank.layout, header, [records(*rows)])
    file = await bank.put(bank.seal(plain.read_bytes()))
    await world.run()
    told = await world.file(file)
    assert told.state == "credited", told.detail
    response = await bank.response(file)
    assert response.told == ["accepted", "not_found", "reference_reused"]
    assert response.totals.accepted_points == 5
