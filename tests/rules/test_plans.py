"""Statements that must stay fast find their rows by an index, in tables with enough rows to matter."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from counterfoil.db import jobs
from counterfoil.db.engine import create_engine
from counterfoil.db.paging import encode_cursor
from counterfoil.db.transactions import Tx, begin
from counterfoil.linkage import queries
from counterfoil.linkage.full_link import get_full_link
from counterfoil.linkage.rejoin import rejoin
from counterfoil.orders import paid
from counterfoil.vouchers import voucher_queries
from tests.builders import NOW, make_merchant
from tests.conftest import new_database

ROWS = 10_000


async def _fill(tx: Tx, merchant: UUID) -> None:
    values = {"m": merchant, "n": ROWS}
    time = "timestamptz '2026-01-01' + n * interval '1 minute'"
    for statement in (
        f"""INSERT INTO issuances
                (merchant_id, voucher_id, campaign_id, customer_id, issued_at, order_id, recorded_at)
            SELECT :m, 'v' || n, 'c' || n % 20, 'u' || n % 999, {time}, 'o' || n, now()""",
        """INSERT INTO vouchers (merchant_id, voucher_id, campaign_id, template_id, recorded_at)
            SELECT :m, 'v' || n, 'c' || n % 20, 'p' || n % 20, now()""",
        f"""INSERT INTO redemptions
                (merchant_id, redemption_id, voucher_id, redeemed_at, transaction_id, recorded_at)
            SELECT :m, 'r' || n, 'v' || n, {time}, 't' || n, now()""",
        """INSERT INTO redemption_reversals
                (merchant_id, reversal_id, redemption_id, voucher_id, discount_minor, whole, reversed_at)
            SELECT :m, 'z' || n, 'r' || n, 'v' || n, 0, true, now()""",
        f"""INSERT INTO orders (merchant_id, order_id, ordered_at, amount_minor, transaction_id, recorded_at)
            SELECT :m, 'o' || n, {time}, n, 't' || n, now()""",
        f"""INSERT INTO transactions (merchant_id, transaction_id, paid_at, amount_minor, recorded_at)
            SELECT :m, 't' || n, {time}, n, now()""",
        f"""INSERT INTO page_views (merchant_id, view_id, campaign_id, customer_id, viewed_at, recorded_at)
            SELECT :m, 'w' || n, 'c' || n % 20, 'u' || n % 999, {time}, now()""",
        f"""INSERT INTO breaks
                (merchant_id, kind, source, record_id, voucher_id, occurred_at, detected_at, resolved_at)
            SELECT :m, 'missing_order', 'issuances', 'v' || n, 'v' || n, {time}, now(),
                   CASE WHEN n % 2 = 0 THEN now() END""",
        f"""INSERT INTO jobs (id, merchant_id, kind, request, created_at)
            SELECT gen_random_uuid(), :m, 'analysis', '{{}}', {time}""",
        "INSERT INTO campaigns (merchant_id, campaign_id, recorded_at) SELECT :m, 'c' || n, now()",
        """INSERT INTO voucher_templates (merchant_id, template_id, campaign_id, recorded_at)
            SELECT :m, 'p' || n, 'c' || n % 20, now()""",
        "INSERT INTO customers (merchant_id, customer_id, recorded_at) SELECT :m, 'u' || n, now()",
    ):
        await tx.execute(f"{statement} FROM generate_series(1, :n) n", values)


class Watched:
    """A database full of two merchants' records, and what each statement of a verb would read."""

    def __init__(self, engine: AsyncEngine, merchant: UUID) -> None:
        self.engine, self.merchant = engine, merchant

    async def sequential(self, verb: Any, **arguments: Any) -> list[str]:
        """The tables that the statements of a verb read from end to end."""
        async with self.engine.connect() as connection:
            await connection.begin()
            statements = _recorded(connection)
            await verb(Tx(connection), **arguments)
            await connection.rollback()
        found: list[str] = []
        async with self.engine.connect() as connection:
            for statement, parameters in statements:
                if statement.lstrip().upper().startswith(("SELECT", "WITH", "UPDATE", "INSERT")):
                    explain = f"EXPLAIN (FORMAT JSON) {statement}"
                    explained = await connection.exec_driver_sql(explain, parameters)
                    plan = explained.scalar_one()
                    found += _scans(json.loads(plan) if isinstance(plan, str) else plan)
        assert statements
        return [table for table in found if table not in {"touched", "found", "merchants", "rejoins"}]


def _recorded(connection: AsyncConnection) -> list[tuple[str, Any]]:
    statements: list[tuple[str, Any]] = []

    @event.listens_for(connection.sync_connection, "before_cursor_execute")
    def keep(_c: Any, _cursor: Any, statement: str, parameters: Any, _x: Any, _many: bool) -> None:
        statements.append((statement, parameters))

    return statements


def _scans(plan: Any) -> list[str]:
    if isinstance(plan, list):
        return [table for part in plan for table in _scans(part)]
    if not isinstance(plan, dict):
        return []
    own = [plan["Relation Name"]] if plan.get("Node Type") == "Seq Scan" else []
    return own + [table for part in plan.values() for table in _scans(part)]


@pytest.fixture(scope="module")
async def full(cluster: URL) -> AsyncIterator[Watched]:
    async with new_database(cluster) as url:
        engine = create_engine(url.render_as_string(hide_password=False))
        async with begin(engine) as tx:
            first, second = await make_merchant(tx), await make_merchant(tx)
            for merchant in (first, second):
                await _fill(tx, merchant)
        async with begin(engine) as tx:
            await tx.execute("ANALYZE")
        yield Watched(engine, second)
        await engine.dispose()


async def test_no_hot_statement_reads_a_table_from_end_to_end(full: Watched) -> None:
    merchant = full.merchant
    after = encode_cursor(("2026-01-08T00:00:00+00:00", "missing_order", "issuances", "v5"))
    job_after = encode_cursor(("2026-01-08T00:00:00+00:00", "00000000-0000-0000-0000-000000000000"))
    hot: list[tuple[Any, dict[str, Any]]] = [
        (get_full_link, {"merchant_id": merchant, "voucher_id": "v77"}),
        (queries.list_breaks, {"merchant_id": merchant, "limit": 50}),
        (queries.list_breaks, {"merchant_id": merchant, "limit": 50, "cursor": after}),
        (jobs.list_page, {"merchant_id": merchant, "limit": 50, "cursor": None}),
        (jobs.list_page, {"merchant_id": merchant, "limit": 50, "cursor": job_after}),
        (jobs.list_page, {"merchant_id": None, "limit": 50, "cursor": None}),
        (jobs.list_page, {"merchant_id": None, "limit": 50, "cursor": job_after}),
    ]
    of = {"merchant_id": merchant, "limit": 50}
    ending, endless = encode_cursor(("2026-01-08T00:00:00+00:00", "v5")), encode_cursor(("", "v5"))
    hot += [
        (voucher_queries.list_of_campaign, {**of, "campaign_id": "c7"}),
        (voucher_queries.list_of_campaign, {**of, "campaign_id": "c7", "state": "issued", "cursor": ending}),
        (voucher_queries.list_of_campaign, {**of, "campaign_id": "c7", "cursor": endless}),
        (voucher_queries.list_of_customer, {**of, "customer_id": "u7"}),
        (
            voucher_queries.list_of_customer,
            {**of, "customer_id": "u7", "campaign_id": "c7", "state": "issued"},
        ),
        (voucher_queries.list_redemptions, {**of, "order_id": "o7"}),
        (voucher_queries.list_redemptions, {**of, "transaction_id": "t7"}),
        (voucher_queries.list_redemptions, {**of, "voucher_id": "v7", "cursor": ending}),
        (voucher_queries.find_voucher, {"merchant_id": merchant, "voucher_id": "v7"}),
    ]
    paid_by = {"merchant_id": merchant, "keys": [f"t{n}" for n in range(900)], "kind": "transactions"}
    hot += [
        (paid.find_paid, {"merchant_id": merchant, "keys": [f"o{n}" for n in range(900)], "kind": "orders"}),
        (paid.find_paid, paid_by),
    ]
    for verb, arguments in hot:
        assert await full.sequential(verb, **arguments) == [], (verb.__name__, arguments)


async def test_pages_of_lists_are_read_from_the_index_without_sorting_all(full: Watched) -> None:
    """The plan of a page must not grow with the table: its cost is that of one page."""
    async with full.engine.connect() as connection:
        for statement in (
            f"""SELECT * FROM jobs WHERE merchant_id = '{full.merchant}'
                ORDER BY created_at DESC, id DESC LIMIT 51""",
            "SELECT * FROM jobs ORDER BY created_at DESC, id DESC LIMIT 51",
            f"""SELECT * FROM breaks WHERE merchant_id = '{full.merchant}' AND resolved_at IS NULL
                ORDER BY occurred_at, kind, source, record_id LIMIT 51""",
        ):
            explained = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}")
            text = json.dumps(explained.scalar_one())
            assert "Sort" not in text, text
            assert "Index" in text


@pytest.mark.parametrize("kind", ["issuances", "redemptions", "orders", "transactions", "vouchers"])
async def test_joining_a_few_records_again_reads_only_what_they_touch(full: Watched, kind: str) -> None:
    keys = [
        f"{'o' if kind == 'orders' else 't' if kind == 'transactions' else 'v'}{n}" for n in (5, 500, 5_000)
    ]
    arguments = {"merchant_id": full.merchant, "kind": kind, "keys": keys, "former": ["t9"], "now": NOW}
    async with full.engine.connect() as connection:
        await connection.begin()
        statements = _recorded(connection)
        outcome = await rejoin(Tx(connection), **arguments)  # type: ignore[arg-type]
        assert outcome.vouchers in {3, 4}
        reads = [
            (s, p)
            for s, p in statements
            if s.lstrip().startswith(("INSERT INTO touched", "CREATE TEMPORARY TABLE found"))
        ]
        assert len(reads) == 2
        await connection.rollback()
        await connection.begin()
        await connection.exec_driver_sql("CREATE TEMPORARY TABLE touched (voucher_id text PRIMARY KEY)")
        for key in keys:
            await connection.exec_driver_sql("INSERT INTO touched VALUES ($1)", (f"v{key[1:]}",))
        await connection.exec_driver_sql("ANALYZE touched")
        for statement, parameters in reads:
            explained = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
            assert set(_scans(explained.scalar_one())) <= {"touched", "merchants"}, statement
        await connection.rollback()
