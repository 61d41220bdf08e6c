"""What the verbs should do, written a second time and as plainly as can be: lists, and counting through them.

It shares no code with the room. Nothing is kept that can be counted: every limit is looked up by going
through all that ever happened. Only what time was seen to do (`over`, a hold that ran out) is remembered.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta

ZONE = timedelta(hours=8)
HOLD = timedelta(minutes=15)


@dataclass
class Rules:
    """A campaign of the model. None: unlimited."""

    kind: str
    amount: int
    stock: int | None = None
    budget: int | None = None
    redemptions: int | None = None
    uses: int | None = 1
    claims_each: int | None = None
    claims_each_day: int | None = None
    claims_day: int | None = None
    used_each: int | None = None
    used_each_day: int | None = None
    used_day: int | None = None
    minimum: int = 0
    stacking: str = "one_per_campaign"
    transferable: bool = False
    hours: int | None = None
    state: str = "active"


@dataclass
class Coupon:
    """A voucher; `over`: it was seen to be, `void` and `restocked`: somebody did that."""

    campaign: str
    customer: str | None
    issued: datetime
    until: datetime | None
    over: bool = False
    void: bool = False
    restocked: bool = False


@dataclass
class Hold:
    """A reservation."""

    coupon: str
    order: str
    customer: str | None
    amount: int
    discount: int
    made: datetime
    until: datetime
    state: str = "held"


@dataclass
class Spent:
    """A redemption."""

    coupon: str
    order: str
    customer: str | None
    amount: int
    discount: int
    made: datetime
    reversed: bool = False


@dataclass
class Answer:
    """What a verb should say; `why` where it is refused."""

    why: set[str] = field(default_factory=set)
    repeated: bool = False
    note: str | None = None
    discount: int | None = None


def refuse(*why: str) -> Answer:
    """A refusal."""
    return Answer(set(why))


def day(moment: datetime) -> object:
    """The local day."""
    return (moment + ZONE).date()


@dataclass
class Model:
    """Everything that there is."""

    now: datetime
    rules: dict[str, Rules]
    coupons: dict[str, Coupon] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    spent: dict[str, Spent] = field(default_factory=dict)

    def holding(self, campaign: str) -> list[Hold]:
        """What is held in a campaign."""
        return [
            h
            for h in self.holds.values()
            if h.state == "held" and self.coupons[h.coupon].campaign == campaign
        ]

    def standing(self, campaign: str) -> list[Spent]:
        """What was redeemed in a campaign and not reversed."""
        return [
            s for s in self.spent.values() if not s.reversed and self.coupons[s.coupon].campaign == campaign
        ]

    def taken(self, campaign: str) -> list[Hold | Spent]:
        """What counts against limits of use."""
        return [*self.holding(campaign), *self.standing(campaign)]

    def of(self, code: str) -> tuple[int, int, int, int]:
        """Uses and holds of a coupon, and what they take."""
        uses = [s for s in self.spent.values() if s.coupon == code and not s.reversed]
        holds = [h for h in self.holds.values() if h.coupon == code and h.state == "held"]
        return len(uses), len(holds), sum(s.discount for s in uses), sum(h.discount for h in holds)

    def state(self, code: str) -> str:
        """What state a coupon is in."""
        coupon = self.coupons[code]
        if coupon.void or coupon.over:
            return "voided" if coupon.void else "expired"
        rules = self.rules[coupon.campaign]
        uses, holds, used, held = self.of(code)
        if rules.kind == "stored":
            full, most = used == rules.amount, used + held == rules.amount
        else:
            full = rules.uses is not None and uses >= rules.uses
            most = rules.uses is not None and uses + holds >= rules.uses
        if full and uses:
            return "redeemed"
        return "reserved" if most and holds else "issued"

    def is_past(self, code: str) -> bool:
        """Whether its validity is over."""
        until = self.coupons[code].until
        return until is not None and until <= self.now

    def look(self, code: str) -> None:
        """A coupon that something came back to, or that time is looked after for: it may be over."""
        if self.state(code) == "issued" and not self.of(code)[1] and self.is_past(code):
            self.coupons[code].over = True

    def lapse(self, campaigns: set[str]) -> int:
        """What ran out in these campaigns ends."""
        ended = [h for name in campaigns for h in self.holding(name) if h.until <= self.now]
        for hold in ended:
            hold.state = "expired"
            self.look(hold.coupon)
        return len(ended)

    def sweep(self, name: str) -> None:
        """Coupons whose validity is over, and all of a campaign that has ended, become expired."""
        for code, coupon in self.coupons.items():
            if coupon.campaign == name:
                self.look(code)
                if (
                    self.rules[name].state == "ended"
                    and self.state(code) == "issued"
                    and not self.of(code)[1]
                ):
                    coupon.over = True

    # The verbs

    def claim(self, name: str, customer: str | None, *, public: bool) -> Answer:
        """A customer claims, or (not `public`) the merchant issues; the caller then puts the coupon in."""
        rules, why = self.rules[name], set()
        out = [c for c in self.coupons.values() if c.campaign == name]
        mine = [c for c in out if c.customer == customer]
        today = [c for c in out if day(c.issued) == day(self.now)]
        if rules.state != "active":
            why.add(f"campaign_{rules.state}")
        if rules.stock is not None and len([c for c in out if not c.restocked]) >= rules.stock:
            why.add("sold_out")
        if public:
            each, each_day = rules.claims_each, rules.claims_each_day
            if customer is None and (each is not None or each_day is not None):
                why.add("customer_required")
            elif customer is not None and (
                (each is not None and len(mine) >= each)
                or (each_day is not None and len([c for c in mine if c in today]) >= each_day)
            ):
                why.add("claim_limit_reached")
            if rules.claims_day is not None and len(today) >= rules.claims_day:
                why.add("claims_per_day_reached")
        return Answer(why)

    def add(self, code: str, name: str, customer: str | None) -> None:
        """Put a coupon in that was handed out."""
        hours = self.rules[name].hours
        until = None if hours is None else self.now + timedelta(hours=hours)
        self.coupons[code] = Coupon(name, customer, self.now, until)

    def why_not(
        self, code: str, order: str, customer: str | None, amount: int, promised: Hold | None
    ) -> tuple[set[str], int]:
        """Every reason why a coupon cannot be used, and its discount. The promised hold is out of the way."""
        coupon = self.coupons[code]
        rules, taken = self.rules[coupon.campaign], self.taken(coupon.campaign)
        why: set[str] = set()
        if promised is None:
            why |= self.not_now(code) | self.too_often(rules, taken, customer or coupon.customer)
        if not rules.transferable and None not in {customer, coupon.customer} and customer != coupon.customer:
            why.add("not_the_holder")
        if promised is not None and amount == promised.amount:
            discount = promised.discount
        else:
            discount = self.discount(code, amount)
            if amount < rules.minimum:
                why.add("minimum_not_met")
        if rules.budget is not None and sum(t.discount for t in taken) + discount > rules.budget:
            why.add("budget_exhausted")
        if self.crowded(code, order):
            why.add("not_stackable")
        return why, discount

    def not_now(self, code: str) -> set[str]:
        """Why the coupon, or its campaign, is not in a state to be used."""
        rules, why, state = self.rules[self.coupons[code].campaign], set(), self.state(code)
        if rules.state not in {"active", "stopped"}:
            why.add(f"campaign_{rules.state}")
        if state != "issued":
            why.add(f"voucher_{state}")
        elif rules.uses == 0 and rules.kind != "stored":
            why.add("voucher_redeemed")
        if self.is_past(code):
            why.add("voucher_expired")
        return why

    def discount(self, code: str, amount: int) -> int:
        """What a coupon takes off."""
        rules = self.rules[self.coupons[code].campaign]
        if rules.kind == "percent":
            return int(amount * rules.amount / 100 + 0.5)
        _, _, used, held = self.of(code)
        return min(amount, rules.amount - (used + held if rules.kind == "stored" else 0))

    def too_often(self, rules: Rules, taken: list[Hold | Spent], customer: str | None) -> set[str]:
        """Limits of use that are reached."""
        why, today = set(), [t for t in taken if day(t.made) == day(self.now)]
        if rules.redemptions is not None and len(taken) >= rules.redemptions:
            why.add("redemptions_used_up")
        if rules.used_day is not None and len(today) >= rules.used_day:
            why.add("redemptions_per_day_reached")
        each, each_day = rules.used_each, rules.used_each_day
        if customer is None and (each is not None or each_day is not None):
            why.add("customer_required")
        elif customer is not None and (
            (each is not None and len([t for t in taken if t.customer == customer]) >= each)
            or (each_day is not None and len([t for t in today if t.customer == customer]) >= each_day)
        ):
            why.add("redemption_limit_reached")
        return why

    def crowded(self, code: str, order: str) -> bool:
        """Whether it may not stand beside what else is on the order."""
        name = self.coupons[code].campaign
        mine = self.rules[name].stacking
        others = [s.coupon for s in self.spent.values() if s.order == order and not s.reversed]
        others += [
            h.coupon
            for h in self.holds.values()
            if h.order == order and h.state == "held" and h.until > self.now
        ]
        campaigns = [self.coupons[other].campaign for other in others if other != code]
        alone = "alone" in {mine, *(self.rules[c].stacking for c in campaigns)}
        return bool(campaigns) and (alone or (mine == "one_per_campaign" and name in campaigns))

    def find(self, code: str, order: str) -> tuple[Spent | None, Hold | None, Hold | None]:
        """What an order did with a coupon before: redeemed, holds, and the last hold that is over."""
        spent = [s for s in self.spent.values() if (s.coupon, s.order) == (code, order)]
        holds = [h for h in self.holds.values() if (h.coupon, h.order) == (code, order)]
        held = [h for h in holds if h.state == "held"]
        return next(iter(spent), None), next(iter(held), None), holds[-1] if holds else None

    def validate(self, code: str, order: str, customer: str | None, amount: int) -> Answer:
        """Nothing of it stays."""
        then = deepcopy(self)
        then.lapse({self.coupons[code].campaign})
        _, held, _ = then.find(code, order)
        if held is not None:
            held.state = "aside"
        why, discount = then.why_not(code, order, customer, amount, held)
        return Answer(why, discount=None if why else discount)

    def reserve(self, code: str, order: str, customer: str | None, amount: int, name: str) -> Answer:
        """Hold it; `name` is what the hold will be known by (taken by the caller only if it was made)."""
        spent, held, _ = self.find(code, order)
        if held is not None:
            if amount != held.amount:
                return refuse("order_differs")
            return Answer(repeated=True, discount=held.discount)
        if spent is not None:
            return refuse("redemption_reversed" if spent.reversed else "voucher_redeemed")
        why, discount = self.why_not(code, order, customer, amount, None)
        if why:
            return Answer(why)
        who = customer or self.coupons[code].customer
        self.holds[name] = Hold(code, order, who, amount, discount, self.now, self.now + HOLD)
        return Answer(discount=discount)

    def redeem(self, code: str, order: str, customer: str | None, amount: int, name: str) -> Answer:
        """Use it."""
        spent, held, last = self.find(code, order)
        if spent is not None:
            if amount != spent.amount:
                return refuse("order_differs")
            if spent.reversed:
                return refuse("redemption_reversed")
            return Answer(repeated=True, discount=spent.discount)
        if held is not None:
            held.state = "aside"
        why, discount = self.why_not(code, order, customer, amount, held)
        if why:
            if held is not None:
                held.state = "held"
            return Answer(why)
        note = None
        if held is not None:
            held.state = "redeemed"
        elif last is not None:
            note = f"reservation_{last.state}"
        who = customer or (held.customer if held is not None else None) or self.coupons[code].customer
        self.spent[name] = Spent(code, order, who, amount, discount, self.now)
        self.look(code)
        return Answer(note=note, discount=discount)

    def release(self, name: str) -> Answer:
        """Give a hold back."""
        hold = self.holds[name]
        if hold.state == "redeemed":
            return refuse("reservation_redeemed")
        if hold.state == "held":
            hold.state = "released"
            self.look(hold.coupon)
            return Answer()
        return Answer(repeated=True, note="reservation_expired" if hold.state == "expired" else None)

    def reverse(self, name: str) -> Answer:
        """Undo a redemption."""
        spent = self.spent[name]
        if spent.reversed:
            return Answer(repeated=True)
        spent.reversed = True
        self.look(spent.coupon)
        return Answer()

    def void_(self, code: str, *, restock: bool) -> Answer:
        """Make it useless."""
        state = self.state(code)
        if state == "voided":
            return Answer(repeated=True)
        if state in {"redeemed", "expired"}:
            return refuse(f"voucher_{state}")
        if restock and self.of(code)[0]:
            return refuse("restock_impossible")
        for hold in self.holds.values():
            if hold.coupon == code and hold.state == "held":
                hold.state = "released"
        self.coupons[code].void, self.coupons[code].restocked = True, restock
        return Answer()

    def counters(self, name: str) -> dict[str, int]:
        """What the counters of a campaign should say."""
        out = [code for code, coupon in self.coupons.items() if coupon.campaign == name]
        states = [self.state(code) for code in out]
        counted = {s: states.count(s) for s in ("issued", "reserved", "redeemed", "expired", "voided")}
        return {
            **counted,
            "available": 0,
            "handed_out": len([code for code in out if not self.coupons[code].restocked]),
            "redemptions": len(self.standing(name)),
            "holds": len(self.holding(name)),
            "spent_minor": sum(s.discount for s in self.standing(name)),
            "held_minor": sum(h.discount for h in self.holding(name)),
        }
