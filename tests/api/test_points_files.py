"""Partners' files over HTTP: uploaded in one piece, followed record by record, answered, and never twice."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from counterfoil.api import create_api, points_files
from counterfoil.app import App
from counterfoil.db.transactions import read
from counterfoil.points.files import files
from tests.api.conftest import Caller
from tests.api.partner_files import world_of
from tests.points_files.world import Bank, Row, World

FILES = "/v1/points/files"
UPLOAD = "/v1/points/partners/bank/files"


@pytest.fixture
async def world(platform: App, grocer: Caller, tmp_path: Path) -> World:
    """The grocer with the members m1 to m3."""
    return await world_of(platform, grocer, tmp_path, "m1", "m2", "m3")


@pytest.fixture
async def bank(world: World) -> Bank:
    """A partner of the grocer's."""
    return await world.bank()


async def _upload(who: Caller, sealed: bytes, name: str = "accruals.pgp") -> dict[str, Any]:
    answer = await who.client.post(UPLOAD, params={"name": name}, content=sealed)
    assert answer.status_code == 202, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def _send(who: Caller, world: World, bank: Bank, *rows: Row, **said: Any) -> dict[str, Any]:
    """Upload a file, have it credited, and get it."""
    made = await _upload(who, bank.seal(bank.write(*rows, **said)))
    await world.run()
    return await _get(who, made["file_id"])


async def _get(who: Caller, path: str, **parameters: Any) -> dict[str, Any]:
    answer = await who.client.get(f"{FILES}/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_an_uploaded_file_is_kept_credited_and_counted(
    grocer: Caller, world: World, bank: Bank
) -> None:
    sealed = bank.seal(bank.write(("m1", 500, "R1"), ("m2", 20, "R2"), ("m9", 5, "R3"), ("m1", 500, "R1")))
    made = await _upload(grocer, sealed)
    assert (made["state"], made["via"], made["size_bytes"], made["name"]) == (
        "received", "api", len(sealed), "accruals.pgp",
    )  # fmt: skip
    await world.run()
    told = await _get(grocer, made["file_id"])
    assert (told["state"], told["sequence"], told["records"], told["decided"]) == ("credited", 1, 4, 4)
    assert (told["credited"], told["rejected"], told["duplicate"]) == (2, 1, 1)
    assert told["points"] == told["credited_points"] + told["rejected_points"] + told["duplicate_points"]
    assert told["progress"]["decided"] == told["progress"]["records"] == 4
    assert {(c["status"], c["code"]): c["records"] for c in told["codes"]} == {
        ("accepted", "credited"): 2,
        ("rejected", "not_found"): 1,
        ("duplicate", "repeated_in_file"): 1,
    }
    assert told["signer"] == bank.key.fingerprint
    assert told["header"]["sender"] == "BANK"
    assert (await grocer.client.get(f"{FILES}/{made['file_id']}/content")).content == sealed


async def test_a_members_records_are_found_before_while_and_after_they_are_credited(
    grocer: Caller, world: World, bank: Bank
) -> None:
    rows = [(f"m{n % 3 + 1}", 10 + n, f"R{n}") for n in range(12)]
    made = await _upload(grocer, bank.seal(bank.write(*rows)))
    at = f"{made['file_id']}/records"
    meant = [(points, n + 2) for n, (member, points, _) in enumerate(rows) if member == "m2"]
    assert (await _get(grocer, at, customer_id="m2"))["data"] == []
    seen = set()
    while jobs := await world.queued():
        for job, payload in jobs:
            await world.do(job, payload)
            found = (await _get(grocer, at, customer_id="m2"))["data"]
            assert [(r["points"], r["line"]) for r in found] == meant
            seen |= {record["state"] for record in found}
    assert seen == {"waiting", "accepted"}
    for record in found:
        origin = await grocer.client.get(f"/v1/points/transfers/{record['transfer_id']}/origin")
        assert origin.json()["file"]["line"] == record["line"]
        assert origin.json()["file"]["file_id"] == made["file_id"]
        transfer = (await grocer.client.get(f"/v1/points/transfers/{record['transfer_id']}")).json()
        assert (transfer["customer_id"], transfer["points"]) == ("m2", record["points"])
        assert transfer["reference"] == record["reference"]
    assert (await _get(grocer, at, customer_id="m"))["data"] == []


async def test_records_are_filtered_and_read_page_by_page(grocer: Caller, world: World, bank: Bank) -> None:
    rows: list[Row] = [(f"m{n % 3 + 1}", 10, f"R{n}") for n in range(9)]
    told = await _send(grocer, world, bank, *rows, ("m9", 5, "X"), ("m1", 0, "Z"), ("m2", 7, "R0"))
    at = f"{told['file_id']}/records"

    async def lines(**parameters: Any) -> list[int]:
        return [record["line"] for record in (await _get(grocer, at, **parameters))["data"]]

    assert await lines(reference="R4") == [6]
    assert await lines(line=3) == [3]
    assert sorted(await lines(state="rejected")) == [11, 12]
    assert await lines(state="duplicate") == [13]
    assert await lines(state="waiting") == []
    (again,) = (await _get(grocer, at, line=13))["data"]
    assert (again["code"], again["first_line"]) == ("reference_reused", 2)
    shown, cursor = list[int](), None
    while True:
        page = await _get(grocer, at, limit=5, **({"cursor": cursor} if cursor else {}))
        shown += [record["line"] for record in page["data"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert sorted(shown) == list(range(2, 14))


async def test_batches_and_decisions_tell_how_it_went(grocer: Caller, world: World, bank: Bank) -> None:
    rows: list[Row] = [(f"m{n % 3 + 1}", 10, f"R{n}") for n in range(12)]
    told = await _send(grocer, world, bank, *rows)
    batches = (await _get(grocer, f"{told['file_id']}/batches"))["data"]
    assert sum(batch["to_n"] - batch["from_n"] for batch in batches) == 12
    assert {batch["state"] for batch in batches} == {"done"}
    assert (await _get(grocer, f"{told['file_id']}/batches", state="open"))["data"] == []
    decisions = (await _get(grocer, f"{told['file_id']}/decisions"))["data"]
    assert [d["batch_no"] for d in decisions] == [batch["batch_no"] for batch in batches]
    assert all(d["workers"] >= 1 and d["outcome"] == "ok" for d in decisions)


async def test_the_response_is_fetched_again_and_again_and_confirmed_once(
    grocer: Caller, world: World, bank: Bank
) -> None:
    made = await _upload(grocer, bank.seal(bank.write(("m1", 5, "R1"))))
    at = f"{FILES}/{made['file_id']}"
    for method, path in (("GET", "response"), ("POST", "confirm")):
        early = await grocer.client.request(method, f"{at}/{path}")
        assert (early.status_code, early.json()["code"]) == (409, "partner_file_not_answered")
    await world.run()
    first = await grocer.client.get(f"{at}/response")
    assert first.headers["content-disposition"] == 'attachment; filename="accruals.response.pgp"'
    file = await world.all("SELECT file_no FROM points_files")
    async with read(world.engine) as tx:
        kept = b"".join([part async for part in files.parts(tx, file_no=file[0].file_no, kind="response")])
    assert first.content == kept == (await grocer.client.get(f"{at}/response")).content
    assert (await grocer.client.get(at)).json()["confirmed_at"] is None
    confirmed = (await grocer.client.post(f"{at}/confirm")).json()["confirmed_at"]
    assert (await grocer.client.post(f"{at}/confirm")).json()["confirmed_at"] == confirmed is not None


async def test_the_same_bytes_again_are_a_repetition_with_the_identical_response(
    grocer: Caller, world: World, bank: Bank
) -> None:
    sealed = bank.seal(bank.write(("m1", 5, "R1")))
    first = await _upload(grocer, sealed)
    await world.run()
    second = await _upload(grocer, sealed, "another.pgp")
    await world.run()
    told = await _get(grocer, second["file_id"])
    assert (told["state"], told["repeats"]) == ("repeated", first["file_id"])
    answers = [(await grocer.client.get(f"{FILES}/{f['file_id']}/response")).content for f in (first, second)]
    assert answers[0] == answers[1]
    assert await world.balances() == {"m1": 5}


async def test_a_rejected_file_says_why_and_which_number_comes_next(
    grocer: Caller, world: World, bank: Bank
) -> None:
    told = await _send(grocer, world, bank, ("m1", 5, "R1"), sequence=4)
    assert (told["state"], told["reason"], told["expected_sequence"]) == ("rejected", "sequence_wrong", 1)
    assert told["problems"] == [{"line": 1, "field": "sequence", "code": "sequence_wrong"}]
    assert told["codes"] == []
    garbage = await _upload(grocer, b"not encrypted at all")
    await world.run()
    assert (await _get(grocer, garbage["file_id"]))["reason"] == "not_openpgp"
    assert await world.balances() == {}


async def test_files_are_listed_by_partner_state_and_number(grocer: Caller, world: World, bank: Bank) -> None:
    air = await world.bank("air")
    await _send(grocer, world, bank, ("m1", 5, "R1"))
    await _send(grocer, world, bank, ("m1", 5, "R2"))
    await air.send(("m1", 5, "R1"))

    async def names(**parameters: Any) -> list[tuple[str, Any]]:
        answer = await grocer.client.get(FILES, params=parameters)
        return [(f["partner_id"], f["sequence"]) for f in answer.json()["data"]]

    assert await names() == [("air", None), ("bank", 2), ("bank", 1)]
    assert await names(partner_id="bank", sequence=1) == [("bank", 1)]
    assert await names(state="received") == [("air", None)]
    assert await names(partner_id="none") == []
    page = (await grocer.client.get(FILES, params={"limit": 1})).json()
    rest = (await grocer.client.get(FILES, params={"cursor": page["next_cursor"]})).json()
    assert [len(part["data"]) for part in (page, rest)] == [1, 2]


async def test_an_export_has_every_record_and_no_formula(grocer: Caller, world: World, bank: Bank) -> None:
    await world.members("=cmd()")
    told = await _send(grocer, world, bank, ("m1", 5, "+R1"), ("=cmd()", 6, "@R2"), ("m9", 7, "-R3"))
    answer = await grocer.client.get(f"{FILES}/{told['file_id']}/export")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {(r["customer_id"], r["reference"], r["state"], r["code"]) for r in rows} == {
        ("m1", "'+R1", "accepted", "credited"),
        ("'=cmd()", "'@R2", "accepted", "credited"),
        ("m9", "'-R3", "rejected", "not_found"),
    }


async def test_what_cannot_be_uploaded_is_refused_with_why(grocer: Caller, bank: Bank) -> None:
    for name, content, code in (
        ("a.pgp", b"", "file_empty"),
        ("../a.pgp", b"x", "partner_file_name_invalid"),
        ("a\nb.pgp", b"x", "partner_file_name_invalid"),
    ):
        answer = await grocer.client.post(UPLOAD, params={"name": name}, content=content)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    await bank.world.execute("UPDATE points_partners SET state = 'closed'")
    closed = await grocer.client.post(UPLOAD, params={"name": "a.pgp"}, content=b"x")
    assert (closed.status_code, closed.json()["code"]) == (422, "partner_closed")
    none = await grocer.client.post(UPLOAD.replace("bank", "none"), params={"name": "a.pgp"}, content=b"x")
    assert (none.status_code, none.json()["code"]) == (404, "partner_not_found")


async def test_a_file_may_be_larger_than_other_bodies_but_not_without_end(
    platform: App, grocer: Caller, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = platform.settings.model_copy(update={"max_body_bytes": 1024})
    monkeypatch.setattr(points_files, "BODIES", dict.fromkeys(points_files.BODIES, 100_000))
    api: FastAPI = create_api(replace(platform, settings=settings))
    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    headers = {"authorization": grocer.client.headers["authorization"]}

    async def endless(parts: int) -> AsyncIterator[bytes]:
        for _ in range(parts):
            yield b"x" * 1000

    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        within = await client.post(UPLOAD, params={"name": "a.pgp"}, content=endless(90))
        beyond = await client.post(UPLOAD, params={"name": "a.pgp"}, content=endless(200))
        told = await client.post(UPLOAD, params={"name": "a.pgp"}, content=b"x" * 200_000)
        other = await client.post("/v1/points/partners", content=b"x" * 2000)
    assert (within.status_code, within.json()["size_bytes"]) == (202, 90_000)
    for answer in (beyond, told, other):
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
