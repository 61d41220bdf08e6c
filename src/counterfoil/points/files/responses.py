"""Reads responses, as the partner does who gets one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from counterfoil.points.files.columns import numbers, texts_or_null
from counterfoil.points.files.faults import DEFAULT_LIMITS, FileFaultError, Limits
from counterfoil.points.files.layouts import Layout
from counterfoil.points.files.reader import Header
from counterfoil.points.files.scanning import RESPONSE, Rows, Scan
from counterfoil.points.files.totals import ResponseTotals

RESPONSES: Final = pa.schema(
    [
        pa.field("line", pa.int32(), nullable=False),
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("points", pa.int64()),
        pa.field("reference", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("code", pa.string()),
        pa.field("our_reference", pa.string()),
    ]
)
"""Answers to records, in the order in which the records came."""

STATUSES: Final = ("accepted", "rejected", "duplicate")


@dataclass(frozen=True, slots=True)
class ResponseHeader(Header):
    """The header of a response; one to a file that was rejected as a whole says why and what comes next."""

    status: str
    reason: str | None = None
    expected_sequence: int | None = None


class ResponseReader:
    """An open response; a context manager, which closes it."""

    def __init__(self, scan: Scan) -> None:
        values: dict[str, Any] = scan.header
        self.header = ResponseHeader(**values)
        self.trailer: ResponseTotals | None = None
        """The totals, once all batches were read."""
        self._scan = scan

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scan.__exit__(kind, error, trace)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Every answer; `FileFaultError` where one cannot be read: we wrote it. To be read once."""
        for rows in self._scan.rows():
            yield _batch(self._scan, rows)
        values: dict[str, Any] = self._scan.trailer or {}
        self.trailer = ResponseTotals(**values)


def open_response(path: Path, layout: Layout, *, limits: Limits = DEFAULT_LIMITS) -> ResponseReader:
    """Open a response and read its header; `FileFaultError` if it has none that can be read."""
    return ResponseReader(Scan(path, layout, RESPONSE, limits))


def read_response(path: Path, layout: Layout) -> tuple[ResponseHeader, list[pa.RecordBatch], ResponseTotals]:
    """A whole response at once, for one that fits into memory."""
    with open_response(path, layout) as response:
        batches = list(response.batches())
        assert response.trailer is not None
        return response.header, batches, response.trailer


def _batch(scan: Scan, rows: Rows) -> pa.RecordBatch:
    _refuse(rows, rows.fields.well_formed, None)
    texts = rows.fields.texts
    for name, cut in rows.fields.unreadable.items():
        _refuse(rows, pc.invert(cut), name)
    points = next(field for field in scan.layout.response.fields if field.name == "points")
    found = {name: texts_or_null(text) for name, text in texts.items() if name != "points"}
    found["points"] = numbers(points, texts["points"])
    _refuse(rows, pc.or_(pc.is_valid(found["points"]), pc.equal(texts["points"], "")), "points")
    _refuse(rows, pc.is_in(texts["status"], pa.array(STATUSES)), "status")
    line = pa.array(np.arange(rows.first_line, rows.first_line + len(rows.lines), dtype=np.int32))
    found |= {"line": line, "customer_id": texts["customer_id"]}
    return pa.record_batch([found[name] for name in RESPONSES.names], schema=RESPONSES)


def _refuse(rows: Rows, good: pa.Array, field: str | None) -> None:
    at = pc.index(good, False).as_py()
    if at >= 0:
        line = rows.first_line + at
        detail = f"Line {line} of the response cannot be read" + (f": {field}." if field else ".")
        raise FileFaultError(detail, code="file_response_unreadable", line=line, field=field)
