"""The issuance side of the full link: every voucher once, with the order that bought it and its payment."""

from __future__ import annotations

from typing import Final

import narwhals as nw

from counterfoil.linkage.columns import Inputs
from counterfoil.linkage.money import allocate
from counterfoil.linkage.repeats import FOUND, Lazy, find_repeated, firsts, number, only, share, without

ISSUANCE_ORDER: Final = ("issued_at", "order_id")
ORDER_ORDER: Final = ("ordered_at", "transaction_id", "amount")
TRANSACTION_ORDER: Final = ("paid_at", "amount")

_ISSUANCE: Final = (
    nw.col("voucher_id"),
    nw.col("campaign_id"),
    nw.col("customer_id").alias("issuance_customer_id"),
    nw.col("channel"),
    nw.col("issued_at"),
    nw.col("store_id").alias("issuance_store_id"),
    nw.col("order_id").alias("purchase_order_id"),
)
_RAW_NAMES: Final = (
    "voucher_id",
    "campaign_id",
    "customer_id",
    "channel",
    "issued_at",
    "store_id",
    "order_id",
)
_ISSUANCE_NAMES: Final = (
    "voucher_id",
    "campaign_id",
    "issuance_customer_id",
    "channel",
    "issued_at",
    "issuance_store_id",
    "purchase_order_id",
)
_PURCHASE: Final = (
    "purchase_ordered_at",
    "purchase_order_amount",
    "purchase_transaction_id",
    "purchase_order_found",
    "purchase_paid_at",
    "purchase_amount",
    "purchase_found",
)
_PURCHASE_ORDER: Final = (
    "purchase_ordered_at",
    "purchase_transaction_id",
    "purchase_order_amount",
    "purchase_paid_at",
    "purchase_amount",
)
"""`ORDER_ORDER`, and within one order `TRANSACTION_ORDER`."""
_ALLOCATED: Final = "purchase_amount_allocated"


def link_purchases(inputs: Inputs) -> Lazy:
    """One row per voucher, and per issuance without a voucher id, with its purchase where it was bought.

    `purchase_amount_allocated` is what the voucher carries of what its transaction paid.
    """
    issuances, orders, transactions = inputs["issuances"], inputs["orders"], inputs["transactions"]
    bought = issuances.filter(~nw.col("order_id").is_null())
    looked_up = _look_up(bought, orders, transactions)
    joined = share(looked_up, "purchases", *_ISSUANCE, *map(nw.col, _PURCHASE))
    issued_twice = find_repeated(issuances, "voucher_id", "issued_twice")
    entangled = _find_entangled_orders(joined)
    plain = without(without(joined, "voucher_id", issued_twice), "purchase_order_id", entangled)
    given = without(issuances.filter(nw.col("order_id").is_null()), "voucher_id", issued_twice)
    schema = joined.collect_schema()
    no_purchase = [nw.lit(None).cast(schema[name]).alias(name) for name in _PURCHASE]
    no_amount = nw.lit(None).cast(schema["purchase_amount"]).alias(_ALLOCATED)
    return nw.concat(
        [
            plain.select(
                *_ISSUANCE_NAMES,
                *_PURCHASE,
                nw.col("purchase_amount").alias(_ALLOCATED),
                FOUND.alias("issued"),
            ),
            given.select(*_ISSUANCE, *no_purchase, no_amount, FOUND.alias("issued")),
            _link_carefully(issuances, joined, issued_twice, entangled),
        ]
    )


def _look_up(bought: Lazy, orders: Lazy, transactions: Lazy) -> Lazy:
    """Issuances with every order of their order id, and every transaction of that order's transaction id.

    Most orders and transactions bought no voucher. Leaving those out first, by their ids, costs one look at
    them, and keeps what has to be held in memory as small as the issuances are.
    """
    placed = share(
        only(orders, "order_id", bought),
        "placed",
        nw.col("order_id"),
        nw.col("ordered_at").alias("purchase_ordered_at"),
        nw.col("amount").alias("purchase_order_amount"),
        nw.col("transaction_id").alias("purchase_transaction_id"),
        FOUND.alias("purchase_order_found"),
    )
    paid = transactions.select(
        nw.col("transaction_id").alias("purchase_transaction_id"),
        nw.col("paid_at").alias("purchase_paid_at"),
        nw.col("amount").alias("purchase_amount"),
        FOUND.alias("purchase_found"),
    )
    needed = only(paid, "purchase_transaction_id", placed)
    return bought.join(
        placed.join(needed, on="purchase_transaction_id", how="left"), on="order_id", how="left"
    )


def _find_entangled_orders(joined: Lazy) -> Lazy:
    """Orders that came twice, bought several vouchers, or share their transaction with another such order."""
    order = nw.col("purchase_order_id")
    twice = find_repeated(joined, "purchase_order_id", "same_order")
    paid_together = find_repeated(joined, "purchase_transaction_id", "same_purchase")
    together = only(joined, "purchase_transaction_id", paid_together)
    return share(nw.concat([twice.select(order), together.select(order)]), "entangled", order)


def _link_carefully(issuances: Lazy, joined: Lazy, issued_twice: Lazy, entangled: Lazy) -> Lazy:
    """The same as the plain join gives, where ids come twice or amounts are shared.

    The orders and payments are taken from `joined`, which has all of those that are needed.
    """
    own_names = dict(zip(_ISSUANCE_NAMES, _RAW_NAMES, strict=True))
    bought = joined.drop_nulls("voucher_id").select(*_ISSUANCE_NAMES).rename(own_names)
    nameless = issuances.filter(nw.col("voucher_id").is_null()).select(*_RAW_NAMES)
    entangled_orders = entangled.rename({"purchase_order_id": "order_id"})
    odd = [
        only(issuances, "voucher_id", issued_twice).select(*_RAW_NAMES),
        only(without(bought, "voucher_id", issued_twice), "order_id", entangled_orders),
        only(nameless, "order_id", entangled_orders),
    ]
    kept = share(
        firsts(nw.concat(odd), ["voucher_id"], ISSUANCE_ORDER), "odd_issuances", *map(nw.col, _RAW_NAMES)
    )
    orders = joined.select(nw.col("purchase_order_id").alias("order_id"), *_PURCHASE)
    first_orders = firsts(only(orders, "order_id", kept), ["order_id"], _PURCHASE_ORDER)
    found = kept.join(first_orders.select("order_id", *_PURCHASE), on="order_id", how="left")
    key = "purchase_transaction_id"
    numbered = number(found, count_by=key, share=([key], ("issued_at", "voucher_id")))
    allocated = allocate(numbered, "purchase_amount", _ALLOCATED)
    return numbered.select(*_ISSUANCE, *_PURCHASE, allocated, FOUND.alias("issued"))
