"""The redemption side of the full link: every redemption once, with its payment and the orders behind it."""

from __future__ import annotations

from typing import Final

import narwhals as nw

from counterfoil.linkage.columns import Inputs
from counterfoil.linkage.money import allocate
from counterfoil.linkage.repeats import FOUND, ONE, Lazy, find_repeated, firsts, number, only, share, without

REDEMPTION_KEY: Final = ("redemption_id", "voucher_id")
REDEMPTION_ORDER: Final = ("redeemed_at",)

_REDEMPTION: Final = (
    nw.col("voucher_id").alias("redeemed_voucher_id"),
    nw.col("redeemed_at"),
    nw.col("redemption_id"),
    nw.col("transaction_id"),
    nw.col("campaign_id").alias("redemption_campaign_id"),
    nw.col("customer_id").alias("redemption_customer_id"),
    nw.col("store_id").alias("redemption_store_id"),
    nw.col("discount"),
)
_REDEMPTION_NAMES: Final = (
    "redeemed_voucher_id",
    "redeemed_at",
    "redemption_id",
    "transaction_id",
    "redemption_campaign_id",
    "redemption_customer_id",
    "redemption_store_id",
    "discount",
)
_PAYMENT: Final = (
    "paid_at",
    "transaction_amount",
    "payment_found",
    "order_id",
    "ordered_at",
    "order_amount",
    "order_count",
)
_ALLOCATED: Final = "transaction_amount_allocated"


def link_payments(inputs: Inputs) -> Lazy:
    """One row per redemption, with its payment and the first of the orders that carry its transaction id.

    `redemption_number` counts the redemptions of a voucher; `transaction_amount_allocated` is what the
    redemption carries of what its transaction paid.
    """
    redemptions, orders, transactions = inputs["redemptions"], inputs["orders"], inputs["transactions"]
    order_amount = nw.col("amount").alias("order_amount")
    # Most orders are on other transactions; see `purchases`.
    placed = only(orders.drop_nulls("order_id"), "transaction_id", redemptions).select(
        "transaction_id", "order_id", "ordered_at", order_amount, ONE.alias("order_count")
    )
    looked_up = _look_up(redemptions, transactions, placed)
    joined = share(looked_up, "payments", *_REDEMPTION, *map(nw.col, _PAYMENT))
    again = find_repeated(joined, "redeemed_voucher_id", "redeemed_again")
    together = find_repeated(joined, "transaction_id", "paid_together")
    plain = without(without(joined, "redeemed_voucher_id", again), "transaction_id", together)
    return nw.concat(
        [
            plain.select(
                *_REDEMPTION_NAMES,
                *_PAYMENT,
                _number_known("redeemed_voucher_id", ONE),
                nw.col("transaction_amount").alias(_ALLOCATED),
                FOUND.alias("redeemed"),
            ),
            _link_carefully(redemptions, joined, again, together),
        ]
    )


def _number_known(voucher_id: str, value: nw.Expr) -> nw.Expr:
    """Which redemption of its voucher a row is cannot be said where the voucher is not known."""
    return nw.when(~nw.col(voucher_id).is_null()).then(value).alias("redemption_number")


def _look_up(redemptions: Lazy, transactions: Lazy, placed: Lazy) -> Lazy:
    paid = transactions.select(
        nw.col("transaction_id"),
        nw.col("paid_at"),
        nw.col("amount").alias("transaction_amount"),
        FOUND.alias("payment_found"),
    )
    return redemptions.join(paid, on="transaction_id", how="left").join(
        placed, on="transaction_id", how="left"
    )


def _link_carefully(redemptions: Lazy, joined: Lazy, again: Lazy, together: Lazy) -> Lazy:
    """The same as the plain join gives, where ids come twice, amounts are shared or orders are several.

    The payments and orders are taken from `joined`, which has all of those that are needed.
    """
    marked = redemptions.join(again, left_on="voucher_id", right_on="redeemed_voucher_id", how="left").join(
        together, on="transaction_id", how="left"
    )
    is_odd = ~(nw.col("shared_redeemed_again").is_null() & nw.col("shared_paid_together").is_null())
    columns = redemptions.collect_schema().names()
    odd = firsts(marked.filter(is_odd).select(*columns), REDEMPTION_KEY, REDEMPTION_ORDER)
    kept = share(odd, "odd_redemptions", *map(nw.col, columns))
    theirs = only(joined, "transaction_id", kept)
    paid = firsts(
        theirs.select("transaction_id", "paid_at", "transaction_amount", "payment_found"),
        ["transaction_id"],
        ("paid_at", "transaction_amount"),
    )
    placed = sum_orders(theirs.select("transaction_id", "order_id", "ordered_at", "order_amount"))
    found = kept.join(paid.drop("copy"), on="transaction_id", how="left")
    numbered = number(
        found.join(placed, on="transaction_id", how="left"),
        count_by="transaction_id",
        place=(["voucher_id"], ("redeemed_at", "redemption_id")),
        share=(["transaction_id"], ("redeemed_at", "voucher_id", "redemption_id")),
    )
    return numbered.select(
        *_REDEMPTION,
        *_PAYMENT,
        _number_known("voucher_id", nw.col("place")),
        allocate(numbered, "transaction_amount", _ALLOCATED),
        FOUND.alias("redeemed"),
    )


def sum_orders(orders: Lazy) -> Lazy:
    """The first order of every transaction, with how many there are and what they amount to together.

    `orders` have `transaction_id`, `order_id`, `ordered_at` and `order_amount`. An order id that comes twice
    on one transaction counts once there. On two transactions it counts on each: an order may be paid in
    several payments. Orders without an id do not count.
    """
    named = orders.drop_nulls("order_id")
    kept = firsts(named, ["transaction_id", "order_id"], ("ordered_at", "order_amount"))
    placed = number(kept.drop("copy"), place=(["transaction_id"], ("order_id",)))
    is_first = nw.col("place") == 1
    first_time = nw.when(is_first).then(nw.col("ordered_at")).alias("first_ordered_at")
    grouped = (
        placed.with_columns(first_time)
        .group_by("transaction_id")
        .agg(
            nw.col("order_id").min(),
            nw.col("first_ordered_at").max().alias("ordered_at"),
            nw.col("order_amount").sum().alias("total"),
            nw.col("order_amount").count().alias("amounts"),
            nw.len().cast(nw.Int64()).alias("order_count"),
        )
    )
    amount = orders.collect_schema()["order_amount"]
    total = nw.when(nw.col("amounts") > 0).then(nw.col("total")).cast(amount).alias("order_amount")
    return grouped.select("transaction_id", "order_id", "ordered_at", total, "order_count")
