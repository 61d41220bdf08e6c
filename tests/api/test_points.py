"""The program, members' accounts, their statements, and the ledger as a whole, over HTTP."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from counterfoil.app import App
from counterfoil.db.transactions import begin
from tests.api.conftest import Caller
from tests.api.points import ask, balance, get, one, open_accounts, proven, put_program, send, transfer
from tests.api.test_problems import check_problem


async def test_a_merchant_without_a_program_is_told_how_to_make_one(grocer: Caller) -> None:
    answer = await grocer.client.get("/v1/points/program")
    assert "PUT /v1/points/program" in check_problem(answer, 404, "points_program_not_found")["detail"]
    for path, body in (
        ("earn", {"orders": [{"order_id": "o", "customer_id": "ann", "paid_minor": 1}]}),
        ("burn", {"burns": [{"order_id": "o", "customer_id": "ann", "points": 1}]}),
    ):
        answer = await grocer.client.post(f"/v1/points/{path}", json=body)
        check_problem(answer, 404, "points_program_not_found")


async def test_a_program_is_set_as_a_whole_in_the_merchants_time_zone(grocer: Caller) -> None:
    terms = {"earn": {"points": 2, "minor": 100}, "max_balance": 500, "expiry": {"after_months": 12}}
    made = await put_program(grocer, **terms, activate_after_days=14, earn_from_orders=True)
    assert made == await get(grocer, "program")
    assert (made["earn"], made["time_zone"]) == ({"points": 2, "minor": 100}, "UTC")
    assert made["expiry"] == {"after_months": 12, "at": "month_end"}
    assert await put_program(grocer, **made) == made
    again = await put_program(grocer, time_zone="Asia/Shanghai")
    assert (again["max_balance"], again["earn_from_orders"]) == (None, False)
    assert again["time_zone"] == "Asia/Shanghai"


@pytest.mark.parametrize(
    ("terms", "pointer"),
    [
        ({"earn": {"points": 1.5, "minor": 1}}, "/earn/points"),
        ({"earn": {"points": True, "minor": 1}}, "/earn/points"),
        ({"earn": {"points": "1", "minor": 1}}, "/earn/points"),
        ({"burn": {"points": 1, "minor": 0}}, "/burn/minor"),
        ({"max_balance": 10**30}, "/max_balance"),
        ({"max_balance": 0}, "/max_balance"),
        ({"expiry": {"after_months": 0}}, "/expiry/after_months"),
        ({"expiry": {"after_months": 1, "at": "never"}}, "/expiry/at"),
        ({"activate_after_days": -1}, "/activate_after_days"),
        ({"time_zone": "Mars/Base"}, "/time_zone"),
        ({"time_zone": "a\x00b"}, "/time_zone"),
        ({"time_zone": "../../etc/passwd"}, "/time_zone"),
        ({"time_zone": "\ud800"}, "/time_zone"),
        ({"misspelt": 1}, "/misspelt"),
    ],
)
async def test_wrong_terms_of_a_program_are_named_by_their_place(
    grocer: Caller, terms: dict[str, Any], pointer: str
) -> None:
    answer = await send(grocer, "PUT", "program", terms)
    assert [e["pointer"] for e in check_problem(answer, 422, "invalid")["errors"]] == [pointer]


async def test_accounts_are_opened_once_and_listed_by_prefix(grocer: Caller, baker: Caller) -> None:
    assert await open_accounts(grocer, "ann", "bob", "ann", " ann ") == {"opened": 2, "existing": 0}
    assert await open_accounts(grocer, "ann", "anna", "天") == {"opened": 2, "existing": 1}
    await open_accounts(baker, "ann-of-the-baker")
    first = await get(grocer, "accounts", prefix="ann", limit=1)
    assert [account["customer_id"] for account in first["data"]] == ["ann"]
    then = await get(grocer, "accounts", prefix="ann", limit=1, cursor=first["next_cursor"])
    assert [account["customer_id"] for account in then["data"]] == ["anna"]
    assert then["next_cursor"] is None
    assert len((await get(grocer, "accounts"))["data"]) == 4
    assert (await get(grocer, "accounts", prefix="_"))["data"] == []


@pytest.mark.parametrize(
    ("customers", "pointer"),
    [
        ([], "/customer_ids"),
        (["a"] * 10_001, "/customer_ids"),
        (["a", ""], "/customer_ids/1"),
        (["a\x00"], "/customer_ids/0"),
        (["\ud800"], "/customer_ids/0"),
        (["a" * 201], "/customer_ids/0"),
        ([1], "/customer_ids/0"),
        ("ann", "/customer_ids"),
    ],
)
async def test_customers_that_cannot_be_are_named_and_nobody_is_opened(
    grocer: Caller, customers: Any, pointer: str
) -> None:
    answer = await send(grocer, "POST", "accounts", {"customer_ids": customers})
    assert [e["pointer"] for e in check_problem(answer, 422, "invalid")["errors"]] == [pointer]
    assert (await get(grocer, "accounts"))["data"] == []


async def test_an_account_shows_what_expires_and_what_is_pending(grocer: Caller) -> None:
    await open_accounts(grocer, "ann")
    for reference, points, more in (
        ("a", 10, {}),
        ("b", 20, {"expires_at": "2099-02-01T00:00:00Z"}),
        ("c", 30, {"expires_at": "2099-01-01T01:00:00+01:00"}),
        ("d", -4, {"pending": True, "due_at": "2099-01-01T00:00:00Z"}),
        ("e", 7, {"pending": True, "source": {"partner": "airline"}}),
    ):
        assert (await transfer(grocer, reference, points, **more))["ok"]
    account = await get(grocer, "accounts/ann")
    figures = [account[name] for name in ("balance", "held", "available", "pending", "version")]
    assert figures == [60, 4, 56, 7, 3]
    assert account["lots"] == [
        {"expires_at": "2099-01-01T00:00:00Z", "points": 30},
        {"expires_at": "2099-02-01T00:00:00Z", "points": 20},
    ]
    hold, promise = account["pending_transfers"]
    assert (hold["points"], hold["state"], hold["due_at"]) == (-4, "pending", "2099-01-01T00:00:00Z")
    assert (promise["points"], promise["source"], promise["source_name"]) == (7, "partner", "airline")
    assert (promise["balance"], promise["version"]) == (None, None)


async def test_a_customer_whose_id_has_slashes_and_spaces_is_found(grocer: Caller) -> None:
    await open_accounts(grocer, "shop/7 ü", "%2F")
    await transfer(grocer, "r", 5, "shop/7 ü")
    assert (await get(grocer, "accounts/shop%2F7%20%C3%BC"))["balance"] == 5
    assert len((await get(grocer, "accounts/shop/7%20ü/statement"))["data"]) == 1
    assert (await get(grocer, "accounts/%252F/balance"))["balance"] == 0


async def test_a_statement_goes_backwards_page_by_page_with_the_balance_after_each(grocer: Caller) -> None:
    await open_accounts(grocer, "ann")
    for number in range(1, 6):
        await transfer(grocer, f"r{number}", number, note=f"the {number}.")
    first = await get(grocer, "accounts/ann/statement", limit=3)
    rest = await get(grocer, "accounts/ann/statement", limit=3, cursor=first["next_cursor"])
    rows = [*first["data"], *rest["data"]]
    assert [(row["version"], row["points"], row["balance"]) for row in rows] == [
        (5, 5, 15),
        (4, 4, 10),
        (3, 3, 6),
        (2, 2, 3),
        (1, 1, 1),
    ]
    assert rest["next_cursor"] is None
    assert rows[0]["note"] == "the 5."
    for cursor in ("x", "", "W10", "WyJhIl0", "WzEuNV0", "W3RydWVd", "Wzk5OTk5OTk5OTk5OTk5OTk5OTk5XQ"):
        parameters = {"cursor": cursor}
        answer = await grocer.client.get("/v1/points/accounts/ann/statement", params=parameters)
        assert (answer.status_code, answer.json()["code"]) == (422, "cursor_invalid")
    assert await get(grocer, f"transfers/{rows[0]['transfer_id']}") == rows[0]


async def test_a_balance_of_the_past_is_what_it_was_then(grocer: Caller) -> None:
    await open_accounts(grocer, "ann")
    for reference in ("a", "b"):
        await transfer(grocer, reference, 5)
    _, first = (await get(grocer, "accounts/ann/statement"))["data"]
    assert (await get(grocer, "accounts/ann/balance"))["balance"] == 10
    then = await get(grocer, "accounts/ann/balance", at=first["posted_at"])
    assert then == {"customer_id": "ann", "at": first["posted_at"], "balance": 5}
    assert (await get(grocer, "accounts/ann/balance", at="1999-01-01T00:00:00+08:00"))["balance"] == 0
    for at in ("yesterday", "2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        answer = await grocer.client.get("/v1/points/accounts/ann/balance", params={"at": at})
        assert check_problem(answer, 422, "invalid")["errors"][0]["parameter"] == "at"


async def test_only_an_empty_account_is_closed_and_nothing_is_credited_to_it(grocer: Caller) -> None:
    await open_accounts(grocer, "ann")
    await transfer(grocer, "a", 5)
    answer = await grocer.client.post("/v1/points/accounts/ann/close")
    check_problem(answer, 409, "points_account_not_empty")
    await transfer(grocer, "b", -5)
    for _ in range(2):
        closed = await ask(grocer, "accounts/ann/close", {})
        assert (closed["state"], closed["closed_at"] is None) == ("closed", False)
    refused = await transfer(grocer, "c", 5)
    assert (refused["code"], refused["ok"]) == ("closed", False)
    assert refused["detail"].startswith("The points account is closed")
    for _ in range(2):
        assert (await ask(grocer, "accounts/ann/reopen", {}))["state"] == "open"
    assert (await transfer(grocer, "c", 5))["code"] == "closed", "a refused reference stays refused"
    assert (await transfer(grocer, "d", 5))["balance"] == 5


async def test_an_account_that_is_not_there_is_not_found_by_any_route(grocer: Caller, baker: Caller) -> None:
    await open_accounts(baker, "ann")
    for method, path in (
        ("GET", ""),
        ("GET", "/statement"),
        ("GET", "/balance"),
        ("POST", "/close"),
        ("POST", "/reopen"),
    ):
        answer = await grocer.client.request(method, f"/v1/points/accounts/ann{path}")
        check_problem(answer, 404, "points_account_not_found")


async def test_what_the_sources_gave_and_took_is_what_members_have(grocer: Caller, baker: Caller) -> None:
    assert (await get(grocer, "totals"))["sources"] == []
    await open_accounts(grocer, "ann", "bob")
    await open_accounts(baker, "ann")
    await transfer(baker, "x", 1000)
    await transfer(grocer, "a", 10)
    await transfer(grocer, "b", 20, "bob", source={"partner": "airline"})
    await transfer(grocer, "c", -3, "bob", source={"partner": "airline"})
    await transfer(grocer, "d", 5, pending=True)
    await transfer(grocer, "e", -2, pending=True)
    assert await get(grocer, "totals") == {
        "members": 2,
        "balance": 27,
        "held": 2,
        "pending": 5,
        "sources": [
            {"source": "adjusted", "name": "", "points": 10, "transfers": 1},
            {"source": "partner", "name": "airline", "points": 17, "transfers": 2},
        ],
    }


async def test_the_export_has_every_transfer_and_no_formula(grocer: Caller, baker: Caller) -> None:
    await open_accounts(grocer, "=ann", "bob")
    await open_accounts(baker, "zoe")
    await transfer(baker, "x", 1, "zoe")
    made = await transfer(grocer, "+1", 10, "=ann", note='@SUM(A1), "quoted"\n', order_id="-7")
    await transfer(grocer, "2", -4, "=ann", source={"partner": "=cmd"})
    await transfer(grocer, "3", 4, "bob", pending=True)
    answer = await grocer.client.get("/v1/points/export")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="points.csv"'
    first, second, third = csv.DictReader(io.StringIO(answer.text))
    assert first["transfer_id"] == made["transfer_id"]
    assert (first["customer_id"], first["reference"], first["order_id"]) == ("'=ann", "'+1", "'-7")
    assert first["note"] == '\'@SUM(A1), "quoted"\n'
    assert (first["points"], first["balance"], first["state"]) == ("10", "10", "posted")
    assert (second["source"], second["source_name"], second["points"]) == ("partner", "'=cmd", "-4")
    assert (third["balance"], third["state"]) == ("", "pending")
    assert "zoe" not in answer.text


async def test_the_proof_counts_what_it_saw_and_names_what_is_wrong(platform: App, grocer: Caller) -> None:
    assert await proven(grocer) == {"accounts": 0, "transfers": 0, "different": 0, "differences": []}
    await open_accounts(grocer, "ann", "bob")
    await transfer(grocer, "a", 10)
    made = await transfer(grocer, "b", 10)
    await one(grocer, "reversals", "reversals", transfer_id=made["transfer_id"], reference="c", points=3)
    assert await proven(grocer) == {"accounts": 2, "transfers": 3, "different": 0, "differences": []}
    async with begin(platform.engine) as tx:
        await tx.execute("UPDATE points_accounts SET balance = 99 WHERE name = 'bob'")
    proof = await ask(grocer, "verification", {})
    assert proof["different"] == 1
    assert proof["differences"] == [{"customer_id": "bob", "name": "balance", "told": 99, "counted": 0}]


async def test_the_same_request_again_moves_nothing_and_answers_the_same(grocer: Caller) -> None:
    await open_accounts(grocer, "ann")
    body = {"transfers": [{"customer_id": "ann", "reference": "a", "points": 5}]}
    first = await grocer.client.post("/v1/points/transfers", json=body, headers={"idempotency-key": "k"})
    again = await grocer.client.post("/v1/points/transfers", json=body, headers={"idempotency-key": "k"})
    assert (first.json(), again.headers["idempotency-replayed"]) == (again.json(), "true")
    assert first.json()["outcomes"][0]["repeated"] is False
    other = {"transfers": [{"customer_id": "ann", "reference": "b", "points": 5}]}
    refused = await grocer.client.post("/v1/points/transfers", json=other, headers={"idempotency-key": "k"})
    check_problem(refused, 422, "idempotency_key_reused")
    assert await balance(grocer) == 5
