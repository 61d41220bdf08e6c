"""A file from its first line to its last: header, blocks of records, trailer, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc

from counterfoil.points.files.blocks import Block, read_blocks
from counterfoil.points.files.faults import FileFaultError, Limits
from counterfoil.points.files.layout_names import FILLER, MAY_BE_EMPTY, LineKind
from counterfoil.points.files.layouts import Layout
from counterfoil.points.files.splitting import Split, prefix, split
from counterfoil.points.files.values import Value, parse_value


class Kinds(NamedTuple):
    """The kinds of lines of one kind of file."""

    header: LineKind
    record: LineKind
    trailer: LineKind


ACCRUALS: Final = Kinds("header", "record", "trailer")
RESPONSE: Final = Kinds("response_header", "response", "response_trailer")


@dataclass(frozen=True, slots=True)
class Rows:
    """The records of one block."""

    first_line: int
    lines: pa.Array
    encoding: str
    fields: Split


class Scan:
    """An open file. Every line between header and trailer is a row, whatever stands in it."""

    def __init__(self, path: Path, layout: Layout, kinds: Kinds, limits: Limits) -> None:
        self.layout, self.kinds, self.limits = layout, kinds, limits
        self._file = path.open("rb")
        try:
            as_bytes = layout.shape == "fixed"
            self._blocks = read_blocks(self._file, encoding=layout.encoding, as_bytes=as_bytes, limits=limits)
            self._first = next(self._blocks, None)
            self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise
        self.trailer: dict[str, Value] | None = None
        """The values of the trailer, once all rows were read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def rows(self) -> Iterator[Rows]:
        """The records, block by block; `FileFaultError` where the file is broken. To be read once."""
        count, last_line = 0, 1
        for block in self._remaining():
            first_line, lines = self._without_preamble(block)
            last_line = first_line + len(lines) - 1
            if not len(lines):
                continue
            lines = self._without_trailer(first_line, lines, block.encoding)
            count += len(lines)
            if count > self.limits.records:
                detail = f"The file has more than {self.limits.records} records."
                raise FileFaultError(detail, code="file_too_many_records", line=last_line)
            if len(lines):
                found = split(self.layout, self.kinds.record, lines, block.encoding)
                yield Rows(first_line, lines, block.encoding, found)
        if self.trailer is None:
            detail = f"The file ends after line {last_line} without a trailer."
            raise FileFaultError(detail, code="file_trailer_missing", line=last_line)

    def _remaining(self) -> Iterator[Block]:
        first, self._first = self._first, None
        if first is not None:
            yield first
        yield from self._blocks

    def _read_header(self) -> dict[str, Value]:
        if self._first is None:
            raise FileFaultError("The file is empty.", code="file_empty")
        line = self._first.lines[:1]
        if not pc.starts_with(line, prefix(self.layout, self.kinds.header))[0].as_py():
            raise FileFaultError("Line 1 is not a header.", code="file_header_missing", line=1)
        return self._values(self.kinds.header, line, self._first.encoding, 1)

    def _without_preamble(self, block: Block) -> tuple[int, pa.Array]:
        """The lines of a block that are neither the header nor the column names."""
        after = 2 + self.layout.column_names
        if self.layout.column_names and block.first_line <= 2 < block.first_line + len(block.lines):
            self._check_column_names(block.lines[2 - block.first_line])
        skipped = min(max(after - block.first_line, 0), len(block.lines))
        return block.first_line + skipped, block.lines[skipped:]

    def _check_column_names(self, line: pa.Scalar) -> None:
        expected = column_names(self.layout, self.kinds.record)
        found = line.as_py().rstrip("\n").replace(self.layout.quote, "")
        if found != expected:
            detail = f"Line 2 should have the column names {expected}."
            raise FileFaultError(detail, code="file_column_names_wrong", line=2)

    def _without_trailer(self, first_line: int, lines: pa.Array, encoding: str) -> pa.Array:
        """The lines before the trailer, if it is there; nothing may follow it, and no header."""
        begins = pc.starts_with(lines, prefix(self.layout, self.kinds.trailer))
        at = 0 if self.trailer is not None else pc.index(begins, True).as_py() + 1
        if self.trailer is not None or 0 < at < len(lines):
            line = first_line + at
            detail = f"Line {line} stands after the trailer."
            raise FileFaultError(detail, code="file_after_trailer", line=line)
        again = pc.index(pc.starts_with(lines, prefix(self.layout, self.kinds.header)), True).as_py()
        if again >= 0:
            line = first_line + again
            detail = f"Line {line} is a second header."
            raise FileFaultError(detail, code="file_header_repeated", line=line)
        if at:
            self.trailer = self._values(self.kinds.trailer, lines[at - 1 :], encoding, first_line + at - 1)
            return lines[: at - 1]
        return lines

    def _values(self, kind: LineKind, line: pa.Array, encoding: str, number: int) -> dict[str, Value]:
        """The values of a header or a trailer."""
        found = split(self.layout, kind, line, encoding)
        if not found.well_formed[0].as_py():
            raise self._unreadable(kind, number, None, "has not the fields, or not the length, of its layout")
        values = {}
        for field in self.layout.line(kind).fields:
            if field.name == FILLER:
                continue
            text = found.texts[field.name][0].as_py()
            try:
                values[field.name] = parse_value(kind, field, text)
            except ValueError as error:
                raise self._unreadable(kind, number, field.name, str(error)) from error
            if field.name in found.unreadable and found.unreadable[field.name][0].as_py():
                raise self._unreadable(kind, number, field.name, "has a character that is cut in two")
            if values[field.name] is None and field.name not in MAY_BE_EMPTY:
                raise self._unreadable(kind, number, field.name, "is empty")
            if len(text) > self.limits.text_chars:
                raise self._unreadable(kind, number, field.name, "is too long")
        return values

    def _unreadable(self, kind: LineKind, line: int, field: str | None, why: str) -> FileFaultError:
        what = f"the field {field} of line {line}" if field else f"line {line}"
        if kind == self.kinds.header:
            detail = f"The header cannot be read: {what} {why}."
            return FileFaultError(detail, code="file_header_unreadable", line=line, field=field)
        detail = f"The trailer cannot be read: {what} {why}."
        return FileFaultError(detail, code="file_trailer_unreadable", line=line, field=field)


def column_names(layout: Layout, kind: LineKind) -> str:
    """The line of column names, without its ending."""
    return layout.delimiter.join(field.title or field.name for field in layout.line(kind).fields)
