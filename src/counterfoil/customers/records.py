"""Records of customers, as a merchant's systems send them."""

from __future__ import annotations

from typing import Final

from counterfoil.customers import tables
from counterfoil.customers.types import Grade
from counterfoil.db.records import Attributes, Record, RecordKind, Reference


class CustomerRecord(Record):
    """A customer."""

    customer_id: Reference
    grade: Grade | None = None
    attributes: Attributes | None = None


CUSTOMERS: Final = RecordKind(
    "customers", tables.customers, CustomerRecord, key=("customer_id",), same_key="update"
)
