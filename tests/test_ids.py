from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterfoil.errors import NotFoundError
from counterfoil.ids import PREFIXES, format_id, new_id, parse_id

kinds = st.sampled_from(sorted(PREFIXES))


@given(kind=kinds, value=st.uuids())
def test_an_id_comes_back_as_it_was(kind: str, value: UUID) -> None:
    assert parse_id(kind, format_id(kind, value)) == value


@given(kind=kinds, text=st.text())
def test_any_other_text_is_not_found(kind: str, text: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        assert format_id(kind, parse_id(kind, text)) != text
    assert caught.value.code == f"{kind}_not_found"


@given(kind=kinds, value=st.uuids(), place=st.integers(0, 29), symbol=st.characters())
def test_an_id_with_another_symbol_is_another_id_or_none(
    kind: str, value: UUID, place: int, symbol: str
) -> None:
    text = format_id(kind, value)
    changed = text[:place] + symbol + text[place + 1 :]
    try:
        assert (parse_id(kind, changed) == value) is (changed == text)
    except NotFoundError:
        assert changed != text


@given(value=st.uuids())
def test_an_id_of_one_kind_is_none_of_another(value: UUID) -> None:
    with pytest.raises(NotFoundError):
        parse_id("job", format_id("merchant", value))


@pytest.mark.parametrize("text", ["job_" + "z" * 26, "job_" + "8" + "0" * 25])
def test_more_bits_than_a_uuid_has_are_not_cut_off(text: str) -> None:
    with pytest.raises(NotFoundError):
        parse_id("job", text)


def test_ids_sort_by_the_time_of_their_making() -> None:
    made = [format_id("job", new_id()) for _ in range(1000)]
    assert sorted(made) == made


def test_no_two_kinds_begin_alike() -> None:
    assert len(set(PREFIXES.values())) == len(PREFIXES)
