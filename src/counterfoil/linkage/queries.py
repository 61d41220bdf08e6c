"""What screens and the API read of breaks and analyses."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args
from uuid import UUID

from sqlalchemy import Row, func, select, tuple_

from counterfoil.db.paging import Page, cursor_time, decode_cursor, invalid_cursor, page_of
from counterfoil.db.transactions import ReadTx
from counterfoil.errors import NotFoundError
from counterfoil.ids import format_id
from counterfoil.linkage.tables import analyses, analysis_rows, breaks


@dataclass(frozen=True, slots=True)
class StoredBreak:
    """A break as it is kept; `resolved_at` null while it stands."""

    kind: str
    source: str
    record_id: str
    voucher_id: str
    campaign_id: str | None
    missing_id: str | None
    detail: dict[str, Any]
    occurred_at: datetime
    detected_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class Analysis:
    """A campaign analysis: when its data were read, its totals, and its lines by breakdown."""

    id: UUID
    taken_at: datetime
    totals: dict[str, Any]


def _break(row: Row[Any]) -> StoredBreak:
    return StoredBreak(**{name: value for name, value in row._mapping.items() if name != "merchant_id"})


async def list_breaks(
    tx: ReadTx,
    *,
    merchant_id: UUID,
    kind: str | None = None,
    campaign_id: str | None = None,
    resolved: bool = False,
    limit: int,
    cursor: str | None = None,
) -> Page[StoredBreak]:
    """Breaks, the oldest first; those that stand, or those that were resolved."""
    key = (breaks.c.occurred_at, breaks.c.kind, breaks.c.source, breaks.c.record_id)
    statement = select(breaks).where(breaks.c.merchant_id == merchant_id).order_by(*key).limit(limit + 1)
    state = breaks.c.resolved_at.is_not(None) if resolved else breaks.c.resolved_at.is_(None)
    statement = statement.where(state)
    if kind is not None:
        statement = statement.where(breaks.c.kind == kind)
    if campaign_id is not None:
        statement = statement.where(breaks.c.campaign_id == campaign_id)
    if cursor is not None:
        occurred_at, *rest = decode_cursor(cursor, kinds=(str, str, str, str))
        statement = statement.where(tuple_(*key) > tuple_(cursor_time(occurred_at), *rest))
    rows = [_break(row) for row in await tx.all(statement)]
    return page_of(
        rows, limit=limit, key=lambda b: (b.occurred_at.isoformat(), b.kind, b.source, b.record_id)
    )


async def count_breaks(tx: ReadTx, *, merchant_id: UUID, campaign_id: str | None = None) -> dict[str, int]:
    """How many breaks stand, by kind."""
    statement = (
        select(breaks.c.kind, func.count().label("n"))
        .where(breaks.c.merchant_id == merchant_id, breaks.c.resolved_at.is_(None))
        .group_by(breaks.c.kind)
        .order_by(breaks.c.kind)
    )
    if campaign_id is not None:
        statement = statement.where(breaks.c.campaign_id == campaign_id)
    return {row.kind: row.n for row in await tx.all(statement)}


def _analysis(row: Row[Any]) -> Analysis:
    return Analysis(row.id, row.taken_at, row.totals)


async def get_analysis(tx: ReadTx, *, merchant_id: UUID, analysis_id: UUID) -> Analysis:
    """An analysis of this merchant; `NotFoundError` for anybody else's."""
    statement = select(analyses).where(analyses.c.merchant_id == merchant_id, analyses.c.id == analysis_id)
    row = await tx.first(statement)
    if row is None:
        raise NotFoundError(
            f"There is no analysis {format_id('analysis', analysis_id)!r}.", code="analysis_not_found"
        )
    return _analysis(row)


async def find_latest_analysis(tx: ReadTx, *, merchant_id: UUID) -> Analysis | None:
    """The last analysis that was taken, or None when there is none yet."""
    statement = (
        select(analyses).where(analyses.c.merchant_id == merchant_id).order_by(analyses.c.taken_at.desc())
    )
    row = await tx.first(statement.limit(1))
    return None if row is None else _analysis(row)


async def list_analyses(
    tx: ReadTx, *, merchant_id: UUID, limit: int, cursor: str | None = None
) -> Page[Analysis]:
    """Analyses, the newest first."""
    key = (analyses.c.taken_at, analyses.c.id)
    statement = (
        select(analyses)
        .where(analyses.c.merchant_id == merchant_id)
        .order_by(*(column.desc() for column in key))
        .limit(limit + 1)
    )
    if cursor is not None:
        taken_at, analysis_id = decode_cursor(cursor, kinds=(str, str))
        try:
            after = (cursor_time(taken_at), UUID(analysis_id))
        except ValueError as error:
            raise invalid_cursor() from error
        statement = statement.where(tuple_(*key) < tuple_(*after))
    rows = [_analysis(row) for row in await tx.all(statement)]
    return page_of(rows, limit=limit, key=lambda a: (a.taken_at.isoformat(), str(a.id)))


async def analysis_lines(
    tx: ReadTx, *, analysis_id: UUID, breakdown: str, campaign_id: str | None = None
) -> list[dict[str, Any]]:
    """The figures of one breakdown (`campaign`, `period`, `store`, `channel`, `grade`), in order."""
    statement = (
        select(analysis_rows.c.figures)
        .where(analysis_rows.c.analysis_id == analysis_id, analysis_rows.c.breakdown == breakdown)
        .order_by(analysis_rows.c.position)
    )
    if campaign_id is not None:
        statement = statement.where(analysis_rows.c.campaign_id == campaign_id)
    return [row.figures for row in await tx.all(statement)]


CampaignSort = Literal[
    "starts_at", "name", "addressed", "exposed", "issued", "bought", "redeemed", "redemption_rate", "revenue"
]
CAMPAIGN_SORTS: Final[tuple[CampaignSort, ...]] = get_args(CampaignSort)


@dataclass(frozen=True, slots=True)
class CampaignFigures:
    """A campaign with its figures in an analysis; null where the analysis has no line of it."""

    campaign_id: str
    name: str | None
    kind: str | None
    starts_at: datetime | None
    ends_at: datetime | None
    figures: dict[str, Any] | None


_FIELDS: Final = tuple(CampaignFigures.__dataclass_fields__)

# A campaign may have no line yet, and a line may name a campaign of which there is no record.
_CAMPAIGN_FIGURES: Final = """
    SELECT coalesce(c.campaign_id, l.campaign_id) AS campaign_id, c.name, c.kind, c.starts_at, c.ends_at,
           l.figures, count(*) OVER () AS total
    FROM (SELECT * FROM campaigns WHERE merchant_id = :merchant_id) c
    FULL JOIN (SELECT campaign_id, figures FROM analysis_rows
               WHERE analysis_id = :analysis_id AND breakdown = 'campaign' AND campaign_id IS NOT NULL) l
         ON l.campaign_id = c.campaign_id
    WHERE (CAST(:kind AS text) IS NULL OR c.kind = :kind)
      AND (CAST(:pattern AS text) IS NULL OR c.name ILIKE :pattern
           OR coalesce(c.campaign_id, l.campaign_id) ILIKE :pattern)
    ORDER BY {key} {direction} NULLS LAST,
             length(coalesce(c.campaign_id, l.campaign_id)), coalesce(c.campaign_id, l.campaign_id)
    LIMIT :limit OFFSET :offset"""


async def list_campaign_figures(
    tx: ReadTx,
    *,
    merchant_id: UUID,
    analysis_id: UUID | None,
    search: str | None = None,
    kind: str | None = None,
    sort: CampaignSort = "starts_at",
    descending: bool = True,
    limit: int,
    offset: int = 0,
) -> tuple[list[CampaignFigures], int]:
    """Campaigns with their figures, and how many there are; by offset, for an analysis never changes."""
    pattern = None
    if search:
        escaped = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        pattern = f"%{escaped}%"
    key = {"starts_at": "c.starts_at", "name": "lower(coalesce(c.name, c.campaign_id, l.campaign_id))"}.get(
        sort, f"(l.figures->>'{sort}')::numeric"
    )
    rows = await tx.all(
        _CAMPAIGN_FIGURES.format(key=key, direction="DESC" if descending else "ASC"),
        {
            "merchant_id": merchant_id,
            "analysis_id": analysis_id,
            "kind": kind,
            "pattern": pattern,
            "limit": limit,
            "offset": offset,
        },
    )
    found = [CampaignFigures(**{name: getattr(row, name) for name in _FIELDS}) for row in rows]
    return found, (rows[0].total if rows else 0)


_PERIOD_SUMS: Final = """
    SELECT figures->>'period_start' AS period_start, sum((figures->>'issued')::bigint)::bigint AS issued,
           sum((figures->>'redemptions')::bigint)::bigint AS redemptions,
           sum((figures->>'revenue')::numeric) AS revenue
    FROM analysis_rows
    WHERE analysis_id = :analysis_id AND breakdown = 'period' AND figures->>'period_start' IS NOT NULL
    GROUP BY 1 ORDER BY 1"""


async def period_sums(tx: ReadTx, *, analysis_id: UUID) -> list[dict[str, Any]]:
    """`issued`, `redemptions` and `revenue` by period over all campaigns, in order of time."""
    return [dict(row._mapping) for row in await tx.all(_PERIOD_SUMS, {"analysis_id": analysis_id})]


async def period_lines(
    tx: ReadTx, *, analysis_id: UUID, campaign_ids: Collection[str]
) -> list[dict[str, Any]]:
    """The figures by period of these campaigns, in order of time."""
    statement = select(analysis_rows.c.figures).where(
        analysis_rows.c.analysis_id == analysis_id,
        analysis_rows.c.breakdown == "period",
        analysis_rows.c.campaign_id.in_(campaign_ids),
    )
    lines = [row.figures for row in await tx.all(statement)]
    return sorted(lines, key=lambda line: line["period_start"] or "")
