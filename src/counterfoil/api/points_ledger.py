"""A merchant's whole ledger over HTTP: its totals, all of it as a file, and the proof that it adds up."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from counterfoil.api.downloads import CsvStream, download
from counterfoil.api.points_answers import Reading
from counterfoil.api.problems import responses
from counterfoil.db.transactions import read
from counterfoil.points import exports, queries, verify
from counterfoil.points.types import Source

MOST_DIFFERENCES: Final = 1_000

router = APIRouter()


class SourceAnswer(BaseModel):
    """What a source gave or took."""

    model_config = ConfigDict(from_attributes=True)

    source: Source
    name: str = Field(description="Which partner; empty for the other sources.")
    points: int = Field(description="Positive: given to members; negative: taken from them.")
    transfers: int


class TotalsAnswer(BaseModel):
    """The whole ledger in a few figures: what the sources gave and took adds up to the balance."""

    model_config = ConfigDict(from_attributes=True)

    members: int
    balance: int = Field(description="What all members have together.")
    held: int
    pending: int
    sources: list[SourceAnswer]


class DifferenceAnswer(BaseModel):
    """Something that an account says and its transfers do not."""

    model_config = ConfigDict(from_attributes=True)

    customer_id: str
    name: str = Field(description="What differs, such as `balance`.")
    told: int = Field(description="What the account says.")
    counted: int = Field(description="What its transfers say.")


class ProofAnswer(BaseModel):
    """What was looked at, and what is wrong with it. There must never be a difference: please report it."""

    accounts: int
    transfers: int
    different: int = Field(description="How many differences there are.")
    differences: list[DifferenceAnswer] = Field(description=f"The first {MOST_DIFFERENCES:,} of them.")


@router.get("/totals", responses=responses(404), summary="Add up the ledger")
async def get_totals(act: Reading) -> TotalsAnswer:
    """What members have, and what each source gave or took. The whole ledger is read."""
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        return TotalsAnswer.model_validate(await queries.totals(tx, merchant_id=merchant_id))


@router.get("/export", response_class=CsvStream, responses=responses(404), summary="Export the ledger")
async def export_ledger(act: Reading) -> CsvStream:
    """All transfers as they are at one moment, in the order in which they were made, as CSV: the fields of a
    transfer.

    What a spreadsheet would take for a formula has an apostrophe before it.
    """
    merchant_id = act.merchant_id
    with download() as made:
        async with read(act.engine) as tx:
            async for _, lines in exports.csv_parts(tx, merchant_id=merchant_id):
                await asyncio.to_thread(made.file.write, lines)
        return made.answer("points")


@router.post("/verification", responses=responses(404), summary="Prove the ledger")
async def verify_ledger(act: Reading) -> ProofAnswer:
    """Every account is compared with its transfers, lots and pending transfers, at one moment.

    It reads the whole ledger and changes nothing.
    """
    merchant_id = act.merchant_id
    proof = ProofAnswer(accounts=0, transfers=0, different=0, differences=[])
    async with read(act.engine) as tx:
        async for part in verify.verify(tx, merchant_id=merchant_id):
            proof.accounts += part.accounts
            proof.transfers += part.transfers
            proof.different += len(part.differences)
            room = MOST_DIFFERENCES - len(proof.differences)
            proof.differences += [
                DifferenceAnswer.model_validate(found) for found in part.differences[: max(room, 0)]
            ]
    return proof
