"""Records of orders, lines, transactions and page views, as order and payment systems send them."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from counterfoil.db.records import Amount, Record, RecordKind, Reference, ShortText, Time
from counterfoil.orders import tables


class OrderRecord(Record):
    """An order; sent again, it replaces what was known (a `transaction_id` that came later, say)."""

    order_id: Reference
    customer_id: Reference | None = None
    store_id: Reference | None = None
    channel: ShortText | None = None
    ordered_at: Time
    amount_minor: Amount | None = None
    transaction_id: Reference | None = None


class OrderLineRecord(Record):
    """A line of an order."""

    order_id: Reference
    line_number: Annotated[int, Field(ge=0, le=2**31 - 1)]
    product_id: Reference
    quantity: Amount | None = None
    amount_minor: Amount
    discount_minor: Amount | None = None
    coupon_discount_minor: Amount | None = None


class TransactionRecord(Record):
    """A payment."""

    transaction_id: Reference
    customer_id: Reference | None = None
    paid_at: Time
    amount_minor: Amount


class PageViewRecord(Record):
    """A page of a campaign was seen."""

    view_id: Reference
    campaign_id: Reference | None = None
    customer_id: Reference | None = None
    session_id: Reference | None = None
    page: ShortText | None = None
    channel: ShortText | None = None
    viewed_at: Time


ORDERS: Final = RecordKind(
    "orders",
    tables.orders,
    OrderRecord,
    key=("order_id",),
    same_key="update",
    announce="order_id",
    # An order that is said to belong to another payment is missing from its former one.
    moves="transaction_id",
)
ORDER_LINES: Final = RecordKind(
    "order_lines", tables.order_lines, OrderLineRecord, key=("order_id", "line_number"), same_key="keep"
)
TRANSACTIONS: Final = RecordKind(
    "transactions",
    tables.transactions,
    TransactionRecord,
    key=("transaction_id",),
    same_key="keep",
    announce="transaction_id",
)
PAGE_VIEWS: Final = RecordKind(
    "page_views", tables.page_views, PageViewRecord, key=("view_id",), same_key="keep"
)
