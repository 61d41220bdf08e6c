"""Numbers, money, times and the catalog."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from counterfoil.dashboard import catalog, charts
from counterfoil.dashboard.figures import funnel, reasons, total
from counterfoil.dashboard.labels import UNKNOWN
from counterfoil.dashboard.words import words_of

EN, ZH = words_of("en"), words_of("zh")


@pytest.mark.parametrize(
    ("minor", "currency", "said"),
    [
        (123456, "USD", "$1,234.56"),
        (123456, "JPY", "¥123,456"),
        (123456, "KWD", "KWD\xa0123.456"),
        (123456, "RSD", "RSD\xa01,234.56"),
        (-5, "EUR", "-€0.05"),
        (0, "CNY", "CN¥0.00"),
    ],
)
def test_money_counts_in_the_minor_units_of_its_currency(minor: int, currency: str, said: str) -> None:
    assert EN.money(minor, currency) == said


def test_large_amounts_can_leave_their_fraction_out() -> None:
    assert EN.money(123456, "USD", short=True) == "$1,235"
    assert EN.money(99999, "USD", short=True) == "$999.99"
    assert ZH.money(123456, "CNY", short=True) == "¥1,235"


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (0, "0 minutes", "0分钟"),
        (3600, "60 minutes", "60分钟"),
        (9000, "2 hours", "2小时"),
        (86_400 * 4.86, "4.9 days", "4.9天"),
        (86_400 * 40.2, "40 days", "40天"),
    ],
)
def test_a_length_of_time_is_in_the_unit_that_people_use(seconds: float, english: str, chinese: str) -> None:
    assert (EN.duration(seconds), ZH.duration(seconds)) == (english, chinese)


def test_an_age_over_two_years_is_in_years() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    assert EN.age(now - timedelta(days=3287), now) == "9 years"
    assert EN.age(now - timedelta(days=80), now) == "80 days"


def test_a_period_that_ends_at_midnight_ended_the_day_before() -> None:
    end = datetime(2026, 9, 30, 16, tzinfo=UTC)
    assert EN.local_day(end, "Asia/Shanghai") == "Oct 1, 2026"
    assert EN.local_day(end, "Asia/Shanghai", last_of_open=True) == "Sep 30, 2026"
    assert ZH.moment(end, "Asia/Shanghai", precision="day") == "2026年10月1日"


def test_the_catalog_holds_every_message_of_the_pages_translated() -> None:
    said = {(message.id, message.context): message for message in catalog.load("zh") if message.id}
    used = {(message.id, message.context) for message in catalog.collect() if message.id}
    assert set(said) == used, "run: python -m counterfoil.dashboard.catalog"
    for message in said.values():
        assert message.string, message.id
        assert all(message.string), message.id
        assert not message.fuzzy, message.id
        assert not list(message.check()), message.id


def test_the_compiled_catalog_is_that_of_its_source() -> None:
    kept = catalog.path_of("zh").with_suffix(".mo").read_bytes()
    assert kept == catalog.compiled(catalog.load("zh")), "run: python -m counterfoil.dashboard.catalog"


LINE = {
    "addressed": 0,
    "exposed": 0,
    "issued": 0,
    "bought": 0,
    "redeemed": 2,
    "redemptions": 2,
    "redeemed_issued": 0,
    "responders": 0,
    "customers_issued": 0,
    "customers_redeemed": 1,
    "page_views": 0,
    "revenue": None,
    "discount_cost": None,
    "discounts_known": 0,
    "incomplete_links": 2,
    "redemption_rate": None,
    "response_rate": None,
    "revenue_per_discount": None,
    "times_known": 0,
}


def test_a_zero_that_something_later_contradicts_is_not_known() -> None:
    why = reasons(LINE)
    assert why["issued"] == UNKNOWN["no_issuance"]
    assert why["exposed"] == UNKNOWN["not_in_page_log"]
    assert why["revenue"] == UNKNOWN["no_payment"]
    assert [step.value for step in funnel(LINE)] == [None, None, None, None, 2, None]


def test_a_zero_that_nothing_contradicts_stays_a_zero() -> None:
    steps = funnel({**LINE, "addressed": 5, "redeemed": 0, "redemptions": 0})
    assert [step.value for step in steps] == [5, 0, 0, 0, 0, None]
    assert steps[-1].why == UNKNOWN["nothing_redeemed"]


def test_totals_are_of_what_is_known_and_say_for_how_many_it_is_not() -> None:
    known = {**LINE, "issued": 10, "redeemed_issued": 4, "redeemed": 4, "redemptions": 4, "revenue": 70}
    totals = total([LINE, known])
    assert (totals.figures["issued"], totals.figures["redeemed"], totals.figures["revenue"]) == (10, 6, 70)
    assert totals.figures["redemption_rate"] == 0.4
    assert (totals.unknown["issued"], totals.unknown["revenue"], totals.campaigns) == (1, 1, 2)


def test_a_campaign_that_is_not_analysed_has_no_figures_at_all() -> None:
    assert all(step.value is None and step.why for step in funnel(None))


def test_periods_without_anything_have_their_place_in_a_chart() -> None:
    found = charts.series("n", {date(2026, 1, 5): 4, date(2026, 1, 26): 2})
    assert [(column.start.day, column.value, column.height) for column in found.columns] == [
        (5, 4, 100),
        (12, 0, 0),
        (19, 0, 0),
        (26, 2, 50),
    ]
    months = charts.series("n", {date(2026, 1, 1): 1, date(2026, 12, 1): 1})
    assert (months.period, len(months.columns)) == ("month", 12)
    assert charts.series("n", {}).columns == []


def test_a_line_of_nothing_is_not_drawn() -> None:
    assert charts.sparkline([0, 0, 0]) == charts.sparkline([5]) == ""
    assert charts.sparkline([0, 4]) == "0.0,23.0 100.0,1.0"
