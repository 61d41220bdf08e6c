"""`POST /v1/{kind}/bulk`: what other systems keep, in batches, as often as they like."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, create_model

from counterfoil import clock
from counterfoil.api.context import Acting, IdempotencyKey, acting, once
from counterfoil.api.problems import responses
from counterfoil.app import RECORD_KINDS
from counterfoil.db import records
from counterfoil.db.records import LoadOutcome, RecordKind
from counterfoil.db.transactions import Tx

LARGEST_BATCH: Final = 10_000
"""Records in one request; for more, send several, or use `counterfoil import`."""


class RefusedRecord(BaseModel):
    """A record that was not taken."""

    key: dict[str, Any]
    code: str = Field(examples=["content_differs"])
    detail: str


class BulkAnswer(BaseModel):
    """What became of a batch: received = created + updated + unchanged + refused."""

    received: int
    created: int
    updated: int
    unchanged: int
    refused: int
    refusals: list[RefusedRecord] = Field(description=f"The first {records.MOST_REFUSALS} of the refused.")


def _answer(outcome: LoadOutcome) -> BulkAnswer:
    refusals = [RefusedRecord(key=r.key, code=r.code, detail=r.detail) for r in outcome.refusals]
    return BulkAnswer(
        received=outcome.received,
        created=outcome.created,
        updated=outcome.updated,
        unchanged=outcome.unchanged,
        refused=outcome.refused,
        refusals=refusals,
    )


_SAME_KEY: Final = {
    "update": "Sent again with another content, a record replaces what was known.",
    "keep": "It is a fact: sent again with another content, it is refused (`content_differs`).",
}


def _add_route(router: APIRouter, kind: RecordKind) -> None:
    title = "".join(part.capitalize() for part in kind.name.split("_"))
    batch = create_model(
        f"{title}Batch",
        __config__=ConfigDict(extra="forbid"),
        records=(list[kind.record], Field(min_length=1, max_length=LARGEST_BATCH)),  # type: ignore[name-defined]
    )

    async def bulk(
        request: Request,
        body: Any,
        act: Annotated[Acting, Depends(acting("records:write"))],
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        merchant_id = act.merchant_id

        async def work(tx: Tx) -> tuple[int, BaseModel]:
            staged = records.to_batch(kind, body.records)
            outcome = await records.load(tx, kind, merchant_id=merchant_id, batches=[staged], now=clock.now())
            return 200, _answer(outcome)

        return await once(request, act, idempotency_key, work)

    bulk.__annotations__["body"] = batch
    router.add_api_route(
        f"/{kind.name.replace('_', '-')}/bulk",
        bulk,
        methods=["POST"],
        response_model=BulkAnswer,
        responses=responses(400, 404, 409, 413),
        operation_id=f"record_{kind.name}",
        summary=f"Record {kind.name.replace('_', ' ')}",
        description=(
            f"Up to {LARGEST_BATCH:,} records in one transaction: all that are not refused, or none. "
            f"Keyed by `{'`, `'.join(kind.key)}`; the same record again changes nothing. "
            f"{_SAME_KEY[kind.same_key]}"
        ),
    )


def create_router() -> APIRouter:
    """One bulk route for each kind of record."""
    router = APIRouter(tags=["records"])
    for kind in RECORD_KINDS.values():
        _add_route(router, kind)
    return router
