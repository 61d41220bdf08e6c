"""Partners at our drop box, as their programs do it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh

from counterfoil import clock
from counterfoil.db.transactions import begin
from counterfoil.points.files import keys
from counterfoil.points.files.ssh_keys import make_ssh_key, read_private_key
from counterfoil.worker.dropbox import host_key
from tests.points_files.world import Bank, World

SIGNS_IN = make_ssh_key("bank")


async def bank_with_key(world: World, partner_id: str = "bank", key: tuple[str, str] = SIGNS_IN) -> Bank:
    """A partner whose SSH key is pinned."""
    bank = await world.bank(partner_id)
    async with begin(world.engine) as tx:
        await keys.add(
            tx, merchant_id=world.merchant_id, partner_id=partner_id, kind="ssh", text=key[1], now=clock.now()
        )
    return bank


@asynccontextmanager
async def visit(
    port: int, bank: Bank, home: Path, key: tuple[str, str] = SIGNS_IN
) -> AsyncIterator[asyncssh.SFTPClient]:
    """A session of the partner, who knows the host key."""
    statement = "SELECT reference FROM merchants WHERE id = :m"
    (merchant,) = await bank.world.all(statement, m=bank.world.merchant_id)
    async with (
        asyncssh.connect(
            "127.0.0.1",
            port,
            username=f"{merchant.reference}.{bank.partner_id}",
            client_keys=[read_private_key(key[0])],
            known_hosts=([read_private_key(host_key(home)).convert_to_public()], [], []),
            config=None,
            agent_path=None,
        ) as connection,
        connection.start_sftp_client() as files,
    ):
        yield files


async def drop(files: asyncssh.SFTPClient, name: str, content: bytes) -> None:
    """Put a file, and say that it is whole."""
    async with files.open(f"/incoming/{name}.part", "wb") as file:
        await file.write(content)
    await files.rename(f"/incoming/{name}.part", f"/incoming/{name}")


async def take(files: asyncssh.SFTPClient, name: str) -> bytes:
    """Read a response."""
    async with files.open(f"/responses/{name}", "rb") as file:
        content: bytes = await file.read()
    return content
