"""The ledger as CSV, in pieces: every transfer with both of its sides and what became of it."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from counterfoil.db.transactions import ReadTx
from counterfoil.ids import format_id
from counterfoil.points import queries
from counterfoil.points.queries import TransferItem

COLUMNS: Final = tuple(field.name for field in fields(TransferItem))
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_text(text: str) -> str:
    """A text as no spreadsheet takes it for a formula: with an apostrophe before what would begin one."""
    return f"'{text}" if text.startswith(_FORMULA) else text


async def csv_parts(tx: ReadTx, *, merchant_id: UUID) -> AsyncIterator[tuple[int, bytes]]:
    """The whole ledger, thousands of transfers at a time: how many they are, and their lines."""
    yield 0, _lines([COLUMNS])
    async for items in queries.export(tx, merchant_id=merchant_id):
        yield len(items), _lines([[_cell(getattr(item, name)) for name in COLUMNS] for item in items])


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, UUID):
        return format_id("transfer", value)
    return value.isoformat() if isinstance(value, datetime) else value


def _lines(rows: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
