"""All verbs under one name, for the API, the commands and the pages, and what is told of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from counterfoil.db.outbox import publish_if_wanted
from counterfoil.db.transactions import Driven
from counterfoil.vouchers import issuing, redemptions, reservations, reversals
from counterfoil.vouchers.requests import Asked, Outcome, to_json
from counterfoil.vouchers.types import Verb

Run = Callable[..., Awaitable[list[Outcome]]]

RUN: Final[dict[Verb, Run]] = {
    "issue": issuing.issue,
    "claim": issuing.claim,
    "validate": redemptions.validate,
    "reserve": reservations.reserve,
    "release": reservations.release,
    "redeem": redemptions.redeem,
    "reverse": reversals.reverse,
    "void": reversals.void,
}

EVENTS: Final[dict[Verb, str]] = {
    "issue": "voucher.issued",
    "claim": "voucher.issued",
    "reserve": "voucher.reserved",
    "release": "voucher.released",
    "redeem": "voucher.redeemed",
    "reverse": "voucher.reversed",
    "void": "voucher.voided",
}
"""What the merchant's programs are told of what was done."""


async def run(tx: Driven, verb: Verb, asked: Sequence[Asked[Any]], *, now: datetime) -> list[Outcome]:
    """Decide a batch of requests, in the order in which they came; one outcome for each."""
    outcomes = await RUN[verb](tx, asked, now=now)
    done: dict[UUID, list[Outcome]] = defaultdict(list)
    for a, outcome in zip(asked, outcomes, strict=True):
        if outcome.ok and not outcome.repeated:
            done[a.merchant_id].append(outcome)
    if verb in EVENTS:
        for merchant_id, told in done.items():
            tell = partial(_events, EVENTS[verb], told, now)
            await publish_if_wanted(tx, "vouchers.changed", merchant_id, tell)
    return outcomes


def _events(event: str, told: Sequence[Outcome], now: datetime) -> dict[str, Any]:
    return {"events": [_event(event, outcome, now) for outcome in told]}


def _event(event: str, outcome: Outcome, now: datetime) -> dict[str, Any]:
    voucher = outcome.voucher
    assert voucher is not None
    if outcome.reversal is not None:
        fact = outcome.reversal.reversal_id
    elif outcome.redemption is not None:
        fact = outcome.redemption.redemption_id
    elif outcome.reservation is not None:
        fact = outcome.reservation.reservation_id
    else:
        fact = voucher.voucher_id
    return {
        # From the fact, so that telling it twice is telling it once.
        "id": f"{event.partition('.')[2]}:{fact}",
        "type": event,
        "time": now.isoformat(),
        "subject": voucher.voucher_id,
        "data": to_json(outcome),
    }
