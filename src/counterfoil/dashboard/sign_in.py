"""Signing in and out."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import structlog
from starlette.responses import RedirectResponse, Response

from counterfoil.access import operators
from counterfoil.dashboard.forms import safe_address
from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import begin, read

LONGEST_PASSWORD: Final = 1000
_log = structlog.get_logger(__name__)


async def show(visit: Visit) -> Response:
    """The form; or on to where one was going."""
    address = safe_address(visit.argument("next", longest=2000))
    if visit.session is not None:
        return RedirectResponse(address, status_code=303)
    return await _form(visit, address=address)


async def _form(visit: Visit, *, address: str, status: int = 200, problem: str = "") -> Response:
    async with read(visit.engine) as tx:
        nobody = await operators.count(tx) == 0
    return visit.render(
        "sign_in.html",
        status=status,
        next=address,
        nobody=nobody,
        problem=problem,
        email=visit.form.get("email", "")[:320],
    )


async def submit(visit: Visit) -> Response:
    """Check e-mail and password; unknown people get the same answer, after the same time."""
    address = safe_address(visit.form.get("next"))
    async with visit.request.app.state.password_checks:
        answer = await _check(visit)
    if answer is None:
        return await _form(visit, address=address, status=401, problem="wrong")
    if answer == "":
        response = await _form(visit, address=address, status=429, problem="wait")
        response.headers["Retry-After"] = str(int(operators.WAIT.total_seconds()))
        return response
    redirect = RedirectResponse(address, status_code=303)
    seconds = visit.app.settings.session_hours * 3600
    visit.set_cookie(redirect, visit.cookie_name("counterfoil_session"), answer, seconds=seconds)
    # The token of the form served its turn: a session has one of its own.
    redirect.delete_cookie(
        visit.cookie_name("counterfoil_form"),
        path="/",
        httponly=True,
        samesite="lax",
        secure=visit.app.settings.secure_cookies,
    )
    return redirect


async def _check(visit: Visit) -> str | None:
    """The secret of a new session; None for a wrong password, empty where one must wait."""
    email = visit.form.get("email", "").strip()[:320].replace("\x00", "")
    password = visit.form.get("password", "")[:LONGEST_PASSWORD]
    host = visit.request.client.host if visit.request.client else "unknown"
    subjects = [f"email:{email.lower()}", f"address:{host}"]
    async with read(visit.engine) as tx:
        if not await operators.may_try(tx, subjects=subjects, now=visit.now):
            return ""
        known = await operators.find_credentials(tx, email=email)
    password_hash = None if known is None else known[1]
    if not await asyncio.to_thread(operators.password_matches, password_hash, password):
        async with begin(visit.engine) as writing:
            await operators.record_failure(writing, subjects=subjects, now=visit.now)
        return None
    assert known is not None
    lifetime = timedelta(hours=visit.app.settings.session_hours)
    async with begin(visit.engine) as writing:
        secret = await operators.sign_in(writing, operator_id=known[0], lifetime=lifetime, now=visit.now)
    _log.info("an operator signed in", operator=str(known[0]), address=host)
    return secret


async def sign_out(visit: Visit) -> Response:
    """End the session, here and in the database."""
    async with begin(visit.engine) as tx:
        await operators.sign_out(tx, secret=visit.secret)
    response = RedirectResponse("/sign-in", status_code=303)
    response.delete_cookie(
        visit.cookie_name("counterfoil_session"),
        path="/",
        httponly=True,
        samesite="lax",
        secure=visit.app.settings.secure_cookies,
    )
    return response
