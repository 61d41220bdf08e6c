"""Webhooks as programs set them up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from standardwebhooks import Webhook

from counterfoil.access import keys
from counterfoil.access.types import MERCHANT_SCOPES
from counterfoil.app import App
from counterfoil.db.outbox import publish
from counterfoil.db.transactions import begin, read
from counterfoil.webhooks import endpoints
from counterfoil.webhooks.endpoints import MOST_ENDPOINTS
from tests.api.conftest import Caller
from tests.builders import NOW
from tests.webhooks.conftest import World, event

URL = "https://hooks.invalid/counterfoil"


async def _create(caller: Caller, **more: Any) -> dict[str, Any]:
    answer = await caller.client.post("/v1/webhooks", json={"url": URL, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def test_the_secret_is_shown_once_and_signs(grocer: Caller) -> None:
    made = await _create(grocer, events=["voucher.issued"], description="the ERP")
    assert Webhook(made["secret"])
    assert made["enabled"] is True
    shown = (await grocer.client.get(f"/v1/webhooks/{made['id']}")).json()
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    listed = await grocer.client.get("/v1/webhooks")
    assert listed.json() == {"data": [shown]}
    rotated = (await grocer.client.post(f"/v1/webhooks/{made['id']}/rotate-secret")).json()
    assert rotated["secret"] != made["secret"]
    assert rotated["previous_secret_until"]


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/", "http://localhost:5432/", "https://10.0.0.8/x", "http://[::1]/"),
        *("http://169.254.169.254/latest", "https://user:word@example.com/", "http://exa mple.com/"),
    ],
)
async def test_a_url_into_our_own_network_is_refused(grocer: Caller, url: str) -> None:
    answer = await grocer.client.post("/v1/webhooks", json={"url": url})
    assert (answer.status_code, answer.json()["code"]) == (422, "webhook_url_forbidden")
    made = await _create(grocer)
    changed = await grocer.client.patch(f"/v1/webhooks/{made['id']}", json={"url": url})
    assert (changed.status_code, changed.json()["code"]) == (422, "webhook_url_forbidden")
    assert (await grocer.client.get(f"/v1/webhooks/{made['id']}")).json()["url"] == URL


async def test_the_setting_allows_what_it_names(api: FastAPI, platform: App, grocer: Caller) -> None:
    allowing = platform.settings.model_copy(update={"webhook_allow": "127.0.0.0/8"})
    api.state.platform = replace(platform, settings=allowing)
    answer = await grocer.client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/"})
    assert answer.status_code == 201


async def test_what_is_left_out_of_a_change_stays(grocer: Caller) -> None:
    made = await _create(grocer, events=["voucher.issued"], description="the ERP")
    path = f"/v1/webhooks/{made['id']}"
    changes: list[dict[str, Any]] = [{"description": ""}, {"events": []}, {"url": f"{URL}/2"}]
    for change in changes:
        before = (await grocer.client.get(path)).json()
        assert (await grocer.client.patch(path, json=change)).json() == {**before, **change}
    off = (await grocer.client.patch(path, json={"enabled": False})).json()
    assert (off["enabled"], off["disabled_reason"]) == (False, "by_hand")
    assert (await grocer.client.patch(path, json={"enabled": False})).json() == off
    on = (await grocer.client.patch(path, json={"enabled": True})).json()
    assert (on["enabled"], on["disabled_at"], on["disabled_reason"]) == (True, None, None)
    unknown = await grocer.client.patch(path, json={"events": ["voucher.eaten"]})
    assert unknown.status_code == 422


async def test_a_test_is_queued_once_for_each_key_and_only_where_it_can_be_sent(
    platform: App, grocer: Caller
) -> None:
    made = await _create(grocer)
    path = f"/v1/webhooks/{made['id']}/test"
    answers = [await grocer.client.post(path, headers={"idempotency-key": "k"}) for _ in range(2)]
    assert {a.status_code for a in answers} == {202}
    assert len({a.json()["message_id"] for a in answers}) == 1
    async with read(platform.engine) as tx:
        assert await tx.scalar("SELECT array_agg(entrypoint) FROM pgqueuer") == ["webhooks.fan_out"]
    await grocer.client.patch(f"/v1/webhooks/{made['id']}", json={"enabled": False})
    off = await grocer.client.post(path)
    assert (off.status_code, off.json()["code"]) == (409, "webhook_endpoint_disabled")


async def test_a_merchant_has_so_many_endpoints_and_no_more(platform: App, grocer: Caller) -> None:
    async with begin(platform.engine) as tx:
        for _ in range(MOST_ENDPOINTS):
            await endpoints.create(tx, merchant_id=grocer.merchant.id, url=URL, now=NOW)
    answer = await grocer.client.post("/v1/webhooks", json={"url": URL})
    assert (answer.status_code, answer.json()["code"]) == (422, "webhook_endpoints_too_many")


@pytest.fixture
async def told(platform: App, grocer: Caller) -> str:
    """An endpoint of the grocer with three deliveries, of which one was given up."""
    made = await _create(grocer)
    world = World(platform.engine, grocer.merchant.id)
    await world.tell(event(1), event(2), event(3), now=NOW)
    async with begin(platform.engine) as tx:
        await tx.execute(
            """UPDATE webhook_deliveries SET state = 'failed', attempts = 10, next_attempt_at = NULL,
                      last_status = 500 WHERE message_id = 'e2'"""
        )
        await tx.execute(
            """INSERT INTO webhook_attempts (delivery_id, number, at, status, milliseconds, response)
               SELECT id, 10, now(), 500, 12, 'no' FROM webhook_deliveries WHERE message_id = 'e2'"""
        )
    return str(made["id"])


async def _list(client: httpx.AsyncClient, **asked: Any) -> list[str]:
    answer = await client.get("/v1/webhook-deliveries", params=asked)
    assert answer.status_code == 200, answer.text
    return [delivery["message_id"] for delivery in answer.json()["data"]]


async def test_the_log_is_read_in_pages_and_narrowed(grocer: Caller, told: str) -> None:
    everything = await _list(grocer.client)
    assert sorted(everything) == ["e1", "e2", "e3"]
    first = (await grocer.client.get("/v1/webhook-deliveries?limit=2")).json()
    rest = await _list(grocer.client, cursor=first["next_cursor"])
    assert [d["message_id"] for d in first["data"]] + rest == everything
    assert await _list(grocer.client, state="failed") == ["e2"]
    assert sorted(await _list(grocer.client, endpoint=told, state="waiting")) == ["e1", "e3"]
    assert await _list(grocer.client, message="e3") == ["e3"]
    unknown = await grocer.client.get("/v1/webhook-deliveries?endpoint=whe_x")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "webhook_endpoint_not_found")


async def test_a_delivery_shows_what_is_sent_and_each_attempt_and_can_be_replayed(
    grocer: Caller, told: str
) -> None:
    (found,) = (await grocer.client.get("/v1/webhook-deliveries?state=failed")).json()["data"]
    path = f"/v1/webhook-deliveries/{found['id']}"
    shown = (await grocer.client.get(path)).json()
    assert '"id":"e2"' in shown["body"]
    assert [(a["number"], a["status"], a["response"]) for a in shown["log"]] == [(10, 500, "no")]
    replayed = await grocer.client.post(f"{path}/replay")
    assert (replayed.status_code, replayed.json()["state"]) == (202, "waiting")
    assert replayed.json()["next_attempt_at"]
    await grocer.client.patch(f"/v1/webhooks/{told}", json={"enabled": False})
    off = await grocer.client.post(f"{path}/replay")
    assert (off.status_code, off.json()["code"]) == (409, "webhook_endpoint_disabled")


async def test_all_that_was_given_up_is_replayed_at_once(grocer: Caller, told: str) -> None:
    path = f"/v1/webhooks/{told}/replay"
    for since, expected in ((NOW.replace(year=2027), 0), (NOW, 1), (NOW, 0)):
        answer = await grocer.client.post(path, json={"since": since.isoformat()})
        assert (answer.status_code, answer.json()) == (202, {"replayed": expected})


async def test_deleting_an_endpoint_deletes_its_log(grocer: Caller, told: str) -> None:
    answer = await grocer.client.delete(f"/v1/webhooks/{told}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert await _list(grocer.client) == []
    assert (await grocer.client.delete(f"/v1/webhooks/{told}")).status_code == 404


async def test_no_job_is_made_where_no_program_listens(platform: App, grocer: Caller) -> None:
    payload = {"merchant_id": str(grocer.merchant.id), "events": [event()]}
    queued = "SELECT count(*) FROM pgqueuer"
    made = None
    for enabled, expected in ((None, 0), (True, 1), (False, 1)):
        if enabled is True:
            made = await _create(grocer)
        if enabled is False:
            assert made is not None
            await grocer.client.patch(f"/v1/webhooks/{made['id']}", json={"enabled": False})
        async with begin(platform.engine) as tx:
            await publish(tx, "vouchers.changed", payload)
        async with read(platform.engine) as tx:
            assert await tx.scalar(queued) == expected


async def test_merchants_may_have_the_scopes_of_webhooks(platform: App, grocer: Caller) -> None:
    new = {"webhooks:read", "webhooks:write", "campaigns:read", "campaigns:write", "vouchers:read"}
    assert {*new, "vouchers:write"} <= set(MERCHANT_SCOPES)
    async with begin(platform.engine) as tx:
        key, _ = await keys.create(
            tx, name="k", merchant_id=grocer.merchant.id, scopes=new, expires_at=None, now=NOW
        )
    assert set(key.scopes) == new
