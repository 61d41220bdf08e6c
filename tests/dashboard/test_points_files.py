"""The pages of partners and their files: what they show, and what an operator does on them."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import quote

import httpx
import pytest
from tests.dashboard.conftest import Pages, token_of
from tests.dashboard.points_files_running import STRANGE, half_credited
from tests.dashboard.test_pages import text_of
from tests.points_files.sftp_server import asyncssh_partner
from tests.points_files.world import World, pair

from counterfoil import clock
from counterfoil.dashboard import points_file_labels, points_partner_labels
from counterfoil.dashboard.points_file_plot import MOST_MARKS, changes_of, plot_of
from counterfoil.db.transactions import begin, read
from counterfoil.points.files import (
    faults,
    files,
    keys,
    limiter,
    openpgp_policy,
    partners,
    probing,
    terms,
    types,
)
from counterfoil.points.files.layouts import builtin_layout
from counterfoil.points.files.partners import Partner
from counterfoil.points.files.queries import DecisionItem
from counterfoil.points.files.ssh_keys import make_ssh_key
from counterfoil.settings import Settings

EN: Final = {"Accept-Language": "en"}
AIR = "/m/air/points"
HOUSE = "/m/tea-house/points"
BANK = f"{HOUSE}/partners/bank"
SOURCE = Path(files.__file__).parent
FORM: Final[dict[str, str]] = {
    "name": "City Bank",
    "partner_id": "bank",
    "first_sequence": "7",
    "layout": "delimited",
    "sender": "BANK",
    "receiver": "SHOP",
    "environment": "production",
    "version": "1",
    "points_min": "1",
    "points_max": "50,000",
    "days_back": "400",
    "days_ahead": "0",
    "offers": "SPRING\nAUTUMN\n",
    "reject.duplicate": "on",
    "limiter.batch_size_min": "2500",
    "limiter.batch_size_max": "5000",
    "limiter.workers_min": "1",
    "limiter.workers_max": "4",
    "limiter.target": "1.5",
    "way": "sent",
    "collect_every_seconds": "60",
    "credits": "ours",
}
SERVER: Final = {
    "way": "server",
    "server.host": "sftp.bank.example",
    "server.port": "22",
    "server.user": "shop",
    "server.incoming": "/out",
    "server.responses": "/in",
    "server.pattern": "*.pgp",
    "server.complete": "rename",
    "server.marker": ".done",
}


async def _post(pages: Pages, path: str, *, language: str = "en", **form: Any) -> httpx.Response:
    token = token_of((await pages.client.get("/m/tea-house", headers=EN)).text)
    return await pages.client.post(path, data={"token": token, **form}, headers={"Accept-Language": language})


async def _html(pages: Pages, path: str) -> str:
    answer = await pages.client.get(path, headers=EN)
    assert answer.status_code == 200, path
    return answer.text


async def _shown(pages: Pages, path: str) -> str:
    return text_of(await _html(pages, path))


async def _file(pages: Pages, name: str, query: str = "") -> str:
    return await _shown(pages, f"{AIR}/files/{pages.files[name]}{query}")


async def _partner(pages: Pages, partner_id: str = "bank") -> Partner:
    async with read(pages.app.engine) as tx:
        return await partners.get(tx, merchant_id=pages.tea.id, partner_id=partner_id)


async def _add(pages: Pages, **changes: str) -> httpx.Response:
    return await _post(pages, f"{HOUSE}/new-partner", **{**FORM, **changes})


def test_every_reason_for_which_a_file_is_rejected_has_its_words() -> None:
    raised = set()
    for path in SOURCE.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        raised |= set(re.findall(r'FileFaultError\([^)]*?code="(\w+)"', text, re.S))
        raised |= set(re.findall(r'code="(file_\w+)", line', text))
    header = ("version", "environment", "sender", "receiver", "file_type")
    totals = ("record_count", "points_total", "hash_total")
    told = {
        *raised,
        *get_args(openpgp_policy.Code),
        *(f"{name}_wrong" for name in (*header, *totals)),
        *(f"record_{rule}" for rule in get_args(terms.Rule)),
        "partner_closed",
    }
    # The beginning of a code; the others are of our own responses, which are read back and written.
    told -= {"record_", "file_response_unreadable", "file_value_unwritable"}
    assert told <= set(points_file_labels.REASONS), told - set(points_file_labels.REASONS)


def test_every_word_of_a_closed_set_has_its_words() -> None:
    of_files, of_partners = points_file_labels, points_partner_labels
    assert set(of_files.STATES) == set(types.FILE_STATES)
    assert set(of_files.VIAS) == set(types.VIAS)
    assert set(of_files.WHYS) == set(get_args(limiter.Why))
    assert {*get_args(faults.RecordFault), *get_args(terms.Rule)} <= set(of_files.CODES)
    assert set(of_partners.STATES) == set(types.PARTNER_STATES)
    assert set(of_partners.RULES) == set(get_args(terms.Rule))
    assert set(of_partners.CHECKS) == set(get_args(probing.Name))
    assert set(of_partners.KEY_KINDS) == set(of_partners.OWN_KEYS) == set(types.KEY_KINDS)
    told = "".join((SOURCE / name).read_text(encoding="utf-8") for name in ("sftp.py", "sftp_errors.py"))
    assert set(re.findall(r'code="(sftp_\w+)"', told)) <= set(of_partners.TROUBLE)


async def test_the_list_says_of_each_partner_what_needs_a_look(tea: Pages) -> None:
    text = await _shown(tea, f"{AIR}/partners")
    assert "City <b>Bank</b> citybank Open Last file new.pgp Received" in text
    assert "Next number 4" in text
    assert "No OpenPGP key is pinned" in text
    assert "The server cannot be reached" in text
    assert "Closed" in text


async def test_a_partners_page_never_shows_a_secret(tea: Pages) -> None:
    for path in ("partners/miles", "partners/miles/edit", "partners/citybank"):
        html = await _html(tea, f"{AIR}/{path}")
        assert "never-shown-again" not in html
        assert "PRIVATE KEY" not in html
    key = await tea.client.get(f"{AIR}/own-keys/openpgp")
    assert key.text.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")
    assert (await tea.client.get(f"{AIR}/own-keys/ssh")).text.startswith("ssh-ed25519 ")
    assert (await tea.client.get(f"{AIR}/own-keys/other")).status_code == 404


async def test_a_credited_file_accounts_for_every_record_and_point(tea: Pages) -> None:
    text = await _file(tea, "march.pgp")
    assert "Received 66 7,894 points Credited 60 7,770 points Rejected 5 21 points Repeated 1 103" in text
    assert "Received = credited + rejected + repeated" in text
    assert "Rejected No such member 2" in text
    assert "Line Field What is wrong 63 points Points out of range" in text
    assert "march.response.pgp" in text
    assert "Came again, and got the same response march-again.pgp" in text


async def test_a_members_record_is_found_while_the_file_runs(tea: Pages) -> None:
    done = await _file(tea, "march.pgp", "?member=m03")
    assert re.search(r"m03 103 R1-3 5 \d+ trf_\w+ Credited", done)
    assert re.search(r"m03 103 R1-3 67 \d+ trf_\w+ Repeated Credited before", done) or "Repeated" in done
    waiting = await _file(tea, "april.pgp", "?member=m03")
    assert re.search(r"m03 103 R3-3 \d+ not yet – Waiting", waiting)
    assert "R3-7" in await _file(tea, "april.pgp", "?reference=R3-7")
    assert "no such record" in await _file(tea, "april.pgp", "?member=M03")


async def test_a_rejected_file_says_why_and_what_to_do(tea: Pages) -> None:
    text = await _file(tea, "too-early.pgp")
    assert "It does not have the next number" in text
    assert "What to do: The partner sends the file with the number that is expected." in text
    assert "Nothing of it was credited. The next file must have the number 2." in text
    assert "It is damaged or cut short." in await _file(tea, f"cut {STRANGE}.pgp")


async def test_a_repeated_file_leads_to_the_first_and_one_at_work_says_how_far_it_is(tea: Pages) -> None:
    html = await _html(tea, f"{AIR}/files/{tea.files['march-again.pgp']}")
    assert f'href="{AIR}/files/{tea.files["march.pgp"]}">The file that came first' in html
    text = await _file(tea, "april.pgp")
    assert "1 of 66 records decided" in text
    assert "Waiting 65" in text
    assert "before a single point is credited" in await _file(tea, "new.pgp")


async def test_files_are_listed_by_partner_and_state(tea: Pages) -> None:
    async def names(query: str) -> set[str]:
        html = await _html(tea, f"{AIR}/files{query}")
        return set(re.findall(r'rowheader"><a href="[^"]+">([^<]+)<', html))

    assert {unescape(name) for name in await names("?state=rejected")} == {
        "too-early.pgp",
        f"cut {STRANGE}.pgp",
    }
    assert len(await names("?partner=citybank")) == 7
    assert await names("?partner=miles") == set()


async def test_how_far_a_file_is_comes_as_a_stream(tea: Pages) -> None:
    path = f"{AIR}/files/{tea.files['april.pgp']}/progress"
    async with tea.client.stream("GET", path, headers=EN) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        said = ""
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                said = line.removeprefix("data: ")
                break
    told = json.loads(said)
    assert told["figures"]["decided"] == "1"
    assert told["state"].startswith("crediting")


async def test_what_came_and_what_went_is_downloaded_as_it_is(tea: Pages) -> None:
    came = await tea.client.get(f"{AIR}/files/{tea.files['new.pgp']}/content")
    assert came.content == b"nobody has opened it"
    assert came.headers["content-disposition"] == 'attachment; filename="new.pgp"'
    went = await tea.client.get(f"{AIR}/files/{tea.files['march.pgp']}/response")
    assert len(went.content) > 500
    strange = await tea.client.get(f"{AIR}/files/{tea.files[f'cut {STRANGE}.pgp']}/content")
    assert "<" not in strange.headers["content-disposition"]
    assert (await tea.client.get(f"{AIR}/files/{tea.files['new.pgp']}/response")).status_code == 404


async def test_another_merchants_partner_and_file_are_not_found(tea: Pages) -> None:
    file = tea.files["march.pgp"]
    for path in ("partners/citybank", "partners/citybank/edit", f"files/{file}", f"files/{file}/response"):
        assert (await tea.client.get(f"{HOUSE}/{path}")).status_code == 404, path
    assert (await _post(tea, f"{HOUSE}/files/{file}")).status_code == 404
    assert (await _post(tea, f"{HOUSE}/partners/citybank", do="close", sure="on")).status_code == 404


async def test_a_partner_is_added_with_all_that_was_typed(pages: Pages) -> None:
    added = await _add(pages, **SERVER, **{"server.host_keys": make_ssh_key("host")[1], "layout": "csv"})
    assert added.headers["location"] == f"{BANK}?done=added"
    partner = await _partner(pages)
    said = partner.terms
    assert (partner.name, partner.last_sequence, partner.layout) == ("City Bank", 6, builtin_layout("csv"))
    assert said.offers == ("SPRING", "AUTUMN")
    assert (said.points_max, said.reject_file_on) == (50_000, frozenset({"duplicate"}))
    assert said.server is not None
    assert (said.server.host, said.server.done, said.outside) == ("sftp.bank.example", None, None)
    assert "There is a partner with this id already." in (await _add(pages)).text
    async with read(pages.app.engine) as tx:
        for kind in types.KEY_KINDS:
            assert len(await keys.own(tx, merchant_id=pages.tea.id, kind=kind)) == 1


@pytest.mark.parametrize(
    ("changes", "place", "said"),
    [
        ({"partner_id": "City Bank"}, "partner_id", "1 to 63 small letters"),
        ({"name": ""}, "name", "Fill this in."),
        ({"first_sequence": "0"}, "first_sequence", "At least 1."),
        ({"points_max": "x"}, "points_max", "Not a number."),
        ({"points_min": "60000"}, "points_max", "Not less than the fewest."),
        ({"points_min": "0"}, "points_min", "At least 1."),
        ({"sender": " "}, "sender", "Fill this in."),
        ({"limiter.batch_size_min": "9000"}, "limiter.batch_size_min", "not more than the largest batch"),
        ({"limiter.target": "0.5"}, "limiter.target", "More than 1"),
        ({"way": "server"}, "server.host", "Fill this in."),
        ({**SERVER, "server.host_keys": "ssh-dss AAAA"}, "server.host_keys", "Line 1 is no SSH key"),
        ({**SERVER, "server.marker": "done"}, "server.marker", "not allowed here"),
        ({"credits": "outside"}, "outside.url", "Fill this in."),
        ({"layout": "own"}, "document", "Fill this in."),
        ({"layout": "own", "document": "shape ="}, "document", "neither TOML nor JSON"),
        ({"layout": "own", "document": '{"shape": "round"}'}, "document", "It cannot be used: /shape"),
        ({"collect_every_seconds": "1"}, "collect_every_seconds", "At least 5."),
    ],
)
async def test_what_is_wrong_is_said_beside_its_field_and_nothing_is_lost(
    pages: Pages, changes: dict[str, str], place: str, said: str
) -> None:
    changes = {"server.host_keys": make_ssh_key("host")[1], "server.port": "22", **changes}
    more = {"outside.timeout_seconds": "30", "outside.concurrency": "8", "outside.mode": "batch"}
    answer = await _add(pages, **more, **changes)
    assert answer.status_code == 422
    found = re.search(rf'id="e-{re.escape(place)}">([^<]+)<', answer.text)
    assert found is not None, text_of(answer.text)
    assert said in found[1].replace("&#39;", "'")
    assert "AUTUMN" in answer.text


async def test_a_secret_stays_only_for_the_address_that_it_was_given_for(pages: Pages) -> None:
    outside = {
        "credits": "outside",
        "outside.url": "https://loyalty.example.com/v1",
        "outside.secret": "s3cret",
        "outside.mode": "record",
        "outside.timeout_seconds": "2.5",
        "outside.concurrency": "4",
    }
    assert (await _add(pages, **outside)).status_code == 303

    async def changed(**changes: str) -> str | None:
        html = await _html(pages, f"{BANK}/edit")
        assert "s3cret" not in html
        was = re.search(r'name="was" value="([^"]+)"', html)
        assert was is not None
        form = {**FORM, **outside, "outside.secret": "", "was": was[1].replace("&#43;", "+"), **changes}
        answer = await _post(pages, f"{BANK}/edit", **form)
        assert answer.status_code == 303, text_of(answer.text)
        system = (await _partner(pages)).terms.outside
        assert system is not None
        return system.secret

    assert await changed(name="Another name") == "s3cret"
    assert (await _partner(pages)).name == "Another name"
    assert await changed(**{"outside.url": "https://elsewhere.example.com"}) is None
    private = await _post(pages, f"{BANK}/edit", **{**FORM, **outside, "outside.url": "http://127.0.0.1/"})
    assert "private network" in private.text


async def test_the_later_of_two_who_change_a_partner_is_told(pages: Pages) -> None:
    await _add(pages)
    late = await _post(pages, f"{BANK}/edit", **FORM, was="2026-01-01T00:00:00+00:00")
    assert (late.status_code, "Somebody else changed this partner" in late.text) == (422, True)


async def test_a_layout_of_its_own_is_kept_and_shown_again(pages: Pages) -> None:
    document = builtin_layout("delimited").model_dump(mode="json", exclude_unset=True)
    document["encoding"] = "gb18030"
    added = await _add(pages, layout="own", document=json.dumps(document))
    assert added.status_code == 303
    assert (await _partner(pages)).layout.encoding == "gb18030"
    html = await _html(pages, f"{BANK}/edit")
    assert "gb18030" in html
    assert 'value="own" checked' in html


async def test_keys_are_pinned_and_retired(pages: Pages) -> None:
    await _add(pages)
    assert "No OpenPGP key is pinned" in await _shown(pages, BANK)
    bank = pair("bank")
    for text, said in [
        ("", "Paste a key."),
        ("hello", "no single OpenPGP key"),
        ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n", "no single OpenPGP key"),
        (bank.secret, "This is a secret key"),
        ("ssh-dss AAAAB3", "no SSH key of a kind"),
    ]:
        answer = await _post(pages, BANK, do="key", key=text)
        assert answer.status_code == 422, text
        assert said in text_of(answer.text)
    assert (await _post(pages, BANK, do="key", key=bank.public)).headers["location"] == f"{BANK}?done=key"
    await _post(pages, BANK, do="key", key=make_ssh_key("bank")[1])
    text = await _shown(pages, BANK)
    assert f"trusted {bank.fingerprint}" in text
    assert "SHA256:" in text
    assert "Needs a look" not in text
    await _post(pages, BANK, do="retire", fingerprint=bank.fingerprint)
    assert "retired" in await _shown(pages, BANK)
    unknown = await _post(pages, BANK, do="retire", fingerprint="none")
    assert unknown.status_code == 404


async def test_a_partner_is_closed_only_by_who_is_sure_and_opened_again(pages: Pages) -> None:
    await _add(pages)
    unsure = await _post(pages, BANK, do="close")
    assert (unsure.status_code, "Tick the box" in unsure.text) == (422, True)
    await _post(pages, BANK, do="close", sure="on")
    assert (await _partner(pages)).state == "closed"
    await _post(pages, BANK, do="open")
    assert (await _partner(pages)).state == "open"
    made = await _post(pages, BANK, do="make", kind="openpgp")
    assert made.headers["location"] == f"{BANK}?done=made"
    assert (await _post(pages, BANK, do="make", kind="x")).status_code == 422
    assert (await _post(pages, BANK, do="x")).status_code == 422


async def test_a_partner_is_tried_out_before_its_first_file(pages: Pages, tmp_path: Path) -> None:
    await _add(pages)
    answer = await _post(pages, BANK, do="test")
    assert "Something is still missing." in answer.text
    await _post(pages, BANK, do="key", key=pair("bank").public)
    text = text_of((await _post(pages, BANK, do="test")).text)
    assert "Files can come and be answered." in text
    assert "works A response can be signed and encrypted" in text
    settings: Settings = pages.app.settings
    object.__setattr__(pages.app, "settings", settings.model_copy(update={"webhook_allow": "127.0.0.1"}))
    with asyncssh_partner(tmp_path) as bank:
        async with begin(pages.app.engine) as tx:
            said = (await _partner(pages)).terms.model_copy(update={"server": bank.server})
            await partners.change(
                tx, merchant_id=pages.tea.id, partner_id="bank", terms=said, now=clock.now()
            )
        text = text_of((await _post(pages, BANK, do="test")).text)
    # The server knows another key of ours.
    assert "does not Its server shows a pinned host key" in text
    assert "give the partner our public SSH key" in text


async def _upload(pages: Pages, content: bytes, *, name: str = "may.pgp", **form: str) -> httpx.Response:
    token = token_of((await pages.client.get("/m/tea-house", headers=EN)).text)
    return await pages.client.post(
        f"{HOUSE}/files", data={"token": token, **form}, files={"file": (name, content)}, headers=EN
    )


async def test_a_file_is_uploaded_whole_and_only_by_who_is_signed_in(pages: Pages) -> None:
    await _add(pages)
    content = bytes(range(256)) * 9_000
    sent = await _upload(pages, content, name="C:\\files\\may.pgp", partner="bank")
    address = sent.headers["location"]
    assert address.endswith("?done=uploaded")
    assert "may.pgp Received" in await _shown(pages, address)
    assert (await pages.client.get(address.partition("?")[0] + "/content")).content == content
    for body, name, partner, said in [
        (b"x", "", "bank", "Choose a file."),
        (b"x", "may.pgp", "", "Choose the partner"),
        (b"", "may.pgp", "bank", "The file is empty."),
    ]:
        answer = await _upload(pages, body, name=name, partner=partner)
        assert (answer.status_code, said in answer.text) == (422, True), said
    await _post(pages, BANK, do="close", sure="on")
    assert "This partner is closed" in (await _upload(pages, b"x", partner="bank")).text
    assert (await _upload(pages, b"x", partner="nobody")).status_code == 404
    forged = await pages.client.post(f"{HOUSE}/files", data={"token": "x"}, files={"file": ("a", b"x")})
    assert forged.status_code == 403
    pages.client.cookies.clear()
    stranger = await pages.client.post(f"{HOUSE}/files", files={"file": ("a", b"x")})
    assert stranger.headers["location"] == "/sign-in"


async def test_a_file_is_followed_to_the_partner_who_has_its_answer(pages: Pages, tmp_path: Path) -> None:
    now = clock.now()
    async with begin(pages.app.engine) as tx:
        await keys.ensure(tx, merchant_id=pages.tea.id, name="Tea", now=now)
        (own,) = await keys.own(tx, merchant_id=pages.tea.id, kind="openpgp")
    world = World(pages.app.engine, pages.tea.id, own, tmp_path)
    await world.members(*(f"m{n:02}" for n in range(20)))
    bank = await world.bank()
    file = await half_credited(world, bank)
    listed = await _html(pages, f"{HOUSE}/files")
    found = re.search(rf'href="({HOUSE}/files/pfl_\w+)">april.pgp', listed)
    assert found is not None
    assert "Being credited" in await _shown(pages, found[1])
    early = await _post(pages, found[1])
    assert early.status_code == 409
    await world.run()
    assert "waits for the partner" in await _shown(pages, found[1])
    confirmed = await _post(pages, found[1])
    assert confirmed.headers["location"] == f"{found[1]}?done=confirmed"
    assert (await world.file(file)).confirmed_at is not None
    assert "waits for the partner" not in await _shown(pages, found[1])
    statement = await _shown(pages, f"{HOUSE}/members/{quote('m01')}")
    assert "From a partner bank" in statement


def _decided(n: int, workers: int, size: int, seconds: float) -> DecisionItem:
    said = {"workers": workers, "batch_size": size, "seconds": seconds, "why": "steady"}
    at = clock.now().replace(microsecond=n % 1_000_000)
    return DecisionItem(n, n, at, {**said, "latency": None, "unloaded": seconds / 2})


def test_a_plot_of_thousands_of_decisions_stays_small_and_keeps_its_ends() -> None:
    assert plot_of([]) is None
    assert plot_of([_decided(0, 1, 2500, 0.1)]) is None
    items = [_decided(n, 1 + n // 2_500, 2_500 + n, 0.1) for n in range(5_000)]
    plot = plot_of(items)
    assert plot is not None
    assert (plot.most_workers, plot.most_records, plot.most_seconds) == (2, 7_499, 0.1)
    assert plot.dots.count("M") <= MOST_MARKS + 1
    assert plot.workers.split()[-1] == "1000,6"
    assert plot.latency == ""
    assert [change.item.decision_no for change in changes_of(items[2_498:2_502])] == [2501, 2500, 2499]
