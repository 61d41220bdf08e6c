"""Splitting an amount over the rows that share it, so that the parts always add up to it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import narwhals as nw

from counterfoil.linkage.repeats import Lazy


def allocate(rows: Lazy, amount: str, name: str) -> nw.Expr:
    """What each of `rows` carries of `amount`, as column `name`.

    `rows` have `shares`: how many of them share the amount, and `share`: which of those each is, from 1.
    Integers and decimals: the amount in its smallest unit, divided and rounded down, and one unit more on
    each of the first rows until nothing remains; exact, also below zero. Floats: an even part.
    """
    dtype = rows.collect_schema()[amount]
    if dtype.is_float():
        return (nw.col(amount) / nw.col("shares")).alias(name)
    exactly = not rows.implementation.is_spark_like()
    if not dtype.is_decimal():
        return _share(nw.col(amount), exactly=exactly).alias(name)
    return _share_decimal(amount, dtype, exactly=exactly).alias(name)


def _share_decimal(amount: str, dtype: Any, *, exactly: bool) -> nw.Expr:
    units = (nw.col(amount).cast(nw.Decimal(38, dtype.scale)) * nw.lit(10**dtype.scale)).cast(nw.Int64())
    unit = nw.lit(Decimal(1).scaleb(-dtype.scale))
    share = _share(units, exactly=exactly)
    return (share.cast(nw.Decimal(38 - dtype.scale, 0)) * unit).cast(dtype)


def _share(amount: nw.Expr, *, exactly: bool) -> nw.Expr:
    shares = nw.col("shares")
    even = amount // shares
    if not exactly:
        # Spark's floor division goes through doubles. What it leaves over is small: dividing it is exact.
        even = even + (amount - even * shares) // shares
    remainder = amount - even * shares
    return even.cast(nw.Int64()) + (nw.col("share") <= remainder).cast(nw.Int64())
