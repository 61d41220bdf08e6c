"""Errors as RFC 9457 problems: one shape, every field error, and never a stack trace."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from counterfoil.errors import RETRYABLE, CounterfoilError

MOST_ERRORS: Final = 100
"""Field errors in one answer; a body with more says how many were left out."""

_log = structlog.get_logger(__name__)


class FieldProblem(BaseModel):
    """One thing wrong with one value."""

    pointer: str | None = Field(
        None, description="JSON pointer into the body.", examples=["/records/3/amount_minor"]
    )
    parameter: str | None = Field(
        None, description="The query, path or header parameter.", examples=["limit"]
    )
    code: str = Field(description="Stable; see docs/errors.md.")
    detail: str


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(examples=["urn:counterfoil:problem:voucher_not_found"])
    title: str
    status: int
    code: str = Field(description="Stable: a program can rely on it. See docs/errors.md.")
    detail: str
    request_id: str
    errors: list[FieldProblem] = []


def problem(
    request: Request,
    *,
    status: int,
    code: str,
    detail: str,
    errors: Sequence[FieldProblem] = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """An answer of type `application/problem+json`."""
    body = Problem(
        type=f"urn:counterfoil:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        request_id=request.scope.get("state", {}).get("request_id", ""),
        errors=list(errors[:MOST_ERRORS]),
    )
    return JSONResponse(
        body.model_dump(exclude_none=True),
        status_code=status,
        media_type="application/problem+json",
        headers=headers,
    )


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, CounterfoilError)
    headers = {}
    if error.kind in RETRYABLE:
        headers["Retry-After"] = "60" if error.code == "too_many_guesses" else "1"
    if error.kind == "unauthenticated":
        headers["WWW-Authenticate"] = 'Bearer realm="counterfoil"'
    fields = [
        FieldProblem(pointer=e.pointer, parameter=None, code=e.code, detail=e.detail) for e in error.errors
    ]
    return problem(
        request,
        status=error.http_status,
        code=error.code,
        detail=error.detail,
        errors=fields,
        headers=headers,
    )


def _field(error: dict[str, Any]) -> FieldProblem:
    where, *path = error["loc"]
    detail = error["msg"].removeprefix("Value error, ")
    if where == "body":
        pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
        return FieldProblem(pointer=pointer, parameter=None, code=error["type"], detail=detail)
    return FieldProblem(pointer=None, parameter=".".join(map(str, path)), code=error["type"], detail=detail)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = list(error.errors())
    if any(e["type"] == "json_invalid" for e in errors):
        reason = errors[0].get("ctx", {}).get("error", "")
        detail = f"The body is not JSON: {reason} at character {errors[0]['loc'][-1]}."
        return problem(request, status=400, code="json_invalid", detail=detail)
    more = f" (the first {MOST_ERRORS} are named)" if len(errors) > MOST_ERRORS else ""
    noun = "value is" if len(errors) == 1 else "values are"
    return problem(
        request,
        status=422,
        code="invalid",
        detail=f"{len(errors)} {noun} wrong{more}; `errors` says which and why.",
        errors=[_field(e) for e in errors[:MOST_ERRORS]],
    )


_HTTP_CODES: Final = {
    400: "json_invalid",
    404: "route_not_found",
    405: "method_not_allowed",
    413: "body_too_large",
}


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, f"http_{error.status_code}")
    headers = dict(error.headers) if error.headers else None
    return problem(request, status=error.status_code, code=code, detail=str(error.detail), headers=headers)


async def _bug(request: Request, error: Exception) -> JSONResponse:
    # This runs outside of our middleware, which has forgotten the request by now.
    request_id = request.scope.get("state", {}).get("request_id", "")
    _log.error("a request failed", path=request.url.path, request_id=request_id, exc_info=error)
    return problem(
        request,
        status=500,
        code="internal",
        detail="Something went wrong on our side. The request id finds it in the log.",
        headers={"X-Request-ID": request_id},
    )


def install(api: FastAPI) -> None:
    """Answer every error of this application as a problem."""
    api.add_exception_handler(CounterfoilError, _ours)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _http)
    api.add_exception_handler(Exception, _bug)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route documents in OpenAPI, beside its success."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"model": Problem, "description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({*statuses, 401, 403, 422, 503})
    }
