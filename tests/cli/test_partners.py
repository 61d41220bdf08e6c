"""`counterfoil partners` and the commands of partners' files, on a real database, with real encryption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.cli.test_platform import Command, Finished
from tests.points_files.sftp_server import asyncssh_partner
from tests.points_files.world import Bank, World, make_world, pair

GROCER = ("--merchant", "grocer")


@pytest.fixture
async def world(engine: AsyncEngine, tmp_path: Path) -> World:
    """A merchant with members, and a key of its own."""
    made = await make_world(engine, tmp_path, "m1", "m2", "m3")
    await made.execute("UPDATE merchants SET reference = 'grocer' WHERE id = :id", id=made.merchant_id)
    return made


@pytest.fixture
async def bank(world: World) -> Bank:
    """A partner of it."""
    return await world.bank()


@pytest.fixture
def counterfoil(
    world: World, database: URL, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """The command, for a merchant that is there."""
    assert world.merchant_id
    return Command(database.render_as_string(hide_password=False), monkeypatch, capsys)


async def _run(counterfoil: Command, *words: str) -> Finished:
    return await counterfoil(*words, *GROCER)


async def _rows(counterfoil: Command, *words: str) -> list[dict[str, Any]]:
    return await counterfoil.json(*words, *GROCER)


def _file(world: World, bank: Bank, *rows: Any, **said: Any) -> str:
    path = world.directory / "accruals.pgp"
    path.write_bytes(bank.seal(bank.write(*rows, **said)))
    return str(path)


async def test_a_partner_is_added_with_its_key_shown_and_changed(
    counterfoil: Command, tmp_path: Path
) -> None:
    (tmp_path / "key.asc").write_text(pair("air").public)
    (tmp_path / "terms.json").write_text(
        json.dumps({"points_max": 500, "outside": {"url": "https://l.example", "secret": "s3cret"}})
    )
    (added,) = await _rows(
        counterfoil, "partners", "add", "air", "--name", "Air", "--sender", "AIR", "--receiver", "SHOP",
        "--terms", str(tmp_path / "terms.json"), "--key", str(tmp_path / "key.asc"), "--first-sequence", "7",
    )  # fmt: skip
    assert (added["next_sequence"], added["shape"], added["state"]) == (7, "delimited", "open")
    (shown,) = await _rows(counterfoil, "partners", "show", "air")
    assert shown["terms"]["outside"]["secret"] == "********"
    assert "s3cret" not in (await _run(counterfoil, "partners", "show", "air")).stdout
    (tmp_path / "change.json").write_text('{"points_max": 900, "outside": null}')
    change = ("partners", "change", "air", "--terms", str(tmp_path / "change.json"), "--state", "closed")
    (changed,) = await _rows(counterfoil, *change, "--layout", "csv")
    assert (changed["state"], changed["shape"]) == ("closed", "csv")
    (shown,) = await _rows(counterfoil, "partners", "show", "air")
    assert (shown["terms"]["points_max"], shown["terms"]["outside"]) == (900, None)
    assert [row["partner_id"] for row in await _rows(counterfoil, "partners", "list")] == ["air"]


async def test_keys_are_pinned_and_retired_and_ours_are_made(
    counterfoil: Command, bank: Bank, tmp_path: Path
) -> None:
    (known,) = await _rows(counterfoil, "partners", "keys", "bank")
    assert known["fingerprint"] == bank.key.fingerprint
    (tmp_path / "new.asc").write_text(pair("bank2").public)
    both = await _rows(counterfoil, "partners", "keys", "bank", "--add", str(tmp_path / "new.asc"))
    assert len(both) == 2
    rows = await _rows(counterfoil, "partners", "keys", "bank", "--retire", bank.key.fingerprint)
    assert [row["retired_at"] is None for row in rows] == [True, False]
    ours = await _rows(counterfoil, "partners", "own-keys", "--write", str(tmp_path / "ours.asc"))
    assert {row["kind"] for row in ours} == {"openpgp", "ssh"}
    assert (tmp_path / "ours.asc").read_text().startswith("-----BEGIN PGP PUBLIC KEY BLOCK")
    assert "PRIVATE" not in json.dumps(ours)
    (tmp_path / "none.asc").write_text("no key")
    wrong = await _run(counterfoil, "partners", "keys", "bank", "--add", str(tmp_path / "none.asc"))
    assert (wrong.returncode, "ssh_key_invalid" in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "cannot be read"), ("[]", "JSON object"), ('{"points_min": 9, "points_max": 1}', "contradict")],
)
async def test_what_is_wrong_with_terms_is_said(
    counterfoil: Command, tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "terms.json").write_text(content)
    words = ("partners", "add", "x", "--sender", "X", "--receiver", "S", "--terms")
    done = await _run(counterfoil, *words, str(tmp_path / "terms.json"))
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


async def test_a_test_of_a_partner_tells_all_that_works_and_all_that_does_not(
    counterfoil: Command, bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = await counterfoil("partners", "test", "bank", *GROCER)
    assert good.returncode == 0, good.stderr
    (tmp_path / "server").mkdir()
    with asyncssh_partner(tmp_path / "server") as there:
        server = {
            name: getattr(there.server, name)
            for name in ("host", "port", "user", "host_keys", "incoming", "responses")
        }
        await bank.change(server=server)
        await counterfoil("partners", "own-keys", *GROCER)
        bad = await counterfoil("partners", "test", "bank", "--json", *GROCER)
        (told,) = json.loads(bad.stdout)
        assert {c["check"]: c["code"] for c in told["checks"]}["server"] == "sftp_host_forbidden"
        assert (bad.returncode, "partner_test_failed" in bad.stderr) == (5, True)
        monkeypatch.setenv("COUNTERFOIL_WEBHOOK_ALLOW", "127.0.0.0/8")
        (told,) = json.loads((await counterfoil("partners", "test", "bank", "--json", *GROCER)).stdout)
        # Our key is not the one that this server knows.
        assert {c["check"]: c["code"] for c in told["checks"]}["server"] == "sftp_sign_in_refused"
        shown = await counterfoil.json("partners", "host-keys", "127.0.0.1", str(there.server.port))
        assert shown[0]["host_key"] in there.server.host_keys[0]


async def test_a_file_is_submitted_credited_by_the_command_and_answered(
    counterfoil: Command, world: World, bank: Bank, tmp_path: Path
) -> None:
    path = _file(world, bank, ("m1", 500, "R1"), ("m2", 20, "R2"), ("m9", 5, "R3"), ("m1", 500, "R1"))
    answer = tmp_path / "answer.pgp"
    (row,) = await _rows(
        counterfoil, "points", "submit", path, "--partner", "bank", "--wait", "--response", str(answer)
    )
    assert (row["state"], row["credited"], row["rejected"], row["duplicate"]) == ("credited", 2, 1, 1)
    assert answer.stat().st_size > 0
    assert await world.balances() == {"m1": 500, "m2": 20}
    (of_m1, again) = await _rows(counterfoil, "points", "records", row["file_id"], "--customer", "m1")
    assert (of_m1["state"], of_m1["points"], again["state"]) == ("accepted", 500, "duplicate")
    assert again["our_reference"] == of_m1["our_reference"]
    named = ("--partner", "bank", "--sequence", "1")
    (rejected,) = await _rows(counterfoil, "points", "records", *named, "--state", "rejected")
    assert (rejected["customer_id"], rejected["code"]) == ("m9", "not_found")
    assert sum(batch["records"] for batch in await _rows(counterfoil, "points", "batches", *named)) == 4
    again_row = (await _rows(counterfoil, "points", "submit", path, "--partner", "bank", "--wait"))[0]
    assert again_row["state"] == "repeated"
    assert len(await _rows(counterfoil, "points", "files", "--partner", "bank")) == 2
    assert await world.balances() == {"m1": 500, "m2": 20}


async def test_a_file_that_is_rejected_ends_the_command_with_why(
    counterfoil: Command, world: World, bank: Bank, tmp_path: Path
) -> None:
    path = _file(world, bank, ("m1", 5, "R1"), sequence=9)
    answer = tmp_path / "answer.pgp"
    done = await _run(counterfoil, "points", "submit", path, "--partner", "bank", "--response", str(answer))
    assert done.returncode == 6
    assert "sequence_wrong" in done.stderr
    assert "must have the number 1" in done.stderr
    assert answer.stat().st_size > 0
    assert await world.balances() == {}


async def test_what_cannot_be_submitted_or_found_is_said(
    counterfoil: Command, world: World, bank: Bank, tmp_path: Path
) -> None:
    submit = ("points", "submit")
    missing = await _run(counterfoil, *submit, str(tmp_path / "none.pgp"), "--partner", "bank")
    assert (missing.returncode, "no such file" in missing.stderr) == (2, True)
    unknown = await _run(counterfoil, *submit, _file(world, bank, ("m1", 5, "R1")), "--partner", "none")
    assert (unknown.returncode, "partner_not_found" in unknown.stderr) == (4, True)
    (tmp_path / "empty.pgp").touch()
    empty = await _run(counterfoil, *submit, str(tmp_path / "empty.pgp"), "--partner", "bank")
    assert (empty.returncode, "file_empty" in empty.stderr) == (2, True)
    for words in (("points", "records"), ("points", "batches", "--partner", "bank")):
        assert (await _run(counterfoil, *words)).returncode == 2
    none = await _run(counterfoil, "points", "records", "--partner", "bank", "--sequence", "4")
    assert (none.returncode, "partner_file_not_found" in none.stderr) == (4, True)


async def test_a_file_waits_for_a_worker_where_nobody_waits_for_it(
    counterfoil: Command, world: World, bank: Bank
) -> None:
    (row,) = await _rows(
        counterfoil, "points", "submit", _file(world, bank, ("m1", 5, "R1")), "--partner", "bank"
    )
    assert row["state"] == "received"
    await world.run()
    (row,) = await _rows(counterfoil, "points", "files")
    assert row["state"] == "credited"
