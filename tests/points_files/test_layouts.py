"""A layout is a document; what could not be read or written by it is refused when it is given."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from counterfoil.errors import InvalidError
from counterfoil.points.files.faults import RECORD_FAULTS, Limits
from counterfoil.points.files.layout_names import TYPES
from counterfoil.points.files.layouts import BUILTIN_LAYOUTS, Layout, builtin_layout, parse_layout
from counterfoil.points.files.reader import Totals
from tests.points_files.examples import BAR, CSV, FIXED, changed, read
from tests.rules.source import ROOT


def refused(document: dict[str, Any]) -> dict[str, str]:
    """What is wrong with a layout: pointers and details."""
    with pytest.raises(InvalidError) as caught:
        parse_layout(document)
    assert caught.value.code == "layout_invalid"
    assert all(error.pointer in caught.value.detail for error in caught.value.errors)
    return {error.pointer: error.detail for error in caught.value.errors}


@pytest.mark.parametrize("name", BUILTIN_LAYOUTS)
def test_a_layout_comes_back_from_the_database_as_it_went_there(name: str) -> None:
    layout = builtin_layout(name)
    assert parse_layout(json.loads(layout.model_dump_json())) == layout


def test_an_unknown_built_in_layout_is_told_with_those_that_there_are() -> None:
    with pytest.raises(InvalidError, match="delimited, fixed, csv") as caught:
        builtin_layout("../fixed")
    assert caught.value.code == "layout_unknown"


def test_everything_wrong_with_a_document_is_listed_at_once() -> None:
    assert set(refused({"shape": "round", "colour": "red"})) == {
        "/shape",
        "/colour",
        *(f"/{kind}" for kind in TYPES),
    }


def test_all_rules_that_a_layout_breaks_are_listed_at_once() -> None:
    document = changed(BAR, "delimiter", to="5")
    document["header"]["fields"][0]["name"] = "edition"
    del document["trailer"]["fields"][2]
    document["response"]["marker"] = "T"
    assert refused(document) == {
        "/delimiter": "a tab or one ASCII mark that stands in no number, such as | , ; or a tab",
        "/header/fields": "'version' is missing",
        "/trailer/fields": "'hash_total' is missing",
        "/response/marker": "cannot be told from the marker of response_trailer",
        "/response_trailer/marker": "cannot be told from the marker of response",
    }


@pytest.mark.parametrize(
    ("layout", "path", "to", "pointer", "why"),
    [
        (BAR, ("delimiter",), "", "/delimiter", "one ASCII mark"),
        (BAR, ("delimiter",), "-", "/delimiter", "one ASCII mark"),
        (BAR, ("record", "fields", 0, "width"), 5, "/record/fields/0/width", "only lines of fixed width"),
        (BAR, ("record", "fields", 0, "scale"), 10, "/record/fields/0/scale", "only points"),
        (BAR, ("record", "fields", 1, "scale"), 7, "/record/fields/1/scale", "1, 10, 100"),
        (BAR, ("record", "fields", 1, "scale"), 100, "/response/fields/1/scale", "is not the 100 of points"),
        (BAR, ("record", "fields", 1, "required"), False, "/record/fields/1/required", "occurred_on"),
        (BAR, ("record", "fields", 2, "value"), "x", "/record/fields/2/value", "only a filler"),
        (
            BAR,
            ("record", "fields", 4),
            {"name": "filler", "value": "a|b"},
            "/record/fields/4/value",
            "delimiter",
        ),
        (
            BAR,
            ("record", "fields", 4),
            {"name": "filler", "value": "a\nb"},
            "/record/fields/4/value",
            "stand in",
        ),
        (BAR, ("record", "fields", 4), {"name": "points"}, "/record/fields", "'points' stands there twice"),
        (BAR, ("record", "fields", 3, "format"), "%Y%m", "/record/fields/3/format", "lacks %d"),
        (BAR, ("record", "fields", 3, "format"), "%Y%m%d%H", "/record/fields/3/format", "%H cannot be used"),
        (BAR, ("record", "fields", 3, "format"), "%Y%m%d%d", "/record/fields/3/format", "twice"),
        (BAR, ("record", "fields", 3, "format"), "%Y|%m|%d", "/record/fields/3/format", "not the delimiter"),
        (BAR, ("record", "fields", 3, "format"), "%Y%m%d%", "/record/fields/3/format", "begins no directive"),
        (BAR, ("record", "fields", 2, "format"), "%Y%m%d", "/record/fields/2/format", "only a date"),
        (BAR, ("header", "fields", 6, "utc_offset"), "08:00", "/header/fields/6/utc_offset", "pattern"),
        (BAR, ("header", "marker"), "D", "/header/marker", "cannot be told from the marker of record"),
        (BAR, ("record", "marker"), "", "/record/marker", "is needed"),
        (BAR, ("trailer", "marker"), "Ä", "/trailer/marker", "ASCII"),
        (BAR, ("trailer", "marker"), "T|", "/trailer/marker", "delimiter"),
        (CSV, ("quote",), ",", "/quote", "is the delimiter as well"),
        (CSV, ("quote",), "x", "/quote", "one of"),
        (FIXED, ("delimiter",), "|", "/delimiter", "no delimiter"),
        (FIXED, ("column_names",), True, "/column_names", "no column names"),
        (FIXED, ("record", "fields", 0, "width"), 0, "/record/fields/0/width", "greater than or equal to 1"),
        (FIXED, ("record", "fields", 0, "width"), None, "/record/fields/0/width", "is needed"),
        (FIXED, ("record", "fields", 0, "pad"), "0", "/record/fields/0/pad", "zeros fill numbers only"),
        (FIXED, ("record", "fields", 1, "align"), "left", "/response/fields/1/align", "not that of points"),
        (FIXED, ("record", "fields", 0, "width"), 90, "/response/fields/0/width", "is less than the 90"),
        (FIXED, ("response", "fields", 4, "width"), 8, "/response/fields/4/width", "is at least 32"),
        (FIXED, ("record", "marker"), "HD", "/header/marker", "cannot be told from the marker of record"),
        (
            FIXED,
            ("record", "fields", 4),
            {"name": "filler", "value": "abc", "width": 2},
            "/record/fields/4/value",
            "is wider",
        ),
    ],
)
def test_what_could_not_be_read_or_written_is_refused(
    layout: Layout, path: tuple[str | int, ...], to: Any, pointer: str, why: str
) -> None:
    assert why in refused(changed(layout, *path, to=to))[pointer]


def test_a_line_of_fixed_width_has_an_end() -> None:
    document = changed(FIXED, "record", "fields", 4, to={"name": "filler", "width": 1_000})
    document["record"]["fields"] += [{"name": "filler", "width": 1_000}] * 3
    assert refused(document) == {"/record/fields": "are together wider than 4000"}


def test_the_offer_code_is_the_only_name_that_a_layout_may_leave_out() -> None:
    for kind, names in TYPES.items():
        for number, name in enumerate(names):
            document = BAR.model_dump(mode="json")
            del document[kind]["fields"][number]
            if name == "offer_code":
                parse_layout(document)
            else:
                assert refused(document) == {f"/{kind}/fields": f"{name!r} is missing"}


def test_the_document_on_layouts_tells_every_name_fault_and_limit() -> None:
    text = (ROOT / "docs" / "layouts.md").read_text(encoding="utf-8")
    words = {*RECORD_FAULTS, *BUILTIN_LAYOUTS, *TYPES, *(name for names in TYPES.values() for name in names)}
    assert not {word for word in words if f"`{word}`" not in text}
    limits = Limits()
    for limit in (limits.line_bytes, limits.records, limits.text_chars):
        assert f"{limit:,}" in text


def test_the_example_of_the_document_is_a_layout() -> None:
    text = (ROOT / "docs" / "layouts.md").read_text(encoding="utf-8")
    example = text.split("```toml\n")[1].split("```")[0]
    assert parse_layout(tomllib.loads(example)).encoding == "gb18030"


@pytest.mark.parametrize(("number", "layout"), [(0, BAR), (1, CSV)])
def test_the_examples_of_files_are_files(tmp_path: Path, number: int, layout: Layout) -> None:
    text = (ROOT / "docs" / "layouts.md").read_text(encoding="utf-8")
    path = tmp_path / "file"
    path.write_text(text.split("\n```\n")[1 + 2 * number] + "\n", encoding="utf-8")
    _, rows, trailer = read(path, layout)
    assert [row["points"] for row in rows] == [500, 20]
    assert trailer == Totals(2, 520, 247)
