"""The pages of campaigns that are run here: making, changing and steering them, and their codes."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from tests.dashboard.conftest import Pages, token_of
from tests.dashboard.running import ask, make
from tests.dashboard.test_pages import text_of

from counterfoil.dashboard import campaign_values
from counterfoil.dashboard.campaign_codes import first_column, lines_of
from counterfoil.dashboard.campaign_fields import Reader, read_limits, read_terms
from counterfoil.dashboard.words import words_of
from counterfoil.db.transactions import begin, read
from counterfoil.ids import new_id
from counterfoil.merchants import merchants
from counterfoil.vouchers import campaigns, counters
from counterfoil.vouchers.campaigns import Limits, RunCampaign
from counterfoil.vouchers.jobs import generate_job
from counterfoil.vouchers.terms import Terms

HOME = "/m/tea-house/campaigns"
NEW = "/m/tea-house/new-campaign"
EN, ZH = {"Accept-Language": "en"}, {"Accept-Language": "zh"}


async def _post(
    pages: Pages, path: str, *, language: str = "en", files: Any = None, **form: Any
) -> httpx.Response:
    token = token_of((await pages.client.get("/m/tea-house", headers=EN)).text)
    return await pages.client.post(
        path, data={"token": token, **form}, headers={"Accept-Language": language}, files=files
    )


def _fields(html: str) -> dict[str, str]:
    """What a browser would send of the form in a page."""
    form = html[html.index('class="terms-form"') :]
    fields: dict[str, str] = {}
    for tag in re.findall(r"<input\b[^>]*>", form):
        at = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if at.get("type") in {"checkbox", "radio"}:
            if not re.search(r"\schecked\b", tag):
                continue
            fields[at["name"]] = at.get("value", "on")
        elif "name" in at:
            fields[at["name"]] = at.get("value", "")
    for name, text in re.findall(r'<textarea [^>]*name="([^"]+)"[^>]*>\n?([^<]*)</textarea>', form):
        fields[name] = text
    fields.pop("token")
    return fields


async def _new(pages: Pages, **changes: str) -> httpx.Response:
    fields = _fields((await pages.client.get(NEW, headers=EN)).text)
    return await _post(pages, NEW, **{**fields, **changes})


async def _campaign(pages: Pages, campaign_id: str) -> RunCampaign:
    async with read(pages.app.engine) as tx:
        return await campaigns.get(tx, merchant_id=pages.tea.id, campaign_id=campaign_id)


async def _make(pages: Pages, campaign_id: str = "autumn", **changes: Any) -> str:
    async with begin(pages.app.engine) as tx:
        await make(tx, pages.tea, campaign_id, **changes)
    return f"{HOME}/{campaign_id}"


async def test_the_list_says_what_is_given_how_much_is_left_and_can_be_narrowed(tea: Pages) -> None:
    text = text_of((await tea.client.get("/m/fair/campaigns", headers=EN)).text)
    assert "20% off, at most CN¥50.00" in text
    assert "35 of 50 3 of 40 CN¥64.00 of CN¥1,000.00 Active" in text
    for said in ("1 × p-cake for nothing", "Balance of CN¥200.00", "Lucky amounts from a pot of CN¥100.00"):
        assert said in text
    paused = text_of((await tea.client.get("/m/fair/campaigns?state=paused", headers=EN)).text)
    assert "lucky" in paused
    assert "Gift card" not in paused
    nothing = text_of((await tea.client.get("/m/other/campaigns", headers=EN)).text)
    assert "No campaign is run here yet" in nothing
    odd = await tea.client.get("/m/fair/campaigns?state=<b>&cursor=", headers=EN)
    assert odd.status_code == 200


async def test_a_campaign_is_made_with_a_name_and_an_amount_alone(pages: Pages) -> None:
    answer = await _new(pages, campaign_id="tea-2026", **{"discount.amount": "12.50"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{HOME}/tea-2026?done=created")
    shown = text_of((await pages.client.get(answer.headers["location"], headers=EN)).text)
    assert "tea-2026 Draft" in shown
    assert "CN¥12.50 off" in shown
    assert "Look it over, then activate it." in shown
    made = await _campaign(pages, "tea-2026")
    assert (made.state, made.limits) == ("draft", Limits())
    assert made.terms == Terms.model_validate(
        {
            "discount": {"kind": "amount", "amount_minor": 1250},
            "validity": {"kind": "after_issue", "days": 30},
            "claims_per_customer": {"total": 1},
            "time_zone": "Asia/Shanghai",
        }
    )


MISTAKES = {
    "campaign_id": ("a/b", "Up to 100 letters, digits, dots, dashes and underscores."),
    "discount.amount": ("12.345", "Finer than this currency's smallest unit."),
    "minimum_spend": ("much", "Not a number."),
    "stock": ("1.5", "A whole number, please."),
    "budget": ("9" * 30, "Too large."),
    "claims.day": ("-1", "Not a number."),
    "ends_at": ("2026-01-01T00:00", "The end must come after the beginning."),
    "time_zone": ("Mars/Olympus", "Not a known time zone."),
    "codes.length": ("3", "Such codes could be guessed: make them longer."),
    "codes.charset": ("AAB", "A symbol stands in it twice."),
    "reservation_seconds": ("0", "At least 1."),
    "validity.days": ("99999", "At most 36500."),
    "claim_windows.0.from": ("25:99", "An hour, such as 18:00."),
}


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_mistake_is_told_beside_its_field_and_nothing_that_was_typed_is_lost(
    tea: Pages, name: str
) -> None:
    typed, said = MISTAKES[name]
    good = {"campaign_id": "ok", "discount.amount": "5", "name": "My & name", "starts_at": "2026-12-01T10:00"}
    answer = await _new(tea, **{**good, "scope.stores": "S1\nS2", "transferable": "on", name: typed})
    assert answer.status_code == 422
    beside = re.search(rf'id="e-{re.escape(name)}">([^<]+)<', answer.text)
    assert beside is not None
    assert beside[1].replace("&#39;", "'").startswith(said)
    kept = _fields(answer.text)
    assert kept[name] == typed
    assert (kept["name"], kept["scope.stores"], kept["transferable"]) == ("My &amp; name", "S1\nS2", "on")
    chinese = await _post(tea, NEW, language="zh", **{**kept, name: typed})
    assert chinese.status_code == 422
    assert said not in text_of(chinese.text)


async def test_what_only_the_verbs_know_is_told_beside_its_field_too(pages: Pages) -> None:
    await _make(pages, "taken")
    twice = await _new(pages, campaign_id="taken", **{"discount.amount": "5"})
    assert "There is a campaign with this id already." in twice.text
    pot = {"discount.kind": "random", "discount.pot": "100", "discount.smallest": "1"}
    without = await _new(pages, campaign_id="pot", **pot)
    assert 'id="e-stock"' in without.text
    unfit = await _new(pages, campaign_id="pot", stock="1000", **pot)
    assert 'id="e-discount.pot"' in unfit.text


async def _round(pages: Pages, terms: dict[str, Any], limits: Limits) -> tuple[Terms, Terms | None]:
    """Terms through the form that shows them: as they were, and as they would be saved."""
    campaign_id = f"round-{new_id().hex}"
    async with begin(pages.app.engine) as tx:
        fair = await merchants.get(tx, name="fair")
        await make(tx, fair, campaign_id, state="draft", limits=limits, **terms)
        before = await campaigns.get(tx, merchant_id=fair.id, campaign_id=campaign_id)
    fields = _fields((await pages.client.get(f"/m/fair/campaigns/{campaign_id}/edit", headers=EN)).text)
    reader = Reader(fields, "CNY", words_of("en"))
    assert read_limits(reader) == {
        "stock": limits.stock,
        "budget_minor": limits.budget_minor,
        "max_redemptions": limits.max_redemptions,
    }
    return before.terms, read_terms(reader)


@pytest.mark.parametrize(
    "terms",
    [
        {"discount": {"kind": "percent", "basis_points": 1250}, "validity": None},
        {"discount": {"kind": "percent", "basis_points": 10_000, "cap_minor": 0}},
        {"discount": {"kind": "product", "product_id": "p 1", "quantity": 3, "value_minor": 12}},
        {"discount": {"kind": "stored_value", "amount_minor": 1}, "uses_per_voucher": None},
        {"discount": {"kind": "random", "pot_minor": 500, "smallest_minor": 2, "largest_minor": 99}},
        {"scope": {"products": ["a,b", "c d"], "categories": [], "stores": ["门店"]}},
        {
            "starts_at": "2026-11-01T00:00:30+08:00",
            "ends_at": "2026-12-01T00:00:00+08:00",
            "validity": {
                "kind": "absolute",
                "valid_from": "2026-11-02T00:00:00+08:00",
                "valid_until": "2027-01-01T00:00:00Z",
            },
        },
        {"validity": {"kind": "after_issue", "hours": 6}},
        {
            "claim_windows": [
                {"days": ["sat", "sun"]},
                {"days": ["fri"], "from": "22:00", "until": "02:30"},
            ],
            "redemption_windows": [],
        },
        {
            "claims_per_customer": {"total": 9, "day": 0, "week": 2, "month": 3},
            "redemptions_per_customer": {"week": 1},
            "claims_per_day": 7,
            "redemptions_per_day": 0,
            "uses_per_voucher": 5,
            "stacking": "alone",
            "transferable": True,
            "from_pool": True,
            "reservation_seconds": 61,
            "minimum_spend_minor": 1,
        },
        {"codes": {"pattern": "A-####-####-####", "charset": "ABCDEFGHJK", "check_symbol": False}},
    ],
)
async def test_saving_the_form_as_it_is_changes_nothing(tea: Pages, terms: dict[str, Any]) -> None:
    before, after = await _round(tea, terms, Limits(100, 12_345, 0))
    assert after is not None
    if before.codes.pattern is not None:  # then its length means nothing
        assert after.codes.shape == before.codes.shape
        after = after.model_copy(update={"codes": before.codes})
    assert after == before


async def test_a_live_campaign_is_changed_and_what_is_fixed_says_so(pages: Pages) -> None:
    here = await _make(pages, limits=Limits(50))
    async with begin(pages.app.engine) as tx:
        await ask(tx, pages.tea.id, "claim", campaign_id="autumn", customer_id="c1")
    fields = _fields((await pages.client.get(f"{here}/edit", headers=EN)).text)
    fixed = await _post(pages, f"{here}/edit", **{**fields, "uses_per_voucher": "2"})
    assert fixed.status_code == 422
    assert "there are vouchers; make another campaign" in fixed.text
    low = await _post(pages, f"{here}/edit", **{**fields, "stock": "0"})
    assert "More than that is used already." in low.text
    saved = await _post(pages, f"{here}/edit", **{**fields, "discount.percent": "25", "name": "Better"})
    assert saved.headers["location"] == f"{here}?done=changed"
    now = await _campaign(pages, "autumn")
    assert (now.name, now.terms_version, now.limits.stock) == ("Better", 2, 50)
    late = await _post(pages, f"{here}/edit", **{**fields, "name": "Other"})
    assert "Somebody else changed this campaign meanwhile." in late.text


async def test_a_limit_that_was_raised_elsewhere_is_not_lowered_by_an_older_form(pages: Pages) -> None:
    here = await _make(pages, limits=Limits(50, 1000))
    fields = _fields((await pages.client.get(f"{here}/edit", headers=EN)).text)
    await _post(
        pages, here, do="limits", stock="80", budget="10.00", **{"was.stock": "50", "was.budget": "10.00"}
    )
    await _post(pages, f"{here}/edit", **{**fields, "budget": "20"})
    assert (await _campaign(pages, "autumn")).limits == Limits(80, 2000)


async def test_the_small_form_changes_limits_and_refuses_what_is_used(pages: Pages) -> None:
    here = await _make(pages, limits=Limits(5))
    async with begin(pages.app.engine) as tx:
        await ask(tx, pages.tea.id, "claim", campaign_id="autumn", customer_id="c1")
    answer = await _post(pages, here, do="limits", stock="0", **{"was.stock": "5"})
    assert answer.status_code == 422
    assert "A limit cannot be below what is used already." in answer.text
    assert re.search(r'name="stock"[^>]* value="0"', answer.text)
    assert "That is no number." in (await _post(pages, here, do="limits", budget="lots")).text
    done = await _post(pages, here, do="limits", stock="", budget="1,000.50", **{"was.stock": "5"})
    assert done.status_code == 303
    assert (await _campaign(pages, "autumn")).limits == Limits(None, 100_050)


async def test_each_move_does_what_it_says_and_the_final_ones_ask_first(pages: Pages) -> None:
    here = await _make(pages, state="draft")
    for do, state, said in (
        ("activate", "active", "It is active."),
        ("pause", "paused", "It is paused."),
        ("resume", "active", "It goes on."),
        ("stop", "stopped", "It is stopped."),
        ("end", "ended", "It is ended."),
    ):
        if do in {"stop", "end"}:
            unsure = await _post(pages, here, do=do)
            assert (unsure.status_code, "Tick the box" in unsure.text) == (422, True)
        answer = await _post(pages, here, do=do, sure="on")
        assert answer.status_code == 303, do
        assert (await _campaign(pages, "autumn")).state == state
        shown = (await pages.client.get(answer.headers["location"], headers=EN)).text
        assert said in text_of(shown)
    assert 'value="pause"' not in shown
    assert "/edit" not in shown
    assert (await pages.client.get(f"{here}/edit", headers=EN)).headers["location"] == here
    over = await _post(pages, here, do="resume")
    assert over.status_code == 422
    assert "the campaign has come into another state meanwhile" in over.text
    assert "活动的状态已经改变" in (await _post(pages, here, language="zh", do="resume")).text


async def test_codes_are_asked_for_and_the_job_is_shown_to_its_end(pages: Pages) -> None:
    here = await _make(pages, from_pool=True)
    for count in ("", "0", "many", "10000001"):
        assert (
            "a whole number from 1 to 10,000,000"
            in (await _post(pages, here, do="generate", count=count)).text
        )
    answer = await _post(pages, here, do="generate", count="1,200")
    job = answer.headers["location"]
    assert "Codes are being made" in (await pages.client.get(job, headers=EN)).text
    async with read(pages.app.engine) as tx:
        job_id = await tx.scalar("SELECT id FROM jobs WHERE kind = 'codes'")
    await generate_job(pages.app.engine, {"job_id": str(job_id)})
    done = await pages.client.get(job, headers=EN)
    assert done.headers["location"] == f"{here}?done=generated"
    assert (await _campaign(pages, "autumn")).counters.available == 1200
    await _post(pages, here, do="stop", sure="on")
    refused = await _post(pages, here, do="generate", count="1")
    assert (refused.status_code, "hands out no more vouchers" in refused.text) == (422, True)


async def test_codes_are_brought_by_text_and_by_file_and_each_is_accounted_for(pages: Pages) -> None:
    here = await _make(pages, from_pool=True)
    sent = {"file": ("codes.csv", '\ufeffcode,note\r\nF-1,x\r\n"F-2",y\r\nT-1,z\r\n'.encode(), "text/csv")}
    answer = await _post(pages, here, do="bring", codes="T-1\r\nT-2\n\nbad code\n", files=sent)
    assert answer.status_code == 200
    assert "Added: 4 Twice in what you sent: 1 Not valid: 1 bad code has spaces" in text_of(answer.text)
    again = await _post(pages, here, do="bring", codes="T-2")
    assert "There already: 1" in text_of(again.text)
    none = await _post(pages, here, do="bring", codes=" ")
    assert "Put in at least one code" in none.text
    many = await _post(pages, here, do="bring", codes="\n".join(f"N{n}" for n in range(10_001)))
    assert "At most 10,000 codes at a time" in many.text
    assert (await _campaign(pages, "autumn")).counters.available == 4


def test_a_file_of_codes_may_have_a_heading_and_any_delimiter() -> None:
    assert first_column("voucher_id;x\nA;1\n\nB;2\n") == ["A", "B"]
    assert first_column('A\n"B\nC\n') == ["A", "B", "C"]
    assert first_column("A,B\tx\n") == ["A"]
    assert lines_of("a,b\n c \n") == ["a,b", "c"]


async def test_all_codes_come_as_a_file(pages: Pages) -> None:
    here = await _make(pages, from_pool=True)
    await _post(pages, here, do="bring", codes="A-1\n=B-2")
    answer = await pages.client.get(f"{here}/codes.csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="autumn.csv"'
    assert answer.headers["content-type"].startswith("text/csv")
    rows = sorted(line.partition(",")[0] for line in answer.text.splitlines()[1:])
    assert rows == ["'=B-2", "A-1"]
    assert (await pages.client.get(f"{HOME}/none/codes.csv")).status_code == 404


async def test_what_belongs_to_another_merchant_is_not_found(tea: Pages) -> None:
    for path in ("", "/edit", "/counters", "/codes.csv"):
        answer = await tea.client.get(f"/m/other/campaigns/autumn{path}", headers=EN)
        assert answer.status_code == 404, path
    for form in (
        {"do": "stop", "sure": "on"},
        {"do": "limits", "stock": "1"},
        {"do": "generate", "count": "1"},
    ):
        assert (await _post(tea, "/m/other/campaigns/autumn", **form)).status_code == 404, form
    assert (await _post(tea, "/m/other/campaigns/autumn", do="bring", codes="X")).status_code == 404
    assert (await _post(tea, "/m/fair/campaigns/autumn", do="explode")).status_code == 422
    assert (await tea.client.post("/m/fair/campaigns/autumn", data={"do": "stop"})).status_code == 403


async def test_a_campaign_of_another_system_keeps_its_page(tea: Pages) -> None:
    text = text_of((await tea.client.get("/m/tea-house/campaigns/tea", headers=EN)).text)
    assert "From exposure to money" in text
    assert "How it stands" not in text
    assert (await tea.client.get("/m/tea-house/campaigns/tea/edit")).status_code == 404


async def test_an_id_of_another_system_may_end_like_an_address_of_ours(pages: Pages) -> None:
    async with begin(pages.app.engine) as tx:
        await tx.execute(
            """INSERT INTO campaigns (merchant_id, campaign_id, name, recorded_at)
               VALUES (:m, 'tea/edit', 'Odd one', now())""",
            {"m": pages.tea.id},
        )
    assert "Odd one" in (await pages.client.get(f"{HOME}/tea/edit", headers=EN)).text


async def test_the_page_says_the_terms_in_words(tea: Pages) -> None:
    text = text_of((await tea.client.get("/m/fair/campaigns/lucky", headers=EN)).text)
    for said in (
        "CN¥1.00 to CN¥50.00",
        "3 in all, 1 a day",
        "to the end of the day, 30 days after the issue",
        "Mon, Tue 11:00–14:00",
        "FAIR-########",
    ):
        assert said in text, said
    chinese = text_of((await tea.client.get("/m/fair/campaigns/lucky", headers=ZH)).text)
    assert "总共 3 次、每天 1 次" in chinese
    assert "周一、周二 11:00–14:00" in chinese


async def test_no_form_of_the_pages_puts_the_counters_wrong(pages: Pages) -> None:
    here = await _make(pages, limits=Limits(5))
    await _post(pages, here, do="bring", codes="A\nB")
    await _post(pages, "/m/tea-house/vouchers/A", do="void", reason="lost")
    async with read(pages.app.engine) as tx:
        assert await counters.verify(tx, merchant_id=pages.tea.id, campaign_id="autumn") == []


def test_a_new_campaigns_form_begins_with_terms_that_only_lack_the_amount() -> None:
    reader = Reader(campaign_values.of_new("UTC", "JPY"), "JPY", words_of("en"))
    assert read_terms(reader) is None
    assert list(reader.errors) == ["discount.amount"]
