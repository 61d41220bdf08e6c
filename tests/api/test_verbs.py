"""The verbs of vouchers over HTTP, and the coalescer beneath them."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.access import keys
from counterfoil.api.verbs import ROUTES
from counterfoil.app import App
from counterfoil.clock import now
from counterfoil.db.transactions import begin, read
from counterfoil.vouchers import campaigns, counters, verbs
from counterfoil.vouchers.terms import Terms
from counterfoil.vouchers.types import VERBS
from tests.api.conftest import Caller

OFF = {"discount": {"kind": "amount", "amount_minor": 100}, "time_zone": "UTC"}


async def make_campaign(platform: App, caller: Caller, name: str = "c", **more: Any) -> None:
    """An active campaign: a hundred minor units off."""
    limits = {k: more.pop(k) for k in ("stock", "budget_minor", "max_redemptions") if k in more}
    values: dict[str, Any] = {"merchant_id": caller.merchant.id, "campaign_id": name}
    async with begin(platform.engine) as tx:
        await campaigns.create(
            tx,
            **values,
            name=None,
            kind=None,
            attributes={},
            terms=Terms.model_validate({**OFF, **more}),
            limits=campaigns.Limits(**limits),
            now=now(),
        )
        await campaigns.move(tx, **values, to="active", now=now())


async def ask(caller: Caller, verb: str, body: Any, **headers: str) -> httpx.Response:
    return await caller.client.post(f"/v1/vouchers/{verb}", json=body, headers=headers)


async def claim(caller: Caller, customer: str | None = None, campaign: str = "c") -> str:
    answer = await ask(caller, "claim", {"campaign_id": campaign, "customer_id": customer})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["voucher"]["voucher_id"])


async def verified(engine: AsyncEngine, caller: Caller, campaign: str = "c") -> bool:
    async with read(engine) as tx:
        return not await counters.verify(tx, merchant_id=caller.merchant.id, campaign_id=campaign)


def test_every_verb_has_a_route_for_one_and_for_many() -> None:
    assert set(ROUTES) == {f"/v1/vouchers/{verb}{end}" for verb in VERBS for end in ("", "/bulk")}


async def test_a_voucher_goes_from_the_claim_to_the_reversal(platform: App, grocer: Caller) -> None:
    await make_campaign(platform, grocer, stock=1, budget_minor=100)
    code = await claim(grocer, "ann")
    order = {"voucher_id": code, "order_id": "o1", "amount_minor": 1_000}
    assert (await ask(grocer, "validate", order)).json()["discount"]["discount_minor"] == 100
    held = (await ask(grocer, "reserve", order)).json()
    assert held["voucher"]["state"] == "reserved"
    released = await ask(grocer, "release", {"reservation_id": held["reservation"]["reservation_id"]})
    assert released.json()["voucher"]["state"] == "issued"
    done = (await ask(grocer, "redeem", {**order, "transaction_id": "t1"})).json()
    assert done["voucher"]["state"] == "redeemed"
    back = await ask(grocer, "reverse", {"redemption_id": done["redemption"]["redemption_id"]})
    assert back.json()["voucher"]["state"] == "issued"
    assert back.json()["reversal"] == {
        "reversal_id": back.json()["reversal"]["reversal_id"],
        "redemption_id": done["redemption"]["redemption_id"],
        "discount_minor": 100,
        "whole": True,
    }
    assert (await ask(grocer, "void", {"voucher_id": code, "reason": "fraud"})).json()["code"] == "voided"
    assert await verified(platform.engine, grocer)


async def test_a_refusal_is_a_problem_with_every_reason(platform: App, grocer: Caller) -> None:
    await make_campaign(platform, grocer, stock=0, claims_per_customer={"total": 0})
    answer = await ask(grocer, "claim", {"campaign_id": "c", "customer_id": "ann"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [reason["code"] for reason in answer.json()["reasons"]] == ["claim_limit_reached", "sold_out"]


async def test_every_wrong_field_is_named_at_once(grocer: Caller) -> None:
    body = {"voucher_id": "", "lines": [{"line_id": 1}], "what": 1}
    answer = await ask(grocer, "validate", body)
    assert answer.status_code == 422
    pointers = {error["pointer"] for error in answer.json()["errors"]}
    assert pointers == {"/voucher_id", "/lines/0/line_id", "/what"}
    assert (await grocer.client.post("/v1/vouchers/claim", content=b"{")).json()["code"] == "json_invalid"
    assert (await grocer.client.put("/v1/vouchers/claim")).status_code == 405


async def test_many_are_answered_in_their_order(platform: App, grocer: Caller) -> None:
    await make_campaign(platform, grocer, stock=2)
    body = {"requests": [{"campaign_id": name} for name in ("c", "none", "c", "c")]}
    answer = await ask(grocer, "claim/bulk", body)
    assert answer.status_code == 200
    codes = [outcome["code"] for outcome in answer.json()["outcomes"]]
    assert codes == ["claimed", "campaign_not_found", "claimed", "sold_out"]
    wrong = await ask(grocer, "claim/bulk", {"requests": [{"campaign_id": "c"}, {"campaign_id": 7}]})
    assert wrong.json()["errors"][0]["pointer"] == "/requests/1/campaign_id"


async def test_the_same_key_gives_the_first_answer_and_one_voucher(platform: App, grocer: Caller) -> None:
    await make_campaign(platform, grocer)
    body = {"campaign_id": "c"}
    answers = await asyncio.gather(
        *(ask(grocer, "claim", body, **{"idempotency-key": "k"}) for _ in range(20))
    )
    assert {a.status_code for a in answers} == {200}
    assert len({a.json()["voucher"]["voucher_id"] for a in answers}) == 1
    assert sum("idempotency-replayed" in a.headers for a in answers) == 19
    again = await ask(grocer, "claim", body, **{"idempotency-key": "k"})
    assert again.headers["idempotency-replayed"] == "true"
    other = await ask(grocer, "claim", {"campaign_id": "d"}, **{"idempotency-key": "k"})
    assert other.json()["code"] == "idempotency_key_reused"
    async with read(platform.engine) as tx:
        counted = await counters.read_counters(tx, merchant_id=grocer.merchant.id, campaign_id="c")
    assert counted.issued == 1


async def test_one_request_that_fails_does_not_fail_its_neighbours(
    platform: App, grocer: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_campaign(platform, grocer)
    decided = verbs.RUN["claim"]

    async def poisoned(tx: Any, asked: Any, *, now: Any) -> Any:
        if any(a.request.customer_id == "poison" for a in asked):
            raise ZeroDivisionError
        return await decided(tx, asked, now=now)

    monkeypatch.setitem(verbs.RUN, "claim", poisoned)
    names = [f"c{n}" for n in range(30)]
    names.insert(17, "poison")
    asked = [ask(grocer, "claim", {"campaign_id": "c", "customer_id": name}) for name in names]
    answers = await asyncio.gather(*asked)
    assert [a.status_code for a in answers] == [500 if name == "poison" else 200 for name in names]
    assert await verified(platform.engine, grocer)


async def test_a_full_queue_is_answered_at_once_and_nobody_is_left_hanging(
    platform: App, grocer: Caller
) -> None:
    await make_campaign(platform, grocer)
    object.__setattr__(platform.settings, "queue_limit", 10)
    answers = await asyncio.gather(*(ask(grocer, "claim", {"campaign_id": "c"}) for _ in range(200)))
    refused = [a for a in answers if a.status_code != 200]
    assert refused
    assert {(a.status_code, a.json()["code"], a.headers["retry-after"]) for a in refused} == {
        (503, "overloaded", "1")
    }
    async with read(platform.engine) as tx:
        counted = await counters.read_counters(tx, merchant_id=grocer.merchant.id, campaign_id="c")
    assert counted.issued == len(answers) - len(refused)


async def test_guessed_codes_are_refused_after_a_while_right_ones_too(platform: App, grocer: Caller) -> None:
    object.__setattr__(platform.settings, "guesses_per_minute", 5)
    await make_campaign(platform, grocer)
    code = await claim(grocer)
    for n in range(5):
        assert (await ask(grocer, "validate", {"voucher_id": f"GUESS{n}"})).status_code == 404
    right, wrong = [
        await ask(grocer, "validate", {"voucher_id": guess, "amount_minor": 1}) for guess in (code, "GUESS9")
    ]
    assert right.status_code == wrong.status_code == 429
    assert int(right.headers["retry-after"]) >= 1
    looked = await grocer.client.get(f"/v1/vouchers/{code}")
    assert (looked.status_code, looked.headers["retry-after"]) == (429, "60")
    elsewhere = await ask(
        grocer,
        "validate",
        {"voucher_id": code, "amount_minor": 1},
        **{"counterfoil-client-address": "192.0.2.7"},
    )
    assert elsewhere.status_code == 200


async def test_an_unknown_code_is_answered_as_anothers(platform: App, grocer: Caller, baker: Caller) -> None:
    await make_campaign(platform, grocer)
    code = await claim(grocer)
    for verb in ("validate", "redeem", "void"):
        more = {"reason": "x"} if verb == "void" else {"order_id": "o"}
        answers = [await ask(baker, verb, {"voucher_id": it, **more}) for it in (code, "Y" * len(code))]
        first, second = [{**a.json(), "request_id": ""} for a in answers]
        assert first == second
        assert answers[0].status_code == 404


async def test_a_revoked_key_is_refused_within_a_second(platform: App, grocer: Caller) -> None:
    await make_campaign(platform, grocer)
    await claim(grocer)
    async with begin(platform.engine) as tx:
        for key in await keys.list_all(tx, merchant_id=grocer.merchant.id):
            await keys.revoke(tx, key_id=key.id, now=now())
    await asyncio.sleep(1.1)
    assert (await ask(grocer, "claim", {"campaign_id": "c"})).status_code == 401
