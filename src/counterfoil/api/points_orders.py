"""Orders and points over HTTP: what they earn, what goes back with a refund, what points take off them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from counterfoil import clock
from counterfoil.api.context import IdempotencyKey, once
from counterfoil.api.points_answers import (
    MOST_IN_LIST,
    Minor,
    Moment,
    Outcome,
    Points,
    Wanted,
    Writing,
    public_id,
    why,
)
from counterfoil.api.points_transfers import TransferOutcome
from counterfoil.api.problems import responses
from counterfoil.db.records import Reference
from counterfoil.db.transactions import Tx
from counterfoil.errors import FieldError, InvalidError
from counterfoil.points import ledger, programs, verbs
from counterfoil.points.burning import Burn, Burned
from counterfoil.points.earning import Paid, Refund, TakeBackCode, TakenBack
from counterfoil.points.programs import Program

LONGEST_HOLD_SECONDS: Final = 30 * 86_400
_LARGEST_DISCOUNT: Final = 10**15

router = APIRouter()


class PaidOrder(Wanted):
    """An order that was paid."""

    order_id: Reference
    customer_id: Reference
    paid_minor: Minor
    paid_at: Annotated[
        Moment | None, Field(description="Left out: now. Activation and expiry count from it.")
    ] = None


class PaidOrders(Wanted):
    """Orders that were paid."""

    orders: list[PaidOrder] = Field(min_length=1, max_length=MOST_IN_LIST)


EarnCode = ledger.Code | Literal["nothing_to_earn"]


class EarnOutcome(Outcome):
    """What became of an order."""

    code: EarnCode = Field(description="`pending`: promised, for the order may still be sent back.")
    points: int = Field(description="What the order earned.")
    transfer_id: str | None
    balance: int | None = Field(description="The member's balance after it; null: nothing moved yet.")


_NOTHING: Final = EarnOutcome.model_validate(
    {
        "code": "nothing_to_earn",
        "ok": True,
        "repeated": False,
        "detail": None,
        "points": 0,
        "transfer_id": None,
        "balance": None,
    }
)


class EarnOutcomes(BaseModel):
    """One outcome for each order, in their order."""

    outcomes: list[EarnOutcome]


@router.post(
    "/earn",
    response_model=EarnOutcomes,
    responses=responses(400, 404, 409, 413),
    summary="Earn points with orders",
)
async def earn(
    request: Request, body: PaidOrders, act: Writing, idempotency_key: IdempotencyKey = None
) -> Response:
    """Up to 5,000 paid orders earn by the program's terms, each once.

    What is earned is credited at once, or promised as long as the program says.
    """
    merchant_id = act.merchant_id

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        now = clock.now()
        program = await programs.get(tx, merchant_id=merchant_id)
        orders = [
            Paid(one.order_id, one.customer_id, one.paid_minor, one.paid_at or now) for one in body.orders
        ]
        earned = await verbs.earn(tx, merchant_id=merchant_id, program=program, orders=orders, now=now)
        outcomes = [
            _earned(done, program.earn.points_for(order.paid_minor))
            for done, order in zip(earned, orders, strict=True)
        ]
        return 200, EarnOutcomes(outcomes=outcomes)

    return await once(request, act, idempotency_key, work)


def _earned(done: ledger.Posted | None, points: int) -> EarnOutcome:
    if done is None:
        return _NOTHING
    return EarnOutcome(
        code=done.code,
        ok=done.ok,
        repeated=done.repeated,
        detail=why(done.code),
        points=points if done.ok else 0,
        transfer_id=public_id(done.transfer_id),
        balance=done.balance,
    )


class NewRefund(Wanted):
    """Money that went back."""

    order_id: Reference
    refund_id: Reference
    refunded_minor: Annotated[
        Minor | None, Field(description="In minor units; null: all that is left of the payment.")
    ] = None


class NewRefunds(Wanted):
    """Money that went back, in its order."""

    refunds: list[NewRefund] = Field(min_length=1, max_length=MOST_IN_LIST)


class TakeBackOutcome(Outcome):
    """What became of a refund."""

    code: TakeBackCode
    points: int = Field(description="How many the member has less, of the balance or of what was promised.")
    missing: int = Field(description="How many could not be taken back, because they have been burned.")
    transfer_id: str | None = Field(description="The transfer that took them out of the balance.")
    balance: int | None = Field(description="The member's balance after it; null: nothing was taken from it.")


class TakeBackOutcomes(BaseModel):
    """One outcome for each refund, in their order."""

    outcomes: list[TakeBackOutcome]


@router.post(
    "/take-back",
    response_model=TakeBackOutcomes,
    responses=responses(400, 404, 409, 413),
    summary="Take points back",
)
async def take_back(
    request: Request, body: NewRefunds, act: Writing, idempotency_key: IdempotencyKey = None
) -> Response:
    """Up to 5,000 refunds, each once: as much of what the order earned goes back as of its money.

    Promised points become fewer; credited ones are taken from the balance as far as they are there.
    """
    merchant_id = act.merchant_id
    refunds = [Refund(one.order_id, one.refund_id, one.refunded_minor) for one in body.refunds]

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        taken = await verbs.take_back(tx, merchant_id=merchant_id, refunds=refunds, now=clock.now())
        return 200, TakeBackOutcomes(outcomes=[_taken_back(done) for done in taken])

    return await once(request, act, idempotency_key, work)


def _taken_back(done: TakenBack) -> TakeBackOutcome:
    return TakeBackOutcome(
        code=done.code,
        ok=done.ok,
        repeated=done.repeated,
        detail=why(done.code),
        points=done.points,
        missing=done.missing,
        transfer_id=public_id(done.transfer_id),
        balance=done.balance,
    )


class NewBurn(Wanted):
    """Points that a member wants to use on an order."""

    customer_id: Reference
    order_id: Reference
    points: Points
    hold_seconds: Annotated[
        int | None,
        Field(
            strict=True,
            ge=1,
            le=LONGEST_HOLD_SECONDS,
            description="Hold them only, so long at most, until the order is paid; null: burn them at once.",
        ),
    ] = None
    reference: Annotated[
        Reference | None,
        Field(
            description="Your own id of this attempt; null: the `order_id`. The same again gives the first "
            "answer, so what was refused or released is tried again under another."
        ),
    ] = None


class NewBurns(Wanted):
    """Points that members want to use, in their order."""

    burns: list[NewBurn] = Field(min_length=1, max_length=MOST_IN_LIST)


class BurnOutcome(TransferOutcome):
    """What became of it."""

    amount_minor: int = Field(description="What the points take off the order; 0 where it was refused.")


class BurnOutcomes(BaseModel):
    """One outcome for each, in their order."""

    outcomes: list[BurnOutcome]


@router.post(
    "/burn", response_model=BurnOutcomes, responses=responses(400, 404, 409, 413), summary="Burn points"
)
async def burn(
    request: Request, body: NewBurns, act: Writing, idempotency_key: IdempotencyKey = None
) -> Response:
    """Up to 5,000 times, each reference once: points take something off an order, by the program's rate.

    Held at the checkout, they are burned by `POST /v1/points/settlements` when the order is paid; or it
    releases them, or time does.
    """
    merchant_id = act.merchant_id

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        now = clock.now()
        program = await programs.get(tx, merchant_id=merchant_id)
        _check_worth(program, body.burns)
        burns = [_burn(one, now) for one in body.burns]
        burned = await verbs.burn(tx, merchant_id=merchant_id, program=program, burns=burns, now=now)
        return 200, BurnOutcomes(outcomes=[_burned(done) for done in burned])

    return await once(request, act, idempotency_key, work)


def _check_worth(program: Program, burns: Sequence[NewBurn]) -> None:
    """No discount is larger than any order could be; `InvalidError` names those that would."""
    problems = tuple(
        FieldError(f"/burns/{n}/points", "invalid_value", "So many points would be worth more than any order")
        for n, one in enumerate(burns)
        if program.burn.worth_minor(one.points) > _LARGEST_DISCOUNT
    )
    if problems:
        raise InvalidError(
            f"{len(problems)} value{'s are' if len(problems) > 1 else ' is'} wrong; `errors` says which.",
            errors=problems,
        )


def _burn(one: NewBurn, now: datetime) -> Burn:
    until = None if one.hold_seconds is None else now + timedelta(seconds=one.hold_seconds)
    return Burn(one.customer_id, one.order_id, one.points, until, one.reference)


def _burned(done: Burned) -> BurnOutcome:
    return BurnOutcome(
        code=done.posted.code,
        ok=done.posted.ok,
        repeated=done.posted.repeated,
        detail=why(done.posted.code),
        transfer_id=public_id(done.posted.transfer_id),
        balance=done.posted.balance,
        version=done.posted.version,
        amount_minor=done.amount_minor,
    )
