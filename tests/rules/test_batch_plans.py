"""The verbs' statements find rows by the index that is meant, in tables that were never analysed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.engine import URL

from counterfoil.db.engine import batch_connection
from counterfoil.vouchers import batches
from tests.conftest import new_database

INDEX = {
    "_VOUCHERS": {"pk_vouchers"},
    "_USAGE": {"pk_campaign_usage"},
    "_LAPSED": {"ix_reservations_expires_at"},
    "_RESERVATIONS_OF_ORDERS": {"ix_reservations_order_id"},
    "_RESERVATIONS": {"pk_reservations"},
    "_HELD": {"uq_reservations_held"},
    "_REDEMPTIONS_OF_ORDERS": {"uq_redemptions_reference"},
    "_REDEMPTIONS": {"pk_redemptions"},
    "_POOL": {"uq_vouchers_pool_position"},
    "_TERMS": {"pk_campaign_terms"},
    "LOCK_CAMPAIGNS": {"pk_campaign_counters"},
    "LOCK_OF_VOUCHERS": {"pk_campaign_counters", "pk_vouchers"},
    "LOCK_OF_RESERVATIONS": {"pk_campaign_counters", "pk_reservations"},
    "LOCK_OF_REDEMPTIONS": {"pk_campaign_counters", "pk_redemptions"},
}


ROWS = 20_000
_FILL = (
    "INSERT INTO merchants (id, reference, name, time_zone, currency, created_at) "
    "SELECT gen_random_uuid(), 'm', 'M', 'UTC', 'CNY', now()",
    "INSERT INTO campaigns (merchant_id, campaign_id, recorded_at) SELECT m.id, 'c' || n, now()",
    "INSERT INTO campaign_terms SELECT m.id, 'c' || n, 1, '{}', now()",
    "INSERT INTO campaign_counters (merchant_id, campaign_id, expired_through, created_at, changed_at) "
    "SELECT m.id, 'c' || n, now(), now(), now()",
    "INSERT INTO campaign_usage SELECT m.id, 'c1', 'u' || n, 'total', date '1970-01-01', 1, 0",
    "INSERT INTO vouchers (merchant_id, voucher_id, campaign_id, state, valid_until, pool_position, "
    "recorded_at) SELECT m.id, md5(n::text), 'c1', 'available', now(), n, now()",
    "INSERT INTO reservations (merchant_id, reservation_id, voucher_id, campaign_id, order_id, state, "
    "discount_minor, reserved_at, expires_at, ended_at) SELECT m.id, 'r' || n, md5(n::text), 'c1', 'o' || n, "
    "CASE WHEN n % 9 = 0 THEN 'held' ELSE 'redeemed' END, 1, now(), now() + n * interval '1 s', "
    "CASE WHEN n % 9 > 0 THEN now() END",
    "INSERT INTO redemptions (merchant_id, redemption_id, voucher_id, campaign_id, order_id, redeemed_at, "
    "recorded_at) SELECT m.id, 'r' || n, md5(n::text), 'c1', 'o' || n, now(), now()",
)


@pytest.fixture(scope="module")
async def connection(cluster: URL) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the batches have it, to tables that filled up and were never analysed."""
    async with new_database(cluster) as url:
        made = await batch_connection(url.render_as_string(hide_password=False))
        await made.execute(_FILL[0])
        for statement in _FILL[1:]:
            await made.execute(f"{statement} FROM merchants m, generate_series(1, {ROWS}) n")
        yield made
        await made.close()


@pytest.mark.parametrize("name", INDEX)
async def test_a_statement_of_the_verbs_finds_its_rows_by_the_index_that_is_meant(
    name: str, connection: asyncpg.Connection
) -> None:
    statement: str = getattr(batches, name)
    places = max(map(int, re.findall(r"\$(\d+)", statement)))
    await connection.execute(f"PREPARE {name} AS {statement}")
    rows = await connection.fetch(f"EXPLAIN EXECUTE {name} ({', '.join(['NULL'] * places)})")
    plan = "\n".join(row[0] for row in rows)
    used = set(re.findall(r"Index (?:Only )?Scan (?:Backward )?using (\w+)", plan))
    assert used == INDEX[name], plan
    assert "Seq Scan" not in plan
