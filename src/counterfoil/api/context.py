"""What routes ask for: the platform, who calls, for which merchant, and the answer to a repeated request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Query, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.access import idempotency, keys
from counterfoil.access.types import Caller, Scope
from counterfoil.app import App
from counterfoil.db.paging import LARGEST_PAGE
from counterfoil.db.transactions import Tx, begin, read
from counterfoil.errors import InvalidError, NotFoundError, UnauthenticatedError
from counterfoil.merchants import merchants
from counterfoil.merchants.merchants import Merchant

bearer = HTTPBearer(
    auto_error=False, description="An API key: `counterfoil keys create`, or `POST /v1/keys`."
)


def platform(request: Request) -> App:
    """The opened platform."""
    opened: App = request.app.state.platform
    return opened


Platform = Annotated[App, Depends(platform)]


@dataclass(frozen=True, slots=True)
class Acting:
    """A program that is known, and the merchant that it acts for."""

    engine: AsyncEngine
    caller: Caller
    merchant: Merchant | None

    @property
    def merchant_id(self) -> UUID:
        """The merchant's id; `InvalidError` where an operator's key did not say for whom."""
        return self.for_merchant.id

    @property
    def for_merchant(self) -> Merchant:
        """The merchant; `InvalidError` where an operator's key did not say for whom."""
        if self.merchant is None:
            raise InvalidError(
                "An operator's key acts for many merchants: name one in the header Counterfoil-Merchant.",
                code="merchant_missing",
            )
        return self.merchant

    @property
    def tenant_id(self) -> UUID | None:
        """What this caller is confined to: one merchant, or nothing (None) for the operator."""
        return self.caller.merchant_id


def acting(scope: Scope) -> Callable[..., Awaitable[Acting]]:
    """A dependency: whoever calls, provided that the key has `scope`."""

    async def dependency(
        app: Platform,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)],
        counterfoil_merchant: Annotated[
            str | None,
            Header(
                description="For an operator's key: the merchant to act for, by id or reference.",
                max_length=80,
            ),
        ] = None,
    ) -> Acting:
        if credentials is None:
            raise UnauthenticatedError(
                "Send an API key: `Authorization: Bearer cfk_...`.", code="api_key_missing"
            )
        async with read(app.engine) as tx:
            caller = await keys.authenticate(tx, secret=credentials.credentials, now=clock.now())
            keys.require(caller, scope)
            merchant = None
            if counterfoil_merchant is not None:
                merchant = await merchants.get(tx, name=counterfoil_merchant)
            if caller.merchant_id is not None:
                if merchant is not None and merchant.id != caller.merchant_id:
                    # Another tenant answers as one that does not exist.
                    raise NotFoundError(
                        f"There is no merchant {counterfoil_merchant!r}.", code="merchant_not_found"
                    )
                merchant = merchant or await merchants.get_by_id(tx, merchant_id=caller.merchant_id)
        return Acting(app.engine, caller, merchant)

    return dependency


Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Rows in a page.")]
Cursor = Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=idempotency.LONGEST_KEY,
        pattern=r"^[\x21-\x7e]+$",
        description="Your own unique id of this request: repeated, it gives the first answer again.",
    ),
]


async def once(
    request: Request,
    act: Acting,
    key: str | None,
    work: Callable[[Tx], Awaitable[tuple[int, BaseModel]]],
    *,
    required: bool = False,
) -> Response:
    """Do `work` in one transaction, once for each `Idempotency-Key`; the commit precedes the answer."""
    if key is None:
        if required:
            return _missing_key(request)
        async with begin(act.engine) as tx:
            status, body = await work(tx)
        return Response(body.model_dump_json(), status, media_type="application/json")
    content = idempotency.request_hash(request.method, request.url.path, await request.body())
    # A merchant's programs share their keys; an operator's key is apart for each merchant it acts for.
    caller = f"{act.caller.merchant_id or 'operator'}:{act.merchant.id if act.merchant else ''}"
    async with begin(act.engine) as tx:
        answer = await idempotency.find_answer(tx, caller=caller, key=key, content=content)
        replayed = answer is not None
        if answer is None:
            status, body = await work(tx)
            answer = idempotency.Answer(status, body.model_dump_json().encode())
            await idempotency.keep_answer(
                tx, caller=caller, key=key, content=content, answer=answer, now=clock.now()
            )
    headers = {"Idempotency-Replayed": "true"} if replayed else {}
    return Response(answer.body, answer.status, headers, media_type="application/json")


def _missing_key(request: Request) -> Response:
    from counterfoil.api.problems import problem

    return problem(
        request,
        status=400,
        code="idempotency_key_missing",
        detail="Send an Idempotency-Key: a unique id of this request, so that repeating it is safe.",
    )


def page_body(page: Any, item: Callable[[Any], BaseModel]) -> dict[str, Any]:
    """The fields of a page's answer."""
    return {"data": [item(entry) for entry in page.data], "next_cursor": page.next_cursor}
