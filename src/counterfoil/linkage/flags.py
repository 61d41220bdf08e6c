"""What can be wrong with a row of the full link, and which record of the row it is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import narwhals as nw

from counterfoil.linkage.columns import Inputs
from counterfoil.linkage.local_days import with_seconds_between
from counterfoil.linkage.payments import sum_orders
from counterfoil.linkage.repeats import Lazy, find_repeated, only
from counterfoil.linkage.types import BreakKind, Source

_TOLERANCE: Final = 1e-9
"""Floats of the same money differ by rounding: this much of it is not a difference."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One kind of break of one source's records: when a row has it, and the id that leads nowhere."""

    source: Source
    kind: BreakKind
    condition: nw.Expr
    missing_id: nw.Expr | None = None

    @property
    def name(self) -> str:
        """Source and kind in one word."""
        return f"{self.source}:{self.kind}"


def _issuance_flags() -> tuple[Flag, ...]:
    first = nw.col("redemption_number").is_null() | (nw.col("redemption_number") == 1)
    is_one = first & (nw.col("issuance_stage") != "issuance_missing")
    stage = nw.col("issuance_stage")
    order_id, transaction_id = nw.col("purchase_order_id"), nw.col("purchase_transaction_id")
    return (
        Flag("issuances", "null_voucher_id", is_one & nw.col("voucher_id").is_null()),
        Flag("issuances", "missing_order", is_one & (stage == "order_missing"), order_id),
        Flag("issuances", "missing_transaction", is_one & (stage == "transaction_missing"), transaction_id),
        Flag("issuances", "amount_mismatch", is_one & nw.col("purchase_differs")),
    )


def _redemption_flags() -> tuple[Flag, ...]:
    stage, voucher_id = nw.col("redemption_stage"), nw.col("voucher_id")
    is_one = stage != "none"
    orphan = is_one & (nw.col("link_status") == "orphan") & ~voucher_id.is_null()
    other = nw.col("customer_id") != nw.col("redemption_customer_id")
    unpaid = is_one & (stage == "transaction_missing")
    return (
        Flag("redemptions", "null_voucher_id", is_one & voucher_id.is_null()),
        Flag("redemptions", "orphan_redemption", orphan, voucher_id),
        Flag("redemptions", "no_transaction_id", is_one & (stage == "no_transaction_id")),
        Flag("redemptions", "missing_transaction", unpaid, nw.col("transaction_id")),
        Flag("redemptions", "redeemed_twice", is_one & nw.col("too_often")),
        Flag("redemptions", "redeemed_before_issued", is_one & (nw.col("seconds_to_redeem") < 0)),
        Flag("redemptions", "amount_mismatch", is_one & nw.col("payment_differs")),
        Flag("redemptions", "customer_mismatch", is_one & other),
    )


FLAGS: Final = (*_issuance_flags(), *_redemption_flags())
"""All breaks that a row can have; the first of a source is the primary one of that source's record."""


def flag_rows(inputs: Inputs, linked: Lazy, *, max_redemptions: int | None, time_zone: str) -> Lazy:
    """The rows of the full link `linked` with a last column `flags`: their flags' names, with commas."""
    timed = with_seconds_between(
        linked, "issued_at", "redeemed_at", time_zone=time_zone, into="seconds_to_redeem"
    )
    summed = _with_purchase_orders(inputs, timed)
    too_often = nw.lit(False) if max_redemptions is None else nw.col("redemption_number") > max_redemptions
    prepared = summed.with_columns(
        _differ(summed, "purchase_amount", "purchase_orders_amount").alias("purchase_differs"),
        _differ(summed, "transaction_amount", "order_amount").alias("payment_differs"),
        too_often.alias("too_often"),
    )
    names = [nw.when(flag.condition).then(nw.lit(flag.name + ",")).otherwise(nw.lit("")) for flag in FLAGS]
    return prepared.with_columns(nw.concat_str(names).alias("flags"))


def _with_purchase_orders(inputs: Inputs, linked: Lazy) -> Lazy:
    """With `purchase_orders_amount`: what all orders of the purchase's transaction amount to together."""
    amount = nw.col("amount").alias("order_amount")
    orders = inputs["orders"].select("transaction_id", "order_id", "ordered_at", amount)
    several = only(orders, "transaction_id", find_repeated(orders, "transaction_id", "several_orders"))
    sums = sum_orders(several).select(
        nw.col("transaction_id").alias("purchase_transaction_id"),
        nw.col("order_amount").alias("several_amount"),
    )
    total = nw.coalesce("several_amount", "purchase_order_amount").alias("purchase_orders_amount")
    return linked.join(sums, on="purchase_transaction_id", how="left").with_columns(total)


def _differ(rows: Lazy, left: str, right: str) -> nw.Expr:
    schema = rows.collect_schema()
    if not (schema[left].is_float() or schema[right].is_float()):
        return nw.col(left) != nw.col(right)
    difference = (nw.col(left) - nw.col(right)).abs()
    return difference > _TOLERANCE * (nw.col(left).abs() + 1.0)
