"""Pages over a database with two merchants, whose records know everything that a page can show."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import pytest
from sqlalchemy.engine import URL
from tests.conftest import new_database
from tests.dashboard.points_files_running import public_ids, run_files
from tests.dashboard.points_running import run_points
from tests.dashboard.running import run_fair
from tests.dashboard.told import tell

from counterfoil import clock
from counterfoil.access import operators
from counterfoil.app import RECORD_KINDS, App
from counterfoil.dashboard import create_pages
from counterfoil.db import jobs
from counterfoil.db.engine import create_engine
from counterfoil.db.records import load, to_batch
from counterfoil.db.transactions import begin
from counterfoil.linkage.jobs import analyse_job
from counterfoil.linkage.rejoin import rejoin
from counterfoil.merchants import merchants
from counterfoil.merchants.merchants import Merchant
from counterfoil.settings import Settings

EMAIL, PASSWORD = "ada@example.com", "correct horse battery"
HASH: Final = operators.hash_password(PASSWORD)
HOSTILE: Final = "<script>alert('x')</script>/../a b?#&\"%2F"
START: Final = datetime(2026, 9, 1, 2, tzinfo=UTC)


def _day(n: float) -> str:
    return (START + timedelta(days=n)).isoformat()


RECORDS: Final[dict[str, list[dict[str, Any]]]] = {
    "stores": [{"store_id": "S1", "name": "湖滨店"}],
    "customers": [{"customer_id": "c1", "grade": "vip"}],
    "campaigns": [
        {
            "campaign_id": "tea",
            "name": "First tea",
            "kind": "welcome",
            "starts_at": _day(0),
            "ends_at": _day(60),
        },
        {"campaign_id": "quiet", "name": "<b>Quiet</b>", "kind": "gift"},
    ],
    "audience": [{"campaign_id": "tea", "customer_id": f"c{n}"} for n in range(4)],
    "vouchers": [
        {"voucher_id": "TEA-1", "campaign_id": "tea", "max_redemptions": 1, "valid_until": _day(9000)},
        {"voucher_id": "TEA-2", "campaign_id": "tea"},
        {"voucher_id": "TEA-3", "campaign_id": "tea", "valid_until": _day(1)},
        {"voucher_id": HOSTILE, "campaign_id": "quiet"},
    ],
    "page_views": [
        {
            "view_id": f"w{n}",
            "campaign_id": "tea",
            "customer_id": "c1",
            "page": "/tea",
            "viewed_at": _day(0.5 + n / 100),
        }
        for n in range(2)
    ],
    "issuances": [
        {
            "voucher_id": "TEA-1",
            "campaign_id": "tea",
            "customer_id": "c1",
            "issued_at": _day(1),
            "store_id": "S1",
            "channel": "wechat",
            "order_id": "PO1",
        },
        {
            "voucher_id": "TEA-3",
            "campaign_id": "tea",
            "customer_id": "c3",
            "issued_at": "2026-09-01T16:00:00Z",
            "issued_at_precision": "day",
        },
        {"voucher_id": HOSTILE, "campaign_id": "quiet", "customer_id": "<i>c</i>", "issued_at": _day(1)},
    ],
    "orders": [
        {"order_id": "PO1", "ordered_at": _day(0.9), "amount_minor": 8800, "transaction_id": "PT1"},
        {"order_id": "O1", "ordered_at": _day(3), "amount_minor": 123456, "transaction_id": "T1"},
        {"order_id": "O2", "ordered_at": _day(5), "amount_minor": 500, "transaction_id": "T2"},
    ],
    "order_lines": [
        {"order_id": "O1", "line_number": n, "product_id": f"p{n}", "amount_minor": 61728} for n in range(2)
    ],
    "transactions": [
        {"transaction_id": "PT1", "paid_at": _day(0.95), "amount_minor": 8800},
        {"transaction_id": "T1", "paid_at": _day(3), "amount_minor": 123456},
        {"transaction_id": "T2", "paid_at": _day(5), "amount_minor": 400},
    ],
    "redemptions": [
        {
            "redemption_id": "R1",
            "voucher_id": "TEA-1",
            "customer_id": "c1",
            "redeemed_at": _day(3),
            "transaction_id": "T1",
            "store_id": "S1",
            "discount_minor": 1000,
            "evidence_level": 4,
            "evidence_status": "linked",
        },
        {"redemption_id": "R2", "voucher_id": "TEA-1", "redeemed_at": _day(5), "transaction_id": "T2"},
        {"redemption_id": "R3", "voucher_id": "TEA-2", "redeemed_at": _day(6), "transaction_id": "GONE"},
    ],
}


@dataclass(frozen=True)
class Pages:
    """A client of the pages, and what they show."""

    app: App
    client: httpx.AsyncClient
    tea: Merchant
    other: Merchant
    files: dict[str, str] = field(default_factory=dict)
    """Ids of the airline's files by their names, where it has some."""

    async def sign_in(self, *, email: str = EMAIL, password: str = PASSWORD, to: str = "/") -> httpx.Response:
        """Fill the form in and send it."""
        form = await self.client.get("/sign-in")
        return await self.client.post(
            "/sign-in",
            data={"token": token_of(form.text), "email": email, "password": password, "next": to},
        )


def token_of(html: str) -> str:
    """The token of the first form of a page."""
    found = re.search(r'name="token" value="([^"]+)"', html)
    assert found is not None
    return found[1]


async def fill(app: App, merchant: Merchant, records: dict[str, list[dict[str, Any]]]) -> None:
    """Record, join and analyse."""
    for name, rows in records.items():
        kind = RECORD_KINDS[name]
        batch = to_batch(kind, [kind.record(**row) for row in rows])
        async with begin(app.engine) as tx:
            await load(tx, kind, merchant_id=merchant.id, batches=[batch], now=clock.now())
    async with begin(app.engine) as tx:
        await rejoin(tx, merchant_id=merchant.id, kind="vouchers", keys=None, now=clock.now())
        job = await jobs.create(
            tx, kind="analysis", merchant_id=merchant.id, request={"period": "week"}, now=clock.now()
        )
    await analyse_job(app.engine, {"job_id": str(job.id)})


async def make_merchants(app: App) -> tuple[Merchant, Merchant]:
    """The tea house, and another that has nothing."""
    async with begin(app.engine) as tx:
        tea = await merchants.create(
            tx,
            reference="tea-house",
            name="云岭茶馆",
            time_zone="Asia/Shanghai",
            currency="CNY",
            now=clock.now(),
        )
        other = await merchants.create(
            tx, reference="other", name="Other", time_zone="UTC", currency="EUR", now=clock.now()
        )
        await operators.add(tx, email=EMAIL, name="Ada", password_hash=HASH, now=clock.now())
    return tea, other


@pytest.fixture
async def stranger(platform: App) -> AsyncIterator[Pages]:
    """Nobody has signed in; there are merchants without records."""
    tea, other = await make_merchants(platform)
    transport = httpx.ASGITransport(create_pages(platform), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield Pages(platform, client, tea, other)


@pytest.fixture
async def pages(stranger: Pages) -> Pages:
    """Signed in."""
    assert (await stranger.sign_in()).status_code == 303
    return stranger


@pytest.fixture(scope="session")
async def filled(cluster: URL, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pages]:
    """One database for all tests that look: the tea house has records and an analysis."""
    async with new_database(cluster) as url:
        address = url.render_as_string(hide_password=False)
        settings = Settings(DATABASE_URL=address, home=tmp_path_factory.mktemp("home"))  # type: ignore[call-arg]
        engine = create_engine(address)
        app = App(settings, engine, server_version="of the tests", embedded=False)
        tea, other = await make_merchants(app)
        await fill(app, tea, RECORDS)
        await tell(app, tea.id)
        await run_points(app, await run_fair(app))
        await run_files(app, tmp_path_factory.mktemp("files"))
        async with httpx.AsyncClient() as nobody:
            yield Pages(app, nobody, tea, other, await public_ids(app))
        await engine.dispose()


@pytest.fixture
async def tea(filled: Pages) -> AsyncIterator[Pages]:
    """Signed in, and the tea house has records and an analysis. Other tests see the same database."""
    transport = httpx.ASGITransport(create_pages(filled.app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        pages = Pages(filled.app, client, filled.tea, filled.other, filled.files)
        assert (await pages.sign_in()).status_code == 303
        yield pages
