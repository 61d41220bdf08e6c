"""Reading forms: bounded, with a token that only our own pages know, and addresses that stay here."""

from __future__ import annotations

import secrets
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from counterfoil.errors import ForbiddenError, InvalidError

LARGEST_FORM: Final = 64 * 1024
LONGEST_ADDRESS: Final = 2000


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a plain form; `InvalidError` where it is none, or larger than any of ours."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_FORM:
            raise InvalidError("The form is larger than any of these pages.", code="form_too_large")
    if kind != "application/x-www-form-urlencoded":
        raise InvalidError("This is not a form of these pages.", code="form_invalid")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=50, errors="strict"))
    except ValueError as error:
        raise InvalidError("This is not a form of these pages.", code="form_invalid") from error


def check_token(request: Request, form: dict[str, str], token: str) -> None:
    """`ForbiddenError` unless the form comes from a page that we gave to this browser.

    `Origin` cannot be asked: with `Referrer-Policy: no-referrer` browsers send `null` there.
    """
    elsewhere = request.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}
    given = form.get("token", "")
    if elsewhere or not token or not secrets.compare_digest(given.encode(), token.encode()):
        raise ForbiddenError("The form is out of date.", code="form_token_invalid")


def safe_address(address: str | None, *, otherwise: str = "/") -> str:
    """`address` if it is a path of ours, else `otherwise`: nobody is sent to another site from here.

    Browsers drop tabs and newlines, and read a backslash as a slash.
    """
    if not address or len(address) > LONGEST_ADDRESS or "\\" in address:
        return otherwise
    if not address.startswith("/") or address.startswith("//"):
        return otherwise
    if any(ord(symbol) <= 0x20 or ord(symbol) == 0x7F for symbol in address):
        return otherwise
    return address
