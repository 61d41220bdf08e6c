"""Reading forms: bounded, with a token that only our own pages know, and addresses that stay here."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from counterfoil.errors import ForbiddenError, InvalidError

LARGEST_FORM: Final = 64 * 1024
LONGEST_ADDRESS: Final = 2000


class UnusableFormError(ValueError):
    """A form says something that cannot be done; its text is the code of the sentence that is shown."""


async def read_form(
    request: Request, *, largest: int = LARGEST_FORM, most_fields: int = 50, files: bool = False
) -> dict[str, str]:
    """The fields of a form; `InvalidError` where it is none, or larger than this page's.

    With `files`, a file that was sent along is a field too: its text.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if files and kind == "multipart/form-data":
        return await _read_parts(request, largest, most_fields)
    body = b"".join([part async for part in _bounded(request, largest)])
    if kind != "application/x-www-form-urlencoded":
        raise InvalidError("This is not a form of these pages.", code="form_invalid")
    try:
        text = body.decode()
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=most_fields, errors="strict"))
    except ValueError as error:
        raise InvalidError("This is not a form of these pages.", code="form_invalid") from error


async def _bounded(request: Request, largest: int) -> AsyncIterator[bytes]:
    seen = 0
    async for part in request.stream():
        seen += len(part)
        if seen > largest:
            raise InvalidError("The form is larger than any of these pages.", code="form_too_large")
        yield part


async def _parsed(request: Request, largest: int, most_fields: int, longest_field: int) -> FormData:
    parser = MultiPartParser(
        request.headers,
        _bounded(request, largest),  # type: ignore[arg-type] # it only iterates
        max_files=1,
        max_fields=most_fields,
        max_part_size=longest_field,
    )
    try:
        return await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise InvalidError("This is not a form of these pages.", code="form_invalid") from error


async def read_upload(request: Request, *, largest: int) -> tuple[dict[str, str], UploadFile | None]:
    """The fields of a form that sends a large file along, and that file: on the disk, to be closed.

    None where no file was chosen.
    """
    form = await _parsed(request, largest + LARGEST_FORM, 20, LARGEST_FORM)
    files = [value for value in form.values() if isinstance(value, UploadFile)]
    chosen = next((file for file in files if file.filename), None)
    return {name: value for name, value in form.items() if isinstance(value, str)}, chosen


async def _read_parts(request: Request, largest: int, most_fields: int) -> dict[str, str]:
    form = await _parsed(request, largest, most_fields, largest)
    fields = {}
    try:
        for name, value in form.items():
            # What is no UTF-8 is no code either, and is then told so.
            fields[name] = (
                (await value.read()).decode("utf-8-sig", errors="replace")
                if isinstance(value, UploadFile)
                else value
            )
    finally:
        await form.close()
    return fields


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
