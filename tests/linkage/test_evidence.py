# Times without a zone are what these tests are about.
# ruff: noqa: DTZ001

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from counterfoil.errors import InvalidError
from counterfoil.linkage.errors import LinkageError
from counterfoil.linkage.evidence import link_by_evidence
from tests.linkage.engines import ENGINES, Engine, sort_rows

NEW_YORK = "America/New_York"
SCHEMAS = {
    "redemptions": pa.schema(
        [
            ("redemption_id", pa.string()),
            ("voucher_id", pa.string()),
            ("customer_id", pa.string()),
            ("redeemed_on", pa.date32()),
        ]
    ),
    "baskets": pa.schema(
        [("order_id", pa.string()), ("customer_id", pa.string()), ("ordered_at", pa.timestamp("us"))]
    ),
    "lines": pa.schema(
        [("order_id", pa.string()), ("product_id", pa.string()), ("coupon_discount", pa.int64())]
    ),
    "eligible": pa.schema([("voucher_id", pa.string()), ("product_id", pa.string())]),
}
World = dict[str, list[tuple[Any, ...]]]

NOON = datetime(2017, 5, 1, 16)
"""Noon in New York, as UTC without a zone."""
DAY = date(2017, 5, 1)


def world(
    redemptions: list[tuple[Any, ...]], baskets: list[tuple[Any, ...]], lines: list[tuple[Any, ...]]
) -> World:
    return {"redemptions": redemptions, "baskets": baskets, "lines": lines, "eligible": [("v", "milk")]}


def tables(rows: World) -> dict[str, pa.Table]:
    return {
        name: pa.Table.from_pylist(
            [dict(zip(schema.names, row, strict=True)) for row in rows[name]], schema=schema
        )
        for name, schema in SCHEMAS.items()
    }


def run(engine: Engine, rows: World, time_zone: str = NEW_YORK, **changed: Any) -> list[dict[str, Any]]:
    frames = {name: engine.make(table) for name, table in tables(rows).items()} | changed
    found = link_by_evidence(**frames, time_zone=time_zone)
    return engine.rows(found)


def answer(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["evidence_level"], row["order_id"], row["order_count"], row["evidence_status"]


def one_basket(*lines: tuple[str, int | None]) -> World:
    return world([("r", "v", "c", DAY)], [("o", "c", NOON)], [("o", *line) for line in lines])


@pytest.mark.parametrize(
    ("lines", "level"),
    [
        ([("milk", 50), ("bread", 0)], 4),
        ([("milk", 0), ("bread", 50)], 3),
        ([("milk", 0), ("bread", 0)], 2),
        ([("milk", None), ("bread", None)], 2),
        ([("bread", 50)], 1),
        ([("bread", 0)], 0),
        ([], 0),
    ],
)
def test_the_content_of_the_basket_decides_the_level(
    engine: Engine, lines: list[tuple[str, int | None]], level: int
) -> None:
    assert [answer(row) for row in run(engine, one_basket(*lines))] == [(level, "o", 1, "linked")]


def test_the_highest_level_of_a_day_counts_and_lower_ones_do_not_make_it_ambiguous(engine: Engine) -> None:
    rows = world(
        [("r", "v", "c", DAY)],
        [("o1", "c", NOON), ("o2", "c", NOON), ("o3", "c", NOON)],
        [("o1", "milk", 0), ("o2", "milk", 50), ("o3", "bread", 50)],
    )
    assert [answer(row) for row in run(engine, rows)] == [(4, "o2", 1, "linked")]


def test_several_baskets_at_the_highest_level_are_ambiguous_and_none_is_picked(engine: Engine) -> None:
    rows = world(
        [("r", "v", "c", DAY)],
        [("o1", "c", NOON), ("o2", "c", NOON + timedelta(hours=1))],
        [("o1", "milk", 50), ("o2", "milk", 50)],
    )
    assert [answer(row) for row in run(engine, rows)] == [(4, None, 2, "ambiguous")]


def test_another_customer_or_another_day_is_no_basket_at_all(engine: Engine) -> None:
    rows = world(
        [("r", "v", "c", DAY)],
        [("o1", "d", NOON), ("o2", "c", NOON + timedelta(days=1))],
        [("o1", "milk", 50), ("o2", "milk", 50)],
    )
    assert [answer(row) for row in run(engine, rows)] == [(None, None, 0, "unmatched")]


def test_equal_redemptions_stay_rows_of_their_own(engine: Engine) -> None:
    rows = one_basket(("milk", 50))
    rows["redemptions"] = rows["redemptions"] * 2
    assert [answer(row) for row in run(engine, rows)] == [(4, "o", 1, "linked")] * 2


def test_repeated_rows_of_the_other_frames_change_nothing(engine: Engine) -> None:
    rows = one_basket(("milk", 50))
    doubled = {name: table if name == "redemptions" else table * 2 for name, table in rows.items()}
    assert [answer(row) for row in run(engine, doubled)] == [(4, "o", 1, "linked")]


def test_what_is_null_matches_nothing(engine: Engine) -> None:
    redemptions = [("r1", None, "c", DAY), ("r2", "v", None, DAY), ("r3", "v", "c", None)]
    rows = world(
        redemptions, [("o1", "c", NOON), ("o2", None, NOON), (None, "c", NOON), ("o3", "c", None)], []
    )
    rows["lines"] = [("o1", None, 5), (None, "milk", 5)]
    rows["eligible"] = [("v", "milk"), ("v", None), (None, "milk")]
    assert [answer(row) for row in run(engine, rows)] == [(None, None, 0, "unmatched")] * 3


def test_a_voucher_without_eligible_products_reaches_level_one(engine: Engine) -> None:
    rows = one_basket(("milk", 50))
    rows["eligible"] = [("w", "milk")]
    assert [answer(row) for row in run(engine, rows)] == [(1, "o", 1, "linked")]


# Around both changes of the clocks of 2017: midnight is at 05:00 UTC before and at 04:00 after, and back.
EDGES = [
    (datetime(2017, 3, 12, 4, 59, 59), date(2017, 3, 11)),
    (datetime(2017, 3, 12, 5, 0), date(2017, 3, 12)),
    (datetime(2017, 3, 13, 3, 59, 59), date(2017, 3, 12)),
    (datetime(2017, 3, 13, 4, 0), date(2017, 3, 13)),
    (datetime(2017, 11, 5, 3, 59, 59), date(2017, 11, 4)),
    (datetime(2017, 11, 5, 4, 0), date(2017, 11, 5)),
    (datetime(2017, 11, 5, 5, 30), date(2017, 11, 5)),
    (datetime(2017, 11, 5, 6, 30), date(2017, 11, 5)),
    (datetime(2017, 11, 6, 4, 59, 59), date(2017, 11, 5)),
    (datetime(2017, 11, 6, 5, 0), date(2017, 11, 6)),
    (datetime(1960, 1, 1, 3, 0), date(1959, 12, 31)),
]


@pytest.mark.parametrize("aware", [False, True])
def test_the_local_day_is_right_on_both_sides_of_daylight_saving(engine: Engine, aware: bool) -> None:
    # One customer for each instant, so that only the right day finds the basket.
    redemptions = [(str(n), "v", str(n), day) for n, (_, day) in enumerate(EDGES)]
    rows = world(redemptions, [(f"o{n}", str(n), at) for n, (at, _) in enumerate(EDGES)], [])
    baskets = tables(rows)["baskets"]
    if aware:
        shanghai = pa.timestamp("us", "Asia/Shanghai")
        at = baskets["ordered_at"].cast(pa.timestamp("us", "UTC")).cast(shanghai)
        baskets = baskets.set_column(2, "ordered_at", at)
    found = run(engine, rows, baskets=engine.make(baskets))
    assert {row["redemption_id"]: row["order_id"] for row in found} == {
        str(n): f"o{n}" for n in range(len(EDGES))
    }


def test_a_redemption_with_a_timestamp_is_of_its_local_day(engine: Engine) -> None:
    rows = one_basket(("milk", 50))
    at = pa.array([datetime(2017, 5, 2, 3, 59)], pa.timestamp("us"))  # 23:59 on the first of May
    redemptions = tables(rows)["redemptions"].drop_columns(["redeemed_on"]).append_column("redeemed_at", at)
    found = run(engine, rows, redemptions=engine.make(redemptions))
    assert [answer(row) for row in found] == [(4, "o", 1, "linked")]


def test_a_day_kept_as_a_midnight_is_that_day(engine: Engine) -> None:
    rows = one_basket(("milk", 50))
    redemptions = tables(rows)["redemptions"]
    midnight = redemptions["redeemed_on"].cast(pa.timestamp("us"))
    found = run(engine, rows, redemptions=engine.make(redemptions.set_column(3, "redeemed_on", midnight)))
    assert [answer(row) for row in found] == [(4, "o", 1, "linked")]


def test_names_are_mapped_and_the_redemptions_keep_their_own(engine: Engine) -> None:
    frames = {
        "redemptions": pa.table({"Coupon": [7], "Haushalt": [1], "Tag": [DAY], "note": ["kept"]}),
        "baskets": pa.table({"order_id": [900], "customer_id": ["1"], "ordered_at": [NOON]}),
        "lines": pa.table({"order_id": ["900"], "product_id": [5], "off": [0.5]}),
        "eligible": pa.table({"coupon": [7], "product_id": [5]}),
    }
    found = link_by_evidence(
        **{name: engine.make(table) for name, table in frames.items()},
        time_zone=NEW_YORK,
        columns={
            "redemptions": {"voucher_id": "Coupon", "customer_id": "Haushalt", "redeemed_on": "Tag"},
            "lines": {"coupon_discount": "off"},
            "eligible": {"voucher_id": "coupon"},
        },
    )
    assert type(found) is type(engine.make(frames["redemptions"]))
    (row,) = engine.rows(found)
    assert (row["Coupon"], row["Haushalt"], row["note"]) == (7, 1, "kept")
    assert answer(row) == (4, 900, 1, "linked")


def test_coupons_are_told_apart_by_campaign(fast_engine: Engine) -> None:
    frames = {
        "redemptions": pa.table(
            {"campaign_id": [1, 2], "coupon_id": [7, 7], "customer_id": [1, 1], "redeemed_on": [DAY, DAY]}
        ),
        "baskets": pa.table({"order_id": [900], "customer_id": [1], "ordered_at": [NOON]}),
        "lines": pa.table({"order_id": [900], "product_id": [5], "coupon_discount": [50]}),
        "eligible": pa.table({"campaign_id": [1], "coupon_id": [7], "product_id": [5]}),
    }
    made = {name: fast_engine.make(table) for name, table in frames.items()}
    found = fast_engine.rows(link_by_evidence(**made, time_zone=NEW_YORK))
    assert {row["campaign_id"]: row["evidence_level"] for row in found} == {1: 4, 2: 1}


@pytest.mark.parametrize("engine_name", ["duckdb", "polars", "pandas"])
def test_a_discount_that_is_not_a_number_is_no_discount(engine_name: str) -> None:
    engine = ENGINES[engine_name]
    rows = one_basket(("milk", 0))
    lines = pa.table({"order_id": ["o"], "product_id": ["milk"], "coupon_discount": [float("nan")]})
    assert [answer(row) for row in run(engine, rows, lines=engine.make(lines))] == [(2, "o", 1, "linked")]


def test_a_time_zone_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidError, match="not an IANA time zone"):
        run(ENGINES["polars"], one_basket(), "America/New_Pork")


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    lines = pl.DataFrame({"order_id": ["o"], "product_id": ["milk"], "discount": [1]})
    with pytest.raises(LinkageError, match=r"lines has no column 'coupon_discount'.*discount"):
        run(ENGINES["polars"], one_basket(), lines=lines)


def test_text_where_a_time_belongs_is_refused() -> None:
    baskets = pl.DataFrame({"order_id": ["o"], "customer_id": ["c"], "ordered_at": ["2017-05-01"]})
    with pytest.raises(LinkageError, match="must be a date or a timestamp"):
        run(ENGINES["polars"], one_basket(), baskets=baskets)


def test_a_redemption_column_that_the_result_needs_is_refused() -> None:
    rows = one_basket()
    redemptions = pl.DataFrame(tables(rows)["redemptions"]).with_columns(evidence_level=1)
    with pytest.raises(LinkageError, match="has a column 'evidence_level' already"):
        run(ENGINES["polars"], rows, redemptions=redemptions)


def test_frames_of_two_kinds_are_refused() -> None:
    rows = one_basket()
    with pytest.raises(LinkageError, match="one kind"):
        run(ENGINES["polars"], rows, lines=tables(rows)["lines"])


def reference(rows: World, time_zone: str) -> list[tuple[Any, ...]]:
    """The same rules in plain Python, row by row."""
    zone = ZoneInfo(time_zone)
    products: dict[Any, set[Any]] = defaultdict(set)
    for voucher, product in rows["eligible"]:
        products[voucher].add(product)
    found = []
    for redemption_id, voucher, customer, day in rows["redemptions"]:
        levels: dict[Any, int] = {}
        for order, buyer, at in rows["baskets"]:
            if customer is None or buyer != customer or at.replace(tzinfo=UTC).astimezone(zone).date() != day:
                continue
            lines = [(product, off or 0) for in_order, product, off in rows["lines"] if in_order == order]
            fits = [off for product, off in lines if product in products[voucher]]
            if any(off > 0 for off in fits):
                levels[order] = 4
            elif fits:
                levels[order] = 3 if any(off > 0 for _, off in lines) else 2
            else:
                levels[order] = 1 if any(off > 0 for _, off in lines) else 0
        top = max(levels.values(), default=None)
        at_top = sorted(order for order, level in levels.items() if level == top)
        status = {0: "unmatched", 1: "linked"}.get(len(at_top), "ambiguous")
        found.append((redemption_id, top, at_top[0] if len(at_top) == 1 else None, len(at_top), status))
    return found


FEW = st.sampled_from(["a", "b"])
INSTANTS = st.sampled_from([at for at, _ in EDGES[:10]]) | st.datetimes(
    datetime(2017, 3, 10), datetime(2017, 3, 14)
)
WORLDS = st.fixed_dictionaries(
    {
        "redemptions": st.lists(
            st.tuples(FEW, FEW, FEW | st.none(), st.dates(date(2017, 3, 10), date(2017, 3, 14))), max_size=6
        ),
        "baskets": st.lists(
            st.tuples(st.sampled_from("wxyz"), FEW, INSTANTS), max_size=6, unique_by=lambda row: row[0]
        ),
        "lines": st.lists(
            st.tuples(st.sampled_from("wxyz"), FEW, st.sampled_from([None, 0, 1])), max_size=10
        ),
        "eligible": st.lists(st.tuples(FEW, FEW), max_size=3),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=WORLDS, time_zone=st.sampled_from([NEW_YORK, "UTC", "Asia/Shanghai", "Australia/Lord_Howe"]))
def test_every_engine_agrees_with_the_rules_in_plain_python(
    fast_engine: Engine, rows: World, time_zone: str
) -> None:
    names = ("redemption_id", "evidence_level", "order_id", "order_count", "evidence_status")
    expected = [dict(zip(names, row, strict=True)) for row in reference(rows, time_zone)]
    found = [{name: row[name] for name in names} for row in run(fast_engine, rows, time_zone)]
    assert sort_rows(found) == sort_rows(expected)
