"""Proving the ledger: every account says what its transfers, lots and pending transfers say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from counterfoil.db.transactions import ReadTx

AT_ONCE: Final = 20_000
"""Accounts of one statement."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that an account says and its rows do not. There must never be one."""

    customer_id: str
    name: str
    told: int
    counted: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What was looked at since the last one, and what was wrong with it."""

    accounts: int
    transfers: int
    differences: list[Difference]


_MEMBERS: Final = """
    SELECT account_no, name, balance, held, pending, version FROM points_accounts
    WHERE merchant_id = :merchant_id AND source IS NULL AND account_no > :after
    ORDER BY account_no LIMIT :most"""
_PROOF: Final = f"""
    SELECT max(m.account_no) AS last, count(*) AS accounts, coalesce(sum(p.number), 0)::bigint AS transfers,
           coalesce(json_agg(c.found ORDER BY m.account_no) FILTER (WHERE c.found IS NOT NULL), '[]') AS found
    FROM ({_MEMBERS}) m
    -- For each member apart: whatever the planner believes of the tables, it goes by their indexes.
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(points), 0)::bigint AS points, count(*) AS number,
               count(*) FILTER (WHERE balance <> expected OR version <> place) AS broken,
               coalesce(sum(points) FILTER (WHERE points > 0 AND expires_at IS NOT NULL), 0) AS expiring
        FROM (SELECT points, balance, version, expires_at, row_number() OVER w AS place,
                     coalesce(lag(balance) OVER w, 0) + points AS expected
              FROM points_transfers WHERE member_no = m.account_no AND version IS NOT NULL
              WINDOW w AS (ORDER BY version)) chain) p
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(abs(points) - voided_points) FILTER (WHERE points < 0), 0)::bigint AS held,
               coalesce(sum(abs(points) - voided_points) FILTER (WHERE points > 0), 0)::bigint AS pending
        FROM points_pending WHERE member_no = m.account_no AND state = 'pending') w
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(points), 0)::bigint AS points FROM points_lots WHERE member_no = m.account_no) l
    -- What debits took from the lots and did not give back: what never expires is given back first.
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(u.points - greatest(0, coalesce(r.reversed, 0) + t.points + u.points)), 0)
               AS taken
        FROM points_transfers t LEFT JOIN points_reversals r ON r.transfer_id = t.transfer_id
        CROSS JOIN LATERAL (SELECT coalesce(sum(points), 0) AS points FROM points_lot_uses
                            WHERE transfer_id = t.transfer_id) u
        WHERE t.member_no = m.account_no AND t.version IS NOT NULL AND t.points < 0) d
    CROSS JOIN LATERAL (
        SELECT json_agg(json_build_array(m.name, v.name, v.told, v.counted)) AS found
        FROM (VALUES ('balance', m.balance, p.points), ('version', m.version, p.number),
                     ('broken_chain', 0, p.broken), ('held', m.held, w.held),
                     ('pending', m.pending, w.pending),
                     ('lots', l.points, (p.expiring - d.taken)::bigint),
                     ('beyond_balance', 0, greatest(l.points - m.balance, 0))) v(name, told, counted)
        WHERE v.told <> v.counted) c"""
_BETWEEN: Final = """
    WITH undone AS (
        SELECT reverses AS transfer_id, min(member_no) AS member_no, sum(abs(points)) AS points
        FROM points_transfers WHERE merchant_id = :merchant_id AND reverses IS NOT NULL GROUP BY 1),
    counted AS (
        SELECT r.transfer_id, t.member_no, r.reversed
        FROM points_reversals r JOIN points_transfers t ON t.transfer_id = r.transfer_id
        WHERE t.merchant_id = :merchant_id),
    found AS (
        SELECT coalesce(u.member_no, c.member_no) AS member_no, 'reversed' AS name,
               coalesce(c.reversed, 0) AS told, coalesce(u.points, 0) AS counted
        FROM undone u FULL JOIN counted c ON c.transfer_id = u.transfer_id
        UNION ALL
        SELECT p.member_no, 'carried_out', p.posted_points, coalesce(abs(d.points), 0)
        FROM points_pending p LEFT JOIN points_transfers d ON d.settles = p.transfer_id
        WHERE p.merchant_id = :merchant_id
        UNION ALL
        SELECT t.member_no, 'waiting', t.points, coalesce(p.points, 0)
        FROM points_transfers t
        LEFT JOIN points_pending p ON p.transfer_id = t.transfer_id AND p.member_no = t.member_no
        WHERE t.merchant_id = :merchant_id AND t.version IS NULL
        UNION ALL
        SELECT t.member_no, 'member', t.number, 0
        FROM (SELECT member_no, count(*) AS number FROM points_transfers
              WHERE merchant_id = :merchant_id GROUP BY 1) t
        LEFT JOIN points_accounts a
          ON a.account_no = t.member_no AND a.merchant_id = :merchant_id AND a.source IS NULL
        WHERE a.account_no IS NULL)
    SELECT coalesce(a.name, '') AS customer_id, f.name, f.told::bigint, f.counted::bigint
    FROM found f LEFT JOIN points_accounts a ON a.account_no = f.member_no
    WHERE f.told <> f.counted LIMIT 1000"""


async def verify(tx: ReadTx, *, merchant_id: UUID) -> AsyncIterator[Proof]:
    """Prove a merchant's ledger, thousands of accounts at a time, over one moment of the database.

    Of each member: the balance is the sum of the transfers, their versions have no gap and each carries the
    balance after it; what is held and pending is what waits; the lots are what expiring credits brought and
    debits did not take, and no more than the balance. And of each transfer: as much was undone as is counted;
    a promise is there, and was carried out as it says; its member is one of the merchant's.
    """
    after = 0
    while True:
        row = await tx.first(_PROOF, {"merchant_id": merchant_id, "after": after, "most": AT_ONCE})
        if row is None or row.last is None:
            break
        after = row.last
        yield Proof(
            row.accounts, row.transfers, [Difference(*one) for of_member in row.found for one in of_member]
        )
    found = await tx.all(_BETWEEN, {"merchant_id": merchant_id})
    yield Proof(0, 0, [Difference(**difference._mapping) for difference in found])
