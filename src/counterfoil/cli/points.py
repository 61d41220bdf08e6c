"""`counterfoil points`: members' accounts and what moves their points."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number

from counterfoil import clock
from counterfoil.cli.merchant_work import MerchantName, doing, looking, text_of
from counterfoil.cli.platform import Json, say, show
from counterfoil.cli.points_files import list_batches, list_files, list_records
from counterfoil.cli.points_ledger import export, totals, verify
from counterfoil.cli.points_program import program
from counterfoil.db.paging import LARGEST_PAGE
from counterfoil.db.transactions import ReadTx, Tx
from counterfoil.errors import EXIT_CODE, InvalidError
from counterfoil.ids import format_id, new_id, parse_id
from counterfoil.merchants import merchants
from counterfoil.merchants.merchants import Merchant
from counterfoil.points import accounts, programs, queries, verbs
from counterfoil.points.accounts import Account
from counterfoil.points.burning import Burn
from counterfoil.points.ledger import Entry
from counterfoil.points.pending import Settlement
from counterfoil.points.programs import Program
from counterfoil.points.queries import TransferItem
from counterfoil.points.refusals import REFUSALS
from counterfoil.points.reversals import Reversal

T = TypeVar("T")
LAST: int = 10
"""Transfers that `show` lists."""
MOST_POINTS = 10**12

app = cyclopts.App(name="points", help="Loyalty points: members' accounts and what moves them.")
app.command(program, name="program")
app.command(export, name="export")
app.command(totals, name="totals")
app.command(verify, name="verify")
# Imported when it runs: it has a worker in it.
app.command(
    "counterfoil.cli.points_submit:submit",
    name="submit",
    help="Hand over a partner's file, and follow it until it is answered.",
)
app.command(list_files, name="files")
app.command(list_batches, name="batches")
app.command(list_records, name="records")

Customer = Annotated[str, Parameter(help="The customer's id.")]
Points = Annotated[int, Parameter(validator=Number(gte=1, lte=MOST_POINTS))]
Note = Annotated[str | None, Parameter(help="Why: it stays in the ledger.")]
Reference = Annotated[
    str | None,
    Parameter(help="Your own name for it: the same again is done once. By default a new one."),
]
Transfer = Annotated[str, Parameter(help="The transfer's id, trf_...")]


@app.command(name="open")
def open_accounts(
    *customers: Customer,
    merchant: MerchantName,
    file: Annotated[Path | None, Parameter(help="A file with one customer's id a line.")] = None,
    json: Json = False,
) -> None:
    """Open points accounts for customers; those that have one keep it."""
    named = [*customers, *(filter(None, map(str.strip, text_of(file).splitlines())) if file else ())]
    wanted = list(dict.fromkeys(named))
    if not wanted:
        raise InvalidError("Name customers, or a --file with one a line.", code="invalid")
    if any(len(name) > 200 for name in wanted):
        raise InvalidError("A customer's id has 200 characters at most.", code="invalid")

    async def work(tx: Tx, owner: Merchant) -> int:
        opened = 0
        for first in range(0, len(wanted), accounts.MOST_AT_ONCE):
            part = wanted[first : first + accounts.MOST_AT_ONCE]
            opened += await accounts.open_accounts(
                tx, merchant_id=owner.id, customer_ids=part, now=clock.now()
            )
        return opened

    opened = doing(merchant, work)
    show([{"opened": opened, "existing": len(wanted) - opened}], as_json=json)


@app.command(name="show")
def show_account(customer: Customer, /, *, merchant: MerchantName, json: Json = False) -> None:
    """Show a member's balance, what is pending, when points expire, and the last transfers."""

    async def work(tx: ReadTx, merchant_id: UUID) -> dict[str, Any]:
        which: dict[str, Any] = {"merchant_id": merchant_id, "customer_id": customer}
        account = await accounts.get(tx, **which)
        waiting = await queries.list_pending(tx, **which, limit=LARGEST_PAGE)
        last = await queries.statement(tx, **which, limit=LAST)
        return {
            **_account(account),
            "lots": [asdict(lot) for lot in await queries.list_lots(tx, **which)],
            "waiting": [(_line if json else _short)(item) for item in waiting],
            "last": [(_line if json else _short)(item) for item in last.data],
        }

    found = looking(merchant, work)
    if json:
        show([found], as_json=True)
        return
    lots, waiting, last = (found.pop(name) for name in ("lots", "waiting", "last"))
    show([{"what": name, "value": value} for name, value in found.items()], as_json=False, title=customer)
    for title, rows in (("Expiring", lots), ("Pending", waiting), ("Last transfers", last)):
        if rows:
            show(rows, as_json=False, title=title)


def _account(account: Account) -> dict[str, Any]:
    return {
        "customer_id": account.customer_id,
        "state": account.state,
        "balance": account.balance,
        "available": account.available,
        "held": account.held,
        "pending": account.pending,
        "opened_at": account.opened_at,
    }


def _line(item: TransferItem) -> dict[str, Any]:
    return {
        "transfer_id": format_id("transfer", item.transfer_id),
        "posted_at": item.posted_at,
        "points": item.points,
        "balance": item.balance,
        "source": f"{item.source}:{item.source_name}" if item.source_name else item.source,
        "reference": item.reference,
        "order_id": item.order_id,
        "state": item.state,
        "reversed": item.reversed_points,
        "due_at": item.due_at,
        "note": item.note,
    }


def _short(item: TransferItem) -> dict[str, Any]:
    """A transfer for people: what fits on a line of a terminal."""
    source = f"{item.source} {item.source_name}".strip()
    waits = None if item.due_at is None else f"{item.due_at:%Y-%m-%d %H:%M}Z"
    undone = f"{item.reversed_points} undone" if item.reversed_points else None
    named = item.order_id or item.reference
    return {
        "transfer_id": format_id("transfer", item.transfer_id),
        "when": f"{item.posted_at:%Y-%m-%d %H:%M}Z",
        "points": f"{item.points:+}",
        **({"due": waits} if item.state == "pending" else {"balance": item.balance}),
        "what": "undone: " * (item.reverses is not None) + " ".join(filter(None, (source, named))),
        "note": ", ".join(filter(None, (undone, item.note))) or None,
    }


@app.command
def statement(
    customer: Customer,
    /,
    *,
    merchant: MerchantName,
    limit: Annotated[
        int, Parameter(help="How many, at most.", validator=Number(gte=1, lte=LARGEST_PAGE))
    ] = 50,
    cursor: Annotated[str | None, Parameter(help="Where the page before ended.")] = None,
    json: Json = False,
) -> None:
    """List a member's transfers, the latest first, each with the balance after it."""
    page = looking(
        merchant,
        lambda tx, merchant_id: queries.statement(
            tx, merchant_id=merchant_id, customer_id=customer, limit=limit, cursor=cursor
        ),
    )
    show([(_line if json else _short)(item) for item in page.data], as_json=json, title=customer)
    if page.next_cursor is not None:
        say(f"There are more: --cursor {page.next_cursor}")


@app.command
def balance(
    customer: Customer,
    /,
    *,
    merchant: MerchantName,
    at: Annotated[
        datetime | None,
        Parameter(help="As it was then, such as 2026-05-01; without an offset in the merchant's time zone."),
    ] = None,
    json: Json = False,
) -> None:
    """Print a member's balance, now or as it was at a moment."""

    async def work(tx: ReadTx, merchant_id: UUID) -> dict[str, Any]:
        moment = clock.now() if at is None else at
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=ZoneInfo((await merchants.get(tx, name=merchant)).time_zone))
        found = await queries.balance_at(tx, merchant_id=merchant_id, customer_id=customer, at=moment)
        return {"customer_id": customer, "at": moment, "balance": found}

    show([looking(merchant, work)], as_json=json)


@app.command
def adjust(
    customer: Customer,
    points: Annotated[
        int,
        Parameter(
            help="How many points more; with a minus, less.",
            allow_leading_hyphen=True,
            validator=Number(gte=-MOST_POINTS, lte=MOST_POINTS),
        ),
    ],
    /,
    *,
    merchant: MerchantName,
    note: Note = None,
    reference: Reference = None,
    json: Json = False,
) -> None:
    """Give a member points, or take some, by hand."""
    if points == 0:
        raise InvalidError("An adjustment of no points is none.", code="invalid")

    async def work(tx: Tx, owner: Merchant) -> Any:
        now = clock.now()
        terms = await programs.find(tx, merchant_id=owner.id) or Program()
        source = await accounts.source_no(tx, merchant_id=owner.id, source="adjusted", now=now)
        entry = Entry(
            customer_id=customer,
            source_no=source,
            reference=reference or format_id("transfer", new_id()),
            points=points,
            expires_at=terms.expires_at(now) if points > 0 else None,
            note=note,
        )
        (done,) = await verbs.post(
            tx, merchant_id=owner.id, entries=[entry], now=now, limit=terms.max_balance
        )
        return done

    _tell(doing(merchant, work), json=json)


@app.command
def reverse(
    transfer: Transfer,
    /,
    *,
    merchant: MerchantName,
    points: Annotated[Points | None, Parameter(help="How many of its points; by default all left.")] = None,
    note: Note = None,
    reference: Reference = None,
    json: Json = False,
) -> None:
    """Undo a transfer, wholly or in part."""
    asked = Reversal(
        parse_id("transfer", transfer),
        reference=reference or format_id("transfer", new_id()),
        points=points,
        note=note,
    )
    _tell(
        _one(
            merchant, lambda tx, key: verbs.reverse(tx, merchant_id=key, reversals=[asked], now=clock.now())
        ),
        json=json,
    )


@app.command
def burn(
    customer: Customer,
    points: Points,
    /,
    *,
    merchant: MerchantName,
    order: Annotated[str, Parameter(help="The order that they take something off.")],
    hold_minutes: Annotated[
        int | None,
        Parameter(help="Hold them only, so long; `settle` burns them.", validator=Number(gte=1, lte=525_600)),
    ] = None,
    json: Json = False,
) -> None:
    """Burn a member's points for an order, or hold them until it is paid."""
    now = clock.now()
    until = None if hold_minutes is None else now + timedelta(minutes=hold_minutes)

    async def work(tx: Tx, owner: Merchant) -> Any:
        terms = await programs.get(tx, merchant_id=owner.id)
        asked = [Burn(customer, order, points, until)]
        (done,) = await verbs.burn(tx, merchant_id=owner.id, program=terms, burns=asked, now=now)
        return done

    done = doing(merchant, work)
    _tell(done.posted, json=json, amount_minor=done.amount_minor)


@app.command
def settle(
    transfer: Transfer,
    /,
    *,
    merchant: MerchantName,
    points: Annotated[
        Points | None, Parameter(help="How many of its points; the rest is voided. By default all.")
    ] = None,
    void: Annotated[bool, Parameter(help="Carry out nothing of it.", negative="")] = False,
    json: Json = False,
) -> None:
    """Carry out what is held or promised, or void it."""
    if void and points is not None:
        raise InvalidError("Say --points or --void, not both.", code="invalid")
    asked = Settlement(parse_id("transfer", transfer), 0 if void else points)
    _tell(
        _one(
            merchant, lambda tx, key: verbs.settle(tx, merchant_id=key, settlements=[asked], now=clock.now())
        ),
        json=json,
    )


def _one(merchant: str, ask: Callable[[Tx, UUID], Awaitable[list[T]]]) -> T:
    """The only outcome of a batch of one."""

    async def work(tx: Tx, owner: Merchant) -> T:
        (done,) = await ask(tx, owner.id)
        return done

    return doing(merchant, work)


def _tell(done: Any, *, json: bool, **more: Any) -> None:
    """What became of it; a refusal ends with the exit code of its kind."""
    transfer = done.transfer_id and format_id("transfer", done.transfer_id)
    row = {"code": done.code, "repeated": done.repeated, "transfer_id": transfer, "balance": done.balance}
    if done.ok or json:
        show([row | more], as_json=json)
    if not done.ok:
        kind, sentence = REFUSALS[done.code]
        if not json:
            say(f"refused ({done.code}) {sentence}")
        sys.exit(EXIT_CODE[kind])


@app.command
def close(customer: Customer, /, *, merchant: MerchantName) -> None:
    """Close a member's account; it must be empty."""

    async def work(tx: Tx, owner: Merchant) -> Account:
        return await accounts.close(tx, merchant_id=owner.id, customer_id=customer, now=clock.now())

    say(f"The account of {customer} is {doing(merchant, work).state}.")


@app.command
def reopen(customer: Customer, /, *, merchant: MerchantName) -> None:
    """Open a closed account again."""

    async def work(tx: Tx, owner: Merchant) -> Account:
        return await accounts.reopen(tx, merchant_id=owner.id, customer_id=customer)

    say(f"The account of {customer} is {doing(merchant, work).state}.")
