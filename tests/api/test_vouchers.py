"""Looking at vouchers over HTTP: lists, one with its history, its QR code, the redemptions of an order."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from counterfoil.app import App
from counterfoil.db.transactions import begin
from counterfoil.vouchers import campaigns, pool
from counterfoil.vouchers.requests import Outcome
from counterfoil.vouchers.types import Verb
from tests.api.conftest import Caller
from tests.builders import NOW, at, load
from tests.vouchers.world import World


class Shop:
    """A merchant whose vouchers are moved in committed transactions."""

    def __init__(self, platform: App, who: Caller) -> None:
        self.engine, self.who = platform.engine, who
        self.now = NOW

    async def campaign(self, campaign_id: str = "c", **said: Any) -> None:
        async with begin(self.engine) as tx:
            await World(tx, self.who.merchant.id, self.now).campaign(campaign_id, **said)

    async def ask(self, verb: Verb, **said: Any) -> Outcome:
        async with begin(self.engine) as tx:
            outcome: Outcome = await World(tx, self.who.merchant.id, self.now).ask(verb, **said)
        assert outcome.ok, outcome
        return outcome

    async def claim(self, campaign_id: str = "c", customer_id: str | None = "ann") -> str:
        outcome = await self.ask("claim", campaign_id=campaign_id, customer_id=customer_id)
        assert outcome.voucher is not None
        return outcome.voucher.voucher_id

    async def get(self, path: str, **parameters: Any) -> Any:
        answer = await self.who.client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def all_of(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self.get(path, **parameters, **cursor)
            assert len(page["data"]) <= parameters.get("limit", 50)
            found += page["data"]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}


@pytest.fixture
def shop(platform: App, grocer: Caller) -> Shop:
    return Shop(platform, grocer)


async def test_a_voucher_tells_all_that_became_of_it(shop: Shop) -> None:
    await shop.campaign(validity={"kind": "after_issue", "hours": 48}, uses_per_voucher=3)
    code = await shop.claim()
    order: dict[str, Any] = {"order_id": "o1", "customer_id": "ann"}
    order["lines"] = [{"line_id": "1", "amount_minor": 600}, {"line_id": "2", "amount_minor": 400}]
    reserved = await shop.ask("reserve", voucher_id=code, **order)
    held = await shop.get(f"/v1/vouchers/{code}")
    assert (held["state"], held["holds"], held["uses"], held["max_uses"]) == ("issued", 1, 0, 3)
    redeemed = await shop.ask("redeem", voucher_id=code, transaction_id="t1", **order)
    assert reserved.reservation is not None
    assert redeemed.redemption is not None
    reversal = {"redemption_id": redeemed.redemption.redemption_id, "reason": "broken"}
    await shop.ask("reverse", line_ids=["2"], **reversal)
    await shop.ask("void", voucher_id=code, reason="lost")
    found = await shop.get(f"/v1/vouchers/{code}")
    assert (found["state"], found["customer_id"], found["void_reason"]) == ("voided", "ann", "lost")
    assert (found["uses"], found["holds"], found["balance_minor"]) == (1, 0, None)
    assert datetime.fromisoformat(found["issued_at"]) == NOW
    assert datetime.fromisoformat(found["valid_until"]) == NOW + timedelta(hours=48)
    (reservation,) = found["reservations"]
    assert reservation["reservation_id"] == reserved.reservation.reservation_id
    assert (reservation["state"], reservation["order_id"]) == ("redeemed", "o1")
    (redemption,) = found["redemptions"]
    assert (redemption["discount_minor"], redemption["amount_minor"]) == (500, 1000)
    assert redemption["lines"] == [
        {"line_id": "1", "discount_minor": 300},
        {"line_id": "2", "discount_minor": 200},
    ]
    assert (redemption["reversed_minor"], redemption["reversed_at"]) == (200, None)
    (undone,) = redemption["reversals"]
    assert (undone["line_ids"], undone["discount_minor"], undone["whole"], undone["reason"]) == (
        ["2"],
        200,
        False,
        "broken",
    )


async def test_the_redemptions_of_an_order_are_found_for_its_refund(shop: Shop) -> None:
    await shop.campaign(stacking="any")
    codes = [await shop.claim() for _ in range(3)]
    for n, code in enumerate(codes):
        shop.now = NOW + timedelta(minutes=n)
        order = {"order_id": "o1"} if n < 2 else {}
        await shop.ask("redeem", voucher_id=code, amount_minor=900, transaction_id="t1", **order)
    for limit in (1, 2, 50):
        of_order = await shop.all_of("/v1/redemptions", order_id="o1", limit=limit)
        assert [r["voucher_id"] for r in of_order] == codes[:2]
        of_payment = await shop.all_of("/v1/redemptions", transaction_id="t1", limit=limit)
        assert [r["voucher_id"] for r in of_payment] == codes
    of_voucher = await shop.all_of("/v1/redemptions", voucher_id=codes[0])
    assert of_voucher == of_order[:1]
    assert await shop.all_of("/v1/redemptions", order_id="o1", voucher_id=codes[2]) == []
    await shop.ask("reverse", redemption_id=of_voucher[0]["redemption_id"])
    (reversed_,) = await shop.all_of("/v1/redemptions", voucher_id=codes[0])
    assert reversed_["reversed_minor"] == 500
    assert [r["whole"] for r in reversed_["reversals"]] == [True]


async def test_a_public_code_shows_its_first_redemptions_and_the_list_has_all(shop: Shop) -> None:
    await shop.campaign(uses_per_voucher=None)
    code = await shop.claim(customer_id=None)
    async with begin(shop.engine) as tx:
        world = World(tx, shop.who.merchant.id, NOW)
        for n in range(101):
            world.later(seconds=1)
            assert (await world.ask("redeem", voucher_id=code, order_id=f"o{n}", amount_minor=500)).ok
    assert len((await shop.get(f"/v1/vouchers/{code}"))["redemptions"]) == 100
    found = await shop.all_of("/v1/redemptions", voucher_id=code, limit=40)
    assert [r["order_id"] for r in found] == [f"o{n}" for n in range(101)]


async def test_the_vouchers_of_a_campaign_come_in_the_order_of_their_ends(shop: Shop) -> None:
    """Those without an end last, and each once, wherever a page breaks off."""
    await shop.campaign(validity={"kind": "after_issue", "hours": 1})
    ending = {}
    for n in (3, 1, 2, 2):
        shop.now = NOW + timedelta(hours=n)
        ending[await shop.claim()] = n
    async with begin(shop.engine) as tx:
        brought = [f"P{n}" for n in range(5)]
        await pool.bring(tx, merchant_id=shop.who.merchant.id, campaign_id="c", brought=brought, now=NOW)
    await shop.campaign("other")
    await shop.claim("other")
    expected = [*sorted(ending, key=lambda code: (ending[code], code)), *brought]
    for limit in range(1, 11):
        found = await shop.all_of("/v1/vouchers", campaign_id="c", limit=limit)
        assert [v["voucher_id"] for v in found] == expected
    for limit in (1, 2, 50):
        found = await shop.all_of("/v1/vouchers", campaign_id="c", state="available", limit=limit)
        assert [v["voucher_id"] for v in found] == brought
        found = await shop.all_of("/v1/vouchers", campaign_id="c", state="issued", limit=limit)
        assert [v["voucher_id"] for v in found] == expected[:4]


async def test_the_vouchers_of_a_customer_are_theirs_alone(shop: Shop) -> None:
    for campaign_id in ("c", "d"):
        await shop.campaign(campaign_id)
    mine = sorted([await shop.claim(c, customer_id="ann") for c in ("c", "d", "d")])
    await shop.claim(customer_id="bob")
    await shop.claim(customer_id=None)
    for limit in (1, 2, 50):
        found = await shop.all_of("/v1/vouchers", customer_id="ann", limit=limit)
        assert [v["voucher_id"] for v in found] == mine
    of_both = await shop.all_of("/v1/vouchers", customer_id="ann", campaign_id="d", limit=1)
    assert [v["campaign_id"] for v in of_both] == ["d", "d"]
    await shop.ask("void", voucher_id=mine[0], reason="x")
    (voided,) = await shop.all_of("/v1/vouchers", customer_id="ann", state="voided")
    assert voided["void_reason"] == "x"


async def test_a_list_of_everything_is_not_given(shop: Shop) -> None:
    for path in ("/v1/vouchers", "/v1/redemptions"):
        answer = await shop.who.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (422, "filter_missing")
    answer = await shop.who.client.get("/v1/vouchers", params={"state": "issued"})
    assert answer.json()["code"] == "filter_missing"


@pytest.mark.parametrize("cursor", ["x", "WyIiXQ", "WyJ4IiwieCJd", "WzEsMl0"])
async def test_cursors_of_other_lists_are_refused(shop: Shop, cursor: str) -> None:
    for path, wanted in (
        ("/v1/vouchers", {"campaign_id": "c"}),
        ("/v1/redemptions", {"order_id": "o"}),
        ("/v1/campaigns", {}),
    ):
        answer = await shop.who.client.get(path, params={**wanted, "cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (422, "cursor_invalid"), path


async def test_what_another_system_keeps_is_not_shown_here(platform: App, shop: Shop) -> None:
    async with begin(platform.engine) as tx:
        merchant_id = shop.who.merchant.id
        await load(tx, merchant_id, "vouchers", {"voucher_id": "OLD", "campaign_id": "old"})
        issued = {"voucher_id": "OLD", "issued_at": at(0), "customer_id": "ann", "campaign_id": "old"}
        await load(tx, merchant_id, "issuances", issued)
        used = {"redemption_id": "r", "voucher_id": "OLD", "redeemed_at": at(1), "transaction_id": "t"}
        await load(tx, merchant_id, "redemptions", used)
    for path, wanted in (
        ("/v1/vouchers", {"campaign_id": "old"}),
        ("/v1/vouchers", {"customer_id": "ann"}),
        ("/v1/redemptions", {"voucher_id": "OLD"}),
        ("/v1/redemptions", {"transaction_id": "t"}),
    ):
        assert await shop.all_of(path, **wanted) == []
    for path in ("/v1/vouchers/OLD", "/v1/vouchers/OLD/qr.svg"):
        answer = await shop.who.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "voucher_not_found")


async def test_codes_with_signs_of_their_own_stand_in_a_path(shop: Shop) -> None:
    await shop.campaign()
    codes = ["A/B", "A%2FB", "A?B#C", "full-link", "A/qr.svg"]
    async with begin(shop.engine) as tx:
        await pool.bring(tx, merchant_id=shop.who.merchant.id, campaign_id="c", brought=codes, now=NOW)
    for code, path in (
        ("A/B", "A/B"),
        ("A/B", "A%2FB"),
        ("A%2FB", "A%252FB"),
        ("A?B#C", "A%3FB%23C"),
        ("full-link", "full-link"),
    ):
        assert (await shop.get(f"/v1/vouchers/{path}"))["voucher_id"] == code
    link = await shop.get("/v1/vouchers/A/B/full-link")
    assert link["voucher_id"] == "A/B"
    image = await shop.who.client.get("/v1/vouchers/A/B/qr.svg")
    assert image.headers["content-type"] == "image/svg+xml"
    assert ET.fromstring(image.content).tag == "{http://www.w3.org/2000/svg}svg"


async def test_the_counters_of_a_stored_value_are_in_its_voucher(shop: Shop) -> None:
    await shop.campaign(discount={"kind": "stored_value", "amount_minor": 1000})
    code = await shop.claim()
    await shop.ask("redeem", voucher_id=code, order_id="o1", amount_minor=300)
    await shop.ask("reserve", voucher_id=code, order_id="o2", amount_minor=200)
    found = await shop.get(f"/v1/vouchers/{code}")
    assert (found["amount_minor"], found["balance_minor"], found["held_minor"]) == (1000, 700, 200)
    async with begin(shop.engine) as tx:
        campaign = await campaigns.get(tx, merchant_id=shop.who.merchant.id, campaign_id="c")
    assert (campaign.counters.spent_minor, campaign.counters.held_minor) == (300, 200)
