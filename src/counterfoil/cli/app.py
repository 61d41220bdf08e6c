"""The `counterfoil` command: what every subcommand shares, and how errors become exit codes."""

from __future__ import annotations

import os
import sys
from typing import Final

import cyclopts
from rich.console import Console

from counterfoil import __version__
from counterfoil.errors import CounterfoilError

app: Final = cyclopts.App(
    name="counterfoil",
    help="Marketing vouchers and loyalty points, and for every single one what became of it.",
    version=__version__,
    version_flags=["--version"],
)
COMMANDS: Final = {
    "link": ("counterfoil.cli.link:link", "Link vouchers with their orders and payments, from four files."),
    "analyse": ("counterfoil.cli.analyse:analyse", "Analyse campaigns with their full link, and report."),
    "import": ("counterfoil.cli.imports:import_records", "Load records from files into the platform."),
    "db": ("counterfoil.cli.database:app", "The database: bring it up to date, and tell about it."),
    "merchants": ("counterfoil.cli.merchants:app", "The tenants of the platform."),
    "keys": ("counterfoil.cli.access:keys_app", "API keys, for programs."),
    "campaigns": ("counterfoil.cli.campaigns:app", "Campaigns that are run here."),
    "vouchers": ("counterfoil.cli.vouchers:app", "Vouchers of campaigns that are run here."),
    "points": ("counterfoil.cli.points:app", "Loyalty points: members' accounts and what moves them."),
    "partners": ("counterfoil.cli.partners:app", "Partners who send files of points."),
    "webhooks": ("counterfoil.cli.webhooks:app", "Programs of customers that are told what happens."),
    "operators": ("counterfoil.cli.access:operators_app", "People who sign in to the pages."),
}
"""Each command, where it is, and what the list of commands says of it.

It is imported when it runs, so that none waits for what others need.
"""

for _name, (_place, _help) in COMMANDS.items():
    app.command(_place, name=_name, help=_help)


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
