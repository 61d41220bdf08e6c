"""Layouts, headers and records for the tests of files, and strategies that draw them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from hypothesis import strategies as st

from counterfoil.points.files.faults import DEFAULT_LIMITS
from counterfoil.points.files.layouts import BUILTIN_LAYOUTS, Layout, builtin_layout, parse_layout
from counterfoil.points.files.reader import RECORDS, Header, Limits, Totals, open_accruals
from counterfoil.points.files.responses import RESPONSES, ResponseHeader

NOW: Final = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
HEADER: Final = Header("1", "test", "BANK", "SHOP", "ACCRUAL", 7, NOW)
RESPONSE_HEADER: Final = ResponseHeader("1", "test", "SHOP", "BANK", "RESPONSE", 7, NOW, "accepted", None, 8)
BAR: Final = builtin_layout("delimited")
FIXED: Final = builtin_layout("fixed")
CSV: Final = builtin_layout("csv")

ALL_LAYOUTS: Final[list[Layout]] = [
    builtin_layout(name).model_copy(update={"encoding": encoding, "line_ending": ending})
    for name in BUILTIN_LAYOUTS
    for encoding in ("utf-8", "gb18030")
    for ending in ("lf", "crlf")
]

SENT: Final = pa.schema([RECORDS.field(name) for name in RECORDS.names[1:-2]])
ANSWERED: Final = pa.schema([RESPONSES.field(name) for name in RESPONSES.names[1:]])


def changed(layout: Layout, *path: str | int, to: Any) -> dict[str, Any]:
    """The document of a layout with one value set."""
    document = layout.model_dump(mode="json", exclude_unset=True)
    at: Any = document
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = to
    return document


@lru_cache
def with_scale(layout: Layout, scale: int) -> Layout:
    """The same layout for a partner who counts parts of points."""
    document = layout.model_dump(mode="json")
    for line in ("record", "trailer", "response", "response_trailer"):
        for field in document[line]["fields"]:
            if "points" in field["name"]:
                field["scale"] = scale
    return parse_layout(document)


def records(*rows: tuple[str, int | None, str | None, date | None, str | None]) -> pa.RecordBatch:
    """Records as a partner has them."""
    return pa.RecordBatch.from_pylist([dict(zip(SENT.names, row, strict=True)) for row in rows], SENT)


def read(
    path: Path, layout: Layout, limits: Limits = DEFAULT_LIMITS
) -> tuple[Header, list[dict[str, Any]], Totals]:
    """A whole file: its header, its rows and what its trailer says."""
    with open_accruals(path, layout, limits=limits) as reader:
        rows = [row for batch in reader.batches() for row in batch.to_pylist()]
        assert reader.counted.record_count == len(rows)
        assert reader.trailer is not None
        return reader.header, rows, reader.trailer


def text_of(path: Path, *lines: str) -> Path:
    """A file of lines."""
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


@lru_cache
def texts(layout: Layout, most: int) -> st.SearchStrategy[str]:
    """Texts that a layout can write: no line ends, no delimiter between bars, no spaces at the edges."""
    barred = layout.delimiter if layout.shape == "delimited" else ""
    # Four bytes for each character fit in any encoding.
    size = most // 4 if layout.shape == "fixed" else most
    found = st.text(
        st.characters(exclude_characters="\n\r\0" + barred, exclude_categories=["Cs"]),
        min_size=1,
        max_size=size,
    )
    return found.map(lambda text: text.strip(" ")).filter(bool) if layout.shape == "fixed" else found


@lru_cache
def drawn_records(layout: Layout) -> st.SearchStrategy[pa.RecordBatch]:
    """Well-formed records of any kind."""
    points = (
        # Their sum, in the units of a layout that writes hundredths, still is a number of 64 bits.
        st.integers(-(2**62) // 100_000, 2**62 // 100_000)
        if layout.shape != "fixed"
        else st.integers(-(10**15), 10**15)
    )
    row = st.tuples(
        texts(layout, 32),
        points,
        texts(layout, 40),
        st.dates(date(1000, 1, 1)),
        st.none() | texts(layout, 16),
    )
    return st.lists(row, max_size=8).map(lambda rows: records(*rows))


@lru_cache
def drawn_answers(layout: Layout) -> st.SearchStrategy[pa.RecordBatch]:
    """Answers to records, also to some that could not be read."""
    row = st.fixed_dictionaries(
        {
            "customer_id": st.just("") | texts(layout, 32),
            "points": st.none() | st.integers(-(10**15), 10**15),
            "reference": st.none() | texts(layout, 40),
            "status": st.sampled_from(["accepted", "rejected", "duplicate"]),
            "code": st.none() | st.sampled_from(["customer_not_found", "fields_wrong"]),
            "our_reference": st.none() | texts(layout, 40),
        }
    )
    return st.lists(row, max_size=8).map(lambda rows: pa.RecordBatch.from_pylist(rows, ANSWERED))
