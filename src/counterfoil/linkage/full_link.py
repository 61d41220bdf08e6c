"""One voucher's whole life, from the database at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from counterfoil.db.transactions import ReadTx
from counterfoil.errors import NotFoundError
from counterfoil.linkage.types import IssuanceStage, LinkStatus, RedemptionStage

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RedemptionLink:
    """A redemption with the transaction and the orders it leads to."""

    redemption: Row
    stage: RedemptionStage
    transaction: Row | None
    orders: list[Row]


@dataclass(frozen=True, slots=True)
class FullLink:
    """A voucher from the page views before it to the money after it, each part the record as it is stored.

    `status` is that of its least complete redemption; `page_views` are those of its customer on the pages of
    its campaign, up to the last redemption.
    """

    voucher_id: str
    status: LinkStatus
    voucher: Row | None
    campaign: Row | None
    template: Row | None
    customer: Row | None
    page_views: list[Row]
    issuance: Row | None
    issuance_stage: IssuanceStage
    purchase_order: Row | None
    purchase_transaction: Row | None
    redemptions: list[RedemptionLink]
    breaks: list[Row]


MOST_PAGE_VIEWS = 200


async def get_full_link(tx: ReadTx, *, merchant_id: UUID, voucher_id: str) -> FullLink:
    """The full link of a voucher; `NotFoundError` if this merchant has no record of it at all."""
    values: Row = {"merchant_id": merchant_id, "voucher_id": voucher_id}
    head = await _head(tx, values)
    redemptions = await _redemptions(tx, values)
    if head["voucher"] is None and head["issuance"] is None and not redemptions:
        raise NotFoundError(f"There is no voucher {voucher_id!r}.", code="voucher_not_found")
    issuance_stage = _issuance_stage(head)
    last = max((link.redemption["redeemed_at"] for link in redemptions), default=None)
    return FullLink(
        voucher_id=voucher_id,
        # What was reversed did not happen, though it is still told.
        status=_status(
            issuance_stage, [it.stage for it in redemptions if it.redemption["reversed_at"] is None]
        ),
        page_views=await _page_views(tx, values, head, last),
        issuance_stage=issuance_stage,
        redemptions=redemptions,
        breaks=await _breaks(tx, values),
        **head,
    )


async def _head(tx: ReadTx, values: Row) -> Row:
    """The voucher with all that leads to it, in one round trip."""
    row = await tx.first(
        """SELECT to_jsonb(v) - 'merchant_id' AS voucher, to_jsonb(c) - 'merchant_id' AS campaign,
                  to_jsonb(p) - 'merchant_id' AS template, to_jsonb(u) - 'merchant_id' AS customer,
                  to_jsonb(i) - 'merchant_id' AS issuance, to_jsonb(o) - 'merchant_id' AS purchase_order,
                  to_jsonb(t) - 'merchant_id' AS purchase_transaction
           FROM (SELECT CAST(:merchant_id AS uuid) AS merchant_id, CAST(:voucher_id AS text) AS voucher_id) k
           LEFT JOIN vouchers v USING (merchant_id, voucher_id)
           LEFT JOIN issuances i USING (merchant_id, voucher_id)
           LEFT JOIN campaigns c ON c.merchant_id = k.merchant_id
                AND c.campaign_id = coalesce(i.campaign_id, v.campaign_id)
           LEFT JOIN voucher_templates p ON p.merchant_id = k.merchant_id AND p.template_id = v.template_id
           LEFT JOIN customers u ON u.merchant_id = k.merchant_id AND u.customer_id = i.customer_id
           LEFT JOIN orders o ON o.merchant_id = k.merchant_id AND o.order_id = i.order_id
           LEFT JOIN transactions t
                ON t.merchant_id = k.merchant_id AND t.transaction_id = o.transaction_id""",
        values,
    )
    assert row is not None
    return dict(row._mapping)


async def _redemptions(tx: ReadTx, values: Row) -> list[RedemptionLink]:
    rows = await tx.all(
        """SELECT to_jsonb(r) - 'merchant_id' AS redemption, to_jsonb(t) - 'merchant_id' AS transaction,
                  (SELECT coalesce(jsonb_agg(to_jsonb(o) - 'merchant_id' ORDER BY o.order_id), '[]')
                   FROM orders o
                   WHERE o.merchant_id = t.merchant_id AND o.transaction_id = t.transaction_id) AS orders
           FROM redemptions r
           LEFT JOIN orders p ON p.merchant_id = r.merchant_id AND p.order_id = r.order_id
           LEFT JOIN transactions t ON t.merchant_id = r.merchant_id
                AND t.transaction_id = coalesce(r.transaction_id, p.transaction_id)
           WHERE r.merchant_id = :merchant_id AND r.voucher_id = :voucher_id
           ORDER BY r.redeemed_at, r.redemption_id""",
        values,
    )
    return [
        RedemptionLink(row.redemption, _redemption_stage(row), row.transaction, row.orders) for row in rows
    ]


def _redemption_stage(row: Any) -> RedemptionStage:
    if row.transaction is None:
        return "no_transaction_id" if row.redemption["transaction_id"] is None else "transaction_missing"
    return "ordered" if row.orders else "paid"


def _issuance_stage(head: Row) -> IssuanceStage:
    if head["issuance"] is None:
        return "issuance_missing"
    if head["issuance"]["order_id"] is None:
        return "given"
    if head["purchase_order"] is None:
        return "order_missing"
    return "bought" if head["purchase_transaction"] is not None else "transaction_missing"


def _status(issuance: IssuanceStage, redemptions: list[RedemptionStage]) -> LinkStatus:
    if issuance == "issuance_missing" and redemptions:
        return "orphan"
    whole = issuance in {"given", "bought"} and all(stage in {"paid", "ordered"} for stage in redemptions)
    if not whole and (issuance != "issuance_missing" or redemptions):
        return "incomplete"
    return "complete" if redemptions else "open"


async def _page_views(tx: ReadTx, values: Row, head: Row, until: str | None) -> list[Row]:
    issuance, campaign = head["issuance"], head["campaign"]
    if campaign is None or issuance is None or issuance["customer_id"] is None:
        return []
    rows = await tx.all(
        """SELECT to_jsonb(w) - 'merchant_id' AS view FROM page_views w
           WHERE w.merchant_id = :merchant_id AND w.customer_id = :customer_id
             AND w.campaign_id = :campaign_id
             AND (CAST(:until AS timestamptz) IS NULL OR w.viewed_at <= :until)
           ORDER BY w.viewed_at DESC LIMIT :most""",
        {
            "merchant_id": values["merchant_id"],
            "customer_id": issuance["customer_id"],
            "campaign_id": campaign["campaign_id"],
            "until": None if until is None else datetime.fromisoformat(until),
            "most": MOST_PAGE_VIEWS,
        },
    )
    return [row.view for row in reversed(rows)]


async def _breaks(tx: ReadTx, values: Row) -> list[Row]:
    rows = await tx.all(
        """SELECT to_jsonb(b) - 'merchant_id' AS break FROM breaks b
           WHERE b.merchant_id = :merchant_id AND b.voucher_id = :voucher_id
           ORDER BY b.occurred_at, b.kind, b.record_id""",
        values,
    )
    return [row[0] for row in rows]
