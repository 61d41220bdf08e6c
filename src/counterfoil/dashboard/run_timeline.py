"""What else became of a voucher whose campaign is run here: reservations, reversals and its end."""

from __future__ import annotations

from counterfoil.dashboard.timeline import Event
from counterfoil.dashboard.words import C_, N_, Words
from counterfoil.merchants.merchants import Merchant
from counterfoil.vouchers.voucher_queries import (
    RedemptionItem,
    ReservationItem,
    ReversalItem,
    VoucherDetail,
)

_RESERVED, _ENDED, _REVERSED, _OVER = 3.5, 3.7, 4.5, 9


class RunTimeline:
    """The steps of one voucher's history, in the words of one reader."""

    def __init__(self, words: Words, merchant: Merchant) -> None:
        self.words = words
        self.merchant = merchant

    def events(self, detail: VoucherDetail) -> list[Event]:
        """The steps that the records of linkage do not have."""
        found = [event for one in detail.reservations for event in self._reservation(one)]
        found += [self._reversal(used, one) for used in detail.redemptions for one in used.reversals]
        voucher = detail.voucher
        if voucher.state in {"voided", "expired"} and voucher.changed_at is not None:
            title = C_("a voucher", "Voided") if voucher.state == "voided" else C_("a voucher", "Expired")
            over = Event("ended", self.words.say(title), voucher.changed_at, rank=_OVER)
            if voucher.void_reason:
                over.facts = [(self.words.say(N_("Reason")), voucher.void_reason)]
            found.append(over)
        return found

    def _money(self, minor: int) -> str:
        return self.words.money(minor, self.merchant.currency)

    def _reservation(self, one: ReservationItem) -> list[Event]:
        say, zone = self.words.say, self.merchant.time_zone
        begun = Event("reservation", say(N_("Reserved")), one.reserved_at, rank=_RESERVED)
        begun.facts = [
            (say(N_("Order number")), one.order_id),
            (say(N_("Discount")), self._money(one.discount_minor)),
            (say(N_("Until")), self.words.moment(one.expires_at, zone)),
            (say(N_("Reservation")), one.reservation_id),
        ]
        if one.state in {"held", "redeemed"} or one.ended_at is None:
            return [begun]
        title = N_("Reservation released") if one.state == "released" else N_("Reservation ran out")
        ended = Event("reservation", say(title), one.ended_at, rank=_ENDED)
        ended.facts = [(say(N_("Order number")), one.order_id)]
        return [begun, ended]

    def _reversal(self, used: RedemptionItem, one: ReversalItem) -> Event:
        say = self.words.say
        title = N_("Redemption reversed") if one.whole else N_("Redemption reversed in part")
        event = Event("reversal", say(title), one.reversed_at, rank=_REVERSED)
        event.facts = [(say(N_("Given back")), self._money(one.discount_minor))]
        if one.line_ids:
            event.facts.append((say(N_("Lines")), say(N_(", ")).join(one.line_ids)))
        if one.reason:
            event.facts.append((say(N_("Reason")), one.reason))
        event.facts.append((say(N_("Redemption")), used.redemption_id))
        return event
