"""The counters of a campaign: read at once, and proven against the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from counterfoil.db.transactions import ReadTx
from counterfoil.vouchers.campaigns import Counters, counters_of, not_found

_PROOF: Final = """
    WITH told AS (
        SELECT * FROM campaign_counters WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id),
    states AS (
        SELECT count(*) FILTER (WHERE state = 'available') AS available,
               count(*) FILTER (WHERE state = 'issued') AS issued,
               count(*) FILTER (WHERE state = 'reserved') AS reserved,
               count(*) FILTER (WHERE state = 'redeemed') AS redeemed,
               count(*) FILTER (WHERE state = 'expired') AS expired,
               count(*) FILTER (WHERE state = 'voided') AS voided,
               coalesce(sum(uses), 0) AS uses, coalesce(sum(holds), 0) AS holds,
               coalesce(sum(held_minor), 0) AS balance_held
        FROM vouchers WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id AND state IS NOT NULL),
    done AS (
        SELECT count(*) FILTER (WHERE r.reversed_at IS NULL) AS redemptions,
               coalesce(sum(r.discount_minor - r.reversed_minor), 0) AS spent
        FROM redemptions r JOIN vouchers v USING (merchant_id, voucher_id)
        WHERE v.merchant_id = :merchant_id AND v.campaign_id = :campaign_id AND r.campaign_id IS NOT NULL),
    held AS (
        SELECT count(*) AS holds, coalesce(sum(r.discount_minor), 0) AS minor
        FROM reservations r JOIN vouchers v USING (merchant_id, voucher_id)
        WHERE v.merchant_id = :merchant_id AND v.campaign_id = :campaign_id AND r.state = 'held')
    SELECT name, told::bigint, counted::bigint FROM told, states, done, held, LATERAL (VALUES
        ('available', told.available, states.available), ('issued', told.issued, states.issued),
        ('reserved', told.reserved, states.reserved), ('redeemed', told.redeemed, states.redeemed),
        ('expired', told.expired, states.expired), ('voided', told.voided, states.voided),
        ('redemptions', told.redemptions, done.redemptions), ('uses', states.uses::bigint, done.redemptions),
        ('spent_minor', told.spent_minor, done.spent::bigint),
        ('holds', told.holds, held.holds), ('holds_of_vouchers', states.holds::bigint, held.holds),
        ('held_minor', told.held_minor, held.minor::bigint)) compared(name, told, counted)
    WHERE told <> counted"""


@dataclass(frozen=True, slots=True)
class Difference:
    """A counter that does not say what the rows say. There must never be one."""

    name: str
    told: int
    counted: int


async def read_counters(tx: ReadTx, *, merchant_id: UUID, campaign_id: str) -> Counters:
    """A campaign's counters now. `NotFoundError` if it is not run here."""
    row = await tx.first(
        "SELECT * FROM campaign_counters WHERE merchant_id = :merchant_id AND campaign_id = :campaign_id",
        {"merchant_id": merchant_id, "campaign_id": campaign_id},
    )
    if row is None:
        raise not_found(campaign_id)
    return counters_of(row)


async def verify(tx: ReadTx, *, merchant_id: UUID, campaign_id: str) -> list[Difference]:
    """Count the rows of a campaign, all of them, and tell where its counters say something else."""
    await read_counters(tx, merchant_id=merchant_id, campaign_id=campaign_id)
    values: dict[str, Any] = {"merchant_id": merchant_id, "campaign_id": campaign_id}
    return [Difference(row.name, row.told, row.counted) for row in await tx.all(_PROOF, values)]
