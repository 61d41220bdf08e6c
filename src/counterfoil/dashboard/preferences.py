"""Language and theme: chosen in the page, remembered by a cookie, known without a cookie too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, cast

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from counterfoil.dashboard.forms import safe_address

if TYPE_CHECKING:
    from counterfoil.dashboard.visits import Visit

Language = Literal["en", "zh"]
Theme = Literal["auto", "light", "dark"]

LANGUAGES: Final[dict[Language, str]] = {"en": "English", "zh": "中文"}
"""Each in its own words: who looks for a language reads that one."""
THEMES: Final[tuple[Theme, ...]] = ("auto", "light", "dark")
_YEAR: Final = 365 * 24 * 3600


def language_of(request: Request) -> Language:
    """The cookie's language, else the first that the browser asks for and we have, else English."""
    chosen = request.cookies.get("language", "")
    if chosen in LANGUAGES:
        return chosen
    wanted = []
    for position, part in enumerate(request.headers.get("accept-language", "")[:500].split(",")):
        name, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality or 1)
        except ValueError:
            continue
        wanted.append((-weight, position, name.partition("-")[0].lower()))
    found = (name for weight, _, name in sorted(wanted) if name in LANGUAGES and weight < 0)
    return cast("Language", next(found, "en"))


def theme_of(request: Request) -> Theme:
    """The cookie's theme; `auto` follows the device."""
    chosen = request.cookies.get("theme", "auto")
    return chosen if chosen in THEMES else "auto"


async def submit(visit: Visit) -> Response:
    """Remember a choice and go back to where it was made."""
    response = RedirectResponse(safe_address(visit.form.get("next")), status_code=303)
    for name, allowed in (("language", LANGUAGES), ("theme", THEMES)):
        value = visit.form.get(name)
        if value in allowed:
            visit.set_cookie(response, name, str(value), seconds=_YEAR)
    return response
