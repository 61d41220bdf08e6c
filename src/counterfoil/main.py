"""The `counterfoil` command."""

from __future__ import annotations

from counterfoil.cli.app import app, run

# By name, as all commands: what one of them needs is imported when it runs, not by all others.
app.command("counterfoil.serving:serve_command", name="serve", help="Run the API, the pages and the worker.")
app.command(
    "counterfoil.demo.command:demo", name="demo", help="See a year of real coupons go through the platform."
)


def main() -> None:
    """Run it."""
    run()
