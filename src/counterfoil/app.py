"""What the edges share: the settings, and the database that they name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.customers.records import CUSTOMERS
from counterfoil.db import embedded
from counterfoil.db.engine import check_server, create_engine
from counterfoil.db.migrate import check_schema, migrate
from counterfoil.db.records import RecordKind
from counterfoil.merchants.records import PRODUCTS, STORES
from counterfoil.orders.records import ORDER_LINES, ORDERS, PAGE_VIEWS, TRANSACTIONS
from counterfoil.settings import Settings
from counterfoil.vouchers.records import (
    AUDIENCE,
    CAMPAIGNS,
    ISSUANCES,
    REDEMPTIONS,
    TEMPLATE_PRODUCTS,
    TEMPLATES,
    VOUCHERS,
)

RECORD_KINDS: Final[dict[str, RecordKind]] = {
    kind.name: kind
    for kind in (
        STORES,
        PRODUCTS,
        CUSTOMERS,
        CAMPAIGNS,
        TEMPLATES,
        TEMPLATE_PRODUCTS,
        AUDIENCE,
        VOUCHERS,
        ISSUANCES,
        REDEMPTIONS,
        ORDERS,
        ORDER_LINES,
        TRANSACTIONS,
        PAGE_VIEWS,
    )
}
"""Every kind of record that can be loaded, by endpoint, by file or by the demo."""


@dataclass(frozen=True, slots=True)
class App:
    """An opened platform: what every edge is given."""

    settings: Settings
    engine: AsyncEngine
    server_version: str
    embedded: bool
    """Whether the database is our own, under `settings.home`."""


@asynccontextmanager
async def open_app(settings: Settings, *, check: bool = True) -> AsyncIterator[App]:
    """Connect to the database of the settings, starting the embedded one if they name none.

    The embedded database is brought up to date by itself; one that somebody else runs is only checked, so
    that nobody's upgrade comes as a surprise (`check=False` leaves even that out, for `db migrate`).
    """
    if settings.database_url is None:
        async with embedded.running(settings.home) as url, _connected(settings, str(url)) as app:
            await migrate(app.engine)
            yield app
    else:
        async with _connected(settings, settings.database_url) as app:
            if check:
                await check_schema(app.engine)
            yield app


@asynccontextmanager
async def _connected(settings: Settings, url: str) -> AsyncIterator[App]:
    engine = create_engine(
        url, pool_size=settings.pool_size, statement_timeout_seconds=settings.statement_timeout_seconds
    )
    try:
        version = await check_server(engine)
        yield App(settings, engine, version, embedded=settings.database_url is None)
    finally:
        await engine.dispose()
