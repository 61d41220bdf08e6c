"""Small worlds of vouchers: made by hand, or drawn by Hypothesis to collide in every way."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from counterfoil.linkage.types import Source

Row = dict[str, Any]
Tables = dict[Source, list[Row]]

START = datetime(2026, 3, 1, 9, 0)  # noqa: DTZ001 - naive on purpose; aware ones have tests of their own


def at(hours: float) -> datetime:
    """A moment `hours` after the start of the world."""
    return START + timedelta(hours=hours)


def world(**tables: list[Row]) -> Tables:
    """The four tables, empty where not given."""
    return {
        "issuances": tables.get("issuances", []),
        "redemptions": tables.get("redemptions", []),
        "orders": tables.get("orders", []),
        "transactions": tables.get("transactions", []),
    }


def _ids(prefix: str, count: int) -> st.SearchStrategy[str | None]:
    return st.one_of(st.none(), st.sampled_from([f"{prefix}{number}" for number in range(count)]))


_TIMES = st.one_of(st.none(), st.integers(0, 3).map(at))
_AMOUNTS = st.one_of(st.none(), st.integers(-7, 7), st.integers(-(10**12), 10**12))


@st.composite
def tables(draw: st.DrawFn, most: int = 7) -> Tables:
    """Four tables with few distinct ids, so that nearly everything collides."""
    few = st.sampled_from
    issuance = st.fixed_dictionaries(
        {
            "voucher_id": _ids("v", 4),
            "issued_at": _TIMES,
            "campaign_id": few(["a", "b", None]),
            "customer_id": few(["c1", "c2", None]),
            "channel": few(["app", None]),
            "store_id": few(["s1", None]),
            "order_id": _ids("o", 4),
        }
    )
    redemption = st.fixed_dictionaries(
        {
            "voucher_id": _ids("v", 5),
            "redeemed_at": _TIMES,
            "redemption_id": _ids("r", 5),
            "transaction_id": _ids("t", 4),
            "customer_id": few(["c1", "c2", None]),
            "store_id": few(["s1", None]),
            "discount": few([0, 50, None]),
        }
    )
    order = st.fixed_dictionaries(
        {"order_id": _ids("o", 4), "transaction_id": _ids("t", 4), "ordered_at": _TIMES, "amount": _AMOUNTS}
    )
    transaction = st.fixed_dictionaries(
        {"transaction_id": _ids("t", 4), "paid_at": _TIMES, "amount": _AMOUNTS}
    )
    return {
        "issuances": draw(st.lists(issuance, max_size=most)),
        "redemptions": draw(st.lists(redemption, max_size=most)),
        "orders": draw(st.lists(order, max_size=most)),
        "transactions": draw(st.lists(transaction, max_size=most)),
    }
