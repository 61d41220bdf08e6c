"""Campaign analyses of the platform: taken from a snapshot, kept with the time of that snapshot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import insert

from counterfoil.db.transactions import Tx
from counterfoil.linkage.analyse import By, analyse
from counterfoil.linkage.extract import open_extract
from counterfoil.linkage.link import link
from counterfoil.linkage.tables import analyses, analysis_rows
from counterfoil.linkage.uplift import uplift

Period = Literal["day", "week", "month"]

BREAKDOWNS: Final[dict[str, tuple[By, ...]]] = {
    "campaign": ("campaign_id",),
    "period": ("campaign_id",),
    "store": ("campaign_id", "store_id"),
    "channel": ("campaign_id", "channel"),
    "grade": ("campaign_id", "grade"),
}
"""The tables of an analysis and the columns by which each is grouped (`period` also by time). One more,
`uplift`, compares with a holdout."""


@dataclass(frozen=True, slots=True)
class Computed:
    """An analysis that is not stored yet."""

    totals: dict[str, Any]
    lines: dict[str, list[dict[str, Any]]]


def compute(
    directory: Path, *, period: Period, time_zone: str, told: Callable[[int, int], None] = lambda _d, _t: None
) -> Computed:
    """Link and analyse what `extract` wrote. Takes seconds to minutes: call it in a thread.

    `told(done, total)` is called after each step.
    """
    total = len(BREAKDOWNS) + 2
    connection, frames = open_extract(directory)
    try:
        linked = link(
            **{name: frames[name] for name in ("issuances", "redemptions", "orders", "transactions")}
        )
        linked.create("full_link")
        full_link = connection.table("full_link")
        told(1, total)
        optional = {
            name: frames[name] if frames[name].limit(1).count("*").fetchall()[0][0] else None
            for name in ("page_views", "audience")
        }
        lines = {}
        for done, (name, by) in enumerate(BREAKDOWNS.items(), start=2):
            result = analyse(
                full_link=full_link,
                **optional,
                customers=frames["customers"],
                breaks=frames["breaks"],
                by=by,
                period=period if name == "period" else None,
                time_zone=time_zone,
            )
            order = ", ".join((*by, *(("period_start",) if name == "period" else ())))
            lines[name] = [_plain(row) for row in result.order(order).to_arrow_table().to_pylist()]
            told(done, total)
        lines["uplift"] = _uplift(frames)
        told(total, total)
        return Computed(_totals(connection, frames), lines)
    finally:
        connection.close()


def _uplift(frames: dict[str, Any]) -> list[dict[str, Any]]:
    """What each campaign caused, against those whom it held out; none where nobody was."""
    held_out = frames["held_out_campaigns"].order("campaign_id").to_arrow_table().to_pylist()
    found = uplift(
        audience=frames["audience"],
        transactions=frames["audience_transactions"],
        periods={row["campaign_id"]: (row["starts_at"], row["ends_at"]) for row in held_out},
    )
    return [asdict(one) for one in found]


def _totals(connection: Any, frames: dict[str, Any]) -> dict[str, Any]:
    def counts(relation: Any, columns: str) -> dict[str, int]:
        rows = relation.aggregate(f"{columns}, count(*) AS n", columns).order("ALL").fetchall()
        return {"/".join("none" if part is None else str(part) for part in row[:-1]): row[-1] for row in rows}

    return {
        "rows": {name: frame.count("*").fetchall()[0][0] for name, frame in frames.items()},
        "link_status": counts(connection.table("full_link"), "link_status"),
        "breaks": counts(frames["breaks"], "kind"),
        "evidence": counts(frames["redemptions"], "evidence_status, evidence_level"),
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Values that JSON has: whole numbers stay whole."""
    return {name: _plain_value(value) for name, value in row.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value.isoformat() if isinstance(value, date) else value


async def store(
    tx: Tx, *, analysis_id: UUID, merchant_id: UUID, taken_at: datetime, computed: Computed
) -> None:
    """Keep an analysis, in the transaction that ends its job."""
    await tx.execute(
        insert(analyses).values(
            id=analysis_id, merchant_id=merchant_id, taken_at=taken_at, totals=computed.totals
        )
    )
    rows = [
        {
            "analysis_id": analysis_id,
            "breakdown": breakdown,
            "position": position,
            "campaign_id": figures["campaign_id"],
            "figures": figures,
        }
        for breakdown, lines in computed.lines.items()
        for position, figures in enumerate(lines)
    ]
    if rows:
        await tx.execute(insert(analysis_rows), rows)
