"""Who gets in, who does not, and what a foreign page can do."""

from __future__ import annotations

import re

import httpx
import pytest
from tests.dashboard.conftest import EMAIL, PASSWORD, Pages, token_of

from counterfoil import clock
from counterfoil.access import operators
from counterfoil.app import App
from counterfoil.dashboard import create_pages
from counterfoil.dashboard.forms import safe_address
from counterfoil.db.transactions import begin, read


async def test_a_page_sends_strangers_to_the_sign_in_and_back(stranger: Pages) -> None:
    answer = await stranger.client.get("/m/tea-house/breaks?kind=redeemed_twice")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=%2Fm%2Ftea-house%2Fbreaks%3Fkind%3Dredeemed_twice"
    form = await stranger.client.get(answer.headers["location"])
    assert 'value="/m/tea-house/breaks?kind=redeemed_twice"' in form.text


async def test_signing_in_opens_the_pages(stranger: Pages) -> None:
    answer = await stranger.sign_in(to="/m/tea-house")
    assert (answer.status_code, answer.headers["location"]) == (303, "/m/tea-house")
    cookie = answer.headers.get_list("set-cookie")[0]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert (await stranger.client.get("/m/tea-house")).status_code == 200


async def test_over_https_the_cookie_needs_it(platform: App) -> None:
    settings = platform.settings.model_copy(update={"secure_cookies": True})
    secure = App(settings, platform.engine, "of the tests", embedded=False)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(create_pages(secure)), base_url="https://test"
    ) as client:
        cookie = (await client.get("/sign-in")).headers["set-cookie"]
    assert cookie.startswith("__Host-counterfoil_form=")
    assert "Secure" in cookie


async def test_an_unknown_person_and_a_wrong_password_get_the_same_answer(stranger: Pages) -> None:
    wrong = await stranger.sign_in(password="wrong password!")
    unknown = await stranger.sign_in(email="bob@example.com", password="wrong password!")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text.replace(EMAIL, "") == unknown.text.replace("bob@example.com", "")
    assert "The e-mail address or the password is wrong." in wrong.text
    assert "wrong password!" not in wrong.text


async def test_guessing_has_to_wait_and_then_even_the_right_password_does(stranger: Pages) -> None:
    async with begin(stranger.app.engine) as tx:
        for _ in range(operators.MOST_FAILURES):
            await operators.record_failure(tx, subjects=[f"email:{EMAIL}"], now=clock.now())
    answer = await stranger.sign_in(email=EMAIL.upper())
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "900"


async def test_each_wrong_password_is_counted_for_the_person_and_the_address(stranger: Pages) -> None:
    await stranger.sign_in(password="wrong password!")
    async with read(stranger.app.engine) as tx:
        rows = await tx.all("SELECT subject, failures FROM sign_in_attempts ORDER BY subject")
    assert [tuple(row) for row in rows] == [("address:127.0.0.1", 1), (f"email:{EMAIL}", 1)]


@pytest.mark.parametrize("token", ["", "made-up", None])
async def test_a_sign_in_without_the_token_of_its_page_is_refused(stranger: Pages, token: str | None) -> None:
    await stranger.client.get("/sign-in")
    data = {"email": EMAIL, "password": PASSWORD, **({} if token is None else {"token": token})}
    assert (await stranger.client.post("/sign-in", data=data)).status_code == 403


async def test_a_sign_in_without_the_cookie_of_its_page_is_refused(stranger: Pages) -> None:
    token = token_of((await stranger.client.get("/sign-in")).text)
    stranger.client.cookies.clear()
    data = {"email": EMAIL, "password": PASSWORD, "token": token}
    assert (await stranger.client.post("/sign-in", data=data)).status_code == 403


async def test_signed_in_a_form_needs_the_token_of_the_session(pages: Pages) -> None:
    form_token = "x" * 43
    pages.client.cookies.set("counterfoil_form", form_token)
    for path in ("/m/tea-house/analyses", "/sign-out", "/preferences"):
        assert (await pages.client.post(path, data={"token": form_token})).status_code == 403
        assert (await pages.client.post(path, data={"period": "week"})).status_code == 403
    assert (await pages.client.get("/m/tea-house")).status_code == 200


async def test_a_form_from_another_site_is_refused_even_with_the_token(pages: Pages) -> None:
    token = token_of((await pages.client.get("/m/tea-house")).text)
    answer = await pages.client.post(
        "/sign-out", data={"token": token}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 403


async def test_signing_out_ends_the_session_in_the_database_too(pages: Pages) -> None:
    secret = pages.client.cookies["counterfoil_session"]
    token = token_of((await pages.client.get("/m/tea-house")).text)
    answer = await pages.client.post("/sign-out", data={"token": token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    pages.client.cookies.set("counterfoil_session", secret)
    assert (await pages.client.get("/m/tea-house")).status_code == 303


async def test_a_form_that_is_none_is_refused(stranger: Pages) -> None:
    assert (await stranger.client.post("/sign-in", json={"email": EMAIL})).status_code == 422
    large = await stranger.client.post("/sign-in", data={"email": "x" * 70_000})
    assert large.status_code == 422


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "evil",
        "",
        "/a\n",
        None,
    ],
)
async def test_nobody_is_sent_elsewhere(address: str | None) -> None:
    assert safe_address(address) == "/"


async def test_a_sign_in_never_leads_to_another_site(stranger: Pages) -> None:
    answer = await stranger.sign_in(to="//evil.example/m")
    assert answer.headers["location"] == "/"


async def test_without_operators_the_page_says_how_to_make_one(platform: App) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(create_pages(platform)), base_url="http://test"
    ) as client:
        assert "counterfoil operators add you@example.com" in (await client.get("/sign-in")).text


async def test_with_operators_it_does_not(stranger: Pages) -> None:
    assert "counterfoil operators add" not in (await stranger.client.get("/sign-in")).text


async def test_every_answer_forbids_what_we_did_not_write(pages: Pages) -> None:
    for path in ("/m/tea-house", "/sign-in", "/nowhere", "/static/pages.css"):
        headers = (await pages.client.get(path)).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


async def test_a_file_of_a_version_is_kept_for_good(stranger: Pages) -> None:
    page = (await stranger.client.get("/sign-in")).text
    for address in re.findall(r'(?:href|src)="(/static/[^"]+)"', page):
        answer = await stranger.client.get(address)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
