"""A merchant's points program: what is earned, what a point is worth, when points expire."""

from __future__ import annotations

from calendar import monthrange
from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from counterfoil.db.transactions import ReadTx, Tx
from counterfoil.errors import InvalidError, NotFoundError

Days = Annotated[int, Field(strict=True, ge=0, le=3_650)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Rate(_Strict):
    """So many points for so much money."""

    points: Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
    minor: Annotated[
        int, Field(strict=True, ge=1, le=10**12, description="Minor units of the merchant's currency.")
    ]

    @model_validator(mode="after")
    def _is_sensible(self) -> Rate:
        # Whatever an order costs, what comes out stays a number that the database keeps.
        if self.points > 1_000 * self.minor:
            raise ValueError("at most 1,000 points for each minor unit")
        if self.points and self.minor > 1_000_000 * self.points:
            raise ValueError("at most 1,000,000 minor units for each point")
        return self

    def points_for(self, amount_minor: int) -> int:
        """Points for an amount, rounded down."""
        return amount_minor * self.points // self.minor

    def worth_minor(self, points: int) -> int:
        """What points are worth, rounded down; 0 where the rate gives no points."""
        return points * self.minor // self.points if self.points else 0


class Expiry(_Strict):
    """How long points live."""

    after_months: Annotated[int, Field(strict=True, ge=1, le=120)]
    at: Literal["exact", "month_end", "year_end"] = "month_end"
    """At that very moment, or when that month or year ends in the program's time zone."""


class Program(_Strict):
    """The terms of a program."""

    earn: Rate = Rate(points=1, minor=100)
    """What a paid order earns."""
    burn: Rate = Rate(points=1, minor=1)
    """What points take off an order."""
    earn_from_orders: bool = False
    """Whether recorded orders that were paid earn by themselves."""
    activate_after_days: Days = 0
    """How long what an order earned is pending: as long as it may be sent back."""
    expiry: Expiry | None = None
    """None: points never expire."""
    notice_days: Days = 30
    """How long before points expire the merchant's programs are told."""
    max_balance: Annotated[int, Field(strict=True, ge=1, le=10**15)] | None = None
    """How high a balance may rise. None: as it likes."""
    time_zone: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, time_zone: str) -> str:
        try:
            ZoneInfo(time_zone)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"there is no time zone {time_zone!r}") from error
        return time_zone

    def expires_at(self, earned_at: datetime) -> datetime | None:
        """When points that were earned at a moment expire; half-open: they are good before it."""
        if self.expiry is None:
            return None
        try:
            return expiry_of(self.expiry, earned_at, ZoneInfo(self.time_zone))
        except (ValueError, OverflowError) as error:
            raise _no_such_time(earned_at) from error

    def due_at(self, earned_at: datetime) -> datetime | None:
        """When points that an order earned are credited; None: at once."""
        try:
            return earned_at + timedelta(days=self.activate_after_days) if self.activate_after_days else None
        except OverflowError as error:
            raise _no_such_time(earned_at) from error


def _no_such_time(earned_at: datetime) -> InvalidError:
    return InvalidError(
        f"Points of {earned_at.isoformat()} are out of all calendars.", code="time_out_of_range"
    )


def expiry_of(expiry: Expiry, earned_at: datetime, zone: ZoneInfo) -> datetime:
    """The moment from which points earned at `earned_at` are gone, in UTC terms of `zone`'s calendar."""
    local = earned_at.astimezone(zone)
    months = local.year * 12 + local.month - 1 + expiry.after_months
    year, month = divmod(months, 12)
    if expiry.at == "year_end":
        return datetime(year + 1, 1, 1, tzinfo=zone)
    if expiry.at == "month_end":
        following, month = divmod(months + 1, 12)
        return datetime(following, month + 1, 1, tzinfo=zone)
    day = min(local.day, monthrange(year, month + 1)[1])
    return local.replace(year=year, month=month + 1, day=day)


async def find(tx: ReadTx, *, merchant_id: UUID) -> Program | None:
    """A merchant's program; None where it has none yet."""
    terms = await tx.scalar(
        "SELECT terms FROM points_programs WHERE merchant_id = :merchant_id", {"merchant_id": merchant_id}
    )
    return None if terms is None else Program.model_validate(terms)


async def lock(tx: Tx, *, merchant_id: UUID) -> Program | None:
    """A merchant's program, which nobody else changes until the transaction ends."""
    terms = await tx.scalar(
        "SELECT terms FROM points_programs WHERE merchant_id = :merchant_id FOR UPDATE",
        {"merchant_id": merchant_id},
    )
    return None if terms is None else Program.model_validate(terms)


async def get(tx: ReadTx, *, merchant_id: UUID) -> Program:
    """A merchant's program; `NotFoundError` (`points_program_not_found`) where it has none yet."""
    program = await find(tx, merchant_id=merchant_id)
    if program is None:
        raise NotFoundError(
            "The merchant has no points program yet; PUT /v1/points/program makes one.",
            code="points_program_not_found",
        )
    return program


async def put(tx: Tx, *, merchant_id: UUID, program: Program, now: datetime) -> None:
    """Set a merchant's program. What was earned before keeps the expiry that it was earned with."""
    await tx.execute(
        """INSERT INTO points_programs (merchant_id, terms, changed_at)
           VALUES (:merchant_id, CAST(:terms AS jsonb), :now)
           ON CONFLICT (merchant_id)
           DO UPDATE SET terms = excluded.terms, changed_at = excluded.changed_at""",
        {"merchant_id": merchant_id, "terms": program.model_dump_json(), "now": now},
    )
