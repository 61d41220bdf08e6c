"""The records of a file as CSV, with what became of each."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Any, Final

from counterfoil.db.transactions import ReadTx
from counterfoil.points.exports import as_text
from counterfoil.points.files.files import File
from counterfoil.points.files.record_queries import every_record

COLUMNS: Final = (
    "line", "customer_id", "points", "reference", "occurred_on", "offer_code", "state", "code", "field",
    "first_line", "our_reference", "batch_no",
)  # fmt: skip


async def csv_parts(tx: ReadTx, *, file: File) -> AsyncIterator[bytes]:
    """All records of a file, thousands at a time. What a spreadsheet would take for a formula is a text."""
    yield _lines([COLUMNS])
    async for items in every_record(tx, file=file):
        yield _lines([[_cell(getattr(item, name)) for name in COLUMNS] for item in items])


def _cell(value: Any) -> Any:
    return as_text(value) if isinstance(value, str) else value


def _lines(rows: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
