"""Messages and their deliveries: fanned out once, replayed on demand, forgotten when they are old."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from counterfoil.db.transactions import Tx
from counterfoil.errors import NotFoundError
from counterfoil.ids import format_id, new_id
from counterfoil.webhooks import endpoints
from counterfoil.webhooks.rules import message_id, wants

PRUNED_AT_ONCE: Final = 10_000
"""Messages that are deleted in one transaction, at most."""

_ENDPOINTS: Final = """
    SELECT id, events FROM webhook_endpoints
    WHERE merchant_id = :merchant_id AND disabled_at IS NULL
      AND (CAST(:endpoint_id AS uuid) IS NULL OR id = :endpoint_id)
    ORDER BY id FOR KEY SHARE"""

_MESSAGES: Final = """
    INSERT INTO webhook_messages (merchant_id, id, type, subject, occurred_at, data, recorded_at)
    SELECT :merchant_id, e.id, e.type, e.subject, e.time, e.data, :now
    FROM jsonb_to_recordset(CAST(:events AS jsonb))
         AS e (id text, type text, time timestamptz, subject text, data jsonb)
    ORDER BY e.id
    ON CONFLICT (merchant_id, id) DO NOTHING"""

_DELIVERIES: Final = """
    INSERT INTO webhook_deliveries (id, merchant_id, endpoint_id, message_id, next_attempt_at, created_at)
    SELECT d.id, :merchant_id, d.endpoint_id, d.message_id, :now, :now
    FROM unnest(CAST(:ids AS uuid[]), CAST(:endpoints AS uuid[]), CAST(:messages AS text[]))
         AS d (id, endpoint_id, message_id)
    ORDER BY d.message_id, d.endpoint_id
    ON CONFLICT (merchant_id, message_id, endpoint_id) DO NOTHING"""


async def fan_out(
    tx: Tx,
    *,
    merchant_id: UUID,
    events: Sequence[dict[str, Any]],
    endpoint_id: UUID | None = None,
    now: datetime,
) -> int:
    """Keep each event that somebody wants, and one delivery for each enabled endpoint that wants it.

    `endpoint_id`: to this endpoint alone, whatever it wants. Doing it again adds nothing. Returns the number
    of new deliveries.
    """
    events = [{**event, "id": message_id(event["id"])} for event in events]
    found = await tx.all(_ENDPOINTS, {"merchant_id": merchant_id, "endpoint_id": endpoint_id})
    pairs = [
        (endpoint.id, event["id"])
        for event in events
        for endpoint in found
        if endpoint_id is not None or wants(tuple(endpoint.events), event["type"])
    ]
    if not pairs:
        return 0
    wanted = {message for _, message in pairs}
    kept = [event for event in events if event["id"] in wanted]
    await tx.execute(_MESSAGES, {"merchant_id": merchant_id, "events": json.dumps(kept), "now": now})
    made = await tx.execute(
        _DELIVERIES,
        {
            "merchant_id": merchant_id,
            "ids": [new_id() for _ in pairs],
            "endpoints": [endpoint for endpoint, _ in pairs],
            "messages": [message for _, message in pairs],
            "now": now,
        },
    )
    return made.rowcount


_REPLAY: Final = """
    UPDATE webhook_deliveries d
    SET state = 'waiting', next_attempt_at = :now, restarted_at_attempt = attempts
    FROM webhook_endpoints e
    WHERE e.id = d.endpoint_id AND e.disabled_at IS NULL AND d.merchant_id = :merchant_id"""


async def replay(tx: Tx, *, merchant_id: UUID, delivery_id: UUID, now: datetime) -> None:
    """Send a delivery again now, with the same message id; its schedule begins anew.

    Raises `NotFoundError`, and `ConflictError` where its endpoint is disabled.
    """
    values = {"merchant_id": merchant_id, "delivery_id": delivery_id, "now": now}
    if await tx.first(f"{_REPLAY} AND d.id = :delivery_id RETURNING d.id", values) is not None:
        return
    row = await tx.first(
        "SELECT endpoint_id FROM webhook_deliveries WHERE id = :delivery_id AND merchant_id = :merchant_id",
        {"merchant_id": merchant_id, "delivery_id": delivery_id},
    )
    if row is None:
        raise not_found(delivery_id)
    raise endpoints.disabled(row.endpoint_id)


async def replay_failed(
    tx: Tx, *, merchant_id: UUID, endpoint_id: UUID, since: datetime, now: datetime
) -> int:
    """Send all again that an endpoint has not got since then and that were given up; returns how many.

    Raises `NotFoundError`, and `ConflictError` for an endpoint that is disabled.
    """
    endpoint = await endpoints.get(tx, merchant_id=merchant_id, endpoint_id=endpoint_id)
    if endpoint.disabled_at is not None:
        raise endpoints.disabled(endpoint_id)
    statement = (
        f"{_REPLAY} AND d.endpoint_id = :endpoint_id AND d.state = 'failed' AND d.created_at >= :since"
    )
    values = {"merchant_id": merchant_id, "endpoint_id": endpoint_id, "since": since, "now": now}
    return (await tx.execute(statement, values)).rowcount


def not_found(delivery_id: UUID) -> NotFoundError:
    """What is raised for a delivery that is not there, or is another merchant's."""
    return NotFoundError(
        f"There is no webhook delivery {format_id('webhook_delivery', delivery_id)!r}.",
        code="webhook_delivery_not_found",
    )


async def prune(tx: Tx, *, before: datetime) -> int:
    """Forget messages that were recorded before then, with their deliveries, whatever their state.

    At most `PRUNED_AT_ONCE` of them; returns how many, so that the caller knows whether there are more.
    """
    statement = """
        DELETE FROM webhook_messages WHERE (merchant_id, id) IN (
            SELECT merchant_id, id FROM webhook_messages WHERE recorded_at < :before
            ORDER BY recorded_at LIMIT :most FOR UPDATE SKIP LOCKED)"""
    return (await tx.execute(statement, {"before": before, "most": PRUNED_AT_ONCE})).rowcount
