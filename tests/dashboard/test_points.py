"""The pages of points: what they show, and what an operator does on them."""

from __future__ import annotations

import re
from typing import Any, Final, get_args
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
from tests.dashboard.conftest import Pages, token_of
from tests.dashboard.points_running import STRANGE, give
from tests.dashboard.test_pages import text_of

from counterfoil import clock
from counterfoil.dashboard import points_labels
from counterfoil.dashboard.points_member import MOST_WAITING
from counterfoil.db.transactions import begin, read
from counterfoil.ids import format_id
from counterfoil.points import accounts, earning, ledger, pending, programs, queries, reversals
from counterfoil.points.accounts import Account
from counterfoil.points.programs import Program, Rate
from counterfoil.points.refusals import REFUSALS
from counterfoil.points.types import SOURCES

EN: Final = {"Accept-Language": "en"}
DONE: Final = {"posted", "pending", "voided", "taken_back", "nothing_to_take_back"}
FAIR = "/m/fair/points"
HOUSE = "/m/tea-house/points"
ANN = f"{HOUSE}/members/ann"
FORM: Final[dict[str, str]] = {
    "earn.points": "2",
    "earn.minor": "1.00",
    "burn.points": "100",
    "burn.minor": "1,000",
    "expiry.kind": "months",
    "expiry.after_months": "24",
    "expiry.at": "year_end",
    "activate_after_days": "14",
    "notice_days": "30",
    "max_balance": "",
    "time_zone": "Asia/Shanghai",
    "was": "",
}


async def _post(pages: Pages, path: str, *, language: str = "en", **form: Any) -> httpx.Response:
    token = token_of((await pages.client.get("/m/tea-house", headers=EN)).text)
    return await pages.client.post(path, data={"token": token, **form}, headers={"Accept-Language": language})


async def _shown(pages: Pages, path: str) -> str:
    answer = await pages.client.get(path, headers=EN)
    assert answer.status_code == 200, path
    return text_of(answer.text)


def _field(html: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]+)"', html)
    assert found is not None, name
    return found[1]


async def _ann(pages: Pages, *, points: int = 0) -> None:
    """A member of the tea house."""
    async with begin(pages.app.engine) as tx:
        await accounts.open_accounts(tx, merchant_id=pages.tea.id, customer_ids=["ann"], now=clock.now())
        if points:
            await give(tx, pages.tea, "ann", points)


async def _account(pages: Pages, customer_id: str = "ann") -> Account:
    async with read(pages.app.engine) as tx:
        return await accounts.get(tx, merchant_id=pages.tea.id, customer_id=customer_id)


async def _last(pages: Pages) -> queries.TransferItem:
    async with read(pages.app.engine) as tx:
        return (await queries.statement(tx, merchant_id=pages.tea.id, customer_id="ann", limit=1)).data[0]


async def _adjust(pages: Pages, way: str, points: str, **changes: str) -> httpx.Response:
    reference = _field((await pages.client.get(ANN)).text, "reference")
    fields = {"reference": reference, "reason": "late parcel", **changes}
    return await _post(pages, ANN, do="adjust", way=way, points=points, **fields)


def test_every_source_and_every_refusal_has_its_words() -> None:
    assert set(points_labels.SOURCES) == set(SOURCES)
    assert {source for source, _ in points_labels.TITLES} == set(SOURCES)
    assert set(REFUSALS) <= set(points_labels.PROBLEMS)
    codes = (ledger.Code, reversals.Code, pending.Code, earning.TakeBackCode)
    told = {code for one in codes for code in get_args(one)}
    assert told - DONE == set(REFUSALS)


async def test_the_overview_tells_where_points_came_from_and_who_has_them(tea: Pages) -> None:
    text = await _shown(tea, FAIR)
    assert "1 point for every CN¥1.00 paid" in text
    assert "100 points take CN¥1.00 off · Points expire at the end of the month, 12 months on" in text
    # 51 + 52 + 53 earned, 26 taken back, 25 burned, 47 given.
    assert "Members 34 Outstanding points 152" in text
    assert "Held 30" in text
    assert "To come 90" in text
    assert "Orders 4 transfers +130" in text
    assert "By hand 2 transfers +47" in text
    assert "Burned 1 transfer -25" in text
    assert "Next page" in text


async def test_a_ledger_that_takes_too_long_to_sum_up_keeps_nobody_waiting(pages: Pages) -> None:
    await _ann(pages, points=50)
    async with begin(pages.app.engine) as tx:
        await tx.execute("LOCK TABLE points_transfers IN ACCESS EXCLUSIVE MODE")
        text = await _shown(pages, HOUSE)
    assert "Members 1 Outstanding points 50" in text
    assert "The ledger is too large to sum up here" in text


async def test_members_are_found_by_the_beginning_of_their_id(tea: Pages) -> None:
    page = await tea.client.get(f"{FAIR}?q=guest2", headers=EN)
    assert re.findall(r'/members/([^"]+)"', page.text) == [f"guest2{n}" for n in range(10)]
    assert "No member's id begins like this" in await _shown(tea, f"{FAIR}?q=nobody")
    first = (await tea.client.get(FAIR, headers=EN)).text
    cursor = re.search(r'href="(\?cursor=[^"]+)"', first)
    assert cursor is not None
    assert "guest29" in await _shown(tea, FAIR + cursor[1])


async def test_a_members_page_tells_everything(tea: Pages) -> None:
    text = await _shown(tea, f"{FAIR}/members/ann")
    assert "Available 115 worth CN¥1.15 Balance 145 Held 30" in text
    assert "To come 90 promised" in text
    assert "Held for an order B-2 released on" in text
    assert "Promised O-9 credited on" in text
    steps = (
        "Burned on an order",
        "Given by hand <b>late</b> parcel (Ada)",
        "Taken back",
        "Earned by an order",
    )
    statement = text[text.index("Statement") :]
    places = [statement.index(step) for step in steps]
    assert places == sorted(places)
    assert "Earned by an order 26 undone" in statement
    assert text.count("until ") >= 2
    assert "Points given now are good until" in text


async def test_what_customers_are_called_does_no_harm(tea: Pages) -> None:
    page = await tea.client.get(f"{FAIR}/members/{quote(STRANGE, safe='')}", headers=EN)
    assert page.status_code == 200
    assert STRANGE in text_of(page.text.replace("</title>", " ").replace("<title>", " "))
    assert "<script>alert" not in page.text
    assert "<i>x" not in page.text


async def test_another_merchants_member_is_not_found(tea: Pages) -> None:
    for path in ("/m/tea-house/points/members/ann", f"{FAIR}/members/nobody", f"{FAIR}/members/"):
        answer = await tea.client.get(path, headers=EN)
        assert (answer.status_code, "There is no such member" in answer.text) == (404, True)


async def test_a_merchant_without_points_is_told_how_to_begin(pages: Pages) -> None:
    text = await _shown(pages, HOUSE)
    assert "Set up the program" in text
    assert "Nobody has an account yet" in text
    nobody = await _post(pages, HOUSE, customers=" \n")
    assert (nobody.status_code, "Name at least one customer." in nobody.text) == (422, True)
    long = await _post(pages, HOUSE, customers="x" * 201)
    assert "200 characters at most" in long.text
    opened = await _post(pages, HOUSE, customers="ann\n bob \nann")
    assert opened.headers["location"] == f"{HOUSE}?done=opened"
    assert "Members 2 Outstanding points 0" in await _shown(pages, HOUSE)


async def test_points_are_given_once_however_often_the_form_is_sent(pages: Pages) -> None:
    await _ann(pages)
    reference = _field((await pages.client.get(ANN)).text, "reference")
    fields = {
        "do": "adjust",
        "way": "give",
        "points": "1,200",
        "reason": "late parcel",
        "reference": reference,
    }
    first = await _post(pages, ANN, **fields)
    assert first.headers["location"] == f"{ANN}?done=give"
    again = await _post(pages, ANN, **fields)
    assert again.headers["location"] == f"{ANN}?done=repeated"
    assert (await _account(pages)).balance == 1200
    last = await _last(pages)
    assert (last.source, last.note, last.reference) == ("adjusted", "late parcel (Ada)", reference)


async def test_what_was_typed_wrong_is_said_and_kept(pages: Pages) -> None:
    await _ann(pages)
    for points in ("0", "-5", "x", "1.5", ""):
        wrong = await _adjust(pages, "take", points)
        assert (wrong.status_code, "A whole number from 1 up" in wrong.text) == (422, True), points
        assert 'value="take" checked' in wrong.text
        assert 'value="late parcel"' in wrong.text
    silent = await _adjust(pages, "give", "5", reason=" ")
    assert "Say why: it stays in the ledger." in text_of(silent.text)
    for changes in ({"way": "other"}, {"reference": "mine"}, {"do": "other"}):
        strange = await _post(
            pages, ANN, **{"do": "adjust", "way": "give", "points": "5", "reason": "x", **changes}
        )
        assert strange.status_code == 422
    assert (await _account(pages)).version == 0


async def test_a_refusal_is_told_in_the_readers_language(pages: Pages) -> None:
    await _ann(pages, points=5)
    english = await _adjust(pages, "take", "6")
    assert (english.status_code, "has not that many points available" in english.text) == (422, True)
    # A refused reference stays refused: the form that is shown has another.
    reference = _field(english.text, "reference")
    chinese = await _post(
        pages, ANN, language="zh", do="adjust", way="take", points="7", reason="x", reference=reference
    )
    assert "会员可用的积分没有这么多。" in chinese.text
    assert (await _adjust(pages, "take", "5")).headers["location"] == f"{ANN}?done=take"


async def test_the_programs_expiry_and_limit_hold_by_hand_too(pages: Pages) -> None:
    await _ann(pages)
    program = Program.model_validate({"expiry": {"after_months": 12}, "max_balance": 100})
    async with begin(pages.app.engine) as tx:
        await programs.put(tx, merchant_id=pages.tea.id, program=program, now=clock.now())
    assert "above the program's maximum" in text_of((await _adjust(pages, "give", "101")).text)
    await _adjust(pages, "give", "100")
    assert (await _last(pages)).expires_at is not None


async def test_a_transfer_is_undone_in_part_and_then_whole(pages: Pages) -> None:
    await _ann(pages, points=50)
    given = format_id("transfer", (await _last(pages)).transfer_id)
    html = (await pages.client.get(ANN)).text
    reference = _field(html[html.index('id="statement"') :], "reference")
    form = {"do": "reverse", "transfer_id": given, "reason": "mistake"}
    part = {**form, "points": "20", "reference": reference}
    assert (await _post(pages, ANN, **part)).headers["location"] == f"{ANN}?done=reverse_part"
    assert (await _post(pages, ANN, **part)).headers["location"] == f"{ANN}?done=repeated"
    more = await _post(pages, ANN, **{**part, "points": "31", "reference": f"{reference[:-1]}7"})
    assert "It has not that many points left." in text_of(more.text)
    assert 'value="31"' in more.text
    rest = await _post(pages, ANN, **{**part, "points": "", "reference": f"{reference[:-1]}8"})
    assert rest.headers["location"] == f"{ANN}?done=reverse"
    assert (await _account(pages)).balance == 0
    text = await _shown(pages, ANN)
    assert "Undone: Given by hand mistake (Ada)" in text
    assert "Given by hand undone" in text


async def test_only_a_transfer_of_this_member_is_undone(pages: Pages) -> None:
    await _ann(pages, points=50)
    other = f"{HOUSE}/members/bob"
    async with begin(pages.app.engine) as tx:
        await accounts.open_accounts(tx, merchant_id=pages.tea.id, customer_ids=["bob"], now=clock.now())
    reference = _field((await pages.client.get(other)).text, "reference")
    for named in (format_id("transfer", (await _last(pages)).transfer_id), "trf_x", "", "x" * 900):
        for do in ("reverse", "post", "void"):
            answer = await _post(
                pages, other, do=do, transfer_id=named, reason="x", points="", reference=reference
            )
            assert (answer.status_code, do) == (404, do)
    assert (await _account(pages)).balance == 50


@pytest.mark.parametrize(("do", "balance", "pending"), [("post", 70, 0), ("void", 0, 0)])
async def test_what_is_promised_is_credited_or_voided(
    pages: Pages, do: str, balance: int, pending: int
) -> None:
    await _ann(pages)
    async with begin(pages.app.engine) as tx:
        await give(tx, pages.tea, "ann", 70, pending=True)
    html = (await pages.client.get(ANN, headers=EN)).text
    assert "never: somebody decides" in html
    form = {"do": do, "transfer_id": _field(html, "transfer_id")}
    assert (await _post(pages, ANN, **form)).headers["location"] == f"{ANN}?done={do}"
    assert (await _post(pages, ANN, **form)).headers["location"] == f"{ANN}?done=repeated"
    account = await _account(pages)
    assert (account.balance, account.pending) == (balance, pending)
    other = await _post(pages, ANN, **{**form, "do": "void" if do == "post" else "post"})
    assert other.status_code == 409
    assert re.search("carried out already|voided already", other.text)


async def test_of_much_that_is_pending_the_first_is_shown(pages: Pages) -> None:
    await _ann(pages)
    async with begin(pages.app.engine) as tx:
        for _ in range(MOST_WAITING + 1):
            await give(tx, pages.tea, "ann", 1, pending=True)
    page = (await pages.client.get(ANN, headers=EN)).text
    assert page.count(">Credit now<") == MOST_WAITING
    assert "There are more; those that are due first are shown." in page


async def test_an_empty_account_is_closed_and_opened_again(pages: Pages) -> None:
    await _ann(pages, points=5)
    full = await _post(pages, ANN, do="close", sure="on")
    assert (full.status_code, "cannot be closed" in full.text) == (409, True)
    await _adjust(pages, "take", "5")
    assert "Tick the box" in (await _post(pages, ANN, do="close")).text
    assert (await _post(pages, ANN, do="close", sure="on")).headers["location"] == f"{ANN}?done=close"
    closed = await _shown(pages, ANN)
    assert "Nothing is credited to a closed account." in closed
    assert "Give or take points" not in closed
    refused = await _post(
        pages, ANN, do="adjust", way="give", points="5", reason="x", reference=f"desk-{UUID(int=1).hex}"
    )
    assert "The points account is closed" in refused.text
    assert (await _post(pages, ANN, do="reopen")).headers["location"] == f"{ANN}?done=reopen"
    assert (await _account(pages)).state == "open"


async def test_a_program_is_made_and_changed_by_its_form(pages: Pages) -> None:
    begun = (await pages.client.get(f"{HOUSE}/program", headers=EN)).text
    assert 'name="time_zone" type="text" maxlength="64" value="Asia/Shanghai"' in begun
    saved = await _post(pages, f"{HOUSE}/program", **FORM, earn_from_orders="on")
    assert saved.headers["location"] == f"{HOUSE}?done=program"
    async with read(pages.app.engine) as tx:
        program = await programs.get(tx, merchant_id=pages.tea.id)
    assert (program.earn, program.burn) == (Rate(points=2, minor=100), Rate(points=100, minor=100_000))
    assert (program.earn_from_orders, program.max_balance) == (True, None)
    assert program.expiry is not None
    assert (program.expiry.after_months, program.expiry.at) == (24, "year_end")
    # Whoever began before that change is told so.
    late = await _post(pages, f"{HOUSE}/program", **{**FORM, "earn.points": "9"})
    assert (late.status_code, "Somebody else changed the program" in late.text) == (422, True)
    assert 'value="9"' in late.text
    now = {**FORM, "was": program.model_dump_json(), "expiry.kind": "never", "max_balance": "5,000"}
    assert (await _post(pages, f"{HOUSE}/program", **now)).status_code == 303
    assert "Points never expire" in await _shown(pages, HOUSE)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("earn.points", "", "Fill this in."),
        ("earn.points", "-1", "Not a number"),
        ("burn.minor", "0", "At least 1."),
        ("burn.minor", "0.001", "Finer than this currency"),
        ("expiry.after_months", "121", "At most 120."),
        ("expiry.at", "never", "Choose one."),
        ("expiry.kind", "", "Choose one."),
        ("activate_after_days", "9999", "At most 3650."),
        ("max_balance", "0", "At least 1."),
        ("time_zone", "Moon", "Not a known time zone."),
        ("time_zone", "", "Fill this in."),
    ],
)
async def test_what_is_wrong_with_a_program_is_said_beside_its_field(
    pages: Pages, name: str, value: str, said: str
) -> None:
    answer = await _post(pages, f"{HOUSE}/program", **{**FORM, name: value})
    assert answer.status_code == 422
    place = re.search(rf'id="e-{re.escape(name)}">([^<]*)', answer.text)
    assert place is not None
    assert place[1].startswith(said)
    async with read(pages.app.engine) as tx:
        assert await programs.find(tx, merchant_id=pages.tea.id) is None
