"""What orders earn, what goes back with refunds, and what points take off orders, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Caller
from tests.api.points import ask, balance, get, one, open_accounts, proven, put_program, send, transfer
from tests.api.test_problems import check_problem


async def _earn(who: Caller, order_id: str, paid_minor: int, customer: str = "ann", **more: Any) -> Any:
    return await one(
        who, "earn", "orders", order_id=order_id, customer_id=customer, paid_minor=paid_minor, **more
    )


async def _refund(who: Caller, order_id: str, refund_id: str, minor: int | None = None) -> list[Any]:
    outcome = await one(
        who, "take-back", "refunds", order_id=order_id, refund_id=refund_id, refunded_minor=minor
    )
    assert (outcome["detail"] is None) == outcome["ok"]
    return [outcome[name] for name in ("code", "points", "missing", "balance", "repeated")]


async def test_a_paid_order_earns_once(grocer: Caller) -> None:
    await open_accounts(grocer, "ann")
    await put_program(grocer, earn={"points": 1, "minor": 100}, expiry={"after_months": 12})
    first = await _earn(grocer, "A", 1999, paid_at="2026-05-10T12:00:00Z")
    assert [first[name] for name in ("code", "points", "balance", "repeated")] == ["posted", 19, 19, False]
    assert await _earn(grocer, "A", 1999) == {**first, "repeated": True}
    other = await _earn(grocer, "A", 5000)
    assert [other[name] for name in ("code", "ok", "points")] == ["duplicate", False, 0]
    nothing = await _earn(grocer, "B", 99)
    assert [nothing[name] for name in ("code", "ok", "points")] == ["nothing_to_earn", True, 0]
    assert (await _earn(grocer, "C", 100, "eve"))["code"] == "not_found"
    (shown,) = (await get(grocer, "transfers", order_id="A"))["data"]
    assert (shown["source"], shown["amount_minor"]) == ("earned", 1999)
    assert shown["expires_at"] == "2027-06-01T00:00:00Z"


async def test_what_is_earned_is_only_promised_while_the_order_may_be_sent_back(grocer: Caller) -> None:
    await open_accounts(grocer, "ann")
    await put_program(grocer, activate_after_days=14)
    first = await _earn(grocer, "A", 10_000)
    assert [first[name] for name in ("code", "points", "balance")] == ["pending", 100, None]
    assert (await _earn(grocer, "B", 10_000, paid_at="2020-01-01T00:00:00Z"))["code"] == "posted"
    assert await _refund(grocer, "A", "r1", 2_500) == ["taken_back", 25, 0, None, False]
    account = await get(grocer, "accounts/ann")
    assert (account["balance"], account["pending"]) == (100, 75)
    done = await one(grocer, "settlements", "settlements", transfer_id=first["transfer_id"])
    assert (done["code"], done["points"], done["balance"]) == ("posted", 75, 175)
    assert await _refund(grocer, "A", "r2") == ["taken_back", 75, 0, 100, False]
    await proven(grocer)


async def test_points_go_back_with_the_money_and_what_was_burned_is_missing(grocer: Caller) -> None:
    await open_accounts(grocer, "ann")
    await put_program(grocer)
    assert await _refund(grocer, "A", "early") == ["order_not_earned", 0, 0, None, False]
    await _earn(grocer, "A", 10_000)
    assert await _refund(grocer, "A", "r1", 3_333) == ["taken_back", 34, 0, 66, False]
    assert await _refund(grocer, "A", "r1", 3_333) == ["taken_back", 34, 0, None, True]
    assert (await _refund(grocer, "A", "r1", 1))[0] == "duplicate"
    assert (await _refund(grocer, "A", "r2", 6_668))[0] == "refund_too_large"
    await transfer(grocer, "used", -60)
    assert await _refund(grocer, "A", "r3") == ["taken_back", 6, 60, 0, False]
    assert await _refund(grocer, "A", "r4") == ["nothing_to_take_back", 0, 0, None, False]
    await proven(grocer)


async def test_points_take_something_off_an_order_once(grocer: Caller) -> None:
    await open_accounts(grocer, "ann")
    await put_program(grocer, burn={"points": 100, "minor": 250})
    await transfer(grocer, "a", 1000)

    async def burn(order_id: str, points: int, **more: Any) -> list[Any]:
        outcome = await one(
            grocer, "burn", "burns", customer_id="ann", order_id=order_id, points=points, **more
        )
        assert (outcome["detail"] is None) == outcome["ok"]
        return [outcome[name] for name in ("code", "amount_minor", "balance", "repeated")]

    assert await burn("A", 301) == ["posted", 752, 699, False]
    await put_program(grocer, burn={"points": 1, "minor": 1})
    assert await burn("A", 301) == ["posted", 752, 699, True], "as it was, not as it would be now"
    assert await burn("A", 300) == ["duplicate", 0, None, True]
    assert await burn("B", 700) == ["insufficient", 0, None, False]
    assert await burn("C", 699, hold_seconds=900) == ["pending", 699, None, False]
    account = await get(grocer, "accounts/ann")
    assert (account["balance"], account["held"], account["available"]) == (699, 699, 0)
    (held,) = account["pending_transfers"]
    done = await one(grocer, "settlements", "settlements", transfer_id=held["transfer_id"])
    assert (done["code"], done["balance"]) == ("posted", 0)
    assert await burn("C", 699, hold_seconds=900) == ["pending", 699, None, True]
    await proven(grocer)


async def test_a_checkout_that_was_refused_or_released_is_tried_again_as_another(grocer: Caller) -> None:
    await open_accounts(grocer, "ann")
    await put_program(grocer)
    await transfer(grocer, "a", 100)
    order = {"customer_id": "ann", "order_id": "A", "hold_seconds": 900}
    assert (await one(grocer, "burn", "burns", **order, points=101))["code"] == "insufficient"
    assert (await one(grocer, "burn", "burns", **order, points=100))["code"] == "insufficient"
    held = await one(grocer, "burn", "burns", **order, points=100, reference="A/2")
    assert held["code"] == "pending"
    await one(grocer, "settlements", "settlements", transfer_id=held["transfer_id"], points=0)
    again = await one(grocer, "burn", "burns", **order, points=40, reference="A/3")
    assert (again["code"], again["amount_minor"]) == ("pending", 40)
    assert len((await get(grocer, "transfers", order_id="A"))["data"]) == 2


async def test_a_discount_beyond_any_order_is_refused_by_name(grocer: Caller) -> None:
    await put_program(grocer, burn={"points": 1, "minor": 10**6})
    burns = [{"customer_id": "ann", "order_id": str(n), "points": n} for n in (1, 10**12)]
    answer = await grocer.client.post("/v1/points/burn", json={"burns": burns})
    assert [e["pointer"] for e in check_problem(answer, 422, "invalid")["errors"]] == ["/burns/1/points"]


async def test_the_largest_order_earns_by_the_highest_rate(grocer: Caller) -> None:
    await open_accounts(grocer, "ann")
    await put_program(grocer, earn={"points": 1000, "minor": 1})
    assert (await _earn(grocer, "A", 10**12))["balance"] == 10**15
    await proven(grocer)


async def test_a_batch_of_orders_has_one_outcome_for_each(grocer: Caller) -> None:
    await open_accounts(grocer, "ann", "bob")
    await put_program(grocer, max_balance=150)
    orders = [
        {"order_id": order_id, "customer_id": customer, "paid_minor": minor}
        for order_id, customer, minor in (
            ("1", "ann", 10_000),
            ("2", "ann", 10_000),
            ("3", "bob", 50),
            ("1", "ann", 10_000),
            ("4", "ann", 5_000),
        )
    ]
    outcomes = (await ask(grocer, "earn", {"orders": orders}))["outcomes"]
    assert [(o["code"], o["points"], o["balance"]) for o in outcomes] == [
        ("posted", 100, 100),
        ("limit_exceeded", 0, None),
        ("nothing_to_earn", 0, None),
        ("posted", 100, 100),
        ("posted", 50, 150),
    ]
    refunds = [{"order_id": "1", "refund_id": "r"}, {"order_id": "9", "refund_id": "r"}]
    taken = (await ask(grocer, "take-back", {"refunds": [*refunds, refunds[0]]}))["outcomes"]
    assert [(o["code"], o["points"], o["repeated"]) for o in taken] == [
        ("taken_back", 100, False),
        ("order_not_earned", 0, False),
        ("taken_back", 100, True),
    ]
    assert taken[0]["transfer_id"] is not None
    await proven(grocer)


async def test_an_order_of_one_merchant_is_none_of_another(grocer: Caller, baker: Caller) -> None:
    for who in (grocer, baker):
        await open_accounts(who, "ann")
        await put_program(who)
    await _earn(baker, "A", 10_000)
    assert (await _refund(grocer, "A", "r"))[0] == "order_not_earned"
    burned = await one(grocer, "burn", "burns", customer_id="ann", order_id="A", points=1)
    assert burned["code"] == "insufficient"
    assert (await _earn(grocer, "A", 700))["balance"] == 7
    assert await balance(baker) == 100


WRONG: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "earn": (
        "orders",
        {"order_id": "o", "customer_id": "c", "paid_minor": 1},
        [
            {"paid_minor": -1},
            {"paid_minor": True},
            {"paid_minor": 9.5},
            {"paid_minor": 10**12 + 1},
            {"paid_minor": None},
            {"paid_at": "9999-12-31T23:59:59Z"},
            {"paid_at": "0001-01-01T00:00:00Z"},
            {"paid_at": 10**30},
            {"paid_at": "today"},
            {"order_id": "\x00"},
            {"customer_id": "\ud800"},
        ],
    ),
    "take-back": (
        "refunds",
        {"order_id": "o", "refund_id": "r"},
        [{"refunded_minor": -1}, {"refunded_minor": False}, {"refund_id": "\x00"}, {"refund_id": None}],
    ),
    "burn": (
        "burns",
        {"customer_id": "c", "order_id": "o", "points": 1},
        [
            {"points": 0},
            {"points": -1},
            {"points": True},
            {"points": 10**30},
            {"hold_seconds": 0},
            {"hold_seconds": 30 * 86_400 + 1},
            {"hold_seconds": 1.5},
            {"else": 1},
        ],
    ),
}


@pytest.mark.parametrize("path", WRONG)
async def test_wrong_values_are_all_named_by_their_places(grocer: Caller, path: str) -> None:
    await put_program(grocer)
    name, right, wrongs = WRONG[path]
    rows = [right, *({**right, **wrong} for wrong in wrongs)]
    answer = await send(grocer, "POST", path, {name: rows})
    expected = [f"/{name}/{n}/{field}" for n, wrong in enumerate(wrongs, 1) for field in wrong]
    assert [e["pointer"] for e in check_problem(answer, 422, "invalid")["errors"]] == expected


@pytest.mark.parametrize("at", ["exact", "month_end", "year_end"])
async def test_orders_at_the_ends_of_time_expire_in_any_zone(grocer: Caller, at: str) -> None:
    await open_accounts(grocer, "ann")
    for zone in ("Pacific/Kiritimati", "Etc/GMT+12"):
        expiry = {"after_months": 120, "at": at}
        await put_program(grocer, expiry=expiry, activate_after_days=3650, time_zone=zone)
        for moment in ("1970-01-01T00:00:00Z", "2999-12-31T23:59:59Z"):
            earned = await _earn(grocer, f"{zone}{moment}", 100, paid_at=moment)
            assert earned["ok"], earned
    await proven(grocer)
