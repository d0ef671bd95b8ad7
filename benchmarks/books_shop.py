"""Fills an empty database with orders as the shop would have left them, by set-based SQL.

For measuring what reads whole tables. Each order has one of a few fates, told by its number; its
rows are those that the services write for that fate: lines, reservations, payment, ledger, fees,
key with answer, history, audit rows, outbox, deliveries, the webhook. Foreign keys, indexes and
triggers are taken away for the filling and put back afterwards, which checks every row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    OnProgress = Callable[[str, int, int], None]

PENDING: Final = 40  # the last orders still wait for their payment
DAYS: Final = 300  # over which the orders are spread; the audit log keeps more

HELPERS: Final = """
    CREATE FUNCTION pg_temp.number_of(id bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT string_agg(
            substr('23456789ABCDEFGHJKMNPQRSTVWXYZ',
                   1 + mod(mod(id * 387420487, 590490000000000) / (30::numeric ^ place)::bigint,
                           30)::int, 1)
            || CASE WHEN place IN (3, 7) THEN '-' ELSE '' END, '' ORDER BY place)
        FROM generate_series(0, 9) AS place
    $$;
    CREATE FUNCTION pg_temp.uuid_of(at timestamptz, what text) RETURNS uuid
    LANGUAGE sql IMMUTABLE AS $$
        SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
                || '7' || substr(md5(what), 1, 3) || '8' || substr(md5(what), 4, 15))::uuid
    $$
"""

# What becomes of order n, and when. `tx` is the transaction that made it; its next moves are later.
# Of numbers that have been: only those can be sealed. A database that is new has had few, so that
# many orders share one.
PLAN: Final = """
    CREATE TEMPORARY TABLE plan AS
    SELECT id, at, at + interval '2 seconds' AS decided_at, at + interval '2 hours' AS later_at,
           CASE WHEN id > %(orders)s - %(pending)s THEN
                    CASE WHEN mod(id, 2) = 0 THEN 'waiting' ELSE 'debit' END
                WHEN mod(id, 1000) = 999 THEN 'disputed'
                WHEN mod(id, 100) IN (80, 81) THEN 'refunded in part'
                WHEN mod(id, 100) BETWEEN 82 AND 86 THEN 'cancelled'
                WHEN mod(id, 100) BETWEEN 87 AND 95 THEN 'declined'
                WHEN mod(id, 100) BETWEEN 96 AND 98 THEN 'expired'
                ELSE 'paid' END AS fate,
           pg_temp.number_of(id) AS number, pg_temp.uuid_of(at, 'order' || id) AS public_id,
           pg_temp.uuid_of(at, 'payment' || id) AS payment,
           'pi_' || substr(md5('intent' || id), 1, 24) AS intent,
           CASE WHEN mod(id, 2) = 0 THEN 1 + mod(id * 7919, %(customers)s) END AS customer_id,
           CASE WHEN mod(id, 2) = 1 THEN 'guest' || id || '@example.com' END AS guest_email,
           CASE WHEN mod(id, 20) = 0 THEN 'SAVE' || mod(id / 20, 50) ELSE '' END AS coupon,
           3 + 4 * (id * (pg_current_xact_id()::text::bigint / 4 - 4) / %(orders)s) AS tx
    FROM (
        SELECT id, date_trunc('second', now())
                   - (%(orders)s - id + 1) * (%(days)s * interval '1 day') / %(orders)s AS at
        FROM generate_series(1, %(orders)s::bigint) AS id
    ) spread;
    ALTER TABLE plan ADD PRIMARY KEY (id);
    ANALYZE plan
"""

# name of the step, statement
STEPS: Final = (
    (
        "catalogue and customers",
        """
        SELECT audit_make_partition((now() - make_interval(months => back))::date)
        FROM generate_series(0, 11) AS back;
        INSERT INTO customers (id, email, email_verified, password_hash, first_name, last_name,
                               is_superuser)
        SELECT id, 'customer' || id || '@example.com', true, '!', 'Benny', 'Mark', false
        FROM generate_series(1, %(customers)s) AS id;
        INSERT INTO categories (id, slug, name) VALUES (1, 'goods', 'Goods');
        INSERT INTO products (id, sku, name, category_id, attributes)
        SELECT id, 'SKU-' || id, 'Product ' || id, 1, '{}'
        FROM generate_series(1, %(products)s) AS id;
        INSERT INTO prices (product_id, currency, amount)
        SELECT id, 'USD', 1.99 + mod(id * 37, 5000) * 0.01 FROM products;
        INSERT INTO warehouses (id, code, name, country, time_zone, holidays) VALUES
            (1, 'MAIN', 'Main', 'US', 'America/New_York', '[]'),
            (2, 'EAST', 'East', 'US', 'America/New_York', '[]');
        INSERT INTO coupons (code, kind, value, max_uses, max_uses_per_customer)
        SELECT 'SAVE' || n, 'percent', 10, %(orders)s, %(orders)s FROM generate_series(0, 49) AS n;
        ANALYZE products, prices, customers
        """,
    ),
    (
        "order_items",
        """
        INSERT INTO order_items (order_id, product_id, product_sku, product_name, quantity,
                                 unit_price, discount_amount, tax_amount, total_price, created_at)
        SELECT plan.id, product.id, product.sku, product.name, wanted.quantity, price.amount,
               less.discount, round((goods.amount - less.discount) * 0.08875, 2), goods.amount,
               plan.at
        FROM plan
        CROSS JOIN LATERAL generate_series(1, 1 + mod(plan.id, 3)) AS line
        JOIN products product ON product.id = 1 + mod(plan.id * 31 + line * 7, %(products)s)
        JOIN prices price ON price.product_id = product.id
        CROSS JOIN LATERAL (SELECT 1 + mod(plan.id + line, 3) AS quantity) wanted
        CROSS JOIN LATERAL (SELECT wanted.quantity * price.amount AS amount) goods
        CROSS JOIN LATERAL (
            SELECT CASE WHEN plan.coupon = '' THEN 0 ELSE round(goods.amount * 0.1, 2) END
                AS discount
        ) less
        """,
    ),
    (
        "orders",
        """
        INSERT INTO orders (id, public_id, order_number, idempotency_key_id, customer_id,
            guest_email, guest_first_name, guest_last_name, status, version, subtotal, tax_amount,
            shipping_amount, discount_amount, total_amount, currency, payment_intent_id,
            payment_status, shipping_address, billing_address, shipping_method,
            estimated_delivery, coupon_code, hold_expires_at, cancellation_reason, created_at,
            updated_at)
        SELECT plan.id, public_id, number, plan.id, customer_id, guest_email,
            CASE WHEN customer_id IS NULL THEN 'Benny' ELSE '' END,
            CASE WHEN customer_id IS NULL THEN 'Mark' ELSE '' END,
            CASE WHEN fate IN ('waiting', 'debit') THEN 'pending'
                 WHEN fate IN ('cancelled', 'declined', 'expired') THEN 'cancelled'
                 ELSE 'confirmed' END,
            CASE WHEN fate IN ('waiting', 'debit') THEN 0 WHEN fate = 'cancelled' THEN 2 ELSE 1 END,
            item.goods, item.tax + 0.44, 4.99, item.discount,
            item.goods - item.discount + 4.99 + item.tax + 0.44, 'USD',
            CASE WHEN fate <> 'expired' THEN intent END,
            CASE fate WHEN 'waiting' THEN 'requires_action' WHEN 'debit' THEN 'processing'
                 WHEN 'declined' THEN 'failed' WHEN 'expired' THEN 'cancelled'
                 WHEN 'cancelled' THEN 'refunded' WHEN 'disputed' THEN 'disputed'
                 WHEN 'refunded in part' THEN 'partially_refunded' ELSE 'succeeded' END,
            address.lines, address.lines, 'standard', at::date + 4, plan.coupon,
            CASE WHEN fate IN ('waiting', 'debit') THEN now() + interval '22 hours'
                 ELSE at + interval '15 minutes' END,
            CASE fate WHEN 'declined' THEN 'card_declined' WHEN 'expired' THEN 'hold_expired'
                 WHEN 'cancelled' THEN 'changed my mind' ELSE '' END,
            at, decided_at
        FROM plan
        JOIN (
            SELECT order_id, sum(total_price) AS goods, sum(discount_amount) AS discount,
                   sum(tax_amount) AS tax
            FROM order_items GROUP BY order_id
        ) item ON item.order_id = plan.id
        CROSS JOIN LATERAL (
            SELECT jsonb_build_object('name', 'Benny Mark', 'line1', plan.id || ' Main Street',
                'city', 'New York', 'state', 'NY', 'postal_code', '10001', 'country', 'US') AS lines
        ) address
        ORDER BY plan.id
        """,
    ),
    (
        "idempotency_keys",
        """
        INSERT INTO idempotency_keys (id, scope, key, fingerprint, owner, lease_until,
                                      response_status, response_body, answered_at, created_at)
        SELECT o.id, coalesce('customer:' || o.customer_id, 'guest:' || o.guest_email),
            pg_temp.uuid_of(at, 'key' || o.id)::text, md5('body' || o.id) || md5('more' || o.id),
            pg_temp.uuid_of(at, 'owner' || o.id), at + interval '20 seconds',
            answer.status, answer.body,
            CASE WHEN answer.status IS NOT NULL THEN decided_at END, at
        FROM orders o
        JOIN plan USING (id)
        JOIN (
            SELECT order_id, string_agg(format(
                '{"sku":"%%s","product_name":"%%s","quantity":%%s,"unit_price":"%%s",'
                '"discount_amount":"%%s","tax_amount":"%%s","total_price":"%%s"}',
                product_sku, product_name, quantity, unit_price, discount_amount, tax_amount,
                total_price), ',' ORDER BY id) AS lines
            FROM order_items GROUP BY order_id
        ) item ON item.order_id = o.id
        CROSS JOIN LATERAL (
            SELECT CASE WHEN fate = 'debit' THEN NULL
                        WHEN fate IN ('waiting', 'declined', 'expired') THEN 402 ELSE 201 END
                       AS status,
                   CASE WHEN fate = 'debit' THEN ''
                        WHEN fate IN ('waiting', 'declined', 'expired') THEN format(
                '{"error":{"code":"CARD_DECLINED","message":"The card was declined.",'
                '"details":{"decline_code":"generic_decline","order_number":"%%s"},'
                '"request_id":"%%s"}}', order_number, o.public_id)
                        ELSE format(
                '{"id":"%%s","order_number":"%%s","status":"confirmed",'
                '"payment_status":"succeeded","currency":"USD","items":[%%s],"subtotal":"%%s",'
                '"discount_amount":"%%s","shipping_amount":"%%s","tax_amount":"%%s",'
                '"total_amount":"%%s","refunded_amount":"0.00","shipping_address":%%s,'
                '"billing_address":%%s,"shipping_method":"standard","notes":null,"shipments":[],'
                '"created_at":"%%s","shipped_at":null,"delivered_at":null}',
                o.public_id, order_number, lines, subtotal, discount_amount, shipping_amount,
                tax_amount, total_amount, shipping_address, billing_address, at) END AS body
        ) answer
        ORDER BY o.id
        """,
    ),
    (
        "payments",
        """
        INSERT INTO payments (id, uuid, order_id, status, currency, amount, amount_received,
            amount_refunded, payment_method_id, payment_intent_id, create_params, confirm_params,
            failure_code, decline_code, in_doubt_since, next_attempt_at, created_at, updated_at)
        SELECT id, payment, id,
            CASE fate WHEN 'waiting' THEN 'requires_action' WHEN 'debit' THEN 'processing'
                 WHEN 'declined' THEN 'failed' WHEN 'expired' THEN 'cancelled'
                 ELSE 'succeeded' END,
            'USD', total_amount,
            CASE WHEN fate IN ('waiting', 'debit', 'declined', 'expired') THEN 0
                 ELSE total_amount END,
            CASE fate WHEN 'cancelled' THEN total_amount WHEN 'refunded in part' THEN 1 ELSE 0 END,
            'pm_card_visa', CASE WHEN fate <> 'expired' THEN intent END,
            jsonb_build_object('amount', (total_amount * 100)::int, 'currency', 'usd',
                'payment_method', 'pm_card_visa',
                'automatic_payment_methods', jsonb_build_object('enabled', true),
                'metadata', jsonb_build_object('app', 'orderkeep', 'payment', payment,
                    'order_id', o.public_id, 'order_number', order_number)),
            jsonb_build_object('return_url', 'https://shop.example/orders/' || order_number),
            CASE fate WHEN 'declined' THEN 'card_declined' ELSE '' END,
            CASE fate WHEN 'declined' THEN 'generic_decline' ELSE '' END,
            CASE WHEN fate = 'debit' THEN decided_at END,
            CASE WHEN fate IN ('waiting', 'debit') THEN now() + interval '22 hours'
                 ELSE at + interval '20 seconds' END,
            at, decided_at
        FROM plan JOIN orders o USING (id) ORDER BY id
        """,
    ),
    (
        "reservations",
        """
        INSERT INTO reservations (order_id, stock_level_id, quantity, status, created_at,
                                  updated_at)
        SELECT plan.id, product_id + place.first, place.quantity,
            CASE WHEN fate IN ('waiting', 'debit') THEN 'held'
                 WHEN fate IN ('cancelled', 'declined', 'expired') THEN 'released'
                 ELSE 'committed' END, at, decided_at
        FROM plan
        JOIN order_items item ON item.order_id = plan.id
        CROSS JOIN LATERAL (
            SELECT item.quantity - (item.quantity > 1 AND mod(plan.id, 50) = 0)::int AS quantity,
                   0 AS first
            UNION ALL
            SELECT 1, %(products)s WHERE item.quantity > 1 AND mod(plan.id, 50) = 0
        ) place
        """,
    ),
    (
        "stock",
        """
        INSERT INTO stock_levels (id, product_id, warehouse_id, on_hand, allocated)
        SELECT product.id + place.first, product.id, place.warehouse_id,
               coalesce(promised.quantity, 0) + 100, coalesce(promised.quantity, 0)
        FROM products product
        CROSS JOIN (VALUES (1, 0), (2, %(products)s)) AS place (warehouse_id, first)
        LEFT JOIN (
            SELECT stock_level_id, sum(quantity) AS quantity FROM reservations
            WHERE status IN ('held', 'committed') GROUP BY stock_level_id
        ) promised ON promised.stock_level_id = product.id + place.first;
        INSERT INTO stock_movements (stock_level_id, kind, quantity, reason)
        SELECT level.id, moved.kind, moved.quantity, 'delivery'
        FROM stock_levels level
        CROSS JOIN LATERAL (
            VALUES ('receive', level.on_hand), ('receive', 10), ('adjust', -10)
        ) AS moved (kind, quantity)
        """,
    ),
    (
        "refunds",
        """
        INSERT INTO refunds (id, uuid, payment_id, status, currency, amount, reason,
            stripe_refund_id, first_sent_at, attempts, created_at, updated_at)
        SELECT id, pg_temp.uuid_of(later_at, 'refund' || id), id, 'succeeded', 'USD',
            p.amount_refunded, 'changed my mind', 're_' || substr(md5('refund' || id), 1, 24),
            later_at, 1, later_at, later_at
        FROM plan JOIN payments p USING (id) WHERE fate IN ('cancelled', 'refunded in part');
        INSERT INTO refund_lines (refund_id, order_item_id, quantity, amount)
        SELECT plan.id, min(item.id), 1, 1 FROM plan
        JOIN order_items item ON item.order_id = plan.id
        WHERE fate = 'refunded in part' GROUP BY plan.id;
        INSERT INTO disputes (id, payment_id, stripe_dispute_id, status, reason, currency, amount,
                              opened_at)
        SELECT id, id, 'du_' || substr(md5('dispute' || id), 1, 24), 'lost', 'fraudulent', 'USD',
            p.amount, later_at
        FROM plan JOIN payments p USING (id) WHERE fate = 'disputed'
        """,
    ),
    (
        "ledger_entries",
        """
        INSERT INTO ledger_entries (transaction, kind, account, currency, amount, payment_id,
            refund_id, dispute_id, balance_transaction_id, created_at)
        SELECT pg_temp.uuid_of(entry.at, entry.kind || id), entry.kind, leg.account, 'USD',
            leg.sign * entry.amount, id, entry.refund_id, entry.dispute_id, entry.booked, entry.at
        FROM plan
        JOIN payments p USING (id)
        CROSS JOIN LATERAL (VALUES
            ('capture', 'customer_receipts', p.amount_received, NULL::bigint, NULL::bigint,
             NULL, decided_at),
            ('fee', 'provider_fees', -round(p.amount_received * 0.029 + 0.30, 2), NULL, NULL,
             'txn_' || substr(md5('fee' || id), 1, 24), decided_at),
            ('refund', 'customer_receipts', -p.amount_refunded, id, NULL, NULL, later_at),
            ('dispute', 'disputed_receipts',
             CASE WHEN fate = 'disputed' THEN -p.amount ELSE 0 END, NULL, id,
             'txn_' || substr(md5('dispute' || id), 1, 24), later_at)
        ) AS entry (kind, against, amount, refund_id, dispute_id, booked, at)
        CROSS JOIN LATERAL (
            VALUES ('stripe_balance', 1), (entry.against, -1)
        ) AS leg (account, sign)
        WHERE p.status = 'succeeded' AND entry.amount <> 0
        """,
    ),
    (
        "order_transitions",
        """
        INSERT INTO order_transitions (order_id, version, from_status, to_status, at, xid)
        SELECT plan.id, move.version, move.came_from, move.went_to, move.at,
               (tx + move.version)::text::xid8
        FROM plan
        CROSS JOIN LATERAL (
            SELECT 0, NULL, 'pending', at
            UNION ALL SELECT 1, 'pending', 'cancelled', decided_at
                WHERE fate IN ('declined', 'expired')
            UNION ALL SELECT 1, 'pending', 'confirmed', decided_at
                WHERE fate NOT IN ('declined', 'expired', 'waiting', 'debit')
            UNION ALL SELECT 2, 'confirmed', 'cancelled', later_at WHERE fate = 'cancelled'
        ) AS move (version, came_from, went_to, at)
        """,
    ),
    (
        "audit_logs",
        """
        INSERT INTO audit_logs (event_type, entity_type, entity_id, user_id, ip_address, user_agent,
                                data, request_id, created_at, xid)
        SELECT event.type, 'order', o.id, o.customer_id, '203.0.113.7',
            'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
            jsonb_build_object('order_number', o.order_number, 'currency', 'USD',
                'total_amount', o.total_amount::text) || event.data,
            pg_temp.uuid_of(event.at, 'request' || o.id)::text, event.at,
            (tx + event.nth)::text::xid8
        FROM plan
        JOIN orders o USING (id)
        JOIN (
            SELECT order_id, CASE to_status WHEN 'pending' THEN 'ORDER_CREATED'
                    WHEN 'confirmed' THEN 'ORDER_CONFIRMED' ELSE 'ORDER_CANCELLED' END,
                version, at, jsonb_build_object('from', from_status, 'to', to_status,
                    'version', version, 'cause', '')
            FROM order_transitions
            UNION ALL
            SELECT id, told, 3, created_at, jsonb_build_object('refund', uuid,
                'amount', amount::text)
            FROM refunds, unnest(ARRAY['REFUND_REQUESTED', 'REFUND_SUCCEEDED']) AS told
        ) AS event (order_id, type, nth, at, data) ON event.order_id = o.id
        """,
    ),
    (
        "outbox_messages",
        """
        INSERT INTO outbox_messages (uuid, fact, aggregate_type, aggregate_id, dedupe_key, payload,
                                     occurred_at, fanned_out_at)
        SELECT pg_temp.uuid_of(told.at, told.key), told.fact, 'order', o.id, told.key,
            jsonb_build_object('order_id', o.id, 'order_number', o.order_number, 'currency', 'USD',
                'total_amount', o.total_amount::text), told.at, told.at
        FROM orders o
        JOIN (
            SELECT order_id, 'order.' || to_status,
                   'order.' || order_id || '.' || to_status || '.' || version, at
            FROM order_transitions WHERE version > 0
            UNION ALL
            SELECT id, 'order.refunded', 'refund.' || uuid, created_at FROM refunds
        ) AS told (order_id, fact, key, at) ON told.order_id = o.id
        """,
    ),
    (
        "deliveries",
        """
        INSERT INTO deliveries (message_id, subscriber, status, attempts, next_attempt_at,
                                last_error, delivered_at, created_at)
        SELECT m.id, subscriber, 'delivered', 1, m.occurred_at,
            CASE WHEN subscriber = 'customer_metrics' AND mod(m.aggregate_id, 2) = 1
                 THEN 'not counted: a guest''s order' ELSE '' END,
            m.occurred_at + interval '1 second', m.occurred_at
        FROM outbox_messages m
        CROSS JOIN unnest(ARRAY['customer_metrics', 'email']) AS subscriber
        WHERE subscriber = 'customer_metrics' OR m.fact = 'order.confirmed'
        """,
    ),
    (
        "provider_events",
        """
        INSERT INTO provider_events (stripe_event_id, event_type, object_id, payment_intent_id,
            status, payload, received_at, processed_at, attempts)
        SELECT 'evt_' || substr(md5('event' || id), 1, 24), 'payment_intent.succeeded', intent,
            intent, 'processed', jsonb_build_object('id', 'evt_' || md5('event' || id),
                'object', 'event', 'api_version', '2026-03-25', 'livemode', true, 'data',
                jsonb_build_object('object', jsonb_build_object('id', intent, 'object',
                    'payment_intent', 'amount', (amount * 100)::int, 'currency', 'usd', 'status',
                    'succeeded', 'metadata', create_params -> 'metadata'))),
            decided_at, decided_at + interval '1 second', 1
        FROM plan JOIN payments p USING (id) WHERE p.status = 'succeeded' ORDER BY id
        """,
    ),
    (
        "coupons and metrics",
        """
        INSERT INTO coupon_redemptions (coupon_id, order_id, redeemed_by, created_at, released_at)
        SELECT c.id, plan.id, coalesce('customer:' || customer_id, 'guest:' || guest_email), at,
            CASE WHEN fate IN ('cancelled', 'declined', 'expired') THEN later_at END
        FROM plan JOIN coupons c ON c.code = plan.coupon;
        UPDATE coupons SET times_used = active.uses
        FROM (SELECT coupon_id, count(*) AS uses FROM coupon_redemptions
              WHERE released_at IS NULL GROUP BY coupon_id) active
        WHERE active.coupon_id = coupons.id;
        INSERT INTO customer_metrics (customer_id, currency, order_count, lifetime_value)
        SELECT o.customer_id, 'USD', count(*) FILTER (WHERE o.status = 'confirmed'),
            coalesce(sum(p.amount_received - p.amount_refunded)
                FILTER (WHERE o.status = 'confirmed'), 0)
        FROM orders o JOIN payments p ON p.order_id = o.id AND p.status = 'succeeded'
        WHERE o.customer_id IS NOT NULL GROUP BY o.customer_id
        """,
    ),
)
TABLES: Final = (
    *("customers", "products", "prices", "coupons", "orders", "order_items", "idempotency_keys"),
    *("payments", "reservations", "stock_levels", "stock_movements", "refunds", "refund_lines"),
    *("disputes", "ledger_entries", "order_transitions", "audit_logs", "outbox_messages"),
    *("deliveries", "provider_events", "coupon_redemptions", "customer_metrics"),
)


def fill(cursor: Any, *, orders: int, on_progress: OnProgress) -> None:
    """Fill the tables; requires a migrated, empty database and a connection in autocommit.

    Args:
        on_progress: told what comes next, how many steps are done, and out of how many.
    """
    sizes = {
        "orders": orders,
        "pending": PENDING,
        "days": DAYS,
        "customers": max(20, orders // 10),
        "products": min(2_000, max(40, orders // 50)),
    }
    cursor.execute("SET statement_timeout = 0")
    cursor.execute("SET lock_timeout = 0")
    cursor.execute("SET work_mem = '256MB'")
    cursor.execute("SET maintenance_work_mem = '512MB'")
    cursor.execute("SET synchronous_commit = off")  # of the filling alone: a lost one is begun anew
    put_back = _take_away(cursor)
    jobs: list[tuple[str, str, dict[str, Any] | None]] = [
        ("helpers", HELPERS, None),
        ("what becomes of each order", PLAN, sizes),
        *((name, statement, sizes) for name, statement in STEPS),
        *put_back,
        *((f"vacuum {table}", f"VACUUM (ANALYZE) {table}", None) for table in TABLES),
    ]
    for done, (name, statement, values) in enumerate(jobs):
        on_progress(name, done, len(jobs))
        cursor.execute(statement, values)
    on_progress("", len(jobs), len(jobs))


def _take_away(cursor: Any) -> list[tuple[str, str, None]]:
    """Take foreign keys, indexes and triggers off the tables; returns what puts them back."""
    tables = list(TABLES)
    cursor.execute(
        """
        SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid)
        FROM pg_constraint
        WHERE conrelid = ANY(%s::text[]::regclass[]) AND contype IN ('f', 'u')
        ORDER BY contype, conname
        """,
        [tables],
    )
    constraints = cursor.fetchall()
    # A unique constraint that a foreign key elsewhere leans on would refuse to go: there is none.
    for table, name, _kind, _definition in constraints:
        cursor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
    cursor.execute(
        """
        SELECT c.relname, replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ')
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = ANY(%s::text[]::regclass[]) AND NOT i.indisprimary
        ORDER BY c.relname
        """,
        [tables],
    )
    indexes = cursor.fetchall()
    for name, _definition in indexes:
        cursor.execute(f'DROP INDEX "{name}"')
    for table in tables:
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    cursor.execute(
        """
        SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE a.attidentity <> '' AND a.attrelid = ANY(%s::text[]::regclass[])
        """,
        [tables],
    )
    counters = cursor.fetchall()
    unique_first = sorted(constraints, key=lambda constraint: constraint[2], reverse=True)
    return [
        *((f"index {name}", definition, None) for name, definition in indexes),
        *(
            (
                f"constraint {name}",
                f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}',
                None,
            )
            for table, name, _kind, definition in unique_first
        ),
        *((f"counter of {table}", _count_on(table, column), None) for table, column in counters),
        *(
            (f"triggers of {table}", f"ALTER TABLE {table} ENABLE TRIGGER USER", None)
            for table in tables
        ),
    ]


def _count_on(table: str, column: str) -> str:
    """Let the next row of a table get the next number."""
    return f"""
        SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column}))
        FROM {table} HAVING max({column}) > 0
    """  # noqa: S608 - names from the catalogue
