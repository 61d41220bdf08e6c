"""`counterfoil campaigns` and `counterfoil vouchers`, on a real database."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.db.transactions import begin
from counterfoil.vouchers import pool
from tests.builders import make_merchant
from tests.cli.test_platform import Command

GROCER = ("--merchant", "grocer")


@pytest.fixture
async def counterfoil(
    database: URL, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    async with begin(engine) as tx:
        await make_merchant(tx, "grocer", time_zone="Asia/Shanghai")
        await make_merchant(tx, "baker")
    return Command(database.render_as_string(hide_password=False), monkeypatch, capsys)


async def _active(counterfoil: Command, *options: str) -> None:
    made = await counterfoil("campaigns", "create", "spring", *GROCER, "--amount-off", "500", *options)
    assert made.returncode == 0, made.stderr
    assert (await counterfoil("campaigns", "activate", "spring", *GROCER)).returncode == 0


async def _voucher(counterfoil: Command, *words: str) -> dict[str, Any]:
    done = await counterfoil("vouchers", *words, *GROCER, "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def _names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def test_a_campaign_is_made_from_options(counterfoil: Command) -> None:
    options: tuple[str, ...] = (
        "--percent-off",
        "12.5",
        "--at-most",
        "900",
        "--per-customer",
        "2",
        "--days",
        "7",
    )
    options += ("--stock", "10", "--budget", "5000", "--starts", "2026-05-01", "--name", "Spring")
    (made,) = await counterfoil.json("campaigns", "create", "spring", *GROCER, *options)
    terms = made["terms"]
    assert terms["discount"] == {"kind": "percent", "basis_points": 1250, "cap_minor": 900}
    assert (terms["claims_per_customer"]["total"], terms["validity"]["days"]) == (2, 7)
    # Midnight where the merchant is.
    assert (terms["time_zone"], terms["starts_at"]) == ("Asia/Shanghai", "2026-04-30T16:00:00Z")
    assert (made["state"], made["stock"], made["budget_minor"], made["name"]) == ("draft", 10, 5000, "Spring")
    assert await counterfoil.json("campaigns", "show", "spring", *GROCER) == [made]
    (listed,) = await counterfoil.json("campaigns", "list", *GROCER, "--state", "draft")
    assert listed["campaign_id"] == "spring"
    again = await counterfoil("campaigns", "create", "spring", *GROCER, "--amount-off", "1")
    assert (again.returncode, "campaign_exists" in again.stderr) == (5, True)
    elsewhere = await counterfoil("campaigns", "show", "spring", "--merchant", "baker")
    assert (elsewhere.returncode, "campaign_not_found" in elsewhere.stderr) == (4, True)


async def test_a_campaign_is_made_from_a_file_and_changed(counterfoil: Command, tmp_path: Path) -> None:
    file = tmp_path / "terms.json"
    file.write_text(json.dumps({"discount": {"kind": "amount", "amount_minor": 5}, "time_zone": "UTC"}))
    options = ("--terms", str(file), "--stock", "3", "--uses", "2")
    (made,) = await counterfoil.json("campaigns", "create", "spring", *GROCER, *options)
    assert (made["terms"]["time_zone"], made["terms"]["uses_per_voucher"]) == ("UTC", 2)
    (changed,) = await counterfoil.json("campaigns", "change", "spring", *GROCER, "--stock", "unlimited")
    assert (changed["stock"], changed["terms"]) == (None, made["terms"])
    file.write_text(json.dumps({"discount": {"kind": "percent", "basis_points": 1}}))
    (changed,) = await counterfoil.json("campaigns", "change", "spring", *GROCER, "--terms", str(file))
    assert (changed["terms_version"], changed["terms"]["time_zone"]) == (2, "UTC")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "/terms/discount"),
        (("--amount-off", "5", "--stock", "many"), "/stock"),
        (("--percent-off", "101"), "/terms/discount/percent/basis_points"),
        (("--amount-off", "5", "--at-most", "5"), "--percent-off"),
        (("--terms", "nowhere.json"), "nowhere.json"),
    ],
)
async def test_what_is_wrong_with_a_campaign_is_said(
    counterfoil: Command, options: tuple[str, ...], said: str
) -> None:
    done = await counterfoil("campaigns", "create", "spring", *GROCER, *options)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


async def test_a_campaign_goes_through_its_states(counterfoil: Command) -> None:
    await _active(counterfoil)
    for action, state in (("pause", "paused"), ("resume", "active"), ("stop", "stopped"), ("end", "ended")):
        done = await counterfoil("campaigns", action, "spring", *GROCER)
        assert (done.returncode, f"spring is {state}." in done.stderr) == (0, True)
    back = await counterfoil("campaigns", "activate", "spring", *GROCER)
    assert (back.returncode, "move_not_allowed" in back.stderr) == (6, True)


async def test_codes_are_generated_while_the_command_waits(counterfoil: Command) -> None:
    await counterfoil("campaigns", "create", "spring", *GROCER, "--amount-off", "500")
    (made,) = await counterfoil.json("campaigns", "generate", "spring", "123", *GROCER)
    assert (made["made"], made["job"][:4]) == (123, "job_")
    (told,) = await counterfoil.json("campaigns", "counters", "spring", *GROCER)
    assert told["available"] == 123
    verified = await counterfoil("campaigns", "verify", "spring", *GROCER)
    assert (verified.returncode, verified.stdout) == (0, "")


async def test_counters_that_lie_are_found_out(counterfoil: Command, engine: AsyncEngine) -> None:
    await _active(counterfoil)
    await _voucher(counterfoil, "claim", "spring")
    async with begin(engine) as tx:
        await tx.execute("UPDATE campaign_counters SET issued = 7")
    done = await counterfoil("campaigns", "verify", "spring", *GROCER)
    assert (done.returncode, done.stdout) == (5, "issued\t7\t1\n")


@pytest.mark.parametrize("kind", ["csv", "json"])
async def test_codes_of_a_file_of_any_size_are_brought(
    counterfoil: Command, tmp_path: Path, kind: str
) -> None:
    await counterfoil("campaigns", "create", "spring", *GROCER, "--amount-off", "500")
    codes = [f"C{n}" for n in range(2 * pool.MOST_BROUGHT)] + ["C0", "TWICE", "TWICE", "NOT GOOD"]
    file = tmp_path / f"codes.{kind}"
    file.write_text(json.dumps(codes) if kind == "json" else "code\n" + "".join(f"{c}\n" for c in codes))
    (told,) = await counterfoil.json("campaigns", "import-codes", "spring", str(file), *GROCER)
    assert told == {
        "added": 2 * pool.MOST_BROUGHT + 1,
        "already_there": 1,
        "twice_in_request": 1,
        "invalid": 1,
        "invalid_codes": [{"code": "NOT GOOD", "reason": "not_printable"}],
    }
    again = await counterfoil("campaigns", "import-codes", "spring", str(file), *GROCER)
    assert again.stdout == f"0\t{2 * pool.MOST_BROUGHT + 2}\t1\t1\n"
    assert "'NOT GOOD': not_printable" in again.stderr


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("codes.txt", "A", "file_type_unknown"),
        ("codes.json", "{", "file_unreadable"),
        ("codes.json", "[1]", "file_unreadable"),
        ("codes.csv", "a,b\n1,2\n", "columns_invalid"),
        ("none.csv", None, "file_not_found"),
    ],
)
async def test_a_file_without_codes_is_refused(
    counterfoil: Command, tmp_path: Path, name: str, content: str | None, code: str
) -> None:
    await counterfoil("campaigns", "create", "spring", *GROCER, "--amount-off", "500")
    if content is not None:
        (tmp_path / name).write_text(content)
    done = await counterfoil("campaigns", "import-codes", "spring", str(tmp_path / name), *GROCER)
    assert (done.returncode, code in done.stderr) == (2, True), done.stderr


async def test_all_vouchers_are_written_to_a_file_whole_or_not_at_all(
    counterfoil: Command, tmp_path: Path
) -> None:
    await _active(counterfoil)
    codes = {(await _voucher(counterfoil, "claim", "spring"))["voucher"]["voucher_id"] for _ in range(3)}
    file = tmp_path / "vouchers.csv"
    assert (await counterfoil("campaigns", "export-codes", "spring", str(file), *GROCER)).returncode == 0
    assert {row["voucher_id"] for row in csv.DictReader(file.read_text().splitlines())} == codes
    nowhere = await counterfoil("campaigns", "export-codes", "other", str(tmp_path / "other.csv"), *GROCER)
    assert nowhere.returncode == 4
    assert _names_in(tmp_path) == ["vouchers.csv"]


async def test_a_voucher_lives_by_its_commands(counterfoil: Command, tmp_path: Path) -> None:
    await _active(counterfoil, "--uses", "3")
    issued = await _voucher(counterfoil, "issue", "spring", "--customer", "ann", "--channel", "desk")
    code = issued["voucher"]["voucher_id"]
    lines = tmp_path / "lines.json"
    lines.write_text(
        json.dumps([{"line_id": "a", "amount_minor": 600}, {"line_id": "b", "amount_minor": 400}])
    )
    valid = await _voucher(counterfoil, "validate", code, "--lines", str(lines))
    assert valid["discount"]["lines"][1] == {"line_id": "b", "discount_minor": 200}
    held = await _voucher(counterfoil, "reserve", code, "--order", "o1", "--amount", "900")
    await _voucher(counterfoil, "release", held["reservation"]["reservation_id"])
    redeemed = await _voucher(counterfoil, "redeem", code, "--order", "o2", "--lines", str(lines))
    redemption = redeemed["redemption"]["redemption_id"]
    back = await _voucher(counterfoil, "reverse", redemption, "--line", "b", "--reason", "broken")
    assert back["reversal"]["discount_minor"] == 200
    again = await _voucher(counterfoil, "redeem", code, "--order", "o2", "--lines", str(lines))
    assert again["repeated"]
    await _voucher(counterfoil, "void", code, "--reason", "lost")
    (shown,) = await counterfoil.json("vouchers", "show", code, *GROCER)
    assert (shown["state"], shown["void_reason"], shown["uses"]) == ("voided", "lost", 1)
    assert [r["state"] for r in shown["reservations"]] == ["released"]
    assert [r["reversed_minor"] for r in shown["redemptions"]] == [200]
    plain = await counterfoil("vouchers", "show", code, *GROCER)
    assert "off order o2, 200 given back" in plain.stdout
    for which in (
        ("--campaign", "spring"),
        ("--customer", "ann"),
        ("--customer", "ann", "--state", "voided"),
    ):
        (listed,) = await counterfoil.json("vouchers", "list", *GROCER, *which)
        assert listed["voucher_id"] == code
    assert (await counterfoil("vouchers", "list", *GROCER)).returncode == 2


async def test_a_refusal_tells_every_reason_and_has_its_exit_code(counterfoil: Command) -> None:
    await _active(counterfoil, "--minimum-spend", "1000")
    claimed = await counterfoil("vouchers", "claim", "spring", *GROCER, "--customer", "ann")
    code = claimed.stdout.split("voucher_id\t")[1].splitlines()[0]
    await counterfoil("campaigns", "pause", "spring", *GROCER)
    refused = await counterfoil("vouchers", "redeem", code, *GROCER, "--order", "o", "--amount", "1")
    assert (refused.returncode, refused.stdout) == (6, "")
    assert "refused (campaign_paused)" in refused.stderr
    assert "and (minimum_not_met)" in refused.stderr
    unknown = await counterfoil("vouchers", "validate", "NONE", *GROCER, "--json")
    assert (unknown.returncode, json.loads(unknown.stdout)["code"]) == (4, "voucher_not_found")
    wrong = await counterfoil("vouchers", "redeem", code, *GROCER, "--amount", "-1")
    assert (wrong.returncode, "amount_minor" in wrong.stderr) == (2, True)


async def test_a_voucher_is_drawn_for_a_scanner(counterfoil: Command, tmp_path: Path) -> None:
    await _active(counterfoil)
    code = (await _voucher(counterfoil, "claim", "spring"))["voucher"]["voucher_id"]
    assert (await counterfoil("vouchers", "qr", code, str(tmp_path / "q.svg"), *GROCER)).returncode == 0
    assert ET.fromstring((tmp_path / "q.svg").read_text()).tag.endswith("svg")
    shown = await counterfoil("vouchers", "qr", code, *GROCER)
    assert shown.stdout.startswith("<?xml")
    assert (await counterfoil("vouchers", "qr", "NONE", *GROCER)).returncode == 4
