"""An airline whose partners send files of points: in every state that a page can show."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from tests.points_files.world import GUARD, Bank, Row, World

from counterfoil import clock
from counterfoil.app import App
from counterfoil.db.transactions import begin, read
from counterfoil.ids import format_id
from counterfoil.merchants import merchants
from counterfoil.points import accounts
from counterfoil.points.files import keys, partners
from counterfoil.points.files.files import File
from counterfoil.points.files.ssh_keys import make_ssh_key
from counterfoil.worker.crediting import credit_job

STRANGE: Final = "<script>alert('x')</script>"
MEMBERS: Final = [f"m{n:02}" for n in range(20)]
_OUTSIDE: Final[dict[str, Any]] = {
    "url": "https://loyalty.example.com/v1",
    "secret": "never-shown-again",
    "mode": "record",
}


def _server() -> dict[str, Any]:
    _, public = make_ssh_key("sftp.sky.example")
    return {
        "host": "sftp.sky.example",
        "user": "air",
        "host_keys": [public],
        "incoming": "/out",
        "responses": "/in",
        "complete": "marker",
    }


def rows_of(number: int) -> list[Row]:
    """Records of a month: most are good, some are of nobody, some cannot be read, one comes twice."""
    good: list[Row] = [(MEMBERS[n % 20], 100 + n, f"R{number}-{n}") for n in range(60)]
    bad: list[Row] = [("nobody", 5, f"N{number}"), ("m01", 0, f"Z{number}"), (STRANGE, 7, f"S{number}")]
    late: Row = ("m02", 9, f"L{number}", "20240101")
    return [*good, *bad, late, good[3], "D|m04|many|x|y|z"]


async def run_files(app: App, directory: Path) -> None:
    """Partners, and what they sent."""
    now = clock.now()
    async with begin(app.engine) as tx:
        air = await merchants.create(
            tx, reference="air", name="Sky Air", time_zone="Asia/Shanghai", currency="CNY", now=now
        )
        await accounts.open_accounts(tx, merchant_id=air.id, customer_ids=MEMBERS, now=now)
        await keys.ensure(tx, merchant_id=air.id, name="Sky Air", now=now)
        (own,) = await keys.own(tx, merchant_id=air.id, kind="openpgp")
    world = World(app.engine, air.id, own, directory)
    bank = await world.bank("citybank")
    await world.bank("closed-club")
    await world.bank(
        "miles",
        pin=False,
        server=_server(),
        outside=_OUTSIDE,
        reject_file_on=["duplicate"],
        collect_every_seconds=86_400,
    )
    await _name(world, "citybank", name="City <b>Bank</b>")
    await _name(world, "closed-club", state="closed")
    await _fail(world)
    await _send(world, bank)


async def _name(world: World, partner_id: str, **changes: Any) -> None:
    async with begin(world.engine) as tx:
        await partners.change(
            tx, merchant_id=world.merchant_id, partner_id=partner_id, now=clock.now(), **changes
        )


async def _fail(world: World) -> None:
    """The server of the miles was looked at a moment ago, could not be reached, and is not due for a day."""
    await world.execute(
        """UPDATE points_partners SET collected_at = :now, collect_error = CAST(:error AS jsonb)
           WHERE merchant_id = :m AND partner_id = 'miles'""",
        m=world.merchant_id,
        now=clock.now(),
        error='{"code": "sftp_unreachable", "detail": "sftp.sky.example:22 cannot be reached."}',
    )


async def _send(world: World, bank: Bank) -> None:
    plain = bank.write(*rows_of(1))
    sealed = bank.seal(plain)
    await bank.put(sealed, "march.pgp")
    await world.run()
    await bank.put(bank.seal(plain), "march-again.pgp")
    await bank.put(sealed[:-40], f"cut {STRANGE}.pgp")
    await bank.send(*rows_of(9), sequence=9, name="too-early.pgp")
    await bank.send(name="empty.pgp", sequence=2)
    await world.run()
    bank.sequence = 2
    await half_credited(world, bank)
    await bank.put(b"nobody has opened it", "new.pgp")


async def half_credited(world: World, bank: Bank, name: str = "april.pgp") -> File:
    """A file of which one batch is credited, and whose worker has left."""
    file = await bank.send(*rows_of(bank.sequence + 1), name=name)
    stop = asyncio.Event()
    stop.set()
    for job, payload in await world.queued():
        await world.do(job, payload)
    for job, payload in await world.queued():
        if job == "points.credit_file":
            await credit_job(world.engine, payload, guard=GUARD, stop=stop)
    return await world.file(file)


async def public_ids(app: App) -> dict[str, str]:
    """The ids of the files in their addresses, by their names."""
    async with read(app.engine) as tx:
        rows = await tx.all(
            """SELECT f.name, f.file_id FROM points_files f JOIN merchants m ON m.id = f.merchant_id
               WHERE m.reference = 'air'"""
        )
    return {row.name: format_id("partner_file", row.file_id) for row in rows}
