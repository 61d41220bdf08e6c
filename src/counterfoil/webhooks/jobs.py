"""Jobs of this room: fanning events out, and sending what is due for as long as a worker runs."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import httpx
import structlog
from prometheus_client import Counter, Histogram
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.db.transactions import begin
from counterfoil.errors import RETRYABLE, CounterfoilError
from counterfoil.webhooks import attempts, deliveries, envelope, sending
from counterfoil.webhooks.addresses import Guard
from counterfoil.webhooks.attempts import Claimed, Ended

AT_ONCE: Final = 40
"""Attempts at a time, for each worker."""
AT_ENDPOINTS_THAT_FAIL: Final = AT_ONCE // 2
"""Of these, at endpoints that fail: if all of them hang, the other half still sends."""
LOOK_EVERY: Final = timedelta(milliseconds=500)
"""How often a worker with a free hand looks for what has become due."""

_attempts = Counter("counterfoil_webhook_attempts_total", "Attempts to send a webhook.", ("outcome",))
_seconds = Histogram("counterfoil_webhook_attempt_seconds", "Time an attempt at a webhook took.")
_log = structlog.get_logger(__name__)


async def fan_out_job(engine: AsyncEngine, payload: dict[str, Any]) -> None:
    """After vouchers or campaigns changed: keep the events, and who is to be told of them."""
    endpoint_id = payload.get("endpoint_id")
    async with begin(engine) as tx:
        await deliveries.fan_out(
            tx,
            merchant_id=UUID(payload["merchant_id"]),
            events=payload["events"],
            endpoint_id=None if endpoint_id is None else UUID(endpoint_id),
            now=clock.now(),
        )


async def send_webhooks(
    engine: AsyncEngine,
    stop: asyncio.Event | None,
    *,
    guard: Guard,
    now: Callable[[], datetime] = clock.now,
) -> None:
    """Send what is due until `stop` is set, and finish what is running; without it, until nothing is due.

    What is due is claimed in one transaction, sent outside of any, and recorded in the next. Where this
    process dies in between, the claim runs out and another sends it again.
    """
    running: dict[asyncio.Task[Ended], Claimed] = {}
    ended: list[Ended] = []
    async with sending.new_client() as client:
        while True:
            stopping = stop is not None and stop.is_set()
            try:
                claimed = await _turn(engine, ended, running, claiming=not stopping, now=now())
                ended = []
            except Exception as error:
                if stop is None or (stopping and not running):
                    raise
                ended, claimed = _kept(ended, error), []
            for one in claimed:
                task = asyncio.create_task(_attempt(client, one, guard, now()))
                running[task] = one
            if not running and not ended and (stopping or stop is None):
                return
            ended += await _wait(running, stop)


def _kept(ended: list[Ended], error: Exception) -> list[Ended]:
    """The results to record when the database is there again.

    None where it does not want them: those messages are sent again, and the others are not held up.
    """
    if isinstance(error, CounterfoilError) and error.kind in {*RETRYABLE, "conflict"}:
        _log.warning("webhooks wait for the database", error=error.detail)
        return ended
    _log.error("results of webhooks could not be recorded", exc_info=error)
    return []


async def _turn(
    engine: AsyncEngine,
    ended: list[Ended],
    running: dict[asyncio.Task[Ended], Claimed],
    *,
    claiming: bool,
    now: datetime,
) -> list[Claimed]:
    """One transaction: record what has ended, and claim as much as there are hands free."""
    busy = collections.Counter(one.endpoint_id for one in running.values())
    free = AT_ONCE - len(running)
    claimed: list[Claimed] = []
    async with begin(engine) as tx:
        await attempts.record(tx, ended=ended, now=now)
        if claiming and free > 0:
            failing = sum(one.failing for one in running.values())
            claimed = await attempts.claim(
                tx, most=free, most_failing=max(0, AT_ENDPOINTS_THAT_FAIL - failing), running=busy, now=now
            )
    return claimed


async def _wait(running: dict[asyncio.Task[Ended], Claimed], stop: asyncio.Event | None) -> list[Ended]:
    """Wait until an attempt ends, or until it is time to look again; returns those that ended."""
    if running:
        done, _ = await asyncio.wait(
            running, timeout=LOOK_EVERY.total_seconds(), return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            del running[task]
        return [task.result() for task in done]
    if stop is not None:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=LOOK_EVERY.total_seconds())
    return []


async def _attempt(client: httpx.AsyncClient, one: Claimed, guard: Guard, at: datetime) -> Ended:
    try:
        text = envelope.body(
            merchant=one.merchant,
            message_id=one.message_id,
            event_type=one.type,
            subject=one.subject,
            time=one.occurred_at,
            data=one.data,
        )
        headers = envelope.headers(message_id=one.message_id, text=text, secrets=one.secrets, now=at)
        answer = await sending.send(client, url=one.url, text=text, headers=headers, guard=guard, now=at)
    except Exception as error:
        # A bug, or a message that cannot be sent: it must not hold up the others.
        _log.error("an attempt at a webhook failed on our side", exc_info=error, message=one.message_id)
        answer = sending.Answer(None, "Something went wrong on our side.", 0)
    _attempts.labels("delivered" if answer.delivered else "failed").inc()
    _seconds.observe(answer.milliseconds / 1000)
    return Ended(one, at, answer)
