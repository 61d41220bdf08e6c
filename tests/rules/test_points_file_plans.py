"""A member's records in a partner's file are found by a few look-ups, however large the file is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL

from counterfoil.db.engine import create_engine
from counterfoil.db.transactions import Tx, begin
from counterfoil.points.files.record_queries import records_statement
from tests.builders import make_merchant
from tests.conftest import new_database

ROWS = 100_000
OF_EACH = 10
FILLED = f"""
    INSERT INTO points_accounts (merchant_id, source, name, opened_at) VALUES (:m, 'partner', 'bank', now());
    INSERT INTO points_partners
        (merchant_id, partner_id, name, terms, layout, source_no, created_at, changed_at)
    SELECT :m, 'bank', 'Bank', '{{}}', '{{}}', account_no, now(), now() FROM points_accounts;
    INSERT INTO points_files (file_id, merchant_id, partner_id, name, via, received_at, size_bytes, digest)
    SELECT gen_random_uuid(), :m, 'bank', 'f', 'api', now(), 1, '' FROM generate_series(1, 3);
    INSERT INTO points_records (file_no, n, line, customer_id, points, reference)
    SELECT f.file_no, n, n + 2, 'm' || lpad((n / {OF_EACH})::text, 9, '0'), 5, 'r' || n
    FROM points_files f, generate_series(0, {ROWS - 1}) n;
    INSERT INTO points_batches
        (file_no, batch_no, from_n, to_n, first_customer, last_customer, worker, cut_at)
    SELECT f.file_no, b + 1, b * 2500, (b + 1) * 2500, 'm', 'm', 0, now()
    FROM points_files f, generate_series(0, {ROWS // 2500 - 3}) b;
    INSERT INTO points_results (file_no, n, status, code)
    SELECT f.file_no, n, 'rejected', 'not_found' FROM points_files f, generate_series(0, {ROWS - 1}, 7) n"""


async def _fill(tx: Tx) -> int:
    merchant_id = await make_merchant(tx)
    for statement in FILLED.split(";"):
        await tx.execute(text(statement), {"m": merchant_id} if ":m" in statement else {})
    found: int = await tx.scalar("SELECT min(file_no) + 1 FROM points_files")
    return found


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for part in plan.get("Plans", ()) for node in _nodes(part))]


@pytest.mark.parametrize("analysed", [True, False])
@pytest.mark.parametrize("reference", [True, False])
async def test_where_a_members_records_are_is_one_query_that_reads_little(
    cluster: URL, analysed: bool, reference: bool
) -> None:
    async with new_database(cluster) as url:
        engine = create_engine(url.render_as_string(hide_password=False))
        async with begin(engine) as tx:
            file_no = await _fill(tx)
        if analysed:
            async with engine.connect() as connection:
                await (await connection.execution_options(isolation_level="AUTOCOMMIT")).exec_driver_sql(
                    "ANALYZE"
                )
        values: dict[str, Any] = {"file_no": file_no, "records": ROWS, "after": -1, "limit": 51}
        values |= {"customer_id": "m000007777", **({"reference": "r77773"} if reference else {})}
        statement = records_statement(of_customer=True, reference=reference)
        async with begin(engine) as tx:
            rows = await tx.all(statement, values)
            told = await tx.scalar(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values)
        await engine.dispose()
    plan = (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]
    assert [row.n for row in rows] == ([77_773] if reference else list(range(77_770, 77_780)))
    scans = [node for node in _nodes(plan) if node["Node Type"] == "Seq Scan"]
    assert not [node for node in scans if node["Relation Name"].startswith("points_")], plan
    # Two halvings of 17 steps and ten records; the table has thousands of pages.
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 500, plan
