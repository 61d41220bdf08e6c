"""Writes what the readers read: the exact inverse, or an error that names the record and the field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa

from counterfoil.errors import FieldError, InvalidError
from counterfoil.points.files.joining import Unwritable, join
from counterfoil.points.files.layout_names import LineKind
from counterfoil.points.files.layouts import Layout
from counterfoil.points.files.reader import Header
from counterfoil.points.files.responses import ResponseHeader, open_response, read_response
from counterfoil.points.files.scanning import column_names
from counterfoil.points.files.totals import ResponseTotals, Tally, Totals
from counterfoil.points.files.values import Value, format_value

__all__ = [
    "ResponseHeader",
    "ResponseTotals",
    "open_response",
    "read_response",
    "write_accruals",
    "write_response",
]

ROWS_AT_ONCE: Final = 131_072
"""Records that become text together: some ten megabytes."""


def write_accruals(path: Path, layout: Layout, header: Header, batches: Iterable[pa.RecordBatch]) -> Totals:
    """Write a file as a partner does, and return the totals in its trailer.

    The batches have the columns of the layout's record. `InvalidError` (`file_value_unwritable`) for a
    value that could not be read again; what was written until then is no whole file.
    """
    tally = Tally()
    with path.open("wb") as file:
        out = _Writer(file, layout)
        out.line("header", asdict(header))
        out.names("record")
        for batch in _pieces(batches):
            out.records("record", batch)
            tally.add(batch["customer_id"], batch["points"])
        out.line("trailer", asdict(tally.totals()))
    return tally.totals()


def write_response(
    file: BinaryIO,
    layout: Layout,
    header: ResponseHeader,
    batches: Iterable[pa.RecordBatch],
    totals: Callable[[], ResponseTotals] | ResponseTotals,
) -> None:
    """Write the answer to a file, with the columns of the layout's response; nulls become empty fields.

    `totals` is asked for after the last batch. Values that were read by the same layout can be written,
    if the response's fields are as wide as the record's. `InvalidError` as in `write_accruals`.
    """
    out = _Writer(file, layout)
    out.line("response_header", asdict(header))
    out.names("response")
    for batch in _pieces(batches):
        out.records("response", batch)
    out.line("response_trailer", asdict(totals() if callable(totals) else totals))


def _pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, len(batch), ROWS_AT_ONCE):
            yield batch.slice(start, ROWS_AT_ONCE)


class _Writer:
    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self._file, self._layout = file, layout
        self._written = 0

    def line(self, kind: LineKind, values: dict[str, Value]) -> None:
        """A header or a trailer."""
        texts = {}
        for field in self._layout.line(kind).fields:
            try:
                texts[field.name] = pa.array([format_value(kind, field, values.get(field.name))])
            except ValueError as error:
                raise _unwritable(kind, None, field.name, str(error)) from error
        try:
            self._put(join(self._layout, kind, texts, 1))
        except Unwritable as error:
            raise _unwritable(kind, None, error.field, error.why) from error

    def names(self, kind: LineKind) -> None:
        """The line of column names, where the layout has one."""
        if self._layout.column_names:
            self._put(f"{column_names(self._layout, kind)}{self._layout.newline}".encode())

    def records(self, kind: LineKind, batch: pa.RecordBatch) -> None:
        """Records, in the order given."""
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        try:
            self._put(join(self._layout, kind, columns, len(batch)))
        except Unwritable as error:
            raise _unwritable(kind, self._written + error.row + 1, error.field, error.why) from error
        self._written += len(batch)

    def _put(self, text: bytes) -> None:
        encoding = self._layout.encoding
        self._file.write(text if encoding == "utf-8" or text.isascii() else text.decode().encode(encoding))


def _unwritable(kind: LineKind, record: int | None, field: str | None, why: str) -> InvalidError:
    where = f"record {record}" if record else f"the {kind.replace('_', ' ')}"
    detail = f"The field {field} of {where} cannot be written: it {why}."
    pointer = f"/{kind}/{record}/{field}" if record else f"/{kind}/{field}"
    errors = (FieldError(pointer, "file_value_unwritable", detail),)
    return InvalidError(detail, code="file_value_unwritable", errors=errors)
