from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterfoil.vouchers.calendar import EVER, end_of, in_windows, local, period_start, validity_of
from counterfoil.vouchers.terms import DAYS, Window
from tests.vouchers.world import terms


def window(begins: str = "00:00", until: str = "00:00", *days: str) -> Window:
    return Window.model_validate({"from": begins, "until": until, **({"days": days} if days else {})})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


MONDAY = at("2026-06-01")


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        ("2026-06-01 08:59:59.999999", False),
        ("2026-06-01 09:00", True),
        ("2026-06-01 16:59:59.999999", True),
        ("2026-06-01 17:00", False),
        ("2026-06-02 09:00", False),
        ("2026-06-08 09:00", True),
    ],
)
def test_a_window_is_half_open_and_of_its_days(moment: str, inside: bool) -> None:
    assert in_windows([window("09:00", "17:00", "mon")], at(moment)) is inside


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        ("2026-06-05 21:59", False),
        ("2026-06-05 22:00", True),
        ("2026-06-05 23:59:59", True),
        ("2026-06-06 00:00", True),
        ("2026-06-06 01:59:59", True),
        ("2026-06-06 02:00", False),
        # Friday's night does not begin on Friday morning, and Saturday has none.
        ("2026-06-05 01:00", False),
        ("2026-06-06 23:00", False),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(moment: str, inside: bool) -> None:
    assert in_windows([window("22:00", "02:00", "fri")], at(moment)) is inside


def test_a_window_of_sunday_night_goes_on_into_monday() -> None:
    assert in_windows([window("20:00", "01:00", "sun")], at("2026-06-01 00:30"))


def test_a_window_until_midnight_ends_with_its_day() -> None:
    evening = [window("20:00", "00:00", "mon")]
    assert in_windows(evening, at("2026-06-01 23:59:59.999999"))
    assert not in_windows(evening, at("2026-06-02 00:00"))


def test_a_window_without_hours_is_the_whole_day_and_no_window_is_never() -> None:
    assert in_windows([window("00:00", "00:00", "mon")], at("2026-06-01 00:00"))
    assert not in_windows([window("00:00", "00:00", "mon")], at("2026-06-02 00:00"))
    assert in_windows(None, at("2026-06-01 00:00"))
    assert not in_windows([], at("2026-06-01 00:00"))


@given(
    begins=st.times(),
    until=st.times(),
    days=st.sets(st.sampled_from(DAYS), min_size=1),
    minute=st.integers(0, 20160),
)
def test_a_window_is_the_span_from_its_beginning_on_each_of_its_days(
    begins: time, until: time, days: set[str], minute: int
) -> None:
    moment = MONDAY + timedelta(minutes=minute)
    spans = []
    for n in range(-1, 16):
        day = MONDAY + timedelta(days=n)
        if DAYS[day.weekday()] in days:
            begin = datetime.combine(day, begins)
            end = datetime.combine(day, until)
            # It ends on the next day where it would end before it begins, and at midnight.
            spans.append((begin, end if end > begin else end + timedelta(days=1)))
    expected = any(begin <= moment < end for begin, end in spans)
    made = Window.model_validate({"from": begins, "until": until, "days": sorted(days)})
    assert in_windows([made], moment) is expected


def test_an_hour_that_comes_twice_is_twice_in_the_window_and_one_that_is_missing_never() -> None:
    night = [window("02:00", "03:00")]
    berlin = "Europe/Berlin"
    inside = [
        in_windows(night, local(datetime(2026, 10, 25, 0, tzinfo=UTC) + timedelta(minutes=n), berlin))
        for n in range(180)
    ]
    assert inside == [True] * 120 + [False] * 60
    inside = [
        in_windows(night, local(datetime(2026, 3, 29, 0, tzinfo=UTC) + timedelta(minutes=n), berlin))
        for n in range(180)
    ]
    assert not any(inside)


@given(st.dates(date(1971, 1, 1), date(2200, 1, 1)))
def test_a_period_begins_on_its_first_day(day: date) -> None:
    assert period_start("day", day) == day
    assert period_start("week", day).weekday() == 0
    assert 0 <= (day - period_start("week", day)).days < 7
    assert period_start("month", day) == date(day.year, day.month, 1)
    assert period_start("total", day) == EVER


@pytest.mark.parametrize(
    ("zone", "issued", "days", "until"),
    [
        # Late in the evening of UTC it is tomorrow in Shanghai.
        ("Asia/Shanghai", "2026-06-01T15:59:59+00:00", 0, "2026-06-01T16:00:00+00:00"),
        ("Asia/Shanghai", "2026-06-01T16:00:00+00:00", 0, "2026-06-02T16:00:00+00:00"),
        ("UTC", "2026-06-01T12:00:00+00:00", 7, "2026-06-09T00:00:00+00:00"),
        # The day on which the clocks go forward has 23 hours, the one on which they go back 25.
        ("Europe/Berlin", "2026-03-28T23:00:00+00:00", 0, "2026-03-29T22:00:00+00:00"),
        ("Europe/Berlin", "2026-10-24T22:00:00+00:00", 0, "2026-10-25T23:00:00+00:00"),
        ("Europe/Berlin", "2026-03-27T12:00:00+00:00", 3, "2026-03-30T22:00:00+00:00"),
        # In Cairo the clocks go forward at midnight: the day begins at one.
        ("Africa/Cairo", "2026-04-23T12:00:00+00:00", 0, "2026-04-23T22:00:00+00:00"),
        # In Havana they go back at one: midnight comes twice, and the first one ends the day.
        ("America/Havana", "2026-10-31T12:00:00+00:00", 0, "2026-11-01T04:00:00+00:00"),
        ("America/New_York", "2028-02-28T12:00:00+00:00", 1, "2028-03-01T05:00:00+00:00"),
    ],
)
def test_a_validity_by_days_ends_at_the_local_midnight(zone: str, issued: str, days: int, until: str) -> None:
    made = terms(time_zone=zone, validity={"kind": "after_issue", "days": days})
    assert validity_of(made, at(issued)) == (None, at(until))
    assert end_of(made) is None


@given(st.datetimes(at("2020-01-01"), at("2040-01-01")), st.integers(0, 400))
def test_a_validity_by_days_covers_the_day_of_issue_and_so_many_more(naive: datetime, days: int) -> None:
    issued = naive.replace(tzinfo=UTC)
    made = terms(time_zone="Europe/Berlin", validity={"kind": "after_issue", "days": days})
    _, until = validity_of(made, issued)
    assert until is not None
    last = local(until - timedelta(microseconds=1), "Europe/Berlin").date()
    assert (last - local(issued, "Europe/Berlin").date()).days == days
    assert local(until, "Europe/Berlin").time() == time(0)


@pytest.mark.parametrize(
    ("validity", "expected"),
    [
        (None, (None, None)),
        ({"kind": "absolute"}, (None, None)),
        (
            {"kind": "absolute", "valid_from": "2026-06-01T00:00:00Z", "valid_until": "2026-07-01T00:00:00Z"},
            (datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)),
        ),
        # Hours are hours, also on the day on which the clocks go back.
        ({"kind": "after_issue", "hours": 24}, (None, datetime(2026, 10, 26, tzinfo=UTC))),
    ],
)
def test_the_other_validities_are_moments_and_hours_as_they_are_said(
    validity: dict[str, Any] | None, expected: object
) -> None:
    made = terms(time_zone="Europe/Berlin", validity=validity)
    assert validity_of(made, datetime(2026, 10, 25, tzinfo=UTC)) == expected
