"""A merchant's points program over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from counterfoil import clock
from counterfoil.api.context import IdempotencyKey, once
from counterfoil.api.points_answers import Reading, Writing
from counterfoil.api.problems import responses
from counterfoil.db.transactions import Tx, read
from counterfoil.points import programs
from counterfoil.points.programs import Program

router = APIRouter()


class ProgramTerms(Program):
    """The terms of a program; its time zone may be left out."""

    time_zone: Annotated[
        str, Field(max_length=64, description="An IANA name; left out, the merchant's own.")
    ] = Field(default_factory=str)

    def in_zone(self, default: str) -> Program:
        """The terms, in the time zone that they name or else in this one."""
        said: dict[str, Any] = {name: getattr(self, name) for name in Program.model_fields}
        return Program(**{**said, "time_zone": self.time_zone or default})


@router.get("/program", responses=responses(404), summary="Get the points program")
async def get_program(act: Reading) -> Program:
    """What is earned, what a point is worth, when points are credited and when they expire."""
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        return await programs.get(tx, merchant_id=merchant_id)


@router.put(
    "/program",
    response_model=Program,
    responses=responses(400, 404, 409, 413),
    summary="Set the points program",
)
async def put_program(
    request: Request, body: ProgramTerms, act: Writing, idempotency_key: IdempotencyKey = None
) -> Response:
    """All of its terms; what is left out is as it is by default.

    They hold from now on: what was earned before keeps the expiry that it was earned with.
    """
    merchant = act.for_merchant
    program = body.in_zone(merchant.time_zone)

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        await programs.put(tx, merchant_id=merchant.id, program=program, now=clock.now())
        return 200, program

    return await once(request, act, idempotency_key, work)
