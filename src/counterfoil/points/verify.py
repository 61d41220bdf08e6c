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
    WITH members AS ({_MEMBERS}),
    chain AS (
        SELECT t.member_no, t.points, t.balance, t.version,
               coalesce(lag(t.balance) OVER w, 0) + t.points AS expected, row_number() OVER w AS place
        FROM members m JOIN points_transfers t ON t.member_no = m.account_no AND t.version IS NOT NULL
        WINDOW w AS (PARTITION BY t.member_no ORDER BY t.version)),
    posted AS (
        SELECT member_no, sum(points)::bigint AS points, count(*) AS number,
               count(*) FILTER (WHERE balance <> expected OR version <> place) AS broken
        FROM chain GROUP BY member_no),
    waiting AS (
        SELECT p.member_no,
               coalesce(sum(abs(p.points) - p.voided_points) FILTER (WHERE p.points < 0), 0)::bigint AS held,
               coalesce(sum(abs(p.points) - p.voided_points) FILTER (WHERE p.points > 0), 0)::bigint
               AS pending
        FROM members m JOIN points_pending p ON p.member_no = m.account_no AND p.state = 'pending'
        GROUP BY p.member_no),
    lots AS (
        SELECT l.member_no, sum(l.points)::bigint AS points
        FROM members m JOIN points_lots l ON l.member_no = m.account_no GROUP BY l.member_no),
    compared AS (
        SELECT m.account_no, m.name AS customer_id, c.name, c.told, c.counted,
               coalesce(p.number, 0) AS number
        FROM members m LEFT JOIN posted p ON p.member_no = m.account_no
        LEFT JOIN waiting w ON w.member_no = m.account_no LEFT JOIN lots l ON l.member_no = m.account_no,
        LATERAL (VALUES
            ('balance', m.balance, coalesce(p.points, 0)), ('version', m.version, coalesce(p.number, 0)),
            ('broken_chain', 0, coalesce(p.broken, 0)), ('held', m.held, coalesce(w.held, 0)),
            ('pending', m.pending, coalesce(w.pending, 0)),
            ('lots', least(coalesce(l.points, 0), m.balance), coalesce(l.points, 0))) c(name, told, counted))
    SELECT max(account_no) AS last, count(DISTINCT account_no) AS accounts,
           coalesce(sum(number) FILTER (WHERE name = 'balance'), 0)::bigint AS transfers,
           coalesce(json_agg(json_build_array(customer_id, name, told, counted) ORDER BY account_no)
                    FILTER (WHERE told <> counted), '[]') AS differences
    FROM compared"""
_REVERSALS: Final = """
    SELECT a.name AS customer_id, 'reversed' AS name, coalesce(r.reversed, 0) AS told,
           sum(abs(t.points))::bigint AS counted
    FROM points_transfers t JOIN points_accounts a ON a.account_no = t.member_no
    LEFT JOIN points_reversals r ON r.transfer_id = t.reverses
    WHERE t.merchant_id = :merchant_id AND t.reverses IS NOT NULL
    GROUP BY a.name, t.reverses, r.reversed HAVING coalesce(r.reversed, 0) <> sum(abs(t.points)) LIMIT 1000"""


async def verify(tx: ReadTx, *, merchant_id: UUID) -> AsyncIterator[Proof]:
    """Prove a merchant's ledger, thousands of accounts at a time, over one moment of the database.

    Of each member: the balance is the sum of the transfers, their versions have no gap and each carries the
    balance after it; what is held and pending is what waits; no more is in lots than in the balance. And of
    each transfer that was undone: as much was undone as is counted.
    """
    after = 0
    while True:
        row = await tx.first(_PROOF, {"merchant_id": merchant_id, "after": after, "most": AT_ONCE})
        if row is None or row.last is None:
            break
        after = row.last
        yield Proof(row.accounts, row.transfers, [Difference(*found) for found in row.differences])
    found = await tx.all(_REVERSALS, {"merchant_id": merchant_id})
    yield Proof(0, 0, [Difference(**difference._mapping) for difference in found])
