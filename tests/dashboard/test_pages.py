"""What the pages say, in both languages, about everything and about nothing."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from tests.dashboard.conftest import HOSTILE, Pages, token_of
from tests.dashboard.points_running import STRANGE

from counterfoil import clock
from counterfoil.app import RECORD_KINDS, App
from counterfoil.dashboard import create_pages
from counterfoil.db import jobs
from counterfoil.db.engine import create_engine
from counterfoil.db.records import load, to_batch
from counterfoil.db.transactions import begin, read
from counterfoil.ids import format_id
from counterfoil.merchants import merchants
from counterfoil.settings import Settings

PATHS = (
    "/",
    "/m/tea-house",
    "/m/tea-house?q=tea&kind=welcome&sort=revenue&direction=up",
    "/m/tea-house/campaigns/tea",
    "/m/tea-house/campaigns/tea?only=redeemed",
    "/m/tea-house/campaigns/quiet",
    "/m/tea-house/vouchers",
    "/m/tea-house/vouchers?customer=c1",
    "/m/tea-house/vouchers/TEA-1",
    "/m/tea-house/vouchers/TEA-2",
    "/m/tea-house/vouchers/TEA-3",
    f"/m/tea-house/vouchers/{quote(HOSTILE, safe='')}",
    "/m/tea-house/breaks",
    "/m/tea-house/breaks?state=resolved&kind=redeemed_twice&campaign=tea",
    "/m/tea-house/webhooks",
    "/m/tea-house/webhooks/deliveries",
    "/m/tea-house/webhooks/deliveries?state=failed",
    "/m/tea-house/campaigns",
    "/m/tea-house/new-campaign",
    "/m/fair/campaigns",
    "/m/fair/campaigns?state=paused",
    *(f"/m/fair/campaigns/{name}" for name in ("autumn", "gift", "print", "lucky", "cake")),
    "/m/fair/campaigns/autumn/edit",
    "/m/fair/vouchers?code=P",
    *(f"/m/fair/vouchers/{code}" for code in ("FREE", "HELD", "USED", "PART", "VOID", "BACK", "PRINT-1")),
    "/m/fair/points",
    "/m/fair/points?q=guest",
    "/m/fair/points/program",
    *(f"/m/fair/points/members/{quote(name, safe='')}" for name in ("ann", "closed", STRANGE)),
    "/m/tea-house/points",
    "/m/air/points/partners",
    "/m/air/points/new-partner",
    *(f"/m/air/points/partners/{name}" for name in ("citybank", "miles", "closed-club", "miles/edit")),
    "/m/air/points/files",
    "/m/air/points/files?partner=citybank&state=rejected",
    "/m/other/points/partners",
    "/m/other/points/files",
)


def text_of(html: str) -> str:
    """What a reader sees, spaces apart."""
    visible = re.sub(r"<(script|style|title)\b.*?</\1>", " ", html, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", visible)).split())


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_every_page_is_there_in_both_languages(tea: Pages, language: str) -> None:
    for path in (*PATHS, *(f"/m/air/points/files/{file_id}?member=m01" for file_id in tea.files.values())):
        answer = await tea.client.get(path, headers={"Accept-Language": language})
        assert answer.status_code == 200, path
        assert f'<html lang="{"zh-Hans" if language == "zh" else "en"}"' in answer.text
        assert ("总览" in answer.text) == (language == "zh" and path != "/"), path
        assert "<script>" not in answer.text, path
        assert not re.search(r'\sstyle="|\son\w+="', answer.text), path
        assert len(answer.content) < 60_000, path


async def test_the_overview_counts_from_exposure_to_money(tea: Pages) -> None:
    text = text_of((await tea.client.get("/m/tea-house", headers={"Accept-Language": "en"})).text)
    assert "Addressed 4 25.0% redeemed" in text
    assert "Exposed 1 2 page views" in text
    assert "Issued 3 Bought 1" in text
    assert "to 3 customers" not in text, "a customer of two campaigns would count twice"
    assert "Bought 1 33.3% of those issued" in text
    assert "Redeemed 2 33.3% of those issued; 1 more without a recorded issuance" in text
    assert "CN¥1,239" in text
    assert "Redeemed too often 1" in text


async def test_what_the_data_cannot_say_is_a_dash_with_its_reason(tea: Pages) -> None:
    page = (await tea.client.get("/m/tea-house/campaigns/quiet", headers={"Accept-Language": "en"})).text
    assert "not known: No audience is recorded." in text_of(page)
    assert "The page log has no view of this campaign's pages." in text_of(page)


async def test_a_voucher_shows_its_whole_life_in_the_merchants_zone(tea: Pages) -> None:
    page = await tea.client.get("/m/tea-house/vouchers/TEA-1", headers={"Accept-Language": "en"})
    text = text_of(page.text).replace("\u202f", " ")
    steps = (
        "Saw the campaign's page 2 times",
        "Purchase order",
        "Paid for the voucher",
        "Bought and issued",
        "Redemption 1 of 2",
        "Redemption 2 of 2",
    )
    places = [text.index(step) for step in steps]
    assert places == sorted(places)
    assert "Sep 4, 2026, 10:00:00 AM" in text
    assert "Evidence level 4 of 4: The same customer, the same day" in text
    assert "湖滨店" in text
    assert "Lines 2" in text
    assert "Redeemed too often" in text
    assert "ordered CN¥5.00, paid CN¥4.00" in text
    assert '"redemption_id": "R1"' in text


async def test_where_only_the_day_is_known_no_hour_is_invented(tea: Pages) -> None:
    text = text_of(
        (await tea.client.get("/m/tea-house/vouchers/TEA-3", headers={"Accept-Language": "en"})).text
    )
    assert "Sep 2, 2026 only the day is known" in text
    assert "Not redeemed so far" in text
    assert "Expired" in text


async def test_what_is_missing_has_its_place_in_the_life(tea: Pages) -> None:
    text = text_of(
        (await tea.client.get("/m/tea-house/vouchers/TEA-2", headers={"Accept-Language": "en"})).text
    )
    assert "No issuance of this voucher is recorded." in text
    assert "GONE is named, and not recorded." in text
    assert "Orphan" in text


async def test_hostile_records_are_shown_and_do_nothing(tea: Pages) -> None:
    listed = (await tea.client.get("/m/tea-house/vouchers")).text
    address = f"/m/tea-house/vouchers/{quote(HOSTILE, safe='')}"
    assert f'href="{address}"' in listed
    page = (await tea.client.get(address)).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "<i>c</i>" not in page
    assert "<b>Quiet</b>" not in page


async def test_vouchers_are_found_by_the_beginning_of_the_code_and_by_customer(tea: Pages) -> None:
    async def codes(query: str) -> list[str]:
        page = (await tea.client.get(f"/m/tea-house/vouchers?{query}")).text
        return [unescape(code) for code in re.findall(r'class="code" href="[^"]+">([^<]+)<', page)]

    assert await codes("code=TEA") == ["TEA-1", "TEA-2", "TEA-3"]
    assert await codes("code=EA") == []
    assert await codes("code=TEA%25") == []
    assert await codes("customer=c1") == ["TEA-1"]
    assert HOSTILE in await codes("")


async def test_lists_go_on_where_the_page_before_ended(tea: Pages) -> None:
    kind = RECORD_KINDS["vouchers"]
    rows = [kind.record(**{"voucher_id": f"N{n:03}", "campaign_id": "tea"}) for n in range(60)]
    async with begin(tea.app.engine) as tx:
        batches = [to_batch(kind, rows)]
        await load(tx, kind, merchant_id=tea.tea.id, batches=batches, now=clock.now())
    seen, address = [], "/m/tea-house/vouchers?code=N"
    while address:
        page = (await tea.client.get(address)).text
        seen += re.findall(r'class="code" href="[^"]+">(N\d+)<', page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        address = "/m/tea-house/vouchers" + unescape(following[1]) if following else ""
    assert seen == [f"N{n:03}" for n in range(60)]
    assert (await tea.client.get("/m/tea-house/vouchers?cursor=nonsense")).status_code == 422


async def test_campaigns_are_filtered_and_sorted(tea: Pages) -> None:
    async def names(query: str) -> list[str]:
        page = (await tea.client.get(f"/m/tea-house?{query}")).text
        return [unescape(found) for found in re.findall(r'href="/m/tea-house/campaigns/([^"]+)"', page)]

    assert await names("kind=gift") == ["quiet"]
    assert await names("q=FIRST") == ["tea"]
    assert await names("q=%25") == []
    assert await names("sort=redeemed") == ["tea", "quiet"]
    assert await names("sort=redeemed&direction=up") == ["quiet", "tea"]
    assert await names("sort=drop+table&page=x") == ["tea", "quiet"]


async def test_breaks_are_listed_by_kind_with_what_is_missing(tea: Pages) -> None:
    text = text_of(
        (
            await tea.client.get(
                "/m/tea-house/breaks?kind=missing_transaction", headers={"Accept-Language": "en"}
            )
        ).text
    )
    assert "TEA-2 Transaction missing GONE" in text
    assert "TEA-1" not in text


async def test_another_merchants_things_are_as_if_they_were_not(tea: Pages) -> None:
    for path in ("vouchers/TEA-1", "campaigns/tea"):
        assert (await tea.client.get(f"/m/tea-house/{path}")).status_code == 200
        assert (await tea.client.get(f"/m/other/{path}")).status_code == 404
    assert "TEA-1" not in (await tea.client.get("/m/other/vouchers?code=TEA")).text
    assert "TEA-" not in (await tea.client.get("/m/other/breaks")).text
    async with begin(tea.app.engine) as tx:
        job = await jobs.create(
            tx, kind="analysis", merchant_id=tea.tea.id, request={"period": "week"}, now=clock.now()
        )
    job_id = format_id("job", job.id)
    assert (await tea.client.get(f"/m/tea-house/jobs/{job_id}")).status_code == 200
    for path in (job_id, f"{job_id}/events"):
        assert (await tea.client.get(f"/m/other/jobs/{path}")).status_code == 404


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_an_empty_merchant_is_told_what_to_do(pages: Pages, language: str) -> None:
    headers = {"Accept-Language": language}
    page = (await pages.client.get("/m/other", headers=headers)).text
    assert "counterfoil import" in page
    for path in ("vouchers", "breaks", "vouchers?code=x"):
        assert (await pages.client.get(f"/m/other/{path}", headers=headers)).status_code == 200


async def test_records_without_an_analysis_ask_for_one(pages: Pages) -> None:
    kind = RECORD_KINDS["campaigns"]
    async with begin(pages.app.engine) as tx:
        batches = [to_batch(kind, [kind.record(**{"campaign_id": "new"})])]
        await load(tx, kind, merchant_id=pages.other.id, batches=batches, now=clock.now())
    page = (await pages.client.get("/m/other", headers={"Accept-Language": "en"})).text
    assert "No analysis yet" in page
    assert "Analyse now" in page
    assert (await pages.client.get("/m/other/campaigns/new")).status_code == 200


async def test_the_button_asks_for_an_analysis_as_the_api_does(pages: Pages) -> None:
    token = token_of((await pages.client.get("/m/tea-house")).text)
    first = await pages.client.post("/m/tea-house/analyses", data={"token": token, "period": "month"})
    again = await pages.client.post("/m/tea-house/analyses", data={"token": token, "period": "day"})
    assert first.status_code == 303
    assert again.headers["location"] == first.headers["location"]
    async with read(pages.app.engine) as tx:
        request = await tx.scalar("SELECT request FROM jobs")
        queued = await tx.scalar("SELECT count(*) FROM pgqueuer WHERE entrypoint = 'linkage.analyse'")
    assert (request, queued) == ({"period": "month"}, 1)
    page = await pages.client.get(first.headers["location"])
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in page.text
    assert "An analysis is under way" in (await pages.client.get("/m/tea-house")).text


async def test_the_events_of_a_job_end_when_it_does(tea: Pages) -> None:
    async with read(tea.app.engine) as tx:
        job_id = format_id("job", await tx.scalar("SELECT id FROM jobs WHERE state = 'succeeded'"))
    answer = await tea.client.get(f"/m/tea-house/jobs/{job_id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert '"state": "succeeded"' in answer.text
    assert (await tea.client.get(f"/m/tea-house/jobs/{job_id}")).headers["location"] == "/m/tea-house"


async def test_errors_are_pages_in_the_same_design(pages: Pages) -> None:
    for path, status in (
        ("/nowhere", 404),
        ("/m/nobody", 404),
        ("/m/tea-house/vouchers/none", 404),
        ("/m/tea-house/campaigns/none", 404),
        ("/m/tea-house/jobs/none", 404),
        ("/sign-out", 405),
        ("/m/tea-house/vouchers/a%00b", 422),
    ):
        answer = await pages.client.get(path)
        assert answer.status_code == status, path
        assert '<main id="main"' in answer.text


async def test_a_bug_tells_nothing_but_a_number(pages: Pages) -> None:
    async with begin(pages.app.engine) as tx:
        await tx.execute("ALTER TABLE merchants RENAME TO elsewhere")
    answer = await pages.client.get("/m/tea-house", headers={"Accept-Language": "en"})
    assert answer.status_code == 500
    assert "Something went wrong" in answer.text
    assert "merchants" not in answer.text


async def test_without_a_database_the_page_says_so(tmp_path: Path) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    settings = Settings(DATABASE_URL=nowhere, home=tmp_path)  # type: ignore[call-arg]
    engine = create_engine(nowhere)
    app = App(settings, engine, server_version="none", embedded=False)
    transport = httpx.ASGITransport(create_pages(app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/m/tea-house", headers={"Accept-Language": "en"})
    await engine.dispose()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "The database does not answer" in answer.text


async def test_a_choice_of_language_and_theme_is_remembered(pages: Pages) -> None:
    token = token_of((await pages.client.get("/m/other")).text)
    for name, value in (("language", "zh"), ("theme", "dark")):
        answer = await pages.client.post(
            "/preferences", data={"token": token, "next": "/m/other", name: value}
        )
        assert answer.headers["location"] == "/m/other"
    page = (await pages.client.get("/m/other", headers={"Accept-Language": "en"})).text
    assert '<html lang="zh-Hans" data-theme="dark">' in page


async def test_the_only_merchant_is_opened_at_once_and_several_are_listed(pages: Pages) -> None:
    listed = (await pages.client.get("/")).text
    assert 'href="/m/tea-house"' in listed
    assert 'href="/m/other"' in listed
    async with begin(pages.app.engine) as tx:
        await tx.execute("DELETE FROM merchants WHERE reference = 'other'")
    assert (await pages.client.get("/")).headers["location"] == "/m/tea-house"
    async with begin(pages.app.engine) as tx:
        await tx.execute("DELETE FROM merchants")
        assert await merchants.find(tx, name="tea-house") is None
    assert "counterfoil merchants create" in (await pages.client.get("/")).text
