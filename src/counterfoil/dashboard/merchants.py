"""Choosing a merchant."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import read
from counterfoil.merchants import merchants

PAGE_SIZE = 50


async def choose(visit: Visit) -> Response:
    """The only merchant at once, or all of them to choose from."""
    if len(visit.merchants) == 1:
        return RedirectResponse(f"/m/{visit.merchants[0].reference}", status_code=303)
    async with read(visit.engine) as tx:
        page = await merchants.list_page(
            tx, limit=PAGE_SIZE, cursor=visit.argument("cursor", longest=2000) or None
        )
    return visit.render("merchants.html", page=page)
