"""What an operator does to a voucher whose campaign is run here: void it, reverse a redemption, release."""

from __future__ import annotations

from typing import Any, Final, cast
from urllib.parse import quote

import msgspec
from starlette.responses import RedirectResponse, Response

from counterfoil.dashboard import voucher
from counterfoil.dashboard.forms import UnusableFormError
from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import begin, read
from counterfoil.errors import HTTP_STATUS, InvalidError
from counterfoil.vouchers import verbs
from counterfoil.vouchers.refusals import REFUSALS
from counterfoil.vouchers.requests import REQUESTS, Asked
from counterfoil.vouchers.types import Verb
from counterfoil.vouchers.voucher_queries import VoucherDetail

ACTIONS: Final = frozenset({"void", "reverse", "release"})


async def act(visit: Visit) -> Response:
    """Do it, and show the voucher; what is refused is said above, in the reader's language."""
    voucher_id = visit.request.path_params["voucher_id"]
    wanted = visit.form.get("do", "")
    if wanted not in ACTIONS:
        raise InvalidError("This is not a form of these pages.", code="form_invalid")
    async with read(visit.engine) as tx:
        detail = await voucher.find_detail(tx, visit, voucher_id)
    try:
        fields = _fields(visit, wanted, voucher_id, detail)
    except UnusableFormError as error:
        return await voucher.show(visit, problem=(wanted, str(error)), status=422)
    verb = cast("Verb", wanted)
    try:
        request = msgspec.convert(fields, REQUESTS[verb])
    except msgspec.ValidationError as error:
        raise InvalidError("This is not a form of these pages.", code="form_invalid") from error
    async with begin(visit.engine) as tx:
        outcome = (await verbs.run(tx, verb, [Asked(visit.merchant.id, request)], now=visit.now))[0]
    if not outcome.ok:
        status = HTTP_STATUS[REFUSALS[outcome.code][0]]
        return await voucher.show(visit, problem=(wanted, outcome.code), status=status)
    done = "repeated" if outcome.repeated else wanted
    address = f"{visit.home}/vouchers/{quote(voucher_id, safe='')}?done={done}"
    return RedirectResponse(address, status_code=303)


def _fields(visit: Visit, wanted: str, voucher_id: str, detail: VoucherDetail | None) -> dict[str, Any]:
    """The request that the form means. What it names must be of this voucher."""
    form = visit.form
    reason = form.get("reason", "").strip() or None
    if reason is not None and len(reason) > 500:
        raise UnusableFormError("reason_too_long")
    if wanted == "void":
        if reason is None:
            raise UnusableFormError("reason_required")
        return {"voucher_id": voucher_id, "reason": reason, "restock": "restock" in form}
    if wanted == "release":
        found = [r.reservation_id for r in detail.reservations] if detail else []
        if form.get("reservation_id") not in found:
            raise UnusableFormError("reservation_not_found")
        return {"reservation_id": form["reservation_id"]}
    redemptions = {r.redemption_id: r for r in detail.redemptions} if detail else {}
    redemption = redemptions.get(form.get("redemption_id", ""))
    if redemption is None:
        raise UnusableFormError("redemption_not_found")
    fields: dict[str, Any] = {"redemption_id": redemption.redemption_id, "reason": reason}
    if form.get("what") == "lines":
        chosen = [line for n, (line, _) in enumerate(redemption.lines) if f"line.{n}" in form]
        if not chosen:
            raise UnusableFormError("nothing_chosen")
        fields["line_ids"] = chosen
    return fields
