"""Every failed match is a typed break, and every record is accounted for."""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from typing import Any

import narwhals as nw
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import counterfoil
from counterfoil.linkage.breaks import check_counts, find_breaks
from counterfoil.linkage.columns import read_inputs
from counterfoil.linkage.errors import ColumnTypeError, ReconciliationError
from counterfoil.linkage.flags import flag_rows
from counterfoil.linkage.link import link_rows
from counterfoil.linkage.types import BREAK_COLUMNS, Source
from tests.linkage.engines import ENGINES, Engine, arrow
from tests.linkage.worlds import Row, Tables, at, tables, world


def _troubled() -> Tables:
    """One of each kind of break, beside two vouchers with none."""
    return world(
        issuances=[
            {"voucher_id": "sound", "issued_at": at(0), "order_id": "o1", "customer_id": "ann"},
            {"voucher_id": "given", "issued_at": at(0)},
            {"voucher_id": "twice", "issued_at": at(0)},
            {"voucher_id": "twice", "issued_at": at(1)},
            {"voucher_id": None, "issued_at": at(0)},
            {"voucher_id": "no-order", "issued_at": at(0), "order_id": "o-lost"},
            {"voucher_id": "no-purchase", "issued_at": at(0), "order_id": "o2"},
            {"voucher_id": "early", "issued_at": at(5)},
            {"voucher_id": "differs", "issued_at": at(0), "order_id": "o3", "customer_id": "ann"},
        ],
        redemptions=[
            {"voucher_id": "sound", "redeemed_at": at(3), "redemption_id": "r1", "transaction_id": "t3"},
            {"voucher_id": "sound", "redeemed_at": at(3), "redemption_id": "r1", "transaction_id": "t3"},
            {"voucher_id": "given", "redeemed_at": at(3), "redemption_id": "r2", "transaction_id": "t-lost"},
            {"voucher_id": "twice", "redeemed_at": at(3), "redemption_id": "r3", "transaction_id": "t3"},
            {"voucher_id": "twice", "redeemed_at": at(4), "redemption_id": "r4", "transaction_id": "t3"},
            {"voucher_id": "unheard", "redeemed_at": at(3), "redemption_id": "r5", "transaction_id": None},
            {"voucher_id": "early", "redeemed_at": at(3), "redemption_id": "r6", "transaction_id": "t3"},
            {
                "voucher_id": "differs",
                "redeemed_at": at(3),
                "redemption_id": "r7",
                "transaction_id": "t2",
                "customer_id": "bob",
            },
        ],
        orders=[
            {"order_id": "o1", "transaction_id": "t1", "amount": 500, "ordered_at": at(0)},
            {"order_id": "o1", "transaction_id": "t1", "amount": 500, "ordered_at": at(1)},
            {"order_id": "o2", "transaction_id": "t-gone", "amount": 500, "ordered_at": at(0)},
            {"order_id": "o3", "transaction_id": "t2", "amount": 500, "ordered_at": at(0)},
        ],
        transactions=[
            {"transaction_id": "t1", "amount": 500, "paid_at": at(0)},
            {"transaction_id": "t2", "amount": 499, "paid_at": at(0)},
            {"transaction_id": "t3", "amount": 700, "paid_at": at(2)},
            {"transaction_id": "t3", "amount": 700, "paid_at": at(3)},
        ],
    )


EXPECTED = [
    ("duplicate_issuance", "issuances", "twice", None, None, True),
    ("null_voucher_id", "issuances", None, None, None, True),
    ("missing_order", "issuances", "no-order", None, "o-lost", True),
    ("missing_transaction", "issuances", "no-purchase", None, "t-gone", True),
    ("amount_mismatch", "issuances", "differs", None, None, True),
    ("duplicate_redemption", "redemptions", "sound", "r1", None, True),
    ("missing_transaction", "redemptions", "given", "r2", "t-lost", True),
    ("redeemed_twice", "redemptions", "twice", "r4", None, True),
    ("orphan_redemption", "redemptions", "unheard", "r5", "unheard", True),
    ("no_transaction_id", "redemptions", "unheard", "r5", None, False),
    ("redeemed_before_issued", "redemptions", "early", "r6", None, True),
    ("amount_mismatch", "redemptions", "differs", "r7", None, True),
    ("customer_mismatch", "redemptions", "differs", "r7", None, False),
    ("duplicate_order", "orders", None, None, "o1", True),
    ("duplicate_transaction", "transactions", None, None, "t3", True),
]


def _brief(rows: list[Row]) -> Counter[tuple[object, ...]]:
    names = ("kind", "source", "voucher_id", "redemption_id", "missing_id", "is_primary")
    return Counter(tuple(row[name] for name in names) for row in rows)


def test_every_kind_of_break_is_found_once(engine: Engine) -> None:
    rows = engine.rows(counterfoil.breaks(**engine.frames(_troubled()), as_of=at(10)))
    assert all(tuple(row) == BREAK_COLUMNS for row in rows)
    assert _brief(rows) == Counter(EXPECTED)
    by_kind = {(row["kind"], row["source"]): row for row in rows}
    assert by_kind["redeemed_twice", "redemptions"]["age_seconds"] == 6 * 3600
    assert by_kind["missing_order", "issuances"]["severity"] == "error"
    mismatch = by_kind["amount_mismatch", "issuances"]
    assert (mismatch["transaction_amount"], mismatch["orders_amount"]) == (499, 500)
    assert mismatch["severity"] == "warning"


def test_rows_in_are_rows_linked_plus_rows_in_breaks(fast_engine: Engine) -> None:
    found = counterfoil.reconcile(**fast_engine.frames(_troubled()))
    assert [(r.source, r.rows_in, r.rows_linked, r.rows_in_breaks) for r in found] == [
        ("issuances", 9, 4, 5),
        ("redemptions", 8, 2, 6),
        ("orders", 4, 3, 1),
        ("transactions", 4, 3, 1),
    ]


@settings(max_examples=40, deadline=None)
@given(world=tables(), most=st.sampled_from([None, 1, 2]))
def test_every_record_is_accounted_for_in_any_world(world: Tables, most: int | None) -> None:
    engine = ENGINES["polars"]
    found = counterfoil.reconcile(**engine.frames(world), max_redemptions=most)
    assert [r.rows_in for r in found] == [len(rows) for rows in world.values()]


def test_a_voucher_may_be_redeemed_as_often_as_it_is_told(fast_engine: Engine) -> None:
    frames = fast_engine.frames(_troubled())
    for most, expected in ((None, 0), (2, 0), (1, 1)):
        rows = fast_engine.rows(counterfoil.breaks(**frames, max_redemptions=most))
        assert sum(row["kind"] == "redeemed_twice" for row in rows) == expected
    assert all(row["age_seconds"] is None for row in rows)


def test_an_as_of_with_a_time_zone_is_refused_for_times_without_one() -> None:
    engine = ENGINES["polars"]
    with pytest.raises(ColumnTypeError, match="as_of has one"):
        counterfoil.breaks(**engine.frames(_troubled()), as_of=at(10).replace(tzinfo=UTC))


def test_counts_that_differ_are_an_error() -> None:
    engine = ENGINES["polars"]
    given: dict[Source, Any] = {
        source: engine.make(arrow(source, rows)) for source, rows in _troubled().items()
    }
    inputs = read_inputs(given)
    rule: Any = {"max_redemptions": 1, "time_zone": "UTC"}
    linked = link_rows(inputs)
    found = find_breaks(inputs, linked, as_of=None, **rule)
    lost = found.filter(nw.col("kind") != "missing_order")
    with pytest.raises(ReconciliationError, match="9 issuances, 4 are linked and 4 are in breaks"):
        check_counts(inputs, flag_rows(inputs, linked, **rule), lost)


def test_dates_and_timestamps_may_stand_side_by_side(fast_engine: Engine) -> None:
    frames = _troubled()
    made = fast_engine.frames(frames)
    table = arrow("redemptions", frames["redemptions"])
    place = table.schema.get_field_index("redeemed_at")
    made["redemptions"] = fast_engine.make(
        table.set_column(place, "redeemed_at", table["redeemed_at"].cast(pa.date32()))
    )
    if fast_engine.name == "pandas":
        made["redemptions"]["redeemed_at"] = made["redemptions"]["redeemed_at"].astype("date32[pyarrow]")
    rows = fast_engine.rows(counterfoil.breaks(**made, as_of=at(48)))
    # The same day is not earlier: what happened first that day is not known.
    assert "redeemed_before_issued" not in {row["kind"] for row in rows}
    # A date counts from its midnight.
    assert {row["age_seconds"] for row in rows if row["kind"] == "redeemed_twice"} == {57 * 3600}
