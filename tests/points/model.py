"""The ledger as plain Python: one entry after the other, without a database, batches or locks."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

GRACE = timedelta(days=30)


@dataclass(eq=False)
class Transfer:
    """A transfer that was made, and what became of it."""

    member: str
    source: str
    points: int
    pending: bool = False
    balance: int | None = None
    expires: datetime | None = None
    amount: int | None = None
    due: datetime | None = None
    undoes: Transfer | None = None
    reversed: int = 0
    state: str = "pending"
    posted: int = 0
    voided: int = 0
    carried_out: Transfer | None = None
    uses: dict[datetime, int] = field(default_factory=dict)
    real: UUID | None = None


@dataclass
class Answer:
    """What an outcome has to say."""

    code: str
    repeated: bool = False
    transfer: Transfer | None = None
    """The one that it names."""
    points: int = 0
    missing: int = 0


@dataclass
class Member:
    """A member's account."""

    balance: int = 0
    held: int = 0
    pending: int = 0
    version: int = 0
    closed: bool = False
    lots: dict[datetime, int] = field(default_factory=dict)


@dataclass
class Model:
    """Members, what moved, and what was said to each reference."""

    now: datetime
    members: dict[str, Member]
    transfers: list[Transfer] = field(default_factory=list)
    said: dict[tuple[str, str], Transfer | str] = field(default_factory=dict)
    refunds: dict[str, dict[str, tuple[int, int, int]]] = field(default_factory=lambda: defaultdict(dict))
    taking: list[Transfer] = field(default_factory=list)
    giving: list[tuple[Transfer, int, int]] = field(default_factory=list)

    def post(self, asked: Transfer, reference: str | None, limit: int | None) -> Answer:
        """One entry."""
        before = self.said.get((asked.source, reference)) if reference is not None else None
        if isinstance(before, str):
            return Answer(before, repeated=True)
        if before is not None:
            same = [(t.member, t.points, t.pending) for t in (before, asked)]
            code = "duplicate" if same[0] != same[1] else "pending" if asked.pending else "posted"
            return Answer(code, repeated=True, transfer=before)
        why = self.refusal(asked, limit)
        if why is None:
            self.move(asked)
        if reference is not None:
            self.said[asked.source, reference] = asked if why is None else why
        return (
            Answer("pending" if asked.pending else "posted", transfer=asked) if why is None else Answer(why)
        )

    def refusal(self, asked: Transfer, limit: int | None) -> str | None:
        """Why a transfer does not fit."""
        member = self.members.get(asked.member)
        if member is None:
            return "not_found"
        if member.closed:
            return "closed"
        if member.balance - member.held + asked.points < 0:
            return "insufficient"
        above = limit is not None and member.balance + member.pending + asked.points > limit
        return "limit_exceeded" if asked.points > 0 and above else None

    def move(self, asked: Transfer) -> None:
        """A transfer that was granted."""
        member = self.members[asked.member]
        self.transfers.append(asked)
        if asked.pending and asked.points < 0:
            member.held -= asked.points
        elif asked.pending:
            member.pending += asked.points
        else:
            member.balance += asked.points
            member.version += 1
            asked.balance = member.balance
            if asked.points < 0:
                self.taking.append(asked)
            elif asked.expires is not None:
                member.lots[asked.expires] = member.lots.get(asked.expires, 0) + asked.points

    def end_of_batch(self) -> None:
        """What is undone goes back to the lots, then debits take from them."""
        for debit, already, points in self.giving:
            lots = self.members[debit.member].lots
            # Point by point: those that never expire, then those that live longest.
            order = [None] * (-debit.points - sum(debit.uses.values())) + [
                expires for expires in sorted(debit.uses, reverse=True) for _ in range(debit.uses[expires])
            ]
            for expires in order[already : already + points]:
                if expires is not None:
                    lot = max(expires, self.now + GRACE)
                    lots[lot] = lots.get(lot, 0) + 1
        for debit in self.taking:
            lots, left = self.members[debit.member].lots, -debit.points
            for expires in sorted(lots):
                taken = min(left, lots[expires])
                left -= taken
                lots[expires] -= taken
                if taken:
                    debit.uses[expires] = taken
        self.taking, self.giving = [], []
        for member in self.members.values():
            member.lots = {expires: points for expires, points in member.lots.items() if points}

    def settle(self, promise: Transfer, points: int | None) -> Answer:
        """One settlement."""
        if not promise.pending:
            return Answer("not_found")
        if promise.state == "voided":
            return Answer("voided", repeated=True) if points == 0 else Answer("already_voided")
        if promise.state == "posted":
            if points not in {None, promise.posted}:
                return Answer("already_posted")
            return Answer("posted", True, promise.carried_out, promise.posted)
        whole = abs(promise.points) - promise.voided
        points = whole if points is None else points
        if points > whole:
            return Answer("too_many_points")
        self.void(promise, whole)
        promise.voided = abs(promise.points) - points
        promise.posted, promise.state = points, "posted" if points else "voided"
        if not points:
            return Answer("voided")
        sign = 1 if promise.points > 0 else -1
        done = Transfer(promise.member, promise.source, sign * points, expires=promise.expires)
        promise.carried_out = done
        self.move(done)
        return Answer("posted", transfer=done, points=points)

    def void(self, promise: Transfer, points: int) -> None:
        """So much of what is pending is not pending any more."""
        member = self.members[promise.member]
        promise.voided += points
        if promise.points < 0:
            member.held -= points
        else:
            member.pending -= points

    def reverse(
        self, original: Transfer, reference: str | None, points: int | None, *, as_far: bool
    ) -> Answer:
        """One reversal."""
        key = (original.source, reference or "")
        before = self.said.get(key) if reference is not None else None
        if isinstance(before, str):
            return Answer(before, repeated=True)
        if before is not None:
            moved = abs(before.points)
            asked = moved if points is None else points
            if before.undoes is not original or asked < moved or (asked > moved and not as_far):
                return Answer("duplicate", repeated=True)
            return Answer("posted", True, before, moved)
        answer = self.undo(original, points, as_far=as_far)
        if reference is not None:
            self.said[key] = answer.transfer or answer.code
        return answer

    def undo(self, original: Transfer, points: int | None, *, as_far: bool) -> Answer:
        """Undo a transfer as far as it goes."""
        member = self.members[original.member]
        left = abs(original.points) - original.reversed
        if original.undoes is not None or original.pending:
            return Answer("not_reversible")
        if not left:
            return Answer("reversed_already")
        points = left if points is None else points
        if points > left and not as_far:
            return Answer("too_many_points")
        points, missing = min(points, left), 0
        if original.points > 0:
            free = member.balance - member.held
            if points > free:
                there = free if as_far else 0
                points, missing = there, points - there
                if not points:
                    return Answer("insufficient", missing=missing)
        elif member.closed:
            return Answer("closed")
        done = Transfer(
            original.member, original.source, -points if original.points > 0 else points, undoes=original
        )
        if original.points < 0:
            self.giving.append((original, original.reversed, points))
        original.reversed += points
        self.move(done)
        return Answer("posted", transfer=done, points=points, missing=missing)

    def earn(self, asked: Transfer, order: str, limit: int | None) -> Answer:
        """An order that was paid."""
        before = self.said.get(("earned", order))
        if isinstance(before, Transfer):
            same = (before.member, before.amount) == (asked.member, asked.amount)
            code = "duplicate" if not same else "pending" if before.pending else "posted"
            return Answer(code, True, before)
        return self.post(asked, order, limit)

    def take_back(self, order: str, refund: str, minor: int | None) -> Answer:
        """Money that went back."""
        earned = self.said.get(("earned", order))
        if not isinstance(earned, Transfer):
            return Answer("order_not_earned")
        refunds = self.refunds[order]
        if refund in refunds:
            money, points, missing = refunds[refund]
            if minor not in {None, money}:
                return Answer("duplicate", repeated=True)
            code = "taken_back" if points or missing else "nothing_to_take_back"
            return Answer(code, True, None, points, missing)
        assert earned.amount is not None
        left = earned.amount - sum(money for money, _, _ in refunds.values())
        minor = left if minor is None else minor
        if minor > left:
            return Answer("refund_too_large")
        after = earned.points * (left - minor) // earned.amount
        points = earned.points * left // earned.amount - after
        if earned.pending and earned.state == "voided":
            points = 0
        answer = Answer("taken_back" if points else "nothing_to_take_back", points=points)
        if points and earned.pending and earned.state == "pending":
            if not after:
                self.settle(earned, 0)
            else:
                self.void(earned, min(points, abs(earned.points) - earned.voided))
        elif points:
            done = self.undo(earned.carried_out or earned, points, as_far=True)
            code = "taken_back" if done.points or done.missing else "nothing_to_take_back"
            answer = Answer(code, False, done.transfer, done.points, done.missing)
        refunds[refund] = minor, answer.points, answer.missing
        return answer

    def expire(self) -> dict[str, Transfer]:
        """Lots whose time has come."""
        done = {}
        for name, member in self.members.items():
            due = sum(points for expires, points in member.lots.items() if expires <= self.now)
            points = min(due, member.balance - member.held)
            if points:
                done[name] = Transfer(name, "expired", -points)
                self.move(done[name])
        self.end_of_batch()
        return done

    def figures(self, name: str) -> Any:
        """An account as it must stand."""
        m = self.members[name]
        return (m.balance, m.held, m.pending, m.version, "closed" if m.closed else "open", m.lots)
