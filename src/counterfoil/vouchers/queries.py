"""What screens read of campaigns and vouchers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import select

from counterfoil.db.paging import Page, decode_cursor, page_of
from counterfoil.db.transactions import ReadTx
from counterfoil.vouchers.tables import campaigns

VoucherFilter = Literal["all", "redeemed", "open"]
"""`open`: issued or available, and never redeemed."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign as its merchant describes it; its period is half-open."""

    campaign_id: str
    name: str | None
    kind: str | None
    starts_at: datetime | None
    ends_at: datetime | None
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class VoucherLine:
    """A voucher in a list: who holds it, and what happened to it last."""

    voucher_id: str
    campaign_id: str | None
    campaign_name: str | None
    customer_id: str | None
    issued_at: datetime | None
    issued_at_precision: str | None
    bought: bool
    valid_until: datetime | None
    redemptions: int
    redeemed_at: datetime | None
    """The last time."""
    redeemed_at_precision: str | None
    breaks: int
    state: str | None
    """Null: its campaign is not run here."""


async def find_campaign(tx: ReadTx, *, merchant_id: UUID, campaign_id: str) -> Campaign | None:
    """A campaign of this merchant, or None."""
    columns = [campaigns.c[name] for name in Campaign.__dataclass_fields__]
    statement = select(*columns).where(
        campaigns.c.merchant_id == merchant_id, campaigns.c.campaign_id == campaign_id
    )
    row = await tx.first(statement)
    return None if row is None else Campaign(**row._mapping)


async def list_campaign_kinds(tx: ReadTx, *, merchant_id: UUID) -> list[str]:
    """The merchant's own words for its sorts of campaigns, at most a hundred."""
    statement = (
        select(campaigns.c.kind)
        .where(campaigns.c.merchant_id == merchant_id, campaigns.c.kind.is_not(None))
        .distinct()
        .order_by(campaigns.c.kind)
        .limit(100)
    )
    return [row.kind for row in await tx.all(statement)]


# A voucher may be known by its own record, by its issuance or only by a redemption. Each branch reads its
# index in the order of the codes and stops at the limit.
_BY_PREFIX: Final = " UNION ".join(
    f"""(SELECT voucher_id FROM {table} WHERE merchant_id = :merchant_id
         AND voucher_id LIKE :pattern AND voucher_id >= :prefix AND voucher_id > :after
         ORDER BY voucher_id LIMIT :limit)"""
    for table in ("vouchers", "issuances", "redemptions")
)
_BY_CUSTOMER: Final = " UNION ".join(
    f"""(SELECT voucher_id FROM {table} WHERE merchant_id = :merchant_id AND customer_id = :customer_id
         AND voucher_id > :after ORDER BY voucher_id LIMIT :limit)"""
    for table in ("issuances", "redemptions")
)
_REDEEMED: Final = """
    EXISTS (SELECT FROM redemptions r WHERE r.merchant_id = :merchant_id AND r.voucher_id = k.voucher_id)"""
_CONDITIONS: Final[dict[VoucherFilter, str]] = {
    "all": "true",
    "redeemed": _REDEEMED,
    "open": f"NOT {_REDEEMED}",
}
_OF_CAMPAIGN: Final = """
    SELECT voucher_id FROM (
        SELECT voucher_id FROM vouchers
        WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id AND voucher_id > :after
        UNION
        SELECT voucher_id FROM issuances
        WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id AND voucher_id > :after) k
    WHERE {condition} ORDER BY voucher_id LIMIT :limit"""

_LINES: Final = """
    SELECT k.voucher_id, coalesce(i.campaign_id, v.campaign_id) AS campaign_id, c.name AS campaign_name,
           coalesce(i.customer_id, l.customer_id) AS customer_id, i.issued_at, i.issued_at_precision,
           i.order_id IS NOT NULL AS bought, v.valid_until, n.redemptions, l.redeemed_at,
           l.redeemed_at_precision, b.breaks, v.state
    FROM ({keys}) k
    LEFT JOIN vouchers v ON v.merchant_id = :merchant_id AND v.voucher_id = k.voucher_id
    LEFT JOIN issuances i ON i.merchant_id = :merchant_id AND i.voucher_id = k.voucher_id
    LEFT JOIN campaigns c ON c.merchant_id = :merchant_id
         AND c.campaign_id = coalesce(i.campaign_id, v.campaign_id)
    LEFT JOIN LATERAL (
        SELECT r.customer_id, r.redeemed_at, r.redeemed_at_precision FROM redemptions r
        WHERE r.merchant_id = :merchant_id AND r.voucher_id = k.voucher_id AND r.reversed_at IS NULL
        ORDER BY r.redeemed_at DESC LIMIT 1) l ON true
    CROSS JOIN LATERAL (
        SELECT count(*) AS redemptions FROM redemptions r
        WHERE r.merchant_id = :merchant_id AND r.voucher_id = k.voucher_id AND r.reversed_at IS NULL) n
    CROSS JOIN LATERAL (
        SELECT count(*) AS breaks FROM breaks b
        WHERE b.merchant_id = :merchant_id AND b.voucher_id = k.voucher_id AND b.resolved_at IS NULL) b
    ORDER BY k.voucher_id LIMIT :limit"""


async def list_vouchers(
    tx: ReadTx,
    *,
    merchant_id: UUID,
    campaign_id: str,
    only: VoucherFilter = "all",
    limit: int,
    cursor: str | None = None,
) -> Page[VoucherLine]:
    """The vouchers of a campaign in the order of their codes."""
    keys = _OF_CAMPAIGN.format(condition=_CONDITIONS[only])
    return await _lines(tx, keys, {"merchant_id": merchant_id, "campaign_id": campaign_id}, limit, cursor)


async def search_vouchers(
    tx: ReadTx, *, merchant_id: UUID, prefix: str, limit: int, cursor: str | None = None
) -> Page[VoucherLine]:
    """Vouchers whose code begins with `prefix`, in the order of their codes."""
    escaped = prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    values = {"merchant_id": merchant_id, "prefix": prefix, "pattern": f"{escaped}%"}
    return await _lines(tx, _BY_PREFIX, values, limit, cursor)


async def list_vouchers_of_customer(
    tx: ReadTx, *, merchant_id: UUID, customer_id: str, limit: int, cursor: str | None = None
) -> Page[VoucherLine]:
    """Vouchers that a customer was issued or has redeemed, in the order of their codes."""
    return await _lines(
        tx, _BY_CUSTOMER, {"merchant_id": merchant_id, "customer_id": customer_id}, limit, cursor
    )


_LATEST: Final = """
    SELECT voucher_id FROM issuances WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id
    ORDER BY issued_at DESC LIMIT :limit"""


async def last_issued(tx: ReadTx, *, merchant_id: UUID, campaign_id: str, limit: int) -> list[VoucherLine]:
    """The vouchers of a campaign that were handed out last, the newest first."""
    found = await _list_lines(
        tx, _LATEST, {"merchant_id": merchant_id, "campaign_id": campaign_id, "limit": limit}
    )
    return sorted(found, key=lambda line: (line.issued_at is not None, line.issued_at), reverse=True)


async def _lines(
    tx: ReadTx, keys: str, values: dict[str, Any], limit: int, cursor: str | None
) -> Page[VoucherLine]:
    after = "" if cursor is None else decode_cursor(cursor, kinds=(str,))[0]
    found = await _list_lines(tx, keys, {**values, "after": after, "limit": limit + 1})
    return page_of(found, limit=limit, key=lambda line: (line.voucher_id,))


async def _list_lines(tx: ReadTx, keys: str, values: dict[str, Any]) -> list[VoucherLine]:
    """The lines of the vouchers that `keys` names, a statement with their `voucher_id`, by their codes."""
    rows = await tx.all(_LINES.format(keys=keys), values)
    return [VoucherLine(**row._mapping) for row in rows]


async def count_evidence(
    tx: ReadTx, *, merchant_id: UUID, campaign_id: str
) -> list[tuple[str | None, int | None, int]]:
    """A campaign's redemptions by evidence status and level; both null where the source named the payment."""
    rows = await tx.all(
        """SELECT evidence_status, evidence_level, count(*) AS n FROM redemptions
           WHERE merchant_id = :merchant_id AND voucher_id IN (
               SELECT voucher_id FROM vouchers WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id
               UNION SELECT voucher_id FROM issuances
                     WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id)
           GROUP BY 1, 2 ORDER BY 1 NULLS FIRST, 2 DESC NULLS LAST""",
        {"merchant_id": merchant_id, "campaign_id": campaign_id},
    )
    return [(row.evidence_status, row.evidence_level, row.n) for row in rows]
