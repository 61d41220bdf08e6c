"""All verbs under one name, for the API, the commands and the pages, and what is told of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from counterfoil.db import outbox
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
_EVENT: Final = "vouchers.changed"


async def run(tx: Driven, verb: Verb, asked: Sequence[Asked[Any]], *, now: datetime) -> list[Outcome]:
    """Decide a batch of requests, in the order in which they came; one outcome for each."""
    listeners: dict[UUID, list[str]] = {}
    if verb in EVENTS:
        listeners = {m: await outbox.wanted(tx, _EVENT, m) for m in {a.merchant_id for a in asked}}
    outcomes = await RUN[verb](tx, asked, now=now)
    done: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for a, outcome in zip(asked, outcomes, strict=True):
        if outcome.ok and not outcome.repeated and listeners.get(a.merchant_id):
            done[a.merchant_id].append(_event(EVENTS[verb], outcome, now))
    for merchant_id, events in done.items():
        await outbox.tell(tx, listeners[merchant_id], _EVENT, merchant_id, {"events": events})
    return outcomes


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
