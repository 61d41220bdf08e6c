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
               count(*) FILTER (WHERE balance <> expected OR version <> place) AS broken
        FROM (SELECT points, balance, version, row_number() OVER w AS place,
                     coalesce(lag(balance) OVER w, 0) + points AS expected
              FROM points_transfers WHERE member_no = m.account_no AND version IS NOT NULL
              WINDOW w AS (ORDER BY version)) chain) p
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(abs(points) - voided_points) FILTER (WHERE points < 0), 0)::bigint AS held,
               coalesce(sum(abs(points) - voided_points) FILTER (WHERE points > 0), 0)::bigint AS pending
        FROM points_pending WHERE member_no = m.account_no AND state = 'pending') w
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(points), 0)::bigint AS points FROM points_lots WHERE member_no = m.account_no) l
    CROSS JOIN LATERAL (
        SELECT json_agg(json_build_array(m.name, v.name, v.told, v.counted)) AS found
        FROM (VALUES ('balance', m.balance, p.points), ('version', m.version, p.number),
                     ('broken_chain', 0, p.broken), ('held', m.held, w.held),
                     ('pending', m.pending, w.pending),
                     ('lots', least(l.points, m.balance), l.points)) v(name, told, counted)
        WHERE v.told <> v.counted) c"""
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
        yield Proof(
            row.accounts, row.transfers, [Difference(*one) for of_member in row.found for one in of_member]
        )
    found = await tx.all(_REVERSALS, {"merchant_id": merchant_id})
    yield Proof(0, 0, [Difference(**difference._mapping) for difference in found])
