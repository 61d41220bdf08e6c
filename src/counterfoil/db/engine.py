"""The connection pool, and the one place that knows how a database address is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import asyncpg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from counterfoil.errors import InvalidError, UnavailableError

OLDEST_SUPPORTED: Final = 150000
"""PostgreSQL 15, as `server_version_num` counts."""

SERVER_SETTINGS: Final[Mapping[str, str]] = {
    "application_name": "counterfoil",
    "timezone": "UTC",
    # A plan made for a batch while the table was nearly empty ran eight times slower once it had filled.
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    "lock_timeout": "10s",
    # A client that died in a transaction must not hold its locks for hours.
    "idle_in_transaction_session_timeout": "60s",
}

PINNED: Final[Mapping[str, str]] = {
    "application_name": "counterfoil batches",
    # Each statement is planned once for a connection, and looks rows up by their keys, however full or empty
    # the tables were at that moment. Planning anew took more time than running; a plan for an empty table
    # scans it.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
}
"""For connections that run only statements which look up few rows of large tables: the verbs' batches."""


def parse_url(database_url: str) -> URL:
    """The address for asyncpg; accepts the forms that libpq's users write. `InvalidError` if it is none."""
    try:
        url = make_url(database_url)
    except ArgumentError as error:
        raise InvalidError(
            "DATABASE_URL is not a database address; it looks like postgresql://user:password@host/name.",
            code="database_url_invalid",
        ) from error
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise InvalidError(
            f"Counterfoil runs on PostgreSQL; DATABASE_URL names {url.get_backend_name()!r}.",
            code="database_url_invalid",
        )
    return url.set(drivername="postgresql+asyncpg")


def create_engine(
    database_url: str, *, pool_size: int = 10, statement_timeout_seconds: float = 60
) -> AsyncEngine:
    """A pool of at most `pool_size` connections. Nothing is connected yet."""
    settings = {
        **SERVER_SETTINGS,
        "statement_timeout": f"{int(statement_timeout_seconds * 1000)}ms",
    }
    return create_async_engine(
        parse_url(database_url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={"server_settings": settings, "timeout": 10, "command_timeout": None},
    )


async def batch_connection(database_url: str, *, statement_timeout_seconds: float = 60) -> asyncpg.Connection:
    """A connection of one's own for the verbs' batches (see `PINNED`); `UnavailableError` if none is."""
    url = parse_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    settings = {
        **SERVER_SETTINGS,
        **PINNED,
        "statement_timeout": f"{int(statement_timeout_seconds * 1000)}ms",
    }
    try:
        return await asyncpg.connect(url, server_settings=settings, timeout=10)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise UnavailableError(
            "The database is not there now; try again.", code="database_unavailable"
        ) from error


async def check_server(engine: AsyncEngine) -> str:
    """The server's version; `UnavailableError` if it cannot be reached, `InvalidError` if it is too old."""
    try:
        async with engine.connect() as connection:
            number = await connection.exec_driver_sql("SHOW server_version_num")
            text = await connection.exec_driver_sql("SHOW server_version")
            version_number, version = int(str(number.scalar_one())), str(text.scalar_one())
    except (OSError, TimeoutError, DBAPIError) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        raise UnavailableError(
            f"No database answers at {engine.url.render_as_string(hide_password=True)}: {reason}. "
            "Start it, or unset DATABASE_URL to use the embedded one.",
            code="database_unreachable",
        ) from error
    if version_number < OLDEST_SUPPORTED:
        raise InvalidError(
            f"PostgreSQL {version} is too old: 15 or newer is needed.", code="database_too_old"
        )
    return version
