"""Endpoints: made with a secret that is shown once, changed, rotated, switched off and on, tested."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Update, delete, func, insert, select, update

from counterfoil.db.outbox import publish
from counterfoil.db.transactions import ReadTx, Tx
from counterfoil.errors import ConflictError, FieldError, InvalidError, NotFoundError, RefusedError
from counterfoil.ids import format_id, new_id
from counterfoil.webhooks.rules import BOTH_SECRETS_FOR
from counterfoil.webhooks.tables import webhook_endpoints as table
from counterfoil.webhooks.types import EVENT_TYPES, Endpoint

MOST_ENDPOINTS: Final = 50
"""Endpoints of one merchant: every event is sent to each of them."""

_SHOWN: Final = [table.c[field.name] for field in fields(Endpoint)]


def _endpoint(row: Row[Any]) -> Endpoint:
    return Endpoint(**{**row._mapping, "events": tuple(row.events)})


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _checked(events: Iterable[str]) -> list[str]:
    wanted = list(dict.fromkeys(events))
    unknown = [name for name in wanted if name not in EVENT_TYPES]
    if unknown:
        problem = FieldError("/events", "event_type_unknown", f"Choose from: {', '.join(EVENT_TYPES)}.")
        detail = f"Not a type of event: {', '.join(unknown)}."
        raise InvalidError(detail, code="event_type_unknown", errors=(problem,))
    return wanted


def not_found(endpoint_id: UUID) -> NotFoundError:
    """What is raised for an endpoint that is not there, or is another merchant's."""
    return NotFoundError(
        f"There is no webhook endpoint {format_id('webhook_endpoint', endpoint_id)!r}.",
        code="webhook_endpoint_not_found",
    )


async def create(
    tx: Tx, *, merchant_id: UUID, url: str, events: Iterable[str] = (), description: str = "", now: datetime
) -> tuple[Endpoint, str]:
    """A new endpoint and its secret, which is shown now and never again. Check the URL with the guard first.

    Raises `InvalidError` for a type of event that there is not, `RefusedError` when there are too many.
    """
    wanted = _checked(events)
    # One at a time for each merchant, so that their number is what it says.
    await tx.execute("SELECT FROM merchants WHERE id = :m FOR NO KEY UPDATE", {"m": merchant_id})
    count = select(func.count()).select_from(table).where(table.c.merchant_id == merchant_id)
    if await tx.scalar(count) >= MOST_ENDPOINTS:
        raise RefusedError(
            f"A merchant has at most {MOST_ENDPOINTS} endpoints; delete one first.",
            code="webhook_endpoints_too_many",
        )
    secret = _new_secret()
    values = {"url": url, "events": wanted, "description": description, "secret": secret}
    statement = insert(table).values(id=new_id(), merchant_id=merchant_id, created_at=now, **values)
    return _endpoint((await tx.execute(statement.returning(*_SHOWN))).one()), secret


async def get(tx: ReadTx, *, merchant_id: UUID, endpoint_id: UUID) -> Endpoint:
    """An endpoint of this merchant; `NotFoundError` for anybody else's."""
    row = await tx.first(select(*_SHOWN).where(table.c.merchant_id == merchant_id, table.c.id == endpoint_id))
    if row is None:
        raise not_found(endpoint_id)
    return _endpoint(row)


async def list_all(tx: ReadTx, *, merchant_id: UUID) -> list[Endpoint]:
    """The endpoints of a merchant, the oldest first. There are few."""
    statement = select(*_SHOWN).where(table.c.merchant_id == merchant_id)
    return [_endpoint(row) for row in await tx.all(statement.order_by(table.c.created_at, table.c.id))]


def _update(merchant_id: UUID, endpoint_id: UUID) -> Update:
    return update(table).where(table.c.merchant_id == merchant_id, table.c.id == endpoint_id)


async def change(
    tx: Tx,
    *,
    merchant_id: UUID,
    endpoint_id: UUID,
    url: str | None = None,
    events: Iterable[str] | None = None,
    description: str | None = None,
    enabled: bool | None = None,
    now: datetime,
) -> Endpoint:
    """Change what is not None. Check another URL with the guard first.

    What waits at a disabled endpoint stays, and goes on when it is enabled. What it failed before it was
    enabled, or given another URL, is forgiven. Raises `NotFoundError`, and `InvalidError` as `create` does.
    """
    values: dict[str, Any] = {}
    if url is not None:
        values |= {"url": url, "failing_since": None}
    if events is not None:
        values |= {"events": _checked(events)}
    if description is not None:
        values |= {"description": description}
    if enabled is True:
        values |= {"disabled_at": None, "disabled_reason": None, "failing_since": None}
    if enabled is False:
        # The first reason stays: switching off what is off changes nothing.
        values["disabled_at"] = func.coalesce(table.c.disabled_at, now)
        values["disabled_reason"] = func.coalesce(table.c.disabled_reason, "by_hand")
    if not values:
        return await get(tx, merchant_id=merchant_id, endpoint_id=endpoint_id)
    row = await tx.first(_update(merchant_id, endpoint_id).values(values).returning(*_SHOWN))
    if row is None:
        raise not_found(endpoint_id)
    return _endpoint(row)


async def rotate_secret(
    tx: Tx, *, merchant_id: UUID, endpoint_id: UUID, now: datetime
) -> tuple[Endpoint, str]:
    """Another secret, shown now and never again; the one before signs as well for 24 hours.

    Only that one: rotating twice ends at once what has leaked. `NotFoundError` if there is no endpoint.
    """
    secret = _new_secret()
    statement = _update(merchant_id, endpoint_id).values(
        secret=secret, previous_secret=table.c.secret, previous_secret_until=now + BOTH_SECRETS_FOR
    )
    row = await tx.first(statement.returning(*_SHOWN))
    if row is None:
        raise not_found(endpoint_id)
    return _endpoint(row), secret


async def remove(tx: Tx, *, merchant_id: UUID, endpoint_id: UUID) -> None:
    """Delete an endpoint with its deliveries; `NotFoundError` if there is none."""
    statement = delete(table).where(table.c.merchant_id == merchant_id, table.c.id == endpoint_id)
    if await tx.first(statement.returning(table.c.id)) is None:
        raise not_found(endpoint_id)


def disabled(endpoint_id: UUID) -> ConflictError:
    """What is raised where something was to be sent to a disabled endpoint."""
    return ConflictError(
        f"The webhook endpoint {format_id('webhook_endpoint', endpoint_id)!r} is disabled; enable it first.",
        code="webhook_endpoint_disabled",
    )


async def test(tx: Tx, *, merchant_id: UUID, endpoint_id: UUID, now: datetime) -> str:
    """Send `webhook.test` to this endpoint alone, by the way of every event; returns the message's id.

    Raises `NotFoundError`, and `ConflictError` for one that is disabled.
    """
    endpoint = await get(tx, merchant_id=merchant_id, endpoint_id=endpoint_id)
    if endpoint.disabled_at is not None:
        raise disabled(endpoint_id)
    message_id, public_id = f"test_{new_id().hex}", format_id("webhook_endpoint", endpoint_id)
    event = {
        "id": message_id,
        "type": "webhook.test",
        "time": now.isoformat(),
        "subject": public_id,
        "data": {"endpoint_id": public_id, "url": endpoint.url},
    }
    payload = {"merchant_id": str(merchant_id), "endpoint_id": str(endpoint_id), "events": [event]}
    await publish(tx, "vouchers.changed", payload)
    return message_id
