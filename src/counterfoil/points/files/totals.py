"""What files are summed up by: records, points, and a hash of the members."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_letters
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from counterfoil.points.files.faults import FileFaultError
from counterfoil.points.files.values import INT64_MAX

HASH_MODULUS: Final = 10**15
"""The hash total has at most fifteen digits."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The totals of a file of accruals."""

    record_count: int
    points_total: int
    hash_total: int


@dataclass(frozen=True, slots=True)
class ResponseTotals(Totals):
    """The totals of a response: what was received, and what became of it."""

    accepted_count: int
    accepted_points: int
    rejected_count: int
    rejected_points: int
    duplicate_count: int
    duplicate_points: int


class Tally:
    """Totals that are counted batch by batch."""

    def __init__(self) -> None:
        self._records = self._points = self._hash = 0

    def add(self, customer_id: pa.Array, points: pa.Array) -> None:
        """Count a batch; records without points count for none."""
        self._records += len(customer_id)
        self._points += sum_exactly(points)
        self._hash = (self._hash + hash_total(customer_id)) % HASH_MODULUS
        if not -INT64_MAX - 1 <= self._points <= INT64_MAX:
            detail = "The points of the file add up to more than 64 bits hold."
            raise FileFaultError(detail, code="file_points_out_of_range")

    def totals(self) -> Totals:
        """What was counted so far."""
        return Totals(self._records, self._points, self._hash)


def sum_exactly(points: pa.Array) -> int:
    """The sum of 64-bit numbers, which itself may need more bits."""
    high = pc.sum(pc.shift_right(points, 32)).as_py() or 0
    low = pc.sum(pc.bit_wise_and(points, 0xFFFFFFFF)).as_py() or 0
    return (int(high) << 32) + int(low)


def hash_total(customer_id: pa.Array) -> int:
    """The sum of the last nine digits of each id, modulo `HASH_MODULUS`; an id without digits counts 0."""
    # Most ids end with nine digits, or are letters and then digits; only the others need the expression.
    tail = pc.utf8_slice_codeunits(pc.ascii_ltrim(customer_id, characters=ascii_letters), start=-9)
    plain = pc.fill_null(pc.ascii_is_decimal(tail), False)
    total = pc.sum(tail.filter(plain).cast(pa.int64())).as_py() or 0
    if not pc.all(plain, min_count=0).as_py():
        odd = pc.replace_substring_regex(customer_id.filter(pc.invert(plain)), "[^0-9]", "")
        digits = pc.utf8_slice_codeunits(odd, start=-9)
        total += pc.sum(digits.filter(pc.not_equal(digits, "")).cast(pa.int64())).as_py() or 0
    return int(total) % HASH_MODULUS
