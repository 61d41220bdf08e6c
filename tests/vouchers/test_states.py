"""The tables of moves, written a second time; and the state that follows from a voucher's uses and holds.

How the verbs keep to them is seen in `test_campaigns.py`, `test_refusals.py` and `test_state_machine.py`.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from itertools import product
from typing import Any, get_args
from uuid import uuid4

import pytest

from counterfoil.vouchers.books import Book, Voucher
from counterfoil.vouchers.states import ALLOWED_IN, CAMPAIGN_MOVES, VOUCHER_MOVES, campaign_may, voucher_may
from counterfoil.vouchers.types import CAMPAIGN_STATES, VERBS, VOUCHER_STATES, CampaignState, VoucherState
from tests.builders import NOW

VOUCHER_TABLE = """
            available issued reserved redeemed expired voided
available           .      x        .        .       x      x
issued              .      x        x        x       x      x
reserved            .      x        x        x       x      x
redeemed            .      x        x        x       x      .
expired             .      .        .        .       x      .
voided              .      .        .        .       .      x
"""
CAMPAIGN_TABLE = """
            draft active paused stopped ended
draft           .      x      .       .     .
active          .      .      x       x     x
paused          .      x      .       x     x
stopped         .      .      .       .     x
ended           .      .      .       .     .
"""


def cells(table: str) -> dict[tuple[str, str], bool]:
    """A table of crosses."""
    head, *rows = [row.split() for row in table.strip().splitlines()]
    return {(row[0], after): mark == "x" for row in rows for after, mark in zip(head, row[1:], strict=True)}


@pytest.mark.parametrize(("before", "after"), list(product(VOUCHER_STATES, VOUCHER_STATES)))
def test_a_voucher_may_move_as_the_table_says(before: VoucherState, after: VoucherState) -> None:
    assert voucher_may(before, after) is cells(VOUCHER_TABLE)[before, after]


@pytest.mark.parametrize(("before", "after"), list(product(CAMPAIGN_STATES, CAMPAIGN_STATES)))
def test_a_campaign_may_move_as_the_table_says(before: CampaignState, after: CampaignState) -> None:
    assert campaign_may(before, after) is cells(CAMPAIGN_TABLE)[before, after]


def test_every_state_and_every_verb_has_its_row() -> None:
    assert VOUCHER_MOVES.keys() == set(get_args(VoucherState))
    assert CAMPAIGN_MOVES.keys() == set(get_args(CampaignState))
    assert ALLOWED_IN.keys() == set(VERBS)


def book() -> Book:
    """A campaign in which one voucher is in each state."""
    values: dict[str, Any] = {field.name: 1 for field in fields(Book) if field.name != "changed"}
    return Book(**{**values, "merchant_id": uuid4(), "campaign_id": "c", "state": "active"})


def voucher(state: VoucherState = "issued", **said: Any) -> Voucher:
    """A voucher in a state, of one use unless more is said."""
    values = {"customer_id": None, "valid_from": None, "valid_until": None, "max_redemptions": 1, **said}
    return Voucher(uuid4(), "v", "c", state, **values)


@pytest.mark.parametrize(("before", "after"), list(product(VOUCHER_STATES, VOUCHER_STATES)))
def test_a_book_moves_a_voucher_only_as_it_may_and_keeps_count(
    before: VoucherState, after: VoucherState
) -> None:
    moved, campaign = voucher(before), book()
    if before == after:
        campaign.move(moved, after)
        assert (moved.changed, campaign.changed) == (False, False)
    elif voucher_may(before, after):
        campaign.move(moved, after)
        assert (moved.state, moved.changed) == (after, True)
        assert (getattr(campaign, before), getattr(campaign, after)) == (0, 2)
    else:
        with pytest.raises(AssertionError):
            campaign.move(moved, after)
        assert (moved.state, getattr(campaign, before)) == (before, 1)


OVER = {"valid_until": NOW}
OPEN = {"valid_until": NOW + timedelta(microseconds=1)}
BALANCE = {"max_redemptions": None, "amount_minor": 9}


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({}, "issued"),
        ({"uses": 1}, "redeemed"),
        ({"holds": 1}, "reserved"),
        (OPEN, "issued"),
        (OVER, "expired"),
        ({**OVER, "holds": 1}, "reserved"),
        ({**OVER, "uses": 1}, "redeemed"),
        ({"max_redemptions": 2, "uses": 1}, "issued"),
        ({"max_redemptions": 2, "holds": 1}, "issued"),
        ({"max_redemptions": 2, "uses": 1, "holds": 1}, "reserved"),
        ({"max_redemptions": 2, "uses": 2}, "redeemed"),
        ({**OVER, "max_redemptions": 2, "uses": 1}, "expired"),
        # What is held is promised: it is over when that ends.
        ({**OVER, "max_redemptions": 2, "holds": 1}, "issued"),
        ({"max_redemptions": None, "uses": 99, "holds": 99}, "issued"),
        ({"max_redemptions": 0}, "issued"),
        ({**OVER, "max_redemptions": 0}, "expired"),
        ({**BALANCE, "balance_minor": 9}, "issued"),
        ({**BALANCE, "balance_minor": 4, "uses": 3}, "issued"),
        ({**BALANCE, "balance_minor": 4, "held_minor": 3, "holds": 1}, "issued"),
        ({**BALANCE, "balance_minor": 4, "held_minor": 4, "holds": 2, "uses": 1}, "reserved"),
        ({**BALANCE, "balance_minor": 0, "uses": 1}, "redeemed"),
        ({**BALANCE, **OVER, "balance_minor": 0, "uses": 1}, "redeemed"),
        ({**BALANCE, **OVER, "balance_minor": 4, "uses": 1}, "expired"),
        # Worth nothing from the beginning, it has not been used.
        ({**BALANCE, "balance_minor": 0}, "issued"),
    ],
)
def test_the_state_that_follows_from_uses_holds_and_validity(said: dict[str, Any], state: str) -> None:
    made = voucher(**said)
    assert made.settled_state(NOW) == state


@pytest.mark.parametrize("state", ["available", "expired", "voided"])
def test_what_was_never_handed_out_or_is_over_is_not_settled_anew(state: VoucherState) -> None:
    made = voucher(state, uses=1)
    book().settle(made, NOW)
    assert made.state == state
