"""Columns into lines, a batch at a time; the inverse of `splitting`."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from counterfoil.points.files.faults import DEFAULT_LIMITS
from counterfoil.points.files.layout_names import FILLER, LineKind
from counterfoil.points.files.layouts import FieldLayout, Layout, align_of, pad_of, type_of
from counterfoil.points.files.splitting import bytes_of
from counterfoil.points.files.values import format_date

TEXT_CHARS: Final = DEFAULT_LIMITS.text_chars
_INT64: Final = (-(2**63), 2**63 - 1)


class Unwritable(Exception):  # noqa: N818 - it never leaves this package
    """A value that could not be read again as it is."""

    def __init__(self, row: int, field: str, why: str) -> None:
        super().__init__(f"{field} of row {row} {why}")
        self.row, self.field, self.why = row, field, why


def join(layout: Layout, kind: LineKind, columns: dict[str, pa.Array], rows: int) -> bytes:
    """The lines of so many rows, in UTF-8; `Unwritable` names the first value that cannot stand there."""
    texts = []
    for field in layout.line(kind).fields:
        if field.name == FILLER or field.name not in columns:
            text = pa.repeat(field.value, rows)
        else:
            text = _text(field, columns[field.name])
            _check(layout, field.name, text)
        texts.append(_laid_out(layout, kind, field, text))
    if layout.shape == "fixed":
        lines = pc.binary_join_element_wise(layout.line(kind).marker, *texts, layout.newline, "")
    else:
        last = pc.binary_join_element_wise(texts[-1], layout.newline, "")
        marker = [layout.line(kind).marker] if layout.line(kind).marker else []
        lines = pc.binary_join_element_wise(*marker, *texts[:-1], last, layout.delimiter)
    written: bytes = bytes_of(lines).to_pybytes()
    return written


def _text(field: FieldLayout, values: pa.Array) -> pa.Array:
    """Texts without nulls: a null is an empty field."""
    if pa.types.is_integer(values.type):
        values = _scaled(field, values.cast(pa.int64()))
    elif pa.types.is_date(values.type):
        values = _dates(field, values.cast(pa.date32()))
    return pc.fill_null(values.cast(pa.string()), "")


def _scaled(field: FieldLayout, values: pa.Array) -> pa.Array:
    if field.scale == 1:
        return values
    low, high = (-(-_INT64[0] // field.scale), _INT64[1] // field.scale)
    _refuse(pc.or_(pc.less(values, low), pc.greater(values, high)), field.name, "is out of range")
    return pc.multiply(values, field.scale)


def _dates(field: FieldLayout, values: pa.Array) -> pa.Array:
    found = values.dictionary_encode()
    texts = []
    for number, value in enumerate(found.dictionary.to_pylist()):
        try:
            texts.append(format_date(field, value))
        except ValueError as error:
            raise Unwritable(pc.index(found.indices, number).as_py(), field.name, str(error)) from error
    return pa.array(texts, pa.string()).take(found.indices)


def _check(layout: Layout, name: str, texts: pa.Array) -> None:
    """Refuse what would end the field or the line, or is longer than a reader takes."""
    if (pc.max(pc.binary_length(texts)).as_py() or 0) > TEXT_CHARS:
        _refuse(pc.greater(pc.utf8_length(texts), TEXT_CHARS), name, f"is longer than {TEXT_CHARS}")
    # The bytes of all values together are searched first, which costs next to nothing.
    data = bytes_of(texts).to_pybytes()
    bad = "\n\r\0" + (layout.delimiter if layout.shape == "delimited" else "")
    for mark in bad:
        if mark.encode() in data:
            _refuse(pc.match_substring(texts, mark), name, f"contains {mark!r}")


def _refuse(bad: pa.Array, name: str, why: str) -> None:
    at = pc.index(pc.fill_null(bad, False), True).as_py()
    if at >= 0:
        raise Unwritable(at, name, why)


def _laid_out(layout: Layout, kind: LineKind, field: FieldLayout, text: pa.Array) -> pa.Array:
    if layout.shape == "fixed":
        return _padded(layout, kind, field, text)
    if layout.shape == "csv" and type_of(kind, field) == "text":
        quote = layout.quote
        quoted = pc.binary_join_element_wise(quote, pc.replace_substring(text, quote, quote * 2), quote, "")
        return pc.if_else(pc.equal(text, ""), "", quoted)
    return text


def _padded(layout: Layout, kind: LineKind, field: FieldLayout, text: pa.Array) -> pa.Array:
    """Filled to the width; numbers with zeros after their sign, an empty field with spaces."""
    room = pc.subtract(field.width, _widths(layout, text))
    _refuse(pc.less(room, 0), field.name, f"is longer than {field.width}")
    right = align_of(kind, field) == "right"
    lost = pc.starts_with(text, " ") if right else pc.ends_with(text, " ")
    _refuse(lost, field.name, "has a space where the field is filled with spaces")
    spaces = pc.binary_repeat(" ", room)
    if not right:
        return pc.binary_join_element_wise(text, spaces, "")
    if pad_of(kind, field) == " ":
        return pc.binary_join_element_wise(spaces, text, "")
    sign = pc.if_else(pc.starts_with(text, "-"), "-", "")
    digits = pc.ascii_ltrim(text, characters="-")
    filled = pc.binary_join_element_wise(sign, pc.binary_repeat("0", room), digits, "")
    return pc.if_else(pc.equal(text, ""), spaces, filled)


def _widths(layout: Layout, text: pa.Array) -> pa.Array:
    """Characters in UTF-8, bytes in GB18030: as those count who use them."""
    if layout.encoding == "utf-8":
        return pc.utf8_length(text)
    widths = pc.binary_length(text)
    wide = pc.invert(pc.string_is_ascii(text))
    if not pc.any(wide).as_py():
        return widths
    found = [len(value.encode(layout.encoding)) for value in text.filter(wide).to_pylist()]
    return pc.replace_with_mask(widths, wide, pa.array(found, pa.int32()))
