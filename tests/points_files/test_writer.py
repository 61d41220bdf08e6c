"""What could not be read again is not written, and the error names the record and the field."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from counterfoil.errors import InvalidError
from counterfoil.points.files.faults import FileFaultError
from counterfoil.points.files.layouts import Layout
from counterfoil.points.files.totals import ResponseTotals
from counterfoil.points.files.writer import read_response, write_accruals, write_response
from tests.points_files.examples import (
    ANSWERED,
    BAR,
    CSV,
    FIXED,
    HEADER,
    NOW,
    RESPONSE_HEADER,
    read,
    records,
    with_scale,
)

DAY = date(2026, 2, 28)
NOTHING = ResponseTotals(*[0] * 9)
GB = FIXED.model_copy(update={"encoding": "gb18030"})


@pytest.mark.parametrize(
    ("layout", "changes", "field", "why"),
    [
        (BAR, {"customer_id": "a|b"}, "customer_id", "contains '|'"),
        (BAR, {"reference": "a\nb"}, "reference", r"contains '\n'"),
        (CSV, {"reference": "a\rb"}, "reference", r"contains '\r'"),
        (CSV, {"offer_code": "a\0b"}, "offer_code", r"contains '\x00'"),
        (BAR, {"customer_id": "é" * 201}, "customer_id", "is longer than 200"),
        (BAR, {"occurred_on": date(999, 1, 1)}, "occurred_on", "is no date written as %Y%m%d"),
        (FIXED, {"customer_id": "C" * 33}, "customer_id", "is longer than 32"),
        (FIXED, {"customer_id": "C "}, "customer_id", "has a space"),
        (FIXED, {"customer_id": " "}, "customer_id", "has a space"),
        (GB, {"customer_id": "王" * 17}, "customer_id", "is longer than 32"),
        (with_scale(BAR, 10), {"points": 2**62}, "points", "is out of range"),
    ],
)
def test_a_value_that_could_not_be_read_again_is_named(
    tmp_path: Path, layout: Layout, changes: dict[str, Any], field: str, why: str
) -> None:
    good = records(("C1", 5, "R1", DAY, None), ("C1", 5, "R1", DAY, None))
    bad = pa.RecordBatch.from_pylist([good.to_pylist()[0], {**good.to_pylist()[0], **changes}], good.schema)
    with pytest.raises(InvalidError) as caught:
        write_accruals(tmp_path / "file", layout, HEADER, [good, bad])
    assert caught.value.code == "file_value_unwritable"
    assert [error.pointer for error in caught.value.errors] == [f"/record/4/{field}"]
    assert why in caught.value.detail


@pytest.mark.parametrize(
    ("layout", "changes", "field"),
    [
        (BAR, {"sender": "A|B"}, "sender"),
        (FIXED, {"sender": "A" * 17}, "sender"),
        (BAR, {"sequence": 2**63}, "sequence"),
        (BAR, {"created_at": NOW.replace(year=999)}, "created_at"),
    ],
)
def test_a_header_that_could_not_be_read_again_is_named(
    tmp_path: Path, layout: Layout, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidError, match=f"The field {field} of the header cannot be written"):
        write_accruals(tmp_path / "file", layout, replace(HEADER, **changes), [])


def test_widths_count_characters_in_utf8_and_bytes_in_gb18030(tmp_path: Path) -> None:
    for layout, most in ((FIXED, 32), (GB, 16)):
        write_accruals(tmp_path / "file", layout, HEADER, [records(("王" * most, 5, "R1", DAY, None))])
        assert read(tmp_path / "file", layout)[1][0]["customer_id"] == "王" * most
    lines = (tmp_path / "file").read_bytes().splitlines()
    assert len(lines[1]) == 1 + 32 + 19 + 40 + 8 + 16


def test_a_moment_is_written_in_utc_without_parts_of_seconds(tmp_path: Path) -> None:
    moment = NOW.replace(microsecond=999_999).astimezone(timezone(timedelta(hours=8)))
    write_accruals(tmp_path / "file", BAR, replace(HEADER, created_at=moment), [])
    assert read(tmp_path / "file", BAR)[0].created_at == NOW


def test_totals_are_asked_for_when_all_answers_are_written(tmp_path: Path) -> None:
    seen = []
    answer = {
        "customer_id": "C1",
        "points": 5,
        "reference": "R1",
        "status": "accepted",
        "our_reference": "trf_1",
    }

    def answers() -> Any:
        for _ in range(3):
            seen.append(5)
            yield pa.RecordBatch.from_pylist([answer], ANSWERED)

    with (tmp_path / "file").open("wb") as out:
        write_response(
            out, BAR, RESPONSE_HEADER, answers(), lambda: ResponseTotals(3, sum(seen), 3, 3, 15, 0, 0, 0, 0)
        )
    header, batches, totals = read_response(tmp_path / "file", BAR)
    assert header == RESPONSE_HEADER
    assert sum(map(len, batches)) == 3
    assert totals == ResponseTotals(3, 15, 3, 3, 15, 0, 0, 0, 0)


def test_what_was_read_of_a_record_at_fault_can_be_answered(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_accruals(path, BAR, HEADER, [records(("C1", 5, "R1", DAY, None))])
    path.write_text(path.read_text().replace("D|C1|5|R1|20260228|", "D|C1|5|R1\nfoo\nD||x||y|z"))
    read_rows = read(path, BAR)[1]
    answers = [
        {**row, "status": "rejected", "code": row["fault"], "our_reference": None} for row in read_rows
    ]
    with path.open("wb") as out:
        write_response(out, BAR, RESPONSE_HEADER, [pa.RecordBatch.from_pylist(answers, ANSWERED)], NOTHING)
    assert path.read_text().splitlines()[1:-1] == [
        "D|C1||R1|rejected|fields_wrong|",
        "D||||rejected|fields_wrong|",
        "D||||rejected|customer_id_missing|",
    ]


def test_a_text_that_a_spreadsheet_would_run_goes_back_to_its_sender_unchanged(tmp_path: Path) -> None:
    write_accruals(tmp_path / "file", CSV, HEADER, [records(("=1+1", 5, '"@x', DAY, None))])
    row = read(tmp_path / "file", CSV)[1][0]
    assert (row["customer_id"], row["reference"]) == ("=1+1", '"@x')


@pytest.mark.parametrize("record", ["D|C1|5|R1|maybe||", "D|C1|x|R1|accepted||", "D|C1|5|R1|accepted|"])
def test_a_response_that_does_not_fit_its_layout_is_told_with_its_line(tmp_path: Path, record: str) -> None:
    path = tmp_path / "file"
    with path.open("wb") as out:
        write_response(out, BAR, RESPONSE_HEADER, [], NOTHING)
    head, tail = path.read_text().splitlines()
    path.write_text(f"{head}\n{record}\n{tail}\n")
    with pytest.raises(FileFaultError) as caught:
        read_response(path, BAR)
    assert (caught.value.code, caught.value.line) == ("file_response_unreadable", 2)
