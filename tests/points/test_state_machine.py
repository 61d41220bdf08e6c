"""A few members under everything that can happen to their points, against the plain model in `model.py`."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from counterfoil.db.engine import create_engine
from counterfoil.db.transactions import Tx
from counterfoil.errors import ConflictError
from counterfoil.points import accounts, pending
from counterfoil.points.burning import Burn
from counterfoil.points.earning import Paid, earn
from counterfoil.points.programs import Expiry, Program, Rate
from counterfoil.points.reversals import Reversal
from tests.builders import NOW
from tests.conftest import new_database
from tests.points.model import Answer, Member, Model, Transfer
from tests.points.world import World, differences, make_world

NAMES = st.sampled_from(["a", "a", "a", "b", "b", "nobody"])
REFERENCES = st.none() | st.none() | st.sampled_from(["1", "2", "3", "4", "5", "6"])
POINTS = st.sampled_from([1, 10, 50, 50, 100, -1, -5, -10, -50, -60])
PART = st.sampled_from([None, None, 0, 1, 7, 30, 60])
SOME = st.sampled_from([None, None, 1, 7, 30, 60])
PLACES = st.integers(0, 99)
DAYS = st.sampled_from([None, 1, 2, 40])
LIMITS = st.sampled_from([None, None, None, 60, 200])
ORDERS = st.sampled_from(["o1", "o2", "o3", "o4"])
ENTRY = st.tuples(NAMES, st.sampled_from(["bank", "shop"]), REFERENCES, POINTS, st.booleans(), DAYS, DAYS)


class Points(RuleBasedStateMachine):
    """A real ledger in a transaction that is rolled back at the end, and the model beside it."""

    def __init__(self, runner: asyncio.Runner, connection: AsyncConnection) -> None:
        super().__init__()
        self.runner = runner
        self.transaction = self.wait(connection.begin())
        self.world: World = self.wait(make_world(Tx(connection), "a", "b"))
        self.shop: int = self.wait(
            accounts.source_no(
                self.world.tx, merchant_id=self.world.merchant_id, source="partner", name="shop", now=NOW
            )
        )
        self.model = Model(NOW, {"a": Member(), "b": Member()})

    def wait(self, what: Any) -> Any:
        """What an awaitable comes to."""

        async def waited() -> Any:
            return await what

        return self.runner.run(waited())

    def teardown(self) -> None:
        self.wait(self.transaction.rollback())

    def compare(self, outcome: Any, answer: Answer) -> None:
        """The verb says what the model says, and names the transfer that the model names."""
        assert (outcome.code, outcome.repeated) == (answer.code, answer.repeated)
        if answer.transfer is not None:
            if not answer.repeated:
                answer.transfer.real = outcome.transfer_id
            assert outcome.transfer_id == answer.transfer.real is not None
            if answer.code != "duplicate":
                assert outcome.balance == answer.transfer.balance

    def when(self, days: int | None) -> datetime | None:
        return None if days is None else self.model.now + timedelta(days=days)

    def pick(self, place: int, *, pending: bool) -> Transfer | None:
        found = [t for t in self.model.transfers if t.pending or not pending]
        return found[place % len(found)] if found else None

    @invariant()
    def accounts_are_what_the_model_says_and_the_ledger_proves_itself(self) -> None:
        self.wait(self.prove())

    async def prove(self) -> None:
        """Accounts, lots, what is pending and what was undone."""
        world, model = self.world, self.model
        for name in model.members:
            account, lots = await world.account(name), await world.lots(name)
            figures = account.balance, account.held, account.pending, account.version, account.state, lots
            assert figures == model.figures(name)
        rows = await world.tx.all(
            """SELECT transfer_id, state, posted_points, voided_points FROM points_pending
               WHERE merchant_id = :m""",
            {"m": world.merchant_id},
        )
        expected = {t.real: (t.state, t.posted, t.voided) for t in model.transfers if t.pending}
        assert {row[0]: tuple(row[1:]) for row in rows} == expected
        made = await world.tx.all(
            """SELECT t.transfer_id, t.balance, coalesce(r.reversed, 0) FROM points_transfers t
               LEFT JOIN points_reversals r USING (transfer_id) WHERE t.merchant_id = :m""",
            {"m": world.merchant_id},
        )
        assert {row[0]: tuple(row[1:]) for row in made} == {
            t.real: (t.balance, t.reversed) for t in model.transfers
        }
        assert await differences(world.tx, world.merchant_id) == []

    @rule(entries=st.lists(ENTRY, min_size=1, max_size=6), limit=LIMITS)
    def post(self, entries: list[Any], limit: int | None) -> None:
        asked, wanted = [], []
        for name, source, reference, points, promised, due, days in entries:
            expires = self.when(days) if points > 0 else None
            due_at = self.when(due) if promised else None
            said = {"pending": promised, "expires_at": expires, "due_at": due_at}
            number = self.world.bank if source == "bank" else self.shop
            asked.append(self.world.entry(points, reference, name, source_no=number, **said))
            wanted.append((Transfer(name, source, points, promised, None, expires, None, due_at), reference))
        outcomes = self.wait(self.world.post(*asked, limit=limit))
        for outcome, (transfer, reference) in zip(outcomes, wanted, strict=True):
            self.compare(outcome, self.model.post(transfer, reference, limit))
        self.model.end_of_batch()

    def settle_all(self, asked: list[tuple[Transfer, int | None]]) -> None:
        outcomes = self.wait(self.world.settle(*((t.real, points) for t, points in asked)))
        for outcome, (promise, points) in zip(outcomes, asked, strict=True):
            answer = self.model.settle(promise, points)
            self.compare(outcome, answer)
            assert outcome.points == answer.points
        self.model.end_of_batch()

    @rule(asked=st.lists(st.tuples(PLACES, PART, st.booleans()), min_size=1, max_size=4))
    def settle(self, asked: list[tuple[int, int | None, bool]]) -> None:
        found = [(self.pick(place, pending=sure), points) for place, points, sure in asked]
        self.settle_all([(promise, points) for promise, points in found if promise is not None])

    @rule()
    def settle_what_is_due(self) -> None:
        due = self.wait(pending.find_due(self.world.tx, now=self.model.now, limit=100))
        found = due.get(self.world.merchant_id, [])
        known = {t.real: t for t in self.model.transfers}
        assert {s.transfer_id for s in found} == {
            t.real
            for t in known.values()
            if t.pending and t.state == "pending" and t.due is not None and t.due <= self.model.now
        }
        self.settle_all([(known[s.transfer_id], s.points) for s in found])

    @rule(asked=st.lists(st.tuples(PLACES, REFERENCES, SOME, st.booleans()), min_size=1, max_size=4))
    def reverse(self, asked: list[tuple[int, str | None, int | None, bool]]) -> None:
        known = []
        for place, reference, points, as_far in asked:
            t = self.pick(place, pending=False)
            if t is not None and t.real is not None:
                known.append((t, Reversal(t.real, reference, points, as_far)))
        outcomes = self.wait(self.world.reverse(*(r for _, r in known)))
        for outcome, (t, r) in zip(outcomes, known, strict=True):
            answer = self.model.reverse(t, r.reference, r.points, as_far=r.as_far_as_there)
            self.compare(outcome, answer)
            assert outcome.points == answer.points
            assert answer.repeated or outcome.missing == answer.missing
        self.model.end_of_batch()

    @rule(
        orders=st.lists(st.tuples(ORDERS, NAMES, st.sampled_from([10, 33, 33, 100])), min_size=1, max_size=3),
        wait=st.sampled_from([0, 2]),
        limit=LIMITS,
    )
    def earn(self, orders: list[tuple[str, str, int]], wait: int, limit: int | None) -> None:
        program = Program(
            earn=Rate(points=1, minor=1), activate_after_days=wait, max_balance=limit,
            expiry=Expiry(after_months=1, at="exact"),
        )  # fmt: skip
        paid = [Paid(order, name, minor, self.model.now) for order, name, minor in orders]
        outcomes = self.wait(
            earn(
                self.world.tx,
                merchant_id=self.world.merchant_id,
                program=program,
                orders=paid,
                now=self.model.now,
            )
        )
        expires, due = program.expires_at(self.model.now), self.when(wait) if wait else None
        for outcome, (order, name, minor) in zip(outcomes, orders, strict=True):
            asked = Transfer(name, "earned", minor, bool(wait), None, expires, minor, due)
            self.compare(outcome, self.model.earn(asked, order, limit))
        self.model.end_of_batch()

    @rule(
        refunds=st.lists(
            st.tuples(ORDERS, st.sampled_from("wxyz"), st.sampled_from([None, 1, 5, 11, 33])),
            min_size=1,
            max_size=4,
        )
    )
    def take_back(self, refunds: list[tuple[str, str, int | None]]) -> None:
        outcomes = self.wait(self.world.take_back(*refunds))
        for outcome, refund in zip(outcomes, refunds, strict=True):
            answer = self.model.take_back(*refund)
            self.compare(outcome, answer)
            assert (outcome.points, outcome.missing) == (answer.points, answer.missing)
        self.model.end_of_batch()

    @rule(
        burns=st.lists(st.tuples(NAMES, ORDERS, st.sampled_from([5, 20, 60]), DAYS), min_size=1, max_size=3)
    )
    def burn(self, burns: list[tuple[str, str, int, int | None]]) -> None:
        asked = [Burn(name, order, points, self.when(days)) for name, order, points, days in burns]
        outcomes = self.wait(self.world.burn(*asked))
        for outcome, b in zip(outcomes, asked, strict=True):
            hold = b.hold_until is not None
            wanted = Transfer(b.customer_id, "burned", -b.points, hold, due=b.hold_until)
            self.compare(outcome.posted, self.model.post(wanted, b.order_id, None))
            assert outcome.amount_minor == (b.points if outcome.posted.ok else 0)
        self.model.end_of_batch()

    @rule()
    def expire(self) -> None:
        done = self.model.expire()
        assert self.wait(self.world.expire()) == len(done)
        for name, transfer in done.items():
            transfer.real = self.wait(self.latest(name))

    async def latest(self, name: str) -> UUID:
        account = await self.world.account(name)
        found: UUID = await self.world.tx.scalar(
            "SELECT transfer_id FROM points_transfers WHERE member_no = :m AND version = :v",
            {"m": account.account_no, "v": account.version},
        )
        return found

    @rule(hours=st.sampled_from([1, 23, 25, 24 * 15, 24 * 32]))
    def let_time_pass(self, hours: int) -> None:
        self.model.now = self.world.later(hours=hours)

    @rule(name=st.sampled_from(["a", "b"]))
    def close_or_reopen(self, name: str) -> None:
        member = self.model.members[name]
        if member.closed:
            self.wait(accounts.reopen(self.world.tx, merchant_id=self.world.merchant_id, customer_id=name))
            member.closed = False
            return
        try:
            self.wait(self.world.close(name))
        except ConflictError:
            assert member.balance or member.pending
        else:
            assert (member.balance, member.pending) == (0, 0)
            member.closed = True


def test_points_move_as_the_model_says(cluster: URL) -> None:
    with asyncio.Runner() as runner:
        database = new_database(cluster)
        url = runner.run(database.__aenter__())
        engine = create_engine(url.render_as_string(hide_password=False))
        connection = runner.run(engine.connect().start())
        try:
            run_state_machine_as_test(
                lambda: Points(runner, connection),  # type: ignore[arg-type]
                settings=settings(
                    max_examples=15,
                    stateful_step_count=30,
                    deadline=None,
                    # To make a failure smaller takes minutes, and it is short enough.
                    phases=[Phase.explicit, Phase.reuse, Phase.generate],
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(connection.close())
            runner.run(engine.dispose())
            runner.run(database.__aexit__(None, None, None))
