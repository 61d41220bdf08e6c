"""A bank that gives points by card: its SFTP server, its file of accruals, and how it reads a response."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import asyncssh
import pyarrow as pa

from counterfoil.demo.complete_journey import TIME_ZONE, CompleteJourney
from counterfoil.points.files.layouts import Layout, builtin_layout
from counterfoil.points.files.reader import Header
from counterfoil.points.files.sftp import Server
from counterfoil.points.files.ssh_keys import make_ssh_key, read_private_key, read_public_key
from counterfoil.points.files.terms import FILE_TYPE, Terms
from counterfoil.points.files.totals import Totals
from counterfoil.points.files.writer import write_accruals

PARTNER: Final = "city-bank"
TERMS: Final = Terms(sender="CITY-BANK", receiver="GROCER", environment="demo", days_back=36_500)
"""The baskets are of 2017, and the file is of today."""
LAYOUT: Final[Layout] = builtin_layout("delimited")
_OUT, _IN, _DONE = "to-grocer", "from-grocer", "taken"

_RECORDS: Final = f"""
    SELECT customer_id, greatest(amount_minor // 100, 0) AS points, order_id AS reference,
           CAST(timezone('{TIME_ZONE}', ordered_at) AS DATE) AS occurred_on, 'CARD' AS offer_code
    FROM orders ORDER BY ordered_at, order_id"""


def accruals(journey: CompleteJourney) -> pa.Table:
    """A record for each basket: a point for each whole dollar that was paid by card. Some have none."""
    return journey.query(_RECORDS)


def write_file(path: Path, records: pa.Table, *, sequence: int, now: datetime) -> Totals:
    """The bank's file before it is signed and encrypted, and its totals."""
    header = Header(
        version=TERMS.version,
        environment=TERMS.environment,
        sender=TERMS.sender,
        receiver=TERMS.receiver,
        file_type=FILE_TYPE,
        sequence=sequence,
        created_at=now.replace(microsecond=0),
    )
    return write_accruals(path, LAYOUT, header, records.to_batches())


@dataclass(frozen=True, slots=True)
class BankServer:
    """The bank's server as the grocer knows it, and a session of the bank's own program with it."""

    described: Server
    files: asyncssh.SFTPClient

    async def put(self, path: Path, name: str) -> None:
        """Put a file there for the grocer: whole when it has its name."""
        await self.files.put(str(path), f"/{_OUT}/{name}.part")
        await self.files.rename(f"/{_OUT}/{name}.part", f"/{_OUT}/{name}")

    async def get(self, name: str, path: Path) -> None:
        """Get what the grocer put there."""
        await self.files.get(f"/{_IN}/{name}", str(path))


@asynccontextmanager
async def bank_server(root: Path, *, grocer: str) -> AsyncIterator[BankServer]:
    """Run the bank's SFTP server over a directory. `grocer` is the public key that it lets in."""
    for name in (_OUT, _IN, _DONE):
        (root / name).mkdir(parents=True)
    bank, public = make_ssh_key("bank")
    host, host_public = make_ssh_key("host")
    acceptor = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[read_private_key(host)],
        authorized_client_keys=asyncssh.import_authorized_keys(f"{grocer}\n{public}\n"),
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=os.fsencode(root)),
        config=None,
    )
    described = Server(
        host="127.0.0.1",
        port=acceptor.get_port(),
        user="grocer",
        host_keys=[host_public],
        incoming=f"/{_OUT}",
        responses=f"/{_IN}",
        done=f"/{_DONE}",
    )
    try:
        async with (
            asyncssh.connect(
                described.host,
                described.port,
                username="bank",
                client_keys=[read_private_key(bank)],
                known_hosts=([read_public_key(host_public)], [], []),
                config=None,
                agent_path=None,
            ) as connection,
            connection.start_sftp_client() as files,
        ):
            yield BankServer(described, files)
    finally:
        acceptor.close()
        await acceptor.wait_closed()
