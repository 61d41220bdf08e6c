"""What the routes of points take and answer, where several of them share it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from counterfoil.api.context import Acting, acting
from counterfoil.db.records import Time
from counterfoil.errors import NotFoundError
from counterfoil.ids import format_id, parse_id
from counterfoil.points.refusals import REFUSALS
from counterfoil.points.types import PendingState, Source

MOST_IN_LIST: Final = 5_000
"""Transfers, orders and so on in one request."""
LARGEST: Final = 10**12
"""Points of one transfer, and minor units of one order."""
_NOBODYS: Final = UUID(int=0)

Reading = Annotated[Acting, Depends(acting("points:read"))]
Writing = Annotated[Acting, Depends(acting("points:write"))]
CustomerId = Annotated[
    str, Path(description="The member's id in the shop.", max_length=200, pattern=r"^[^\x00]*$")
]


def _not_zero(points: int) -> int:
    if points == 0:
        raise ValueError("a transfer moves something: positive to the member, negative from the member")
    return points


def _of_our_time(moment: datetime) -> datetime:
    if not 1970 <= moment.year < 3000:
        raise ValueError("a time must be within the years 1970 to 2999")
    return moment


def _public(value: object) -> object:
    return format_id("transfer", value) if isinstance(value, UUID) else value


Points = Annotated[int, Field(strict=True, ge=1, le=LARGEST)]
SignedPoints = Annotated[
    int,
    Field(
        strict=True,
        ge=-LARGEST,
        le=LARGEST,
        description="Positive: to the member; negative: from the member.",
        json_schema_extra={"not": {"const": 0}},
    ),
    AfterValidator(_not_zero),
]
Minor = Annotated[
    int, Field(strict=True, ge=0, le=LARGEST, description="Minor units of the merchant's currency.")
]
Moment = Annotated[Time, AfterValidator(_of_our_time)]
Named = Annotated[str, Field(max_length=200, description="A `transfer_id`.")]
"""A transfer that is named in a list."""
_TransferId = Annotated[str, BeforeValidator(_public)]


class Wanted(BaseModel):
    """Base of what is asked for: a misspelt field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Outcome(BaseModel):
    """What became of one thing that was asked for."""

    code: str = Field(description="Stable; see docs/errors.md.")
    ok: bool = Field(description="Whether it is done, now or before.")
    repeated: bool = Field(description="It had been decided before: this is the first answer again.")
    detail: str | None = Field(description="Why not; null where it is done.")


class TransferAnswer(BaseModel):
    """A transfer, with both of its sides and the member's balance after it."""

    model_config = ConfigDict(from_attributes=True)

    transfer_id: _TransferId
    customer_id: str
    source: Source = Field(description="What stands on the other side.")
    source_name: str = Field(description="Which partner; empty for the other sources.")
    reference: str | None = Field(description="Null: it follows from another transfer, or from time.")
    points: int = Field(description="Positive: to the member; negative: from the member.")
    balance: int | None = Field(description="The member's balance after it; null: it is pending.")
    version: int | None = Field(description="The how-manieth of the account it is; null: it is pending.")
    order_id: str | None
    amount_minor: int | None = Field(description="What was paid for them, or what they took off an order.")
    note: str | None
    expires_at: datetime | None = Field(description="Of a credit: when its points expire; null: never.")
    reverses: _TransferId | None = Field(description="The transfer that this one undoes.")
    settles: _TransferId | None = Field(description="The pending transfer that this one carries out.")
    reversed_points: int = Field(description="How much of it was undone by others, without sign.")
    state: PendingState = Field(description="`posted`; or of a pending transfer what became of it.")
    due_at: datetime | None = Field(
        description="Of a pending one: when promised points are credited, or a hold is released."
    )
    posted_at: datetime


def public_id(transfer_id: UUID | None) -> str | None:
    """A transfer's id as programs know it."""
    return None if transfer_id is None else format_id("transfer", transfer_id)


def uuid_in_list(transfer_id: str) -> UUID:
    """The id of a transfer that stands in a list: what is no id finds nothing, and keeps no other out."""
    try:
        return parse_id("transfer", transfer_id)
    except NotFoundError:
        return _NOBODYS


def why(code: str) -> str | None:
    """The sentence of a refusal; None where it is done."""
    return REFUSALS[code][1] if code in REFUSALS else None
