"""The buttons: what they do, who may press them, and the trace that each press leaves."""

from __future__ import annotations

from datetime import timedelta

import pgtrigger
import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from audit.models import AuditLog
from inventory.models import StockLevel
from orders.admin import MOST_AT_ONCE
from orders.services.returns import request_return
from orders.services.shipping import Parcel, ship_order
from payments.models import Dispute, Payment, ProviderEvent, ReconciliationCase
from tests import factories
from tests.admin import rows
from tests.shop import order_of

pytestmark = pytest.mark.django_db


class TestReturnActions:
    @pytest.fixture
    def wish(self, shopper):
        """Three of the tea shall come back."""
        factories.ProductFactory(sku="TEA", on_hand=5)
        order = order_of(shopper.order(("TEA", 3)))
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))
        return request_return(order_id=order.pk, units={"TEA": 3}, reason="too strong")

    def press(self, browser, action, wish, **said):
        page = browser.post(
            reverse("admin:orders_return_changelist"),
            {"action": action, "_selected_action": [wish.pk], **said},
            follow=True,
        ).content.decode()
        wish.refresh_from_db()
        return page

    def test_go_all_the_way_as_counted(self, browser, wish):
        self.press(browser, "accept", wish)

        page = self.press(browser, "receive_for_sale", wish, arrived="TEA=2/1")

        assert (f"{wish.public_id}: done" in page, wish.status) == (True, "received")
        assert StockLevel.objects.get().on_hand == 3
        page = self.press(browser, "refund", wish)
        assert (f"{wish.public_id}: done" in page, wish.status) == (True, "refunded")
        assert wish.refund.lines.get().quantity == 2

    @pytest.mark.parametrize("arrived", ["TEA", "TEA=4", "TEA=1/2", "CUP=1", "TEA=1 TEA=1"])
    def test_receive_says_what_is_wrong_with_the_count(self, browser, wish, arrived):
        self.press(browser, "accept", wish)

        page = self.press(browser, "receive_for_sale", wish, arrived=arrived)

        assert ": done" not in page
        assert wish.status == "accepted"

    def test_refuse_keeps_the_words(self, browser, wish):
        self.press(browser, "refuse", wish, words="Worn out.")

        assert (wish.status, wish.refusal) == ("refused", "Worn out.")

    def test_refund_says_that_the_money_is_not_back_yet(self, browser, wish, provider):
        self.press(browser, "accept", wish)
        self.press(browser, "receive_for_sale", wish)
        provider.fail("unavailable", path="/v1/refunds", times=None)

        page = self.press(browser, "refund", wish)

        assert "the money is not back yet" in page
        assert wish.refund.status == "due"


class TestOrderActions:
    @pytest.fixture
    def waiting(self, shopper):
        product = factories.ProductFactory(on_hand=5)
        answer = shopper.order((product.sku, 1), payment_method_id="pm_card_threeDSecure2Required")
        return order_of(answer)

    def press(self, browser, action, *orders, **said):
        chosen = {"action": action, "_selected_action": [order.pk for order in orders]}
        return browser.post(
            reverse("admin:orders_order_changelist"), {**chosen, **said}, follow=True
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

    def test_ship_sends_the_units_once_however_often_the_page_is_sent(self, browser, shopper):
        tea, cup = (factories.ProductFactory(on_hand=5) for _ in range(2))
        order = order_of(shopper.order((tea.sku, 3), (cup.sku, 1)))
        said = {"carrier": "UPS", "tracking_number": "1Z9", "request_key": "this page"}

        for _ in range(2):
            page = self.press(browser, "ship_all", order, units=f"{tea.sku}=2", **said)
            assert f"{order.order_number}: shipped" in page
        order.refresh_from_db()
        assert (order.status, order.shipments.count()) == ("processing", 1)

        self.press(browser, "ship_all", order, carrier="UPS")
        order.refresh_from_db()
        assert (order.status, order.shipments.count()) == ("shipped", 2)

    @pytest.mark.parametrize(
        ("units", "told"),
        [("TEA", "SKU=QUANTITY"), ("TEA=9", "can still be shipped"), ("TEA=1/1", "SKU=QUANTITY")],
    )
    def test_ship_says_what_is_wrong_with_the_units(self, browser, shopper, units, told):
        factories.ProductFactory(sku="TEA", on_hand=5)
        order = order_of(shopper.order(("TEA", 1)))

        page = self.press(browser, "ship_all", order, carrier="UPS", units=units)

        assert told in page
        assert not order.shipments.exists()

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

    def test_need_their_permission(self, client, waiting):
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

    def press(self, browser, *cases):
        return browser.post(
            reverse("admin:payments_reconciliationcase_changelist"),
            {"action": "give_back", "_selected_action": [case.pk for case in cases]},
            follow=True,
        ).content.decode()

    def test_gives_it_back_closes_the_case_and_is_recorded(
        self, browser, superuser, case, charge, provider
    ):
        page = self.press(browser, case)

        case.refresh_from_db()
        assert case.resolved_at is not None
        assert f"Charge {charge['id']}: given back" in page
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

        assert "not back yet" in page
        case.refresh_from_db()
        assert case.resolved_at is None

    def test_says_why_it_may_not_be(self, browser, case, charge):
        self.press(browser, case)
        assert "This case is closed." in self.press(browser, case)

    def test_is_for_a_few_at_once(self, browser, case, charge, provider):
        others = ReconciliationCase.objects.bulk_create(
            ReconciliationCase(classification="charge_without_order", subject=f"pi_{n}", problem="")
            for n in range(MOST_AT_ONCE)
        )

        page = self.press(browser, case, *others)

        assert f"At most {MOST_AT_ONCE} at once." in page
        assert provider.refunds_of(charge["id"]) == []

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
        assert "given back" in self.press(client, case)


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
