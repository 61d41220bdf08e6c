"""A points program in words."""

from __future__ import annotations

from dataclasses import dataclass

from counterfoil.dashboard.words import Words
from counterfoil.points.programs import Program


@dataclass(frozen=True, slots=True)
class ProgramInWords:
    """Says what a program promises, in one language and currency."""

    words: Words
    currency: str

    def earning(self, program: Program) -> str:
        """What is earned."""
        rate = program.earn
        if not rate.points:
            return self.words.say("Orders earn nothing")
        return self.words.count(
            "%(n)s point for every %(amount)s paid",
            "%(n)s points for every %(amount)s paid",
            rate.points,
            amount=self.words.money(rate.minor, self.currency),
        )

    def burning(self, program: Program) -> str:
        """What points are worth."""
        rate = program.burn
        if not rate.points:
            return self.words.say("Points take nothing off")
        return self.words.count(
            "%(n)s point takes %(amount)s off",
            "%(n)s points take %(amount)s off",
            rate.points,
            amount=self.words.money(rate.minor, self.currency),
        )

    def expiry(self, program: Program) -> str:
        """When points expire."""
        expiry = program.expiry
        if expiry is None:
            return self.words.say("Points never expire")
        if expiry.at == "year_end":
            return self.words.count(
                "Points expire at the end of the year, %(n)s month on",
                "Points expire at the end of the year, %(n)s months on",
                expiry.after_months,
            )
        if expiry.at == "month_end":
            return self.words.count(
                "Points expire at the end of the month, %(n)s month on",
                "Points expire at the end of the month, %(n)s months on",
                expiry.after_months,
            )
        return self.words.count(
            "Points expire after %(n)s month", "Points expire after %(n)s months", expiry.after_months
        )

    def activation(self, program: Program) -> str:
        """When what an order earned is there; empty: at once."""
        if not program.activate_after_days:
            return ""
        return self.words.count(
            "Credited %(n)s day after payment",
            "Credited %(n)s days after payment",
            program.activate_after_days,
        )
