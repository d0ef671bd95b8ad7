"""POST /orders: HTTP in, HTTP and rows out, against the real payment server."""

from __future__ import annotations

from decimal import Decimal

import pytest

from audit.models import AuditLog, OutboxMessage
from inventory.models import Reservation, StockLevel
from orders.models import CouponRedemption, IdempotencyKey, Order
from payments.models import LedgerEntry, Payment
from tests import factories
from tests.shop import Shopper, order_of


class TestAPaidOrder:
    def test_is_confirmed_with_stock_books_and_facts_in_line(self, shopper, provider):
        product = factories.ProductFactory(price="19.99", on_hand=5)

        answer = shopper.order((product.sku, 2), notes="Ring twice.\nThanks")

        assert answer.status_code == 201
        body = answer.json()
        assert body["status"] == "confirmed"
        assert body["payment_status"] == "succeeded"
        assert body["subtotal"] == "39.98"
        assert body["shipping_amount"] == "4.99"
        assert body["tax_amount"] == "3.55"  # 39.98 × 8.875 %, half-up
        assert body["total_amount"] == "48.52"
        assert "guest_token" not in body
        order = order_of(answer)
        level = StockLevel.objects.get(product=product)
        assert (level.on_hand, level.allocated) == (5, 2)
        assert order.reservations.get().status == Reservation.Status.COMMITTED
        payment = order.payments.get()
        assert payment.status == Payment.Status.SUCCEEDED
        assert payment.amount_received == Decimal("48.52")
        legs = LedgerEntry.objects.filter(payment=payment).values_list("account", "amount")
        assert dict(legs) == {
            "stripe_balance": Decimal("48.52"),
            "customer_receipts": Decimal("-48.52"),
        }
        intents = provider.intents_of(body["id"])
        assert [(i["status"], i["amount_received"]) for i in intents] == [("succeeded", 4852)]
        assert list(order.transitions.order_by("version").values_list("to_status", flat=True)) == [
            "pending",
            "confirmed",
        ]
        facts = OutboxMessage.objects.filter(aggregate_id=order.pk).values_list("fact", flat=True)
        assert list(facts) == ["order.confirmed"]

    def test_is_told_as_it_is_stored(self, shopper):
        product = factories.ProductFactory(on_hand=5)

        for method in ("pm_card_visa", "pm_usBankAccount_success"):
            told = shopper.order((product.sku, 1), payment_method_id=method).json()

            assert shopper.get(f"/orders/{told['order_number']}").json() == told

    def test_is_audited_with_its_request(self, shopper):
        product = factories.ProductFactory()

        answer = shopper.order((product.sku, 1))

        order = order_of(answer)
        rows = AuditLog.objects.filter(entity_type="order", entity_id=order.pk).order_by("id")
        assert [row.event_type for row in rows] == ["ORDER_CREATED", "ORDER_CONFIRMED"]
        assert {row.user_id for row in rows} == {shopper.customer.pk}
        assert {row.request_id for row in rows} == {answer["X-Request-ID"]}

    def test_of_a_guest_is_read_with_its_token(self, guest):
        product = factories.ProductFactory()

        body = guest.order((product.sku, 1)).json()

        number, token = body["order_number"], body["guest_token"]
        assert guest.get(f"/orders/{number}", token=token).json()["id"] == body["id"]
        assert guest.get(f"/orders/{number}", token="x" + token[1:]).status_code == 404
        assert guest.get(f"/orders/{number}").status_code == 401

    def test_may_be_placed_by_the_same_guest_under_any_spelling_of_the_address(self, guest):
        product = factories.ProductFactory()
        who = {"email": "Guest@Example.com", "first_name": "Grace", "last_name": "Hopper"}

        guest.order((product.sku, 1), key="one")
        again = guest.order((product.sku, 1), key="one", customer=who)

        assert again.status_code == 422  # same scope, another body


class TestTheSameKey:
    def test_replays_the_first_answer_to_the_byte(self, shopper, provider):
        product = factories.ProductFactory(on_hand=5)
        first = shopper.order((product.sku, 1), key="again")

        second = shopper.order((product.sku, 1), key="again")

        assert (second.status_code, second.content) == (first.status_code, first.content)
        assert second["Idempotent-Replayed"] == "true"
        assert "Idempotent-Replayed" not in first
        assert Order.objects.count() == 1
        assert len(provider.intents_of(first.json()["id"])) == 1

    def test_replays_a_decline_too(self, shopper):
        product = factories.ProductFactory()
        declined = "pm_card_visa_chargeDeclined"
        first = shopper.order((product.sku, 1), key="no", payment_method_id=declined)

        second = shopper.order((product.sku, 1), key="no", payment_method_id=declined)

        assert (second.status_code, second.content) == (402, first.content)

    def test_with_another_body_is_refused(self, shopper):
        product = factories.ProductFactory()
        shopper.order((product.sku, 1), key="again")

        answer = shopper.order((product.sku, 2), key="again")

        assert answer.status_code == 422
        assert answer.json()["error"]["code"] == "IDEMPOTENCY_KEY_REUSED"
        assert Order.objects.count() == 1

    def test_of_another_customer_is_another_key(self, shopper):
        product = factories.ProductFactory()
        other = Shopper(factories.CustomerFactory())

        mine = shopper.order((product.sku, 1), key="shared")
        theirs = other.order((product.sku, 1), key="shared")

        assert (mine.status_code, theirs.status_code) == (201, 201)
        assert mine.json()["id"] != theirs.json()["id"]

    def test_is_free_again_after_a_refusal_before_the_order_existed(self, shopper):
        product = factories.ProductFactory(on_hand=0)
        assert shopper.order((product.sku, 1), key="later").status_code == 409
        assert not IdempotencyKey.objects.exists()

        factories.receive(product, 1)

        assert shopper.order((product.sku, 1), key="later").status_code == 201

    @pytest.mark.parametrize("key", ["", " ", "a b", "é", "x" * 256, "tab\there"])
    def test_must_be_visible_ascii(self, shopper, key):
        product = factories.ProductFactory()

        answer = shopper.post("/orders", {"items": []}, **{"Idempotency-Key": key})

        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "IDEMPOTENCY_KEY_MISSING"
        assert product.stock_levels.get().allocated == 0


class TestADeadPayment:
    @pytest.mark.parametrize(
        ("payment_method_id", "code", "decline_code"),
        [
            ("pm_card_visa_chargeDeclined", "CARD_DECLINED", "generic_decline"),
            ("pm_card_visa_chargeDeclinedInsufficientFunds", "CARD_DECLINED", "insufficient_funds"),
            ("pm_card_chargeDeclinedLostCard", "CARD_DECLINED", "lost_card"),
            ("pm_unknown_to_everybody", "PAYMENT_FAILED", None),
        ],
    )
    def test_is_told_and_leaves_nothing_behind(
        self, shopper, provider, payment_method_id, code, decline_code
    ):
        product = factories.ProductFactory(on_hand=3)

        answer = shopper.order((product.sku, 2), payment_method_id=payment_method_id)

        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (402, code)
        assert error["details"].get("decline_code") == decline_code
        order = order_of(answer)
        assert (order.status, order.payment_status) == ("cancelled", "failed")
        assert product.stock_levels.get().allocated == 0
        assert order.reservations.get().status == Reservation.Status.RELEASED
        assert order.payments.get().amount_received == 0
        assert not LedgerEntry.objects.exists()
        intents = provider.intents_of(str(order.public_id))
        assert {intent["status"] for intent in intents} <= {"canceled"}
        failed = AuditLog.objects.get(event_type="ORDER_FAILED")
        assert failed.entity_id == order.pk

    def test_an_expired_card_is_a_decline_with_its_reason(self, shopper):
        product = factories.ProductFactory()

        answer = shopper.order(
            (product.sku, 1), payment_method_id="pm_card_chargeDeclinedExpiredCard"
        )

        assert answer.status_code == 402
        assert answer.json()["error"]["code"] == "CARD_DECLINED"
        assert answer.json()["error"]["details"]["decline_code"] == "expired_card"


class TestThreeDSecure:
    PM = "pm_card_threeDSecure2Required"

    def test_holds_the_stock_and_is_confirmed_afterwards(self, shopper, provider):
        product = factories.ProductFactory(on_hand=1)
        first = shopper.order((product.sku, 1), key="3ds", payment_method_id=self.PM)
        details = first.json()["error"]["details"]
        assert first.status_code == 402
        assert first.json()["error"]["code"] == "PAYMENT_REQUIRES_ACTION"
        assert details["client_secret"].startswith(details["payment_intent_id"])
        assert product.stock_levels.get().allocated == 1
        path = f"/orders/{details['order_number']}/confirm"
        assert shopper.post(path).json()["error"]["code"] == "PAYMENT_REQUIRES_ACTION"

        provider.act(details["payment_intent_id"], "succeed")
        confirmed = shopper.post(path)

        assert (confirmed.status_code, confirmed.json()["status"]) == (200, "confirmed")
        assert shopper.post(path).status_code == 200
        replay = shopper.order((product.sku, 1), key="3ds", payment_method_id=self.PM)
        assert (replay.status_code, replay.content) == (402, first.content)

    def test_failed_is_told_and_gives_the_stock_back(self, shopper, provider):
        product = factories.ProductFactory(on_hand=1)
        first = shopper.order((product.sku, 1), payment_method_id=self.PM)
        details = first.json()["error"]["details"]

        provider.act(details["payment_intent_id"], "fail")
        answer = shopper.post(f"/orders/{details['order_number']}/confirm")

        assert answer.status_code == 402
        assert answer.json()["error"]["code"] == "PAYMENT_FAILED"
        assert product.stock_levels.get().allocated == 0
        assert provider.intent(details["payment_intent_id"])["status"] == "canceled"
        again = shopper.post(f"/orders/{details['order_number']}/confirm")
        assert again.status_code == 402

    def test_of_somebody_elses_order_looks_like_none(self, shopper):
        product = factories.ProductFactory()
        first = shopper.order((product.sku, 1), payment_method_id=self.PM)
        number = first.json()["error"]["details"]["order_number"]
        stranger = Shopper(factories.CustomerFactory())

        answers = [
            stranger.get(f"/orders/{number}"),
            stranger.post(f"/orders/{number}/confirm"),
            stranger.post(f"/orders/{number}/cancel"),
        ]

        assert [answer.status_code for answer in answers] == [404, 404, 404]


class TestARefusal:
    def test_names_all_that_is_short_at_once(self, shopper):
        plenty = factories.ProductFactory(on_hand=10)
        few = factories.ProductFactory(on_hand=1)
        none = factories.ProductFactory(on_hand=0)

        answer = shopper.order((plenty.sku, 1), (few.sku, 2), (none.sku, 1))

        assert answer.status_code == 409
        error = answer.json()["error"]
        assert error["code"] == "INSUFFICIENT_INVENTORY"
        assert error["details"]["unavailable_items"] == [
            {"sku": few.sku, "requested": 2, "available": 1},
            {"sku": none.sku, "requested": 1, "available": 0},
        ]
        assert not Order.objects.exists()
        assert plenty.stock_levels.get().allocated == 0
        assert not Payment.objects.exists()
        assert AuditLog.objects.get(event_type="ORDER_FAILED").data["reason"] == error["code"]

    def test_of_another_total_carries_the_fresh_quote(self, shopper):
        product = factories.ProductFactory(price="10.00")

        answer = shopper.order((product.sku, 1), expected_total="9.99")

        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "PRICE_CHANGED"
        assert answer.json()["error"]["details"]["total_amount"] == "15.88"
        assert shopper.order((product.sku, 1), expected_total="15.88").status_code == 201

    def test_of_an_unknown_or_inactive_sku_names_the_line(self, shopper):
        known = factories.ProductFactory()
        gone = factories.ProductFactory(is_active=False)

        answer = shopper.order((known.sku, 1), (gone.sku, 1), ("NOPE", 1))

        assert answer.status_code == 400
        items = answer.json()["error"]["details"]["items"]
        assert items[0] == {}
        assert set(items[1]) == set(items[2]) == {"sku"}

    def test_of_a_suspended_customer(self, shopper):
        product = factories.ProductFactory()
        type(shopper.customer).objects.update(status="suspended")

        answer = shopper.order((product.sku, 1))

        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "INACTIVE_CUSTOMER"
        assert not Order.objects.exists()

    def test_of_neither_or_both_identities(self, shopper, guest):
        product = factories.ProductFactory()
        who = {"email": "a@example.com", "first_name": "A", "last_name": "B"}

        assert guest.order((product.sku, 1), customer=None).status_code == 401
        assert shopper.order((product.sku, 1), customer=who).status_code == 400

    def test_of_too_many_unpaid_orders(self, shopper, settings):
        settings.THROTTLE = True
        product = factories.ProductFactory()
        for _ in range(settings.MAX_PENDING_ORDERS):
            shopper.order((product.sku, 1), payment_method_id=TestThreeDSecure.PM)

        answer = shopper.order((product.sku, 1))

        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "RATE_LIMIT_EXCEEDED"


class TestACoupon:
    def test_takes_off_its_share_and_counts_once(self, shopper):
        product = factories.ProductFactory(price="10.00")
        coupon = factories.CouponFactory(code="TEN", max_uses=1)

        answer = shopper.order((product.sku, 3), coupon_code="ten")

        assert answer.json()["discount_amount"] == "3.00"
        coupon.refresh_from_db()
        assert coupon.times_used == 1
        used_up = shopper.order((product.sku, 1), coupon_code="TEN")
        assert used_up.json()["error"]["details"] == {"reason": "used_up"}

    def test_is_given_back_when_the_payment_fails(self, shopper):
        product = factories.ProductFactory()
        coupon = factories.CouponFactory(code="TEN", max_uses=1)

        shopper.order(
            (product.sku, 1), coupon_code="TEN", payment_method_id="pm_card_visa_chargeDeclined"
        )

        coupon.refresh_from_db()
        assert coupon.times_used == 0
        assert CouponRedemption.objects.get().released_at is not None

    def test_unknown_is_refused(self, shopper):
        product = factories.ProductFactory()

        answer = shopper.order((product.sku, 1), coupon_code="NOPE")

        assert answer.status_code == 409
        assert answer.json()["error"]["details"] == {"reason": "unknown"}
