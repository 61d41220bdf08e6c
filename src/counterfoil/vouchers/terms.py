"""What a campaign promises: the discount, and all that must hold before it is given.

Null means unlimited, zero means none: an empty list of stores is no store at all. A campaign's terms are kept
by version and never changed, so whoever holds a version can keep it parsed.
"""

from __future__ import annotations

from datetime import time
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from counterfoil.db.records import LARGEST_INTEGER, Reference, Time
from counterfoil.vouchers.codes import CodeFormat
from counterfoil.vouchers.types import Period

Minor = Annotated[int, Field(ge=0, le=LARGEST_INTEGER, description="Minor units of the merchant's currency.")]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: Final[tuple[Day, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AmountOff(_Part):
    """So much less."""

    kind: Literal["amount"]
    amount_minor: Minor


class PercentOff(_Part):
    """A share of what the eligible lines cost, rounded half up, never more than the cap."""

    kind: Literal["percent"]
    basis_points: Annotated[
        int, Field(ge=0, le=10_000, description="Hundredths of a percent: 1250 is 12.5 %.")
    ]
    cap_minor: Minor | None = None


class ProductOff(_Part):
    """A product for nothing: its price in the basket, or, handed over the counter, `value_minor`."""

    kind: Literal["product"]
    product_id: Reference
    quantity: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    value_minor: Annotated[
        Minor | None, Field(description="An exchange: no basket is asked for, and this is what it costs.")
    ] = None


class StoredValue(_Part):
    """A balance that is used up bit by bit."""

    kind: Literal["stored_value"]
    amount_minor: Minor


class RandomAmount(_Part):
    """An amount drawn when the voucher is handed out; over the whole stock they add up to the pot."""

    kind: Literal["random"]
    pot_minor: Minor
    smallest_minor: Minor = 1
    largest_minor: Minor | None = None

    @model_validator(mode="after")
    def _in_order(self) -> RandomAmount:
        if self.largest_minor is not None and self.largest_minor < self.smallest_minor:
            raise ValueError("largest_minor is less than smallest_minor")
        return self


Discount = Annotated[
    AmountOff | PercentOff | ProductOff | StoredValue | RandomAmount, Field(discriminator="kind")
]


class Scope(_Part):
    """Which lines count towards the discount and the minimum, and where; null: all."""

    products: Annotated[tuple[Reference, ...] | None, Field(max_length=10_000)] = None
    categories: Annotated[tuple[Reference, ...] | None, Field(max_length=1_000)] = None
    stores: Annotated[tuple[Reference, ...] | None, Field(max_length=10_000)] = None

    @property
    def by_line(self) -> bool:
        """Whether it takes the order's lines to say what is eligible."""
        return self.products is not None or self.categories is not None


class Absolute(_Part):
    """Good from one moment until another, which is no longer in it."""

    kind: Literal["absolute"]
    valid_from: Time | None = None
    valid_until: Time | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Absolute:
        if self.valid_from and self.valid_until and self.valid_from >= self.valid_until:
            raise ValueError("valid_from must be before valid_until")
        return self


class AfterIssue(_Part):
    """Good from its issue on: to the end of the local day so many days later, or for so many hours."""

    kind: Literal["after_issue"]
    days: Annotated[int, Field(ge=0, le=36_500)] | None = None
    hours: Annotated[int, Field(ge=1, le=876_000)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> AfterIssue:
        if (self.days is None) == (self.hours is None):
            raise ValueError("say either days or hours")
        return self


Validity = Annotated[Absolute | AfterIssue, Field(discriminator="kind")]


class Window(_Part):
    """Days of the week and hours, in the campaign's time zone; `until` is no longer in it, 00:00 is midnight.

    A window that ends before it begins goes on into the next day.
    """

    days: Annotated[tuple[Day, ...], Field(min_length=1, max_length=7)] = DAYS
    begins: time = Field(time(0), alias="from")
    until: time = time(0)

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)

    @field_validator("begins", "until")
    @classmethod
    def _local(cls, value: time) -> time:
        if value.tzinfo is not None:
            raise ValueError("hours are local: without an offset")
        return value


Windows = Annotated[tuple[Window, ...], Field(max_length=50)]


class Limits(_Part):
    """How often, in each calendar period; null: as often as they like, zero: not at all."""

    total: Count | None = None
    day: Count | None = None
    week: Count | None = None
    month: Count | None = None

    def items(self) -> list[tuple[Period, int]]:
        """The limits that there are."""
        named: tuple[tuple[Period, int | None], ...] = (
            ("total", self.total),
            ("day", self.day),
            ("week", self.week),
            ("month", self.month),
        )
        return [(period, limit) for period, limit in named if limit is not None]


Stacking = Literal["alone", "one_per_campaign", "any"]


class Terms(_Part):
    """What a campaign promises."""

    discount: Discount
    starts_at: Time | None = Field(None, description="Vouchers are handed out from then on.")
    ends_at: Time | None = Field(None, description="And no longer from then on; what people hold stays good.")
    minimum_spend_minor: Minor = Field(0, description="What the eligible lines must cost together.")
    scope: Scope = Scope()
    validity: Validity | None = Field(None, description="Null: as long as the campaign is not ended.")
    claim_windows: Windows | None = Field(None, description="When vouchers can be claimed; null: always.")
    redemption_windows: Windows | None = Field(None, description="When they can be used; null: always.")
    claims_per_customer: Limits = Limits()
    redemptions_per_customer: Limits = Limits()
    claims_per_day: Count | None = Field(None, description="By all customers together.")
    redemptions_per_day: Count | None = Field(None, description="By all customers together.")
    uses_per_voucher: Count | None = Field(
        1, description="Null: as often as they like, as with a public code."
    )
    stacking: Stacking = Field(
        "one_per_campaign",
        description="`alone`: no other voucher on the order; `one_per_campaign`: no other of this one.",
    )
    transferable: bool = Field(False, description="Whether somebody else than its holder may use a voucher.")
    reservation_seconds: Annotated[int, Field(ge=1, le=30 * 86_400)] = Field(
        900, description="How long a reservation holds when the request does not say."
    )
    codes: CodeFormat = CodeFormat()
    from_pool: bool = Field(
        False, description="Hand out codes that were generated or brought before, and only those."
    )
    time_zone: Annotated[str, Field(max_length=80)]

    @field_validator("time_zone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("an IANA time zone, such as Asia/Shanghai") from None
        return value

    @model_validator(mode="after")
    def _possible(self) -> Terms:
        if self.starts_at and self.ends_at and self.starts_at >= self.ends_at:
            raise ValueError("starts_at must be before ends_at")
        if isinstance(self.discount, ProductOff) and self.discount.value_minor is None and self.scope.by_line:
            raise ValueError("a product's own id is its scope: leave products and categories out")
        return self

    @property
    def max_uses(self) -> int | None:
        """Uses of a voucher. A balance is used bit by bit, and is its own limit."""
        return None if isinstance(self.discount, StoredValue) else self.uses_per_voucher
