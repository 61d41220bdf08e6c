"""`counterfoil points`, on a real database."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db.transactions import begin
from tests.builders import make_merchant
from tests.cli.test_platform import Command, Finished

GROCER = ("--merchant", "grocer")
PROGRAM = {
    "burn": {"points": 10, "minor": 5},
    "expiry": {"after_months": 12, "at": "year_end"},
    "max_balance": 1000,
    "time_zone": "Asia/Shanghai",
}


@pytest.fixture
async def counterfoil(
    database: URL, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    async with begin(engine) as tx:
        await make_merchant(tx, "grocer", time_zone="Asia/Shanghai")
        await make_merchant(tx, "baker")
    return Command(database.render_as_string(hide_password=False), monkeypatch, capsys)


async def _points(counterfoil: Command, *words: str) -> dict[str, Any]:
    (row,) = await counterfoil.json("points", *words, *GROCER)
    return row


async def _run(counterfoil: Command, *words: str) -> Finished:
    return await counterfoil("points", *words, *GROCER)


def _names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def _program(counterfoil: Command, tmp_path: Path) -> None:
    file = tmp_path / "program.json"
    file.write_text(json.dumps(PROGRAM))
    assert (await _run(counterfoil, "program", "--set", str(file))).returncode == 0


async def test_a_program_is_set_from_a_file_and_shown(counterfoil: Command, tmp_path: Path) -> None:
    none = await _run(counterfoil, "program")
    assert (none.returncode, "points_program_not_found" in none.stderr) == (4, True)
    await _program(counterfoil, tmp_path)
    shown = await _points(counterfoil, "program")
    assert shown["expiry"] == {"after_months": 12, "at": "year_end"}
    assert shown["earn"] == {"points": 1, "minor": 100}
    assert "max_balance\t1000" in (await _run(counterfoil, "program")).stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ('{"burn": {"points": -1, "minor": 0}}', "/burn/points"),
        ('{"time_zone": "Moon"}', "there is no time zone 'Moon'"),
        ('{"other": 1}', "/other"),
        (None, "no such file"),
    ],
)
async def test_what_is_wrong_with_a_program_is_said(
    counterfoil: Command, tmp_path: Path, content: str | None, said: str
) -> None:
    file = tmp_path / "program.json"
    if content is not None:
        file.write_text(content)
    done = await _run(counterfoil, "program", "--set", str(file))
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


async def test_accounts_are_opened_by_name_and_from_a_file(counterfoil: Command, tmp_path: Path) -> None:
    file = tmp_path / "customers.txt"
    file.write_text("ann\n\n cid \nbob\ncid\n")
    assert await _points(counterfoil, "open", "ann", "bob") == {"opened": 2, "existing": 0}
    assert await _points(counterfoil, "open", "--file", str(file)) == {"opened": 1, "existing": 2}
    nobody = await _run(counterfoil, "open")
    assert (nobody.returncode, "--file" in nobody.stderr) == (2, True)
    unknown = await _run(counterfoil, "show", "dan")
    assert (unknown.returncode, "points_account_not_found" in unknown.stderr) == (4, True)
    elsewhere = await counterfoil("points", "show", "ann", "--merchant", "baker")
    assert elsewhere.returncode == 4


async def test_points_are_given_taken_and_undone(counterfoil: Command, tmp_path: Path) -> None:
    await _program(counterfoil, tmp_path)
    await _points(counterfoil, "open", "ann")
    given = await _points(counterfoil, "adjust", "ann", "500", "--note", "late parcel", "--reference", "a1")
    assert (given["code"], given["balance"], given["repeated"]) == ("posted", 500, False)
    again = await _points(counterfoil, "adjust", "ann", "500", "--reference", "a1")
    assert (again["repeated"], again["transfer_id"]) == (True, given["transfer_id"])
    taken = await _points(counterfoil, "adjust", "ann", "-120")
    assert taken["balance"] == 380
    part = await _points(counterfoil, "reverse", taken["transfer_id"], "--points", "20", "--note", "too much")
    assert part["balance"] == 400
    shown = await _points(counterfoil, "show", "ann")
    assert (shown["balance"], shown["available"], sum(lot["points"] for lot in shown["lots"])) == (
        400,
        400,
        400,
    )
    assert [line["points"] for line in shown["last"]] == [20, -120, 500]
    assert shown["last"][1]["reversed"] == 20
    plain = await _run(counterfoil, "show", "ann")
    assert "late parcel" in plain.stdout
    listed = await counterfoil.json("points", "statement", "ann", *GROCER, "--limit", "2")
    assert [line["balance"] for line in listed] == [400, 380]
    assert (await _points(counterfoil, "balance", "ann"))["balance"] == 400
    assert (await _points(counterfoil, "balance", "ann", "--at", "2020-01-01"))["balance"] == 0


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        (("adjust", "ann", "-1"), "insufficient", 6),
        (("adjust", "ann", "1001"), "limit_exceeded", 6),
        (("adjust", "nobody", "1"), "not_found", 4),
        (("burn", "ann", "5", "--order", "o1"), "insufficient", 6),
        (("reverse", "trf_00000000000000000000000000"), "not_found", 4),
        (("reverse", "nonsense"), "transfer_not_found", 4),
        (("settle", "trf_00000000000000000000000000"), "not_found", 4),
        (("adjust", "ann", "0"), "invalid", 2),
    ],
)
async def test_a_refusal_is_told_with_its_exit_code(
    counterfoil: Command, tmp_path: Path, words: tuple[str, ...], code: str, exit_code: int
) -> None:
    await _program(counterfoil, tmp_path)
    await _points(counterfoil, "open", "ann")
    done = await _run(counterfoil, *words)
    assert (done.returncode, f"({code})" in done.stderr) == (exit_code, True), done.stderr


async def test_points_are_held_for_an_order_and_settled(counterfoil: Command, tmp_path: Path) -> None:
    await _program(counterfoil, tmp_path)
    await _points(counterfoil, "open", "ann")
    await _points(counterfoil, "adjust", "ann", "100")
    held = await _points(counterfoil, "burn", "ann", "60", "--order", "o1", "--hold-minutes", "30")
    assert (held["code"], held["amount_minor"]) == ("pending", 30)
    shown = await _points(counterfoil, "show", "ann")
    assert (shown["balance"], shown["available"], len(shown["waiting"])) == (100, 40, 1)
    burned = await _points(counterfoil, "settle", held["transfer_id"], "--points", "50")
    assert (burned["code"], burned["balance"]) == ("posted", 50)
    other = await _points(counterfoil, "burn", "ann", "20", "--order", "o2", "--hold-minutes", "30")
    assert (await _points(counterfoil, "settle", other["transfer_id"], "--void"))["code"] == "voided"
    assert (await _points(counterfoil, "show", "ann"))["available"] == 50
    both = await _run(counterfoil, "settle", other["transfer_id"], "--void", "--points", "1")
    assert both.returncode == 2


async def test_an_account_is_closed_when_it_is_empty_and_opened_again(counterfoil: Command) -> None:
    await _points(counterfoil, "open", "ann")
    await _points(counterfoil, "adjust", "ann", "5")
    full = await _run(counterfoil, "close", "ann")
    assert (full.returncode, "points_account_not_empty" in full.stderr) == (5, True)
    await _points(counterfoil, "adjust", "ann", "-5")
    assert "closed" in (await _run(counterfoil, "close", "ann")).stderr
    closed = await _run(counterfoil, "adjust", "ann", "5")
    assert (closed.returncode, "(closed)" in closed.stderr) == (6, True)
    assert "open" in (await _run(counterfoil, "reopen", "ann")).stderr


async def test_the_ledger_is_written_to_a_file_that_no_spreadsheet_runs(
    counterfoil: Command, tmp_path: Path
) -> None:
    await _points(counterfoil, "open", "=cmd()", "ann")
    await _points(counterfoil, "adjust", "=cmd()", "7", "--note", "@SUM(1)", "--reference=-1+1")
    await _points(counterfoil, "adjust", "ann", "5")
    file = tmp_path / "ledger.csv"
    done = await _run(counterfoil, "export", str(file))
    assert (done.returncode, "2 transfers are in" in done.stderr) == (0, True)
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["customer_id"] for row in rows] == ["'=cmd()", "ann"]
    assert (rows[0]["note"], rows[0]["reference"], rows[0]["points"]) == ("'@SUM(1)", "'-1+1", "7")
    assert rows[0]["transfer_id"].startswith("trf_")
    assert _names_in(tmp_path) == ["ledger.csv"]
    assert (await _run(counterfoil, "export", str(tmp_path / "ledger.txt"))).returncode == 2
    nobody = await counterfoil("points", "export", str(tmp_path / "no.csv"), "--merchant", "nobody")
    assert nobody.returncode == 4
    assert _names_in(tmp_path) == ["ledger.csv"]


async def test_the_ledger_is_summed_up_and_proven(counterfoil: Command, engine: AsyncEngine) -> None:
    await _points(counterfoil, "open", "ann", "bob")
    await _points(counterfoil, "adjust", "ann", "40")
    await _points(counterfoil, "adjust", "bob", "2")
    summed = await _points(counterfoil, "totals")
    assert (summed["members"], summed["balance"]) == (2, 42)
    assert [(s["source"], s["points"], s["transfers"]) for s in summed["sources"]] == [("adjusted", 42, 2)]
    assert "balance\t42" in (await _run(counterfoil, "totals")).stdout
    proven = await _run(counterfoil, "verify")
    assert (proven.returncode, proven.stdout) == (0, "")
    assert "2 accounts, 2 transfers: everything adds up." in proven.stderr
    async with begin(engine) as tx:
        await tx.execute("UPDATE points_accounts SET balance = 41 WHERE name = 'ann'")
    found = await _run(counterfoil, "verify")
    assert (found.returncode, "ledger_differs" in found.stderr) == (5, True)
    assert "ann\tbalance\t41\t40" in found.stdout
    (told,) = json.loads((await _run(counterfoil, "verify", "--json")).stdout)
    assert (told["accounts"], told["differences"][0]["customer_id"]) == (2, "ann")
