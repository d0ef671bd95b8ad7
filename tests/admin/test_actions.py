"""The buttons: what they do, who may press them, and the trace that each press leaves."""

from __future__ import annotations

import pgtrigger
import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from audit.models import AuditLog
from payments.models import Payment, ProviderEvent
from tests import factories
from tests.admin import rows
from tests.shop import order_of

pytestmark = pytest.mark.django_db


class TestOrderActions:
    @pytest.fixture
    def waiting(self, shopper):
        product = factories.ProductFactory(on_hand=5)
        answer = shopper.order((product.sku, 1), payment_method_id="pm_card_threeDSecure2Required")
        return order_of(answer)

    def press(self, browser, action, *orders):
        return browser.post(
            reverse("admin:orders_order_changelist"),
            {"action": action, "_selected_action": [order.pk for order in orders]},
            follow=True,
        ).content.decode()

    def test_settle_now_asks_the_provider_and_is_recorded(
        self, browser, superuser, waiting, provider
    ):
        provider.act(waiting.payments.get().payment_intent_id, "succeed")

        page = self.press(browser, "settle_now", waiting)

        waiting.refresh_from_db()
        assert waiting.status == "confirmed"
        assert f"{waiting.order_number}: settled" in page
        row = AuditLog.objects.get(event_type="SETTLEMENT_REQUESTED_BY_STAFF")
        assert (row.user_id, row.entity_id) == (superuser.pk, waiting.pk)

    def test_settle_now_says_that_the_customer_has_not_acted(self, browser, waiting):
        page = self.press(browser, "settle_now", waiting)
        waiting.refresh_from_db()
        assert waiting.status == "pending"
        assert "has not decided" in page

    def test_end_quarantined_gives_back_and_cancels(self, browser, waiting, provider):
        payment = waiting.payments.get()
        provider.act(payment.payment_intent_id, "succeed")
        with pgtrigger.ignore():
            Payment.objects.update(
                status="quarantined", create_params={**payment.create_params, "amount": 1}
            )

        page = self.press(browser, "end_quarantined", waiting)

        waiting.refresh_from_db()
        assert waiting.status == "cancelled"
        assert f"{waiting.order_number}: ended" in page
        assert len(provider.refunds_of(payment.payment_intent_id)) == 1

    def test_end_quarantined_refuses_others_in_words(self, browser, waiting):
        page = self.press(browser, "end_quarantined", waiting)
        assert "No payment of this order is in quarantine." in page

    def test_need_the_permission_to_change_orders(self, client, waiting):
        viewer = rows.make_customer(98, email="viewer@example.com", is_staff=True)
        viewer.user_permissions.set(Permission.objects.filter(codename="view_order"))
        client.force_login(viewer)

        page = self.press(client, "settle_now", waiting)

        assert "settle_now" not in page
        assert not AuditLog.objects.filter(event_type="SETTLEMENT_REQUESTED_BY_STAFF").exists()


class TestWorkOffAgain:
    def test_makes_a_quarantined_webhook_due_and_is_recorded(self, browser, superuser):
        event = ProviderEvent.objects.create(
            stripe_event_id="evt_1",
            event_type="payment_intent.succeeded",
            payload={},
            status="quarantined",
            processed_at=timezone.now(),
        )

        browser.post(
            reverse("admin:payments_providerevent_changelist"),
            {"action": "work_off_again", "_selected_action": [event.pk]},
        )

        event.refresh_from_db()
        assert (event.status, event.processed_at) == ("received", None)
        row = AuditLog.objects.get(event_type="WEBHOOKS_RETRIED")
        assert (row.user_id, row.data) == (superuser.pk, {"event_ids": [event.pk], "due": 1})
