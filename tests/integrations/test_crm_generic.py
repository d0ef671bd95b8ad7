"""A CRM that takes plain JSON: what it is told of customers and orders, and by which names."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from audit import outbox
from audit.models import AuditLog, Delivery
from config.kernel.clock import Deadline
from customers.models import Customer
from customers.privacy import erase_account
from integrations.crm import adapter, records
from orders.models import Order
from orders.services.disputes import sync_dispute
from orders.services.refunds import RefundWish, decide_refund, finish_refund, sync_refunds
from tests import factories
from tests.admin import rows
from tests.integrations.told import (
    only_these_subscribers,
    outcomes,
    paid_order,
    refund,
    relay_for_a_while,
    relay_until_told,
    state,
)
from tests.shop import order_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def crm(settings, sinks, monkeypatch):
    sinks.configure(settings, "crm")
    only_these_subscribers(monkeypatch, "crm")
    return sinks


def told(crm) -> list[dict[str, Any]]:
    return [body["data"] for body in crm.received("crm").bodies]


class TestOrder:
    def test_is_told_with_its_buyer_as_they_are(self, crm):
        order = paid_order()
        message = state("order.confirmed", order, total_amount="25.66", currency="USD")

        relay_until_told()

        [body] = crm.received("crm").bodies
        assert body["id"] == str(message.uuid)
        assert body["type"] == "order.confirmed"
        assert body["data"]["order_number"] == order.order_number
        assert body["data"]["order"] == {
            "number": order.order_number,
            "title": f"Order {order.order_number}",
            "status": "confirmed",
            "payment_status": "succeeded",
            "currency": "USD",
            "total_amount": "25.66",
            "refunded_amount": "0.00",
            "item_count": 2,
            "placed_at": "2026-05-04T03:00:00.000Z",
            "shipped_at": None,
            "delivered_at": None,
        }
        assert body["data"]["customer_number"] == str(order.customer_id)
        contact = body["data"]["contact"]
        assert contact["email"] == order.customer.email
        assert contact["marketing_consent"] is False
        assert "order_id" not in body["data"]

    def test_is_told_with_what_was_given_back(self, crm):
        order = paid_order()
        given = refund(order, "5.00")

        relay_until_told()

        [data] = told(crm)
        assert (data["refund"], data["amount"], data["currency"]) == (
            str(given.uuid),
            "5.00",
            "USD",
        )
        assert data["order"]["refunded_amount"] == "5.00"
        assert data["refunds"] == [
            {
                "refund": str(given.uuid),
                "status": "succeeded",
                "amount": "5.00",
                "currency": "USD",
            }
        ]

    def test_that_was_never_paid_is_not_told(self, crm):
        state("order.cancelled", rows.make_order())

        relay_until_told()

        assert told(crm) == []
        assert outcomes() == [("delivered", "not told: nothing was ever paid for it")]

    @pytest.mark.parametrize(("wanted", "contacts"), [(False, 0), (True, 1)])
    def test_of_a_guest_makes_a_contact_if_the_shop_wants_it(self, crm, settings, wanted, contacts):
        settings.CRM_GUESTS = wanted
        order = paid_order(guest_email="grace@example.com", guest_first_name="Grace")
        state("order.confirmed", order)

        relay_until_told()

        [data] = told(crm)
        assert len([data for data in told(crm) if "contact" in data]) == contacts
        assert ("grace@example.com" in json.dumps(data)) is wanted
        if wanted:
            assert data["customer_number"] is None

    def test_of_an_erased_guest_has_the_contact_forgotten(self, crm, settings):
        settings.CRM_GUESTS = True
        order = paid_order(guest_email="grace@example.com")
        Order.objects.filter(pk=order.pk).update(
            guest_email="erased@example.invalid", erased_at=timezone.now()
        )
        state("order.erased", order)

        relay_until_told()

        [data] = told(crm)
        assert data["contact"] is None
        assert data["order"]["number"] == order.order_number


class TestCustomer:
    def test_who_is_erased_is_to_be_forgotten(self, crm):
        customer = factories.CustomerFactory()
        erase_account(customer_id=customer.pk, at=timezone.now())

        relay_until_told()

        assert told(crm) == [{"customer_number": str(customer.pk), "contact": None}]

    def test_is_told_with_what_they_agree_to_now(self, crm):
        customer = factories.CustomerFactory(email_verified=True, marketing_consent=True)
        state("customer.marketing_consent_changed", customer, marketing_consent=False)

        relay_until_told()

        [data] = told(crm)
        assert data["contact"]["marketing_consent"] is True
        assert "cus_not_to_be_told" not in json.dumps(data)

    def test_whose_address_is_not_verified_is_nobody_yet(self, crm):
        state("customer.marketing_consent_changed", factories.CustomerFactory())

        relay_until_told()

        assert told(crm) == []
        [(status, note)] = outcomes()
        assert (status, note.startswith("not told: no customer")) == ("delivered", True)

    def test_who_works_here_is_none(self, crm):
        state(
            "customer.email_verified", factories.CustomerFactory(email_verified=True, is_staff=True)
        )

        relay_until_told()

        assert told(crm) == []


class TestFieldMapping:
    def test_gives_fields_other_names_and_leaves_out_what_is_null(self, crm, settings):
        settings.CRM_FIELDS = {
            "customer.last_name": "surname",
            "customer.first_name": None,
            "order.stage": "phase",
        }
        order = paid_order()
        state("order.confirmed", order)

        relay_until_told()

        [data] = told(crm)
        assert data["contact"]["surname"] == order.customer.last_name
        assert not {"first_name", "last_name"} & data["contact"].keys()
        assert data["order"]["phase"] == "closedwon"


class TestRefusal:
    def test_says_which_record_and_why_and_holds_up_no_other(self, crm):
        poison, sound = paid_order(1), paid_order(2)
        crm.fail(
            "crm",
            "status",
            status=422,
            body={"error": {"code": "unknown_field", "message": poison.customer.email}},
            contains=poison.order_number,
        )
        for order in (poison, sound):
            state("order.confirmed", order)

        outbox.relay()

        dead = Delivery.objects.get(status="dead")
        assert dead.last_error == (
            f"order {poison.order_number}: CRM answered 422 to POST /events: unknown_field"
        )
        assert dead.attempts == 1
        assert [data["order_number"] for data in told(crm)] == [sound.order_number]
        on_record = AuditLog.objects.get(event_type="POST_ORDER_ERROR")
        assert (on_record.entity_type, on_record.entity_id) == ("order", poison.pk)
        assert on_record.data["error"] == dead.last_error

    def test_can_be_retried_once_it_is_put_right(self, crm):
        order = paid_order()
        crm.fail("crm", "status", status=400)
        state("order.confirmed", order)
        outbox.relay()
        assert told(crm) == []

        outbox.retry(include_dead=True)
        relay_until_told()

        assert len(told(crm)) == 1


class TestPresentState:
    def test_is_told_again_if_it_changed_while_it_was_told(self, crm, monkeypatch):
        order = paid_order()
        give = adapter.GenericCrm.keep_orders

        def slowly(self, orders, occasion):
            give(self, orders, occasion)
            Customer.objects.filter(pk=order.customer_id).update(last_name="Byron")

        monkeypatch.setattr(adapter.GenericCrm, "keep_orders", slowly)
        state("order.confirmed", order)

        relay_until_told()

        names = [data["contact"]["last_name"] for data in told(crm)]
        assert names[-1] == "Byron"
        assert names[0] != "Byron"
        assert len(names) == 2

    def test_of_an_erased_buyer_is_nobody(self, crm):
        order = paid_order()
        erase_account(customer_id=order.customer_id, at=timezone.now())
        state("order.refunded", order)

        relay_until_told()

        assert [data["contact"] for data in told(crm)] == [None, None]


@pytest.mark.usefixtures("shop")
def test_whatever_moves_what_is_paid_is_told(crm, provider, shopper):
    """From the payment to a dispute that is won: the CRM shows what the order shows."""
    provider.reset()
    product = factories.ProductFactory(on_hand=5)
    order = order_of(shopper.order((product.sku, 2)))
    seen = []

    def look():
        relay_until_told()
        order.refresh_from_db()
        seen.append(order.payment_status)
        assert told(crm)[-1]["order"]["payment_status"] == order.payment_status

    look()
    wish = RefundWish(reason="x", amount=Decimal("1.00"))
    given = decide_refund(order_id=order.pk, wish=wish)
    finish_refund(refund_id=given.pk, deadline=Deadline(5))
    look()
    given.refresh_from_db()
    provider.decide_refund(given.stripe_refund_id, "fail")
    sync_refunds(payment_id=given.payment_id, deadline=Deadline(5))
    look()
    dispute = provider.dispute(order.payments.get().payment_intent_id)
    sync_dispute(dispute_id=dispute["id"], deadline=Deadline(5))
    look()
    provider.decide_dispute(dispute["id"], "win")
    sync_dispute(dispute_id=dispute["id"], deadline=Deadline(5))
    look()

    assert seen == ["succeeded", "partially_refunded", "succeeded", "disputed", "succeeded"]


def test_without_an_address_nobody_is_subscribed(settings, monkeypatch, crm):
    settings.CRM_BASE_URL = ""
    only_these_subscribers(monkeypatch, "crm")
    state("order.confirmed", paid_order())

    outbox.relay()

    assert outcomes() == []


def test_records_are_read_in_a_constant_number_of_queries(django_assert_num_queries):
    some = [paid_order(1).pk]
    many = [*some, *(paid_order(n).pk for n in range(2, 12))]

    with django_assert_num_queries(4):
        assert len(records.find_orders(some)) == 1
    with django_assert_num_queries(4):
        assert len(records.find_orders(many)) == 11
    assert Order.objects.count() == 11


def test_a_storm_leaves_each_order_told_and_no_event_twice(crm):
    orders = [paid_order(n) for n in range(1, 21)]
    for fault in (
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503, "applied": True},
        {"kind": "status", "status": 429, "retry_after": 1},
        {"kind": "answer_lost"},
        {"kind": "hang", "seconds": 0.2},
        {"kind": "drop", "reset": True},
        {"kind": "junk", "form": "html", "status": 502},
        {"kind": "redirect"},
    ):
        crm.fail("crm", times=None, probability=0.12, seed=7, **fault)
    for order in orders:
        state("order.confirmed", order)
    for order in orders[::2]:
        refund(order, "1.00")

    relay_for_a_while()
    crm.clear_faults()
    outbox.retry(include_dead=True)
    relay_until_told()

    received = crm.received("crm")
    assert received.kept == 30 == Delivery.objects.filter(status="delivered").count()
    assert received.duplicates > 0
    assert received.types.count("order.confirmed") == 20
    assert received.types.count("order.refunded") == 10
    numbers = [body["data"]["order_number"] for body in received.bodies]
    for order in orders[::2]:
        kinds = [
            body["type"]
            for body, number in zip(received.bodies, numbers, strict=True)
            if number == order.order_number
        ]
        assert kinds == ["order.confirmed", "order.refunded"]
