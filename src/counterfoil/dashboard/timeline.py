"""A voucher's life as steps in time, each with the records that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from counterfoil.dashboard import labels
from counterfoil.dashboard.words import N_, Words
from counterfoil.linkage.full_link import FullLink, RedemptionLink
from counterfoil.merchants.merchants import Merchant
from counterfoil.orders.queries import OrderLines

Record = dict[str, Any]
Kind = Literal["view", "order", "payment", "issuance", "redemption", "reservation", "reversal", "ended"]
_RANKS: Final[dict[str, int]] = {"view": 0, "order": 1, "payment": 2, "issuance": 3, "redemption": 4}


@dataclass(slots=True)
class Event:
    """One step. Without a record it is one that other records name and nobody sent."""

    kind: Kind
    title: str
    at: datetime
    precision: str = "second"
    facts: list[tuple[str, str]] = field(default_factory=list)
    records: list[tuple[str, Record]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    breaks: list[Record] = field(default_factory=list)
    missing: bool = False
    rank: float = 0

    def order(self) -> tuple[datetime, float]:
        """Where it stands. A redemption of which only the day is known is put at that day's end."""
        late = self.kind == "redemption" and self.precision == "day"
        return (self.at + timedelta(hours=23) if late else self.at, self.rank)


class Timeline:
    """Collects the steps of one voucher, in the words of one reader."""

    def __init__(
        self, words: Words, merchant: Merchant, lines: Mapping[str, OrderLines], stores: Mapping[str, str]
    ) -> None:
        self.words = words
        self.merchant = merchant
        self.lines = lines
        self.stores = stores

    def events(self, link: FullLink) -> list[Event]:
        """All steps in order of time."""
        found = [*self._views(link), *self._issuance(link)]
        for position, redemption in enumerate(link.redemptions, start=1):
            found += self._redemption(link, redemption, position)
        return sorted(found, key=Event.order)

    def _event(self, kind: Kind, title: str, at: str, **values: Any) -> Event:
        rank = values.pop("rank", _RANKS[kind])
        return Event(kind, self.words.say(title), datetime.fromisoformat(at), rank=rank, **values)

    def _facts(self, *pairs: tuple[str, str | None]) -> list[tuple[str, str]]:
        return [(self.words.say(label), value) for label, value in pairs if value]

    def _money(self, minor: int | None) -> str | None:
        return None if minor is None else self.words.money(minor, self.merchant.currency)

    def _store(self, record: Record) -> str | None:
        store_id = record.get("store_id")
        return None if store_id is None else self.stores.get(store_id, store_id)

    def _views(self, link: FullLink) -> list[Event]:
        if not link.page_views:
            return []
        first = link.page_views[0]
        n = len(link.page_views)
        event = self._event("view", N_("Saw the campaign's page"), first["viewed_at"])
        if n > 1:
            event.title = self.words.count(
                "Saw the campaign's page %(n)s time", "Saw the campaign's page %(n)s times", n
            )
            last = datetime.fromisoformat(link.page_views[-1]["viewed_at"])
            event.facts += self._facts((N_("Last time"), self.words.moment(last, self.merchant.time_zone)))
        event.facts += self._facts((N_("Page"), first["page"]), (N_("Channel"), first["channel"]))
        event.records = [(self.words.say(N_("Page view")), view) for view in link.page_views]
        return [event]

    def _issuance(self, link: FullLink) -> list[Event]:
        record = link.issuance
        if record is None:
            return []
        title = N_("Issued") if record["order_id"] is None else N_("Bought and issued")
        event = self._event("issuance", title, record["issued_at"], precision=record["issued_at_precision"])
        event.facts = self._facts(
            (N_("Customer"), record["customer_id"]),
            (N_("Channel"), record["channel"]),
            (N_("Store"), self._store(record)),
        )
        event.records = [(self.words.say(N_("Issuance")), record)]
        event.breaks = _breaks(link, "issuances", record["voucher_id"])
        return [event, *self._purchase(link, record)]

    def _purchase(self, link: FullLink, issuance: Record) -> list[Event]:
        if issuance["order_id"] is None:
            return []
        order, payment = link.purchase_order, link.purchase_transaction
        if order is None:
            return [self._gap("order", N_("Purchase order"), issuance["order_id"], issuance["issued_at"])]
        events = [self._order(N_("Purchase order"), order, rank=1)]
        if payment is not None:
            events.append(self._payment(N_("Paid for the voucher"), payment, rank=2))
        elif order["transaction_id"] is not None:
            title = N_("Payment of the voucher")
            events.append(self._gap("payment", title, order["transaction_id"], order["ordered_at"]))
        else:
            events[0].notes.append(self.words.say(N_("The order names no payment: it is not paid yet.")))
        return events

    def _redemption(self, link: FullLink, found: RedemptionLink, position: int) -> list[Event]:
        record = found.redemption
        event = self._event(
            "redemption", N_("Redeemed"), record["redeemed_at"], precision=record["redeemed_at_precision"]
        )
        if len(link.redemptions) > 1:
            event.title = self.words.say(
                N_("Redemption %(n)s of %(of)s"), n=position, of=len(link.redemptions)
            )
        event.facts = self._facts(
            (N_("Discount"), self._money(record["discount_minor"])),
            (N_("Customer"), record["customer_id"]),
            (N_("Store"), self._store(record)),
            # Recorded by other systems, a redemption names its payment only.
            (N_("Order number"), record.get("order_id")),
            (N_("Reversed"), self._money(record.get("reversed_minor") or None)),
        )
        event.notes += self._evidence(record)
        event.records = [(self.words.say(N_("Redemption")), record)]
        event.breaks = _breaks(link, "redemptions", record["redemption_id"])
        if found.transaction is None:
            if record["transaction_id"] is None:
                return [event]
            gap = self._gap("payment", N_("Payment"), record["transaction_id"], record["redeemed_at"])
            gap.precision = record["redeemed_at_precision"]
            return [event, gap]
        orders = [self._order(N_("Order"), order, rank=5) for order in found.orders]
        return [event, *orders, self._payment(N_("Paid"), found.transaction, rank=6)]

    def _evidence(self, record: Record) -> list[str]:
        status, level = record["evidence_status"], record["evidence_level"]
        if status is None:
            return []
        notes = [self.words.say(labels.EVIDENCE_STATUSES[status])]
        if level is not None:
            meaning = self.words.say(labels.EVIDENCE[level])
            notes.append(
                self.words.say(N_("Evidence level %(level)s of 4: %(meaning)s"), level=level, meaning=meaning)
            )
        return notes

    def _order(self, title: str, record: Record, *, rank: float) -> Event:
        event = self._event("order", title, record["ordered_at"], rank=rank)
        lines = self.lines.get(record["order_id"])
        event.facts = self._facts(
            (N_("Order number"), record["order_id"]),
            (N_("Amount"), self._money(record["amount_minor"])),
            (N_("Lines"), None if lines is None else self.words.number(lines.lines)),
            (
                N_("Voucher discount in it"),
                self._money((lines.coupon_discount_minor or None) if lines else None),
            ),
            (N_("Store"), self._store(record)),
            (N_("Channel"), record["channel"]),
        )
        event.records = [(self.words.say(N_("Order")), record)]
        if lines is not None:
            event.records += [(self.words.say(N_("Order line")), line) for line in lines.first]
        return event

    def _payment(self, title: str, record: Record, *, rank: float) -> Event:
        event = self._event("payment", title, record["paid_at"], rank=rank)
        event.facts = self._facts(
            (N_("Amount"), self._money(record["amount_minor"])),
            (N_("Transaction"), record["transaction_id"]),
        )
        event.records = [(self.words.say(N_("Transaction")), record)]
        return event

    def _gap(self, kind: Kind, title: str, missing_id: str, at: str) -> Event:
        event = self._event(kind, title, at, missing=True, rank=7)
        event.notes.append(self.words.say(N_("%(id)s is named, and not recorded."), id=missing_id))
        return event


def _breaks(link: FullLink, source: str, record_id: str) -> list[Record]:
    return [b for b in link.breaks if (b["source"], b["record_id"]) == (source, record_id)]
