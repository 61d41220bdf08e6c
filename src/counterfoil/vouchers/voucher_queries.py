"""What programs read of vouchers whose campaign is run here: lists, one with its history, an export."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final
from uuid import UUID

from sqlalchemy import Row

from counterfoil.db.paging import Page, cursor_time, decode_cursor, page_of
from counterfoil.db.transactions import ReadTx
from counterfoil.errors import NotFoundError
from counterfoil.vouchers.types import ReservationState, VoucherState

MOST_SHOWN: Final = 100
"""Reservations and redemptions of a voucher, at most, that are read with it."""
_EXPORT_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class VoucherItem:
    """A voucher as it is now."""

    voucher_id: str
    campaign_id: str
    state: VoucherState
    customer_id: str | None
    issued_at: datetime | None
    valid_from: datetime | None
    valid_until: datetime | None
    uses: int
    holds: int
    max_uses: int | None
    amount_minor: int | None
    balance_minor: int | None
    held_minor: int
    void_reason: str | None
    changed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReservationItem:
    """A reservation, of whatever state."""

    reservation_id: str
    order_id: str
    customer_id: str | None
    state: ReservationState
    amount_minor: int | None
    discount_minor: int
    reserved_at: datetime
    expires_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReversalItem:
    """A redemption was undone: wholly, or for some lines (None: all that was left)."""

    reversal_id: str
    line_ids: list[str] | None
    discount_minor: int
    whole: bool
    reason: str | None
    reversed_at: datetime


@dataclass(frozen=True, slots=True)
class RedemptionItem:
    """A redemption, and what of it was reversed."""

    redemption_id: str
    voucher_id: str
    campaign_id: str
    customer_id: str | None
    order_id: str | None
    transaction_id: str | None
    store_id: str | None
    amount_minor: int | None
    discount_minor: int
    lines: list[tuple[str, int]]
    redeemed_at: datetime
    reversed_minor: int
    reversed_at: datetime | None
    reversals: list[ReversalItem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class VoucherDetail:
    """A voucher, its latest reservations and its first redemptions."""

    voucher: VoucherItem
    reservations: list[ReservationItem]
    redemptions: Sequence[RedemptionItem]


_VOUCHER: Final = """v.voucher_id, v.campaign_id, v.state, v.customer_id, i.issued_at, v.valid_from,
    v.valid_until, v.uses, v.holds, v.max_redemptions AS max_uses, v.amount_minor, v.balance_minor,
    v.held_minor, v.void_reason, v.changed_at"""
_ISSUED: Final = "LEFT JOIN issuances i ON i.merchant_id = v.merchant_id AND i.voucher_id = v.voucher_id"
_OF_CAMPAIGN: Final = f"""(
    SELECT {_VOUCHER} FROM vouchers v {_ISSUED}
    WHERE v.merchant_id = :merchant_id AND v.campaign_id = :campaign_id AND v.state IS NOT NULL
      AND {{where}} ORDER BY v.valid_until, v.voucher_id LIMIT :limit)"""
_ENDING: Final = "(v.valid_until, v.voucher_id) > (:ends_after, :code)"
_ENDLESS: Final = "v.valid_until IS NULL AND v.voucher_id > :endless_code"
_OF_CUSTOMER: Final = f"""
    SELECT {_VOUCHER} FROM issuances i
    JOIN vouchers v ON v.merchant_id = i.merchant_id AND v.voucher_id = i.voucher_id
    WHERE i.merchant_id = :merchant_id AND i.customer_id = :customer_id AND i.voucher_id > :code
      AND v.state IS NOT NULL AND {{where}} ORDER BY i.voucher_id LIMIT :limit"""
_FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)


async def list_of_campaign(
    tx: ReadTx,
    *,
    merchant_id: UUID,
    campaign_id: str,
    state: VoucherState | None = None,
    limit: int,
    cursor: str | None = None,
) -> Page[VoucherItem]:
    """The vouchers of a campaign: what ends soonest first, what has no end last; then by their codes."""
    ends_after, code = ("", "") if cursor is None else decode_cursor(cursor, kinds=(str, str))
    values: dict[str, Any] = {"merchant_id": merchant_id, "campaign_id": campaign_id, "limit": limit + 1}
    of_state = " AND v.state = :state" if state is not None else ""
    parts = [_OF_CAMPAIGN.format(where=_ENDLESS + of_state)]
    # A cursor without a time stands among those without an end.
    if cursor is not None and not ends_after:
        values["endless_code"] = code
    else:
        moment = cursor_time(ends_after) if ends_after else _FIRST
        values |= {"endless_code": "", "ends_after": moment, "code": code}
        parts.insert(0, _OF_CAMPAIGN.format(where=_ENDING + of_state))
    statement = f"SELECT * FROM ({' UNION ALL '.join(parts)}) k ORDER BY valid_until, voucher_id LIMIT :limit"
    rows = await tx.all(statement, {**values, **({"state": state} if state is not None else {})})
    return page_of([_voucher(row) for row in rows], limit=limit, key=_place)


def _voucher(row: Row[Any]) -> VoucherItem:
    return VoucherItem(**row._mapping)


def _place(voucher: VoucherItem) -> tuple[str, str]:
    return "" if voucher.valid_until is None else voucher.valid_until.isoformat(), voucher.voucher_id


async def list_of_customer(
    tx: ReadTx,
    *,
    merchant_id: UUID,
    customer_id: str,
    campaign_id: str | None = None,
    state: VoucherState | None = None,
    limit: int,
    cursor: str | None = None,
) -> Page[VoucherItem]:
    """The vouchers that a customer was given, of one campaign or of all, by their codes."""
    code = "" if cursor is None else decode_cursor(cursor, kinds=(str,))[0]
    wanted = {"campaign_id": campaign_id, "state": state}
    asked = {name: value for name, value in wanted.items() if value is not None}
    where = " AND ".join([f"v.{name} = :{name}" for name in asked] or ["true"])
    values = {"merchant_id": merchant_id, "customer_id": customer_id, "code": code, "limit": limit + 1}
    rows = await tx.all(_OF_CUSTOMER.format(where=where), {**values, **asked})
    return page_of([_voucher(row) for row in rows], limit=limit, key=lambda one: (one.voucher_id,))


async def find_voucher(tx: ReadTx, *, merchant_id: UUID, voucher_id: str) -> VoucherItem | None:
    """A voucher, or None where there is none whose campaign is run here."""
    row = await tx.first(
        f"""SELECT {_VOUCHER} FROM vouchers v {_ISSUED}
            WHERE v.merchant_id = :merchant_id AND v.voucher_id = :voucher_id AND v.state IS NOT NULL""",
        {"merchant_id": merchant_id, "voucher_id": voucher_id},
    )
    return None if row is None else _voucher(row)


async def get_voucher(tx: ReadTx, *, merchant_id: UUID, voucher_id: str) -> VoucherItem:
    """A voucher; `NotFoundError` where there is none whose campaign is run here."""
    found = await find_voucher(tx, merchant_id=merchant_id, voucher_id=voucher_id)
    if found is None:
        raise NotFoundError(
            f"There is no voucher {voucher_id!r} of a campaign that is run here.", code="voucher_not_found"
        )
    return found


async def get_detail(tx: ReadTx, *, merchant_id: UUID, voucher_id: str) -> VoucherDetail:
    """A voucher with its latest `MOST_SHOWN` reservations and its first `MOST_SHOWN` redemptions."""
    voucher = await get_voucher(tx, merchant_id=merchant_id, voucher_id=voucher_id)
    rows = await tx.all(
        """SELECT reservation_id, order_id, customer_id, state, amount_minor, discount_minor, reserved_at,
                  expires_at, ended_at
           FROM reservations WHERE merchant_id = :merchant_id AND voucher_id = :voucher_id
           ORDER BY reserved_at DESC, reservation_id DESC LIMIT :most""",
        {"merchant_id": merchant_id, "voucher_id": voucher_id, "most": MOST_SHOWN},
    )
    used = await list_redemptions(tx, merchant_id=merchant_id, voucher_id=voucher_id, limit=MOST_SHOWN)
    return VoucherDetail(voucher, [ReservationItem(**row._mapping) for row in rows], used.data)


_BY: Final = {
    "order_id": "coalesce('o' || r.order_id, 't' || r.transaction_id) = 'o' || CAST(:order_id AS text)",
    "transaction_id": "r.transaction_id = :transaction_id",
    "voucher_id": "r.voucher_id = :voucher_id",
}
"""By what redemptions are found; each has its index."""


async def list_redemptions(
    tx: ReadTx,
    *,
    merchant_id: UUID,
    order_id: str | None = None,
    transaction_id: str | None = None,
    voucher_id: str | None = None,
    limit: int,
    cursor: str | None = None,
) -> Page[RedemptionItem]:
    """Redemptions of an order, payment or voucher (of all that are said), oldest first, with reversals."""
    wanted = {"order_id": order_id, "transaction_id": transaction_id, "voucher_id": voucher_id}
    values: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    where = [_BY[name] for name in values]
    if cursor is not None:
        redeemed_at, values["after"] = decode_cursor(cursor, kinds=(str, str))
        values["redeemed_after"] = cursor_time(redeemed_at)
        where.append("(r.redeemed_at, r.redemption_id) > (:redeemed_after, :after)")
    rows = await tx.all(
        f"""SELECT r.redemption_id, r.voucher_id, r.campaign_id, r.customer_id, r.order_id, r.transaction_id,
                   r.store_id, r.amount_minor, r.discount_minor, r.lines, r.redeemed_at, r.reversed_minor,
                   r.reversed_at
            FROM redemptions r WHERE r.merchant_id = :merchant_id AND r.campaign_id IS NOT NULL
              AND {" AND ".join(where)}
            ORDER BY r.redeemed_at, r.redemption_id LIMIT :limit""",
        {**values, "merchant_id": merchant_id, "limit": limit + 1},
    )
    reversals = await _reversals(tx, merchant_id, [row.redemption_id for row in rows])
    return page_of(
        [_redemption(row, reversals) for row in rows],
        limit=limit,
        key=lambda one: (one.redeemed_at.isoformat(), one.redemption_id),
    )


def _redemption(row: Row[Any], reversals: dict[str, list[ReversalItem]]) -> RedemptionItem:
    found = dict(row._mapping)
    found["lines"] = [(line, minor) for line, minor in found["lines"] or ()]
    return RedemptionItem(**found, reversals=reversals[row.redemption_id])


async def _reversals(
    tx: ReadTx, merchant_id: UUID, redemption_ids: list[str]
) -> dict[str, list[ReversalItem]]:
    rows = await tx.all(
        """SELECT redemption_id, reversal_id, line_ids, discount_minor, whole, reason, reversed_at
           FROM redemption_reversals
           WHERE merchant_id = :merchant_id AND redemption_id = ANY(CAST(:ids AS text[]))
           ORDER BY reversed_at, reversal_id""",
        {"merchant_id": merchant_id, "ids": redemption_ids},
    )
    found: dict[str, list[ReversalItem]] = defaultdict(list)
    for row in rows:
        values = dict(row._mapping)
        found[values.pop("redemption_id")].append(ReversalItem(**values))
    return found


EXPORTED: Final = (
    "voucher_id",
    "state",
    "customer_id",
    "issued_at",
    "valid_until",
    "uses",
    "amount_minor",
    "balance_minor",
)
"""The columns of an export."""


def _as_text(column: str) -> str:
    """A text as no spreadsheet takes it for a formula: with an apostrophe before what would begin one."""
    return f"CASE WHEN {column} ~ '^[-=+@\\t\\r\\n]' THEN '''' || {column} ELSE {column} END"


_EXPORT: Final = f"""
    SELECT {_as_text("v.voucher_id")} AS voucher_id, v.state, {_as_text("v.customer_id")} AS customer_id,
           to_char(i.issued_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS issued_at,
           to_char(v.valid_until, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS valid_until,
           v.uses, v.amount_minor, v.balance_minor
    FROM vouchers v {_ISSUED}
    WHERE v.merchant_id = $1 AND v.campaign_id = $2 AND v.state IS NOT NULL"""


async def export(tx: ReadTx, *, merchant_id: UUID, campaign_id: str, file: BinaryIO) -> None:
    """Write all vouchers of a campaign to `file`, as CSV with a header (`EXPORTED`), in no order."""
    await tx.execute(f"SET LOCAL statement_timeout = '{_EXPORT_SECONDS}s'")
    db = await tx.driver()
    await db.copy_from_query(_EXPORT, merchant_id, campaign_id, output=file, format="csv", header=True)
