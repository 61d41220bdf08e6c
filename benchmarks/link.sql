-- The full link as an expert would write it by hand for DuckDB: the same rows and columns as counterfoil.link.
-- Joins as if every key were unique, finds the keys for which that was wrong, and repairs those with windows.
WITH
placed AS MATERIALIZED (
    SELECT order_id, transaction_id, ordered_at, amount FROM orders SEMI JOIN issuances USING (order_id)
),
purchases AS MATERIALIZED (
    SELECT i.*, o.transaction_id AS purchase_transaction_id, o.ordered_at AS purchase_ordered_at,
           o.amount AS purchase_order_amount, o.order_id IS NOT NULL AS order_found,
           t.paid_at AS purchase_paid_at, t.amount AS purchase_amount, t.transaction_id IS NOT NULL AS paid_found
    FROM (FROM issuances WHERE order_id IS NOT NULL) i
    LEFT JOIN placed o ON o.order_id = i.order_id
    LEFT JOIN (FROM transactions SEMI JOIN placed USING (transaction_id)) t ON t.transaction_id = o.transaction_id
),
payments AS MATERIALIZED (
    SELECT r.*, t.paid_at, t.amount AS transaction_amount, t.transaction_id IS NOT NULL AS paid_found,
           o.order_id, o.ordered_at, o.amount AS order_amount, o.transaction_id IS NOT NULL AS order_found
    FROM redemptions r
    LEFT JOIN transactions t ON t.transaction_id = r.transaction_id
    LEFT JOIN (FROM orders SEMI JOIN redemptions USING (transaction_id) WHERE order_id IS NOT NULL) o
        ON o.transaction_id = r.transaction_id
),
issued_twice AS MATERIALIZED (
    SELECT voucher_id FROM issuances WHERE voucher_id IS NOT NULL GROUP BY ALL HAVING count(*) > 1
),
entangled AS MATERIALIZED (
    SELECT order_id FROM purchases GROUP BY ALL HAVING count(*) > 1
    UNION ALL
    SELECT order_id FROM purchases SEMI JOIN (
        SELECT purchase_transaction_id FROM purchases WHERE purchase_transaction_id IS NOT NULL
        GROUP BY ALL HAVING count(*) > 1
    ) USING (purchase_transaction_id)
),
odd_issuances AS MATERIALIZED (
    SELECT voucher_id, campaign_id, customer_id, channel, issued_at, store_id, order_id
    FROM issuances SEMI JOIN issued_twice USING (voucher_id)
    UNION ALL
    SELECT voucher_id, campaign_id, customer_id, channel, issued_at, store_id, order_id
    FROM purchases ANTI JOIN issued_twice USING (voucher_id) SEMI JOIN entangled USING (order_id)
    WHERE voucher_id IS NOT NULL
    UNION ALL
    SELECT voucher_id, campaign_id, customer_id, channel, issued_at, store_id, order_id
    FROM issuances SEMI JOIN entangled USING (order_id) WHERE voucher_id IS NULL
),
first_issuances AS (
    FROM odd_issuances
    QUALIFY voucher_id IS NULL OR row_number() OVER (
        PARTITION BY voucher_id ORDER BY issued_at NULLS LAST, order_id NULLS LAST, campaign_id, customer_id
    ) = 1
),
first_orders AS (
    SELECT order_id, purchase_transaction_id, purchase_ordered_at, purchase_order_amount, order_found,
           purchase_paid_at, purchase_amount, paid_found
    FROM purchases SEMI JOIN odd_issuances USING (order_id)
    QUALIFY row_number() OVER (
        PARTITION BY order_id
        ORDER BY purchase_ordered_at NULLS LAST, purchase_transaction_id NULLS LAST,
                 purchase_order_amount NULLS LAST, purchase_paid_at NULLS LAST, purchase_amount NULLS LAST
    ) = 1
),
careful_purchases AS (
    SELECT i.*, o.* EXCLUDE (order_id),
           CASE WHEN purchase_transaction_id IS NULL THEN 1
                ELSE count(*) OVER (PARTITION BY purchase_transaction_id) END AS shares,
           row_number() OVER (
               PARTITION BY purchase_transaction_id
               ORDER BY i.issued_at NULLS LAST, i.voucher_id NULLS LAST, i.order_id
           ) AS share
    FROM first_issuances i LEFT JOIN first_orders o ON o.order_id = i.order_id
),
issued AS (
    SELECT *, purchase_amount AS allocated, TRUE AS issued
    FROM purchases ANTI JOIN issued_twice USING (voucher_id) ANTI JOIN entangled USING (order_id)
    UNION ALL BY NAME
    SELECT *, TRUE AS issued FROM issuances ANTI JOIN issued_twice USING (voucher_id) WHERE order_id IS NULL
    UNION ALL BY NAME
    SELECT * EXCLUDE (shares, share),
           floor(purchase_amount / shares)::BIGINT + (share <= purchase_amount - floor(purchase_amount / shares)::BIGINT * shares)::INT AS allocated,
           TRUE AS issued
    FROM careful_purchases
),
redeemed_again AS MATERIALIZED (
    SELECT voucher_id FROM payments WHERE voucher_id IS NOT NULL GROUP BY ALL HAVING count(*) > 1
),
paid_together AS MATERIALIZED (
    SELECT transaction_id FROM payments WHERE transaction_id IS NOT NULL GROUP BY ALL HAVING count(*) > 1
),
odd_redemptions AS MATERIALIZED (
    FROM redemptions SEMI JOIN redeemed_again USING (voucher_id)
    UNION ALL
    FROM redemptions ANTI JOIN redeemed_again USING (voucher_id) SEMI JOIN paid_together USING (transaction_id)
),
first_redemptions AS (
    FROM odd_redemptions
    QUALIFY redemption_id IS NULL OR voucher_id IS NULL OR row_number() OVER (
        PARTITION BY redemption_id, voucher_id ORDER BY redeemed_at NULLS LAST, transaction_id, customer_id
    ) = 1
),
theirs AS MATERIALIZED (FROM payments SEMI JOIN odd_redemptions USING (transaction_id)),
their_orders AS (
    SELECT transaction_id, order_id, ordered_at, order_amount FROM theirs WHERE order_id IS NOT NULL
    QUALIFY row_number() OVER (
        PARTITION BY transaction_id, order_id ORDER BY ordered_at NULLS LAST, order_amount NULLS LAST
    ) = 1
),
order_sums AS (
    SELECT transaction_id, count(*) AS order_count, sum(order_amount)::BIGINT AS order_amount,
           min(order_id) AS order_id, first(ordered_at ORDER BY order_id) AS ordered_at
    FROM their_orders GROUP BY transaction_id
),
first_payments AS (
    SELECT transaction_id, paid_at, transaction_amount, paid_found FROM theirs
    QUALIFY row_number() OVER (
        PARTITION BY transaction_id ORDER BY paid_at NULLS LAST, transaction_amount NULLS LAST
    ) = 1
),
careful_payments AS (
    SELECT r.*, t.paid_at, t.transaction_amount, t.paid_found,
           o.order_id, o.ordered_at, o.order_amount, o.order_count,
           row_number() OVER (
               PARTITION BY r.voucher_id ORDER BY r.redeemed_at NULLS LAST, r.redemption_id NULLS LAST
           ) AS redemption_number,
           CASE WHEN r.transaction_id IS NULL THEN 1
                ELSE count(*) OVER (PARTITION BY r.transaction_id) END AS shares,
           row_number() OVER (
               PARTITION BY r.transaction_id
               ORDER BY r.redeemed_at NULLS LAST, r.voucher_id NULLS LAST, r.redemption_id NULLS LAST
           ) AS share
    FROM first_redemptions r
    LEFT JOIN first_payments t ON t.transaction_id = r.transaction_id
    LEFT JOIN order_sums o ON o.transaction_id = r.transaction_id
),
redeemed AS (
    SELECT * EXCLUDE (order_found), order_found::BIGINT AS order_count,
           CASE WHEN voucher_id IS NOT NULL THEN 1 END AS redemption_number, transaction_amount AS allocated,
           TRUE AS redeemed
    FROM payments ANTI JOIN redeemed_again USING (voucher_id) ANTI JOIN paid_together USING (transaction_id)
    UNION ALL BY NAME
    SELECT * EXCLUDE (shares, share) REPLACE (
               coalesce(order_count, 0) AS order_count,
               CASE WHEN voucher_id IS NOT NULL THEN redemption_number END AS redemption_number),
           floor(transaction_amount / shares)::BIGINT + (share <= transaction_amount - floor(transaction_amount / shares)::BIGINT * shares)::INT AS allocated,
           TRUE AS redeemed
    FROM careful_payments
)
SELECT
    coalesce(i.voucher_id, r.voucher_id) AS voucher_id,
    i.campaign_id,
    coalesce(i.customer_id, r.customer_id) AS customer_id,
    i.channel,
    i.issued_at,
    i.store_id AS issuance_store_id,
    i.order_id AS purchase_order_id,
    i.purchase_ordered_at,
    i.purchase_order_amount,
    i.purchase_transaction_id,
    i.purchase_paid_at,
    i.purchase_amount,
    r.redemption_id,
    r.redeemed_at,
    r.redemption_number,
    r.store_id AS redemption_store_id,
    r.customer_id AS redemption_customer_id,
    r.discount,
    r.transaction_id,
    r.paid_at,
    r.transaction_amount,
    r.order_id,
    r.ordered_at,
    r.order_amount,
    r.order_count,
    CASE WHEN r.redemption_number > 1 AND i.allocated IS NOT NULL THEN 0 ELSE i.allocated END
        AS purchase_amount_allocated,
    r.allocated AS transaction_amount_allocated,
    CASE WHEN i.issued IS NULL THEN 'issuance_missing'
         WHEN i.order_id IS NULL THEN 'given'
         WHEN i.paid_found THEN 'bought'
         WHEN i.order_found THEN 'transaction_missing'
         ELSE 'order_missing' END
        ::ENUM ('given', 'bought', 'order_missing', 'transaction_missing', 'issuance_missing') AS issuance_stage,
    CASE WHEN r.redeemed IS NULL THEN 'none'
         WHEN r.transaction_id IS NULL THEN 'no_transaction_id'
         WHEN NOT r.paid_found THEN 'transaction_missing'
         WHEN r.order_count = 0 THEN 'paid'
         ELSE 'ordered' END
        ::ENUM ('none', 'paid', 'ordered', 'transaction_missing', 'no_transaction_id') AS redemption_stage,
    CASE WHEN i.issued IS NULL THEN 'orphan'
         WHEN i.order_id IS NOT NULL AND i.paid_found IS NOT TRUE THEN 'incomplete'
         WHEN r.redeemed IS NULL THEN 'open'
         WHEN NOT r.paid_found THEN 'incomplete'
         ELSE 'complete' END::ENUM ('complete', 'open', 'incomplete', 'orphan') AS link_status
FROM issued i FULL JOIN redeemed r ON i.voucher_id = r.voucher_id
