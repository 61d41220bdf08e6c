"""Records of stores and products, as a merchant's systems send them."""

from __future__ import annotations

from typing import Final

from counterfoil.db.records import Attributes, Record, RecordKind, Reference, ShortText
from counterfoil.merchants import tables


class StoreRecord(Record):
    """A store."""

    store_id: Reference
    name: ShortText | None = None
    attributes: Attributes | None = None


class ProductRecord(Record):
    """A product."""

    product_id: Reference
    name: ShortText | None = None
    category: ShortText | None = None
    department: ShortText | None = None
    brand: ShortText | None = None
    attributes: Attributes | None = None


STORES: Final = RecordKind("stores", tables.stores, StoreRecord, key=("store_id",), same_key="update")
PRODUCTS: Final = RecordKind(
    "products", tables.products, ProductRecord, key=("product_id",), same_key="update"
)
