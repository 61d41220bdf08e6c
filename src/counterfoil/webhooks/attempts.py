"""Attempts: claimed for a while by one worker, sent by it, and recorded with what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from counterfoil.db.transactions import Tx
from counterfoil.webhooks.rules import FAILING_FOR, LEASE, next_attempt
from counterfoil.webhooks.sending import Answer

PER_ENDPOINT: Final = 5
"""Attempts at one endpoint at a time, for each worker; fewer at one that fails, until it succeeds."""
AT_ENDPOINT_THAT_FAILS: Final = 1


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this worker is to attempt now, with all that the attempt needs."""

    delivery_id: UUID
    number: int
    """Which attempt it is. Another worker's later claim has a higher one."""
    since_restart: int
    """Which attempt of the schedule it is, from 1."""
    endpoint_id: UUID
    failing: bool
    """Whether the endpoint's last attempts failed."""
    url: str
    secrets: tuple[str, ...]
    merchant: str
    message_id: str
    type: str
    subject: str
    occurred_at: datetime
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt and how it ended."""

    claimed: Claimed
    at: datetime
    answer: Answer


_CLAIM: Final = f"""
    WITH due AS (
        SELECT id FROM (
            SELECT one.id, one.next_attempt_at, e.failing_since IS NOT NULL AS failing,
                   row_number() OVER (PARTITION BY e.failing_since IS NULL ORDER BY one.next_attempt_at)
                       AS place
            FROM webhook_endpoints e
            LEFT JOIN unnest(CAST(:busy AS uuid[]), CAST(:running AS int[])) AS b (endpoint_id, running)
              ON b.endpoint_id = e.id
            CROSS JOIN LATERAL (
                SELECT d.id, d.next_attempt_at FROM webhook_deliveries d
                WHERE d.endpoint_id = e.id AND d.state = 'waiting' AND d.next_attempt_at <= :now
                ORDER BY d.next_attempt_at
                LIMIT greatest(0, CASE WHEN e.failing_since IS NULL THEN {PER_ENDPOINT}
                                       ELSE {AT_ENDPOINT_THAT_FAILS} END - coalesce(b.running, 0))
                FOR UPDATE SKIP LOCKED
            ) one
            WHERE e.disabled_at IS NULL
        ) ranked
        WHERE NOT failing OR place <= :most_failing
        ORDER BY next_attempt_at LIMIT :most
    ), claimed AS (
        UPDATE webhook_deliveries d SET attempts = attempts + 1, next_attempt_at = :lease_ends
        FROM due WHERE d.id = due.id
        RETURNING d.id, d.attempts, d.restarted_at_attempt, d.endpoint_id, d.merchant_id, d.message_id
    )
    SELECT c.id, c.attempts, c.attempts - c.restarted_at_attempt AS since_restart, c.endpoint_id,
           e.url, e.secret, CASE WHEN e.previous_secret_until > :now THEN e.previous_secret END AS previous,
           e.failing_since IS NOT NULL AS failing, m.reference,
           w.id AS message_id, w.type, w.subject, w.occurred_at, w.data
    FROM claimed c
    JOIN webhook_endpoints e ON e.id = c.endpoint_id
    JOIN merchants m ON m.id = c.merchant_id
    JOIN webhook_messages w ON w.merchant_id = c.merchant_id AND w.id = c.message_id"""


async def claim(
    tx: Tx, *, most: int, most_failing: int | None = None, running: Mapping[UUID, int], now: datetime
) -> list[Claimed]:
    """Deliveries that are due, for this worker alone until `LEASE` is over; the longest due first.

    Not more than `PER_ENDPOINT` of one endpoint, with those that are `running`: a slow receiver, or one with
    a long queue, does not hold up the others. Not more than `most_failing` of all endpoints that fail: nor do
    many that never answer.
    """
    rows = await tx.all(
        _CLAIM,
        {
            "busy": list(running),
            "running": list(running.values()),
            "most": most,
            "most_failing": most if most_failing is None else most_failing,
            "now": now,
            "lease_ends": now + LEASE,
        },
    )
    return [
        Claimed(
            delivery_id=row.id,
            number=row.attempts,
            since_restart=row.since_restart,
            endpoint_id=row.endpoint_id,
            failing=row.failing,
            url=row.url,
            secrets=tuple(filter(None, (row.secret, row.previous))),
            merchant=row.reference,
            message_id=row.message_id,
            type=row.type,
            subject=row.subject,
            occurred_at=row.occurred_at,
            data=row.data,
        )
        for row in rows
    ]


_RECORD: Final = """
    WITH ended AS (
        SELECT * FROM unnest(
            CAST(:ids AS uuid[]), CAST(:numbers AS int[]), CAST(:ats AS timestamptz[]),
            CAST(:states AS text[]), CAST(:nexts AS timestamptz[]), CAST(:statuses AS int[]),
            CAST(:errors AS text[]), CAST(:times AS int[]), CAST(:responses AS text[]))
        AS t (id, number, at, state, next_attempt_at, status, error, milliseconds, response)
    ), logged AS (
        INSERT INTO webhook_attempts (delivery_id, number, at, status, error, milliseconds, response)
        SELECT e.id, e.number, e.at, e.status, e.error, e.milliseconds, e.response
        FROM ended e JOIN webhook_deliveries d ON d.id = e.id
        ON CONFLICT (delivery_id, number) DO NOTHING
    )
    UPDATE webhook_deliveries d
    SET state = e.state, next_attempt_at = e.next_attempt_at, last_status = e.status, last_error = e.error,
        last_milliseconds = e.milliseconds, last_response = e.response
    FROM ended e
    -- A claim that ran out decides no more, except that what was delivered is delivered.
    WHERE d.id = e.id AND d.state = 'waiting' AND (d.attempts = e.number OR e.state = 'delivered')"""


async def record(tx: Tx, *, ended: Sequence[Ended], now: datetime) -> None:
    """Write down how attempts ended: delivered, to be tried again by the schedule, or given up.

    An endpoint that answers 410 Gone is disabled, and one at which everything has failed for `FAILING_FOR`.
    """
    if not ended:
        return
    ids = [e.claimed.delivery_id for e in ended]
    # Whoever deletes an endpoint or a message waits, and what was deleted meanwhile is not written of.
    await tx.execute(
        "SELECT FROM webhook_endpoints WHERE id = ANY(:ids) ORDER BY id FOR KEY SHARE",
        {"ids": [e.claimed.endpoint_id for e in ended]},
    )
    await tx.execute(
        "SELECT FROM webhook_deliveries WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE", {"ids": ids}
    )
    rows = [_outcome(e) for e in ended]
    await tx.execute(
        _RECORD,
        {
            "ids": ids,
            "numbers": [e.claimed.number for e in ended],
            "ats": [e.at for e in ended],
            "states": [state for state, _ in rows],
            "nexts": [moment for _, moment in rows],
            "statuses": [e.answer.status for e in ended],
            "errors": [e.answer.error for e in ended],
            "times": [e.answer.milliseconds for e in ended],
            "responses": [e.answer.response for e in ended],
        },
    )
    await _judge(tx, ended, now)


def _outcome(ended: Ended) -> tuple[str, datetime | None]:
    """The state that follows, and when the next attempt is."""
    if ended.answer.delivered:
        return "delivered", None
    again = next_attempt(
        attempts=ended.claimed.since_restart, now=ended.at, retry_after=ended.answer.retry_after
    )
    return ("failed", None) if again is None else ("waiting", again)


_JUDGE: Final = """
    WITH locked AS (
        SELECT id FROM webhook_endpoints
        WHERE id = ANY(:ok) AND failing_since IS NOT NULL
           OR id = ANY(:bad) AND (failing_since IS NULL OR failing_since <= :too_long)
           OR id = ANY(:gone)
        ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE webhook_endpoints e
    SET failing_since = CASE WHEN e.id = ANY(:ok) THEN NULL ELSE coalesce(failing_since, :now) END,
        disabled_at = CASE WHEN e.id = ANY(:gone) OR e.id = ANY(:bad) AND failing_since <= :too_long
                           THEN coalesce(disabled_at, :now) ELSE disabled_at END,
        disabled_reason = CASE WHEN disabled_at IS NOT NULL THEN disabled_reason
                               WHEN e.id = ANY(:gone) THEN 'gone'
                               WHEN e.id = ANY(:bad) AND failing_since <= :too_long THEN 'failing' END
    FROM locked WHERE e.id = locked.id"""


async def _judge(tx: Tx, ended: Sequence[Ended], now: datetime) -> None:
    """What the attempts say of their endpoints. One success among failures is a success."""
    ok = {e.claimed.endpoint_id for e in ended if e.answer.delivered}
    bad = {e.claimed.endpoint_id for e in ended} - ok
    gone = {e.claimed.endpoint_id for e in ended if e.answer.status == 410}
    await tx.execute(
        _JUDGE,
        {"ok": list(ok), "bad": list(bad), "gone": list(gone), "too_long": now - FAILING_FOR, "now": now},
    )
