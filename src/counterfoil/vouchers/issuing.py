"""Handing out vouchers: customers claim, within hours and limits; the merchant issues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from counterfoil.db.transactions import Driven
from counterfoil.vouchers import batches, calendar, codes
from counterfoil.vouchers.batches import Batch
from counterfoil.vouchers.books import Book, Issuance, Key, UsageKey, Voucher
from counterfoil.vouchers.discounts import draw
from counterfoil.vouchers.refusals import refused
from counterfoil.vouchers.requests import DONE, Asked, Claim, Issue, Outcome
from counterfoil.vouchers.states import ALLOWED_IN
from counterfoil.vouchers.terms import RandomAmount, StoredValue
from counterfoil.vouchers.types import Verb


async def claim(tx: Driven, asked: Sequence[Asked[Claim]], *, now: datetime) -> list[Outcome]:
    """Give each customer a voucher of the campaign, if all its limits allow it. One outcome for each request.

    Refusals: `campaign_not_found`, `campaign_<state>`, `campaign_not_started`, `campaign_over`,
    `outside_claim_window`, `customer_required`, `claim_limit_reached`, `claims_per_day_reached`, `sold_out`.
    """
    return await _hand_out(tx, asked, "claim", now)


async def issue(tx: Driven, asked: Sequence[Asked[Issue]], *, now: datetime) -> list[Outcome]:
    """Hand out vouchers on the merchant's word: within the stock, whatever the hour and the customer's limit.

    A `voucher_id` asks for this code, of the pool or newly brought; the same request again (same voucher,
    same customer) gives the first outcome. Refusals beside those of `claim`: `voucher_not_found`,
    `voucher_not_available`.
    """
    return await _hand_out(tx, asked, "issue", now)


async def _hand_out(tx: Driven, asked: Sequence[Asked[Claim]], verb: Verb, now: datetime) -> list[Outcome]:
    batch = await batches.lock(tx, ((a.merchant_id, a.request.campaign_id) for a in asked), now=now)
    named = [
        (a.merchant_id, a.request.voucher_id)
        for a in asked
        if isinstance(a.request, Issue) and a.request.voucher_id is not None
    ]
    await batches.read_vouchers(batch, named)
    known = [a for a in asked if (a.merchant_id, a.request.campaign_id) in batch.books]
    await batches.read_usage(batch, [key for a in known for key, _ in _limits(_book(batch, a), a.request)])
    wanted = Counter(_book(batch, a).key for a in known if _book(batch, a).terms.from_pool)
    await batches.read_pools(batch, dict(wanted))
    made = _made_codes(batch, known)
    outcomes = [_decide(batch, a, verb, made) for a in asked]
    await batch.write()
    return outcomes


def _book(batch: Batch, a: Asked[Claim]) -> Book:
    return batch.books[a.merchant_id, a.request.campaign_id]


def _made_codes(batch: Batch, known: Sequence[Asked[Claim]]) -> dict[Key, list[str]]:
    """New codes for campaigns without a pool: one for each request."""
    wanted = Counter(book.key for a in known if not (book := _book(batch, a)).terms.from_pool)
    return {key: list(codes.generate(batch.books[key].terms.codes, n)) for key, n in wanted.items()}


def _limits(book: Book, request: Claim) -> list[tuple[UsageKey, int]]:
    """Where a claim is counted against a limit, and the limit."""
    keys = []
    customer_id = request.customer_id
    if customer_id is not None:
        keys = [
            (book.usage_key(customer_id, period, start), most) for period, start, most in book.claim_limits
        ]
    if book.terms.claims_per_day is not None:
        keys.append((book.usage_key("", "day", book.today), book.terms.claims_per_day))
    return keys


def _why_not(batch: Batch, book: Book, request: Claim, verb: Verb) -> list[str]:
    terms, why = book.terms, []
    if book.state not in ALLOWED_IN[verb]:
        why.append(f"campaign_{book.state}")
    if any(end is not None and batch.now >= end for end in (terms.ends_at, calendar.end_of(terms))):
        why.append("campaign_over")
    if verb == "claim":
        if terms.starts_at is not None and batch.now < terms.starts_at:
            why.append("campaign_not_started")
        if not calendar.in_windows(terms.claim_windows, book.local_now):
            why.append("outside_claim_window")
        if request.customer_id is None and book.claim_limits:
            why.append("customer_required")
        for key, limit in _limits(book, request):
            if batch.claims(key) >= limit:
                why.append("claim_limit_reached" if key[2] else "claims_per_day_reached")
    if book.stock_left is not None and book.stock_left <= 0:
        why.append("sold_out")
    return why


def _decide(batch: Batch, a: Asked[Claim], verb: Verb, made: dict[Key, list[str]]) -> Outcome:
    book = batch.books.get((a.merchant_id, a.request.campaign_id))
    if book is None:
        return refused("campaign_not_found")
    code = a.request.voucher_id if isinstance(a.request, Issue) else None
    if code is not None:
        named = batch.vouchers.get((a.merchant_id, code))
        if named is None or named.campaign_id != book.campaign_id:
            return refused("voucher_not_found")
        handed_out = named.state in {"issued", "reserved", "redeemed"}
        if handed_out and named.customer_id == a.request.customer_id:
            return Outcome(True, DONE[verb], repeated=True, voucher=named.answer())
        if named.state != "available":
            return refused("voucher_not_available")
    why = _why_not(batch, book, a.request, verb)
    if why:
        return refused(why)
    voucher = batch.vouchers[a.merchant_id, code] if code is not None else _next(batch, book, made)
    if voucher is None:
        return refused("sold_out")
    _give(batch, book, voucher, a.request)
    return Outcome(True, DONE[verb], voucher=voucher.answer())


def _next(batch: Batch, book: Book, made: dict[Key, list[str]]) -> Voucher | None:
    """The next voucher of the pool (None: there is none), or a new one."""
    if book.terms.from_pool:
        pool = batch.pools.get(book.key, [])
        while pool:
            position, voucher = pool.pop()
            book.pool_taken = position
            book.changed = True
            if voucher.state == "available":
                return voucher
        return None
    code = made[book.key].pop()
    voucher = Voucher(
        book.merchant_id, code, book.campaign_id, "available", None, None, None, book.terms.max_uses, new=True
    )
    batch.vouchers[book.merchant_id, code] = voucher
    # For a moment: it is handed out at once.
    book.count("available", 1)
    return voucher


def _give(batch: Batch, book: Book, voucher: Voucher, request: Claim) -> None:
    terms = book.terms
    voucher.customer_id = request.customer_id
    voucher.valid_from, voucher.valid_until = calendar.validity_of(terms, batch.now)
    if isinstance(terms.discount, StoredValue):
        voucher.amount_minor = voucher.balance_minor = terms.discount.amount_minor
    elif isinstance(terms.discount, RandomAmount):
        assert book.pot_left_minor is not None
        assert book.stock_left is not None
        voucher.amount_minor = draw(
            book.pot_left_minor,
            book.stock_left,
            smallest=terms.discount.smallest_minor,
            largest=terms.discount.largest_minor,
        )
        book.pot_left_minor -= voucher.amount_minor
    book.handed_out += 1
    book.move(voucher, "issued")
    order_id = request.order_id if isinstance(request, Issue) else None
    batch.issuances.append(
        Issuance(
            voucher.merchant_id,
            voucher.voucher_id,
            voucher.campaign_id,
            voucher.customer_id,
            request.channel,
            request.store_id,
            order_id,
        )
    )
    # How often a customer took part in all is always counted: a limit may come later.
    if request.customer_id is not None:
        batch.usage_changes[book.usage_key(request.customer_id, "total", calendar.EVER)][0] += 1
    for key, _ in _limits(book, request):
        if key[3] != "total":
            batch.usage_changes[key][0] += 1
