"""One visit of a page: who, in which language, at which merchant; and what happens when it fails."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from counterfoil import clock
from counterfoil.access import operators
from counterfoil.access.types import Session
from counterfoil.app import App
from counterfoil.dashboard import labels, preferences
from counterfoil.dashboard.forms import check_token, read_form, read_upload
from counterfoil.dashboard.rendering import environment
from counterfoil.dashboard.words import Words, words_of
from counterfoil.db.transactions import read
from counterfoil.errors import CounterfoilError
from counterfoil.merchants import merchants
from counterfoil.merchants.merchants import Merchant

MOST_MERCHANTS: Final = 100
"""In the menu; the list at `/` has them all."""
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Visit:
    """A request for a page, with all that its handler and its template need."""

    request: Request
    now: datetime
    session: Session | None = None
    merchants: tuple[Merchant, ...] = ()
    chosen: Merchant | None = None
    form: dict[str, str] = field(default_factory=dict)
    upload: UploadFile | None = None
    """The file of a form that sends a large one along."""
    token: str = ""
    new_token: bool = False

    @property
    def app(self) -> App:
        """The opened platform."""
        opened: App = self.request.app.state.platform
        return opened

    @property
    def engine(self) -> AsyncEngine:
        """The database."""
        return self.app.engine

    @property
    def merchant(self) -> Merchant:
        """The merchant in the address."""
        assert self.chosen is not None
        return self.chosen

    @property
    def words(self) -> Words:
        """The reader's language."""
        return words_of(preferences.language_of(self.request))

    @property
    def home(self) -> str:
        """The address of the merchant's overview."""
        return f"/m/{self.merchant.reference}"

    def argument(self, name: str, *, longest: int = 200) -> str:
        """A query parameter, cut to a sensible length; empty if it is not there."""
        return self.request.query_params.get(name, "").strip()[:longest]

    def cookie_name(self, name: str) -> str:
        """A cookie's name: over HTTPS with the prefix that ties it to this host."""
        return f"__Host-{name}" if self.app.settings.secure_cookies else name

    def set_cookie(self, response: Response, name: str, value: str, *, seconds: int | None) -> None:
        """Give the browser a cookie that scripts and other sites do not get."""
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path="/",
            httponly=True,
            samesite="lax",
            secure=self.app.settings.secure_cookies,
        )

    def render(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """The page, in the reader's language and theme."""
        response = HTMLResponse(_html(self, template, values), status_code=status)
        if self.new_token:
            self.set_cookie(response, self.cookie_name("counterfoil_form"), self.token, seconds=None)
        return response

    @property
    def secret(self) -> str:
        """The session's secret, from its cookie; empty if there is none."""
        return self.request.cookies.get(self.cookie_name("counterfoil_session"), "")


Handler = Callable[[Visit], Awaitable[Response]]


def page(
    handler: Handler, *, signed_in: bool = True, uploads: int | None = None, **form: Any
) -> Callable[[Request], Awaitable[Response]]:
    """A handler as an endpoint: known visitors only unless said otherwise, checked forms, errors as pages.

    `form`: how large a form it takes, see `read_form`. `uploads`: the bytes of the largest file that is sent
    along; it is read only once it is known who sends it.
    """

    async def endpoint(request: Request) -> Response:
        visit = Visit(request, clock.now())
        try:
            if request.method == "POST" and uploads is None:
                visit.form = await read_form(request, **form)
            await _recognise(visit)
            if visit.session is None and signed_in:
                return _to_sign_in(request)
            if uploads is not None:
                visit.form, visit.upload = await read_upload(request, largest=uploads)
            if request.method == "POST":
                check_token(request, visit.form, "" if visit.new_token else visit.token)
            return await handler(visit)
        except CounterfoilError as error:
            headers = {"Retry-After": "5"} if error.http_status == HTTPStatus.SERVICE_UNAVAILABLE else None
            return error_page(
                request, status=error.http_status, code=error.code, visit=visit, headers=headers
            )
        except Exception as error:
            _log.error("a page failed", path=request.url.path, exc_info=error)
            return error_page(request, status=500, visit=visit)
        finally:
            if visit.upload is not None:
                await visit.upload.close()

    return endpoint


async def _recognise(visit: Visit) -> None:
    """Who it is, their token, and the merchant of the address, in one reading transaction."""
    async with read(visit.engine) as tx:
        if visit.secret:
            visit.session = await operators.find_session(tx, secret=visit.secret, now=visit.now)
        if visit.session is not None:
            visit.token = visit.session.csrf_token
            visit.merchants = tuple((await merchants.list_page(tx, limit=MOST_MERCHANTS)).data)
            reference = visit.request.path_params.get("merchant")
            if reference is not None:
                visit.chosen = await merchants.get(tx, name=reference)
    if visit.session is None:
        visit.token = visit.request.cookies.get(visit.cookie_name("counterfoil_form"), "")
        visit.new_token = not visit.token
        visit.token = visit.token or secrets.token_urlsafe(32)


def _to_sign_in(request: Request) -> Response:
    address = request.url.path
    if request.method != "GET":
        address = "/"
    elif request.url.query:
        address = f"{address}?{request.url.query}"
    suffix = "" if address == "/" else f"?next={quote(address, safe='')}"
    return RedirectResponse(f"/sign-in{suffix}", status_code=303)


def error_page(
    request: Request,
    *,
    status: int,
    code: str = "",
    visit: Visit | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """What went wrong, in the design of the pages, and what to do next. Needs no database."""
    visit = visit or Visit(request, clock.now())
    title, detail = labels.problem(status, code)
    values = {
        "status": status,
        "title": title,
        "detail": detail,
        "request_id": request.scope.get("state", {}).get("request_id", ""),
    }
    return HTMLResponse(_html(visit, "error.html", values), status_code=status, headers=headers)


def _html(visit: Visit, template: str, values: Mapping[str, Any]) -> str:
    request = visit.request
    address = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return (
        environment(preferences.language_of(request))
        .get_template(template)
        .render(
            visit=visit,
            merchant=visit.chosen,
            home=f"/m/{visit.chosen.reference}" if visit.chosen else "/",
            language=preferences.language_of(request),
            theme=preferences.theme_of(request),
            address=address if request.method == "GET" else "/",
            now=visit.now,
            **values,
        )
    )
