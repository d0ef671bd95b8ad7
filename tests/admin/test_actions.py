"""The buttons: what they do, who may press them, and the trace that each press leaves."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from audit.models import AuditLog
from payments.models import Dispute, Payment, ProviderEvent, ReconciliationCase
from tests import factories
from tests.admin import rows
from tests.shop import order_of

pytestmark = pytest.mark.django_db


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
        assert (row.user_id, row.data) == (
            superuser.pk,
            {"before": {str(event.pk): "quarantined"}, "due": 1},
        )


class TestGiveThisMoneyBack:
    @pytest.fixture
    def charge(self, shopper, provider):
        """A second charge for an order, which no payment here has."""
        product = factories.ProductFactory(on_hand=5)
        paid = order_of(shopper.order((product.sku, 1))).payments.get()
        return provider.charge_anew(paid.create_params)

    @pytest.fixture
    def case(self, charge):
        return ReconciliationCase.objects.create(
            classification="charge_without_order", subject=charge["id"], problem="paid"
        )

    def press(self, browser, case):
        return browser.post(
            reverse("admin:payments_reconciliationcase_do", args=[case.pk, "give_back"]),
            {"request_key": uuid4()},
            follow=True,
        ).content.decode()

    def test_gives_it_back_closes_the_case_and_is_recorded(
        self, browser, superuser, case, charge, provider
    ):
        page = self.press(browser, case)

        case.refresh_from_db()
        assert case.resolved_at is not None
        assert "Given back." in page
        [refund] = provider.refunds_of(charge["id"])
        assert refund["amount"] == charge["amount_received"]
        about = {
            "case": case.pk,
            "payment_intent_id": charge["id"],
            "received_minor": charge["amount_received"],
            "currency": "USD",
        }
        told = AuditLog.objects.filter(event_type__startswith="CHARGE_").order_by("pk")
        assert [(row.event_type, row.user_id, row.data) for row in told] == [
            ("CHARGE_GIVE_BACK_REQUESTED", superuser.pk, about),
            ("CHARGE_GIVEN_BACK", superuser.pk, {**about, "subject": charge["id"]}),
        ]

    def test_says_that_the_provider_did_not_answer(self, browser, case, charge, provider):
        provider.fail("drop", path="/v1/refunds", method="POST")

        page = self.press(browser, case)

        assert "Not back yet" in page
        case.refresh_from_db()
        assert case.resolved_at is None

    def test_says_why_it_may_not_be(self, browser, case, charge):
        self.press(browser, case)
        assert "This case is closed." in self.press(browser, case)

    def test_needs_its_permission(self, client, case, charge, provider):
        viewer = rows.make_customer(98, email="viewer@example.com", is_staff=True)
        viewer.user_permissions.set(
            Permission.objects.filter(codename__endswith="_reconciliationcase")
        )
        client.force_login(viewer)

        page = self.press(client, case)

        assert "give_back" not in page
        assert provider.refunds_of(charge["id"]) == []
        viewer.user_permissions.add(Permission.objects.get(codename="give_back"))
        assert "Given back." in self.press(client, case)


class TestDisputesByTheirEvidence:
    def test_are_found_by_when_it_is_due(self, browser):
        rows.make_everything(1)
        payment = Payment.objects.get()
        now = timezone.now()
        for name, status, due in (
            ("soon", "needs_response", timedelta(days=2)),
            ("late", "warning_needs_response", timedelta(days=-1)),
            ("later", "needs_response", timedelta(days=4)),
            ("answered", "under_review", timedelta(days=1)),
        ):
            Dispute.objects.create(
                payment=payment,
                stripe_dispute_id=name,
                status=status,
                currency="USD",
                amount=1,
                opened_at=now,
                evidence_due_at=now + due,
            )

        def listed(value):
            page = browser.get(
                reverse("admin:payments_dispute_changelist"), {"evidence": value}
            ).context["cl"]
            return {dispute.stripe_dispute_id for dispute in page.queryset}

        assert listed("due") == {"soon", "late"}
        assert listed("wanted") == {"soon", "late", "later", "dp_1"}
