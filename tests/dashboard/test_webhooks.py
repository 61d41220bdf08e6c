"""The pages of webhooks: what they say, and what their buttons do."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from uuid import UUID

import httpx
import pytest
from standardwebhooks import Webhook
from tests.dashboard.conftest import Pages, token_of
from tests.dashboard.test_pages import text_of
from tests.dashboard.told import SAID, tell
from tests.webhooks.conftest import World, event

from counterfoil import clock
from counterfoil.db.transactions import begin, read
from counterfoil.ids import format_id
from counterfoil.webhooks import endpoints

HOME = "/m/tea-house/webhooks"
EN = {"Accept-Language": "en"}
URL = "https://hooks.invalid/shop"


async def _post(pages: Pages, path: str, *, home: str = HOME, **form: str) -> httpx.Response:
    token = token_of((await pages.client.get(home)).text)
    return await pages.client.post(path, data={"token": token, **form}, headers=EN)


async def _endpoint(pages: Pages) -> tuple[str, UUID]:
    async with begin(pages.app.engine) as tx:
        made, _ = await endpoints.create(tx, merchant_id=pages.tea.id, url=URL, now=clock.now())
    return format_id("webhook_endpoint", made.id), made.id


async def _scalar(pages: Pages, statement: str) -> object:
    async with read(pages.app.engine) as tx:
        return await tx.scalar(statement)


async def test_the_endpoints_say_how_they_fare(tea: Pages) -> None:
    text = text_of((await tea.client.get(HOME, headers=EN)).text)
    assert "ERP 系统 Failing https://erp.example.com/hook" in text
    assert "Told of voucher.redeemed campaign.sold_out Still waiting 1 Given up 1" in text
    assert "https://old.example.com/ Disabled Somebody switched it off." in text


async def test_the_secret_is_shown_in_the_answer_to_the_form_and_never_again(pages: Pages) -> None:
    form = {"url": URL, "description": "The <b>shop</b>", "event.voucher.issued": "on"}
    answer = await _post(pages, HOME, **form)
    assert answer.status_code == 200
    found = re.search(r"<code>(whsec_[^<]+)</code>", answer.text)
    assert found is not None
    assert Webhook(unescape(found[1]))
    again = await pages.client.get(HOME, headers=EN)
    assert "whsec_" not in again.text
    assert "The <b>shop</b>" in text_of(again.text)
    assert await _scalar(pages, "SELECT events FROM webhook_endpoints") == ["voucher.issued"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:5432/", "https://a:b@example.com/", "", "x" * 2001])
async def test_an_address_that_is_refused_says_why_and_keeps_what_was_typed(pages: Pages, url: str) -> None:
    answer = await _post(pages, HOME, url=url, description="mine", **{"event.voucher.voided": "on"})
    assert answer.status_code == 422
    assert "It must be an address of the public internet" in text_of(answer.text)
    assert 'value="mine"' in answer.text
    assert re.search(r'name="event.voucher.voided" checked', answer.text)
    assert await _scalar(pages, "SELECT count(*) FROM webhook_endpoints") == 0


async def test_the_setting_allows_here_too(pages: Pages) -> None:
    allowing = pages.app.settings.model_copy(update={"webhook_allow": "127.0.0.0/8"})
    pages.client._transport.app.state.platform = replace(pages.app, settings=allowing)  # type: ignore[attr-defined]
    assert (await _post(pages, HOME, url="http://127.0.0.1:9/")).status_code == 200


async def test_each_button_does_what_it_says_and_says_what_it_did(pages: Pages) -> None:
    public, _ = await _endpoint(pages)
    for do, said, statement, expected in (
        ("test", "A test is on its way.", "SELECT entrypoint FROM pgqueuer", "webhooks.fan_out"),
        ("disable", "It is disabled", "SELECT disabled_reason FROM webhook_endpoints", "by_hand"),
        ("enable", "It is enabled", "SELECT disabled_reason FROM webhook_endpoints", None),
        ("replay", "0 messages are on their way again.", "SELECT 1", 1),
    ):
        answer = await _post(pages, f"{HOME}/{public}", do=do)
        assert answer.status_code == 303, do
        shown = await pages.client.get(answer.headers["location"], headers=EN)
        assert said in text_of(shown.text), do
        assert await _scalar(pages, statement) == expected, do
    rotated = await _post(pages, f"{HOME}/{public}", do="rotate")
    assert "whsec_" in rotated.text
    assert "The former secret signs as well until" in text_of(rotated.text)
    deleted = await _post(pages, f"{HOME}/{public}", do="delete")
    assert "It is deleted." in text_of((await pages.client.get(deleted.headers["location"], headers=EN)).text)
    assert await _scalar(pages, "SELECT count(*) FROM webhook_endpoints") == 0
    assert (await _post(pages, f"{HOME}/{public}", do="enable")).status_code == 404


async def test_what_is_no_button_is_refused(pages: Pages) -> None:
    public, _ = await _endpoint(pages)
    assert (await _post(pages, f"{HOME}/{public}", do="explode")).status_code == 422
    assert (await pages.client.post(f"{HOME}/{public}", data={"do": "delete"})).status_code == 403
    await _post(pages, f"{HOME}/{public}", do="disable")
    off = await _post(pages, f"{HOME}/{public}", do="test")
    assert (off.status_code, "The endpoint is disabled" in off.text) == (409, True)
    odd = await pages.client.get(f"{HOME}?done=<b>&of=x&n=9x", headers=EN)
    assert odd.status_code == 200
    assert "<b>" not in odd.text


async def test_the_log_is_narrowed_by_state_and_endpoint(tea: Pages) -> None:
    everything = await tea.client.get(f"{HOME}/deliveries", headers=EN)
    failed = await tea.client.get(f"{HOME}/deliveries?state=failed", headers=EN)
    count = everything.text.count('<tr role="row"><th scope="row"')
    assert count == 6
    assert failed.text.count('<tr role="row"><th scope="row"') == 1
    assert "Given up" in text_of(failed.text)
    option = re.search(r'<option value="(whe_\w+)">ERP', everything.text)
    assert option is not None
    narrowed = await tea.client.get(f"{HOME}/deliveries?endpoint={option[1]}", headers=EN)
    assert narrowed.text.count('<tr role="row"><th scope="row"') == 4
    assert (await tea.client.get(f"{HOME}/deliveries?endpoint=whe_x")).status_code == 404
    assert (await tea.client.get(f"{HOME}/deliveries?cursor=x")).status_code == 422


async def test_a_delivery_shows_what_was_sent_and_what_came_back_and_is_sent_again(pages: Pages) -> None:
    await tell(pages.app, pages.tea.id)
    listed = await pages.client.get(f"{HOME}/deliveries?state=failed", headers=EN)
    found = re.search(r'href="([^"]+/deliveries/whd_\w+)"', listed.text)
    assert found is not None
    shown = await pages.client.get(found[1], headers=EN)
    text = text_of(shown.text)
    assert '"specversion": "1.0"' in text
    assert SAID in text
    assert "<script>" not in shown.text
    assert "500 211 ms" in text
    answer = await _post(pages, found[1], home=found[1], do="replay")
    assert answer.status_code == 303
    again = await pages.client.get(answer.headers["location"], headers=EN)
    assert "It is on its way again" in text_of(again.text)
    assert await _scalar(pages, "SELECT count(*) FROM webhook_deliveries WHERE state = 'failed'") == 0
    other = found[1].replace("/m/tea-house/", "/m/other/")
    assert (await pages.client.get(other, headers=EN)).status_code == 404


async def test_a_merchant_without_programs_is_told_how_to_begin(tea: Pages) -> None:
    text = text_of((await tea.client.get("/m/other/webhooks", headers=EN)).text)
    assert "No program is told so far" in text or "https://hooks.invalid/shop" in text


async def test_what_waits_at_a_disabled_endpoint_says_for_what(pages: Pages) -> None:
    public, _ = await _endpoint(pages)
    await World(pages.app.engine, pages.tea.id).tell(event())
    await _post(pages, f"{HOME}/{public}", do="disable")
    text = text_of((await pages.client.get(f"{HOME}/deliveries", headers=EN)).text)
    assert "when the endpoint is enabled" in text
