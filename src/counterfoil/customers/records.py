"""Records of customers, as a merchant's systems send them."""

from __future__ import annotations

from typing import Final

from ..db.records import Attributes, Record, RecordKind, Reference
from . import tables
from .types import Grade


class CustomerRecord(Record):
    """A customer."""

    customer_id: Reference
    grade: Grade | None = None
    attributes: Attributes | None = None


CUSTOMERS: Final = RecordKind(
    "customers", tables.customers, CustomerRecord, key=("customer_id",), same_key="update"
)
