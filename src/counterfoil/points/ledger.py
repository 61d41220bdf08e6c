"""The ledger: transfers posted in batches, each batch in one statement that decides and writes.

Locking the members' accounts first, in a statement before it, makes the balances true that it reads: a
statement that locks and reads at once sees what was there before it waited (`tests/points/test_races.py`).
It goes through each member's transfers in the order of the batch, posts what the balance allows, and
remembers what it refused. Where a member only gets points and there is room for all of them, that is a
running sum; otherwise `points_running`, an aggregate of the schema, goes from one to the next. Where the
transfers come from is a relation, so the same statement serves a request, a partner's stored file, and points
that fall due.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg
import msgspec

from counterfoil.db.transactions import Driven
from counterfoil.errors import ConflictError
from counterfoil.ids import new_id
from counterfoil.points import lots

MOST_IN_BATCH: Final = 10_000
"""Transfers of one call. Their ids count within 16 bits."""

Code = Literal["posted", "pending", "not_found", "closed", "limit_exceeded", "insufficient", "duplicate"]
"""What became of a transfer. `duplicate`: its reference was used before, for something else."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer that is asked for: positive points to the member, negative ones from the member."""

    customer_id: str
    source_no: int
    reference: str | None
    points: int
    expires_at: datetime | None = None
    """When credited points expire; None: never."""
    pending: bool = False
    """Promised or held only: `pending.settle` carries it out."""
    due_at: datetime | None = None
    """Of a pending transfer: when promised points are credited, or a hold is released by itself."""
    order_id: str | None = None
    amount_minor: int | None = None
    note: str | None = None
    reverses: UUID | None = None
    settles: UUID | None = None


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of an entry."""

    code: Code
    repeated: bool = False
    """It had been decided before: this is the first answer again."""
    transfer_id: UUID | None = None
    balance: int | None = None
    """The member's balance after it; None: it is pending, or was refused."""
    version: int | None = None

    @property
    def ok(self) -> bool:
        """Whether it was posted, or is pending."""
        return self.code in {"posted", "pending"}


ENTRIES: Final = """
    SELECT * FROM json_to_recordset($3::json) AS k(
        n int, customer_id text, source_no bigint, reference text, points bigint, expires_at timestamptz,
        pending bool, due_at timestamptz, order_id text, amount_minor bigint, note text, reverses uuid,
        settles uuid)"""
"""Entries as a relation: those of a request, as JSON."""

LOCK: Final = """
    SELECT count(*) FROM (
        SELECT a.account_no FROM points_accounts a
        WHERE a.merchant_id = $1 AND a.source IS NULL AND a.name = ANY($2::text[])
        ORDER BY a.account_no FOR NO KEY UPDATE) locked"""
_FIRST: Final = """json_build_object(
    'transfer_id', t.transfer_id, 'balance', t.balance, 'version', t.version, 'points', t.points,
    'customer_id', (SELECT m.name FROM points_accounts m WHERE m.account_no = t.member_no))"""
_POSTABLE: Final = "code IS NULL AND first IS NULL AND NOT pending"
_SAME_REFERENCE: Final = "t.source_no = {of}.source_no AND t.reference = {of}.reference"

_POST: Final = f"""
    WITH entries AS MATERIALIZED ({{entries}}),
    members AS (
        SELECT a.*,
               m.least > 0 AND ($5::bigint IS NULL OR m.most <= $5::bigint - a.balance - a.pending) AS fits
        FROM (SELECT customer_id, min(points) AS least, sum(points) AS most FROM entries GROUP BY 1) m
        -- Looked up one by one, whatever the planner believes of tables that have just been filled: to read
        -- all accounts for one entry took a hundred times as long.
        CROSS JOIN LATERAL (
            SELECT * FROM points_accounts
            WHERE merchant_id = $1 AND source IS NULL AND name = m.customer_id LIMIT 1) a),
    known AS (
        SELECT e.*, m.account_no AS member_no, m.balance, m.held, m.pending AS promised, m.version, m.fits,
               f.code AS failed,
               CASE WHEN f.code IS NOT NULL THEN f.code
                    WHEN m.account_no IS NULL THEN 'not_found'
                    WHEN m.state = 'closed' THEN 'closed' END AS code
        -- No member is without an entry; but a full join is never a loop in a loop, which the planner takes
        -- to be fast where it expects a single entry.
        FROM entries e FULL JOIN members m ON m.name = e.customer_id
        LEFT JOIN LATERAL (
            SELECT code FROM points_refusals
            WHERE source_no = e.source_no AND reference = e.reference LIMIT 1) f ON true),
    probed AS ({{probed}}),
    ran AS (
        SELECT *, count(*) FILTER (WHERE {_POSTABLE}) OVER w AS posted,
               points_sum(points) FILTER (WHERE {_POSTABLE}) OVER w AS moved,
               points_running(balance - held, $5 - balance - promised, points, pending)
                   FILTER (WHERE NOT fits AND code IS NULL AND first IS NULL) OVER w AS after
        FROM probed WINDOW w AS (PARTITION BY member_no ORDER BY n ROWS UNBOUNDED PRECEDING)),
    decided AS MATERIALIZED (
        SELECT *, CASE WHEN code IS NOT NULL THEN code
                       WHEN first IS NOT NULL OR fits OR after[3] = 1 THEN NULL
                       WHEN points < 0 THEN 'insufficient' ELSE 'limit_exceeded' END AS why
        FROM ran),
    granted AS NOT MATERIALIZED (
        SELECT d.*, ($4 || lpad(to_hex(d.n), 4, '0'))::uuid AS transfer_id,
               CASE WHEN NOT pending THEN version + coalesce(after[4], posted) END AS place,
               CASE WHEN NOT pending THEN balance + coalesce(after[5], moved) END AS reached
        FROM decided d WHERE why IS NULL AND first IS NULL),
    refused AS (
        SELECT d.*, coalesce(d.first, (SELECT {_FIRST} FROM points_transfers t
                                       WHERE {_SAME_REFERENCE.format(of="d")})) AS earlier
        FROM decided d WHERE d.why IS NOT NULL OR d.first IS NOT NULL),
    transfers AS (
        INSERT INTO points_transfers (transfer_id, merchant_id, member_no, source_no, reference, points,
                                      balance, version, order_id, amount_minor, note, expires_at, reverses,
                                      settles, posted_at)
        SELECT transfer_id, $1, member_no, source_no, reference, points, reached, place, order_id,
               amount_minor, note, expires_at, reverses, settles, $2
        FROM granted),
    changes AS (
        SELECT member_no, expires_at, count(*) FILTER (WHERE NOT pending) AS number,
               coalesce(sum(points) FILTER (WHERE NOT pending), 0) AS posted,
               coalesce(sum(points) FILTER (WHERE NOT pending AND points > 0), 0) AS gained,
               coalesce(-sum(points) FILTER (WHERE pending AND points < 0), 0) AS held,
               coalesce(sum(points) FILTER (WHERE pending AND points > 0), 0) AS promised
        FROM granted GROUP BY member_no, expires_at),
    accounts AS (
        UPDATE points_accounts a
        SET balance = a.balance + c.posted, version = a.version + c.number,
            held = a.held + c.held, pending = a.pending + c.promised
        FROM (SELECT member_no, sum(posted) AS posted, sum(number) AS number, sum(held) AS held,
                     sum(promised) AS promised FROM changes GROUP BY member_no) c
        WHERE a.account_no = c.member_no),
    lots AS (
        INSERT INTO points_lots AS l (member_no, expires_at, merchant_id, points)
        SELECT member_no, expires_at, $1, gained FROM changes
        WHERE gained > 0 AND expires_at IS NOT NULL ORDER BY 1, 2
        ON CONFLICT (member_no, expires_at) DO UPDATE SET points = l.points + excluded.points),
    waiting AS (
        INSERT INTO points_pending (transfer_id, merchant_id, member_no, points, due_at)
        SELECT transfer_id, $1, member_no, points, due_at FROM granted WHERE pending),
    remembered AS (
        INSERT INTO points_refusals (source_no, reference, merchant_id, customer_id, points, code, refused_at)
        SELECT source_no, reference, $1, customer_id, points, why, $2 FROM refused
        WHERE failed IS NULL AND earlier IS NULL AND reference IS NOT NULL){{outcome}}"""

OUTCOMES: Final = """
    SELECT n, CASE WHEN pending THEN 'pending' ELSE 'posted' END AS code, NULL AS failed,
           transfer_id, reached, place, NULL::text AS earlier FROM granted
    UNION ALL SELECT n, why, failed, NULL, NULL, NULL, earlier::text FROM refused"""
"""What a posting statement gives: its number, the code, the earlier refusal, the transfer and the balance and
version after it, and as JSON the transfer that had its reference."""

POST: Final = _POST.replace("{probed}", "SELECT *, NULL::json AS first FROM known")
"""In the hope that every reference is new: the unique index objects where one is not."""
POST_PROBING: Final = _POST.replace(
    "{probed}",
    f"""SELECT k.*, t.first FROM known k LEFT JOIN LATERAL (
            SELECT {_FIRST} AS first FROM points_transfers t
            WHERE {_SAME_REFERENCE.format(of="k")} LIMIT 1) t ON true""",
)
"""Having looked for each reference in all history."""


_READ: Final = """
    SELECT t.transfer_id, a.name AS customer_id, t.amount_minor, t.balance, t.version
    FROM points_transfers t JOIN points_accounts a ON a.account_no = t.member_no
    WHERE t.transfer_id = ANY($1::uuid[])"""


class _Earlier(msgspec.Struct):
    """The transfer that has a reference already."""

    transfer_id: UUID
    balance: int | None
    version: int | None
    points: int
    customer_id: str

    def answer(self, entry: Entry) -> Posted:
        """The first answer again, if the entry asks for the same."""
        pending = self.version is None
        if (entry.customer_id, entry.points, entry.pending) != (self.customer_id, self.points, pending):
            return Posted("duplicate", repeated=True, transfer_id=self.transfer_id)
        code: Code = "pending" if pending else "posted"
        return Posted(code, True, self.transfer_id, self.balance, self.version)


async def post(
    tx: Driven,
    *,
    merchant_id: UUID,
    entries: Sequence[Entry],
    now: datetime,
    limit: int | None = None,
    take: bool = True,
) -> list[Posted]:
    """Post transfers, at most `MOST_IN_BATCH`, in their order; one outcome for each.

    An entry that is refused moves nothing and never will: its reference stays refused. `limit`: how high a
    balance may rise by these entries, together with what is promised. Lots are credited before they are
    debited; without `take` the caller debits them. The caller's transaction holds the members' accounts from
    here on.
    """
    if not entries:
        return []
    if len(entries) > MOST_IN_BATCH:
        raise ValueError(f"{len(entries)} entries in one batch; {MOST_IN_BATCH} is the most")
    db = await tx.driver()
    first: dict[tuple[int, str], int] = {}
    asked = []
    for n, entry in enumerate(entries):
        if entry.reference is None or first.setdefault((entry.source_no, entry.reference), n) == n:
            asked.append({"n": n, **msgspec.structs.asdict(entry)})
    await lock(tx, merchant_id=merchant_id, customer_ids={entry.customer_id for entry in entries})
    argument = msgspec.json.encode(asked).decode()
    rows = await post_from(db, merchant_id=merchant_id, now=now, argument=argument, limit=limit)
    found = {row[0]: row for row in rows}
    if take:
        debits = [row[3] for n, row in found.items() if row[1] == "posted" and entries[n].points < 0]
        await lots.take(db, debits)
    return [
        _posted(found[n], entry) if n in found else _again(entries, n, first, found)
        for n, entry in enumerate(entries)
    ]


async def lock(tx: Driven, *, merchant_id: UUID, customer_ids: Iterable[str]) -> None:
    """Lock members' accounts, in the order of their numbers.

    A statement of its own: the one that decides must begin after it, or it sees balances from before.
    """
    db = await tx.driver()
    await db.execute(LOCK, merchant_id, list(customer_ids))


async def post_from(
    db: asyncpg.Connection,
    *,
    merchant_id: UUID,
    now: datetime,
    argument: Any,
    limit: int | None,
    entries: str = ENTRIES,
    outcomes: str = OUTCOMES,
    first_id: UUID | None = None,
) -> list[asyncpg.Record]:
    """Post the entries of a relation (columns as in `ENTRIES`, over `argument` as $3) under held locks.

    Gives what `outcomes` asks of the relations `granted` and `refused`. The transfer of the entry `n` has the
    id `first_id` + n.
    """
    values = merchant_id, now, argument, (first_id or first_of_batch()).hex[:-4], limit
    for statement in (POST, POST_PROBING, POST_PROBING):
        whole = statement.replace("{entries}", entries).replace("{outcome}", outcomes)
        await db.execute("SAVEPOINT points")
        try:
            rows: list[asyncpg.Record] = await db.fetch(whole, *values)
        except asyncpg.UniqueViolationError:
            # A reference that is there already; or, while probing, one that somebody committed meanwhile.
            await db.execute("ROLLBACK TO SAVEPOINT points")
            continue
        await db.execute("RELEASE SAVEPOINT points")
        return rows
    raise ConflictError("The same references are being posted elsewhere; try again.", code="busy")


def first_of_batch() -> UUID:
    """A new id that those of a batch count on from."""
    return UUID(int=new_id().int >> 16 << 16)


async def read(db: asyncpg.Connection, transfer_ids: Iterable[UUID | None]) -> dict[UUID, asyncpg.Record]:
    """Transfers that were made before: whose, about how much money, and the balance and version after."""
    ids = [transfer_id for transfer_id in transfer_ids if transfer_id is not None]
    return {row["transfer_id"]: row for row in await db.fetch(_READ, ids)} if ids else {}


def _posted(row: asyncpg.Record, entry: Entry) -> Posted:
    _, code, failed, transfer_id, balance, version, earlier = row
    if earlier is not None:
        return msgspec.json.decode(earlier, type=_Earlier).answer(entry)
    return Posted(code, failed is not None, transfer_id, balance, version)


def _again(
    entries: Sequence[Entry],
    n: int,
    first: Mapping[tuple[int, str], int],
    found: Mapping[int, asyncpg.Record],
) -> Posted:
    """A reference that came before in the same batch: the first answer, if it asks for the same."""
    entry = entries[n]
    assert entry.reference is not None
    before = first[entry.source_no, entry.reference]
    of, answer = entries[before], _posted(found[before], entry)
    same = (of.customer_id, of.points, of.pending) == (entry.customer_id, entry.points, entry.pending)
    if same or answer.repeated or not answer.ok:
        return replace(answer, repeated=True)
    return Posted("duplicate", repeated=True, transfer_id=answer.transfer_id)
