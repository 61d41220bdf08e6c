"""Codes that exist before anybody has them: generated in bulk, or brought from elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from counterfoil.db.transactions import Driven
from counterfoil.errors import InvalidError, RefusedError
from counterfoil.vouchers import batches, codes
from counterfoil.vouchers.books import Book
from counterfoil.vouchers.campaigns import not_found
from counterfoil.vouchers.codes import CodeFormat

CHUNK: Final = 5_000
"""Codes made in one transaction: as long as it takes, nobody else moves a voucher of the campaign."""
MOST_GENERATED: Final = 10_000_000
MOST_BROUGHT: Final = 10_000
"""Codes in one request."""

CodeOutcome = Literal["added", "already_there", "twice_in_request", "invalid"]


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
            f"One in a thousand guesses or more would hit one of {count} such codes: make them longer.",
            code="codes_too_dense",
        )


async def add_generated(tx: Driven, *, merchant_id: UUID, campaign_id: str, count: int, now: datetime) -> int:
    """Make `count` new codes available, by COPY; returns how many the campaign has made by now.

    Raises asyncpg's `UniqueViolationError` in the rare case that a code is there already: roll back, try again.
    """
    batch, book = await _open(tx, merchant_id, campaign_id, now)
    made = list(dict.fromkeys(codes.generate(book.terms.codes, count)))
    while len(made) < count:
        made = list(dict.fromkeys([*made, *codes.generate(book.terms.codes, count - len(made))]))
    # Sorted, they go into the index page by page; which one is handed out next stays a matter of chance.
    turns = list(range(book.pool_made + 1, book.pool_made + count + 1))
    rows = sorted(zip(made, turns, strict=True))
    most = book.terms.max_uses
    # The check of the foreign key is a statement for every row: planned each time, it takes most of the time.
    await batch.db.execute("SET LOCAL plan_cache_mode = 'auto'")
    await batch.db.copy_records_to_table(
        "vouchers",
        records=[(merchant_id, code, campaign_id, "available", most, turn, now, now) for code, turn in rows],
        columns=(
            "merchant_id",
            "voucher_id",
            "campaign_id",
            "state",
            "max_redemptions",
            "pool_position",
            "recorded_at",
            "changed_at",
        ),
    )
    book.pool_made += count
    book.count("available", count)
    await batch.write()
    return book.pool_made


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
