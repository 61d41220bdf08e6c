"""Two campaigns under everything that can happen to them, against the plain model in `model.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from counterfoil.db.engine import create_engine
from counterfoil.db.transactions import Tx
from counterfoil.errors import RefusedError
from counterfoil.vouchers import counters, expiry, reservations
from counterfoil.vouchers.requests import Outcome
from tests.builders import NOW
from tests.conftest import new_database
from tests.vouchers.model import Answer, Model, Rules
from tests.vouchers.world import World, make_world, reasons

T = TypeVar("T")

NAMES = st.sampled_from(["a", "b"])
CUSTOMERS = st.sampled_from([None, "x", "y"])
ORDERS = st.sampled_from(["o1", "o2", "o3"])
AMOUNTS = st.sampled_from([1000, 1000, 30, 305, 0])
PLACES = st.integers(0, 9)
# Where everything is limited nothing happens: most campaigns have few limits, and few of those are none.
FEW = st.sampled_from([None, None, None, None, None, None, 1, 2, 3, 0])
RULES = st.builds(
    Rules,
    kind=st.sampled_from(["amount", "percent", "stored"]),
    amount=st.sampled_from([10, 50]),
    stock=st.sampled_from([None, None, 3, 6]),
    budget=st.sampled_from([None, None, None, 100, 200, 0]),
    redemptions=st.sampled_from([None, None, None, 3, 1]),
    uses=st.sampled_from([1, 1, 1, 2, 2, None, 0]),
    claims_each=FEW,
    claims_each_day=FEW,
    claims_day=FEW,
    used_each=FEW,
    used_each_day=FEW,
    used_day=FEW,
    minimum=st.sampled_from([0, 0, 304]),
    stacking=st.sampled_from(["alone", "one_per_campaign", "any"]),
    transferable=st.booleans(),
    hours=st.sampled_from([None, 20, 1]),
)
USES = st.lists(st.tuples(PLACES, ORDERS, CUSTOMERS, AMOUNTS), min_size=1, max_size=3)


def said(rules: Rules) -> dict[str, Any]:
    """The rules of the model as the terms and limits of a campaign."""
    discounts = {
        "amount": {"kind": "amount", "amount_minor": rules.amount},
        "percent": {"kind": "percent", "basis_points": rules.amount * 100},
        "stored": {"kind": "stored_value", "amount_minor": rules.amount},
    }
    return {
        "stock": rules.stock,
        "budget_minor": rules.budget,
        "max_redemptions": rules.redemptions,
        "discount": discounts[rules.kind],
        "uses_per_voucher": rules.uses,
        "claims_per_customer": {"total": rules.claims_each, "day": rules.claims_each_day},
        "claims_per_day": rules.claims_day,
        "redemptions_per_customer": {"total": rules.used_each, "day": rules.used_each_day},
        "redemptions_per_day": rules.used_day,
        "minimum_spend_minor": rules.minimum,
        "stacking": rules.stacking,
        "transferable": rules.transferable,
        "validity": None if rules.hours is None else {"kind": "after_issue", "hours": rules.hours},
        "time_zone": "Asia/Shanghai",
    }


def compare(outcome: Outcome, answer: Answer) -> None:
    """The verb says what the model says."""
    assert set(reasons(outcome)) == answer.why
    assert (outcome.ok, outcome.repeated, outcome.note) == (not answer.why, answer.repeated, answer.note)
    if answer.discount is not None:
        assert outcome.discount is not None
        assert outcome.discount.discount_minor == answer.discount


class Campaigns(RuleBasedStateMachine):
    """Real campaigns in a transaction that is rolled back at the end, and the model beside them."""

    def __init__(self, runner: asyncio.Runner, connection: AsyncConnection) -> None:
        super().__init__()
        self.runner = runner
        self.transaction = self.wait(connection.begin())
        self.world: World = self.wait(make_world(Tx(connection)))
        self.model = Model(NOW, {})

    def wait(self, what: Any) -> Any:
        """What an awaitable comes to."""

        async def waited() -> Any:
            return await what

        return self.runner.run(waited())

    def ask(self, verb: Any, requests: Sequence[dict[str, Any]]) -> list[Outcome]:
        """Ask the verb for a batch."""
        outcomes: list[Outcome] = self.wait(self.world.batch(verb, *requests))
        return outcomes

    def teardown(self) -> None:
        self.wait(self.transaction.rollback())

    @initialize(a=RULES, b=RULES)
    def begin(self, a: Rules, b: Rules) -> None:
        for name, rules in (("a", a), ("b", b)):
            self.wait(self.world.campaign(name, **said(rules)))
            self.model.rules[name] = rules
            self.hand_out("issue", name, [None, "x", "x"])

    @invariant()
    def counters_are_what_was_counted(self) -> None:
        self.wait(self.compare_counters())

    async def compare_counters(self) -> None:
        """The counters, the rows and the model say the same."""
        tx, merchant_id = self.world.tx, self.world.merchant_id
        rows = await tx.all("SELECT * FROM campaign_counters WHERE merchant_id = :m", {"m": merchant_id})
        assert len(rows) == len(self.model.rules)
        for row in rows:
            expected = self.model.counters(row.campaign_id)
            assert {key: getattr(row, key) for key in expected} == expected
            assert await counters.verify(tx, merchant_id=merchant_id, campaign_id=row.campaign_id) == []

    def pick(self, things: dict[str, T], place: int) -> str | None:
        """One of what there is."""
        return list(things)[place % len(things)] if things else None

    @rule(
        verb=st.sampled_from(["claim", "claim", "issue"]),
        name=NAMES,
        who=st.lists(CUSTOMERS, min_size=1, max_size=3),
    )
    def hand_out(self, verb: str, name: str, who: list[str | None]) -> None:
        outcomes = self.ask(verb, [{"campaign_id": name, "customer_id": customer} for customer in who])
        for customer, outcome in zip(who, outcomes, strict=True):
            answer = self.model.claim(name, customer, public=verb == "claim")
            compare(outcome, answer)
            if outcome.voucher is not None:
                self.model.add(outcome.voucher.voucher_id, name, customer)

    def use(
        self, verb: str, uses: list[tuple[int, str, str | None, int]], decide: Callable[..., Answer]
    ) -> None:
        """One of the verbs of use, on some vouchers and orders."""
        asked = [(self.pick(self.model.coupons, place), *rest) for place, *rest in uses if self.model.coupons]
        names = ("voucher_id", "order_id", "customer_id", "amount_minor")
        outcomes = self.ask(verb, [dict(zip(names, each, strict=True)) for each in asked])
        if verb != "validate":
            self.model.lapse({self.model.coupons[str(code)].campaign for code, *_ in asked})
        for each, outcome in zip(asked, outcomes, strict=True):
            made = outcome.reservation or outcome.redemption
            name = getattr(made, "reservation_id", None) or getattr(made, "redemption_id", "none")
            compare(outcome, decide(*each) if verb == "validate" else decide(*each, name))
            if outcome.voucher is not None:
                assert outcome.voucher.uses == self.model.of(str(each[0]))[0]

    @rule(uses=USES)
    def validate(self, uses: list[tuple[int, str, str | None, int]]) -> None:
        self.use("validate", uses, self.model.validate)

    @rule(uses=USES)
    def reserve(self, uses: list[tuple[int, str, str | None, int]]) -> None:
        self.use("reserve", uses, self.model.reserve)

    @rule(uses=USES)
    def redeem(self, uses: list[tuple[int, str, str | None, int]]) -> None:
        self.use("redeem", uses, self.model.redeem)

    @rule(place=PLACES, amount=st.none() | AMOUNTS)
    def pay_for_what_was_reserved(self, place: int, amount: int | None) -> None:
        name = self.pick(self.model.holds, place)
        if name is not None:
            hold = self.model.holds[name]
            code = list(self.model.coupons).index(hold.coupon)
            self.use(
                "redeem",
                [(code, hold.order, None, amount if amount is not None else hold.amount)],
                self.model.redeem,
            )

    @rule(places=st.lists(PLACES, min_size=1, max_size=2))
    def release(self, places: list[int]) -> None:
        names = [name for place in places if (name := self.pick(self.model.holds, place)) is not None]
        outcomes = self.ask("release", [{"reservation_id": name} for name in names])
        for name, outcome in zip(names, outcomes, strict=True):
            compare(outcome, self.model.release(name))

    @rule(places=st.lists(PLACES, min_size=1, max_size=2))
    def reverse(self, places: list[int]) -> None:
        names = [name for place in places if (name := self.pick(self.model.spent, place)) is not None]
        outcomes = self.ask("reverse", [{"redemption_id": name} for name in names])
        for name, outcome in zip(names, outcomes, strict=True):
            compare(outcome, self.model.reverse(name))

    @rule(places=st.lists(PLACES, min_size=1, max_size=2), restock=st.booleans())
    def void(self, places: list[int], restock: bool) -> None:
        codes = [code for place in places if (code := self.pick(self.model.coupons, place)) is not None]
        requests = [{"voucher_id": code, "reason": "r", "restock": restock} for code in codes]
        for code, outcome in zip(codes, self.ask("void", requests), strict=True):
            compare(outcome, self.model.void_(code, restock=restock))

    @rule(minutes=st.sampled_from([1, 14, 16, 61, 5 * 60]))
    def let_time_pass(self, minutes: int) -> None:
        self.world.later(minutes=minutes)
        self.model.now += timedelta(minutes=minutes)

    @rule()
    def look_after_what_is_over(self) -> None:
        tx, merchant_id, now = self.world.tx, self.world.merchant_id, self.world.now
        due = self.wait(expiry.find_due(tx, now=now))
        names = [name for m, name in due.reservations if m == merchant_id]
        lapsed = self.wait(reservations.lapse(tx, [(merchant_id, name) for name in names], now=now))
        assert lapsed == self.model.lapse({"a", "b"})
        for name in [name for m, name in due.vouchers if m == merchant_id]:
            self.wait(expiry.expire(tx, merchant_id=merchant_id, campaign_id=name, now=now))
        for name in ("a", "b"):
            self.model.sweep(name)

    @rule(name=NAMES, to=st.sampled_from([*["active"] * 6, "paused", "paused", "stopped", "ended"]))
    def move(self, name: str, to: Any) -> None:
        allowed = {
            "active": {"paused", "stopped", "ended"},
            "paused": {"active", "stopped", "ended"},
            "stopped": {"ended"},
            "ended": set[str](),
        }
        have = self.model.rules[name].state
        try:
            self.wait(self.world.move(to, name))
        except RefusedError:
            assert to not in {have, *allowed[have]}
        else:
            assert to in {have, *allowed[have]}
            self.model.rules[name].state = to

    @rule(name=NAMES, stock=FEW, budget=st.sampled_from([None, None, 100]), redemptions=FEW)
    def change_the_limits(
        self, name: str, stock: int | None, budget: int | None, redemptions: int | None
    ) -> None:
        rules, counted = self.model.rules[name], self.model.counters(name)
        wanted = {"stock": stock, "budget_minor": budget, "max_redemptions": redemptions}
        used = {
            "stock": counted["handed_out"],
            "budget_minor": counted["spent_minor"] + counted["held_minor"],
            "max_redemptions": counted["redemptions"] + counted["holds"],
        }
        below = any(limit is not None and limit < used[key] for key, limit in wanted.items())
        code = "campaign_ended" if rules.state == "ended" else "limit_below_used" if below else None
        told = None
        try:
            self.wait(self.world.change(name, limits=wanted))
        except RefusedError as error:
            told = error.code
        assert told == code
        if code is None:
            rules.stock, rules.budget, rules.redemptions = stock, budget, redemptions


def test_campaigns_do_what_the_model_does(cluster: URL) -> None:
    with asyncio.Runner() as runner:
        database = new_database(cluster)
        url = runner.run(database.__aenter__())
        engine = create_engine(url.render_as_string(hide_password=False))
        connection = runner.run(engine.connect().start())
        try:
            run_state_machine_as_test(
                lambda: Campaigns(runner, connection),  # type: ignore[arg-type]
                settings=settings(
                    max_examples=25,
                    stateful_step_count=40,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(connection.close())
            runner.run(engine.dispose())
            runner.run(database.__aexit__(None, None, None))
