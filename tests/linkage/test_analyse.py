# Times without a zone are read as UTC, which these tests rely on.
# ruff: noqa: DTZ001

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from counterfoil.errors import InvalidError
from counterfoil.linkage.analyse import RESULT_COLUMNS, analyse
from counterfoil.linkage.errors import LinkageError
from counterfoil.linkage.link import link
from counterfoil.linkage.uplift import (
    NO_HOLDOUT,
    RANDOM,
    TARGETED,
    UNKNOWN,
    Group,
    newcombe,
    uplift,
    welch,
    wilson,
)
from tests.linkage.engines import ENGINES, Engine, Row, why_not

JANUARY = datetime(2024, 1, 1)


def at(day: int, hour: int = 12) -> datetime:
    return datetime(2024, 1, day, hour)


ISSUANCES: list[Row] = [
    {
        "voucher_id": "v1",
        "issued_at": at(1),
        "campaign_id": "a",
        "customer_id": "c1",
        "channel": "app",
        "store_id": "s1",
    },
    {
        "voucher_id": "v2",
        "issued_at": at(1),
        "campaign_id": "a",
        "customer_id": "c2",
        "channel": "web",
        "store_id": "s1",
    },
    {
        "voucher_id": "v3",
        "issued_at": at(1),
        "campaign_id": "a",
        "customer_id": "c2",
        "channel": "app",
        "store_id": "s2",
        "order_id": "o1",
    },
    {"voucher_id": "v4", "issued_at": at(1), "campaign_id": "b", "customer_id": "c1", "channel": "app"},
    {"voucher_id": "v5", "issued_at": at(9), "campaign_id": "b", "customer_id": "c3"},
]
REDEMPTIONS: list[Row] = [
    {
        "voucher_id": "v1",
        "redeemed_at": at(2),
        "redemption_id": "r1",
        "transaction_id": "t1",
        "customer_id": "c1",
        "store_id": "s2",
        "discount": 100,
    },
    {
        "voucher_id": "v1",
        "redeemed_at": at(3),
        "redemption_id": "r2",
        "transaction_id": "t1",
        "customer_id": "c1",
        "store_id": "s2",
    },
    {
        "voucher_id": "v2",
        "redeemed_at": at(5),
        "redemption_id": "r3",
        "transaction_id": "t2",
        "customer_id": "c9",
        "store_id": "s1",
        "discount": 50,
    },
    {"voucher_id": "v5", "redeemed_at": at(8), "redemption_id": "r4", "customer_id": "c3"},
    {
        "voucher_id": "x",
        "redeemed_at": at(8),
        "redemption_id": "r5",
        "transaction_id": "t2",
        "customer_id": "c4",
    },
]
ORDERS: list[Row] = [{"order_id": "o1", "transaction_id": "t3", "amount": 1}]
TRANSACTIONS: list[Row] = [
    {"transaction_id": "t1", "paid_at": at(2), "amount": 1001, "customer_id": "c1"},
    {"transaction_id": "t2", "paid_at": at(5), "amount": 400, "customer_id": "c9"},
    {"transaction_id": "t3", "paid_at": at(1), "amount": 70, "customer_id": "c2"},
]
AUDIENCE: list[Row] = [
    {"campaign_id": "a", "customer_id": "c1", "group": "treatment", "channel": "app"},
    {"campaign_id": "a", "customer_id": "c2", "group": None, "channel": "web"},
    {"campaign_id": "a", "customer_id": "c2", "group": None, "channel": "web"},
    {"campaign_id": "a", "customer_id": "c8", "group": "holdout", "channel": "app"},
]
PAGE_VIEWS: list[Row] = [
    {"campaign_id": "a", "viewed_at": at(1), "customer_id": "c1", "session_id": "s"},
    {"campaign_id": "a", "viewed_at": at(2), "customer_id": "c1", "session_id": "t"},
    {"campaign_id": "a", "viewed_at": at(2), "customer_id": None, "session_id": "u"},
    {"campaign_id": "a", "viewed_at": at(2), "customer_id": None, "session_id": None},
]


def full_link(engine: Engine) -> Any:
    """The full link as a frame of this kind; made by Polars, because making it is not what is tested here."""
    polars = ENGINES["polars"]
    given = {
        "issuances": ISSUANCES,
        "redemptions": REDEMPTIONS,
        "orders": ORDERS,
        "transactions": TRANSACTIONS,
    }
    return engine.make(polars.read(link(**polars.frames(given))))  # type: ignore[arg-type]


def by(rows: list[Row], *keys: str) -> dict[Any, Row]:
    return {tuple(row[key] for key in keys) if len(keys) > 1 else row[keys[0]]: row for row in rows}


def test_every_engine_counts_the_same_funnel_and_money(engine: Engine) -> None:
    frames = engine.frames({"audience": AUDIENCE, "page_views": PAGE_VIEWS})
    found = analyse(full_link=full_link(engine), **frames)
    rows = by(engine.rows(found), "campaign_id")
    assert rows.keys() == {"a", "b", None}
    expected = {
        "addressed": 2, "exposed": 2, "page_views": 4, "issued": 3, "bought": 1, "redeemed": 2,
        "redeemed_issued": 2, "redemptions": 3, "customers_issued": 2, "customers_redeemed": 2,
        "responders": 1,
        "purchase_rate": 1 / 3, "redemption_rate": 2 / 3, "response_rate": 1 / 2,
        "time_to_redeem_p10": 86_400, "time_to_redeem_p50": 86_400, "time_to_redeem_p90": 4 * 86_400,
        "times_known": 2, "revenue": 1201, "purchase_revenue": 70, "discount_cost": 150, "discounts_known": 2,
        "revenue_per_discount": pytest.approx((501 + 200) / 150), "incomplete_links": 0, "breaks": None,
    }  # fmt: skip
    assert tuple(expected) == RESULT_COLUMNS
    assert {name: rows["a"][name] for name in expected} == expected
    assert (rows["b"]["issued"], rows["b"]["redeemed"], rows["b"]["revenue"]) == (2, 1, None)
    assert (rows[None]["redemptions"], rows[None]["redeemed_issued"], rows[None]["revenue"]) == (1, 0, 200)


def test_the_revenue_of_all_groups_is_that_of_the_distinct_transactions(fast_engine: Engine) -> None:
    for groups in (["campaign_id"], ["channel"], ["store_id"], ["campaign_id", "channel", "store_id"]):
        rows = fast_engine.rows(analyse(full_link=full_link(fast_engine), by=groups))  # type: ignore[arg-type]
        assert sum(row["revenue"] or 0 for row in rows) == 1401
        assert sum(row["purchase_revenue"] or 0 for row in rows) == 70


def test_without_a_page_log_nobody_is_said_to_have_seen_anything(fast_engine: Engine) -> None:
    rows = fast_engine.rows(analyse(full_link=full_link(fast_engine)))
    assert {row[name] for row in rows for name in ("exposed", "page_views", "addressed", "responders")} == {
        None
    }


def test_a_redemption_before_its_issuance_has_no_time_to_redeem(fast_engine: Engine) -> None:
    rows = by(fast_engine.rows(analyse(full_link=full_link(fast_engine))), "campaign_id")
    assert (rows["b"]["times_known"], rows["b"]["time_to_redeem_p50"]) == (0, None)


def test_events_count_at_their_own_store_and_no_rate_is_made_of_different_vouchers(
    fast_engine: Engine,
) -> None:
    rows = by(
        fast_engine.rows(analyse(full_link=full_link(fast_engine), by=["campaign_id", "store_id"])),
        "campaign_id",
        "store_id",
    )
    assert (rows["a", "s1"]["issued"], rows["a", "s1"]["redemptions"]) == (2, 1)
    assert (rows["a", "s2"]["issued"], rows["a", "s2"]["redemptions"]) == (1, 2)
    assert {row["redemption_rate"] for row in rows.values()} == {None}


@pytest.mark.parametrize(
    ("period", "first", "second"),
    [("day", date(2024, 1, 2), date(2024, 1, 3)), ("week", date(2024, 1, 1), date(2024, 1, 1)),
     ("month", date(2024, 1, 1), date(2024, 1, 1))],
)  # fmt: skip
def test_events_count_in_their_own_local_period(
    fast_engine: Engine, period: Any, first: date, second: date
) -> None:
    found = analyse(
        full_link=full_link(fast_engine), by=["campaign_id"], period=period, time_zone="Asia/Shanghai"
    )
    rows = by(fast_engine.rows(found), "campaign_id", "period_start")
    assert rows["a", first]["redemptions"] == (1 if first != second else 3)
    assert sum(row["issued"] for row in rows.values()) == 5
    assert sum(row["redemptions"] for row in rows.values()) == 5


def test_an_event_late_in_the_evening_is_of_the_next_day_further_east(fast_engine: Engine) -> None:
    issuances = [{"voucher_id": "v", "issued_at": datetime(2024, 1, 31, 17), "campaign_id": "a"}]
    others = {"redemptions": REDEMPTIONS, "orders": ORDERS, "transactions": TRANSACTIONS}
    linked = link(**fast_engine.frames({"issuances": issuances, **others}))  # type: ignore[dict-item]
    for zone, month in (("UTC", 1), ("Asia/Shanghai", 2)):
        rows = by(fast_engine.rows(analyse(full_link=linked, period="month", time_zone=zone)), "campaign_id")
        assert rows["a"]["period_start"] == date(2024, month, 1)


def test_grades_come_from_the_customers_given(fast_engine: Engine) -> None:
    customers = fast_engine.make(pa.table({"customer_id": ["c1", "c2"], "grade": ["vip", "regular"]}))
    found = fast_engine.rows(analyse(full_link=full_link(fast_engine), customers=customers, by=["grade"]))
    assert {row["grade"]: row["issued"] for row in found} == {"vip": 2, "regular": 2, None: 1}


def test_breaks_count_for_the_campaign_of_their_voucher(fast_engine: Engine) -> None:
    breaks = fast_engine.make(
        pa.table({"voucher_id": ["v1", "v1", "x"], "kind": ["redeemed_twice", "k", "orphan"]})
    )
    rows = by(fast_engine.rows(analyse(full_link=full_link(fast_engine), breaks=breaks)), "campaign_id")
    assert {campaign: row["breaks"] for campaign, row in rows.items()} == {"a": 2, "b": 0, None: 1}


def test_spark_knows_the_weeks_too() -> None:
    if (reason := why_not("pyspark")) is not None:
        pytest.skip(f"pyspark: {reason}")
    spark = ENGINES["pyspark"]
    found = analyse(full_link=full_link(spark), period="week", time_zone="Asia/Shanghai")
    rows = by(spark.rows(found), "campaign_id", "period_start")
    assert rows["a", date(2024, 1, 1)]["redemptions"] == 3


@pytest.mark.parametrize(
    "wrong", [{"by": []}, {"by": ["shop"]}, {"by": ["channel", "channel"]}, {"period": "year"}]
)
def test_groups_and_periods_that_do_not_exist_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(LinkageError, match="must"):
        analyse(full_link=full_link(ENGINES["polars"]), **wrong)


def test_a_time_zone_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidError, match="not an IANA time zone"):
        analyse(full_link=full_link(ENGINES["polars"]), time_zone="Mars/Olympus")


# Newcombe (1998), table II, method 10.
@pytest.mark.parametrize(
    ("a", "m", "b", "n", "low", "high"),
    [
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (6, 7, 2, 7, 0.0582, 0.8062),
        (5, 56, 0, 29, -0.0381, 0.1926),
        (0, 10, 0, 20, -0.1611, 0.2775),
        (10, 10, 0, 10, 0.6075, 1.0),
    ],
)
def test_the_interval_of_two_rates_is_the_published_one(
    a: int, m: int, b: int, n: int, low: float, high: float
) -> None:
    found = newcombe(a, m, b, n)
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


def test_wilsons_interval_is_the_published_one() -> None:
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I: 81 of 263.
    low, high = wilson(81, 263)
    assert low == pytest.approx(0.2553, abs=5e-5)
    assert high == pytest.approx(0.3662, abs=5e-5)


def test_welchs_interval_is_that_of_students_sleep_data() -> None:
    # The data of "Student" (1908), as R's t.test(extra ~ group, data = sleep) gives it.
    first = Group(10, 0, 0.75, 3.2005555555555554)
    second = Group(10, 0, 2.33, 4.009)
    found = welch(first, second)
    assert found.value == pytest.approx(-1.58)
    assert found.low == pytest.approx(-3.3654832, abs=1e-6)
    assert found.high == pytest.approx(0.2054832, abs=1e-6)


def people(assignment: str | None) -> list[Row]:
    return [
        {
            "campaign_id": "a",
            "customer_id": f"c{n}",
            "group": "holdout" if n % 2 else None,
            "assignment": assignment,
        }
        for n in range(8)
    ]


PAID: list[Row] = [
    {"transaction_id": "1", "customer_id": "c0", "paid_at": at(2), "amount": 100},
    {"transaction_id": "2", "customer_id": "c0", "paid_at": at(3), "amount": 200},
    {"transaction_id": "3", "customer_id": "c2", "paid_at": at(3), "amount": 100},
    {"transaction_id": "4", "customer_id": "c1", "paid_at": at(4), "amount": 80},
    {"transaction_id": "5", "customer_id": "c3", "paid_at": datetime(2024, 2, 1), "amount": 999},
    {"transaction_id": "6", "customer_id": "zz", "paid_at": at(4), "amount": 999},
]
PERIOD = {"a": (JANUARY, datetime(2024, 2, 1))}


def test_uplift_compares_purchases_in_the_period_of_both_groups(engine: Engine) -> None:
    frames = engine.frames({"audience": people("random"), "transactions": PAID})
    (found,) = uplift(**frames, periods=PERIOD)
    assert (found.treated.customers, found.treated.converted, found.treated.mean) == (4, 2, 100.0)
    assert (found.holdout.customers, found.holdout.converted, found.holdout.mean) == (4, 1, 20.0)
    assert found.conversion.value == pytest.approx(0.25)
    assert found.revenue_per_customer.value == pytest.approx(80.0)
    assert (found.causal, found.why) == (True, RANDOM)


@pytest.mark.parametrize(("assignment", "why"), [("targeted", TARGETED), (None, UNKNOWN)])
def test_a_comparison_without_random_groups_is_never_called_causal(assignment: str | None, why: str) -> None:
    frames = ENGINES["polars"].frames({"audience": people(assignment), "transactions": PAID})
    (found,) = uplift(**frames, periods=PERIOD)
    assert (found.causal, found.why) == (False, why)


def test_one_customer_who_was_not_drawn_at_random_is_enough_to_refuse() -> None:
    mixed = [*people("random")[:-1], {**people("random")[-1], "assignment": "targeted"}]
    (found,) = uplift(**ENGINES["polars"].frames({"audience": mixed, "transactions": PAID}), periods=PERIOD)
    assert (found.causal, found.why) == (False, TARGETED)


def test_without_a_holdout_there_is_no_difference_and_no_effect() -> None:
    treated = [row for row in people("random") if row["group"] is None]
    (found,) = uplift(**ENGINES["polars"].frames({"audience": treated, "transactions": PAID}), periods=PERIOD)
    assert (found.causal, found.why, found.conversion.value) == (False, NO_HOLDOUT, None)


def test_a_customer_in_both_groups_is_in_neither() -> None:
    both = [*people("random"), {**people("random")[0], "group": "holdout"}]
    (found,) = uplift(**ENGINES["polars"].frames({"audience": both, "transactions": PAID}), periods=PERIOD)
    assert (found.treated.customers, found.holdout.customers) == (3, 4)


def test_an_analysis_can_be_printed_as_json() -> None:
    rows = ENGINES["polars"].rows(analyse(full_link=full_link(ENGINES["polars"])))
    assert json.loads(json.dumps(rows))
    assert isinstance(analyse(full_link=full_link(ENGINES["polars"])), pl.DataFrame)
