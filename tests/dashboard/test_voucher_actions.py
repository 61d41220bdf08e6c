"""What an operator does to a voucher whose campaign is run here, and what its page says of it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.dashboard.conftest import Pages, token_of
from tests.dashboard.running import LINES, ask, make
from tests.dashboard.test_pages import text_of

from counterfoil.dashboard import run_labels
from counterfoil.dashboard.qr import BORDER, qr_of
from counterfoil.db.transactions import begin, read
from counterfoil.vouchers.refusals import REFUSALS
from counterfoil.vouchers.requests import Outcome
from counterfoil.vouchers.types import Verb

EN, ZH = {"Accept-Language": "en"}, {"Accept-Language": "zh"}
VOUCHERS = "/m/tea-house/vouchers"


async def _post(pages: Pages, path: str, *, language: str = "en", **form: Any) -> httpx.Response:
    token = token_of((await pages.client.get("/m/tea-house", headers=EN)).text)
    return await pages.client.post(path, data={"token": token, **form}, headers={"Accept-Language": language})


async def _issued(pages: Pages, **changes: Any) -> str:
    async with begin(pages.app.engine) as tx:
        await make(tx, pages.tea, "autumn", redemption_windows=None, **changes)
        issued = await ask(tx, pages.tea.id, "issue", campaign_id="autumn", customer_id="c1")
    assert issued.voucher is not None
    return issued.voucher.voucher_id


async def _do(pages: Pages, verb: Verb, **fields: Any) -> Outcome:
    async with begin(pages.app.engine) as tx:
        return await ask(tx, pages.tea.id, verb, **fields)


async def _state(pages: Pages, code: str) -> object:
    async with read(pages.app.engine) as tx:
        return await tx.scalar("SELECT state FROM vouchers WHERE voucher_id = :v", {"v": code})


async def test_the_page_tells_the_whole_life(tea: Pages) -> None:
    text = text_of((await tea.client.get("/m/fair/vouchers/BACK", headers=EN)).text)
    steps = (
        "Issued",
        "Reserved Order number O-0",
        "Reservation released",
        "Order number O-4",
        "Redemption reversed",
    )
    places = [text.rindex(step) if step == "Issued" else text.index(step) for step in steps[1:]]
    assert places == sorted(places)
    assert "Reason sent back" in text
    assert "Uses 0 of 1" in text
    voided = await tea.client.get("/m/fair/vouchers/VOID", headers=EN)
    assert "Voided Reason <script>alert('x')</script>" in text_of(voided.text)
    assert "<script>alert" not in voided.text
    assert "What you can do" not in voided.text
    part = text_of((await tea.client.get("/m/fair/vouchers/PART", headers=EN)).text)
    assert "Redemption reversed in part Given back CN¥8.00 Lines l1 Reason <i>broken</i> cup" in part
    assert "All that is left: CN¥16.00" in part
    held = text_of((await tea.client.get("/m/fair/vouchers/HELD", headers=EN)).text)
    assert "Release the reservation of order O-1" in held
    assert "Uses 0 of 1 1 more is reserved" in held


async def test_the_search_shows_the_states_of_what_is_run_here(tea: Pages) -> None:
    for code, state in (("HELD", "Reserved"), ("VOID", "Voided"), ("BACK", "Issued"), ("FREE", "Available")):
        page = (await tea.client.get(f"/m/fair/vouchers?code={code}", headers=EN)).text
        assert re.search(r'class="state".*?<span class="badge \w+">(\w+)</span>', page, re.S)[1] == state  # type: ignore[index]


async def test_a_voucher_is_voided_with_a_reason_and_its_place_is_given_back(pages: Pages) -> None:
    code = await _issued(pages)
    missing = await _post(pages, f"{VOUCHERS}/{code}", do="void", reason=" ", restock="on")
    assert missing.status_code == 422
    assert "Say why: it stays in the voucher" in missing.text
    assert 'name="restock" checked' in missing.text
    assert "请填写原因" in (await _post(pages, f"{VOUCHERS}/{code}", language="zh", do="void")).text
    answer = await _post(pages, f"{VOUCHERS}/{code}", do="void", reason="lost", restock="on")
    assert answer.headers["location"] == f"{VOUCHERS}/{code}?done=void"
    assert "The voucher is void." in (await pages.client.get(answer.headers["location"], headers=EN)).text
    assert await _state(pages, code) == "voided"
    again = await _post(pages, f"{VOUCHERS}/{code}", do="void", reason="lost")
    assert again.headers["location"].endswith("?done=repeated")
    async with read(pages.app.engine) as tx:
        assert await tx.scalar("SELECT handed_out FROM campaign_counters") == 0


async def test_a_refusal_is_told_in_the_readers_language(pages: Pages) -> None:
    code = await _issued(pages)
    await _do(pages, "redeem", voucher_id=code, order_id="O", lines=LINES)
    english = await _post(pages, f"{VOUCHERS}/{code}", do="void", reason="lost")
    assert (english.status_code, "It has been used." in text_of(english.text)) == (409, True)
    chinese = await _post(pages, f"{VOUCHERS}/{code}", language="zh", do="void", reason="lost")
    assert "该券已使用。" in text_of(chinese.text)


def test_every_refusal_has_its_sentence_here() -> None:
    assert set(REFUSALS) <= set(run_labels.PROBLEMS)


async def test_a_redemption_is_reversed_by_lines_and_then_whole(pages: Pages) -> None:
    code = await _issued(pages)
    used = await _do(pages, "redeem", voucher_id=code, order_id="O", lines=LINES)
    assert used.redemption is not None
    form = {"do": "reverse", "redemption_id": used.redemption.redemption_id, "reason": "cold"}
    nothing = await _post(pages, f"{VOUCHERS}/{code}", **form, what="lines")
    assert "Choose at least one line." in nothing.text
    assert 'value="cold"' in nothing.text
    lines = await _post(pages, f"{VOUCHERS}/{code}", **form, what="lines", **{"line.1": "on"})
    shown = text_of((await pages.client.get(lines.headers["location"], headers=EN)).text)
    assert "Redemption reversed in part Given back CN¥8.00 Lines l1 Reason cold" in shown
    assert "reversed already" in shown
    assert await _state(pages, code) == "redeemed"
    whole = await _post(pages, f"{VOUCHERS}/{code}", **form, what="all")
    assert (
        "The redemption is reversed." in (await pages.client.get(whole.headers["location"], headers=EN)).text
    )
    assert await _state(pages, code) == "issued"


async def test_a_reservation_is_released(pages: Pages) -> None:
    code = await _issued(pages)
    held = await _do(pages, "reserve", voucher_id=code, order_id="O", lines=LINES)
    assert held.reservation is not None
    assert await _state(pages, code) == "reserved"
    form = {"do": "release", "reservation_id": held.reservation.reservation_id}
    answer = await _post(pages, f"{VOUCHERS}/{code}", **form)
    shown = text_of((await pages.client.get(answer.headers["location"], headers=EN)).text)
    assert "The reservation is released." in shown
    assert "Reservation released" in shown
    assert await _state(pages, code) == "issued"


async def test_the_forms_of_one_voucher_reach_no_other_one(pages: Pages) -> None:
    code = await _issued(pages)
    held = await _do(pages, "reserve", voucher_id=code, order_id="O", lines=LINES)
    other = (await _do(pages, "issue", campaign_id="autumn", customer_id="c2")).voucher
    assert held.reservation is not None
    assert other is not None
    form = {"do": "release", "reservation_id": held.reservation.reservation_id}
    elsewhere = await _post(pages, f"{VOUCHERS}/{other.voucher_id}", **form)
    assert (elsewhere.status_code, "There is no such reservation." in elsewhere.text) == (422, True)
    foreign = await _post(pages, f"/m/other/vouchers/{code}", **form)
    assert foreign.status_code == 404
    assert (await _post(pages, f"/m/other/vouchers/{code}", do="void", reason="x")).status_code == 404
    assert (await _post(pages, f"{VOUCHERS}/{code}", do="explode")).status_code == 422
    assert (await pages.client.post(f"{VOUCHERS}/{code}", data={"do": "void"})).status_code == 403
    assert await _state(pages, code) == "reserved"


async def test_a_voucher_of_another_system_offers_nothing_to_do(tea: Pages) -> None:
    page = await tea.client.get("/m/tea-house/vouchers/TEA-1", headers=EN)
    assert "What you can do" not in page.text
    assert 'class="qr"' not in page.text
    refused = await _post(tea, "/m/tea-house/vouchers/TEA-1", do="void", reason="x")
    assert (refused.status_code, "There is no such voucher." in refused.text) == (404, True)


async def test_what_is_over_is_shown_so_before_anybody_tidied_up(pages: Pages) -> None:
    code = await _issued(pages)
    async with begin(pages.app.engine) as tx:
        await tx.execute("UPDATE vouchers SET valid_until = now() - interval '1 hour'")
    for path in (f"{VOUCHERS}/{code}", f"{VOUCHERS}?code={code}"):
        assert "Expired" in text_of((await pages.client.get(path, headers=EN)).text)
    assert await _state(pages, code) == "issued"


@pytest.mark.parametrize("code", ["FAIR-E5LGR4RY", "a b/c?#&", "x" * 64])
async def test_the_qr_code_of_a_voucher_is_drawn_inline(pages: Pages, code: str) -> None:
    drawn = qr_of(code)
    assert re.fullmatch(r"(M\d+ \d+h\d+v1h-\d+z)+", drawn.path)
    assert drawn.path.startswith(f"M{BORDER} {BORDER}h7")
    if " " not in code:
        async with begin(pages.app.engine) as tx:
            await make(tx, pages.tea, "autumn")
        await _post(pages, "/m/tea-house/campaigns/autumn", do="bring", codes=code)
        page = await pages.client.get(f"{VOUCHERS}/{quote(code, safe='')}", headers=EN)
        assert drawn.path in page.text
