"""Codes of campaigns: made in bulk, brought from elsewhere, and all of them as a file."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException

from counterfoil import clock
from counterfoil.api.campaigns import CampaignId, Reading, Writing
from counterfoil.api.context import IdempotencyKey, once
from counterfoil.api.downloads import CsvStream, download
from counterfoil.api.jobs import JobAnswer
from counterfoil.api.jobs import answer as job_answer
from counterfoil.api.problems import responses
from counterfoil.db.transactions import Tx, read
from counterfoil.errors import FieldError, InvalidError
from counterfoil.vouchers import campaigns, pool, voucher_queries
from counterfoil.vouchers.jobs import request_codes
from counterfoil.vouchers.pool import MOST_BROUGHT, MOST_GENERATED, BroughtCode, CodeOutcome

router = APIRouter(prefix="/campaigns", tags=["campaigns"])


class WantedCodes(BaseModel):
    """How many codes to make."""

    model_config = ConfigDict(extra="forbid")

    count: int = Field(ge=1, le=MOST_GENERATED)


def _encodable(code: str) -> str:
    if any("\ud800" <= symbol <= "\udfff" for symbol in code):
        raise ValueError("half a surrogate pair is no text")
    return code


class BroughtCodes(BaseModel):
    """Codes from elsewhere: printable ASCII without spaces, at most 64 characters each."""

    model_config = ConfigDict(extra="forbid")

    codes: Annotated[
        list[Annotated[str, AfterValidator(_encodable)]], Field(min_length=1, max_length=MOST_BROUGHT)
    ]


class CodeAnswer(BaseModel):
    """What became of one code."""

    model_config = ConfigDict(from_attributes=True)

    code: str
    outcome: CodeOutcome
    reason: str | None = Field(description="Of an invalid one: `empty`, `too_long` or `not_printable`.")


class BroughtAnswer(BaseModel):
    """What became of all of them; the four numbers add up to what was sent."""

    added: int
    already_there: int = Field(description="In this or another campaign of the merchant's.")
    twice_in_request: int
    invalid: int
    codes: list[CodeAnswer] = Field(description="Each code, in the order in which it was sent.")


@router.post(
    "/{campaign_id}/codes/generate",
    status_code=202,
    response_model=JobAnswer,
    responses=responses(400, 404, 409, 413),
    summary="Generate codes",
)
async def generate_codes(
    campaign_id: CampaignId,
    request: Request,
    body: WantedCodes,
    act: Writing,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Long work: follow the job at `/v1/jobs/{id}`. Exactly as many are made, whatever restarts meanwhile."""
    merchant_id = act.merchant_id

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        job = await request_codes(
            tx, merchant_id=merchant_id, campaign_id=campaign_id, count=body.count, now=clock.now()
        )
        return 202, job_answer(job)

    return await once(request, act, idempotency_key, work, required=True)


_BODIES: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": BroughtCodes.model_json_schema()},
            "text/csv": {"schema": {"type": "string"}, "example": "code\nSUN-1\nSUN-2\n"},
        },
    }
}


@router.post(
    "/{campaign_id}/codes",
    response_model=BroughtAnswer,
    responses=responses(400, 404, 409, 413),
    openapi_extra=_BODIES,
    summary="Bring codes",
)
async def bring_codes(
    campaign_id: CampaignId, request: Request, act: Writing, idempotency_key: IdempotencyKey = None
) -> Response:
    """Up to 10,000 codes from elsewhere: as JSON, or as CSV with a column `code` or with one code a line.

    Bringing them again adds nothing. What is invalid, or there already, does not keep the others out.
    """
    merchant_id = act.merchant_id
    codes = _codes(request.headers.get("content-type", ""), await request.body())

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        outcomes = await pool.bring(
            tx, merchant_id=merchant_id, campaign_id=campaign_id, brought=codes, now=clock.now()
        )
        return 200, _brought(outcomes)

    return await once(request, act, idempotency_key, work)


def _codes(content_type: str, body: bytes) -> list[str]:
    if content_type.partition(";")[0].strip().lower() == "text/csv":
        return _codes_of_csv(body)
    try:
        return BroughtCodes.model_validate(json.loads(body)).codes
    except json.JSONDecodeError as error:
        problem = {"type": "json_invalid", "loc": ("body", error.pos), "msg": "", "ctx": {"error": error.msg}}
        raise RequestValidationError([problem]) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(400, "The body is not JSON in UTF-8, or nested too deeply.") from error
    except ValidationError as error:
        problems = [{**e, "loc": ("body", *e["loc"])} for e in error.errors(include_url=False)]
        raise RequestValidationError(problems) from error


def _codes_of_csv(body: bytes) -> list[str]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidError("The file is not text in UTF-8.", code="file_unreadable") from error
    codes = list(pool.codes_of_csv(text.splitlines(keepends=True)))
    if not 1 <= len(codes) <= MOST_BROUGHT:
        problem = FieldError(
            "", "too_long" if codes else "too_short", f"Between 1 and {MOST_BROUGHT:,} codes in a request."
        )
        raise InvalidError("1 value is wrong; `errors` says which and why.", errors=(problem,))
    return codes


def _brought(outcomes: list[BroughtCode]) -> BroughtAnswer:
    counts: dict[CodeOutcome, int] = {"added": 0, "already_there": 0, "twice_in_request": 0, "invalid": 0}
    for one in outcomes:
        counts[one.outcome] += 1
    return BroughtAnswer(**counts, codes=[CodeAnswer.model_validate(one) for one in outcomes])


@router.get(
    "/{campaign_id}/codes/export",
    response_class=CsvStream,
    responses=responses(404),
    summary="Export a campaign's vouchers",
)
async def export_codes(campaign_id: CampaignId, act: Reading) -> CsvStream:
    """All vouchers as they are at one moment, in no order, as CSV: voucher_id, state, customer_id, issued_at,
    valid_until, uses, amount_minor, balance_minor.

    What a spreadsheet would take for a formula has an apostrophe before it.
    """
    merchant_id = act.merchant_id
    with download() as made:
        async with read(act.engine) as tx:
            await campaigns.get(tx, merchant_id=merchant_id, campaign_id=campaign_id)
            await voucher_queries.export(tx, merchant_id=merchant_id, campaign_id=campaign_id, file=made.file)
        return made.answer(campaign_id)
