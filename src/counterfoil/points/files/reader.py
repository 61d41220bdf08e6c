"""Reads partners' files: the header at once, then records in batches, then the trailer.

Nothing of a file is to be credited before all of it was read: a fault may stand in its last line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from counterfoil.points.files.columns import Faults, dates, mask_of, numbers, texts_or_null
from counterfoil.points.files.faults import DEFAULT_LIMITS, FileFaultError, Limits
from counterfoil.points.files.layouts import Layout
from counterfoil.points.files.scanning import ACCRUALS, Rows, Scan
from counterfoil.points.files.splitting import split_loosely
from counterfoil.points.files.totals import Tally, Totals

__all__ = ["RECORDS", "FileFaultError", "Header", "Limits", "Reader", "Totals", "open_accruals"]

RECORDS: Final = pa.schema(
    [
        pa.field("line", pa.int32(), nullable=False),
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("points", pa.int64()),
        pa.field("reference", pa.string()),
        pa.field("occurred_on", pa.date32()),
        pa.field("offer_code", pa.string()),
        pa.field("fault", pa.string()),
        pa.field("field", pa.string()),
    ]
)
"""Records as they are read. `fault` is one of `RECORD_FAULTS`, null where a record is well formed."""

_FIELDS: Final = ("customer_id", "points", "reference", "occurred_on", "offer_code")
_TEXTS: Final = ("customer_id", "reference", "offer_code")


@dataclass(frozen=True, slots=True)
class Header:
    """Who sends what to whom, and which of his files it is; `created_at` is UTC."""

    version: str
    environment: str
    sender: str
    receiver: str
    file_type: str
    sequence: int
    created_at: datetime


class Reader:
    """An open file of accruals; a context manager, which closes it."""

    def __init__(self, scan: Scan) -> None:
        values: dict[str, Any] = scan.header
        self.header = Header(**values)
        self.trailer: Totals | None = None
        """What the file says of itself, once all batches were read."""
        self._scan = scan
        self._tally = Tally()

    @property
    def counted(self) -> Totals:
        """What was read so far; a record whose points or member cannot be read counts none."""
        return self._tally.totals()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scan.__exit__(kind, error, trace)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Every record, in the order of the file; `FileFaultError` where the file is broken. Once."""
        for rows in self._scan.rows():
            batch = _batch(self._scan, rows)
            self._tally.add(batch["customer_id"], batch["points"])
            yield batch
        values: dict[str, Any] = self._scan.trailer or {}
        self.trailer = Totals(**values)


def open_accruals(path: Path, layout: Layout, *, limits: Limits = DEFAULT_LIMITS) -> Reader:
    """Open a file of accruals and read its header; `FileFaultError` if it has none that can be read."""
    return Reader(Scan(path, layout, ACCRUALS, limits))


def _batch(scan: Scan, rows: Rows) -> pa.RecordBatch:
    by_name = {field.name: field for field in scan.layout.record.fields}
    count = len(rows.fields.texts["customer_id"])
    texts = dict(rows.fields.texts)
    texts.setdefault("offer_code", pa.nulls(count, pa.string()))
    faults = Faults(count, _FIELDS)
    for name, cut in rows.fields.unreadable.items():
        if name in _FIELDS:
            faults.mark(mask_of(cut), "text_unreadable", name)
    found = {name: texts_or_null(texts[name]) for name in _TEXTS}
    for name in _TEXTS:
        found[name] = _within_limit(found[name], name, scan.limits, faults)
    found["points"] = numbers(by_name["points"], texts["points"])
    found["occurred_on"] = dates(by_name["occurred_on"], texts["occurred_on"])
    _mark_missing(scan.layout, texts, found, faults)
    fault, field = faults.columns()
    return _assembled(scan, rows, {**found, "fault": fault, "field": field})


def _within_limit(texts: pa.Array, name: str, limits: Limits, faults: Faults) -> pa.Array:
    """Null where a text is longer than the platform keeps."""
    if (pc.max(pc.binary_length(texts)).as_py() or 0) <= limits.text_chars:
        return texts
    long = pc.fill_null(pc.greater(pc.utf8_length(texts), limits.text_chars), False)
    faults.mark(mask_of(long), "field_too_long", name)
    return pc.if_else(long, None, texts)


def _mark_missing(
    layout: Layout, texts: dict[str, pa.Array], found: dict[str, pa.Array], faults: Faults
) -> None:
    needed = {field.name: field.required for field in layout.record.fields}
    absent = {name: mask_of(pc.is_null(found[name])) for name in _FIELDS if found[name].null_count}
    if "customer_id" in absent:
        faults.mark(absent["customer_id"], "customer_id_missing", "customer_id")
    if "points" in absent:
        faults.mark(absent["points"], "points_unreadable", "points")
    if "reference" in absent:
        faults.mark(absent["reference"], "reference_missing", "reference")
    if "occurred_on" in absent:
        excused = mask_of(pc.equal(texts["occurred_on"], "")) & (needed["occurred_on"] is False)
        faults.mark(absent["occurred_on"] & ~excused, "date_unreadable", "occurred_on")
    if "offer_code" in absent and needed.get("offer_code"):
        faults.mark(absent["offer_code"], "offer_code_missing", "offer_code")


def _assembled(scan: Scan, rows: Rows, found: dict[str, pa.Array]) -> pa.RecordBatch:
    """The batch, with damaged lines at their places."""
    good = mask_of(rows.fields.well_formed)
    if not good.all():
        place = pa.array(np.cumsum(good) - 1, mask=~good)
        found = {name: column.take(place) for name, column in found.items()}
        damaged = pa.array(~good)
        for name, texts in _salvaged(scan, rows, damaged).items():
            found[name] = pc.replace_with_mask(found[name], damaged, texts)
    line = pa.array(np.arange(rows.first_line, rows.first_line + len(good), dtype=np.int32))
    found["customer_id"] = pc.fill_null(found["customer_id"], "")
    return pa.record_batch([{"line": line, **found}[name] for name in RECORDS.names], schema=RECORDS)


def _salvaged(scan: Scan, rows: Rows, damaged: pa.Array) -> dict[str, pa.Array]:
    """Of damaged lines who was meant, as far as that can be seen, so that the partner finds them."""
    encoding = rows.encoding
    found: dict[str, list[str | None]] = {"customer_id": [], "reference": []}
    lines = rows.lines.filter(damaged).to_pylist()
    for line in lines:
        text = line.decode(encoding) if isinstance(line, bytes) else line
        seen = split_loosely(scan.layout, scan.kinds.record, text.removesuffix("\n"))
        for name, values in found.items():
            value = seen.get(name)
            values.append(value if value and len(value) <= scan.limits.text_chars else None)
    columns = {name: pa.array(values, pa.string()) for name, values in found.items()}
    return {**columns, "fault": pa.array(["fields_wrong"] * len(lines), pa.string())}
