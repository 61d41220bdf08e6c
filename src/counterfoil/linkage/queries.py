"""What screens and the API read of breaks and analyses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, tuple_

from ..db.paging import Page, decode_cursor, invalid_cursor, page_of
from ..db.transactions import ReadTx
from ..errors import NotFoundError
from ..ids import format_id
from .tables import analyses, analysis_rows, breaks


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
        try:
            after = (datetime.fromisoformat(occurred_at), *rest)
        except ValueError as error:
            raise invalid_cursor() from error
        statement = statement.where(tuple_(*key) > tuple_(*after))
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
            after = (datetime.fromisoformat(taken_at), UUID(analysis_id))
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
