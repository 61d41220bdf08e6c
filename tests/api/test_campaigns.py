"""Campaigns over HTTP: made, changed, brought through their states, counted live; codes in and out."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from counterfoil.app import App
from counterfoil.db.transactions import begin, read
from counterfoil.vouchers import verbs
from counterfoil.vouchers.codes import SYMBOLS
from counterfoil.vouchers.jobs import generate_job
from counterfoil.vouchers.requests import Asked, Claim, Issue
from tests.api.conftest import Caller
from tests.builders import NOW

FIVE_OFF = {"kind": "amount", "amount_minor": 500}


async def make(who: Caller, campaign_id: str = "spring", **said: Any) -> dict[str, Any]:
    terms = {"discount": FIVE_OFF, **said.pop("terms", {})}
    answer = await who.client.post("/v1/campaigns", json={"campaign_id": campaign_id, "terms": terms, **said})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def do(who: Caller, action: str, campaign_id: str = "spring") -> httpx.Response:
    return await who.client.post(f"/v1/campaigns/{campaign_id}/{action}")


async def claim(platform: App, who: Caller, *customers: str) -> list[str]:
    asked = [Asked(who.merchant.id, Claim(campaign_id="spring", customer_id=c)) for c in customers]
    async with begin(platform.engine) as tx:
        outcomes = await verbs.run(tx, "claim", asked, now=NOW)
    return [outcome.voucher.voucher_id for outcome in outcomes if outcome.voucher is not None]


async def test_a_campaign_begins_as_a_draft_in_the_merchants_time_zone(grocer: Caller) -> None:
    made = await make(grocer, name="Spring", kind="season", attributes={"a": [1]}, stock=10, budget_minor=0)
    assert (made["state"], made["terms_version"], made["terms"]["time_zone"]) == ("draft", 1, "UTC")
    assert made["limits"] == {"stock": 10, "budget_minor": 0, "max_redemptions": None}
    assert (made["counters"]["stock_left"], made["counters"]["budget_left_minor"]) == (10, 0)
    assert (await grocer.client.get("/v1/campaigns/spring")).json() == made
    elsewhere = await make(grocer, "autumn", terms={"time_zone": "Asia/Shanghai"})
    assert elsewhere["terms"]["time_zone"] == "Asia/Shanghai"


async def test_hours_come_back_as_they_were_sent(grocer: Caller) -> None:
    windows = [{"days": ["sat", "sun"], "from": "22:00:00", "until": "02:00:00"}]
    made = await make(grocer, terms={"claim_windows": windows})
    assert made["terms"]["claim_windows"] == windows
    sent = {name: value for name, value in made["terms"].items() if value is not None}
    changed = await grocer.client.patch("/v1/campaigns/spring", json={"terms": sent})
    assert changed.json()["terms_version"] == 1


@pytest.mark.parametrize("campaign_id", ["", "a/b", "a b", ".", "..", "-a", "a" * 101, "ä", "a\n"])
async def test_an_id_that_cannot_stand_in_a_path_is_refused(grocer: Caller, campaign_id: str) -> None:
    body = {"campaign_id": campaign_id, "terms": {"discount": FIVE_OFF}}
    answer = await grocer.client.post("/v1/campaigns", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/campaign_id"


@pytest.mark.parametrize(
    ("terms", "pointer"),
    [
        ({"time_zone": "Mars/Olympus"}, "/terms/time_zone"),
        ({"time_zone": ""}, "/terms/time_zone"),
        ({"time_zone": None}, "/terms/time_zone"),
        ({"discount": {"kind": "percent", "basis_points": 10_001}}, "/terms/discount/percent/basis_points"),
        ({"claim_windows": [{"from": "10:00+01:00"}]}, "/terms/claim_windows/0/from"),
        ({"codes": {"length": 4}}, "/terms/codes"),
        ({"misspelt": 1}, "/terms/misspelt"),
    ],
)
async def test_wrong_terms_are_named_by_their_place(
    grocer: Caller, terms: dict[str, Any], pointer: str
) -> None:
    body = {"campaign_id": "c", "terms": {"discount": FIVE_OFF, **terms}}
    answer = await grocer.client.post("/v1/campaigns", json=body)
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_an_id_is_taken_once_by_what_is_run_here_or_recorded(grocer: Caller, baker: Caller) -> None:
    await make(grocer)
    await make(baker)
    await grocer.client.post("/v1/campaigns/bulk", json={"records": [{"campaign_id": "old"}]})
    for taken in ("spring", "old"):
        body = {"campaign_id": taken, "terms": {"discount": FIVE_OFF}}
        answer = await grocer.client.post("/v1/campaigns", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "campaign_exists")
    assert (await grocer.client.get("/v1/campaigns/old")).status_code == 404


async def test_the_same_request_again_makes_no_second_campaign(grocer: Caller) -> None:
    body = {"campaign_id": "c", "terms": {"discount": FIVE_OFF}}
    first, again = [
        await grocer.client.post("/v1/campaigns", json=body, headers={"idempotency-key": "k"})
        for _ in range(2)
    ]
    assert (first.json(), again.status_code) == (again.json(), 201)
    assert again.headers["idempotency-replayed"] == "true"


async def test_only_what_is_said_changes_and_null_lifts_a_limit(grocer: Caller) -> None:
    before = await make(grocer, name="Spring", kind="season", attributes={"a": 1}, stock=10, budget_minor=9)

    async def change(**said: Any) -> dict[str, Any]:
        answer = await grocer.client.patch("/v1/campaigns/spring", json=said)
        assert answer.status_code == 200, answer.text
        changed: dict[str, Any] = answer.json()
        return changed

    assert (await change())["limits"] == before["limits"]
    changed = await change(stock=None, name="May")
    assert changed["limits"] == {"stock": None, "budget_minor": 9, "max_redemptions": None}
    assert (changed["name"], changed["kind"], changed["attributes"]) == ("May", "season", {"a": 1})
    assert (await change(kind=None, attributes={}))["kind"] is None
    assert changed["terms_version"] == 1
    other = {"discount": {"kind": "percent", "basis_points": 1000}, "time_zone": "Asia/Tokyo"}
    changed = await change(terms=other)
    assert (changed["terms_version"], changed["terms"]["discount"]["basis_points"]) == (2, 1000)
    # What is left out of new terms is as if it had never been said, but for the time zone.
    changed = await change(terms={"discount": FIVE_OFF, "stacking": "alone"})
    assert (changed["terms_version"], changed["terms"]["time_zone"]) == (3, "Asia/Tokyo")
    answer = await grocer.client.patch("/v1/campaigns/spring", json={"terms": None})
    assert answer.status_code == 422


async def test_a_limit_below_what_is_used_and_fixed_terms_are_refused(platform: App, grocer: Caller) -> None:
    await make(grocer, stock=10)
    await do(grocer, "activate")
    await claim(platform, grocer, "ann", "bob")
    answer = await grocer.client.patch("/v1/campaigns/spring", json={"stock": 1})
    assert (answer.status_code, answer.json()["code"]) == (422, "limit_below_used")
    assert answer.json()["errors"][0]["pointer"] == "/stock"
    terms = {"discount": {"kind": "percent", "basis_points": 1}}
    answer = await grocer.client.patch("/v1/campaigns/spring", json={"terms": terms})
    assert (answer.status_code, answer.json()["code"]) == (422, "terms_fixed")
    assert (await grocer.client.patch("/v1/campaigns/spring", json={"stock": 2})).status_code == 200


async def test_a_pot_needs_a_stock_that_it_fits(grocer: Caller) -> None:
    pot = {"kind": "random", "pot_minor": 100, "smallest_minor": 10, "largest_minor": 20}
    for stock, code in ((None, "stock_required"), (11, "pot_does_not_fit"), (4, "pot_does_not_fit")):
        body = {"campaign_id": "pot", "stock": stock, "terms": {"discount": pot}}
        answer = await grocer.client.post("/v1/campaigns", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    await make(grocer, "pot", stock=8, terms={"discount": pot})


async def test_a_campaign_goes_through_its_states_and_there_is_no_way_back(grocer: Caller) -> None:
    await make(grocer)
    for action, state in (
        ("resume", None),
        ("pause", None),
        ("activate", "active"),
        ("activate", "active"),
        ("resume", "active"),
        ("pause", "paused"),
        ("activate", None),
        ("resume", "active"),
        ("stop", "stopped"),
        ("activate", None),
        ("end", "ended"),
        ("stop", None),
        ("end", "ended"),
    ):
        answer = await do(grocer, action)
        if state is None:
            assert (answer.status_code, answer.json()["code"]) == (422, "move_not_allowed"), action
        else:
            assert (answer.status_code, answer.json()["state"]) == (200, state), action


async def test_the_list_has_each_once_the_newest_first_and_by_state(grocer: Caller, baker: Caller) -> None:
    for n in range(5):
        await make(grocer, f"c{n}")
    await make(baker, "bread")
    await do(grocer, "activate", "c3")
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await grocer.client.get("/v1/campaigns", params={"limit": 2, **cursor})).json()
        found += page["data"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert [c["campaign_id"] for c in found] == ["c4", "c3", "c2", "c1", "c0"]
    assert found[0]["discount"] == FIVE_OFF
    active = (await grocer.client.get("/v1/campaigns", params={"state": "active"})).json()["data"]
    assert [c["campaign_id"] for c in active] == ["c3"]


async def test_counters_are_those_of_the_moment(platform: App, grocer: Caller) -> None:
    await make(grocer, stock=10)
    await do(grocer, "activate")
    await claim(platform, grocer, "ann", "bob")
    counters = (await grocer.client.get("/v1/campaigns/spring/counters")).json()
    assert (counters["issued"], counters["handed_out"], counters["stock_left"]) == (2, 2, 8)
    assert counters == (await grocer.client.get("/v1/campaigns/spring")).json()["counters"]


async def test_a_stream_ends_when_it_was_asked_to(grocer: Caller) -> None:
    await make(grocer, stock=3)
    answer = await grocer.client.get("/v1/campaigns/spring/counters/stream", params={"for_seconds": 0})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    event, data, *_ = answer.text.splitlines()
    assert event == "event: counters"
    assert json.loads(data.removeprefix("data: "))["stock_left"] == 3
    missing = await grocer.client.get("/v1/campaigns/none/counters/stream")
    assert (missing.status_code, missing.json()["code"]) == (404, "campaign_not_found")


@asynccontextmanager
async def _served(api: FastAPI) -> AsyncIterator[str]:
    """The API on a socket: the only transport that shows an answer before its end."""
    server = uvicorn.Server(uvicorn.Config(api, port=0, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await serving


async def test_a_stream_tells_what_changed_and_ends_when_the_client_goes(
    platform: App, api: FastAPI, grocer: Caller
) -> None:
    await make(grocer)
    await do(grocer, "activate")
    key = {"authorization": grocer.client.headers["authorization"]}
    told: list[int] = []
    async with _served(api) as address, httpx.AsyncClient(base_url=address, headers=key) as client:
        with anyio.fail_after(30):
            async with client.stream("GET", "/v1/campaigns/spring/counters/stream") as stream:
                async for line in stream.aiter_lines():
                    if line.startswith("data: "):
                        told.append(json.loads(line.removeprefix("data: "))["issued"])
                        if told[-1] == 2:
                            break
                        await claim(platform, grocer, "ann" if told[-1] == 0 else "bob")
    # The server has stopped although nobody waited for the stream's end.
    assert told == [0, 1, 2]


async def test_codes_are_generated_by_a_job(platform: App, grocer: Caller) -> None:
    await make(grocer)
    path, body = "/v1/campaigns/spring/codes/generate", {"count": 12}
    assert (await grocer.client.post(path, json=body)).json()["code"] == "idempotency_key_missing"
    answer = await grocer.client.post(path, json=body, headers={"idempotency-key": "k"})
    assert (answer.status_code, answer.json()["kind"]) == (202, "codes")
    async with read(platform.engine) as tx:
        queued = json.loads(
            await tx.scalar("SELECT payload FROM pgqueuer WHERE entrypoint = 'vouchers.generate'")
        )
    await generate_job(platform.engine, queued)
    job = (await grocer.client.get(f"/v1/jobs/{answer.json()['id']}")).json()
    assert (job["state"], job["progress"]) == ("succeeded", {"done": 12, "total": 12})
    assert (await grocer.client.get("/v1/campaigns/spring/counters")).json()["available"] == 12


@pytest.mark.parametrize(
    ("count", "code"), [(0, "invalid"), (10_000_001, "invalid"), (2_000_000, "codes_too_dense")]
)
async def test_too_many_codes_or_none_are_not_generated(grocer: Caller, count: int, code: str) -> None:
    await make(grocer, terms={"codes": {"charset": SYMBOLS, "length": 7}})
    answer = await grocer.client.post(
        "/v1/campaigns/spring/codes/generate", json={"count": count}, headers={"idempotency-key": "k"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, code)


@pytest.mark.parametrize("how", ["json", "csv"])
async def test_codes_that_are_brought_are_told_of_one_by_one(grocer: Caller, how: str) -> None:
    await make(grocer)
    await make(grocer, "other")
    await grocer.client.post("/v1/campaigns/other/codes", json={"codes": ["TAKEN"]})
    codes = ["ONE", "TWO", "ONE", "TAKEN", "W ORSE", "X" * 65]
    sent: dict[str, Any] = {"json": {"codes": codes}}
    if how == "csv":
        content = "\ufeffcode\r\n" + "".join(f"{code}\r\n" for code in codes)
        sent = {"content": content.encode(), "headers": {"content-type": "text/csv; charset=utf-8"}}
    answer = await grocer.client.post("/v1/campaigns/spring/codes", **sent)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert [(one["code"], one["outcome"], one["reason"]) for one in told["codes"]] == [
        ("ONE", "added", None),
        ("TWO", "added", None),
        ("ONE", "twice_in_request", None),
        ("TAKEN", "already_there", None),
        ("W ORSE", "invalid", "not_printable"),
        ("X" * 65, "invalid", "too_long"),
    ]
    totals = {name: told[name] for name in ("added", "already_there", "twice_in_request", "invalid")}
    assert totals == {"added": 2, "already_there": 1, "twice_in_request": 1, "invalid": 2}
    assert (await grocer.client.get("/v1/campaigns/spring/counters")).json()["available"] == 2
    again = await grocer.client.post("/v1/campaigns/spring/codes", **sent)
    assert (again.json()["added"], again.json()["already_there"]) == (0, 3)


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "json_invalid"),
        (b"\xff", "application/json", 400, "json_invalid"),
        (b"[" * 100_000, "application/json", 400, "json_invalid"),
        (b"", "application/json", 400, "json_invalid"),
        (b"[]", "application/json", 422, "invalid"),
        (b'{"codes": []}', "application/json", 422, "invalid"),
        (b'{"codes": [1]}', "application/json", 422, "invalid"),
        (b'{"codes": ["\\ud800"]}', "application/json", 422, "invalid"),
        (b'{"codes": ["A"], "more": 1}', "application/json", 422, "invalid"),
        (json.dumps({"codes": ["A"] * 10_001}).encode(), "application/json", 422, "invalid"),
        (b"", "text/csv", 422, "invalid"),
        (b"code\n", "text/csv", 422, "invalid"),
        (b"\xff\n", "text/csv", 422, "file_unreadable"),
        (b"a,b\n1,2\n", "text/csv", 422, "columns_invalid"),
        (b"A\n" * 10_001, "text/csv", 422, "invalid"),
    ],
    ids=lambda it: str(it)[:20],
)
async def test_a_body_without_codes_is_refused(
    grocer: Caller, content: bytes, content_type: str, status: int, code: str
) -> None:
    await make(grocer)
    answer = await grocer.client.post(
        "/v1/campaigns/spring/codes", content=content, headers={"content-type": content_type}
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_a_campaign_that_is_over_takes_no_codes(grocer: Caller) -> None:
    await make(grocer)
    await do(grocer, "activate")
    await do(grocer, "stop")
    answer = await grocer.client.post("/v1/campaigns/spring/codes", json={"codes": ["A"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "campaign_stopped")
    headers = {"idempotency-key": "k"}
    answer = await grocer.client.post(
        "/v1/campaigns/spring/codes/generate", json={"count": 1}, headers=headers
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "campaign_stopped")


async def test_an_export_has_every_voucher_and_no_formula(platform: App, grocer: Caller) -> None:
    await make(grocer, terms={"validity": {"kind": "after_issue", "hours": 1}})
    await make(grocer, "other")
    await grocer.client.post("/v1/campaigns/other/codes", json={"codes": ["ELSEWHERE"]})
    await do(grocer, "activate")
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", 'A,"B']
    await grocer.client.post("/v1/campaigns/spring/codes", json={"codes": formulas})
    asked = [Asked(grocer.merchant.id, Issue(campaign_id="spring", voucher_id="+1", customer_id="=ann"))]
    async with begin(platform.engine) as tx:
        await verbs.run(tx, "issue", asked, now=NOW)
    answer = await grocer.client.get("/v1/campaigns/spring/codes/export")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="spring.csv"'
    header, *rows = csv.reader(io.StringIO(answer.text))
    assert header == [
        "voucher_id", "state", "customer_id", "issued_at", "valid_until", "uses",
        "amount_minor", "balance_minor",
    ]  # fmt: skip
    found = {row[0]: row[1:] for row in rows}
    assert set(found) == {"'=1+1", "'+1", "'-1", "'@SUM(A1)", 'A,"B'}
    assert found["'+1"] == ["issued", "'=ann", "2026-06-01T12:00:00Z", "2026-06-01T13:00:00Z", "0", "", ""]
    assert found["'-1"] == ["available", "", "", "", "0", "", ""]
    assert (await grocer.client.get("/v1/campaigns/none/codes/export")).status_code == 404
