"""What commands that use the platform share."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from counterfoil import logs
from counterfoil.app import App, open_app
from counterfoil.settings import load_settings

T = TypeVar("T")

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, for another program to read.")]


def with_platform(work: Callable[[App], Awaitable[T]], *, check: bool = True) -> T:
    """Open the platform of the settings, do the work, close it."""
    settings = load_settings()
    logs.configure(settings.model_copy(update={"log_level": "warning"}))

    async def run() -> T:
        async with open_app(settings, check=check) as app:
            return await work(app)

    return asyncio.run(run())


def show(rows: list[dict[str, Any]], *, as_json: bool, title: str | None = None) -> None:
    """Print rows: a table on a terminal, plain tab-separated lines elsewhere, JSON where asked."""
    if as_json:
        print(json.dumps(rows, default=str, ensure_ascii=False))
    elif sys.stdout.isatty():
        table = Table(title=title, title_justify="left")
        for name in rows[0] if rows else ():
            # An id that is cut cannot be used: rather over two lines.
            table.add_column(name.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row.values()))
        # What others typed is shown as it is, whatever it looks like.
        Console(markup=False, emoji=False).print(table)
    else:
        for row in rows:
            print("\t".join("" if value is None else str(value) for value in row.values()))


def say(text: str) -> None:
    """A line for people, on stderr, so that it is never mistaken for a result."""
    Console(stderr=True, highlight=False).print(text, markup=False)
