"""A bank's file of points goes its whole way: collected, credited, asked about meanwhile, answered, read.

Then the same file comes again under another name, and then one that was forged at its end.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pyarrow as pa

from counterfoil import clock
from counterfoil.app import App
from counterfoil.db.transactions import begin, read
from counterfoil.demo.bank import (
    LAYOUT,
    PARTNER,
    TERMS,
    BankServer,
    bank_server,
    write_file,
)
from counterfoil.demo.bank_keys import Keyring, bank_keyring
from counterfoil.demo.complete_journey import MERCHANT_NAME
from counterfoil.demo.partner_answers import Look, Response, look, read_answer
from counterfoil.errors import ConflictError, NotFoundError
from counterfoil.points.files import keys, partners, queries
from counterfoil.points.files.files import File
from counterfoil.points.files.keys import OwnKey
from counterfoil.points.files.totals import Totals
from counterfoil.worker import run_worker

LONGEST_SECONDS: Final = 120
"""For one file; then something is wrong."""
_LOOK_EVERY: Final = 0.1


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file on its way there and back."""

    dropped_at: datetime
    file: File
    response: Response
    looks: list[Look] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Exchange:
    """All that happened between the bank and the grocer."""

    program: str
    sent: Totals
    plain_bytes: int
    first: Arrived
    again: Arrived
    forged: Arrived
    batches: int
    smallest: int
    largest: int
    workers: int
    posted: int
    """Transfers in the ledger from the bank that there were not before, and their points."""
    posted_points: int


async def exchange_files(
    app: App, *, merchant_id: UUID, records: pa.Table, tell: Callable[[int, int], None]
) -> Exchange:
    """Send the bank's file, the same again, and a forged one, and read what comes back.

    `tell` is told how many records are decided, of how many. Done again, the bank has a new key and sends the
    same records in a file with the next number: all of them are duplicates.
    """
    # The bank's server listens on the loopback, where a partner's server is not called upon otherwise.
    allowed = app.settings.model_copy(update={"webhook_allow": "127.0.0.0/8"})
    app = replace(app, settings=allowed)
    grocer = await _prepare(app, merchant_id)
    with tempfile.TemporaryDirectory(prefix="counterfoil-bank-") as place:
        root = Path(place)
        async with (
            bank_keyring(grocer) as keyring,
            bank_server(root / "server", grocer=await _ssh_key(app, merchant_id)) as server,
            _working(app) as worker,
        ):
            bank = _Bank(app, merchant_id, keyring, server, root, tell, worker)
            await bank.pin()
            try:
                return await bank.exchange(records)
            finally:
                await bank.leave()


async def _prepare(app: App, merchant_id: UUID) -> OwnKey:
    """Our keys and the partner, which are made once; gives the key that the bank encrypts to."""
    now = clock.now()
    async with begin(app.engine) as tx:
        await keys.ensure(tx, merchant_id=merchant_id, name=f"{MERCHANT_NAME} <points@example.com>", now=now)
        try:
            await partners.get(tx, merchant_id=merchant_id, partner_id=PARTNER)
        except NotFoundError:
            await partners.add(
                tx,
                merchant_id=merchant_id,
                partner_id=PARTNER,
                name="City Bank (demo)",
                terms=TERMS,
                layout=LAYOUT,
                now=now,
            )
        return (await keys.own(tx, merchant_id=merchant_id, kind="openpgp"))[0]


async def _ssh_key(app: App, merchant_id: UUID) -> str:
    async with read(app.engine) as tx:
        return (await keys.own(tx, merchant_id=merchant_id, kind="ssh"))[0].public_key


@asynccontextmanager
async def _working(app: App) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    worker = asyncio.create_task(run_worker(app, stop))
    try:
        yield worker
    finally:
        stop.set()
        await worker


@dataclass(slots=True)
class _Bank:
    """The bank for this run, and the platform that it sends to."""

    app: App
    merchant_id: UUID
    keyring: Keyring
    server: BankServer
    root: Path
    tell: Callable[[int, int], None]
    worker: asyncio.Task[None]

    @property
    def owner(self) -> dict[str, Any]:
        return {"merchant_id": self.merchant_id, "partner_id": PARTNER}

    async def pin(self) -> None:
        """Pin the bank's new key; those of earlier runs are gone with their keyrings."""
        now = clock.now()
        async with begin(self.app.engine) as tx:
            added = await keys.add(tx, **self.owner, kind="openpgp", text=self.keyring.public, now=now)
            for key in await keys.list_of(tx, **self.owner):
                if key.retired_at is None and key.fingerprint != added.fingerprint:
                    await keys.retire(tx, **self.owner, fingerprint=key.fingerprint, now=now)

    async def leave(self) -> None:
        """Have nobody look for a server that is gone."""
        async with begin(self.app.engine) as tx:
            await partners.change(tx, **self.owner, terms=TERMS, now=clock.now())

    async def exchange(self, records: pa.Table) -> Exchange:
        async with read(self.app.engine) as tx:
            last = (await partners.get(tx, **self.owner)).last_sequence
        plain, sealed, forged = (self.root / name for name in ("plain", "sealed", "forged"))
        now = clock.now()
        sent = await asyncio.to_thread(write_file, plain, records, sequence=last + 1, now=now)
        await self.keyring.seal(plain, sealed)
        before = await self._posted()
        first = await self._send(sealed, f"accruals-{last + 1:04d}.pgp")
        after = await self._posted()
        again = await self._send(sealed, f"accruals-{last + 1:04d}-again.pgp")
        await asyncio.to_thread(_forge, sealed, forged)
        last_one = await self._send(forged, f"accruals-{last + 2:04d}.pgp")
        if await self._posted() != after:
            raise ConflictError("A file was credited that must not be.", code="demo_failed")
        async with read(self.app.engine) as tx:
            row = await tx.first(
                """SELECT count(*) AS batches, coalesce(min(to_n - from_n), 0) AS smallest,
                          coalesce(max(to_n - from_n), 0) AS largest, count(DISTINCT worker) AS workers
                   FROM points_batches WHERE file_no = :file_no""",
                {"file_no": first.file.file_no},
            )
        assert row is not None
        return Exchange(
            program=self.keyring.program, sent=sent, plain_bytes=plain.stat().st_size, first=first,
            again=again, forged=last_one, **row._mapping,
            posted=after[0] - before[0], posted_points=after[1] - before[1],
        )  # fmt: skip

    async def _posted(self) -> tuple[int, int]:
        """Transfers that came from the bank, and their points."""
        async with read(self.app.engine) as tx:
            row = await tx.first(
                """SELECT count(*) AS number, coalesce(sum(t.points), 0)::bigint AS points
                   FROM points_transfers t JOIN points_partners p USING (merchant_id, source_no)
                   WHERE p.merchant_id = :merchant_id AND p.partner_id = :partner_id""",
                self.owner,
            )
        assert row is not None
        return row.number, row.points

    async def _send(self, sealed: Path, name: str) -> Arrived:
        """Put a file on the bank's server, wait for the response there, and read it."""
        async with read(self.app.engine) as tx:
            known = [item.file.file_no for item in (await queries.list_files(tx, **self.owner, limit=1)).data]
        await self.server.put(sealed, name)
        dropped_at, looks = clock.now(), list[Look]()
        terms = TERMS.model_copy(update={"server": self.server.described})
        async with begin(self.app.engine) as tx:
            # With other terms a partner's server is looked at next, rather than when its time has come.
            await partners.change(tx, **self.owner, terms=terms, now=clock.now())
        file = await self._until_sent(max(known, default=0), looks)
        response = await self._read_response(file)
        return Arrived(dropped_at, file, response, looks)

    async def _until_sent(self, known: int, looks: list[Look]) -> File:
        """Wait for the response to a file that is newer than the known ones; ask about it meanwhile."""
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                while True:
                    file = await self._ask(known, looks)
                    if file is not None and file.sent_at is not None:
                        return file
                    if self.worker.done():
                        self.worker.result()
                    await asyncio.sleep(_LOOK_EVERY)
        except TimeoutError as error:
            detail = f"There was no response to the bank's file within {LONGEST_SECONDS} s."
            raise ConflictError(detail, code="demo_failed") from error

    async def _ask(self, known: int, looks: list[Look]) -> File | None:
        """The file as it stands, if it is there; while it is credited, what is known of the household."""
        async with read(self.app.engine) as tx:
            items = (await queries.list_files(tx, **self.owner, limit=1)).data
            file = items[0].file if items else None
            if file is None or file.file_no <= known:
                return None
            if file.state == "crediting":
                looks.append(await look(tx, file))
                self.tell(looks[-1].progress.decided, looks[-1].progress.records)
        return file

    async def _read_response(self, file: File) -> Response:
        assert file.response_name is not None
        sealed, plain = self.root / file.response_name, self.root / "response"
        await self.server.get(file.response_name, sealed)
        await self.keyring.open(sealed, plain)
        return await asyncio.to_thread(read_answer, sealed, plain)


def _forge(source: Path, target: Path) -> None:
    """The same file with one bit near its end another one."""
    content = bytearray(source.read_bytes())
    content[-100] ^= 1
    target.write_bytes(content)
