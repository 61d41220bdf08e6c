"""What can be asked of vouchers, and the one shape in which each request is answered.

These are msgspec structures: the busiest routes read and write nothing else. Text is checked for what the
database cannot keep; ids of others (customers, stores, orders) are kept as they come.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from counterfoil.vouchers.types import Verb, VoucherState

Id = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Text = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00]+$")]
Minor = Annotated[int, Meta(ge=0, le=10**15, description="Minor units of the merchant's currency.")]
MOST_LINES: Final = 500


class _Request(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all requests: unknown fields are errors, so that a misspelt one is not lost in silence."""


class OrderLine(_Request, frozen=True):
    """A line of the order; `amount_minor` is what all of its units cost together."""

    line_id: Id
    amount_minor: Minor
    product_id: Id | None = None
    category: Id | None = None
    quantity: Annotated[int, Meta(ge=1, le=1_000_000)] = 1


class Claim(_Request, frozen=True):
    """Somebody wants a voucher of a campaign."""

    campaign_id: Id
    customer_id: Id | None = None
    channel: Text | None = None
    store_id: Id | None = None


class Issue(Claim, frozen=True):
    """The merchant hands out a voucher: to a customer, or (null) to whoever will have the code."""

    voucher_id: Annotated[Id | None, Meta(description="This code of the campaign's; null: the next.")] = None
    order_id: Annotated[Id | None, Meta(description="The order that bought the voucher.")] = None


Lines = Annotated[tuple[OrderLine, ...], Meta(max_length=MOST_LINES)]


class Validate(_Request, frozen=True):
    """Could this voucher be used on this order, and what would it take off?"""

    voucher_id: Id
    customer_id: Id | None = None
    store_id: Id | None = None
    order_id: Id | None = None
    amount_minor: Annotated[
        Minor | None, Meta(description="What the order costs; null: the sum of its lines.")
    ] = None
    lines: Lines | None = None


class Reserve(_Request, frozen=True):
    """Keep a use of this voucher for this order, for a while."""

    voucher_id: Id
    order_id: Id
    customer_id: Id | None = None
    store_id: Id | None = None
    amount_minor: Minor | None = None
    lines: Lines | None = None
    seconds: Annotated[int, Meta(ge=1, le=30 * 86_400)] | None = None
    """Null: as the campaign says."""


class Redeem(_Request, frozen=True):
    """A voucher was used on an order; it was paid by a transaction; one of both must be said."""

    voucher_id: Id
    order_id: Id | None = None
    transaction_id: Id | None = None
    customer_id: Id | None = None
    store_id: Id | None = None
    amount_minor: Minor | None = None
    lines: Lines | None = None


class Release(_Request, frozen=True):
    """The order came to nothing: give back what was reserved for it."""

    reservation_id: Id


class Reverse(_Request, frozen=True):
    """The order was given back, wholly or (with `line_ids`) in part."""

    redemption_id: Id
    line_ids: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=MOST_LINES)] | None = None
    reason: Text | None = None


class Void(_Request, frozen=True):
    """Make a voucher useless."""

    voucher_id: Id
    reason: Text
    restock: Annotated[bool, Meta(description="Let its place in the stock be handed out again.")] = False


R_co = TypeVar("R_co", covariant=True)


class Asked(NamedTuple, Generic[R_co]):
    """A request, and the merchant on whose behalf it is made."""

    merchant_id: UUID
    request: R_co


class Reason(Struct, frozen=True):
    """Why not."""

    code: str
    detail: str


class VoucherAnswer(Struct, frozen=True):
    """A voucher as it is after the request."""

    voucher_id: str
    campaign_id: str
    state: VoucherState
    customer_id: str | None
    valid_from: datetime | None
    valid_until: datetime | None
    uses: int
    max_uses: int | None
    amount_minor: int | None
    balance_minor: int | None


class LineDiscount(Struct, frozen=True):
    """What is taken off one line."""

    line_id: str
    discount_minor: int


class DiscountAnswer(Struct, frozen=True):
    """What is taken off, in all and of each line."""

    discount_minor: int
    lines: tuple[LineDiscount, ...] = ()


class ReservationAnswer(Struct, frozen=True):
    """A reservation."""

    reservation_id: str
    order_id: str
    state: str
    discount_minor: int
    expires_at: datetime


class RedemptionAnswer(Struct, frozen=True):
    """A redemption; `reversed_minor` of its discount was given back."""

    redemption_id: str
    order_id: str | None
    transaction_id: str | None
    discount_minor: int
    redeemed_at: datetime
    reversed_minor: int = 0


class ReversalAnswer(Struct, frozen=True):
    """A reversal; `whole`: the voucher got its use back."""

    reversal_id: str
    redemption_id: str
    discount_minor: int
    whole: bool


class Outcome(Struct, frozen=True, omit_defaults=True):
    """What became of one request: `code` is what happened, or the first reason why nothing did."""

    ok: bool
    code: str
    repeated: bool = False
    """Whether it had happened before: the first result is given again."""
    note: str | None = None
    """What else to know, such as `reservation_expired` where a late redemption was still possible."""
    reasons: tuple[Reason, ...] = ()
    voucher: VoucherAnswer | None = None
    discount: DiscountAnswer | None = None
    reservation: ReservationAnswer | None = None
    redemption: RedemptionAnswer | None = None
    reversal: ReversalAnswer | None = None


REQUESTS: Final[dict[Verb, type[_Request]]] = {
    "issue": Issue,
    "claim": Claim,
    "validate": Validate,
    "reserve": Reserve,
    "release": Release,
    "redeem": Redeem,
    "reverse": Reverse,
    "void": Void,
}
"""The request of each verb."""

DONE: Final[dict[Verb, str]] = {
    "issue": "issued",
    "claim": "claimed",
    "validate": "valid",
    "reserve": "reserved",
    "release": "released",
    "redeem": "redeemed",
    "reverse": "reversed",
    "void": "voided",
}
"""The code of a request that was done."""


def to_json(outcome: Outcome | Sequence[Outcome]) -> Any:
    """An outcome as plain JSON values, for events and commands."""
    return msgspec.to_builtins(outcome)
