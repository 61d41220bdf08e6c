from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterfoil.db.paging import cursor_time, decode_cursor, encode_cursor, page_of
from counterfoil.errors import InvalidError

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))


def _cursor_of(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@given(text=_texts, number=st.integers(-(2**63), 2**63 - 1))
def test_a_cursor_comes_back_as_it_was(text: str, number: int) -> None:
    assert decode_cursor(encode_cursor((text, number)), kinds=(str, int)) == [text, number]


@given(cursor=st.one_of(st.text(), st.binary().map(lambda b: base64.urlsafe_b64encode(b).decode())))
def test_any_other_text_is_no_cursor(cursor: str) -> None:
    with pytest.raises(InvalidError) as caught:
        decode_cursor(cursor, kinds=(str, str, int))
    assert caught.value.code == "cursor_invalid"


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        "a",
        [],
        ["a", "b"],
        [1],
        [True],
        [["a"]],
        [{"a": 1}],
        [None],
        ["a\x00b"],
        ["\ud800"],
    ],
    ids=repr,
)
def test_a_cursor_of_another_shape_is_none(value: Any) -> None:
    with pytest.raises(InvalidError):
        decode_cursor(_cursor_of(value), kinds=(str,))


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 1e300, 0.5, True])
def test_a_number_that_the_database_has_not_is_no_cursor(number: float) -> None:
    with pytest.raises(InvalidError):
        decode_cursor(_cursor_of([number]), kinds=(int,))


def test_a_deep_cursor_is_no_cursor() -> None:
    deep = base64.urlsafe_b64encode(b"[" * 1500).decode()
    with pytest.raises(InvalidError):
        decode_cursor(deep, kinds=(str,))


@pytest.mark.parametrize(
    "text", ["", "now", "2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-14:00"]
)
def test_a_cursor_with_another_sort_of_time_is_none(text: str) -> None:
    with pytest.raises(InvalidError):
        cursor_time(text)


def test_a_time_in_a_cursor_is_exact() -> None:
    moment = datetime(2026, 5, 1, 1, 2, 3, 456789, UTC)
    assert cursor_time(moment.isoformat()) == moment


@given(rows=st.lists(st.integers(), max_size=12), limit=st.integers(1, 5))
def test_pages_give_every_row_once_in_order(rows: list[int], limit: int) -> None:
    rows = sorted(set(rows))
    seen: list[int] = []
    for _ in range(len(rows) + 1):
        page = page_of(
            [r for r in rows if not seen or r > seen[-1]][: limit + 1], limit=limit, key=lambda r: [r]
        )
        assert len(page.data) <= limit
        seen += page.data
        if page.next_cursor is None:
            break
    assert seen == rows
