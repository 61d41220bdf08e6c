"""Reader and writer are exact inverses, whatever the shape, the encoding and the values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterfoil.points.files.layouts import Layout
from counterfoil.points.files.reader import Limits, Totals, open_accruals
from counterfoil.points.files.totals import ResponseTotals
from counterfoil.points.files.writer import open_response, read_response, write_accruals, write_response
from tests.points_files.examples import (
    ALL_LAYOUTS,
    ANSWERED,
    HEADER,
    RESPONSE_HEADER,
    SENT,
    drawn_answers,
    drawn_records,
    texts,
    with_scale,
)

EACH_LAYOUT = pytest.mark.parametrize(
    "layout", ALL_LAYOUTS, ids=lambda layout: f"{layout.shape}-{layout.encoding}-{layout.line_ending}"
)


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    with TemporaryDirectory() as directory:
        yield Path(directory) / "file"


def table(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    if not batches:
        return schema.empty_table()
    return pa.Table.from_batches(batches).select(schema.names).combine_chunks()


@EACH_LAYOUT
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_what_a_partner_writes_is_read_and_written_again_byte_by_byte(
    path: Path, layout: Layout, data: st.DataObject
) -> None:
    layout = with_scale(layout, data.draw(st.sampled_from([1, 10])))
    header = replace(HEADER, sender=data.draw(texts(layout, 16)), sequence=data.draw(st.integers(0, 2**31)))
    sent = data.draw(drawn_records(layout))
    written = write_accruals(path, layout, header, [sent])
    with open_accruals(path, layout, limits=Limits(block_bytes=data.draw(st.integers(1, 500)))) as reader:
        assert reader.header == header
        found = list(reader.batches())
        assert reader.trailer == reader.counted == written
    assert table(found, SENT).equals(table([sent], SENT))
    assert [n for batch in found for n in batch["line"].to_pylist()] == [
        n + 2 + layout.column_names for n in range(len(sent))
    ]
    assert all(batch["fault"].null_count == len(batch) for batch in found)
    before = path.read_bytes()
    write_accruals(path, layout, header, found)
    assert path.read_bytes() == before


@EACH_LAYOUT
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_what_we_answer_is_read_and_written_again_byte_by_byte(
    path: Path, layout: Layout, data: st.DataObject
) -> None:
    numbers = st.integers(-(10**8), 10**9)
    totals = ResponseTotals(*data.draw(st.tuples(*[numbers] * 9)))
    header = replace(
        RESPONSE_HEADER,
        reason=data.draw(st.none() | st.just("sequence_wrong")),
        expected_sequence=data.draw(st.none() | st.integers(1, 10**9)),
    )
    answers = data.draw(drawn_answers(layout))
    with path.open("wb") as out:
        write_response(out, layout, header, [answers], lambda: totals)
    found_header, found, found_totals = read_response(path, layout)
    assert (found_header, found_totals) == (header, totals)
    assert table(found, ANSWERED).equals(table([answers], ANSWERED))
    before = path.read_bytes()
    with path.open("wb") as out:
        write_response(out, layout, header, found, totals)
    assert path.read_bytes() == before


@EACH_LAYOUT
def test_a_nack_is_a_response_without_records(tmp_path: Path, layout: Layout) -> None:
    header = replace(RESPONSE_HEADER, status="rejected", reason="file_empty", expected_sequence=3)
    with (tmp_path / "nack").open("wb") as out:
        write_response(out, layout, header, [], ResponseTotals(*[0] * 9))
    with open_response(tmp_path / "nack", layout) as response:
        assert response.header == header
        assert not list(response.batches())
        assert response.trailer == ResponseTotals(*[0] * 9)


@EACH_LAYOUT
def test_a_file_without_records_is_a_whole_file(tmp_path: Path, layout: Layout) -> None:
    assert write_accruals(tmp_path / "empty", layout, HEADER, []) == Totals(0, 0, 0)
    with open_accruals(tmp_path / "empty", layout) as reader:
        assert not list(reader.batches())
        assert reader.trailer == Totals(0, 0, 0)
