"""What screens and the API read of deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Select, func, select

from counterfoil.db.paging import Page, decode_cursor, invalid_cursor, page_of
from counterfoil.db.transactions import ReadTx
from counterfoil.webhooks import envelope
from counterfoil.webhooks.deliveries import not_found
from counterfoil.webhooks.tables import webhook_attempts as attempts
from counterfoil.webhooks.tables import webhook_deliveries as deliveries
from counterfoil.webhooks.tables import webhook_endpoints as endpoints
from counterfoil.webhooks.tables import webhook_messages as messages
from counterfoil.webhooks.types import Attempt, Delivery


@dataclass(frozen=True, slots=True)
class DeliveryDetail:
    """A delivery with the body that is sent, and every attempt that ended, the first first."""

    delivery: Delivery
    body: str
    attempts: tuple[Attempt, ...]


_JOINED: Final = deliveries.join(endpoints, endpoints.c.id == deliveries.c.endpoint_id).join(
    messages,
    (messages.c.merchant_id == deliveries.c.merchant_id) & (messages.c.id == deliveries.c.message_id),
)


def _selected(merchant_id: UUID, *more: Any) -> Select[Any]:
    c = deliveries.c
    own = (c.id, c.endpoint_id, c.message_id, c.state, c.attempts, c.next_attempt_at)
    last = (c.last_status, c.last_error, c.created_at)
    named = (endpoints.c.url, messages.c.type, messages.c.subject)
    return select(*own, *last, *named, *more).select_from(_JOINED).where(c.merchant_id == merchant_id)


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(**{name: row._mapping[name] for name in Delivery.__slots__})


async def list_deliveries(
    tx: ReadTx,
    *,
    merchant_id: UUID,
    endpoint_id: UUID | None = None,
    state: str | None = None,
    message_id: str | None = None,
    limit: int,
    cursor: str | None = None,
) -> Page[Delivery]:
    """Deliveries, the newest first."""
    c = deliveries.c
    statement = _selected(merchant_id).order_by(c.id.desc()).limit(limit + 1)
    if endpoint_id is not None:
        statement = statement.where(c.endpoint_id == endpoint_id)
    if state is not None:
        statement = statement.where(c.state == state)
    if message_id is not None:
        statement = statement.where(c.message_id == message_id)
    if cursor is not None:
        statement = statement.where(c.id < _after(cursor))
    rows = [_delivery(row) for row in await tx.all(statement)]
    return page_of(rows, limit=limit, key=lambda delivery: (str(delivery.id),))


def _after(cursor: str) -> UUID:
    (text,) = decode_cursor(cursor, kinds=(str,))
    try:
        return UUID(text)
    except ValueError as error:
        raise invalid_cursor() from error


async def get_delivery(tx: ReadTx, *, merchant_id: UUID, delivery_id: UUID) -> DeliveryDetail:
    """A delivery of this merchant; `NotFoundError` for anybody else's."""
    more = (messages.c.occurred_at, messages.c.data)
    row = await tx.first(_selected(merchant_id, *more).where(deliveries.c.id == delivery_id))
    if row is None:
        raise not_found(delivery_id)
    columns = [attempts.c[name] for name in Attempt.__slots__]
    logged = select(*columns).where(attempts.c.delivery_id == delivery_id).order_by(attempts.c.number)
    body = envelope.body(
        merchant=await tx.scalar("SELECT reference FROM merchants WHERE id = :m", {"m": merchant_id}),
        message_id=row.message_id,
        event_type=row.type,
        subject=row.subject,
        time=row.occurred_at,
        data=row.data,
    )
    return DeliveryDetail(
        _delivery(row), body, tuple(Attempt(**found._mapping) for found in await tx.all(logged))
    )


@dataclass(frozen=True, slots=True)
class Undelivered:
    """What an endpoint has not got: messages that still wait, and those that were given up."""

    waiting: int = 0
    failed: int = 0


async def undelivered(tx: ReadTx, *, merchant_id: UUID) -> dict[UUID, Undelivered]:
    """What each endpoint of a merchant has not got; an endpoint that has all is left out."""
    c = deliveries.c
    statement = (
        select(
            c.endpoint_id,
            func.count().filter(c.state == "waiting").label("waiting"),
            func.count().filter(c.state == "failed").label("failed"),
        )
        .where(c.merchant_id == merchant_id, c.state != "delivered")
        .group_by(c.endpoint_id)
    )
    return {row.endpoint_id: Undelivered(row.waiting, row.failed) for row in await tx.all(statement)}
