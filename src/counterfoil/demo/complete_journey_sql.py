"""The statements that turn the Complete Journey's files into the platform's tables; one per table.

They run in this order in one DuckDB connection, where the files are views under their own names.
"""

from __future__ import annotations

from typing import Final

TIME_ZONE: Final = "America/New_York"
"""The zone of the stores: found by comparing days and weeks, see docs/complete-journey.md."""

# A basket has a product once, so the product's rank numbers its line whatever the reading order.
_ORDER_LINES: Final = """
SELECT CAST(basket_id AS VARCHAR) AS order_id,
       CAST(row_number() OVER (PARTITION BY basket_id ORDER BY product_id) AS INTEGER) AS line_number,
       CAST(product_id AS VARCHAR) AS product_id,
       quantity,
       CAST(round(sales_value * 100) AS BIGINT) AS amount_minor,
       CAST(round(retail_disc * 100) + round(coupon_match_disc * 100) AS BIGINT) AS discount_minor,
       CAST(round(coupon_disc * 100) AS BIGINT) AS coupon_discount_minor
FROM transactions
"""

_ORDERS: Final = """
WITH paid AS (
    SELECT order_id, CAST(sum(amount_minor - coupon_discount_minor) AS BIGINT) AS amount_minor
    FROM order_lines GROUP BY order_id
), basket AS (
    SELECT DISTINCT CAST(basket_id AS VARCHAR) AS order_id, household_id, store_id, transaction_timestamp
    FROM transactions
)
SELECT order_id, CAST(household_id AS VARCHAR) AS customer_id, CAST(store_id AS VARCHAR) AS store_id,
       timezone('UTC', transaction_timestamp) AS ordered_at, amount_minor, order_id AS transaction_id
FROM basket JOIN paid USING (order_id)
"""

_TRANSACTIONS: Final = """
SELECT transaction_id, customer_id, ordered_at AS paid_at, amount_minor FROM orders
"""

_STORES: Final = """
SELECT DISTINCT CAST(store_id AS VARCHAR) AS store_id, 'Store ' || store_id AS name FROM transactions
"""

_PRODUCTS: Final = """
WITH sold_or_named AS (
    SELECT product_id FROM products
    UNION SELECT product_id FROM transactions
    UNION SELECT product_id FROM coupons
)
SELECT CAST(product_id AS VARCHAR) AS product_id,
       coalesce(product_type, product_category, department) AS name,
       product_category AS category, department, brand
FROM sold_or_named LEFT JOIN products USING (product_id)
"""

_CUSTOMERS: Final = """
WITH household AS (
    SELECT household_id FROM transactions
    UNION SELECT household_id FROM campaigns
    UNION SELECT household_id FROM coupon_redemptions
    UNION SELECT household_id FROM demographics
), described AS (
    SELECT household_id, CAST(to_json({
        age: age, income: income, home_ownership: home_ownership, marital_status: marital_status,
        household_size: household_size, household_comp: household_comp, kids_count: kids_count
    }) AS VARCHAR) AS attributes
    FROM demographics
)
SELECT CAST(household_id AS VARCHAR) AS customer_id, coalesce(attributes, '{}') AS attributes
FROM household LEFT JOIN described USING (household_id)
"""

# The end date is the last day on which people redeem; periods are half open, so it ends a midnight later.
_CAMPAIGNS: Final = f"""
SELECT CAST(campaign_id AS VARCHAR) AS campaign_id,
       'Campaign ' || campaign_id || ' (' || lower(campaign_type) || ')' AS name,
       replace(lower(campaign_type), ' ', '_') AS kind,
       timezone('{TIME_ZONE}', start_date) AS starts_at,
       timezone('{TIME_ZONE}', end_date + INTERVAL 1 DAY) AS ends_at
FROM campaign_descriptions
"""

_TEMPLATES: Final = """
SELECT DISTINCT campaign_id || '-' || coupon_upc AS template_id, CAST(campaign_id AS VARCHAR) AS campaign_id,
       'Coupon ' || coupon_upc AS name
FROM coupons
"""

_TEMPLATE_PRODUCTS: Final = """
SELECT DISTINCT campaign_id || '-' || coupon_upc AS template_id, CAST(product_id AS VARCHAR) AS product_id
FROM coupons
"""

_AUDIENCE: Final = """
SELECT CAST(campaign_id AS VARCHAR) AS campaign_id, CAST(household_id AS VARCHAR) AS customer_id,
       'targeted' AS assignment
FROM campaigns
"""

_ISSUANCES: Final = """
SELECT template_id || '-' || customer_id AS voucher_id, campaign_id, template_id, customer_id,
       starts_at AS issued_at
FROM audience JOIN campaigns_ USING (campaign_id) JOIN templates USING (campaign_id)
WHERE kind IN ('type_b', 'type_c')
"""

# Nobody redeems the same coupon of a campaign twice on one day, so the date orders a voucher's redemptions.
_REDEEMED: Final = """
WITH named AS (
    SELECT CAST(campaign_id AS VARCHAR) AS campaign_id, CAST(household_id AS VARCHAR) AS customer_id,
           campaign_id || '-' || coupon_upc AS template_id,
           campaign_id || '-' || coupon_upc || '-' || household_id AS voucher_id,
           CAST(redemption_date AS DATE) AS redeemed_on
    FROM coupon_redemptions
)
SELECT *,
       voucher_id || '-' || row_number() OVER (PARTITION BY voucher_id ORDER BY redeemed_on) AS redemption_id
FROM named
"""

TABLES: Final[dict[str, str]] = {
    "order_lines": _ORDER_LINES,
    "orders": _ORDERS,
    "transactions_": _TRANSACTIONS,
    "stores": _STORES,
    "products_": _PRODUCTS,
    "customers": _CUSTOMERS,
    "campaigns_": _CAMPAIGNS,
    "templates": _TEMPLATES,
    "template_products": _TEMPLATE_PRODUCTS,
    "audience": _AUDIENCE,
    "issuances": _ISSUANCES,
    "redeemed": _REDEEMED,
}
"""Table to statement. A name that a file has already ends in an underscore."""

# `discounted`: the lines that may carry a redemption's discount: on its basket, eligible, with a coupon
# discount. `own`: a line that two redemptions could have caused says nothing about either, so one such line
# is enough to leave the discount unknown.
REDEMPTIONS: Final = """
WITH discounted AS (
    SELECT redemption_id, coupon_discount_minor,
           count(*) OVER (PARTITION BY order_id, line_number) AS claimants
    FROM evidence JOIN order_lines USING (order_id) JOIN template_products USING (template_id, product_id)
    WHERE evidence_status = 'linked' AND coupon_discount_minor > 0
), own AS (
    SELECT redemption_id, CAST(sum(coupon_discount_minor) AS BIGINT) AS discount_minor
    FROM discounted GROUP BY redemption_id HAVING max(claimants) = 1
), named AS (
    SELECT *, CASE WHEN evidence_level >= $level THEN order_id END AS transaction_id FROM evidence
)
SELECT redemption_id, voucher_id, campaign_id, template_id, named.customer_id, paid_at AS redeemed_at,
       redeemed_on, transaction_id, evidence_level, evidence_status, order_count AS evidence_count,
       discount_minor
FROM named LEFT JOIN transactions_ USING (transaction_id) LEFT JOIN own USING (redemption_id)
ORDER BY redeemed_on, redemption_id
"""
