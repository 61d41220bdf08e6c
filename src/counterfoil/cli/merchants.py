"""`counterfoil merchants`."""

from __future__ import annotations

from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from counterfoil import clock
from counterfoil.app import App
from counterfoil.cli.platform import Json, show, with_platform
from counterfoil.db.paging import LARGEST_PAGE
from counterfoil.db.transactions import begin, read
from counterfoil.ids import format_id
from counterfoil.merchants import merchants
from counterfoil.merchants.merchants import Merchant

app = cyclopts.App(name="merchants", help="The tenants of the platform.")


def _row(merchant: Merchant) -> dict[str, Any]:
    return {
        "id": format_id("merchant", merchant.id),
        "reference": merchant.reference,
        "name": merchant.name,
        "time_zone": merchant.time_zone,
        "currency": merchant.currency,
    }


@app.command
def create(
    reference: str,
    /,
    *,
    name: Annotated[str | None, Parameter(help="Its name in full; by default the reference.")] = None,
    time_zone: Annotated[str, Parameter(help="IANA name of the zone in which its days begin.")] = "UTC",
    currency: Annotated[str, Parameter(help="ISO 4217 code of its amounts.")],
    json: Json = False,
) -> None:
    """Create a merchant. REFERENCE is the short name that people type, such as `grocer`."""

    async def work(opened: App) -> Merchant:
        async with begin(opened.engine) as tx:
            return await merchants.create(
                tx,
                reference=reference,
                name=name or reference,
                time_zone=time_zone,
                currency=currency,
                now=clock.now(),
            )

    show([_row(with_platform(work))], as_json=json)


@app.command(name="list")
def list_command(*, json: Json = False) -> None:
    """List the merchants."""

    async def work(opened: App) -> list[Merchant]:
        found: list[Merchant] = []
        cursor = None
        async with read(opened.engine) as tx:
            while True:
                page = await merchants.list_page(tx, limit=LARGEST_PAGE, cursor=cursor)
                found += page.data
                cursor = page.next_cursor
                if cursor is None:
                    return found

    show([_row(merchant) for merchant in with_platform(work)], as_json=json, title="Merchants")
