"""Transfers, their reversals and settlements over HTTP: every outcome, and bodies that nobody should send."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from counterfoil.ids import format_id, new_id
from tests.api.conftest import Caller
from tests.api.points import ask, balance, get, one, open_accounts, proven, put_program, send, transfer
from tests.api.test_problems import check_problem

HUGE = 10**30


async def test_a_batch_has_one_outcome_for_each_transfer_in_its_order(grocer: Caller) -> None:
    await open_accounts(grocer, "ann", "bob")
    asked = [
        {"customer_id": "ann", "reference": "1", "points": 10},
        {"customer_id": "ann", "reference": "2", "points": -11},
        {"customer_id": "eve", "reference": "3", "points": 1},
        {"customer_id": "bob", "reference": "4", "points": 7, "pending": True},
        {"customer_id": "ann", "reference": "1", "points": 10},
        {"customer_id": "bob", "reference": "1", "points": 10},
        {"customer_id": "ann", "reference": "5", "points": -10},
        {"customer_id": "ann", "reference": "1", "points": 1, "source": {"partner": "airline"}},
    ]
    outcomes = (await ask(grocer, "transfers", {"transfers": asked}))["outcomes"]
    assert [(o["code"], o["ok"], o["repeated"], o["balance"], o["version"]) for o in outcomes] == [
        ("posted", True, False, 10, 1),
        ("insufficient", False, False, None, None),
        ("not_found", False, False, None, None),
        ("pending", True, False, None, None),
        ("posted", True, True, 10, 1),
        ("duplicate", False, True, None, None),
        ("posted", True, False, 0, 2),
        ("posted", True, False, 1, 3),
    ]
    assert [o["detail"] is None for o in outcomes] == [o["ok"] for o in outcomes]
    assert outcomes[4]["transfer_id"] == outcomes[5]["transfer_id"] == outcomes[0]["transfer_id"]
    again = (await ask(grocer, "transfers", {"transfers": asked}))["outcomes"]
    assert again == [{**o, "repeated": True} for o in outcomes]
    assert (await proven(grocer))["transfers"] == 3


async def test_the_same_batch_from_many_at_once_is_posted_once_and_nobody_is_turned_away(
    grocer: Caller,
) -> None:
    customers = [f"c{number}" for number in range(40)]
    await open_accounts(grocer, *customers)
    rows = [{"customer_id": c, "reference": c, "points": 5, "source": {"partner": c[-1]}} for c in customers]
    made: list[str] = []

    async def send_all(number: int) -> None:
        mixed = rows[number * 5 :] + rows[: number * 5]
        answer = await grocer.client.post("/v1/points/transfers", json={"transfers": mixed})
        assert answer.status_code == 200, answer.text
        outcomes = answer.json()["outcomes"]
        assert {o["code"] for o in outcomes} == {"posted"}
        made.extend(o["transfer_id"] for o in outcomes if not o["repeated"])

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(send_all, number)
    assert (len(made), len(set(made))) == (40, 40)
    assert await proven(grocer) == {"accounts": 40, "transfers": 40, "different": 0, "differences": []}


async def test_no_credit_brings_a_balance_above_the_programs_maximum(grocer: Caller) -> None:
    await open_accounts(grocer, "ann")
    await put_program(grocer, max_balance=100)
    assert (await transfer(grocer, "a", 100))["ok"]
    assert (await transfer(grocer, "b", 1))["code"] == "limit_exceeded"
    assert (await transfer(grocer, "c", -1))["ok"]
    assert (await transfer(grocer, "d", 1))["ok"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"points": 0}, "/points"),
    ({"points": 1.0}, "/points"),
    ({"points": 1.5}, "/points"),
    ({"points": True}, "/points"),
    ({"points": "5"}, "/points"),
    ({"points": None}, "/points"),
    ({"points": 10**12 + 1}, "/points"),
    ({"points": -(10**12) - 1}, "/points"),
    ({"points": HUGE}, "/points"),
    ({"points": 10**400}, "/points"),
    ({"customer_id": "a\x00b"}, "/customer_id"),
    ({"customer_id": " "}, "/customer_id"),
    ({"customer_id": 7}, "/customer_id"),
    ({"reference": "\x00"}, "/reference"),
    ({"reference": "\ud800"}, "/reference"),
    ({"reference": None}, "/reference"),
    ({"reference": "r" * 201}, "/reference"),
    ({"order_id": "\x00"}, "/order_id"),
    ({"note": "\x00"}, "/note"),
    ({"note": "n" * 501}, "/note"),
    ({"pending": 1}, "/pending"),
    ({"pending": "yes"}, "/pending"),
    ({"expires_at": True}, "/expires_at"),
    ({"expires_at": "2026-01-01T00:00:00"}, "/expires_at"),
    ({"expires_at": "9999-12-31T23:59:59Z"}, "/expires_at"),
    ({"expires_at": "0001-01-01T00:00:00+14:00"}, "/expires_at"),
    ({"expires_at": HUGE}, "/expires_at"),
    ({"points": -1, "expires_at": "2099-01-01T00:00:00Z"}, ""),
    ({"due_at": "2099-01-01T00:00:00Z"}, ""),
    ({"source": "burned"}, "/source/adjusted"),
    ({"source": None}, "/source/partner"),
    ({"source": {"partner": ""}}, "/source/partner/partner"),
    ({"source": {"partner": "a\x00"}}, "/source/partner/partner"),
    ({"source": {}}, "/source/partner/partner"),
    ({"source": {"partner": "a", "more": 1}}, "/source/partner/more"),
    ({"balance": 1}, "/balance"),
]


async def test_transfers_that_cannot_be_are_all_named_by_their_places_and_nothing_moves(
    grocer: Caller,
) -> None:
    await open_accounts(grocer, "ann")
    right = {"customer_id": "ann", "reference": "r", "points": 1}
    body = {"transfers": [right, *({**right, **wrong} for wrong, _ in WRONG)]}
    problem = check_problem(await send(grocer, "POST", "transfers", body), 422, "invalid")
    expected = [f"/transfers/{n}{pointer}" for n, (_, pointer) in enumerate(WRONG, 1)]
    assert [e["pointer"] for e in problem["errors"]] == expected
    assert await balance(grocer) == 0


@pytest.mark.parametrize("path", ["transfers", "reversals", "settlements", "earn", "take-back", "burn"])
async def test_a_body_of_another_shape_is_refused_by_every_route(grocer: Caller, path: str) -> None:
    await put_program(grocer)
    shapes: list[Any] = [[], None, 1, "x", {}, {"else": []}, {path: {}}, {path: [None]}, {path: [[]]}]
    for body in shapes:
        check_problem(await send(grocer, "POST", path, body), 422, "invalid")


async def test_no_list_is_empty_or_longer_than_five_thousand(grocer: Caller) -> None:
    right = {"customer_id": "ann", "reference": "r", "points": 1}
    for rows in ([], [right] * 5_001):
        answer = await grocer.client.post("/v1/points/transfers", json={"transfers": rows})
        assert check_problem(answer, 422, "invalid")["errors"][0]["pointer"] == "/transfers"
    outcomes = (await ask(grocer, "transfers", {"transfers": [right] * 5_000}))["outcomes"]
    assert {o["code"] for o in outcomes} == {"not_found"}
    partners = [{**right, "source": {"partner": str(n)}} for n in range(101)]
    answer = await grocer.client.post("/v1/points/transfers", json={"transfers": partners})
    assert check_problem(answer, 422, "invalid")["errors"][0]["pointer"] == "/transfers"


async def test_the_largest_transfers_are_counted_exactly(grocer: Caller) -> None:
    await open_accounts(grocer, "ann")
    for number in range(3):
        made = await transfer(grocer, str(number), 10**12)
        assert made["balance"] == (number + 1) * 10**12
    assert (await transfer(grocer, "down", -(10**12)))["balance"] == 2 * 10**12
    await proven(grocer)


async def test_the_transfers_of_an_order_are_found_by_it(grocer: Caller, baker: Caller) -> None:
    await open_accounts(grocer, "ann")
    await open_accounts(baker, "ann")
    first = await transfer(grocer, "a", 10, order_id="A-1")
    await transfer(grocer, "b", 10, order_id="A-2")
    await transfer(baker, "c", 10, order_id="A-1")
    undone = await one(
        grocer, "reversals", "reversals", transfer_id=first["transfer_id"], reference="d", points=4
    )
    whole, part = (await get(grocer, "transfers", order_id="A-1"))["data"]
    assert (whole["points"], whole["reversed_points"], whole["reverses"]) == (10, 4, None)
    assert (part["transfer_id"], part["points"]) == (undone["transfer_id"], -4)
    assert part["reverses"] == first["transfer_id"]
    answer = await grocer.client.get("/v1/points/transfers")
    assert check_problem(answer, 422, "invalid")["errors"][0]["parameter"] == "order_id"


async def test_a_transfer_is_undone_in_parts_and_never_beyond(grocer: Caller) -> None:
    await open_accounts(grocer, "ann")
    made = await transfer(grocer, "a", 10)

    async def undo(reference: str, **asked: Any) -> list[Any]:
        outcome = await one(
            grocer,
            "reversals",
            "reversals",
            transfer_id=made["transfer_id"],
            reference=reference,
            **asked,
        )
        assert (outcome["detail"] is None) == outcome["ok"]
        return [outcome[name] for name in ("code", "points", "missing", "balance", "repeated")]

    assert await undo("r1", points=4) == ["posted", 4, 0, 6, False]
    assert await undo("r1", points=4) == ["posted", 4, 0, 6, True]
    assert await undo("r2", points=7) == ["too_many_points", 0, 0, None, False]
    assert await undo("a", points=1) == ["duplicate", 0, 0, None, True]
    await transfer(grocer, "used", -5)
    assert (await undo("r3"))[0] == "insufficient"
    assert await undo("r4", as_far_as_there=True) == ["posted", 1, 5, 0, False]
    await transfer(grocer, "more", 5)
    assert await undo("r5") == ["posted", 5, 0, 0, False]
    assert (await undo("r6"))[0] == "reversed_already"
    (_, latest, *_) = (await get(grocer, "accounts/ann/statement"))["data"]
    assert latest["reference"] == "more"
    await proven(grocer)


async def test_a_reversal_or_a_promise_is_not_undone(grocer: Caller) -> None:
    await open_accounts(grocer, "ann")
    made = await transfer(grocer, "a", 10)
    undone = await one(grocer, "reversals", "reversals", transfer_id=made["transfer_id"], reference="b")
    promise = await transfer(grocer, "c", 10, pending=True)
    for found in (undone, promise):
        again = await one(grocer, "reversals", "reversals", transfer_id=found["transfer_id"], reference="d")
        assert again["code"] == "not_reversible"


async def test_pending_transfers_are_carried_out_in_part_or_voided_once(grocer: Caller) -> None:
    await open_accounts(grocer, "ann")
    await transfer(grocer, "a", 100)
    hold, promise = [
        (await transfer(grocer, str(points), points, pending=True))["transfer_id"] for points in (-60, 30)
    ]
    assert (await transfer(grocer, "too much", -41))["code"] == "insufficient"

    async def settle(transfer_id: str, **asked: Any) -> list[Any]:
        outcome = await one(grocer, "settlements", "settlements", transfer_id=transfer_id, **asked)
        assert (outcome["detail"] is None) == outcome["ok"]
        return [outcome[name] for name in ("code", "points", "balance", "repeated")]

    assert await settle(hold, points=61) == ["too_many_points", 0, None, False]
    assert await settle(hold, points=20) == ["posted", 20, 80, False]
    assert await settle(hold, points=20) == ["posted", 20, 80, True]
    assert (await settle(hold, points=60))[0] == "already_posted"
    assert (await settle(hold, points=0))[0] == "already_posted"
    assert await settle(promise, points=0) == ["voided", 0, None, False]
    assert await settle(promise, points=0) == ["voided", 0, None, True]
    assert (await settle(promise))[0] == "already_voided"
    assert (await get(grocer, f"transfers/{hold}"))["state"] == "posted"
    assert (await get(grocer, f"transfers/{promise}"))["state"] == "voided"
    latest = (await get(grocer, "accounts/ann/statement"))["data"][0]
    assert (latest["points"], latest["settles"]) == (-20, hold)
    await proven(grocer)


async def test_what_is_no_transfer_of_ones_own_is_not_found_and_keeps_no_other_out(
    grocer: Caller, baker: Caller
) -> None:
    for who in (grocer, baker):
        await open_accounts(who, "ann")
    mine = await transfer(grocer, "a", 10)
    my_promise = await transfer(grocer, "b", 10, pending=True)
    theirs = (await transfer(baker, "a", 10))["transfer_id"]
    their_promise = (await transfer(baker, "b", 10, pending=True))["transfer_id"]
    unknown = format_id("transfer", new_id())
    nothing = ["", "x", "trf_", "trf_" + "z" * 26, "job_" + unknown[4:], "\x00", unknown]

    async def codes(name: str, wanted: list[str], **more: Any) -> list[str]:
        rows = [
            {"transfer_id": wish, **{key: f"{value}{n}" for key, value in more.items()}}
            for n, wish in enumerate(wanted)
        ]
        answer = await send(grocer, "POST", name, {name: rows})
        assert answer.status_code == 200, answer.text
        return [outcome["code"] for outcome in answer.json()["outcomes"]]

    asked = [*nothing, theirs, mine["transfer_id"]]
    assert await codes("reversals", asked, reference="r") == ["not_found"] * 8 + ["posted"]
    asked = [*nothing, their_promise, theirs, my_promise["transfer_id"]]
    assert await codes("settlements", asked) == ["not_found"] * 9 + ["posted"]
    assert (await balance(baker), await balance(grocer)) == (10, 10)
    for transfer_id in (theirs, unknown, "x", "trf_%00"):
        answer = await grocer.client.get(f"/v1/points/transfers/{transfer_id}")
        check_problem(answer, 404, "transfer_not_found")


WRONG_OF: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "reversals": (
        {"transfer_id": "t", "reference": "r"},
        [
            {"points": 0},
            {"points": True},
            {"points": HUGE},
            {"as_far_as_there": 1},
            {"amount_minor": 1.5},
            {"reference": "\x00"},
            {"transfer_id": "t" * 201},
        ],
    ),
    "settlements": (
        {"transfer_id": "t"},
        [{"points": -1}, {"points": False}, {"points": 2.0}, {"transfer_id": 7}],
    ),
}


@pytest.mark.parametrize("path", WRONG_OF)
async def test_wrong_values_of_reversals_and_settlements_are_all_named(grocer: Caller, path: str) -> None:
    right, wrongs = WRONG_OF[path]
    answer = await send(grocer, "POST", path, {path: [{**right, **wrong} for wrong in wrongs]})
    expected = [f"/{path}/{n}/{name}" for n, wrong in enumerate(wrongs) for name in wrong]
    assert [e["pointer"] for e in check_problem(answer, 422, "invalid")["errors"]] == expected
