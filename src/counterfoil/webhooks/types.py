"""Words of this room."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args
from uuid import UUID

EventType = Literal[
    "voucher.issued",
    "voucher.reserved",
    "voucher.released",
    "voucher.redeemed",
    "voucher.reversed",
    "voucher.voided",
    "voucher.expired",
    "campaign.activated",
    "campaign.paused",
    "campaign.resumed",
    "campaign.stopped",
    "campaign.ended",
    "campaign.sold_out",
    "campaign.budget_exhausted",
    "points.credited",
    "points.debited",
    "points.promised",
    "points.held",
    "points.voided",
    "points.reversed",
    "points.expiring",
    "points.expired",
    "partner_file.received",
    "partner_file.rejected",
    "partner_file.credited",
    "partner_file.answered",
    "webhook.test",
]
"""What an endpoint can be told of. `webhook.test` goes to the endpoint that is tested, and to no other."""

EVENT_TYPES: Final[tuple[EventType, ...]] = get_args(EventType)

DeliveryState = Literal["waiting", "delivered", "failed"]
"""`waiting`: for its first attempt or the next one; `failed`: given up, until somebody replays it."""

DisabledReason = Literal["failing", "gone", "by_hand"]
"""Why nothing is sent: everything failed for days; it answered 410 Gone; somebody switched it off."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL that is told of events, as it is shown: without its secrets."""

    id: UUID
    merchant_id: UUID
    url: str
    events: tuple[str, ...]
    """Types that it wants; empty: all."""
    description: str
    disabled_at: datetime | None
    disabled_reason: DisabledReason | None
    failing_since: datetime | None
    """Since when every attempt has failed; None after a success."""
    previous_secret_until: datetime | None
    """Until when the secret before the last rotation signs as well."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, as its publisher tells it. The id is unique among the merchant's."""

    id: str
    type: str
    time: datetime
    subject: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way to an endpoint, and how the last attempt went."""

    id: UUID
    endpoint_id: UUID
    url: str
    message_id: str
    type: str
    subject: str
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that ended: with an HTTP status, or with an error before there was one."""

    number: int
    at: datetime
    status: int | None
    error: str | None
    milliseconds: int
    response: str | None
    """How the answer's body began."""
