"""Codes that exist before anybody has them: generated in bulk, or brought from elsewhere."""

from __future__ import annotations

import asyncio
import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from struct import pack
from typing import Final, Literal, NamedTuple
from uuid import UUID

import asyncpg

from counterfoil.db.transactions import Driven
from counterfoil.errors import InvalidError, RefusedError
from counterfoil.vouchers import batches, codes
from counterfoil.vouchers.books import Book
from counterfoil.vouchers.campaigns import not_found
from counterfoil.vouchers.codes import CodeFormat

CHUNK: Final = 5_000
"""Codes made in one transaction: as long as it takes, nobody else moves a voucher of the campaign."""
DRAFT_CHUNK: Final = 50_000
"""The same while the campaign is a draft, of which nobody moves a voucher: larger ones are cheaper."""
MOST_GENERATED: Final = 10_000_000
MOST_BROUGHT: Final = 10_000
"""Codes in one request."""

_COLUMNS: Final = (
    "merchant_id",
    "voucher_id",
    "campaign_id",
    "state",
    "max_redemptions",
    "pool_position",
    "recorded_at",
    "changed_at",
)
_HEADERS: Final = frozenset({"code", "codes", "voucher_id"})
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER: Final = b"\xff\xff"

CodeOutcome = Literal["added", "already_there", "twice_in_request", "invalid"]


class Drawn(NamedTuple):
    """Codes drawn for a format; that they are new is not known yet."""

    form: CodeFormat
    codes: list[str]


@dataclass(frozen=True, slots=True)
class BroughtCode:
    """What became of one code; `reason` where it is invalid: `empty`, `too_long` or `not_printable`."""

    code: str
    outcome: CodeOutcome
    reason: str | None = None


def check_density(form: CodeFormat, count: int) -> None:
    """`InvalidError` where so many codes of this format could be guessed."""
    if count * 1_000 > len(form.charset) ** form.drawn:
        raise InvalidError(
            f"More than one in a thousand guesses would hit one of {count} such codes: make them longer.",
            code="codes_too_dense",
        )


def draw(form: CodeFormat, count: int) -> Drawn:
    """Draw `count` codes, all different. It takes a while without the database: do it in a thread, before."""
    made = list(dict.fromkeys(codes.generate(form, count)))
    while len(made) < count:
        made = list(dict.fromkeys([*made, *codes.generate(form, count - len(made))]))
    return Drawn(form, made)


async def add_generated(
    tx: Driven,
    *,
    merchant_id: UUID,
    campaign_id: str,
    count: int,
    now: datetime,
    drawn: Drawn | None = None,
    careful: bool = False,
) -> int:
    """Make `count` new codes available, by COPY; returns how many the campaign has made by now.

    `drawn`: codes drawn before, which are used if they are of the campaign's format and enough. Raises
    asyncpg's `UniqueViolationError` in the rare case that a code is there already: roll back, and try again
    with new ones and `careful`, which looks first (for a format so short that it happens again and again).
    """
    batch, book = await _open(tx, merchant_id, campaign_id, now)
    form = book.terms.codes
    if drawn is None or drawn.form != form or len(drawn.codes) < count:
        drawn = await asyncio.to_thread(draw, form, count)
    made = drawn.codes[:count]
    if careful:
        made = await _not_there_yet(batch.db, merchant_id, form, made)
    rows = await asyncio.to_thread(_encoded, book, made, now)
    await batch.db.copy_to_table("vouchers", source=rows, format="binary", columns=_COLUMNS)
    book.pool_made += count
    book.count("available", count)
    await batch.write()
    return book.pool_made


async def _not_there_yet(
    db: asyncpg.Connection, merchant_id: UUID, form: CodeFormat, made: list[str]
) -> list[str]:
    """The same number of codes, without those that the merchant has already."""
    wanted, free = len(made), dict.fromkeys(made)
    while True:
        there = await db.fetch(
            """SELECT v.voucher_id FROM unnest($2::text[]) k(code)
               JOIN vouchers v ON v.merchant_id = $1 AND v.voucher_id = k.code""",
            merchant_id,
            list(free),
        )
        for (code,) in there:
            del free[code]
        if len(free) == wanted:
            return list(free)
        free.update(dict.fromkeys(codes.generate(form, wanted - len(free))))


def _encoded(book: Book, made: Sequence[str], now: datetime) -> io.BytesIO:
    """New codes as COPY's binary format has them: nearly all of a row is the same in all rows.

    Sorted, they go into the index page by page; which one is handed out next stays a matter of chance.
    """
    moment = (now - _EPOCH) // timedelta(microseconds=1)
    most = book.terms.max_uses
    merchant, campaign, state = book.merchant_id.bytes, book.campaign_id.encode(), b"available"
    before = pack(f"!hi{len(merchant)}si", len(_COLUMNS), 16, merchant, len(book.terms.codes.shape))
    between = b"".join(
        (
            pack(f"!i{len(campaign)}si{len(state)}s", len(campaign), campaign, len(state), state),
            pack("!i", -1) if most is None else pack("!ii", 4, most),
            pack("!i", 8),
        )
    )
    after = pack("!iqiq", 8, moment, 8, moment)
    turns = range(book.pool_made + 1, book.pool_made + len(made) + 1)
    rows = sorted(zip(made, turns, strict=True))
    parts = [
        part for code, turn in rows for part in (before, code.encode(), between, turn.to_bytes(8), after)
    ]
    return io.BytesIO(b"".join((_HEADER, *parts, _TRAILER)))


async def bring(
    tx: Driven, *, merchant_id: UUID, campaign_id: str, brought: Sequence[str], now: datetime
) -> list[BroughtCode]:
    """Make codes from elsewhere available; one outcome for each. Bringing them again adds nothing."""
    batch, book = await _open(tx, merchant_id, campaign_id, now)
    problems = {code: codes.problem_of(code) for code in brought}
    good = [code for code, problem in problems.items() if problem is None]
    rows = await batch.db.fetch(
        """INSERT INTO vouchers (merchant_id, voucher_id, campaign_id, state, max_redemptions, pool_position,
                                 recorded_at, changed_at)
           SELECT $1, code, $2, 'available', $3::int, $4::bigint + turn, $5, $5
           FROM unnest($6::text[]) WITH ORDINALITY k(code, turn) ORDER BY code
           ON CONFLICT DO NOTHING RETURNING voucher_id""",
        merchant_id,
        campaign_id,
        book.terms.max_uses,
        book.pool_made,
        now,
        good,
    )
    added = {row[0] for row in rows}
    book.pool_made += len(good)
    book.count("available", len(added))
    await batch.write()
    return _outcomes(brought, problems, added)


def _outcomes(brought: Sequence[str], problems: dict[str, str | None], added: set[str]) -> list[BroughtCode]:
    seen: Counter[str] = Counter()
    outcomes = []
    for code in brought:
        seen[code] += 1
        if problems[code] is not None:
            outcomes.append(BroughtCode(code, "invalid", problems[code]))
        elif seen[code] > 1:
            outcomes.append(BroughtCode(code, "twice_in_request"))
        else:
            outcomes.append(BroughtCode(code, "added" if code in added else "already_there"))
    return outcomes


def codes_of_csv(lines: Iterable[str]) -> Iterator[str]:
    """The codes of a CSV file: the column that its first line names `code`, or else one code a line.

    Spaces around a code are not of it; empty lines are left out. Raises `InvalidError`: `columns_invalid`
    where there are several columns and none is named so, `file_unreadable` where it is no CSV.
    """
    rows = csv.reader(lines)
    try:
        first = next((row for row in rows if row), [])
        names = [name.strip().lower() for name in first]
        place = next((n for n, name in enumerate(names) if name in _HEADERS), None)
        if place is None:
            if len(first) > 1:
                raise InvalidError("No column is named `code` in the first line.", code="columns_invalid")
            yield from (name.strip() for name in first)
        for row in rows:
            if row:
                yield row[place or 0].strip() if (place or 0) < len(row) else ""
    except csv.Error as error:
        raise InvalidError(f"Line {rows.line_num} is no CSV: {error}.", code="file_unreadable") from error


async def _open(tx: Driven, merchant_id: UUID, campaign_id: str, now: datetime) -> tuple[batches.Batch, Book]:
    key = merchant_id, campaign_id
    batch = await batches.lock(tx, [key], now=now)
    book = batch.books.get(key)
    if book is None:
        raise not_found(campaign_id)
    if book.state in {"stopped", "ended"}:
        raise RefusedError(
            f"The campaign is {book.state}: it takes no more codes.", code="campaign_" + book.state
        )
    return batch, book
