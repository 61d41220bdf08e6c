"""The breaks of a merchant in slow, plain Python, straight from the rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

Row = dict[str, Any]
Break = tuple[str, str, str]
"""Kind, source and record id."""


@dataclass
class World:
    """What a merchant has recorded: facts stay as they came first, descriptions as they came last."""

    vouchers: dict[str, Row] = field(default_factory=dict)
    issuances: dict[str, Row] = field(default_factory=dict)
    redemptions: dict[str, Row] = field(default_factory=dict)
    orders: dict[str, Row] = field(default_factory=dict)
    transactions: dict[str, Row] = field(default_factory=dict)

    def record(self, kind: str, rows: Sequence[Row]) -> None:
        """Take rows in as the platform does."""
        table: dict[str, Row] = getattr(self, kind)
        for row in rows:
            if kind in {"orders", "vouchers"}:
                table[row[f"{kind[:-1]}_id"]] = row
            elif kind == "issuances":
                table.setdefault(row["voucher_id"], row)
            else:
                table.setdefault(row[f"{kind[:-1]}_id"], row)

    def differs(self, transaction_id: str | None) -> bool:
        """Whether a payment is there and is not what its orders amount to together."""
        paid = self.transactions.get(transaction_id or "")
        amounts = [
            order["amount_minor"]
            for order in self.orders.values()
            if order["transaction_id"] == transaction_id and order["amount_minor"] is not None
        ]
        return paid is not None and bool(amounts) and sum(amounts) != paid["amount_minor"]

    def breaks(self, zone: ZoneInfo) -> set[Break]:
        """All that does not fit together now."""
        found = {b for row in self.issuances.values() for b in self._of_issuance(row)}
        return found | {b for row in self.redemptions.values() for b in self._of_redemption(row, zone)}

    def _of_issuance(self, row: Row) -> set[Break]:
        kinds = set()
        if row["order_id"] is not None:
            order = self.orders.get(row["order_id"])
            if order is None:
                kinds.add("missing_order")
            elif order["transaction_id"] not in self.transactions:
                kinds.add("missing_transaction")
            elif self.differs(order["transaction_id"]):
                kinds.add("amount_mismatch")
        return {(kind, "issuances", row["voucher_id"]) for kind in kinds}

    def _of_redemption(self, row: Row, zone: ZoneInfo) -> set[Break]:
        kinds = set()
        issuance, voucher = self.issuances.get(row["voucher_id"]), self.vouchers.get(row["voucher_id"])
        if issuance is None:
            kinds.add("orphan_redemption")
        elif _before(row, issuance, zone):
            kinds.add("redeemed_before_issued")
        if row["transaction_id"] is None:
            kinds.add("no_transaction_id")
        elif row["transaction_id"] not in self.transactions:
            kinds.add("missing_transaction")
        elif self.differs(row["transaction_id"]):
            kinds.add("amount_mismatch")
        allowed = 1 if voucher is None else voucher["max_redemptions"]
        if allowed is not None and self._number(row) > allowed:
            kinds.add("redeemed_twice")
        return {(kind, "redemptions", row["redemption_id"]) for kind in kinds}

    def _number(self, row: Row) -> int:
        same = [r for r in self.redemptions.values() if r["voucher_id"] == row["voucher_id"]]
        same.sort(key=lambda r: (r["redeemed_at"], r["redemption_id"]))
        return same.index(row) + 1


def _before(redemption: Row, issuance: Row, zone: ZoneInfo) -> bool:
    redeemed, issued = redemption["redeemed_at"], issuance["issued_at"]
    if "day" in {redemption["redeemed_at_precision"], issuance["issued_at_precision"]}:
        return bool(redeemed.astimezone(zone).date() < issued.astimezone(zone).date())
    return bool(redeemed < issued)
