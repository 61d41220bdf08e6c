"""What is heard of a file: while it runs, by asking for one household, and afterwards, in the response."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from counterfoil import clock
from counterfoil.db.transactions import ReadTx
from counterfoil.demo.bank import LAYOUT
from counterfoil.points.files import queries, record_queries
from counterfoil.points.files.files import File
from counterfoil.points.files.queries import Progress
from counterfoil.points.files.responses import ResponseHeader, read_response
from counterfoil.points.files.totals import ResponseTotals

ASKED_ABOUT: Final = "123"
"""The household whose points are asked for while the file runs."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was answered while the file ran: how far it is, and where one household's records are."""

    seconds: float
    """Since the file was opened."""
    progress: Progress
    states: dict[str, int]
    """How many of the household's records are in which state."""
    points: int
    credited_points: int
    """Of the household's."""
    batches: tuple[int, ...]
    asked_ms: float


@dataclass(frozen=True, slots=True)
class Response:
    """What the bank reads after it decrypted the response and verified its signature."""

    header: ResponseHeader
    totals: ResponseTotals
    counted: dict[str, tuple[int, int]]
    """Records and points of each status, as the bank adds them up itself."""
    codes: dict[str, int]
    sealed: bytes


async def look(tx: ReadTx, file: File) -> Look:
    """Where are the household's points of this file? One query, while it runs."""
    assert file.opened_at is not None
    began = time.perf_counter()
    page = await record_queries.list_records(tx, file=file, customer_id=ASKED_ABOUT, limit=1_000)
    asked_ms = (time.perf_counter() - began) * 1_000
    return Look(
        seconds=(clock.now() - file.opened_at).total_seconds(),
        progress=await queries.progress(tx, file=file),
        states=Counter(record.state for record in page.data),
        points=sum(record.points or 0 for record in page.data),
        credited_points=sum(record.points or 0 for record in page.data if record.state == "accepted"),
        batches=tuple(sorted({r.batch_no for r in page.data if r.batch_no is not None})),
        asked_ms=asked_ms,
    )


def read_answer(sealed: Path, plain: Path) -> Response:
    """A response that was decrypted."""
    header, batches, totals = read_response(plain, LAYOUT)
    counted, codes = {}, {}
    if batches:
        table = pa.Table.from_batches(batches)
        by_status = table.group_by("status").aggregate([("points", "count"), ("points", "sum")])
        counted = {row["status"]: (row["points_count"], row["points_sum"]) for row in by_status.to_pylist()}
        coded = table.filter(pc.is_valid(table["code"]))
        codes = {row["values"]: row["counts"] for row in pc.value_counts(coded["code"]).to_pylist()}
    return Response(header, totals, counted, codes, sealed.read_bytes())
