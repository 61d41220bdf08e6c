"""Local days, weeks, months and windows of a campaign's time zone. Pure: no clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from counterfoil.vouchers.terms import DAYS, Absolute, AfterIssue, Terms, Window
from counterfoil.vouchers.types import Period

EVER = date(1970, 1, 1)
"""The period of a limit over all time begins here, so that every limit has a first day."""


def local(moment: datetime, time_zone: str) -> datetime:
    """The moment on the clock of this time zone."""
    return moment.astimezone(ZoneInfo(time_zone))


def period_start(period: Period, day: date) -> date:
    """The first day of the period that a local day is in."""
    if period == "total":
        return EVER
    if period == "week":
        return day - timedelta(days=day.weekday())
    if period == "month":
        return day.replace(day=1)
    return day


def in_windows(windows: Sequence[Window] | None, moment: datetime) -> bool:
    """Whether a local moment is in one of the windows; null: always."""
    return windows is None or any(_in_window(window, moment) for window in windows)


def _in_window(window: Window, moment: datetime) -> bool:
    today, yesterday = DAYS[moment.weekday()], DAYS[moment.weekday() - 1]
    clock = moment.time()
    if window.begins < window.until or window.until == time(0):
        return (
            today in window.days
            and window.begins <= clock
            and (clock < window.until or window.until == time(0))
        )
    return (today in window.days and clock >= window.begins) or (
        yesterday in window.days and clock < window.until
    )


@lru_cache(maxsize=4096)
def _end_of_day(day: date, days: int, time_zone: str) -> datetime:
    midnight = datetime.combine(day + timedelta(days=days + 1), time(0), ZoneInfo(time_zone))
    return midnight.astimezone(UTC)


def end_of(terms: Terms) -> datetime | None:
    """When the vouchers of these terms are over, where that is the same moment for all of them."""
    return terms.validity.valid_until if isinstance(terms.validity, Absolute) else None


def validity_of(terms: Terms, issued_at: datetime) -> tuple[datetime | None, datetime | None]:
    """From when until when a voucher issued then is good; half-open, null: without end."""
    validity = terms.validity
    if validity is None:
        return None, None
    if not isinstance(validity, AfterIssue):
        return validity.valid_from, validity.valid_until
    if validity.hours is not None:
        return None, issued_at + timedelta(hours=validity.hours)
    assert validity.days is not None
    return None, _end_of_day(local(issued_at, terms.time_zone).date(), validity.days, terms.time_zone)
