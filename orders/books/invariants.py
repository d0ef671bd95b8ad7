"""What must hold across tables whatever happens, each as a query of its violators.

Every query answers with one text column, `violator`: an order number where there is one. All are
set-based and read-only; the caller runs them in one snapshot. docs/invariants.md tells for each
what keeps it from breaking in the first place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orders.books.secrecy import WRITTEN_SECRETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """One statement about the books. `id` groups what belongs together; `name` is its own."""

    id: str
    name: str
    says: str
    violators: str


# Facts from before then may be forgotten (docs/data.md); whoever prunes writes it down beforehand.
FACTS_KEPT_SINCE: Final = """
    SELECT coalesce(max((data -> 'before' ->> 'outbox_messages')::timestamptz), '-infinity')
    FROM audit_logs WHERE event_type = 'PRUNING_BEGAN'
"""

INVARIANTS: Final = (
    # --- I1: order arithmetic -------------------------------------------------------------------
    Invariant(
        id="I1",
        name="order_total_adds_up",
        says="total = subtotal − discount + shipping + tax unless included,"
        " and 0 ≤ discount ≤ subtotal",
        violators="""
            SELECT order_number AS violator FROM orders
            WHERE total_amount <> subtotal - discount_amount + shipping_amount
                                  + CASE WHEN tax_included THEN 0 ELSE tax_amount END
               OR tax_included AND tax_amount > total_amount
               OR discount_amount NOT BETWEEN 0 AND subtotal
               OR shipping_amount < 0 OR tax_amount < 0
        """,
    ),
    Invariant(
        id="I1",
        name="order_lines_add_up",
        says="the lines make the subtotal and the discount; their tax is within the order's",
        # What the order's tax has over its lines' is the tax on shipping. Included tax is a part.
        violators="""
            SELECT o.order_number AS violator
            FROM orders o
            LEFT JOIN (
                SELECT order_id, sum(total_price) AS goods, sum(discount_amount) AS discount,
                       sum(tax_amount) AS tax,
                       bool_and(tax_amount <= total_price - discount_amount) AS has_tax_within,
                       bool_and(total_price = quantity * unit_price
                                AND discount_amount BETWEEN 0 AND total_price
                                AND tax_amount >= 0) AS is_sound
                FROM order_items GROUP BY order_id
            ) line ON line.order_id = o.id
            WHERE line.goods IS DISTINCT FROM o.subtotal
               OR line.discount <> o.discount_amount
               OR line.tax > o.tax_amount
               OR NOT line.is_sound
               OR o.tax_included AND NOT line.has_tax_within
        """,
    ),
    # --- I2, I3: stock --------------------------------------------------------------------------
    Invariant(
        id="I2",
        name="allocated_is_what_is_promised",
        says="allocated = what the held and committed reservations of the level have left to ship",
        # Both directions: a level that promises what nobody reserved, and units of no level.
        violators="""
            SELECT coalesce(product.sku || '@' || warehouse.code,
                            'stock level ' || promised.stock_level_id) AS violator
            FROM (
                SELECT stock_level_id, sum(quantity - shipped_quantity) AS quantity
                FROM reservations WHERE status IN ('held', 'committed') GROUP BY stock_level_id
            ) promised
            FULL JOIN stock_levels level ON level.id = promised.stock_level_id
            LEFT JOIN products product ON product.id = level.product_id
            LEFT JOIN warehouses warehouse ON warehouse.id = level.warehouse_id
            WHERE level.allocated IS DISTINCT FROM coalesce(promised.quantity, 0)
        """,
    ),
    Invariant(
        id="I3",
        name="on_hand_is_the_sum_of_movements",
        says="on_hand = the sum of the stock level's movements",
        violators="""
            SELECT product.sku || '@' || warehouse.code AS violator
            FROM stock_levels level
            JOIN products product ON product.id = level.product_id
            JOIN warehouses warehouse ON warehouse.id = level.warehouse_id
            LEFT JOIN (
                SELECT stock_level_id, sum(quantity) AS quantity
                FROM stock_movements GROUP BY stock_level_id
            ) moved ON moved.stock_level_id = level.id
            WHERE level.on_hand <> coalesce(moved.quantity, 0)
        """,
    ),
    Invariant(
        id="I3",
        name="stock_is_promised_within_on_hand",
        says="0 ≤ allocated ≤ on_hand: nothing is oversold",
        violators="""
            SELECT product.sku || '@' || warehouse.code AS violator
            FROM stock_levels level
            JOIN products product ON product.id = level.product_id
            JOIN warehouses warehouse ON warehouse.id = level.warehouse_id
            WHERE level.allocated < 0 OR level.allocated > level.on_hand
        """,
    ),
    Invariant(
        id="I3",
        name="shipped_units_left_the_building",
        says="the shipped units of an order's reservations = its movements out of the building",
        # Movements out are negative, so that both together must make zero.
        violators="""
            SELECT coalesce(o.order_number, 'movements without an order') AS violator
            FROM (
                SELECT order_id
                FROM (
                    SELECT order_id, stock_level_id,
                           CASE status WHEN 'shipped' THEN quantity ELSE shipped_quantity END
                           AS quantity
                    FROM reservations
                    UNION ALL
                    SELECT order_id, stock_level_id, quantity
                    FROM stock_movements WHERE kind = 'ship'
                ) units
                GROUP BY order_id, stock_level_id HAVING sum(quantity) <> 0
            ) unequal
            LEFT JOIN orders o ON o.id = unequal.order_id
        """,
    ),
    Invariant(
        id="I3",
        name="transfers_lose_nothing",
        says="what a transfer takes out of one building it brings, of the same product, to another",
        violators="""
            SELECT 'stock document ' || document.id AS violator
            FROM stock_documents document
            LEFT JOIN stock_movements movement ON movement.document_id = document.id
            LEFT JOIN stock_levels level ON level.id = movement.stock_level_id
            GROUP BY document.id, document.kind
            HAVING document.kind = 'transfer' AND (
                count(movement.id) <> 2 OR count(DISTINCT level.product_id) <> 1
                OR sum(movement.quantity) <> 0
            ) OR bool_or((movement.kind = 'transfer') <> (document.kind = 'transfer'))
        """,
    ),
    Invariant(
        id="I3",
        name="stock_documents_move_stock",
        says="every stock document has its movements",
        violators="""
            SELECT 'stock document ' || document.id AS violator
            FROM stock_documents document
            WHERE NOT EXISTS (
                SELECT FROM stock_movements movement WHERE movement.document_id = document.id
            )
        """,
    ),
    # --- I4: reservations and orders ------------------------------------------------------------
    Invariant(
        id="I4",
        name="reservations_follow_the_order",
        says="pending orders hold, paid ones have committed, dead ones released their units, and so"
        " have shipped ones those that were refunded before they left",
        violators="""
            SELECT DISTINCT o.order_number AS violator
            FROM reservations r JOIN orders o ON o.id = r.order_id
            WHERE r.status <> CASE o.status
                WHEN 'pending' THEN 'held'
                WHEN 'confirmed' THEN 'committed'
                WHEN 'processing' THEN 'committed'
                WHEN 'cancelled' THEN 'released'
                ELSE 'shipped'
            END
              AND NOT (r.status = 'shipped' AND o.status IN ('processing', 'cancelled'))
              AND NOT (
                r.status = 'released' AND o.status IN ('shipped', 'delivered', 'refunded')
                AND r.quantity - r.shipped_quantity <= (
                    SELECT coalesce(sum(line.quantity), 0)
                    FROM refund_lines line
                    JOIN order_items item ON item.id = line.order_item_id
                    JOIN stock_levels level ON level.product_id = item.product_id
                    WHERE item.order_id = r.order_id AND level.id = r.stock_level_id
                )
              )
        """,
    ),
    Invariant(
        id="I4",
        name="reserved_units_are_the_ordered_ones",
        says="an order has reserved exactly its items, product by product",
        # A line may be split over several buildings.
        violators="""
            SELECT DISTINCT o.order_number AS violator
            FROM (
                SELECT r.order_id, level.product_id, sum(r.quantity) AS quantity
                FROM reservations r JOIN stock_levels level ON level.id = r.stock_level_id
                GROUP BY r.order_id, level.product_id
            ) reserved
            FULL JOIN order_items item
                   ON item.order_id = reserved.order_id AND item.product_id = reserved.product_id
            JOIN orders o ON o.id = coalesce(item.order_id, reserved.order_id)
            WHERE item.quantity IS DISTINCT FROM reserved.quantity
        """,
    ),
    # --- I5, I6: orders and their money ---------------------------------------------------------
    Invariant(
        id="I5",
        name="paid_means_paid",
        says="a confirmed order has exactly one succeeded payment of its total; a pending has none",
        violators="""
            SELECT o.order_number AS violator
            FROM orders o
            LEFT JOIN (
                SELECT order_id, count(*) AS payments, sum(amount_received) AS received,
                       min(currency) AS currency
                FROM payments WHERE status = 'succeeded' GROUP BY order_id
            ) paid ON paid.order_id = o.id
            WHERE (o.status IN ('confirmed', 'processing', 'shipped', 'delivered', 'refunded')
                   AND (paid.payments IS DISTINCT FROM 1
                        OR paid.received <> o.total_amount OR paid.currency <> o.currency))
               OR (o.status = 'pending' AND paid.payments IS NOT NULL)
        """,
    ),
    Invariant(
        id="I5",
        name="payment_asks_for_the_total",
        says="every order has a payment, and each asks for the order's total in its currency",
        violators="""
            SELECT DISTINCT o.order_number AS violator
            FROM orders o LEFT JOIN payments p ON p.order_id = o.id
            WHERE p.amount IS DISTINCT FROM o.total_amount
               OR p.currency IS DISTINCT FROM o.currency
        """,
    ),
    Invariant(
        id="I5",
        name="one_live_payment_per_order",
        says="at most one payment of an order may still bring, or has brought, money",
        violators="""
            SELECT DISTINCT o.order_number AS violator
            FROM payments p
            JOIN payments other ON other.order_id = p.order_id AND other.id > p.id
            JOIN orders o ON o.id = p.order_id
            WHERE p.status NOT IN ('failed', 'cancelled')
              AND other.status NOT IN ('failed', 'cancelled')
        """,
    ),
    Invariant(
        id="I5",
        name="pending_orders_wait_for_a_payment",
        says="a pending order has an open or quarantined payment, a decided one no open payment",
        # Both would never be looked at again: the sweeper takes pending orders with open payments.
        violators="""
            SELECT o.order_number AS violator
            FROM orders o
            LEFT JOIN (
                SELECT order_id, bool_or(status <> 'quarantined') AS is_open
                FROM payments
                WHERE status IN ('created', 'requires_action', 'processing', 'quarantined')
                GROUP BY order_id
            ) waiting ON waiting.order_id = o.id
            WHERE (o.status = 'pending' AND waiting.order_id IS NULL)
               OR (o.status <> 'pending' AND waiting.is_open)
        """,
    ),
    Invariant(
        id="I6",
        name="dead_orders_hold_no_money",
        says="what came in for a cancelled order is being refunded, lost to a bank, or held by one"
        " that has not decided; for a refunded one it is back",
        # No grace: the refund's row is written in the transaction that ends the order. Only an open
        # dispute excuses all of it; of a lost one counts what the bank took.
        violators="""
            SELECT o.order_number AS violator
            FROM orders o
            JOIN payments p ON p.order_id = o.id AND p.amount_received > 0
            LEFT JOIN (
                SELECT payment_id, sum(amount) AS decided,
                       sum(amount) FILTER (WHERE status = 'succeeded') AS done
                FROM refunds WHERE status <> 'failed' GROUP BY payment_id
            ) given ON given.payment_id = p.id
            LEFT JOIN (
                SELECT payment_id, currency, sum(amount) AS lost
                FROM disputes WHERE status = 'lost' GROUP BY payment_id, currency
            ) taken ON taken.payment_id = p.id AND taken.currency = p.currency
            WHERE (o.status = 'cancelled'
                   AND coalesce(given.decided, 0) + coalesce(taken.lost, 0) < p.amount_received
                   AND NOT EXISTS (
                       SELECT FROM disputes d WHERE d.payment_id = p.id
                       AND d.status IN ('needs_response', 'under_review')))
               OR (o.status = 'refunded' AND given.done IS DISTINCT FROM p.amount_received)
        """,
    ),
    # --- I7: refunds ----------------------------------------------------------------------------
    Invariant(
        id="I7",
        name="refunds_stay_within_received",
        says="the refunds of a payment that did not fail are at most what it received",
        violators="""
            SELECT o.order_number AS violator
            FROM (
                SELECT payment_id, sum(amount) AS decided, min(currency) AS currency,
                       count(DISTINCT currency) AS currencies
                FROM refunds WHERE status <> 'failed' GROUP BY payment_id
            ) given
            JOIN payments p ON p.id = given.payment_id
            JOIN orders o ON o.id = p.order_id
            WHERE given.decided > p.amount_received
               OR given.currencies > 1 OR given.currency <> p.currency
        """,
    ),
    Invariant(
        id="I7",
        name="refunded_amount_is_the_sum_of_refunds",
        says="amount_refunded = the sum of the payment's succeeded refunds",
        violators="""
            SELECT o.order_number AS violator
            FROM payments p
            JOIN orders o ON o.id = p.order_id
            LEFT JOIN (
                SELECT payment_id, sum(amount) AS amount
                FROM refunds WHERE status = 'succeeded' GROUP BY payment_id
            ) done ON done.payment_id = p.id
            WHERE p.amount_refunded <> coalesce(done.amount, 0)
        """,
    ),
    Invariant(
        id="I7",
        name="order_shows_its_refunds",
        says="payment_status is refunded or partially_refunded exactly when that much is back",
        violators="""
            SELECT o.order_number AS violator
            FROM orders o
            LEFT JOIN payments p ON p.order_id = o.id AND p.status = 'succeeded'
            WHERE o.payment_status <> 'disputed'
              AND (CASE o.payment_status
                       WHEN 'refunded' THEN 'all'
                       WHEN 'partially_refunded' THEN 'some'
                       ELSE 'none'
                   END)
               <> (CASE
                       WHEN coalesce(p.amount_refunded, 0) = 0 THEN 'none'
                       WHEN p.amount_refunded = p.amount_received THEN 'all'
                       ELSE 'some'
                   END)
        """,
    ),
    Invariant(
        id="I7",
        name="refund_lines_make_the_refund",
        says="a refund by line gives back exactly what its lines do",
        violators="""
            SELECT min(o.order_number) AS violator
            FROM refund_lines line
            JOIN refunds r ON r.id = line.refund_id
            JOIN payments p ON p.id = r.payment_id
            JOIN orders o ON o.id = p.order_id
            JOIN order_items item ON item.id = line.order_item_id
            GROUP BY r.id HAVING sum(line.amount) <> r.amount OR bool_or(item.order_id <> o.id)
        """,
    ),
    Invariant(
        id="I7",
        name="units_are_refunded_once",
        says="no more units of a line are refunded than were bought",
        violators="""
            SELECT min(o.order_number) AS violator
            FROM refund_lines line
            JOIN refunds r ON r.id = line.refund_id AND r.status <> 'failed'
            JOIN order_items item ON item.id = line.order_item_id
            JOIN orders o ON o.id = item.order_id
            GROUP BY item.id HAVING sum(line.quantity) > min(item.quantity)
        """,
    ),
    Invariant(
        id="I7",
        name="approved_refunds_are_what_was_agreed",
        says="an approved proposal has its refund: of its order, amount and currency",
        # Money that the books never had (a quarantine, a charge without an order) has none.
        violators="""
            SELECT o.order_number AS violator
            FROM refund_proposals proposal
            JOIN orders o ON o.id = proposal.order_id
            LEFT JOIN refunds r ON r.id = proposal.refund_id
            LEFT JOIN payments p ON p.id = r.payment_id
            WHERE proposal.status = 'approved' AND proposal.kind <> 'quarantine'
              AND (r.id IS NULL OR p.order_id <> o.id
                   OR r.amount <> proposal.amount OR r.currency <> proposal.currency)
        """,
    ),
    Invariant(
        id="I7",
        name="order_shows_its_dispute",
        says="payment_status is disputed exactly while a dispute is open or lost",
        violators="""
            SELECT o.order_number AS violator
            FROM orders o
            LEFT JOIN (
                SELECT p.order_id
                FROM disputes d JOIN payments p ON p.id = d.payment_id AND p.status = 'succeeded'
                WHERE d.status IN ('needs_response', 'under_review', 'lost') GROUP BY p.order_id
            ) held ON held.order_id = o.id
            WHERE (o.payment_status = 'disputed') <> (held.order_id IS NOT NULL)
        """,
    ),
    Invariant(
        id="I21",
        name="invoice_numbers_have_no_gap",
        says="the numbers of a series run from 1 to its last without a gap, dates rise with them",
        violators="""
            SELECT coalesce(i.series || '-' || i.number, s.series) AS violator
            FROM (
                SELECT series, number, issued_at,
                       row_number() OVER (PARTITION BY series ORDER BY number) AS place,
                       lag(issued_at) OVER (PARTITION BY series ORDER BY number) AS before
                FROM invoices
            ) i
            FULL JOIN (
                SELECT s.series, s.last_number, count(i.id) AS issued
                FROM invoice_series s LEFT JOIN invoices i USING (series)
                GROUP BY s.series, s.last_number
            ) s ON s.series = i.series
            WHERE i.number <> i.place OR i.issued_at < i.before
               OR s.last_number IS DISTINCT FROM s.issued
        """,
    ),
    Invariant(
        id="I21",
        name="invoices_tell_the_money",
        says="an invoice is of its order's total, a credit note of its refund's amount,"
        " a reversal of its credit note's",
        violators="""
            SELECT i.series || '-' || i.number AS violator
            FROM invoices i
            JOIN orders o ON o.id = i.order_id
            LEFT JOIN refunds r ON r.id = i.refund_id
            LEFT JOIN payments p ON p.id = r.payment_id
            LEFT JOIN invoices note ON note.id = i.reverses_id
            WHERE i.currency <> o.currency
               OR (i.kind = 'invoice' AND i.total_amount <> o.total_amount)
               OR (i.kind = 'credit_note'
                   AND (i.total_amount <> r.amount OR p.order_id <> i.order_id))
               OR (i.kind = 'reversal'
                   AND (i.total_amount <> note.total_amount OR note.kind <> 'credit_note'
                        OR note.order_id <> i.order_id))
        """,
    ),
    Invariant(
        id="I21",
        name="credit_notes_stand_for_refunds",
        says="a credit note is reversed exactly when its refund failed",
        violators="""
            SELECT note.series || '-' || note.number AS violator
            FROM invoices note
            JOIN refunds r ON r.id = note.refund_id
            LEFT JOIN invoices reversal ON reversal.reverses_id = note.id
            WHERE (r.status = 'failed') <> (reversal.id IS NOT NULL)
        """,
    ),
    Invariant(
        id="I22",
        name="returned_units_were_shipped",
        says="no more units of a line came back, or are announced, than were shipped",
        violators="""
            SELECT o.order_number AS violator
            FROM (
                SELECT item.order_item_id, sum(
                    CASE WHEN r.status IN ('requested', 'accepted') THEN item.quantity
                    ELSE coalesce(receipt.quantity, 0) END
                ) AS quantity
                FROM return_items item JOIN returns r ON r.id = item.return_id
                LEFT JOIN return_receipts receipt ON receipt.item_id = item.id
                GROUP BY item.order_item_id
            ) wanted
            LEFT JOIN (
                SELECT order_item_id, sum(quantity) AS quantity
                FROM shipment_items GROUP BY order_item_id
            ) sent USING (order_item_id)
            JOIN order_items line ON line.id = wanted.order_item_id
            JOIN orders o ON o.id = line.order_id
            WHERE wanted.quantity > coalesce(sent.quantity, 0)
        """,
    ),
    # --- I8: double entry -----------------------------------------------------------------------
    Invariant(
        id="I8",
        name="ledger_transactions_add_up",
        says="the entries of one ledger transaction make zero in each currency",
        violators="""
            SELECT 'ledger transaction ' || transaction AS violator
            FROM ledger_entries GROUP BY transaction, currency HAVING sum(amount) <> 0
        """,
    ),
    Invariant(
        id="I8",
        name="ledger_has_every_capture",
        says="each payment's capture stands in the ledger, to the cent, and no other does",
        violators="""
            SELECT o.order_number AS violator
            FROM (
                SELECT payment_id, currency, sum(amount) AS amount FROM ledger_entries
                WHERE kind = 'capture' AND account = 'stripe_balance'
                GROUP BY payment_id, currency
            ) booked
            FULL JOIN payments p ON p.id = booked.payment_id AND p.currency = booked.currency
            JOIN orders o ON o.id = coalesce(p.order_id, (
                SELECT order_id FROM payments WHERE id = booked.payment_id))
            WHERE coalesce(booked.amount, 0) <> coalesce(p.amount_received, 0)
        """,
    ),
    Invariant(
        id="I8",
        name="ledger_has_every_refund",
        says="each succeeded refund stands in the ledger, to the cent, and no other does",
        violators="""
            SELECT o.order_number AS violator
            FROM (
                SELECT payment_id
                FROM (
                    SELECT payment_id, refund_id, currency, amount FROM ledger_entries
                    WHERE kind IN ('refund', 'refund_reversal') AND account = 'stripe_balance'
                    UNION ALL
                    SELECT payment_id, id, currency, amount FROM refunds WHERE status = 'succeeded'
                ) legs
                GROUP BY payment_id, refund_id, currency HAVING sum(amount) <> 0
            ) unequal
            JOIN payments p ON p.id = unequal.payment_id
            JOIN orders o ON o.id = p.order_id
        """,
    ),
    Invariant(
        id="I8",
        name="provider_balance_is_captures_less_refunds",
        says="per currency, the ledger's stripe_balance = what payments received − refunded",
        violators="""
            SELECT 'stripe_balance in ' || currency AS violator
            FROM (
                SELECT currency, amount FROM ledger_entries
                WHERE account = 'stripe_balance'
                  AND kind IN ('capture', 'refund', 'refund_reversal')
                UNION ALL
                SELECT currency, amount_refunded - amount_received FROM payments
            ) legs
            GROUP BY currency HAVING sum(amount) <> 0
        """,
    ),
    # --- I9: idempotency ------------------------------------------------------------------------
    Invariant(
        id="I9",
        name="key_is_used_once",
        says="a key stands once in its scope",
        violators="""
            SELECT 'key ' || min(id) AS violator
            FROM idempotency_keys GROUP BY scope, key HAVING count(*) > 1
        """,
    ),
    Invariant(
        id="I9",
        name="key_made_one_order",
        says="every key belongs to exactly one order",
        # Key and order are written together; an order may outlive its key (kept 30 days).
        violators="""
            SELECT 'key ' || key.id AS violator
            FROM idempotency_keys key LEFT JOIN orders o ON o.idempotency_key_id = key.id
            GROUP BY key.id HAVING count(o.id) <> 1
        """,
    ),
    Invariant(
        id="I9",
        name="remembered_answer_is_whole",
        says="an answered key has status, body and time, an open one none of them",
        violators="""
            SELECT 'key ' || id AS violator FROM idempotency_keys
            WHERE (response_status IS NULL) <> (response_body = '')
               OR (response_status IS NULL) <> (answered_at IS NULL)
               OR response_status NOT IN (201, 402, 502)
        """,
    ),
    Invariant(
        id="I9",
        name="answer_names_its_order",
        says="the remembered body names the key's own order",
        # Success and error alike have the field once. Looking for it as text is exact (bodies are
        # compact JSON, a quotation mark inside a value is escaped) and ten times as fast as
        # parsing.
        violators="""
            SELECT o.order_number AS violator
            FROM idempotency_keys key JOIN orders o ON o.idempotency_key_id = key.id
            WHERE key.response_status IS NOT NULL
              AND strpos(key.response_body, '"order_number":"' || o.order_number || '"') = 0
        """,
    ),
    Invariant(
        id="I9",
        name="answer_201_means_paid",
        says="who was told 201 has an order whose payment succeeded",
        violators="""
            SELECT o.order_number AS violator
            FROM idempotency_keys key JOIN orders o ON o.idempotency_key_id = key.id
            WHERE key.response_status = 201
              AND NOT EXISTS (SELECT FROM payments p
                              WHERE p.order_id = o.id AND p.status = 'succeeded')
        """,
    ),
    Invariant(
        id="I9",
        name="key_owner_is_the_buyer",
        says="the key's scope is who placed the order: its guest, else its customer",
        violators="""
            SELECT o.order_number AS violator
            FROM idempotency_keys key JOIN orders o ON o.idempotency_key_id = key.id
            WHERE key.scope IS DISTINCT FROM
                  coalesce('guest:' || o.guest_email, 'customer:' || o.customer_id)
        """,
    ),
    # --- I10: history ---------------------------------------------------------------------------
    Invariant(
        id="I10",
        name="order_history_is_legal",
        says="versions run 0, 1, 2 … without a gap, along the contract's edges from pending",
        # The row before exists for each but the first: with unique versions that leaves no gap.
        violators="""
            SELECT DISTINCT o.order_number AS violator
            FROM order_transitions t
            JOIN orders o ON o.id = t.order_id
            LEFT JOIN order_transitions before
                   ON before.order_id = t.order_id AND before.version = t.version - 1
            WHERE CASE
                WHEN t.version = 0 THEN t.from_status IS NOT NULL OR t.to_status <> 'pending'
                ELSE before.to_status IS DISTINCT FROM t.from_status
                  OR (t.from_status, t.to_status) NOT IN (
                         ('pending', 'confirmed'), ('pending', 'cancelled'),
                         ('confirmed', 'processing'), ('confirmed', 'shipped'),
                         ('confirmed', 'cancelled'),
                         ('processing', 'shipped'), ('processing', 'cancelled'),
                         ('shipped', 'delivered'), ('shipped', 'refunded'),
                         ('delivered', 'refunded'))
            END
        """,
    ),
    Invariant(
        id="I10",
        name="order_history_ends_at_the_status",
        says="the last transition is the order's status and version",
        violators="""
            SELECT DISTINCT o.order_number AS violator
            FROM orders o
            LEFT JOIN order_transitions t ON t.order_id = o.id AND t.version >= o.version
            WHERE t.version IS DISTINCT FROM o.version OR t.to_status <> o.status
        """,
    ),
    # --- I11, I12: facts and deliveries ---------------------------------------------------------
    Invariant(
        id="I11",
        name="transitions_are_announced_once",
        says="each confirmation and cancellation has its outbox message, unless that is forgotten"
        " by now, and no message lacks one",
        violators=f"""
            SELECT coalesce(o.order_number, m.dedupe_key) AS violator
            FROM (
                SELECT order_id, at, 'order.' || to_status AS fact,
                       'order.' || order_id || '.' || to_status || '.' || version AS dedupe_key
                FROM order_transitions WHERE to_status IN ('confirmed', 'cancelled')
            ) t
            FULL JOIN (
                SELECT dedupe_key, fact, aggregate_id
                FROM outbox_messages WHERE fact IN ('order.confirmed', 'order.cancelled')
            ) m ON m.dedupe_key = t.dedupe_key AND m.fact = t.fact AND m.aggregate_id = t.order_id
            LEFT JOIN orders o ON o.id = t.order_id
            WHERE t.dedupe_key IS NULL
               OR m.dedupe_key IS NULL AND t.at >= ({FACTS_KEPT_SINCE})
        """,  # noqa: S608 - our own constant
    ),
    Invariant(
        id="I11",
        name="refunds_are_announced_once",
        says="each refund that ever succeeded has its outbox message, unless that is forgotten by"
        " now, and no message lacks one",
        # It succeeded when the ledger says so: the refund's own times go on.
        violators=f"""
            SELECT coalesce(m.dedupe_key, r.dedupe_key) AS violator
            FROM (
                SELECT id, 'refund.' || uuid AS dedupe_key FROM refunds
                WHERE status = 'succeeded' OR (status = 'failed' AND EXISTS (
                    SELECT FROM ledger_entries e
                    WHERE e.refund_id = refunds.id AND e.kind = 'refund_reversal'))
            ) r
            FULL JOIN (
                SELECT dedupe_key FROM outbox_messages WHERE fact = 'order.refunded'
            ) m ON m.dedupe_key = r.dedupe_key
            WHERE r.dedupe_key IS NULL
               OR m.dedupe_key IS NULL AND NOT EXISTS (
                      SELECT FROM ledger_entries e
                      WHERE e.refund_id = r.id AND e.kind = 'refund'
                        AND e.created_at < ({FACTS_KEPT_SINCE}))
        """,  # noqa: S608 - likewise
    ),
    Invariant(
        id="I12",
        name="deliveries_follow_the_fan_out",
        says="deliveries exist only of messages fanned out, one a subscriber",
        violators="""
            SELECT m.dedupe_key || ' to ' || d.subscriber AS violator
            FROM deliveries d JOIN outbox_messages m ON m.id = d.message_id
            WHERE m.fanned_out_at IS NULL
            UNION ALL
            SELECT 'message ' || message_id || ' to ' || subscriber
            FROM deliveries GROUP BY message_id, subscriber HAVING count(*) > 1
        """,
    ),
    Invariant(
        id="I12",
        name="every_subscriber_is_told",
        says="between a subscriber's first and last message of a fact it was told of every one of"
        " the last 35 days; those that are rows, webhooks for one, may change what they want",
        # Who subscribes is told by the code, and not from when on; what came in between is sure,
        # but for a process that did not know the subscriber: that must not be told for ever.
        # Counted first: only where some are missing are they looked for one by one.
        violators="""
            WITH told AS MATERIALIZED (
                SELECT m.fact, d.subscriber, min(m.id) AS first_id, max(m.id) AS last_id,
                       count(*) FILTER (
                           WHERE m.fanned_out_at > now() - interval '35 days') AS deliveries
                FROM deliveries d
                JOIN outbox_messages m ON m.id = d.message_id AND m.fanned_out_at IS NOT NULL
                WHERE strpos(d.subscriber, ':') = 0
                GROUP BY m.fact, d.subscriber
            ), missing AS MATERIALIZED (
                SELECT * FROM told WHERE deliveries < (
                    SELECT count(*) FROM outbox_messages m
                    WHERE m.fact = told.fact AND m.id BETWEEN told.first_id AND told.last_id
                      AND m.fanned_out_at > now() - interval '35 days')
            )
            SELECT m.dedupe_key || ' to ' || missing.subscriber AS violator
            FROM missing
            JOIN outbox_messages m
              ON m.fact = missing.fact AND m.id BETWEEN missing.first_id AND missing.last_id
             AND m.fanned_out_at > now() - interval '35 days'
            WHERE NOT EXISTS (SELECT FROM deliveries d
                              WHERE d.message_id = m.id AND d.subscriber = missing.subscriber)
        """,
    ),
    Invariant(
        id="I12",
        name="delivered_means_handed_over",
        says="a delivered delivery was tried and has its time; no other has one",
        violators="""
            SELECT 'delivery ' || id AS violator FROM deliveries
            WHERE (status = 'delivered') <> (delivered_at IS NOT NULL)
               OR (status = 'delivered' AND attempts = 0)
        """,
    ),
    Invariant(
        id="I12",
        name="customer_metrics_follow_the_orders",
        says="a customer's figures are those of their orders, unless a fact is still on its way",
        # A delivery given up is no longer on its way: then nobody will put the figures right.
        violators="""
            SELECT 'customer ' || customer_id || ' in ' || currency AS violator
            FROM (
                SELECT o.customer_id, p.currency,
                       count(*) FILTER (WHERE o.status IN (
                           'confirmed', 'processing', 'shipped', 'delivered')) AS orders,
                       sum(p.amount_received - p.amount_refunded) FILTER (WHERE o.status IN (
                           'confirmed', 'processing', 'shipped', 'delivered')) AS kept
                FROM orders o JOIN payments p ON p.order_id = o.id AND p.status = 'succeeded'
                WHERE o.customer_id IS NOT NULL
                GROUP BY o.customer_id, p.currency
            ) truth
            FULL JOIN customer_metrics shown USING (customer_id, currency)
            WHERE (coalesce(truth.orders, 0), coalesce(truth.kept, 0))
               <> (coalesce(shown.order_count, 0), coalesce(shown.lifetime_value, 0))
              AND customer_id NOT IN (
                  SELECT o.customer_id
                  FROM (
                      SELECT aggregate_id, fact FROM outbox_messages WHERE fanned_out_at IS NULL
                      UNION ALL
                      SELECT m.aggregate_id, m.fact
                      FROM deliveries d JOIN outbox_messages m ON m.id = d.message_id
                      WHERE d.status = 'pending' AND d.subscriber = 'customer_metrics'
                  ) on_its_way
                  JOIN orders o ON o.id = on_its_way.aggregate_id
                  WHERE o.customer_id IS NOT NULL AND on_its_way.fact IN (
                      'order.confirmed', 'order.cancelled', 'order.refunded', 'order.refund_failed')
              )
        """,
    ),
    # --- I13: coupons ---------------------------------------------------------------------------
    Invariant(
        id="I13",
        name="coupon_count_is_its_redemptions",
        says="times_used = the coupon's redemptions that were not released",
        violators="""
            SELECT coalesce(c.code, 'promotion ' || c.id) AS violator
            FROM coupons c
            LEFT JOIN (
                SELECT coupon_id, count(*) AS uses
                FROM coupon_redemptions WHERE released_at IS NULL GROUP BY coupon_id
            ) active ON active.coupon_id = c.id
            WHERE c.times_used <> coalesce(active.uses, 0)
        """,
    ),
    Invariant(
        id="I13",
        name="coupon_limits_hold",
        says="active redemptions stay within the limit in all, and within the limit per customer",
        violators="""
            SELECT DISTINCT coalesce(c.code, 'promotion ' || c.id) AS violator
            FROM (
                SELECT coupon_id, count(*) AS uses,
                       sum(count(*)) OVER (PARTITION BY coupon_id) AS total
                FROM coupon_redemptions WHERE released_at IS NULL
                GROUP BY coupon_id, redeemed_by
            ) active
            JOIN coupons c ON c.id = active.coupon_id
            WHERE active.total > c.max_uses OR active.uses > c.max_uses_per_customer
        """,
    ),
    Invariant(
        id="I13",
        name="coupon_is_released_with_the_order",
        says="a redemption is released exactly when its order is cancelled",
        violators="""
            SELECT o.order_number AS violator
            FROM coupon_redemptions r JOIN orders o ON o.id = r.order_id
            WHERE (r.released_at IS NOT NULL) <> (o.status = 'cancelled')
        """,
    ),
    Invariant(
        id="I13",
        name="order_redeemed_its_coupon",
        says="an order with a coupon or a discount has the one redemption of it by its buyer",
        violators="""
            SELECT o.order_number AS violator
            FROM orders o
            LEFT JOIN coupon_redemptions r ON r.order_id = o.id
            LEFT JOIN coupons c ON c.id = r.coupon_id
            WHERE (o.coupon_code <> '' OR o.discount_amount > 0 OR r.id IS NOT NULL)
              AND (r.id IS NULL
                   OR coalesce(c.code, '') <> o.coupon_code  -- automatic ones have no code
                   OR r.redeemed_by IS DISTINCT FROM
                      coalesce('guest:' || o.guest_email, 'customer:' || o.customer_id))
        """,
    ),
    # --- I14: audit -----------------------------------------------------------------------------
    # Audit rows are dropped after 13 months, so only moves of the last 12 are looked for.
    Invariant(
        id="I14",
        name="transitions_are_audited_once",
        says="each transition of the last 12 months has exactly one audit row",
        violators="""
            SELECT (SELECT order_number FROM orders WHERE id = min(t.order_id)) AS violator
            FROM order_transitions t
            LEFT JOIN audit_logs a
                   ON a.entity_type = 'order' AND a.entity_id = t.order_id
                  AND a.data ->> 'version' = t.version::text AND a.data ->> 'to' = t.to_status
            WHERE t.at > now() - interval '12 months'
            GROUP BY t.id HAVING count(a.id) <> 1
        """,
    ),
    Invariant(
        id="I14",
        name="audited_moves_happened",
        says="an audit row that tells of an order's move has its transition",
        violators="""
            SELECT 'audit row ' || a.id AS violator
            FROM audit_logs a
            LEFT JOIN order_transitions t
                   ON t.order_id = a.entity_id AND t.version::text = a.data ->> 'version'
                  AND t.to_status = a.data ->> 'to'
            WHERE a.entity_type = 'order' AND a.data ? 'version' AND a.data ? 'to'
              AND t.id IS NULL
        """,
    ),
    Invariant(
        id="I14",
        name="moves_are_audited_in_the_same_transaction",
        says="a transition and its audit row were written by one transaction",
        violators="""
            SELECT DISTINCT o.order_number AS violator
            FROM order_transitions t
            JOIN audit_logs a
              ON a.entity_type = 'order' AND a.entity_id = t.order_id
             AND a.data ->> 'version' = t.version::text AND a.data ->> 'to' = t.to_status
            JOIN orders o ON o.id = t.order_id
            WHERE a.xid <> t.xid
        """,
    ),
    Invariant(
        id="I14",
        name="seals_follow_each_other",
        says="each seal of the audit log continues the one before: number, transactions, digest",
        # What only digests and signatures can tell, `verify_audit` does.
        violators="""
            SELECT 'seal ' || s.number AS violator
            FROM audit_seals s LEFT JOIN audit_seals p ON p.number = s.number - 1
            WHERE s.number > 1
              AND (p.number IS NULL OR p.to_xid <> s.from_xid OR p.digest <> s.previous)
        """,
    ),
    # --- I19: nothing waits for ever ------------------------------------------------------------
    Invariant(
        id="I19",
        name="no_order_is_pending_past_its_hold",
        says="no order is pending for more than 2 minutes after its hold ended",
        # A bank debit takes its days and a quarantined payment its person: told as waiting.
        violators="""
            SELECT o.order_number AS violator
            FROM orders o
            WHERE o.status = 'pending' AND o.hold_expires_at < now() - interval '2 minutes'
              AND NOT EXISTS (SELECT FROM payments p WHERE p.order_id = o.id
                              AND p.status IN ('processing', 'quarantined'))
        """,
    ),
    Invariant(
        id="I19",
        name="no_key_stays_open_on_a_decided_order",
        says="a decided order's key is answered within 2 minutes of its lease",
        violators="""
            SELECT o.order_number AS violator
            FROM idempotency_keys key JOIN orders o ON o.idempotency_key_id = key.id
            WHERE key.response_status IS NULL AND o.status <> 'pending'
              AND key.lease_until < now() - interval '2 minutes'
        """,
    ),
    Invariant(
        id="I19",
        name="no_fact_waits_for_its_fan_out",
        says="an outbox message is fanned out within 2 minutes",
        violators="""
            SELECT dedupe_key AS violator FROM outbox_messages
            WHERE fanned_out_at IS NULL AND occurred_at < now() - interval '2 minutes'
        """,
    ),
    Invariant(
        id="I19",
        name="no_delivery_is_overdue",
        says="a delivery is tried within 2 minutes of its time, unless its receiver is paused or"
        " let rest, has been told of others in these minutes, or has to be told of an earlier one",
        violators="""
            SELECT 'delivery ' || late.id AS violator
            FROM deliveries late LEFT JOIN receivers receiver USING (subscriber)
            WHERE late.status = 'pending' AND late.next_attempt_at < now() - interval '2 minutes'
              AND receiver.paused_at IS NULL
              AND coalesce(receiver.retry_at < now() - interval '2 minutes', true)
              AND coalesce(receiver.last_told_at < now() - interval '2 minutes', true)
              AND NOT EXISTS (
                  SELECT FROM deliveries earlier
                  WHERE earlier.subscriber = late.subscriber AND earlier.status = 'pending'
                    AND earlier.aggregate_type = late.aggregate_type
                    AND earlier.aggregate_id = late.aggregate_id
                    AND earlier.message_id < late.message_id
              )
        """,
    ),
    Invariant(
        id="I19",
        name="no_webhook_waits_untried",
        says="a webhook is worked off, or tried again, within 2 minutes of its time",
        violators="""
            SELECT stripe_event_id AS violator FROM provider_events
            WHERE status = 'received' AND next_attempt_at < now() - interval '2 minutes'
        """,
    ),
    Invariant(
        id="I19",
        name="no_refund_waits_untried",
        says="a refund on its way is tried within 15 minutes of its time",
        violators="""
            SELECT o.order_number AS violator
            FROM refunds r
            JOIN payments p ON p.id = r.payment_id
            JOIN orders o ON o.id = p.order_id
            WHERE r.status IN ('due', 'pending')
              AND r.next_attempt_at < now() - interval '15 minutes'
        """,
    ),
    Invariant(
        id="I19",
        name="no_payment_waits_unasked",
        says="an open payment is asked about within 15 minutes of its time",
        # Also a bank debit, whose order may be pending for days.
        violators="""
            SELECT o.order_number AS violator
            FROM payments p JOIN orders o ON o.id = p.order_id
            WHERE p.status IN ('created', 'requires_action', 'processing')
              AND o.status = 'pending' AND p.next_attempt_at < now() - interval '15 minutes'
        """,
    ),
    Invariant(
        id="I19",
        name="no_scheduled_price_is_overdue",
        says="a scheduled price begins and ends within 2 minutes of its time",
        violators="""
            SELECT 'scheduled price ' || scheduled.id || ' of ' || product.sku AS violator
            FROM scheduled_prices scheduled JOIN products product ON product.id = product_id
            WHERE scheduled.status IN ('waiting', 'running')
              AND CASE scheduled.status WHEN 'waiting' THEN starts_at ELSE ends_at END
                  < now() - interval '2 minutes'
        """,
    ),
    # --- I20: secrecy ---------------------------------------------------------------------------
    Invariant(
        id="I20",
        name="no_secret_is_written_down",
        says="audit rows, facts and noted errors hold no key, client secret, token, card number"
        " or e-mail address",
        violators=WRITTEN_SECRETS,
    ),
)
