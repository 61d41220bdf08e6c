"""Lines into the texts of their fields, a block at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from counterfoil.points.files.layout_names import FILLER, LineKind
from counterfoil.points.files.layouts import FieldLayout, Layout, LineLayout, align_of

_BOM: Final = "\ufeff".encode()


@dataclass(frozen=True, slots=True)
class Split:
    """What stands in the fields of lines."""

    well_formed: pa.Array
    """For each line whether it has its marker and the right number of fields, or the right length."""
    texts: dict[str, pa.Array]
    """For each well-formed line the texts by canonical name; empty where nothing stands."""
    unreadable: dict[str, pa.Array]
    """Of those fields whose characters are cut in two: for each well-formed line whether it is so."""


def prefix(layout: Layout, kind: LineKind) -> str:
    """What every line of a kind begins with; empty if the kind has no marker."""
    marker = layout.line(kind).marker
    return marker + layout.delimiter if marker else ""


def split(layout: Layout, kind: LineKind, lines: pa.Array, encoding: str) -> Split:
    """The fields of lines, which end with a line feed each."""
    begins = pc.starts_with(lines, prefix(layout, kind))
    if layout.shape == "fixed":
        good = pc.and_(begins, pc.equal(_lengths(lines, encoding), _length(layout.line(kind)) + 1))
        texts, unreadable = _cut(kind, layout.line(kind), _only(lines, good), encoding)
        return Split(good, texts, unreadable)
    good = pc.and_(begins, _right_number(layout, kind, lines))
    return Split(good, _parse(layout, kind, _only(lines, good)), {})


def split_loosely(layout: Layout, kind: LineKind, line: str) -> dict[str, str]:
    """What stands where fields of a damaged line should begin, as far as the line goes."""
    fields = layout.line(kind).fields
    start = prefix(layout, kind)
    if not line.startswith(start) or (layout.shape == "csv" and layout.quote in line):
        return {}
    rest = line.removeprefix(start)
    if layout.shape != "fixed":
        return {f.name: text for f, text in zip(fields, rest.split(layout.delimiter), strict=False)}
    found = {}
    for field in fields:
        width = field.width or 0
        if len(rest) < width or not rest.isascii():
            break
        found[field.name] = rest[:width].strip(" ")
        rest = rest[width:]
    return found


def _only(lines: pa.Array, good: pa.Array) -> pa.Array:
    return lines if pc.all(good, min_count=0).as_py() else lines.filter(good)


def _lengths(lines: pa.Array, encoding: str) -> pa.Array:
    return pc.utf8_length(lines) if encoding == "utf-8" else pc.binary_length(lines)


def _length(line: LineLayout) -> int:
    return len(line.marker) + sum(field.width or 0 for field in line.fields)


def _right_number(layout: Layout, kind: LineKind, lines: pa.Array) -> pa.Array:
    number = len(layout.line(kind).fields) + bool(layout.line(kind).marker)
    if layout.shape == "delimited":
        return pc.equal(pc.count_substring(lines, layout.delimiter), number - 1)
    return pc.match_substring_regex(lines, _csv_line(layout.delimiter, layout.quote, number))


@lru_cache(maxsize=64)
def _csv_line(delimiter: str, quote: str, number: int) -> str:
    """A line of so many fields, each wholly in quotes or without any."""
    d, q = re.escape(delimiter), re.escape(quote)
    one = f"(?:{q}(?:[^{q}\n]|{q}{q})*{q}|[^{d}{q}\n]*)"
    return rf"^{one}(?:{d}{one}){{{number - 1}}}\n$"


def _parse(layout: Layout, kind: LineKind, lines: pa.Array) -> dict[str, pa.Array]:
    """Lines that are known to have the right number of fields; so the parser has nothing to refuse."""
    line = layout.line(kind)
    names = [f"{number}" for number in range(len(line.fields) + bool(line.marker))]
    places = zip(line.fields, names[-len(line.fields) :], strict=True)
    kept = {field.name: name for field, name in places if field.name != FILLER}
    if not len(lines):
        return {name: pa.array([], pa.string()) for name in kept}
    data = bytes_of(lines)
    # The parser drops a byte order mark at the start of its data, where it is part of a text.
    marked = data[:3].to_pybytes() == _BOM
    if marked:
        data = pa.py_buffer(layout.delimiter.encode() * (len(names) - 1) + b"\n" + data.to_pybytes())
    table = csv.read_csv(
        pa.BufferReader(data),
        read_options=csv.ReadOptions(use_threads=False, column_names=names, block_size=data.size + 1),
        parse_options=csv.ParseOptions(
            delimiter=layout.delimiter,
            quote_char=layout.quote if layout.shape == "csv" else False,
            ignore_empty_lines=False,
        ),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=list(kept.values()),
            check_utf8=False,
        ),
    )
    return {name: _one(table[number])[int(marked) :] for name, number in kept.items()}


def bytes_of(lines: pa.Array) -> pa.Buffer:
    """The bytes of lines that follow each other."""
    _, offsets, data = lines.buffers()
    at = np.frombuffer(offsets, np.int32)
    first, last = int(at[lines.offset]), int(at[lines.offset + len(lines)])
    return data.slice(first, last - first)


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _cut(
    kind: LineKind, line: LineLayout, lines: pa.Array, encoding: str
) -> tuple[dict[str, pa.Array], dict[str, pa.Array]]:
    """Fields of fixed width."""
    texts, unreadable = {}, {}
    start = len(line.marker)
    as_bytes = lines if encoding == "utf-8" else lines.cast(pa.binary())
    for field in line.fields:
        stop = start + (field.width or 0)
        if encoding == "utf-8":
            text = pc.utf8_slice_codeunits(lines, start, stop)
        else:
            piece = pc.binary_slice(as_bytes, start, stop)
            text = piece.cast(pa.string()) if encoding == "ascii" else None
            if text is None:
                text, unreadable[field.name] = _decode(piece, encoding)
        texts[field.name] = _unpadded(kind, field, text)
        start = stop
    texts.pop(FILLER, None)
    return texts, unreadable


def _unpadded(kind: LineKind, field: FieldLayout, text: pa.Array) -> pa.Array:
    """Zeros before a number may stay; a field of spaces is empty however it is filled."""
    if align_of(kind, field) == "right":
        return pc.utf8_ltrim(text, characters=" ")
    return pc.utf8_rtrim(text, characters=" ")


def _decode(pieces: pa.Array, encoding: str) -> tuple[pa.Array, pa.Array]:
    """Texts, and which of them are empty because a character is cut in two."""
    values = pieces.to_pylist()
    texts: list[str | None]
    try:
        texts = [*b"\n".join(values).decode(encoding).split("\n")] if values else []
    except UnicodeDecodeError:
        texts = [_decoded(value, encoding) for value in values]
    found = pa.array(texts, pa.string())
    return pc.fill_null(found, ""), pc.is_null(found)


def _decoded(value: bytes, encoding: str) -> str | None:
    try:
        return value.decode(encoding)
    except UnicodeDecodeError:
        return None
