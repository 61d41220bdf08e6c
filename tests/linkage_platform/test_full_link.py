"""One voucher's full link from the database is what the library makes of all the records."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from counterfoil.db.transactions import Tx
from counterfoil.errors import NotFoundError
from counterfoil.linkage.extract import extract, open_extract
from counterfoil.linkage.full_link import MOST_PAGE_VIEWS, FullLink, get_full_link
from counterfoil.linkage.link import link
from tests.builders import at, load, make_merchant

Row = dict[str, Any]


async def _library(tx: Tx, merchant: Any) -> dict[str, list[Row]]:
    with TemporaryDirectory() as place:
        await extract(tx, merchant_id=merchant, directory=Path(place))
        connection, frames = open_extract(Path(place))
        names = ("issuances", "redemptions", "orders", "transactions")
        rows = link(**{name: frames[name] for name in names}).to_arrow_table().to_pylist()
        connection.close()
    found = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["redemption_number"] or 0):
        found[row["voucher_id"]].append(row)
    return found


def _check(mine: FullLink, theirs: list[Row]) -> None:
    first = theirs[0]
    assert mine.issuance_stage == first["issuance_stage"]
    order, paid = mine.purchase_order or {}, mine.purchase_transaction or {}
    assert order.get("amount_minor") == first["purchase_order_amount"]
    assert order.get("transaction_id") == first["purchase_transaction_id"]
    assert paid.get("amount_minor") == first["purchase_amount"]
    statuses = {row["link_status"] for row in theirs}
    assert mine.status == ("incomplete" if "incomplete" in statuses else statuses.pop())
    stages = [row["redemption_stage"] for row in theirs if row["redemption_stage"] != "none"]
    assert [r.stage for r in mine.redemptions] == stages
    for redemption, row in zip(mine.redemptions, theirs, strict=False):
        assert redemption.redemption["redemption_id"] == row["redemption_id"]
        assert datetime.fromisoformat(redemption.redemption["redeemed_at"]) == row["redeemed_at"]
        assert (redemption.transaction or {}).get("amount_minor") == row["transaction_amount"]
        # The library names orders of a payment that is not there, too; the platform shows what it found.
        if redemption.transaction is not None:
            assert len(redemption.orders) == row["order_count"]
            amounts = [o["amount_minor"] for o in redemption.orders if o["amount_minor"] is not None]
            assert (sum(amounts) if amounts else None) == row["order_amount"]


def _some(generator: random.Random, prefix: str, most: int) -> str | None:
    return None if generator.random() < 0.2 else f"{prefix}{generator.randrange(most)}"


def _random_world(generator: random.Random) -> dict[str, list[Row]]:
    """Records of 80 vouchers, with so few ids that orders and payments are shared, missing and repeated."""
    few = generator.randrange

    def either(amount: int) -> int | None:
        return generator.choice([None, amount, amount + 1])

    return {
        "vouchers": [{"voucher_id": f"v{few(80)}", "campaign_id": "c"} for _ in range(30)],
        "issuances": [
            {"voucher_id": f"v{few(60)}", "issued_at": at(few(9)), "order_id": _some(generator, "o", 50)}
            for _ in range(60)
        ],
        "redemptions": [
            {
                "redemption_id": f"r{n}",
                "voucher_id": f"v{few(70)}",
                "redeemed_at": at(few(9)),
                "transaction_id": _some(generator, "t", 50),
            }
            for n in range(70)
        ],
        "orders": [
            {
                "order_id": f"o{n}",
                "ordered_at": at(0),
                "amount_minor": either(n),
                "transaction_id": _some(generator, "t", 40),
            }
            for n in range(40)
        ],
        "transactions": [
            {"transaction_id": f"t{n}", "paid_at": at(0), "amount_minor": n} for n in range(0, 50, 2)
        ],
    }


@pytest.mark.parametrize("seed", range(3))
async def test_status_and_stages_are_those_of_the_library(tx: Tx, seed: int) -> None:
    world = _random_world(random.Random(seed))
    merchant = await make_merchant(tx)
    for kind, rows in world.items():
        await load(tx, merchant, kind, *rows)
    library = await _library(tx, merchant)
    made = {row["voucher_id"] for row in world["vouchers"]}
    for voucher_id in (f"v{n}" for n in range(81)):
        if voucher_id in library:
            found = await get_full_link(tx, merchant_id=merchant, voucher_id=voucher_id)
            _check(found, library[voucher_id])
        elif voucher_id in made:
            found = await get_full_link(tx, merchant_id=merchant, voucher_id=voucher_id)
            assert (found.status, found.issuance_stage) == ("open", "issuance_missing")
        else:
            with pytest.raises(NotFoundError):
                await get_full_link(tx, merchant_id=merchant, voucher_id=voucher_id)


async def test_page_views_are_of_this_customer_and_campaign_up_to_the_last_redemption(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    await load(tx, merchant, "campaigns", {"campaign_id": "c"}, {"campaign_id": "d"})
    issuance = {"voucher_id": "v", "issued_at": at(0), "campaign_id": "c", "customer_id": "u"}
    await load(tx, merchant, "issuances", issuance)
    await load(tx, merchant, "redemptions", {"redemption_id": "r", "voucher_id": "v", "redeemed_at": at(5)})
    view = {"campaign_id": "c", "customer_id": "u"}
    await load(
        tx,
        merchant,
        "page_views",
        {**view, "view_id": "before", "viewed_at": at(-1)},
        {**view, "view_id": "at last", "viewed_at": at(5)},
        {**view, "view_id": "after", "viewed_at": at(5) + timedelta(microseconds=1)},
        {**view, "view_id": "other campaign", "viewed_at": at(1), "campaign_id": "d"},
        {**view, "view_id": "other customer", "viewed_at": at(1), "customer_id": "w"},
    )
    found = await get_full_link(tx, merchant_id=merchant, voucher_id="v")
    assert [view["view_id"] for view in found.page_views] == ["before", "at last"]


async def test_of_many_page_views_the_last_are_shown_in_the_order_of_time(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    await load(tx, merchant, "campaigns", {"campaign_id": "c"})
    issuance = {"voucher_id": "v", "issued_at": at(0), "campaign_id": "c", "customer_id": "u"}
    await load(tx, merchant, "issuances", issuance)
    views = [
        {"view_id": f"{n:04}", "campaign_id": "c", "customer_id": "u", "viewed_at": at(n)} for n in range(250)
    ]
    await load(tx, merchant, "page_views", *views)
    found = await get_full_link(tx, merchant_id=merchant, voucher_id="v")
    assert [view["view_id"] for view in found.page_views] == [f"{n:04}" for n in range(50, 250)]
    assert len(found.page_views) == MOST_PAGE_VIEWS


async def test_the_farthest_times_can_be_shown(tx: Tx) -> None:
    merchant = await make_merchant(tx)
    await load(tx, merchant, "campaigns", {"campaign_id": "c"})
    far = "9999-12-31T23:59:59.999999Z"
    issuance = {
        "voucher_id": "v",
        "issued_at": "0001-01-01T00:00:00Z",
        "campaign_id": "c",
        "customer_id": "u",
    }
    await load(tx, merchant, "issuances", issuance)
    await load(tx, merchant, "redemptions", {"redemption_id": "r", "voucher_id": "v", "redeemed_at": far})
    found = await get_full_link(tx, merchant_id=merchant, voucher_id="v")
    assert datetime.fromisoformat(found.redemptions[0].redemption["redeemed_at"]) == datetime.fromisoformat(
        far
    )
