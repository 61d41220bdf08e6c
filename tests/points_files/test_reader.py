"""Every line between header and trailer is a row; what is broken as a whole is told with its line."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from counterfoil.points.files.faults import DEFAULT_LIMITS, FileFaultError, Limits
from counterfoil.points.files.layouts import Layout, parse_layout
from counterfoil.points.files.reader import RECORDS, Header, Totals, open_accruals
from counterfoil.points.files.totals import HASH_MODULUS, hash_total, sum_exactly
from counterfoil.points.files.writer import write_accruals
from tests.points_files.examples import (
    BAR,
    CSV,
    FIXED,
    HEADER,
    NOW,
    changed,
    read,
    records,
    text_of,
    with_scale,
)

HEAD = "H|1|test|BANK|SHOP|ACCRUAL|7|2026-03-01T08:30:00Z"
GOOD = "D|C1|5|R1|20260228|"
TAIL = "T|1|5|1"
CSV_HEAD = '#H,1,test,"BANK",SHOP,ACCRUAL,7,2026-03-01T08:30:00Z'
CSV_NAMES = "customer_id,points,reference,occurred_on,offer_code"


def rows_of(path: Path, layout: Layout, *lines: str) -> list[dict[str, Any]]:
    """The rows that some lines make, in a file that is well formed otherwise."""
    if layout.shape == "csv":
        return read(text_of(path, CSV_HEAD, CSV_NAMES, *lines, "#T,0,0,0"), layout)[1]
    return read(text_of(path, HEAD, *lines, "T|0|0|0"), layout)[1]


def fault_of(path: Path, layout: Layout = BAR, limits: Limits = DEFAULT_LIMITS) -> FileFaultError:
    with pytest.raises(FileFaultError) as caught:
        read(path, layout, limits)
    assert caught.value.detail.endswith(".")
    return caught.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def test_a_file_is_read_with_its_header_its_records_and_what_its_trailer_says(path: Path) -> None:
    header, rows, trailer = read(text_of(path, HEAD, GOOD, TAIL), BAR)
    assert header == Header("1", "test", "BANK", "SHOP", "ACCRUAL", 7, NOW)
    assert rows == [
        {
            "line": 2,
            "customer_id": "C1",
            "points": 5,
            "reference": "R1",
            "occurred_on": date(2026, 2, 28),
            "offer_code": None,
            "fault": None,
            "field": None,
        }
    ]
    assert trailer == Totals(1, 5, 1)


def test_the_trailer_may_differ_from_what_was_counted_which_others_judge(path: Path) -> None:
    with open_accruals(text_of(path, HEAD, GOOD, "T|2|3|4"), BAR) as reader:
        batches = list(reader.batches())
        assert (reader.trailer, reader.counted) == (Totals(2, 3, 4), Totals(1, 5, 1))
    assert all(batch.schema == RECORDS for batch in batches)


@pytest.mark.parametrize(
    ("line", "fault", "field"),
    [
        ("D||5|R1|20260228|", "customer_id_missing", "customer_id"),
        ("D|C1||R1|20260228|", "points_unreadable", "points"),
        ("D|C1|5.0|R1|20260228|", "points_unreadable", "points"),
        ("D|C1| 5|R1|20260228|", "points_unreadable", "points"),
        ("D|C1|+5|R1|20260228|", "points_unreadable", "points"),
        ("D|C1|0x5|R1|20260228|", "points_unreadable", "points"),
        ("D|C1|٥|R1|20260228|", "points_unreadable", "points"),
        ("D|C1|9223372036854775808|R1|20260228|", "points_unreadable", "points"),
        ("D|C1|" + "9" * 5_000 + "|R1|20260228|", "points_unreadable", "points"),
        ("D|C1|5||20260228|", "reference_missing", "reference"),
        ("D|C1|5|R1||", "date_unreadable", "occurred_on"),
        ("D|C1|5|R1|20260230|", "date_unreadable", "occurred_on"),
        ("D|C1|5|R1|2026-2-8|", "date_unreadable", "occurred_on"),
        ("D|C1|5|R1| 2026228|", "date_unreadable", "occurred_on"),
        ("D|C1|5|R1|２０２６0228|", "date_unreadable", "occurred_on"),
        ("D|" + "C" * 201 + "|5|R1|20260228|", "field_too_long", "customer_id"),
        ("D|C1|5|R1|20260228|" + "é" * 201, "field_too_long", "offer_code"),
        ("D|C1|5|R1|20260228", "fields_wrong", None),
        ("D|C1|5|R1|20260228||", "fields_wrong", None),
        ("X|C1|5|R1|20260228|", "fields_wrong", None),
        ("D", "fields_wrong", None),
        ("", "fields_wrong", None),
    ],
)
def test_a_record_at_fault_is_a_row_that_says_why(
    path: Path, line: str, fault: str, field: str | None
) -> None:
    before, row, after = rows_of(path, BAR, GOOD, line, GOOD)
    assert (row["fault"], row["field"], row["line"]) == (fault, field, 3)
    assert before["fault"] is after["fault"] is None
    assert after["line"] == 4


@pytest.mark.parametrize("points", [0, -5, 2**63 - 1, -(2**63)])
def test_any_number_of_64_bits_is_well_formed(path: Path, points: int) -> None:
    assert rows_of(path, BAR, f"D|C1|{points}|R1|20260228|")[0]["points"] == points


def test_what_can_be_read_of_a_record_at_fault_is_there(path: Path) -> None:
    short, unreadable = rows_of(path, BAR, "D|C1|5|R1", "D|C2|x|R2|20260228|O")
    assert (short["customer_id"], short["points"], short["reference"]) == ("C1", None, "R1")
    assert (unreadable["customer_id"], unreadable["reference"], unreadable["offer_code"]) == ("C2", "R2", "O")


def test_the_first_of_several_faults_is_told(path: Path) -> None:
    assert rows_of(path, BAR, "D||x||y|")[0]["fault"] == "customer_id_missing"
    assert rows_of(path, BAR, f"D||x|{'R' * 201}|y|")[0]["fault"] == "field_too_long"


def test_points_in_hundredths_must_be_whole_points(path: Path) -> None:
    rows = rows_of(path, with_scale(BAR, 100), "D|C1|500|R1|20260228|", "D|C1|-501|R1|20260228|")
    assert [(row["points"], row["fault"]) for row in rows] == [(5, None), (None, "points_unreadable")]


def test_a_layout_says_what_a_record_must_have(path: Path) -> None:
    layout = parse_layout(changed(BAR, "record", "fields", 3, "required", to=False))
    assert rows_of(path, layout, "D|C1|5|R1||")[0]["fault"] is None
    assert rows_of(path, layout, "D|C1|5|R1|x|")[0]["fault"] == "date_unreadable"
    layout = parse_layout(changed(BAR, "record", "fields", 4, "required", to=True))
    assert rows_of(path, layout, GOOD)[0]["fault"] == "offer_code_missing"


def test_fillers_are_skipped_and_a_layout_may_have_no_offer_code(path: Path) -> None:
    layout = parse_layout(changed(BAR, "record", "fields", 4, to={"name": "filler", "value": "EUR"}))
    assert rows_of(path, layout, GOOD, "D|C1|5|R1|20260228|USD")[1]["offer_code"] is None
    write_accruals(path, layout, HEADER, [records(("C1", 5, "R1", date(2026, 2, 28), None))])
    assert "D|C1|5|R1|20260228|EUR\n" in path.read_text()


def test_a_time_of_day_is_that_of_the_partners_clock(path: Path) -> None:
    layout = parse_layout(changed(BAR, "header", "fields", 6, "utc_offset", to="+08:00"))
    layout = parse_layout(changed(layout, "header", "fields", 6, "format", to="%Y%m%d%H%M%S"))
    head = "H|1|test|BANK|SHOP|ACCRUAL|7|20260301003000"
    header, _, _ = read(text_of(path, head, "T|0|0|0"), layout)
    assert header.created_at == datetime(2026, 2, 28, 16, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('"C,1",5,"R""1""",2026-02-28,', None),
        ("C1,5,R1,2026-02-28,X", None),
        ('C1,5,"R1,2026-02-28,X', "fields_wrong"),
        ('C1,5,R"1",2026-02-28,X', "fields_wrong"),
        ('a"b,5,"R,2026-02-28,X', "fields_wrong"),
        ('C1,5,"R"1,2026-02-28,X', "fields_wrong"),
        ('"C1,5', "fields_wrong"),
    ],
)
def test_quotes_hold_a_field_together_and_never_two_lines(path: Path, line: str, fault: str | None) -> None:
    first, row, after = rows_of(path, CSV, "C0,1,R0,2026-02-28,", line, '"C2",5,"R2",2026-02-28,')
    assert row["fault"] == fault
    assert (first["customer_id"], after["customer_id"]) == ("C0", "C2")
    if line.startswith('"C,1'):
        assert (row["customer_id"], row["reference"]) == ("C,1", 'R"1"')


def test_a_member_may_be_called_like_a_marker_in_quotes(path: Path) -> None:
    write_accruals(path, CSV, HEADER, [records(("#T", 5, "#H", date(2026, 2, 28), None))])
    assert [row["customer_id"] for row in read(path, CSV)[1]] == ["#T"]


def test_a_byte_order_mark_is_part_of_a_text_except_at_the_beginning(path: Path) -> None:
    lines = [f"{CSV_HEAD}\n{CSV_NAMES}\n", "\ufeffC1,5,R1,2026-02-28,\n" * 3, "#T,3,15,3\n"]
    path.write_text("\ufeff" + "".join(lines), encoding="utf-8")
    for block_bytes in (8_388_608, 1):
        _, rows, _ = read(path, CSV, Limits(block_bytes=block_bytes))
        assert [row["customer_id"] for row in rows] == ["\ufeffC1"] * 3


def test_a_field_that_cuts_a_character_in_two_is_unreadable(path: Path) -> None:
    layout = FIXED.model_copy(update={"encoding": "gb18030"})
    good = records(("C1", 5, "R1", date(2026, 2, 28), None), ("C2", 5, "王" * 20, date(2026, 2, 28), None))
    write_accruals(path, layout, HEADER, [good])
    text = path.read_bytes()
    shifted = b"x" + "王".encode("gb18030") * 20
    path.write_bytes(
        text.replace("王".encode("gb18030") * 20 + b"20260228" + b" " * 16, shifted + b"0260228" + b" " * 16)
    )
    before, row = read(path, layout)[1]
    assert before["fault"] is None
    assert (row["fault"], row["field"], row["reference"]) == ("text_unreadable", "reference", None)


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        ("", "file_empty", None),
        ("\ufeff", "file_empty", None),
        (f"{GOOD}\n{TAIL}\n", "file_header_missing", 1),
        ("\n", "file_header_missing", 1),
        (HEAD.replace("|7|", "|seven|"), "file_header_unreadable", 1),
        (HEAD.replace("|7|", "||"), "file_header_unreadable", 1),
        (HEAD.replace("BANK", "B" * 201), "file_header_unreadable", 1),
        (HEAD.replace("2026-03-01", "2026-02-30"), "file_header_unreadable", 1),
        (HEAD + "|", "file_header_unreadable", 1),
        (HEAD, "file_trailer_missing", 1),
        (f"{HEAD}\n{GOOD}\n", "file_trailer_missing", 2),
        (f"{HEAD}\n{GOOD}\nT|1|5\n", "file_trailer_unreadable", 3),
        (f"{HEAD}\n{GOOD}\nT|1|5|\n", "file_trailer_unreadable", 3),
        (f"{HEAD}\n{GOOD}\nT|1|9223372036854775808|1\n", "file_trailer_unreadable", 3),
        (f"{HEAD}\n{TAIL}\n{GOOD}\n", "file_after_trailer", 3),
        (f"{HEAD}\n{GOOD}\n{TAIL}\n\n", "file_after_trailer", 4),
        (f"{HEAD}\n{TAIL}\n{TAIL}\n", "file_after_trailer", 3),
        (f"{HEAD}\n{GOOD}\n{HEAD}\n{TAIL}\n", "file_header_repeated", 3),
        (f"{HEAD}\n{GOOD}\nD|\0\n{TAIL}\n", "file_nul_byte", 3),
        (f"{HEAD}\n{GOOD}\rD|\n{TAIL}\n", "file_line_ending_wrong", 2),
        (f"{HEAD}\n{GOOD}\n{TAIL}\r", "file_line_ending_wrong", 3),
        (f"{HEAD}\n{GOOD}\nD|{'x' * 16_400}\n{TAIL}\n", "file_line_too_long", 3),
        (f"{HEAD}\n{'x' * 1_000_000}", "file_line_too_long", 2),
        (
            f"{HEAD}\nD|C1|9223372036854775807|R1|20260228|\nD|C1|1|R2|20260228|\n{TAIL}\n",
            "file_points_out_of_range",
            None,
        ),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 64, 8_388_608])
def test_a_file_that_is_broken_as_a_whole_is_told_with_its_line(
    path: Path, content: str, code: str, line: int | None, block_bytes: int
) -> None:
    path.write_bytes(content.encode())
    fault = fault_of(path, limits=Limits(block_bytes=block_bytes))
    assert (fault.code, fault.line) == (code, line)
    assert [error.code for error in fault.errors] == ([code] if line else [])


def test_the_field_of_a_header_that_cannot_be_read_is_named(path: Path) -> None:
    fault = fault_of(text_of(path, HEAD.replace("|7|", "|seven|")))
    assert fault.field == "sequence"
    assert fault.detail == (
        "The header cannot be read: the field sequence of line 1 is not a whole number of at most 19 digits."
    )


@pytest.mark.parametrize("layout", [BAR, BAR.model_copy(update={"encoding": "gb18030"})])
def test_bytes_of_another_encoding_are_told_with_their_line(path: Path, layout: Layout) -> None:
    path.write_bytes(f"{HEAD}\n{GOOD}\n{GOOD}".encode() + b"\xff\xfe\n" + TAIL.encode())
    fault = fault_of(path, layout)
    assert (fault.code, fault.line) == ("file_encoding_wrong", 3)


def test_a_file_has_at_most_so_many_records(path: Path) -> None:
    text_of(path, HEAD, GOOD, "", TAIL)
    assert len(read(path, BAR, Limits(records=2))[1]) == 2
    assert fault_of(path, limits=Limits(records=1)).code == "file_too_many_records"


def test_the_column_names_must_be_those_of_the_layout(path: Path) -> None:
    text_of(path, CSV_HEAD, "customer_id,reference,points,occurred_on,offer_code", "#T,0,0,0")
    assert (fault_of(path, CSV).code, fault_of(path, CSV).line) == ("file_column_names_wrong", 2)
    assert fault_of(text_of(path, CSV_HEAD), CSV).code == "file_trailer_missing"


def test_either_line_ending_is_read_and_the_last_line_may_have_none(path: Path) -> None:
    path.write_bytes(f"{HEAD}\r\n{GOOD}\n{GOOD}\r\n{TAIL}".encode())
    assert [row["fault"] for row in read(path, BAR)[1]] == [None, None]


@pytest.mark.parametrize(
    ("ids", "total"),
    [
        (["C1", "C-2", "", "abc", "１２"], 3),
        (["12345678901"], 345678901),
        (["12abcdefghi34"], 1234),
        (["A1B2C3D4"], 1234),
        (["9" * 9] * 3, 3 * 999_999_999),
        ([], 0),
    ],
)
def test_the_hash_total_adds_the_last_nine_digits_of_each_id(ids: list[str], total: int) -> None:
    assert hash_total(pa.array(ids, pa.string())) == total % HASH_MODULUS


def test_sums_are_exact_beyond_64_bits() -> None:
    assert sum_exactly(pa.array([2**63 - 1, 2**63 - 1, None, -(2**63), -1], pa.int64())) == 2**63 - 3
