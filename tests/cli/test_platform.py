"""The commands of the platform, on a real database."""

from __future__ import annotations

import io
import json
import logging
import sys
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
import structlog
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import __version__, clock
from counterfoil.access import keys, operators
from counterfoil.cli.app import run
from counterfoil.db.transactions import begin, read
from counterfoil.errors import UnauthenticatedError


@dataclass(frozen=True)
class Finished:
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


class Command:
    """`counterfoil` with this test's database, in this process (a new one takes seconds to import all)."""

    def __init__(self, address: str, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.patch, self.capture = patch, capture
        patch.setenv("DATABASE_URL", address)
        patch.setenv("NO_COLOR", "1")
        patch.setenv("COLUMNS", "200")

    async def __call__(self, *arguments: str, stdin: str = "") -> Finished:
        self.patch.setattr(sys, "stdin", io.StringIO(stdin))
        self.capture.readouterr()
        # In a thread, where the command may have an event loop of its own.
        returncode = await anyio.to_thread.run_sync(_run, list(arguments))
        said = self.capture.readouterr()
        return Finished(returncode, said.out, said.err)

    async def json(self, *arguments: str) -> list[dict[str, Any]]:
        done = await self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows


def _run(tokens: list[str]) -> int:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        run(tokens)
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        structlog.reset_defaults()
    return 0


@pytest.fixture
def counterfoil(
    database: URL, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(database.render_as_string(hide_password=False), monkeypatch, capsys)


async def test_the_command_is_there_by_name_and_as_a_module() -> None:
    done = await anyio.run_process([sys.executable, "-m", "counterfoil", "--version"])
    assert done.stdout.decode().strip() == __version__


async def test_merchants_are_made_listed_and_refused_with_an_exit_code(counterfoil: Command) -> None:
    (made,) = await counterfoil.json(
        "merchants", "create", "grocer", "--currency", "EUR", "--time-zone", "Europe/Rome"
    )
    assert (made["reference"], made["name"], made["time_zone"]) == ("grocer", "grocer", "Europe/Rome")
    again = await counterfoil("merchants", "create", "grocer", "--currency", "EUR")
    assert again.returncode == 5
    assert "merchant_exists" in again.stderr
    wrong = await counterfoil("merchants", "create", "Gro cer", "--currency", "euro")
    assert wrong.returncode == 2
    assert "/reference" in wrong.stderr
    assert "/currency" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    listed = await counterfoil("merchants", "list")
    assert listed.stdout.split("\t")[1:] == ["grocer", "grocer", "Europe/Rome", "EUR\n"]


async def test_a_key_is_made_used_and_revoked(counterfoil: Command, engine: AsyncEngine) -> None:
    await counterfoil.json("merchants", "create", "grocer", "--currency", "EUR")
    (made,) = await counterfoil.json(
        "keys", "create", "--name", "till", "--merchant", "grocer", "--scope", "jobs:read", "--days", "1"
    )
    async with read(engine) as tx:
        caller = await keys.authenticate(tx, secret=made["secret"], now=clock.now())
    assert caller.scopes == frozenset({"jobs:read"})
    plain = await counterfoil("keys", "create", "--name", "all")
    # The secret alone is on standard output, for a shell to keep.
    assert plain.stdout.startswith("cfk_")
    assert plain.stdout.count("\n") == 1
    listed = await counterfoil.json("keys", "list")
    assert [row["name"] for row in listed] == ["till", "all"]
    assert made["secret"] not in str(listed)
    assert (await counterfoil("keys", "revoke", made["id"])).returncode == 0
    async with read(engine) as tx:
        with pytest.raises(UnauthenticatedError):
            await keys.authenticate(tx, secret=made["secret"], now=clock.now())


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (("keys", "revoke", "key_nonsense"), 4, "api_key_not_found"),
        (("keys", "create", "--name", "x", "--merchant", "nobody"), 4, "merchant_not_found"),
        (("keys", "create", "--name", "x", "--days", "-1"), 2, "expiry_in_the_past"),
        (("operators", "set-password", "nobody@example.com", "--generate"), 4, "operator_not_found"),
    ],
)
async def test_what_cannot_be_done_is_one_line_and_an_exit_code(
    counterfoil: Command, arguments: tuple[str, ...], exit_code: int, code: str
) -> None:
    done = await counterfoil(*arguments)
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert code in done.stderr
    assert "Traceback" not in done.stderr


async def test_operators_are_added_with_a_password_from_standard_input_or_a_made_one(
    counterfoil: Command, engine: AsyncEngine
) -> None:
    added = await counterfoil("operators", "add", "ada@example.com", stdin="correct horse battery\n")
    assert added.returncode == 0, added.stderr
    assert added.stdout == ""
    short = await counterfoil("operators", "add", "eve@example.com", stdin="short\n")
    assert short.returncode == 2
    made = await counterfoil("operators", "set-password", "ada@example.com", "--generate")
    async with read(engine) as tx:
        found = await operators.find_credentials(tx, email="ada@example.com")
        assert await operators.count(tx) == 1
    assert found is not None
    assert operators.password_matches(found[1], made.stdout.strip())


async def test_the_database_is_described_and_brought_up_to_date(
    counterfoil: Command, engine: AsyncEngine
) -> None:
    (found,) = await counterfoil.json("db", "info")
    assert found["revision"] == found["newest_revision"]
    assert found["embedded"] is False
    assert found["size_bytes"] > 0
    async with begin(engine) as tx:
        await tx.execute("DROP SCHEMA public CASCADE")
        await tx.execute("CREATE SCHEMA public")
    outdated = await counterfoil("merchants", "list")
    assert outdated.returncode == 7
    assert "counterfoil db migrate" in outdated.stderr
    assert (await counterfoil("db", "migrate")).returncode == 0
    assert (await counterfoil("merchants", "list")).returncode == 0


@pytest.mark.parametrize(
    ("environment", "exit_code", "code"),
    [
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, 7, "database_unreachable"),
        ({"DATABASE_URL": "mysql://a/"}, 2, "database_url_invalid"),
        ({"COUNTERFOIL_PORT": "x", "COUNTERFOIL_POOL_SIZE": "0"}, 2, "COUNTERFOIL_POOL_SIZE"),
    ],
)
async def test_a_wrong_environment_is_told_in_words(
    counterfoil: Command,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    exit_code: int,
    code: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = await counterfoil("db", "info")
    assert done.returncode == exit_code
    assert code in done.stderr
    assert "Traceback" not in done.stderr


async def test_nothing_said_of_a_database_shows_its_password(
    counterfoil: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:s3cret@127.0.0.1:1/none")
    done = await counterfoil("db", "info")
    assert "s3cret" not in done.stderr + done.stdout
