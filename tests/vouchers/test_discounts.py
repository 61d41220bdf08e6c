from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from counterfoil.vouchers.discounts import (
    Given,
    Line,
    allocate,
    discount,
    draw,
    eligible_lines,
    rounded_half_up,
)
from tests.vouchers.world import terms

MINOR = st.integers(0, 10**12) | st.integers(0, 20)
LINES = st.lists(MINOR, max_size=20).map(
    lambda amounts: [Line(f"l{n}", amount) for n, amount in enumerate(amounts)]
)


def taken_off(kind: dict[str, Any], lines: list[Line], *, eligible: int | None = None) -> Given:
    """What a voucher of this kind takes off these lines."""
    cost = sum(line.amount_minor for line in lines) if eligible is None else eligible
    return discount(terms(discount=kind), eligible_minor=cost, lines=lines, value_minor=kind.get("value"))


@given(LINES, st.fractions(0, 1))
def test_the_parts_of_an_allocation_sum_to_the_whole_and_none_exceeds_its_line(
    lines: list[Line], share: Fraction
) -> None:
    cost = sum(line.amount_minor for line in lines)
    total = floor(cost * share)
    parts = allocate(total, lines)
    assert [line_id for line_id, _ in parts] == [line.line_id for line in lines]
    assert sum(part for _, part in parts) == total
    for line, (_, part) in zip(lines, parts, strict=True):
        assert 0 <= part <= line.amount_minor
        # Nobody gets more, or less, than the share rounded up, or down.
        assert abs(part - Fraction(total * line.amount_minor, cost or 1)) < 1


@given(LINES, st.fractions(0, 1))
def test_of_lines_that_cost_the_same_the_earlier_one_gets_the_odd_unit(
    lines: list[Line], share: Fraction
) -> None:
    parts = allocate(floor(sum(line.amount_minor for line in lines) * share), lines)
    for n, (_, part) in enumerate(parts):
        later = [
            p
            for (_, p), line in zip(parts[n:], lines[n:], strict=True)
            if line.amount_minor == lines[n].amount_minor
        ]
        assert all(part >= other for other in later)


@given(st.integers(0, 10**18), st.integers(1, 10**6))
def test_a_half_is_rounded_up(numerator: int, denominator: int) -> None:
    rounded = rounded_half_up(numerator, denominator)
    assert rounded == floor(Fraction(numerator, denominator) + Fraction(1, 2))


@pytest.mark.parametrize(
    ("kind", "cost", "expected"),
    [
        ({"kind": "percent", "basis_points": 1250}, 420, 53),
        ({"kind": "percent", "basis_points": 5000}, 1, 1),
        ({"kind": "percent", "basis_points": 4999}, 1, 0),
        ({"kind": "percent", "basis_points": 10_000}, 999, 999),
        ({"kind": "percent", "basis_points": 0}, 999, 0),
        ({"kind": "percent", "basis_points": 1000, "cap_minor": 50}, 499, 50),
        ({"kind": "percent", "basis_points": 1000, "cap_minor": 50}, 10_000, 50),
        ({"kind": "percent", "basis_points": 1000, "cap_minor": 0}, 10_000, 0),
        ({"kind": "amount", "amount_minor": 500}, 499, 499),
        ({"kind": "amount", "amount_minor": 500}, 501, 500),
        ({"kind": "amount", "amount_minor": 500}, 0, 0),
    ],
)
def test_what_is_taken_off(kind: dict[str, Any], cost: int, expected: int) -> None:
    assert taken_off(kind, [Line("1", cost)]) == Given(expected, (("1", expected),))
    # An order that came without lines costs the same, and has no parts.
    assert taken_off(kind, [], eligible=cost) == Given(expected)


@given(LINES, st.integers(0, 10_000), st.none() | MINOR)
def test_a_percentage_is_rounded_once_on_the_total_and_never_above_its_cap(
    lines: list[Line], points: int, cap: int | None
) -> None:
    given_ = taken_off({"kind": "percent", "basis_points": points, "cap_minor": cap}, lines)
    cost = sum(line.amount_minor for line in lines)
    whole = floor(Fraction(cost * points, 10_000) + Fraction(1, 2))
    assert given_.total_minor == (whole if cap is None else min(whole, cap))
    assert given_.total_minor == sum(part for _, part in given_.lines)


@given(LINES, MINOR, st.sampled_from(["stored_value", "random"]))
def test_a_value_of_its_own_takes_off_no_more_than_there_is(lines: list[Line], value: int, kind: str) -> None:
    said: dict[str, Any] = (
        {"kind": kind, "amount_minor": 1} if kind == "stored_value" else {"kind": kind, "pot_minor": 9}
    )
    cost = sum(line.amount_minor for line in lines)
    given_ = discount(terms(discount=said), eligible_minor=cost, lines=lines, value_minor=value)
    assert given_.total_minor == min(value, cost) == sum(part for _, part in given_.lines)
    assert discount(terms(discount=said), eligible_minor=cost, lines=lines, value_minor=None).total_minor == 0


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (1, (("1", 333),)),
        (2, (("1", 667),)),
        (3, (("1", 1000),)),
        (4, (("1", 1000), ("3", 50))),
        (9, (("1", 1000), ("3", 50))),
    ],
)
def test_a_free_product_takes_off_as_many_units_as_it_says_from_the_first_lines_on(
    quantity: int, expected: tuple[tuple[str, int], ...]
) -> None:
    lines = [Line("1", 1000, "tea", quantity=3), Line("2", 400, "cup"), Line("3", 50, "tea")]
    given_ = taken_off({"kind": "product", "product_id": "tea", "quantity": quantity}, lines)
    assert given_ == Given(sum(part for _, part in expected), expected)


@given(
    st.lists(st.tuples(MINOR, st.integers(1, 9), st.sampled_from(["tea", "cup"])), max_size=8),
    st.integers(1, 30),
)
def test_a_free_product_never_takes_off_more_than_its_lines_cost(
    basket: list[tuple[int, int, str]], quantity: int
) -> None:
    lines = [Line(f"{n}", minor, what, quantity=units) for n, (minor, units, what) in enumerate(basket)]
    given_ = taken_off({"kind": "product", "product_id": "tea", "quantity": quantity}, lines)
    cost = {line.line_id: line.amount_minor for line in lines if line.product_id == "tea"}
    assert given_.total_minor == sum(part for _, part in given_.lines)
    assert all(0 <= part <= cost[line_id] for line_id, part in given_.lines)
    if sum(line.quantity for line in lines if line.product_id == "tea") <= quantity:
        assert given_.total_minor == sum(cost.values())


def test_an_exchange_costs_its_value_whatever_is_in_the_basket() -> None:
    kind = {"kind": "product", "product_id": "tea", "value_minor": 250}
    assert taken_off(kind, []) == taken_off(kind, [Line("1", 10, "tea")]) == Given(250)


def test_lines_are_eligible_by_product_or_by_category() -> None:
    lines = [Line("1", 1, "tea", "drinks"), Line("2", 1, "tea"), Line("3", 1, "cup", "ware"), Line("4", 1)]

    def eligible(**scope: Any) -> list[str]:
        return [line.line_id for line in eligible_lines(terms(scope=scope), lines)]

    assert eligible() == ["1", "2", "3", "4"]
    assert eligible(products=["tea"]) == ["1", "2"]
    assert eligible(categories=["ware"]) == ["3"]
    assert eligible(products=["tea"], categories=["ware"]) == ["1", "2", "3"]
    assert eligible(products=[]) == eligible(products=[], categories=[]) == []


@given(st.data(), st.integers(1, 60), st.integers(0, 50), st.none() | st.integers(0, 500))
def test_the_draws_of_a_whole_stock_sum_to_the_pot_and_keep_to_the_bounds(
    data: st.DataObject, stock: int, smallest: int, most: int | None
) -> None:
    largest = None if most is None else smallest + most
    highest = 10**6 if largest is None else largest * stock
    assume(highest >= smallest * stock)
    left = pot = data.draw(st.integers(smallest * stock, highest))
    drawn = []
    for others in range(stock, 0, -1):
        drawn.append(draw(left, others, smallest=smallest, largest=largest))
        left -= drawn[-1]
    assert (sum(drawn), left) == (pot, 0)
    assert min(drawn) >= smallest
    assert largest is None or max(drawn) <= largest


def test_the_first_draw_is_the_mean_on_average() -> None:
    """The standard error of the mean is 2; ten of them do not happen."""
    drawn = [draw(100_000, 100, smallest=1, largest=None) for _ in range(80_000)]
    assert abs(sum(drawn) / len(drawn) - 1000) < 21
    assert (min(drawn) >= 1, max(drawn) <= 1999) == (True, True)
