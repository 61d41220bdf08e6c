"""The full link of a voucher, its breaks, and campaign analyses."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from counterfoil import clock
from counterfoil.api.context import Acting, Cursor, IdempotencyKey, Limit, acting, once, page_body
from counterfoil.api.guessing import acting_on_code
from counterfoil.api.jobs import JobAnswer
from counterfoil.api.jobs import answer as job_answer
from counterfoil.api.problems import responses
from counterfoil.db import jobs, outbox
from counterfoil.db.transactions import Tx, read
from counterfoil.ids import format_id, parse_id
from counterfoil.linkage import queries
from counterfoil.linkage.full_link import FullLink, get_full_link
from counterfoil.linkage.queries import Analysis, StoredBreak
from counterfoil.linkage.types import IssuanceStage, LinkStatus, RedemptionStage

router = APIRouter(tags=["linkage"])
BreakKindParameter = Literal[
    "orphan_redemption",
    "missing_order",
    "missing_transaction",
    "no_transaction_id",
    "redeemed_before_issued",
    "redeemed_twice",
    "amount_mismatch",
]
Breakdown = Literal["campaign", "period", "store", "channel", "grade", "uplift"]


class BreakAnswer(BaseModel):
    """Something that does not fit together; docs/linkage.md says what each kind means."""

    kind: str
    source: str = Field(description="Which record it is about: one of `issuances` or of `redemptions`.")
    record_id: str = Field(description="The redemption's id; of an issuance, the voucher's.")
    voucher_id: str
    campaign_id: str | None
    missing_id: str | None = Field(description="The id that leads nowhere.")
    detail: dict[str, Any]
    occurred_at: datetime
    detected_at: datetime
    resolved_at: datetime | None = Field(description="Null while it stands.")
    age_seconds: float = Field(description="From when it happened until now, or until it was resolved.")


class BreakPage(BaseModel):
    """A page of breaks; `counts` are those that stand, by kind."""

    data: list[BreakAnswer]
    next_cursor: str | None
    counts: dict[str, int]


class RedemptionLinkAnswer(BaseModel):
    """A redemption with the transaction and the orders that it leads to."""

    redemption: dict[str, Any]
    stage: RedemptionStage
    transaction: dict[str, Any] | None
    orders: list[dict[str, Any]]


class FullLinkAnswer(BaseModel):
    """A voucher's whole life, each part the record as it was sent."""

    voucher_id: str
    status: LinkStatus
    voucher: dict[str, Any] | None
    campaign: dict[str, Any] | None
    template: dict[str, Any] | None
    customer: dict[str, Any] | None
    page_views: list[dict[str, Any]]
    issuance: dict[str, Any] | None
    issuance_stage: IssuanceStage
    purchase_order: dict[str, Any] | None
    purchase_transaction: dict[str, Any] | None
    redemptions: list[RedemptionLinkAnswer]
    breaks: list[dict[str, Any]]


class NewAnalysis(BaseModel):
    """What to analyse: for now, everything the merchant has."""

    model_config = ConfigDict(extra="forbid")

    period: Literal["day", "week", "month"] = "week"


class AnalysisAnswer(BaseModel):
    """An analysis, as of the moment at which its data were read."""

    id: str
    taken_at: datetime
    totals: dict[str, Any]


class AnalysisPage(BaseModel):
    """A page of analyses."""

    data: list[AnalysisAnswer]
    next_cursor: str | None


class AnalysisLines(AnalysisAnswer):
    """An analysis with its lines."""

    breakdown: Breakdown
    lines: list[dict[str, Any]]


def break_answer(found: StoredBreak, *, now: datetime) -> BreakAnswer:
    """A break as the API shows it."""
    age = (found.resolved_at or now) - found.occurred_at
    values = {name: getattr(found, name) for name in BreakAnswer.model_fields if name != "age_seconds"}
    return BreakAnswer(**values, age_seconds=age.total_seconds())


def _link_answer(link: FullLink) -> FullLinkAnswer:
    values = {name: getattr(link, name) for name in FullLinkAnswer.model_fields if name != "redemptions"}
    redemptions = [
        RedemptionLinkAnswer(
            redemption=r.redemption, stage=r.stage, transaction=r.transaction, orders=r.orders
        )
        for r in link.redemptions
    ]
    return FullLinkAnswer(**values, redemptions=redemptions)


def _analysis_answer(analysis: Analysis) -> AnalysisAnswer:
    return AnalysisAnswer(
        id=format_id("analysis", analysis.id), taken_at=analysis.taken_at, totals=analysis.totals
    )


@router.get(
    "/vouchers/{voucher_id:path}/full-link",
    responses=responses(404, 429),
    summary="Get the full link of a voucher",
)
async def full_link(
    voucher_id: Annotated[
        str, Path(description="The voucher's code.", max_length=200, pattern=r"^[^\x00]*$")
    ],
    act: Annotated[Acting, Depends(acting_on_code("linkage:read"))],
) -> FullLinkAnswer:
    """From the page views before it to the money after it, as the records stand now."""
    async with read(act.engine) as tx:
        return _link_answer(await get_full_link(tx, merchant_id=act.merchant_id, voucher_id=voucher_id))


@router.get("/breaks", responses=responses(404), summary="List breaks")
async def list_breaks(
    act: Annotated[Acting, Depends(acting("linkage:read"))],
    kind: BreakKindParameter | None = None,
    campaign_id: Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")] = None,
    resolved: Annotated[bool, Query(description="Those that late records mended, instead.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> BreakPage:
    """What does not fit together, the oldest first. Late records resolve breaks by themselves."""
    async with read(act.engine) as tx:
        page = await queries.list_breaks(
            tx,
            merchant_id=act.merchant_id,
            kind=kind,
            campaign_id=campaign_id,
            resolved=resolved,
            limit=limit,
            cursor=cursor,
        )
        counts = await queries.count_breaks(tx, merchant_id=act.merchant_id, campaign_id=campaign_id)
    now = clock.now()
    return BreakPage(**page_body(page, lambda found: break_answer(found, now=now)), counts=counts)


@router.post(
    "/analyses",
    status_code=202,
    response_model=JobAnswer,
    responses=responses(400, 404, 409, 413),
    summary="Analyse the campaigns",
)
async def create_analysis(
    request: Request,
    body: NewAnalysis,
    act: Annotated[Acting, Depends(acting("linkage:write"))],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Long work: follow the job at `/v1/jobs/{id}`; its result names the analysis."""
    merchant_id = act.merchant_id

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        job = await jobs.create(
            tx, kind="analysis", merchant_id=merchant_id, request=body.model_dump(), now=clock.now()
        )
        await outbox.publish(tx, "analysis.requested", {"job_id": str(job.id)})
        return 202, job_answer(job)

    return await once(request, act, idempotency_key, work, required=True)


@router.get("/analyses", responses=responses(404), summary="List analyses")
async def list_analyses(
    act: Annotated[Acting, Depends(acting("linkage:read"))], limit: Limit = 50, cursor: Cursor = None
) -> AnalysisPage:
    """Analyses, the newest first."""
    async with read(act.engine) as tx:
        page = await queries.list_analyses(tx, merchant_id=act.merchant_id, limit=limit, cursor=cursor)
    return AnalysisPage(**page_body(page, _analysis_answer))


@router.get("/analyses/{analysis_id}", responses=responses(404), summary="Get an analysis")
async def get_analysis(
    analysis_id: str,
    act: Annotated[Acting, Depends(acting("linkage:read"))],
    breakdown: Breakdown = "campaign",
    campaign_id: Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")] = None,
) -> AnalysisLines:
    """The figures of one analysis, by campaign or by one more dimension; docs/analysis.md explains each."""
    async with read(act.engine) as tx:
        analysis = await queries.get_analysis(
            tx, merchant_id=act.merchant_id, analysis_id=parse_id("analysis", analysis_id)
        )
        lines = await queries.analysis_lines(
            tx, analysis_id=analysis.id, breakdown=breakdown, campaign_id=campaign_id
        )
    return AnalysisLines(**_analysis_answer(analysis).model_dump(), breakdown=breakdown, lines=lines)
