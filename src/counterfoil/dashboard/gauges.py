"""How full a campaign's limits are, and the states of its vouchers, as parts of bars that are 100 wide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from counterfoil.vouchers.campaigns import Counters, Limits
from counterfoil.vouchers.types import VOUCHER_STATES

NEARLY: Final = 0.9


@dataclass(frozen=True, slots=True)
class Gauge:
    """A limit: what is used of it, what is kept for orders, and how much there is (None: unlimited)."""

    name: str
    used: int
    held: int
    limit: int | None

    @property
    def left(self) -> int | None:
        """What is left; None: unlimited."""
        return None if self.limit is None else max(self.limit - self.used - self.held, 0)

    @property
    def used_part(self) -> float:
        """The used part, of 100."""
        return self._part(self.used)

    @property
    def held_part(self) -> float:
        """The part kept for orders, of 100."""
        return self._part(self.held)

    def _part(self, amount: int) -> float:
        if not self.limit:
            return 0.0
        return round(min(100 * amount / self.limit, 100), 2)

    @property
    def tone(self) -> str:
        """`full`, `nearly` or nothing special."""
        if self.limit is None:
            return ""
        taken = self.used + self.held
        return "full" if taken >= self.limit else "nearly" if taken >= NEARLY * self.limit else ""


def gauges_of(limits: Limits, counters: Counters) -> dict[str, Gauge]:
    """The stock, the budget and the redemptions of a campaign."""
    found = (
        Gauge("stock", counters.handed_out, 0, limits.stock),
        Gauge("budget", counters.spent_minor, counters.held_minor, limits.budget_minor),
        Gauge("redemptions", counters.redemptions, counters.holds, limits.max_redemptions),
    )
    return {gauge.name: gauge for gauge in found}


@dataclass(frozen=True, slots=True)
class Share:
    """How many vouchers are in a state, and where its piece of the bar stands."""

    state: str
    n: int
    x: float
    width: float


def shares_of(counters: Counters) -> list[Share]:
    """The states of a campaign's vouchers as one stacked bar."""
    numbers = {state: int(getattr(counters, state)) for state in VOUCHER_STATES}
    whole, x, found = sum(numbers.values()), 0.0, []
    for state, n in numbers.items():
        width = 100 * n / whole if whole else 0.0
        found.append(Share(state, n, round(x, 2), round(width, 2)))
        x += width
    return found
