"""Transfers over HTTP: posted in lists, and looked at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from counterfoil import clock
from counterfoil.api.context import IdempotencyKey, once
from counterfoil.api.points_answers import (
    MOST_IN_LIST,
    Moment,
    Outcome,
    Reading,
    SignedPoints,
    TransferAnswer,
    Wanted,
    Writing,
    public_id,
    why,
)
from counterfoil.api.problems import responses
from counterfoil.db.records import Reference, ShortText
from counterfoil.db.transactions import Tx, read
from counterfoil.errors import FieldError, InvalidError
from counterfoil.ids import parse_id
from counterfoil.points import accounts, ledger, programs, queries, verbs
from counterfoil.points.ledger import Entry, Posted

MOST_PARTNERS: Final = 100
"""Different partners in one request."""

router = APIRouter()


class PartnerSource(Wanted):
    """A partner who gives points, or takes them."""

    partner: Reference


def _sort_of_source(said: object) -> str:
    return "adjusted" if isinstance(said, str) else "partner"


OtherSide = Annotated[
    Annotated[Literal["adjusted"], Tag("adjusted")] | Annotated[PartnerSource, Tag("partner")],
    Discriminator(_sort_of_source),
    Field(description="What stands on the other side: the merchant's own adjustments, or a partner."),
]


class NewTransfer(Wanted):
    """A transfer to be."""

    customer_id: Reference
    reference: Annotated[
        Reference,
        Field(description="Your own id of it, once for each source: the same again gives the first answer."),
    ]
    points: SignedPoints
    source: OtherSide = "adjusted"
    expires_at: Annotated[Moment | None, Field(description="Of a credit: when its points expire.")] = None
    pending: Annotated[
        bool, Field(strict=True, description="Only promised, or only held, until it is settled.")
    ] = False
    due_at: Annotated[
        Moment | None,
        Field(description="Of a pending one: when promised points are credited, or a hold is released."),
    ] = None
    order_id: Reference | None = None
    note: ShortText | None = None

    @model_validator(mode="after")
    def _times_have_a_meaning(self) -> Self:
        if self.due_at is not None and not self.pending:
            raise ValueError("only a pending transfer is due at some time; say pending, or leave due_at out")
        if self.expires_at is not None and self.points < 0:
            raise ValueError("only points that are credited expire; leave expires_at out")
        return self


class NewTransfers(Wanted):
    """Transfers to be posted, in their order."""

    transfers: list[NewTransfer] = Field(min_length=1, max_length=MOST_IN_LIST)


class TransferOutcome(Outcome):
    """What became of a transfer."""

    code: ledger.Code
    transfer_id: str | None = Field(
        description="Null: it was refused. Of a `duplicate`: the transfer that has the reference."
    )
    balance: int | None = Field(description="The member's balance after it; null: pending, or refused.")
    version: int | None = Field(description="The how-manieth of the account it is.")


class TransferOutcomes(BaseModel):
    """One outcome for each transfer, in their order."""

    outcomes: list[TransferOutcome]


class TransferList(BaseModel):
    """Transfers."""

    data: list[TransferAnswer]


@router.post(
    "/transfers",
    response_model=TransferOutcomes,
    responses=responses(400, 404, 409, 413),
    summary="Post transfers",
)
async def post_transfers(
    request: Request, body: NewTransfers, act: Writing, idempotency_key: IdempotencyKey = None
) -> Response:
    """Up to 5,000 transfers, decided in their order; what is refused keeps no other out.

    A reference that was refused stays refused: to try again, use a new one. No credit brings a balance above
    the program's `max_balance`.
    """
    merchant_id = act.merchant_id

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        now = clock.now()
        program = await programs.find(tx, merchant_id=merchant_id)
        sources = await _sources(tx, merchant_id, body.transfers, now)
        posted = await verbs.post(
            tx,
            merchant_id=merchant_id,
            entries=[_entry(asked, sources[_partner(asked)]) for asked in body.transfers],
            now=now,
            limit=None if program is None else program.max_balance,
        )
        return 200, TransferOutcomes(outcomes=[transfer_outcome(done) for done in posted])

    return await once(request, act, idempotency_key, work)


def _partner(asked: NewTransfer) -> str | None:
    return None if isinstance(asked.source, str) else asked.source.partner


async def _sources(
    tx: Tx, merchant_id: UUID, transfers: Sequence[NewTransfer], now: datetime
) -> dict[str | None, int]:
    """The accounts of the other sides, by partner; None: the merchant's adjustments."""
    partners = {_partner(asked) for asked in transfers}
    if len(partners) > MOST_PARTNERS:
        problem = FieldError("/transfers", "length", f"At most {MOST_PARTNERS} partners in one request.")
        raise InvalidError("1 value is wrong; `errors` says which and why.", errors=(problem,))
    return {
        partner: await accounts.source_no(
            tx,
            merchant_id=merchant_id,
            source="adjusted" if partner is None else "partner",
            name=partner or "",
            now=now,
        )
        # In one order for everybody, so that nobody waits for one who waits for them.
        for partner in sorted(partners, key=lambda partner: partner or "")
    }


def _entry(asked: NewTransfer, source_no: int) -> Entry:
    return Entry(
        customer_id=asked.customer_id,
        source_no=source_no,
        reference=asked.reference,
        points=asked.points,
        expires_at=asked.expires_at,
        pending=asked.pending,
        due_at=asked.due_at,
        order_id=asked.order_id,
        note=asked.note,
    )


def transfer_outcome(done: Posted) -> TransferOutcome:
    """What became of a transfer, as the API shows it."""
    return TransferOutcome(
        code=done.code,
        ok=done.ok,
        repeated=done.repeated,
        detail=why(done.code),
        transfer_id=public_id(done.transfer_id),
        balance=done.balance,
        version=done.version,
    )


@router.get("/transfers", responses=responses(404), summary="List the transfers of an order")
async def list_transfers(
    act: Reading,
    order_id: Annotated[str, Query(min_length=1, max_length=200, pattern=r"^[^\x00]*$")],
) -> TransferList:
    """What an order earned and burned, and what of it was undone, in the order of time; at most 500."""
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        found = await queries.list_of_order(tx, merchant_id=merchant_id, order_id=order_id)
    return TransferList(data=[TransferAnswer.model_validate(item) for item in found])


@router.get("/transfers/{transfer_id}", responses=responses(404), summary="Get a transfer")
async def get_transfer(transfer_id: Annotated[str, Path(max_length=200)], act: Reading) -> TransferAnswer:
    """One transfer, what it undoes or carries out, and what of it was undone."""
    merchant_id = act.merchant_id
    wanted = parse_id("transfer", transfer_id)
    async with read(act.engine) as tx:
        found = await queries.get_transfer(tx, merchant_id=merchant_id, transfer_id=wanted)
    return TransferAnswer.model_validate(found)
