"""When points expire and are credited, by the merchant's calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from counterfoil.db.transactions import Tx
from counterfoil.errors import InvalidError, NotFoundError
from counterfoil.points import programs
from counterfoil.points.programs import Expiry, Program, Rate
from tests.builders import NOW, make_merchant


def expires(earned: str, months: int, at: Any, zone: str = "UTC") -> str:
    """When points that were earned at a moment expire, in UTC."""
    program = Program(expiry=Expiry(after_months=months, at=at), time_zone=zone)
    moment = program.expires_at(datetime.fromisoformat(earned).replace(tzinfo=UTC))
    assert moment is not None
    return moment.astimezone(UTC).isoformat(timespec="minutes").removesuffix("+00:00")


@pytest.mark.parametrize(
    ("earned", "months", "at", "zone", "until"),
    [
        ("2026-01-31T10:30", 1, "exact", "UTC", "2026-02-28T10:30"),
        ("2024-01-31T10:30", 1, "exact", "UTC", "2024-02-29T10:30"),
        ("2024-02-29T00:00", 12, "exact", "UTC", "2025-02-28T00:00"),
        ("2024-02-29T00:00", 48, "exact", "UTC", "2028-02-29T00:00"),
        ("2026-12-15T10:30", 1, "exact", "UTC", "2027-01-15T10:30"),
        ("2026-12-31T23:59", 12, "month_end", "UTC", "2028-01-01T00:00"),
        ("2026-11-01T00:00", 1, "month_end", "UTC", "2027-01-01T00:00"),
        ("2026-01-01T00:00", 1, "month_end", "UTC", "2026-03-01T00:00"),
        ("2024-01-31T00:00", 1, "month_end", "UTC", "2024-03-01T00:00"),
        ("2026-01-01T00:00", 12, "year_end", "UTC", "2028-01-01T00:00"),
        ("2026-12-31T23:59", 1, "year_end", "UTC", "2028-01-01T00:00"),
        # It is the first of January in Shanghai already.
        ("2026-12-31T16:00", 1, "month_end", "Asia/Shanghai", "2027-02-28T16:00"),
        ("2026-12-31T15:59", 1, "month_end", "Asia/Shanghai", "2027-01-31T16:00"),
        # The clock was put forward between, and the hour of the day stays.
        ("2026-02-15T12:00", 2, "exact", "Europe/Berlin", "2026-04-15T11:00"),
        ("2026-02-28T02:30", 1, "exact", "Europe/Berlin", "2026-03-28T02:30"),
        ("2026-03-15T00:00", 1, "month_end", "America/New_York", "2026-05-01T04:00"),
    ],
)
def test_points_expire_when_the_calendar_of_the_merchant_says(
    earned: str, months: int, at: str, zone: str, until: str
) -> None:
    assert expires(earned, months, at, zone) == until


def test_points_that_expire_with_a_month_or_a_year_live_their_months_and_never_go_back() -> None:
    moment, last = datetime(2023, 12, 1, tzinfo=UTC), {"month_end": "", "year_end": ""}
    while moment.year < 2025:
        for at, before in last.items():
            until = expires(moment.isoformat()[:16], 6, at, "Asia/Shanghai")
            assert until >= before
            assert datetime.fromisoformat(until).replace(tzinfo=UTC) - moment > timedelta(days=180)
            last[at] = until
        moment += timedelta(hours=31)


def test_a_program_without_expiry_or_waiting_says_so() -> None:
    assert Program().expires_at(NOW) is None
    assert Program().due_at(NOW) is None
    assert Program(activate_after_days=14).due_at(NOW) == NOW + timedelta(days=14)


def test_a_time_beyond_all_calendars_is_told() -> None:
    late = datetime(9999, 12, 31, 23, tzinfo=UTC)
    program = Program(expiry=Expiry(after_months=1), activate_after_days=1, time_zone="Asia/Shanghai")
    for ask in (program.expires_at, program.due_at):
        with pytest.raises(InvalidError) as caught:
            ask(late)
        assert caught.value.code == "time_out_of_range"


def test_rates_round_down_and_a_rate_of_nothing_is_worth_nothing() -> None:
    assert [Rate(points=2, minor=100).points_for(minor) for minor in (0, 49, 50, 199)] == [0, 0, 1, 3]
    assert [Rate(points=3, minor=10).worth_minor(points) for points in (1, 2, 3)] == [3, 6, 10]
    assert Rate(points=0, minor=100).worth_minor(5) == 0


@pytest.mark.parametrize(
    "said",
    [
        {"time_zone": "Mars/Base"}, {"time_zone": "../etc/passwd"}, {"earn": {"points": -1, "minor": 1}},
        {"earn": {"points": 1, "minor": 0}}, {"expiry": {"after_months": 0}}, {"notice_days": -1},
        {"max_balance": 0}, {"unknown": 1}, {"activate_after_days": 3651},
    ],
)  # fmt: skip
def test_terms_that_mean_nothing_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Program.model_validate(said)


async def test_a_program_is_kept_as_it_was_said_and_may_be_changed(tx: Tx) -> None:
    merchant_id = await make_merchant(tx)
    assert await programs.find(tx, merchant_id=merchant_id) is None
    with pytest.raises(NotFoundError) as caught:
        await programs.get(tx, merchant_id=merchant_id)
    assert caught.value.code == "points_program_not_found"
    for program in (Program(), Program(expiry=Expiry(after_months=24, at="year_end"), max_balance=10**15)):
        await programs.put(tx, merchant_id=merchant_id, program=program, now=NOW)
        assert await programs.get(tx, merchant_id=merchant_id) == program
