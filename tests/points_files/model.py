"""What becomes of partners' files, in plain Python: line by line, without batches, sorting or a database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

Outcome = tuple[str, str | None]
"""Status and code."""


class Line(NamedTuple):
    """A record as a partner wrote it."""

    customer_id: str
    points: int
    reference: str


class _First(NamedTuple):
    """The first line with a reference, and what became of it."""

    line: Line
    outcome: Outcome


@dataclass
class Model:
    """Members, and what was said to each partner's references."""

    members: dict[str, int]
    closed: set[str] = field(default_factory=set)
    limit: int | None = None
    points_max: int = 1_000_000
    references: dict[tuple[str, str], _First] = field(default_factory=dict)

    def credit(self, partner: str, lines: Iterable[Line]) -> list[Outcome]:
        """A file."""
        firsts: dict[str, _First] = {}
        return [self._line(partner, line, firsts) for line in lines]

    def _line(self, partner: str, line: Line, firsts: dict[str, _First]) -> Outcome:
        outcome = self._decide(partner, line, firsts.get(line.reference))
        firsts.setdefault(line.reference, _First(line, outcome))
        return outcome

    def _decide(self, partner: str, line: Line, first: _First | None) -> Outcome:
        if not 1 <= line.points <= self.points_max:
            return "rejected", "points_out_of_range"
        if first is not None:
            if first.outcome == ("rejected", "points_out_of_range"):
                return "duplicate", "points_out_of_range"
            return _again(line, first)
        key = partner, line.reference
        before = self.references.get(key)
        if before is not None and before.outcome[0] == "rejected":
            return "duplicate", before.outcome[1]
        if before is not None:
            return _again(line, before)
        why = self._refusal(line)
        outcome: Outcome = ("accepted", None) if why is None else ("rejected", why)
        self.references[key] = _First(line, outcome)
        if why is None:
            self.members[line.customer_id] += line.points
        return outcome

    def _refusal(self, line: Line) -> str | None:
        if line.customer_id not in self.members:
            return "not_found"
        if line.customer_id in self.closed:
            return "closed"
        above = self.limit is not None and self.members[line.customer_id] + line.points > self.limit
        return "limit_exceeded" if above else None


def _again(line: Line, first: _First) -> Outcome:
    """The first result again, if it is the same that is asked."""
    if (line.customer_id, line.points) != (first.line.customer_id, first.line.points):
        return "duplicate", "reference_reused"
    return "duplicate", first.outcome[1] or "credited"
