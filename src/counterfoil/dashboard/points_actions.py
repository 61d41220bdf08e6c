"""What an operator does to a member's points: give, take, undo, settle, close and reopen."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.responses import RedirectResponse, Response

from counterfoil.dashboard import points_labels, points_member
from counterfoil.dashboard.amounts import MistypedError, count_of
from counterfoil.dashboard.forms import UnusableFormError
from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import Tx, begin
from counterfoil.errors import HTTP_STATUS, ConflictError, InvalidError, NotFoundError
from counterfoil.ids import parse_id
from counterfoil.points import accounts, programs, queries, verbs
from counterfoil.points.ledger import Entry, Posted
from counterfoil.points.pending import Settled, Settlement
from counterfoil.points.programs import Program
from counterfoil.points.queries import TransferItem
from counterfoil.points.refusals import REFUSALS
from counterfoil.points.reversals import Reversal, Reversed

MOST_FIELDS: Final = 20
LONGEST_REASON: Final = 500
_REFERENCE: Final = re.compile(r"desk-[0-9a-f]{32}(-\d{1,3})?", re.ASCII)
_NO_FORM: Final = "This is not a form of these pages."


def _customer(visit: Visit) -> str:
    return str(visit.request.path_params["customer_id"])


async def act(visit: Visit) -> Response:
    """One of the forms of the page. What is refused is said above it, and nothing typed is lost."""
    wanted = visit.form.get("do", "")
    act_of = _ACTIONS.get(wanted)
    if act_of is None:
        raise InvalidError(_NO_FORM, code="form_invalid")
    try:
        done = await act_of(visit)
    except UnusableFormError as error:
        code = str(error)
        status = HTTP_STATUS[REFUSALS[code][0]] if code in REFUSALS else 422
        return await points_member.show(visit, problem=(wanted, code), status=status)
    except ConflictError as error:
        if error.code not in points_labels.PROBLEMS:
            raise
        return await points_member.show(visit, problem=(wanted, error.code), status=409)
    address = points_member.address_of(visit, _customer(visit))
    return RedirectResponse(f"{address}?done={done}", status_code=303)


def _said(visit: Visit) -> tuple[str, str]:
    """The reference of the form, and the reason with who gave it."""
    reference = visit.form.get("reference", "")
    if not _REFERENCE.fullmatch(reference):
        raise InvalidError(_NO_FORM, code="form_invalid")
    reason = visit.form.get("reason", "").strip()
    if not reason:
        raise UnusableFormError("reason_required")
    if len(reason) > LONGEST_REASON or "\x00" in reason:
        raise UnusableFormError("reason_too_long")
    assert visit.session is not None
    return reference, f"{reason} ({visit.session.operator.name})"


def _points(visit: Visit, *, empty: bool = False) -> int | None:
    text = visit.form.get("points", "").strip()
    if empty and not text:
        return None
    try:
        points = count_of(text)
    except MistypedError as error:
        raise UnusableFormError("points_invalid") from error
    if points < 1:
        raise UnusableFormError("points_invalid")
    return points


def _done(outcome: Posted | Reversed | Settled, name: str) -> str:
    if not outcome.ok:
        raise UnusableFormError(outcome.code)
    return "repeated" if outcome.repeated else name


async def _adjust(visit: Visit) -> str:
    """Give points, or take some."""
    way = visit.form.get("way", "")
    if way not in {"give", "take"}:
        raise InvalidError(_NO_FORM, code="form_invalid")
    points = _points(visit)
    assert points is not None
    reference, note = _said(visit)
    which: dict[str, Any] = {"merchant_id": visit.merchant.id, "now": visit.now}
    async with begin(visit.engine) as tx:
        await accounts.get(tx, merchant_id=visit.merchant.id, customer_id=_customer(visit))
        program = await programs.find(tx, merchant_id=visit.merchant.id) or Program()
        entry = Entry(
            customer_id=_customer(visit),
            source_no=await accounts.source_no(tx, **which, source="adjusted"),
            reference=reference,
            points=points if way == "give" else -points,
            expires_at=program.expires_at(visit.now) if way == "give" else None,
            note=note,
        )
        (posted,) = await verbs.post(tx, **which, entries=[entry], limit=program.max_balance)
    return _done(posted, way)


async def _own_transfer(tx: Tx, visit: Visit) -> TransferItem:
    """The transfer that the form names; `NotFoundError` unless it is this member's."""
    found = await queries.get_transfer(
        tx,
        merchant_id=visit.merchant.id,
        transfer_id=parse_id("transfer", visit.form.get("transfer_id", "")),
    )
    if found.customer_id != _customer(visit):
        raise NotFoundError("There is no such transfer.", code="transfer_not_found")
    return found


async def _reverse(visit: Visit) -> str:
    """Undo a transfer, wholly or in part."""
    points = _points(visit, empty=True)
    reference, note = _said(visit)
    async with begin(visit.engine) as tx:
        transfer = await _own_transfer(tx, visit)
        asked = Reversal(transfer.transfer_id, reference=reference, points=points, note=note)
        (done,) = await verbs.reverse(tx, merchant_id=visit.merchant.id, reversals=[asked], now=visit.now)
    whole = done.points + transfer.reversed_points >= abs(transfer.points)
    return _done(done, "reverse" if whole else "reverse_part")


async def _settle(visit: Visit) -> str:
    """Carry out what is pending, or void it."""
    name = visit.form["do"]
    async with begin(visit.engine) as tx:
        transfer = await _own_transfer(tx, visit)
        asked = Settlement(transfer.transfer_id, 0 if name == "void" else None)
        (done,) = await verbs.settle(tx, merchant_id=visit.merchant.id, settlements=[asked], now=visit.now)
    return _done(done, name)


async def _close(visit: Visit) -> str:
    if "sure" not in visit.form:
        raise UnusableFormError("not_confirmed")
    async with begin(visit.engine) as tx:
        await accounts.close(tx, merchant_id=visit.merchant.id, customer_id=_customer(visit), now=visit.now)
    return "close"


async def _reopen(visit: Visit) -> str:
    async with begin(visit.engine) as tx:
        await accounts.reopen(tx, merchant_id=visit.merchant.id, customer_id=_customer(visit))
    return "reopen"


_ACTIONS: Final[dict[str, Callable[[Visit], Awaitable[str]]]] = {
    "adjust": _adjust,
    "reverse": _reverse,
    "post": _settle,
    "void": _settle,
    "close": _close,
    "reopen": _reopen,
}
