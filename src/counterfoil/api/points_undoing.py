"""What becomes of transfers, over HTTP: they are undone; or, while they are pending, settled."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from counterfoil import clock
from counterfoil.api.context import IdempotencyKey, once
from counterfoil.api.points_answers import (
    LARGEST,
    MOST_IN_LIST,
    Minor,
    Named,
    Outcome,
    Points,
    Wanted,
    Writing,
    public_id,
    uuid_in_list,
    why,
)
from counterfoil.api.problems import responses
from counterfoil.db.records import Reference, ShortText
from counterfoil.db.transactions import Tx
from counterfoil.points import pending, reversals, verbs

router = APIRouter()


class NewReversal(Wanted):
    """A transfer to undo."""

    transfer_id: Named
    reference: Annotated[
        Reference, Field(description="Your own id of the reversal: the same again gives the first answer.")
    ]
    points: Annotated[
        Points | None, Field(description="How many of its points, without sign; null: all that are left.")
    ] = None
    as_far_as_there: Annotated[
        bool,
        Field(strict=True, description="Take back what the member still has, instead of refusing."),
    ] = False
    amount_minor: Minor | None = None
    note: ShortText | None = None


class NewReversals(Wanted):
    """Transfers to undo, in their order."""

    reversals: list[NewReversal] = Field(min_length=1, max_length=MOST_IN_LIST)


class ReversalOutcome(Outcome):
    """What became of a reversal."""

    code: reversals.Code
    points: int = Field(description="How many points were moved back.")
    missing: int = Field(description="How many could not be taken back, because the member has burned them.")
    transfer_id: str | None = Field(description="The transfer that undoes it.")
    balance: int | None = Field(description="The member's balance after it.")


class ReversalOutcomes(BaseModel):
    """One outcome for each reversal, in their order."""

    outcomes: list[ReversalOutcome]


@router.post(
    "/reversals",
    response_model=ReversalOutcomes,
    responses=responses(400, 404, 409, 413),
    summary="Undo transfers",
)
async def reverse_transfers(
    request: Request, body: NewReversals, act: Writing, idempotency_key: IdempotencyKey = None
) -> Response:
    """Up to 5,000, wholly or in part, and never more than was moved.

    What a debit took goes back to the lots that it came from; nothing of it expires within 30 days. What a
    credit gave is taken back if it is there.
    """
    merchant_id = act.merchant_id
    asked = [
        reversals.Reversal(**{**dict(one), "transfer_id": uuid_in_list(one.transfer_id)})
        for one in body.reversals
    ]

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        undone = await verbs.reverse(tx, merchant_id=merchant_id, reversals=asked, now=clock.now())
        return 200, ReversalOutcomes(
            outcomes=[
                ReversalOutcome(
                    code=done.code,
                    ok=done.ok,
                    repeated=done.repeated,
                    detail=why(done.code),
                    points=done.points if done.ok else 0,
                    missing=done.missing,
                    transfer_id=public_id(done.transfer_id),
                    balance=done.balance,
                )
                for done in undone
            ]
        )

    return await once(request, act, idempotency_key, work)


class NewSettlement(Wanted):
    """What shall become of a pending transfer."""

    transfer_id: Named
    points: Annotated[
        int | None,
        Field(
            strict=True,
            ge=0,
            le=LARGEST,
            description="How many of its points are carried out, without sign, the rest being voided; "
            "0: it is voided; null: all that are left.",
        ),
    ] = None


class NewSettlements(Wanted):
    """Pending transfers to carry out or to void, in their order."""

    settlements: list[NewSettlement] = Field(min_length=1, max_length=MOST_IN_LIST)


class SettlementOutcome(Outcome):
    """What became of a settlement."""

    code: pending.Code
    points: int = Field(description="How many points were carried out.")
    transfer_id: str | None = Field(description="The transfer that carried it out.")
    balance: int | None = Field(description="The member's balance after it.")


class SettlementOutcomes(BaseModel):
    """One outcome for each settlement, in their order."""

    outcomes: list[SettlementOutcome]


@router.post(
    "/settlements",
    response_model=SettlementOutcomes,
    responses=responses(400, 404, 409, 413),
    summary="Settle pending transfers",
)
async def settle_transfers(
    request: Request, body: NewSettlements, act: Writing, idempotency_key: IdempotencyKey = None
) -> Response:
    """Up to 5,000: promised points are credited, held ones are burned; or they are voided. Once each."""
    merchant_id = act.merchant_id
    asked = [pending.Settlement(uuid_in_list(one.transfer_id), one.points) for one in body.settlements]

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        settled = await verbs.settle(tx, merchant_id=merchant_id, settlements=asked, now=clock.now())
        return 200, SettlementOutcomes(
            outcomes=[
                SettlementOutcome(
                    code=done.code,
                    ok=done.ok,
                    repeated=done.repeated,
                    detail=why(done.code),
                    points=done.points,
                    transfer_id=public_id(done.transfer_id),
                    balance=done.balance,
                )
                for done in settled
            ]
        )

    return await once(request, act, idempotency_key, work)
