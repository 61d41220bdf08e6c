"""Finding breaks in the platform's own tables, and mending them when late records arrive.

Every load of records is followed by a job that joins the vouchers it touched once more: a break that is
found is kept with its age, one that is no longer found is resolved. Nothing is ever dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from counterfoil.db.transactions import Tx


@dataclass(frozen=True, slots=True)
class RejoinOutcome:
    """What a joining changed. `skipped`: a later one had seen these records already."""

    vouchers: int
    opened: int
    resolved: int
    skipped: bool = False


_TOUCHED_BY: Final = {
    "issuances": "SELECT unnest(CAST(:keys AS text[]))",
    "redemptions": "SELECT unnest(CAST(:keys AS text[]))",
    "vouchers": "SELECT unnest(CAST(:keys AS text[]))",
    "orders": """
        WITH paid_by AS (
            SELECT transaction_id FROM orders
            WHERE merchant_id = :merchant_id AND order_id = ANY(CAST(:keys AS text[]))
            UNION SELECT unnest(CAST(:former AS text[])))
        SELECT voucher_id FROM issuances
        WHERE merchant_id = :merchant_id AND order_id = ANY(CAST(:keys AS text[]))
        UNION
        -- All orders of a payment must add up to it: the other ones' vouchers are touched as well.
        SELECT i.voucher_id FROM paid_by JOIN orders o USING (transaction_id)
        JOIN issuances i USING (merchant_id, order_id) WHERE o.merchant_id = :merchant_id
        UNION
        SELECT r.voucher_id FROM paid_by JOIN redemptions r USING (transaction_id)
        WHERE r.merchant_id = :merchant_id
        UNION
        SELECT r.voucher_id FROM unnest(CAST(:keys AS text[])) k JOIN redemptions r
             ON coalesce('o' || r.order_id, 't' || r.transaction_id) = 'o' || k
        WHERE r.merchant_id = :merchant_id AND r.campaign_id IS NOT NULL""",
    "transactions": """
        SELECT voucher_id FROM redemptions
        WHERE merchant_id = :merchant_id AND transaction_id = ANY(CAST(:keys AS text[]))
        UNION
        SELECT i.voucher_id FROM orders o JOIN issuances i USING (merchant_id, order_id)
        WHERE o.merchant_id = :merchant_id AND o.transaction_id = ANY(CAST(:keys AS text[]))
        UNION
        SELECT r.voucher_id FROM orders o JOIN redemptions r
             ON coalesce('o' || r.order_id, 't' || r.transaction_id) = 'o' || o.order_id
             AND r.merchant_id = o.merchant_id AND r.campaign_id IS NOT NULL
        WHERE o.merchant_id = :merchant_id AND o.transaction_id = ANY(CAST(:keys AS text[]))""",
}
"""From the keys of what was recorded to the vouchers whose link it may change."""

_TOUCHED_BY_ALL: Final = """
    SELECT voucher_id FROM issuances WHERE merchant_id = :merchant_id
    UNION SELECT voucher_id FROM redemptions WHERE merchant_id = :merchant_id
    UNION SELECT voucher_id FROM breaks WHERE merchant_id = :merchant_id AND resolved_at IS NULL"""

_FIND: Final = """
    CREATE TEMPORARY TABLE found ON COMMIT DROP AS
    WITH zone AS (SELECT time_zone FROM merchants WHERE id = :merchant_id),
    bought AS (
        SELECT i.voucher_id, coalesce(i.campaign_id, v.campaign_id) AS campaign_id, i.issued_at, i.order_id,
               o.order_id AS found_order_id,
               o.transaction_id, t.transaction_id AS found_transaction_id, t.amount_minor AS paid,
               (SELECT sum(s.amount_minor) FROM orders s
                WHERE s.merchant_id = :merchant_id AND s.transaction_id = t.transaction_id) AS ordered
        FROM touched JOIN issuances i ON i.merchant_id = :merchant_id AND i.voucher_id = touched.voucher_id
        LEFT JOIN vouchers v ON v.merchant_id = :merchant_id AND v.voucher_id = i.voucher_id
        LEFT JOIN orders o ON o.merchant_id = :merchant_id AND o.order_id = i.order_id
        LEFT JOIN transactions t ON t.merchant_id = :merchant_id AND t.transaction_id = o.transaction_id
        WHERE i.order_id IS NOT NULL
    ),
    redeemed AS (
        SELECT r.redemption_id, r.voucher_id, r.redeemed_at, r.redeemed_at_precision,
               -- Of a redemption that names its order alone, the order's.
               coalesce(r.transaction_id, o.transaction_id) AS transaction_id,
               coalesce(i.campaign_id, v.campaign_id) AS campaign_id, i.voucher_id AS issued_voucher_id,
               i.issued_at, i.issued_at_precision,
               CASE WHEN v.voucher_id IS NULL THEN 1 ELSE v.max_redemptions END AS max_redemptions,
               t.transaction_id AS found_transaction_id, t.amount_minor AS paid,
               (SELECT sum(s.amount_minor) FROM orders s
                WHERE s.merchant_id = :merchant_id AND s.transaction_id = t.transaction_id) AS ordered,
               row_number() OVER (PARTITION BY r.voucher_id
                                  ORDER BY r.redeemed_at, r.redemption_id) AS redemption_number
        FROM touched JOIN redemptions r ON r.merchant_id = :merchant_id AND r.voucher_id = touched.voucher_id
             AND r.reversed_at IS NULL
        LEFT JOIN issuances i ON i.merchant_id = :merchant_id AND i.voucher_id = r.voucher_id
        LEFT JOIN vouchers v ON v.merchant_id = :merchant_id AND v.voucher_id = r.voucher_id
        LEFT JOIN orders o ON o.merchant_id = :merchant_id AND o.order_id = r.order_id
        LEFT JOIN transactions t ON t.merchant_id = :merchant_id
             AND t.transaction_id = coalesce(r.transaction_id, o.transaction_id)
    )
    SELECT 'missing_order' AS kind, 'issuances' AS source, voucher_id AS record_id, voucher_id, campaign_id,
           order_id AS missing_id, '{}'::jsonb AS detail, issued_at AS occurred_at
    FROM bought WHERE found_order_id IS NULL
    UNION ALL
    SELECT 'missing_transaction', 'issuances', voucher_id, voucher_id, campaign_id, transaction_id,
           jsonb_build_object('order_id', order_id), issued_at
    FROM bought WHERE found_order_id IS NOT NULL AND found_transaction_id IS NULL
    UNION ALL
    SELECT 'amount_mismatch', 'issuances', voucher_id, voucher_id, campaign_id, NULL,
           jsonb_build_object('ordered_minor', ordered, 'paid_minor', paid), issued_at
    FROM bought WHERE ordered IS NOT NULL AND ordered <> paid
    UNION ALL
    SELECT 'orphan_redemption', 'redemptions', redemption_id, voucher_id, campaign_id, voucher_id,
           '{}'::jsonb, redeemed_at
    FROM redeemed WHERE issued_voucher_id IS NULL
    UNION ALL
    SELECT 'no_transaction_id', 'redemptions', redemption_id, voucher_id, campaign_id, NULL,
           '{}'::jsonb, redeemed_at
    FROM redeemed WHERE transaction_id IS NULL
    UNION ALL
    SELECT 'missing_transaction', 'redemptions', redemption_id, voucher_id, campaign_id, transaction_id,
           '{}'::jsonb, redeemed_at
    FROM redeemed WHERE transaction_id IS NOT NULL AND found_transaction_id IS NULL
    UNION ALL
    SELECT 'amount_mismatch', 'redemptions', redemption_id, voucher_id, campaign_id, NULL,
           jsonb_build_object('ordered_minor', ordered, 'paid_minor', paid), redeemed_at
    FROM redeemed WHERE ordered IS NOT NULL AND ordered <> paid
    UNION ALL
    SELECT 'redeemed_twice', 'redemptions', redemption_id, voucher_id, campaign_id, NULL,
           jsonb_build_object('redemption_number', redemption_number, 'allowed', max_redemptions), redeemed_at
    FROM redeemed WHERE redemption_number > max_redemptions
    UNION ALL
    -- Where one side knows only the day, days are compared: of the merchant, not of UTC.
    SELECT 'redeemed_before_issued', 'redemptions', redemption_id, voucher_id, campaign_id, NULL,
           jsonb_build_object('issued_at', issued_at), redeemed_at
    FROM redeemed, zone
    WHERE CASE WHEN 'day' IN (redeemed_at_precision, issued_at_precision)
          THEN (redeemed_at AT TIME ZONE time_zone)::date < (issued_at AT TIME ZONE time_zone)::date
          ELSE redeemed_at < issued_at END"""

_OPEN: Final = """
    WITH opened AS (
        INSERT INTO breaks AS b (merchant_id, kind, source, record_id, voucher_id, campaign_id, missing_id,
                                 detail, occurred_at, detected_at)
        SELECT CAST(:merchant_id AS uuid), kind, source, record_id, voucher_id, campaign_id, missing_id,
               detail, occurred_at, CAST(:now AS timestamptz)
        FROM found ORDER BY kind, source, record_id
        ON CONFLICT (merchant_id, kind, source, record_id) DO UPDATE
        SET resolved_at = NULL, missing_id = excluded.missing_id, detail = excluded.detail,
            campaign_id = excluded.campaign_id,
            detected_at = CASE WHEN b.resolved_at IS NULL THEN b.detected_at ELSE excluded.detected_at END
        WHERE b.resolved_at IS NOT NULL
           OR (b.missing_id, b.detail, b.campaign_id)
              IS DISTINCT FROM (excluded.missing_id, excluded.detail, excluded.campaign_id)
        RETURNING 1)
    SELECT count(*) FROM opened"""

_RESOLVE: Final = """
    WITH resolved AS (
        UPDATE breaks b SET resolved_at = :now
        FROM touched
        WHERE b.merchant_id = :merchant_id AND b.voucher_id = touched.voucher_id AND b.resolved_at IS NULL
          AND NOT EXISTS (SELECT 1 FROM found f
                          WHERE (f.kind, f.source, f.record_id) = (b.kind, b.source, b.record_id))
        RETURNING 1)
    SELECT count(*) FROM resolved"""


async def rejoin(
    tx: Tx,
    *,
    merchant_id: UUID,
    kind: str,
    keys: Sequence[str] | None,
    former: Sequence[str] = (),
    transaction: str | None = None,
    now: datetime,
) -> RejoinOutcome:
    """Join what `keys` of a record kind touch (None: everything) again, and bring the breaks up to date.

    Running it twice, or for records that another run has seen, changes nothing. `former` are transactions
    from which orders were moved away. `transaction` is the id of the load's transaction: when the last full
    run saw it, there is nothing left to do.
    """
    # One at a time for each merchant: two runs with different views must not overwrite each other's.
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))", {"name": f"rejoin:{merchant_id}"}
    )
    values = {
        "merchant_id": merchant_id,
        "keys": None if keys is None else list(keys),
        "former": list(former),
        "now": now,
    }
    if transaction is not None and await _seen(tx, merchant_id, transaction):
        return RejoinOutcome(vouchers=0, opened=0, resolved=0, skipped=True)
    if keys is None:
        await _remember(tx, merchant_id)
    touched = _TOUCHED_BY_ALL if keys is None else _TOUCHED_BY[kind]
    await tx.execute(
        f"CREATE TEMPORARY TABLE touched (voucher_id text PRIMARY KEY) ON COMMIT DROP /* {kind} */"
    )
    vouchers = (await tx.execute(f"INSERT INTO touched {touched} ON CONFLICT DO NOTHING", values)).rowcount
    await tx.execute("ANALYZE touched")
    await tx.execute(_FIND, values)
    opened = await tx.scalar(_OPEN, values)
    resolved = await tx.scalar(_RESOLVE, values)
    await tx.execute("DROP TABLE touched, found")
    return RejoinOutcome(vouchers=vouchers, opened=opened, resolved=resolved)


MOST_TOUCHED: Final = 5_000
_TAKE: Final = f"""
    DELETE FROM touched_vouchers WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM touched_vouchers LIMIT {MOST_TOUCHED} FOR UPDATE SKIP LOCKED))
    RETURNING merchant_id, voucher_id"""


async def rejoin_touched(tx: Tx, *, now: datetime) -> int:
    """Join vouchers that the verbs touched again, many at a time; how many there were."""
    touched: dict[UUID, set[str]] = {}
    for row in await tx.all(_TAKE):
        touched.setdefault(row.merchant_id, set()).add(row.voucher_id)
    # In one order, so that two workers wait for each other and never both ways.
    for merchant_id in sorted(touched, key=lambda m: m.bytes):
        keys = sorted(touched[merchant_id])
        await rejoin(tx, merchant_id=merchant_id, kind="vouchers", keys=keys, now=now)
    return sum(map(len, touched.values()))


async def _seen(tx: Tx, merchant_id: UUID, transaction: str) -> bool:
    statement = """
        SELECT pg_visible_in_snapshot(CAST(CAST(:transaction AS text) AS xid8), CAST(snapshot AS pg_snapshot))
        FROM rejoins WHERE merchant_id = :merchant_id
          -- A snapshot from the future was taken by another server, before this database was restored here.
          AND pg_snapshot_xmax(CAST(snapshot AS pg_snapshot)) <= pg_snapshot_xmax(pg_current_snapshot())"""
    return bool(await tx.scalar(statement, {"merchant_id": merchant_id, "transaction": transaction}))


async def _remember(tx: Tx, merchant_id: UUID) -> None:
    """Note what this full run can see; the statements after this one see at least as much."""
    statement = """
        INSERT INTO rejoins (merchant_id, snapshot) VALUES (:merchant_id, pg_current_snapshot()::text)
        ON CONFLICT (merchant_id) DO UPDATE SET snapshot = excluded.snapshot"""
    await tx.execute(statement, {"merchant_id": merchant_id})
