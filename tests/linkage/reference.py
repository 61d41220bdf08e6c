"""The full link in slow, plain Python, straight from the rules: what the fast one is compared with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from counterfoil.linkage.types import FIELDS, LINK_COLUMNS, Source

Row = dict[str, Any]
Tables = Mapping[Source, Sequence[Row]]


def _sort_key(row: Row, first: Sequence[str], all_columns: Sequence[str]) -> tuple[Any, ...]:
    """By `first` with nulls last, then by every other column with nulls first."""
    head = [(row[name] is None, row[name] if row[name] is not None else 0) for name in first]
    rest = [(row[name] is not None, row[name] if row[name] is not None else 0) for name in all_columns]
    return (*head, *rest)


def _columns(source: Source, *, leave_out: Iterable[str] = ()) -> list[str]:
    return [field.name for field in FIELDS[source] if field.name not in set(leave_out)]


def _complete(source: Source, rows: Iterable[Row]) -> list[Row]:
    return [{name: row.get(name) for name in _columns(source)} for row in rows]


def _firsts(rows: list[Row], keys: Sequence[str], order: Sequence[str], columns: Sequence[str]) -> list[Row]:
    kept: list[Row] = []
    seen: set[tuple[Any, ...]] = set()
    ties = [name for name in columns if name not in {*keys, *order}]
    for row in sorted(rows, key=lambda r: _sort_key(r, order, ties)):
        key = tuple(row[name] for name in keys)
        if None in key or key not in seen:
            seen.add(key)
            kept.append(row)
    return kept


def split_evenly(amount: int, shares: int) -> list[int]:
    """`amount` over `shares` rows, the first ones carrying one unit more."""
    even, remainder = divmod(amount, shares)
    return [even + (1 if place < remainder else 0) for place in range(shares)]


def link(tables: Tables) -> list[Row]:
    """The full-link rows of `tables` (integer amounts only)."""
    issuances = _firsts(
        _complete("issuances", tables["issuances"]),
        ["voucher_id"],
        ["issued_at", "order_id"],
        _columns("issuances"),
    )
    redemptions = _firsts(
        _complete("redemptions", tables["redemptions"]),
        ["redemption_id", "voucher_id"],
        ["redeemed_at"],
        _columns("redemptions"),
    )
    orders = _complete("orders", tables["orders"])
    placed = {
        row["order_id"]: row
        for row in _firsts(orders, ["order_id"], ["ordered_at", "transaction_id", "amount"], [])
        if row["order_id"] is not None
    }
    paid = {
        row["transaction_id"]: row
        for row in _firsts(
            _complete("transactions", tables["transactions"]), ["transaction_id"], ["paid_at", "amount"], []
        )
        if row["transaction_id"] is not None
    }
    purchases = _purchases(issuances, placed, paid)
    payments = _payments(redemptions, orders, paid)
    return _join(issuances, purchases, redemptions, payments)


def _purchases(issuances: list[Row], placed: Mapping[Any, Row], paid: Mapping[Any, Row]) -> list[Row]:
    found: list[Row] = []
    together: dict[Any, list[int]] = defaultdict(list)
    for place, row in enumerate(issuances):
        order = placed.get(row["order_id"]) if row["order_id"] is not None else None
        transaction_id = order["transaction_id"] if order else None
        transaction = paid.get(transaction_id) if transaction_id is not None else None
        if transaction_id is not None:
            together[transaction_id].append(place)
        found.append({"order": order, "transaction": transaction, "allocated": None})
    for places in together.values():
        _allocate(issuances, found, places, ["issued_at", "voucher_id"], "transaction")
    return found


def _payments(redemptions: list[Row], orders: list[Row], paid: Mapping[Any, Row]) -> list[Row]:
    by_transaction: dict[Any, list[Row]] = defaultdict(list)
    for order in _firsts(orders, ["transaction_id", "order_id"], ["ordered_at", "amount"], []):
        if order["order_id"] is None:
            continue
        by_transaction[order["transaction_id"]].append(order)
    found: list[Row] = []
    together: dict[Any, list[int]] = defaultdict(list)
    for place, row in enumerate(redemptions):
        transaction_id = row["transaction_id"]
        mine = by_transaction.get(transaction_id, []) if transaction_id is not None else []
        if transaction_id is not None:
            together[transaction_id].append(place)
        found.append({"transaction": paid.get(transaction_id), "orders": mine, "allocated": None})
    for places in together.values():
        _allocate(redemptions, found, places, ["redeemed_at", "voucher_id", "redemption_id"], "transaction")
    return found


def _allocate(rows: list[Row], found: list[Row], places: list[int], order: Sequence[str], name: str) -> None:
    transaction = found[places[0]][name]
    if transaction is None or transaction["amount"] is None:
        return
    ties = [column for column in rows[0] if column not in order]
    ordered = sorted(places, key=lambda place: _sort_key(rows[place], order, ties))
    for place, part in zip(ordered, split_evenly(transaction["amount"], len(places)), strict=True):
        found[place]["allocated"] = part


def _join(
    issuances: list[Row], purchases: list[Row], redemptions: list[Row], payments: list[Row]
) -> list[Row]:
    by_voucher: dict[Any, list[int]] = defaultdict(list)
    for place, row in enumerate(redemptions):
        if row["voucher_id"] is not None:
            by_voucher[row["voucher_id"]].append(place)
    numbers: dict[int, int] = {}
    for places in by_voucher.values():
        ties = [name for name in redemptions[0] if name not in {"redeemed_at", "redemption_id"}]
        ordered = sorted(
            places, key=lambda p: _sort_key(redemptions[p], ["redeemed_at", "redemption_id"], ties)
        )
        numbers.update({place: number for number, place in enumerate(ordered, start=1)})
    result: list[Row] = []
    joined: set[int] = set()
    for place, issuance in enumerate(issuances):
        mine = by_voucher.get(issuance["voucher_id"], []) if issuance["voucher_id"] is not None else []
        joined.update(mine)
        places_or_none: list[int | None] = [*mine] or [None]
        for its in places_or_none:
            result.append(
                _row(
                    issuance,
                    purchases[place],
                    None if its is None else redemptions[its],
                    None if its is None else payments[its],
                    None if its is None else numbers[its],
                )
            )
    result.extend(
        _row(None, None, redemptions[place], payments[place], numbers.get(place))
        for place in range(len(redemptions))
        if place not in joined
    )
    return result


def _row(
    issuance: Row | None,
    purchase: Row | None,
    redemption: Row | None,
    payment: Row | None,
    number: int | None,
) -> Row:
    out: Row = dict.fromkeys(LINK_COLUMNS)
    issued, redeemed = issuance or {}, redemption or {}
    order = (purchase or {}).get("order") or {}
    bought = (purchase or {}).get("transaction") or {}
    paid = (payment or {}).get("transaction") or {}
    orders = sorted((payment or {}).get("orders", []), key=_first_order_key)
    out["voucher_id"] = issued.get("voucher_id") if issuance else redeemed.get("voucher_id")
    out["customer_id"] = issued.get("customer_id") or redeemed.get("customer_id")
    for name in ("campaign_id", "channel", "issued_at"):
        out[name] = issued.get(name)
    out["issuance_store_id"], out["purchase_order_id"] = issued.get("store_id"), issued.get("order_id")
    out["purchase_ordered_at"], out["purchase_order_amount"] = order.get("ordered_at"), order.get("amount")
    out["purchase_transaction_id"] = order.get("transaction_id")
    out["purchase_paid_at"], out["purchase_amount"] = bought.get("paid_at"), bought.get("amount")
    for name in ("redemption_id", "redeemed_at", "discount", "transaction_id"):
        out[name] = redeemed.get(name)
    out["redemption_number"] = number
    out["redemption_store_id"] = redeemed.get("store_id")
    out["redemption_customer_id"] = redeemed.get("customer_id")
    out["paid_at"], out["transaction_amount"] = paid.get("paid_at"), paid.get("amount")
    if orders:
        amounts = [each["amount"] for each in orders if each["amount"] is not None]
        out["order_id"], out["ordered_at"] = orders[0]["order_id"], orders[0]["ordered_at"]
        out["order_amount"] = sum(amounts) if amounts else None
    if redemption is not None:
        out["order_count"] = len(orders)
    if bought:
        carries = number in {None, 1}
        nothing = None if bought["amount"] is None else 0
        out["purchase_amount_allocated"] = (purchase or {})["allocated"] if carries else nothing
    out["transaction_amount_allocated"] = (payment or {}).get("allocated")
    out.update(_stages(issuance, order, bought, redemption, paid, orders))
    return out


def _first_order_key(order: Row) -> tuple[Any, ...]:
    return _sort_key(order, ["order_id", "ordered_at"], ["amount"])


def _stages(
    issuance: Row | None, order: Row, bought: Row, redemption: Row | None, paid: Row, orders: list[Row]
) -> Row:
    if issuance is None:
        issuance_stage = "issuance_missing"
    elif issuance["order_id"] is None:
        issuance_stage = "given"
    elif not order:
        issuance_stage = "order_missing"
    else:
        issuance_stage = "bought" if bought else "transaction_missing"
    if redemption is None:
        redemption_stage = "none"
    elif redemption["transaction_id"] is None:
        redemption_stage = "no_transaction_id"
    elif not paid:
        redemption_stage = "transaction_missing"
    else:
        redemption_stage = "ordered" if orders else "paid"
    whole = issuance_stage in {"given", "bought"}
    if issuance is None:
        status = "orphan"
    elif redemption is None:
        status = "open" if whole else "incomplete"
    else:
        status = "complete" if whole and redemption_stage in {"paid", "ordered"} else "incomplete"
    return {"issuance_stage": issuance_stage, "redemption_stage": redemption_stage, "link_status": status}
