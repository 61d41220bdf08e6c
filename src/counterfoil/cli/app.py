"""The `counterfoil` command: what every subcommand shares, and how errors become exit codes."""

from __future__ import annotations

import os
import sys
from typing import Final

import cyclopts
from rich.console import Console

from counterfoil import __version__
from counterfoil.cli import access, database, merchants
from counterfoil.cli.analyse import analyse
from counterfoil.cli.imports import import_records
from counterfoil.cli.link import link
from counterfoil.errors import CounterfoilError

app: Final = cyclopts.App(
    name="counterfoil",
    help="Marketing vouchers and loyalty points, and for every single one what became of it.",
    version=__version__,
    version_flags=["--version"],
)
app.command(link)
app.command(analyse)
app.command(import_records, name="import")
app.command(database.app)
app.command(merchants.app)
app.command(access.keys_app)
app.command(access.operators_app)


def run(tokens: list[str] | None = None) -> None:
    """Run the command line: an error that a user can mend is one line on stderr and an exit code.

    `tokens` are its arguments; by default those of the process.
    """
    try:
        app(tokens)
    except CounterfoilError as error:
        console = Console(stderr=True, highlight=False)
        console.print(f"[bold red]error[/] [dim]({error.code})[/] ", end="")
        console.print(error.detail, markup=False)
        for problem in error.errors:
            console.print(f"  {problem.pointer}: {problem.detail}", markup=False)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has left (`| head`); there is nobody to complain to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
