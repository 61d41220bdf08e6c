"""Whatever bytes come, the reader gives rows or says what is wrong with the file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterfoil.points.files.faults import RECORD_FAULTS, FileFaultError, Limits
from counterfoil.points.files.layouts import Layout
from counterfoil.points.files.reader import RECORDS, open_accruals
from counterfoil.points.files.totals import ResponseTotals
from counterfoil.points.files.writer import read_response, write_accruals, write_response
from tests.points_files.examples import ALL_LAYOUTS, ANSWERED, HEADER, RESPONSE_HEADER, drawn_answers, records

LAYOUTS = [layout for layout in ALL_LAYOUTS if layout.line_ending == "lf"]
EACH_LAYOUT = pytest.mark.parametrize(
    "layout", LAYOUTS, ids=[f"{layout.shape}-{layout.encoding}" for layout in LAYOUTS]
)
PIECES = [b"|", b",", b'"', b"\n", b"\r\n", b"D|", b"#T,", b"T", b"H", b" ", b"0", b"-", b"\x81\x30\x81\x30"]
PIECES += [b"\xef\xbb\xbf", "王".encode(), "王".encode("gb18030"), b"\0", b"\xff", b"=", b"9" * 19, b""]


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    with TemporaryDirectory() as directory:
        yield Path(directory) / "file"


@pytest.fixture(scope="module", params=range(len(LAYOUTS)))
def whole(request: pytest.FixtureRequest, path: Path) -> tuple[Layout, bytes]:
    """A layout and a file that is well formed by it."""
    layout = LAYOUTS[request.param]
    rows = [(f"C{n}", n, f"R{n}", date(2026, 2, 28), "王" if n % 2 else None) for n in range(6)]
    write_accruals(path, layout, HEADER, [records(*rows)])
    return layout, path.read_bytes()


def read_all(path: Path, layout: Layout, limits: Limits) -> None:
    """Read a file; every line between the first and the last is a row of the schema."""
    content = path.read_bytes()
    with open_accruals(path, layout, limits=limits) as reader:
        batches = list(reader.batches())
        assert reader.trailer is not None
        count = reader.counted.record_count
    lines = content.removesuffix(b"\n").count(b"\n") + 1
    assert count == lines - 2 - layout.column_names
    line = 1 + layout.column_names
    for batch in batches:
        assert batch.schema == RECORDS
        batch.validate(full=True)
        for row in batch.to_pylist():
            line += 1
            assert row["line"] == line
            assert row["fault"] is None or row["fault"] in RECORD_FAULTS
            assert (row["fault"] is None) <= bool(row["customer_id"] and row["reference"])
            assert "\0" not in "".join(str(value) for value in row.values())
    assert line - 1 - layout.column_names == count


@EACH_LAYOUT
@given(content=st.binary(max_size=300) | st.lists(st.sampled_from(PIECES)).map(b"".join))
@settings(max_examples=40, deadline=None)
def test_any_bytes_are_told_to_be_no_file(path: Path, layout: Layout, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(FileFaultError):
        read_all(path, layout, Limits())


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_gives_all_its_rows_or_says_why_not(
    path: Path, whole: tuple[Layout, bytes], data: st.DataObject
) -> None:
    layout, content = whole
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        stop = start + data.draw(st.integers(0, 3))
        piece = data.draw(st.sampled_from(PIECES) | st.binary(max_size=4))
        content = content[:start] + piece + content[stop:]
    path.write_bytes(content)
    try:
        read_all(path, layout, Limits(block_bytes=data.draw(st.sampled_from([1, 50, 10_000]))))
    except FileFaultError:
        return


@EACH_LAYOUT
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_a_damaged_response_is_read_or_told(path: Path, layout: Layout, data: st.DataObject) -> None:
    answers = data.draw(drawn_answers(layout))
    with path.open("wb") as out:
        write_response(out, layout, RESPONSE_HEADER, [answers], ResponseTotals(*[0] * 9))
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:at] + data.draw(st.sampled_from(PIECES)) + content[at + 1 :])
    try:
        batches = read_response(path, layout)[1]
    except FileFaultError:
        return
    assert all(batch.schema.names[1:] == ANSWERED.names for batch in batches)
