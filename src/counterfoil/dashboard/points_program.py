"""The form of the points program: what is earned, what points are worth, when they expire."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from counterfoil.dashboard import amounts, points_labels
from counterfoil.dashboard.campaign_fields import Reader
from counterfoil.dashboard.field_problems import FORM, place_of, sentence_of
from counterfoil.dashboard.visits import Visit
from counterfoil.dashboard.words import N_
from counterfoil.db.transactions import begin, read
from counterfoil.points import programs
from counterfoil.points.programs import Program

CHANGED_MEANWHILE = N_(
    "Somebody else changed the program meanwhile. Open it again to see how, then change it."
)


async def show(visit: Visit) -> Response:
    """The form with what holds now, or with sensible beginnings."""
    async with read(visit.engine) as tx:
        found = await programs.find(tx, merchant_id=visit.merchant.id)
    values = _values(found or Program(time_zone=visit.merchant.time_zone), visit.merchant.currency)
    return _page(visit, {**values, "was": _name_of(found)}, {})


def _page(visit: Visit, values: dict[str, str], errors: dict[str, str]) -> Response:
    return visit.render(
        "points_program.html",
        status=422 if errors else 200,
        values=values,
        errors=errors,
        captions={},
        points=points_labels,
        section="points",
    )


def _name_of(program: Program | None) -> str:
    """The terms that a form was made of, to see whether they are still those."""
    return "" if program is None else program.model_dump_json()


def _values(program: Program, currency: str) -> dict[str, str]:
    expiry = program.expiry
    values: dict[str, Any] = {
        "earn.points": program.earn.points,
        "earn.minor": amounts.major(program.earn.minor, currency),
        "burn.points": program.burn.points,
        "burn.minor": amounts.major(program.burn.minor, currency),
        "earn_from_orders": "on" if program.earn_from_orders else None,
        "activate_after_days": program.activate_after_days,
        "expiry.kind": "never" if expiry is None else "months",
        "expiry.after_months": 12 if expiry is None else expiry.after_months,
        "expiry.at": "month_end" if expiry is None else expiry.at,
        "notice_days": program.notice_days,
        "max_balance": program.max_balance,
        "time_zone": program.time_zone,
    }
    return {name: str(value) for name, value in values.items() if value is not None}


async def change(visit: Visit) -> Response:
    """Set the program; or the form again, with what is wrong beside each field."""
    reader = Reader(visit.form, visit.merchant.currency, visit.words)
    program = _read(reader)
    if program is None:
        return _page(visit, visit.form, reader.errors)
    async with begin(visit.engine) as tx:
        current = await programs.lock(tx, merchant_id=visit.merchant.id)
        same = _name_of(current) == visit.form.get("was", "")
        if same:
            await programs.put(tx, merchant_id=visit.merchant.id, program=program, now=visit.now)
    if not same:
        reader.wrong(FORM, CHANGED_MEANWHILE)
        return _page(visit, visit.form, reader.errors)
    return RedirectResponse(f"{visit.home}/points?done=program", status_code=303)


def _read(reader: Reader) -> Program | None:
    """The program that the fields mean, or None: then `reader.errors` says why."""
    raw: dict[str, Any] = {
        "earn": _rate(reader, "earn"),
        "burn": _rate(reader, "burn"),
        "earn_from_orders": reader.ticked("earn_from_orders"),
        "activate_after_days": reader.count("activate_after_days") or 0,
        "expiry": _expiry(reader),
        "notice_days": reader.count("notice_days") or 0,
        "max_balance": reader.count("max_balance"),
        "time_zone": reader.text("time_zone") or "",
    }
    try:
        program = Program.model_validate(raw)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            message, values = sentence_of(problem)
            reader.wrong(place_of(problem["loc"], str(problem["msg"])), message, **values)
        return None
    return None if reader.errors else program


def _rate(reader: Reader, name: str) -> dict[str, Any]:
    points, minor = (
        reader.count(f"{name}.points", required=True),
        reader.amount(f"{name}.minor", required=True),
    )
    return {"points": points, "minor": minor}


def _expiry(reader: Reader) -> dict[str, Any] | None:
    kind = reader.values.get("expiry.kind", "")
    if kind == "never":
        return None
    if kind != "months":
        reader.wrong("expiry.kind", N_("Choose one."))
        return None
    months = reader.count("expiry.after_months", required=True)
    return {"after_months": months, "at": reader.values.get("expiry.at", "")}
