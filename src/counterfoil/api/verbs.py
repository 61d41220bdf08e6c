"""The verbs of vouchers over HTTP: `POST /v1/vouchers/{verb}` for one, `.../{verb}/bulk` for many.

The busiest routes, so they are plain ASGI: they read and write with msgspec and leave the deciding to the
coalescer. `verb_docs.py` puts them into the OpenAPI document beside all others.
"""

from __future__ import annotations

import time
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from starlette.datastructures import State
from starlette.types import ASGIApp, Receive, Scope, Send

from counterfoil.access import idempotency
from counterfoil.access.idempotency import Answer, Keyed
from counterfoil.access.types import Caller
from counterfoil.access.types import Scope as KeyScope
from counterfoil.api.callers import Callers
from counterfoil.api.coalescer import Coalescer
from counterfoil.api.decoding import decode, decoder
from counterfoil.app import App
from counterfoil.db.transactions import translated
from counterfoil.errors import HTTP_STATUS, RETRYABLE, CounterfoilError, FieldError, InvalidError
from counterfoil.ids import new_id
from counterfoil.vouchers.refusals import REFUSALS
from counterfoil.vouchers.requests import REQUESTS, Asked, Outcome
from counterfoil.vouchers.types import VERBS, Verb

MOST_IN_BULK: Final = 1_000
LARGEST_SINGLE: Final = 256 * 1024
"""Bytes of the body of one request."""
_PREFIX: Final = "/v1/vouchers/"
_GUESSED: Final[frozenset[Verb]] = frozenset({"validate", "reserve", "redeem"})
"""Verbs to which anybody could bring a code they made up."""
_JSON: Final = (b"content-type", b"application/json")
_PROBLEM: Final = (b"content-type", b"application/problem+json")
_READ: Final = {
    name.encode(): name
    for name in (
        "authorization",
        "content-length",
        "counterfoil-client-address",
        "counterfoil-merchant",
        "idempotency-key",
        "x-forwarded-for",
    )
}
"""The headers that are looked at."""
_REPLAYED: Final = (b"idempotency-replayed", b"true")

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode
Headers = list[tuple[bytes, bytes]]


class Bulk(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a bulk request, before each of its requests is looked at."""

    requests: list[msgspec.Raw]


_bulk: Final = decoder(Bulk)


class Route:
    """One verb, for one request or for many."""

    def __init__(self, verb: Verb, *, bulk: bool) -> None:
        self.verb: Verb = verb
        self.bulk = bulk
        self.path = f"{_PREFIX}{verb}/bulk" if bulk else _PREFIX + verb
        self.scope: KeyScope = "vouchers:read" if verb == "validate" else "vouchers:write"
        self.decoder = decoder(REQUESTS[verb])
        self.asks_for_code = verb in _GUESSED

    def read(self, body: bytes) -> list[Any]:
        """The requests in a body. `InvalidError` names all that is wrong."""
        if not self.bulk:
            return [decode(self.decoder, body)]
        raws = decode(_bulk, body).requests
        if not 1 <= len(raws) <= MOST_IN_BULK:
            problem = FieldError("/requests", "length", f"Between 1 and {MOST_IN_BULK} requests.")
            raise InvalidError("1 value is wrong; `errors` says which and why.", errors=(problem,))
        return [decode(self.decoder, raw, at=f"/requests/{n}") for n, raw in enumerate(raws)]

    def render(self, outcomes: list[Outcome]) -> Answer:
        """The answer to a request, from its outcomes."""
        if self.bulk:
            return Answer(200, _encode({"outcomes": outcomes}))
        outcome = outcomes[0]
        status = 200 if outcome.ok else HTTP_STATUS[REFUSALS[outcome.code][0]]
        return Answer(status, _encode(outcome))


ROUTES: Final = {r.path: r for verb in VERBS for r in (Route(verb, bulk=False), Route(verb, bulk=True))}


class Desk:
    """What the routes need of an opened platform."""

    def __init__(self, platform: App) -> None:
        self.platform = platform
        self.callers = Callers(platform.engine)
        url = platform.engine.url.render_as_string(hide_password=False)
        self.coalescer = Coalescer(url, platform.settings)


class VerbRoutes:
    """Answers the verbs' routes and passes everything else on. Close it when the server stops."""

    def __init__(self, app: ASGIApp, *, state: State) -> None:
        """`state` has the opened `platform`, the `metrics` to count requests in, and the `guesses`."""
        self.app = app
        self._state = state
        self._desk: Desk | None = None

    async def aclose(self) -> None:
        """Answer whoever still waits, and give the connections back."""
        if self._desk is not None:
            await self._desk.coalescer.aclose()
            self._desk = None

    def _open(self) -> Desk:
        platform: App = self._state.platform
        if self._desk is None or self._desk.platform is not platform:
            self._desk = Desk(platform)
        return self._desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        route = ROUTES.get(scope["path"]) if scope["type"] == "http" else None
        if route is None:
            await self.app(scope, receive, send)
            return
        request_id = new_id().hex
        started = time.perf_counter()
        status, headers, body = await self._answer(scope, receive, route, request_id)
        self._state.metrics.observe(scope["method"], route.path, status, time.perf_counter() - started)
        headers += [(b"content-length", b"%d" % len(body)), (b"x-request-id", request_id.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(
        self, scope: Scope, receive: Receive, route: Route, request_id: str
    ) -> tuple[int, Headers, bytes]:
        try:
            if scope["method"] != "POST":
                answer = _problem(405, "method_not_allowed", "Method Not Allowed", request_id)
                answer[1].append((b"allow", b"POST"))
                return answer
            return await self._decided(scope, receive, route, request_id)
        except CounterfoilError as error:
            return _told(error, request_id)
        except Exception as error:
            told = translated(error)
            if isinstance(told, CounterfoilError):
                return _told(told, request_id)
            _log.error("a request failed", path=route.path, request_id=request_id, exc_info=error)
            detail = "Something went wrong on our side. The request id finds it in the log."
            return _problem(500, "internal", detail, request_id)

    async def _decided(
        self, scope: Scope, receive: Receive, route: Route, request_id: str
    ) -> tuple[int, Headers, bytes]:
        desk = self._open()
        said = {_READ[name]: value.decode("latin-1") for name, value in scope["headers"] if name in _READ}
        moment = time.monotonic()
        caller, merchant_id = await desk.callers.find(
            said.get("authorization"), said.get("counterfoil-merchant"), route.scope, moment=moment
        )
        most = desk.platform.settings.max_body_bytes if route.bulk else LARGEST_SINGLE
        body = await _body(receive, said.get("content-length"), most)
        if body is None:
            return _problem(413, "body_too_large", f"The body is larger than {most:,} bytes.", request_id)
        address = _address(scope, said)
        if route.asks_for_code:
            per_minute = desk.platform.settings.guesses_per_minute
            self._state.guesses.check(caller.key_id, address, per_minute=per_minute, moment=moment)
        asked = [Asked(merchant_id, request) for request in route.read(body)]
        keyed = _keyed(said.get("idempotency-key"), caller, merchant_id, route.path, body)
        missed: list[Outcome] = []
        render = partial(_rendered, route, missed)
        answer = await desk.coalescer.ask(route.verb, asked, render=render, keyed=keyed)
        if route.asks_for_code:
            for _ in missed:
                self._state.guesses.missed(caller.key_id, address)
        if answer.status >= 400:
            return _refusal(answer, request_id)
        return answer.status, [_JSON, _REPLAYED] if answer.replayed else [_JSON], answer.body


def _rendered(route: Route, missed: list[Outcome], outcomes: list[Outcome]) -> Answer:
    missed[:] = [outcome for outcome in outcomes if outcome.code == "voucher_not_found"]
    return route.render(outcomes)


def _address(scope: Scope, said: dict[str, str]) -> str:
    """For whom the code is asked: whoever the merchant's server says, else who is connected."""
    told = said.get("counterfoil-client-address")
    if told:
        return told[:64]
    peer = str((scope.get("client") or ("",))[0])
    # A proxy on this machine says for whom it asks, as it does for all other routes.
    forwarded = said.get("x-forwarded-for") if peer in {"127.0.0.1", "::1"} else None
    return forwarded.rpartition(",")[2].strip()[:64] if forwarded else peer


def _keyed(key: str | None, caller: Caller, merchant_id: UUID, path: str, body: bytes) -> Keyed | None:
    if key is None:
        return None
    if not 1 <= len(key) <= idempotency.LONGEST_KEY or not all("!" <= symbol <= "~" for symbol in key):
        raise InvalidError(
            "An Idempotency-Key is 1 to 255 printable characters without spaces.",
            code="idempotency_key_invalid",
        )
    # As `context.once` names it: a merchant's programs share their keys.
    name = f"{caller.merchant_id or 'operator'}:{merchant_id}"
    return Keyed(name, key, idempotency.request_hash("POST", path, body))


async def _body(receive: Receive, length: str | None, most: int) -> bytes | None:
    """The whole body; None where it is larger than `most` bytes."""
    if length is not None and length.isdigit() and int(length) > most:
        return None
    parts, size = [], 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _problem(status: int, code: str, detail: str, request_id: str, **more: Any) -> tuple[int, Headers, bytes]:
    body = {
        "type": f"urn:counterfoil:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": request_id,
        "errors": [],
        **more,
    }
    return status, [_PROBLEM], _encode(body)


def _refusal(answer: Answer, request_id: str) -> tuple[int, Headers, bytes]:
    """A refused request as a problem, with every reason."""
    outcome = msgspec.json.decode(answer.body)
    reasons = outcome["reasons"]
    return _problem(answer.status, outcome["code"], reasons[0]["detail"], request_id, reasons=reasons)


def _told(error: CounterfoilError, request_id: str) -> tuple[int, Headers, bytes]:
    status = 400 if error.code == "json_invalid" else error.http_status
    errors = [{"pointer": e.pointer, "code": e.code, "detail": e.detail} for e in error.errors[:100]]
    answer = _problem(status, error.code, error.detail, request_id, errors=errors)
    if error.kind in RETRYABLE:
        answer[1].append((b"retry-after", b"60" if error.code == "too_many_guesses" else b"1"))
    if error.kind == "unauthenticated":
        answer[1].append((b"www-authenticate", b'Bearer realm="counterfoil"'))
    return answer
