"""The ledger's statements find rows by the index that is meant, in tables that were never analysed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.engine import URL

from counterfoil.db.engine import batch_connection
from counterfoil.points import earning, expiry, ledger, lots, pending, reversals
from tests.conftest import new_database

POSTING = {
    "uq_points_accounts_customer_id", "pk_points_accounts", "pk_points_refusals",
    "uq_points_transfers_reference",
}  # fmt: skip


def _posting(statement: str) -> str:
    return statement.replace("{entries}", ledger.ENTRIES).replace("{outcome}", ledger.OUTCOMES)


STATEMENTS: dict[str, tuple[str, set[str]]] = {
    "lock": (ledger.LOCK, {"uq_points_accounts_customer_id"}),
    "post": (_posting(ledger.POST), POSTING),
    "post_probing": (_posting(ledger.POST_PROBING), POSTING),
    "take": (lots._TAKE, {"pk_points_transfers", "pk_points_lots", "ix_points_lots_expires_at"}),
    "give_back": (lots._GIVE_BACK, {"pk_points_transfers", "pk_points_lot_uses"}),
    "lock_pending": (pending._LOCK, {"pk_points_accounts", "pk_points_pending"}),
    "read_pending": (
        pending._READ,
        {"pk_points_accounts", "pk_points_pending", "pk_points_transfers", "uq_points_transfers_settles"},
    ),
    "settle": (pending._SETTLE, {"pk_points_accounts", "pk_points_pending"}),
    "reduce": (pending._REDUCE, {"pk_points_accounts", "pk_points_pending"}),
    "due": (pending._DUE, {"ix_points_pending_due_at"}),
    "lock_reversals": (reversals._LOCK, {"pk_points_accounts", "pk_points_transfers"}),
    "read_reversals": (
        reversals._READ, {"pk_points_accounts", "pk_points_transfers", "pk_points_reversals"},
    ),
    "before_reversals": (reversals._BEFORE, {"uq_points_transfers_reference", "pk_points_refusals"}),
    "lock_earned": (earning._LOCK, {"pk_points_accounts", "uq_points_transfers_reference"}),
    "earned": (
        earning._EARNED,
        {"uq_points_transfers_reference", "pk_points_pending", "uq_points_transfers_settles"},
    ),
    "refunds": (earning._REFUNDS, {"pk_points_refunds"}),
    "expired": (expiry._EXPIRED, {"uq_points_accounts_customer_id", "pk_points_lots"}),
    "merchants_due": (expiry._DUE, {"ix_points_lots_expires_at", "pk_points_accounts"}),
    "members_due": (expiry._MEMBERS, {"ix_points_lots_expires_at", "pk_points_accounts"}),
    "notice": (
        expiry._NOTICE, {"ix_points_lots_untold", "ix_points_lots_expires_at", "pk_points_accounts"},
    ),
}  # fmt: skip
ROWS = 20_000
_FILL = (
    "INSERT INTO points_accounts (merchant_id, name, opened_at, version, balance) "
    "SELECT m.id, 'c' || n, now(), 1, 5",
    "INSERT INTO points_transfers (transfer_id, merchant_id, member_no, source_no, reference, points, "
    "balance, version, settles, posted_at) SELECT gen_random_uuid(), m.id, n, 0, 'r' || n, 5, 5, 1, "
    "CASE WHEN n % 9 = 0 THEN gen_random_uuid() END, now()",
    "INSERT INTO points_refusals SELECT 0, 'x' || n, m.id, 'c', 5, 'insufficient', now()",
    "INSERT INTO points_lots SELECT n, now() + n * interval '1 min', m.id, 5, "
    "CASE WHEN n % 2 = 0 THEN now() END",
    "INSERT INTO points_lot_uses SELECT gen_random_uuid(), now(), 5",
    "INSERT INTO points_refunds SELECT m.id, 'o' || n, 'r', 5, 5, 0, now()",
)
_FROM_TRANSFERS = (
    "INSERT INTO points_pending (transfer_id, merchant_id, member_no, points, due_at) "
    "SELECT transfer_id, merchant_id, member_no, points, now() FROM points_transfers",
    "INSERT INTO points_reversals SELECT transfer_id, points, 1 FROM points_transfers",
)


@pytest.fixture(scope="module")
async def connection(cluster: URL) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the batches have it, to tables that filled up and were never analysed."""
    async with new_database(cluster) as url:
        made = await batch_connection(url.render_as_string(hide_password=False))
        await made.execute(
            "INSERT INTO merchants (id, reference, name, time_zone, currency, created_at) "
            "SELECT gen_random_uuid(), 'm', 'M', 'UTC', 'CNY', now()"
        )
        for statement in _FILL:
            await made.execute(f"{statement} FROM merchants m, generate_series(1, {ROWS}) n")
        for statement in _FROM_TRANSFERS:
            await made.execute(statement)
        yield made
        await made.close()


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_statement_of_the_ledger_finds_its_rows_by_the_index_that_is_meant(
    name: str, connection: asyncpg.Connection
) -> None:
    statement, meant = STATEMENTS[name]
    places = max(map(int, re.findall(r"\$(\d+)", statement)))
    await connection.execute(f"PREPARE {name} AS {statement}")
    rows = await connection.fetch(f"EXPLAIN EXECUTE {name} ({', '.join(['NULL'] * places)})")
    plan = "\n".join(row[0] for row in rows)
    used = set(re.findall(r"Index (?:Only )?Scan (?:Backward )?using (\w+)", plan))
    assert used == meant, plan
    # Of programs there are as many as merchants.
    assert not re.search(r"Seq Scan on (?!points_programs)", plan), plan


@pytest.mark.parametrize(
    "name", ["post", "post_probing", "take", "read_pending", "earned", "before_reversals"]
)
async def test_connections_that_plan_freely_find_rows_of_full_tables_by_indexes_too(
    name: str, connection: asyncpg.Connection
) -> None:
    statement, _ = STATEMENTS[name]
    places = max(map(int, re.findall(r"\$(\d+)", statement)))
    async with connection.transaction():
        await connection.execute("ANALYZE points_accounts, points_transfers, points_refusals, points_lots")
        for setting in ("seqscan", "hashjoin", "mergejoin", "bitmapscan"):
            await connection.execute(f"SET LOCAL enable_{setting} = on")
        await connection.execute(f"PREPARE free_{name} AS {statement}")
        rows = await connection.fetch(f"EXPLAIN EXECUTE free_{name} ({', '.join(['NULL'] * places)})")
    plan = "\n".join(row[0] for row in rows)
    assert not re.search(r"Seq Scan on points_(accounts|transfers|refusals|lots)\b", plan), plan
