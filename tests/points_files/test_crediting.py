"""Files credited record by record: what each becomes, and what every member has afterwards."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from counterfoil.ids import format_id
from tests.points_files.world import TODAY, Bank, World


async def _transfers(world: World) -> list[str]:
    return [row.reference for row in await world.all("SELECT reference FROM points_transfers ORDER BY 1")]


async def test_every_record_is_credited_and_answered_in_the_order_of_its_line(
    world: World, bank: Bank
) -> None:
    response = await bank.credited(("m3", 5, "r1"), ("m1", 7, "r2"), ("m3", 1, "r3"), ("m2", 100, "r4"))
    assert response.said == [
        ("m3", 5, "r1", "accepted", None),
        ("m1", 7, "r2", "accepted", None),
        ("m3", 1, "r3", "accepted", None),
        ("m2", 100, "r4", "accepted", None),
    ]
    assert await world.balances() == {"m1": 7, "m2": 100, "m3": 6}
    assert response.header.sequence == 1
    assert (response.header.sender, response.header.receiver) == ("SHOP", "BANK")


async def test_what_we_call_a_credit_in_the_response_is_its_transfer(world: World, bank: Bank) -> None:
    response = await bank.credited(*((f"m{n % 9 + 1}", n + 1, f"r{n}") for n in range(40)))
    rows = await world.all("SELECT reference, transfer_id FROM points_transfers")
    told = {row["reference"]: row["our_reference"] for row in response.rows}
    assert told == {row.reference: format_id("transfer", row.transfer_id) for row in rows}
    assert len(set(told.values())) == 40


async def test_records_that_break_a_rule_are_rejected_with_it_and_the_others_go_on(
    world: World, bank: Bank
) -> None:
    await bank.change(points_min=2, points_max=50, days_back=10, days_ahead=1, offers=["BASE", "GOLD"])
    await world.close("m9")
    rows: dict[Any, str] = {
        ("m1", 2, "r1"): "accepted",
        ("m1", 1, "r2"): "points_out_of_range",
        ("m1", 50, "r3", TODAY, "GOLD"): "accepted",
        ("m1", 51, "r4"): "points_out_of_range",
        ("m1", -5, "r5"): "points_out_of_range",
        ("m1", "many", "r6"): "points_unreadable",
        ("m1", 10, "r7", TODAY - timedelta(days=10)): "accepted",
        ("m1", 10, "r8", TODAY - timedelta(days=11)): "date_out_of_window",
        ("m1", 10, "r9", TODAY + timedelta(days=1)): "accepted",
        ("m1", 10, "r10", TODAY + timedelta(days=2)): "date_out_of_window",
        ("m1", 10, "r11", "20261340"): "date_unreadable",
        ("m1", 10, "r12", TODAY, "TIN"): "offer_unknown",
        ("m1", 10, "r13", TODAY, ""): "accepted",
        ("m1", 10, ""): "reference_missing",
        ("", 10, "r14"): "customer_id_missing",
        ("m9", 10, "r15"): "closed",
        ("nobody", 10, "r16"): "not_found",
        "D|m1|10": "fields_wrong",
        "": "fields_wrong",
        ("m" * 201, 10, "r17"): "field_too_long",
        ("m2", 3, "r18"): "accepted",
    }  # fmt: skip
    response = await bank.credited(*rows)
    assert response.told == list(rows.values())
    assert await world.balances() == {"m1": 82, "m2": 3}
    assert (response.totals.accepted_count, response.totals.accepted_points) == (6, 85)
    assert (response.totals.rejected_count, response.totals.duplicate_count) == (15, 0)
    assert response.totals.points_total == 85 + response.totals.rejected_points


async def test_a_file_without_records_is_answered_without_records(world: World, bank: Bank) -> None:
    response = await bank.credited()
    assert (response.rows, response.totals.record_count) == ([], 0)
    assert (await bank.credited(("m1", 1, "r"))).told == ["accepted"]


DOUBLES: dict[str, tuple[list[Any], list[tuple[str, str | None]]]] = {
    "the same line again": (
        [("m1", 5, "r"), ("m1", 5, "r"), ("m1", 5, "r")],
        [("accepted", None), ("duplicate", "credited"), ("duplicate", "credited")],
    ),
    "other points": (
        [("m1", 5, "r"), ("m1", 6, "r")],
        [("accepted", None), ("duplicate", "reference_reused")],
    ),
    "another member, sorted before the first": (
        [("m5", 5, "r"), ("m1", 5, "r")],
        [("accepted", None), ("duplicate", "reference_reused")],
    ),
    "another member, sorted after it": (
        [("m1", 5, "r"), ("m5", 5, "r")],
        [("accepted", None), ("duplicate", "reference_reused")],
    ),
    "the first at fault by itself": (
        [("m1", 0, "r"), ("m1", 5, "r")],
        [("rejected", "points_out_of_range"), ("duplicate", "points_out_of_range")],
    ),
    "the second at fault by itself": (
        [("m1", 5, "r"), ("m1", 0, "r"), ("m1", 5, "r")],
        [("accepted", None), ("rejected", "points_out_of_range"), ("duplicate", "credited")],
    ),
    "the first of nobody": (
        [("nobody", 5, "r"), ("nobody", 5, "r"), ("m1", 5, "r")],
        [("rejected", "not_found"), ("duplicate", "not_found"), ("duplicate", "reference_reused")],
    ),
    "many members between": (
        [("m9", 5, "r"), *((f"m{n}", n, f"x{n}") for n in range(1, 9)), ("m1", 5, "r"), ("m9", 5, "r")],
        [("accepted", None)] * 9 + [("duplicate", "reference_reused"), ("duplicate", "credited")],
    ),
}


@pytest.mark.parametrize("case", DOUBLES)
async def test_of_a_reference_that_is_there_twice_the_first_line_decides(
    world: World, bank: Bank, case: str
) -> None:
    rows, expected = DOUBLES[case]
    response = await bank.credited(*rows)
    assert [(row["status"], row["code"]) for row in response.rows] == expected
    first = response.rows[0]["our_reference"]
    for (status, code), row in zip(expected, response.rows, strict=True):
        if code == "credited":
            assert row["our_reference"] == first is not None
        elif status == "rejected":
            assert row["our_reference"] is None
    granted = [row for row, (status, _) in zip(rows, expected, strict=True) if status == "accepted"]
    assert await _transfers(world) == sorted(row[2] for row in granted)
    assert sum((await world.balances()).values()) == sum(row[1] for row in granted)


async def test_a_reference_of_an_earlier_file_gets_its_first_result_again(world: World, bank: Bank) -> None:
    await world.program(max_balance=100)
    before = await bank.credited(("m1", 5, "r1"), ("nobody", 5, "r2"), ("m2", 101, "r3"), ("m3", 0, "r4"))
    assert before.told == ["accepted", "not_found", "limit_exceeded", "points_out_of_range"]
    await world.members("nobody")
    rows: list[Any] = [
        ("m1", 5, "r1"), ("m1", 6, "r1"), ("m4", 5, "r1"), ("nobody", 5, "r2"), ("m2", 101, "r3"),
        ("m3", 7, "r4"), ("m1", 1, "new"),
    ]  # fmt: skip
    for row, status, code in zip(
        rows,
        ["duplicate"] * 5 + ["accepted"] * 2,
        ["credited", "reference_reused", "reference_reused", "not_found", "limit_exceeded", None, None],
        strict=True,
    ):
        response = await bank.credited(row)
        assert [(r["status"], r["code"]) for r in response.rows] == [(status, code)], row
        if code == "credited":
            assert response.references() == before.references()[:1]
    assert await world.balances() == {"m1": 6, "m3": 7}


async def test_references_of_another_partner_are_others(world: World, bank: Bank) -> None:
    other = await world.bank("airline")
    await bank.credited(("m1", 5, "r"))
    assert (await other.credited(("m1", 5, "r"))).told == ["accepted"]
    assert await world.balances() == {"m1": 10}


async def test_the_maximum_is_held_within_a_file_in_the_order_of_its_lines(world: World, bank: Bank) -> None:
    await world.program(max_balance=100)
    response = await bank.credited(
        ("m1", 60, "a"), ("m2", 100, "b"), ("m1", 41, "c"), ("m1", 40, "d"), ("m1", 1, "e"), ("m2", 1, "f")
    )
    assert response.told == [
        "accepted", "accepted", "limit_exceeded", "accepted", "limit_exceeded", "limit_exceeded"
    ]  # fmt: skip
    assert await world.balances() == {"m1": 100, "m2": 100}
    assert (response.totals.rejected_count, response.totals.rejected_points) == (3, 43)


async def test_the_points_of_a_file_are_one_lot_of_each_member(world: World, bank: Bank) -> None:
    await world.program(expiry={"after_months": 3, "at": "exact"})
    file = await bank.send(*(("m1" if n % 2 else "m2", 1, f"r{n}") for n in range(30)))
    await world.run()
    rows = await world.all(
        "SELECT count(*) AS lots, sum(points) AS points FROM points_lots GROUP BY member_no"
    )
    assert [(row.lots, row.points) for row in rows] == [(1, 15), (1, 15)]
    assert (await world.file(file)).credited == 30


async def test_a_member_with_more_records_than_a_batch_holds_is_credited_for_all(
    world: World, bank: Bank
) -> None:
    await world.program(max_balance=50)
    response = await bank.credited(*(("m5", 1, f"r{n}") for n in range(60)), ("m1", 1, "first"))
    assert response.told == ["accepted"] * 50 + ["limit_exceeded"] * 10 + ["accepted"]
    assert await world.balances() == {"m1": 1, "m5": 50}


async def test_points_that_do_not_fit_into_a_balance_together_are_refused_one_by_one(
    world: World, bank: Bank
) -> None:
    await bank.change(points_max=10**12)
    response = await bank.credited(*(("m1", 10**12, f"r{n}") for n in range(7)))
    assert response.told == ["accepted"] * 7
    assert await world.balances() == {"m1": 7 * 10**12}


async def test_members_are_told_apart_by_every_letter(world: World, bank: Bank) -> None:
    """Sorted by bytes in one place and by a language in another, batches would overlap."""
    names = ["A", "a", "B", "b", "É", "e", "é", "Z", "z", "_", "-", "10", "9", "中", "😀", "a b", "A b"]
    await world.members(*names)
    rows = [(name, n + 1, f"r{n}") for n, name in enumerate(names * 3)]
    response = await bank.credited(*rows)
    assert set(response.told) == {"accepted"}
    expected = {name: sum(row[1] for row in rows if row[0] == name) for name in names}
    assert await world.balances() == expected
