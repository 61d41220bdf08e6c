"""The pages in real Chromium: on a phone and on a desk, light and dark, with script and without."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
import uvicorn
from tests.dashboard.conftest import EMAIL, PASSWORD, Pages
from tests.dashboard.running import ask, make

from counterfoil import clock
from counterfoil.access import operators
from counterfoil.dashboard import create_pages
from counterfoil.db import jobs
from counterfoil.db.transactions import begin
from counterfoil.ids import format_id
from counterfoil.merchants import merchants
from counterfoil.vouchers import campaigns
from counterfoil.vouchers.campaigns import Limits

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page

playwright_api = pytest.importorskip(
    "playwright.async_api", reason="playwright is not installed: pip install playwright"
)
CHROMIUM: Final = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")

ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
PATHS: Final = (
    "/sign-in",
    "/",
    "/m/tea-house",
    "/m/tea-house/campaigns/tea",
    "/m/tea-house/vouchers",
    "/m/tea-house/vouchers/TEA-1",
    "/m/tea-house/breaks",
    "/m/tea-house/webhooks",
    "/m/tea-house/webhooks/deliveries",
    "/m/other/webhooks",
    "/m/other/campaigns",
    "/m/fair/campaigns",
    "/m/fair/campaigns/autumn",
    "/m/fair/campaigns/print",
    "/m/fair/campaigns/autumn/edit",
    "/m/fair/vouchers/PART",
    "/m/fair/vouchers/HELD",
    "/m/fair/points",
    "/m/fair/points/members/ann",
    "/m/fair/points/members/closed",
    "/m/fair/points/program",
    "/m/other/points",
    "/m/air/points/partners",
    "/m/air/points/partners/miles",
    "/m/air/points/new-partner",
    "/m/air/points/partners/miles/edit",
    "/m/air/points/files",
    "/m/other/points/files",
    "/m/other",
    "/nowhere",
)

# By hand what accessibility checkers look at first.
FAULTS: Final = """() => {
  const faults = [];
  const say = (what, element) => faults.push(what + ': ' + element.outerHTML.slice(0, 120));
  const named = (e) => (e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim());
  for (const e of document.querySelectorAll('input:not([type=hidden]), select, button, a, summary, progress'))
    if (!named(e)) say('no name', e);
  for (const e of document.querySelectorAll('svg:not([aria-hidden]):not([role=img][aria-label])'))
    say('picture without words', e);
  for (const e of document.querySelectorAll('table')) if (!e.querySelector('th[scope]')) say('no headers', e);
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push('twice: ' + id);
  for (const e of document.querySelectorAll('[aria-labelledby]'))
    if (!document.getElementById(e.getAttribute('aria-labelledby'))) say('label missing', e);
  if (document.querySelectorAll('h1').length !== 1) faults.push('not one h1');
  if (document.querySelectorAll('main').length !== 1) faults.push('not one main');
  if (!document.documentElement.lang || !document.title.trim()) faults.push('no language or title');
  return faults;
}"""
# The contrast of every text with what is behind it, where that is one colour.
CONTRAST: Final = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const colour = (text) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => v / 255).map(
    (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const poor = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const box = e.getBoundingClientRect();
    if (!own || box.width < 2 || box.height < 2 || e.closest('svg, .visually-hidden, .skip')) continue;
    let behind = e;
    while (behind && colour(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
    const back = behind ? getComputedStyle(behind).backgroundColor : 'canvas';
    const [a, b] = [light(colour(getComputedStyle(e).color)), light(colour(back))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(ratio.toFixed(2) + ' ' + e.outerHTML.slice(0, 100));
  }
  return poor;
}"""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True)
class Site:
    """A browser, and the address at which the pages are served to it."""

    browser: Browser
    address: str
    session: str

    @asynccontextmanager
    async def visit(
        self, *, signed_in: bool = True, language: str = "en", **options: Any
    ) -> AsyncIterator[Page]:
        """A page of a fresh browser; what it complains about fails the test."""
        context: BrowserContext = await self.browser.new_context(
            base_url=self.address, locale=language, reduced_motion="reduce", **options
        )
        complaints: list[str] = []
        try:
            if signed_in:
                await context.add_cookies(
                    [{"name": "counterfoil_session", "value": self.session, "url": self.address}]
                )
            page = await context.new_page()
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
            yield page
        finally:
            await context.close()
        expected = ("status of 404", "status of 422")
        assert [text for text in complaints if not any(one in text for one in expected)] == []


@pytest.fixture(scope="module")
async def site(filled: Pages) -> AsyncIterator[Site]:
    """The pages, served on a free port, and one Chromium for all tests here."""
    config = uvicorn.Config(create_pages(filled.app), port=0, log_config=None, access_log=False)
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with begin(filled.app.engine) as tx:
        known = await operators.find_credentials(tx, email=EMAIL)
        assert known is not None
        session = await operators.sign_in(
            tx, operator_id=known[0], lifetime=timedelta(hours=1), now=clock.now()
        )
    async with playwright_api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield Site(browser, f"http://127.0.0.1:{port}", session)
        await browser.close()
    server.should_exit = True
    await serving


async def press(page: Page, selector: str) -> None:
    """Click what leads to another page, and wait until that is there."""
    async with page.expect_navigation():
        await page.click(selector)


async def test_one_signs_in_and_out_without_script(site: Site) -> None:
    async with site.visit(signed_in=False, java_script_enabled=False) as page:
        await page.goto("/m/tea-house/vouchers/TEA-1")
        await page.fill("#email", EMAIL)
        await page.fill("#password", PASSWORD)
        await press(page, "button.main")
        assert page.url == f"{site.address}/m/tea-house/vouchers/TEA-1"
        assert await page.inner_text("h1") == "TEA-1"
        await page.click(".me summary")
        await press(page, "text=Sign out")
        assert page.url == f"{site.address}/sign-in"


async def test_from_the_overview_to_a_campaign_to_a_voucher_to_its_record(site: Site) -> None:
    async with site.visit() as page:
        await page.goto("/m/tea-house")
        await press(page, "text=First tea")
        await press(page, "a.code:text-is('TEA-1')")
        await page.click(".event.redemption >> nth=0 >> summary")
        assert '"redemption_id": "R1"' in await page.inner_text(".event.redemption pre >> visible=true")


@pytest.mark.parametrize(("width", "theme"), [(360, "light"), (360, "dark"), (1440, "dark")])
@pytest.mark.parametrize("language", ["en", "zh-CN"])
async def test_every_page_fits_and_can_be_read(
    site: Site, filled: Pages, width: int, theme: Any, language: str
) -> None:
    viewport = {"width": width, "height": 800}
    files = [f"/m/air/points/files/{file_id}?member=m01" for file_id in filled.files.values()]
    async with site.visit(language=language, viewport=viewport, color_scheme=theme) as page:
        for path in (*PATHS, *files):
            if path == "/sign-in":
                continue
            await page.goto(path)
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert await page.evaluate(FAULTS) == [], path
            assert await page.evaluate(CONTRAST) == [], path
    async with site.visit(signed_in=False, language=language, viewport=viewport, color_scheme=theme) as page:
        await page.goto("/sign-in")
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert [*await page.evaluate(FAULTS), *await page.evaluate(CONTRAST)] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_the_page_of_a_delivery_fits_and_runs_nothing_of_an_answer(site: Site, theme: Any) -> None:
    async with site.visit(viewport={"width": 360, "height": 800}, color_scheme=theme) as page:
        await page.goto("/m/tea-house/webhooks/deliveries?state=failed")
        await press(page, "a.code >> nth=0")
        assert "<script>" in await page.inner_text(".cards .id")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        assert [*await page.evaluate(FAULTS), *await page.evaluate(CONTRAST)] == []


async def test_a_program_is_added_without_script(site: Site) -> None:
    async with site.visit(java_script_enabled=False) as page:
        await page.goto("/m/other/webhooks")
        await page.fill("#url", "https://hooks.invalid/shop")
        await page.click("text=Only some events")
        await page.check("input[name='event.voucher.redeemed']")
        await press(page, "button:text-is('Add')")
        assert (await page.inner_text(".secret code")).startswith("whsec_")
        await press(page, "button:text-is('Disable')")
        assert "It is disabled" in await page.inner_text(".notice")
        assert await page.locator(".endpoint .badge").inner_text() == "Disabled"


async def test_dark_is_dark_by_the_device_and_by_choice(site: Site) -> None:
    behind = "getComputedStyle(document.body).backgroundColor"
    async with site.visit(color_scheme="dark") as page:
        await page.goto("/m/tea-house")
        dark = await page.evaluate(behind)
        await page.click(".me summary")
        await press(page, "button[value=light]")
        assert page.url == f"{site.address}/m/tea-house"
        light = await page.evaluate(behind)
        assert dark != light
        await page.click(".me summary")
        await press(page, "button[value=dark]")
        assert await page.evaluate(behind) == dark


async def test_the_language_is_switched_in_the_page(site: Site) -> None:
    async with site.visit() as page:
        await page.goto("/m/tea-house/breaks?kind=redeemed_twice")
        assert await page.inner_text("h1") == "Breaks"
        await page.click(".me summary")
        await press(page, "button[value=zh]")
        assert await page.inner_text("h1") == "异常"
        assert page.url.endswith("/breaks?kind=redeemed_twice")


async def test_the_keyboard_reaches_the_content_first(site: Site) -> None:
    async with site.visit() as page:
        await page.goto("/m/tea-house")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"


async def test_a_job_is_followed_to_its_end_with_script_and_without(site: Site, filled: Pages) -> None:
    async with begin(filled.app.engine) as tx:
        job = await jobs.create(
            tx, kind="analysis", merchant_id=filled.other.id, request={"period": "week"}, now=clock.now()
        )
        await jobs.start(tx, job_id=job.id, now=clock.now())
        await jobs.progress(tx, job_id=job.id, done=1, total=4)
    path = f"/m/other/jobs/{format_id('job', job.id)}"
    async with site.visit() as page, site.visit(java_script_enabled=False) as plain:
        await page.goto(path)
        await plain.goto(path)
        await page.wait_for_function("document.querySelector('progress')?.value === 25")
        async with begin(filled.app.engine) as tx:
            await jobs.succeed(tx, job_id=job.id, result={}, now=clock.now())
        await page.wait_for_url("**/m/other")
        await plain.wait_for_url("**/m/other")


async def test_hostile_records_run_nothing(site: Site) -> None:
    async with site.visit() as page:
        opened: list[str] = []
        page.on("dialog", lambda dialog: opened.append(dialog.message))
        await page.goto("/m/tea-house/vouchers")
        await press(page, "a.code:has-text('script')")
        assert "<script>" in await page.inner_text("h1")
        assert opened == []


async def test_the_counters_of_a_campaign_change_while_one_looks(site: Site, filled: Pages) -> None:
    async with begin(filled.app.engine) as tx:
        fair = await merchants.get(tx, name="fair")
        await make(tx, fair, "live", limits=Limits(20, 10_000))
    async with site.visit() as page, site.visit(java_script_enabled=False) as plain:
        await page.goto("/m/fair/campaigns/live")
        assert await page.inner_text("[data-figure='stock.used']") == "0"
        async with begin(filled.app.engine) as tx:
            await ask(tx, fair.id, "claim", campaign_id="live", customer_id="c1")
        await page.wait_for_selector("[data-figure='stock.left']:text-is('19')")
        assert await page.get_attribute("[data-bar='stock.used']", "width") == "5"
        assert await page.get_attribute("[data-bar='state.issued']", "width") == "100"
        assert not await page.is_visible("[data-moved]")
        async with begin(filled.app.engine) as tx:
            await campaigns.move(tx, merchant_id=fair.id, campaign_id="live", to="paused", now=clock.now())
        await page.wait_for_selector("[data-moved]:not([hidden])")
        await plain.goto("/m/fair/campaigns/live")
        assert await plain.inner_text("[data-figure='stock.used']") == "1"
        assert not await plain.is_visible(".live-mark")


async def test_a_campaign_is_made_and_steered_without_script(site: Site) -> None:
    async with site.visit(java_script_enabled=False, viewport={"width": 360, "height": 800}) as page:
        await page.goto("/m/fair/new-campaign")
        await page.fill("#campaign_id", "by-hand")
        await page.check("#discount\\.kind-percent")
        assert not await page.is_visible("#discount\\.amount")
        await page.fill("#discount\\.percent", "120")
        await page.click("text=Only at certain hours")
        await page.click(".windows >> nth=0 >> .day >> nth=5")
        await press(page, "button:text-is('Make the campaign')")
        assert "From 0 to 100" in await page.inner_text("#e-discount\\.percent")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        assert [*await page.evaluate(FAULTS), *await page.evaluate(CONTRAST)] == []
        await page.fill("#discount\\.percent", "20")
        await press(page, "button:text-is('Make the campaign')")
        assert page.url.endswith("/campaigns/by-hand?done=created")
        await press(page, "button:text-is('Activate')")
        assert "Sat" in await page.inner_text(".terms >> nth=2")
        await page.click("summary:text-is('End')")
        await page.check("details[open] input[name=sure]")
        await press(page, "button:text-is('End for good')")
        assert await page.inner_text("h1 .badge") == "Ended"


async def test_a_points_program_is_run_without_script(site: Site) -> None:
    viewport = {"width": 360, "height": 800}
    async with site.visit(java_script_enabled=False, viewport=viewport, color_scheme="dark") as page:
        await page.goto("/m/other/points")
        await press(page, "text=Set up the program")
        assert not await page.is_visible("#expiry\\.after_months")
        await page.check("#expiry\\.kind-months")
        await page.fill("#expiry\\.after_months", "24")
        await press(page, "button:text-is('Save the program')")
        await page.fill("#customers", "zoe")
        await press(page, "button:text-is('Open accounts')")
        await press(page, "a:text-is('zoe')")
        await page.fill("#points", "1,000")
        await page.fill("#reason", "late parcel")
        await press(page, "button:text-is('Do it')")
        assert await page.inner_text(".gauge .value >> nth=0") == "1,000"
        assert await page.inner_text(".lot-list dd >> nth=0") == "1,000"
        await page.click("summary:text-is('Undo')")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        assert [*await page.evaluate(FAULTS), *await page.evaluate(CONTRAST)] == []
        await page.fill("#why-1", "the wrong member")
        await press(page, "button:text-is('Undo it')")
        assert await page.inner_text(".gauge .value >> nth=1") == "0"
        await page.click("summary:text-is('Close the account')")
        await page.check("details[open] input[name=sure]")
        await press(page, "button:text-is('Close it')")
        assert await page.inner_text("h1 .badge") == "Closed"


async def test_a_partner_is_added_and_its_file_uploaded_without_script(site: Site) -> None:
    viewport = {"width": 360, "height": 800}
    async with site.visit(java_script_enabled=False, viewport=viewport, color_scheme="dark") as page:
        await page.goto("/m/other/points/partners")
        await press(page, ".empty a:text-is('Add a partner')")
        assert not await page.is_visible("#server\\.host")
        await page.check("#way-server")
        assert await page.is_visible("#server\\.host")
        await page.check("#way-sent")
        await page.fill("#name", "City Bank")
        await page.fill("#partner_id", "citybank")
        await press(page, "button:text-is('Add the partner')")
        assert "Fill this in." in await page.inner_text("#e-sender")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        assert [*await page.evaluate(FAULTS), *await page.evaluate(CONTRAST)] == []
        await page.fill("#sender", "BANK")
        await page.fill("#receiver", "SHOP")
        await press(page, "button:text-is('Add the partner')")
        assert "Exchange keys next" in await page.inner_text(".notice")
        await press(page, "button:text-is('Test the connection')")
        assert "Something is still missing" in await page.inner_text("[role=status]")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        assert [*await page.evaluate(FAULTS), *await page.evaluate(CONTRAST)] == []
        await press(page, "text=Its files")
        file: Any = {"name": "may.pgp", "mimeType": "application/pgp-encrypted", "buffer": b"not encrypted"}
        await page.set_input_files("#file", file)
        await press(page, "button:text-is('Upload')")
        assert await page.inner_text("h1 .badge") == "Received"


async def _count_first_batch(pages: Pages, *, credited: int) -> None:
    """Let the only record of the batch be credited, or rejected as it was."""
    async with begin(pages.app.engine) as tx:
        await tx.execute(
            """UPDATE points_batches b SET credited = :n, rejected = 1 - :n
               FROM points_files f WHERE f.file_no = b.file_no AND f.name = 'april.pgp' AND b.batch_no = 1""",
            {"n": credited},
        )


async def test_a_file_is_followed_while_one_looks(site: Site, filled: Pages) -> None:
    path = f"/m/air/points/files/{filled.files['april.pgp']}"
    async with site.visit() as page:
        await page.goto(path)
        assert await page.inner_text("[data-figure=decided]") == "1"
        await _count_first_batch(filled, credited=1)
        await page.wait_for_selector("[data-figure=credited]:text-is('1')")
        assert float(await page.get_attribute("[data-bar=credited]", "width") or 0) > 1
        await _count_first_batch(filled, credited=0)
        await page.wait_for_selector("[data-figure=credited]:text-is('0')")
        await page.fill("#member", "m03")
        await press(page, "button:text-is('Find')")
        assert "Waiting" in await page.inner_text(".records-found .badge >> nth=0")
