"""Crediting a batch in our own ledger: locked, decided, posted and noted in one transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from counterfoil.db.transactions import Driven
from counterfoil.points import ledger
from counterfoil.points.files import batches
from counterfoil.points.files.batches import Batch, Counts
from counterfoil.points.files.partners import Partner

_ARGUMENT: Final = "($3::bigint[])"
"""The file, the first record, the one after the last, the partner's account, the seconds of the expiry."""
_IN_BATCH: Final = f"r.file_no = {_ARGUMENT}[1] AND r.n >= {_ARGUMENT}[2] AND r.n < {_ARGUMENT}[3]"
# Records are sorted by bytes ("C"). The index on members is in the database's order: compared in the other
# one it cannot be used, and every account is read for every record.
_ENTRIES: Final = f"""
    SELECT (r.n - {_ARGUMENT}[2])::int AS n, r.customer_id COLLATE "default" AS customer_id,
           {_ARGUMENT}[4] AS source_no, r.reference, r.points,
           to_timestamp({_ARGUMENT}[5]) AS expires_at, false AS pending, NULL::timestamptz AS due_at,
           NULL::text AS order_id, NULL::bigint AS amount_minor, NULL::text AS note, NULL::uuid AS reverses,
           NULL::uuid AS settles
    FROM points_records r WHERE {_IN_BATCH} AND r.fault IS NULL AND r.first_line IS NULL"""
_OUTCOMES: Final = f""",
    results AS (
        INSERT INTO points_results (file_no, n, status, code, transfer_id)
        SELECT {_ARGUMENT}[1], {_ARGUMENT}[2] + n,
               CASE WHEN failed IS NULL AND earlier IS NULL THEN 'rejected' ELSE 'duplicate' END,
               CASE WHEN failed IS NOT NULL THEN failed
                    WHEN earlier IS NULL THEN why
                    WHEN (earlier->>'customer_id', (earlier->>'points')::bigint) = (customer_id, points)
                    THEN 'credited' ELSE 'reference_reused' END,
               (earlier->>'transfer_id')::uuid
        FROM refused)
    SELECT (SELECT coalesce(sum(number), 0) FROM changes)::bigint AS credited,
           (SELECT coalesce(sum(posted), 0) FROM changes)::bigint AS credited_points,
           count(*) FILTER (WHERE new) AS rejected,
           coalesce(sum(points) FILTER (WHERE new), 0)::bigint AS rejected_points,
           count(*) FILTER (WHERE NOT new) AS duplicate,
           coalesce(sum(points) FILTER (WHERE NOT new), 0)::bigint AS duplicate_points
    FROM (SELECT points, failed IS NULL AND earlier IS NULL AS new FROM refused) r"""
_LOCK: Final = """
    SELECT count(*) FROM (
        SELECT account_no FROM points_accounts
        WHERE account_no = ANY(ARRAY(
            SELECT a.account_no
            FROM (SELECT DISTINCT customer_id COLLATE "default" AS customer_id FROM points_records
                  WHERE file_no = $2 AND n >= $3 AND n < $4 AND fault IS NULL AND first_line IS NULL) r
            CROSS JOIN LATERAL (
                SELECT account_no FROM points_accounts
                WHERE merchant_id = $1 AND source IS NULL AND name = r.customer_id LIMIT 1) a))
        ORDER BY account_no FOR NO KEY UPDATE) locked"""


async def credit(
    tx: Driven,
    *,
    partner: Partner,
    batch: Batch,
    limit: int | None,
    expires_at: datetime | None,
    now: datetime,
) -> None:
    """Credit a batch, unless that is done already. `limit`: how high a balance may rise.

    Records that break a rule by themselves and repetitions of a line are left out; what the ledger refuses is
    noted with its reason, and a reference of an earlier file gets the first result again.
    """
    if not await batches.lock(tx, batch=batch):
        return
    db = await tx.driver()
    await db.execute(_LOCK, partner.merchant_id, batch.file_no, batch.from_n, batch.to_n)
    first_id = ledger.first_of_batch()
    (row,) = await ledger.post_from(
        db,
        merchant_id=partner.merchant_id,
        now=now,
        argument=[
            *(batch.file_no, batch.from_n, batch.to_n, partner.source_no),
            int(expires_at.timestamp()) if expires_at else None,
        ],
        limit=limit,
        entries=_ENTRIES,
        outcomes=_OUTCOMES,
        first_id=first_id,
    )
    await batches.finish(tx, batch=batch, counts=Counts(**row), transfers=first_id, now=now)
