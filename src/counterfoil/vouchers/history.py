"""What screens read of a voucher whose campaign is run here: how it stands, and all that became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Row

from counterfoil.db.transactions import ReadTx
from counterfoil.vouchers.queries import VoucherLine, list_lines
from counterfoil.vouchers.types import CampaignState, ReservationState, VoucherState


@dataclass(frozen=True, slots=True)
class RunVoucher:
    """A voucher as it is now."""

    voucher_id: str
    campaign_id: str
    campaign_state: CampaignState
    state: VoucherState
    customer_id: str | None
    valid_from: datetime | None
    valid_until: datetime | None
    uses: int
    holds: int
    max_uses: int | None
    amount_minor: int | None
    balance_minor: int | None
    held_minor: int
    void_reason: str | None
    recorded_at: datetime
    changed_at: datetime | None


@dataclass(frozen=True, slots=True)
class PastReservation:
    """A reservation, of whatever state."""

    reservation_id: str
    order_id: str
    state: ReservationState
    discount_minor: int
    reserved_at: datetime
    expires_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class PastReversal:
    """A redemption was undone, wholly (`whole`: nothing of it is left) or for some lines (None: all)."""

    reversal_id: str
    redemption_id: str
    line_ids: list[str] | None
    discount_minor: int
    whole: bool
    reason: str | None
    reversed_at: datetime


@dataclass(frozen=True, slots=True)
class PastRedemption:
    """A redemption, and what of it was reversed."""

    redemption_id: str
    order_id: str | None
    transaction_id: str | None
    amount_minor: int | None
    discount_minor: int
    lines: list[tuple[str, int]]
    redeemed_at: datetime
    reversed_minor: int
    reversed_lines: list[str]
    reversed_at: datetime | None


@dataclass(frozen=True, slots=True)
class History:
    """A voucher and its facts, each sort in the order of time."""

    voucher: RunVoucher
    reservations: list[PastReservation]
    redemptions: list[PastRedemption]
    reversals: list[PastReversal]


async def find_history(tx: ReadTx, *, merchant_id: UUID, voucher_id: str) -> History | None:
    """A voucher's history; None where its campaign is not run here."""
    values = {"merchant_id": merchant_id, "voucher_id": voucher_id}
    row = await tx.first(
        """SELECT v.voucher_id, v.campaign_id, c.state AS campaign_state, v.state, v.customer_id, v.valid_from,
                  v.valid_until, v.uses, v.holds, v.max_redemptions AS max_uses, v.amount_minor,
                  v.balance_minor, v.held_minor, v.void_reason, v.recorded_at, v.changed_at
           FROM vouchers v JOIN campaign_counters c USING (merchant_id, campaign_id)
           WHERE v.merchant_id = :merchant_id AND v.voucher_id = :voucher_id AND v.state IS NOT NULL""",
        values,
    )
    if row is None:
        return None
    reservations = await tx.all(
        """SELECT reservation_id, order_id, state, discount_minor, reserved_at, expires_at, ended_at
           FROM reservations WHERE merchant_id = :merchant_id AND voucher_id = :voucher_id
           ORDER BY reserved_at, reservation_id""",
        values,
    )
    redemptions = await tx.all(
        """SELECT redemption_id, order_id, transaction_id, amount_minor, discount_minor, lines, redeemed_at,
                  reversed_minor, reversed_lines, reversed_at
           FROM redemptions WHERE merchant_id = :merchant_id AND voucher_id = :voucher_id
             AND campaign_id IS NOT NULL ORDER BY redeemed_at, redemption_id""",
        values,
    )
    reversals = await tx.all(
        """SELECT reversal_id, redemption_id, line_ids, discount_minor, whole, reason, reversed_at
           FROM redemption_reversals WHERE merchant_id = :merchant_id
             AND redemption_id = ANY(CAST(:redemptions AS text[])) ORDER BY reversed_at, reversal_id""",
        {**values, "redemptions": [r.redemption_id for r in redemptions]},
    )
    return History(
        RunVoucher(**row._mapping),
        [PastReservation(**r._mapping) for r in reservations],
        [_redemption(r) for r in redemptions],
        [PastReversal(**r._mapping) for r in reversals],
    )


def _redemption(row: Row[tuple[object, ...]]) -> PastRedemption:
    found = dict(row._mapping)
    found["lines"] = [(line, minor) for line, minor in found["lines"] or ()]
    found["reversed_lines"] = list(found["reversed_lines"] or ())
    return PastRedemption(**found)


_LATEST = """SELECT voucher_id FROM issuances
             WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id
             ORDER BY issued_at DESC LIMIT :limit"""


async def last_issued(tx: ReadTx, *, merchant_id: UUID, campaign_id: str, limit: int) -> list[VoucherLine]:
    """The vouchers of a campaign that were handed out last, the newest first."""
    found = await list_lines(
        tx, _LATEST, {"merchant_id": merchant_id, "campaign_id": campaign_id, "limit": limit}
    )
    return sorted(found, key=lambda line: (line.issued_at is not None, line.issued_at), reverse=True)
