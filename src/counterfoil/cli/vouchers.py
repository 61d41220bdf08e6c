"""`counterfoil vouchers`: look at vouchers, and do with them what programs do by the API."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn
from uuid import UUID

import cyclopts
import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from counterfoil import clock
from counterfoil.cli.merchant_work import MerchantName, doing, looking, text_of
from counterfoil.cli.platform import Json, say, show
from counterfoil.db.paging import LARGEST_PAGE, Page
from counterfoil.db.transactions import ReadTx, Tx
from counterfoil.errors import EXIT_CODE, InvalidError
from counterfoil.merchants.merchants import Merchant
from counterfoil.vouchers import verbs, voucher_queries
from counterfoil.vouchers.qr_codes import qr_svg
from counterfoil.vouchers.refusals import REFUSALS
from counterfoil.vouchers.requests import REQUESTS, Asked, Outcome, to_json
from counterfoil.vouchers.types import Verb, VoucherState
from counterfoil.vouchers.voucher_queries import VoucherItem

app = cyclopts.App(name="vouchers", help="Vouchers of campaigns that are run here.")

Code = Annotated[str, Parameter(help="The voucher's code.")]
Customer = Annotated[str | None, Parameter(name="--customer", help="The customer's id.")]
Store = Annotated[str | None, Parameter(name="--store", help="The store's id.")]
Order = Annotated[str | None, Parameter(name="--order", help="The order's id.")]
OrderThere = Annotated[str, Parameter(name="--order", help="The order's id.")]
Amount = Annotated[int | None, Parameter(name="--amount", help="What the order costs, in minor units.")]
Lines = Annotated[
    Path | None,
    Parameter(help='The lines of the order: a JSON file such as [{"line_id": "1", "amount_minor": 500}].'),
]
Channel = Annotated[str | None, Parameter(help="Where it was handed out.")]


def _done(verb: Verb, merchant: str, said: dict[str, Any], *, json: bool) -> None:
    """Ask the verb, in a transaction of its own, and tell what became of it."""
    given = {name: value for name, value in said.items() if value is not None}
    if "lines" in given:
        given["lines"] = _lines(given["lines"])
    try:
        request = msgspec.convert(given, REQUESTS[verb])
    except msgspec.ValidationError as error:
        raise InvalidError(f"The request cannot be so: {error}.", code="invalid") from error

    async def work(tx: Tx, owner: Merchant) -> Sequence[Outcome]:
        return await verbs.run(tx, verb, [Asked(owner.id, request)], now=clock.now())

    (outcome,) = doing(merchant, work)
    if json:
        print(json_format.dumps(to_json(outcome), ensure_ascii=False))
    elif outcome.ok:
        _tell(outcome)
    if not outcome.ok:
        _refused(outcome, json=json)


def _lines(path: Path) -> Any:
    try:
        return json_format.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"{path}: it is not JSON: {error}", code="file_unreadable") from error


def _refused(outcome: Outcome, *, json: bool) -> NoReturn:
    """Tell every reason, and leave with the exit code of the first one's kind."""
    if not json:
        for number, reason in enumerate(outcome.reasons):
            say(f"{'and' if number else 'refused'} ({reason.code}) {reason.detail}")
    sys.exit(EXIT_CODE[REFUSALS[outcome.code][0]])


def _tell(outcome: Outcome) -> None:
    told: dict[str, Any] = {"outcome": outcome.code}
    if outcome.repeated:
        told["repeated"] = "it had been done before"
    if outcome.note is not None:
        told["note"] = outcome.note
    voucher = outcome.voucher
    if voucher is not None:
        told |= {"voucher_id": voucher.voucher_id, "state": voucher.state, "customer_id": voucher.customer_id}
        told |= {"valid_until": voucher.valid_until, "uses": voucher.uses, "balance": voucher.balance_minor}
    if outcome.reservation is not None:
        told["reservation_id"] = outcome.reservation.reservation_id
        told["expires_at"] = outcome.reservation.expires_at
    if outcome.redemption is not None:
        told["redemption_id"] = outcome.redemption.redemption_id
    if outcome.reversal is not None:
        told["given_back_minor"] = outcome.reversal.discount_minor
    if outcome.discount is not None:
        told["discount_minor"] = outcome.discount.discount_minor
        told |= {f"of line {line.line_id}": line.discount_minor for line in outcome.discount.lines}
    shown = {name: value for name, value in told.items() if value is not None}
    show([{"what": name, "value": value} for name, value in shown.items()], as_json=False)


@app.command
def issue(
    campaign_id: str,
    /,
    *,
    merchant: MerchantName,
    code: Annotated[str | None, Parameter(help="This code of the campaign's; by default the next.")] = None,
    customer_id: Customer = None,
    channel: Channel = None,
    store_id: Store = None,
    order_id: Annotated[str | None, Parameter(name="--order", help="The order that bought it.")] = None,
    json: Json = False,
) -> None:
    """Hand out a voucher on the merchant's word, whatever the hour and the customer's limit."""
    said = {"campaign_id": campaign_id, "voucher_id": code, "customer_id": customer_id, "channel": channel}
    _done("issue", merchant, {**said, "store_id": store_id, "order_id": order_id}, json=json)


@app.command
def claim(
    campaign_id: str,
    /,
    *,
    merchant: MerchantName,
    customer_id: Customer = None,
    channel: Channel = None,
    store_id: Store = None,
    json: Json = False,
) -> None:
    """Give a customer a voucher, within the campaign's limits."""
    said = {"campaign_id": campaign_id, "customer_id": customer_id, "channel": channel, "store_id": store_id}
    _done("claim", merchant, said, json=json)


@app.command
def validate(
    code: Code,
    /,
    *,
    merchant: MerchantName,
    customer_id: Customer = None,
    store_id: Store = None,
    order_id: Order = None,
    amount_minor: Amount = None,
    lines: Lines = None,
    json: Json = False,
) -> None:
    """Whether a voucher could be used on an order, what it would take off, and every reason why not."""
    said = {"voucher_id": code, "customer_id": customer_id, "store_id": store_id, "order_id": order_id}
    _done("validate", merchant, {**said, "amount_minor": amount_minor, "lines": lines}, json=json)


@app.command
def reserve(
    code: Code,
    /,
    *,
    merchant: MerchantName,
    order_id: OrderThere,
    customer_id: Customer = None,
    store_id: Store = None,
    amount_minor: Amount = None,
    lines: Lines = None,
    seconds: Annotated[int | None, Parameter(help="For how long; by default as the campaign says.")] = None,
    json: Json = False,
) -> None:
    """Keep a use of a voucher for an order, for a while."""
    said = {"voucher_id": code, "order_id": order_id, "customer_id": customer_id, "store_id": store_id}
    more = {"amount_minor": amount_minor, "lines": lines, "seconds": seconds}
    _done("reserve", merchant, {**said, **more}, json=json)


@app.command
def release(
    reservation: Annotated[str, Parameter(help="The reservation, such as `rsv_...`.")],
    /,
    *,
    merchant: MerchantName,
    json: Json = False,
) -> None:
    """Give back what was reserved."""
    _done("release", merchant, {"reservation_id": reservation}, json=json)


@app.command
def redeem(
    code: Code,
    /,
    *,
    merchant: MerchantName,
    order_id: Order = None,
    transaction_id: Annotated[
        str | None, Parameter(name="--transaction", help="The payment's id: say it, or the order's.")
    ] = None,
    customer_id: Customer = None,
    store_id: Store = None,
    amount_minor: Amount = None,
    lines: Lines = None,
    json: Json = False,
) -> None:
    """Use a voucher on an order."""
    said = {"voucher_id": code, "order_id": order_id, "transaction_id": transaction_id}
    more = {"customer_id": customer_id, "store_id": store_id, "amount_minor": amount_minor, "lines": lines}
    _done("redeem", merchant, {**said, **more}, json=json)


@app.command
def reverse(
    redemption: Annotated[str, Parameter(help="The redemption, such as `red_...`.")],
    /,
    *,
    merchant: MerchantName,
    line: Annotated[
        list[str] | None, Parameter(help="Only this line of the order (repeat it).", negative="")
    ] = None,
    reason: Annotated[str | None, Parameter(help="Why, for the record.")] = None,
    json: Json = False,
) -> None:
    """Undo a redemption, wholly or for some lines."""
    _done("reverse", merchant, {"redemption_id": redemption, "line_ids": line, "reason": reason}, json=json)


@app.command
def void(
    code: Code,
    /,
    *,
    merchant: MerchantName,
    reason: Annotated[str, Parameter(help="Why, for the record.")],
    restock: Annotated[
        bool, Parameter(help="Let its place in the stock be handed out again.", negative="")
    ] = False,
    json: Json = False,
) -> None:
    """Make a voucher useless."""
    _done("void", merchant, {"voucher_id": code, "reason": reason, "restock": restock}, json=json)


@app.command(name="show")
def show_voucher(code: Code, /, *, merchant: MerchantName, json: Json = False) -> None:
    """Show how a voucher stands, its reservations and its redemptions."""
    found = looking(
        merchant,
        lambda tx, merchant_id: voucher_queries.get_detail(tx, merchant_id=merchant_id, voucher_id=code),
    )
    whole = asdict(found)
    if json:
        show([{**whole.pop("voucher"), **whole}], as_json=True)
        return
    rows = [{"what": name, "value": value} for name, value in whole["voucher"].items()]
    for reservation in found.reservations:
        told = f"{reservation.state} for order {reservation.order_id}, {reservation.discount_minor} off"
        rows.append({"what": reservation.reservation_id, "value": f"{told}, {reservation.reserved_at}"})
    for redemption in found.redemptions:
        order, payment = redemption.order_id, redemption.transaction_id
        place = f"payment {payment}" if order is None else f"order {order}"
        back = f", {redemption.reversed_minor} given back" if redemption.reversals else ""
        told = f"{redemption.discount_minor} off {place}{back}, {redemption.redeemed_at}"
        rows.append({"what": redemption.redemption_id, "value": told})
    show(rows, as_json=False)


@app.command(name="list")
def list_vouchers(
    *,
    merchant: MerchantName,
    campaign: Annotated[str | None, Parameter(help="Of this campaign.")] = None,
    customer_id: Customer = None,
    state: Annotated[VoucherState | None, Parameter(help="Only in this state.")] = None,
    limit: Annotated[
        int, Parameter(help="How many, at most.", validator=Number(gte=1, lte=LARGEST_PAGE))
    ] = 50,
    json: Json = False,
) -> None:
    """List the vouchers of a campaign, of a customer, or of both."""
    if campaign is None and customer_id is None:
        raise InvalidError("Say which: --campaign or --customer.", code="filter_missing")

    async def work(tx: ReadTx, merchant_id: UUID) -> Page[VoucherItem]:
        if customer_id is None:
            return await voucher_queries.list_of_campaign(
                tx, merchant_id=merchant_id, campaign_id=campaign or "", state=state, limit=limit
            )
        return await voucher_queries.list_of_customer(
            tx,
            merchant_id=merchant_id,
            customer_id=customer_id,
            campaign_id=campaign,
            state=state,
            limit=limit,
        )

    page = looking(merchant, work)
    show([asdict(voucher) for voucher in page.data], as_json=json, title="Vouchers")
    if page.next_cursor is not None:
        say(f"There are more than these {limit}; `counterfoil campaigns export-codes` writes all.")


@app.command
def qr(code: Code, file: Path | None = None, /, *, merchant: MerchantName) -> None:
    """Write a voucher's QR code as SVG to a file, or to standard output."""
    found = looking(
        merchant,
        lambda tx, merchant_id: voucher_queries.get_voucher(tx, merchant_id=merchant_id, voucher_id=code),
    )
    image = qr_svg(found.voucher_id)
    if file is None:
        print(image.decode())
        return
    try:
        file.write_bytes(image)
    except OSError as error:
        raise InvalidError(f"{file}: cannot be written: {error}", code="file_unreadable") from error
    say(f"The QR code of {code} is in {file}.")
