"""`counterfoil db`."""

from __future__ import annotations

import asyncio
from typing import Any

import cyclopts

from counterfoil.app import App
from counterfoil.cli.platform import Json, say, show, with_platform
from counterfoil.db import embedded
from counterfoil.db.migrate import current_revision, migrate, newest_revision

app = cyclopts.App(name="db", help="The database: bring it up to date, and tell about it.")


@app.command(name="migrate")
def migrate_command() -> None:
    """Bring the database up to the revision of this version. Running it again changes nothing."""

    async def work(opened: App) -> tuple[str | None, str]:
        return await current_revision(opened.engine), await migrate(opened.engine)

    before, after = with_platform(work, check=False)
    say(
        f"The database is at revision {after}."
        + ("" if before == after else f" (It was at {before or 'none'}.)")
    )


@app.command
def info(*, json: Json = False) -> None:
    """Which database this is, its version, its revision and its size."""

    async def work(opened: App) -> dict[str, Any]:
        async with opened.engine.connect() as connection:
            size = await connection.exec_driver_sql("SELECT pg_database_size(current_database())")
            found: dict[str, Any] = {
                "database": opened.engine.url.render_as_string(hide_password=True),
                "embedded": opened.embedded,
                "server_version": opened.server_version,
                "revision": await current_revision(opened.engine),
                "newest_revision": newest_revision(),
                "size_bytes": size.scalar_one(),
            }
        if opened.embedded:
            own = await asyncio.to_thread(embedded.info, opened.settings.home)
            found |= {
                "home": str(opened.settings.home),
                "data_directory": str(own.data_directory),
                "users": own.users,
            }
        return found

    found = with_platform(work, check=False)
    show([found] if json else [{"what": k, "value": v} for k, v in found.items()], as_json=json)
