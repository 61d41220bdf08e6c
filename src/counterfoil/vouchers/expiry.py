"""What time does to campaigns: reservations run out, vouchers expire, campaigns come to their end.

Each step is a short transaction under the campaign's lock. Running a step twice changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from counterfoil.db.outbox import publish
from counterfoil.db.transactions import ReadTx, Tx

ROUND: Final = 2_000
"""Vouchers that expire in one transaction."""
_MOST_CAMPAIGNS: Final = 200

Campaign = tuple[UUID, str]


@dataclass(frozen=True, slots=True)
class Due:
    """Campaigns in which something is over: the reservations, the vouchers or the campaign itself."""

    reservations: list[Campaign]
    vouchers: list[Campaign]
    campaigns: list[Campaign]


async def find_due(tx: ReadTx, *, now: datetime) -> Due:
    """What is over by now; at most a few hundred campaigns of each sort."""
    lapsed = await tx.all(
        f"""SELECT DISTINCT merchant_id, campaign_id FROM reservations
            WHERE state = 'held' AND expires_at <= :now LIMIT {_MOST_CAMPAIGNS}""",
        {"now": now},
    )
    expired = await tx.all(
        f"""SELECT c.merchant_id, c.campaign_id FROM campaign_counters c
            WHERE (c.state = 'ended' AND c.issued + c.available > 0)
               OR (c.issued > 0 AND EXISTS (
                   SELECT FROM vouchers v WHERE v.merchant_id = c.merchant_id
                   AND v.campaign_id = c.campaign_id AND v.valid_until > c.expired_through
                   AND v.valid_until <= :now))
            LIMIT {_MOST_CAMPAIGNS}""",
        {"now": now},
    )
    over = await tx.all(
        f"""SELECT c.merchant_id, c.campaign_id
            FROM campaign_counters c JOIN campaigns p USING (merchant_id, campaign_id)
            WHERE c.state IN ('active', 'paused') AND p.ends_at <= :now LIMIT {_MOST_CAMPAIGNS}""",
        {"now": now},
    )
    return Due(*([(row.merchant_id, row.campaign_id) for row in rows] for rows in (lapsed, expired, over)))


async def expire(
    tx: Tx, *, merchant_id: UUID, campaign_id: str, now: datetime, after: tuple[datetime, str] | None = None
) -> tuple[datetime, str] | None:
    """Expire up to `ROUND` vouchers whose validity is over; where to go on (`after`), or None when all are
    done.

    In a campaign that has ended, all that were handed out and all that were not yet are over. What an order
    has reserved is left alone: it expires when the reservation ends.
    """
    values = {"merchant_id": merchant_id, "campaign_id": campaign_id, "now": now, "round": ROUND}
    book = await tx.first(
        """SELECT state, expired_through FROM campaign_counters
           WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id FOR UPDATE""",
        values,
    )
    if book is None:
        return None
    if book.state == "ended":
        return await _expire_all(tx, values)
    since, code = after or (book.expired_through, "")
    rows = await tx.all(
        """SELECT voucher_id, valid_until, state, holds FROM vouchers
           WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id AND valid_until <= :now
             AND (valid_until, voucher_id) > (:since, :code)
           ORDER BY valid_until, voucher_id LIMIT :round""",
        {**values, "since": since, "code": code},
    )
    await _move(tx, values, [row.voucher_id for row in rows if row.state == "issued" and not row.holds])
    if len(rows) == ROUND:
        return rows[-1].valid_until, rows[-1].voucher_id
    await tx.execute(
        """UPDATE campaign_counters SET expired_through = :now
           WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id""",
        values,
    )
    return None


async def _expire_all(tx: Tx, values: dict[str, object]) -> tuple[datetime, str] | None:
    rows = await tx.all(
        """SELECT voucher_id, valid_until FROM vouchers
           WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id
             AND state IN ('issued', 'available') AND holds = 0 LIMIT :round""",
        values,
    )
    await _move(tx, values, [row.voucher_id for row in rows])
    now = values["now"]
    assert isinstance(now, datetime)
    return (now, "") if len(rows) == ROUND else None


async def _move(tx: Tx, values: dict[str, object], codes: list[str]) -> None:
    if not codes:
        return
    moved = await tx.first(
        """WITH before AS (
               SELECT voucher_id, state FROM vouchers
               WHERE merchant_id = :merchant_id AND voucher_id = ANY(CAST(:codes AS text[]))),
           moved AS (
               UPDATE vouchers v SET state = 'expired', changed_at = :now FROM before b
               WHERE v.merchant_id = :merchant_id AND v.voucher_id = b.voucher_id RETURNING b.state)
           SELECT count(*) FILTER (WHERE state = 'issued') AS issued,
                  count(*) FILTER (WHERE state = 'available') AS available FROM moved""",
        {**values, "codes": codes},
    )
    assert moved is not None
    await tx.execute(
        """UPDATE campaign_counters SET issued = issued - :issued, available = available - :available,
                  expired = expired + :issued + :available, changed_at = :now
           WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id""",
        {**values, "issued": moved.issued, "available": moved.available},
    )
    now = values["now"]
    assert isinstance(now, datetime)
    events = [
        {
            "id": f"expired:{code}",
            "type": "voucher.expired",
            "time": now.isoformat(),
            "subject": code,
            "data": {"voucher_id": code, "campaign_id": values["campaign_id"], "state": "expired"},
        }
        for code in codes
    ]
    await publish(tx, "vouchers.changed", {"merchant_id": str(values["merchant_id"]), "events": events})
