"""Bringing the schema up to date, without ever standing in the way of those who use it.

Each migration waits two seconds at most for a lock (then gives up, changes nothing, and can be run again)
and a minute for a statement. One process migrates at a time.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pgqueuer import AsyncpgDriver, Queries
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db.transactions import translated
from counterfoil.errors import UnavailableError

LOCK_TIMEOUT: Final = "2s"
STATEMENT_TIMEOUT: Final = "60s"
_ONE_AT_A_TIME: Final = 0x636F756E746572  # "counter": the advisory lock of all who migrate


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("counterfoil.db") / "migrations"))
    # A percent sign in the path would be taken for interpolation.
    config.set_main_option("path_separator", "os")
    return config


def newest_revision() -> str:
    """The revision that this code is written for."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


async def current_revision(engine: AsyncEngine) -> str | None:
    """The revision of the database; None when it is empty."""
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(
                lambda sync: MigrationContext.configure(sync).get_current_revision()
            )
    except (DBAPIError, OSError) as error:
        raise translated(error) from error


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def migrate(engine: AsyncEngine) -> str:
    """Run every migration that is missing; returns the revision. Running it again changes nothing."""
    try:
        async with engine.connect() as connection:
            # Waiting for another process that migrates is fine; waiting for a table is not.
            try:
                await connection.exec_driver_sql("SET lock_timeout = 0")
                await connection.exec_driver_sql("SET statement_timeout = 0")
                await connection.exec_driver_sql(f"SELECT pg_advisory_lock({_ONE_AT_A_TIME})")
                await connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
                await connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
                await connection.commit()
                await connection.run_sync(_upgrade)
                await connection.commit()
                raw = await connection.get_raw_connection()
                queue = Queries(AsyncpgDriver(raw.driver_connection))
                # The queue's library keeps its own schema.
                await (queue.upgrade() if await queue.schema_is_installed() else queue.install())
                await connection.commit()
            finally:
                # The settings and the advisory lock belong to the session: end it, however this ended.
                await connection.invalidate()
    except (DBAPIError, asyncpg.PostgresError, OSError) as error:
        original = error.orig if isinstance(error, DBAPIError) else error
        if getattr(original, "sqlstate", None) == "55P03":
            raise UnavailableError(
                f"A migration waited {LOCK_TIMEOUT} for a table that somebody is using, and gave up without "
                "changing anything. Run it again, at a quieter time if it repeats.",
                code="migration_locked_out",
            ) from error
        raise translated(error) from error
    return newest_revision()


async def check_schema(engine: AsyncEngine) -> None:
    """`UnavailableError` unless the database has the revision that this code is written for."""
    current, newest = await current_revision(engine), newest_revision()
    if current != newest:
        raise UnavailableError(
            f"The database is at revision {current or 'none'}, and this version needs {newest}. "
            "Run `counterfoil db migrate`.",
            code="schema_outdated",
        )
