"""A batch of requests: lock the campaigns, read what is asked about, decide, write what changed.

Whoever moves a voucher holds its campaign's lock. That lock is what every limit, budget and count rests on,
and a batch pays for it once: the requests in it are decided in memory, in the order in which they came, and
written by one statement for each table. Locks are taken in the order of their keys, so batches wait for each
other and never both ways. See docs/decisions/0005.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from counterfoil.db.transactions import Driven
from counterfoil.vouchers import writes
from counterfoil.vouchers.books import (
    Book,
    Issuance,
    Key,
    Redemption,
    Reservation,
    Reversal,
    UsageKey,
    UsageRow,
    Voucher,
)
from counterfoil.vouchers.terms import Stacking, Terms

_LOCK: Final = """
    SELECT c.merchant_id, c.campaign_id, c.state, c.terms_version, c.stock, c.handed_out, c.budget_minor,
           c.spent_minor, c.held_minor, c.max_redemptions, c.redemptions, c.holds, c.pool_made, c.pool_taken,
           c.pot_left_minor, c.available, c.issued, c.reserved, c.redeemed, c.expired, c.voided
    FROM campaign_counters c
    WHERE (c.merchant_id, c.campaign_id) IN ({keys})
    ORDER BY c.merchant_id, c.campaign_id FOR UPDATE OF c"""
LOCK_CAMPAIGNS: Final = _LOCK.format(keys="SELECT * FROM unnest($1::uuid[], $2::text[])")
LOCK_OF_VOUCHERS: Final = _LOCK.format(
    keys="""SELECT v.merchant_id, v.campaign_id FROM unnest($1::uuid[], $2::text[]) k(m, id)
            JOIN vouchers v ON v.merchant_id = k.m AND v.voucher_id = k.id WHERE v.state IS NOT NULL"""
)
LOCK_OF_RESERVATIONS: Final = _LOCK.format(
    keys="""SELECT r.merchant_id, r.campaign_id FROM unnest($1::uuid[], $2::text[]) k(m, id)
            JOIN reservations r ON r.merchant_id = k.m AND r.reservation_id = k.id"""
)
LOCK_OF_REDEMPTIONS: Final = _LOCK.format(
    keys="""SELECT r.merchant_id, r.campaign_id FROM unnest($1::uuid[], $2::text[]) k(m, id)
            JOIN redemptions r ON r.merchant_id = k.m AND r.redemption_id = k.id"""
)
"""Each: two arrays, the merchants and the ids, to the campaigns that they belong to, locked."""

_TERMS: Final = """
    SELECT t.merchant_id, t.campaign_id, t.version, t.terms::text
    FROM unnest($1::uuid[], $2::text[], $3::int[]) k(m, id, version)
    JOIN campaign_terms t ON t.merchant_id = k.m AND t.campaign_id = k.id AND t.version = k.version"""
_VOUCHERS: Final = """
    SELECT v.merchant_id, v.voucher_id, v.campaign_id, v.state, v.customer_id, v.valid_from, v.valid_until,
           v.max_redemptions, v.uses, v.holds, v.amount_minor, v.balance_minor, v.held_minor, v.void_reason
    FROM unnest($1::uuid[], $2::text[]) k(m, id)
    JOIN vouchers v ON v.merchant_id = k.m AND v.voucher_id = k.id WHERE v.state IS NOT NULL"""
_USAGE: Final = """
    SELECT u.merchant_id, u.campaign_id, u.customer_id, u.period, u.period_start, u.claims, u.redemptions
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::date[]) k(m, c, customer, p, start)
    JOIN campaign_usage u ON u.merchant_id = k.m AND u.campaign_id = k.c AND u.customer_id = k.customer
         AND u.period = k.p AND u.period_start = k.start"""
_RESERVATION: Final = """
    r.merchant_id, r.reservation_id, r.voucher_id, r.campaign_id, r.order_id, r.customer_id, r.state,
    r.amount_minor, r.discount_minor, r.lines::text, r.reserved_at, r.expires_at"""
_LAPSED: Final = f"""
    SELECT {_RESERVATION} FROM unnest($1::uuid[], $2::text[]) k(m, id)
    JOIN reservations r ON r.merchant_id = k.m AND r.campaign_id = k.id
    WHERE r.state = 'held' AND r.expires_at <= $3 LIMIT 1000"""
_RESERVATIONS_OF_ORDERS: Final = f"""
    SELECT {_RESERVATION} FROM unnest($1::uuid[], $2::text[]) k(m, id)
    JOIN reservations r ON r.merchant_id = k.m AND r.order_id = k.id"""
_RESERVATIONS: Final = f"""
    SELECT {_RESERVATION} FROM unnest($1::uuid[], $2::text[]) k(m, id)
    JOIN reservations r ON r.merchant_id = k.m AND r.reservation_id = k.id"""
_HELD: Final = f"""
    SELECT {_RESERVATION} FROM unnest($1::uuid[], $2::text[]) k(m, id)
    JOIN reservations r ON r.merchant_id = k.m AND r.voucher_id = k.id WHERE r.state = 'held'"""
_REDEMPTION: Final = """
    r.merchant_id, r.redemption_id, r.voucher_id, r.campaign_id, r.customer_id, r.order_id,
    r.transaction_id, r.store_id, r.amount_minor, r.discount_minor, r.lines::text, r.redeemed_at,
    r.reversed_minor, r.reversed_lines, r.reversed_at"""
REFERENCE: Final = "coalesce('o' || r.order_id, 't' || r.transaction_id)"
_REDEMPTIONS_OF_ORDERS: Final = f"""
    SELECT {_REDEMPTION} FROM unnest($1::uuid[], $2::text[]) k(m, reference)
    JOIN redemptions r ON r.merchant_id = k.m AND {REFERENCE} = k.reference AND r.campaign_id IS NOT NULL"""
_REDEMPTIONS: Final = f"""
    SELECT {_REDEMPTION} FROM unnest($1::uuid[], $2::text[]) k(m, id)
    JOIN redemptions r ON r.merchant_id = k.m AND r.redemption_id = k.id WHERE r.campaign_id IS NOT NULL"""
_POOL: Final = """
    SELECT p.* FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::int[]) k(m, id, taken, wanted)
    CROSS JOIN LATERAL (
        SELECT v.merchant_id, v.voucher_id, v.campaign_id, v.state, v.customer_id, v.valid_from,
               v.valid_until,
               v.max_redemptions, v.uses, v.holds, v.amount_minor, v.balance_minor, v.held_minor,
               v.void_reason, v.pool_position
        FROM vouchers v
        WHERE v.merchant_id = k.m AND v.campaign_id = k.id AND v.pool_position > k.taken
          AND v.state = 'available'
        ORDER BY v.pool_position LIMIT k.wanted) p"""

_STACKING: Final = """
    SELECT c.merchant_id, c.campaign_id, t.terms->>'stacking' FROM unnest($1::uuid[], $2::text[]) k(m, id)
    JOIN campaign_counters c ON c.merchant_id = k.m AND c.campaign_id = k.id
    JOIN campaign_terms t ON t.merchant_id = k.m AND t.campaign_id = k.id AND t.version = c.terms_version"""
_LOCK_ORDERS: Final = "SELECT pg_advisory_xact_lock($1, k) FROM unnest($2::int[]) k"
_ORDERS: Final = 0x0CF0
"""The class of the advisory locks on orders."""

_parsed: dict[tuple[UUID, str, int], Terms] = {}
_MOST_PARSED: Final = 5_000
_NONE: Final = [0, 0]


@dataclass(slots=True)
class Batch:
    """All that a batch of requests is decided on. Made by `lock`, filled by the `read_` functions."""

    db: asyncpg.Connection
    now: datetime
    books: dict[Key, Book]
    vouchers: dict[Key, Voucher] = field(default_factory=dict)
    reservations: dict[Key, Reservation] = field(default_factory=dict)
    redemptions: dict[Key, Redemption] = field(default_factory=dict)
    pools: dict[Key, list[tuple[int, Voucher]]] = field(default_factory=dict)
    """Of each campaign with a pool: the next codes, the last one first, and their positions."""
    usage: dict[UsageKey, list[int]] = field(default_factory=dict)
    """Claims and redemptions so far."""
    usage_changes: dict[UsageKey, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    by_order: dict[Key, list[Reservation | Redemption]] = field(default_factory=lambda: defaultdict(list))
    """What was redeemed or reserved for an order or payment, by its reference."""
    stacking: dict[Key, Stacking] = field(default_factory=dict)
    """The policy of each campaign that has a voucher on one of the orders."""
    issuances: list[Issuance] = field(default_factory=list)
    reversals: list[Reversal] = field(default_factory=list)

    def book_of(self, thing: Voucher | Reservation | Redemption) -> Book:
        """The campaign that a voucher, reservation or redemption belongs to."""
        return self.books[thing.merchant_id, thing.campaign_id]

    def claims(self, key: UsageKey) -> int:
        """Claims counted under a key, with those of this batch."""
        return self.usage.get(key, _NONE)[0] + self.usage_changes.get(key, _NONE)[0]

    def uses(self, key: UsageKey) -> int:
        """Redemptions counted under a key, with those of this batch."""
        return self.usage.get(key, _NONE)[1] + self.usage_changes.get(key, _NONE)[1]

    async def write(self) -> None:
        """Write what changed, one statement for each table."""
        await writes.write(
            self.db,
            now=self.now,
            vouchers=self.vouchers.values(),
            issuances=self.issuances,
            reservations=self.reservations.values(),
            redemptions=self.redemptions.values(),
            reversals=self.reversals,
            usage=[UsageRow(*key, *more) for key, more in self.usage_changes.items() if any(more)],
            books=self.books.values(),
        )


def reference_of(order_id: str | None, transaction_id: str | None) -> str | None:
    """What makes two redemptions of a voucher the same: the order, or where there is none the payment."""
    if order_id is not None:
        return "o" + order_id
    return None if transaction_id is None else "t" + transaction_id


def _arrays(keys: Iterable[Key]) -> tuple[list[UUID], list[str]]:
    distinct = list(dict.fromkeys(keys))
    return [m for m, _ in distinct], [i for _, i in distinct]


async def lock(tx: Driven, keys: Iterable[Key], *, now: datetime, by: str = LOCK_CAMPAIGNS) -> Batch:
    """Lock the campaigns of these keys (`by`: of what they are keys), and read their counters and terms."""
    db = await tx.driver()
    rows = await db.fetch(by, *_arrays(keys))
    books = {(row[0], row[1]): Book(*row) for row in rows}
    await _attach_terms(db, books, now)
    return Batch(db, now, books)


async def _attach_terms(db: asyncpg.Connection, books: dict[Key, Book], now: datetime) -> None:
    missing = [b for b in books.values() if (*b.key, b.terms_version) not in _parsed]
    if missing:
        versions = [b.terms_version for b in missing]
        rows = await db.fetch(
            _TERMS, [b.merchant_id for b in missing], [b.campaign_id for b in missing], versions
        )
        parsed = {(row[0], row[1], row[2]): Terms.model_validate_json(row[3]) for row in rows}
    else:
        parsed = {}
    for book in books.values():
        version = (*book.key, book.terms_version)
        book.open(parsed[version] if version in parsed else _parsed[version], now)
    if len(_parsed) + len(parsed) > _MOST_PARSED:
        _parsed.clear()
    _parsed.update(parsed)


async def read_vouchers(batch: Batch, keys: Iterable[Key]) -> None:
    """Read vouchers by their codes."""
    missing = [key for key in keys if key not in batch.vouchers]
    if not missing:
        return
    for row in await batch.db.fetch(_VOUCHERS, *_arrays(missing)):
        if (row[0], row[2]) in batch.books:
            batch.vouchers[row[0], row[1]] = Voucher(*row)


async def read_reservations(batch: Batch, keys: Iterable[Key]) -> None:
    """Read reservations by their ids."""
    _keep_reservations(batch, await batch.db.fetch(_RESERVATIONS, *_arrays(keys)))


async def read_lapsed(batch: Batch) -> list[Reservation]:
    """Reservations of the locked campaigns that ran out and still hold."""
    if not any(book.holds for book in batch.books.values()):
        return []
    rows = await batch.db.fetch(_LAPSED, *_arrays(batch.books), batch.now)
    return _keep_reservations(batch, rows)


async def read_held(batch: Batch, keys: Iterable[Key]) -> None:
    """Read the reservations that hold something of these vouchers."""
    merchants, names = _arrays(keys)
    if merchants:
        _keep_reservations(batch, await batch.db.fetch(_HELD, merchants, names))


async def read_redemptions(batch: Batch, keys: Iterable[Key]) -> None:
    """Read redemptions by their ids."""
    for row in await batch.db.fetch(_REDEMPTIONS, *_arrays(keys)):
        _keep_redemption(batch, row)


async def read_orders(batch: Batch, references: Iterable[Key]) -> None:
    """Read what was redeemed or reserved for these orders or payments, under keys of `reference_of`."""
    merchants, names = _arrays(references)
    if not merchants:
        return
    for row in await batch.db.fetch(_REDEMPTIONS_OF_ORDERS, merchants, names):
        redemption = _keep_redemption(batch, row)
        name = reference_of(redemption.order_id, redemption.transaction_id)
        assert name is not None
        batch.by_order[redemption.merchant_id, name].append(redemption)
    orders = [(m, name[1:]) for m, name in zip(merchants, names, strict=True) if name[0] == "o"]
    if orders:
        rows = await batch.db.fetch(_RESERVATIONS_OF_ORDERS, *_arrays(orders))
        for reservation in _keep_reservations(batch, rows):
            batch.by_order[reservation.merchant_id, "o" + reservation.order_id].append(reservation)
    await _read_stacking(batch)


async def _read_stacking(batch: Batch) -> None:
    batch.stacking.update({key: book.terms.stacking for key, book in batch.books.items()})
    others = {(use.merchant_id, use.campaign_id) for uses in batch.by_order.values() for use in uses}
    missing = others - batch.stacking.keys()
    if missing:
        for row in await batch.db.fetch(_STACKING, *_arrays(missing)):
            batch.stacking[row[0], row[1]] = row[2]


async def lock_orders(tx: Driven, references: Iterable[Key]) -> None:
    """Keep others from putting vouchers on these orders meanwhile, whatever campaigns theirs are of.

    Before any campaign is locked, and in the order of the locks' numbers.
    """
    numbers = sorted({zlib.crc32(m.bytes + name.encode()) - 2**31 for m, name in references})
    if numbers:
        db = await tx.driver()
        await db.execute(_LOCK_ORDERS, _ORDERS, numbers)


async def read_usage(batch: Batch, keys: Iterable[UsageKey]) -> None:
    """Read how often customers took part."""
    distinct = list(dict.fromkeys(keys))
    if not distinct:
        return
    columns: Sequence[Sequence[Any]] = list(zip(*distinct, strict=True))
    for row in await batch.db.fetch(_USAGE, *columns):
        batch.usage[row[0], row[1], row[2], row[3], row[4]] = [row[5], row[6]]


async def read_pools(batch: Batch, wanted: dict[Key, int]) -> None:
    """Read the next codes of campaigns that hand out from a pool: so many of each."""
    if not wanted:
        return
    merchants, names = _arrays(wanted)
    taken = [batch.books[key].pool_taken for key in wanted]
    for row in await batch.db.fetch(_POOL, merchants, names, taken, list(wanted.values())):
        voucher = Voucher(*row[:14])
        batch.vouchers[voucher.merchant_id, voucher.voucher_id] = voucher
        batch.pools.setdefault((row[0], row[2]), []).append((row[14], voucher))
    for pool in batch.pools.values():
        pool.reverse()


def _keep_reservations(batch: Batch, rows: Sequence[asyncpg.Record]) -> list[Reservation]:
    kept = []
    for row in rows:
        key = row[0], row[1]
        if key not in batch.reservations:
            batch.reservations[key] = Reservation(*(*row[:9], _lines(row[9]), *row[10:12]))
        kept.append(batch.reservations[key])
    return kept


def _keep_redemption(batch: Batch, row: asyncpg.Record) -> Redemption:
    key = row[0], row[1]
    if key not in batch.redemptions:
        batch.redemptions[key] = Redemption(
            *(*row[:10], _lines(row[10]), *row[11:13], tuple(row[13] or ()), row[14])
        )
    return batch.redemptions[key]


def _lines(text: str | None) -> tuple[tuple[str, int], ...]:
    return tuple((line, minor) for line, minor in json.loads(text)) if text else ()
