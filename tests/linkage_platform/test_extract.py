"""From the tables to frames: nothing is lost, and nothing changes on the way."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db.transactions import Tx, begin, read
from counterfoil.linkage.extract import EXTRACTS, extract, open_extract
from tests.builders import at, load, make_merchant


async def _rows(tx: Any, merchant: Any, directory: Path, name: str) -> list[dict[str, Any]]:
    await extract(tx, merchant_id=merchant, directory=directory)
    connection, frames = open_extract(directory)
    rows: list[dict[str, Any]] = frames[name].to_arrow_table().to_pylist()
    connection.close()
    return rows


HOSTILE = [
    "a,b",
    'a"b',
    '"',
    '""',
    "a\nb",
    "a\r\nb",
    "a\rb",
    "\\.",
    "\\N",
    "NULL",
    "null",
    "#a",
    "'",
    "券🎟",
    "a\tb",
    "\u2028",
    "x" * 190,
    "\ufeffa",
    "1",
    "1e5",
    "true",
    "2026-01-01",
]


async def test_texts_of_every_sort_come_out_as_they_went_in(tx: Tx, tmp_path: Path) -> None:
    merchant = await make_merchant(tx)
    rows = [
        {
            "voucher_id": f"{n}:{text}.",
            "issued_at": at(n),
            "channel": text,
            "customer_id": text.strip() or None,
        }
        for n, text in enumerate(HOSTILE)
    ]
    await load(tx, merchant, "issuances", *rows)
    found = {row["voucher_id"]: row for row in await _rows(tx, merchant, tmp_path, "issuances")}
    for row in rows:
        out = found[row["voucher_id"]]
        assert (out["channel"], out["customer_id"], out["issued_at"]) == (
            row["channel"],
            row["customer_id"],
            row["issued_at"],
        )
        assert out["order_id"] is None


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
async def test_times_and_amounts_at_the_edge_come_out_exact(tx: Tx, tmp_path: Path, text: str) -> None:
    merchant = await make_merchant(tx)
    redemption = {"redemption_id": "r", "voucher_id": "v", "redeemed_at": text, "transaction_id": "t"}
    await load(tx, merchant, "redemptions", {**redemption, "discount_minor": -(2**63 - 1)})
    payment = {"transaction_id": "t", "paid_at": text, "amount_minor": 2**63 - 1}
    await load(tx, merchant, "transactions", payment)
    (out,) = await _rows(tx, merchant, tmp_path, "redemptions")
    assert out["redeemed_at"] == datetime.fromisoformat(text)
    assert out["discount"] == -(2**63 - 1)
    (out,) = await _rows(tx, merchant, tmp_path, "transactions")
    assert (out["amount"], out["paid_at"]) == (2**63 - 1, datetime.fromisoformat(text))


async def test_it_takes_one_merchants_records_and_only_what_a_voucher_leads_to(
    tx: Tx, tmp_path: Path
) -> None:
    merchant, other = await make_merchant(tx), await make_merchant(tx)
    orders = [
        {"order_id": f"o{n}", "ordered_at": at(n), "transaction_id": f"t{n // 2}", "amount_minor": 1}
        for n in range(8)
    ]
    payments = [{"transaction_id": f"t{n}", "paid_at": at(n), "amount_minor": 2} for n in range(5)]
    for who in (merchant, other):
        await load(tx, who, "orders", *orders)
        await load(tx, who, "transactions", *payments)
    await load(tx, merchant, "issuances", {"voucher_id": "v", "issued_at": at(0), "order_id": "o1"})
    redemption = {"redemption_id": "r", "voucher_id": "v", "redeemed_at": at(1), "transaction_id": "t2"}
    await load(tx, merchant, "redemptions", redemption)
    found = await _rows(tx, merchant, tmp_path, "orders")
    assert sorted(row["order_id"] for row in found) == ["o0", "o1", "o4", "o5"]
    found = await _rows(tx, merchant, tmp_path, "transactions")
    assert sorted(row["transaction_id"] for row in found) == ["t0", "t2"]
    assert await _rows(tx, other, tmp_path, "orders") == []


async def test_nothing_at_all_gives_empty_frames(tx: Tx, tmp_path: Path) -> None:
    merchant = await make_merchant(tx)
    await extract(tx, merchant_id=merchant, directory=tmp_path)
    connection, frames = open_extract(tmp_path)
    counts = {name: frame.count("*").fetchall()[0][0] for name, frame in frames.items()}
    assert counts == dict.fromkeys(EXTRACTS, 0)
    connection.close()


async def test_all_tables_are_of_one_moment(engine: AsyncEngine, tmp_path: Path) -> None:
    async with begin(engine) as tx:
        merchant = await make_merchant(tx)
        await load(tx, merchant, "issuances", {"voucher_id": "v", "issued_at": at(0)})
    redemption = {"redemption_id": "r", "voucher_id": "v", "redeemed_at": at(1)}
    async with read(engine) as snapshot:
        await snapshot.scalar("SELECT 1")
        async with begin(engine) as tx:
            await load(tx, merchant, "redemptions", redemption)
        assert await _rows(snapshot, merchant, tmp_path, "redemptions") == []
        assert len(await _rows(snapshot, merchant, tmp_path, "issuances")) == 1
