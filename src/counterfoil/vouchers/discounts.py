"""What a voucher takes off an order. Pure arithmetic in minor units; the rules stand in docs/vouchers.md.

One rounding rule: a share is rounded half up, once, on the total. The total is then allocated over the
eligible lines in proportion to what they cost, by largest remainder, so that the parts sum to it. No line,
and no order, ever goes below zero.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from counterfoil.vouchers.terms import AmountOff, PercentOff, ProductOff, Terms


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an order: `amount_minor` is what all of its units cost together."""

    line_id: str
    amount_minor: int
    product_id: str | None = None
    category: str | None = None
    quantity: int = 1


@dataclass(frozen=True, slots=True)
class Given:
    """What is taken off: in all, and of each line (none where the order came without lines)."""

    total_minor: int
    lines: tuple[tuple[str, int], ...] = ()


NOTHING: Final = Given(0)


def eligible_lines(terms: Terms, lines: Sequence[Line]) -> list[Line]:
    """The lines that are in scope."""
    products, categories = terms.scope.products, terms.scope.categories
    if products is None and categories is None:
        return list(lines)
    return [
        line
        for line in lines
        if (products is not None and line.product_id in products)
        or (categories is not None and line.category in categories)
    ]


def discount(terms: Terms, *, eligible_minor: int, lines: Sequence[Line], value_minor: int | None) -> Given:
    """What a voucher of these terms takes off `lines`, the eligible ones, which cost `eligible_minor`.

    `value_minor`: what this one voucher is worth, where it has a value of its own (drawn, or a balance).
    """
    kind = terms.discount
    if isinstance(kind, ProductOff):
        return _product(kind, lines)
    if isinstance(kind, AmountOff):
        wanted = kind.amount_minor
    elif isinstance(kind, PercentOff):
        wanted = rounded_half_up(eligible_minor * kind.basis_points, 10_000)
        if kind.cap_minor is not None:
            wanted = min(wanted, kind.cap_minor)
    else:
        wanted = value_minor or 0
    total = min(wanted, eligible_minor)
    return Given(total, allocate(total, lines))


def _product(kind: ProductOff, lines: Sequence[Line]) -> Given:
    if kind.value_minor is not None:
        return Given(kind.value_minor)
    left, parts = kind.quantity, []
    for line in lines:
        if line.product_id == kind.product_id and left > 0:
            units = min(left, line.quantity)
            parts.append((line.line_id, rounded_half_up(line.amount_minor * units, line.quantity)))
            left -= units
    return Given(sum(part for _, part in parts), tuple(parts))


def rounded_half_up(numerator: int, denominator: int) -> int:
    """A fraction of non-negative numbers, rounded; a half goes up."""
    return (2 * numerator + denominator) // (2 * denominator)


def allocate(total: int, lines: Sequence[Line]) -> tuple[tuple[str, int], ...]:
    """`total` over lines in proportion to what they cost (largest remainder, the earlier line first).

    `total` must not exceed what they cost together; then no part exceeds its line.
    """
    whole = sum(line.amount_minor for line in lines)
    if whole == 0:
        return tuple((line.line_id, 0) for line in lines)
    parts = [total * line.amount_minor // whole for line in lines]
    rests = sorted(range(len(lines)), key=lambda n: (-(total * lines[n].amount_minor % whole), n))
    for n in rests[: total - sum(parts)]:
        parts[n] += 1
    return tuple((line.line_id, part) for line, part in zip(lines, parts, strict=True))


def draw(left_minor: int, vouchers_left: int, *, smallest: int, largest: int | None) -> int:
    """An amount for one of `vouchers_left` vouchers out of what is left of the pot.

    Between the bounds, on average the mean of what is left (uniform up to twice the mean), and always so that
    the remaining vouchers can still be given amounts within the bounds that use up the pot exactly.
    """
    others = vouchers_left - 1
    if others == 0:
        return left_minor
    low = smallest if largest is None else max(smallest, left_minor - largest * others)
    high = left_minor - smallest * others
    if largest is not None:
        high = min(high, largest)
    mean_bound = max(low, min(high, 2 * left_minor // vouchers_left - smallest))
    return low + secrets.randbelow(mean_bound - low + 1)
