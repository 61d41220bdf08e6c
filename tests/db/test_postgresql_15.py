"""The oldest server that is supported: everything that has SQL of its own runs on it, too."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from counterfoil import clock
from counterfoil.app import App, open_app
from counterfoil.db import jobs
from counterfoil.db.engine import create_engine
from counterfoil.db.migrate import migrate
from counterfoil.db.transactions import begin, read
from counterfoil.linkage import queries
from counterfoil.linkage.full_link import get_full_link
from counterfoil.linkage.jobs import analyse_job
from counterfoil.linkage.rejoin import rejoin
from counterfoil.settings import Settings
from counterfoil.vouchers.queries import list_vouchers, search_vouchers
from counterfoil.webhooks import deliveries
from counterfoil.webhooks.queries import get_delivery
from tests.builders import NOW, at, load, make_merchant
from tests.webhooks.conftest import World, event
from tests.webhooks.receiver import answer, receiving

BINARIES = Path("/usr/lib/postgresql/15/bin")


def _account() -> tuple[int, int] | None:
    """PostgreSQL refuses to run as root: then it runs as somebody who owns nothing."""
    if os.getuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


@pytest.fixture(scope="module")
def url_15() -> Iterator[str]:
    """The address of a PostgreSQL 15 that this module starts and stops."""
    if not (BINARIES / "postgres").exists():
        pytest.skip("there is no PostgreSQL 15 here (Debian: apt-get install postgresql-15)")
    account = _account()
    user, group = account if account else (None, None)
    place = Path(tempfile.mkdtemp(prefix="cf-pg15-"))
    if account:
        os.chown(place, *account)
    environment = {"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [BINARIES / program, *arguments],
            check=True,
            cwd=place,
            env=environment,
            user=user,
            group=group,
            stdout=subprocess.DEVNULL,
        )

    data = str(place / "data")
    options = f"-c listen_addresses= -c unix_socket_directories={place} -c fsync=off"
    try:
        run("initdb", "-D", data, "-U", "counterfoil", "-A", "trust", "-E", "UTF8", "--no-sync")
        run("pg_ctl", "-D", data, "-w", "-l", str(place / "log"), "-o", options, "start")
        try:
            yield f"postgresql://counterfoil@/postgres?host={quote(str(place))}"
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(place)


async def _migrated(url: str) -> None:
    engine = create_engine(url)
    await migrate(engine)
    await migrate(engine)
    await engine.dispose()


async def test_migrations_loads_rejoining_links_and_analyses_run_on_postgresql_15(
    url_15: str, tmp_path: Path
) -> None:
    await _migrated(url_15)
    settings = Settings(DATABASE_URL=url_15, home=tmp_path)  # type: ignore[call-arg]
    async with open_app(settings) as app:
        assert app.server_version.startswith("15.")
        await _use(app)


async def _use(app: App) -> None:
    async with begin(app.engine) as tx:
        merchant = await make_merchant(tx, time_zone="America/New_York")
        await load(tx, merchant, "campaigns", {"campaign_id": "c"})
        issuance = {"voucher_id": "v", "issued_at": at(0), "campaign_id": "c", "order_id": "o"}
        await load(tx, merchant, "issuances", issuance)
        redemption = {"redemption_id": "r", "voucher_id": "v", "redeemed_at": at(5), "transaction_id": "t"}
        await load(tx, merchant, "redemptions", redemption)
        order = {"order_id": "o", "ordered_at": at(0), "transaction_id": "t", "amount_minor": 5}
        for amount in (4, 5, 5):
            outcome = await load(tx, merchant, "orders", {**order, "amount_minor": amount})
        assert outcome.unchanged == 1
        found = await rejoin(tx, merchant_id=merchant, kind="orders", keys=None, now=NOW)
        assert found.opened == 2
        await load(tx, merchant, "transactions", {"transaction_id": "t", "paid_at": at(5), "amount_minor": 5})
        found = await rejoin(
            tx, merchant_id=merchant, kind="transactions", keys=["t"], transaction="3", now=NOW
        )
        assert found.skipped
        found = await rejoin(tx, merchant_id=merchant, kind="transactions", keys=["t"], now=NOW)
        assert found.resolved == 2
        job = await jobs.create(
            tx, kind="analysis", merchant_id=merchant, request={"period": "week"}, now=NOW
        )
    await analyse_job(app.engine, {"job_id": str(job.id)})
    async with read(app.engine) as tx:
        assert (await get_full_link(tx, merchant_id=merchant, voucher_id="v")).status == "complete"
        assert (await jobs.get(tx, job_id=job.id, merchant_id=merchant)).state == "succeeded"
        assert len((await queries.list_breaks(tx, merchant_id=merchant, resolved=True, limit=9)).data) == 2
        assert len((await list_vouchers(tx, merchant_id=merchant, campaign_id="c", limit=9)).data) == 1
        assert len((await search_vouchers(tx, merchant_id=merchant, prefix="v", limit=9)).data) == 1
        lines, total = await queries.list_campaign_figures(
            tx,
            merchant_id=merchant,
            analysis_id=(await queries.list_analyses(tx, merchant_id=merchant, limit=1)).data[0].id,
            limit=9,
        )
        assert (total, lines[0].campaign_id) == (1, "c")


async def test_webhooks_are_sent_and_replayed_on_postgresql_15(url_15: str) -> None:
    await _migrated(url_15)
    engine = create_engine(url_15)
    async with begin(engine) as tx:
        world = World(engine, await make_merchant(tx))
    async with receiving() as receiver:
        await world.endpoint(receiver.url())
        receiver.answers["/"] = answer(500)
        assert await world.tell(event()) == 1
        await world.send()
        receiver.answers.clear()
        async with begin(engine) as tx:
            delivery_id = await tx.scalar("SELECT id FROM webhook_deliveries")
            await deliveries.replay(tx, merchant_id=world.merchant, delivery_id=delivery_id, now=NOW)
        await world.send()
        assert len(receiver.requests) == 2
    async with read(engine) as tx:
        found = await get_delivery(tx, merchant_id=world.merchant, delivery_id=delivery_id)
    assert [attempt.status for attempt in found.attempts] == [500, 204]
    async with begin(engine) as tx:
        assert await deliveries.prune(tx, before=clock.now()) == 1
    await engine.dispose()
