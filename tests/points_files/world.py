"""A merchant with members, and partners who write, sign and encrypt files for it and read what it answers."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import anyio
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.db.transactions import begin, read
from counterfoil.ids import new_id
from counterfoil.points import accounts, programs, verify
from counterfoil.points.files import files, keys, openpgp_child, partners, verbs
from counterfoil.points.files.files import File
from counterfoil.points.files.keys import OwnKey
from counterfoil.points.files.layouts import Layout, builtin_layout
from counterfoil.points.files.openpgp import KeyPair, make_key
from counterfoil.points.files.reader import open_accruals
from counterfoil.points.files.responses import ResponseHeader, read_response
from counterfoil.points.files.terms import Terms
from counterfoil.points.files.totals import ResponseTotals
from counterfoil.points.files.types import Via
from counterfoil.points.programs import Program
from counterfoil.webhooks.addresses import guard
from counterfoil.worker.answering import answer_job
from counterfoil.worker.collecting import collect_job
from counterfoil.worker.crediting import credit_job, look_after_files
from counterfoil.worker.opening import open_job
from tests.builders import make_merchant

GUARD: Final = guard("127.0.0.0/8")
TODAY: Final = clock.now().date()
SMALL: Final = {"batch_size_min": 3, "batch_size_max": 5, "workers_max": 2}
"""Bounds of batches so small that a test's file has several."""

Row = tuple[Any, ...] | str
"""Member, points, reference and perhaps a date and an offer code; or a line as it stands."""


@lru_cache
def pair(name: str) -> KeyPair:
    """A partner's key: made once, because that takes a while."""
    return make_key(f"{name} <files@{name}.example>", now=clock.now() - timedelta(minutes=1))


@lru_cache
def own_pair() -> KeyPair:
    return pair("shop")


def line_of(row: Row) -> str:
    """A record's line, as the built-in layout with bars has it."""
    if isinstance(row, str):
        return row
    customer_id, points, reference, *more = row
    when = more[0] if more else TODAY
    offer = more[1] if len(more) > 1 else "BASE"
    said = when.strftime("%Y%m%d") if isinstance(when, date) else when
    return f"D|{customer_id}|{points}|{reference}|{said}|{offer}"


@dataclass(frozen=True)
class Response:
    """What a partner reads."""

    header: ResponseHeader
    rows: list[dict[str, Any]]
    totals: ResponseTotals
    plain: bytes
    sealed: bytes

    @property
    def told(self) -> list[str]:
        """The code of each record, or its status where it has none."""
        return [row["code"] or row["status"] for row in self.rows]

    @property
    def said(self) -> list[tuple[Any, ...]]:
        """All of each record but what we call it."""
        names = ("customer_id", "points", "reference", "status", "code")
        return [tuple(row[name] for name in names) for row in self.rows]

    def references(self) -> list[str | None]:
        return [row["our_reference"] for row in self.rows]


@dataclass
class Bank:
    """A partner, and what it does with files."""

    world: World
    partner_id: str
    terms: Terms
    layout: Layout = field(default_factory=lambda: builtin_layout("delimited"))
    key: KeyPair = field(default_factory=lambda: pair("bank"))
    sequence: int = 0
    """Of the file that it wrote last."""

    def header(self, sequence: int, **said: Any) -> str:
        """The first line of a file."""
        values = {
            "version": self.terms.version,
            "environment": self.terms.environment,
            "sender": self.terms.sender,
            "receiver": self.terms.receiver,
            "file_type": "ACCRUAL",
            "sequence": sequence,
            "created_at": f"{clock.now():%Y-%m-%dT%H:%M:%SZ}",
            **said,
        }
        return "|".join(["H", *map(str, values.values())])

    def write(
        self, *rows: Row, sequence: int | None = None, trailer: Mapping[str, int] | None = None, **said: Any
    ) -> bytes:
        """A file as it is before it is sealed; `said` and `trailer` are what its ends say instead."""
        if sequence is None:
            sequence = self.sequence = self.sequence + 1
        lines = [self.header(sequence, **said), *map(line_of, rows)]
        draft = self.world.directory / f"draft-{new_id().hex}"
        draft.write_bytes("".join(f"{line}\n" for line in [*lines, "T|0|0|0"]).encode())
        with open_accruals(draft, self.layout) as reader:
            for _ in reader.batches():
                pass
            counted = reader.counted
        draft.unlink()
        ends = {
            "record_count": counted.record_count,
            "points_total": counted.points_total,
            "hash_total": counted.hash_total,
            **(trailer or {}),
        }
        return "".join(f"{line}\n" for line in [*lines, "|".join(["T", *map(str, ends.values())])]).encode()

    def seal(self, plain: bytes, *, signer: KeyPair | None = None, to: str | None = None) -> bytes:
        """Signed and encrypted, as the partner's program does it."""
        target = self.world.directory / f"sealed-{new_id().hex}"
        asked = {
            "target": target,
            "own_key": (signer or self.key).secret,
            "recipient": to or self.world.own.public_key,
            "now": clock.now().isoformat(),
        }
        openpgp_child.seal_message({name: str(value) for name, value in asked.items()}, io.BytesIO(plain))
        sealed = target.read_bytes()
        target.unlink()
        return sealed

    async def put(self, sealed: bytes, name: str = "points.pgp", *, via: Via = "api") -> File:
        """Hand over a file as it is."""
        path = self.world.directory / f"upload-{new_id().hex}"
        path.write_bytes(sealed)
        async with begin(self.world.engine) as tx:
            file = await verbs.receive(
                tx,
                merchant_id=self.world.merchant_id,
                partner_id=self.partner_id,
                name=name,
                path=path,
                via=via,
                now=clock.now(),
            )
        path.unlink()
        return file

    async def send(self, *rows: Row, name: str = "points.pgp", **said: Any) -> File:
        """Write, seal and hand over a file; it is not opened yet."""
        return await self.put(self.seal(self.write(*rows, **said)), name)

    async def credited(self, *rows: Row, **said: Any) -> Response:
        """Send a file, let it be credited, and read the response."""
        file = await self.send(*rows, **said)
        await self.world.run()
        response = await self.response(file)
        assert response.header.status == "accepted", response.header
        return response

    async def response(self, file: File) -> Response:
        """The response to a file, decrypted, its signature verified, and read."""
        sealed, plain = (self.world.directory / f"{what}-{new_id().hex}" for what in ("answer", "text"))
        async with read(self.world.engine) as tx:
            await files.write_out(tx, file_no=file.file_no, kind="response", path=sealed)
        openpgp_child.open_message(
            {
                "source": str(sealed),
                "target": str(plain),
                "own_keys": [self.key.secret],
                "signers": [self.world.own.public_key],
                "plain_bytes": 1 << 30,
                "now": clock.now().isoformat(),
            }
        )
        header, batches, totals = read_response(plain, self.layout)
        rows = [row for batch in batches for row in batch.to_pylist()]
        return Response(header, rows, totals, plain.read_bytes(), sealed.read_bytes())

    async def now(self) -> partners.Partner:
        """The partner as it stands."""
        async with read(self.world.engine) as tx:
            return await partners.get(tx, merchant_id=self.world.merchant_id, partner_id=self.partner_id)

    async def change(self, **said: Any) -> None:
        """Other terms from now on."""
        self.terms = Terms.model_validate({**self.terms.model_dump(), **said})
        async with begin(self.world.engine) as tx:
            await partners.change(
                tx,
                merchant_id=self.world.merchant_id,
                partner_id=self.partner_id,
                terms=self.terms,
                now=clock.now(),
            )


@dataclass
class World:
    """A merchant in a database where commits are seen."""

    engine: AsyncEngine
    merchant_id: UUID
    own: OwnKey
    directory: Path

    async def members(self, *customer_ids: str) -> None:
        """Open accounts."""
        async with begin(self.engine) as tx:
            await accounts.open_accounts(
                tx, merchant_id=self.merchant_id, customer_ids=customer_ids, now=clock.now()
            )

    async def close(self, customer_id: str) -> None:
        async with begin(self.engine) as tx:
            await accounts.close(tx, merchant_id=self.merchant_id, customer_id=customer_id, now=clock.now())

    async def program(self, **said: Any) -> None:
        """Set the program."""
        async with begin(self.engine) as tx:
            await programs.put(
                tx, merchant_id=self.merchant_id, program=Program.model_validate(said), now=clock.now()
            )

    async def bank(
        self,
        partner_id: str = "bank",
        *,
        key: KeyPair | None = None,
        pin: bool = True,
        layout: str = "delimited",
        **terms: Any,
    ) -> Bank:
        """A new partner, whose key is pinned."""
        said = {"sender": partner_id.upper(), "receiver": "SHOP", "limiter": SMALL, **terms}
        made = Bank(
            self,
            partner_id,
            Terms.model_validate(said),
            layout=builtin_layout(layout),
            key=key or pair(partner_id),
        )
        owner: dict[str, Any] = {"merchant_id": self.merchant_id, "partner_id": partner_id}
        async with begin(self.engine) as tx:
            await partners.add(
                tx, **owner, name=partner_id, terms=made.terms, layout=made.layout, now=clock.now()
            )
            if pin:
                await keys.add(tx, **owner, kind="openpgp", text=made.key.public, now=clock.now())
        return made

    async def all(self, statement: str, **values: Any) -> Sequence[Any]:
        """All rows of a statement."""
        async with read(self.engine) as tx:
            return await tx.all(statement, values)

    async def execute(self, statement: str, **values: Any) -> None:
        """Do something to the database behind everybody's back."""
        async with begin(self.engine) as tx:
            await tx.execute(statement, values)

    async def file(self, file: File) -> File:
        """A file as it stands."""
        async with read(self.engine) as tx:
            return await files.by_number(tx, file_no=file.file_no)

    async def balances(self) -> dict[str, int]:
        """What members have, of those that have something."""
        rows = await self.all(
            """SELECT name, balance FROM points_accounts
               WHERE source IS NULL AND merchant_id = :m AND balance <> 0""",
            m=self.merchant_id,
        )
        return {row.name: row.balance for row in rows}

    async def queued(self) -> list[tuple[str, dict[str, Any]]]:
        """The jobs of files that wait, taken from the queue, in their order."""
        async with begin(self.engine) as tx:
            rows = await tx.all(
                """DELETE FROM pgqueuer WHERE entrypoint LIKE 'points.%_file%'
                   RETURNING id, entrypoint, payload"""
            )
        return [
            (row.entrypoint, json.loads(row.payload)) for row in sorted(rows, key=lambda row: int(row.id))
        ]

    async def step(self, *but: str) -> list[tuple[str, dict[str, Any]]]:
        """Do the jobs that wait, and not what follows from them; gives those that were left out."""
        left = []
        for job, payload in await self.queued():
            if job in but:
                left.append((job, payload))
            else:
                await self.do(job, payload)
        return left

    async def do(self, job: str, payload: dict[str, Any]) -> None:
        """One job, as a worker does it."""
        if job == "points.credit_file":
            await credit_job(self.engine, payload, guard=GUARD)
        elif job == "points.answer_file":
            await answer_job(self.engine, payload, guard=GUARD)
        elif job == "points.collect_files":
            await collect_job(self.engine, payload, guard=GUARD)
        else:
            await open_job(self.engine, payload)

    async def run(self) -> None:
        """Do every job, and what follows from it, until every file is answered. The ledger proves itself."""
        with anyio.fail_after(120):
            while True:
                jobs = await self.queued()
                for job, payload in jobs:
                    await self.do(job, payload)
                if not jobs:
                    if not await self.all(_UNDONE):
                        break
                    await anyio.sleep(0.05)
                    await look_after_files(self.engine)
        await self.prove()

    async def prove(self) -> None:
        """The ledger is what its transfers say."""
        async with read(self.engine) as tx:
            async for proof in verify.verify(tx, merchant_id=self.merchant_id):
                assert not proof.differences


_UNDONE: Final = (
    "SELECT true FROM points_files WHERE state IN ('received', 'crediting') OR answer_after IS NOT NULL"
)


async def make_world(engine: AsyncEngine, directory: Path, *members: str) -> World:
    """A new merchant with these members and keys of its own."""
    own = own_pair()
    async with begin(engine) as tx:
        merchant_id = await make_merchant(tx)
        await tx.execute(
            """INSERT INTO points_own_keys (merchant_id, fingerprint, kind, secret_key, public_key, made_at)
               VALUES (:m, :fingerprint, 'openpgp', :secret, :public, :now)""",
            {
                "m": merchant_id,
                "fingerprint": own.fingerprint,
                "secret": own.secret,
                "public": own.public,
                "now": datetime(2026, 1, 1, tzinfo=UTC),
            },
        )
    made = World(engine, merchant_id, OwnKey(own.fingerprint, "openpgp", own.secret, own.public), directory)
    await made.members(*members)
    return made
