"""A campaign's terms in words: short for a list, and in full for its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from counterfoil.dashboard import amounts, run_labels
from counterfoil.dashboard.words import N_, Words
from counterfoil.vouchers.campaigns import RunCampaign
from counterfoil.vouchers.terms import (
    DAYS,
    AfterIssue,
    AmountOff,
    Limits,
    PercentOff,
    ProductOff,
    RandomAmount,
    StoredValue,
    Terms,
    Window,
)

MOST_NAMED: Final = 12
Line = tuple[str, str]
"""What it is about, and what holds."""


@dataclass(frozen=True)
class TermsInWords:
    """Says terms in one reader's language and one merchant's money."""

    words: Words
    currency: str

    def _money(self, minor: int) -> str:
        return self.words.money(minor, self.currency)

    def discount(self, terms: Terms) -> str:
        """The discount in a few words: "20 % off, at most $50.00"."""
        say, kind = self.words.say, terms.discount
        if isinstance(kind, AmountOff):
            return say(N_("%(amount)s off"), amount=self._money(kind.amount_minor))
        if isinstance(kind, PercentOff):
            share = amounts.percent(kind.basis_points)
            if kind.cap_minor is None:
                return say(N_("%(share)s%% off"), share=share)
            return say(N_("%(share)s%% off, at most %(cap)s"), share=share, cap=self._money(kind.cap_minor))
        if isinstance(kind, ProductOff):
            return say(N_("%(n)s × %(product)s for nothing"), n=kind.quantity, product=kind.product_id)
        if isinstance(kind, StoredValue):
            return say(N_("Balance of %(amount)s"), amount=self._money(kind.amount_minor))
        assert isinstance(kind, RandomAmount)
        return say(N_("Lucky amounts from a pot of %(pot)s"), pot=self._money(kind.pot_minor))

    def moment(self, at: datetime | None, zone: str) -> str:
        """A time of the campaign's clock."""
        return "" if at is None else self.words.minute(at, zone)

    def period(self, terms: Terms) -> str:
        """From when until when vouchers are handed out."""
        first, last = (self.moment(at, terms.time_zone) for at in (terms.starts_at, terms.ends_at))
        if first and last:
            return self.words.say(N_("%(first)s to %(last)s"), first=first, last=last)
        if first:
            return self.words.say(N_("from %(first)s"), first=first)
        return self.words.say(N_("until %(last)s"), last=last) if last else self.words.say(N_("at any time"))

    def groups(self, campaign: RunCampaign) -> list[tuple[str, list[Line]]]:
        """All terms, under the headings of the form."""
        terms, say = campaign.terms, self.words.say
        return [
            (say(N_("Discount")), self._discount_lines(terms)),
            (say(N_("Who and how often")), self._who(terms)),
            (say(N_("When")), self._when(terms)),
            (say(N_("Where and on what")), self._where(terms)),
            (say(N_("Codes and orders")), self._codes(terms)),
        ]

    def _discount_lines(self, terms: Terms) -> list[Line]:
        say, kind = self.words.say, terms.discount
        lines = [(say(N_("Discount")), self.discount(terms))]
        if isinstance(kind, RandomAmount):
            smallest = self._money(kind.smallest_minor)
            if kind.largest_minor is None:
                drawn = say(N_("at least %(smallest)s"), smallest=smallest)
            else:
                drawn = say(N_("%(first)s to %(last)s"), first=smallest, last=self._money(kind.largest_minor))
            lines.append((say(N_("Each voucher")), drawn))
        if isinstance(kind, ProductOff):
            exchange = (
                say(N_("with an order that has the product in it"))
                if kind.value_minor is None
                else say(N_("over the counter, worth %(value)s"), value=self._money(kind.value_minor))
            )
            lines.append((say(N_("Handed over")), exchange))
        if terms.minimum_spend_minor:
            lines.append((say(N_("Minimum spend")), self._money(terms.minimum_spend_minor)))
        return lines

    def _who(self, terms: Terms) -> list[Line]:
        say = self.words.say
        uses = terms.max_uses
        used = say(N_("bit by bit")) if isinstance(terms.discount, StoredValue) else self._number(uses)
        return [
            (say(N_("Claims of each customer")), self._often(terms.claims_per_customer)),
            (say(N_("Uses of each customer")), self._often(terms.redemptions_per_customer)),
            (say(N_("Uses of each voucher")), used),
            (say(N_("All customers together, a day")), self._together(terms)),
            (
                say(N_("Who may use it")),
                say(N_("whoever has the code")) if terms.transferable else say(N_("its holder only")),
            ),
        ]

    def _number(self, limit: int | None) -> str:
        return self.words.say(N_("unlimited")) if limit is None else self.words.number(limit)

    def _often(self, limits: Limits) -> str:
        found = [
            self.words.say(
                N_("%(n)s %(period)s"),
                n=self.words.number(limit),
                period=self.words.say(run_labels.PERIODS[period]),
            )
            for period, limit in limits.items()
        ]
        return self.words.say(N_(", ")).join(found) or self.words.say(N_("as often as they like"))

    def _together(self, terms: Terms) -> str:
        if terms.claims_per_day is None and terms.redemptions_per_day is None:
            return self.words.say(N_("as often as they like"))
        return self.words.say(
            N_("%(claims)s claims, %(uses)s uses"),
            claims=self._number(terms.claims_per_day),
            uses=self._number(terms.redemptions_per_day),
        )

    def _when(self, terms: Terms) -> list[Line]:
        say = self.words.say
        return [
            (say(N_("Handed out in")), self.period(terms)),
            (say(N_("Hours of claiming")), self._windows(terms.claim_windows)),
            (say(N_("Valid")), self._validity(terms)),
            (say(N_("Hours of use")), self._windows(terms.redemption_windows)),
            (say(N_("Time zone")), terms.time_zone),
        ]

    def _validity(self, terms: Terms) -> str:
        validity, say = terms.validity, self.words.say
        if validity is None:
            return say(N_("until the campaign is ended"))
        if isinstance(validity, AfterIssue):
            if validity.hours is not None:
                return self.words.count(
                    "%(n)s hour from the issue", "%(n)s hours from the issue", validity.hours
                )
            days = validity.days or 0
            if not days:
                return say(N_("to the end of the day of issue"))
            return self.words.count(
                "to the end of the day, %(n)s day after the issue",
                "to the end of the day, %(n)s days after the issue",
                days,
            )
        first, last = (self.moment(at, terms.time_zone) for at in (validity.valid_from, validity.valid_until))
        if first and last:
            return say(N_("%(first)s to %(last)s"), first=first, last=last)
        return say(N_("from %(first)s"), first=first) if first else say(N_("until %(last)s"), last=last)

    def _windows(self, windows: Sequence[Window] | None) -> str:
        say = self.words.say
        if windows is None:
            return say(N_("at any hour"))
        found = []
        for window in windows:
            days = (
                say(N_("every day"))
                if set(window.days) == set(DAYS)
                else say(N_(", ")).join(
                    self.words.day_name(DAYS.index(day)) for day in sorted(window.days, key=DAYS.index)
                )
            )
            hours = f"{window.begins:%H:%M}–{window.until:%H:%M}"
            found.append(days if window.begins == window.until else f"{days} {hours}")
        return say(N_("; ")).join(found) or say(N_("never"))

    def _where(self, terms: Terms) -> list[Line]:
        say, scope = self.words.say, terms.scope
        return [
            (say(N_("Stores")), self._ids(scope.stores)),
            (say(N_("Products")), self._ids(scope.products)),
            (say(N_("Categories")), self._ids(scope.categories)),
        ]

    def _ids(self, ids: Sequence[str] | None) -> str:
        say = self.words.say
        if ids is None:
            return say(N_("all"))
        named = say(N_(", ")).join(ids[:MOST_NAMED])
        if len(ids) > MOST_NAMED:
            named += " " + self.words.count("and %(n)s more", "and %(n)s more", len(ids) - MOST_NAMED)
        return named or say(N_("none"))

    def _codes(self, terms: Terms) -> list[Line]:
        say = self.words.say
        source = N_("made or brought before") if terms.from_pool else N_("made when handed out")
        return [
            (say(N_("Codes")), say(source)),
            (say(N_("They look like")), terms.codes.shape),
            (say(N_("Combined with others")), say(run_labels.STACKING[terms.stacking][1])),
            (say(N_("A reservation holds")), self.words.duration(terms.reservation_seconds)),
        ]
