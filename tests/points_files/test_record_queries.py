"""What is told of each record of a file is what its response says; transfers lead back to their records."""

from __future__ import annotations

from typing import Any

from counterfoil.db.transactions import read
from counterfoil.ids import format_id
from counterfoil.points.files import queries, record_queries
from counterfoil.points.files.files import File
from counterfoil.points.files.record_queries import RecordItem
from tests.points_files.world import Bank, World

ROWS: list[Any] = [
    ("m1", 10, "A1"),
    ("m2", 0, "A2"),
    ("m3", 10, "A1"),
    ("m1", 10, "A1"),
    ("m2", 0, "A2"),
    ("m9", 10, "A3"),
    ("m9", 10, "A3"),
    ("m4", 11, "B1"),
    ("m5", 12, "B2"),
    ("m4", 9, "A4"),
    "D|m5|x|A5|20260101|",
    ("m5", 2, "B2"),
    *((f"m{n % 6 + 1}", n + 1, f"C{n}") for n in range(12)),
]


async def _records(world: World, file: File) -> list[RecordItem]:
    async with read(world.engine) as tx:
        found = [item async for part in record_queries.every_record(tx, file=file, most=7) for item in part]
    return sorted(found, key=lambda item: item.line)


async def test_every_record_is_told_as_the_response_tells_it(world: World, bank: Bank) -> None:
    await bank.credited(("m4", 11, "B1"), ("m5", 99, "B2"), ("m8", 1, "C0"))
    sent = await bank.send(*ROWS)
    await world.run()
    file, response = await world.file(sent), await bank.response(sent)
    found = await _records(world, file)
    assert [(item.state, item.code, item.our_reference) for item in found] == [
        (row["status"], row["code"] or "credited", row["our_reference"]) for row in response.rows
    ]
    assert {item.state for item in found} == {"accepted", "rejected", "duplicate"}


async def test_the_counts_by_code_add_up_to_the_totals(world: World, bank: Bank) -> None:
    await bank.credited(("m4", 11, "B1"), ("m5", 99, "B2"))
    file = await bank.send(*ROWS)
    await world.run()
    file = await world.file(file)
    async with read(world.engine) as tx:
        progress = await queries.progress(tx, file=file)
        counts = await queries.count_codes(tx, file=file, decided=progress)
    sums = {
        status: sum(count.records for count in counts if count.status == status)
        for status in ("accepted", "rejected", "duplicate")
    }
    assert sums == {"accepted": file.credited, "rejected": file.rejected, "duplicate": file.duplicate}
    assert (progress.decided, progress.records) == (len(ROWS), len(ROWS))
    assert progress.batches == progress.batches_done > 1


async def test_every_transfer_of_a_file_leads_back_to_its_record(world: World, bank: Bank) -> None:
    file = await bank.send(*ROWS)
    await world.run()
    found = {item.transfer_id: item for item in await _records(world, await world.file(file))
             if item.state == "accepted"}  # fmt: skip
    rows = await world.all("SELECT transfer_id, reference, points FROM points_transfers")
    assert {row.transfer_id for row in rows} == set(found)
    async with read(world.engine) as tx:
        for row in rows:
            item = found[row.transfer_id]
            assert (item.reference, item.points) == (row.reference, row.points)
            assert item.our_reference == format_id("transfer", row.transfer_id)
            which = {"merchant_id": world.merchant_id, "transfer_id": row.transfer_id}
            origin = await record_queries.find_transfer(tx, **which)
            assert origin is not None
            assert (origin.line, origin.n, origin.batch_no) == (item.line, item.n, item.batch_no)
