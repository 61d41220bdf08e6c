"""`counterfoil webhooks`, on a real database."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine
from standardwebhooks import Webhook

from counterfoil.db.transactions import begin, read
from tests.builders import NOW, make_merchant
from tests.cli.test_platform import Command
from tests.webhooks.conftest import World, event

GROCER = ("--merchant", "grocer")


@pytest.fixture
def counterfoil(
    database: URL, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(database.render_as_string(hide_password=False), monkeypatch, capsys)


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    async with begin(engine) as tx:
        return World(engine, await make_merchant(tx, "grocer"))


async def test_an_endpoint_lives_by_its_commands(counterfoil: Command, world: World) -> None:
    url = "https://hooks.invalid/x"
    wanted = ("--event", "voucher.issued", "--event", "voucher.redeemed", "--description", "the ERP")
    (made,) = await counterfoil.json("webhooks", "create", url, *GROCER, *wanted)
    assert Webhook(made.pop("secret"))
    assert await counterfoil.json("webhooks", "list", *GROCER) == [made]
    assert (made["url"], made["events"]) == (url, "voucher.issued voucher.redeemed")
    endpoint = made["id"]
    rotated = await counterfoil("webhooks", "rotate-secret", endpoint, *GROCER)
    assert Webhook(rotated.stdout.strip())
    tested = await counterfoil("webhooks", "test", endpoint, *GROCER)
    assert tested.stdout.startswith("test_")
    async with read(world.engine) as tx:
        assert await tx.scalar("SELECT entrypoint FROM pgqueuer") == "webhooks.fan_out"
    assert (await counterfoil("webhooks", "disable", endpoint, *GROCER)).returncode == 0
    (shown,) = await counterfoil.json("webhooks", "show", endpoint, *GROCER)
    assert (shown["disabled"], shown["waiting"], shown["failed"]) == ("by_hand", 0, 0)
    off = await counterfoil("webhooks", "test", endpoint, *GROCER)
    assert (off.returncode, "webhook_endpoint_disabled" in off.stderr) == (5, True)
    assert (await counterfoil("webhooks", "enable", endpoint, *GROCER)).returncode == 0
    assert (await counterfoil("webhooks", "delete", endpoint, *GROCER)).returncode == 0
    gone = await counterfoil("webhooks", "show", endpoint, *GROCER)
    assert (gone.returncode, "webhook_endpoint_not_found" in gone.stderr) == (4, True)


async def test_what_was_given_up_is_listed_and_replayed(counterfoil: Command, world: World) -> None:
    (made,) = await counterfoil.json("webhooks", "create", "https://hooks.invalid/", *GROCER)
    await world.tell(event(1), event(2), now=NOW)
    async with begin(world.engine) as tx:
        await tx.execute("UPDATE webhook_deliveries SET state = 'failed', next_attempt_at = NULL")
    failed = await counterfoil.json("webhooks", "deliveries", *GROCER, "--state", "failed")
    assert {row["subject"] for row in failed} == {"v1", "v2"}
    assert (await counterfoil("webhooks", "replay", failed[0]["id"], *GROCER)).returncode == 0
    since = await counterfoil("webhooks", "replay", made["id"], *GROCER, "--since", "2026-05-01")
    assert "again: 1." in since.stderr
    assert await counterfoil.json("webhooks", "deliveries", *GROCER, "--state", "failed") == []
    assert (await counterfoil("webhooks", "replay", made["id"], *GROCER)).returncode == 2
    listed = await counterfoil.json("webhooks", "deliveries", *GROCER, "--endpoint", made["id"])
    assert len(listed) == 2


async def test_a_url_into_our_own_network_is_refused_here_too(counterfoil: Command, world: World) -> None:
    done = await counterfoil("webhooks", "create", "http://127.0.0.1:5432/", *GROCER)
    assert (done.returncode, "webhook_url_forbidden" in done.stderr) == (2, True)
