"""Every invariant: kept by a busy shop, and found by its name where it is broken by force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pgtrigger
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from audit import services as audit
from inventory.models import Reservation
from orders import books
from orders.books.findings import Finding
from orders.books.invariants import INVARIANTS
from orders.models import Order
from orders.roles import make_roles
from tests.orders.busy_shop import open_busy_shop
from tests.provider import PaymentServer

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def busy(django_db_setup, django_db_blocker):
    """Committed once for this module: what the tests break, their own transactions roll back."""
    with django_db_blocker.unblock():
        try:
            yield open_busy_shop(PaymentServer(settings.STRIPE_API_BASE))
        finally:
            with pgtrigger.ignore():  # permissions and content types are made anew
                call_command("flush", verbosity=0, interactive=False)
            make_roles()


@dataclass(frozen=True, kw_only=True)
class Break:
    """How an invariant is broken: with every trigger off and these constraints gone.

    `also` names what breaks with it; `{paid}` and its like are the ids of the shop's orders.
    """

    name: str
    sql: str
    without: tuple[str, ...] = ()
    also: frozenset[str] = frozenset()
    count: int = 1


def also(*names: str) -> frozenset[str]:
    return frozenset(names)


PAYMENT_COPY = """
    INSERT INTO payments (uuid, order_id, status, currency, amount, payment_method_id,
                          create_params, confirm_params)
    SELECT gen_random_uuid(), order_id, '{status}', currency, amount, payment_method_id,
           create_params, confirm_params FROM payments WHERE order_id = {order}
"""
REFUND = """
    INSERT INTO refunds (uuid, payment_id, currency, amount, next_attempt_at)
    SELECT gen_random_uuid(), id, currency, {amount}, now() - interval '{age} minutes'
    FROM payments WHERE order_id = {{paid}}
"""
AGREED = """
    INSERT INTO refund_proposals (kind, order_id, currency, amount, units, proposed_by_id, status,
                                  refund_id)
    SELECT 'rest', {about}, currency, amount + {more}, '{{{{}}}}',
           (SELECT min(id) FROM customers), 'approved', {refund}
    FROM refunds WHERE id = {{refund}}
"""
AUDIT_ROW = """
    INSERT INTO audit_logs (event_type, entity_type, entity_id, data)
    VALUES ('ORDER_CONFIRMED', 'order', {{paid}}, '{{{{"version": {version}, "to": "{to}"}}}}')
"""

TWO_SEALS = """
    INSERT INTO audit_seals (number, from_xid, to_xid, row_count, newest_at, root, previous, digest,
                             signature, key_id, created_at)
    SELECT number, from_xid, to_xid, 1, now(), zeros, sha256(before::bytea), sha256(mark::bytea),
           zeros || zeros, 'k', now()
    FROM (VALUES (1, 0, 5, '1', '0'), ({second})) kept (number, from_xid, to_xid, mark, before),
         LATERAL (SELECT decode(repeat('00', 32), 'hex')) zero (zeros)
"""

# The cancelled order's refund was given up: a bank has taken, or wants, `{share}` of the money.
DISPUTED_INSTEAD = """
    DELETE FROM ledger_entries WHERE refund_id = {{refund}};
    DELETE FROM deliveries
    WHERE message_id IN (SELECT id FROM outbox_messages WHERE fact = 'order.refunded');
    DELETE FROM outbox_messages WHERE fact = 'order.refunded';
    DELETE FROM invoices WHERE refund_id = {{refund}};
    UPDATE invoice_series SET last_number = last_number - 1 WHERE series = 'CN';
    UPDATE refunds SET status = 'failed' WHERE id = {{refund}};
    UPDATE payments SET amount_refunded = 0 WHERE order_id = {{cancelled}};
    UPDATE orders SET payment_status = 'disputed' WHERE id = {{cancelled}};
    INSERT INTO disputes (payment_id, stripe_dispute_id, status, reason, currency, amount,
                          opened_at)
    SELECT id, 'dp_1', '{status}', 'fraudulent', '{currency}', {share}, now()
    FROM payments WHERE order_id = {{cancelled}}
"""

BREAKS = [
    Break(
        name="order_total_adds_up",
        without=("orders.order_total_adds_up",),
        sql="UPDATE orders SET shipping_amount = shipping_amount + 1 WHERE id = {paid}",
    ),
    Break(
        name="order_total_adds_up",
        without=("orders.order_amounts_not_negative",),
        sql="""
            UPDATE orders SET shipping_amount = shipping_amount - 1000, tax_amount = tax_amount
            + 1000 WHERE id = {guests}
        """,
    ),
    Break(
        name="order_lines_add_up",
        sql="""
            UPDATE orders SET subtotal = subtotal + 1, shipping_amount = shipping_amount - 1
            WHERE id = {paid}
        """,
    ),
    Break(
        name="order_lines_add_up",
        sql="UPDATE order_items SET discount_amount = discount_amount - 1 WHERE order_id = {paid}",
    ),
    Break(
        name="order_lines_add_up",
        sql="UPDATE order_items SET tax_amount = tax_amount + 100 WHERE order_id = {guests}",
    ),
    Break(  # included tax on top
        name="order_total_adds_up",
        without=("orders.order_total_adds_up",),
        sql="UPDATE orders SET shipping_amount = shipping_amount + tax_amount WHERE id = {gross}",
    ),
    Break(  # more tax than total
        name="order_total_adds_up",
        without=("orders.order_total_adds_up",),
        sql="UPDATE orders SET tax_amount = total_amount + 1 WHERE id = {gross}",
    ),
    Break(  # more tax than the line cost
        name="order_lines_add_up",
        sql="""
            UPDATE order_items SET tax_amount = total_price WHERE order_id = {gross};
            UPDATE orders SET tax_amount = total_amount WHERE id = {gross}
        """,
    ),
    Break(
        name="order_lines_add_up",
        without=("order_items.order_item_total_adds_up",),
        sql="UPDATE order_items SET unit_price = unit_price + 1 WHERE order_id = {guests}",
    ),
    Break(
        name="order_lines_add_up",
        sql="DELETE FROM order_items WHERE order_id = {guests}",
        also=also("reserved_units_are_the_ordered_ones"),
    ),
    Break(
        name="allocated_is_what_is_promised",
        sql="UPDATE stock_levels SET allocated = allocated - 1 WHERE id = {tea_level}",
    ),
    Break(
        name="allocated_is_what_is_promised",
        sql="UPDATE reservations SET quantity = quantity + 1 WHERE order_id = {guests}",
        also=also("reserved_units_are_the_ordered_ones"),
    ),
    Break(
        name="allocated_is_what_is_promised",
        without=("reservations.reservations_stock_level_id_%_fk_stock_levels_id",),
        sql="UPDATE reservations SET stock_level_id = 0 WHERE order_id = {waiting}",
        also=also("reserved_units_are_the_ordered_ones"),
        count=2,  # the level that lacks them, and those of no level
    ),
    Break(
        name="on_hand_is_the_sum_of_movements",
        sql="UPDATE stock_levels SET on_hand = on_hand + 1 WHERE id = {tea_level}",
    ),
    Break(
        name="on_hand_is_the_sum_of_movements",
        sql="DELETE FROM stock_movements WHERE stock_level_id = {tea_level}",
    ),
    Break(
        name="stock_is_promised_within_on_hand",
        without=("stock_levels.stock_level_promised_within_on_hand",),
        sql="""
            UPDATE stock_levels SET on_hand = on_hand - 8 WHERE id = {tea_level};
            INSERT INTO stock_movements (stock_level_id, kind, quantity)
            VALUES ({tea_level}, 'adjust', -8)
        """,
    ),
    Break(
        name="shipped_units_left_the_building",
        sql="""
            UPDATE stock_levels SET on_hand = on_hand - 1 WHERE id = {cup_level};
            INSERT INTO stock_movements (stock_level_id, kind, quantity, order_id)
            VALUES ({cup_level}, 'ship', -1, {guests})
        """,
    ),
    Break(
        name="shipped_units_left_the_building",
        sql="""
            UPDATE reservations SET status = 'shipped' WHERE order_id = {guests};
            UPDATE stock_levels SET allocated = allocated - 1 WHERE id = {cup_level}
        """,
        also=also("reservations_follow_the_order"),
    ),
    Break(  # a unit got lost on the way
        name="transfers_lose_nothing",
        sql="""
            UPDATE stock_movements SET quantity = quantity - 1
            WHERE kind = 'transfer' AND quantity > 0;
            UPDATE stock_levels SET on_hand = on_hand - 1 WHERE id = {pot_east_level}
        """,
    ),
    Break(
        name="transfers_lose_nothing",
        sql="UPDATE stock_documents SET kind = 'file' WHERE kind = 'transfer'",
    ),
    Break(
        name="transfers_lose_nothing",
        sql="UPDATE stock_movements SET kind = 'adjust' WHERE kind = 'transfer'",
    ),
    Break(
        name="stock_documents_move_stock",
        sql="INSERT INTO stock_documents (kind, reason, fingerprint) VALUES ('count', 'x', 'x')",
    ),
    Break(
        name="reservations_follow_the_order",
        sql="UPDATE reservations SET status = 'held' WHERE order_id = {paid}",
    ),
    Break(
        name="reservations_follow_the_order",
        sql="""
            UPDATE reservations SET status = 'committed' WHERE order_id = {declined};
            UPDATE stock_levels SET allocated = allocated + 1 WHERE id = {cup_level}
        """,
    ),
    Break(
        name="reserved_units_are_the_ordered_ones",
        sql="""
            UPDATE reservations SET quantity = quantity + 1 WHERE order_id = {guests};
            UPDATE stock_levels SET allocated = allocated + 1 WHERE id = {cup_level}
        """,
    ),
    Break(
        name="reserved_units_are_the_ordered_ones",
        sql="DELETE FROM reservations WHERE order_id = {declined}",
    ),
    Break(
        name="paid_means_paid",
        without=("payments.payment_received_in_full_or_not_at_all",),
        sql="UPDATE payments SET amount_received = amount_received - 1 WHERE order_id = {paid}",
        also=also(
            "ledger_has_every_capture",
            "provider_balance_is_captures_less_refunds",
            "customer_metrics_follow_the_orders",
        ),
    ),
    Break(
        name="paid_means_paid",
        sql="""
            UPDATE payments SET status = 'cancelled', amount_received = 0 WHERE order_id = {paid};
            DELETE FROM ledger_entries
            WHERE payment_id = (SELECT id FROM payments WHERE order_id = {paid})
        """,
        also=also("answer_201_means_paid", "customer_metrics_follow_the_orders"),
    ),
    Break(
        name="paid_means_paid",
        sql="""
            UPDATE payments SET status = 'succeeded', amount_received = amount
            WHERE order_id = {waiting}
        """,
        also=also(
            "pending_orders_wait_for_a_payment",
            "ledger_has_every_capture",
            "provider_balance_is_captures_less_refunds",
        ),
    ),
    Break(
        name="payment_asks_for_the_total",
        sql="UPDATE payments SET amount = amount + 1 WHERE order_id = {waiting}",
    ),
    Break(
        name="payment_asks_for_the_total",
        sql="UPDATE payments SET currency = 'EUR' WHERE order_id = {waiting}",
    ),
    Break(
        name="payment_asks_for_the_total",
        sql="DELETE FROM payments WHERE order_id = {declined}",
    ),
    Break(
        name="one_live_payment_per_order",
        without=("payments.payment_one_live_per_order",),
        sql=PAYMENT_COPY.format(status="quarantined", order="{paid}"),
    ),
    Break(
        name="pending_orders_wait_for_a_payment",
        sql="UPDATE payments SET status = 'cancelled' WHERE order_id = {waiting}",
    ),
    Break(
        name="pending_orders_wait_for_a_payment",
        sql="UPDATE payments SET status = 'processing' WHERE order_id = {declined}",
    ),
    Break(
        name="dead_orders_hold_no_money",
        sql="DELETE FROM ledger_entries WHERE refund_id = {refund};"
        "DELETE FROM invoices WHERE refund_id = {refund};"
        "DELETE FROM refunds WHERE id = {refund}",
        also=also(
            "invoice_numbers_have_no_gap",
            "refunded_amount_is_the_sum_of_refunds",
            "provider_balance_is_captures_less_refunds",
            "refunds_are_announced_once",
        ),
    ),
    Break(
        name="dead_orders_hold_no_money",
        sql="UPDATE refunds SET amount = amount - 1 WHERE id = {refund}",
        also=also(
            "refunded_amount_is_the_sum_of_refunds",
            "ledger_has_every_refund",
            "invoices_tell_the_money",
        ),
    ),
    *(
        Break(
            name="dead_orders_hold_no_money",
            sql=DISPUTED_INSTEAD.format(status="lost", share=share, currency=currency),
        )
        for share, currency in (("amount - 0.01", "USD"), ("amount", "EUR"))
    ),
    Break(name="refunds_stay_within_received", sql=REFUND.format(amount=1000, age=0)),
    Break(
        name="refunds_stay_within_received",
        sql="UPDATE refunds SET currency = 'EUR' WHERE id = {refund}",
        also=also("ledger_has_every_refund"),
        count=1,
    ),
    Break(
        name="refunded_amount_is_the_sum_of_refunds",
        sql="UPDATE payments SET amount_refunded = 1 WHERE order_id = {paid}",
        also=also(
            "order_shows_its_refunds",
            "provider_balance_is_captures_less_refunds",
            "customer_metrics_follow_the_orders",
        ),
    ),
    Break(
        name="order_shows_its_refunds",
        sql="UPDATE orders SET payment_status = 'refunded' WHERE id = {paid}",
    ),
    Break(
        name="order_shows_its_refunds",
        sql="UPDATE orders SET payment_status = 'succeeded' WHERE id = {cancelled}",
    ),
    Break(
        name="refund_lines_make_the_refund",
        sql="""
            INSERT INTO refund_lines (refund_id, order_item_id, quantity, amount)
            SELECT {refund}, id, 1, 0.01 FROM order_items WHERE order_id = {cancelled}
        """,
    ),
    Break(
        name="refund_lines_make_the_refund",
        sql="""
            INSERT INTO refund_lines (refund_id, order_item_id, quantity, amount)
            SELECT {refund}, item.id, 1, refunds.amount FROM order_items item, refunds
            WHERE item.order_id = {guests} AND refunds.id = {refund}
        """,
    ),
    Break(
        name="units_are_refunded_once",
        sql="""
            INSERT INTO refund_lines (refund_id, order_item_id, quantity, amount)
            SELECT {refund}, item.id, 2, refunds.amount FROM order_items item, refunds
            WHERE item.order_id = {cancelled} AND refunds.id = {refund}
        """,
    ),
    *(
        Break(
            name="approved_refunds_are_what_was_agreed",
            without=("refund_proposals.refund_proposal_decided_by_somebody",),
            sql=AGREED.format(about=about, more=more, refund=refund),
        )
        for about, more, refund in (
            ("{cancelled}", 0, "NULL"),  # nothing was given back
            ("{cancelled}", 1, "id"),  # another amount
            ("{paid}", 0, "id"),  # another order
        )
    ),
    Break(
        name="invoice_numbers_have_no_gap",
        sql="UPDATE invoice_series SET last_number = 9 WHERE series = 'CN'",
    ),
    Break(
        name="invoices_tell_the_money",
        sql="""
            UPDATE invoices SET total_amount = total_amount + 1
            WHERE order_id = {paid} AND kind = 'invoice'
        """,
    ),
    Break(
        name="credit_notes_stand_for_refunds",
        sql="""
            INSERT INTO invoices (order_id, kind, reverses_id, series, number, total_amount,
                                  currency, content, buyer, issued_at)
            SELECT order_id, 'reversal', id, 'RV', 1, total_amount, currency, content, buyer, now()
            FROM invoices WHERE refund_id = {refund};
            INSERT INTO invoice_series VALUES ('RV', 1)
        """,
    ),
    Break(
        name="invoices_tell_the_money",
        sql="""
            INSERT INTO invoices (order_id, kind, reverses_id, series, number, total_amount,
                                  currency, content, buyer, issued_at)
            SELECT order_id, 'reversal', id, 'RV', 1, total_amount + 1, currency, '{{}}', '{{}}',
                   now()
            FROM invoices WHERE refund_id = {refund};
            INSERT INTO invoice_series VALUES ('RV', 1)
        """,
        also=also("credit_notes_stand_for_refunds"),
    ),
    Break(
        name="returned_units_were_shipped",
        sql="""
            INSERT INTO returns (order_id, reason) VALUES ({paid}, 'broken');
            INSERT INTO return_items (return_id, order_item_id, quantity)
            SELECT r.id, item.id, 1 FROM returns r JOIN order_items item USING (order_id)
            LIMIT 1
        """,
    ),
    Break(
        name="order_shows_its_dispute",
        sql="UPDATE orders SET payment_status = 'disputed' WHERE id = {paid}",
    ),
    Break(
        name="order_shows_its_dispute",
        sql="""
            INSERT INTO disputes (payment_id, stripe_dispute_id, status, reason, currency, amount,
                                  opened_at)
            SELECT id, 'dp_1', 'lost', 'fraudulent', currency, amount, now()
            FROM payments WHERE order_id = {paid}
        """,
    ),
    Break(
        name="ledger_transactions_add_up",
        sql="UPDATE ledger_entries SET amount = amount + 1 WHERE id = {receipt_entry}",
    ),
    Break(
        name="ledger_has_every_capture",
        sql="""
            UPDATE ledger_entries SET amount = amount + sign(amount)
                WHERE payment_id = (SELECT id FROM payments WHERE order_id = {paid});
            UPDATE ledger_entries SET amount = amount - sign(amount)
                WHERE payment_id = (SELECT id FROM payments WHERE order_id = {guests})
        """,
        count=2,
    ),
    Break(
        name="ledger_has_every_refund",
        sql="DELETE FROM ledger_entries WHERE refund_id = {refund}",
        also=also("provider_balance_is_captures_less_refunds"),
    ),
    Break(
        name="provider_balance_is_captures_less_refunds",
        sql="DELETE FROM ledger_entries WHERE kind = 'capture'",
        also=also("ledger_has_every_capture"),
    ),
    Break(
        name="key_is_used_once",
        without=("idempotency_keys.idempotency_key_once_per_scope",),
        sql="""
            UPDATE idempotency_keys SET key = paid.key
            FROM idempotency_keys paid
            WHERE paid.id = {paid_key} AND idempotency_keys.id = {declined_key}
        """,
    ),
    Break(
        name="key_made_one_order",
        sql="""
            INSERT INTO idempotency_keys (scope, key, fingerprint, owner, lease_until)
            VALUES ('customer:1', 'lonely', 'f', gen_random_uuid(), now())
        """,
    ),
    Break(
        name="remembered_answer_is_whole",
        without=("idempotency_keys.idempotency_key_answer_is_whole",),
        sql="UPDATE idempotency_keys SET answered_at = NULL WHERE id = {paid_key}",
    ),
    Break(
        name="answer_names_its_order",
        sql="""
            UPDATE idempotency_keys SET response_body =
                (SELECT response_body FROM idempotency_keys WHERE id = {guests_key})
            WHERE id = {paid_key}
        """,
    ),
    Break(
        name="answer_names_its_order",
        sql="UPDATE idempotency_keys SET response_body = 'nonsense' WHERE id = {paid_key}",
    ),
    Break(
        name="answer_names_its_order",
        sql="UPDATE idempotency_keys SET response_body = '{{}}' WHERE id = {declined_key}",
    ),
    Break(
        name="answer_201_means_paid",
        sql="""
            UPDATE idempotency_keys SET response_status = 201,
                response_body = '{{"order_number":"{declined_number}"}}'
            WHERE id = {declined_key}
        """,
    ),
    Break(
        name="key_owner_is_the_buyer",
        sql="UPDATE idempotency_keys SET scope = 'customer:0' WHERE id = {paid_key}",
    ),
    Break(
        name="key_owner_is_the_buyer",
        sql="UPDATE idempotency_keys SET scope = 'guest:eve@example.com' WHERE id = {guests_key}",
    ),
    Break(
        name="order_history_is_legal",
        sql="""
            UPDATE order_transitions SET from_status = 'processing'
            WHERE order_id = {paid} AND version = 1
        """,
    ),
    Break(
        name="order_history_is_legal",
        sql="""
            UPDATE order_transitions SET to_status = 'shipped'
            WHERE order_id = {waiting} AND version = 0
        """,
        also=also(
            "order_history_ends_at_the_status",
            "transitions_are_audited_once",
            "audited_moves_happened",
        ),
    ),
    Break(
        name="order_history_is_legal",
        sql="DELETE FROM order_transitions WHERE order_id = {cancelled} AND version = 1",
        also=also("transitions_are_announced_once", "audited_moves_happened"),
    ),
    Break(
        name="order_history_ends_at_the_status",
        sql="UPDATE orders SET version = 7 WHERE id = {paid}",
    ),
    Break(
        name="order_history_ends_at_the_status",
        sql="DELETE FROM order_transitions WHERE order_id = {waiting}",
        also=also("audited_moves_happened"),
    ),
    Break(
        name="transitions_are_announced_once",
        sql="UPDATE outbox_messages SET dedupe_key = 'x' WHERE id = {paid_message}",
        count=2,
    ),
    Break(
        name="transitions_are_announced_once",
        sql="""
            DELETE FROM deliveries WHERE message_id = {paid_message};
            DELETE FROM outbox_messages WHERE id = {paid_message}
        """,
    ),
    Break(
        name="refunds_are_announced_once",
        sql="""
            DELETE FROM deliveries
            WHERE message_id IN (SELECT id FROM outbox_messages WHERE fact = 'order.refunded');
            DELETE FROM outbox_messages WHERE fact = 'order.refunded'
        """,
    ),
    Break(
        name="deliveries_follow_the_fan_out",
        sql="UPDATE outbox_messages SET fanned_out_at = NULL WHERE id = {paid_message}",
        count=4,
    ),
    Break(
        name="deliveries_follow_the_fan_out",
        without=("deliveries.delivery_one_per_message_and_subscriber",),
        sql="""
            INSERT INTO deliveries (message_id, subscriber)
            SELECT message_id, subscriber FROM deliveries
            WHERE message_id = {paid_message} AND subscriber = 'email'
        """,
    ),
    Break(
        name="every_subscriber_is_told",
        sql="""
            DELETE FROM deliveries
            WHERE message_id = {guests_message} AND subscriber = 'email'
        """,
    ),
    Break(
        name="delivered_means_handed_over",
        sql="""
            UPDATE deliveries SET delivered_at = NULL
            WHERE message_id = {paid_message} AND subscriber = 'email'
        """,
    ),
    Break(
        name="customer_metrics_follow_the_orders",
        sql="UPDATE customer_metrics SET order_count = order_count + 1",
    ),
    Break(
        name="customer_metrics_follow_the_orders",
        sql="UPDATE customer_metrics SET lifetime_value = lifetime_value + 0.01",
    ),
    Break(
        name="customer_metrics_follow_the_orders",
        sql="UPDATE customer_metrics SET currency = 'EUR'",
        count=2,
    ),
    Break(
        name="customer_metrics_follow_the_orders",
        sql="DELETE FROM customer_metrics",
    ),
    Break(
        name="customer_metrics_follow_the_orders",
        sql="""
            DELETE FROM customer_metrics;
            UPDATE deliveries SET status = 'dead', delivered_at = NULL
            WHERE message_id = {paid_message} AND subscriber = 'customer_metrics'
        """,
    ),
    Break(
        name="coupon_count_is_its_redemptions",
        sql="UPDATE coupons SET times_used = times_used + 1",
        count=2,
    ),
    Break(
        name="coupon_limits_hold",
        sql="UPDATE coupons SET max_uses_per_customer = 0 WHERE code = 'SAVE10'",
    ),
    Break(
        name="coupon_limits_hold",
        without=("coupons.coupon_used_within_limit",),
        sql="UPDATE coupons SET max_uses = 0 WHERE code = 'SAVE10'",
    ),
    Break(
        name="coupon_is_released_with_the_order",
        sql="""
            UPDATE coupon_redemptions SET released_at = now() WHERE order_id = {paid};
            UPDATE coupons SET times_used = 0 WHERE code = 'SAVE10'
        """,
    ),
    Break(
        name="coupon_is_released_with_the_order",
        sql="""
            UPDATE coupon_redemptions SET released_at = NULL WHERE order_id = {declined};
            UPDATE coupons SET times_used = 2 WHERE code = 'SAVE10'
        """,
    ),
    Break(  # an automatic discount that nobody redeemed
        name="order_redeemed_its_coupon",
        sql="DELETE FROM coupon_redemptions WHERE order_id = {gross}",
        also=also("coupon_count_is_its_redemptions"),
    ),
    Break(
        name="coupon_is_released_with_the_order",
        sql="""
            UPDATE coupon_redemptions SET released_at = now() WHERE order_id = {gross};
            UPDATE coupons SET times_used = 0 WHERE code IS NULL
        """,
    ),
    Break(
        name="order_redeemed_its_coupon",
        sql="UPDATE orders SET coupon_code = '' WHERE id = {paid}",
    ),
    Break(
        name="order_redeemed_its_coupon",
        sql="UPDATE orders SET coupon_code = 'SAVE10' WHERE id = {guests}",
    ),
    Break(
        name="transitions_are_audited_once",
        sql="DELETE FROM audit_logs WHERE entity_id = {paid} AND data ->> 'to' = 'confirmed'",
    ),
    Break(
        name="transitions_are_audited_once",
        sql=AUDIT_ROW.format(version=1, to="confirmed"),
        also=also("moves_are_audited_in_the_same_transaction"),
    ),
    Break(
        name="audited_moves_happened",
        sql=AUDIT_ROW.format(version=2, to="shipped"),
    ),
    Break(
        name="moves_are_audited_in_the_same_transaction",
        sql="""
            UPDATE audit_logs SET xid = '3' WHERE entity_id = {paid} AND data ->> 'to' = 'confirmed'
        """,
    ),
    *(
        Break(name="seals_follow_each_other", sql=TWO_SEALS.format(second=second))
        for second in ("3, 5, 9, '2', '1'", "2, 6, 9, '2', '1'", "2, 5, 9, '2', '2'")
    ),
    Break(
        name="no_order_is_pending_past_its_hold",
        sql="""
            UPDATE orders SET hold_expires_at = now() - interval '3 minutes'
            WHERE id IN ({waiting}, {debit})
        """,
    ),
    Break(
        name="no_key_stays_open_on_a_decided_order",
        sql="""
            UPDATE idempotency_keys SET response_status = NULL, response_body = '',
                answered_at = NULL, lease_until = now() - interval '3 minutes'
            WHERE id = {paid_key}
        """,
    ),
    Break(
        name="no_webhook_waits_untried",
        sql="""
            INSERT INTO provider_events (stripe_event_id, event_type, payload, next_attempt_at)
            VALUES ('evt_1', 'x', '{{}}', now() - interval '3 minutes')
        """,
    ),
    Break(
        name="no_fact_waits_for_its_fan_out",
        sql="""
            DELETE FROM deliveries
            WHERE message_id IN (SELECT id FROM outbox_messages WHERE fact = 'order.refunded');
            UPDATE outbox_messages SET fanned_out_at = NULL,
                occurred_at = now() - interval '3 minutes'
            WHERE fact = 'order.refunded'
        """,
    ),
    Break(
        name="no_delivery_is_overdue",
        sql="""
            UPDATE deliveries SET status = 'pending', delivered_at = NULL,
                next_attempt_at = now() - interval '3 minutes'
            WHERE message_id = {paid_message} AND subscriber = 'email';
            UPDATE receivers SET last_told_at = now() - interval '3 minutes'
        """,
    ),
    Break(name="no_refund_waits_untried", sql=REFUND.format(amount=1, age=16)),
    Break(
        name="no_payment_waits_unasked",
        sql="""
            UPDATE payments SET next_attempt_at = now() - interval '16 minutes'
            WHERE order_id IN ({waiting}, {debit}, {paid})
        """,
        count=2,
    ),
    Break(
        name="no_scheduled_price_is_overdue",
        sql="""
            UPDATE scheduled_prices SET starts_at = now() - interval '3 minutes';
            INSERT INTO scheduled_prices (product_id, currency, amount, starts_at, ends_at, status,
                                          applied_at)
            SELECT product_id, 'EUR', 1, now() - interval '9 minutes', now() - interval '3 minutes',
                   'running', now() - interval '9 minutes' FROM scheduled_prices
        """,
        count=2,
    ),
    *(
        Break(name="no_secret_is_written_down", sql=sql.replace("LEAK", leak))
        for sql in (
            """
                INSERT INTO audit_logs (event_type, data)
                VALUES ('LEAKED', '{{"problem": "said LEAK"}}')
            """,
            """
                UPDATE outbox_messages SET payload = payload || '{{"contact": "LEAK"}}'
                WHERE id = {paid_message}
            """,
        )
        for leak in (
            "sk_live_51Habcdefgh",
            "rk_test_51Habcdefgh",
            "whsec_abcdefgh",
            "pi_3Habc_secret_abcdefgh",
            "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl",
            "ann@example.com",
            "4242424242424242",
            "4242 4242 4242 4242",
            "3782-822463-10005",
            "4242 4242 4242 4242 12/29",
            "4242 4242 4242 4242 12 29 123",
            "4242424242424242 123",
            "4242424242424242 2nd",
            "4242424242424242_1",
            "2026 4242 4242 4242 4242",
            "2026-4242-4242-4242-4242-12",
            "no2026 4242 4242 4242 4242",
            "1234567890123456789012 4242424242424242",
        )
    ),
    *(
        Break(
            name="no_secret_is_written_down",
            sql=f"UPDATE {table} SET {column} = 'was sk_live_51Habcdefgh' WHERE id = {row}",  # noqa: S608 - names from below
        )
        for table, column, row in (
            ("payments", "last_error", "(SELECT min(id) FROM payments)"),
            ("refunds", "last_error", "{refund}"),
            ("deliveries", "last_error", "(SELECT min(id) FROM deliveries)"),
        )
    ),
    Break(
        name="no_secret_is_written_down",
        sql="""
            INSERT INTO provider_events (stripe_event_id, event_type, payload, last_error)
            VALUES ('evt_1', 'x', '{{}}', 'of ann@example.com')
        """,
    ),
    Break(
        name="no_secret_is_written_down",
        sql="""
            INSERT INTO reconciliation_cases (classification, subject, problem)
            VALUES ('unknown', 'pi_1', 'of ann@example.com')
        """,
    ),
]


def violated() -> dict[str, Finding]:
    with connection.cursor() as cursor:
        found = books.check_invariants(cursor)
    return {finding.name: finding for finding in found if finding.violations}


def handles(orders: dict[str, Order]) -> dict[str, Any]:
    """What a break may name."""

    def one(sql: str, *params: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchone()[0]

    level = """
        SELECT level.id FROM stock_levels level JOIN products ON products.id = product_id
        JOIN warehouses ON warehouses.id = warehouse_id WHERE sku = %s AND code = 'MAIN'
    """
    paid = orders["paid"].pk
    return {
        **{name: order.pk for name, order in orders.items()},
        **{f"{name}_key": order.idempotency_key_id for name, order in orders.items()},
        "declined_number": orders["declined"].order_number,
        "tea_level": one(level, "TEA"),
        "cup_level": one(level, "CUP"),
        "pot_east_level": one(
            "SELECT max(stock_level_id) FROM stock_movements WHERE kind = 'transfer'"
        ),
        "refund": one("SELECT id FROM refunds"),
        "receipt_entry": one(
            "SELECT id FROM ledger_entries WHERE account = 'customer_receipts' ORDER BY id LIMIT 1"
        ),
        "paid_message": one(
            "SELECT id FROM outbox_messages WHERE fact = 'order.confirmed' AND aggregate_id = %s",
            paid,
        ),
        # Between two of its kind: those of the paid and of the cancelled order.
        "guests_message": one(
            "SELECT id FROM outbox_messages WHERE fact = 'order.confirmed' AND aggregate_id = %s",
            orders["guests"].pk,
        ),
    }


def drop(constraint: str) -> None:
    """For the rest of this test; its rollback brings it back. Partial uniqueness is an index.

    A foreign key's name has a part that Django makes up: `%`.
    """
    table, pattern = constraint.split(".")
    with connection.cursor() as cursor:
        cursor.execute("SELECT conname FROM pg_constraint WHERE conname LIKE %s", [pattern])
        found = cursor.fetchone()
        cursor.execute(
            f'ALTER TABLE {table} DROP CONSTRAINT "{found[0]}"'
            if found
            else f'DROP INDEX "{pattern}"'
        )


class TestABusyShop:
    def test_violates_nothing(self, busy):
        assert violated() == {}

    def test_has_something_for_every_invariant_to_look_at(self, busy):
        """Otherwise zero violations would tell nothing."""
        with connection.cursor() as cursor:
            for table in (
                "orders",
                "order_items",
                "reservations",
                "stock_movements",
                "stock_documents",
                "scheduled_prices",
                "refunds",
                "ledger_entries",
                "order_transitions",
                "audit_logs",
                "outbox_messages",
                "deliveries",
                "customer_metrics",
                "coupon_redemptions",
                "idempotency_keys",
            ):
                cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 - names from above
                assert cursor.fetchone()[0], table

    def test_still_violates_nothing_once_an_order_is_shipped(self, busy):
        paid = busy["paid"]
        Order.objects.filter(pk=paid.pk).update(status="shipped")
        audit.record(
            "ORDER_SHIPPED",
            entity_type="order",
            entity_id=paid.pk,
            data={"version": 2, "to": "shipped"},
        )
        with connection.cursor() as cursor:
            for reservation in Reservation.objects.filter(order=paid):
                cursor.execute(
                    """
                    UPDATE stock_levels SET allocated = allocated - %(n)s, on_hand = on_hand - %(n)s
                    WHERE id = %(level)s;
                    INSERT INTO stock_movements (stock_level_id, kind, quantity, order_id)
                    VALUES (%(level)s, 'ship', -%(n)s, %(order)s)
                    """,
                    {
                        "n": reservation.quantity,
                        "level": reservation.stock_level_id,
                        "order": paid.pk,
                    },
                )
        Reservation.objects.filter(order=paid).update(status="shipped")

        assert violated() == {}


class TestEachInvariant:
    @pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.name)
    def test_is_found_by_its_name(self, busy, broken):
        for constraint in broken.without:
            drop(constraint)
        with pgtrigger.ignore(), connection.cursor() as cursor:
            cursor.execute(broken.sql.format(**handles(busy)))

        found = violated()

        assert found.keys() == {broken.name, *broken.also}
        assert found[broken.name].violations == broken.count
        assert len(found[broken.name].examples) == broken.count

    def test_has_a_test_that_breaks_it(self):
        assert {invariant.name for invariant in INVARIANTS} == {broken.name for broken in BREAKS}

    def test_has_a_name_of_its_own(self):
        assert len({invariant.name for invariant in INVARIANTS}) == len(INVARIANTS)

    def test_names_the_order(self, busy):
        with pgtrigger.ignore():
            Order.objects.filter(pk=busy["paid"].pk).update(version=7)

        assert violated()["order_history_ends_at_the_status"].examples == [
            busy["paid"].order_number
        ]


class TestExamples:
    def test_are_a_few_of_many(self, busy):
        with pgtrigger.ignore():
            Order.objects.update(version=7)

        finding = violated()["order_history_ends_at_the_status"]

        assert finding.violations == 7
        assert len(finding.examples) == 5


class TestABankDebit:
    def test_may_take_longer_than_the_hold(self, busy):
        Order.objects.filter(pk=busy["debit"].pk).update(hold_expires_at="2020-01-01T00:00:00Z")

        assert violated() == {}


class TestMetricsOfACustomer:
    @pytest.mark.parametrize(
        "on_its_way",
        [
            """
                UPDATE deliveries SET status = 'pending', delivered_at = NULL
                WHERE subscriber = 'customer_metrics' AND message_id = {paid_message}
            """,
            """
                DELETE FROM deliveries WHERE message_id = {paid_message};
                UPDATE outbox_messages SET fanned_out_at = NULL WHERE id = {paid_message}
            """,
        ],
        ids=["not delivered", "not fanned out"],
    )
    def test_may_lag_behind_while_a_fact_is_on_its_way(self, busy, on_its_way):
        with pgtrigger.ignore(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM customer_metrics")
            assert violated().keys() == {"customer_metrics_follow_the_orders"}
            cursor.execute(on_its_way.format(**handles(busy)))

        assert violated() == {}


class TestADeadOrder:
    @pytest.mark.parametrize(
        ("status", "share"),
        [("lost", "amount"), ("needs_response", "0.01"), ("under_review", "0.01")],
    )
    def test_may_leave_its_money_to_a_bank(self, busy, status, share):
        with pgtrigger.ignore(), connection.cursor() as cursor:
            gone = DISPUTED_INSTEAD.format(status=status, share=share, currency="USD")
            cursor.execute(gone.format(**handles(busy)))

        assert violated() == {}

    def test_may_leave_a_part_to_a_bank_and_give_back_the_rest(self, busy):
        with pgtrigger.ignore(), connection.cursor() as cursor:
            names = handles(busy)
            gone = DISPUTED_INSTEAD.format(status="lost", share="amount - 1", currency="USD")
            cursor.execute(gone.format(**names))
            rest = REFUND.replace("{{paid}}", "{{cancelled}}").format(amount=1, age=0)
            cursor.execute(rest.format(**names))

        assert violated() == {}


class TestASubscriber:
    """One that was not told: of `guests_message`, between two of which it was told."""

    @pytest.fixture
    def told(self, busy):
        names = handles(busy)
        with pgtrigger.ignore(), connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM deliveries WHERE message_id = %s AND subscriber = 'email'",
                [names["guests_message"]],
            )
        return names

    def fan_out(self, message_id, *, days_ago):
        with pgtrigger.ignore(), connection.cursor() as cursor:
            cursor.execute(
                "UPDATE outbox_messages SET fanned_out_at = now() - %s * interval '1 day'"
                " WHERE id = %s",
                [days_ago, message_id],
            )

    def test_is_not_missed_for_ever(self, told):
        self.fan_out(told["guests_message"], days_ago=36)

        assert violated() == {}

    def test_is_missed_for_five_weeks(self, told):
        self.fan_out(told["guests_message"], days_ago=34)

        assert violated().keys() == {"every_subscriber_is_told"}

    def test_is_missed_after_a_first_message_of_long_ago(self, told):
        self.fan_out(told["paid_message"], days_ago=300)

        assert violated().keys() == {"every_subscriber_is_told"}


class TestDigits:
    @pytest.mark.parametrize(
        "harmless",
        [
            "4242424242424241",
            "pi_4242424242424242",
            "4242424242424242-abc",
            "4242424242424242abc",
            "0.4242424242424242",
            "14242424242424242",
            "1234567890123456789012",
            "4242424242 4242424242",
            # Luhn's sum is right, but no card begins so: a time in microseconds, a UUIDv7.
            "1758000000000002",
            "01800000-1234-7623-8123-123456789012",
        ],
    )
    def test_that_are_no_card_number_are_no_secret(self, busy, harmless):
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO audit_logs (event_type, data)"
                " VALUES ('TOLD', jsonb_build_object('said', %s::text))",
                [f"it was {harmless}."],
            )

        assert violated() == {}
